import pytest
import torch
from ddbench_fedd3 import centred, kip
from ddbench_fedd3.kernel import Kernel, ntk_blocks


def problem(clients=4, n=6, m=3, d=16, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda count: torch.randn(clients, count, d, generator=generator, dtype=torch.float64)  # noqa: E731
    labels = lambda count: torch.randint(classes, (clients, count), generator=generator)  # noqa: E731
    return (draw(m), centred(labels(m), classes)), (draw(n), centred(labels(n), classes))


def test_the_loss_is_that_of_kernel_ridge_regression():
    (images, targets), (real, real_targets) = problem(clients=1)
    outcome = kip.evaluate(Kernel(), 1e-3, (images, targets), (real, real_targets))
    across, within = (block[0] for block in ntk_blocks(Kernel(), real, images))
    regularised = within + 1e-3 * within.trace() / 3 * torch.eye(3, dtype=torch.float64)
    prediction = across @ torch.linalg.inv(regularised) @ targets[0]
    loss = ((prediction - real_targets[0]) ** 2).sum() / (2 * prediction.numel())
    assert outcome.losses.item() == pytest.approx(loss.item(), rel=1e-11)
    hits = prediction.argmax(1) == real_targets[0].argmax(1)
    assert outcome.accuracies.item() == hits.double().mean().item()


def test_gradients_equal_finite_differences():
    support, batch = problem(clients=2, n=3, m=2, d=5)
    outcome = kip.evaluate(Kernel(), 1e-2, support, batch)

    def loss(images, targets):
        return kip.evaluate(Kernel(), 1e-2, (images, targets), batch).losses.sum()

    for which, gradient in enumerate(outcome.gradients):
        for index in [(0, 0, 0), (1, 1, 2)]:
            values = []
            for move in (1e-5, -1e-5):
                moved = [tensor.clone() for tensor in support]
                moved[which][index] += move
                values.append(loss(*moved).item())
            slope = (values[0] - values[1]) / 2e-5
            assert gradient[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_batched_clients_equal_clients_one_by_one():
    support, batch = problem(clients=7)
    together = kip.evaluate(Kernel(), 1e-6, support, batch)
    for k in range(7):
        alone = kip.evaluate(
            Kernel(), 1e-6, tuple(s[k : k + 1] for s in support), tuple(b[k : k + 1] for b in batch)
        )
        for a, b in zip(alone.gradients, together.gradients, strict=True):
            torch.testing.assert_close(a[0], b[k], rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(alone.losses[0], together.losses[k], rtol=1e-10, atol=0)


def test_duplicate_support_images_give_finite_gradients():
    (images, targets), batch = problem()
    images = torch.cat([images, images], 1)
    outcome = kip.evaluate(Kernel(), 1e-6, (images, torch.cat([targets, targets], 1)), batch)
    assert all(torch.isfinite(gradient).all() for gradient in outcome.gradients)


def test_the_ridge_is_raised_only_where_a_factorisation_fails():
    # Eigenvalues 2.002 and -0.002, mean diagonal 1: every ridge below 0.002 fails.
    indefinite = torch.tensor([[1.0, 1.002], [1.002, 1.0]], dtype=torch.float64)
    matrices = torch.stack([torch.eye(2, dtype=torch.float64), indefinite])
    factor, bumps = kip.regularised_cholesky(matrices, 1e-6)
    assert bumps.tolist() == [0, 4]  # 1e-2 is the first power of ten above 0.002
    eye = torch.eye(2, dtype=torch.float64)
    expected = torch.stack([matrices[0] + 1e-6 * eye, matrices[1] + 1e-2 * eye])
    torch.testing.assert_close(factor @ factor.mT, expected, rtol=1e-12, atol=1e-14)


def test_a_kernel_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="lower lr_images"):
        kip.regularised_cholesky(torch.full((1, 2, 2), float("nan"), dtype=torch.float64), 1e-6)


def test_stacked_adam_equals_torch_adam_and_leaves_stopped_clients_alone():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64)
    gradients = torch.randn(5, 3, 2, 4, generator=generator, dtype=torch.float64)
    alone = [values[k].clone().requires_grad_() for k in range(3)]
    optimizers = [torch.optim.Adam([leaf], lr=0.004) for leaf in alone]
    adam, taken = kip.Adam.like(values), torch.zeros(3, dtype=torch.int64)
    for step in range(5):
        active = torch.tensor([0, 1, 2]) if step < 2 else torch.tensor([0, 2])
        taken[active] += 1
        adam.update(values, active, gradients[step, active], taken[active], 0.004)
        for k in active.tolist():
            alone[k].grad = gradients[step, k].clone()
            optimizers[k].step()
    for k in range(3):
        torch.testing.assert_close(values[k], alone[k].detach(), rtol=1e-12, atol=1e-15)


def test_chunks_keep_to_the_memory_limit(monkeypatch):
    monkeypatch.setitem(kip.CHUNK_BYTES, "cpu", 1000)
    cpu = torch.device("cpu")
    assert [len(chunk) for chunk in kip.chunks(torch.arange(7), 300, cpu)] == [3, 3, 1]
    assert [len(chunk) for chunk in kip.chunks(torch.arange(2), 5000, cpu)] == [1, 1]
    assert len(kip.chunks(torch.arange(7), 300, torch.device("cuda"))) == 1
