"""How far two rows lie apart, paired by network, and how well that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy.special import stdtrit  # the quantiles of Student's t

from ddbench.reporting.leaderboard.scores import Score


@dataclass(frozen=True)
class Difference:
    """The accuracy of one row less that of another, with a 95% confidence interval.

    Attributes:
        mean: Mean over the networks that both rows have, as a share.
        half: Half the width of the interval; NaN where nothing tells the noise.
        networks: How many networks pair.
    """

    mean: float
    half: float
    networks: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.half)

    @property
    def interval(self) -> tuple[float, float]:
        """Its ends."""
        return self.mean - self.half, self.mean + self.half

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0: the rows can be told apart."""
        return self.known and abs(self.mean) > self.half


def difference(one: Score, other: Score, n_test: int) -> Difference:
    """Return how far `one` lies above `other`; both must have been tested, on `n_test` images.

    Network k starts alike in all rows, so what it has in common cancels. The squared standard
    error adds up what varies between networks, and between the sets of each row that has several,
    none taken to vary less than rounding to a multiple of 1 / `n_test` makes it:
    docs/protocols-and-metrics.md, "Differences between rows".
    """
    networks = min(len(accuracies) for score in (one, other) for accuracies in score.sets)
    pairs = [a - b for a, b in zip(*(_by_network(s, networks) for s in (one, other)), strict=True)]
    rounding = 1 / (12 * n_test**2)  # the variance of one accuracy
    parts = [
        _Part.of(pairs, rounding / len(one.sets) + rounding / len(other.sets)),
        *(_Part.of(_by_set(s, networks), rounding / networks) for s in (one, other)),
    ]
    # One network of one set says nothing of the noise of that row.
    known = networks > 1 or min(len(one.sets), len(other.sets)) > 1
    half = _half([part for part in parts if part]) if known else math.nan
    return Difference(fmean(pairs), half, networks)


def _by_network(score: Score, networks: int) -> list[float]:
    """Return the mean over the sets for each network."""
    return [fmean(accuracies[k] for accuracies in score.sets) for k in range(networks)]


def _by_set(score: Score, networks: int) -> list[float]:
    """Return the mean over the networks for each set."""
    return [fmean(accuracies[:networks]) for accuracies in score.sets]


@dataclass(frozen=True)
class _Part:
    variance: float  # of the mean
    freedom: int

    @classmethod
    def of(cls, values: Sequence[float], least: float) -> _Part | None:
        """Return what the mean of some values of at `least` that variance varies by.

        None of a single value.
        """
        n = len(values)
        return cls(max(variance(values), least) / n, n - 1) if n > 1 else None


def _half(parts: Sequence[_Part]) -> float:
    """Return t times the standard error, with Welch and Satterthwaite's degrees of freedom."""
    total = sum(part.variance for part in parts)
    freedom = total**2 / sum(part.variance**2 / part.freedom for part in parts)
    whole = int(freedom + 1e-9)  # a sum of rounded parts may fall just short of it
    return float(stdtrit(whole, 0.975)) * math.sqrt(total)
