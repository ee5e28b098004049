"""Carrying out a plan: the run folder is written, the jobs are started, watched and ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from ddbench.execution.costs import expected
from ddbench.execution.engines import Jobs, Observer, Work, engine_named, memory_of_a_job
from ddbench.execution.engines.catalogue import INLINE
from ddbench.execution.job_context import JobContext
from ddbench.execution.manifest import in_words, manifest_of
from ddbench.execution.run_options import RunOptions, gpus_of, jobs_at_once
from ddbench.execution.signals import Stop
from ddbench.planning.job_ids import adopting, keeping
from ddbench.planning.jobs import Plan
from ddbench.planning.workspace import Session
from ddbench.store.history import remember
from ddbench.store.records import DONE
from ddbench.store.run_folder import RunFolder, read_run, refuse_newer
from ddbench.store.shared_locks import seen_by_others


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
    seconds = expected(session, plan, options)
    session.close()
    manifest = manifest_of(plan, session.registry, options, seconds)
    manifest.write()
    session.extensions.observe(options.observers, options.out.resolve())
    jobs = Jobs.left(plan, folder, None if _under_a_budget(plan) else seconds or None)
    told = {"seconds": seconds, "jobs_at_once": jobs_at_once(options)}
    observe({"event": "plan", "jobs": jobs, "plan": plan, "stale": stale, **told})
    stopped = ""
    if any(jobs.ready()):  # an engine takes the seconds of importing torch
        context = _job_context(session, options, manifest.content["commit"])
        with stop.heard(gently=True), seen_by_others(folder):
            work = Work(jobs, context, session.found, observe, stop)
            work.load, work.extensions = session.method, session.extensions
            work.options = options.engine_options
            work.memory_is_default = options.memory is None
            engine.run(work)
        stopped = stop.reason if jobs.left_over else ""
    with suppress(OSError):  # a disk that is full, or a folder that has gone, costs no more
        folder.check_there()
        ended = in_words(datetime.now(UTC))
        manifest.write(ended=ended, stopped=stopped, blocked=jobs.blocked)
        remember(read_run(folder), folder, session.places.cache)
    session.extensions.notify("run_finished", folder=str(folder.root))
    return Outcome(folder, plan, jobs, stopped)


def _under_a_budget(plan: Plan) -> bool:
    """Say whether a run may end before it is done: it shall have compared all rows by then."""
    return plan.total_s is not None or any(job.budget_s is not None for job in plan.condensations)


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
    device, gpus = (options.device, ()) if options.engine == INLINE else gpus_of(options)
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
