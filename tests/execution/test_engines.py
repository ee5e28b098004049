"""Engines: two runs on one folder, signals, time limits of a run, full disks, lost runners."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.discovery import asking
from ddbench.discovery.asking import Child
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import load
from ddbench.execution.engines import Jobs, Work, crash_records, local
from ddbench.execution.engines.inline import run_inline
from ddbench.execution.engines.limits import free_memory, memory_of_a_job, relieve_log, shorten_log
from ddbench.execution.engines.work import slots
from ddbench.execution.job_context import JobContext
from ddbench.execution.run import Outcome
from ddbench.execution.runner import Control, Stopped
from ddbench.planning.jobs import Plan
from ddbench.processes.fork_server import ForkServer
from ddbench.processes.start_errors import StartError
from ddbench.store.atomic_files import claimed
from ddbench.store.run_folder import RunFolder, read_run


@pytest.fixture(scope="module")
def nursery(kills, tmp_path_factory):
    with kills.Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


def states(folder: Path) -> list[str]:
    records = read_run(RunFolder(folder))
    return [r.status for r in (*records.condensations.values(), *records.evaluations.values())]


# -- the local engine ------------------------------------------------------------------------------


def test_workers_end_when_the_runner_alone_is_killed(kills, nursery, tmp_path):
    runner = nursery.start(tmp_path / "run", 2, 1000)
    assert runner.wait_for("step")
    family = runner.process.children(recursive=True)
    assert len(family) >= 2  # the fork server and a worker at least
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert not kills.outliving(family, kills.GONE_S)
    assert states(tmp_path / "run") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves_and_ends_and_the_next_call_goes_on(
    kills, nursery, tmp_path, number
):
    folder = tmp_path / "run"
    runner = nursery.start(folder, 2, 150)
    assert runner.wait_for("step")
    family = runner.process.children(recursive=True)
    sent = time.monotonic()
    os.killpg(runner.pid, number)
    assert runner.wait() == (130 if number == signal.SIGINT else 4)
    assert time.monotonic() - sent < 10
    assert not kills.outliving(family, kills.GONE_S)
    assert list(folder.glob("condensations/*/checkpoint/*")) and states(folder) == []
    assert nursery.start(folder, 2, 150).wait() == 0
    assert states(folder) == ["done"] * 4
    resumed = [r.resumed for r in read_run(RunFolder(folder)).condensations.values()]
    assert sum(resumed) >= 1


def test_a_second_interrupt_ends_at_once_and_loses_no_finished_job(nursery, tmp_path):
    folder = tmp_path / "run"
    assert nursery.start(folder, 1, 2).wait() == 0
    finished = {path: path.read_bytes() for path in folder.rglob("*.json")}
    runner = nursery.start(folder, 3, 2000)
    assert runner.wait_for("step")
    os.kill(runner.pid, signal.SIGINT)
    time.sleep(0.05)
    os.kill(runner.pid, signal.SIGINT)
    assert runner.wait() == 130
    assert {path: path.read_bytes() for path in finished} == finished


def test_a_run_stops_in_time_with_exit_code_4(nursery, tmp_path):
    runner = nursery.start(tmp_path / "run", 2, 5000, stop_after=3.0)
    begun = time.monotonic()
    assert runner.wait() == 4
    assert time.monotonic() - begun < 20


def test_two_runs_on_one_folder_do_each_job_once(nursery, kills, tmp_path):
    folder = tmp_path / "run"
    runners = [nursery.start(folder, 4, 10) for _ in range(2)]
    assert [runner.wait() for runner in runners] == [0, 0]
    assert states(folder) == ["done"] * 8
    records = read_run(RunFolder(folder)).condensations.values()
    # Done once: nothing was resumed, and the curve has each step once.
    assert {record.resumed for record in records} == {0}
    for curve in folder.glob("condensations/*/curve.csv"):
        steps = [line.split(",")[0] for line in curve.read_text().splitlines()[1:]]
        assert steps == [str(step) for step in range(10)]
    assert not list((folder / "claims").iterdir())


# -- the inline engine -----------------------------------------------------------------------------


def left(kills, folder: Path, jobs: int = 1, steps: int = 3) -> tuple[Jobs, JobContext, dict]:
    plan, found = kills.plan_of(jobs, steps)
    run = RunFolder(folder)
    run.create()
    setting = JobContext(folder, folder.parent / "cache", checkpoint_s=0.0)
    return Jobs.left(plan, run), setting, found


def do_inline(jobs, setting, found, observe=lambda event: None, **arguments):
    work = Work(jobs, setting, found, observe, **arguments)
    work.load, work.extensions = lambda name: load(found[name]), Extensions()
    run_inline(work)


def test_inline_does_all_jobs(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run", jobs=2)
    events = []
    do_inline(jobs, setting, found, events.append)
    assert states(tmp_path / "run") == ["done"] * 4 and not jobs.pending
    assert [event["event"] for event in events if event["event"] != "step"] == ["start", "end"] * 4


def test_inline_stops_after_a_checkpoint_and_goes_on(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run", steps=4)
    steps = []

    def observe(event):
        steps.extend([event["step"]] if event["event"] == "step" else [])

    do_inline(jobs, setting, found, observe, stop=lambda: len(steps) >= 2)
    assert steps == [1, 2] and len(jobs.pending) == 2 and not jobs.ended
    jobs, setting, found = left(kills, tmp_path / "run", steps=4)
    do_inline(jobs, setting, found, observe)
    assert steps[:4] == [1, 2, 3, 4] and not jobs.pending


def test_inline_waits_for_a_job_that_another_process_has(kills, tmp_path, monkeypatch):
    jobs, setting, found = left(kills, tmp_path / "run")
    claim = claimed(setting.run.claim(jobs.pending[0].id))
    assert claim.__enter__()
    waits = []

    def wait(seconds):
        waits.append(seconds)
        claim.__exit__(None, None, None)

    monkeypatch.setattr("ddbench.execution.engines.inline.time.sleep", wait)
    monkeypatch.setitem(found, "steady", found["steady"])
    do_inline(jobs, setting, found)
    assert len(waits) >= 1 and states(tmp_path / "run") == ["done"] * 2


def test_a_full_disk_fails_the_job_and_leaves_earlier_results(kills, tmp_path, monkeypatch):
    jobs, setting, found = left(kills, tmp_path / "run")
    do_inline(jobs, setting, found)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json")}
    jobs, setting, found = left(kills, tmp_path / "run", jobs=2)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ddbench.store.atomic_files.os.fsync", full)
        do_inline(jobs, setting, found)
    assert [record.status for record in jobs.failed] == ["failed"]
    assert "No space left on device" in jobs.failed[0].reason
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json")} == before
    jobs, setting, found = left(kills, tmp_path / "run", jobs=2)
    do_inline(jobs, setting, found)  # there is room again: it was never recorded, so it is done
    assert states(tmp_path / "run") == ["done"] * 4


def test_a_death_that_cannot_be_recorded_does_not_end_the_run(kills, tmp_path, monkeypatch):
    jobs, setting, _ = left(kills, tmp_path / "run")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ddbench.store.atomic_files.os.fsync", full)
    record = crash_records.dead(jobs.pending[0], setting.run, "it died")
    assert record["status"] == "failed" and not setting.run.result(record["id"]).exists()


def test_a_method_that_is_edited_after_the_plan_is_not_run(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run")
    do_inline(jobs, setting, {"steady": replace(found["steady"], code="of before")})
    [record] = jobs.failed
    assert "edited after the plan was made; run the same command again" in record.reason
    assert states(tmp_path / "run") == []
    jobs, setting, found = left(kills, tmp_path / "run")
    do_inline(jobs, setting, found)
    assert states(tmp_path / "run") == ["done"] * 2


# -- jobs ------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_left(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run", jobs=2)
    do_inline(jobs, setting, found)
    jobs, setting, found = left(kills, tmp_path / "run", jobs=3)
    plan = kills.plan_of(3, 3)[0]
    missing = [plan.condensations[2], plan.evaluations[2]]
    assert [job.id for job in jobs.pending] == [job.id for job in missing]
    assert jobs.kept == 4 and jobs.total == 2


def test_an_evaluation_of_another_set_is_done_again(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run")
    do_inline(jobs, setting, found)
    [path] = (tmp_path / "run").glob("evaluations/*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"set_sha256": "other"}))
    jobs, *_ = left(kills, tmp_path / "run")
    assert [job.id for job in jobs.pending] == [path.stem] == jobs.outdated


def failed_evaluation(kills, folder, monkeypatch) -> Path:
    """Fail the only evaluation of a run; return its record's file."""

    def fail(*arguments):
        raise ValueError("no network fits")

    jobs, setting, found = left(kills, folder)
    with monkeypatch.context() as patch:
        patch.setattr("ddbench.execution.runner.evaluate_set", fail)
        do_inline(jobs, setting, found)
    [path] = folder.glob("evaluations/*.json")
    assert json.loads(path.read_text())["status"] == "failed"
    return path


