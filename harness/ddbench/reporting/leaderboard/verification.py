"""Does a claimed accuracy hold? What was claimed, held against what was found again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from ddbench.reporting.leaderboard.differences import LEVEL, compare, holm
from ddbench.reporting.leaderboard.scores import Score


@dataclass(frozen=True)
class Verdict:
    """One claim and what became of it; accuracies and differences are shares of 1.

    Attributes:
        claimed, found: Mean accuracies; NaN of what could not be evaluated.
        half: Half the width of the 95% interval of found less claimed.
        p: Of the two-sided test that the two are equal.
        networks: Networks that were trained again.
        exact: Whether every network has the very accuracy that was claimed.
        holds: Whether the claim stands.
        reason: Why nothing could be found, or "".
    """

    claimed: float
    found: float
    half: float = math.nan
    p: float = math.nan
    networks: int = 0
    exact: bool = False
    holds: bool = False
    reason: str = ""

    @classmethod
    def untested(cls, reason: str) -> Verdict:
        """Return the verdict on a claim that could not be tested."""
        return cls(math.nan, math.nan, reason=reason)

    @property
    def difference(self) -> float:
        """Found less claimed."""
        return self.found - self.claimed

    def record(self) -> dict[str, Any]:
        """Return the verdict as plain values; unknown numbers are None."""
        interval = [self.difference - self.half, self.difference + self.half]
        values = {
            "claimed": self.claimed, "found": self.found, "difference": self.difference,
            "low": interval[0], "high": interval[1], "p": self.p,
        }  # fmt: skip
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return {**plain, "networks": self.networks, "exact": self.exact, "holds": self.holds,
                "reason": self.reason}  # fmt: skip


def of_networks(claimed: Sequence[float], found: Sequence[float], n_test: int) -> Verdict:
    """Return the verdict on accuracies of single networks, paired: network k starts alike.

    With one network the noise is that of counting `n_test` images.
    """
    about = Verdict(fmean(claimed), fmean(found), networks=len(found))
    if list(claimed) == list(found):
        return replace(about, half=0.0, p=1.0, exact=True, holds=True)
    if min(len(claimed), len(found)) < 2:
        return _by_counting(about, n_test)
    pairs = compare([_score(found), _score(claimed)], n_test)
    half, p = float(pairs.half[0, 1]), float(pairs.p[0, 1])
    return replace(about, half=half, p=p, holds=p > LEVEL)


def of_mean(
    claimed: float, found: Sequence[float], n_test: int, spread: float | None, networks: int | None
) -> Verdict:
    """Return the verdict on a mean accuracy as a paper gives it.

    Args:
        claimed: The mean.
        found: Accuracies of networks.
        n_test: Test images.
        spread: Standard deviation over the claim's networks; None: that of those found.
        networks: How many the claim is the mean of; None: as many as were found.
    """
    about = Verdict(claimed, fmean(found), networks=len(found))
    if len(found) < 2:
        return _by_counting(about, n_test)
    own = max(stdev(found), math.sqrt(1 / 12) / n_test)
    theirs = own if spread is None else spread
    error = math.sqrt(own**2 / len(found) + theirs**2 / (networks or len(found)))
    freedom = len(found) - 1
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    p = float(2 * stdtr(freedom, -abs(about.difference) / error))
    return replace(about, half=half, p=p, holds=p > LEVEL)


def _score(accuracies: Sequence[float]) -> Score:
    return Score(mean=fmean(accuracies), seeds=1, networks=len(accuracies),
                 sets=(tuple(accuracies),))  # fmt: skip


def _by_counting(about: Verdict, n_test: int) -> Verdict:
    """Judge by the noise of two counts of right answers among `n_test` images."""
    share = min(max((about.claimed + about.found) / 2, 1 / n_test), 1 - 1 / n_test)
    error = math.sqrt(2 * share * (1 - share) / n_test)
    half = float(ndtri(1 - LEVEL / 2)) * error
    p = float(2 * ndtr(-abs(about.difference) / error))
    return replace(about, half=half, p=p, holds=p > LEVEL)


def together(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts by Holm's correction: of true claims all hold, 95% sure."""
    rejected = holm(np.array([one.p for one in verdicts], dtype=np.float64))
    return [
        one if one.reason else replace(one, holds=not bool(no))
        for one, no in zip(verdicts, rejected, strict=True)
    ]
