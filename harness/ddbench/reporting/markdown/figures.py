"""The plots: accuracy against cost, logged metrics, accuracy on the way. PNG or SVG each."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import EngFormatter

from ddbench.reporting.leaderboard import Board, Costs, Entry, RankedRow
from ddbench.reporting.leaderboard.curves import (
    PANELS,
    AnytimePoint,
    Curve,
    one_hardware,
    panels_of,
)

# Okabe and Ito's colours first, which remain apart for colour-blind eyes; then darker ones.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7B3F00",
    "#6A3D9A", "#C00020", "#808000", "#00CED1", "#FF69B4", "#1B1464", "#9ACD32", "#8C8C8C",
)  # fmt: skip
MARKERS = "osD^vPX*<>hpd8H"
SIZES = (13, 9, 6)  # of markers that lie on each other, in points
Curves = Sequence[tuple[Entry, Sequence[AnytimePoint]]]
POINTS = 400  # of a curve, at most
LINE, LINES = 45, 2  # characters, and lines of them, that a name may take
NAMED = 3  # rows on one spot that are named there; the legend has all
HEAVY = 150_000  # bytes of an SVG, above which a plot is a PNG
LEGEND_LINE = 0.17  # inches of the legend's height


def styles(board: Board) -> dict[str, dict[str, str]]:
    """Return how each row is drawn: a colour for each method, a marker for each row of a board.

    Controls are hollow.
    """
    entries = [place.entry for place in board.places]
    methods = list(dict.fromkeys(entry.method for entry in entries))
    found = {}
    for n, entry in enumerate(entries):
        colour = COLOURS[methods.index(entry.method) % len(COLOURS)]
        found[entry.key] = {
            "color": colour,
            "marker": MARKERS[n % len(MARKERS)],
            "markerfacecolor": "white" if entry.is_control else colour,
            "markeredgecolor": colour if entry.is_control else "white",
        }
    return found


def _saved(figure: Figure, form: str) -> bytes:
    """Return the picture of a figure: a PNG, or an SVG unless that is heavy."""
    if form == "svg":
        content = _svg(figure)
        if len(content) <= HEAVY:
            return content
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _svg(figure: Figure) -> bytes:
    """Return a drawing with text as text, no ground, and the same ids each time."""
    buffer = io.BytesIO()
    unnamed = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ddbench"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=unnamed)
    return buffer.getvalue()


def _tidy(axes: Any) -> None:  # noqa: ANN401
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain(text: str) -> str:
    """Return words of others so that matplotlib can draw them, in short lines and as no formula.

    What the font has no glyph for is written as an escape; a font that has it can be named as
    `font.family` in a matplotlibrc.
    """
    known = _glyphs(tuple(rcParams["font.family"]))
    drawn = [c if ord(c) in known else c.encode("unicode_escape").decode() for c in text]
    whole, most = " ".join("".join(drawn).split()), LINE * LINES
    if len(whole) > most:  # names differ at their beginnings and at their ends
        whole = f"{whole[: most // 2 - 2]}...{whole[1 - most // 2 :]}"
    return textwrap.fill(whole, LINE).replace("$", r"\$")


@cache
def _glyphs(families: tuple[str, ...]) -> frozenset[int]:
    """Return the characters that the fonts of some families have."""
    files = [findfont(FontProperties(family=[name])) for name in families]
    return frozenset().union(*(get_font(file).get_charmap() for file in files))


def _label(entry: Entry) -> str:
    return _plain(f"{entry.label} ({entry.init})")


def _figure(panels: int, height: float, labels: Iterable[str]) -> Figure:
    """Return a figure for some panels side by side and a legend of `labels` at their right."""
    lines = sum(label.count("\n") + 1 for label in dict.fromkeys(labels))
    size = (4.6 * panels + 2.2, max(height, LEGEND_LINE * (lines + 3)))
    return Figure(figsize=size, layout="constrained")


def _legend(figure: Figure, panels: Iterable[Any], order: Sequence[str]) -> None:
    """Put the legend beside the panels, in the order of the table."""
    found: dict[str, Any] = {}
    for axes in panels:
        found = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True)) | found
    labels = [*order, *(label for label in found if label not in order)]
    labels = [label for label in dict.fromkeys(labels) if label in found]
    handles = [found[label] for label in labels]
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)


# -- accuracy against cost ---------------------------------------------------------------------


def cost_plot(board: Board, form: str = "png") -> bytes | None:
    """Plot each row's accuracy over what its set cost, in FLOPs and, on one machine, in seconds."""
    places = [place for place in board.places if place.score.known and place.costs]
    if not places:
        return None
    classes = {name for place in places for name in place.costs}
    kinds: list[tuple[str, str, Callable[[Costs], float]]] = [
        ("FLOPs to make the set, artifacts in full", "", lambda cost: cost.flops)
    ]
    if len(classes) == 1:
        kinds.append(("seconds to make the set, artifacts in full", "s", lambda cost: cost.seconds))
    figure = _figure(len(kinds), 4.8, [_label(place.entry) for place in places])
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (label, unit, cost_of) in zip(panels, kinds, strict=True):
        points = [(place, cost_of(next(iter(place.costs.values())))) for place in places]
        points = [(place, cost) for place, cost in points if math.isfinite(cost)]
        _draw_front(axes, points)
        for together in _overlapping(points):
            _draw(axes, together, styles(board))
        _log_from_zero(axes, [cost for _, cost in points])
        axes.xaxis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))
        _whole(axes, board)
        axes.set_xlabel(label)
        _tidy(axes)
    panels[0].set_ylabel(_plain(f"accuracy % on {board.architecture}"))
    _legend(figure, panels, [_label(place.entry) for place in places])
    return _saved(figure, form)


