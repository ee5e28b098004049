"""The run folder: its layout, and how records are written and read.

::

    manifests/<host>-<start>.json      versions, commit, device, command, registry as resolved,
                                       the plan with its datasets' classes and counts
    condensations/<id>/result.json     one record; beside it synthetic.safetensors,
                                       initial.safetensors, curve.csv, log.txt,
                                       snapshots/<step>.safetensors, checkpoint/
    evaluations/<id>.json              one record
    claims/<id>                        locked by the process that works on the job

A record is one JSON object with ``schema``, ``kind`` ("condensation" or "evaluation"), ``id``,
``status`` ("done", "failed" or "skipped") and the fields that `runner` and `evaluate` write.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ddbench.store.atomic_files import write_json
from ddbench.store.records import (
    DONE,
    CondensationRecord,
    EvaluationRecord,
    Manifest,
    NewerSchemaError,
    made,
    read,
)

RESULT, SET, INITIAL = "result.json", "synthetic.safetensors", "initial.safetensors"
CURVE = "curve.csv"


class RunError(Exception):
    """A folder that is not a run, or cannot be one; the message says what to do."""

    exit_code = 2  # of a command that ends so


class UnopenedError(ValueError):
    """A file that cannot be opened now; it may be complete and readable later."""


@dataclass(frozen=True)
class RunFolder:
    """The paths in a run folder."""

    root: Path

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.root.resolve().name

    def condensation(self, id: str) -> Path:
        """Return the folder of a condensation."""
        return self.root / "condensations" / id

    def result(self, id: str) -> Path:
        """Return the file of a condensation's record."""
        return self.condensation(id) / RESULT

    def set_file(self, id: str, snapshot: int | None = None) -> Path:
        """Return the file of a synthetic set: the final one, or that after `snapshot` steps."""
        folder = self.condensation(id)
        if snapshot is None:
            return folder / SET
        return folder / "snapshots" / f"{snapshot}.safetensors"

    def checkpoint(self, id: str) -> Path:
        """Return the file that a condensation resumes from."""
        return self.condensation(id) / "checkpoint" / "state.safetensors"

    def evaluation(self, id: str) -> Path:
        """Return the file of an evaluation's record."""
        return self.root / "evaluations" / f"{id}.json"

    def results(self) -> list[tuple[str, str]]:
        """Return the ids of condensations and the files of their records, in order.

        Strings, because a `Path` for each of many files takes longer than reading them.
        """
        place = os.fspath(self.root / "condensations")
        found = [(id, os.path.join(place, id, RESULT)) for id in _names_in(place)]
        return [(id, path) for id, path in found if os.path.lexists(path)]

    def evaluations(self) -> list[tuple[str, str]]:
        """Return the ids of evaluations and the files of their records, likewise."""
        place = os.fspath(self.root / "evaluations")
        names = [name for name in _names_in(place) if name.endswith(".json")]
        return [(name.removesuffix(".json"), os.path.join(place, name)) for name in names]

    def claims(self) -> frozenset[str]:
        """Return the ids of jobs that have a lock file, held by a process or not."""
        return frozenset(_names_in(os.fspath(self.root / "claims")))

    def log(self, id: str, of_condensation: bool) -> Path:
        """Return the file that holds what a job printed."""
        if of_condensation:
            return self.condensation(id) / "log.txt"
        return self.root / "logs" / f"{id}.txt"

    def show_command(self, id: str) -> str:
        """Return the command that explains what became of a job."""
        return shlex.join(["ddbench", "show", str(self.root), id])

    def claim(self, id: str) -> Path:
        """Return the lock file of a job."""
        return self.root / "claims" / id

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: It cannot be written, or is something else than a run.
        """
        if self.root.exists() and not self.root.is_dir():
            raise RunError(f"--out {self.root}: is a file; name a folder")
        if self.root.is_dir() and any(self.root.iterdir()) and not self.is_run():
            raise RunError(
                f"--out {self.root}: is not empty and not a run folder; name a new folder"
            )
        try:
            for part in ("manifests", "condensations", "evaluations", "claims"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root / "claims"):
                pass
        except OSError as error:
            raise RunError(
                f"{self.root}: cannot be written ({error.strerror}); name another folder"
            ) from error

    def ids(self) -> tuple[set[str], set[str]]:
        """Return the ids of condensations and of evaluations that have left something here."""
        sets, evaluations = self.root / "condensations", self.root / "evaluations"
        return {path.name for path in sets.glob("*")}, {
            path.stem for path in evaluations.glob("*.json")
        }

    def is_run(self) -> bool:
        """Return whether the folder looks like a run; its manifests may have been removed."""
        others = ("manifests", "evaluations")
        return (self.root / "condensations").is_dir() and any(
            (self.root / name).is_dir() for name in others
        )

    def check_there(self) -> None:
        """Check that the folder still exists while a run works in it.

        If a mount is lost or the folder is moved, writing would create a second run in its place.

        Raises:
            OSError: It is no run any more.
        """
        if not self.is_run():
            words = "the run folder has gone (was it moved, or its mount lost?)"
            raise FileNotFoundError(errno.ENOENT, words, str(self.root))

    def check_of_presence(self) -> Callable[[], None]:
        """Return `check_there` if the folder is a run now, else a check that passes."""
        return self.check_there if self.is_run() else lambda: None


def _names_in(place: str) -> list[str]:
    """Return the names in a folder in order; none where there is no folder."""
    try:
        return sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []


def open_run(path: Path | str) -> RunFolder:
    """Return the run folder at `path`.

    Raises:
        RunError: There is none.
    """
    folder = RunFolder(Path(path))
    if not folder.root.exists():
        raise RunError(f"{path}: no such folder; name one that `ddbench run` wrote (runs/<name>)")
    if not folder.is_run():
        raise RunError(f"{path}: is not a run folder; name one that `ddbench run` wrote")
    return folder


@dataclass
class Records:
    """All records of a run folder, and the files that could not be read.

    Attributes:
        condensations: Records by id.
        evaluations: Records by id.
        manifests: In order of their start.
        unreadable: (file, reason) of torn, foreign or newer files.
        newer: Those of them that a later ddbench wrote.
        unopened: Those of them that the system did not give out, for a reason that may pass.
    """

    condensations: dict[str, CondensationRecord] = field(default_factory=dict)
    evaluations: dict[str, EvaluationRecord] = field(default_factory=dict)
    manifests: list[Manifest] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    newer: list[Path] = field(default_factory=list)
    unopened: list[Path] = field(default_factory=list)

    def note(self, path: Path, error: ValueError) -> None:
        """List a file that could not be read."""
        self.unreadable.append((path, str(error)))
        self.newer += [path] if isinstance(error, NewerSchemaError) else []
        self.unopened += [path] if isinstance(error, UnopenedError) else []


def read_run(folder: RunFolder) -> Records:
    """Read every record of a run; torn, foreign and newer files are listed, never fatal."""
    records = Records()
    kinds: dict[str, tuple[Iterable[tuple[str, str]], dict[str, Any]]] = {
        "condensation": (folder.results(), records.condensations),
        "evaluation": (folder.evaluations(), records.evaluations),
    }
    for kind, (paths, into) in kinds.items():
        for id, path in paths:
            try:
                into[id] = _record(path, kind, id)
            except ValueError as error:
                records.note(Path(path), error)
    for file in sorted((folder.root / "manifests").glob("*.json")):
        try:
            records.manifests.append(read(_content(file), "manifest"))
        except ValueError as error:
            records.note(file, error)
    records.manifests.sort(key=lambda manifest: manifest.started)
    return records


def read_record(path: Path, kind: str) -> Any:  # noqa: ANN401  (of the kind that was asked for)
    """Return one record: a `CondensationRecord` or an `EvaluationRecord`.

    Raises:
        NewerSchemaError: A later ddbench wrote it.
        ValueError: The file is torn, foreign, or of another kind; says which.
    """
    home = path.parent.name if kind == "condensation" else path.stem
    return _record(os.fspath(path), kind, home)


def _record(path: str, kind: str, id: str) -> Any:  # noqa: ANN401  (of the kind asked for)
    record = read(_content(path), kind)
    if record.id != id:
        raise ValueError(f"holds the record of {record.id}; was it copied here?")
    return record


def _content(path: str | Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        kind = ValueError if isinstance(error, IsADirectoryError) else UnopenedError
        raise kind(f"cannot be read ({error.strerror})") from error


def refuse_newer(folder: RunFolder, action: str) -> None:
    """Check that a run folder holds nothing of a later ddbench that `action` might replace.

    Raises:
        RunError: It has; names the files.
    """
    newer = read_run(folder).newer
    if newer:
        shown = [str(path) for path in newer[:10]]
        more = [f"and {len(newer) - 10} more"] if len(newer) > 10 else []
        raise RunError(
            "\n  ".join(
                [
                    f"{folder.root}: cannot {action}: a later ddbench wrote these results, which "
                    "this one neither reads nor replaces; upgrade ddbench, or name another folder:",
                    *shown,
                    *more,
                ]
            )
        )


def finished(path: Path, kind: str) -> Any:  # noqa: ANN401  (of the kind that was asked for)
    """Return the record at `path` if it can be read, else None."""
    try:
        return read_record(path, kind)
    except ValueError:
        return None


def stands(folder: RunFolder, id: str) -> bool:
    """Return whether a condensation is done and its set exists.

    It may be done again, for snapshots that were not asked for then; but failing to do so must not
    replace it.
    """
    record = finished(folder.result(id), "condensation")
    return record is not None and record.status == DONE and folder.set_file(id).exists()


def hash_of_set(folder: RunFolder, id: str | None, snapshot: int | None = None) -> str | None:
    """Return the hash of a condensation's final set as its record has it, None if it has none."""
    if id is None or snapshot is not None:
        return None
    record = finished(folder.result(id), "condensation")
    return None if record is None else record.set_sha256


