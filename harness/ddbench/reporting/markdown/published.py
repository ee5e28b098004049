"""The section of published figures: each beside the row that it matches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddbench.reporting.leaderboard import (
    Board,
    Comparison,
    RankedRow,
    against_published,
    table_format,
)
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.text import number_format

EXPLAINED = (
    "A verdict is given only where data, settings, protocol and networks are those of the figure, "
    "and the figure is that after the last epoch. *Reproduced*: within two standard errors and two "
    "points. *Close*: within two points. z: the difference in standard errors. "
    "`ddbench references` lists all figures with their sources."
)


def published_section(document: Document, boards: Sequence[Board]) -> None:
    """Write the published figures that rows match, folded away, with what they say."""
    beside = [
        (board, place, one)
        for board in boards
        for place in board.places
        for one in against_published(board, place)
    ]
    if not beside:
        return
    inner = document.inner()
    rows = [_row(*one) for one in beside]
    inner.table(rows, ("accuracy %", "published %", "difference", "z"))
    inner.add(f"<sub>{EXPLAINED}</sub>")
    document.folded(f"Published figures beside ours: {_counted(beside)}", inner)


def _counted(beside: Sequence[tuple[Board, RankedRow, Comparison]]) -> str:
    """Return how many figures have which verdict: 2 reproduced, 1 not comparable."""
    verdicts = [one.verdict for _, _, one in beside]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(sorted(verdicts)))


def _row(board: Board, place: RankedRow, one: Comparison) -> dict[str, str]:
    figure = one.reference
    return {
        "method": escaped(table_format.name(place.entry)),
        "init": escaped(place.entry.init),
        "network": escaped(board.architecture),
        "accuracy %": number_format.points(one.accuracy),
        "published %": figure.printed,
        "difference": number_format.difference(one.difference),
        "z": f"{one.z:+.1f}".replace("-", "−") if math.isfinite(one.z) else number_format.NOTHING,
        "verdict": escaped(one.text),
        "source": escaped(f"{figure.title} ({figure.trust})"),
    }