def test_a_failed_evaluation_stays_failed(kills, tmp_path, monkeypatch):
    failed_evaluation(kills, tmp_path / "run", monkeypatch)
    jobs, *_ = left(kills, tmp_path / "run")
    assert jobs.pending == [] and len(jobs.failed) == 1


def test_a_failed_evaluation_of_another_set_is_done_again(kills, tmp_path, monkeypatch):
    path = failed_evaluation(kills, tmp_path / "run", monkeypatch)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"set_sha256": "other"}))
    jobs, *_ = left(kills, tmp_path / "run")
    assert [job.id for job in jobs.pending] == [path.stem]


def test_a_foreign_set_beside_a_finished_record_fails_its_evaluation_by_name(kills, tmp_path):
    run = tmp_path / "run"
    do_inline(*left(kills, run))
    [evaluated] = run.glob("evaluations/*.json")
    [path] = run.glob("condensations/*/synthetic.safetensors")
    whole, own = json.loads(evaluated.read_text())["accuracies"], SyntheticSet.load(path)
    dataclasses.replace(own, images=own.images + 1).save(path)
    evaluated.unlink()  # as that of a set that has changed, or is to be evaluated on more networks
    do_inline(*left(kills, run))
    failed = json.loads(evaluated.read_text())
    retry = f"retry RUN {path.parent.name} --failed"
    assert failed["status"] == "failed" and failed["set_sha256"] == own.sha256()
    assert f"{path}: is not the set that was condensed" in failed["reason"]
    assert f"`ddbench {retry}`" in failed["reason"]
    assert left(kills, run)[0].pending == []  # it is not done again by each run
    assert (
        CliRunner().invoke(main, [*retry.replace("RUN", str(run)).split(), "--yes"]).exit_code == 0
    )
    do_inline(*left(kills, run))
    assert json.loads(evaluated.read_text())["accuracies"] == whole


