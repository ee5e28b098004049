"""SRe2L: the statistics, recovering, labels of views, the controls and resuming."""

import math
from importlib.metadata import entry_points

import ddbench_sre2l as sre2l
import pytest
import torch
import torch.nn.functional as F
from ddbench import Facts, Unsupported
from ddbench.contract.config import make_config
from ddbench.contract.synthetic_set import check_recipe
from ddbench.formations import problems, regime
from ddbench.testing import (
    bind,
    built_init,
    condense,
    load_checkpoint,
    save_checkpoint,
    toy_task,
)
from ddbench.training import predict
from ddbench_sre2l import Config
from ddbench_sre2l.batchnorm import distance, watched

TAUGHT = {"teacher_epochs": 40, "iterations": 4, "epochs": 3, "together": 2, "roll": 1, "crop": 0.5}
ARCHITECTURE = "convnet-w8-d1-bn"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Teachers, trained once for all tests."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def task_of(store):
    return lambda **said: toy_task(store=store, **{"architecture": ARCHITECTURE, **said})


def started(task, **options):
    config = Config(**{**TAUGHT, **options})
    own = bind(sre2l).info.own_init(config)
    synthetic = None if own else built_init(task, "noise")
    return sre2l.init(task=task, synthetic=synthetic, config=config)


def after(task, steps, **options):
    state, logged = started(task, **options), []
    for step in range(steps):
        logged.append(sre2l.condense_step(state=state, task=task, step=step))
    return state, logged


# -- statistics ----------------------------------------------------------------------------------


def test_the_distance_is_zero_on_the_statistics_of_the_batch_itself():
    layer = torch.nn.BatchNorm2d(8).eval()
    values = torch.randn(4, 8, 14, 14) * 3 + 1
    layer.running_mean.copy_(values.mean((0, 2, 3)))
    layer.running_var.copy_(values.var((0, 2, 3), correction=0))
    leaf = values.clone().requires_grad_()
    with watched(layer) as inputs:
        layer(leaf)
    off = distance(inputs, first=10)
    assert off < 1e-5
    layer.running_mean.zero_()
    layer.running_var.fill_(1)
    still = torch.stack([torch.ones(8), -torch.ones(8)])[:, :, None, None].requires_grad_()
    with watched(layer) as inputs:
        layer(still)
    exact = distance(inputs, first=10)
    exact.backward()
    assert exact == 0 and torch.equal(still.grad, torch.zeros_like(still))


def test_a_forward_in_train_mode_leaves_variances_that_are_not_those_of_the_distance():
    """PyTorch's running variances are unbiased: they are |var|/(n - 1) away."""
    layer = torch.nn.BatchNorm2d(8, momentum=1.0)
    values = torch.randn(4, 8, 14, 14)
    layer(values)
    layer.eval()
    with watched(layer) as inputs:
        layer(values)
    expected = values.var((0, 2, 3), correction=0).norm() / (4 * 14 * 14 - 1)
    assert distance(inputs, first=1).item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_first_layer_weighs_more_and_no_hook_is_left():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)).eval()
    values = torch.randn(5, 2, 3, 3)
    with watched(network) as inputs:
        network(values)
    ones = [distance([one], 1).item() for one in inputs]
    assert distance(inputs, 10).item() == pytest.approx(10 * ones[0] + ones[1], rel=1e-6)
    network(values)
    assert len(inputs) == 2


# -- recovering ----------------------------------------------------------------------------------


def test_one_step_is_that_of_adam_on_the_loss_written_out(task_of):
    task = task_of(ipc=2)
    state = started(task, roll=0)
    teacher = state.teachers[0].network
    images = state.passes[0].detach().clone().flatten(0, 1)
    leaf = images.clone().requires_grad_()
    with watched(teacher) as inputs:
        logits = teacher(leaf)
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    loss = F.cross_entropy(logits, classes) + 0.01 * distance(inputs, 10)
    (gradient,) = torch.autograd.grad(loss, leaf)
    logged = sre2l.condense_step(state=state, task=task, step=0)
    assert logged["loss"] == pytest.approx(loss.item(), rel=1e-5)
    expected = images - 0.25 * gradient / (gradient.abs() + 1e-8)  # Adam's first step
    expected = torch.minimum(torch.maximum(expected, state.limits[0]), state.limits[1])
    torch.testing.assert_close(
        state.passes[0].detach().flatten(0, 1), expected, rtol=1e-3, atol=1e-3
    )


def test_a_pass_moves_its_own_images_with_a_rate_that_falls_and_starts_again(task_of):
    task = task_of(ipc=3)
    state = started(task)
    before = [part.detach().clone() for part in state.passes]
    assert [len(part) for part in before] == [2, 1]
    rates = []
    for step in range(8):
        sre2l.condense_step(state=state, task=task, step=step)
        rates.append(state.optimizer.param_groups[0]["lr"])
        if step == 3:
            assert torch.equal(state.passes[1], before[1])
            first = state.passes[0].detach().clone()
    expected = [0.25 * 0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(4)] * 2
    assert rates == pytest.approx(expected)
    assert not torch.equal(first, before[0]) and torch.equal(state.passes[0], first)
    assert not torch.equal(state.passes[1], before[1])


