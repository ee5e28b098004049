"""The work of a run, as engines see it: what can start, what starts, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ddbench.discovery.methods import MethodEntry
from ddbench.execution.engines.crash_records import dead
from ddbench.execution.engines.job_queue import Event, Job, Jobs, Observer, job_from, record_of
from ddbench.store.atomic_files import is_claimed
from ddbench.store.records import Condensation, Evaluation
from ddbench.store.run_folder import finished

if TYPE_CHECKING:
    from ddbench.discovery.extensions import Extensions
    from ddbench.execution.engines.one_job import LoadMethod
    from ddbench.execution.job_context import JobContext

CLAIM_WAIT = 1.0  # seconds before a job that another run has claimed is looked at again
RETRIES = 2  # of a job whose process somebody else has killed
ENDED, CLAIMED, STOPPED = "end", "claimed", "stopped"  # how an assignment comes out


def slots(setting: JobContext) -> list[str | None]:
    """Return the GPU of each slot in which one job at a time runs, None for no particular one."""
    if not setting.gpus:
        return [None] * setting.jobs
    return list[str | None](setting.gpus * setting.jobs_per_gpu)[: setting.jobs]


class Work:
    """The jobs of a run with all that doing them needs; see `ddbench.contract.engines.Work`.

    Attributes:
        jobs: Which are left.
        context: What every job needs beside itself.
        found: Methods by name.
        load: Loads a method into this process, for an engine that does jobs here.
        extensions: Those of this process, likewise.
        options: Of the engine, by name.
        memory_is_default: Whether the limit of a job's memory is its share of this machine's.
        switched_off: Extensions that have raised, and what.
    """

    def __init__(
        self,
        jobs: Jobs,
        context: JobContext,
        found: Mapping[str, MethodEntry],
        observe: Observer = lambda event: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the jobs that are left; `observe` is told what happens, `stop` when to end."""
        self.jobs, self.context, self.found = jobs, context, found
        self.observe, self.stop = observe, stop
        self.options: Mapping[str, str] = {}
        self.memory_is_default = False
        self.load: LoadMethod | None = None
        self.extensions: Extensions | None = None
        self.slots = slots(context)
        self.jobs_at_once = len(self.slots)
        self.switched_off: dict[str, str] = {}
        self._taken: dict[str, int] = {}  # slots by job
        self._not_before: dict[str, float] = {}
        self._retries: dict[str, int] = {}

    @property
    def stopping(self) -> bool:
        """Whether the run shall end."""
        return self.stop()

    @property
    def left(self) -> bool:
        """Whether a job runs, or waits that can be done."""
        return self.jobs.alive

    def ready(self) -> Iterator[Job]:
        """Go through the jobs that can start now and that no other run has claimed.

        One that another run has ended meanwhile is taken note of.
        """
        now = time.monotonic()
        for job in self.jobs.ready():
            if self._not_before.get(job.id, 0.0) > now:
                continue
            if standing := record_of(job, self.jobs.folder):
                self.jobs.note(job, standing)
                self.observe({"event": "end", "job": job, "record": vars(standing)})  # not copied
            elif is_claimed(self.jobs.folder.claim(job.id)):
                self._not_before[job.id] = now + CLAIM_WAIT
            else:
                yield job

    def start(self, job: Job) -> Assignment:
        """Note that a job starts; return what does it."""
        gpu = self.begin(job)
        context = self.context if gpu is None else replace(self.context, gpus=(gpu,))
        self.observe({"event": "start", "job": job})
        return self.assignment(job, context)

    def assignment(self, job: Job, context: JobContext) -> Assignment:
        """Return what does a job in `context`, without noting that it starts."""
        silent = replace(context, silenced=tuple(self.switched_off))
        return Assignment(job.record(), silent, self.method_of(job))

    def method_of(self, job: Job) -> dict[str, Any] | None:
        """Return the entry of a job's method as plain values, None for an evaluation."""
        found = self.found.get(job.method) if isinstance(job, Condensation) else None
        return None if found is None else asdict(found)

    def begin(self, job: Job) -> str | None:
        """Take a job and the first free slot; return the slot's GPU."""
        self.jobs.start(job)
        taken = set(self._taken.values())
        free = next((n for n in range(len(self.slots)) if n not in taken), None)
        if free is None:  # of an engine that has places of its own
            return None
        self._taken[job.id] = free
        return self.slots[free]

    def report(self, job: Job, event: Event) -> None:
        """Show how far a job is."""
        self.observe({**event, "event": "step", "job": job})

    def end(self, job: Job, outcome: Mapping[str, Any]) -> None:
        """Take in what an assignment has returned."""
        self.silence(outcome.get("switched_off", {}))
        if outcome["event"] == ENDED:
            self.close(job, outcome["record"])
        else:
            self.put_back(job)

    def close(self, job: Job, record: dict[str, Any]) -> None:
        """Note that a job has ended with this record."""
        self._taken.pop(job.id, None)
        self.jobs.end(job, record)
        self.observe({"event": "end", "job": job, "record": record})

    def lost(self, job: Job, why: str) -> None:
        """Do a job again whose process was lost through no fault of its own, if it may be."""
        tries = self._retries[job.id] = self._retries.get(job.id, 0) + 1
        if tries <= RETRIES:
            self.put_back(job, lost=True)
        else:
            self.close(job, dead(job, self.context.run, why))

    def put_back(self, job: Job, lost: bool = False) -> None:
        """Let a job wait: another process has it, it was stopped, or its process was `lost`."""
        self._not_before[job.id] = time.monotonic() + CLAIM_WAIT
        self._taken.pop(job.id, None)
        self.jobs.put_back(job)
        self.observe({"event": "put back", "job": job, "lost": lost})

    def silence(self, reasons: Mapping[str, str]) -> None:
        """Tell extensions that have raised nothing more."""
        new = sorted(reasons.keys() - self.switched_off.keys())
        self.switched_off |= reasons
        for name in new:
            self.observe({"event": "switched off", "reason": reasons[name]})


