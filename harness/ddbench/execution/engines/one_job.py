"""One job in the process that does it: claim, run, record; for every engine."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import Method, MethodError
from ddbench.execution.engines.job_queue import Job, record_of
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import (
    Control,
    Guard,
    failure,
    provenance,
    run_condensation,
    run_evaluation,
)
from ddbench.store.atomic_files import claimed
from ddbench.store.records import Condensation
from ddbench.store.run_folder import write_record

LoadMethod = Callable[[str], Method]


def do(
    job: Job, setting: JobContext, load: LoadMethod, extensions: Extensions, control: Control
) -> dict[str, Any] | None:
    """Do one job under its claim; return its record, or None if another process has claimed it.

    A job that another process has ended meanwhile is not done again.

    Raises:
        Stopped: The engine asked for it.
        OSError: The run folder has gone, or cannot be written.
        ChangedError: The method's code or the data are not what the job was planned for.
    """
    setting.run.check_there()
    who = f"process {os.getpid()} on {socket.gethostname()}"
    with claimed(setting.run.claim(job.id), who) as free:
        if not free:
            return None
        if standing := record_of(job, setting.run):
            return standing.record()
        return _do(job, setting, load, extensions, control)


def _do(
    job: Job, setting: JobContext, load: LoadMethod, extensions: Extensions, control: Control
) -> dict[str, Any]:
    if not isinstance(job, Condensation):
        return run_evaluation(job, setting, extensions, control)
    try:
        with Guard():  # what a module does to the process when it is imported is undone
            method = load(job.method)
    except (MethodError, SystemExit) as error:
        record = {**job.record(), **provenance(setting), **failure(error)}
        write_record(setting.run.result(job.id), "condensation", record)
        return record
    return run_condensation(job, setting, method, extensions, control)


def limited(report: Callable[[Mapping[str, Any]], None], every: float = 0.2) -> Any:  # noqa: ANN401
    """Return `report` for steps, called at most once in `every` seconds."""
    last = 0.0

    def now_and_then(event: Mapping[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            report(event)

    return now_and_then
