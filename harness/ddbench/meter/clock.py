"""Measure wall time of work on one device, without waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """A clock that waits for the device before it is read, and stands still while excluded."""

    def __init__(self, device: torch.device | str) -> None:
        """Make a clock for work on `device`."""
        self.device = torch.device(device)
        self.waited = 0.0  # seconds spent in `excluding`
        self._excluded = False

    def seconds(self) -> float:
        """Return seconds since an arbitrary moment, without what was excluded."""
        return self._wall() - self.waited

    @contextmanager
    def excluding(self) -> Iterator[None]:
        """Let the clock stand still for the block; a block inside another changes nothing."""
        if self._excluded:
            yield
            return
        self._excluded, start = True, self._wall()
        try:
            yield
        finally:
            self._excluded = False
            self.waited += self._wall() - start

    def _wall(self) -> float:
        if self.device.type == "cuda":  # kernels are only queued when the call returns
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class Stopwatch:
    """Wall seconds by name: ``with watch("init"): ...`` adds to ``watch.seconds["init"]``."""

    def __init__(self, device: torch.device | str) -> None:
        """Make a stopwatch for work on `device`."""
        self.seconds: dict[str, float] = {}
        self._clock = Clock(device)

    @property
    def waited(self) -> float:
        """Seconds spent in `excluding`."""
        return self._clock.waited

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the block's seconds to `name`, also when it raises."""
        start = self._clock.seconds()
        try:
            yield
        finally:
            spent = self._clock.seconds() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    @contextmanager
    def excluding(self) -> Iterator[None]:
        """Keep the block (a wait for a lock, say) out of `seconds`."""
        with self._clock.excluding():
            yield
