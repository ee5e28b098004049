"""The fork server: how processes of jobs are started, and what they find around them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, util
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess, SpawnProcess

# glibc keeps freed memory instead of giving it back at each step: 1.15 to 1.48 times faster here.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**24),
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The working folder is on the path of `python -c`, and may hold a random.py of the user's. A worker
# takes the variable away again: programs of a plugin have the path that they would have anyhow.
SAFE_PATH = {"PYTHONSAFEPATH": "ddbench"}
SOCKET_PATH = 107  # bytes that the name of a Unix socket may have
SOCKET_NAME = len("/pymp-12345678/listener-12345678")
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  (a folder of our own is made there)


def start_method(system: str = sys.platform) -> Literal["forkserver", "spawn"]:
    """Return how multiprocessing starts jobs: forked, or afresh where a fork is unsafe.

    It is on macOS, once Apple's libraries are loaded.
    """
    return "spawn" if system == "darwin" else "forkserver"


@contextmanager
def surroundings(threads: int) -> Iterator[None]:
    """Give the processes that are started inside the block what they need around them."""
    fixed = dict.fromkeys(THREADS, str(threads))
    if not os.environ.get("PYTHONSAFEPATH"):
        fixed |= SAFE_PATH
    with _environment(ALLOCATOR, fixed):
        _have_short_folder()
        yield


@contextmanager
def _environment(defaults: Mapping[str, str], fixed: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside the block."""
    values = {**defaults, **os.environ, **fixed}
    before = {name: os.environ.get(name) for name in (*defaults, *fixed)}
    os.environ.update({name: values[name] for name in before})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _have_short_folder() -> None:
    """See that the sockets of the fork server lie in a folder whose name is not too long for them.

    multiprocessing puts them where temporary files go, in a folder that it makes at first use.
    """
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) + SOCKET_NAME <= SOCKET_PATH:
        return
    usable = [path for path in SHORT_FOLDERS if os.access(path, os.W_OK | os.X_OK)]
    tempfile.tempdir = usable[0] if usable else place
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = place


@contextmanager
def no_main_module() -> Iterator[None]:
    """Keep the new process from importing the program's main file: a job needs nothing of it.

    Nor of the working folder, which is on the path where Python was started without a file.
    """
    main, path = sys.modules["__main__"], sys.path
    sys.modules["__main__"], sys.path = types.ModuleType("__main__"), [p for p in path if p]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.path = main, path


def ready() -> None:
    """Import what a job needs, in a process that shows that the fork server is up."""
    import ddbench.execution.engines.worker_process  # noqa: F401


def try_to_start(process: ForkServerProcess | SpawnProcess, faults: list[Exception]) -> None:
    """Start a process; what the system refuses goes into `faults`."""
    try:
        with no_main_module():
            process.start()
    except (OSError, EOFError) as error:
        faults.append(error)


def end_server() -> None:
    """End a fork server that is still loading torch: it would hold the terminal for seconds."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
