"""Carrying out a plan: the run folder is written, the jobs are started, watched and ended."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ddbench.execution.devices import cuda_devices
from ddbench.execution.engines import Jobs, Observer, Work, engine_named, memory_of_a_job
from ddbench.execution.engines.catalogue import INLINE, LOCAL
from ddbench.execution.job_context import JobContext
from ddbench.execution.manifest import in_words, manifest_of
from ddbench.execution.signals import Stop
from ddbench.machine import usable_cores
from ddbench.planning.job_ids import adopting, keeping
from ddbench.planning.jobs import Plan
from ddbench.planning.workspace import Session
from ddbench.store.records import DONE
from ddbench.store.run_folder import RunFolder, read_run, refuse_newer


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out.

    Attributes:
        out: The run folder.
        device: "cpu", "cuda", "cuda:0".
        jobs: Jobs at once; None is one for each core (CPU) or each GPU.
        threads: CPU threads of a job.
        checkpoint_s: Seconds between checkpoints.
        keep_state: Keep the final state of each condensation.
        gpus: The GPUs to use, as CUDA_VISIBLE_DEVICES names them; None is all.
        jobs_per_gpu: Jobs at once on each of them.
        job_s: Seconds that one job may take.
        memory: Bytes that one job may hold: None is its share of what is free, 0 any.
        engine: Name of the engine that does the jobs.
        engine_options: What it takes beside, by name.
        observers: Observers of `ddbench.discovery.observers` that watch the run.
        keep_stale: Keep results of code that has been edited since, marked, instead of doing
            them again.
        command: What was typed, for the manifest.
    """

    out: Path
    device: str = "cpu"
    jobs: int | None = None
    threads: int = 1
    checkpoint_s: float = 60.0
    keep_state: bool = False
    gpus: tuple[str, ...] | None = None
    jobs_per_gpu: int = 1
    job_s: float | None = None
    memory: int | None = None
    engine: str = LOCAL
    engine_options: Mapping[str, str] = field(default_factory=dict)
    keep_stale: bool = False
    observers: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    preset: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: The run folder.
        plan: What was planned.
        jobs: What became of it.
        stopped: "" or why the run ended with work left.
    """

    folder: RunFolder
    plan: Plan
    jobs: Jobs
    stopped: str = ""

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some job is not, 3 nothing could run, 4 more to do, 130 interrupted."""
        if self.stopped:
            return 130 if self.stopped == "interrupted" else 4
        return self.plan.exit_code or int(bool(self.jobs.failed or self.jobs.left_over))


def carry_out(
    session: Session,
    plan: Plan,
    options: RunOptions,
    observe: Observer = lambda event: None,
    stop: Stop | None = None,
) -> Outcome:
    """Do what is missing of a plan in a run folder; write the manifest beside the results.

    When `stop` says so, or a signal does, what runs is checkpointed and the rest stays pending.
    """
    stop = stop or Stop()
    stop.within(plan.total_s, "--budget-total")
    engine = engine_named(options.engine, session.extensions, options.engine_options)
    folder = RunFolder(options.out)
    folder.create()
    refuse_newer(folder, "run")
    plan = adopting(plan, *folder.ids())
    stale = stale_results(plan, folder)
    if options.keep_stale:
        plan = adopting(keeping(plan, stale), *folder.ids())
    session.close()
    manifest = manifest_of(plan, session.registry, options)
    manifest.write()
    session.extensions.observe(options.observers, options.out.resolve())
    jobs = Jobs.left(plan, folder)
    observe({"event": "plan", "jobs": jobs, "plan": plan, "stale": stale})
    stopped = ""
    if any(jobs.ready()):  # an engine takes the seconds of importing torch
        context = _job_context(session, options, manifest.content["commit"])
        with stop.heard(gently=True):
            work = Work(jobs, context, session.found, observe, stop)
            work.load, work.extensions = session.method, session.extensions
            work.options = options.engine_options
            engine.run(work)
        stopped = stop.reason if jobs.left_over else ""
    with suppress(OSError):  # a disk that is full, or a folder that has gone, costs no more
        folder.check_there()
        ended = in_words(datetime.now(UTC))
        manifest.write(ended=ended, stopped=stopped, blocked=jobs.blocked)
    session.extensions.notify("run_finished", folder=str(folder.root))
    return Outcome(folder, plan, jobs, stopped)


def stale_results(plan: Plan, folder: RunFolder) -> dict[str, str]:
    """Return planned condensations that only other code has done: planned id -> that one's.

    The options are the same and the fingerprint of the method's code (or NUMERICS) is not; of
    several such results the newest counts.
    """
    records = read_run(folder).condensations
    newest: dict[str, str] = {}
    for record in sorted(records.values(), key=lambda record: record.ended):
        if record.status == DONE:
            newest[record.options_id] = record.id
    return {
        job.id: newest[job.options_id]
        for job in plan.condensations
        if job.id not in records and job.options_id in newest
    }


def _job_context(session: Session, options: RunOptions, commit: str | None) -> JobContext:
    """Return what every job of a run needs beside itself."""
    device, gpus = (options.device, ()) if options.engine == INLINE else _gpus(options)
    count = jobs_at_once(options)
    return JobContext(
        folder=options.out.resolve(),
        cache=session.places.cache.resolve(),
        roots=session.places.roots,
        datasets=session.named_datasets(),
        device=device,
        threads=options.threads,
        jobs=count,
        observers=options.observers,
        plugins=tuple(file.resolve() for file in session.places.plugins),
        checkpoint_s=options.checkpoint_s,
        keep_state=options.keep_state,
        gpus=gpus,
        jobs_per_gpu=max(options.jobs_per_gpu, -(-count // max(1, len(gpus)))),
        job_s=options.job_s,
        memory=memory_of_a_job(count) if options.memory is None else options.memory or None,
        commit=commit,
    )


def _gpus(options: RunOptions) -> tuple[str, tuple[str, ...]]:
    """Return the device as jobs see it, and the GPUs to share among them.

    Each job sees its own GPU alone, so there every one of them is "cuda".
    """
    name, _, number = options.device.partition(":")
    if name != "cuda":
        return options.device, options.gpus or ()
    visible = options.gpus or cuda_devices()
    return name, (visible[int(number)],) if number else visible


def jobs_at_once(options: RunOptions) -> int:
    """Return how many jobs run side by side."""
    if options.engine == INLINE:
        return 1
    _, gpus = _gpus(options)
    return options.jobs or len(gpus) * options.jobs_per_gpu or default_jobs(options.threads)


def default_jobs(threads: int) -> int:
    """Return how many jobs run at once on the CPU: one for each core."""
    return max(1, usable_cores() // threads)
