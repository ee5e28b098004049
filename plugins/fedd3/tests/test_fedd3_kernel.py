import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ddbench_fedd3.kernel import Kernel, kernels, ntk_blocks


def vectors(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def kernels_of(kernel, x, z, same=False):
    dots, columns = x @ z.T / x.shape[1], z.square().sum(1) / z.shape[1]
    if same:
        dots = torch.where(torch.eye(len(x), dtype=torch.bool), columns[None], dots)
    return kernels(kernel, dots, x.square().sum(1) / x.shape[1], columns)


def textbook(kernel, x, z):
    """The recursion as papers print it, angle by acos, one pair at a time, in long double."""
    x, z = x.numpy().astype(np.longdouble), z.numpy().astype(np.longdouble)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    weight, bias = np.longdouble(kernel.w_std) ** 2, np.longdouble(kernel.b_std) ** 2
    a, b, c = (weight * (u @ v) / len(u) + bias for u, v in ((x, x), (z, z), (x, z)))
    theta = c
    for _ in range(kernel.depth):
        cosine = min(max(c / np.sqrt(a * b), np.longdouble(-1)), np.longdouble(1))
        angle = np.arccos(cosine)
        kappa0 = (pi - angle) / (2 * pi)
        kappa1 = np.sqrt(a * b) * (np.sin(angle) + (pi - angle) * cosine) / (2 * pi)
        a, b, c = (weight * u + bias for u in (a / 2, b / 2, kappa1))
        theta = c + weight * theta * kappa0
    return float(c), float(theta)


@pytest.mark.parametrize("kernel", [Kernel(), Kernel(1, 1.3, 0.5), Kernel(2, math.sqrt(2), 0.0)])
def test_the_recursion_equals_the_textbook_formula_in_higher_precision(kernel):
    x, z = vectors(6, 40), vectors(5, 40, seed=1)
    nngp, ntk = kernels_of(kernel, x, z)
    for i in range(len(x)):
        for j in range(len(z)):
            expected = textbook(kernel, x[i], z[j])
            assert nngp[i, j].item() == pytest.approx(expected[0], abs=1e-13)
            assert ntk[i, j].item() == pytest.approx(expected[1], abs=1e-13)


def test_equal_opposite_and_scaled_vectors_are_exact():
    x = vectors(1, 40).repeat(3, 1) * torch.tensor([[1.0], [-1.0], [2.0]])
    _, ntk = kernels_of(Kernel(), x, x, same=True)
    for i in range(3):
        for j in range(3):
            # With acos even long double leaves 1e-10 in the angle of parallel vectors.
            assert ntk[i, j].item() == pytest.approx(textbook(Kernel(), x[i], x[j])[1], rel=1e-8)


def test_the_diagonal_has_its_closed_form():
    # Angle 0 everywhere. With w^2 = 2 the NNGP gains b^2 a layer, from p = 2 |x|^2 / d on, and the
    # NTK is its sum over the L + 1 layers: (L + 1) p + b^2 (1 + ... + L + 1).
    x = vectors(4, 40)
    nngp, ntk = kernels_of(Kernel(depth=3), x, x, same=True)
    p = 2 * x.square().mean(1)
    torch.testing.assert_close(nngp.diagonal(), p + 4 * 0.01, rtol=1e-14, atol=0)
    torch.testing.assert_close(ntk.diagonal(), 4 * p + 10 * 0.01, rtol=1e-14, atol=0)


def test_the_kernel_is_that_of_a_wide_network():
    # One hidden layer in NTK parameterisation, 20,000 wide: gradients by autograd, no formula.
    x, width = vectors(3, 5), 20_000
    generator = torch.Generator().manual_seed(2)
    sizes = [(width, 5), (width,), (1, width), (1,)]
    weights = [torch.randn(s, generator=generator, dtype=torch.float64) for s in sizes]
    weights = [weight.requires_grad_() for weight in weights]
    kernel = Kernel(depth=1, w_std=1.2, b_std=0.3)

    def gradient(image):
        hidden = 1.2 / math.sqrt(5) * weights[0] @ image + 0.3 * weights[1]
        output = 1.2 / math.sqrt(width) * weights[2] @ hidden.relu() + 0.3 * weights[3]
        return torch.cat([g.flatten() for g in torch.autograd.grad(output.sum(), weights)])

    rows = torch.stack([gradient(image) for image in x])
    _, ntk = kernels_of(kernel, x, x, same=True)
    torch.testing.assert_close(rows @ rows.T, ntk, rtol=0.05, atol=0.02)


def test_blocks_equal_two_separate_kernels():
    targets, support = vectors(2 * 4, 9).view(2, 4, 9), vectors(2 * 3, 9, seed=1).view(2, 3, 9)
    across, within = ntk_blocks(Kernel(), targets, support)
    for k in range(2):
        apart = kernels_of(Kernel(), targets[k], support[k])[1]
        own = kernels_of(Kernel(), support[k], support[k], same=True)[1]
        torch.testing.assert_close(across[k], apart, rtol=1e-13, atol=0)
        torch.testing.assert_close(within[k], own, rtol=1e-13, atol=0)


def test_gradients_equal_finite_differences():
    targets, support = vectors(3, 6)[None], vectors(2, 6, seed=1)[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ntk_blocks(Kernel(depth=2), targets, s), (support,))


def test_gradients_are_finite_with_duplicate_images():
    image = vectors(1, 30)
    support = torch.cat([image, image, -image, 2 * image, image * (1 + 1e-9)])[
        None
    ].requires_grad_()
    across, within = ntk_blocks(Kernel(), torch.cat([image, vectors(2, 30, seed=1)])[None], support)
    (gradient,) = torch.autograd.grad(across.sum() + within.sum(), support)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() < 100


# What neural-tangents 0.6.5 returned in float64 for depth 4, W_std sqrt(2) and b_std 0.1; no
# code of it is in here. `x` (12, 64) and `z` (9, 64) are normal draws, except that
# x[0..3] and z[0..3] are equal, opposite, in proportion 1 to 2, and 1e-7 apart.
REFERENCE = Path(__file__).with_name("kernel_reference.npz")


@pytest.mark.parametrize("name", ["xx", "xz"])
def test_values_equal_those_of_neural_tangents(name):
    with np.load(REFERENCE, allow_pickle=False) as file:
        stored = {key: torch.from_numpy(array) for key, array in file.items()}
    x, other = stored["x"], stored[name[1]]
    nngp, ntk = kernels_of(Kernel(), x, other, same=name == "xx")
    cosine = torch.nn.functional.cosine_similarity(x[:, None], other[None], dim=2)
    generic = cosine.abs() < 1 - 1e-9
    assert (nngp - stored[f"nngp_{name}"]).abs().max() < 1e-12
    assert (ntk - stored[f"ntk_{name}"]).abs()[generic].max() < 1e-12
    # neural-tangents carries the square root of its rounding in the angle of parallel pairs
    assert (ntk - stored[f"ntk_{name}"]).abs()[~generic].max() < 1e-6
