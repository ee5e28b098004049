"""Which rows of a table are told apart: ranks that each may have, and ties."""

from __future__ import annotations

import math
import string
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddbench.reporting.leaderboard.differences import Difference, compare, holm
from ddbench.reporting.leaderboard.scores import Score

MOST = 300  # rows whose pairs are all tested; of more, each is tested against the best alone


@dataclass(frozen=True)
class Standing:
    """Where a row stands among all of its table.

    Attributes:
        below: How far it lies below the best.
        tied: Whether nothing tells it from the best; False of the best itself.
        ranks: The first and the last rank that it may have; None where that is not known.
        groups: The ties that it is in, a letter each; "" where it is alone.
    """

    below: Difference
    tied: bool = False
    ranks: tuple[int, int] | None = None
    groups: str = ""


def standings(
    scores: Sequence[Score], sets: Sequence[Hashable], n_test: int
) -> tuple[list[Standing], int]:
    """Return where each row stands, and how many pairs of different sets were tested.

    Args:
        scores: Of all rows, the most accurate first.
        sets: What rows of the very same sets have in common: they are one in every test.
        n_test: Test images.
    """
    firsts: dict[Hashable, int] = {}
    for k, one in enumerate(sets):
        firsts.setdefault(one, k)
    different = [scores[k] for k in firsts.values()]
    place = {one: k for k, one in enumerate(firsts)}
    rows = np.bincount([place[one] for one in sets], minlength=len(firsts))
    found, tests = (_among_all if len(different) <= MOST else _below_best)(different, rows, n_test)
    return [found[place[one]] for one in sets], tests


def _below_best(
    scores: Sequence[Score], rows: NDArray[np.int64], n_test: int
) -> tuple[list[Standing], int]:
    """Return how rows stand to the best alone: all pairs of very many would tell little."""
    below, tests = [], []
    for start in range(0, len(scores), MOST):  # so many at once take no memory to speak of
        some = scores[start : start + MOST]
        pairs = compare([scores[0], *some], n_test)
        below += [pairs.difference(0, k) for k in range(1, len(some) + 1)]
        tests += pairs.p[0, 1:].tolist()
    p = np.array([math.nan, *tests[1:]])
    told = holm(p)
    found = [
        Standing(one, tied=bool(np.isfinite(p[k]) and not told[k])) for k, one in enumerate(below)
    ]
    return found, int(np.isfinite(p).sum())


def _among_all(
    scores: Sequence[Score], rows: NDArray[np.int64], n_test: int
) -> tuple[list[Standing], int]:
    """Return how rows stand by all pairs of them; `rows` is how many are of the same sets each."""
    pairs = compare(scores, n_test)
    told = pairs.told_apart()
    known = np.isfinite(pairs.p).sum(1) > 1  # beside itself
    groups = _letters(told, known, rows)
    found = []
    for k in range(len(scores)):
        better, worse = int(rows[:k][told[k, :k]].sum()), int(rows[k + 1 :][told[k, k + 1 :]].sum())
        below = pairs.difference(0, k)
        found.append(
            Standing(
                below,
                tied=bool(k > 0 and below.known and not told[0, k]),
                ranks=(1 + better, int(rows.sum()) - worse),
                groups=groups[k],
            )
            if known[k]
            else Standing(below)
        )
    return found, pairs.tests


def _letters(
    told: NDArray[np.bool_], known: NDArray[np.bool_], rows: NDArray[np.int64]
) -> list[str]:
    """Return the ties of each set: longest runs of neighbours none of which is told apart."""
    letters, last, n = [""] * len(told), -1, 0
    for start in range(len(told)):
        end = start
        while end + 1 < len(told) and not told[start : end + 1, end + 1].any():
            end += 1
        members = [k for k in range(start, end + 1) if known[k]]
        if end > last and int(rows[members].sum()) > 1:
            for k in members:
                letters[k] += _letter(n)
            n += 1
        last = max(last, end)
    return letters


def _letter(n: int) -> str:
    return string.ascii_lowercase[n] if n < 26 else f"({n + 1})"
