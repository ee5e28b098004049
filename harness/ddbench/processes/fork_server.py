"""Start processes from a fork server, and set up their environment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, util
from typing import TYPE_CHECKING, Any, Literal

from ddbench.processes.child_process import SAFE_PATH
from ddbench.processes.start_errors import StartError
from ddbench.text import streams

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess, SpawnProcess

# glibc keeps freed memory instead of giving it back at each step: 1.15 to 1.48 times faster here.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**24),
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SOCKET_PATH = 107  # bytes that the name of a Unix socket may have
SOCKET_NAME = len("/pymp-12345678/listener-12345678")
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  (a folder of our own is made there)


def start_method(system: str = sys.platform) -> Literal["forkserver", "spawn"]:
    """Return how multiprocessing starts jobs: forked, or afresh where a fork is unsafe.

    It is on macOS, once Apple's libraries are loaded.
    """
    return "spawn" if system == "darwin" else "forkserver"


@dataclass(frozen=True)
class ForkServer:
    """The process that other processes are forked from; where a fork is unsafe, there is none.

    A program has one at a time. It starts with the first process, and ends with the program.

    Attributes:
        preload: The module that it imports, before any process is forked.
        threads: CPU threads of each process.
    """

    preload: str
    threads: int = 1

    def start(self, target: Callable[..., None], *arguments: Any) -> Any:  # noqa: ANN401
        """Return a started process (of multiprocessing) that calls `target` with `arguments`.

        Raises:
            StartError: The system refuses it.
        """
        streams.open_closed()  # the process has what is open here
        # Any: typeshed's BaseContext has no Process
        context: Any = multiprocessing.get_context(start_method())
        let_server_import(self.preload)
        process = context.Process(target=target, args=arguments)
        faults: list[Exception] = []
        try:
            with surroundings(self.threads):
                try_to_start(process, faults)
        except BaseException:  # a signal, while the server loads torch
            end_server()
            raise
        if faults:
            raise StartError.of(faults[0])
        return process


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


def let_server_import(module: str) -> None:
    """Let the fork server import `module`; a server of ours that has imported another one ends.

    Jobs that were forked from a server without their code would import it themselves, each anew.
    """
    server: Any = forkserver._forkserver
    imported = server._preload_modules
    if imported != [module] and str(imported[0]).startswith("ddbench."):
        end_server()
        server._stop()  # waits for the end, so that the next process starts another
    multiprocessing.set_forkserver_preload([module])


def try_to_start(process: ForkServerProcess | SpawnProcess, faults: list[Exception]) -> None:
    """Start a process; what the system refuses goes into `faults`.

    A fork server that was up may end at this moment. Then another server is started.
    """
    server: Any = forkserver._forkserver
    was_up = server._forkserver_pid is not None
    try:
        with no_main_module():
            try:
                process.start()
            except (ConnectionError, EOFError):
                if not was_up:
                    raise
                server._stop()  # waits for its end
                process.start()
    except (OSError, EOFError) as error:
        faults.append(error)


def end_server() -> None:
    """End the fork server at once: while it loads torch it would hold the terminal for seconds."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
