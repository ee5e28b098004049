"""Kill a run at random moments, again and again, and see that nothing is lost and nothing differs.

    python benchmarks/kills.py --kills 1000

The run condenses with a small method (below a second a job) and evaluates each set. After a random
time behind the first sign of work, SIGKILL goes in turn to the whole process group of the run and
to the runner alone; the workers must be gone two seconds later and no finished record may have
changed. In the end every result must equal that of an undisturbed run bit by bit. Prints what it
has seen; exits with 1 if anything was lost. The seed is printed, and `--seed` repeats it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

METHOD = Path(__file__).parents[1] / "tests" / "methods_for_tests" / "steady.py"
CHECKPOINT_S = 0.1
GONE_S = 2.0  # in which workers must end that have lost their runner


# -- the run that is killed ------------------------------------------------------------------------


def plan_of(jobs: int, steps: int):
    """Return the plan: `jobs` condensations by seed, and one evaluation of each."""
    from ddbench.methods import from_file
    from ddbench.plan import Condensation, Evaluation, Plan, with_ids

    found = from_file(METHOD)
    recipe = {
        "epochs": 5, "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0,
        "batch": 256, "drop": None, "augment": "none",
    }  # fmt: skip
    plan = Plan()
    for seed in range(jobs):
        job = Condensation(
            id="", options_id="", row="steady", method="steady", source=found.source,
            code=found.code, dataset="toy", dataset_fingerprint="toy", architecture="mlp",
            init="noise", ipc=1, seed=seed, config={"seconds": 0.02}, steps=steps,
            published_steps=steps, budget_s=None, cycle=1, step_unit="step", labels="hard",
            balanced=True, reduced={}, quick=False, control_of=None, paper="", bibtex="",
        )  # fmt: skip
        job = with_ids(job)
        evaluation = Evaluation(
            id=f"{job.id}-on-mlp", condensation=job.id, snapshot=None, dataset="toy",
            dataset_fingerprint="toy", architecture="mlp", protocol="short", recipe=recipe,
            own_recipe=False, networks=1,
        )  # fmt: skip
        plan.condensations.append(job)
        plan.evaluations.append(evaluation)
    return plan, {"steady": replace(found, name="steady")}


def work(folder: Path, jobs: int, steps: int) -> None:
    """Be the runner: do what is missing in `folder`."""
    from ddbench.engines import Jobs, run_local
    from ddbench.results import RunFolder
    from ddbench.setting import Setting

    plan, found = plan_of(jobs, steps)
    run = RunFolder(folder)
    run.create()

    def observe(event) -> None:
        print(event["event"], flush=True)

    setting = Setting(folder, folder.parent / "cache", jobs=2, checkpoint_s=CHECKPOINT_S)
    run_local(Jobs.left(plan, run), setting, found, observe)


# -- the killer ------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What a campaign of kills has seen."""

    seed: int
    kills: int = 0
    of_group: int = 0
    resumed: int = 0
    finished_at_kill: int = 0
    slowest_end_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def campaign(where: Path, kills: int, seed: int, jobs: int = 4, steps: int = 40) -> Tally:
    """Kill runs in `where` until there have been `kills`; compare with an undisturbed one."""
    draw, tally, rounds = random.Random(seed), Tally(seed), 0
    undisturbed = where / "undisturbed"
    run_to_the_end(undisturbed, jobs, steps)
    expected = results_of(undisturbed)
    if len(expected) != 2 * jobs:
        tally.faults.append(f"the undisturbed run has {len(expected)} results, not {2 * jobs}")
    while tally.kills < kills and not tally.faults:
        folder = where / f"killed-{rounds}"
        rounds += 1
        kill_until_done(folder, kills, draw, tally, jobs, steps)
        run_to_the_end(folder, jobs, steps)
        found = results_of(folder)
        if found != expected:
            differing = [id for id in expected if found.get(id) != expected[id]]
            tally.faults.append(f"{folder.name}: results differ or are missing: {differing}")
        tally.resumed += resumed_in(folder)
        shutil.rmtree(folder, ignore_errors=bool(not tally.faults))
    return tally


