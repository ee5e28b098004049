"""A run's progress on stderr: bars on a terminal, else one plain line for each job that ends."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column

from ddbench.reporting.terminal.eta import Eta
from ddbench.reporting.terminal.job_words import JobWords
from ddbench.reporting.terminal.plans import data_notes
from ddbench.text.lines import printable
from ddbench.text.number_format import duration

if TYPE_CHECKING:
    from ddbench.execution.engines.job_queue import Event, Job, Jobs
    from ddbench.planning.jobs import Plan

NAMED = 3  # stale results that are named; the rest is counted
EVERY_S = 60.0  # seconds between two lines about an artifact that is built


class Progress:
    """The observer of a run: call it with the events of an engine, inside a `with` block."""

    def __init__(self, console: Console | None = None, tracebacks: bool = False) -> None:
        """Show on `console`, by default stderr; with the `tracebacks` of jobs that fail."""
        self.console = console or _stderr()
        drawn = self.console.is_terminal and not self.console.is_dumb_terminal
        self.bars = _bars(self.console) if drawn else None
        self.tracebacks = tracebacks
        self.jobs: Jobs | None = None
        self.words: Callable[[Job], str] = lambda job: job.id
        self.overall = TaskID(0)
        self.started: dict[str, float] = {}
        self.shown: dict[str, TaskID] = {}
        self.said: dict[tuple[str, str], float] = {}  # (job, artifact) -> when it was last named
        self.eta: Eta | None = None
        self.ended = self.failed = 0

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop drawing, and say what could not be evaluated."""
        if self.bars:
            self.bars.stop()
        blocked = Counter(self.jobs.blocked.values()) if self.jobs else Counter[str]()
        for reason, count in blocked.items():
            sets = "evaluation has" if count == 1 else "evaluations have"
            self._say(f"{count} {sets} no set to evaluate: {reason}")

    def __call__(self, event: Event) -> None:
        """Take in one event; unknown ones are passed over."""
        handle = getattr(self, "_on_" + event["event"].replace(" ", "_"), None)
        if handle:
            handle(event)

    def _on_plan(self, event: Event) -> None:
        words = JobWords(event["plan"])
        self.jobs, self.words = event["jobs"], words
        for line in stale_lines(event["plan"], self.jobs, event.get("stale") or {}):
            self._say(line)
        for line in data_notes(event["plan"]):
            self._say(line)
        self.eta = Eta(self.jobs, event.get("seconds") or {}, event.get("jobs_at_once", 1))
        before = f", {self.jobs.kept} done before" if self.jobs.kept else ""
        blocked = len(self.jobs.blocked)
        without = f", {blocked} without a set to evaluate" if blocked else ""
        of = f": {words.common}" if words.common else ""
        to_do = _several(self.jobs.total - blocked, "job")
        self._say(f"{to_do} to do{before}{without}{of}{self._left()}")
        if self.bars:
            total = self.jobs.total
            at = f"{blocked}/{total}"
            self.overall = self.bars.add_task(
                "all jobs", total=total, completed=blocked, metrics="", at=at
            )

    def _on_workers(self, event: Event) -> None:
        if self.eta:
            self.eta.workers = max(1, event["jobs_at_once"])

    def _on_start(self, event: Event) -> None:
        job = event["job"]
        self.started[job.id] = time.monotonic()
        if self.bars:
            self.shown[job.id] = self.bars.add_task(self.words(job), total=None, metrics="", at="")

    def _on_step(self, event: Event) -> None:
        task = self.shown.get(event["job"].id)
        if "artifact" in event and not self.bars:
            self._say_building(event)
        if self.bars and task is not None:
            text = building(event) if "artifact" in event else metrics_text(event["metrics"])
            done, total, at = _how_far(event)
            self.bars.update(task, completed=done, total=total or None, at=at, metrics=text)

    def _say_building(self, event: Event) -> None:
        """Say once a minute how far an artifact is that takes longer than that."""
        key, now = (event["job"].id, event["artifact"]), time.monotonic()
        if now - self.said.setdefault(key, now) >= EVERY_S:
            self.said[key] = now
            self._say(f"{self.words(event['job'])}: {building(event)}{_share(event)}")

    def _on_switched_off(self, event: Event) -> None:
        self._say(event["reason"])

    def _on_put_back(self, event: Event) -> None:
        self._remove(event["job"])

    def _on_end(self, event: Event) -> None:
        job, record = event["job"], event["record"]
        seconds = time.monotonic() - self.started.pop(job.id, time.monotonic())
        self._remove(job)
        self.ended += 1
        self.failed += record["status"] == "failed"
        if self.eta:
            self.eta.ended(job, seconds)
        total = self.jobs.total if self.jobs else 0
        count = f"[{self.ended:>{len(str(total))}}/{total}]"
        self._say(
            f"{count} {self.words(job)}: {outcome(record, seconds)}{self._left()}"
            f"{self._explained(job, record)}"
        )
        if self.tracebacks and record.get("traceback"):
            self._say(f"{job.id}:\n{record['traceback'].rstrip()}")
        if self.bars and self.jobs:
            text = f"{self.failed} failed" if self.failed else ""
            done = self.ended + len(self.jobs.blocked)
            self.bars.update(
                self.overall, completed=done, total=total, metrics=text, at=f"{done}/{total}"
            )

    def _left(self) -> str:
        """Return how long the run will go on, "" where it is not known."""
        seconds = self.eta.remaining_s if self.eta else None
        return f"; about {duration(round(seconds))} left" if seconds and seconds >= 1 else ""

    def _explained(self, job: Job, record: Mapping[str, Any]) -> str:
        """Return the command that explains a failure, if its record has been kept."""
        if record["status"] != "failed" or self.jobs is None:
            return ""
        folder = self.jobs.folder
        kept = folder.result(job.id).exists() or folder.evaluation(job.id).exists()
        return f"; see: {folder.show_command(job.id)}" if kept else ""

    def _remove(self, job: Job) -> None:
        task = self.shown.pop(job.id, None)
        if self.bars and task is not None:
            self.bars.remove_task(task)

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def at_work(text: str) -> AbstractContextManager[object]:
    """Say on a terminal what is being done in the block; a pipe is told nothing."""
    console = _stderr()
    drawn = console.is_terminal and not console.is_dumb_terminal
    return console.status(text) if drawn else nullcontext()


