"""What jobs will take: the same jobs first, then like ones, then a probe."""

from dataclasses import replace

import pytest
from ddbench.planning.forecasts import (
    ALIKE,
    EXACT,
    JOB_S,
    PROBED,
    Forecaster,
    Machine,
    lengths,
    run_seconds,
    seconds_of,
)
from ddbench.planning.jobs import Plan
from ddbench.store.history import exact_key, observed, recall, remember, wall_seconds
from ddbench.store.records import made
from ddbench.store.run_folder import Records, RunFolder

MACHINE = {"device": "a processor", "threads": 1, "jobs_at_once": 2}
COSTS = {
    "init_s": 1.0, "condense_s": 8.0, "export_s": 1.0, "artifact_s": 0.0, "flops_condense": 1e9,
    "flops_artifact": 0, "bytes": 1, "steps_done": 3, "peak_memory": 500,
}  # fmt: skip


@pytest.fixture
def plan(kills):
    return kills.plan_of(2, 3)[0]


def record_of(job, took=12.0, machine=MACHINE, **changes):
    ended = f"2026-01-01T00:00:{took:06.3f}+00:00"
    values = {
        **job.record(), "status": "done", "started": "2026-01-01T00:00:00.000+00:00",
        "ended": ended, "hardware": machine,
    }  # fmt: skip
    if hasattr(job, "method"):
        return made("condensation", values | {"costs": COSTS | changes})
    networks = job.networks
    of_it = {
        "accuracies": [0.5] * networks, "train_s": [2.0] * networks, "test_s": [0.5] * networks,
        "flops_train": 1e8, "n_test": 10, "images": 3,
    }  # fmt: skip
    return made("evaluation", values | of_it | changes)


def forecaster(records, machine=None):
    return Forecaster(observed(records), machine or Machine("a processor", 1, 2))


def test_the_same_job_with_another_seed_and_more_steps_is_predicted_from_it(plan):
    first, second = plan.condensations
    known = forecaster([record_of(first)])
    length = known.length(replace(second, steps=6), 0, None)
    assert length.basis == EXACT and length.seconds == pytest.approx(2 * 10 + 2)
    other = replace(second, config={"seconds": 9.0})
    assert known.length(other, 0, None) is None  # no FLOPs are known of it


def test_a_job_like_others_goes_by_their_rate_and_overhead(plan):
    first, second = plan.condensations
    known = forecaster([record_of(first)])
    other = replace(second, config={"seconds": 9.0})
    length = known.length(other, 0, flops=3e9)
    assert (length.basis, length.seconds) == (ALIKE, pytest.approx(30 + 2))


def test_a_probe_tells_what_nobody_has_run_here(plan):
    machine = Machine("a processor", 1, 2, {"condense": 1e9, "evaluate": 2e9})
    length = forecaster([], machine).length(plan.condensations[0], 0, flops=3e9)
    assert (length.basis, length.seconds) == (PROBED, pytest.approx(3 + JOB_S))


@pytest.mark.parametrize("change", [{"device": "another"}, {"threads": 4}])
def test_what_another_kind_of_machine_took_tells_nothing(plan, change):
    record = record_of(plan.condensations[0], machine=MACHINE | change)
    assert forecaster([record]).length(plan.condensations[0], 0, None) is None


def test_a_budget_is_the_length_of_its_condensation(plan):
    job = replace(plan.condensations[0], budget_s=60.0)
    assert forecaster([]).length(job, 0, None).seconds == 60 + JOB_S


def test_evaluations_are_predicted_by_their_networks(plan):
    evaluation = plan.evaluations[0]
    took = 2.5 * evaluation.networks + 1.0
    known = forecaster([record_of(evaluation, took=took)])
    more = replace(evaluation, networks=4)
    assert known.length(more, 3, None).seconds == pytest.approx(4 * 2.5 + 1.0)
    assert known.length(more, 99, None) is None  # of another number of images


def test_the_building_of_an_artifact_is_no_part_of_a_job(plan):
    record = record_of(plan.condensations[0], took=52.0, artifact_s=40.0)
    assert wall_seconds(record) == pytest.approx(12.0)
    shared = record_of(plan.condensations[0], took=12.0, artifact_s=40.0)  # built by another job
    assert wall_seconds(shared) == pytest.approx(12.0)


def test_what_nobody_knows_counts_as_the_others_of_its_kind(plan):
    known = lengths(plan, forecaster([record_of(plan.condensations[0])]), {})
    seconds = seconds_of(plan, known)
    assert [seconds[job.id] for job in plan.condensations] == [pytest.approx(12.0)] * 2
    assert not any(job.id in seconds for job in plan.evaluations)
    assert seconds_of(plan, {}) == {}


def test_a_run_takes_as_long_as_its_longest_chain_however_many_jobs_run(plan):
    seconds = dict.fromkeys([job.id for job in (*plan.condensations, *plan.evaluations)], 10.0)
    assert run_seconds(plan, seconds, 1) == 40
    assert run_seconds(plan, seconds, 64) == 20
    assert run_seconds(Plan(), {}, 2) == 0


# -- history -------------------------------------------------------------------------------------


def test_history_outlives_the_run_folder_and_is_replaced_when_it_is_run_again(plan, tmp_path):
    folder, records = RunFolder(tmp_path / "run"), Records()
    first, second = plan.condensations
    for job in (first, second):
        records.condensations[job.id] = record_of(job)
        remember(records, folder, tmp_path / "cache")
    [one] = recall(tmp_path / "cache")
    assert (one.jobs, one.units, one.seconds, one.memory) == (2, 6, 20.0, 500)
    assert one.exact == exact_key(first, 0) and one.overhead == pytest.approx(2.0)
    (tmp_path / "cache" / "history" / "torn.json").write_text("{")
    assert len(recall(tmp_path / "cache")) == 1


def test_a_part_of_a_job_tells_nothing_of_the_whole(plan):
    resumed = replace(record_of(plan.condensations[0]), resumed=1)
    assert observed([resumed]) == []
