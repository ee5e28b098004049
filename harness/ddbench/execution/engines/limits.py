"""Limits of a worker: time, memory, and the length of its log."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

LEAST = 2**30  # bytes that a job may hold however little is free: a process with torch and data
SHARE = 0.9  # of what is free that all jobs together may take
LOG = 2**20  # bytes kept of a job's log: the first half, and the last
CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def free_memory() -> int:
    """Return the bytes that new processes can have: of the machine, or of the container."""
    free = psutil.virtual_memory().available
    for group in _groups():
        for limit, used in (("memory.max", "memory.current"), _OLD_NAMES):
            with suppress(OSError, ValueError):
                allowed = int((group / limit).read_text())
                held = int((group / used).read_text()) - _given_back_on_demand(group)
                free = min(free, max(0, allowed - held))
    return free


_OLD_NAMES = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _groups() -> Iterator[Path]:
    """Go through the control groups that this process lies in, from its own up."""
    with suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds in ("", "memory"):
                root = CGROUP / kinds
                own = root / path.lstrip("/")
                yield from (own, *(above for above in own.parents if above.is_relative_to(root)))


def _given_back_on_demand(group: Path) -> int:
    """Return the bytes of a control group that hold pages of files, which no process needs."""
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith(("inactive_file ", "total_inactive_file ")):
                return int(line.split()[1])
    return 0


def memory_of_a_job(jobs: int) -> int:
    """Return the bytes that each of `jobs` at once may hold by default."""
    return max(LEAST, int(SHARE * free_memory()) // jobs)


def memory_held(pid: int, shared_once: bool = False) -> int:
    """Return the bytes that a process and its children hold, 0 if it has just ended.

    What they share counts for each of them, or (which takes longer to find out) once.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    held = 0
    for member in family:
        with suppress(psutil.Error, AttributeError):  # no system but Linux knows the share
            held += member.memory_full_info().pss if shared_once else member.memory_info().rss
    return held


def exceeds(pid: int, limit: int) -> int:
    """Return the bytes that a process and its children hold if they are more than allowed, else 0.

    Forked children share most of their memory with their parent; it counts once.
    """
    if memory_held(pid) <= limit:
        return 0
    held = memory_held(pid, shared_once=True) or memory_held(pid)
    return held if held > limit else 0


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