def _stderr() -> Console:
    """Return standard error: a terminal if it says so itself, whatever FORCE_COLOR asks for."""
    forced = None if sys.stderr.isatty() else False
    return Console(
        file=sys.stderr, force_terminal=forced, highlight=False, markup=False, emoji=False
    )


def _bars(console: Console) -> Bars:
    # Names of rows and metrics are other people's: "grad[/conv1]" is no markup.
    return Bars(
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=3, no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TextColumn("{task.fields[at]}", markup=False, justify="right"),
        TextColumn("{task.fields[metrics]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        transient=True,
        redirect_stdout=False,  # nothing prints data while jobs run
        refresh_per_second=2,  # ten, as usual, take a tenth of a core
    )


def stale_lines(plan: Plan, jobs: Jobs, stale: Mapping[str, str]) -> list[str]:
    """Return what to say of results that no longer hold: which they are, and what becomes of them.

    `stale` names planned condensations that other code has done, with the id of what it has done.
    """
    lines = []
    if stale:
        kept = bool(plan.kept_stale)
        of = set(stale.values() if kept else stale)
        evaluations = sum(job.condensation in of for job in plan.evaluations)
        what = _several(len(stale), "condensation") + " of code that has been edited since"
        also = f" with {_several(evaluations, 'evaluation')}" if evaluations else ""
        fate = "kept, marked (--keep-stale)" if kept else f"done again{also}"
        lines.append(f"stale: {what}: {fate}\n{_named(list(stale.values()))}")
    if jobs.outdated:
        what = _several(len(jobs.outdated), "evaluation") + " of sets that have changed since"
        lines.append(f"stale: {what}: done again\n{_named(jobs.outdated)}")
    return lines


def _named(ids: Sequence[str]) -> str:
    more = [f"and {len(ids) - NAMED} more"] if len(ids) > NAMED else []
    return "\n".join(f"  {line}" for line in [*ids[:NAMED], *more])


def building(event: Mapping[str, Any]) -> str:
    """Return what is done for an artifact: built here, or waited for while another job does it."""
    name = printable(str(event["artifact"]))
    return f"waits for {name}" if event.get("waiting") else f"builds {name}"


def _how_far(event: Event) -> tuple[float, float, str]:
    """Return how far a job is, of how much, and both in words: in seconds if they end it."""
    budget = getattr(event["job"], "budget_s", None)
    if budget and "seconds" in event:
        return event["seconds"], budget, f"{event['seconds']:.0f}/{budget:g} s"
    done, total = event["step"], event["of"]
    return done, total, f"{done:,}/{total:,}" if total else ""


def _share(event: Mapping[str, Any]) -> str:
    if event.get("waiting"):
        return ""
    of = f" of {event['of']:,}" if event["of"] else ""
    return f", step {event['step']:,}{of}"


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Return one logged number for a progress line: the loss, or whatever comes first."""
    if not metrics:
        return ""
    name = "loss" if "loss" in metrics else next(iter(metrics))
    return f"{printable(name)} {metrics[name]:.4g}"


def outcome(record: Mapping[str, Any], seconds: float) -> str:
    """Return in a few words what became of a job."""
    if record["status"] != "done":
        return f"{record['status']}: {record.get('reason')}"
    parts = [_accuracy(record.get("accuracies") or ()), metrics_text(record.get("metrics") or {})]
    return ", ".join([*filter(None, parts), f"{seconds:.1f} s"])


def _accuracy(accuracies: Any) -> str:  # noqa: ANN401
    known = [100 * a for a in accuracies if isinstance(a, int | float) and math.isfinite(a)]
    if not known:
        return ""
    spread = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
    return f"accuracy {statistics.fmean(known):.1f}{spread}%"


def _several(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