def test_an_evaluation_that_has_died_stays_failed(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run")
    evaluation = jobs.pending[-1]
    do_inline(jobs, setting, found)
    setting.run.evaluation(evaluation.id).unlink()
    crash_records.dead(evaluation, setting.run, "signal SIGSEGV")
    jobs, *_ = left(kills, tmp_path / "run")
    assert jobs.pending == [] and jobs.failed[0].set_sha256


def test_a_finished_job_whose_set_is_gone_is_done_again(kills, tmp_path):
    jobs, setting, found = left(kills, tmp_path / "run")
    do_inline(jobs, setting, found)
    [path] = (tmp_path / "run").glob("condensations/*/synthetic.safetensors")
    path.unlink()
    jobs, *_ = left(kills, tmp_path / "run")
    assert path.parent.name in [job.id for job in jobs.pending]


COSTS = dict.fromkeys(("init_s", "condense_s", "export_s", "artifact_s"), 1.0) | {
    "flops_condense": 0, "flops_artifact": 0, "bytes": 1, "steps_done": 3,
}  # fmt: skip


def test_a_snapshot_behind_the_end_of_its_condensation_is_not_waited_for(kills, tmp_path):
    plan, _ = kills.plan_of(1, 3)
    [evaluation] = plan.evaluations
    later = replace(evaluation, id="later", snapshot=90)
    jobs = Jobs(RunFolder(tmp_path), pending=[evaluation, later])
    [condensation] = plan.condensations
    jobs.end(condensation, condensation.record() | {"status": "done", "costs": COSTS})
    assert [job.id for job in jobs.ready()] == [evaluation.id]
    assert jobs.blocked == {"later": "its condensation ended after 3 steps"}


def test_stopped_is_no_failure_of_the_job(kills, tmp_path):
    from ddbench.execution.engines.one_job import do

    jobs, setting, found = left(kills, tmp_path / "run")
    with pytest.raises(Stopped):
        do(
            jobs.pending[0], setting, lambda name: load(found[name]), Extensions(),
            Control(stop=lambda: True),
        )  # fmt: skip
    assert states(tmp_path / "run") == [] and not list((tmp_path / "run" / "claims").iterdir())


# -- limits ----------------------------------------------------------------------------------------


def test_slots_share_the_gpus_evenly():
    def of(**values):
        return slots(JobContext(Path("r"), Path("c"), **values))

    assert of(jobs=2) == [None, None]
    assert of(jobs=4, gpus=("0", "3"), jobs_per_gpu=2) == ["0", "3", "0", "3"]
    assert of(jobs=1, gpus=("0", "3"), jobs_per_gpu=1) == ["0"]


def test_a_job_may_hold_its_share_of_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("ddbench.execution.engines.limits.free_memory", lambda: 0)
    assert memory_of_a_job(2) == 2**30  # a limit of nothing would end every job
    monkeypatch.undo()
    assert 0 < memory_of_a_job(4) < memory_of_a_job(1) < free_memory() * 1.5
    monkeypatch.setattr("ddbench.execution.engines.limits.CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert free_memory() == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 600_000


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"a" * 500 + b"b" * 5000 + b"c" * 500)
    shorten_log(path, most=1000)
    text = path.read_text()
    assert text == "a" * 500 + "\n[... 0.0 MB cut out ...]\n" + "c" * 500
    shorten_log(path, most=1000)
    assert path.read_text() == text
    shorten_log(tmp_path / "none")


def test_a_log_that_grows_gives_the_disk_back_and_loses_nothing_at_its_end(tmp_path):
    path, most = tmp_path / "log.txt", 2**16
    with open(path, "ab") as writer:
        for number in range(40):
            writer.write(bytes([97 + number % 26]) * most)
            writer.flush()
            relieve_log(path, most)
        writer.write(b"the end")
    assert path.stat().st_blocks * 512 < 12 * most
    shorten_log(path, most)
    text = path.read_text()
    assert text.startswith("a" * (most // 2)) and text.endswith("n" * 99 + "the end")
    assert len(text) < 1.1 * most


def test_an_empty_plan_leaves_nothing(tmp_path):
    assert Jobs.left(Plan(), RunFolder(tmp_path)).total == 0


def test_every_set_is_evaluated_next_and_all_rows_on_one_seed_before_the_other(kills, tmp_path):
    """So that a run that ends early has compared what it could."""
    plan, _ = kills.plan_of(1, 3)
    condensed, evaluated = plan.condensations[0], plan.evaluations[0]
    rows = [replace(condensed, id=f"{row}{seed}", seed=seed) for row in "ab" for seed in (7, 3)]
    whole = replace(evaluated, id="whole", condensation=None)
    evaluations = [replace(evaluated, id=f"on-{one.id}", condensation=one.id) for one in rows]
    left = Jobs.left(Plan(rows, [whole, *evaluations]), RunFolder(tmp_path))
    ids = [job.id for job in left.pending]
    assert ids == ["a7", "on-a7", "b7", "on-b7", "whole", "a3", "on-a3", "b3", "on-b3"]


# -- processes that cannot be started --------------------------------------------------------------


def cannot_start(number):
    def start(process):
        raise OSError(number, os.strerror(number))

    return start


@pytest.mark.parametrize("at_first", [True, False])
def test_a_run_without_processes_ends_with_the_reason_and_keeps_its_jobs(
    kills, tmp_path, monkeypatch, at_first
):
    jobs, setting, _ = left(kills, tmp_path / "run")
    pending = len(jobs.pending)
    monkeypatch.setattr(BaseProcess, "start", cannot_start(errno.EMFILE))
    monkeypatch.setattr("ddbench.execution.engines.work.CLAIM_WAIT", 0.0)
    if not at_first:
        monkeypatch.setattr(local._Local, "_server_is_up", lambda self: True)
    with pytest.raises(StartError, match=r"no process .*Too many open files.*ulimit -n"):
        local.run_local(Work(jobs, setting, {}))
    assert len(jobs.pending) == pending and not jobs.running and states(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("allowed", "jobs", "fewer"), [(12, 1, False), (20, 6, False), (40, 6, True)]
)
def test_too_few_open_files_are_told_before_anything_starts(
    kills, tmp_path, monkeypatch, allowed, jobs, fewer
):
    left_over, setting, _ = left(kills, tmp_path / "run")
    monkeypatch.setattr("resource.getrlimit", lambda kind: (allowed, allowed))
    monkeypatch.setattr(local._Local, "_server_is_up", lambda self: pytest.fail("it starts"))
    with pytest.raises(StartError, match=f"allows {allowed} open files.*`ulimit -n 1024`") as told:
        local.run_local(Work(left_over, replace(setting, jobs=jobs), {}))
    assert ("--jobs 1" in str(told.value)) == fewer


def test_a_job_whose_process_cannot_start_waits_for_another_to_end(kills, tmp_path, monkeypatch):
    jobs, setting, _ = left(kills, tmp_path / "run")
    work = Work(jobs, setting, {})
    runner = local._Local(work)
    runner.workers = [object()]
    job = next(iter(jobs.ready()))
    for _ in range(2 * local.RETRIES):
        jobs.start(job)
        runner._could_not_start(job, OSError(errno.EAGAIN, "busy"))
        assert job in jobs.pending and job not in list(work.ready())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EOFError(), "ended at once; what it said stands above"),
        (OSError("AF_UNIX path too long"), "too long; set TMPDIR to a folder with a short name"),
        (OSError(errno.EAGAIN, "busy"), "busy; allow more processes"),
    ],
)
def test_why_no_process_starts_comes_with_a_remedy(error, words):
    assert words in str(StartError.of(error))


