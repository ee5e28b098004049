"""IDC and its relative of DM: canvases, the update by hand, what is matched, training, resuming."""

from dataclasses import replace
from importlib.metadata import entry_points

import ddbench_idc
import pytest
import torch
from ddbench import Facts, Unsupported
from ddbench.formations import decode, upsample
from ddbench.testing import (
    bind,
    built_init,
    condense,
    load_checkpoint,
    save_checkpoint,
    toy_task,
)
from ddbench.training import Schedule
from ddbench_idc import IDC, IDCDM, idc, idc_dm
from torch.nn.functional import avg_pool2d, cross_entropy

BOTH = pytest.mark.parametrize(
    ("method", "config"), [(idc, IDC), (idc_dm, IDCDM)], ids=["idc", "dm"]
)
PLAIN = {"augment": "none", "mix": "none"}
SMALL = {"batch_real": 5, "inner": 3, "train_steps": 2, "batch_network": 8}


def start(task, config, method=idc):
    return method.init(task=task, config=config)


def fixed(task):
    """Let the task's networks be one and the same, in float64, never trained further."""
    network = task.new_network().double()
    task.new_network = lambda: network
    return task


def gradients(network, images, c, create_graph=False):
    loss = cross_entropy(network(images), torch.tensor([c] * len(images)))
    weights = [p for name, p in network.named_parameters() if p.ndim == 4]
    return torch.autograd.grad(loss, weights, create_graph=create_graph)


# --- canvases and sets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "shrink"), [(1, "nearest"), (2, "nearest"), (2, "area"), (4, "area")]
)
def test_a_tile_is_a_real_image_of_the_class_and_none_stands_twice(factor, shrink):
    task = toy_task(ipc=2, per_class=40)
    images = start(task, IDC(factor=factor, shrink=shrink)).images.detach()
    generator, side = task.new_generator("init"), 8 // factor
    for c in range(3):
        real = task.real_images(c, 2 * factor**2, generator)
        small = real[..., ::factor, ::factor] if shrink == "nearest" else avg_pool2d(real, factor)
        for k in range(factor**2):
            row, column = divmod(k, factor)
            for n in range(2):
                tile = images[2 * c + n, :, row * side :, column * side :][:, :side, :side]
                torch.testing.assert_close(tile, small[2 * k + n])


def test_without_tiles_it_starts_from_the_images_of_the_init_real():
    images = built_init(toy_task(ipc=2)).images
    assert torch.equal(start(toy_task(ipc=2), IDC(factor=1)).images, images)


def test_the_set_is_decoded_by_the_function_that_condensing_decodes_with():
    """Tile by tile: all images' first tiles, then all second ones."""
    exported = condense(idc, toy_task(ipc=2), IDC(**SMALL), steps=1)
    decoded = decode(exported)
    assert ddbench_idc.upsample is upsample
    assert torch.equal(decoded.images, upsample(exported.images, 2))
    assert decoded.source.tolist() == 4 * list(range(6))


@pytest.mark.parametrize("factor", [1, 2])
def test_tiles_take_no_more_bytes(factor):
    exported = condense(idc_dm, toy_task(ipc=2), IDCDM(factor=factor), steps=0)
    assert exported.bytes == 6 * 64 * 4 + 6 * 8
    assert bool(exported.formation) == (factor > 1)
    assert not exported.payload


def test_a_set_brings_the_papers_evaluation():
    exported = condense(idc, toy_task(), IDC(), steps=0)
    recipe = exported.recipe
    assert (recipe["epochs"], recipe["batch"], recipe["lr"]) == (1000, 64, 0.01)
    schedule = Schedule(**recipe["schedule"])
    shares = [schedule.share(epoch, 1000, 0, 1) for epoch in (665, 666, 832, 833)]
    assert shares == pytest.approx([1, 0.2, 0.2, 0.04])
    assert recipe["mix"] == {"name": "cutmix", "p": 0.5}
    assert recipe["augment"] == "color+crop_scale_rotate"
    assert "mix" not in condense(idc, toy_task(), IDC(mix="none"), steps=0).recipe