def write_record(path: Path, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record of some values, whole or not at all; return it as it will be read.

    Raises:
        ValueError: The values could not be read again; says where.
    """
    record = made(kind, values).record()
    write_json(path, record)
    return record


def torn_files(folder: RunFolder, id: str) -> list[tuple[Path, str]]:
    """Return the sets and the curve of a condensation that are torn: (file, reason).

    Of sets the header alone is read: it tells how long the file must be.
    """
    home = folder.condensation(id)
    sets = [home / SET, home / INITIAL, *sorted((home / "snapshots").glob("*.safetensors"))]
    checks = [*((path, _check_set) for path in sets), (home / CURVE, _check_curve)]
    torn = []
    for path, check in checks:
        try:
            check(path)
        except FileNotFoundError:
            continue  # one that was never written, or is not needed
        except OSError as error:
            torn.append((path, f"cannot be read ({error.strerror or error})"))
        except (ValueError, csv.Error, SafetensorError) as error:
            torn.append((path, f"torn, or another program's ({error})"))
    return torn


def _check_set(path: Path) -> None:
    with safe_open(str(path), framework="numpy") as file:
        lacking = {"images", "labels"} - {*file.keys()}
    if lacking:
        raise ValueError(f"no {' and no '.join(sorted(lacking))}")


def _check_curve(path: Path) -> None:
    text = path.read_bytes().decode()
    if not text.endswith("\n"):
        raise ValueError("its last line is not whole")
    if len({len(row) for row in csv.reader(io.StringIO(text, newline=""))}) != 1:
        raise ValueError("its lines differ in length")
