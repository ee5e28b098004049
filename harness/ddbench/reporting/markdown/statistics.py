"""The section of statistics: intervals, the parts of the noise, ranks, ties, seeds needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddbench.reporting.leaderboard import (
    Board,
    RankedRow,
    seeds_needed,
    table_format,
)
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.text import number_format

EXPLAINED = (
    "Interval: 95%, Student's t over the means of the seeds; of one seed over its networks, "
    "without what condensing again would change. sd sets, sd networks: standard deviation between "
    "the sets of a row, and between the networks of a set, in points. Ranks: from the first to the "
    "last that a row may have, 95% sure of all rows together: pairs of rows, network by network, "
    "with Holm's correction over the table. Tie: rows with a letter in common are not told from "
    "each other. Seeds needed: of both rows, to tell this one from the best, about."
)


def statistics_section(document: Document, boards: Sequence[Board]) -> None:
    """Write what is known of the noise of each row, folded away, for each architecture."""
    for board in boards:
        rows = [_row(board, place) for place in board.places if place.rank is not None]
        if len(rows) > 1 and board.tests:
            inner = document.inner()
            inner.table(rows, set(rows[0]) - {"method", "init", "interval %"})
            inner.add(f"<sub>{EXPLAINED}</sub>")
            pairs = number_format.several(board.tests, "pair")
            document.folded(f"Statistics on {board.architecture}: {pairs} of rows", inner)


def _row(board: Board, place: RankedRow) -> dict[str, str]:
    score = place.score
    return {
        "#": str(place.rank),
        "method": escaped(table_format.name(place.entry)),
        "init": escaped(place.entry.init),
        "accuracy %": number_format.points(score.mean),
        "interval %": table_format.accuracy_interval(score, board.data.n_test),
        "sd sets": _deviation(score.set_variance),
        "sd networks": _deviation(score.network_variance),
        "ranks": table_format.ranks(place),
        "tie": place.groups or number_format.NOTHING,
        "below best": _below(place),
        "seeds needed": _seeds(board, place),
    }


def _deviation(variance: float) -> str:
    return number_format.points(math.sqrt(variance)) if variance >= 0 else number_format.NOTHING


def _below(place: RankedRow) -> str:
    """Return how far a row lies below the best, with half the interval of that."""
    if place.below is None:
        return number_format.NOTHING
    return number_format.points(place.below.mean, place.below.half)


def _seeds(board: Board, place: RankedRow) -> str:
    """Return how many seeds would tell a tied row from the best."""
    if not place.tied or place.below is None or board.best is None:
        return number_format.NOTHING
    seeds = min(board.best.score.seeds, place.score.seeds)
    needed = seeds_needed(place.below, seeds, board.tests)
    return f"{needed:.0f}" if math.isfinite(needed) else "more than 100"
