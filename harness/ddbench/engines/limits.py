"""Limits of a worker: time, memory, and the length of its log."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

SHARE = 0.9  # of what is free that all jobs together may take
LOG = 2**20  # bytes kept of a job's log: the first half, and the last
CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes that new processes can have: of the machine, or of the container."""
    free = psutil.virtual_memory().available
    for limit, used in (("memory.max", "memory.current"), _OLD_CGROUP):
        with suppress(OSError, ValueError):
            allowed = int((CGROUP / limit).read_text())
            free = min(free, max(0, allowed - int((CGROUP / used).read_text())))
    return free


_OLD_CGROUP = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")


def memory_of_a_job(jobs: int) -> int:
    """Return the bytes that each of `jobs` at once may hold by default."""
    return int(SHARE * free_memory()) // jobs


def memory_held(pid: int) -> int:
    """Return the bytes that a process and its children hold, 0 if it has just ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    held = 0
    for member in family:
        with suppress(psutil.Error):
            held += member.memory_info().rss
    return held


def kill_family(pid: int) -> None:
    """Kill a worker and what it has started: they are one process group."""
    with suppress(OSError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def kill_orphans(pid: int) -> None:
    """Kill what an ended worker has left behind."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def relieve_log(path: Path, most: int = LOG) -> None:
    """Give the disk back what is in the middle of a log that is still being written.

    Its length stays, so that nothing its writer appends meanwhile is lost.
    """
    with suppress(OSError):
        size = path.stat().st_size
        if size > 8 * most and path.stat().st_blocks * 512 > 8 * most:
            with open(path, "r+b") as file:
                if not _punch_hole(file.fileno(), most, size - 2 * most):
                    shorten_log(path, most)


def _punch_hole(descriptor: int, start: int, length: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "fallocate"):
        return False
    keep_size_and_punch = 0x01 | 0x02
    where = (ctypes.c_longlong(start), ctypes.c_longlong(length))
    return bool(libc.fallocate(descriptor, keep_size_and_punch, *where) == 0)


def shorten_log(path: Path, most: int = LOG) -> None:
    """Cut the middle out of a log that has grown beyond twice `most`, once its writer has ended."""
    with suppress(OSError):
        if path.stat().st_size <= 2 * most:
            return
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size - most // 2)
            tail = file.read(most // 2)
            file.seek(most // 2)
            file.write(f"\n[... {(size - most) / 1e6:.1f} MB cut out ...]\n".encode() + tail)
            file.truncate()