@dataclass(frozen=True)
class Assignment:
    """One job, to be done in any process that sees the run folder.

    Attributes:
        record: The job as plain values.
        context: What it needs; the first of the GPUs is its own.
        found: The entry of its method, as plain values.
    """

    record: Mapping[str, Any]
    context: JobContext
    found: Mapping[str, Any] | None

    def __call__(
        self,
        stop: Callable[[], bool] = lambda: False,
        report: Callable[[Event], None] = lambda event: None,
    ) -> dict[str, Any]:
        """Do the job as the engine `local` does; return the outcome for `Work.end`."""
        from ddbench.execution.engines.local import run_local

        job = job_from(self.record)
        jobs = Jobs(self.context.run)
        if isinstance(job, Evaluation) and job.condensation is not None:
            condensed = finished(self.context.run.result(job.condensation), "condensation")
            if condensed is None:  # a shared file system may show a file late
                return {"event": CLAIMED}
            jobs.ended[job.condensation] = condensed
        jobs.put_back(job)
        given_up = is_claimed(self.context.run.claim(job.id))

        def observe(event: Event) -> None:
            nonlocal given_up
            if event["event"] == "step":
                report({name: event[name] for name in event if name not in ("event", "job")})
            given_up |= event["event"] == "put back" and not event["lost"]

        found = {} if self.found is None else {self.record["method"]: MethodEntry(**self.found)}
        work = Work(jobs, self.context, found, observe, lambda: given_up or stop())
        run_local(work)
        outcome: dict[str, Any] = {"event": STOPPED if stop() else CLAIMED}
        if ended := jobs.ended.get(job.id):
            outcome = {"event": ENDED, "record": ended.record()}
        return {**outcome, "switched_off": work.switched_off}
