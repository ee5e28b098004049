"""The jobs of a run: which are left, which can start, and what became of each."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
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


class Jobs:
    """The jobs that are left, in the order in which they can start.

    An operation takes the same time whether a hundred jobs are left or a hundred thousand: those
    that can start are kept apart from the evaluations that wait for their condensation.

    Attributes:
        folder: Where their records are.
        running: Started and not ended.
        ended: Records by id, those of earlier runs among them.
        blocked: Evaluations whose condensation has no set, with the reason.
        kept: How many had ended before.
        outdated: Evaluations that had ended before, of a set that has changed since.
    """

    def __init__(self, folder: RunFolder, pending: Iterable[Job] = ()) -> None:
        """Take the jobs that are `pending`, in the order in which they shall start."""
        self.folder = folder
        self.running: set[str] = set()
        self.ended: dict[str, Result] = {}
        self.blocked: dict[str, str] = {}
        self.kept = 0
        self.outdated: list[str] = []
        self._pending: dict[str, Job] = {}
        self._places: dict[str, int] = {}  # of each job in the order
        self._by_place: dict[int, Job] = {}
        self._can_start: list[int] = []  # places, sorted
        self._waiting: dict[str, list[Evaluation]] = {}  # by the condensation that they wait for
        for job in pending:
            self._add(job)

    @classmethod
    def left(
        cls, plan: Plan, folder: RunFolder, seconds: Mapping[str, float] | None = None
    ) -> Jobs:
        """Return the jobs of a plan that `folder` has no standing record of.

        Where `seconds` predicts how long jobs take, by id, the longest start first, so that none
        is left to run alone at the end. Else seed by seed, and each set is evaluated next: a run
        that ends early has compared all rows on some seeds, or as many as it could, rather than
        condensed sets that are not evaluated.
        """
        jobs = cls(folder)
        records = {}
        order = _seed_by_seed(plan) if seconds is None else _longest_first(plan, seconds)
        for job in order:
            record = records[job.id] = record_of(job, folder)
            if record is not None:
                jobs.ended[job.id] = record
                jobs.kept += 1
        for job in order:
            if records[job.id] is None:
                jobs._add(job)
                evaluated = isinstance(job, Evaluation)
                if evaluated and finished(folder.evaluation(job.id), "evaluation"):
                    jobs.outdated.append(job.id)
        return jobs

    @property
    def pending(self) -> list[Job]:
        """The jobs that have not started, in their order."""
        return sorted(self._pending.values(), key=lambda job: self._places[job.id])

    @property
    def left_over(self) -> int:
        """How many jobs have not started."""
        return len(self._pending)

    @property
    def alive(self) -> bool:
        """Whether a job runs, or can start."""
        return bool(self.running or self._can_start)

    @property
    def total(self) -> int:
        """How many jobs there are, those that had ended before aside."""
        return (
            len(self._pending) + len(self.running) + len(self.ended) - self.kept + len(self.blocked)
        )

    def ready(self) -> Iterator[Job]:
        """Go through the pending jobs that can start now."""
        for place in tuple(self._can_start):
            job = self._by_place[place]
            if job.id in self._pending:
                yield job

    def start(self, job: Job) -> None:
        """Note that a job has started."""
        self._take(job)
        self.running.add(job.id)

    def put_back(self, job: Job) -> None:
        """Note that a started job is not being done: another process has it, or it was stopped."""
        self.running.discard(job.id)
        self._add(job)

    def end(self, job: Job, record: dict[str, Any]) -> None:
        """Note that a job has ended."""
        kind = "condensation" if isinstance(job, Condensation) else "evaluation"
        self.note(job, made(kind, record))

    def note(self, job: Job, record: Result) -> None:
        """Note that a job has ended with this record, started here or not."""
        if job.id in self._pending:
            self._take(job)
        self.running.discard(job.id)
        self.ended[job.id] = record
        for evaluation in self._waiting.pop(job.id, []):
            self._decide(evaluation, record)

    @property
    def failed(self) -> list[Result]:
        """The records of failed jobs, earlier ones among them."""
        return [record for record in self.ended.values() if record.status == FAILED]

    def _add(self, job: Job) -> None:
        self._pending[job.id] = job
        place = self._places.setdefault(job.id, len(self._places))
        self._by_place[place] = job
        if isinstance(job, Condensation) or job.condensation is None:
            insort(self._can_start, place)
        elif job.condensation in self.ended:
            self._decide(job, self.ended[job.condensation])
        else:
            self._waiting.setdefault(job.condensation, []).append(job)

    def _take(self, job: Job) -> None:
        """Take a job out of those that are pending."""
        del self._pending[job.id]
        at = bisect_left(self._can_start, self._places[job.id])
        if self._can_start[at : at + 1] == [self._places[job.id]]:
            del self._can_start[at]

    def _decide(self, job: Evaluation, condensed: Result) -> None:
        """Let an evaluation start whose condensation has ended, or say why it never can."""
        reason = _blocked(job, condensed)
        if reason is None:
            insort(self._can_start, self._places[job.id])
        else:
            del self._pending[job.id]
            self.blocked[job.id] = reason


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


def _longest_first(plan: Plan, seconds: Mapping[str, float]) -> list[Job]:
    """Return the jobs of a plan, those first that keep the run longest.

    A condensation keeps it for as long as its longest evaluation takes, too.
    """
    behind: dict[str, float] = {}
    for job in plan.evaluations:
        if job.condensation is not None:
            least = behind.get(job.condensation, 0.0)
            behind[job.condensation] = max(least, seconds.get(job.id, 0.0))
    jobs = _seed_by_seed(plan)  # which decides among equals
    return sorted(jobs, key=lambda job: -seconds.get(job.id, 0.0) - behind.get(job.id, 0.0))


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