def kill_until_done(
    folder: Path, kills: int, draw: random.Random, tally: Tally, jobs: int, steps: int
) -> None:
    """Start and kill the run of one folder until it is done or there were enough kills."""
    while tally.kills < kills:
        before = records_of(folder)
        runner = start(folder, jobs, steps)
        if not at_work(runner):
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


def start(folder: Path, jobs: int, steps: int) -> subprocess.Popen[str]:
    """Start the runner in a process group of its own."""
    command = [sys.executable, __file__, "--work", str(folder), str(jobs), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def at_work(runner: subprocess.Popen[str]) -> bool:
    """Wait until a job has done its first step; say whether any does."""
    assert runner.stdout is not None
    for line in runner.stdout:
        if line.strip() == "step":
            return True
    runner.wait()
    return False


def kill(runner: subprocess.Popen[str], group: bool, tally: Tally) -> None:
    """Kill the runner, alone or with its group, and see that its workers end."""
    family = psutil.Process(runner.pid).children(recursive=True)
    if group:
        os.killpg(runner.pid, signal.SIGKILL)
        tally.of_group += 1
    else:
        runner.kill()
    killed = time.monotonic()
    runner.wait()
    runner.stdout.close()
    tally.kills += 1
    _, alive = psutil.wait_procs(family, timeout=10 * GONE_S)
    took = time.monotonic() - killed
    tally.slowest_end_s = max(tally.slowest_end_s, took)
    if alive:
        tally.faults.append(f"kill {tally.kills}: {len(alive)} workers live on")
        for process in alive:
            process.kill()


def run_to_the_end(folder: Path, jobs: int, steps: int) -> None:
    """Let the run finish undisturbed."""
    runner = start(folder, jobs, steps)
    assert runner.stdout is not None
    for _ in runner.stdout:
        pass
    if runner.wait():
        raise SystemExit(f"the run in {folder} ended with exit code {runner.returncode}")
    runner.stdout.close()


# -- results ---------------------------------------------------------------------------------------


def record_files(folder: Path) -> list[Path]:
    """Return the files of all records."""
    return sorted([*folder.glob("condensations/*/result.json"), *folder.glob("evaluations/*.json")])


def records_of(folder: Path) -> dict[str, str]:
    """Return the hash of every record's bytes, by file."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in record_files(folder)}


def results_of(folder: Path) -> dict[str, object]:
    """Return what must be equal in every run: sets, curves without seconds, accuracies."""
    results: dict[str, object] = {}
    for path in record_files(folder):
        record = json.loads(path.read_bytes())
        if record["kind"] == "evaluation":
            results[record["id"]] = (record["status"], record["accuracies"], record["set_sha256"])
            continue
        lines = (path.parent / "curve.csv").read_text().splitlines()
        curve = [line.split(",")[::2] for line in lines]  # step, speed; without the seconds
        stored = (path.parent / "synthetic.safetensors").read_bytes()
        results[record["id"]] = (record["status"], record["set_sha256"], curve, len(stored))
    return results


def resumed_in(folder: Path) -> int:
    """Return how often condensations of a run went on from a checkpoint."""
    records = [json.loads(p.read_bytes()) for p in folder.glob("condensations/*/result.json")]
    return sum(record.get("resumed", 0) for record in records)


def main() -> None:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--work", nargs=3, metavar=("FOLDER", "JOBS", "STEPS"), help="internal")
    options = parser.parse_args()
    if options.work:
        work(Path(options.work[0]), int(options.work[1]), int(options.work[2]))
        return
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ddbench-kills-") as where:
        tally = campaign(Path(where), options.kills, seed)
    print(
        f"{tally.kills} kills ({tally.of_group} of the whole group), "
        f"{tally.finished_at_kill} finished records seen after them, {tally.resumed} resumptions, "
        f"last process gone after at most {tally.slowest_end_s:.2f} s; "
        f"{len(tally.faults)} faults"
    )
    for fault in tally.faults:
        print("fault:", fault)
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
