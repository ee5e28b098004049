"""Measure a loop of steps: seconds of every step, FLOPs of a sample of the steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import torch

from ddbench.meter.clock import Clock
from ddbench.meter.flops import FlopCount, count_flops, is_lower_bound

# Costs that jump once often do so again: FedD3's clients leave one by one.
GAP_AFTER_A_JUMP = 4


@dataclass
class _Phase:
    """The steps of one place in the cycle, by cycle number 0, 1, 2, ...

    FLOPs are counted in cycles 0, 2, 5, 9, 14, ...: the gap grows by one each time, so that n
    cycles take about sqrt(2n) counts; a count away from the line through the two before it brings
    the gap back to `GAP_AFTER_A_JUMP`. Between two counts the FLOPs are taken to go in a straight
    line, after the last one to stay. Costs that fall come out within 2% (benchmarks/metering.py).
    """

    counts: int = 0  # steps counted so far
    gap: int = 1  # cycles from the last count to the next
    last: int = -1  # cycle of the last count
    flops: int = 0  # FLOPs of that step
    slope: float = 0.0  # their change per cycle between the last two counts
    doubled: int = 0  # twice the FLOPs of the cycles up to `last`; doubled, it stays an integer
    timed: int = 0  # steps that were not counted
    timed_seconds: float = 0.0
    counted_seconds: float = 0.0  # of the counted steps, with the cost of counting in them

    @property
    def due(self) -> int:
        """The next cycle to count."""
        return self.last + self.gap

    def count(self, flops: int) -> None:
        """Take in the FLOPs of cycle `due`."""
        change = flops - self.flops if self.counts else 0
        jump = abs(change - self.slope * self.gap) > 0.05 * flops
        self.doubled += (self.gap - 1) * (self.flops + flops) + 2 * flops
        self.slope = change / self.gap
        self.last, self.counts, self.flops = self.due, self.counts + 1, flops
        self.gap = min(self.gap + 1, GAP_AFTER_A_JUMP) if jump else self.gap + 1

    def doubled_flops(self, cycles: int) -> int:
        """Return twice the FLOPs of the first `cycles` cycles."""
        return self.doubled + 2 * self.flops * (cycles - 1 - self.last)

    @property
    def seconds(self) -> float:
        """The steps' seconds, a counted step taken to last as long as the others do on average."""
        if not self.timed:
            return self.counted_seconds
        return self.timed_seconds * (1 + self.counts / self.timed)


class StepMeter:
    """The cost of a loop, entered once per step: ``with steps: ...``.

    Counting can double the time of a small step, so it happens on a few steps only, and their own
    time is replaced by the mean of the uncounted steps in the same place of the cycle. A loop so
    short that a place has counted steps alone keeps their own time. A step that raises counts.
    """

    def __init__(self, device: torch.device | str, cycle: int = 1, count: bool = True) -> None:
        """Meter steps on `device`.

        Args:
            device: where the work runs; a CUDA device is waited for before the clock is read.
            cycle: steps after which the pattern of costs repeats; whole cycles are sampled.
            count: False leaves `flops` to what `add_flops` declares.
        """
        if cycle < 1:
            raise ValueError(f"StepMeter: cycle {cycle}: must be at least 1 step")
        self.cycle = cycle
        self.steps = 0
        self.declared: dict[str, int] = {}  # FLOPs that a plugin declared, by reason
        self.uncounted: Counter[str] = Counter()  # estimated other work in the counted steps
        self._opaque: set[str] = set()
        self._phases = [_Phase() for _ in range(cycle)]
        self._clock = Clock(device)
        self._counting = count
        self._count: FlopCount | None = None
        self._start: float | None = None

    def __enter__(self) -> StepMeter:
        """Begin a step."""
        if self._start is not None:
            raise RuntimeError("StepMeter: a step begins inside a step; enter it once per step")
        cycle, phase = divmod(self.steps, self.cycle)
        self._start = self._clock.seconds()
        if self._counting and cycle == self._phases[phase].due:
            self._count = count_flops()
            self._count.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End the step, whether it raised or not."""
        count, self._count = self._count, None
        if count is not None:
            count.__exit__(*error)
        assert self._start is not None  # noqa: S101  (set by __enter__)
        seconds, self._start = self._clock.seconds() - self._start, None
        phase = self._phases[self.steps % self.cycle]
        if count is None:
            phase.timed += 1
            phase.timed_seconds += seconds
        else:
            phase.counted_seconds += seconds
            phase.count(count.total)
            self.uncounted.update(count.work)
            self._opaque |= count.opaque
        self.steps += 1

    @property
    def seconds(self) -> float:
        """Wall seconds of all steps, without counting and without what was excluded."""
        return sum(phase.seconds for phase in self._phases)

    @property
    def waited(self) -> float:
        """Wall seconds spent in `excluding`."""
        return self._clock.waited

    @property
    def flops(self) -> int:
        """FLOPs of all steps, as extrapolated, and what was declared."""
        whole, rest = divmod(self.steps, self.cycle)
        doubled = 0
        if self._counting:
            for place, phase in enumerate(self._phases):
                doubled += phase.doubled_flops(whole + (place < rest))
        return (doubled + 1) // 2 + sum(self.declared.values())

    @property
    def lower_bound(self) -> bool:
        """Whether work that is not counted dominates, so that `flops` means "at least"."""
        if not self._counting:
            return self.steps > 0
        counted_steps = sum(phase.counts for phase in self._phases)
        work = self.uncounted.total() * self.steps // max(counted_steps, 1)
        return is_lower_bound(self.flops, work, bool(self._opaque) and not self.declared)

    def add_flops(self, count: int, why: str) -> None:
        """Add FLOPs that torch cannot see (a compiled loop, a library), under a reason.

        Raises:
            TypeError: `count` is no whole number, or `why` no string.
            ValueError: `count` is negative.
        """
        if not isinstance(why, str):
            raise TypeError(f"count_flops: the reason is {why!r}; expected words")
        if not isinstance(count, Integral):
            raise TypeError(f"count_flops: {count!r} for {why!r}; expected an int")
        if count < 0:
            raise ValueError(f"count_flops: {count} for {why!r}: must not be negative")
        self.declared[why] = self.declared.get(why, 0) + int(count)

    @contextmanager
    def excluding(self) -> Iterator[None]:
        """Keep the block (a wait for a lock, say) out of `seconds` and out of `flops`."""
        with self._clock.excluding():
            if self._count is None:
                yield
            else:
                with self._count.paused():
                    yield

    def state(self) -> dict[str, Any]:
        """Return all that `load` needs to go on from here, as JSON-able values."""
        return {
            "steps": self.steps,
            "waited": self.waited,
            "declared": dict(self.declared),
            "uncounted": dict(self.uncounted),
            "opaque": sorted(self._opaque),
            "phases": [asdict(phase) for phase in self._phases],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`: the counts will be those of a loop that was never interrupted."""
        saved = len(state["phases"])
        if saved != self.cycle:
            raise ValueError(
                f"StepMeter.load: the state has a cycle of {saved} steps, this meter of "
                f"{self.cycle}; make the meter with the cycle of the run that is resumed"
            )
        self.steps = state["steps"]
        self._clock.waited = state["waited"]
        self.declared = dict(state["declared"])
        self.uncounted = Counter(state["uncounted"])
        self._opaque = set(state["opaque"])
        self._phases = [_Phase(**phase) for phase in state["phases"]]
