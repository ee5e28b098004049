"""Reporters: the formats that a run's results are written in, ddbench's own among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ddbench.contract.hookspecs import Reporter, hookimpl
from ddbench.discovery.extensions import Extensions
from ddbench.reporting.leaderboard import Leaderboard
from ddbench.reporting.markdown import PICTURES, provenance
from ddbench.store.atomic_files import write_whole
from ddbench.store.run_folder import RunError
from ddbench.text.lines import named
from ddbench.text.suggestions import unknown_at

USUAL = ("md", "html", "csv")  # what a run writes when it ends
KINDS = (".png", ".svg")  # of pictures
REPORT = "report"  # the stem of the files in a run folder


class ReporterError(RunError):
    """A reporter that is not there, or that failed; the text says which and why."""


@dataclass
class Report:
    """A run's results on their way into a file: the `RunResults` that a reporter gets.

    Attributes:
        leaderboard: Of the run.
        title: The run's name, or that of the file.
        pictures: The folder of the pictures, relative to the file.
        command: That writes the same file again; "" for the file in the run folder.
        files: Pictures so far, by name.
    """

    leaderboard: Leaderboard
    title: str
    pictures: str = PICTURES
    command: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.leaderboard.folder.root

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Every row of every ranking, as plain values."""
        return self.leaderboard.rows

    @cached_property
    def networks(self) -> Sequence[Mapping[str, Any]]:
        """Every network that counts, as plain values."""
        return [row for row in self.leaderboard.networks if row["current"]]

    @property
    def troubles(self) -> Sequence[Mapping[str, Any]]:
        """Every job that failed or was skipped, as plain values."""
        return [vars(trouble) for trouble in self.leaderboard.troubles]


class BuiltIn:
    """The formats of ddbench itself, through the same door as anyone else's."""

    @hookimpl
    def register_reporters(self) -> Mapping[str, Reporter]:
        """Return the built-in formats."""
        from ddbench.reporting import formats, html, markdown

        reporters = (markdown.REPORTER, html.REPORTER, *formats.REPORTERS)
        return {one.name: one for one in reporters}


OURS = {"ddbench reports": BuiltIn()}


class Reporters:
    """All formats by name; installed extensions are imported where a name asks for them alone."""

    def __init__(self, files: Iterable[Path] = ()) -> None:
        """Take the built-in formats, and those of `files`: Python files that are extensions."""
        self.files = tuple(files)
        self.found = Extensions(OURS).reporters
        if self.files:
            self._find_others()

    def named(self, name: str) -> Reporter:
        """Return a format by its name.

        Raises:
            ReporterError: There is none of this name; names the nearest, and all that there are.
        """
        if name not in self.found and not self.files:
            self._find_others()
        if name not in self.found:
            raise ReporterError(unknown_at("--format", name, self.found))
        return self.found[name]

    def of_file(self, path: Path) -> Reporter:
        """Return the format that the ending of a file stands for.

        Raises:
            ReporterError: It stands for none.
        """
        if path.suffix not in self.endings and not self.files:
            self._find_others()
        for one in self.found.values():
            if one.ending and one.ending == path.suffix:
                return one
        endings = ", ".join(self.endings)
        raise ReporterError(
            f"--to {path}: its ending stands for no format; end it in one of {endings}, or add "
            "--format"
        )

    @property
    def endings(self) -> list[str]:
        """The endings of files that stand for a format."""
        return [one.ending for one in self.found.values() if one.ending]

    def _find_others(self) -> None:
        installed = Extensions.installed(files=self.files, built_in=OURS)
        self.found = installed.reporters


def write_report(
    leaderboard: Leaderboard,
    reporter: Reporter,
    target: Path | None = None,
    options: Sequence[str] = (),
) -> Path:
    """Write the results of a run in one format; return the path of the file.

    Args:
        leaderboard: Of the run.
        reporter: The format.
        target: The file; `report` with the format's ending in the run folder by default. Pictures
            stand in a folder beside it, of its name (`report_files` in the run folder).
        options: Of the command that writes `target` again, beside the run folder and `--to`.

    Raises:
        ReporterError: The reporter failed.
        RunError: The file cannot be written, or is no file of this format.
        OSError: The run folder has gone.
    """
    folder = leaderboard.folder
    if target is None:
        folder.check_there()
        path, place = folder.root / f"{REPORT}{reporter.ending}", "the run folder"
        report = Report(leaderboard, folder.name)
    else:
        path, place = target, f"--to {target}"
        _check_target(target, reporter)
        command = provenance.export_command(folder, target, options)
        report = Report(leaderboard, target.stem, target.stem, command=command)
    pictures = path.parent / report.pictures
    content = _content(report, reporter)
    if target is not None and report.files:
        _check_pictures(pictures, place)
    try:
        _write(path, content, pictures, report.files)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"{place}: {path} cannot be written ({reason}); name another") from error
    return path


def _content(report: Report, reporter: Reporter) -> bytes:
    try:
        content = reporter.write(report)
        # Half a surrogate pair (a file name in a plugin's message) has no UTF-8.
        return content.encode(errors="backslashreplace") if isinstance(content, str) else content
    except OSError:
        raise
    except (Exception, SystemExit) as error:  # a reporter may be someone else's code
        raise ReporterError(f"--format {reporter.name}: failed: {named(error)}") from error


def _check_target(target: Path, reporter: Reporter) -> None:
    if target.is_dir() or (reporter.ending and target.suffix != reporter.ending):
        example = f"reports/quick{reporter.ending}"
        raise RunError(
            f"--to {target}: is no file of the format {reporter.name}; name one, such as {example}"
        )


def _check_pictures(pictures: Path, place: str) -> None:
    if pictures.is_dir() and any(path.suffix not in KINDS for path in pictures.iterdir()):
        raise RunError(f"{place}: {pictures} holds other files than pictures; name another")


def _write(path: Path, content: bytes, pictures: Path, files: Mapping[str, bytes]) -> None:
    """Write pictures, then the file that refers to them; those that it referred to before go."""
    before = path.read_bytes() if path.is_file() and pictures.is_dir() else b""
    for name, picture in files.items():
        write_whole(pictures / name, picture)
    write_whole(path, content)
    for old in sorted(pictures.iterdir()) if before else ():
        address = quote(os.fsencode(f"{pictures.name}/{old.name}")).encode()
        if old.name not in files and address in before:
            old.unlink()
