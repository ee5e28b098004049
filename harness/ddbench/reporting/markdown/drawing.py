"""Drawings as SVG: scales, ticks, marks, panels side by side and a legend beside them.

A plot is some hundred lines and words, and a report holds many plots: written directly each takes
milliseconds. Text stays text, so the reader's own fonts show any script.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ddbench.text.lines import printable

Point = tuple[float, float]
LINE, LINES = 45, 2  # characters, and lines of them, that a name may take
LETTER, ROW = 5.9, 14  # pixels that a letter takes about, and a line, both at font size 11
INK, GREY, FAINT = "#222222", "#666666", "#dddddd"
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


# -- scales ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """An axis: from which value to which, and how values lie on it.

    Attributes:
        low, high: Its ends; with `zero` of the part that is logarithmic.
        log: Whether equal ratios are equally far apart.
        zero: Whether 0 has a place of its own, left of what is logarithmic.
    """

    low: float
    high: float
    log: bool = False
    zero: bool = False

    @classmethod
    def of(cls, values: Iterable[float], log: bool = False) -> Scale:
        """Return the scale that has room for some finite values; logarithmic if none is below 0."""
        known = list(values) or [0.0, 1.0]
        least, most = min(known), max(known)
        if log and least >= 0 and most > 0:
            low = min(value for value in known if value > 0)
            pad = (most / low) ** 0.06 if most / low > 1.2 else 1.3
            return cls(low / pad, most * pad, log=True, zero=least == 0)
        pad = 0.06 * (most - least) or abs(most) * 0.1 or 1.0
        return cls(least - pad, most + pad)

    def at(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high one."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        gap = 0.12 if self.zero else 0.0
        if value <= 0:
            return gap / 3
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return gap + (1 - gap) * share

    def ticks(self, most: int) -> list[float]:
        """Return round values on the scale: at least two, and not many more than `most`."""
        if not self.log:
            return _even(self.low, self.high, most)
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        every = max(1, math.ceil((last - first + 1) / most))
        found = [10.0**k for k in range(first, last + 1, every)]
        if len(found) < 3:
            steps = (factor * 10.0**k for k in range(first - 1, last + 1) for factor in (1, 2, 5))
            finer = [value for value in steps if self.low <= value <= self.high]
            found = finer if len(finer) <= most + 1 or len(found) < 2 else found
        if len(found) < 2 or len(found) > most + 1:
            found = _even(self.low, self.high, most)
        return [*([0.0] if self.zero else []), *found]


def _even(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= 0.8 * rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


# -- words and marks ---------------------------------------------------------------------------


def lines_of(text: str) -> list[str]:
    """Return words of others in short lines; names differ at their beginnings and at their ends."""
    text = text.encode(errors="backslashreplace").decode()
    whole, most = " ".join(printable(text).split()), LINE * LINES
    if len(whole) > most:
        whole = f"{whole[: most // 2 - 2]}...{whole[1 - most // 2 :]}"
    return textwrap.wrap(whole, LINE) or [""]


def words(at: Point, lines: Sequence[str], size: int = 11, more: str = "") -> str:
    """Return lines of text below each other, the first on the point."""
    x, y = at
    step = size + 3
    return "".join(
        f'<text x="{x:.1f}" y="{y + n * step:.1f}" font-size="{size}" fill="{INK}"{more}>'
        f"{_safe(line)}</text>"
        for n, line in enumerate(lines)
    )


def _safe(text: str) -> str:
    text = text.encode(errors="backslashreplace").decode()
    return html.escape(_NOT_XML.sub("", text), quote=False)


def path(points: Sequence[Point], colour: str, width: float = 1.2, more: str = "") -> str:
    """Return a line through points."""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{way}" stroke="{colour}" stroke-width="{width}"{more}/>'


def _polygon(corners: int, turn: float = 0.0, inner: float = 1.0) -> tuple[Point, ...]:
    """Return the corners of a regular polygon around 0; of a star where `inner` is less than 1."""
    found = []
    for n in range(corners):
        angle = 2 * math.pi * (n / corners) + math.radians(turn)
        far = inner if inner < 1 and n % 2 else 1.0
        found.append((far * math.sin(angle), -far * math.cos(angle)))
    return tuple(found)


SHAPES: tuple[tuple[Point, ...], ...] = (
    (), _polygon(4, 45), _polygon(4), _polygon(3), _polygon(3, 180), _polygon(5),
    _polygon(10, 0, 0.5), _polygon(3, 90), _polygon(3, 270), _polygon(6), _polygon(8, 0, 0.4),
    _polygon(6, 30), _polygon(5, 180), _polygon(12, 0, 0.7), _polygon(8, 22),
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """How a row is drawn: its colour and its shape (an index of `SHAPES`), hollow for a control."""

    colour: str
    shape: int
    hollow: bool = False

    def at(self, point: Point, size: float = 5.0, about: str = "") -> str:
        """Return the mark on a point; `about` is shown where a reader points at it."""
        x, y = point
        edge, fill = (self.colour, "#ffffff") if self.hollow else ("#ffffff", self.colour)
        title = f"<title>{_safe(about)}</title>" if about else ""
        look = f'fill="{fill}" stroke="{edge}" stroke-width="{1.4 if self.hollow else 0.8}"'
        corners = SHAPES[self.shape % len(SHAPES)]
        if not corners:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {look}>{title}</circle>'
        far = size * 1.2
        way = " ".join(f"{x + far * dx:.1f},{y + far * dy:.1f}" for dx, dy in corners)
        return f'<polygon points="{way}" {look}>{title}</polygon>'


# -- panels ------------------------------------------------------------------------------------


@dataclass
class Panel:
    """One pair of axes, and what is drawn between them; points are in the axes' values."""

    x: Scale
    y: Scale
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    x_text: Callable[[float], str] = "{:.4g}".format
    y_text: Callable[[float], str] = "{:.4g}".format
    width: float = 340
    height: float = 300
    parts: list[str] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def at(self, point: Point) -> Point:
        """Return a point in pixels from the upper left corner."""
        return self.x.at(point[0]) * self.width, (1 - self.y.at(point[1])) * self.height

    def line(
        self, points: Iterable[Point], colour: str, width: float = 1.2, more: str = ""
    ) -> None:
        """Draw a line through points."""
        self.parts.append(path([self.at(point) for point in points], colour, width, more))

    def bar(self, point: Point, half: float, colour: str) -> None:
        """Draw an interval of y around a point, if it has a width."""
        if not (math.isfinite(half) and half > 0):
            return
        (x, high), (_, low) = (
            self.at((point[0], point[1] + half)),
            self.at((point[0], point[1] - half)),
        )
        ends = "".join(f"M{x - 3:.1f},{y:.1f}h6" for y in (high, low))
        self.parts.append(f'<path d="M{x:.1f},{high:.1f}V{low:.1f}{ends}" stroke="{colour}"/>')

    def mark(self, point: Point, mark: Mark, size: float = 5.0, about: str = "") -> None:
        """Draw a mark on a point."""
        self.parts.append(mark.at(self.at(point), size, about))

    def note(self, point: Point, lines: Sequence[str]) -> None:
        """Write words beside a point where no others are; none where there is no room."""
        x, y = self.at(point)
        wide, high = max(map(len, lines)) * LETTER * 0.85, 12.0 * len(lines)
        for left, top in ((x - wide - 8, y + 8), (x + 8, y + 8), (x - wide - 8, y - 8 - high),
                          (x + 8, y - 8 - high)):  # fmt: skip
            inside = (
                left >= 0 and top >= 0 and left + wide <= self.width and top + high <= self.height
            )
            box = (left, top, left + wide, top + high)
            if inside and not any(_meet(box, other) for other in self.boxes):
                self.boxes.append(box)
                self.parts.append(words((left, top + 9), lines, 9))
                return

    def level(self, y: float, colour: str = GREY) -> None:
        """Draw a dotted line at a value of y."""
        _, at = self.at((self.x.high, y))
        dots = ' stroke-dasharray="2 3"'
        self.parts.append(path([(0, at), (self.width, at)], colour, 1.2, dots))

    def x_ticks(self) -> list[tuple[float, str]]:
        """Return the ticks of the x axis whose words stand apart: pixels from the left, words."""
        found, end = [], -math.inf
        for value in self.x.ticks(max(2, round(self.width / 75))):
            x, text = self.x.at(value) * self.width, self.x_text(value)
            half = len(text) * LETTER / 2
            if x - half >= end:
                found.append((x, text))
                end = x + half + 4
        return found

    def drawn(self, left: float, top: float, labels: bool = True) -> str:
        """Return the panel; without `labels` its y axis has none, as the one beside it has them."""
        across, down = self.width, self.height
        grid, texts = [], []
        for x, text in self.x_ticks():
            grid.append(f"M{x:.1f},0V{down:.1f}")
            texts.append(words((x, down + 15), [text], 10, ' text-anchor="middle"'))
        for value in self.y.ticks(max(2, round(down / 42))):
            y = (1 - self.y.at(value)) * down
            grid.append(f"M0,{y:.1f}H{across:.1f}")
            if labels:
                texts.append(words((-6, y + 3.5), [self.y_text(value)], 10, ' text-anchor="end"'))
        if self.x_label:
            texts.append(
                words((across / 2, down + 32), [self.x_label], 11, ' text-anchor="middle"')
            )
        if self.y_label and labels:
            turned = f' text-anchor="middle" transform="rotate(-90 -40 {down / 2:.1f})"'
            texts.append(words((-40, down / 2), [self.y_label], 11, turned))
        if self.title:
            texts.append(words((0, -7), [self.title], 10))
        return (
            f'<g transform="translate({left:.1f} {top:.1f})"><path d="{"".join(grid)}" '
            f'stroke="{FAINT}" stroke-width="0.6"/><path d="M0,0V{down:.1f}H{across:.1f}" '
            f'stroke="{INK}"/>{"".join(self.parts)}{"".join(texts)}</g>'
        )


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# -- figures -----------------------------------------------------------------------------------

