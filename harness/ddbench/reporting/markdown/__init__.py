"""The report: a run folder's leaderboard as markdown with pictures, made from results alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddbench.reporting.leaderboard import Board, Leaderboard, grouped, load
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
from ddbench.reporting.markdown.redrawing import marks_in
from ddbench.reporting.markdown.statistics import statistics_section
from ddbench.store.atomic_files import write_whole
from ddbench.store.run_folder import RunError, RunFolder

__all__ = ["PICTURES", "export", "make_report", "write_end", "write_report", "write_results"]

FILE, PICTURES = "report.md", "report_files"


def write_report(folder: RunFolder, *, old_code: bool = False) -> Path:
    """Write `report.md` and its pictures into the run folder; return its path.

    With `old_code`, what has been done again since by other code has rows of its own.

    Raises:
        RunError: The folder cannot be written.
        OSError: It has gone.
    """
    folder.check_there()
    leaderboard = load(folder, old_code=old_code)
    earlier = marks_in(folder.root / PICTURES)
    document = make_report(leaderboard, Document(folder.name, PICTURES, earlier=earlier))
    return _write(document, folder.root / FILE, "the run folder")


def export(folder: RunFolder, target: Path, *, old_code: bool = False) -> Path:
    """Write the report to `target`, its pictures into a folder of the same name beside it.

    Raises:
        RunError: `target` is no markdown file, or cannot be written.
    """
    if target.is_dir() or target.suffix != ".md":
        raise RunError(f"--to {target}: is no markdown file; name one, such as reports/quick.md")
    place = target.parent / target.stem
    if place.is_dir() and any(path.suffix != ".png" for path in place.iterdir()):
        raise RunError(f"--to {target}: {place} holds other files than pictures; name another")
    command = provenance.export_command(folder, target, old_code=old_code)
    leaderboard = load(folder, old_code=old_code)
    document = Document(target.stem, target.stem, earlier=marks_in(place))
    make_report(leaderboard, document, command)
    return _write(document, target, f"--to {target}")


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
    document.fold("Foretold and actual times", lambda d: forecast_section(d, leaderboard))
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


def _write(document: Document, target: Path, place: str) -> Path:
    """Write pictures, then the text that refers to them; pictures of an earlier report go."""
    pictures = target.parent / document.pictures
    try:
        for name, content in document.files.items():
            write_whole(pictures / name, content)
        # Half a surrogate pair (a file name in a plugin's message) has no UTF-8.
        write_whole(target, document.text().encode(errors="backslashreplace"))
        for old in pictures.glob("*.png") if pictures.is_dir() else ():
            if old.name not in document.files:
                old.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"{place}: {target} cannot be written ({reason}); name another") from error
    return target
