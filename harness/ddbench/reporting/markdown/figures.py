"""The plots: accuracy against cost, logged metrics, accuracy on the way. SVG each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean

from ddbench.reporting.leaderboard import Board, Costs, Entry, RankedRow
from ddbench.reporting.leaderboard.curves import (
    PANELS,
    AnytimePoint,
    Curve,
    Logged,
    one_hardware,
    panels_of,
)
from ddbench.reporting.markdown.drawing import (
    GREY,
    SHAPES,
    Key,
    Mark,
    Panel,
    Point,
    Scale,
    figure,
    lines_of,
    path,
)
from ddbench.text import number_format

# Okabe and Ito's colours first, which remain apart for colour-blind eyes; then darker ones.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7B3F00",
    "#6A3D9A", "#C00020", "#808000", "#00CED1", "#FF69B4", "#1B1464", "#9ACD32", "#8C8C8C",
)  # fmt: skip
SIZES = (8.0, 5.5, 3.5)  # of marks that lie on each other, in pixels
FRONT = "#999999"
Curves = Sequence[tuple[Entry, Sequence[AnytimePoint]]]
POINTS = 400  # of a curve, at most
NAMED = 3  # rows on one spot that are named there; the legend has all
MOST = 60  # rows of a plot that the legend names
DASHED = ' stroke-dasharray="5 3"'


def styles(board: Board) -> dict[str, Mark]:
    """Return how each row is drawn: a colour for each method, a shape for each row of a board.

    Where all rows are of one method each has its own colour. Controls are hollow.
    """
    entries = [place.entry for place in board.places]
    methods = list(dict.fromkeys(entry.method for entry in entries))
    alone = len(methods) == 1
    return {
        entry.key: Mark(
            COLOURS[(n if alone else methods.index(entry.method)) % len(COLOURS)],
            n % len(SHAPES),
            hollow=entry.is_control,
        )
        for n, entry in enumerate(entries)
    }


def _label(entry: Entry) -> str:
    return f"{entry.label} ({entry.init})"


def _flops(value: float) -> str:
    return number_format.count(value) if 100 <= value < 1e18 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if 1000 <= value < 1e7 else f"{value:g} s"


def _legend(keys: Sequence[Key]) -> list[Key]:
    """Return a legend of so many rows that a reader can find one; the table has all."""
    more = len(keys) - MOST
    return [*keys[:MOST], *([(f"and {more} more rows", lambda _: "")] if more > 0 else [])]


# -- accuracy against cost ---------------------------------------------------------------------


def cost_plot(board: Board) -> bytes | None:
    """Plot each row's accuracy over what its set cost, in FLOPs and, on one machine, in seconds."""
    places = [place for place in board.places if place.score.known and place.costs]
    if not places:
        return None
    classes = {name for place in places for name in place.costs}
    kinds: list[tuple[str, Callable[[float], str], Callable[[Costs], float]]] = [
        ("FLOPs to make the set, artifacts in full", _flops, lambda cost: cost.flops)
    ]
    if len(classes) == 1:
        label = "time to make the set, artifacts in full"
        kinds.append((label, _seconds, lambda cost: cost.seconds))
    style, y = styles(board), _accuracies(board, [place.score for place in places])
    panels = []
    for label, text, cost_of in kinds:
        points = [(place, cost_of(next(iter(place.costs.values())))) for place in places]
        points = [(place, cost) for place, cost in points if math.isfinite(cost)]
        x = Scale.of((cost for _, cost in points), log=True)
        panel = Panel(x, y, label, _y_label(board), x_text=text)
        _draw_front(panel, points)
        _whole(panel, board)
        for together in _overlapping(points):
            _draw(panel, together, style, text)
        panels.append(panel)
    keys: list[Key] = [(_label(p.entry), style[p.entry.key].at) for p in places]
    return figure(panels, len(panels), [*_legend(keys), *_key_of_whole(board)], shared=True)


