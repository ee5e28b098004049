"""Two runs beside each other in the terminal."""

from __future__ import annotations

from ddbench.reporting.changes import NUMBERS, Comparison
from ddbench.reporting.terminal.tables import print_table, stdout


def print_changes(found: Comparison) -> None:
    """Print one table for each ranking, and the answer below."""
    out = stdout()
    out.print(f"A: {found.before}", soft_wrap=True)
    out.print(f"B: {found.after}", soft_wrap=True)
    out.print()
    for table in found.tables:
        print_table(
            table.rows,
            title=table.title,
            captions=table.notes,
            right=NUMBERS,
            droppable=["95% interval", "time"],
        )
        out.print()
    for line in found.notes:
        out.print(line, style="dim")
    out.print(found.verdict)
