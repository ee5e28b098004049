"""What a forked worker process does. The fork server imports this module, and so torch, once."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # without it every job pays two seconds at its first optimizer

from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import ChangedError
from ddbench.discovery.methods import Method, MethodEntry, load
from ddbench.execution.engines import worker_channel
from ddbench.execution.engines.crash_records import dead, unwritten
from ddbench.execution.engines.job_queue import Job, job_from
from ddbench.execution.engines.one_job import do, limited
from ddbench.execution.engines.reaper import kill_group
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import Control, Stopped, failure
from ddbench.processes.child_process import be_a_program, leave_signals_to_parent
from ddbench.store.records import Condensation

OOM_SCORE = Path("/proc/self/oom_score_adj")


def main(
    pipe: Connection,
    record: Mapping[str, Any],
    setting: JobContext,
    found: Mapping[str, Any] | None,
    gpu: str | None,
) -> None:
    """Do one job and say so through `pipe`; end at once when the other end is gone."""
    _set_apart()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # heard, since CUDA has not been touched yet
    torch.set_num_threads(setting.threads)
    told_to_stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, told_to_stop), daemon=True).start()
    sending = threading.Lock()

    def send(event: Mapping[str, Any]) -> None:
        with sending:
            try:
                worker_channel.send(pipe, event)
            except OSError:
                _end()  # the runner is gone; that must not look like the plugin's failure

    report = limited(lambda event: send({"event": "step", **event}))
    for event in _done(job_from(record), setting, found, Control(told_to_stop.is_set, report)):
        send(event)
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # a plugin's threads and exit handlers are no reason to linger


def _set_apart() -> None:
    """Make the process a program of its own: what it starts and what it eats is its own."""
    leave_signals_to_parent()
    with suppress(OSError):
        os.setpgid(0, 0)  # a group that can be killed as a whole
    with suppress(OSError):  # where memory runs out, the system is to take a job, not the run
        OOM_SCORE.write_text("800")
    be_a_program()


def _done(
    job: Job, setting: JobContext, found: Mapping[str, Any] | None, control: Control
) -> Iterator[dict[str, Any]]:
    """Do a job; go through what to tell: how it ended, and which extensions have raised."""

    def method(name: str) -> Method:
        assert found is not None  # noqa: S101  (a condensation comes with its method)
        return load(MethodEntry(**found))

    extensions = Extensions()
    try:
        setting.run.check_there()
        _log_to(setting.run.log(job.id, isinstance(job, Condensation)))
        extensions = Extensions.installed(
            setting.observers, setting.folder, setting.silenced, setting.plugins
        )
        done = do(job, setting, method, extensions, control)
    except Stopped:
        yield {"event": "stopped"}
    except (OSError, ChangedError) as error:
        yield {"event": "end", "record": unwritten(job, setting.run, error)}
    except BaseException as error:  # no Ctrl-C reaches this process: a plugin's code has raised it
        fields = failure(error)
        record = dead(job, setting.run, fields["reason"], fields["traceback"])
        yield {"event": "end", "record": record}
    else:
        yield {"event": "claimed"} if done is None else {"event": "end", "record": done}
    yield {"event": "switched off", "reasons": extensions.failures}


def _listen(pipe: Connection, told_to_stop: threading.Event) -> None:
    """Hear the runner; its death closes the pipe, and the result is no longer needed."""
    with suppress(EOFError, OSError, ValueError):
        while worker_channel.receive(pipe)["event"] == "stop":
            told_to_stop.set()
    _end()


def _end() -> None:
    """End at once, with the programs that the job has started."""
    if os.getpgrp() == os.getpid():
        kill_group(os.getpid())
    os._exit(1)


def _log_to(path: Path) -> None:
    """Send what the job prints, in Python or below, to its log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may have no UTF-8
            stream.flush()
            stream.reconfigure(errors="backslashreplace")
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
