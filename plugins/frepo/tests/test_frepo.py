"""FRePo: its regression, its start, the pool, the step by hand, what training it asks for."""

import math
from importlib.metadata import entry_points

import ddbench_frepo.method as frepo
import pytest
import torch
from ddbench import Facts, OptionsError
from ddbench.testing import bind, built_init, load_checkpoint, save_checkpoint, toy_task
from ddbench.training import Recipe
from ddbench_frepo.lamb import lamb_step, zero_moments
from ddbench_frepo.method import Config, centred_labels, share_at, train_steps_of
from ddbench_frepo.regression import margin_loss, predict, regression_loss

SMALL = Config(iterations=20, batch_real=16, pool=2, lr_images=0.02, train_steps=8)


def start(task, config=SMALL):
    return frepo.init(task=task, synthetic=built_init(task), config=config)


def draw(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


# -- the regression ------------------------------------------------------------------------------


def test_the_regression_is_the_one_of_the_formula_and_of_the_primal_problem():
    real, synthetic, labels = draw(7, 50), draw(12, 50, seed=1), draw(12, 3, seed=2)
    kernel = synthetic @ synthetic.T
    ridge = 1e-3 * kernel.trace() / 12
    solved = torch.linalg.solve(kernel + ridge * torch.eye(12, dtype=torch.float64), labels)
    found = predict(real, synthetic, labels, 1e-3)
    torch.testing.assert_close(found, real @ synthetic.T @ solved, rtol=0, atol=1e-11)
    moments = synthetic.T @ synthetic + ridge * torch.eye(50, dtype=torch.float64)
    primal = real @ torch.linalg.solve(moments, synthetic.T @ labels)
    torch.testing.assert_close(found, primal, rtol=0, atol=1e-8)


def test_the_regression_has_the_right_gradients_in_features_and_labels():
    real = draw(4, 6)
    leaves = draw(5, 6, seed=1).requires_grad_(), draw(5, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: predict(real, x, y, 1e-2), leaves)


def test_the_regression_is_solved_in_float64_whatever_the_features_are():
    """Nearly equal features: float32 cannot tell the ridge from rounding."""
    base = draw(1, 40, dtype=torch.float32)
    synthetic = base + 1e-3 * draw(8, 40, seed=1, dtype=torch.float32)
    real, labels = draw(5, 40, seed=2, dtype=torch.float32), draw(8, 3, seed=3, dtype=torch.float32)
    found = predict(real, synthetic, labels, 1e-6)
    exact = predict(real.double(), synthetic.double(), labels.double(), 1e-6)
    assert found.dtype == torch.float64 and torch.equal(found, exact)
    kernel = synthetic @ synthetic.T
    single = kernel + 1e-6 * kernel.trace() / 8 * torch.eye(8)
    off = real @ synthetic.T @ torch.linalg.solve(single, labels) - exact
    assert off.abs().max() > 1e-4 * exact.abs().max()


def test_features_that_vanish_predict_nothing_and_move_nothing():
    """As those of black images: `plan --price` has no others."""
    synthetic = torch.zeros(4, 6, requires_grad=True)
    found = predict(draw(3, 6), synthetic, draw(4, 2, seed=1), 1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), synthetic)
    assert not found.any() and gradient.isfinite().all()


def test_the_loss_is_half_of_the_squares_of_an_image():
    predicted, targets = draw(6, 4), draw(6, 4, seed=1)
    mean = (predicted - targets).square().mean()
    assert regression_loss(predicted, targets).item() == pytest.approx(2 * mean.item(), rel=1e-12)


def test_the_margin_acts_only_where_a_label_has_nearly_lost_its_class():
    labels = torch.tensor([[0.9, -0.1, 0.0], [0.1, 0.2, 0.0]], requires_grad=True)
    loss = margin_loss(labels)
    assert loss.item() == pytest.approx(-(1 / 3 + 0.1) / 2)
    loss.backward()
    assert labels.grad.tolist() == [[0, 0, 0], [0.5, -0.5, 0]]


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_margin_has_no_gradient_at_the_start(classes):
    start_labels = centred_labels(torch.arange(classes), classes) / math.sqrt(classes / 10)
    labels = start_labels.requires_grad_()
    loss = margin_loss(labels)
    loss.backward()
    assert loss.item() == pytest.approx(-1 / classes) and not labels.grad.any()


