"""Kill a run at random moments, again and again, and see that nothing is lost and nothing differs.

    python benchmarks/kills.py --kills 1000

The run condenses with a small method (below a second a job) and evaluates each set. After a random
time behind the first sign of work, SIGKILL goes in turn to the whole process group of the run and
to the runner alone; the workers must be gone two seconds later (`--gone` sets another limit, for
machines whose cores are busy) and no finished record may have changed. In the end every result must
equal that of an undisturbed run bit by bit, and no condensation may have done more steps again than
lie between two checkpoints. Prints what it has seen; exits with 1 if anything was
lost or late. The seed is printed, and `--seed` repeats it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import psutil

METHOD = Path(__file__).parents[1] / "tests" / "methods_for_tests" / "steady.py"
CHECKPOINT_S, STEP_S = 0.1, 0.02
AGAIN = math.ceil(CHECKPOINT_S / STEP_S)  # steps that a kill may cost, as none is shorter
GONE_S = 2.0  # in which workers must end that have lost their runner
WAIT_S = 20.0  # for those that have not, to tell the late from the living


# -- the run that is killed ------------------------------------------------------------------------


def plan_of(jobs: int, steps: int):
    """Return the plan: `jobs` condensations by seed, and one evaluation of each."""
    from ddbench.datasets import load
    from ddbench.discovery.methods import from_file
    from ddbench.planning.job_ids import with_ids
    from ddbench.planning.jobs import Plan
    from ddbench.store.records import Condensation, Evaluation

    found, toy = from_file(METHOD), load("toy").fingerprint
    recipe = {
        "epochs": 5, "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0,
        "batch": 256, "drop": None, "augment": "none",
    }  # fmt: skip
    plan = Plan()
    for seed in range(jobs):
        job = Condensation(
            id="", options_id="", row="steady", method="steady", source=found.source,
            code=found.code, dataset="toy", dataset_fingerprint=toy, architecture="mlp",
            init="noise", ipc=1, seed=seed, config={"seconds": STEP_S}, steps=steps,
            published_steps=steps, budget_s=None, cycle=1, step_unit="step", labels="hard",
            balanced=True, reduced={}, quick=False, control_of=None, paper="", bibtex="",
        )  # fmt: skip
        job = with_ids(job)
        evaluation = Evaluation(
            id=f"{job.id}-on-mlp", condensation=job.id, snapshot=None, dataset="toy",
            dataset_fingerprint=toy, architecture="mlp", protocol="short", recipe=recipe,
            own_recipe=False, networks=1,
        )  # fmt: skip
        plan.condensations.append(job)
        plan.evaluations.append(evaluation)
    return plan, {"steady": replace(found, name="steady")}


def work(folder: Path, jobs: int, steps: int, stop_after: float | None = None) -> int:
    """Be the runner: do what is missing in `folder`; return the exit code."""
    from ddbench.execution.engines import Jobs, Work, run_local
    from ddbench.execution.job_context import JobContext
    from ddbench.execution.run import Outcome
    from ddbench.execution.signals import Stop
    from ddbench.store.run_folder import RunFolder

    plan, found = plan_of(jobs, steps)
    run = RunFolder(folder)
    run.create()

    def observe(event) -> None:
        print(event["event"], flush=True)

    setting = JobContext(folder, folder.parent / "cache", jobs=2, checkpoint_s=CHECKPOINT_S)
    left = Jobs.left(plan, run)
    with Stop(stop_after).heard(gently=True) as stop:
        run_local(Work(left, setting, found, observe, stop))
    return Outcome(run, plan, left, stop.reason if left.left_over else "").exit_code


# -- the nursery: runners without the seconds that importing torch takes ---------------------------


class Nursery:
    """A process that has imported torch, and forks a runner whenever one is asked for.

    The fork server of such a runner is forked too, where it is otherwise executed anew: all else
    is as in `ddbench run`.
    """

    def __init__(self, where: Path) -> None:
        self.where, self.count = where, 0
        command = [sys.executable, __file__, "--nursery"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def start(self, folder: Path, jobs: int, steps: int, stop_after: float | None = None) -> Runner:
        """Start a runner in a process group of its own."""
        self.count += 1
        output = self.where / f"output-{self.count}"
        os.mkfifo(output)
        request = {"folder": str(folder), "jobs": jobs, "steps": steps, "stop_after": stop_after}
        self.process.stdin.write(json.dumps(request | {"output": str(output)}) + "\n")
        self.process.stdin.flush()
        return Runner(int(self.process.stdout.readline()), output)


class Runner:
    """A runner that a nursery has forked: a process and what it prints, an event a line."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self.process = psutil.Process(pid)
        self.output = open(output)  # noqa: SIM115  (kept; waits for the runner to open its end)
        self.exit_code: int | None = None

    def wait_for(self, event: str) -> bool:
        """Wait for an event; say whether it came before the end."""
        for line in self.output:
            if line.strip() == event:
                return True
            if line.startswith("exit "):
                self.exit_code = int(line.split()[1])
        return False

    def wait(self) -> int | None:
        """Wait for the end; return the exit code, None if it was killed."""
        self.wait_for("the end")
        self.output.close()
        self.process.wait()
        return self.exit_code


