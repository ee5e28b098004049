"""A run folder as one file, checkpoints and all, and back."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from ddbench.store.atomic_files import HALF, appearing_whole
from ddbench.store.housekeeping.status import running
from ddbench.store.run_folder import RunError, RunFolder

LIST = "packed.json"  # in an archive: the sha256 of each file, by its path in the run folder
LEFT_OUT = ("claims", LIST)  # who works on what is of no use elsewhere
PARTS = ("manifests", "condensations", "evaluations")  # one of which makes an archive a run


def pack(folder: RunFolder, target: Path) -> Path:
    """Write a run folder to one .tar.gz file, whole or not at all; return its path.

    What links to a file is packed as that file.

    Raises:
        RunError: A run is at work in it, it holds nothing or a link to a folder, or the file
            exists, lies in it or cannot be written.
    """
    if running(folder):
        raise RunError(f"{folder.root}: a run is at work in it; stop it first")
    if target.exists():
        raise RunError(f"{target}: exists already; name another file")
    if target.resolve().is_relative_to(folder.root.resolve()):
        raise RunError(f"{target}: lies in the run that is to be packed; name a file outside of it")
    files = _to_pack(folder)
    try:
        with appearing_whole(target) as file:
            _write_archive(file, folder, files)
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
        if inside.parts[0] in LEFT_OUT or any(part.endswith(HALF) for part in inside.parts):
            continue
        if path.is_symlink() and path.is_dir():
            raise RunError(f"{path}: links to a folder; put the folder itself there, and pack then")
        if path.is_file():
            found.append(inside)
    if not any(inside.parts[0] in PARTS for inside in found):
        raise RunError(f"{folder.root}: holds nothing to pack yet")
    return found


def _write_archive(file: IO[bytes], folder: RunFolder, files: Iterable[Path]) -> None:
    """Write the files, and at the end the list of what was written."""
    hashes = {}
    with tarfile.open(fileobj=file, mode="w:gz", dereference=True) as tar:
        for inside in files:
            with open(folder.root / inside, "rb") as content:
                name = f"{folder.name}/{inside.as_posix()}"
                info, hashed = tar.gettarinfo(arcname=name, fileobj=content), _Hashed(content)
                tar.addfile(info, hashed)  # type: ignore[arg-type]  # only `read` is asked of it
            hashes[inside.as_posix()] = hashed.sha256.hexdigest()
        text = json.dumps(hashes, indent=1).encode()
        info = tarfile.TarInfo(f"{folder.name}/{LIST}")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))


class _Hashed:
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def read(self, length: int) -> bytes:
        part = self.file.read(length)
        self.sha256.update(part)
        return part


def unpack(file: Path, target: Path | None = None) -> RunFolder:
    """Restore a packed run folder; return it.

    Files and folders alone are taken, and only below `target` (by default a folder of the run's
    name beside nothing else of that name). Nothing appears there before every file has been
    compared with the archive's list.

    Raises:
        RunError: The file is torn, altered or no packed run, or the folder exists or cannot be
            written.
    """
    try:
        _read_to_the_end(file)
        with tarfile.open(file, "r:gz") as tar:
            members = tar.getmembers()
            name = _name_of(file, members)
            folder = RunFolder(target or Path(name))
            if folder.root.exists():
                raise RunError(f"{folder.root}: exists already; name another with --to, or merge")
            _extract(tar, file, name, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise RunError(
            f"{file}: cannot be unpacked ({error}): it is torn or altered; copy it here again, or "
            "pack the run again"
        ) from error
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror or error})") from error
    return folder


def _read_to_the_end(file: Path) -> None:
    """See that the archive is as it was written: its checksum stands at the end of the stream.

    Reading the tar alone would take a damaged header for the end.
    """
    with gzip.open(file) as stream:
        while stream.read(2**20):
            pass


def _extract(tar: tarfile.TarFile, file: Path, name: str, folder: RunFolder) -> None:
    """Write the files beside the folder's place, compare them with the list, and rename."""
    try:
        folder.root.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".unpack.", dir=folder.root.parent))
        try:
            tar.extractall(beside, filter="data")
            restored = RunFolder(beside / name)
            _compare(file, restored.root)
            for part in PARTS:  # no archive holds an empty folder
                (restored.root / part).mkdir(exist_ok=True)
            restored.create()
            os.replace(restored.root, folder.root)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"{folder.root}: cannot be written ({error.strerror or error}); make room there, or "
            "name another place with --to"
        ) from error


def _compare(file: Path, restored: Path) -> None:
    """See that what came out of an archive is what its list says, and remove the list.

    Archives of earlier versions have none; of them the checksum of the stream must do.

    Raises:
        RunError: A file is missing, altered, or not in the list.
    """
    path = restored / LIST
    if not path.exists():
        return
    try:
        listed = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        listed = None
    path.unlink()
    if not isinstance(listed, Mapping):
        raise RunError(f"{file}: its list of files cannot be read; pack the run again")
    found = {
        inside.relative_to(restored).as_posix(): _sha256(inside)
        for inside in restored.rglob("*")
        if inside.is_file()
    }
    differing = sorted(
        inside for inside in {*listed, *found} if listed.get(inside) != found.get(inside)
    )
    if differing:
        shown = ", ".join(differing[:5]) + (", ..." if len(differing) > 5 else "")
        raise RunError(
            f"{file}: {len(differing)} of its files are missing or altered ({shown}); copy it here "
            "again, or pack the run again"
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
