"""Formations: how stored tensors become batches, each identity exact or of the papers' code."""

import hashlib
import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from ddbench.contract.recipes import Loss, Mix, Recipe, Schedule
from ddbench.contract.synthetic_set import NewerFormatError, SetError, SyntheticSet, check
from ddbench.formations import (
    Batch,
    Decoded,
    Fit,
    Formation,
    Own,
    as_payload,
    decode,
    draw_views,
    drawn_batches,
    own_batches,
    problems,
    regime,
    register_formations,
    teacher_payload,
    upsample,
    view,
)
from ddbench.formations.batches import Shown
from ddbench.formations.losses import loss_of
from ddbench.formations.mixing import mixed
from ddbench.formations.replay import cropped, views_of
from ddbench.formations.targets import Teacher, answer, teachers
from ddbench.testing import one_thread, toy_task
from ddbench.testing.fake_device import ELSEWHERE, elsewhere
from ddbench.training import new_optimizer, train
from ddbench.training.evaluation import RealImages, Registered, evaluate, own_recipe
from safetensors import safe_open

SHAPE = (1, 8, 8)
TEACHER = "convnet-w8-d1"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def set_of(count=6, classes=3, **fields):
    images = torch.randn(count, *SHAPE, generator=generator())
    return SyntheticSet(images, torch.arange(count) % classes, **fields)


def wrong_with(synthetic, classes=3, **known):
    return problems(synthetic, num_classes=classes, shape=SHAPE, **known)


def network(seed=0, classes=3):
    task = toy_task(classes=classes)
    return task.new_network(TEACHER, seed=seed)


# -- the file ----------------------------------------------------------------------------------


def test_a_plain_set_is_stored_as_before_payload_and_formation_came(tmp_path):
    plain = SyntheticSet(
        torch.arange(8).reshape(2, 1, 2, 2) / 8, torch.tensor([0, 1]),
        recipe={"lr": 0.02, "epochs": 5}, measures={"a": 1}, provenance={"dataset": "toy"},
    )  # fmt: skip
    plain.save(tmp_path / "set")
    stored = hashlib.sha256((tmp_path / "set").read_bytes()).hexdigest()
    assert plain.sha256().startswith("123a6e36121822c0b01e66d35fe1ec55")  # of version 0.1.0
    assert stored.startswith("9cc48a332edf16cc435fb44c4a841beb") and plain.bytes == 48


def test_payload_and_formation_come_back_and_are_hashed(tmp_path):
    formed = set_of(
        payload={"codes": torch.ones(2, 3, dtype=torch.float16), "a/b": torch.tensor(True)},
        formation={"decode": {"name": "upsample", "factor": 2}},
    )
    formed.save(tmp_path / "set")
    again = SyntheticSet.load(tmp_path / "set")
    assert again.formation == formed.formation and again.payload.keys() == formed.payload.keys()
    assert again.sha256() == formed.sha256() != set_of().sha256()
    assert again.bytes == set_of().bytes + 2 * 3 * 2 + 1
    others = [
        replace(formed, formation={"decode": {"name": "upsample", "factor": 4}}),
        replace(formed, payload={**formed.payload, "codes": torch.zeros(2, 3)}),
        replace(formed, payload={"codes": formed.payload["codes"]}),
    ]
    assert len({one.sha256() for one in (formed, *others)}) == 4


def test_a_reader_of_plain_sets_alone_refuses_a_formed_one(tmp_path, monkeypatch):
    set_of(formation={"decode": {"name": "identity"}}).save(tmp_path / "set")
    set_of().save(tmp_path / "plain")
    monkeypatch.setattr("ddbench.contract.synthetic_set.FORMAT", 1)
    with pytest.raises(NewerFormatError, match="format 2 is newer"):
        SyntheticSet.load(tmp_path / "set")
    SyntheticSet.load(tmp_path / "plain")


def test_decoded_images_cost_no_bytes():
    images = torch.zeros(100, 1, 28, 28)
    labels = torch.arange(100) % 10
    two = SyntheticSet(images, labels, formation={"decode": {"name": "upsample", "factor": 2}})
    assert two.bytes == SyntheticSet(images, labels).bytes == 314_400
    views = as_payload(draw_views(100, (28, 28), epochs=3, batch=50, generator=generator()))
    assert replace(two, payload=views).bytes == 314_400 + sum(t.nbytes for t in views.values())