def _overlapping(points: Sequence[tuple[RankedRow, float]]) -> list[list[tuple[RankedRow, float]]]:
    """Return the points in groups that would hide each other: half a point, a tenth of the cost."""
    groups: list[list[tuple[RankedRow, float]]] = []
    for place, cost in points:
        for group in groups:
            first, other = group[0]
            near = abs(place.score.mean - first.score.mean) < 0.005
            if near and abs(cost - other) <= 0.1 * max(cost, other):
                group.append((place, cost))
                break
        else:
            groups.append([(place, cost)])
    return groups


def _draw(
    axes: Any,  # noqa: ANN401
    together: Sequence[tuple[RankedRow, float]],
    style: Mapping[str, Mapping[str, str]],
) -> None:
    """Draw points on one spot inside each other, the first the largest, and name them there."""
    for n, (place, cost) in enumerate(together):
        score = place.score
        axes.errorbar(
            cost,
            100 * score.mean,
            100 * score.spread if math.isfinite(score.spread) else 0.0,
            capsize=3,
            linestyle="",
            markersize=SIZES[min(n, len(SIZES) - 1)] if len(together) > 1 else 8,
            label=_label(place.entry),
            **style[place.entry.key],
        )
    if len(together) > 1:
        (first, cost), names = together[0], [place.entry.label for place, _ in together]
        equal = len({place.score.mean for place, _ in together}) == 1
        more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
        sign = " =\n" if equal else ",\n"
        axes.annotate(
            sign.join([*map(_plain, names[:NAMED]), *more]),
            (cost, 100 * first.score.mean),
            xytext=(0, -10),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="top",
            fontsize=7,
        )


def _whole(axes: Any, board: Board) -> None:  # noqa: ANN401
    if board.reference:
        y = 100 * board.reference.score.mean
        axes.axhline(y, color="#666666", linewidth=1.2, linestyle=":", label="whole training set")


# -- curves ------------------------------------------------------------------------------------


def curve_plot(
    curves: Sequence[tuple[Entry, Sequence[Curve]]], form: str = "png"
) -> tuple[bytes | None, int]:
    """Plot every metric that entries logged, a panel each, a line a seed.

    Returns the picture, and how many panels there was no room for.
    """
    panels = panels_of(curves)
    shown = panels[:PANELS]
    if not shown:
        return None, 0
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (entry, name, by_seed) in zip(grid, shown, strict=False):
        for n, curve in enumerate(by_seed):
            if name in curve:
                steps, values = _thinned(curve, name)
                axes.plot(steps, values, linewidth=1, color=COLOURS[n % len(COLOURS)])
        axes.set_title(_plain(f"{entry.label} ({entry.init}): {name}"), fontsize=8)
        axes.tick_params(labelsize=7)
        _log_where_wide(axes, [c[name] for c in by_seed if name in c])
        _tidy(axes)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("step (each method's own unit)", fontsize=8)
    return _saved(figure, form), len(panels) - len(shown)


