"""Set up a child process: its signals, and what its own child processes find."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from multiprocessing import resource_tracker

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # that can end a run
PR_SET_PDEATHSIG = 1
# The working folder is on the path of `python -c`, and may hold a random.py of the user's. A child
# takes the variable away again: programs of a plugin have the path that they would have anyhow.
SAFE_PATH = {"PYTHONSAFEPATH": "ddbench"}


def leave_signals_to_parent() -> None:
    """Let the parent process say what signals mean, and end with it, however it ends (Linux).

    Ctrl-C and a batch system's signals reach every process. The handlers are functions, not
    SIG_IGN, so that programs that a plugin starts have their own.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def be_a_program() -> None:
    """Give the plugin what multiprocessing gives a program: data loaders fork, and leave no trace.

    Else they would look for the plugin's classes by name in a new process, and the resource
    tracker of the run would report on its terminal what they have leaked.
    """
    for name, value in SAFE_PATH.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    if sys.platform != "darwin":  # where a fork is unsafe once Apple's libraries are loaded
        multiprocessing.set_start_method("fork", force=True)
    resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._pid = None  # type: ignore[attr-defined]