# -- decoding ----------------------------------------------------------------------------------


def test_factor_one_is_the_image_itself():
    images = set_of().images
    assert upsample(images, 1) is images


def test_each_stored_pixel_weighs_factor_squared_in_the_decoded_images():
    canvas = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    decoded = upsample(canvas, 2)
    assert decoded.shape == (4, 1, 4, 4)
    decoded.sum().backward()
    torch.testing.assert_close(canvas.grad, torch.full_like(canvas, 4.0))
    constant = torch.full((2, 3, 8, 8), 0.3)
    torch.testing.assert_close(upsample(constant, 4), constant.repeat(16, 1, 1, 1))
    tiles = canvas.detach().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten()
    torch.testing.assert_close(upsample(canvas, 2).detach().mean((1, 2, 3)), tiles)


def test_tiles_come_row_by_row_and_all_images_of_a_tile_together():
    canvas = torch.tensor([[0.0, 1], [2, 3]]).repeat_interleave(4, 0).repeat_interleave(4, 1)
    both = torch.stack([canvas, canvas + 10])[:, None]
    synthetic = SyntheticSet(
        both, torch.tensor([0, 1]), formation={"decode": {"name": "upsample", "factor": 2}}
    )
    decoded = decode(synthetic)
    assert decoded.images.mean((1, 2, 3)).tolist() == [0, 10, 1, 11, 2, 12, 3, 13]
    assert decoded.source.tolist() == [0, 1] * 4


def test_the_gradient_of_decoding_is_right():
    canvas = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: upsample(images, 2), (canvas,))


def test_evaluation_trains_on_the_decoded_images(monkeypatch):
    task = toy_task(classes=3, ipc=2)
    _, height, width = task.shape
    synthetic = SyntheticSet(
        task.images[::10], task.labels[::10],
        formation={"decode": {"name": "upsample", "factor": 2}},
    )  # fmt: skip
    decoded = decode(synthetic)
    as_images = SyntheticSet(decoded.images, synthetic.labels[decoded.source])
    real = RealImages(task.images, task.labels, 3)
    settings = {"architecture": TEACHER, "recipe": Recipe(epochs=2, batch=4), "networks": 2}
    formed, plain = (evaluate(one, real, **settings) for one in (synthetic, as_images))
    assert formed.accuracies == plain.accuracies and formed.flops_train == plain.flops_train
    assert formed.decoded_images == 4 * len(synthetic)
    assert formed.steps_trained == 2 * len(synthetic) and formed.images_seen == 8 * len(synthetic)


# -- losses ------------------------------------------------------------------------------------


def loss(name, logits, targets, kind="logits", **options):
    return loss_of(Loss(name, **options), logits, Batch(Shown(logits), targets, kind))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0, 30.0])
def test_kl_and_soft_cross_entropy_have_one_gradient_and_it_is_the_closed_form(temperature):
    z = torch.randn(5, 4, dtype=torch.float64, generator=generator(), requires_grad=True)
    y = torch.randn(5, 4, dtype=torch.float64, generator=generator(1))
    gradients = [
        torch.autograd.grad(loss(name, z, y, temperature=temperature), z)[0]
        for name in ("kl", "soft_cross_entropy")
    ]
    wanted = (z / temperature).softmax(1) - (y / temperature).softmax(1)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-16, rtol=0)
    torch.testing.assert_close(
        gradients[0], wanted.detach() / (temperature * 5), atol=1e-15, rtol=0
    )
    scaled = loss("kl", z, y, temperature=temperature, scale_t2=True)
    torch.testing.assert_close(scaled, temperature**2 * loss("kl", z, y, temperature=temperature))


def test_soft_cross_entropy_of_one_class_is_the_cross_entropy():
    z, y = torch.randn(5, 4, generator=generator()), torch.tensor([0, 3, 1, 1, 2])
    one_hot = F.one_hot(y, 4).float()
    expected = F.cross_entropy(z, y)
    torch.testing.assert_close(loss("soft_cross_entropy", z, one_hot, "probabilities"), expected)
    torch.testing.assert_close(loss("soft_cross_entropy", z, y, "index"), expected)
    torch.testing.assert_close(loss("cross_entropy", z, y, "index"), expected)


