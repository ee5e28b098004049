"""Slurm: the script of a job array, and such an array on this machine, killed in the middle."""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.execution.slurm import Array, script, submit
from ddbench.store.run_folder import RunError, RunFolder, read_run

METHOD = Path(__file__).parents[1] / "methods_for_tests" / "steady.py"


def ddbench(*words, code=0):
    result = CliRunner().invoke(main, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def array(tmp_path, **changes) -> Array:
    values = {"out": tmp_path / "run", "run": ("--method", "dm"), "tasks": 3, "time_s": 4 * 3600.0}
    return Array(**{**values, **changes})


def test_the_script_asks_for_what_was_asked_and_stops_before_the_limit(tmp_path):
    text = script(
        array(tmp_path, gpus=2, partition="long", account="us", more=("--mem=32G",), cpus=8)
    )
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH ")]
    for wanted in (
        "--array=0-2", "--time=4:00:00", "--gres=gpu:2", "--partition=long", "--account=us",
        "--mem=32G", "--cpus-per-task=8", "--requeue", "--signal=B:USR1@60",
    ):  # fmt: skip
        assert f"#SBATCH {wanted}" in directives
    assert "--stop-after 13800s" in text and 'scontrol requeue "${SLURM_ARRAY_JOB_ID}' in text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert array(tmp_path, time_s=600.0).stop_after_s == 540
    assert not any("gres" in line for line in script(array(tmp_path)).splitlines())


@pytest.mark.parametrize(
    ("given", "of_run", "ends"),
    [(0, [], 0), (4, [], 4), (1, [], 1), (4, ["USR1"], 4), (0, ["TERM"], 0)],
)
def test_a_task_ends_as_its_run_does_and_is_queued_again_for_more_to_do(
    tmp_path, given, of_run, ends
):
    """The run is a stand-in that a signal ends with `given`, or that ends so by itself."""
    program = tmp_path / "python"
    wait = "trap 'sleep 0.2; exit $CODE' USR1; touch up; while :; do sleep 0.05; done"
    program.write_text(f"#!/bin/bash\nCODE={given}\n{wait if of_run else 'exit $CODE'}\n")
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/bash\necho "$@" > requeued\n')
    for file in (program, scontrol):
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    text = script(array(tmp_path)).replace(shlex.quote(sys.executable), str(program))
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    env |= {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    task = subprocess.Popen(["bash", "-c", text], cwd=tmp_path, env=env)
    for name in of_run:
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        task.send_signal(signal.Signals[f"SIG{name}"])
    assert task.wait(timeout=30) == ends
    requeued = tmp_path / "requeued"
    assert requeued.exists() == (ends == 4)
    assert ends != 4 or requeued.read_text() == "requeue 7_2\n"


def test_a_dry_run_shows_the_script_and_writes_nothing(tmp_path, asked_here):
    out = tmp_path / "run"
    words = ("--preset", "smoke", "--method", "random", "--seed", "0", f"--out={out}")
    text, said = ddbench("submit", "--dry-run", "--array", "9", "--time", "1h", *words)
    assert "#SBATCH --array=0-1" in text  # two jobs: a condensation and its evaluation
    assert f"--seed 0 --out {out} --stop-after 3420s &" in text and text.count("--out ") == 1
    assert "nothing is submitted" in said and not out.exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--stop-after", "9m"], "--stop-after: comes from --time"),
        (["--time", "10s"], "too short"),
        (["--debug"], "for a terminal"),
        (["--budget-total", "2h"], "each task would count it anew"),
    ],
)
def test_what_makes_no_sense_on_slurm_is_refused(words, why):
    assert why in ddbench("submit", "--preset", "smoke", *words, code=2)[1]


def test_without_sbatch_the_script_is_written_and_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="no sbatch on this machine; .*array.sh is written"):
        submit(array(tmp_path))
    assert (tmp_path / "run" / "slurm" / "array.sh").exists()