def serve() -> None:
    """Be the nursery."""
    import multiprocessing.util

    import ddbench.execution.engines.preload  # noqa: F401  (torch, and what workers need)

    multiprocessing.util.spawnv_passfds = _forking(multiprocessing.util.spawnv_passfds)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the dead
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_runner(**request)
        print(pid, flush=True)


def _be_runner(folder: str, jobs: int, steps: int, stop_after: float | None, output: str) -> None:
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(output, os.O_WRONLY), 1)
    os.unlink(output)
    code = 130
    try:
        code = work(Path(folder), jobs, steps, stop_after)
    except KeyboardInterrupt:
        pass
    finally:
        print(f"exit {code}", flush=True)
        os._exit(code)


def _forking(execute):
    """Return a stand-in for `spawnv_passfds` that forks the fork server instead."""

    def fork(path, arguments, descriptors):
        if "multiprocessing.forkserver" not in str(arguments[-1]):
            return execute(path, arguments, descriptors)
        pid = os.fork()
        if pid:
            return pid
        from ddbench.processes.preloading import outlive_signals

        outlive_signals()
        kept = sorted({0, 1, 2, *descriptors})
        for low, high in zip(kept, [*kept[1:], 65536], strict=True):
            os.closerange(low + 1, high)
        try:
            exec(arguments[-1], {})  # noqa: S102  (multiprocessing's own command)
        finally:
            os._exit(0)

    return fork


# -- the killer ------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What a campaign of kills has seen."""

    seed: int
    gone_s: float = GONE_S
    kills: int = 0
    of_group: int = 0
    resumed: int = 0
    again: int = 0  # the most steps that a condensation has done again after one kill
    finished_at_kill: int = 0
    slowest_end_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def campaign(
    where: Path, kills: int, seed: int, gone_s: float = GONE_S, jobs: int = 4, steps: int = 40
) -> Tally:
    """Kill runs in `where` until there have been `kills`; compare with an undisturbed one."""
    draw, tally, rounds = random.Random(seed), Tally(seed, gone_s), 0
    with Nursery(where) as nursery:
        run_to_the_end(nursery, where / "undisturbed", jobs, steps)
        expected = results_of(where / "undisturbed")
        if len(expected) != 2 * jobs:
            tally.faults.append(f"the undisturbed run has {len(expected)} results, not {2 * jobs}")
        while tally.kills < kills and not tally.faults:
            folder = where / f"killed-{rounds}"
            rounds += 1
            kill_until_done(nursery, folder, kills, draw, tally, jobs, steps)
            run_to_the_end(nursery, folder, jobs, steps)
            found = results_of(folder)
            if found != expected:
                differing = [id for id in expected if found.get(id) != expected[id]]
                tally.faults.append(f"{folder.name}: results differ or are missing: {differing}")
            tally.resumed += resumed_in(folder)
            tally.again = max(tally.again, again := steps_again(folder))
            if again > AGAIN:
                lost = f"{again} steps were done again, of {AGAIN} between two checkpoints"
                tally.faults.append(f"{folder.name}: {lost}")
            shutil.rmtree(folder)
    return tally


def kill_until_done(
    nursery: Nursery,
    folder: Path,
    kills: int,
    draw: random.Random,
    tally: Tally,
    jobs: int,
    steps: int,
) -> None:
    """Start and kill the run of one folder until it is done or there were enough kills."""
    while tally.kills < kills:
        before = records_of(folder)
        runner = nursery.start(folder, jobs, steps)
        if not runner.wait_for("step"):
            runner.wait()
            return  # it has nothing left to do
        time.sleep(draw.uniform(0.0, 0.8))
        finished = records_of(folder)
        kill(runner, group=tally.kills % 2 == 0, tally=tally)
        after = records_of(folder)
        for earlier in (before, finished):
            lost = [name for name in earlier if after.get(name) != earlier[name]]
            if lost:
                tally.faults.append(f"kill {tally.kills}: finished records lost or changed: {lost}")
        tally.finished_at_kill += len(after)
        if len(after) == 2 * jobs:
            return


