"""How far rows lie apart, paired by network, and how well that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit  # Student's t: its distribution, and its quantiles

from ddbench.reporting.leaderboard.scores import Score, variance

Matrix = NDArray[np.float64]
LEVEL = 0.05  # of a test, and of all tests of a table together


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
    """Return how far `one` lies above `other`; both must have been tested, on `n_test` images."""
    return compare([one, other], n_test).difference(0, 1)


@dataclass(frozen=True)
class Pairs:
    """All pairs of some rows; entry (i, j) is row i less row j.

    Attributes:
        mean: (n, n), as shares.
        half: (n, n), half the width of a pair's 95% interval; NaN where nothing tells the noise.
        p: (n, n), of the two-sided t-test; NaN with `half`.
        networks: (n, n), how many networks pair.
    """

    mean: Matrix
    half: Matrix
    p: Matrix
    networks: NDArray[np.int64]

    def difference(self, i: int, j: int) -> Difference:
        """Return how far row i lies above row j."""
        return Difference(float(self.mean[i, j]), float(self.half[i, j]), int(self.networks[i, j]))

    @property
    def tests(self) -> int:
        """How many pairs have a test."""
        return int(np.isfinite(self.p[np.triu_indices(len(self.p), 1)]).sum())

    def told_apart(self) -> NDArray[np.bool_]:
        """Return (n, n) which pairs are told apart, by Holm's correction over all of them."""
        above = np.triu_indices(len(self.p), 1)
        told = np.zeros(self.p.shape, dtype=bool)
        told[above] = holm(self.p[above])
        return told | told.T


def holm(p: Matrix) -> NDArray[np.bool_]:
    """Return which tests reject, 5% sure that none of all does so wrongly; NaN is no test.

    S. Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN sorts last
    fails = p[order] > LEVEL / (len(order) - np.arange(len(order)))
    rejects = np.zeros(p.shape, dtype=bool)
    rejects[order[: int(np.argmax(fails)) if fails.any() else len(order)]] = True
    return rejects


def compare(scores: Sequence[Score], n_test: int) -> Pairs:
    """Return all pairs of rows, each tested on `n_test` images.

    Network k starts alike in all rows, so what it has in common cancels. The squared standard
    error adds up what varies between networks, and between the sets of each row that has several,
    none taken to vary less than rounding to a multiple of 1 / `n_test` makes it:
    docs/protocols-and-metrics.md, "Differences between rows".
    """
    own = np.array([min(map(len, score.sets)) for score in scores])
    networks = np.minimum.outer(own, own)
    mean, half, p = (np.full(networks.shape, math.nan) for _ in range(3))
    for k in sorted(set(own.tolist())):  # rows pair by the networks that both have
        rows = np.flatnonzero(own >= k)
        found = _of_networks([scores[row] for row in rows.tolist()], k, 1 / (12 * n_test**2))
        ours = networks[np.ix_(rows, rows)] == k
        for whole, part in zip((mean, half, p), found, strict=True):
            block = whole[np.ix_(rows, rows)]
            block[ours] = part[ours]
            whole[np.ix_(rows, rows)] = block
    return Pairs(mean, half, p, networks)


def _of_networks(
    scores: Sequence[Score], networks: int, rounding: float
) -> tuple[Matrix, Matrix, Matrix]:
    """Return mean, half and p of all pairs over the first `networks` networks.

    `rounding` is the variance of one accuracy that counting images makes.
    """
    by_network = np.array(
        [np.array([accuracies[:networks] for accuracies in s.sets]).mean(0) for s in scores]
    )
    sets = np.array([len(score.sets) for score in scores])
    mean = by_network.mean(1)[:, None] - by_network.mean(1)
    # Σ variance, and Σ variance² / degrees of freedom, over the parts of the noise.
    total, of_parts = np.zeros(mean.shape), np.zeros(mean.shape)
    if networks > 1:
        centred = by_network - by_network.mean(1, keepdims=True)
        squares = centred @ centred.T / (networks - 1)
        own = np.diag(squares)
        least = rounding / sets[:, None] + rounding / sets
        total = np.maximum(own[:, None] + own - 2 * squares, least) / networks
        of_parts = total**2 / (networks - 1)
    of_sets = np.array([_of_sets(score, networks, rounding) for score in scores])
    freedom = np.maximum(sets - 1, 1)
    total = total + of_sets[:, None] + of_sets
    of_parts = of_parts + (of_sets**2 / freedom)[:, None] + of_sets**2 / freedom
    # One network of one set says nothing of the noise of that row.
    known = (networks > 1) | (np.minimum.outer(sets, sets) > 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.floor(total**2 / of_parts + 1e-9)  # rounded parts may fall just short of it
        error = np.sqrt(total)
        half = np.where(known, stdtrit(whole, 1 - LEVEL / 2) * error, math.nan)
        p = np.where(known, 2 * stdtr(whole, -np.abs(mean) / error), math.nan)
    return mean, half, p


def _of_sets(score: Score, networks: int, rounding: float) -> float:
    """Return the variance of a row's mean that its sets make; 0 of a single one."""
    if len(score.sets) < 2:
        return 0.0
    means = [fmean(accuracies[:networks]) for accuracies in score.sets]
    return max(variance(means), rounding / networks) / len(means)


# -- more seeds --------------------------------------------------------------------------------

MOST_SEEDS = 100  # rows that more seeds than these could not tell apart count as equal
LEAST_SEEDS = 3  # that tell how much another seed would differ


def seeds_needed(found: Difference, seeds: int, tests: int = 1) -> float:
    """Return how many seeds of both rows would tell them apart, about; inf of too many.

    An interval of n seeds is taken to narrow as t(n - 1) / sqrt(n), with Student's t, at the level
    that the first of `tests` has by Holm's correction. One seed does not tell how much another
    differs.
    """
    if not found.known or seeds < 2:
        return max(LEAST_SEEDS, seeds + 1)

    def width(n: int, tests: int) -> float:
        return float(stdtrit(n - 1, 1 - LEVEL / 2 / tests)) / math.sqrt(n)

    enough = abs(found.mean) / found.half * width(seeds, 1)
    more = range(seeds + 1, MOST_SEEDS + 1)
    return next((n for n in more if width(n, max(1, tests)) < enough), math.inf)


# -- one row -----------------------------------------------------------------------------------


def interval_of(score: Score, n_test: int) -> tuple[float, float] | None:
    """Return the ends of a 95% interval of a row's accuracy, in [0, 1]; None of one network.

    Student's t over the means of the seeds' sets; with one seed over its networks, which says
    nothing of what condensing again would change.
    """
    rounding = 1 / (12 * n_test**2)
    values = [fmean(accuracies) for accuracies in score.sets]
    least = rounding / max(1, score.networks)
    if len(values) == 1:
        values, least = list(score.sets[0]), rounding
    n = len(values)
    if n < 2:
        return None
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * math.sqrt(max(variance(values), least) / n)
    return max(0.0, score.mean - half), min(1.0, score.mean + half)
