"""The terminal: tables on stdout, progress on stderr, plain data where --json asks for it."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ddbench.engines.jobs import Event
    from ddbench.leaderboard import Board, Leaderboard, Place
    from ddbench.plan import Plan
    from ddbench.results import RunFolder

UNCUT = 100_000  # columns; rich would cut tables to 80 where stdout is no terminal


def _stdout() -> Console:
    """Return where data goes: as wide as it needs to be, unless a terminal limits it."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=UNCUT)
    return console


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print plain data; what is not a number becomes null."""
    sys.stdout.write(json.dumps(_plain(value), indent=1, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# -- tables ------------------------------------------------------------------------------------


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    as_json: bool = False,
    title: str | None = None,
    right: Iterable[str] = (),
) -> None:
    """Print rows as one table, or as a JSON list; `columns` chooses and orders, `right` aligns."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    numbers = {n for n in names if rows and all(isinstance(r.get(n), int | float) for r in rows)}
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in numbers | set(right) else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    _stdout().print(table, markup=False) if rows else _stdout().print("nothing to show")


def _cell(value: Any) -> str:  # noqa: ANN401
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return escape(", ".join(map(str, value)))
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


# -- the leaderboard ---------------------------------------------------------------------------


def print_leaderboard(leaderboard: Leaderboard, *, as_json: bool = False) -> None:
    """Print every ranking, and the jobs that have no result."""
    if as_json:
        print_json(_leaderboard_record(leaderboard))
        return
    out = _stdout()
    for board in leaderboard.boards:
        _print_board(board)
    if not leaderboard.boards:
        out.print("no finished evaluation yet")
    for trouble in leaderboard.troubles:
        out.print(f"{trouble.status}: {trouble.what}: {trouble.reason}", markup=False)
    for path, reason in leaderboard.records.unreadable:
        out.print(f"not read: {path}: {reason}", markup=False)


def _leaderboard_record(leaderboard: Leaderboard) -> dict[str, Any]:
    from ddbench.leaderboard import flat

    return {
        "run": leaderboard.folder.name,
        "rows": [flat(board, place) for board in leaderboard.boards for place in board.places],
        "troubles": [vars(trouble) for trouble in leaderboard.troubles],
        "superseded": leaderboard.superseded,
        "unreadable": [[str(path), why] for path, why in leaderboard.records.unreadable],
    }


def _print_board(board: Board) -> None:
    title = f"{board.dataset}, ipc {board.ipc}, on {board.architecture}, protocol {board.protocol}"
    rows = [_board_row(board, place) for place in board.places]
    print_table(rows, title=title, right=set(rows[0]) - {"method", "init"})


def _board_row(board: Board, place: Place) -> dict[str, str]:
    from ddbench.leaderboard import words

    cost, training = place.cost(), next(iter(place.training.values()), None)
    row = {
        "#": str(place.rank or ""),
        "method": place.entry.label,
        "init": place.entry.init,
        "accuracy %": words.points(place.score.mean, place.score.spread),
        "n": f"{place.score.seeds}×{place.score.networks}",
    }
    if board.has_own:
        row["own recipe %"] = words.points(place.own.mean, place.own.spread)
    return row | {
        "condense s": words.seconds(cost.own_s) if cost else words.NOTHING,
        "artifacts s": words.seconds(cost.artifact_s) if cost else words.NOTHING,
        "train s": words.seconds(training.train_s) if training else words.NOTHING,
        "FLOPs": words.count(cost.flops, cost.lower_bound) if cost else words.NOTHING,
        "memory": words.size(cost.peak_memory) if cost else words.NOTHING,
        "set": words.size(place.bytes),
    }


# -- the plan ----------------------------------------------------------------------------------


def print_plan(plan: Plan, *, as_json: bool = False) -> None:
    """Print what would run, and how much that is."""
    if as_json:
        print_json(
            {
                "condensations": [job.record() for job in plan.condensations],
                "evaluations": [job.record() for job in plan.evaluations],
                "skipped": plan.record()["skipped"],
            }
        )
        return
    rows = [
        {
            "method": job.row,
            "dataset": job.dataset,
            "matched": job.architecture,
            "init": job.init,
            "ipc": job.ipc,
            "seed": job.seed,
            "steps": job.steps,
        }
        for job in plan.condensations
    ]
    print_table(rows)
    counts = (len(plan.condensations), len(plan.evaluations), len(plan.skipped))
    _stdout().print("{} condensations, {} evaluations, {} skipped".format(*counts))


# -- one job -----------------------------------------------------------------------------------


def show_job(folder: RunFolder, prefix: str, *, as_json: bool = False) -> None:
    """Print one job's record.

    Raises:
        RunError: No job's id begins so, or several do.
    """
    from ddbench.results import RunError, read_run

    records = read_run(folder)
    found = {**records.condensations, **records.evaluations}
    fitting = [id for id in found if id.startswith(prefix)]
    if len(fitting) != 1:
        raise RunError(f"show {prefix}: {len(fitting)} jobs of {folder.root} begin so")
    record = found[fitting[0]]
    if as_json:
        print_json(record)
        return
    print_table([{"field": name, "value": str(value)} for name, value in record.items()])


# -- progress ----------------------------------------------------------------------------------


class Progress:
    """Shows a run's events on stderr: bars on a terminal, else one plain line per finished job."""

    def __init__(self) -> None:
        """Show on stderr."""
        self.console = Console(file=sys.stderr, highlight=False)
        self.total = self.done = 0
        self.started: dict[str, float] = {}

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    def __call__(self, event: Event) -> None:
        """Take in one event of an engine."""
        if event["event"] == "plan":
            self.total = event["jobs"].total
        elif event["event"] == "start":
            self.started[event["job"].id] = time.monotonic()
        elif event["event"] == "end":
            self.done += 1
            record, id = event["record"], event["job"].id
            text = f"[{self.done}/{self.total}] {id}: {record['status']}"
            if record.get("reason"):
                text += f": {record['reason']}"
            self.console.print(text, markup=False, soft_wrap=True)
