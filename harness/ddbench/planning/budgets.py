"""Divide the time of `--budget-total` among the condensations of a run."""

from __future__ import annotations

import math

CONDENSING = 0.5  # of the whole; the rest is for artifacts and evaluations, which none can foresee
LEAST_S = 1.0  # of a condensation


def share(total_s: float, condensations: int, workers: int) -> float:
    """Return the seconds of each of some condensations, in two digits, rounded down.

    They share half of what `workers` jobs at once can do in `total_s` seconds.
    """
    part = CONDENSING * total_s * workers / max(1, condensations)
    digits = 1 - math.floor(math.log10(part))
    return round(math.floor(part * 10**digits + 1e-9) / 10**digits, max(0, digits))


def least_total(condensations: int, workers: int) -> float:
    """Return the least total, in whole seconds, that leaves each condensation `LEAST_S`."""
    return math.ceil(LEAST_S * condensations / (CONDENSING * workers))
