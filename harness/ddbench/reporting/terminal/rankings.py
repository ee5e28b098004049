"""The leaderboard in the terminal: one table for each dataset, ipc and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddbench.reporting.terminal.tables import print_json, print_table, stdout
from ddbench.store.records import FAILED

if TYPE_CHECKING:
    from ddbench.reporting.formats import Selection
    from ddbench.reporting.leaderboard import Board, Leaderboard, Trouble


def print_leaderboard(
    leaderboard: Leaderboard, selection: Selection | None = None, *, as_json: bool = False
) -> None:
    """Print every ranking as the first screen of a report has it, and the jobs without a result.

    With `selection` some rows alone, in its order.
    """
    from ddbench.reporting.leaderboard import grouped

    if as_json:
        from ddbench.reporting.formats import record

        print_json(record(leaderboard, selection))
        return

    out = stdout()
    for boards in grouped(leaderboard.boards):
        _print_group(boards, selection)
    if not leaderboard.boards:
        out.print("no evaluation has ended yet; `ddbench run` with the same --out goes on")
    for line in _left_out(leaderboard):
        out.print(line, soft_wrap=True)


def _print_group(boards: Sequence[Board], selection: Selection | None) -> None:
    from ddbench.reporting.leaderboard import columns
    from ddbench.reporting.leaderboard.summary import summary

    rows = columns.views_of_sets(boards)
    rows = selection.views(rows) if selection else rows
    if not rows:
        return
    said, out = summary(boards), stdout()
    print_table(
        columns.cells(columns.FIRST, rows),
        title=said.title,
        captions=_captions(boards),
        right=columns.numeric(columns.FIRST),
        droppable=[columns.OTHERS.heading, columns.USE.heading, columns.SIZE.heading],
        legend={column.heading: column.meaning for column in columns.FIRST if column.meaning},
    )
    for line in (said.warning, *(f"{lead}: {text}" for lead, text in said.answers)):
        if line:
            out.print(line)
    out.print()


def _captions(boards: Sequence[Board]) -> list[str]:
    from ddbench.reporting.leaderboard import table_format

    first = boards[0]
    lines = [*table_format.legend(first.places), *table_format.noted(first.places)]
    validation = table_format.validation_caption(first)
    letters = table_format.hardware_caption(table_format.letters(boards))
    return [*filter(None, [validation, table_format.data_caption(first), letters]), *lines]


def _can_show(trouble: Trouble) -> bool:
    """Say whether there is more to see of a job than its reason."""
    return trouble.status == FAILED and bool(trouble.id)


def _left_out(leaderboard: Leaderboard) -> list[str]:
    from ddbench.reporting.leaderboard.missing_results import unfinished

    lines = list(filter(None, [unfinished(leaderboard.records)]))
    for trouble in leaderboard.troubles:
        seeds = ", ".join(map(str, trouble.seeds))
        which = f", seed {seeds}" if seeds else ""
        see = f"; see: {leaderboard.folder.show_command(trouble.id)}" if _can_show(trouble) else ""
        lines.append(f"{trouble.status}: {trouble.what}{which}: {trouble.reason}{see}")
    if leaderboard.superseded:
        from ddbench.text import number_format

        n = leaderboard.superseded
        what = number_format.several(n, "condensation")
        lines.append(f"left out: {what} done again since by other code; --old-code shows them")
    if leaderboard.stale_evaluations:
        n = leaderboard.stale_evaluations
        lines.append(f"left out: {n} evaluations of sets that have changed since")
    lines += [f"not read: {path}: {why}" for path, why in leaderboard.records.unreadable]
    return lines
