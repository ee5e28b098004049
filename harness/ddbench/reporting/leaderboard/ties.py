"""Which rows of a table are told apart: ranks that each may have, and ties."""

from __future__ import annotations

import string
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddbench.reporting.leaderboard.differences import Pairs, compare
from ddbench.reporting.leaderboard.scores import Score


@dataclass(frozen=True)
class Standing:
    """Where a row stands among all of its table.

    Attributes:
        tied: Whether nothing tells it from the best; False of the best itself.
        ranks: The first and the last rank that it may have.
        groups: The ties that it is in, a letter each; "" where it is alone.
    """

    tied: bool
    ranks: tuple[int, int]
    groups: str


def standings(
    scores: Sequence[Score], sets: Sequence[Hashable], n_test: int
) -> tuple[Pairs, list[Standing | None]]:
    """Return all pairs of different sets, and where each row stands; None of unknown noise.

    Args:
        scores: Of all rows, the most accurate first.
        sets: What rows of the very same sets have in common: they are one in every test.
        n_test: Test images.
    """
    firsts = list(dict.fromkeys(sets))
    place = [firsts.index(one) for one in sets]
    pairs = compare([scores[sets.index(one)] for one in firsts], n_test)
    told = pairs.told_apart()
    known = np.isfinite(pairs.p).sum(1) > 1  # beside itself
    rows = np.bincount(place, minlength=len(firsts))
    better = [int(rows[:k][told[k, :k]].sum()) for k in range(len(firsts))]
    worse = [int(rows[k + 1 :][told[k, k + 1 :]].sum()) for k in range(len(firsts))]
    groups = _letters(told, known, rows)
    found = [
        Standing(
            tied=bool(k > 0 and np.isfinite(pairs.p[0, k]) and not told[0, k]),
            ranks=(1 + better[k], len(sets) - worse[k]),
            groups=groups[k],
        )
        if known[k]
        else None
        for k in range(len(firsts))
    ]
    return pairs, [found[k] for k in place]


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
