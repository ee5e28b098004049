"""The leaderboard: the rankings that a run folder's records make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard.answer import answer
from ddbench.reporting.leaderboard.differences import (
    Difference,
    difference,
    interval_of,
    seeds_needed,
)
from ddbench.reporting.leaderboard.fair_scores import FairScores, fair_scores
from ddbench.reporting.leaderboard.missing_results import Trouble, find_troubles
from ddbench.reporting.leaderboard.published import Comparison, against_published
from ddbench.reporting.leaderboard.rankings import (
    Board,
    DataFacts,
    RankedRow,
    Reference,
    chosen_sets,
    grouped,
    make_boards,
    make_references,
)
from ddbench.reporting.leaderboard.results import Results, find_results, set_aside
from ddbench.reporting.leaderboard.rows import Entry, find_entries
from ddbench.reporting.leaderboard.scores import Costs, Score, Training
from ddbench.store.run_folder import Records, RunFolder, read_run

__all__ = [
    "Board",
    "Comparison",
    "Costs",
    "DataFacts",
    "Difference",
    "Entry",
    "FairScores",
    "Leaderboard",
    "RankedRow",
    "Reference",
    "Results",
    "Score",
    "Training",
    "Trouble",
    "against_published",
    "answer",
    "difference",
    "fair_scores",
    "flat",
    "grouped",
    "interval_of",
    "load",
    "seeds_needed",
]


@dataclass(frozen=True)
class Leaderboard:
    """All of a run folder that a table or a report needs.

    Attributes:
        folder: The run folder.
        records: What was read from it.
        results: The same, with what counts of it.
        entries: The rows of all tables.
        boards: The rankings.
        references: Networks trained on whole training sets.
        troubles: Jobs that failed or were skipped.
    """

    folder: RunFolder
    records: Records
    results: Results
    entries: Sequence[Entry]
    boards: Sequence[Board]
    references: Sequence[Reference]
    troubles: Sequence[Trouble]

    @property
    def superseded(self) -> int:
        """How many condensations have been done again since by other code."""
        return sum(one.superseded for one in self.results.condensations.values())

    @property
    def stale_evaluations(self) -> int:
        """How many evaluations are of a set that has changed since, or is gone."""
        return sum(one.stale for one in self.results.evaluations)

    @property
    def chosen(self) -> list[str]:
        """The condensations that validations chose."""
        return chosen_sets(self.boards)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of every board as plain values; see `flat`. With its fair scores."""
        return [
            flat(board, place) | {"fair": fair[key].record() if key in fair else None}
            for board in self.boards
            for fair in [fair_scores(board, self.boards)]
            for place in board.places
            for key in [place.entry.key]
        ]


def load(folder: RunFolder, *, old_code: bool = False) -> Leaderboard:
    """Return the leaderboard of a run folder; files that cannot be used are listed, never fatal.

    With `old_code`, what has been done again since by other code has rows of its own.
    """
    records = read_run(folder)
    set_aside(records, folder)
    results = find_results(records, old_code)
    entries = find_entries(results.condensations.values())
    return Leaderboard(
        folder=folder,
        records=records,
        results=results,
        entries=entries,
        boards=make_boards(results, entries),
        references=make_references(results),
        troubles=find_troubles(records, results, {entry.key: entry.label for entry in entries}),
    )


def flat(board: Board, place: RankedRow) -> dict[str, Any]:
    """Return one row of a board as plain values; accuracies in [0, 1], unknown ones None."""
    reference, baseline, entry = board.reference, board.baseline, place.entry
    over = board.over_random(place)
    values = {
        "dataset": board.dataset_name,
        "ipc": board.ipc,
        "architecture": board.architecture,
        "protocol": board.protocol_name,
        "tested_on": board.data.tested_on,
        "rank": place.rank,
        "tied_with_best": place.tied if place.below is None or place.below.known else None,
        "below_best_interval": _interval(place.below),
        "rank_interval": list(place.ranks) if place.ranks else None,
        "tie_groups": place.groups or None,
        "seeds_to_tell_from_best": _seeds_to_tell(board, place),
        "row": entry.label,
        "method": entry.method,
        "init": entry.init,
        "matched": entry.architecture,
        "control_of": entry.control_of,
        "accuracy": place.score.mean,
        "accuracy_interval": _ends(interval_of(place.score, board.data.n_test)),
        "accuracy_interval_over": "networks" if place.score.seeds == 1 else "seeds",
        "variance_networks": place.score.network_variance,
        "variance_sets": place.score.set_variance,
        "spread_networks": place.score.spread,
        "spread_seeds": place.score.seed_spread,
        "seeds": place.score.seeds,
        "networks": place.score.networks,
        "balanced_accuracy": place.score.balanced,
        "own_recipe_accuracy": place.own.mean,
        "own_recipe_spread": place.own.spread,
        "over_random": over.mean if over else 0.0 if place is baseline else None,
        "over_random_interval": _interval(over),
        "lost_to_whole": reference.score.mean - place.score.mean if reference else None,
        "forward_macs": board.forward_macs,
        "bytes": place.bytes,
        "images": place.images,
        "condensing": [vars(cost) for cost in place.costs.values()],
        "training": [vars(training) for training in place.training.values()],
        "reduced": {name: list(pair) for name, pair in entry.reduced.items()},
        "notes": list(entry.notes),
        "published": [one.record() for one in against_published(board, place)],
        "trouble": list(place.trouble),
        "condensations": list(entry.ids),
    }
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _ends(interval: tuple[float, float] | None) -> list[float] | None:
    return list(interval) if interval else None


def _seeds_to_tell(board: Board, place: RankedRow) -> int | None:
    """Return how many seeds would tell a row from the best, about; None where they are told apart.

    None too where a hundred would not.
    """
    if not place.tied or place.below is None or board.best is None:
        return None
    seeds = min(board.best.score.seeds, place.score.seeds)
    needed = seeds_needed(place.below, seeds, board.tests)
    return int(needed) if math.isfinite(needed) else None


def _interval(difference: Difference | None) -> list[float] | None:
    return list(difference.interval) if difference and difference.known else None
