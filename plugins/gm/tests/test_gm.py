"""GM and DSA: the update by hand, the networks' training, batch norm, memory and resuming."""

from importlib.metadata import entry_points

import ddbench_gm
import pytest
import torch
from ddbench import Facts
from ddbench.testing import (
    bind,
    built_init,
    condense,
    load_checkpoint,
    save_checkpoint,
    toy_task,
)
from ddbench.training import Recipe
from ddbench_gm import DSA, GM, dsa, gm
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

BOTH = pytest.mark.parametrize(("method", "config"), [(gm, GM), (dsa, DSA)], ids=["gm", "dsa"])


def start(task, config, method=gm, init="real"):
    synthetic = built_init(task, init)
    return method.init(task=task, synthetic=synthetic, config=config)


def in_double(task):
    """Let the task's networks have float64 parameters."""
    draw = task.new_network
    task.new_network = lambda: draw().double()
    return task


def gradients(network, images, c, create_graph=False):
    loss = cross_entropy(network(images), torch.tensor([c] * len(images)))
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=create_graph)


def distance_by_hand(synthetic, real):
    total = torch.zeros((), dtype=torch.float64)
    for s, r in zip(synthetic, real, strict=True):
        for row_s, row_r in zip(s, r, strict=True):
            if row_s.ndim > 0:
                norms = (row_s**2).sum().sqrt() * (row_r**2).sum().sqrt()
                total = total + 1 - (row_s * row_r).sum() / (norms + 1e-6)
    return total


def test_two_updates_and_the_training_between_them_equal_those_by_hand():
    """In float64, with the distances of all classes summed before one joint backward."""
    settings = {"ipc": 2, "dtype": torch.float64, "architecture": "convnet-w4-d1-swish"}
    config = GM(batch_real=5, outer=2, inner_epochs=3, lr_images=0.2, lr_network=0.05)
    task, twin = (in_double(toy_task(**settings)) for _ in range(2))
    state = start(task, config)
    losses = [gm.condense_step(state=state, task=task, step=step)["loss"] for step in range(2)]

    images = built_init(twin).images.clone()
    network = twin.new_network()
    momentum = torch.zeros_like(images)
    for step in range(2):
        leaf = images.clone().requires_grad_()
        loss = torch.zeros((), dtype=torch.float64)
        for c in range(3):
            real = gradients(network, twin.real_images(c, 5), c)
            own = gradients(network, leaf[2 * c : 2 * c + 2], c, create_graph=True)
            loss = loss + distance_by_hand(own, [g.detach() for g in real])
        (gradient,) = torch.autograd.grad(loss, leaf)
        momentum = 0.5 * momentum + gradient
        images = images - 0.2 * momentum
        assert losses[step] == pytest.approx(loss.item() / 3, rel=1e-12)
        for _ in range(3 if step == 0 else 0):
            loss = cross_entropy(network(images), torch.tensor([0, 0, 1, 1, 2, 2]))
            slopes = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, slope in zip(network.parameters(), slopes, strict=True):
                    parameter -= 0.05 * slope
    torch.testing.assert_close(state.images.detach(), images, rtol=1e-10, atol=1e-12)


def test_the_distance_falls_on_one_network():
    task = toy_task(ipc=2)
    state = start(task, GM(outer=1000, inner_epochs=0, lr_images=0.1, batch_real=20), init="noise")
    losses = [gm.condense_step(state=state, task=task, step=step)["loss"] for step in range(20)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("ipc", "trainings"), [(1, 0), (10, 450), (50, 980)])
def test_the_network_is_trained_so_many_steps_in_an_iteration(ipc, trainings, monkeypatch):
    """At ipc 1 never; else (T - 1) * inner epochs * ceil(C * ipc / 256) times."""
    monkeypatch.setattr(ddbench_gm, "match_class", lambda c, state, task: torch.zeros(()))
    task = toy_task(classes=10, size=2, per_class=50, ipc=ipc, architecture="mlp-w0.05")
    state, config = start(task, GM(batch_real=1)), GM()
    steps = []
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: steps.append(optimizer))
    try:
        for step in range(gm.describe().cycle(config, ipc)):
            gm.condense_step(state=state, task=task, step=step)
    finally:
        handle.remove()
    updates = sum(optimizer is state.optimizer for optimizer in steps)
    assert (updates, len(steps) - updates) == (ipc, trainings)


