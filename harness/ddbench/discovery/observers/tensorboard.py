"""TensorBoard: the curve of every condensation as it grows, and the accuracies of its set.

`tensorboard --logdir runs/NAME/tensorboard` shows one line for each job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from ddbench.contract.hookspecs import hookimpl


class TensorBoard:
    """Writes below ``<run folder>/tensorboard``, a folder for each job."""

    def __init__(self, folder: Path) -> None:
        """Write below the run folder `folder`."""
        self.root = folder / "tensorboard"
        self._writers: dict[str, SummaryWriter] = {}

    @hookimpl
    def step_finished(
        self, job: Mapping[str, Any], step: int, metrics: Mapping[str, float]
    ) -> None:
        """Add a point to each curve of the job."""
        for name, value in metrics.items():
            if math.isfinite(value):
                self._writer(job).add_scalar(f"condense/{name}", value, step)

    @hookimpl
    def job_finished(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Add the accuracy of each network, if the job is an evaluation, and close."""
        for k, accuracy in enumerate(result.get("accuracies") or ()):
            self._writer(job).add_scalar(f"accuracy/{job['architecture']}", accuracy, k)
        writer = self._writers.pop(job["id"], None)
        if writer is not None:
            writer.close()

    def _writer(self, job: Mapping[str, Any]) -> SummaryWriter:
        """Return the job's writer; a job that goes on appends to what is there."""
        if job["id"] not in self._writers:
            self._writers[job["id"]] = SummaryWriter(str(self.root / job["id"]))
        return self._writers[job["id"]]
