"""What sets give by their own recipes, beside controls that share the labels and the recipe.

Soft labels alone can raise an accuracy, so a number by an own recipe says little about images until
it stands beside other images with the same labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ddbench.reporting.leaderboard import table_format
from ddbench.reporting.leaderboard.differences import Difference, difference
from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.rows import controls_of
from ddbench.text import number_format

NAMED = 3  # rows that a sentence tells of


@dataclass(frozen=True)
class OverControl:
    """How far a row lies above one of its controls, both by the same own recipe."""

    control: RankedRow
    found: Difference


def over_controls(board: Board, place: RankedRow) -> list[OverControl]:
    """Return what a row gains over each control that has the same own recipe."""
    if not place.own.known:
        return []
    entries = [one.entry for one in board.places]
    beside = {entry.key for entry in controls_of(place.entry, entries)}
    return [
        OverControl(one, difference(place.own, one.own, board.data.n_test))
        for one in board.places
        if one.entry.key in beside
        and one.own.known
        and one.own_training.regime == place.own_training.regime
    ]


def images_or_labels(board: Board, shown: Callable[[str], str] = str) -> str:
    """Return in words what images add to soft labels, "" where no row has such labels.

    Of the rows with the most accurate own recipes; each against each of its controls.
    """
    rows = [
        (place, gains)
        for place in board.places
        if not place.entry.is_control and place.own_training.soft
        if (gains := over_controls(board, place))
    ]
    rows.sort(key=lambda row: -row[0].own.mean)
    parts = [_words(place, gains, shown) for place, gains in rows[:NAMED]]
    if len(rows) > NAMED:
        parts.append(f"{number_format.several(len(rows) - NAMED, 'other row')} below")
    return "; ".join(parts) + "." if parts else ""


def _words(place: RankedRow, gains: list[OverControl], shown: Callable[[str], str]) -> str:
    accuracy = f"{number_format.points(place.own.mean, place.own.spread)}%"
    against = [
        f"{number_format.difference(one.found.mean)} points over {shown(one.control.entry.label)}"
        f" ({_certainty(one.found)})"
        for one in gains
    ]
    return (
        f"{shown(place.entry.label)} gives {accuracy} by its own soft labels and recipe:"
        f" {number_format.listed(against)}, with soft labels made in the same way"
    )


def _certainty(found: Difference) -> str:
    text = table_format.interval(found)
    return f"{text}: no more than noise" if found.known and not found.decided else text
