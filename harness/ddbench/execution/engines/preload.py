"""What the fork server loads once: torch, `torch._dynamo`, and the worker's code.

The server must outlive the signals that end a run: batch systems send SIGTERM and SIGUSR1 to every
process, and its end would be that of the workers, before they have saved. It runs no operation
and touches no GPU.
"""

import atexit
import os
import signal
import sys
from multiprocessing import forkserver

import ddbench.execution.engines.worker_process
from ddbench.discovery.child_process import SIGNALS


def outlive_signals() -> None:
    """Ignore what the runner alone is to hear."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


outlive_signals()
if getattr(sys.modules["__main__"], "main", None) is forkserver.main:
    # The end of an interpreter with torch in it takes more than a second; workers wait for it.
    atexit.register(os._exit, 0)

__all__ = ["ddbench", "outlive_signals"]
