"""How long a run will go on: from what was predicted of its jobs, and from how that has held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ddbench.store.records import Condensation

if TYPE_CHECKING:
    from ddbench.execution.engines.job_queue import Job, Jobs

ENOUGH = 3  # jobs that have ended before their times tell of the others


class Eta:
    """Foretells the end of a run; told of each job that ends."""

    def __init__(self, jobs: Jobs, seconds: Mapping[str, float], jobs_at_once: int) -> None:
        """Take the jobs that are left, and what is predicted of them by id, as far as it is."""
        self.jobs, self.seconds, self.workers = jobs, seconds, max(1, jobs_at_once)
        self._predicted = sum(seconds.get(job.id, 0.0) for job in jobs.pending)
        self._left = {True: 0, False: 0}  # number of condensations, and of evaluations
        for job in jobs.pending:
            self._left[isinstance(job, Condensation)] += 1
        self._spent = {True: [0, 0.0], False: [0, 0.0]}  # number and seconds of those that ended
        self._was_predicted = 0.0

    def ended(self, job: Job, seconds: float) -> None:
        """Take in that a job has ended after some seconds."""
        condenses = isinstance(job, Condensation)
        self._left[condenses] = max(0, self._left[condenses] - 1)
        self._spent[condenses][0] += 1
        self._spent[condenses][1] += seconds
        predicted = self.seconds.get(job.id, 0.0)
        self._was_predicted += predicted
        self._predicted = max(0.0, self._predicted - predicted)

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the run ends, None while nothing is known."""
        number = sum(self._spent[kind][0] for kind in (True, False))
        spent = sum(self._spent[kind][1] for kind in (True, False))
        if self.seconds:
            pace = spent / self._was_predicted if number >= ENOUGH and self._was_predicted else 1.0
            return pace * self._predicted / self.workers
        if number < ENOUGH:
            return None
        mean = spent / number
        each = {kind: s / n if n else mean for kind, (n, s) in self._spent.items()}
        return sum(each[kind] * self._left[kind] for kind in (True, False)) / self.workers