@pytest.mark.parametrize(
    ("strategy", "without", "composed"),
    [
        ("color_crop_cutout_flip_scale_rotate", "", "flip+color+crop_scale_rotate+cutout"),
        ("color_crop_cutout_flip_scale_rotate", "cutout", "flip+color+crop_scale_rotate"),
        ("color+crop+cutout", "cutout", "color+crop"),
        ("cutout", "cutout", "none"),
        ("none", "", "none"),
    ],
)
def test_each_operation_is_applied_in_the_papers_order(strategy, without, composed):
    assert ddbench_idc.in_turn(strategy, without) == composed


# --- what is matched ---------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_the_gradient_distance_is_a_sum_over_convolutions_alone(metric):
    task = toy_task(architecture="convnet-w4-d2")
    network = task.new_network()
    real, own = task.real_images(0, 6), task.real_images(0, 3)
    found = ddbench_idc.gradient_distance(network, real, own, 0, metric)
    pairs = zip(gradients(network, own, 0), gradients(network, real, 0), strict=True)
    power = 2 if metric == "mse" else 1
    by_hand = sum(((s - r).abs() ** power).sum() for s, r in pairs)
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-5)
    names = {id(p): name for name, p in network.named_parameters()}
    matched = {names[id(p)] for p in ddbench_idc.convolutions(network)}
    kinds = {type(m): f"{name}.weight" for name, m in network.named_modules()}
    assert len(matched) == 2 and kinds[torch.nn.Linear] not in matched
    assert all("weight" in name for name in matched)


@BOTH
def test_the_loss_is_zero_where_decoded_images_are_the_real_ones(method, config):
    """Under one transform for both, so augmentation leaves it zero too."""
    task = fixed(toy_task(ipc=4, per_class=4, dtype=torch.float64))
    state = start(task, config(factor=1), method)
    loss = method.condense_step(state=state, task=task, step=0)["loss"]
    assert loss == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("ipc", [2, 5])
def test_an_update_equals_the_papers_in_pixels_of_0_to_1(ipc):
    """Class by class, with momentum, in the pixel space of the reference code, by hand."""
    settings = {
        "ipc": ipc,
        "channels": 3,
        "dtype": torch.float64,
        "architecture": "convnet-w4-d1-swish",
    }
    task, twin = (fixed(toy_task(**settings)) for _ in range(2))
    state = start(task, IDC(**PLAIN, **SMALL, lr_images=0.3))
    before = state.images.detach().clone()
    idc.condense_step(state=state, task=task, step=0)

    network = twin.new_network()
    low = twin.images.amin((0, 2, 3), keepdim=True)
    span = twin.images.amax((0, 2, 3), keepdim=True) - low
    pixels, momentum = (before - low) / span, torch.zeros_like(before)
    for c in range(3):
        leaf = pixels.clone().requires_grad_()
        decoded = upsample(leaf[ipc * c : ipc * (c + 1)], 2) * span + low
        own = gradients(network, decoded, c, create_graph=True)
        pairs = zip(own, gradients(network, twin.real_images(c, 5), c), strict=True)
        (gradient,) = torch.autograd.grad(sum(((s - r) ** 2).sum() for s, r in pairs), leaf)
        momentum = 0.5 * momentum + gradient
        pixels = pixels - 0.3 * ipc / 10 * momentum
    torch.testing.assert_close(state.images.detach(), pixels * span + low, rtol=1e-9, atol=1e-12)
    assert not torch.equal(state.images, before)


