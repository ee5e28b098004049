"""RDED: its patches against a search by hand, mosaics, the recipe, the control and resuming."""

from importlib.metadata import entry_points

import ddbench_rded as rded
import pytest
import torch
import torch.nn.functional as F
from ddbench import Facts, Task, Unsupported
from ddbench.contract.config import make_config
from ddbench.contract.synthetic_set import check_recipe
from ddbench.formations import problems
from ddbench.testing import (
    bind,
    condense,
    load_checkpoint,
    save_checkpoint,
    toy_task,
)
from ddbench.training import predict
from ddbench_rded import Config

TAUGHT = {"teacher_epochs": 40, "crops": 3, "candidates": 20}
ARCHITECTURE = "convnet-w8-d1-bn"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Teachers, trained once for all tests."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def task_of(store):
    return lambda **said: toy_task(store=store, **{"architecture": ARCHITECTURE, **said})


def started(task, **options):
    return rded.init(task=task, config=Config(**{**TAUGHT, **options}))


def after(task, steps, **options):
    state = started(task, **options)
    for step in range(steps):
        rded.condense_step(state=state, task=task, step=step)
    return state


def watch_crops(monkeypatch):
    """Keep the crops that each step draws, and their losses."""
    seen, draw, judge = [], rded.random_crops, rded.judged
    monkeypatch.setattr(rded, "random_crops", lambda *a: seen.append([draw(*a)]) or seen[-1][0])
    monkeypatch.setattr(rded, "judged", lambda *a: seen[-1].append(judge(*a)) or seen[-1][1])
    return seen


@pytest.mark.parametrize("factor", [1, 2])
def test_the_easiest_crop_of_each_of_the_easiest_images_is_kept(task_of, monkeypatch, factor):
    seen = watch_crops(monkeypatch)
    task = task_of(ipc=2)
    state = after(task, 20, factor=factor)
    crops = torch.stack([one for one, _ in seen])  # (steps, C, m, ch, h, w)
    losses = torch.stack([one for _, one in seen])
    for c in range(3):
        easiest, which = losses[:, c].min(1)
        order = easiest.sort(stable=True).indices[: 2 * factor**2]
        assert torch.equal(state.losses[c], easiest[order])
        assert torch.equal(state.patches[c], crops[order, c, which[order]])
        assert torch.equal(state.sources[c].cpu(), state.orders[c][order])
    assert state.losses.mean() <= losses.mean()


def test_every_image_gives_one_patch_at_most_and_of_its_own_class(task_of):
    task = task_of(ipc=3)
    for steps in (0, 1, 2, 5, 20):
        state = after(task, steps)
        for c in range(3):
            own = state.sources[c].tolist()
            assert len(set(own)) == 3 and set(own) <= set(task.class_indices(c).tolist())
            judged = state.losses[c].isfinite().tolist()
            assert judged == [True] * min(steps, 3) + [False] * max(0, 3 - steps)


def test_a_loss_is_the_teachers_for_a_crop_in_the_middle_of_an_empty_image(task_of):
    task = task_of()
    teacher = rded.teacher_of(task, Config(**TAUGHT)).network
    crops = torch.randn(2, 3, 1, 4, 4)
    framed = torch.zeros(6, 1, 8, 8)
    framed[:, :, 2:6, 2:6] = crops.flatten(0, 1)
    expected = -predict(teacher, framed).log_softmax(1).unflatten(0, (2, 3))
    found = rded.judged(teacher, crops, torch.tensor([2, 0]), task.shape)
    torch.testing.assert_close(found[0], expected[0, :, 2])
    torch.testing.assert_close(found[1], expected[1, :, 0])


def test_the_teacher_is_left_as_it_was(task_of):
    task = task_of()
    state = started(task)
    before = {name: value.clone() for name, value in state.trained.network.state_dict().items()}
    rded.condense_step(state=state, task=task, step=0)
    rded.export(state=state, task=task)
    after = state.trained.network.state_dict()
    assert before and all(torch.equal(value, after[name]) for name, value in before.items())
    assert not state.trained.network.training


def test_crops_are_squares_between_the_least_share_and_the_whole(task_of, monkeypatch):
    sides = set()
    monkeypatch.setattr(
        rded, "shrunk", lambda images, size: sides.add(tuple(images.shape[2:])) or images
    )
    task = task_of()
    state = started(task)
    monkeypatch.setattr(torch, "cat", lambda crops: torch.zeros(len(crops), 1, 8, 8))
    rded.random_crops(task, state, task.images[:40].repeat(5, 1, 1, 1))
    assert {height for height, _ in sides} == {height for _, height in sides}
    assert {height for height, _ in sides} == set(range(2, 9))  # sqrt(0.08 * 64) = 2.3


