"""The matching loss and its gradients: three ways, finite differences, and the limits."""

import math

import pytest
import torch
from ddbench.augment import draw
from ddbench_datm.flat import FlatNetwork
from ddbench_datm.matching import (
    GRADIENTS,
    Problem,
    StudentBatch,
    adjoint,
    draw_batches,
    rollout,
    tesla,
    unroll,
)
from torch import nn

STRATEGY = "color_crop_cutout_scale_rotate"


def small_network(seed=0, dtype=torch.float32, width=4, smooth=False):
    """A ConvNet with instance norm; smooth: with an activation that has second derivatives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.GroupNorm(width, width),
            nn.SiLU() if smooth else nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(width * 16, 3),
        )
    return FlatNetwork(module.to(dtype))


def problem(
    steps=5, dtype=torch.float32, lr=0.05, strategy=STRATEGY, hard=False, size=4, smooth=False
):
    """A student on 6 images of 3 classes; the target is some way off the start."""
    generator = torch.Generator().manual_seed(1)
    network = small_network(dtype=dtype, smooth=smooth)
    start = network.weights()
    labels = torch.randn(6, 3, generator=generator, dtype=dtype)
    return Problem(
        network=network,
        start=start,
        target=start + 0.05 * torch.randn(len(start), generator=generator, dtype=dtype),
        images=torch.randn(6, 1, 8, 8, generator=generator, dtype=dtype),
        labels=labels.argmax(1) if hard else labels,
        lr=torch.tensor(lr, dtype=dtype),
        batches=draw_batches(6, size, steps, strategy, (1, 8, 8), generator),
    )


def compared(first, second):
    """Cosine and norm ratio of each gradient of two matches."""
    pairs = [(first.images, second.images), (first.lr, second.lr)]
    if first.labels is not None:
        pairs.append((first.labels, second.labels))
    for a, b in pairs:
        a, b = a.flatten().double(), b.flatten().double()
        yield (a @ b / (a.norm() * b.norm())).item(), (a.norm() / b.norm()).item()


@pytest.mark.parametrize("steps", [5, 40])
def test_adjoint_equals_unroll_in_float32(steps):
    case = problem(steps)
    for cosine, ratio in compared(adjoint(case), unroll(case)):
        assert cosine > 0.9999
        assert abs(ratio - 1) < 1e-3


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("steps", [5, 40])
def test_adjoint_equals_unroll_in_float64(steps, hard):
    case = problem(steps, torch.float64, hard=hard)
    ours, full = adjoint(case), unroll(case)
    torch.testing.assert_close(ours.loss, full.loss, rtol=1e-8, atol=0)
    torch.testing.assert_close(ours.images, full.images, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(ours.lr, full.lr, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(ours.student, full.student, rtol=1e-8, atol=1e-12)
    if hard:
        assert ours.labels is None and full.labels is None
    else:
        torch.testing.assert_close(ours.labels, full.labels, rtol=1e-8, atol=1e-12)


def test_tesla_is_biased_and_more_so_with_more_steps():
    cosines = {}
    for steps in (1, 5, 40):
        case = problem(steps, torch.float64)
        cosines[steps] = next(compared(tesla(case), unroll(case)))[0]
    assert cosines[1] == pytest.approx(1)  # one step has no step before it
    assert cosines[40] < cosines[5] < 0.99999
    assert cosines[40] < 0.99


def test_tesla_is_its_published_formula():
    """(2/D) (lr (target - theta_0) + lr^2 G) . g_i differentiated in images; -(2/D) r . G in lr."""
    case = problem(4, torch.float64)
    weights = rollout(case)
    lr, distance = case.lr, case.distance
    total = (weights[0] - weights[-1]) / lr  # G
    images = case.images.clone().requires_grad_()
    surrogate = 0
    for theta, batch in zip(weights, case.batches, strict=False):
        leaf = theta.clone().requires_grad_()
        logits = case.network(leaf, batch.transform.apply(images[batch.rows]))
        soft = case.labels[batch.rows].softmax(1)
        loss = -(soft * logits.log_softmax(1)).sum(1).mean()
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        factor = lr * (case.target - case.start) + lr**2 * total
        surrogate = surrogate + 2 / distance * (factor @ gradient)
    (expected,) = torch.autograd.grad(surrogate, images)
    match = tesla(case)
    torch.testing.assert_close(match.images, expected, rtol=1e-8, atol=1e-12)
    by_lr = -2 / distance * ((weights[-1] - case.target) @ total)
    torch.testing.assert_close(match.lr, by_lr, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("mode", ["adjoint", "unroll"])
@pytest.mark.parametrize("which", ["labels", "images", "lr"])
def test_gradients_agree_with_finite_differences(mode, which):
    case = problem(4, torch.float64, smooth=True)
    gradient = getattr(GRADIENTS[mode](case), which).flatten()
    tensor = getattr(case, which)
    flat = tensor.view(-1)
    entries = range(len(flat)) if which != "images" else range(0, len(flat), 23)
    for entry in entries:
        numeric = _central_difference(case, flat, entry, 1e-5)
        assert gradient[entry].item() == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def _central_difference(case, flat, entry, width):
    before, losses = flat[entry].item(), []
    for sign in (1, -1):
        flat[entry] = before + sign * width
        remainder = rollout(case)[-1] - case.target
        losses.append((remainder.square().sum() / case.distance).item())
    flat[entry] = before
    return (losses[0] - losses[1]) / (2 * width)


def test_loss_is_one_where_the_student_stands_still():
    for mode, gradient in GRADIENTS.items():
        match = gradient(problem(5, lr=0.0))
        assert match.loss.item() == 1.0, mode
        assert match.images.abs().max() == 0, mode


def test_loss_is_zero_where_the_student_replays_the_expert():
    """Same batches, same rate, labels that are one-hot once they have gone through softmax."""
    case = problem(3, torch.float64, strategy="none", hard=True)
    theta = case.start.clone()
    for batch in case.batches:
        leaf = theta.clone().requires_grad_()
        logits = case.network(leaf, case.images[batch.rows])
        loss = nn.functional.cross_entropy(logits, case.labels[batch.rows])
        theta = theta - 0.05 * torch.autograd.grad(loss, leaf)[0]
    soft = 1e4 * nn.functional.one_hot(case.labels, 3).double()
    replayed = Problem(case.network, case.start, theta, case.images, soft, case.lr, case.batches)
    for mode, gradient in GRADIENTS.items():
        assert gradient(replayed).loss.item() < 1e-25, mode


def test_a_step_uses_the_softmax_of_the_label_logits():
    """Adding a constant to all logits of an image changes nothing, so their gradients sum to 0."""
    match = adjoint(problem(5, torch.float64))
    torch.testing.assert_close(
        match.labels.sum(1), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert match.labels.abs().max() > 1e-6


def test_chunks_are_taken_from_the_end_remainder_first():
    generator = torch.Generator().manual_seed(3)
    batches = draw_batches(10, 4, 7, "none", (1, 8, 8), generator)
    assert [len(batch.rows) for batch in batches] == [2, 4, 4, 2, 4, 4, 2]
    for first in (0, 3):
        rows = torch.cat([batch.rows for batch in batches[first : first + 3]])
        assert sorted(rows.tolist()) == list(range(10))
    expected = torch.randperm(10, generator=torch.Generator().manual_seed(3)).split(4)
    assert [b.rows.tolist() for b in batches[:3]] == [e.tolist() for e in reversed(expected)]


@pytest.mark.parametrize("size", [0, 10, 25])
def test_a_batch_size_at_or_above_the_set_is_the_whole_set(size):
    batches = draw_batches(10, size, 3, "none", (1, 8, 8), torch.Generator().manual_seed(0))
    assert all(sorted(batch.rows.tolist()) == list(range(10)) for batch in batches)


def test_every_student_step_has_an_augmentation_of_its_own():
    generator = torch.Generator().manual_seed(0)
    batches = draw_batches(6, 0, 40, STRATEGY, (1, 8, 8), generator)
    assert {batch.transform.operation for batch in batches} == set(STRATEGY.split("_"))
    crops = [b.transform.parameters["rows"] for b in batches if b.transform.operation == "crop"]
    assert all(len(parameters) == 6 for parameters in crops)


def test_matching_leaves_its_inputs_alone():
    case = problem(3)
    before = [t.clone() for t in (case.start, case.target, case.images, case.labels, case.lr)]
    for gradient in GRADIENTS.values():
        gradient(case)
    after = (case.start, case.target, case.images, case.labels, case.lr)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(t.requires_grad for t in after)


def test_all_zero_step_draws_nothing_from_the_global_generator():
    state = torch.get_rng_state()
    adjoint(problem(3))
    assert torch.equal(state, torch.get_rng_state())


def test_flat_network_is_the_module_under_other_weights():
    network = small_network()
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(network.weights(), images), network.module(images))
    other = small_network(seed=1)
    torch.testing.assert_close(network(other.weights(), images), other.module(images))
    assert network.count == 4 * 9 + 4 + 8 + 64 * 3 + 3


def test_a_recorded_batch_can_be_taken_again():
    transform = draw(STRATEGY, 2, (8, 8), torch.Generator().manual_seed(5), shared=False)
    batch = StudentBatch(torch.tensor([0, 1]), transform)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second = batch.transform.apply(images), batch.transform.apply(images)
    assert torch.equal(first, second)
    assert math.isfinite(first.sum().item())