def test_recovered_images_are_called_their_class_and_are_nearer_to_the_statistics(task_of):
    task = task_of(ipc=2)
    noise = started(task)
    state, logged = after(task, 60, iterations=60, bn_weight=0.1)
    teacher = state.teachers[0].network
    images = sre2l.images_of(state)
    called = predict(teacher, images).argmax(1)
    assert (called == torch.tensor([0, 0, 1, 1, 2, 2])).float().mean() > 0.9
    assert logged[-1]["loss"] < logged[0]["loss"]
    off = []
    for shown in (sre2l.images_of(noise), images):
        with watched(teacher) as inputs, torch.no_grad():
            teacher(shown)
        off.append(distance(inputs, 10).item())
    assert off[1] < off[0]


def test_images_stay_in_the_range_of_the_real_ones(task_of):
    task = task_of(ipc=2)
    state, _ = after(task, 4, lr_images=50.0)
    low, high = task.images.amin(), task.images.amax()
    images = sre2l.images_of(state)
    assert images.min() == low and images.max() == high


def test_all_images_of_a_pass_share_one_look(task_of):
    task = task_of()
    image = torch.randn(1, 1, 8, 8)
    looks = set()
    for _ in range(30):
        shown = sre2l.looked_at(image.expand(5, -1, -1, -1), task, Config(roll=2, zoom=0.3))
        assert torch.equal(shown, shown[:1].expand_as(shown))
        rolled = sre2l.looked_at(image, task, Config(roll=2))
        looks |= {
            (i, j) for i in range(3) for j in range(3)
            if torch.equal(rolled, image.roll((i, j), (2, 3)))
        }  # fmt: skip
    assert len(looks) > 4
    assert sre2l.looked_at(image, task, Config(roll=0)) is image


def test_the_teacher_is_left_as_it_was(task_of):
    task = task_of()
    state = started(task)
    before = {name: value.clone() for name, value in state.teachers[0].network.state_dict().items()}
    for step in range(7):
        sre2l.condense_step(state=state, task=task, step=step)
    now = state.teachers[0].network.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.items())
    assert all(p.grad is None for p in state.teachers[0].network.parameters())


# -- labels --------------------------------------------------------------------------------------


def test_each_stored_label_is_the_teachers_for_the_view_that_a_network_sees(task_of):
    from ddbench.contract.recipes import Recipe
    from ddbench.formations import Fit, Own, decode, own_batches
    from ddbench.training.evaluation import own_recipe

    task = task_of(ipc=2)
    state, _ = after(task, 7, batch=4)
    result = sre2l.export(state=state, task=task)
    recipe, decoded = own_recipe(Recipe(epochs=1), result), decode(result)
    own = Own(result, decoded, recipe, torch.Generator(), Fit(3, (1, 8, 8), 6))
    batches, _ = own_batches(own)
    seen = 0
    for epoch in range(3):
        for make in batches(epoch):
            batch = make()
            answers = predict(state.teachers[0].network, batch.shown.images)
            torch.testing.assert_close(batch.targets, answers, rtol=2**-10, atol=1e-4)
            seen += len(answers)
    assert seen == 3 * 6


def test_the_set_can_be_trained_on_and_counts_its_bytes(task_of):
    task = task_of(ipc=2)
    state, _ = after(task, 7)
    result = sre2l.export(state=state, task=task)
    assert check_recipe(result) == [] and regime(result) == "SL+KD"
    assert problems(result, num_classes=3, shape=(1, 8, 8)) == []
    views = 3 * 6 * (4 + 4 + 1 + 4) + 3 * 4  # order, crop, flip, partner; one box a batch
    assert result.bytes == 6 * 64 * 4 + 6 * 8 + views + 3 * 6 * 3 * 2
    assert result.measures["teacher_network"] == ARCHITECTURE
    assert 0.5 < result.measures["teacher_accuracy"] <= 1


def test_before_the_first_label_the_set_is_plain_and_midway_it_has_those_there_are(task_of):
    task = task_of(ipc=2)
    state = started(task)
    counts = []
    for step in range(7):
        result = sre2l.export(state=state, task=task)
        assert problems(result, num_classes=3, shape=(1, 8, 8)) == []
        counts.append(len(result.payload.get("order", ())))
        assert bool(result.recipe) == bool(result.payload)
        sre2l.condense_step(state=state, task=task, step=step)
    assert counts == [0, 0, 0, 0, 0, 1, 2]
    with pytest.raises(sre2l.Converged):
        sre2l.condense_step(state=state, task=task, step=7)


def test_the_recipe_is_the_published_one(task_of):
    task = task_of(ipc=2)
    state, _ = after(task, 5)
    assert sre2l.export(state=state, task=task).recipe == {
        "epochs": 3,
        "batch": 6,
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.01,
        "schedule": {"name": "cosine"},
        "loss": {"name": "kl", "temperature": 30.0},
    }
    assert Config().epochs == 400 and Config().batch == 128


