"""Hostile plugins in the local engine: each costs its own job alone."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ddbench.datasets import load as load_dataset
from ddbench.discovery.methods import from_file
from ddbench.execution.engines import Jobs, Work, run_local
from ddbench.execution.engines.crash_records import dead
from ddbench.execution.engines.limits import LOG, memory_held
from ddbench.execution.job_context import JobContext
from ddbench.execution.run import Outcome
from ddbench.planning.job_ids import with_ids
from ddbench.planning.jobs import Plan
from ddbench.store.records import Condensation
from ddbench.store.run_folder import RunFolder, read_run

TOY = load_dataset("toy").fingerprint

METHODS = Path(__file__).parent / "methods_for_tests"
GIB = 2**30

# What each act's failed record says; "" is a job that is done in spite of it.
REASONS = {
    "nothing": "",
    "raise": "ZeroDivisionError: division by zero (hostile.py:",
    "return": "condense_step returned str; expected numbers by name",
    "nan": "images hold NaN",
    "exit": "its process ended without a result: exit code 0 (os._exit",
    "sys.exit": "the code ended the program (sys.exit(5))",
    "segfault": "signal SIGSEGV (a crash inside compiled code)",
    "abort": "signal SIGABRT (compiled code gave up)",
    "close": "condense_step closed or replaced",
    "print": "",
    "puts": "",
    "chdir": "condense_step changed the working folder; use whole paths",
    "environ": "condense_step changed the environment",
    "dtype": "condense_step changed torch's default dtype",
    "grad": "condense_step changed torch's grad mode",
    "threads": "condense_step changed the number of torch's threads",
    "random": "condense_step changed torch's global random state; draw from task.generator",
    "import": "",
    "write": "wrote into the training tensors",
    "write numpy": "wrote into the training tensors",
    "write data": "wrote into the training tensors",
    "signals": "",
    "child": "",
    "fork": "",
    "crash with children": "signal SIGSEGV (a crash inside compiled code)",
    "data loader": "",
    "interrupt": "KeyboardInterrupt: of its own (hostile.py:",
    "whim": "Whim: of its own (hostile.py:",
}
LIMITED = {
    "hang": "it ran longer than --job-time allows (",
    "hang in C": "it ran longer than --job-time allows (",
}


def hostile_job(act: str, **changes) -> Condensation:
    found = from_file(METHODS / "hostile.py")
    made = Condensation(
        id="", options_id="", row="hostile", method="hostile", source=found.source, code=found.code,
        dataset="toy", dataset_fingerprint=TOY, architecture="mlp", init="noise", ipc=1, seed=0,
        config={"act": act}, steps=3, published_steps=3, budget_s=None, cycle=1, step_unit="step",
        labels="hard", balanced=True, reduced={}, quick=False, control_of=None, paper="", bibtex="",
    )  # fmt: skip
    return with_ids(replace(made, **changes))


def run(todo, folder, cache, observe=lambda event: None, **setting) -> Jobs:
    run_folder = RunFolder(folder)
    run_folder.create()
    left = Jobs.left(Plan(condensations=list(todo)), run_folder)
    found = {"hostile": from_file(METHODS / "hostile.py")}
    run_local(Work(left, JobContext(folder, cache, **{"jobs": 2, **setting}), found, observe))
    return left


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory, shared_cache):
    """One run of every act beside harmless jobs: (jobs by act, Jobs, folder, children before)."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    jobs = {act: hostile_job(act) for act in REASONS}
    jobs |= {f"harmless {seed}": hostile_job("nothing", seed=seed) for seed in (1, 2, 3)}
    ended = run(jobs.values(), folder, shared_cache)
    return jobs, ended, RunFolder(folder)


