"""The report: a run folder's leaderboard as markdown with pictures, made from results alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from ddbench.files import write_whole
from ddbench.leaderboard import load
from ddbench.report.document import Document, write_document
from ddbench.results import RunError, RunFolder

__all__ = ["export", "write_report"]

FILE, PICTURES = "report.md", "report_files"


def write_report(folder: RunFolder) -> Path:
    """Write `report.md` and its pictures into the run folder; return its path."""
    return _write(folder, folder.root / FILE, PICTURES)


def export(folder: RunFolder, target: Path) -> Path:
    """Write the report to `target`, its pictures into a folder of the same name beside it.

    Raises:
        RunError: `target` is a folder, or cannot be written.
    """
    if target.is_dir() or target.suffix != ".md":
        raise RunError(f"--to {target}: is no markdown file; name one, such as reports/quick.md")
    return _write(folder, target, target.stem)


def _write(folder: RunFolder, target: Path, pictures: str) -> Path:
    document = Document(title=folder.name, pictures=Path(pictures))
    write_document(load(folder), document)
    place = target.parent / pictures
    try:
        if place.is_dir():
            shutil.rmtree(place)
        for name, content in document.files.items():
            write_whole(place / name, content)
        write_whole(target, document.text().encode())
    except OSError as error:
        raise RunError(f"{target}: cannot be written ({error.strerror}); name another") from error
    return target
