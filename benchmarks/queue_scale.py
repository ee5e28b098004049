"""How the queue of a run stands many jobs and many runners: real planner, queue, claims; no work.

    python benchmarks/queue_scale.py --jobs 100000 --plan-only
    python benchmarks/queue_scale.py --jobs 5000 --workers 1 8 64

A plan of that many jobs is made by the planner (one of five is a condensation, the others are its
evaluations on four networks). Then runners, which are processes of four made-up hosts, work it off
in one run folder: each has the whole plan, claims a job by its lock file, sleeps as long as the job
"takes", and writes a record as a job does, synced. For each number of runners it prints the seconds
until the first job starts, jobs a second, how often a claim was taken by another runner, and what
the queue costs for each job of the plan: the processor's time of all runners together, less that of
writing records, and the wall time. Wall times depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

HOSTS = 4
NETWORKS = 4  # evaluations of each condensation
REGISTRY = """
extends = "nothing"

[protocols.short]
epochs = 1
networks = 1

[presets.many]
datasets = ["toy"]
architectures = ["mlp"]
evaluate_on = ["mlp", "convnet-w8-d1", "convnet-w16-d1", "convnet-w32-d1"]
ipc = [1]
seeds = [0]
protocol = "short"
rows = [{ method = "random", steps = 0 }]
"""


def planned(jobs: int, cache: Path):
    """Return a plan of so many jobs that the planner made, and its seconds: wall, processor."""
    from ddbench.planning.jobs import Choices
    from ddbench.planning.registry import parse
    from ddbench.planning.workspace import Places, Session

    session = Session.installed(parse(REGISTRY, Path("registry.toml")), Places(cache))
    session.plan(Choices(preset="many"))  # what is kept between plans is no part of the time
    begun, busy = time.perf_counter(), time.process_time()
    seeds = tuple(range(jobs // (NETWORKS + 1)))
    plan = session.plan(Choices(preset="many", seeds=seeds))
    took = time.perf_counter() - begun, time.process_time() - busy
    session.close()
    return plan, took


def runner(number: int, plan, folder: Path, sleep_s: float, started, answers) -> None:
    """Be one runner: work off what is left of a plan, and tell what that has cost."""
    from ddbench.execution.engines import Jobs, Work
    from ddbench.execution.engines.job_queue import record_of
    from ddbench.execution.job_context import JobContext
    from ddbench.store.atomic_files import claimed
    from ddbench.store.run_folder import RunFolder

    host = f"host{number % HOSTS}"
    draw = random.Random(number)
    run = RunFolder(folder)
    begun, busy = time.perf_counter(), time.process_time()
    work = Work(Jobs.left(plan, run), JobContext(folder, folder), {})
    done = taken = 0
    slept = written = writing = 0.0
    first = 0.0
    while work.left:
        job = next(work.ready(), None)
        if job is None:
            time.sleep(0.005)
            slept += 0.005
            continue
        with claimed(run.claim(job.id), f"process {os.getpid()} on {host}") as free:
            if not free or record_of(job, run):
                taken += 1
                continue
            first = first or time.perf_counter() - started
            work.begin(job)
            time.sleep(duration := draw.expovariate(1 / sleep_s) if sleep_s else 0.0)
            slept += duration
            at, cpu = time.perf_counter(), time.process_time()
            record = written_record(job, run)
            written += time.perf_counter() - at
            writing += time.process_time() - cpu
        work.close(job, record)
        done += 1
    wall = time.perf_counter() - begun
    answers.put(
        {
            "done": done,
            "taken": taken,
            "first": first,
            "wall": wall - slept - written,
            "cpu": time.process_time() - busy - writing,
        }
    )


def written_record(job, run) -> dict:
    """Write the record of a job as a job does."""
    from ddbench.store.records import Condensation
    from ddbench.store.run_folder import write_record

    about = {**job.record(), "status": "done", "started": "2026-01-01T00:00:00+00:00",
             "ended": "2026-01-01T00:00:01+00:00"}  # fmt: skip
    if isinstance(job, Condensation):
        run.set_file(job.id).parent.mkdir(parents=True, exist_ok=True)
        run.set_file(job.id).touch()
        costs = dict.fromkeys(("init_s", "condense_s", "export_s", "artifact_s"), 0.1)
        costs |= {"flops_condense": 0, "flops_artifact": 0, "bytes": 1, "steps_done": job.steps}
        record = {**about, "costs": costs, "set_sha256": job.id}
        return write_record(run.result(job.id), "condensation", record)
    scores = {"accuracies": [0.5], "train_s": [0.1], "test_s": [0.1], "n_test": 10}
    record = {**about, **scores, "set_sha256": job.condensation}
    return write_record(run.evaluation(job.id), "evaluation", record)


def worked_off(plan, place: Path, workers: int, sleep_s: float) -> dict:
    """Carry out a plan in its own folder; return what that has cost."""
    from ddbench.store.run_folder import RunFolder

    folder = place / f"run-{workers}"
    RunFolder(folder).create()
    processes = multiprocessing.get_context("fork")  # which share the plan
    answers = processes.Queue()
    begun = time.perf_counter()
    every = [
        processes.Process(target=runner, args=(n, plan, folder, sleep_s, begun, answers))
        for n in range(workers)
    ]
    for process in every:
        process.start()
    found = [answers.get() for _ in every]
    for process in every:
        process.join()
    wall = time.perf_counter() - begun
    jobs = len(plan.condensations) + len(plan.evaluations)
    done = sum(one["done"] for one in found)
    assert done == jobs, f"{done} jobs were done of {jobs}"
    at = time.perf_counter()
    entries = max(len(os.listdir(path)) for path in folder.iterdir())
    listing = time.perf_counter() - at
    shutil.rmtree(folder)
    return {
        "workers": workers,
        "jobs": jobs,
        "jobs_per_s": round(jobs / wall, 1),
        "first_job_s": round(min(one["first"] for one in found if one["first"]), 3),
        "taken_by_others": sum(one["taken"] for one in found),
        "queue_cpu_ms": round(1000 * sum(one["cpu"] for one in found) / jobs, 3),
        "queue_wall_ms": round(1000 * sum(one["wall"] for one in found) / jobs, 3),
        "largest_folder": entries,
        "listing_s": round(listing, 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--jobs", type=int, default=5000)
    arguments.add_argument("--workers", type=int, nargs="*", default=[1, 8, 64])
    arguments.add_argument("--sleep", type=float, default=0.0, help="mean seconds of a job")
    arguments.add_argument("--plan-only", action="store_true")
    given = arguments.parse_args()
    from ddbench.execution.engines import Jobs
    from ddbench.store.run_folder import RunFolder

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        plan, took = planned(given.jobs, place / "cache")
        jobs = len(plan.condensations) + len(plan.evaluations)
        RunFolder(place / "empty").create()
        at, busy = time.perf_counter(), time.process_time()
        next(Jobs.left(plan, RunFolder(place / "empty")).ready())
        queued = time.perf_counter() - at, time.process_time() - busy
        names = ("plan_s", "plan_cpu_s", "queue_s", "queue_cpu_s")
        seconds = (round(value, 2) for value in (*took, *queued))
        print(json.dumps({"jobs": jobs, **dict(zip(names, seconds, strict=True))}), flush=True)
        for workers in [] if given.plan_only else given.workers:
            print(json.dumps(worked_off(plan, place, workers, given.sleep)), flush=True)


if __name__ == "__main__":
    main()
