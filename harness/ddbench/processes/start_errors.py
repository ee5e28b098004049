"""Errors of starting a process, with their remedies."""

from __future__ import annotations

import errno
import resource

from ddbench.store.run_folder import RunError

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