def test_learning_labels_alone_never_raises_the_loss():
    """It is convex in the labels: plain descent with a small step goes down all the way."""
    real, synthetic, targets = draw(20, 30), draw(6, 30, seed=1), draw(20, 3, seed=2)
    labels, losses = draw(6, 3, seed=3), []
    for _ in range(50):
        labels.requires_grad_()
        loss = regression_loss(predict(real, synthetic, labels, 1e-3), targets)
        (gradient,) = torch.autograd.grad(loss, labels)
        labels = labels.detach() - 0.05 * gradient
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


# -- LAMB ----------------------------------------------------------------------------------------


def test_lamb_is_its_formula():
    tensor, gradients = draw(3, 4), [draw(3, 4, seed=s) for s in (1, 2, 3)]
    moved, moments = tensor.clone(), zero_moments(tensor)
    for count, gradient in enumerate(gradients, 1):
        lamb_step(moved, gradient, moments, count, 0.1)
    first = second = torch.zeros_like(tensor)
    for count, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = (first / (1 - 0.9**count)) / ((second / (1 - 0.999**count)) ** 0.5 + 1e-6)
        ratio = (tensor**2).sum() ** 0.5 / (step**2).sum() ** 0.5
        tensor = tensor - 0.1 * ratio * step
    torch.testing.assert_close(moved, tensor, rtol=1e-12, atol=1e-14)


def test_a_step_of_lamb_is_as_long_as_the_share_of_the_whole_tensor():
    """One ratio couples all images: a split by class would be another method."""
    images = torch.cat([draw(2, 5), 100 * draw(2, 5, seed=1)])
    gradient, moved = draw(4, 5, seed=2), images.clone()
    lamb_step(moved, gradient, zero_moments(images), 1, 0.01)
    assert (moved - images).norm().item() == pytest.approx(0.01 * images.norm().item())
    alone = images[:2].clone()
    lamb_step(alone, gradient[:2], zero_moments(alone), 1, 0.01)
    assert (moved[:2] - images[:2]).norm() > 10 * (alone - images[:2]).norm()


@pytest.mark.parametrize("zero", ["tensor", "gradient"])
def test_lamb_takes_the_ratio_as_one_where_a_norm_is_zero(zero):
    tensor = torch.zeros(3) if zero == "tensor" else torch.ones(3)
    gradient = torch.zeros(3) if zero == "gradient" else torch.ones(3)
    moved = tensor.clone()
    lamb_step(moved, gradient, zero_moments(tensor), 1, 0.1)
    torch.testing.assert_close(moved, tensor - 0.1 * gradient, rtol=1e-5, atol=0)


def test_the_learning_rate_falls_along_a_cosine_to_a_tenth():
    shares = [share_at(step, 100) for step in range(0, 301, 50)]
    assert shares[:3] == [1.0, pytest.approx(0.55), pytest.approx(0.1)]
    assert shares[3:] == [pytest.approx(0.1)] * 4


# -- the method ----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_labels_start_centred_and_scaled_by_the_number_of_classes(classes):
    labels = start(toy_task(classes=classes, per_class=2)).labels
    torch.testing.assert_close(labels.sum(1), torch.zeros(classes), rtol=0, atol=1e-5)
    assert labels.argmax(1).tolist() == list(range(classes))
    high = (1 - 1 / classes) / math.sqrt(classes / 10)
    assert labels.max().item() == pytest.approx(high, rel=1e-6)


def test_the_counts_of_the_pool_are_staggered_and_its_networks_are_fresh():
    state = start(toy_task(), Config())
    assert state.updates == list(range(0, 100, 10))
    weights = [network.classifier.weight for network in state.networks]
    assert len({weight.sum().item() for weight in weights}) == 10


def test_a_network_lives_for_one_update_more_than_the_most():
    task = toy_task()
    state = start(task, Config(iterations=9, batch_real=4, pool=1, max_updates=3))
    lives, before = [], state.networks[0]
    for step in range(9):
        frepo.condense_step(state=state, task=task, step=step)
        lives.append(state.networks[0] is before)
        before = state.networks[0]
    assert lives == [True] * 4 + [False] + [True] * 4


