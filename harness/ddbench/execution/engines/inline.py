"""The inline engine: one job after the other in this process, for tests and debuggers."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import ChangedError
from ddbench.execution.engines.crash_records import unwritten
from ddbench.execution.engines.job_queue import Event, Job, Jobs, Observer
from ddbench.execution.engines.local import CLAIM_WAIT
from ddbench.execution.engines.one_job import LoadMethod, do
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import Control, Stopped


def run_inline(
    jobs: Jobs,
    setting: JobContext,
    load: LoadMethod,
    extensions: Extensions,
    observe: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do all jobs that are left; wait for those that another process has claimed.

    Limits of time and memory need a process for each job, and hold in the local engine alone.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        while not stop() and (ready := list(jobs.ready())):
            begun = [_try(job, jobs, setting, load, extensions, observe, stop) for job in ready]
            if not any(begun):
                time.sleep(CLAIM_WAIT)
    finally:
        torch.set_num_threads(threads)


def _try(
    job: Job,
    jobs: Jobs,
    setting: JobContext,
    load: LoadMethod,
    extensions: Extensions,
    observe: Observer,
    stop: Callable[[], bool],
) -> bool:
    """Do one job; say whether there was anything to do."""
    if stop():
        return False
    jobs.start(job)
    observe({"event": "start", "job": job})

    def report(event: Event) -> None:
        observe({"event": "step", "job": job, **event})

    try:
        record = do(job, setting, load, extensions, Control(stop, report))
    except Stopped:
        record = None
    except (OSError, ChangedError) as error:
        record = unwritten(job, setting.run, error)
    if record is None:
        jobs.put_back(job)
        observe({"event": "put back", "job": job})
        return False
    jobs.end(job, record)
    observe({"event": "end", "job": job, "record": record})
    return True
