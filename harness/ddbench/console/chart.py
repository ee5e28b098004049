"""Draw a curve with braille dots, two wide and four high in each character."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a cell
_BLANK = 0x2800


def chart(values: Sequence[float], width: int = 72, height: int = 10) -> list[str]:
    """Return the lines of a chart of `values` against their index, the range at its left.

    Values that are not finite leave a gap. More values than dots are averaged in equal parts.
    """
    points = binned(values, 2 * width)
    known = [value for value in points if math.isfinite(value)]
    if not known:
        return ["no finite value"]
    low, high = min(known), max(known)
    cells = [[0] * width for _ in range(height)]
    before: int | None = None
    for x, value in enumerate(points):
        if not math.isfinite(value):
            before = None
            continue
        y = _row(value, low, high, 4 * height)
        # A vertical stroke joins a dot to the one before, so that steep curves hold together.
        for dot in _between(before, y):
            cells[dot // 4][x // 2] |= _DOTS[dot % 4][x % 2]
        before = y
    labels = [f"{high:.4g}"] + [""] * (height - 2) + [f"{low:.4g}"] * (height > 1)
    margin = max(map(len, labels))
    return [
        f"{label:>{margin}} ┤{''.join(chr(_BLANK + cell) for cell in line)}".rstrip()
        for label, line in zip(labels, cells, strict=True)
    ]


def _row(value: float, low: float, high: float, rows: int) -> int:
    """Return the row of dots of a value, 0 at the top."""
    share = (value - low) / (high - low) if high > low else 0.5
    return round((1 - share) * (rows - 1))


def _between(before: int | None, y: int) -> range:
    if before is None or abs(before - y) <= 1:
        return range(y, y + 1)
    return range(min(before, y) + (before < y), max(before, y) + (before < y))


def binned(values: Sequence[float], most: int) -> list[float]:
    """Return at most `most` values: means of equal parts, of their finite values."""
    n = len(values)
    if n <= most:
        return list(values)
    edges = [round(k * n / most) for k in range(most + 1)]
    return [_mean(values[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
