"""DM: its loss, the update by hand, batch norm by modules, memory and resuming."""

from importlib.metadata import entry_points

import ddbench_dm as dm
import pytest
import torch
from ddbench import Facts, Task
from ddbench.testing import (
    bind,
    built_init,
    condense,
    load_checkpoint,
    save_checkpoint,
    toy_task,
)
from ddbench_dm import Config

PLAIN = Config(augment="none")


def start(task, config=PLAIN):
    synthetic = built_init(task)
    return dm.init(task=task, synthetic=synthetic, config=config)


def unequal_task(counts, ipc=2, architecture="convnet-w4-d1-bn"):
    """Return a task whose classes have `counts` images."""
    whole = toy_task(classes=len(counts), per_class=max(counts), ipc=ipc)
    kept = torch.cat([whole.class_indices(c)[:count] for c, count in enumerate(counts)])
    return Task(
        images=whole.images[kept],
        labels=whole.labels[kept],
        num_classes=len(counts),
        dataset="unequal",
        fingerprint="unequal",
        strategy=whole.strategy,
        architecture=architecture,
        ipc=ipc,
        seed=0,
        store=None,
    )


def in_double(task):
    """Let the task's networks have float64 parameters."""
    draw = task.new_network
    task.new_network = lambda: draw().double()
    return task


@pytest.mark.parametrize("augment", ["none", "dsa"])
@pytest.mark.parametrize("architecture", ["convnet-w4-d1", "convnet-w4-d1-bn"])
def test_the_loss_is_zero_when_synthetic_equals_real(architecture, augment):
    """Under one transform for both, so augmentation leaves it zero too."""
    settings = {"ipc": 4, "per_class": 4, "dtype": torch.float64, "architecture": architecture}
    task = in_double(toy_task(**settings))
    state = start(task, Config(augment=augment))
    before = state.images.detach().clone()
    loss = dm.condense_step(state=state, task=task)["loss"]
    assert loss == pytest.approx(0, abs=1e-24)
    torch.testing.assert_close(state.images.detach(), before, rtol=0, atol=1e-10)


@pytest.mark.parametrize("architecture", ["convnet-w4-d1", "convnet-w4-d1-bn"])
def test_two_updates_equal_those_by_hand(architecture):
    """In float64, with one joint backward and momentum written out."""
    task, twin = (
        in_double(toy_task(ipc=2, dtype=torch.float64, architecture=architecture)) for _ in range(2)
    )
    state = start(task, Config(batch_real=5, augment="none"))
    losses = [dm.condense_step(state=state, task=task)["loss"] for _ in range(2)]

    images = built_init(twin).images.clone()
    momentum = torch.zeros_like(images)
    for step in range(2):
        network, leaf = twin.new_network(), images.clone().requires_grad_()
        real = [twin.real_images(c, 5) for c in range(3)]
        if architecture.endswith("bn"):  # statistics of each side, over its classes
            targets, own = network.embed(torch.cat(real)), network.embed(leaf)
        else:
            targets = torch.cat([network.embed(part) for part in real])
            own = torch.cat([network.embed(leaf[i : i + 2]) for i in (0, 2, 4)])
        difference = targets.reshape(3, 5, -1).mean(1) - own.reshape(3, 2, -1).mean(1)
        loss = (difference**2).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        momentum = 0.5 * momentum + gradient
        images = images - 1.0 * momentum
        assert losses[step] == pytest.approx(loss.item() / 3, rel=1e-12)
    torch.testing.assert_close(state.images.detach(), images, rtol=1e-10, atol=1e-12)


def test_class_by_class_and_together_are_the_same_without_batch_norm(monkeypatch):
    task, twin = (in_double(toy_task(ipc=2, dtype=torch.float64)) for _ in range(2))
    state, other = start(task), start(twin)
    loss = dm.condense_step(state=state, task=task)["loss"]
    monkeypatch.setattr(dm, "has_batchnorm", lambda network: True)
    joint = dm.condense_step(state=other, task=twin)["loss"]
    assert loss == pytest.approx(joint, rel=1e-12)
    torch.testing.assert_close(state.images.grad, other.images.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("architecture", "forwards"), [("convnet-w4-d1", 6), ("convnet-w4-d1-bn", 2)]
)
def test_batch_norm_is_found_by_modules_and_gets_one_forward_a_side(architecture, forwards):
    task = toy_task(architecture=architecture)
    draw, sizes = task.new_network, []

    def watched():
        network = draw(architecture)
        network.features.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
        return network

    task.new_network = watched
    task.architecture = "mine"  # a name that tells nothing
    dm.condense_step(state=start(task, Config(batch_real=7)), task=task)
    assert len(sizes) == forwards
    assert sum(sizes) == 3 * (7 + 1)


