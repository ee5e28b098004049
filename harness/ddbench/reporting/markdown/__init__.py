"""The report: a run folder's leaderboard as markdown with pictures, made from results alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ddbench.reporting.leaderboard import Board, Leaderboard, grouped, load
from ddbench.reporting.markdown import galleries, plots, provenance, rankings
from ddbench.reporting.markdown.document import Document
from ddbench.reporting.markdown.published import published_section
from ddbench.reporting.markdown.redrawing import marks_in
from ddbench.reporting.markdown.statistics import statistics_section
from ddbench.reporting.markdown.summary import headline, summary
from ddbench.store.atomic_files import write_whole
from ddbench.store.run_folder import RunError, RunFolder

__all__ = ["export", "make_report", "write_report"]

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
    names = [provenance.shown_path(folder.root), "--to", provenance.shown_path(target)]
    command = shlex.join(["ddbench", "report", *names, *(["--old-code"] if old_code else [])])
    leaderboard = load(folder, old_code=old_code)
    document = Document(target.stem, target.stem, earlier=marks_in(place))
    make_report(leaderboard, document, command)
    return _write(document, target, f"--to {target}")


def make_report(leaderboard: Leaderboard, document: Document, export_command: str = "") -> Document:
    """Write all sections into `document`; return it."""
    document.heading(1, f"Leaderboard: {document.title}")
    for paragraph in summary(leaderboard):
        document.add(paragraph)
    for boards in grouped(leaderboard.boards):
        _group(document, leaderboard, boards)
    provenance.reference_section(document, leaderboard)
    provenance.trouble_section(document, leaderboard)
    provenance.measuring_section(document, leaderboard)
    provenance.provenance_section(document, leaderboard, export_command)
    provenance.method_section(document, leaderboard)
    return document


def _group(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write all there is about one dataset, ipc and protocol."""
    document.heading(2, headline(boards))
    rankings.ranking_section(document, boards)
    statistics_section(document, boards)
    published_section(document, boards)
    rankings.cost_section(document, leaderboard, boards)
    plots.cost_plot_section(document, boards)
    plots.anytime_section(document, leaderboard, boards)
    galleries.gallery_section(document, leaderboard, boards)
    plots.curve_section(document, leaderboard, boards)
    rankings.measure_section(document, leaderboard, boards)


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
