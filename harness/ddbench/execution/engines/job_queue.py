"""The jobs of a run: which are left, which can start, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ddbench.planning.jobs import Plan
from ddbench.store.records import (
    DONE,
    FAILED,
    Condensation,
    CondensationRecord,
    Evaluation,
    Result,
    made,
)
from ddbench.store.run_folder import RunFolder, finished, hash_of_set

Job = Condensation | Evaluation
Event = Mapping[str, Any]
Observer = Callable[[Event], None]


def record_of(job: Job, folder: RunFolder) -> Result | None:
    """Return the record of a job that has ended, if it still stands; else None.

    An evaluation of a set that has changed since is stale and has to be done again, whether it
    had failed or not. One that failed without knowing its set stands.
    """
    if isinstance(job, Condensation):
        record = finished(folder.result(job.id), "condensation")
        if record is None or record.status != DONE:
            return record
        taken = [step for step in job.snapshots if step <= record.steps_done]
        wanted = [folder.set_file(job.id), *(folder.set_file(job.id, step) for step in taken)]
        return record if all(path.exists() for path in wanted) else None
    record = finished(folder.evaluation(job.id), "evaluation")
    if record is None or job.condensation is None or job.snapshot is not None:
        return record
    if record.status != DONE and record.set_sha256 is None:
        return record
    current = hash_of_set(folder, job.condensation)
    return record if current is not None and record.set_sha256 == current else None


@dataclass
class Jobs:
    """The jobs that are left, in the order in which they can start.

    Attributes:
        folder: Where their records are.
        pending: Not started.
        running: Started and not ended.
        ended: Records by id, those of earlier runs among them.
        blocked: Evaluations whose condensation has no set, with the reason.
        kept: How many had ended before.
        outdated: Evaluations that had ended before, of a set that has changed since.
    """

    folder: RunFolder
    pending: list[Job] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    ended: dict[str, Result] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    kept: int = 0
    outdated: list[str] = field(default_factory=list)

    @classmethod
    def left(cls, plan: Plan, folder: RunFolder) -> Jobs:
        """Return the jobs of a plan that `folder` has no standing record of.

        Seed by seed, and each set is evaluated next: a run that ends early has compared all rows on
        some seeds, or as many as it could, rather than condensed what nobody has evaluated.
        """
        jobs = cls(folder)
        for job in _seed_by_seed(plan):
            record = record_of(job, folder)
            if record is None:
                jobs.pending.append(job)
                evaluated = isinstance(job, Evaluation)
                if evaluated and finished(folder.evaluation(job.id), "evaluation"):
                    jobs.outdated.append(job.id)
            else:
                jobs.ended[job.id] = record
                jobs.kept += 1
        return jobs

    @property
    def total(self) -> int:
        """How many jobs there are, those that had ended before aside."""
        return (
            len(self.pending) + len(self.running) + len(self.ended) - self.kept + len(self.blocked)
        )

    def ready(self) -> Iterator[Job]:
        """Go through the pending jobs that can start now; drops those that never can."""
        for job in list(self.pending):
            if isinstance(job, Condensation) or job.condensation is None:
                yield job
                continue
            condensed = self.ended.get(job.condensation)
            if condensed is None:
                continue
            reason = _blocked(job, condensed)
            if reason is None:
                yield job
            else:
                self.pending.remove(job)
                self.blocked[job.id] = reason

    def start(self, job: Job) -> None:
        """Note that a job has started."""
        self.pending.remove(job)
        self.running.add(job.id)

    def put_back(self, job: Job) -> None:
        """Note that a started job is not being done: another process has it, or it was stopped."""
        self.running.discard(job.id)
        self.pending.append(job)

    def end(self, job: Job, record: dict[str, Any]) -> None:
        """Note that a job has ended."""
        self.running.discard(job.id)
        kind = "condensation" if isinstance(job, Condensation) else "evaluation"
        self.ended[job.id] = made(kind, record)

    @property
    def failed(self) -> list[Result]:
        """The records of failed jobs, earlier ones among them."""
        return [record for record in self.ended.values() if record.status == FAILED]


def _seed_by_seed(plan: Plan) -> list[Job]:
    jobs = plan.condensations
    turn = {seed: n for n, seed in enumerate(dict.fromkeys(job.seed for job in jobs))}
    place = {job.id: (turn[job.seed], n) for n, job in enumerate(jobs)}
    last = (0, len(jobs))  # of the first seed: networks of the whole training set

    def order(job: Job) -> tuple[tuple[int, int], bool]:
        if isinstance(job, Evaluation):
            return place.get(job.condensation or "", last), True
        return place[job.id], False

    return sorted([*jobs, *plan.evaluations], key=order)


def _blocked(job: Evaluation, condensed: Result) -> str | None:
    """Return why the set of an evaluation will never be there, None if it is."""
    if condensed.status != DONE:
        return f"its condensation {condensed.status}: {condensed.reason}"
    assert isinstance(condensed, CondensationRecord)  # noqa: S101  (an evaluation has one)
    if job.snapshot is not None and job.snapshot > condensed.steps_done:
        return f"its condensation ended after {condensed.steps_done} steps"
    return None


def job_from(record: Mapping[str, Any]) -> Job:
    """Return the job whose `record()` crossed a process border."""
    kind = Condensation if "method" in record else Evaluation
    values = dict(record)
    if kind is Condensation:
        values["snapshots"] = tuple(values["snapshots"])
    return kind(**values)
