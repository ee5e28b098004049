"""Jobs in a few words, for progress lines: what all of a plan have in common is said once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.execution.engines.job_queue import Job
    from ddbench.planning.jobs import Plan
    from ddbench.store.records import Condensation, Evaluation

_PLACES = {"dataset": "{}", "architecture": "{}", "init": "{} init", "ipc": "ipc {}"}


class JobWords:
    """Words for the jobs of a plan; call it with one of them.

    Attributes:
        common: What is the same in all condensations, and so in no line: data, network, init, ipc.
    """

    def __init__(self, plan: Plan) -> None:
        """Find what tells the jobs of `plan` apart."""
        from ddbench.planning.jobs import row_labels

        jobs = plan.condensations
        self._condensed: Mapping[str, Condensation] = {job.id: job for job in jobs}
        self._labels = row_labels(jobs)
        values = {name: {getattr(job, name) for job in jobs} for name in _PLACES}
        self._differing = [name for name in _PLACES if len(values[name]) > 1]
        self._networks = {job.architecture for job in plan.evaluations}
        alike = [name for name in _PLACES if len(values[name]) == 1]
        self.common = _places(jobs[0], alike) if jobs else ""
        if jobs and len(self._networks) == 1 and self._networks != values["architecture"]:
            self.common += f", evaluated on {min(self._networks)}"

    def __call__(self, job: Job) -> str:
        """Return a job in a few words."""
        if job.id in self._condensed:
            return f"condense {self._row(self._condensed[job.id])}"
        return f"evaluate {self._evaluated(job)}"  # type: ignore[arg-type]

    def _evaluated(self, job: Evaluation) -> str:
        on = f" on {job.architecture}" if len(self._networks) > 1 else ""
        if job.condensation is None:
            of = f" of {job.dataset}" if "dataset" in self._differing else ""
            return f"the whole training set{of}{on}"
        row = self._row(self._condensed[job.condensation])
        at = f" after {job.snapshot} steps" if job.snapshot is not None else ""
        return row + at + on + (" by its own recipe" if job.own_recipe else "")

    def _row(self, job: Condensation) -> str:
        control = " (control)" if job.control_of else ""
        where = _places(job, self._differing)
        return ", ".join(filter(None, [self._labels[job.id] + control, where, f"seed {job.seed}"]))


def _places(job: Condensation, names: list[str]) -> str:
    return ", ".join(_PLACES[name].format(getattr(job, name)) for name in names)