def _accuracies(board: Board, scores: Iterable[object]) -> Scale:
    """Return the axis of accuracies in percent, with room for their bars."""
    ends = []
    for score in scores:
        mean, spread = score.mean, score.spread  # type: ignore[attr-defined]
        half = spread if math.isfinite(spread) else 0.0
        ends += [100 * (mean - half), 100 * (mean + half)]
    if board.reference:
        ends.append(100 * board.reference.score.mean)
    return Scale.of(ends)


def _y_label(board: Board) -> str:
    return " ".join(lines_of(f"accuracy % on {board.architecture}")[:1])


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
    panel: Panel,
    together: Sequence[tuple[RankedRow, float]],
    style: dict[str, Mark],
    text: Callable[[float], str],
) -> None:
    """Draw points on one spot inside each other, the first the largest, and name them there."""
    for n, (place, cost) in enumerate(together):
        score, mark = place.score, style[place.entry.key]
        point, size = (cost, 100 * score.mean), SIZES[min(n, len(SIZES) - 1)]
        panel.bar(point, 100 * score.spread, mark.colour)
        about = f"{_label(place.entry)}: {point[1]:.1f}%, {text(float(f'{cost:.3g}'))}"
        panel.mark(point, mark, size if len(together) > 1 else 5.0, about)
    if len(together) > 1:
        (first, cost), names = together[0], [place.entry.label for place, _ in together]
        sign = " =" if len({place.score.mean for place, _ in together}) == 1 else ","
        shown = [" ".join(lines_of(name)) for name in names[:NAMED]]
        more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
        lines = [f"{name}{sign}" for name in [*shown, *more][:-1]] + [*shown, *more][-1:]
        panel.note((cost, 100 * first.score.mean), lines)


def _draw_front(panel: Panel, points: Sequence[tuple[RankedRow, float]]) -> None:
    """Draw the line below which some row is both more accurate and cheaper: the Pareto front."""
    ranked = [(cost, -place.score.mean) for place, cost in points if place.rank is not None]
    front: list[Point] = []
    for cost, accuracy in ((cost, -100 * negative) for cost, negative in sorted(ranked)):
        if not front or accuracy > front[-1][1]:
            front += [(cost, front[-1][1])] if front else []
            front.append((cost, accuracy))
    if len(front) > 1:
        panel.line(front, FRONT)


def _whole(panel: Panel, board: Board) -> None:
    if board.reference:
        panel.level(100 * board.reference.score.mean)


def _key_of_whole(board: Board) -> list[Key]:
    def dots(at: Point) -> str:
        ends = [(at[0] - 6, at[1]), (at[0] + 6, at[1])]
        return path(ends, GREY, 1.2, ' stroke-dasharray="2 3"')

    return [("whole training set", dots)] if board.reference else []


# -- curves ------------------------------------------------------------------------------------


def curve_plot(curves: Sequence[tuple[Entry, Sequence[Curve]]]) -> tuple[bytes | None, int]:
    """Plot what entries logged: a panel for each metric of a method, a line a seed.

    Rows of one method share its panels, each row in a colour of its own. Returns the picture, and
    how many panels there was no room for.
    """
    found = panels_of(curves)
    shown = found[:PANELS]
    if not shown:
        return None, 0
    panels = [_curves_of(one) for one in shown]
    several = [one for one in shown if len(one.rows) > 1]
    keys: dict[str, Key] = {}
    for one in several:
        for n, (entry, _) in enumerate(one.rows):
            colour = COLOURS[n % len(COLOURS)]
            keys.setdefault(entry.key, (_label(entry), partial(_stroke, colour)))
    return figure(panels, min(3, len(panels)), _legend([*keys.values()])), len(found) - len(shown)


def _stroke(colour: str, at: Point) -> str:
    return path([(at[0] - 6, at[1]), (at[0] + 6, at[1])], colour, 2.0)


