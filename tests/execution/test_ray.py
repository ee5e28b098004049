"""The engine `ray`: on several nodes of this machine, as a program of its own (ray_scenarios)."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ddbench.discovery.extensions import Extensions
from ddbench.execution.engines import Jobs, Work, engine_named, on_ray
from ddbench.execution.job_context import JobContext
from ddbench.planning.jobs import Plan
from ddbench.store.run_folder import RunError, RunFolder

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra ddbench[ray])"
)


# -- without Ray ---------------------------------------------------------------------------------


def test_without_ray_the_engine_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    run = RunFolder(tmp_path / "run")
    run.create()
    engine = engine_named("ray", Extensions(), {"address": "auto"})
    with pytest.raises(RunError, match=r"Ray is not installed; .*ddbench\[ray\]"):
        engine.run(Work(Jobs.left(Plan(), run), JobContext(run.root, tmp_path / "cache"), {}))


def environment(**changes):
    return json.dumps({"versions": on_ray._versions(), "plugins": [], "methods": {}} | changes)


def test_what_differs_from_the_driver_is_named():
    assert on_ray.differences(environment()) == []
    versions = on_ray._versions() | {"torch": "0.1", "ddbench": "9"}
    torch, ours = sorted(on_ray.differences(environment(versions=versions)), reverse=True)
    assert torch.startswith("torch is ") and torch.endswith(", on the driver 0.1")
    assert ours.endswith(", on the driver 9")
    methods = {"none": ["ddbench-none 1.0", "1.0"]}
    [line] = on_ray.differences(environment(methods=methods))
    assert line == "method none (ddbench-none 1.0) is not installed"
    [line] = on_ray.differences(environment(plugins=["/nowhere/mine.py"]))
    assert line == "--plugin /nowhere/mine.py is not there"


def test_a_method_with_other_code_is_named(kills, tmp_path):
    from ddbench.discovery.methods import discover

    name, found = next(iter(discover().items()))
    [line] = on_ray.differences(environment(methods={name: [found.source, "other"]}))
    assert f"method {name} is {found.source} with other code" in line


def test_files_come_home_records_last_and_a_checkpoint_that_is_gone_goes(kills, tmp_path):
    plan, _ = kills.plan_of(1, 3)
    [job], run = plan.condensations, RunFolder(tmp_path / "run")
    run.create()
    checkpoint = run.checkpoint(job.id)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"half")
    assert set(on_ray._needed(run, job)) == {str(checkpoint.relative_to(run.root))}
    home = f"condensations/{job.id}"
    on_ray._bring_home(run, job, {f"{home}/result.json": b"{}", f"{home}/curve.csv": b"step\n"})
    assert run.result(job.id).read_bytes() == b"{}" and not checkpoint.exists()


# -- on a cluster --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the scenarios have seen."""
    words = [
        sys.executable,
        str(Path(__file__).parent / "ray_scenarios.py"),
        str(tmp_path_factory.mktemp("ray")),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


CLUSTER = [pytest.mark.slow, pytest.mark.timeout(900), needs_ray]


def on_a_cluster(test):
    for mark in CLUSTER:
        test = mark(test)
    return test


@on_a_cluster
@pytest.mark.parametrize("how", ["ray", "travels"])
def test_results_are_those_of_the_local_engine_bit_by_bit(seen, how):
    assert seen["local"]["statuses"] == ["done"] * 4
    for part in ("sets", "accuracies", "statuses"):
        assert seen[how][part] == seen["local"][part]


@on_a_cluster
def test_two_logical_gpus_have_a_job_each(seen):
    assert seen["visible"] == ["0", "1"]


@on_a_cluster
@pytest.mark.parametrize("what", ["worker", "node"])
def test_what_was_done_by_a_worker_or_node_that_is_lost_is_done_again(seen, what):
    assert seen[what]["lost"] >= 1 and set(seen[what]["statuses"]) == {"done"}


@on_a_cluster
def test_a_job_whose_worker_is_lost_goes_on_from_its_checkpoint(seen):
    assert seen["worker"]["resumed"] >= 1


@on_a_cluster
def test_a_driver_that_was_killed_goes_on(seen):
    assert "done" not in seen["driver"]["before"]
    assert seen["driver"]["statuses"] == ["done"] * 4 and seen["driver"]["resumed"] >= 1


@on_a_cluster
def test_a_node_with_another_version_is_refused_by_name(seen):
    assert "torch is " in seen["refused"] and "on the driver 0.1" in seen["refused"]
