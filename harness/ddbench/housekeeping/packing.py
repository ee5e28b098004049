"""A run folder as one file, checkpoints and all, and back."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from ddbench.files import HALF
from ddbench.housekeeping.status import running
from ddbench.results import RunError, RunFolder

LEFT_OUT = ("claims",)  # who works on what is of no use elsewhere
PARTS = ("manifests", "condensations", "evaluations")  # one of which makes an archive a run


def pack(folder: RunFolder, target: Path) -> Path:
    """Write a run folder to one .tar.gz file, whole or not at all; return its path.

    What links to a file is packed as that file.

    Raises:
        RunError: A run is at work in it, it holds nothing or a link to a folder, or the file exists
            or cannot be written.
    """
    if running(folder):
        raise RunError(f"{folder.root}: a run is at work in it; stop it first")
    if target.exists():
        raise RunError(f"{target}: exists already; name another file")
    files = _to_pack(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, half = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=HALF, dir=target.parent
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write_archive(file, folder, files)
            os.replace(half, target)
        finally:
            Path(half).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{target}: cannot be written ({error.strerror or error}); name another file with --to"
        ) from error
    return target


def _to_pack(folder: RunFolder) -> list[Path]:
    """Return the files of a run, relative to its folder."""
    found = []
    for path in sorted(folder.root.rglob("*")):
        inside = path.relative_to(folder.root)
        if inside.parts[0] in LEFT_OUT or path.suffix == HALF:
            continue
        if path.is_symlink() and path.is_dir():
            raise RunError(f"{path}: links to a folder; put the folder itself there, and pack then")
        if path.is_file():
            found.append(inside)
    if not any(inside.parts[0] in PARTS for inside in found):
        raise RunError(f"{folder.root}: holds nothing to pack yet")
    return found


def _write_archive(file: IO[bytes], folder: RunFolder, files: Iterable[Path]) -> None:
    with tarfile.open(fileobj=file, mode="w:gz", dereference=True) as tar:
        for inside in files:
            name = f"{folder.name}/{inside.as_posix()}"
            tar.add(folder.root / inside, arcname=name, recursive=False)


def unpack(file: Path, target: Path | None = None) -> RunFolder:
    """Restore a packed run folder; return it.

    Files and folders alone are taken, and only below `target` (by default a folder of the run's
    name beside nothing else of that name).

    Raises:
        RunError: The file is torn or no packed run, or the folder exists.
    """
    try:
        with tarfile.open(file, "r:gz") as tar:
            members = tar.getmembers()
            name = _name_of(file, members)
            folder = RunFolder(target or Path(name))
            if folder.root.exists():
                raise RunError(f"{folder.root}: exists already; name another with --to, or merge")
            folder.root.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".unpack.", dir=folder.root.parent))
            try:
                tar.extractall(beside, filter="data")
                restored = RunFolder(beside / name)
                for part in PARTS:  # no archive holds an empty folder
                    (restored.root / part).mkdir(exist_ok=True)
                restored.create()
                os.replace(restored.root, folder.root)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RunError(f"{file}: cannot be unpacked ({error}); pack it again") from error
    return folder


def _name_of(file: Path, members: list[tarfile.TarInfo]) -> str:
    """Return the one folder that all members lie in.

    Raises:
        RunError: They do not look like a packed run.
    """
    names = [PurePosixPath(member.name).parts for member in members]
    tops = {parts[:1] for parts in names}
    plain = all(member.isfile() for member in members)
    inside = all(
        not member.name.startswith("/") and ".." not in PurePosixPath(member.name).parts
        for member in members
    )
    whole = any(parts[1:2] == (part,) for parts in names for part in PARTS)
    if len(tops) != 1 or not plain or not inside or not whole:
        raise RunError(f"{file}: is no packed run; name a file that `ddbench pack` wrote")
    return names[0][0]
