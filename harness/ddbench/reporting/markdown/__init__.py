"""The report: a run folder's leaderboard as markdown with pictures, made from results alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddbench.contract.hookspecs import Reporter
from ddbench.reporting.leaderboard import Board, Leaderboard, grouped
from ddbench.reporting.markdown import (
    fairness,
    first_screen,
    galleries,
    plots,
    provenance,
    rankings,
)
from ddbench.reporting.markdown.document import Document
from ddbench.reporting.markdown.forecasts import forecast_section
from ddbench.reporting.markdown.published import published_section
from ddbench.reporting.markdown.statistics import statistics_section

if TYPE_CHECKING:
    from ddbench.reporting.reporters import Report

__all__ = ["PICTURES", "REPORTER", "make_report", "write_end", "write_results"]

PICTURES = "report_files"  # the folder of the pictures in a run folder


def _written(report: Report) -> str:
    document = Document(report.title, report.pictures, files=report.files)
    return make_report(report.leaderboard, document, report.command).text()


REPORTER = Reporter("md", _written, ".md", "markdown, its pictures in a folder beside it")


def make_report(leaderboard: Leaderboard, document: Document, export_command: str = "") -> Document:
    """Write all sections into `document`; return it."""
    write_results(leaderboard, document)
    write_end(leaderboard, document, export_command)
    return document


def write_results(leaderboard: Leaderboard, document: Document) -> None:
    """Write the title, and the sections of each dataset, ipc and protocol."""
    document.heading(1, f"Leaderboard: {document.title}")
    provenance.overview(document, leaderboard)
    if not leaderboard.boards:
        document.add("No evaluation has ended yet, so there is nothing to rank.")
    for boards in grouped(leaderboard.boards):
        document.part(_about(boards[0]), lambda d, boards=boards: _group(d, leaderboard, boards))  # type: ignore[misc]


def write_end(leaderboard: Leaderboard, document: Document, export_command: str = "") -> None:
    """Write what failed, and what is to be known of the run."""
    provenance.trouble_section(document, leaderboard)
    document.heading(2, "About this run")
    document.fold("Whole training sets", lambda d: provenance.reference_section(d, leaderboard))
    document.fold("How it was measured", lambda d: provenance.measuring_section(d, leaderboard))
    document.fold(
        "Environment: hardware, versions, commands",
        lambda d: provenance.environment_section(d, leaderboard, export_command),
    )
    document.fold("Predicted and actual times", lambda d: forecast_section(d, leaderboard))
    document.fold("Methods and papers", lambda d: provenance.method_section(d, leaderboard))


def _about(board: Board) -> dict[str, str]:
    """Return what a reader may choose a group of boards by."""
    return {
        "dataset": board.dataset_name,
        "ipc": str(board.ipc),
        "protocol": board.protocol_name,
    }


def _group(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    first_screen.write(document, leaderboard, boards)
    _details(document, leaderboard, boards)


def _details(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write what there is beside the first screen, each part folded away."""
    for board in boards:
        document.part(
            {"architecture": board.architecture},
            lambda d, board=board: d.fold(  # type: ignore[misc]
                f"Ranking on {board.architecture}",
                lambda inner: rankings.ranking_section(inner, board),
            ),
        )
    if len(boards) > 1:
        document.fold("Across architectures", lambda d: rankings.across_section(d, boards))
    document.fold(
        "Trained by the sets' own recipes",
        lambda d: rankings.own_recipe_section(d, boards),
    )
    statistics_section(document, boards)
    fairness.fair_section(document, leaderboard, boards)
    fairness.equal_cost_section(document, leaderboard, boards)
    published_section(document, boards)
    document.fold(
        "Settings that differ from the published ones",
        lambda d: rankings.settings_section(d, boards[0]),
    )
    parts = {
        "What condensing cost": rankings.cost_section,
        "Accuracy on the way": plots.anytime_section,
        "All sets": galleries.gallery_section,
        "What methods logged": plots.curve_section,
        "What methods measured": rankings.measure_section,
    }
    for summary, write in parts.items():
        document.fold(summary, lambda d, write=write: write(d, leaderboard, boards))  # type: ignore[misc]
