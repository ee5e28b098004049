"""Format numbers for tables; the same in the terminal and in a report."""

from __future__ import annotations

import math
import sys

NOTHING = "–"


def known(value: object) -> bool:
    """Return whether `value` is a measured number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # neither NaN nor infinite, nor beyond all floats


def points(share: float, spread: float = math.nan, digits: int = 1) -> str:
    """Return a share of 1 in percent, with its spread: 86.1 ± 0.8."""
    if not known(share):
        return NOTHING
    text = f"{100 * share:.{digits}f}"
    return f"{text} ± {100 * spread:.{digits}f}" if known(spread) else text


def difference(share: float, digits: int = 1) -> str:
    """Return a difference of shares in points, with its sign: +3.2, −0.4."""
    return f"{100 * share:+.{digits}f}".replace("-", "−") if known(share) else NOTHING


def seconds(value: float) -> str:
    """Return seconds with three digits or so, without the unit: 0.021, 3.4, 125."""
    if not known(value):
        return NOTHING
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    if value < 0.001:
        return "<0.001"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:#.2g}"


def duration(value: float) -> str:
    """Return seconds in words for a sentence: 0.4 s, 3 min 12 s, 2 h 5 min."""
    if not known(value):
        return "an unknown time"
    if value < 120:
        return f"{seconds(value)} s"
    if value < 7200:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60)} min"


def count(value: float, lower_bound: bool = False) -> str:
    """Return a large count with an SI prefix: 1.42 T, and ≥ where it is a lower bound."""
    if not known(value):
        return NOTHING
    sign = "≥ " if lower_bound else ""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            scaled = value / size
            text = f"{scaled:,.0f}" if scaled >= 999.5 else f"{scaled:.3g}"
            return f"{sign}{text} {prefix}"
    return f"{sign}{value:.0f}"


def flops(value: float, lower_bound: bool = False) -> str:
    """Return a count of operations with its unit: 1.42 TFLOPs, 12 FLOPs."""
    text = count(value, lower_bound)
    return f"{text}FLOPs" if text[-1].isalpha() else f"{text} FLOPs"


def size(value: float) -> str:
    """Return bytes: 512 B, 30.6 KiB, 1.2 GiB."""
    if not known(value):
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def number(value: object) -> str:
    """Return any measured value: whole numbers in full, others with four digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.4g}"
    return str(value)


def several(n: int, word: str) -> str:
    """Return "1 seed" or "3 seeds"."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def listed(words: list[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)