def test_tile_k_of_image_q_is_patch_k_times_ipc_plus_q():
    patches = torch.arange(2 * 12.0).reshape(2, 12, 1, 1, 1).expand(2, 12, 1, 3, 3)
    images = rded.mosaics(patches, 2)  # ipc 3
    assert images.shape == (6, 1, 6, 6)
    for c in range(2):
        for q in range(3):
            for k in range(4):
                row, column = 3 * (k // 2), 3 * (k % 2)
                tile = images[3 * c + q, 0, row : row + 3, column : column + 3]
                assert (tile == 12 * c + 3 * k + q).all()


def test_the_stored_images_are_the_patches_bit_for_bit(task_of):
    task = task_of(ipc=2)
    state = after(task, 20)
    result = rded.export(state=state, task=task)
    assert torch.equal(result.images, state.patches.flatten(0, 1))
    assert result.columns["source"].shape == (6, 1)
    assert result.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_stored_patches_are_easier_than_random_crops(task_of):
    task = task_of(ipc=2)
    state = after(task, 20)
    network = state.trained.network
    labels = torch.arange(3).repeat_interleave(20)
    crops = rded.random_crops(task, state, task.images).flatten(0, 1)
    random = predict(network, crops).softmax(1)
    kept = predict(network, state.patches.flatten(0, 1)).softmax(1)
    rows = torch.arange(len(crops))
    of_random = random[rows, labels.repeat_interleave(3)].mean()
    assert kept[torch.arange(6), torch.arange(3).repeat_interleave(2)].mean() > of_random


def test_the_set_can_be_trained_on_by_its_own_recipe(task_of):
    task = task_of(ipc=2)
    result = rded.export(state=after(task, 3), task=task)
    assert check_recipe(result) == []
    assert problems(result, num_classes=3, shape=(1, 8, 8)) == []
    assert result.measures["teacher_network"] == ARCHITECTURE
    assert 0.5 < result.measures["teacher_accuracy"] <= 1
    teacher = rded.teacher_of(task, Config(**TAUGHT)).network
    bytes_of_teacher = sum(value.nbytes for value in teacher.state_dict().values())
    assert result.bytes == 6 * 64 * 4 + 6 * 8 + bytes_of_teacher


def test_the_published_recipe():
    task = toy_task(classes=10, per_class=10, ipc=10)
    assert rded.recipe_of(task, Config()) == {
        "epochs": 300,
        "batch": 50,
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.01,
        "decay_matrices_only": True,
        "schedule": {"name": "cosine", "waves": 0.25},
        "augment": "none",
        "mix": {"name": "cutmix"},
        "loss": {"name": "kl", "temperature": 20.0},
    }


@pytest.mark.parametrize(
    ("strategy", "augment"),
    [("color_crop_cutout_flip_scale_rotate", "flip"), ("color_crop_cutout_scale_rotate", "none")],
)
def test_images_are_flipped_only_where_the_data_set_has_flips(strategy, augment):
    task = toy_task()
    task.strategy = strategy
    assert rded.recipe_of(task, Config())["augment"] == augment


@pytest.mark.parametrize(
    ("classes", "ipc", "batch"),
    [(10, 1, 10), (10, 10, 50), (10, 50, 100), (10, 20, 50), (3, 1, 3), (100, 1, 20),
     (100, 10, 100), (200, 50, 200)],
)  # fmt: skip
def test_the_batch_is_by_ipc_twice_as_large_of_many_classes_and_no_more_than_all(
    classes, ipc, batch
):
    assert rded.batch_of(Config(), classes, ipc) == batch


@pytest.mark.parametrize("factor", [1, 2])
def test_the_control_is_whole_images_with_all_else_the_same(task_of, factor):
    task, twin = task_of(ipc=2), task_of(ipc=2)
    options = {**TAUGHT, "factor": factor}
    result = condense(rded, task, Config(**options), steps=20)
    control = condense(rded, twin, Config(select="random", **options), steps=20)
    sources = control.columns["source"].flatten()
    assert len(set(sources.tolist())) == 6
    assert torch.equal(control.images, task.images[sources])
    assert torch.equal(control.labels, result.labels)
    assert dict(control.recipe) == dict(result.recipe)
    assert dict(control.formation) == dict(result.formation)
    assert control.bytes == result.bytes
    assert all(torch.equal(result.payload[k], v) for k, v in control.payload.items())
    assert not torch.equal(control.images, result.images)


def test_the_control_takes_no_steps_and_stands_beside_every_row():
    info = bind(rded).info
    assert info.steps(Config(), 10) == 300
    assert info.steps(Config(select="random"), 10) == 0
    assert {"options": {"select": "random"}} in info.controls
    assert {"method": "random"} in info.controls


def test_a_class_with_few_images_ends_before_the_others():
    whole = toy_task(per_class=9)
    kept = torch.cat([whole.class_indices(c)[:count] for c, count in enumerate((9, 3, 5))])
    task = Task(
        images=whole.images[kept], labels=whole.labels[kept], num_classes=3, dataset="unequal",
        fingerprint="unequal", strategy=whole.strategy, architecture="convnet-w8-d1", ipc=2,
        seed=0, store=whole._store,
    )  # fmt: skip
    config = Config(teacher_epochs=60, crops=2)
    state = rded.init(task=task, config=config)
    for step in range(9):
        rded.condense_step(state=state, task=task, step=step)
    assert state.losses.isfinite().all()
    with pytest.raises(rded.Converged):
        rded.condense_step(state=state, task=task, step=9)


@pytest.mark.parametrize(
    ("options", "ipc", "counts", "why"),
    [
        ({"factor": 3}, 1, (20, 20), "8x8 do not divide into 3x3 patches"),
        ({"factor": 2, "candidates": 7}, 2, (20, 20), "as many candidates, 8; candidates is 7"),
        ({}, 5, (9, 4), "class 1 has 4 training images, 5 are needed.* use ipc <= 4"),
        ({"factor": 2}, 2, (7, 9), "class 0 has 7 training images, 8 are needed.* use ipc <= 1"),
        ({"factor": 2, "select": "random"}, 2, (7, 9), None),
        ({"candidates": 4}, 4, (20, 20), None),
    ],
)
def test_what_cannot_be_is_said_before_any_work(options, ipc, counts, why):
    facts = Facts("toy", 2, (1, 8, 8), counts, "convnet", "real", ipc, 300)
    found = rded.needs(Config(**options), facts)
    if why is None:
        assert found is None
    else:
        with pytest.raises(Unsupported, match=why):
            raise Unsupported(found)


def test_interrupted_after_any_step_it_goes_on_bit_by_bit(task_of, tmp_path):
    straight = started(task := task_of(ipc=2))
    for step in range(5):
        rded.condense_step(state=straight, task=task, step=step)
        save_checkpoint(tmp_path / str(step), straight, task)
    for stop in range(4):
        state = started(task := task_of(ipc=2))
        load_checkpoint(tmp_path / str(stop), state, task)
        for step in range(stop + 1, 5):
            rded.condense_step(state=state, task=task, step=step)
        for name in ("patches", "losses", "sources"):
            assert torch.equal(getattr(state, name), getattr(straight, name)), name


def test_a_teacher_that_has_learned_nothing_labels_nothing(task_of):
    with pytest.raises(rded.OptionsError, match="the floor is") as caught:
        rded.teacher_of(task_of(), Config(teacher_epochs=1, floor=1.0))
    assert caught.value.options == {"teacher_epochs": 5}


def test_a_shrunk_crop_is_antialiased_and_one_of_its_size_is_itself():
    image = torch.randn(1, 1, 8, 8)
    assert torch.equal(rded.shrunk(image, (8, 8)), image)
    fine = (torch.arange(8) % 2 * 2.0 - 1).expand(1, 1, 8, 8)  # stripes of one pixel
    assert rded.shrunk(fine, (2, 2)).abs().max() < 0.3
    assert F.interpolate(fine, (2, 2)).abs().max() == 1


@pytest.mark.parametrize(
    "options", [{"crops": 0}, {"smallest": 0.0}, {"select": "best"}, {"batch": 0}, {"lr": 0.0}]
)
def test_refuses_options_that_could_not_work(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Config(**options)


def test_is_installed_as_a_method():
    assert entry_points(group="ddbench.methods")["rded"].value == "ddbench_rded"
    info = bind(rded).info
    make_config(info, {**info.quick, **info.check})
