"""A run folder as one file, checkpoints and all, and back."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from ddbench.files import HALF
from ddbench.housekeeping.status import running
from ddbench.results import RunError, RunFolder

LEFT_OUT = ("claims",)  # who works on what is of no use elsewhere


def pack(folder: RunFolder, target: Path) -> Path:
    """Write a run folder to one .tar.gz file, whole or not at all; return its path.

    Raises:
        RunError: A run is at work in it, or the file exists.
    """
    if running(folder):
        raise RunError(f"{folder.root}: a run is at work in it; stop it first")
    if target.exists():
        raise RunError(f"{target}: exists already; name another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}.", suffix=HALF, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
            for path in sorted(folder.root.rglob("*")):
                inside = path.relative_to(folder.root)
                if path.is_file() and inside.parts[0] not in LEFT_OUT and path.suffix != HALF:
                    tar.add(path, arcname=f"{folder.name}/{inside.as_posix()}", recursive=False)
        os.replace(beside, target)
    finally:
        Path(beside).unlink(missing_ok=True)
    return target


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
    tops = {PurePosixPath(member.name).parts[0] for member in members if member.name}
    parts = {PurePosixPath(member.name).parts[1:2] for member in members}
    plain = all(member.isfile() for member in members)
    inside = all(
        not member.name.startswith("/") and ".." not in PurePosixPath(member.name).parts
        for member in members
    )
    if len(tops) != 1 or not plain or not inside or ("manifests",) not in parts:
        raise RunError(f"{file}: is no packed run; name a file that `ddbench pack` wrote")
    return tops.pop()
