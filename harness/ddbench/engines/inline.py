"""The inline engine: one job after the other in this process, for tests and debuggers."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ddbench.engines.jobs import Event, Job, Jobs, Observer
from ddbench.engines.worker import LoadMethod, do
from ddbench.extensions import Extensions
from ddbench.runner import Control
from ddbench.setting import Setting


def run_inline(
    jobs: Jobs,
    setting: Setting,
    load: LoadMethod,
    extensions: Extensions,
    observe: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do all jobs that are left. A job that another process has claimed is left to it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        while job := next(jobs.ready(), None):
            jobs.start(job)
            observe({"event": "start", "job": job})

            def report(event: Event, job: Job = job) -> None:
                observe({"event": "step", "job": job, **event})

            control = Control(stop, report)
            record = do(job, setting, load, extensions, control)
            if record is None:
                jobs.running.discard(job.id)
                continue
            jobs.end(job, record)
            observe({"event": "end", "job": job, "record": record})
    finally:
        torch.set_num_threads(threads)
