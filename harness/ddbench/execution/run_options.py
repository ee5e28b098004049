"""How a plan is carried out: what the command line says, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ddbench.execution.devices import cuda_devices
from ddbench.execution.engines.catalogue import INLINE, LOCAL
from ddbench.machine import usable_cores


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out.

    Attributes:
        out: The run folder.
        device: "cpu", "cuda", "cuda:0".
        jobs: Jobs at once; None is one for each core (CPU) or each GPU.
        threads: CPU threads of a job.
        checkpoint_s: Seconds between checkpoints.
        keep_state: Keep the final state of each condensation.
        gpus: The GPUs to use, as CUDA_VISIBLE_DEVICES names them; None is all.
        jobs_per_gpu: Jobs at once on each of them.
        job_s: Seconds that one job may take.
        memory: Bytes that one job may hold: None is its share of what is free, 0 any.
        engine: Name of the engine that does the jobs.
        engine_options: What it takes beside, by name.
        observers: Observers of `ddbench.discovery.observers` that watch the run.
        keep_stale: Keep results of code that has been edited since, marked, instead of doing
            them again.
        command: What was typed, for the manifest.
    """

    out: Path
    device: str = "cpu"
    jobs: int | None = None
    threads: int = 1
    checkpoint_s: float = 60.0
    keep_state: bool = False
    gpus: tuple[str, ...] | None = None
    jobs_per_gpu: int = 1
    job_s: float | None = None
    memory: int | None = None
    engine: str = LOCAL
    engine_options: Mapping[str, str] = field(default_factory=dict)
    keep_stale: bool = False
    observers: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    preset: str = ""


def gpus_of(options: RunOptions) -> tuple[str, tuple[str, ...]]:
    """Return the device as jobs see it, and the GPUs to share among them.

    Each job sees its own GPU alone, so there every one of them is "cuda".
    """
    name, _, number = options.device.partition(":")
    if name != "cuda":
        return options.device, options.gpus or ()
    visible = options.gpus or cuda_devices()
    return name, (visible[int(number)],) if number else visible


def jobs_at_once(options: RunOptions) -> int:
    """Return how many jobs run side by side."""
    if options.engine == INLINE:
        return 1
    _, gpus = gpus_of(options)
    return options.jobs or len(gpus) * options.jobs_per_gpu or default_jobs(options.threads)


def default_jobs(threads: int) -> int:
    """Return how many jobs run at once on the CPU: one for each core."""
    return max(1, usable_cores() // threads)
