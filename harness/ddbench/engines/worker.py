"""One job in the process that does it: claim, run, record; for every engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ddbench.engines.jobs import Job, record_of
from ddbench.extensions import Extensions
from ddbench.files import try_lock
from ddbench.methods import Method, MethodError
from ddbench.plan import Condensation
from ddbench.results import write_record
from ddbench.runner import Control, failure, provenance, run_condensation, run_evaluation
from ddbench.setting import Setting

LoadMethod = Callable[[str], Method]


def do(
    job: Job, setting: Setting, load: LoadMethod, extensions: Extensions, control: Control
) -> dict[str, Any] | None:
    """Do one job under its claim; return its record, or None if another process has claimed it.

    A job that another process has ended meanwhile is not done again.
    """
    path = setting.run.claim(job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as claim:
        if not try_lock(claim.fileno()):
            return None
        record = record_of(job, setting.run)
        if record is None:
            record = _do(job, setting, load, extensions, control)
        with suppress(FileNotFoundError):
            path.unlink()
        return record


def _do(
    job: Job, setting: Setting, load: LoadMethod, extensions: Extensions, control: Control
) -> dict[str, Any]:
    if not isinstance(job, Condensation):
        return run_evaluation(job, setting, extensions, control)
    try:
        method = load(job.method)
    except MethodError as error:
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
