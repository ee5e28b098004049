"""What an engine is: it carries out the jobs of a run, in this process, on this machine, or not.

An engine is registered by the hook ``register_engines`` of an extension and is chosen by its name
(``ddbench run --engine NAME``). It gets the `Work` of a run and returns when nothing is left of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Stopping = Callable[[], bool]
Report = Callable[[Mapping[str, Any]], None]


class Assignment(Protocol):
    """One job, to be called in any process of any machine that sees the run folder; picklable.

    The job runs in a process of its own there, under the guard and the limits of time and memory
    that the engine `local` has. What the job does wrong is a failed row, never an exception.
    """

    def __call__(
        self,
        stop: Stopping = lambda: False,
        report: Report = lambda event: None,
    ) -> dict[str, Any]:
        """Do the job; return the outcome for `Work.end`.

        When `stop` says so the job saves a checkpoint and ends. `report` is called with
        ``{"step", "of", "metrics"}`` a few times a second.
        """


class Work(Protocol):
    """The jobs of a run as an engine sees them; to be used in the thread that called the engine.

    Attributes:
        jobs_at_once: How many jobs shall run beside each other.
        options: What ``--engine-option NAME=VALUE`` says, by name.
    """

    jobs_at_once: int
    options: Mapping[str, str]

    @property
    def stopping(self) -> bool:
        """Whether the run shall end: start no more jobs, and stop those that run."""

    @property
    def left(self) -> bool:
        """Whether a job has not ended that could be done."""

    def ready(self) -> Iterator[Any]:
        """Go through the jobs that can start now and that no other run has claimed."""

    def start(self, job: Any) -> Assignment:  # noqa: ANN401
        """Note that a job starts; return what does it. On GPUs it has the next free place."""

    def report(self, job: Any, event: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Show how far a job is; `event` as the assignment has reported it."""

    def end(self, job: Any, outcome: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Take in what the assignment of a job has returned."""

    def lost(self, job: Any, why: str) -> None:  # noqa: ANN401
        """Note that the process that did a job is lost; the job itself did not fail.

        It is done again, twice at most; then it is a failed row that says `why`.
        """


@dataclass(frozen=True)
class Engine:
    """A way to carry out jobs.

    Attributes:
        name: As ``--engine`` takes it.
        run: Does all the work that it is given, and returns; what can never start is not waited
            for. It may raise `ddbench.store.run_folder.RunError` with a message for the user.
        summary: One line for people.
        options: The names of its options, each with one line for people.
    """

    name: str
    run: Callable[[Any], None]
    summary: str
    options: Mapping[str, str] = field(default_factory=dict)