def test_a_network_lives_for_one_iteration():
    task = toy_task()
    state = start(task, GM(outer=3, inner_epochs=1))
    networks = []
    for step in range(6):
        networks.append(state.network)
        gm.condense_step(state=state, task=task, step=step)
    assert [networks.index(network) for network in networks] == [0, 0, 0, 3, 3, 3]


def test_images_do_not_feel_the_networks_training():
    task, untrained = toy_task(ipc=2), toy_task(ipc=2)
    state = start(task, GM(outer=2, inner_epochs=3))
    other = start(untrained, GM(outer=2, inner_epochs=0))
    gm.condense_step(state=state, task=task, step=0)
    gm.condense_step(state=other, task=untrained, step=0)
    assert torch.equal(state.images, other.images)
    pairs = zip(state.network.parameters(), other.network.parameters(), strict=True)
    assert any(not torch.equal(one, another) for one, another in pairs)


@pytest.mark.parametrize(
    ("method", "config", "strategy"),
    [
        (gm, GM(inner_epochs=2), "none"),
        (dsa, DSA(inner_epochs=2), "color_crop_cutout_scale_rotate"),
        (dsa, DSA(inner_epochs=2, augment="crop"), "crop"),
    ],
)
def test_the_network_is_trained_by_plain_sgd_under_the_methods_augmentation(
    method, config, strategy, monkeypatch
):
    recipes = []
    monkeypatch.setattr(ddbench_gm, "fit", lambda *arguments: recipes.append(arguments[3]))
    condense(method, toy_task(ipc=2), config, steps=1)
    (recipe,) = recipes
    assert recipe == Recipe(
        epochs=2, optimizer="sgd", lr=0.01, momentum=0, weight_decay=0, batch=256, augment=strategy
    )


def test_dsa_sees_a_class_through_one_transform_and_gm_through_none(monkeypatch):
    seen = []
    for method, config in ((gm, GM()), (dsa, DSA())):
        task = toy_task(ipc=1)
        original = task.augment_alike

        def spy(*batches, strategy=None, task=task, original=original):
            seen.append(task.resolve_strategy(strategy))
            return original(*batches, strategy=strategy)

        task.augment_alike = spy
        condense(method, task, config, steps=1)
    assert seen == ["none"] * 3 + ["color_crop_cutout_scale_rotate"] * 3


@pytest.mark.parametrize("operation", ["color", "crop", "cutout", "flip", "scale", "rotate"])
def test_dsa_moves_a_single_image_per_class_under_each_operation(operation):
    task = toy_task(ipc=1)
    before = built_init(toy_task(ipc=1)).images
    after = condense(dsa, task, DSA(augment=operation), steps=2)
    assert torch.isfinite(after.images).all()
    assert not torch.equal(after.images, before)


