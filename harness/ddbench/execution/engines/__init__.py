"""Engines: how the jobs of a plan get done, here or in processes of their own."""

from ddbench.execution.engines.catalogue import engine_named
from ddbench.execution.engines.job_queue import Event, Job, Jobs, Observer
from ddbench.execution.engines.limits import memory_of_a_job
from ddbench.execution.engines.local import PRELOAD, run_local
from ddbench.execution.engines.work import Work

__all__ = [
    "PRELOAD",
    "Event",
    "Job",
    "Jobs",
    "Observer",
    "Work",
    "engine_named",
    "memory_of_a_job",
    "run_local",
]
