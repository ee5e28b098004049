"""The answer: which method, at what cost, for these data, or what would settle it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ddbench.reporting.leaderboard import table_format
from ddbench.reporting.leaderboard.differences import (
    MOST_SEEDS,
    Difference,
    difference,
    seeds_needed,
)
from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.text import number_format

FEW = 5  # seeds whose options are written out


def answer(boards: Sequence[Board], shown: Callable[[str], str] = str) -> str:
    """Return which method a validation says to take, and at what cost, in one sentence.

    Each method stands there with its best row. Where nothing tells it from the best, the sentence
    says so, and a second one what would settle it.

    Args:
        boards: Of one dataset, ipc and protocol; the first ranks, all count for the time.
        shown: Writes names and options in the form of what this is printed in.
    """
    rows = _of_different_sets(boards[0].best_of_methods)
    if not rows:
        return ""
    writer = _Writer(boards, shown)
    top, *others = rows
    rivals = [_Rival.of(boards[0], top, place) for place in others]
    tied = [rival for rival in rivals if rival.place.tied or not rival.below.known]
    if not tied:
        sentences = [writer.decided(top, rivals[0] if rivals else None)]
    else:
        sentences = [writer.undecided(top, tied), writer.what_would_settle_it(top, tied)]
    return " ".join(filter(None, [*sentences, writer.warning(top)]))


@dataclass(frozen=True)
class _Rival:
    place: RankedRow
    below: Difference  # of the best row
    seeds: float  # of both rows that would tell them apart, about

    @classmethod
    def of(cls, board: Board, top: RankedRow, place: RankedRow) -> _Rival:
        below = difference(top.score, place.score, board.data.n_test)
        seeds = min(top.score.seeds, place.score.seeds)
        return cls(place, below, seeds_needed(below, seeds, board.tests))


def _of_different_sets(places: Iterable[RankedRow]) -> list[RankedRow]:
    """Return the rows without those of the same images as an earlier one, which share its rank."""
    kept: dict[int | None, RankedRow] = {}
    for place in places:
        kept.setdefault(place.rank, place)
    return list(kept.values())


class _Writer:
    """The sentences about the rows of one dataset, ipc and protocol."""

    def __init__(self, boards: Sequence[Board], shown: Callable[[str], str]) -> None:
        self.boards, self.shown = boards, shown
        data = boards[0].data
        self.majority = data.majority
        self.tested = f"{data.n_test:,} {data.images}"

    def decided(self, top: RankedRow, following: _Rival | None) -> str:
        accuracy = f"{number_format.points(top.score.mean)}% of {self.tested}"
        if top.entry.is_baseline:
            return f"Take random real images: no method gives more than their {accuracy}."
        text = (
            f"Take {self.name(top)}: for {_cost(top)} of condensing, networks trained on its "
            f"{top.images:,.0f} images reach {accuracy}"
        )
        if following is None:
            return f"{text}; no other method stands beside it."
        return (
            f"{text}, {100 * following.below.mean:.1f} points more than the next method, "
            f"{self.name(following.place)} ({table_format.interval(following.below)})."
        )

    def undecided(self, top: RankedRow, tied: Sequence[_Rival]) -> str:
        """Return which rows cannot be told from the best, and which of them costs least."""
        places = [top, *(rival.place for rival in tied)]
        listed = number_format.listed(
            [
                f"{self.name(p)} ({number_format.points(p.score.mean)}% for {_cost(p)})"
                for p in places
            ]
        )
        least = min(places, key=_seconds)
        return (
            f"{listed} cannot be told apart on {self.tested}; until they can, take the cheapest of "
            f"them, {self.name(least)}."
        )

    def what_would_settle_it(self, top: RankedRow, tied: Sequence[_Rival]) -> str:
        """Return how many more seeds, and how much computing, would tell the rows apart."""
        apart = [rival for rival in tied if math.isfinite(rival.seeds)]
        near = [rival for rival in tied if math.isinf(rival.seeds)]
        sentences = []
        if apart:
            places = [top, *(rival.place for rival in apart)]
            seeds = max(int(rival.seeds) for rival in apart)
            more = number_format.several(seeds - min(p.score.seeds for p in places), "more seed")
            time = sum((seeds - p.score.seeds) * self.seconds_of_a_seed(p) for p in places
                       if seeds > p.score.seeds)  # fmt: skip
            sentences.append(
                f"About {more}, {number_format.duration(time)} of computing, would settle it: "
                f"the same command with {self.shown(_options(places, seeds))}."
            )
        if near:
            names = number_format.listed([self.name(rival.place) for rival in near])
            sentences.append(f"From {names}, {MOST_SEEDS} seeds would not tell the best.")
        return " ".join(sentences)

    def warning(self, top: RankedRow) -> str:
        """Return that no row is of use, where unequal classes hide it."""
        if top.score.mean > self.majority:
            return ""
        largest = number_format.points(self.majority)
        return (
            f"No row reaches the {largest}% of always naming the largest class: train the networks "
            "longer or on more images per class, or go by the balanced accuracy, "
            f"{number_format.points(top.score.balanced)}% of the first."
        )

    def seconds_of_a_seed(self, place: RankedRow) -> float:
        """Return the seconds of one more seed of a row: its set, and its networks on all boards."""
        seconds = sum(cost.own_s for cost in place.costs.values()) / max(1, len(place.costs))
        for board in self.boards:
            for other in (p for p in board.places if p.entry.key == place.entry.key):
                for training in list(other.training.values())[:1]:
                    seconds += other.score.networks * (training.train_s + training.test_s)
        return seconds

    def name(self, place: RankedRow) -> str:
        return "random real images" if place.entry.is_baseline else self.shown(place.entry.label)


def _options(places: Sequence[RankedRow], seeds: int) -> str:
    """Return the options of a run of so many seeds; a budget is that of each condensation."""
    methods = dict.fromkeys(place.entry.method for place in places)
    options = [f"--method {method}" for method in methods]
    named = [f"--seed {seed}" for seed in range(seeds)]
    options += named if seeds <= FEW else [*named[:2], "...", named[-1]]
    budgets = {place.entry.budget_s for place in places} - {None}
    return " ".join(options + [f"--budget {budget:g}s" for budget in budgets if len(budgets) == 1])


def _cost(place: RankedRow) -> str:
    """Return the seconds of a set, those of its artifacts in full beside."""
    parts = []
    for hardware, cost in place.costs.items():
        text = number_format.duration(cost.own_s)
        if cost.artifact_s > 0:
            text += f" and {number_format.duration(cost.artifact_s)} for artifacts"
        parts.append(text + (f" on {hardware}" if len(place.costs) > 1 else ""))
    return number_format.listed(parts)


def _seconds(place: RankedRow) -> float:
    return sum(cost.seconds for cost in place.costs.values())