def test_batch_norm_takes_classes_of_unequal_size():
    counts, ipc = (9, 3, 5), 2
    task, twin = (unequal_task(counts, ipc) for _ in range(2))
    state = start(task)
    start(twin)
    loss = dm.condense_step(state=state, task=task)["loss"]
    network = twin.new_network()
    embedded = network.embed(torch.cat([twin.real_images(c, 256) for c in range(3)]))
    means = [part.mean(0) for part in embedded.split(counts)]
    synthetic = network.embed(built_init(unequal_task(counts, ipc)).images)
    own = [part.mean(0) for part in synthetic.split(ipc)]
    expected = sum(((m - o) ** 2).sum().item() for m, o in zip(means, own, strict=True)) / 3
    assert loss == pytest.approx(expected, rel=1e-4)


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
    peaks = []
    for classes in (2, 6):
        task = toy_task(classes=classes, ipc=2)
        state = start(task)
        Held.alive = Held.peak = 0
        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            dm.condense_step(state=state, task=task)
        peaks.append(Held.peak)
    assert 0 < peaks[1] == peaks[0]


def test_every_iteration_has_a_network_of_its_own_that_is_not_trained():
    task = toy_task()
    draw, networks, starts = task.new_network, [], []

    def kept():
        networks.append(draw())
        starts.append([p.detach().clone() for p in networks[-1].parameters()])
        return networks[-1]

    task.new_network = kept
    state = start(task)
    for _ in range(2):
        dm.condense_step(state=state, task=task)
    assert len(networks) == 2
    assert not torch.equal(starts[0][0], starts[1][0])
    for network, before in zip(networks, starts, strict=True):
        assert all(map(torch.equal, network.parameters(), before))
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())
        assert network.training


@pytest.mark.parametrize(
    ("augment", "strategy"),
    [("dsa", "color_crop_cutout_scale_rotate"), ("none", "none"), ("crop_flip", "crop_flip")],
)
def test_each_class_is_augmented_by_the_strategy_that_the_option_says(augment, strategy):
    task, seen = toy_task(), []
    original = task.augment_alike

    def spy(*batches, strategy=None):
        seen.append(task.resolve_strategy(strategy))
        return original(*batches, strategy=strategy)

    task.augment_alike = spy
    dm.condense_step(state=start(task, Config(augment=augment)), task=task)
    assert seen == [strategy] * 3


@pytest.mark.parametrize("architecture", ["mlp", "lenet", "alexnet-w0.1", "vgg11-w0.1"])
def test_matches_on_any_network_that_embeds(architecture):
    task = toy_task(size=32, per_class=3, architecture=architecture)
    assert dm.condense_step(state=start(task), task=task)["loss"] > 0


@pytest.mark.parametrize("architecture", ["convnet-w4-d1", "convnet-w4-d1-bn"])
def test_interrupted_after_any_step_it_goes_on_bit_by_bit(architecture, tmp_path):
    hook = bind(dm).hook

    def fresh():
        task = toy_task(ipc=2, architecture=architecture)
        return task, start(task, Config(batch_real=4))

    task, state = fresh()
    for step in range(4):
        hook.condense_step(state=state, task=task, step=step)
        save_checkpoint(tmp_path / str(step), state, task)
    for stop in range(4):
        other_task, other = fresh()
        load_checkpoint(tmp_path / str(stop), other, other_task)
        for step in range(stop + 1, 4):
            hook.condense_step(state=other, task=other_task, step=step)
        assert torch.equal(other.images, state.images), f"stopped after step {stop}"


def test_what_is_exported_does_not_change_with_later_steps():
    task = toy_task()
    state = start(task)
    exported = dm.export(state=state)
    images = exported.images.clone()
    dm.condense_step(state=state, task=task)
    assert torch.equal(exported.images, images)
    assert not torch.equal(state.images, images)
    assert not exported.images.requires_grad
    assert exported.labels.tolist() == [0, 1, 2]


def test_the_global_generator_is_not_used():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = condense(dm, toy_task(), Config(), steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(one.images, condense(dm, toy_task(), Config(), steps=3).images)


def test_the_published_steps_do_not_depend_on_ipc():
    info = bind(dm).info
    assert {info.steps(Config(), ipc) for ipc in (1, 10, 50, 1250)} == {20_000}
    assert Config() == Config(lr_images=1.0, momentum=0.5, batch_real=256, augment="dsa")


def test_a_class_without_images_is_named_at_plan_time():
    facts = Facts("mine", 3, (1, 8, 8), (5, 0, 5), "convnet", "noise", 1, 20_000)
    assert bind(dm).info.needs(Config(), facts) == "mine has no training images of classes [1]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_images": 0.0}, "lr_images is 0.0; expected more than 0"),
        ({"batch_real": 0}, "batch_real is 0"),
        ({"momentum": -0.1}, "momentum is -0.1; expected at least 0 and below 1"),
        ({"augment": "dsaa"}, "unknown operation 'dsaa'"),
    ],
)
def test_refuses_options_that_could_not_work(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_is_installed_as_a_method():
    assert entry_points(group="ddbench.methods")["dm"].value == "ddbench_dm"