def outliving(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that still run after `seconds`; return at once when none does.

    One that has ended but is not buried yet has ended: orphans are buried by the system's first
    process, which in a container may look after them every two seconds only.
    """
    until = time.monotonic() + seconds
    while (alive := [p for p in processes if _runs(p)]) and time.monotonic() < until:
        time.sleep(0.01)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(runner: Runner, group: bool, tally: Tally) -> None:
    """Kill the runner, alone or with its group, and see that its workers end."""
    try:
        family = runner.process.children(recursive=True)
    except psutil.NoSuchProcess:
        family = []  # it ended by itself a moment ago
    killed = time.monotonic()
    with suppress(ProcessLookupError):
        os.killpg(runner.pid, signal.SIGKILL) if group else os.kill(runner.pid, signal.SIGKILL)
    tally.kills += 1
    tally.of_group += group
    alive = outliving(family, max(WAIT_S, tally.gone_s))
    took = time.monotonic() - killed
    tally.slowest_end_s = max(tally.slowest_end_s, took)
    runner.wait()
    if alive:
        tally.faults.append(f"kill {tally.kills}: {len(alive)} workers live on after {took:.2f} s")
        for process in alive:
            process.kill()
    elif took > tally.gone_s:
        late = f"the last worker was gone after {took:.2f} s, not within {tally.gone_s:g} s"
        tally.faults.append(f"kill {tally.kills}: {late}")


def run_to_the_end(nursery: Nursery, folder: Path, jobs: int, steps: int) -> None:
    """Let the run finish undisturbed."""
    code = nursery.start(folder, jobs, steps).wait()
    if code:
        raise SystemExit(f"the run in {folder} ended with exit code {code}")


# -- results ---------------------------------------------------------------------------------------


def record_files(folder: Path) -> list[Path]:
    """Return the files of all records."""
    return sorted([*folder.glob("condensations/*/result.json"), *folder.glob("evaluations/*.json")])


def records_of(folder: Path) -> dict[str, str]:
    """Return the hash of every record's bytes, by file."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in record_files(folder)}


def results_of(folder: Path) -> dict[str, object]:
    """Return what must be equal in every run: sets, curves without seconds, accuracies."""
    from ddbench.contract.synthetic_set import SyntheticSet

    results: dict[str, object] = {}
    for path in record_files(folder):
        record = json.loads(path.read_bytes())
        if record["kind"] == "evaluation":
            results[record["id"]] = (record["status"], record["accuracies"], record["set_sha256"])
            continue
        lines = (path.parent / "curve.csv").read_text().splitlines()
        curve = [line.split(",")[::2] for line in lines]  # step, speed; without the seconds
        stored = SyntheticSet.load(path.parent / "synthetic.safetensors").sha256()
        results[record["id"]] = (record["status"], record["set_sha256"], curve, stored)
    return results


def steps_again(folder: Path) -> int:
    """Return the most steps of a condensation that were done again after one kill, by the logs."""
    most = 0
    for log in folder.glob("condensations/*/log.txt"):
        done = [int(step) for step in re.findall(r"^did (\d+)$", log.read_text(), re.MULTILINE)]
        most = max([most, *(before + 1 - step for before, step in pairwise(done))])
    return most


def resumed_in(folder: Path) -> int:
    """Return how often condensations of a run went on from a checkpoint."""
    records = [json.loads(p.read_bytes()) for p in folder.glob("condensations/*/result.json")]
    return sum(record.get("resumed", 0) for record in records)


def main() -> None:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--gone", type=float, default=GONE_S, help="seconds, by default 2")
    parser.add_argument("--nursery", action="store_true", help="internal")
    options = parser.parse_args()
    if options.nursery:
        serve()
        return
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ddbench-kills-") as where:
        tally = campaign(Path(where), options.kills, seed, options.gone)
    print(
        f"{tally.kills} kills ({tally.of_group} of the whole group), "
        f"{tally.finished_at_kill} finished records seen after them, {tally.resumed} resumptions, "
        f"at most {tally.again} steps done again, "
        f"last process gone after at most {tally.slowest_end_s:.2f} s; "
        f"{len(tally.faults)} faults"
    )
    for fault in tally.faults:
        print("fault:", fault)
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
