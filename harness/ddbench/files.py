"""Files that appear whole or not at all, and locks that a dead process gives up."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the whole new one.

    Raises:
        OSError: The folder cannot be written or the disk is full; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def write_json(path: Path, record: Any) -> None:  # noqa: ANN401
    """Write `record` as indented JSON, whole or not at all; NaN is refused."""
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, text.encode() + b"\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def locked(
    path: Path, waiting: Callable[[], None] = lambda: None, poll: float = 0.05
) -> Iterator[None]:
    """Hold the lock file `path` for the block; call `waiting` at each poll while another has it.

    The lock is the kernel's (flock): it ends with the process, however that dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        while not try_lock(file.fileno()):
            waiting()
            time.sleep(poll)
        yield


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file without waiting; say whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