@pytest.mark.parametrize("act", REASONS)
def test_a_hostile_plugin_costs_its_own_job_alone(hostile_run, act):
    jobs, ended, folder = hostile_run
    record = ended.ended[jobs[act].id]
    if REASONS[act]:
        assert record.status == "failed" and REASONS[act] in record.reason
    else:
        assert record.status == "done", record.reason
    stored = read_run(folder).condensations[jobs[act].id]
    assert (stored.status, stored.reason) == (record.status, record.reason)


def test_everything_else_is_finished_and_the_exit_code_is_1(hostile_run):
    jobs, ended, folder = hostile_run
    assert not ended.pending and not ended.running and len(ended.ended) == len(jobs)
    for seed in (1, 2, 3):
        assert ended.ended[jobs[f"harmless {seed}"].id].status == "done"
    assert not read_run(folder).unreadable
    plan = Plan(condensations=list(jobs.values()))
    assert Outcome(folder, plan, ended).exit_code == 1


def test_the_log_of_a_failed_job_is_kept_and_that_of_a_chatty_one_cut(hostile_run):
    jobs, _, folder = hostile_run
    log = folder.condensation(jobs["segfault"].id) / "log.txt"
    assert log.exists()
    chatty = folder.condensation(jobs["print"].id) / "log.txt"
    text = chatty.read_text()
    assert len(text) <= 2 * LOG + 100 and "MB cut out" in text
    assert text.startswith("line 000000 ") and text.endswith(
        "line 299999 of a very chatty method\n"
    )
    assert "from below Python" in (folder.condensation(jobs["puts"].id) / "log.txt").read_text()


def test_no_process_is_left_over(hostile_run):
    _, _, folder = hostile_run
    assert eventually(lambda: not sleepers("3601.25"))
    assert not list((folder.root / "claims").iterdir())


def sleepers(seconds: str) -> list[list[str]]:
    lines = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if line == ["sleep", seconds]]


def eventually(check, seconds: float = 20.0) -> bool:
    """Say whether `check` becomes true: a killed process takes its time on a busy machine."""
    end = time.monotonic() + seconds
    while not check() and time.monotonic() < end:
        time.sleep(0.05)
    return check()


def test_jobs_that_hang_are_ended_by_their_time_limit(tmp_path, shared_cache):
    jobs = {act: hostile_job(act) for act in LIMITED}
    ended = run(jobs.values(), tmp_path / "run", shared_cache, job_s=6.0)
    for act, job in jobs.items():
        record = ended.ended[job.id]
        assert record.status == "failed" and LIMITED[act] in record.reason


def test_a_job_that_exhausts_memory_is_ended_before_the_machine_is(tmp_path, shared_cache):
    jobs = [hostile_job("memory"), hostile_job("nothing")]
    ended = run(jobs, tmp_path / "run", shared_cache, memory=int(1.2 * GIB))
    record = ended.ended[jobs[0].id]
    assert record.status == "failed"
    assert "GiB of memory; --memory allows a job 1.2 GiB" in record.reason
    assert ended.ended[jobs[1].id].status == "done"
    assert memory_held(os.getpid()) > 0


def test_a_job_that_others_kill_is_tried_again_but_not_for_ever(tmp_path, shared_cache):
    events = []
    job = hostile_job("kill")
    ended = run([job], tmp_path / "run", shared_cache, events.append)
    told = [event["event"] for event in events if event["event"] != "step"]
    assert told == ["start", "put back"] * 2 + ["start", "end"]
    assert "SIGKILL (killed from outside" in ended.ended[job.id].reason


def test_a_job_finds_cuda_untouched_its_slots_gpu_and_its_threads(tmp_path, shared_cache):
    jobs = [hostile_job("note", seed=seed) for seed in range(3)]
    ended = run(jobs, tmp_path / "run", shared_cache, gpus=("3", "5"))
    notes = [eval(record.measures["note"]) for record in ended.ended.values()]  # noqa: S307
    assert {note[1] for note in notes} == {"3", "5"}
    assert {(note[0], *note[2:4]) for note in notes} == {(False, 1, "0")}
    assert {note[4] for note in notes} == {800}  # memory that runs out costs a job, not the run
    assert len({record.measures["pid"] for record in ended.ended.values()}) == 3


