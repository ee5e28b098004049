"""What a forked worker process does. The fork server imports this module, and so torch, once."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # without it every job pays two seconds at its first optimizer

from ddbench.engines.jobs import job_from
from ddbench.engines.outcome import unwritten
from ddbench.engines.worker import do, limited
from ddbench.extensions import Extensions
from ddbench.methods import Found, load
from ddbench.results import RunFolder
from ddbench.runner import Control, Stopped
from ddbench.setting import Setting

PR_SET_PDEATHSIG = 1


def main(
    pipe: Connection,
    record: Mapping[str, Any],
    setting: Setting,
    found: Mapping[str, Any] | None,
    gpu: str | None,
) -> None:
    """Do one job and say so through `pipe`; end at once when the other end is gone."""
    _on_our_own()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # heard, since CUDA has not been touched yet
    job = job_from(record)
    told_to_stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, told_to_stop), daemon=True).start()
    torch.set_num_threads(setting.threads)
    sending = threading.Lock()

    def send(event: Mapping[str, Any]) -> None:
        with sending:
            try:
                pipe.send(event)
            except OSError:
                os._exit(1)  # the runner is gone; that must not look like the plugin's failure

    def method(name: str) -> Any:  # noqa: ANN401
        assert found is not None  # noqa: S101  (a condensation comes with its method)
        return load(Found(**found))

    report = limited(lambda event: send({"event": "step", **event}))
    control = Control(told_to_stop.is_set, report)
    extensions = Extensions()
    try:
        setting.run.check_there()
        _log_to(log_path(setting.run, record))
        extensions = Extensions.installed(setting.observers, setting.folder, setting.silenced)
        done = do(job, setting, method, extensions, control)
    except Stopped:
        send({"event": "stopped"})
    except OSError as error:
        send({"event": "end", "record": unwritten(job, setting.run, error)})
    else:
        send({"event": "claimed"} if done is None else {"event": "end", "record": done})
    send({"event": "switched off", "reasons": extensions.failures})
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # a plugin's threads and exit handlers are no reason to linger


def _on_our_own() -> None:
    """Form a group that can be killed as a whole, and leave signals to the runner.

    Ctrl-C and a batch system's signals reach every process; the runner says what they mean. The
    handlers are functions, not SIG_IGN, so that programs that a plugin starts have their own.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    with suppress(OSError):
        os.setpgid(0, 0)
    _die_with_parent()


def _listen(pipe: Connection, told_to_stop: threading.Event) -> None:
    """Hear the runner; its death closes the pipe, and then nobody wants the result."""
    with suppress(EOFError, OSError):
        while pipe.recv() == "stop":
            told_to_stop.set()
    os._exit(1)


def _die_with_parent() -> None:
    """Ask the kernel to end this process with the fork server, which ends with the runner."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def log_path(run: RunFolder, record: Mapping[str, Any]) -> Path:
    """Return where the output of a job goes."""
    if "method" in record:
        return run.condensation(record["id"]) / "log.txt"
    return run.root / "logs" / f"{record['id']}.txt"


def _log_to(path: Path) -> None:
    """Send what the job prints, in Python or below, to its log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        if isinstance(stream, io.TextIOWrapper):  # names of files may have no UTF-8
            stream.reconfigure(errors="backslashreplace")
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
