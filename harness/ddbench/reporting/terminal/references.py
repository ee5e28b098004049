"""Published figures in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ddbench.reporting.references import Reference
from ddbench.reporting.terminal.tables import print_json, print_table

NOTED = "*"
MAY_BE_SHARED = ("method", "dataset", "network")  # by all rows; the title has them then


def print_references(figures: Sequence[Reference], *, as_json: bool = False) -> None:
    """Print figures as a table, below it what its sources and protocols are, and the notes."""
    if as_json:
        print_json([one.record() for one in figures])
        return
    if not figures:
        print_table([], title="published figures")
        return
    rows = [_row(one) for one in figures]
    shared = [n for n in MAY_BE_SHARED if len(rows) > 1 and len({row[n] for row in rows}) == 1]
    of = ", ".join(rows[0][name] for name in shared)
    print_table(
        rows,
        [name for name in rows[0] if name not in shared],
        title=f"published figures{f' of {of}' if of else ''}: test accuracy in %, as printed",
        captions=_captions(figures),
        right=("ipc", "figure"),
        droppable=("network", "trust"),
    )


def _row(one: Reference) -> dict[str, str]:
    mark = NOTED if one.note else ""
    return {
        "method": one.method + (f" ({one.init})" if one.init else ""),
        "dataset": one.dataset,
        "ipc": "" if one.ipc is None else str(one.ipc),
        "network": one.architecture,
        "figure": one.printed + mark,
        "protocol": one.protocol,
        "source": one.source,
        "trust": one.trust,
    }


def _captions(figures: Sequence[Reference]) -> list[str]:
    sources = {f"{one.source} ({one.trust})": one.title for one in figures}
    protocols = {
        one.protocol: one.how.summary + (f"; the figure: {one.how.reports}" * bool(one.how.reports))
        for one in figures
    }
    notes = {f"{one.method}, {one.dataset}: {one.note}": None for one in figures if one.note}
    return [
        *(f"source {name}: {title}" for name, title in sources.items()),
        *(f"protocol {name}: {text}" for name, text in protocols.items()),
        *(f"{NOTED} {line}" for line in notes),
    ]