def test_a_job_that_kills_the_fork_server_costs_no_other(tmp_path, shared_cache):
    jobs = [hostile_job("server"), hostile_job("nothing"), hostile_job("nothing", seed=1)]
    ended = run(jobs, tmp_path / "run", shared_cache)
    assert [ended.ended[job.id].status for job in jobs] == ["failed", "done", "done"]
    assert "its fork server was lost" in ended.ended[jobs[0].id].reason


def test_memory_that_forked_children_share_counts_once(tmp_path, shared_cache):
    job = hostile_job("share")
    ended = run([job], tmp_path / "run", shared_cache, memory=int(1.2 * GIB))
    assert ended.ended[job.id].status == "done", ended.ended[job.id].reason


RUNNER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_hostile import hostile_job, run
run([hostile_job("hold the interpreter")], Path({folder!r}), Path({cache!r}))
"""


@pytest.mark.parametrize("group", [False, True])
def test_nothing_outlives_a_killed_runner_whatever_a_worker_does(
    tmp_path, shared_cache, kills, group
):
    """A worker in compiled code that holds the interpreter's lock, with a program of its own."""
    names = {"tests": str(METHODS.parent), "folder": str(tmp_path / "run")}
    code = RUNNER.format(**names, cache=str(shared_cache))
    runner = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    assert eventually(lambda: sleepers("3602.25"), 60)
    family = psutil.Process(runner.pid).children(recursive=True)
    assert len(family) >= 4  # the fork server, the worker, its program, and the reaper
    os.killpg(runner.pid, signal.SIGKILL) if group else runner.kill()
    runner.wait()
    assert not kills.outliving(family, kills.GONE_S)


def test_a_job_that_wrote_its_record_keeps_it_when_an_observer_then_ends_it(tmp_path, shared_cache):
    job = hostile_job("nothing")
    folder = tmp_path / "run"
    done = run([job], folder, shared_cache).ended[job.id]
    record = dead(job, RunFolder(folder), "it ran longer than --job-time allows")
    assert record["status"] == "done" and record["set_sha256"] == done.set_sha256


def test_a_log_that_cannot_be_opened_is_said_to_be_unwritable(tmp_path, shared_cache):
    job = hostile_job("nothing")
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.condensation(job.id).write_text("a file where a folder has to be")
    record = run([job], folder.root, shared_cache).ended[job.id]
    assert record.status == "failed"
    words = f"the run folder {folder.root} cannot be written: [Errno 17] File exists"
    assert record.reason.startswith(words)
    assert str(folder.condensation(job.id)) in record.reason


@pytest.mark.parametrize("act", ["lose the run", "replace the run"])
def test_a_run_folder_that_goes_fails_what_is_left_and_keeps_what_was_done(
    tmp_path, shared_cache, act
):
    folder, done = tmp_path / "run", hostile_job("nothing")
    assert run([done], folder, shared_cache).ended[done.id].status == "done"
    jobs = [done, hostile_job(act), *(hostile_job("nothing", seed=seed) for seed in (1, 2))]
    events = []
    ended = run(jobs, folder, shared_cache, events.append, jobs=1, checkpoint_s=0.0)
    assert not ended.pending and len(ended.failed) == 3
    for record in ended.failed:
        assert f"{folder} cannot be written" in record.reason
        assert "the run folder has gone" in record.reason
    assert [event["event"] for event in events if event["event"] != "step"] == ["start", "end"] * 3
    assert Outcome(RunFolder(folder), Plan(condensations=jobs), ended).exit_code == 1
    assert not folder.is_dir()  # nothing has been written where it was
    [kept] = read_run(RunFolder(tmp_path / "moved")).condensations.values()
    assert kept.id == done.id and kept.status == "done"