@pytest.mark.parametrize("images", ["real", "noise"])
def test_a_control_differs_in_its_images_and_the_answers_alone(task_of, images):
    one, other = task_of(ipc=2), task_of(ipc=2)
    options = {**TAUGHT, "batch": 4}
    result = condense(sre2l, one, Config(**options), steps=7, init="noise")
    control = condense(sre2l, other, Config(images=images, **options), steps=3, init="noise")
    expected = built_init(task_of(ipc=2), images).images
    assert torch.equal(control.images, expected)
    assert dict(control.recipe) == dict(result.recipe)
    assert dict(control.formation) == dict(result.formation)
    assert control.bytes == result.bytes
    for name in ("order", "crop", "flip", "partner", "box"):
        assert torch.equal(control.payload[name], result.payload[name]), name
    assert not torch.equal(control.payload["targets"], result.payload["targets"])


def test_the_controls_stand_beside_every_row_and_label_only():
    info = bind(sre2l).info
    for images in ("real", "noise"):
        assert {"options": {"images": images}} in info.controls
        assert info.own_init(Config(images=images)) == images
        assert info.steps(Config(images=images), 10) == 400
    assert info.steps(Config(), 10) == 10_000 + 400
    assert info.steps(Config(together=4), 10) == 3_000 + 400


def test_of_several_teachers_a_label_is_the_mean_of_their_logits(task_of):
    task = task_of(ipc=2)
    names = (ARCHITECTURE, "convnet-w4-d1-bn")
    state, _ = after(task, 5, teachers=names, crop=1.0)
    shown = sre2l.view(sre2l.images_of(state), state.views, 0, 0, 6)
    logits = [predict(one.network, shown) for one in state.teachers]
    torch.testing.assert_close(
        state.targets[0].float(), (logits[0] + logits[1]) / 2, rtol=1e-2, atol=1e-2
    )
    measures = sre2l.export(state=state, task=task).measures
    assert measures["teacher_network"] == "+".join(names)
    assert measures["teacher_accuracy"] == min(one.accuracy for one in state.teachers)


# -- the harness ---------------------------------------------------------------------------------


def test_interrupted_after_any_step_it_goes_on_bit_by_bit(task_of, tmp_path):
    task = task_of(ipc=3)
    straight = started(task)
    for step in range(11):
        sre2l.condense_step(state=straight, task=task, step=step)
        save_checkpoint(tmp_path / str(step), straight, task)
    last = sre2l.export(state=straight, task=task)
    for stop in (1, 3, 5, 7, 8, 9):
        task = task_of(ipc=3)
        state = started(task)
        load_checkpoint(tmp_path / str(stop), state, task)
        for step in range(stop + 1, 11):
            sre2l.condense_step(state=state, task=task, step=step)
        result = sre2l.export(state=state, task=task)
        assert result.sha256() == last.sha256(), f"stopped after step {stop}"


def facts(architecture="convnet-bn", counts=(20, 20), ipc=2):
    return Facts("toy", 2, (1, 28, 28), counts, architecture, "noise", ipc, 10)


@pytest.mark.parametrize(
    ("options", "architecture", "why"),
    [
        ({}, "convnet-bn", None),
        ({}, "resnet18-bn-w0.1", None),
        ({}, "convnet", "convnet has no batch norm"),
        ({}, "lenet", "lenet has no batch norm"),
        ({"teachers": ("convnet-bn",)}, "lenet", None),
        ({"teachers": ("convnet-bn", "mlp")}, "convnet-bn", "mlp has no batch norm"),
        ({"images": "real"}, "convnet", None),
        ({}, "of-somebody-else", None),
    ],
)
def test_a_teacher_without_batch_norm_is_refused_before_any_work(options, architecture, why):
    found = sre2l.needs(Config(**options), facts(architecture))
    assert found is None if why is None else found.startswith(why)


def test_a_teacher_without_batch_norm_is_refused_by_its_modules(task_of):
    with pytest.raises(Unsupported, match="has no batch norm"):
        started(task_of(architecture="convnet-w8-d1"))


def test_real_images_must_be_there():
    assert "class 1 has 1 training images" in sre2l.needs(
        Config(images="real"), facts(counts=(3, 1))
    )
    assert sre2l.needs(Config(), facts(counts=(3, 1))) is None


def test_images_are_flipped_only_where_the_data_set_has_flips(task_of):
    task = task_of()
    assert not started(task).views.flip.any()
    task.strategy = "color_flip"
    assert started(task, epochs=20).views.flip.any()


@pytest.mark.parametrize(
    "options",
    [{"images": "best"}, {"iterations": 0}, {"zoom": 0.0}, {"crop": 1.5}, {"lr_images": 0.0}],
)
def test_refuses_options_that_could_not_work(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Config(**options)


def test_is_installed_as_a_method():
    assert entry_points(group="ddbench.methods")["sre2l"].value == "ddbench_sre2l"
    info = bind(sre2l).info
    assert make_config(info, {**info.quick, **info.check}).teachers == (ARCHITECTURE,)
