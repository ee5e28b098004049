"""Accuracy at equal cost, and how long a row takes to an accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ddbench.reporting.leaderboard.curves import AnytimePoint
from ddbench.reporting.leaderboard.rows import BASELINE

Cost = Literal["seconds", "flops"]
Points = Sequence[AnytimePoint]  # the sets of one row, on its way and the last
SELECTIONS = (BASELINE, "herding", "kcenter")  # real images, that others are held against
SHARES = (0.5, 0.75, 0.9, 1.0)  # of the way from random images to the best row


def within(points: Points, limit: float, cost: Cost) -> AnytimePoint | None:
    """Return the last set that a row has for at most `limit` seconds or operations, if any.

    A cost that is not known is none that can be kept within.
    """
    cheap = [point for point in points if cost_of(point, cost) <= limit]
    return max(cheap, key=lambda point: cost_of(point, cost), default=None)


def reaching(points: Points, accuracy: float) -> AnytimePoint | None:
    """Return the first set of a row, by its steps, of at least an accuracy; None if none is."""
    least = accuracy - 1e-9  # a level is a sum, which may end a bit above the accuracy it is of
    ordered = sorted(points, key=lambda point: point.step)
    return next((p for p in ordered if p.score.known and p.score.mean >= least), None)


def levels(rows: Sequence[Points], baseline: float) -> list[float]:
    """Return accuracies to ask after: half of the way from `baseline` to the best of all, and more.

    None where no row is above it.
    """
    best = max((p.score.mean for points in rows for p in points if p.score.known), default=math.nan)
    if not best > baseline:
        return []
    return [baseline + share * (best - baseline) for share in SHARES]


def cost_of(point: AnytimePoint, cost: Cost) -> float:
    """Return the seconds or the operations of a set, artifacts in full; NaN of unknown ones."""
    return point.seconds if cost == "seconds" else point.flops