@pytest.mark.parametrize("flip", [False, True])
def test_a_step_is_the_one_by_hand(flip):
    """In float64 with a network in eval mode, which is then trained by one step of Adam."""
    settings = {"ipc": 2, "dtype": torch.float64, "architecture": "convnet-w4-d1-bn"}
    config = Config(iterations=10, batch_real=60, pool=1, flip=flip, lr_images=0.01)
    tasks = [toy_task(**settings) for _ in range(2)]
    for task in tasks:
        fresh = task.new_network
        task.new_network = lambda fresh=fresh: fresh().double()
    state, twin = (start(task, config) for task in tasks)
    for one in (state, twin):
        one.labels = one.labels.detach().double().requires_grad_()
        one.moments = (one.moments[0], zero_moments(one.labels))
    logged = frepo.condense_step(state=state, task=tasks[0], step=0)

    task, network = tasks[1], twin.networks[0].eval()
    mirror = torch.cat([twin.images, twin.images.flip(3)]) if flip else twin.images
    features, of_real = network.embed(mirror), network.embed(task.images).detach()
    labels = torch.cat([twin.labels, twin.labels]) if flip else twin.labels
    kernel = features @ features.T
    added = 1e-6 * kernel.trace() / len(kernel) * torch.eye(len(kernel), dtype=torch.float64)
    predicted = of_real @ features.T @ torch.linalg.inv(kernel + added) @ labels
    wanted = torch.nn.functional.one_hot(task.labels, 3) - 1 / 3
    loss = 0.5 * (predicted - wanted).square().sum(1).mean()
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-5)
    right = (predicted.argmax(1) == task.labels).double().mean().item()
    assert logged["regression_accuracy"] == pytest.approx(right)
    for leaf, gradient in zip(
        (twin.images, twin.labels),
        torch.autograd.grad(loss, (twin.images, twin.labels)),
        strict=True,
    ):
        lamb_step(leaf, gradient, zero_moments(leaf), 1, 0.01)
    torch.testing.assert_close(state.images, twin.images, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(state.labels, twin.labels, rtol=1e-6, atol=1e-9)

    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    error = network(twin.images.detach()) - twin.labels.detach()
    (0.5 * error.square().sum(1).mean()).backward()
    optimizer.step()
    for found, expected in zip(
        state.networks[0].state_dict().values(), network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_loss_falls_on_one_network_and_one_batch(monkeypatch):
    task = toy_task(ipc=2, architecture="convnet-w4-d1")
    state = start(task, Config(iterations=100, batch_real=60, pool=1, lr_images=0.01))
    monkeypatch.setattr(frepo, "advance", lambda state, task, k: None)
    losses = [frepo.condense_step(state=state, task=task, step=s)["loss"] for s in range(20)]
    assert losses[-1] < losses[0]


def test_labels_stay_where_they_are_not_learned():
    task = toy_task()
    state = start(task, Config(iterations=5, batch_real=8, pool=1, learn_labels=False))
    images, labels = state.images.detach().clone(), state.labels.detach().clone()
    frepo.condense_step(state=state, task=task, step=0)
    assert torch.equal(state.labels, labels) and not torch.equal(state.images, images)


@pytest.mark.parametrize(
    ("strategy", "flip", "expected"),
    [
        ("color_crop_cutout_flip_scale_rotate", None, True),
        ("color_crop_cutout_scale_rotate", None, False),
        ("color_crop_cutout_flip_scale_rotate", False, False),
    ],
)
def test_images_are_mirrored_where_the_dataset_has_flips(strategy, flip, expected):
    task = toy_task()
    task.strategy = strategy
    assert start(task, Config(flip=flip, pool=1)).flip == expected


def test_a_kernel_that_cannot_be_solved_says_what_would_do():
    task = toy_task()
    state = start(task)
    with torch.no_grad():
        state.images.fill_(math.nan)
    with pytest.raises(OptionsError, match="not positive definite") as raised:
        frepo.condense_step(state=state, task=task, step=0)
    assert raised.value.options == {"ridge": 1e-5, "lr_images": 0.002}


def test_stopped_and_taken_up_again_it_ends_the_same(tmp_path):
    """Past a replacement, at a batch smaller than the set, with LAMB's and Adam's moments."""
    config = Config(iterations=6, batch_real=8, pool=2, max_updates=1, batch_network=4)
    task = toy_task(ipc=2, architecture="convnet-w4-d1-bn")
    state = start(task, config)
    for step in range(6):
        if step == 4:
            save_checkpoint(tmp_path / "state", state, task)
        frepo.condense_step(state=state, task=task, step=step)
    other_task = toy_task(ipc=2, architecture="convnet-w4-d1-bn")
    other = start(other_task, config)
    load_checkpoint(tmp_path / "state", other, other_task)
    for step in (4, 5):
        frepo.condense_step(state=other, task=other_task, step=step)
    assert torch.equal(other.images, state.images) and torch.equal(other.labels, state.labels)


# -- what is exported ----------------------------------------------------------------------------


@pytest.mark.parametrize(("ipc", "steps"), [(1, 1000), (10, 2000)])
def test_the_published_training_is_what_the_set_asks_for(ipc, steps):
    task = toy_task(classes=10, per_class=ipc, ipc=ipc)
    synthetic = frepo.export(state=start(task, Config(pool=1)), task=task)
    recipe = Recipe.of({"epochs": 1, **synthetic.recipe})
    assert (recipe.steps, recipe.batch, recipe.optimizer) == (steps, 10 * ipc, "adam")
    share = recipe.schedule.share
    assert [share(0, 1, step, steps) for step in (0, 250, 500)] == [0, 0.5, 1]
    assert share(0, 1, steps, steps) == pytest.approx(0.01)
    assert synthetic.label_kind == "regression" and recipe.loss.name == "mse"


@pytest.mark.parametrize(
    ("count", "steps"),
    [(2, 1000), (10, 1000), (30, 2000), (500, 5000), (1000, 10_000), (5000, 40_000)],
)
def test_sets_of_other_sizes_take_the_steps_of_the_next(count, steps):
    assert train_steps_of(count) == steps


def test_what_is_exported_does_not_change_with_later_steps():
    task = toy_task()
    state = start(task)
    exported = frepo.export(state=state, task=task)
    images, labels = exported.images.clone(), exported.labels.clone()
    frepo.condense_step(state=state, task=task, step=0)
    assert torch.equal(exported.images, images) and torch.equal(exported.labels, labels)
    assert not torch.equal(state.labels, labels)


# -- what is said --------------------------------------------------------------------------------


def test_published_settings_are_the_defaults():
    info = bind(frepo).info
    assert info.steps(Config(), 10) == 500_000
    assert (Config().lr_images, Config().lr_network, Config().ridge) == (3e-4, 3e-4, 1e-6)
    assert (Config().batch_real, Config().pool, Config().max_updates) == (1024, 10, 100)
    assert {"steps": 0} in info.controls and {"method": "random"} in info.controls


def test_options_that_change_nothing_have_one_value():
    facts = Facts("mnist", 10, (1, 28, 28), (6,) * 10, "convnet", "real", 1, 5)
    same = frepo.canonical(Config(batch_real=60, batch_network=10, train_steps=1000), facts)
    assert frepo.canonical(Config(), facts) == same
    assert frepo.canonical(Config(batch_real=59), facts) != same
    unmoved = Facts("mnist", 10, (1, 28, 28), (6,) * 10, "convnet", "real", 1, 0)
    assert frepo.canonical(Config(ridge=1.0), unmoved) == frepo.canonical(Config(), unmoved)
    assert frepo.canonical(Config(train_steps=5), unmoved) != frepo.canonical(Config(), unmoved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": 0.0}, "ridge is 0.0; expected more than 0"),
        ({"pool": 0}, "pool is 0"),
        ({"train_steps": 0}, "train_steps is 0"),
        ({"max_updates": -1}, "max_updates is -1"),
    ],
)
def test_refuses_options_that_could_not_work(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_is_installed_as_a_method():
    assert entry_points(group="ddbench.methods")["frepo"].value == "ddbench_frepo.method"
