"""The leaderboard: the rankings that a run folder's records make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ddbench.reporting.leaderboard import columns
from ddbench.reporting.leaderboard.answer import answer
from ddbench.reporting.leaderboard.differences import (
    Difference,
    difference,
    interval_of,
    seeds_needed,
)
from ddbench.reporting.leaderboard.fair_scores import FairScores, fair_scores
from ddbench.reporting.leaderboard.missing_results import Trouble, find_troubles
from ddbench.reporting.leaderboard.networks import network_rows
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
    "columns",
    "fair_scores",
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
        pictures: Of sets, as reports show them, once they have been made.
    """

    folder: RunFolder
    records: Records
    results: Results
    entries: Sequence[Entry]
    boards: Sequence[Board]
    references: Sequence[Reference]
    troubles: Sequence[Trouble]
    pictures: dict[tuple[str, str], bytes] = field(default_factory=dict, compare=False, repr=False)

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

    @cached_property
    def networks(self) -> list[dict[str, Any]]:
        """Every network that was trained, as plain values; see `network_rows`."""
        return network_rows(self.results, {entry.key: entry.label for entry in self.entries})

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of every board as plain values, with its fair scores; see `columns.plain`."""
        return [
            columns.plain([board], place) | {"fair": fair[key].record() if key in fair else None}
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
