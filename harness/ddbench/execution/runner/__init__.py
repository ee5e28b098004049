"""The runner: one job -> one record. It owns the loop, the clock, checkpoints and failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddbench.contract.hookspecs import Unsupported
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import ChangedError
from ddbench.discovery.methods import Method
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner.callbacks import Control, Stopped
from ddbench.execution.runner.checkpoint import remove_checkpoint
from ddbench.execution.runner.condensing import Condensing
from ddbench.execution.runner.evaluating import evaluate_set
from ddbench.execution.runner.failures import failure, in_words, refusal
from ddbench.execution.runner.guard import Guard, MisbehavedError
from ddbench.execution.runner.provenance import provenance
from ddbench.store.records import DONE, Condensation, Evaluation
from ddbench.store.run_folder import hash_of_set, stands, write_record

__all__ = [
    "Control",
    "Guard",
    "MisbehavedError",
    "Stopped",
    "failure",
    "in_words",
    "provenance",
    "run_condensation",
    "run_evaluation",
]


def run_condensation(
    job: Condensation, setting: JobContext, method: Method, extensions: Extensions, control: Control
) -> dict[str, Any]:
    """Condense, write set, curve and record into the run folder; return the record.

    Whatever the method does wrong becomes a failed record, with its traceback; `Unsupported`
    becomes a skipped one. Neither replaces a finished condensation that was to be done again.

    Raises:
        Stopped: The engine asked for it; a checkpoint is there to go on from.
        OSError: The record cannot be written, or the run folder has gone.
        ChangedError: The data are not what the job was planned for.
    """
    check_folder = setting.run.check_of_presence()
    record = {**job.record(), "started": _now(), **provenance(setting)}
    record["kept_state"] = setting.keep_state
    extensions.notify("job_started", job=job.record())
    with Guard() as guard:
        work = Condensing(job, setting, method, extensions, control, guard)
        outcome = _outcome(work.run, job.method)
    check_folder()
    if outcome["status"] != DONE and stands(setting.run, job.id):
        record |= {**outcome, "ended": _now()}
    else:
        record = _written(setting.run.result(job.id), "condensation", record, outcome)
    if record["status"] == DONE and not setting.keep_state:
        # Only now: until the record is there, the checkpoint is all that a kill would leave.
        remove_checkpoint(setting.run.checkpoint(job.id))
    extensions.notify("job_finished", job=job.record(), result=record)
    return record


def run_evaluation(
    job: Evaluation, setting: JobContext, extensions: Extensions, control: Control
) -> dict[str, Any]:
    """Evaluate a set that is in the run folder; write and return the record.

    Raises:
        Stopped: The engine asked for it.
        OSError: The record cannot be written, or the run folder has gone.
        ChangedError: The data are not what the job was planned for.
    """
    check_folder = setting.run.check_of_presence()
    record = {**job.record(), "started": _now(), **provenance(setting)}
    # Of the set that it is about, should it fail; one that is done has hashed what it has read.
    record["set_sha256"] = hash_of_set(setting.run, job.condensation, job.snapshot)
    extensions.notify("job_started", job=job.record())
    with Guard():
        outcome = _outcome(lambda: evaluate_set(job, setting, extensions, control))
    check_folder()
    record = _written(setting.run.evaluation(job.id), "evaluation", record, outcome)
    extensions.notify("job_finished", job=job.record(), result=record)
    return record


def _outcome(work: Callable[[], dict[str, Any]], method: str = "") -> dict[str, Any]:
    """Return the fields that `work` gives, or those that say why there are none."""
    try:
        return {**work(), "status": DONE, "reason": None, "traceback": None}
    except (Stopped, ChangedError, KeyboardInterrupt):
        raise
    except Unsupported as error:
        return refusal(error)
    except BaseException as error:  # a method or architecture is someone else's code
        return failure(error, method)


def _written(
    path: Path, kind: str, about: Mapping[str, Any], outcome: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the record of a job and return it as it is in the file.

    An outcome that could not be read again is a failure: else each run would do the job anew.
    """
    ended = {"ended": _now()}
    try:
        return write_record(path, kind, {**about, **outcome, **ended})
    except ValueError as error:
        unfit = MisbehavedError(f"the result cannot be stored: {error}")
        return write_record(path, kind, {**about, **failure(unfit), **ended})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