def test_batch_norm_takes_its_statistics_from_16_real_images_a_class_and_keeps_them():
    task, twin = (toy_task(ipc=2, architecture="convnet-w8-d1-bn") for _ in range(2))
    network, expected = task.new_network(), twin.new_network()
    ddbench_gm.settle_batchnorm(network, task)
    expected(torch.cat([twin.real_images(c, 16) for c in range(3)]))
    (norm,) = (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    (other,) = (m for m in expected.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert torch.equal(norm.running_mean, other.running_mean)
    assert torch.equal(norm.running_var, other.running_var)
    modes = {type(module).__name__: module.training for module in network.modules()}
    assert modes["BatchNorm2d"] is False
    assert modes["Conv2d"] and modes["Network"]
    network(task.images)
    assert torch.equal(norm.running_mean, other.running_mean)


def test_batch_norm_is_settled_anew_after_the_network_was_trained():
    task = toy_task(ipc=2, architecture="convnet-w8-d1-bn")
    state = start(task, GM(outer=3, inner_epochs=2))
    batches = []
    for step in range(3):
        gm.condense_step(state=state, task=task, step=step)
        norms = (m for m in state.network.modules() if isinstance(m, torch.nn.BatchNorm2d))
        batches.append([int(norm.num_batches_tracked) for norm in norms])
    # One batch of real images before each update, and two epochs of one batch in the training.
    assert batches == [[3], [6], [0]]


class Held:
    """A tensor that a graph has saved; counts the bytes alive."""

    alive = peak = 0

    def __init__(self, tensor):
        self.tensor, self.size = tensor, tensor.nbytes
        Held.alive += self.size
        Held.peak = max(Held.peak, Held.alive)

    def __del__(self):
        Held.alive -= self.size


def test_the_graph_of_one_class_is_alive_at_a_time():
    task = toy_task(classes=6, ipc=2)
    state = start(task, GM(batch_real=4, momentum=0.0))
    peaks = []
    for classes in (1, 6):
        Held.alive = Held.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            for c in range(classes):
                ddbench_gm.match_class(c, state, task)
        peaks.append(Held.peak)
    assert 0 < peaks[1] <= 1.1 * peaks[0]  # jointly it would be six times as much


@BOTH
@pytest.mark.parametrize("architecture", ["convnet-w4-d1", "convnet-w4-d1-bn"])
def test_interrupted_after_any_step_it_goes_on_bit_by_bit(method, config, architecture, tmp_path):
    config, hook = config(batch_real=4, outer=3, inner_epochs=2), bind(method).hook

    def fresh():
        task = toy_task(ipc=2, architecture=architecture)
        return task, start(task, config, method)

    task, state = fresh()
    for step in range(5):
        hook.condense_step(state=state, task=task, step=step)
        save_checkpoint(tmp_path / str(step), state, task)
    for stop in range(5):
        other_task, other = fresh()
        load_checkpoint(tmp_path / str(stop), other, other_task)
        for step in range(stop + 1, 5):
            hook.condense_step(state=other, task=other_task, step=step)
        assert torch.equal(other.images, state.images), f"stopped after step {stop}"


@BOTH
def test_what_is_exported_does_not_change_with_later_steps(method, config):
    task = toy_task()
    state = start(task, config(), method)
    exported = method.export(state=state)
    images = exported.images.clone()
    method.condense_step(state=state, task=task, step=0)
    assert torch.equal(exported.images, images)
    assert not exported.images.requires_grad
    assert exported.labels.tolist() == [0, 1, 2]


def test_the_global_generator_is_not_used():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = condense(dsa, toy_task(ipc=2), DSA(inner_epochs=1), steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = condense(dsa, toy_task(ipc=2), DSA(inner_epochs=1), steps=3)
    assert torch.equal(one.images, other.images)


def test_a_class_with_fewer_images_than_the_batch_gives_all_of_them():
    set_ = condense(gm, toy_task(per_class=3), GM(batch_real=256), steps=1)
    assert torch.isfinite(set_.images).all()


def test_a_class_without_images_is_named_at_plan_time():
    facts = Facts("mine", 3, (1, 8, 8), (5, 0, 5), "convnet", "noise", 1, 1000)
    needs = gm.describe().needs
    assert needs(GM(), facts) == "mine has no training images of classes [1]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations is 0; expected more than 0"),
        ({"lr_images": -1.0}, "lr_images is -1.0"),
        ({"momentum": 1.0}, "momentum is 1.0; expected at least 0 and below 1"),
        ({"outer": 0}, "outer is 0"),
        ({"inner_epochs": -1}, "inner_epochs is -1"),
        ({"metric": "l2"}, "metric is 'l2'; available: ours, mse, cos"),
        ({"guard": -1e-6}, "guard"),
        ({"augment": "crops"}, "unknown operation 'crops'"),
    ],
)
def test_refuses_options_that_could_not_work(options, message):
    with pytest.raises(ValueError, match=message):
        GM(**options)


def test_both_are_installed_as_methods():
    found = entry_points(group="ddbench.methods")
    assert found["gm"].value == "ddbench_gm:gm"
    assert found["dsa"].value == "ddbench_gm:dsa"
