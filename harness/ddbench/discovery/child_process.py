"""What a child process owes to the process that started it."""

from __future__ import annotations

import ctypes
import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # that can end a run
PR_SET_PDEATHSIG = 1


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
