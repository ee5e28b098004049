"""Choosing on held-out data: what is held out, what jobs it changes, and what is tested later."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ddbench import NUMERICS, MethodInfo, SyntheticSet, datasets, hookimpl
from ddbench.datasets import DatasetError
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind
from ddbench.execution.run import RunOptions, carry_out
from ddbench.planning import budgets
from ddbench.planning.job_ids import with_evaluation_id
from ddbench.planning.jobs import Choices
from ddbench.planning.option_values import parse_percentage
from ddbench.planning.registry import RegistryError, parse
from ddbench.planning.test_set import with_tests
from ddbench.planning.workspace import Places, Session
from ddbench.reporting.leaderboard import load
from ddbench.store.hashing import hash_of_values
from ddbench.store.records import TEST, VALIDATION, Evaluation
from ddbench.store.run_folder import open_run, read_run
from PIL import Image

REGISTRY = """
[protocols.short]
epochs = 4
networks = 2

[presets.quick]
datasets = ["toy"]
architectures = ["mlp-w0.25"]
evaluate_on = ["mlp-w0.25"]
ipc = [1]
protocol = "short"
reference = "short"
rows = ["shift"]
"""


@dataclass(frozen=True)
class Config:
    rate: float = 0.1


class Shift:
    """A method that moves its images a little in two steps."""

    @hookimpl
    def describe(self):
        return MethodInfo(config=Config, steps=lambda config, ipc: 2)

    @hookimpl
    def init(self, synthetic, config):
        return {"images": synthetic.images.clone(), "labels": synthetic.labels, "config": config}

    @hookimpl
    def condense_step(self, state):
        state["images"] += state["config"].rate

    @hookimpl
    def export(self, state):
        return SyntheticSet(state["images"].clone(), state["labels"])


# -- the split ---------------------------------------------------------------------------------


def test_a_share_of_each_class_is_held_out_of_the_training_images():
    whole, split = datasets.load("toy"), datasets.load("toy?validate=20")
    assert datasets.class_counts(split).tolist() == [16] * 4
    assert np.bincount(split.val_labels).tolist() == [4] * 4
    both = np.concatenate([split.train_images, split.val_images])
    assert sorted(image.tobytes() for image in both) == sorted(
        image.tobytes() for image in whole.train_images
    )
    assert np.array_equal(split.test_images, whole.test_images)
    assert split.mean != whole.mean  # measured on what is left
    again = datasets.load("toy", options={"validate": 20})
    assert again.fingerprint == split.fingerprint != whole.fingerprint


def test_without_it_nothing_of_a_dataset_changes():
    # toy's fingerprint as of the first release; results in run folders are known by it
    assert datasets.load("toy").fingerprint.startswith("3afe058c")


def test_unequal_classes_keep_at_least_one_image_on_each_side(tmp_path):
    labels = np.array([0] * 40 + [1] * 2)
    images = np.random.RandomState(0).randint(0, 255, (42, 6, 6)).astype(np.uint8)
    path = tmp_path / "own.npz"
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    split = datasets.load(f"npz:{path}?validate=10")
    assert np.bincount(split.val_labels).tolist() == [4, 1]
    assert datasets.class_counts(split).tolist() == [36, 1]
    assert split.validating().test_images is split.val_images


def test_a_class_of_one_image_cannot_be_held_out(tmp_path):
    labels = np.array([0, 0, 1])
    images = np.zeros((3, 6, 6), np.uint8)
    path = tmp_path / "own.npz"
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    with pytest.raises(DatasetError, match="class '1' has a single training image"):
        datasets.load(f"npz:{path}?validate=20")
    datasets.load(f"npz:{path}")


def test_a_validation_split_of_its_own_is_read(tmp_path):
    train, val, test = (np.full((4, 6, 6), fill, np.uint8) for fill in (1, 2, 3))
    labels, path = np.array([0, 0, 1, 1]), tmp_path / "own.npz"
    np.savez(path, train_images=train, train_labels=labels, val_images=val, val_labels=labels,
             test_images=test, test_labels=labels)  # fmt: skip
    split = datasets.load(f"npz:{path}?validate=20", cache=tmp_path / "cache")
    assert (split.val_images == 2).all() and len(split.train_images) == 4
    assert split.validation == "its own validation split"
    cached = datasets.load(f"npz:{path}?validate=20", cache=tmp_path / "cache")
    assert (cached.val_images == 2).all() and cached.validation == split.validation
    assert datasets.load(f"npz:{path}").val_images is None


def test_a_folder_named_val_is_its_validation_split(tmp_path):
    for split, shade in (("train", 10), ("val", 20), ("test", 30)):
        for name in ("oak", "elm"):
            (tmp_path / split / name).mkdir(parents=True)
            for n in range(2):
                Image.new("L", (6, 6), shade).save(tmp_path / split / name / f"{n}.png")
    dataset = datasets.load(f"folder:{tmp_path}?validate=50")
    assert (dataset.val_images == 20).all() and len(dataset.train_images) == 4


@pytest.mark.parametrize("value", [0, 91])
def test_other_percentages_are_refused(value):
    with pytest.raises(DatasetError, match="option validate"):
        datasets.load("toy", options={"validate": value})


@pytest.mark.parametrize("text", ["0%", "0.2", "100", "fifth", "-20%"])
def test_other_shares_are_refused_on_the_command_line(text):
    with pytest.raises(RegistryError, match="--validate .*: expected a percentage"):
        parse_percentage(text, "--validate")
    assert parse_percentage("20%", "--validate") == parse_percentage("20", "--validate") == 20


# -- the plan ----------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path):
    registry = parse(REGISTRY, Path("registry.toml"))
    methods = {"shift": bind(Shift())}
    return Session.of(registry, Places(tmp_path / "cache"), methods, Extensions())


def test_jobs_on_held_out_data_are_jobs_of_their_own(session):
    plain, split = session.plan(Choices()), session.plan(Choices(validate=20))
    ids = [{job.id for job in (*p.condensations, *p.evaluations)} for p in (plain, split)]
    assert not ids[0] & ids[1]
    assert {job.tested_on for job in plain.evaluations} == {TEST}
    assert {job.tested_on for job in split.evaluations} == {VALIDATION}
    assert {job.validate for job in split.condensations} == {20}
    by_option = session.plan(Choices(datasets=("toy?validate=20",)))
    assert {job.tested_on for job in by_option.evaluations} == {VALIDATION}
    other = session.plan(Choices(validate=30))
    assert {job.id for job in other.condensations} != {job.id for job in split.condensations}


def test_an_evaluation_on_the_test_set_keeps_the_id_that_it_always_had():
    job = Evaluation("", None, None, "toy", "f00d", "mlp", "short", {"epochs": 4}, False, 2)
    record = {
        "condensation": "f00d", "snapshot": None, "architecture": "mlp", "recipe": {"epochs": 4},
        "own_recipe": False, "networks": 2, "numerics": NUMERICS, "extensions": {},
    }  # fmt: skip
    assert with_evaluation_id(job, None).id == f"whole-toy-on-mlp-short-{hash_of_values(record)}"


def test_the_test_plan_repeats_the_validations_of_what_was_chosen(session):
    plan = session.plan(Choices(validate=20, seeds=(0, 1), snapshots=("0",)))
    chosen = plan.condensations[0].id
    tests = [job for job in with_tests(plan, {chosen}).evaluations if job.tested_on == TEST]
    assert [job.condensation for job in tests] == [None, chosen]
    assert all(job.snapshot is None for job in tests)
    assert not {job.id for job in tests} & {job.id for job in plan.evaluations}


def test_a_total_budget_is_divided_over_the_condensations(session):
    plan = session.plan(Choices(budget_total=100.0, workers=2, seeds=(0, 1, 2)))
    assert {job.budget_s for job in plan.condensations} == {33.0} and plan.total_s == 100.0
    same = session.plan(Choices(budget=33.0, seeds=(0, 1, 2)))
    assert [job.id for job in same.condensations] == [job.id for job in plan.condensations]


def test_a_total_budget_that_is_too_short_says_what_would_do(session):
    too_short = r"is 0.16 s for each of 3 condensations; give at least 6s"
    with pytest.raises(RegistryError, match=too_short):
        session.plan(Choices(budget_total=1.0, seeds=(0, 1, 2)))
    assert session.plan(Choices(budget_total=6.0, seeds=(0, 1, 2))).condensations


def test_a_budget_is_the_part_of_a_total_and_steps_are_none(session):
    plan = session.plan(Choices(budget=2.0, budget_total=60.0))
    assert {job.budget_s for job in plan.condensations} == {2.0} and plan.total_s == 60.0
    with pytest.raises(RegistryError, match="--budget-total and --steps: a condensation ends by"):
        session.plan(Choices(budget_total=60.0, steps=3))


@pytest.mark.parametrize(
    ("total", "n", "workers", "part"),
    [(1800.0, 33, 2, 54.0), (60.0, 7, 1, 4.2), (36000.0, 10, 8, 14000.0), (100.0, 0, 1, 50.0)],
)
def test_parts_have_two_digits_and_are_rounded_down(total, n, workers, part):
    assert budgets.share(total, n, workers) == pytest.approx(part)


# -- a run -------------------------------------------------------------------------------------


def test_the_test_set_is_read_for_what_was_chosen_alone_and_once(session, tmp_path):
    settings = (("shift", "rate", (0.1, 0.2)),)
    plan = session.plan(Choices(validate=20, rows=("shift",), settings=settings))
    where = RunOptions(tmp_path / "run", engine="inline")
    carry_out(session, plan, where)
    records = read_run(open_run(tmp_path / "run")).evaluations.values()
    assert {(r.tested_on, r.n_test) for r in records} == {(VALIDATION, 16)}
    assert {r.validation for r in records} == {"20% of the training images, held out"}
    assert {tuple(r.train_counts) for r in records} == {(16,) * 4}

    chosen = load(open_run(tmp_path / "run")).chosen
    assert len(chosen) == 1  # of two settings of one method
    tests = with_tests(plan, chosen)
    carry_out(session, tests, where)
    found = load(open_run(tmp_path / "run"))
    assert [(b.data.tested_on, len(b.places), b.data.n_test) for b in found.boards] == [
        (VALIDATION, 2, 16), (TEST, 1, 40),
    ]  # fmt: skip
    assert [b.reference.tested_on for b in found.boards] == [VALIDATION, TEST]
    assert found.boards[0].tested
    again = carry_out(session, with_tests(plan, found.chosen), where)
    assert again.jobs.kept == len(tests.condensations) + len(tests.evaluations)