def test_ten_classes_in_turn_with_momentum_are_one_step_of_twice_the_rate_without():
    """Between two gradients of a class its momentum is spent."""
    moved = []
    for options in ({"momentum": 0.5}, {"momentum": 0.0, "update": "all", "lr_images": 0.02}):
        task = fixed(toy_task(classes=10, dtype=torch.float64))
        config = IDC(**{"lr_images": 0.01, **PLAIN, **SMALL, "train_steps": 0, **options})
        state = start(task, replace(config, inner=100))
        before = state.images.detach().clone()
        for step in range(2):
            idc.condense_step(state=state, task=task, step=step)
        moved.append(state.images.detach() - before)
    # the first class's momentum of the last sweep is spent, the last class's is not yet
    difference = (moved[0] - moved[1])[0].norm() / moved[1][0].norm()
    assert 0 < difference < 0.01


@BOTH
def test_the_distance_falls_on_one_network(method, config):
    task = toy_task(ipc=2)
    rate = {"lr_images": 0.05 if config is IDCDM else 0.5}
    options = {**PLAIN, "inner": 1000, "train_steps": 0, "batch_real": 20, **rate}
    state = start(task, config(**options), method)
    losses = [method.condense_step(state=state, task=task, step=step)["loss"] for step in range(20)]
    assert losses[-1] < 0.8 * losses[0]


def test_no_more_decoded_images_are_matched_than_the_option_says(monkeypatch):
    sizes = []
    original = ddbench_idc.gradient_distance

    def spy(network, real, synthetic, *rest):
        sizes.append((len(real), len(synthetic)))
        return original(network, real, synthetic, *rest)

    monkeypatch.setattr(ddbench_idc, "gradient_distance", spy)
    for most in (None, 7, 8):
        condense(idc, toy_task(ipc=2), IDC(batch_synthetic=most, batch_real=6), steps=1)
    assert sizes == 3 * [(6, 8)] + 3 * [(6, 7)] + 3 * [(6, 8)]


def test_images_go_back_to_the_range_of_real_pixels_when_a_network_is_new():
    task = toy_task()
    state = start(task, IDC(**SMALL, lr_images=1e-9))
    inside = []
    for step in range(4):
        with torch.no_grad():
            state.images[0] = 99.0
        idc.condense_step(state=state, task=task, step=step)
        inside.append(bool((state.images <= task.images.max() + 1e-4).all()))
    assert inside == [True, False, False, True]


# --- the networks ------------------------------------------------------------------------------


def test_a_network_is_trained_on_real_images_between_steps_with_one_optimizer(monkeypatch):
    seen = []

    def spy(network, images, labels, recipe, generator, optimizer):
        seen.append((network, optimizer, images, recipe))

    monkeypatch.setattr(ddbench_idc, "fit", spy)
    task = toy_task(per_class=8)  # 24 images
    condense(idc, task, IDC(**SMALL), steps=6)
    networks, optimizers, images, recipes = zip(*seen, strict=True)
    assert [networks.index(network) for network in networks] == [
        0,
        0,
        2,
        2,
    ]  # none after a last step
    assert [optimizers.index(optimizer) for optimizer in optimizers] == [0, 0, 2, 2]
    passed = torch.cat(images)[: 2 * 24].flatten(1)  # two whole passes of 16 a time
    for part in passed.split(24):
        assert len(part.unique(dim=0)) == 24
    mix = recipes[0].mix
    assert (recipes[0].steps_of(16), recipes[0].batch, recipes[0].lr) == (2, 8, 0.01)
    assert (recipes[0].momentum, recipes[0].weight_decay, recipes[0].drop) == (0.9, 5e-4, None)
    assert (recipes[0].augment, mix.name, mix.p) == ("color+crop", "cutmix", 0.5)


def test_training_moves_the_network_and_not_the_images():
    task = toy_task()
    state = start(task, IDC(**SMALL))
    images, weights = (
        state.images.detach().clone(),
        [p.detach().clone() for p in state.network.parameters()],
    )
    ddbench_idc.train_network(state, task)
    assert torch.equal(state.images, images)
    assert not any(map(torch.equal, state.network.parameters(), weights))
    assert state.trainer.state


