"""Records of jobs that could not write their own."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import Any

from ddbench.discovery.fingerprints import ChangedError
from ddbench.execution.engines.job_queue import Job, record_of
from ddbench.store.atomic_files import claimed
from ddbench.store.records import FAILED, Condensation
from ddbench.store.run_folder import RunFolder, hash_of_set, stands, write_record

SERVER_LOST = 255  # what multiprocessing says of a process whose fork server has gone
# Deaths that no job has caused: another process killed it, or its server went.
INFRASTRUCTURE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGUSR1, SERVER_LOST)
CLAIM_S = 2.0  # in which the claim of a worker is free that has been killed with all it started


def dead(job: Job, run: RunFolder, reason: str, traceback: str | None = None) -> dict[str, Any]:
    """Write and return the record of a job whose process ended without one.

    If it had written one (and was killed while an observer looked at it, say), that one stands.
    """
    record = {**job.record(), "status": FAILED, "reason": reason, "traceback": traceback}
    if isinstance(job, Condensation):
        kind, path = "condensation", run.result(job.id)
    else:
        kind, path = "evaluation", run.evaluation(job.id)
        record["set_sha256"] = hash_of_set(run, job.condensation, job.snapshot)
    with suppress(OSError):  # a full disk or a lost mount may be why it died; the run goes on
        run.check_there()
        until = time.monotonic() + CLAIM_S
        while True:
            with claimed(run.claim(job.id)) as free:  # takes its claim file away too
                if free:
                    if standing := record_of(job, run):
                        return standing.record()
                    if kind == "evaluation" or not stands(run, job.id):
                        write_record(path, kind, record)
            if free or time.monotonic() > until:
                break
            time.sleep(0.05)
    return record


def unwritten(job: Job, run: RunFolder, error: OSError | ChangedError) -> dict[str, Any]:
    """Return the record of a job that is not to be kept: it counts as not done next time."""
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"the run folder {run.root} cannot be written: {error}"
    return {**job.record(), "status": FAILED, "reason": reason, "traceback": None}


def exit_words(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = {
            "SIGKILL": " (killed from outside, often because memory ran out)",
            "SIGSEGV": " (a crash inside compiled code)",
            "SIGABRT": " (compiled code gave up)",
        }
        return f"signal {name}{hint.get(name, '')}"
    if code == SERVER_LOST:
        return "its fork server was lost (or os._exit(255))"
    return f"exit code {code} (os._exit, or compiled code that ends the program)"
