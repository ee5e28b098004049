"""Budgets of seconds: the loop ends at the first step past it, exports, and says so."""

import time
from dataclasses import dataclass, replace

import pytest
import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl
from ddbench.datasets import load as load_dataset
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import Control, Stopped, run_condensation
from ddbench.planning.job_ids import with_ids
from ddbench.store.records import Condensation

TOY = load_dataset("toy").fingerprint

STEP = 0.05


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor


class Sleeper:
    """A method whose step takes 50 ms."""

    @hookimpl
    def describe(self):
        return MethodInfo(steps=lambda config, ipc: 10_000)

    @hookimpl
    def init(self, synthetic):
        return State(synthetic.images.clone(), synthetic.labels)

    @hookimpl
    def condense_step(self, state):
        time.sleep(STEP)
        state.images += 1

    @hookimpl
    def export(self, state):
        return SyntheticSet(state.images.clone(), state.labels)


def job(**changes) -> Condensation:
    made = Condensation(
        id="", options_id="", row="sleeper", method="sleeper", source="bound 0", code="bound",
        dataset="toy", dataset_fingerprint=TOY, architecture="mlp", init="noise", ipc=1, seed=0,
        config={}, steps=10_000, published_steps=10_000, budget_s=6 * STEP, cycle=1,
        step_unit="step", labels="hard", balanced=True, reduced={}, quick=False, control_of=None,
        paper="", bibtex="",
    )  # fmt: skip
    return with_ids(replace(made, **changes))


@pytest.fixture
def setting(tmp_path, shared_cache):
    return JobContext(folder=tmp_path / "run", cache=shared_cache)


def condense(job, setting, control=None):
    return run_condensation(job, setting, bind(Sleeper()), Extensions(), control or Control())


def own_seconds(record) -> float:
    return record["costs"]["init_s"] + record["costs"]["condense_s"]


def test_the_loop_ends_at_the_first_step_past_the_budget(setting):
    record = condense(job(), setting)
    assert record["status"] == "done" and record["ended_by"] == "budget"
    done = record["costs"]["steps_done"]
    assert 1 <= done <= 6
    assert own_seconds(record) >= 6 * STEP
    # without its last step it had not been spent
    assert own_seconds(record) - record["costs"]["condense_s"] / done < 6 * STEP
    rows = (setting.run.condensation(record["id"]) / "curve.csv").read_text().splitlines()
    assert len(rows) == done + 1


def test_what_was_spent_before_an_interruption_counts(setting):
    steps = []
    with pytest.raises(Stopped):
        condense(job(), setting, Control(lambda: len(steps) >= 3, steps.append))
    record = condense(job(), setting)
    assert record["resumed"] == 1 and 4 <= record["costs"]["steps_done"] <= 6


def test_a_budget_is_part_of_the_identity_and_steps_then_are_not():
    ids = {job().id, job(budget_s=1.0).id, job(budget_s=None).id}
    assert len(ids) == 3 and job(steps=5).id == job().id


def test_steps_end_the_loop_where_there_is_no_budget(setting):
    record = condense(job(budget_s=None, steps=2), setting)
    assert record["ended_by"] == "steps" and record["costs"]["steps_done"] == 2


def test_a_budgeted_condensation_is_not_extended(setting):
    kept = replace(setting, keep_state=True)
    condense(job(), kept)
    assert condense(job(budget_s=None, steps=9), kept)["extended_from"] is None


def test_snapshots_past_the_end_of_a_budget_are_not_missed(setting):
    from ddbench.execution.engines.job_queue import record_of

    budgeted = job(snapshots=(0, 2, 500))
    record = condense(budgeted, setting)
    assert [setting.run.set_file(record["id"], s).exists() for s in (0, 2, 500)] == [
        True, True, False,
    ]  # fmt: skip
    assert record_of(budgeted, setting.run) is not None