@pytest.mark.parametrize(
    ("architecture", "options", "reason"),
    [
        ("convnet-w4-d1-bn", {}, "batch norm"),
        ("mlp", {}, "no convolutions.*match=feat"),
    ],
)
def test_refuses_networks_that_it_cannot_match(architecture, options, reason):
    with pytest.raises(Unsupported, match=reason):
        start(toy_task(architecture=architecture), IDC(**options))


def test_features_of_any_network_can_be_matched():
    condense(idc_dm, toy_task(architecture="mlp-w0.05"), IDCDM(batch_real=4), steps=2)


# --- the promises of a method --------------------------------------------------------------------


@BOTH
def test_interrupted_after_any_step_it_goes_on_bit_by_bit(method, config, tmp_path):
    config, hook = config(**SMALL), bind(method).hook

    def fresh():
        task = toy_task(ipc=2, per_class=10)
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
    state = start(task, config(**SMALL), method)
    exported = method.export(state=state, task=task)
    images = exported.images.clone()
    method.condense_step(state=state, task=task, step=0)
    assert torch.equal(exported.images, images)
    assert not torch.equal(state.images, images)
    assert not exported.images.requires_grad


@pytest.mark.parametrize(
    ("factor", "ipc", "counts", "reason"),
    [
        (3, 1, (60, 60), "28x28 do not divide into 3x3 tiles; use factor 1 or 2 or 4 or 7"),
        (2, 10, (60, 39), "class 1 has 39 training images.*start from 40; use ipc <= 9"),
        (2, 10, (60, 40), None),
        (1, 60, (60, 60), None),
    ],
)
def test_says_at_plan_time_why_there_are_no_canvases(factor, ipc, counts, reason):
    facts = Facts("mine", 2, (1, 28, 28), counts, "convnet", "real", ipc, 10)
    found = ddbench_idc.needs(IDC(factor=factor), facts)
    if reason is None:
        assert found is None
    else:
        pytest.raises(ValueError, lambda: (_ for _ in ()).throw(ValueError(found))).match(reason)


@pytest.mark.parametrize(
    ("one", "other", "steps", "alike"),
    [
        ({"iterations": 5}, {}, 10, True),
        ({"batch_synthetic": 4}, {}, 10, True),  # all there are, of ipc 1 and f 2
        ({"batch_synthetic": 3}, {}, 10, False),
        ({"factor": 1, "shrink": "area"}, {"factor": 1}, 10, True),
        ({"shrink": "area"}, {}, 0, False),
        ({"lr_images": 1.0}, {}, 0, True),
        ({"inner": 1, "train_steps": 3}, {"inner": 1}, 10, True),
        ({"match": "feat", "metric": "l1"}, {"match": "feat"}, 10, True),
        ({"epochs": 10}, {}, 0, False),
    ],
)
def test_options_that_leave_the_result_are_alike(one, other, steps, alike):
    facts = Facts("mine", 3, (1, 8, 8), (20, 20, 20), "convnet", "real", 1, steps)
    results = [ddbench_idc.canonical(IDC(**options), facts) for options in (one, other)]
    assert (results[0] == results[1]) == alike


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 9}, "factor is 9"),
        ({"shrink": "bicubic"}, "available: nearest, area"),
        ({"epochs": 5}, "epochs is 5; expected at least 6"),
        ({"batch_synthetic": 0}, "batch_synthetic is 0"),
        ({"augment": "color+crops"}, "unknown operation 'crops'"),
    ],
)
def test_refuses_options_that_could_not_work(options, message):
    with pytest.raises(ValueError, match=message):
        IDC(**options)


def test_published_numbers_of_steps():
    assert bind(idc).info.steps(IDC(), 10) == 200_000
    assert bind(idc_dm).info.steps(IDCDM(), 10) == 20_000


def test_both_are_installed_as_methods():
    found = entry_points(group="ddbench.methods")
    assert found["idc"].value == "ddbench_idc:idc"
    assert found["idc-dm"].value == "ddbench_idc:idc_dm"
