"""Import the modules that the processes of a fork server need, once for all of them.

The server must outlive the signals that end a run: batch systems send SIGTERM and SIGUSR1 to every
process, and its end would be that of the workers, before they have saved. It runs no operation
and touches no GPU.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
from multiprocessing import forkserver

from ddbench.processes.child_process import SIGNALS


def preload(*modules: str) -> None:
    """Import `modules`, in a process that may be a fork server.

    The collector of garbage is off meanwhile, which saves a tenth of the time. Afterwards it leaves
    out what is loaded, so that a worker does not copy the pages of all these objects.
    """
    outlive_signals()
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
    if getattr(sys.modules["__main__"], "main", None) is forkserver.main:
        # The end of an interpreter with torch in it takes more than a second; workers wait for it.
        atexit.register(os._exit, 0)


def outlive_signals() -> None:
    """Ignore what the runner alone is to hear."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
