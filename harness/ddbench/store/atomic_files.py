"""Write files atomically, and lock files until the process ends."""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

DEEPEST = 50  # levels of nesting in a file: what reads, hashes or prints it goes down by itself
DIGITS = 100  # of a whole number in a file: a table can show it, and a float hold it
LARGEST = 10**DIGITS
HALF = ".half"  # how the name of a file ends that is still being written, or was when killed


def umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


UMASK = umask()  # taken once: nobody else runs yet, and a plugin may change it later


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the whole new one.

    Raises:
        OSError: The folder cannot be written or the disk is full; names `path`, so that disks can
            be told apart. The old file stays.
    """
    try:
        with appearing_whole(path) as file:
            file.write(content)
    except OSError as error:  # of a full disk the system names no file, else the half-written one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def appearing_whole(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which takes its name at the end of the block, or never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=HALF, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~UMASK)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    _sync_folder(path.parent)


def half_written(folder: Path) -> list[Path]:
    """Return what lies below `folder` whose writer died before it was whole."""
    return sorted(folder.rglob(f".*{HALF}"))


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, record: Any) -> None:  # noqa: ANN401
    """Write `record` as indented JSON, whole or not at all.

    Raises:
        ValueError: It holds what could not be read again; says where.
    """
    check_plain(record)
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    # Half a surrogate pair (a file name, a plugin's message) has no UTF-8; JSON can escape it.
    write_whole(path, text.encode(errors="backslashreplace") + b"\n")


def _is_plain(value: object, depth: int) -> bool:
    """Say whether all of a value is plain beyond doubt; `check_plain` says of others why not."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    if kind is int:
        return -LARGEST < value < LARGEST
    if depth >= DEEPEST:
        return False
    if kind is list or kind is tuple:
        return all(_is_plain(inner, depth + 1) for inner in value)  # type: ignore[attr-defined]
    return kind is dict and all(
        type(key) is str and _is_plain(inner, depth + 1)
        for key, inner in value.items()  # type: ignore[attr-defined]
    )


def check_plain(value: object, place: str = "", depth: int = 0) -> None:
    """Check that `value`, `depth` levels deep in a JSON file, can be written and read again.

    Raises:
        ValueError: It cannot; names the place, the value and the remedy.
    """
    if _is_plain(value, depth):
        return
    if depth >= DEEPEST:
        raise ValueError(f"{place[:80]}...: nested deeper than {DEEPEST} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str | int | float | None):
                raise ValueError(f"{place or 'a record'} has the key {key!r}; use strings")
            check_plain(inner, f"{place}.{key}" if place else str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            check_plain(inner, f"{place}[{i}]", depth + 1)
    elif isinstance(value, int):
        if abs(value) >= LARGEST:
            digits = int(math.log10(abs(value))) + 1
            raise ValueError(f"{place} is a number of {digits} digits; at most {DIGITS}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}; expected a finite number")
    elif not isinstance(value, str | None):
        raise ValueError(
            f"{place} is {type(value).__name__}; use finite numbers, strings, lists and dicts"
        )


@contextmanager
def locked(
    path: Path, waiting: Callable[[], None] = lambda: None, poll: float = 0.05
) -> Iterator[None]:
    """Hold the lock file `path` for the block; call `waiting` at each poll while another has it.

    The lock is the kernel's (flock): it ends with the process, however that dies. A file that
    somebody has removed meanwhile locks nobody else out: another one is opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a") as file, _not_inherited(file.fileno()):
            while not try_lock(file.fileno()):
                waiting()
                time.sleep(poll)
            if _still_there(path, file.fileno()):
                yield
                return


_ours: set[int] = set()  # descriptors of lock files


@contextmanager
def _not_inherited(descriptor: int) -> Iterator[None]:
    """Keep forked children from holding the lock of a file after this process has ended."""
    _ours.add(descriptor)
    try:
        yield
    finally:
        _ours.discard(descriptor)


def _let_go() -> None:
    """Put something harmless in the place of lock files, so that their numbers stay taken."""
    if _ours:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in _ours:
            os.dup2(nothing, descriptor)
        os.close(nothing)


os.register_at_fork(after_in_child=_let_go)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file without waiting; say whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def claimed(path: Path, note: str = "") -> Iterator[bool]:
    """Hold the lock file `path` for the block if it is free, and remove it afterwards.

    `note` is for those who ask who holds it. Gives whether it was free; nothing is held if not.
    The file is this process's alone: one that its holder removed between our opening and our
    locking it is opened again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a") as file, _not_inherited(file.fileno()):
            if not try_lock(file.fileno()):
                yield False
                return
            if not _still_there(path, file.fileno()):
                continue
            try:
                with suppress(OSError):  # on a full disk it is held all the same
                    file.truncate(0)
                    file.write(note)
                    file.flush()
                yield True
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def is_claimed(path: Path) -> bool:
    """Say whether a live process holds the claim at `path`."""
    try:
        with open(path, "r+") as file:  # over NFS only what is open for writing can be locked
            return not try_lock(file.fileno())
    except (OSError, ValueError):  # none there; or a foreign plan's id that no file can have
        return False


def claim_note(path: Path) -> str:
    """Return what the holder of a claim has written into it, "" if it cannot be read."""
    try:
        return path.read_text(errors="replace")[:200]
    except OSError:
        return ""


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
