"""The terminal: tables on stdout, progress on stderr, plain data where --json asks for it."""

from __future__ import annotations

from ddbench.reporting.terminal.jobs import show_failed, show_job, show_last
from ddbench.reporting.terminal.plans import print_plan
from ddbench.reporting.terminal.progress import Progress, at_work
from ddbench.reporting.terminal.rankings import print_leaderboard
from ddbench.reporting.terminal.references import print_references
from ddbench.reporting.terminal.sets import show_set
from ddbench.reporting.terminal.tables import print_json, print_rows, print_table
from ddbench.reporting.terminal.verdicts import print_verdicts

__all__ = [
    "Progress",
    "at_work",
    "print_json",
    "print_leaderboard",
    "print_plan",
    "print_references",
    "print_rows",
    "print_table",
    "print_verdicts",
    "show_failed",
    "show_job",
    "show_last",
    "show_set",
]