LEFT, TOP, BOTTOM, BETWEEN = 62.0, 24.0, 44.0, 22.0
Key = tuple[str, Callable[[Point], str]]  # words of a legend, and what draws their mark


def figure(
    panels: Sequence[Panel], columns: int, legend: Sequence[Key] = (), shared: bool = False
) -> bytes:
    """Return an SVG of panels of one size in rows, the legend at their right.

    With `shared` only the first panel of a row has labels at its y axis.
    """
    wide, high = panels[0].width, panels[0].height
    across, down = wide + (BETWEEN if shared else LEFT), high + TOP + BOTTOM
    parts = []
    for n, panel in enumerate(panels):
        row, column = divmod(n, columns)
        left, top = LEFT + column * across, TOP + row * down
        parts.append(panel.drawn(left, top, labels=not shared or column == 0))
    width = LEFT + min(columns, len(panels)) * across
    height = -(-len(panels) // columns) * down
    keys, beside, below = _legend(legend, width)
    return _svg([*parts, keys], width + beside, max(height, below)).encode()


def _legend(legend: Sequence[Key], left: float) -> tuple[str, float, float]:
    """Return the legend, how wide it is, and where it ends."""
    y, longest, parts = TOP + 6.0, 0, []
    for label, mark in legend:
        lines = lines_of(label)
        longest = max(longest, *map(len, lines))
        parts += [mark((left + 6, y)), words((left + 18, y + 4), lines, 11)]
        y += ROW * len(lines) + 3
    return "".join(parts), 30 + longest * LETTER if parts else 0.0, y + 6


def _svg(parts: Sequence[str], width: float, height: float) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" {size} '
        f'font-family="Helvetica, Arial, sans-serif" fill="none" stroke-linejoin="round">\n'
        f'<rect class="ground" width="100%" height="100%" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