def test_half_of_the_squares_is_half_the_classes_times_their_mean():
    z, y = torch.randn(5, 4, generator=generator()), torch.randn(5, 4, generator=generator(1))
    half = loss("mse", z, y, "regression")
    torch.testing.assert_close(half, 4 / 2 * loss("mse", z, y, "regression", half=False))
    torch.testing.assert_close(half, F.mse_loss(z, y, reduction="sum") / 2 / 5)


def test_labels_of_mixed_images_are_mixed_and_a_teachers_are_not():
    z = torch.randn(3, 4, generator=generator())
    y, partner = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])
    shown = Shown(z, partner, 0.75)
    both = loss_of(None, z, Batch(shown, y))
    torch.testing.assert_close(
        both, 0.75 * F.cross_entropy(z, y) + 0.25 * F.cross_entropy(z, y[partner])
    )
    rows = torch.randn(3, 4, generator=generator(2))
    weighted = loss_of(Loss("mse", half=False, ce_weight=0.5), z,
                       Batch(shown, rows, "logits", of_mixed=True, classes=y))  # fmt: skip
    torch.testing.assert_close(weighted, F.mse_loss(z, rows) + 0.5 * both)


# -- recipes -----------------------------------------------------------------------------------


def test_cosines_end_where_they_should():
    quarter, half = Schedule("cosine", waves=0.25), Schedule("cosine")
    last = [one.share(epoch=299, epochs=300, step=0, steps=0) for one in (quarter, half)]
    assert last[0] == 0.5 + 0.5 * math.cos(math.pi * 299 / 600)
    assert 0 < last[1] < 1e-2 and half.share(0, 300, 0, 0) == 1
    slow = Schedule("cosine", end=0.01, by="step", warmup_steps=500)
    shares = [slow.share(0, 1, step, 2000) for step in (0, 250, 500, 2000)]
    assert shares == pytest.approx([0, 0.5, 1, 0.01])


def test_multistep_multiplies_at_each_of_its_epochs():
    schedule = Schedule("multistep", at=(2, 3), factor=0.2)
    shares = [schedule.share(epoch, 4, 0, 0) for epoch in range(4)]
    assert shares == pytest.approx([1, 1, 0.2, 0.04])


def test_the_rate_of_each_step_is_the_schedules_and_steps_end_the_training(monkeypatch):
    rates, seen = [], []
    real_step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step",
        lambda self: (rates.append(self.param_groups[0]["lr"]), real_step(self)),
    )  # fmt: skip
    recipe = Recipe(epochs=1, optimizer="adamw", lr=1.0, batch=4, steps=5,
                    schedule=Schedule("cosine", by="step", warmup_steps=2))  # fmt: skip
    images, labels = set_of(6).images, set_of(6).labels
    train(network(), drawn_batches(images, labels, recipe, generator()), 6, recipe,
          epoch_done=seen.append)  # fmt: skip
    assert rates == pytest.approx([0, 0.5, 1, 0.75, 0.25])
    assert seen == [0, 1, 2] and recipe.epochs_of(6) == 3 and recipe.images_seen(6) == 16


