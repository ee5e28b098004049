"""What a plan costs: rows, totals, what does not fit, and what to leave out."""

from dataclasses import replace
from pathlib import Path

import pytest
from ddbench import MethodInfo, hookimpl
from ddbench.discovery.methods import bind
from ddbench.execution import costs as module
from ddbench.execution.costs import costs, expected, to_fit
from ddbench.execution.engines import Jobs
from ddbench.execution.run import carry_out
from ddbench.execution.run_options import RunOptions
from ddbench.planning.jobs import Choices
from ddbench.planning.registry import parse
from ddbench.planning.workspace import Places, Session
from ddbench.store.run_folder import read_run

TEXT = """
[protocols.short]
epochs = 2
networks = 1

[presets.quick]
datasets = ["toy"]
architectures = ["mlp"]
evaluate_on = ["mlp", "convnet-w8-d1"]
ipc = [1, 2]
seeds = [0, 1]
protocol = "short"
rows = ["still"]
"""


class Still:
    @hookimpl
    def describe(self):
        return MethodInfo(steps=lambda config, ipc: 2)

    @hookimpl
    def init(self, synthetic):
        return synthetic

    @hookimpl
    def condense_step(self):
        return {}

    @hookimpl
    def export(self, state):
        return state


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_probe", lambda *given, **how: PROBE)
    registry = parse(TEXT, Path("registry.toml"))
    return Session.of(registry, Places(tmp_path / "cache"), {"still": bind(Still())})


PROBE = module._Probe("no such processor", 10**9, 10**6, {"evaluate": 1e9, "condense": 1e9})


def test_every_row_has_operations_hours_memory_and_disk(session, tmp_path):
    plan = session.plan(Choices())
    found = costs(session, plan, RunOptions(tmp_path / "run", jobs=2))
    assert [(row.kind, row.jobs) for row in found.rows] == [
        ("condense", 2), ("condense", 2),
        ("evaluate", 2), ("evaluate", 2), ("evaluate", 2), ("evaluate", 2),
    ]  # fmt: skip
    for row in found.rows:
        assert row.seconds > 0 and row.memory > 10**6 and row.disk > 0 and row.basis == "probe"
    assert sum(row.seconds for row in found.rows) == pytest.approx(sum(found.seconds.values()))
    assert 0 < found.run_s < sum(found.seconds.values())


def test_what_needs_more_memory_than_a_job_may_hold_does_not_fit(session, tmp_path):
    plan = session.plan(Choices())
    found = costs(session, plan, RunOptions(tmp_path / "run", memory=2**19))
    assert not any(row.fits for row in found.rows)
    assert "a job may hold 512.0 KiB: fewer --jobs" in found.rows[0].why
    assert all(row.fits for row in costs(session, plan, RunOptions(tmp_path, memory=0)).rows)


def test_what_does_not_fit_into_the_time_is_left_out_seeds_first(session, tmp_path):
    plan = session.plan(Choices())
    found = costs(session, plan, RunOptions(tmp_path / "run", jobs=1))
    assert to_fit(plan, found, within_s=1e6) == []
    what = [one.what for one in to_fit(plan, found, within_s=0.0)]
    assert what[:2] == ["seed 1", "evaluation on convnet-w8-d1"] and "still on toy" in what[2]
    [half] = to_fit(plan, found, within_s=found.run_s / 2 + 0.1)
    assert half.what == "seed 1" and half.run_s == pytest.approx(found.run_s / 2)


def test_a_run_under_a_budget_goes_seed_by_seed_however_long_jobs_are(
    session, tmp_path, monkeypatch
):
    orders = []
    left = Jobs.left.__func__

    def noted(cls, plan, folder, seconds=None):
        orders.append(seconds)
        return left(cls, plan, folder, seconds)

    monkeypatch.setattr(Jobs, "left", classmethod(noted))
    monkeypatch.setattr("ddbench.execution.run.expected", lambda *given: {"a": 1.0})
    for choices in (Choices(seeds=(0,), ipc=(1,)), Choices(seeds=(0,), ipc=(1,), budget_total=60)):
        options = RunOptions(tmp_path / str(len(orders)), engine="inline")
        carry_out(session, session.plan(choices), options)
    assert orders == [{"a": 1.0}, None]


def test_a_run_predicts_from_what_ran_before_and_keeps_that_beside_its_results(
    session, tmp_path, monkeypatch
):
    plan = session.plan(Choices(seeds=(0,)))
    first = carry_out(session, plan, RunOptions(tmp_path / "a", engine="inline"))
    [before] = read_run(first.folder).manifests
    assert before.plan.expected == {}
    record = next(iter(read_run(first.folder).condensations.values()))
    machine = replace(PROBE, device=record.hardware["device"])
    monkeypatch.setattr(module, "_probe", lambda *given, **how: machine)
    again = session.plan(Choices(seeds=(5,)))
    second = carry_out(session, again, RunOptions(tmp_path / "b", engine="inline"))
    [manifest] = read_run(second.folder).manifests
    jobs = {job.id for job in (*again.condensations, *again.evaluations)}
    assert set(manifest.plan.expected) == jobs
    assert all(0 < seconds < 60 for seconds in manifest.plan.expected.values())
    assert expected(session, again, RunOptions(tmp_path / "c", engine="inline"))