def _thinned(curve: Curve, name: str) -> tuple[list[float], list[float]]:
    """Return steps and finite values, averaged in equal parts where there are too many."""
    steps = curve.get("step", range(len(curve[name])))
    known = [pair for pair in zip(steps, curve[name], strict=True) if math.isfinite(pair[1])]
    parts: dict[int, list[tuple[float, float]]] = {}
    for n, pair in enumerate(known):
        parts.setdefault(n * POINTS // max(POINTS, len(known)), []).append(pair)
    means = [tuple(map(fmean, zip(*pairs, strict=True))) for pairs in parts.values()]
    return [step for step, _ in means], [value for _, value in means]


def _log_where_wide(axes: Any, values: Iterable[Sequence[float]]) -> None:  # noqa: ANN401
    known = [float(v) for series in values for v in series if math.isfinite(v)]
    if known and min(known) > 0 and max(known) / min(known) > 100:
        axes.set_yscale("log")


# -- on the way --------------------------------------------------------------------------------


def anytime_plot(board: Board, curves: Curves, own: Curves = (), form: str = "png") -> bytes:
    """Plot accuracy over FLOPs so far and, on one class of hardware, over seconds so far.

    Dashed by the sets' own recipes; a single point where there is the final set alone.
    """
    style = styles(board)
    kinds: list[tuple[str, str, Callable[[AnytimePoint], float]]] = [
        ("FLOPs so far, artifacts in full", "", lambda moment: moment.flops)
    ]
    if one_hardware(board, (entry for entry, _ in curves)):
        kinds.insert(0, ("seconds so far, artifacts in full", "s", lambda moment: moment.seconds))
    figure = _figure(len(kinds), 4, [_label(entry) for entry, _ in (*curves, *own)])
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (label, unit, cost_of) in zip(panels, kinds, strict=True):
        for entry, moments in curves:
            about = {"label": _label(entry)}
            _draw_moments(axes, moments, cost_of, style[entry.key] | about)
        for entry, moments in own:
            about = {"label": f"{_label(entry)}, own recipe", "linestyle": "--"}
            about |= {"markerfacecolor": "white", "markeredgecolor": style[entry.key]["color"]}
            _draw_moments(axes, moments, cost_of, style[entry.key] | about)
        _log_from_zero(axes, [cost_of(m) for _, moments in curves for m in moments])
        axes.xaxis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))
        _whole(axes, board)
        axes.set_xlabel(label)
        _tidy(axes)
    panels[0].set_ylabel(_plain(f"accuracy % on {board.architecture}"))
    _legend(figure, panels, [_label(entry) for entry, _ in curves])
    return _saved(figure, form)


def _log_from_zero(axes: Any, costs: Sequence[float]) -> None:  # noqa: ANN401
    """Make the axis logarithmic, with a place for 0 where something cost nothing yet."""
    positive = [cost for cost in costs if cost > 0]
    if not positive:
        return
    if min(costs) > 0:
        axes.set_xscale("log")
        return
    least = min(positive)
    axes.set_xscale("symlog", linthresh=least, linscale=0.5)
    decades = range(math.ceil(math.log10(least)), math.ceil(math.log10(max(positive))) + 1)
    axes.set_xticks([0, *(10.0**k for k in decades)])


def _draw_front(axes: Any, points: Sequence[tuple[RankedRow, float]]) -> None:  # noqa: ANN401
    """Draw the line below which some row is both more accurate and cheaper: the Pareto front."""
    ranked = [(cost, -place.score.mean) for place, cost in points if place.rank is not None]
    front: list[tuple[float, float]] = []
    for cost, accuracy in ((cost, -100 * negative) for cost, negative in sorted(ranked)):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color="#999999", zorder=0)


def _draw_moments(
    axes: Any,  # noqa: ANN401
    moments: Sequence[AnytimePoint],
    cost_of: Callable[[AnytimePoint], float],
    style: Mapping[str, str],
) -> None:
    known = [m for m in moments if m.score.known and math.isfinite(cost_of(m))]
    spreads = [100 * m.score.spread if math.isfinite(m.score.spread) else 0.0 for m in known]
    x, y = [cost_of(m) for m in known], [100 * m.score.mean for m in known]
    axes.errorbar(x, y, spreads, capsize=2, linewidth=1.2, markersize=4, **style)
