"""Draw a curve with braille dots, two wide and four high in each character."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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
    for x, y in _dots(points, low, high, 2 * width, 4 * height):
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    labels = [f"{high:.4g}"] + [""] * (height - 2) + [f"{low:.4g}"] * (height > 1)
    margin = max(map(len, labels))
    return [
        f"{label:>{margin}} ┤{''.join(chr(_BLANK + cell) for cell in line)}".rstrip()
        for label, line in zip(labels, cells, strict=True)
    ]


def _dots(
    points: Sequence[float], low: float, high: float, columns: int, rows: int
) -> Iterator[tuple[int, int]]:
    """Go through the dots of a line from point to point, spread over all columns; 0, 0 top left."""
    before: tuple[int, int] | None = None
    for n, value in enumerate(points):
        if not math.isfinite(value):
            before = None
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        across = n / (len(points) - 1) if len(points) > 1 else 0.0
        dot = round(across * (columns - 1)), round((1 - share) * (rows - 1))
        yield from _stroke(before or dot, dot)
        before = dot


def _stroke(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Go through the dots of a straight stroke, both ends among them."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for k in range(length + 1):
        x, y = (a + (b - a) * k / length for a, b in zip(start, end, strict=True))
        yield round(x), round(y)


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