def test_what_answers_about_methods_and_what_works_are_forked_from_one_server(
    kills, tmp_path, monkeypatch
):
    parents, method = tmp_path / "parents", tmp_path / "steady.py"
    note = f"import os\nwith open({str(parents)!r}, 'a') as file: print(os.getppid(), file=file)\n"
    method.write_text(kills.METHOD.read_text() + note)
    monkeypatch.setattr(kills, "METHOD", method)
    plan, found = kills.plan_of(1, 1)

    def asked_of(server, cache):
        child = Child(found, cache, server=server)
        child({"describe": ["steady"]})
        child.close()

    asked_of(asking.SERVER, tmp_path / "light")
    asked_of(ForkServer(local.PRELOAD), tmp_path / "cache")
    run = RunFolder(tmp_path / "run")
    run.create()
    work = Work(Jobs.left(plan, run), JobContext(run.root, tmp_path / "cache"), found)
    local.run_local(work)
    light, asked, worked = parents.read_text().split()
    assert asked == worked != str(os.getpid())
    assert light != asked  # a server without the workers' code is no use to jobs


def test_jobs_that_are_left_are_no_success(kills, tmp_path):
    jobs, _, _ = left(kills, tmp_path / "run")
    ended = Outcome(jobs.folder, Plan([], [], []), jobs)
    assert jobs.pending and ended.exit_code == 1
    assert replace(ended, stopped="SIGTERM").exit_code == 4


def test_a_run_needs_no_streams_no_short_folder_and_nothing_of_the_working_folder(
    tmp_path, shared_cache
):
    for name in ("random", "types", "socket", "torch", "numpy", "signal", "tempfile"):
        mine = f"open({str(tmp_path / 'ran')!r}, 'w').close(); raise SystemExit('mine')"
        (tmp_path / f"{name}.py").write_text(mine)
    long = tmp_path / "/".join(["a-long-name-of-a-folder"] * 4)
    long.mkdir(parents=True)
    program = Path(sys.executable).parent / "ddbench"
    words = ["--method", "random", "--dataset", "toy", "--preset", "smoke", "--ipc", "1"]
    words += ["--arch", "convnet-w8-d1", "--evaluate-on", "convnet-w8-d1", "--out", "run"]
    script = f'exec "{program}" run {" ".join(words)} <&- >&- 2>&-'
    environment = {**os.environ, "TMPDIR": str(long), "XDG_CACHE_HOME": str(shared_cache)}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment)
    assert done.returncode == 0 and not (tmp_path / "ran").exists()
    assert states(tmp_path / "run") == ["done", "done"]
