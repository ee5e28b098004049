"""How well the times of a run's jobs were predicted."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from ddbench.reporting.leaderboard import Leaderboard
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.store.history import wall_seconds
from ddbench.store.records import DONE, CondensationRecord, Result
from ddbench.text import number_format

Pair = tuple[float, float]  # seconds predicted, seconds taken


def forecast_section(document: Document, leaderboard: Leaderboard) -> None:
    """Write predicted and actual seconds of each method and of each network, and the error."""
    pairs = predicted(leaderboard)
    if not pairs:
        return
    rows = [
        {
            "jobs": escaped(what),
            "number": str(len(group)),
            "predicted s": number_format.seconds(sum(pair[0] for pair in group)),
            "actual s": number_format.seconds(sum(pair[1] for pair in group)),
            "median error %": number_format.points(median_error(group), digits=0),
        }
        for what, group in pairs.items()
    ]
    document.table(rows, set(rows[0]) - {"jobs"})
    every = [pair for group in pairs.values() for pair in group]
    document.add(
        f"<sub>Predicted when the run began, from jobs that had ended before. The median error of "
        f"all {len(every)} is {number_format.points(median_error(every), digits=0)}% of the actual "
        "time. A job that shares its processor with other work takes longer.</sub>"
    )


def predicted(leaderboard: Leaderboard) -> dict[str, list[Pair]]:
    """Return (predicted, actual) seconds of the jobs that were predicted, by what they are."""
    expected: dict[str, float] = {}
    for manifest in leaderboard.records.manifests:  # the last one before a job has ended counts
        expected |= manifest.plan.expected
    records = leaderboard.records
    pairs: dict[str, list[Pair]] = {}
    ended: list[Result] = [*records.condensations.values(), *records.evaluations.values()]
    for record in ended:
        taken = wall_seconds(record)
        if record.status == DONE and record.id in expected and taken and not _in_parts(record):
            pairs.setdefault(_what(record), []).append((expected[record.id], taken))
    return pairs


def median_error(pairs: Iterable[Pair]) -> float:
    """Return the median of |predicted - actual| / actual."""
    return statistics.median(abs(before - taken) / taken for before, taken in pairs)


def _in_parts(record: Result) -> bool:
    """Say whether the record tells the time of the last part alone."""
    return isinstance(record, CondensationRecord) and bool(record.resumed)


def _what(record: Result) -> str:
    if isinstance(record, CondensationRecord):
        return f"condense {record.row}"
    return f"evaluate on {record.architecture}"
