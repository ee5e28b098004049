"""Ends what workers leave behind: after each of them, and all of it when the runner is killed.

Run as a program, it outlives the runner by a moment: it is told of each worker's process group on
its standard input, and when that closes it kills those that are left. A worker could not do so
itself in a call that holds the interpreter's lock, nor when the system kills it first. The program
imports nothing of ddbench.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress


class Reaper:
    """The program, as the runner holds it."""

    def __init__(self) -> None:
        """Start it, out of reach of signals to the runner's group."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def watch(self, pid: int) -> None:
        """Kill the group of this worker when the runner ends without releasing it."""
        self._tell(f"+{pid}")

    def release(self, pid: int) -> None:
        """Forget a worker that has ended, and kill what it has left."""
        kill_group(pid)
        self._tell(f"-{pid}")

    def close(self) -> None:
        """End the program; what it still watches is killed."""
        with suppress(OSError):
            self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  (it is a pipe)
        with suppress(OSError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()


def kill_family(pid: int) -> None:
    """Kill a worker and what it has started: they are one process group."""
    kill_group(pid)
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)  # it has no group of its own yet


def kill_group(pid: int) -> None:
    """Kill what is left of a worker's process group."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Remember the groups that are named, and kill them at the end of the input."""
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    for pid in groups:
        kill_family(pid)


if __name__ == "__main__":
    main()
