"""What the fork server loads once: torch, `torch._dynamo`, and the worker's code.

The server must outlive the signals that end a run: batch systems send SIGTERM and SIGUSR1 to every
process, and its end would be that of the workers, before they have saved. It runs no operation
and touches no GPU.
"""

import atexit
import gc
import importlib
import os
import signal
import sys
from multiprocessing import forkserver

from ddbench.discovery.child_process import SIGNALS

WORKER = "ddbench.execution.engines.worker_process"


def outlive_signals() -> None:
    """Ignore what the runner alone is to hear."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def load() -> None:
    """Import the worker's code, once for all.

    The collector of garbage is off for so long, a tenth of the time; what is loaded is then out of
    its sight, so that a worker does not copy the pages of all these objects by looking at them.
    """
    gc.disable()
    importlib.import_module(WORKER)
    gc.freeze()
    gc.enable()


outlive_signals()
load()
if getattr(sys.modules["__main__"], "main", None) is forkserver.main:
    # The end of an interpreter with torch in it takes more than a second; workers wait for it.
    atexit.register(os._exit, 0)