def test_decay_of_matrices_leaves_biases_alone():
    recipe = Recipe(epochs=1, optimizer="adamw", weight_decay=0.5, decay_matrices_only=True)
    model = torch.nn.Linear(3, 2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = new_optimizer(model, recipe, 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(model.bias, before["bias"])
    torch.testing.assert_close(model.weight, before["weight"] * (1 - 0.1 * 0.5))


OWN = {
    "optimizer": "adamw", "lr": 0.001, "steps": 7, "mix": {"name": "cutmix"},
    "loss": {"name": "kl", "temperature": 20.0}, "schedule": {"name": "cosine", "waves": 0.25},
}  # fmt: skip


def test_a_sets_own_recipe_lies_over_the_protocols(tmp_path):
    recipe = own_recipe(Recipe(epochs=9), set_of(recipe=OWN))
    assert recipe.loss == Loss("kl", 20.0) and recipe.mix == Mix("cutmix")
    assert (recipe.optimizer, recipe.steps, recipe.weight_decay) == ("adamw", 7, 5e-4)
    assert Recipe.of(json.loads(json.dumps(recipe.plain()))) == recipe
    assert Recipe(epochs=9).plain().keys() == {
        "epochs", "optimizer", "lr", "momentum", "weight_decay", "batch", "drop", "augment"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mix": {"name": "cutmix", "beta": 1}}, "mix is .*beta: unexpected"),
        ({"loss": {"name": "hinge"}}, "loss is .*name: input should be 'cross_entropy'"),
        ({"schedule": {"name": "cosine", "waves": 2}}, "schedule is .*waves is 2"),
        ({"schedule": "cosine"}, "expected a table of name, at"),
        ({"optimizer": "lion"}, "expected 'sgd' or 'adam' or 'adamw'"),
        ({"steps": 5, "epochs": 5}, "both steps and epochs"),
        ({"loss": {"name": "kl", "temperature": 20}}, "set scale_t2 .*or take adamw"),
        ({"schedual": {}}, "did you mean 'schedule'"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_told(wrong, says):
    found = check(set_of(recipe=wrong), num_classes=3, shape=SHAPE, ipc=2, balanced=True)
    assert len(found) == 1
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(found[0])


# -- mixing and views ---------------------------------------------------------------------------


def test_mixing_is_out_of_place_and_its_share_is_that_of_the_pixels():
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 8, 8).contiguous()
    before = images.clone()
    made = [mixed(Mix("cutmix"), images, generator(seed)) for seed in range(20)]
    assert torch.equal(images, before) and any(partner is None for _, partner, _ in made) < 20
    for result, partner, share in made:
        if partner is not None:
            own = (result == images).double().mean((1, 2, 3))
            expected = torch.where(images[partner, 0, 0, 0] == images[:, 0, 0, 0], 1.0, share)
            torch.testing.assert_close(own, expected.double())
    summed, partner, share = mixed(Mix("mixup", alpha=0.8), images, generator(3))
    torch.testing.assert_close(summed, share * images + (1 - share) * images[partner])
    assert mixed(Mix("cutmix", p=1e-9), images, generator())[1] is None


def test_a_crop_is_what_interpolation_makes_of_it_and_the_whole_image_is_itself():
    images = torch.randn(3, 2, 8, 6, generator=generator())
    crops = torch.tensor([[0, 0, 8, 6], [1, 2, 4, 3], [5, 0, 1, 6]], dtype=torch.uint8)
    found = cropped(images, crops)
    assert torch.equal(found[0], images[0])
    for k, (top, left, height, width) in enumerate(crops.tolist()):
        part = images[k : k + 1, :, top : top + height, left : left + width]
        expected = F.interpolate(part, size=(8, 6), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[k : k + 1], expected)


def replayed_set(epochs=3, batch=4, dtype=torch.float32):
    """Return a set with stored views, the labels of a teacher for them, and the teacher."""
    synthetic = set_of(6)
    teacher = network(7).eval()
    views = draw_views(6, (8, 8), epochs=epochs, batch=batch, generator=generator(5),
                       scale=(0.3, 1.0), flip=True, mix=Mix("cutmix"))  # fmt: skip
    with torch.no_grad():
        targets = torch.stack([
            torch.cat([teacher(view(synthetic.images, views, epoch, start, batch))
                       for start in range(0, 6, batch)])
            for epoch in range(epochs)
        ])  # fmt: skip
    return teacher, replace(
        synthetic,
        payload={**as_payload(views), "targets": targets.to(dtype)},
        formation={
            "views": {"name": "replay", "epochs": epochs, "batch": batch},
            "targets": {"name": "replayed"},
        },
        recipe={
            key: value for key, value in {**OWN, "batch": batch}.items() if key != "mix"
        },
    )  # fmt: skip


def batches_of(synthetic, recipe=None, parts=None):
    recipe = recipe or own_recipe(Recipe(epochs=1), synthetic)
    decoded = decode(synthetic, parts)
    fit = Fit(3, SHAPE, len(decoded.images))
    return own_batches(Own(synthetic, decoded, recipe, generator(), fit), parts)[0]


def test_stored_labels_of_views_train_the_student_that_the_teacher_would():
    teacher, synthetic = replayed_set()
    recipe = own_recipe(Recipe(epochs=1), synthetic)
    buffers = {name: value.clone() for name, value in teacher.state_dict().items()}

    def online(epoch):
        views = views_of(synthetic)
        for start in range(0, 6, 4):
            images = view(synthetic.images, views, epoch % 3, start, 4)
            answers = answer([teacher], "logits", images)
            yield lambda images=images, answers=answers: Batch(
                Shown(images), answers, "logits", of_mixed=True
            )

    students = [network(1), network(1)]
    with one_thread():
        train(students[0], batches_of(synthetic), 6, recipe)
        train(students[1], online, 6, recipe)
    for one, other in zip(*(s.state_dict().values() for s in students), strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(v, buffers[k]) for k, v in teacher.state_dict().items())
    assert not wrong_with(synthetic) and regime(synthetic) == "SL+KD"


def test_labels_of_views_in_half_precision_are_off_by_rounding_alone():
    _, exact = replayed_set()
    _, half = replayed_set(dtype=torch.float16)
    targets, rounded = exact.payload["targets"], half.payload["targets"].float()
    assert ((rounded - targets).abs() <= targets.abs() * 2**-11 + 1e-7).all()
    assert not wrong_with(half)


def test_after_the_last_stored_epoch_the_first_comes_again():
    _, synthetic = replayed_set(epochs=2)
    batches = batches_of(synthetic)
    images = [[make().shown.images for make in batches(epoch)] for epoch in range(3)]
    assert torch.equal(images[0][0], images[2][0]) and not torch.equal(images[0][0], images[1][0])
    assert [len(part) for part in images[0]] == [4, 2]


def test_a_teacher_in_the_set_answers_for_the_mixed_images():
    first, second = network(7).eval(), network(8).eval()
    synthetic = set_of(
        recipe=OWN, payload=teacher_payload(first, second),
        formation={"targets": {"name": "teacher", "architectures": [TEACHER] * 2}},
    )  # fmt: skip
    assert not wrong_with(synthetic)
    for make in batches_of(synthetic)(0):
        batch = make()
        with torch.no_grad():
            mean = (first(batch.shown.images) + second(batch.shown.images)) / 2
        torch.testing.assert_close(batch.targets, mean)
        assert batch.of_mixed and batch.kind == "logits"
    restored = teachers(Teacher((TEACHER,) * 2), synthetic, Fit(3, SHAPE, 6))
    assert not any(one.training for one in restored)
    task = toy_task(classes=3)
    real = RealImages(task.images, task.labels, 3)
    scores = evaluate(synthetic, real, architecture=TEACHER, recipe=Recipe(epochs=2), networks=1,
                      own=True)  # fmt: skip
    assert (scores.regime, scores.labels) == ("SL+KD", "soft") and scores.flops_targets > 0
    common = evaluate(synthetic, real, architecture=TEACHER, recipe=Recipe(epochs=2), networks=1)
    assert common.flops_targets == 0 and common.labels == "hard"


def test_the_payload_of_labels_leaves_the_common_column_as_it_is():
    task = toy_task(classes=3)
    real = RealImages(task.images, task.labels, 3)
    plain, (_, formed) = set_of(), replayed_set()
    settings = {"architecture": TEACHER, "recipe": Recipe(epochs=2), "networks": 2}
    accuracies = [evaluate(one, real, **settings).accuracies for one in (plain, formed)]
    assert accuracies[0] == accuracies[1]


@pytest.mark.parametrize(
    ("formation", "labels", "expected"),
    [
        ({}, torch.arange(6) % 3, "HL"),
        ({}, torch.eye(3).repeat(2, 1), "SL"),
        ({"targets": {"name": "stored", "kind": "regression"}}, torch.eye(3).repeat(2, 1), "SL"),
    ],
)
def test_the_regime_follows_from_the_labels(formation, labels, expected):
    assert regime(replace(set_of(), labels=labels, formation=formation)) == expected


# -- refusals ------------------------------------------------------------------------------------

UPSAMPLE = {"name": "upsample", "factor": 2}


@pytest.mark.parametrize(
    ("formation", "says"),
    [
        ({"decode": {"name": "upsampel"}}, "'upsampel' is not installed; did you mean 'upsample'"),
        ({"decode": {"name": "replay", "epochs": 1, "batch": 1}}, "decoder 'replay' is not inst"),
        ({"decode": UPSAMPLE | {"factor": 3}}, "8x8 do not divide into 3x3 tiles"),
        ({"decode": UPSAMPLE | {"factor": 10**9}}, "expected 1 to 8"),
        ({"decode": UPSAMPLE | {"factor": [[[2]]]}}, "upsample.factor"),
        ({"decode": UPSAMPLE | {"colour": 1}}, "upsample has no option 'colour'"),
        ({"decode": {"name": "upsample"}}, "upsample.factor"),
        ({"decode": "upsample"}, "expected a table with a name"),
        ({"paint": UPSAMPLE}, "'paint' is no stage"),
        ({"views": {"name": "replay", "epochs": 10**9, "batch": 1}}, "epochs is 1000000000"),
        ({"views": {"name": "replay", "epochs": 1, "batch": 4}}, "the payload lacks order"),
        ({"targets": {"name": "replayed"}}, "need the stored views"),
        ({"targets": {"name": "stored", "kind": "regression"}}, "not of kind 'regression'"),
        ({"targets": {"name": "teacher", "architectures": ["no-such-net"]}}, "teacher 0: .*no-su"),
        ({"targets": {"name": "teacher", "architectures": [TEACHER] * 17}}, "expected 1 to 16"),
        ({"targets": {"name": "teacher", "architectures": [TEACHER]}}, "differ in teacher.0/"),
    ],
)
def test_a_formation_that_cannot_be_is_one_sentence(formation, says):
    found = wrong_with(set_of(formation=formation))
    assert len(found) == 1
    with pytest.raises(SetError, match=says):
        raise SetError(found[0])


def damaged(name, change):
    _, synthetic = replayed_set()
    payload = dict(synthetic.payload)
    payload[name] = change(payload[name].clone())
    return replace(synthetic, payload=payload)


def at(value, *index):
    def change(tensor):
        tensor[index] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("synthetic", "says"),
    [
        (lambda: damaged("partner", at(99, 0, 0)), "partner names a place outside its batch"),
        (lambda: damaged("partner", at(5, 0, 0)), "partner names a place outside its batch"),
        (lambda: damaged("order", at(-1, 0, 0)), "order names images outside"),
        (lambda: damaged("crop", at(255, 0, 0)), "crop reaches out of the 8x8 image"),
        (lambda: damaged("crop", at(0, 0, 0)), "a crop has no pixels"),
        (lambda: damaged("box", at(200, 0, 0)), "box reaches out"),
        (lambda: damaged("flip", lambda flip: flip[:2]), "flip is .* of shape .2, 6."),
        (lambda: damaged("order", lambda order: order[:, :5]), "a place for each decoded image"),
        (lambda: damaged("targets", lambda y: y[:, :, :2]), "targets are .* of shape .3, 6, 2."),
        (lambda: replace(replayed_set()[1], recipe={"batch": 3}), "the recipe's batch is 3"),
        (lambda: replace(replayed_set()[1], recipe={"batch": 4, "augment": "flip"}),
         "the recipe has augment.*leave it out"),
        (lambda: set_of(payload={"codes": torch.ones(2)}), "codes, which no part"),
    ],
)  # fmt: skip
def test_a_payload_that_does_not_fit_is_told(synthetic, says):
    found = wrong_with(synthetic())
    assert found
    with pytest.raises(SetError, match=says):
        raise SetError(found[0])


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"Codes": torch.ones(1)}, "lower-case letters"),
        ({"codes": torch.ones(1, dtype=torch.float64)}, "is torch.float64; expected one of"),
        ({"codes": torch.tensor([math.nan])}, "NaN"),
        ({"codes": [1.0]}, "payload 'codes' is list"),
        ({"codes": torch.ones(1, requires_grad=True)}, "requires grad"),
    ],
)
def test_a_payload_of_other_things_is_refused(payload, says):
    found = check(set_of(payload=payload), num_classes=3, shape=SHAPE, ipc=2, balanced=True)
    assert len(found) == 1 and says in found[0]


