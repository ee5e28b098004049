"""The strings by which an engine holds a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Report = Callable[[Mapping[str, Any]], None]


class Stopped(Exception):
    """The run was asked to stop; what was under way is in its checkpoint."""


@dataclass
class Control:
    """The strings by which an engine holds a job.

    Attributes:
        stop: Says whether to stop at the next step, after a checkpoint.
        report: Is told of every step, for progress bars.
    """

    stop: Callable[[], bool] = lambda: False
    report: Report = lambda event: None
