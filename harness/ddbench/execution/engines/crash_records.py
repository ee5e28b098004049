"""Records of jobs that could not write their own."""

from __future__ import annotations

import errno
import resource
import signal
import time
from contextlib import suppress
from typing import Any

from ddbench.discovery.fingerprints import ChangedError
from ddbench.execution.engines.job_queue import Job, record_of
from ddbench.store.atomic_files import claimed
from ddbench.store.records import FAILED, Condensation
from ddbench.store.run_folder import RunError, RunFolder, hash_of_set, stands, write_record

SERVER_LOST = 255  # what multiprocessing says of a process whose fork server has gone
# Deaths that are nobody's fault in here: another process killed it, or its server went.
INFRASTRUCTURE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGUSR1, SERVER_LOST)
CLAIM_S = 2.0  # in which the claim of a worker is free that has been killed with all it started


ENOUGH_FILES = 1024  # that a process may have open
OF_A_RUN, OF_A_JOB = 24, 4  # files that a run has open with a fork server, and with each job


class StartError(RunError):
    """No process can be started in which jobs could be done; says why and what to do."""

    exit_code = 1  # jobs are left

    @classmethod
    def of(cls, error: Exception) -> StartError:
        """Return the error to raise for what the system, or the fork server, has said."""
        words = getattr(error, "strerror", None) or str(error)
        number = getattr(error, "errno", None)
        if isinstance(error, EOFError):
            words = "the first one ended at once"
            remedy = "what it said stands above"
        elif number in (errno.EMFILE, errno.ENFILE):
            remedy = f"allow more open files (`ulimit -n {ENOUGH_FILES}`)"
        elif number in (errno.EAGAIN, errno.ENOMEM):
            remedy = "allow more processes (`ulimit -u`) or memory, or end others"
        elif "AF_UNIX path too long" in words:
            remedy = "set TMPDIR to a folder with a short name"
        else:
            remedy = "mend that"
        return cls(f"no process can be started for a job: {words}; {remedy}, and run again")


def refuse_few_files(jobs: int) -> None:
    """See that a run with so many jobs at once may open the files that it takes.

    A fork server that may not says nothing that anyone could use, or waits for ever.

    Raises:
        StartError: It may not.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OF_A_RUN + OF_A_JOB * jobs
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        fewer = "" if allowed < OF_A_RUN + OF_A_JOB or jobs == 1 else ", or fewer jobs (--jobs 1)"
        raise StartError(
            f"no process can be started for a job: this shell allows {allowed} open files, and "
            f"{jobs} at once may need {needed}; allow more (`ulimit -n {ENOUGH_FILES}`){fewer}, "
            "and run again"
        )


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