def test_probabilities_sum_to_one():
    formation = {"targets": {"name": "stored", "kind": "probabilities"}}
    rows = torch.full((6, 3), 1 / 3)
    whole = replace(set_of(formation=formation), labels=rows)
    settings = {"num_classes": 3, "shape": SHAPE, "ipc": 2, "balanced": False}
    assert not check(whole, **settings)
    assert "rows sum to 1.5" in check(replace(whole, labels=rows * 1.5), **settings)[0]


# -- parts of others -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bases:
    """Options of a decoder of another package."""

    scale: float = 1.0


def combined(options, synthetic):
    codes, bases = synthetic.payload["codes"], synthetic.payload["bases"]
    images = options.scale * torch.einsum("nk,kchw->nchw", codes, bases)
    return Decoded(images, torch.arange(len(images)))


PARTS = register_formations() | {"bases": Formation("decode", Bases, combined, "sums of bases")}


def latents():
    return SyntheticSet(
        torch.empty(0, *SHAPE), torch.arange(6) % 3,
        payload={"codes": torch.randn(6, 2), "bases": torch.randn(2, *SHAPE)},
        formation={"decode": {"name": "bases", "scale": 2.0}},
        provenance={"parts": {"bases": "ddbench-y 1.2"}},
    )  # fmt: skip