def test_what_sbatch_says_is_handed_on(tmp_path, monkeypatch):
    program = tmp_path / "sbatch"
    program.write_text("#!/bin/bash\necho 'invalid partition' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RunError, match="sbatch refuses .*array.sh: invalid partition"):
        submit(array(tmp_path))


# -- an array on this machine --------------------------------------------------------------------

TASKS = """#!{python}
'''sbatch and scontrol: tasks are processes of this machine, each in a working folder of its own.'''
import os, re, subprocess, sys, time
from pathlib import Path
state = Path({state!r})
script = state / "script"

def start(task, restarts):
    place = state / f"task{{task}}"
    place.mkdir(exist_ok=True)
    env = os.environ | {{"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": str(task),
                        "SLURM_RESTART_COUNT": str(restarts)}}
    with open(place / "out.txt", "a") as out:
        job = subprocess.Popen(["bash", script], cwd=place, env=env, stdout=out, stderr=out,
                               start_new_session=True)
    (place / "pid").write_text(f"{{job.pid}} {{restarts}}")
    job.wait()

if sys.argv[0].endswith("sbatch"):
    text = Path(sys.argv[-1]).read_text()
    script.write_text(text)
    print("41;cluster")
    tasks = range(int(re.search("--array=0-([0-9]+)", text)[1]) + 1)
else:
    assert sys.argv[1] == "requeue"
    tasks = [int(sys.argv[2].split("_")[1])]
sys.stdout.flush()
for task in tasks:
    if os.fork() == 0:
        os.setsid()
        for n in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), n)
        pid, restarts = 0, -1
        if (state / f"task{{task}}" / "pid").exists():
            pid, restarts = map(int, (state / f"task{{task}}" / "pid").read_text().split())
        while pid and Path(f"/proc/{{pid}}/stat").exists() and \\
                Path(f"/proc/{{pid}}/stat").read_text().split()[2] != "Z":
            time.sleep(0.05)
        start(task, restarts + 1)
        os._exit(0)
"""

REGISTRY = """
extends = "nothing"

[protocols.short]
epochs = 5
networks = 1

[presets.steady]
datasets = ["toy"]
architectures = ["mlp"]
evaluate_on = ["mlp"]
ipc = [1]
seeds = [0, 1, 2, 3, 4, 5]
protocol = "short"
rows = [{ method = "steady", init = "noise", steps = 120 }]
"""


def wait_for(what, patience=120):
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def pids(state):
    return {int(f.parent.name[4:]): tuple(map(int, f.read_text().split()))
            for f in state.glob("task*/pid")}  # fmt: skip


@pytest.mark.slow
def test_an_array_that_is_killed_and_queued_again_does_each_job_once(tmp_path, monkeypatch):
    state, out = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    for name in ("sbatch", "scontrol"):
        (tmp_path / name).write_text(TASKS.format(python=sys.executable, state=str(state)))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "registry.toml").write_text(REGISTRY)
    said, _ = ddbench(
        "submit", "--array", "2", "--time", "10m", "--preset", "steady", "--plugin", METHOD,
        "--registry", tmp_path / "registry.toml", "--cache", tmp_path / "cache", "--jobs", "1",
        "--checkpoint-every", "0.2s", "--out", out,
    )  # fmt: skip
    assert said == "41\n"
    folder = RunFolder(out)
    checkpoints = lambda: len(list(out.glob("condensations/*/checkpoint/*")))  # noqa: E731
    wait_for(lambda: checkpoints() >= 2)  # both are at work, on two jobs
    (first, _), (second, _) = pids(state)[0], pids(state)[1]
    os.killpg(first, signal.SIGKILL)  # its node is lost, and Slurm queues it again
    subprocess.run(["scontrol", "requeue", "41_0"], check=True)
    os.kill(second, signal.SIGUSR1)  # the time of the other is nearly up: it does so itself
    wait_for(lambda: [restarts for _, restarts in pids(state).values()] == [1, 1])
    wait_for(lambda: len(read_run(folder).evaluations) == 6)
    for pid, _ in pids(state).values():
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())
    records = read_run(folder)
    assert {r.status for r in records.condensations.values()} == {"done"}
    assert sum(bool(r.resumed) for r in records.condensations.values()) >= 1
    for curve in out.glob("condensations/*/curve.csv"):
        steps = [line.split(",")[0] for line in curve.read_text().splitlines()[1:]]
        assert steps == [str(step) for step in range(120)]
    hosts = [json.loads(path.read_text())["stopped"] for path in out.glob("manifests/*.json")
             if "stopped" in path.read_text()]  # fmt: skip
    assert "SIGUSR1" in hosts and not (out / "hosts").exists()
    assert not list((out / "claims").iterdir())
