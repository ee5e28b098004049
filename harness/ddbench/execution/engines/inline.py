"""The inline engine: one job after the other in this process, for tests and debuggers."""

from __future__ import annotations

import time

import torch

from ddbench.discovery.fingerprints import ChangedError
from ddbench.execution.engines.crash_records import unwritten
from ddbench.execution.engines.job_queue import Event, Job
from ddbench.execution.engines.one_job import do
from ddbench.execution.engines.work import CLAIM_WAIT, Work
from ddbench.execution.runner import Control, Stopped


def run_inline(work: Work) -> None:
    """Do all jobs that are left; wait for those that another process has claimed.

    Limits of time and memory need a process for each job, and hold in other engines alone.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(work.context.threads)
    try:
        while not work.stopping and work.left:
            job = next(work.ready(), None)
            if job is None:
                time.sleep(CLAIM_WAIT)
            else:
                _do(job, work)
    finally:
        torch.set_num_threads(threads)


def _do(job: Job, work: Work) -> None:
    """Do one job."""
    assert work.load is not None and work.extensions is not None  # noqa: S101  (a session's)
    work.begin(job)
    work.observe({"event": "start", "job": job})

    def report(event: Event) -> None:
        work.report(job, event)

    try:
        record = do(job, work.context, work.load, work.extensions, Control(work.stop, report))
    except Stopped:
        record = None
    except (OSError, ChangedError) as error:
        record = unwritten(job, work.context.run, error)
    if record is None:
        work.put_back(job)
    else:
        work.close(job, record)