def test_a_set_of_latents_alone_is_checked_stored_and_trained_on(tmp_path):
    synthetic = latents()
    assert not check(synthetic, num_classes=3, shape=SHAPE, ipc=2, balanced=True)
    assert not wrong_with(synthetic, parts=PARTS)
    synthetic.save(tmp_path / "set")
    again = SyntheticSet.load(tmp_path / "set")
    assert len(again) == 6 and again.bytes == 6 * 8 + 4 * (12 + 2 * 64)
    task = toy_task(classes=3)
    scores = evaluate(
        again, RealImages(task.images, task.labels, 3), architecture=TEACHER,
        recipe=Recipe(epochs=1), networks=1, registered=Registered(formations=PARTS),
    )  # fmt: skip
    assert scores.decoded_images == 6


def test_a_part_that_is_not_installed_is_named_with_its_distribution():
    assert wrong_with(latents()) == [
        "formation: decoder 'bases' is not installed (made with ddbench-y 1.2);"
        " install it: pip install ddbench-y"
    ]


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (lambda s: s.images, "gives Tensor; expected Decoded"),
        (lambda s: Decoded(torch.zeros(6, 3, 8, 8), torch.arange(6)), "shape (6, 3, 8, 8)"),
        (lambda s: Decoded(torch.full((6, *SHAPE), math.nan), torch.arange(6)), "not finite"),
        (lambda s: Decoded(torch.zeros(6, *SHAPE), torch.arange(6) + 1), "outside 0..5"),
        (lambda s: Decoded(torch.zeros(6 * 65, *SHAPE), torch.zeros(390).long()), "at most 64"),
    ],
)
def test_a_decoder_that_gives_something_else_is_told(gives, says):
    part = Formation("decode", Bases, lambda options, synthetic: gives(synthetic), "wrong")
    found = wrong_with(latents(), parts=PARTS | {"bases": part})
    assert len(found) == 1 and says in found[0]


