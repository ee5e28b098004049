"""What changed from one run to another in words: for the terminal, markdown and JSON."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard import Leaderboard
from ddbench.reporting.leaderboard.changes import (
    LOST,
    ONLY_AFTER,
    ONLY_BEFORE,
    UNKNOWN,
    VERDICTS,
    Change,
    changes,
)
from ddbench.reporting.leaderboard.summary import title
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.text import number_format

NUMBERS = ("A %", "B %", "B − A", "95% interval", "time")
MOST = 3  # differences of a row that are named


@dataclass(frozen=True)
class Table:
    """One ranking in two runs: a title, rows of texts, and notes on some of them."""

    title: str
    rows: list[dict[str, str]]
    notes: list[str]


@dataclass(frozen=True)
class Comparison:
    """Two runs, A and B, row by row.

    Attributes:
        before, after: Their names.
        changes: Of all rows of both.
        environment: What else differs between the runs, in words.
    """

    before: str
    after: str
    changes: Sequence[Change]
    environment: Sequence[str]

    @property
    def shared(self) -> int:
        """How many rows both runs have, or A has and B failed to make."""
        return sum(one.verdict not in (ONLY_BEFORE, ONLY_AFTER) for one in self.changes)

    @property
    def worse(self) -> int:
        """How many rows are worse in B than in A."""
        return sum(one.is_worse for one in self.changes)

    @property
    def tables(self) -> list[Table]:
        """One table for each ranking."""
        groups = itertools.groupby(self.changes, lambda one: id(one.board))
        return [_table(list(group)) for _, group in groups]

    @property
    def verdict(self) -> str:
        """The answer in one line."""
        counts = Counter(one.verdict for one in self.changes)
        parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
        lead = f"B is worse in {self.worse} of" if self.worse else "B is no worse in"
        return f"{lead} {number_format.several(self.shared, 'row')}: {', '.join(parts)}"

    @property
    def notes(self) -> list[str]:
        """What the verdicts do not say."""
        lines = ["B − A in points, paired by network; told by Holm's correction over all rows, 5%"]
        both = [one for one in self.changes if one.difference and one.before and one.after]
        seeds = [min(one.before.seeds, one.after.seeds) for one in both if one.before and one.after]
        if 1 in seeds:
            lines.append(
                "one condensation seed: intervals do not hold what condensing again would change"
            )
        if any(one.verdict == UNKNOWN for one in both):
            lines.append("one network has no spread: nothing is said of those rows")
        return [*lines, *self.environment]

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "a": self.before,
            "b": self.after,
            "worse": self.worse,
            "shared": self.shared,
            "rows": [one.record() for one in self.changes],
            "environment": list(self.environment),
        }


def compared(before: Leaderboard, after: Leaderboard) -> Comparison:
    """Return what became of every row of run A, `before`, in run B, `after`."""
    return Comparison(
        before=str(before.folder.root),
        after=str(after.folder.root),
        changes=changes(before, after),
        environment=_environment(before, after),
    )


def as_markdown(found: Comparison) -> str:
    """Return the tables and the answer as markdown."""
    document = Document("", "")
    document.add(f"A: {escaped(found.before)}, B: {escaped(found.after)}. {found.verdict}.")
    for table in found.tables:
        document.heading(2, table.title)
        document.table(
            [{name: escaped(text) for name, text in row.items()} for row in table.rows], NUMBERS
        )
        document.bullets(map(escaped, table.notes))
    document.bullets(map(escaped, found.notes))
    return document.text()


def _table(group: Sequence[Change]) -> Table:
    board = group[0].board
    notes = [note for one in group for note in _notes(one)]
    rows = [_row(one) for one in group]
    if not any(row["time"] != number_format.NOTHING for row in rows):
        rows = [{name: text for name, text in row.items() if name != "time"} for row in rows]
    return Table(f"{title([board])}, on {board.architecture}", rows, notes)


def _row(one: Change) -> dict[str, str]:
    difference, interval = number_format.NOTHING, number_format.NOTHING
    if one.difference:
        difference = number_format.difference(one.difference.mean)
        if one.difference.known:
            low, high = map(number_format.difference, one.difference.interval)
            interval = f"{low} to {high}"
    return {
        "method (init)": _name(one),
        "A %": number_format.points(one.before.mean if one.before else float("nan")),
        "B %": number_format.points(one.after.mean if one.after else float("nan")),
        "B − A": difference,
        "95% interval": interval,
        "verdict": one.verdict,
        "time": f"×{one.times:.2f}" if number_format.known(one.times) else number_format.NOTHING,
    }


def _name(one: Change) -> str:
    return f"{one.entry.label} ({one.entry.init})" + ", own recipe" * one.own


def _notes(one: Change) -> list[str]:
    parts = list(one.others[:MOST])
    parts += [f"and {len(one.others) - MOST} more"] * (len(one.others) > MOST)
    lines = [f"{_name(one)}: {', '.join(parts)}"] if parts and not one.own else []
    return [*lines, *([f"{_name(one)}: {one.reason}"] if one.verdict == LOST else [])]


def _environment(before: Leaderboard, after: Leaderboard) -> list[str]:
    """Return what differs in the code, the versions and the hardware of two runs."""
    lines = []
    for what, of in (("code", _code), ("versions", _versions), ("hardware", _hardware)):
        one, other = of(before), of(after)
        differing = [name for name in one if other.get(name, one[name]) != one[name]]
        if differing:
            words = [f"{name} {one[name]} -> {other[name]}".strip() for name in differing]
            lines.append(f"{what}: {', '.join(words)}")
    return lines


def _code(leaderboard: Leaderboard) -> dict[str, str]:
    records = [one.record for one in leaderboard.results.condensations.values()]
    return {record.method: record.code.rpartition(":")[2][:12] for record in records}


def _versions(leaderboard: Leaderboard) -> dict[str, str]:
    manifests = leaderboard.records.manifests
    return manifests[-1].versions if manifests else {}


def _hardware(leaderboard: Leaderboard) -> dict[str, str]:
    classes = {one.hardware_class for one in leaderboard.results.condensations.values()}
    return {"": "; ".join(sorted(classes))} if classes else {}
