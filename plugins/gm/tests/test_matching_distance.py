"""The matching distance: by hand, by finite differences, and by figures of the reference code."""

import math

import pytest
import torch
from ddbench.testing import toy_task
from ddbench_gm import matching_distance

DOUBLE = {"dtype": torch.float64}


def seeded_gradients():
    generator = torch.Generator().manual_seed(11)
    shapes = [(4, 3, 3, 3), (4,), (5, 4, 4), (6, 20), (6,)]

    def draw():
        return [torch.randn(s, generator=generator) * 10**-k for k, s in enumerate(shapes)]

    return draw(), draw()


@pytest.mark.parametrize(
    ("metric", "figure"),
    # What match_loss of the reference (commit 53f63a6) returned for these tensors, float32.
    [("ours", 14.479853630065918), ("mse", 220.9615478515625), ("cos", 1.0807641744613647)],
)
def test_equals_the_reference_code_on_seeded_tensors(metric, figure):
    synthetic, real = seeded_gradients()
    assert matching_distance(synthetic, real, metric).item() == pytest.approx(figure, rel=1e-6)


def test_sums_one_minus_cosine_over_rows_and_layers():
    linear = torch.tensor([[3.0, 4.0], [1.0, 0.0]], **DOUBLE)
    other = torch.tensor([[6.0, 8.0], [0.0, 2.0]], **DOUBLE)  # parallel, then at right angles
    kernel = torch.tensor([[[[2.0]], [[0.0]]]], **DOUBLE)  # (1, 2, 1, 1): one row of two
    opposite = -kernel
    expected = (1 - 50 / (5 * 10 + 1e-6)) + 1 + (1 + 4 / (2 * 2 + 1e-6))
    distance = matching_distance([linear, kernel], [other, opposite]).item()
    assert distance == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("norm", "expected"), [(1.0, 1e-6), (0.01, 0.0099), (1e-3, 0.5), (1e-4, 0.99)]
)
def test_equal_rows_are_not_at_distance_zero_once_they_are_small(norm, expected):
    row = torch.tensor([[0.6, 0.8]], **DOUBLE) * norm
    distance = matching_distance([row], [row]).item()
    assert distance == pytest.approx(1e-6 / (norm**2 + 1e-6), rel=1e-6)
    assert distance == pytest.approx(expected, rel=0.01)


def test_a_zero_real_row_is_one_away_and_pulls_nowhere():
    synthetic = torch.tensor([[1.0, 2.0]], **DOUBLE, requires_grad=True)
    distance = matching_distance([synthetic], [torch.zeros(1, 2, **DOUBLE)])
    distance.backward()
    assert distance.item() == 1
    assert synthetic.grad.abs().max() == 0


def test_a_zero_synthetic_row_is_one_away_and_pulls_with_the_inverse_of_epsilon():
    synthetic = torch.zeros(1, 2, **DOUBLE, requires_grad=True)
    distance = matching_distance([synthetic], [torch.tensor([[0.9, 1.2]], **DOUBLE)])
    distance.backward()
    assert distance.item() == 1
    assert synthetic.grad.norm().item() == pytest.approx(1.5e6)


def test_the_guard_cuts_the_pull_of_vanishing_rows_and_changes_no_value():
    real = torch.tensor([[0.9, 1.2], [1.0, 0.0]], **DOUBLE)
    start = torch.tensor([[1e-9, 0.0], [1.0, 1.0]], **DOUBLE)
    plain, guarded = (start.clone().requires_grad_() for _ in range(2))
    distance = matching_distance([plain], [real])
    distance.backward()
    with_guard = matching_distance([guarded], [real], guard=1e-6)
    with_guard.backward()
    assert with_guard.item() == distance.item()
    assert plain.grad[0].norm() > 1e5
    assert guarded.grad[0].norm() == 0
    assert torch.equal(guarded.grad[1], plain.grad[1])


@pytest.mark.parametrize(("metric", "matters"), [("ours", False), ("mse", True), ("cos", True)])
def test_biases_matter_to_all_metrics_but_ours(metric, matters):
    synthetic, real = seeded_gradients()
    before = matching_distance(synthetic, real, metric)
    changed = [s + 1 if s.ndim == 1 else s for s in synthetic]
    assert (matching_distance(changed, real, metric) != before).item() is matters


@pytest.mark.parametrize(
    ("architecture", "rows"),
    [
        ("convnet", 394),
        ("mlp", 266),
        ("lenet", 236),
        ("alexnet", 970),
        ("vgg11", 2762),
        ("resnet18", 4810),
    ],
)
def test_counts_the_rows_of_each_network(architecture, rows):
    # To a zero gradient every row is at distance 1, so that the distance counts them.
    network = toy_task(classes=10, size=28, architecture=architecture).new_network()
    gradients = [torch.full_like(parameter, 1e-3).detach() for parameter in network.parameters()]
    zeros = [torch.zeros_like(gradient) for gradient in gradients]
    assert matching_distance(gradients, zeros).item() == rows


def test_counts_channels_of_layer_norm():
    weight = torch.ones(5, 4, 4)
    assert matching_distance([weight, weight], [torch.zeros(5, 4, 4)] * 2).item() == 10


def test_refuses_an_unknown_metric():
    with pytest.raises(ValueError, match="metric is 'l1'; available: ours, mse, cos"):
        matching_distance([torch.ones(1, 1)], [torch.ones(1, 1)], "l1")


@pytest.mark.parametrize("metric", ["ours", "mse", "cos"])
def test_its_gradient_in_the_images_equals_finite_differences(metric):
    """Of the distance as a function of pixels, through the network's own gradient, in float64."""
    network = toy_task(size=4, architecture="convnet-w4-d1-swish").new_network().double()
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 1, 4, 4, generator=generator, **DOUBLE)
    parameters = list(network.parameters())
    real = [torch.randn(p.shape, generator=generator, **DOUBLE) for p in parameters]

    def distance(pixels):
        loss = torch.nn.functional.cross_entropy(network(pixels), torch.tensor([0, 2]))
        own = torch.autograd.grad(loss, parameters, create_graph=True)
        return matching_distance(own, real, metric)

    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(leaf), leaf)
    h = 1e-6
    for position in range(0, images.numel(), 5):
        shift = torch.zeros_like(images)
        shift.view(-1)[position] = h
        slope = (distance(images + shift) - distance(images - shift)).item() / (2 * h)
        assert math.isclose(gradient.view(-1)[position].item(), slope, rel_tol=1e-5, abs_tol=1e-7)