def _curves_of(one: Logged) -> Panel:
    lines = [
        (n, _thinned(curve, one.metric))
        for n, (_, by_seed) in enumerate(one.rows)
        for curve in by_seed
        if one.metric in curve
    ]
    values = [value for _, points in lines for _, value in points]
    wide = min(values) > 0 and max(values) / min(values) > 100
    x = Scale.of(step for _, points in lines for step, _ in points)
    x = Scale(max(0.0, x.low) if x.low < 0 else x.low, x.high)
    names = [entry for entry, _ in one.rows]
    head = _label(names[0]) if len(names) == 1 else f"{names[0].method}, {len(names)} rows"
    title = f"{_cut(head, 28)}: {_cut(one.metric, 20)}"
    panel = Panel(x, Scale.of(values, log=wide), "step", title=title, width=230, height=130)
    for n, points in lines:
        panel.line(points, COLOURS[n % len(COLOURS)])
    return panel


def _cut(text: str, most: int) -> str:
    whole = " ".join(lines_of(text))
    return whole if len(whole) <= most else f"{whole[: most // 2 - 2]}...{whole[1 - most // 2 :]}"


def _thinned(curve: Curve, name: str) -> list[Point]:
    """Return steps and finite values, averaged in equal parts where there are too many."""
    steps = curve.get("step", range(len(curve[name])))
    pairs = zip(steps, curve[name], strict=True)
    known = [pair for pair in pairs if math.isfinite(pair[0]) and math.isfinite(pair[1])]
    parts: dict[int, list[Point]] = {}
    for n, pair in enumerate(known):
        parts.setdefault(n * POINTS // max(POINTS, len(known)), []).append(pair)
    return [(fmean(s for s, _ in pairs), fmean(v for _, v in pairs)) for pairs in parts.values()]


# -- on the way --------------------------------------------------------------------------------


def anytime_plot(board: Board, curves: Curves, own: Curves = ()) -> bytes:
    """Plot accuracy over FLOPs so far and, on one class of hardware, over seconds so far.

    Dashed by the sets' own recipes; a single point where there is the final set alone.
    """
    style = styles(board)
    kinds: list[tuple[str, Callable[[float], str], Callable[[AnytimePoint], float]]] = [
        ("FLOPs so far, artifacts in full", _flops, lambda moment: moment.flops)
    ]
    if one_hardware(board, (entry for entry, _ in curves)):
        label = "time so far, artifacts in full"
        kinds.insert(0, (label, _seconds, lambda moment: moment.seconds))
    y = _accuracies(board, [m.score for _, moments in (*curves, *own) for m in moments])
    panels = []
    for label, text, cost_of in kinds:
        costs = [cost_of(m) for _, moments in (*curves, *own) for m in moments]
        x = Scale.of(filter(math.isfinite, costs), log=True)
        panel = Panel(x, y, label, _y_label(board), x_text=text)
        _whole(panel, board)
        for entry, moments in curves:
            _draw_moments(panel, moments, cost_of, style[entry.key])
        for entry, moments in own:
            hollow = Mark(style[entry.key].colour, style[entry.key].shape, hollow=True)
            _draw_moments(panel, moments, cost_of, hollow, DASHED)
        panels.append(panel)
    keys: list[Key] = [(_label(entry), style[entry.key].at) for entry, _ in curves]
    keys += [
        (f"{_label(e)}, own recipe", Mark(style[e.key].colour, style[e.key].shape, True).at)
        for e, _ in own
    ]
    return figure(panels, len(panels), [*_legend(keys), *_key_of_whole(board)], shared=True)


def _draw_moments(
    panel: Panel,
    moments: Sequence[AnytimePoint],
    cost_of: Callable[[AnytimePoint], float],
    mark: Mark,
    dashes: str = "",
) -> None:
    known = [m for m in moments if m.score.known and math.isfinite(cost_of(m))]
    points = [(cost_of(m), 100 * m.score.mean) for m in known]
    if len(points) > 1:
        panel.line(points, mark.colour, 1.2, dashes)
    for moment, point in zip(known, points, strict=True):
        panel.bar(point, 100 * moment.score.spread, mark.colour)
        panel.mark(point, mark, 3.5)
