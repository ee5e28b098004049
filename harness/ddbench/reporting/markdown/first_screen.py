"""The first screen of a report: warning, answers, one table, one plot, the best three sets."""

from __future__ import annotations

from collections.abc import Sequence

from ddbench.reporting.leaderboard import Board, Leaderboard, RankedRow, columns, table_format
from ddbench.reporting.leaderboard.summary import summary
from ddbench.reporting.markdown import galleries, plots, rankings
from ddbench.reporting.markdown.document import Document, code, escaped

BEST = 3  # rows whose images are shown at once


def write(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write what a reader sees first of one dataset, ipc and protocol."""
    board, said = boards[0], summary(boards, code)
    document.heading(2, said.title)
    if said.warning:
        document.add(f"> [!NOTE]\n> {said.warning}")
    document.bullets(f"**{lead}**: {text}" for lead, text in said.answers)
    rankings.table(document, columns.FIRST, columns.views_of_sets(boards))
    lines = [*table_format.legend(board.places), *table_format.noted(board.places)]
    lines += filter(None, [table_format.hardware_caption(table_format.letters(boards))])
    document.add("<sub>" + "; ".join(escaped(line) for line in lines) + ".</sub>" if lines else "")
    plots.cost_plot_section(document, boards)
    galleries.gallery_section(document, leaderboard, boards, shown_first(board))
    document.add(" ".join(said.more))
    about = (table_format.validation_caption(board), table_format.data_caption(board))
    text = "; ".join(filter(None, [*about, board.data.notes]))
    document.add(f"{escaped(text[0].upper() + text[1:])}.")
    rankings.class_table(document, board)


def shown_first(board: Board) -> list[RankedRow]:
    """Return the best rows of different images, and random images."""
    different: dict[object, RankedRow] = {}
    for place in board.places:
        if place.rank is not None and not place.entry.is_baseline:
            different.setdefault(place.entry.images, place)
    best = list(different.values())[:BEST]
    return [*best, *([board.baseline] if board.baseline else [])]