def test_a_file_is_read_without_importing_what_it_names(tmp_path):
    path = tmp_path / "set"
    set_of(formation={"decode": {"name": "os.system"}}).save(path)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["ddbench"])["format"] == 2
    assert "'os.system' is not installed" in wrong_with(SyntheticSet.load(path))[0]


# -- drawing views -------------------------------------------------------------------------------


def test_crops_have_the_shares_and_shapes_that_were_asked_for():
    size = (32, 24)
    views = draw_views(400, size, epochs=2, batch=400, generator=generator(), scale=(0.25, 0.5))
    top, left, height, width = views.crop.flatten(0, 1).int().unbind(1)
    assert (top + height <= 32).all() and (left + width <= 24).all()
    assert (height > 0).all() and (width > 0).all()
    shares, ratios = height * width / (32 * 24), width / height
    assert shares.min() > 0.2 and shares.max() < 0.55 and 0.3 < shares.mean() < 0.45
    assert ratios.min() > 0.65 and ratios.max() < 1.5
    assert top.min() == 0 and left.min() == 0 and len(top.unique()) > 12
    assert not torch.equal(views.crop[0], views.crop[1])


def test_where_no_crop_fits_the_whole_image_is_taken():
    views = draw_views(50, (4, 40), epochs=1, batch=50, generator=generator(), scale=(0.9, 1.0))
    assert (views.crop == torch.tensor([0, 0, 4, 40], dtype=torch.uint8)).all()


def test_views_that_were_drawn_on_the_cpu_are_of_images_on_any_device():
    views = draw_views(6, (8, 8), epochs=1, batch=6, generator=generator(), scale=(0.3, 1.0),
                       flip=True, mix=Mix("cutmix"))  # fmt: skip
    images = torch.randn(6, 2, 8, 8, generator=generator(1))
    here = view(images, views, 0, 0, 6)
    with elsewhere():
        there = view(images.to(ELSEWHERE), views, 0, 0, 6)
        assert there.device == ELSEWHERE
        assert torch.equal(there.cpu(), here)
