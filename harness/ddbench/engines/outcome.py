"""Records of jobs that could not write their own."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

from ddbench.engines.jobs import Job
from ddbench.files import claimed
from ddbench.plan import Condensation
from ddbench.results import FAILED, RunFolder, hash_of_set, write_record

# Deaths that are nobody's fault in here: another process killed it, or its server went.
INFRASTRUCTURE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGUSR1, 255)


def dead(job: Job, run: RunFolder, reason: str) -> dict[str, Any]:
    """Write and return the record of a job whose process ended without one."""
    record = {**job.record(), "status": FAILED, "reason": reason, "traceback": None}
    if isinstance(job, Condensation):
        kind, path = "condensation", run.result(job.id)
    else:
        kind, path = "evaluation", run.evaluation(job.id)
        record["set_sha256"] = hash_of_set(run, job.condensation, job.snapshot)
    with suppress(OSError):  # a full disk or a lost mount may be why it died; the run goes on
        run.check_there()
        with claimed(run.claim(job.id)) as free:  # takes its claim file away too
            if free:
                write_record(path, kind, record)
    return record


def unwritten(job: Job, run: RunFolder, error: OSError) -> dict[str, Any]:
    """Return the record of a job that could not be written: it counts as not done next time."""
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
    return f"exit code {code} (os._exit, or compiled code that ends the program)"
