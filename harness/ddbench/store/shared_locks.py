"""Whether the locks of a run folder keep the processes of several hosts apart.

A file system may have no locks at all, locks that hold on one host alone (NFS mounted with
`local_lock`, Lustre with `localflock`), or locks that reach every host. The first two are told from
the file itself and from how it is mounted. Beyond that, each run leaves a file that it keeps locked
and touches while it lives: a host that sees such a file being touched and not locked knows that
the locks of the other do not reach it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddbench.store.atomic_files import claimed, is_claimed, try_lock
from ddbench.store.run_folder import RunError, RunFolder

MOUNTS = Path("/proc/self/mounts")
TOUCH_S = 2.0  # between two signs of life
PATIENCE_S = 7.0  # in which a living run must have given one
WAY_OUT = (
    "give each machine a run folder of its own (--out) and bring them together with `ddbench merge`"
)
_TRY = (
    "import fcntl, sys\n"
    "try: fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "except BlockingIOError: sys.exit(3)\n"
)


def refuse_without_locks(folder: RunFolder) -> None:
    """See that the file system of a run folder has locks, and that they are not one host's alone.

    Raises:
        RunError: It has none, or its mount says that they are; says what to do.
    """
    path = folder.root / "claims" / f".probe-{socket.gethostname()}-{os.getpid()}"
    try:
        with open(path, "w") as file:
            try:
                held = try_lock(file.fileno())
            except OSError as error:
                why = error.strerror
                raise RunError(f"{folder.root}: has no locks ({why}); {WAY_OUT}") from error
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _TRY, str(path)],
                check=False,
                capture_output=True,
            )
            if not held or done.returncode != 3:
                raise RunError(
                    f"{folder.root}: a lock there does not keep another process out; {WAY_OUT}"
                )
    finally:
        with suppress(OSError):
            path.unlink()
    if how := _local_alone(folder.root.resolve()):
        raise RunError(f"{folder.root}: its locks hold on one host alone ({how}); {WAY_OUT}")


def _local_alone(place: Path) -> str:
    """Return how a file system is mounted whose locks other hosts do not see, else ""."""
    best: tuple[str, str, list[str]] = ("", "", [])
    with suppress(OSError):
        for line in MOUNTS.read_text().splitlines():
            parts = line.split()
            if len(parts) < 4:
                continue
            at = parts[1].replace("\\040", " ")
            if place.is_relative_to(at) and len(at) >= len(best[0]):
                best = (at, parts[2], parts[3].split(","))
    at, kind, options = best
    if kind.startswith("nfs"):
        wrong = [one for one in options if one in ("nolock", "local_lock=all", "local_lock=flock")]
    elif kind == "lustre":
        wrong = [one for one in options if one in ("localflock", "noflock")]
    else:
        wrong = []
    return f"{kind} on {at}, mounted with {wrong[0]}" if wrong else ""


@contextmanager
def seen_by_others(folder: RunFolder) -> Iterator[None]:
    """Show other hosts for the block that this run lives, and see that their locks reach here.

    Raises:
        RunError: Those of another host do not.
    """
    place = folder.root / "hosts"
    mine = place / f"{socket.gethostname()}-{os.getpid()}"
    ended = threading.Event()
    with claimed(mine):
        beating = threading.Thread(target=_live, args=(mine, ended), daemon=True)
        beating.start()
        try:
            _check_others(place, mine, folder)
            yield
        finally:
            ended.set()
            beating.join()
    with suppress(OSError):  # another run is there
        place.rmdir()


def _live(path: Path, ended: threading.Event) -> None:
    while not ended.wait(TOUCH_S):
        with suppress(OSError):
            os.utime(path)


def _check_others(place: Path, mine: Path, folder: RunFolder) -> None:
    """See that no other run gives signs of life and seems to hold no lock."""
    host = f"{socket.gethostname()}-"
    others = [path for path in place.iterdir() if path != mine and not is_claimed(path)]
    for path in others:
        if path.name.startswith(host):  # of a run that was killed here, where locks do reach
            with suppress(OSError):
                path.unlink()
    doubtful = {path: _touched(path) for path in others if not path.name.startswith(host)}
    fresh = {path: at for path, at in doubtful.items() if _touched(mine) - at < PATIENCE_S}
    until = time.monotonic() + PATIENCE_S
    while fresh and time.monotonic() < until:
        time.sleep(0.1)
        for path, at in list(fresh.items()):
            now = _touched(path)
            if now > at and not is_claimed(path):
                raise RunError(
                    f"{folder.root}: the locks of {path.name} do not reach this host, so that both "
                    f"would do the same jobs; {WAY_OUT}"
                )
            if not now or is_claimed(path):
                del fresh[path]
    for path in doubtful:  # of runs that were killed
        if path in fresh or _touched(mine) - doubtful[path] >= PATIENCE_S:
            with suppress(OSError):
                path.unlink()


def _touched(path: Path) -> float:
    """Return when a file was touched by the clock of its file system, 0 if it has gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
