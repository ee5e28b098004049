"""The plots: accuracy against cost, logged metrics, accuracy on the way. PNG bytes each."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ddbench.leaderboard import Board, Costs, Entry, Place
from ddbench.leaderboard.curves import Moment, metrics_of, one_hardware

# Okabe and Ito's colours, which remain apart for colour-blind eyes; markers tell repeats apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*<>"
Curves = Sequence[tuple[Entry, Sequence[Moment]]]
PANELS = 24  # of curves, at most
POINTS = 400  # of a curve, at most


def _style(n: int) -> dict[str, str]:
    return {"color": COLOURS[n % len(COLOURS)], "marker": MARKERS[n % len(MARKERS)]}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _tidy(axes: Any) -> None:  # noqa: ANN401
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain(text: str) -> str:
    """Return words of others so that matplotlib can draw them, and as no formula."""
    return text.encode(errors="backslashreplace").decode().replace("$", r"\$")


def _label(entry: Entry) -> str:
    return _plain(f"{entry.label} ({entry.init})")


def _legend(figure: Figure, axes: Any, order: Sequence[str]) -> None:  # noqa: ANN401
    """Put the legend beside the panels, in the order of the table."""
    found = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    labels = [*order, *(label for label in found if label not in order)]
    labels = [label for label in dict.fromkeys(labels) if label in found]
    handles = [found[label] for label in labels]
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)


# -- accuracy against cost ---------------------------------------------------------------------


def cost_plot(board: Board) -> bytes | None:
    """Plot each row's accuracy over what its set cost, in FLOPs and, on one machine, in seconds.

    A row that cost no operation has no place on a logarithmic axis and is drawn as a line.
    """
    places = [place for place in board.places if place.score.known and place.costs]
    if not places:
        return None
    classes = {name for place in places for name in place.costs}
    kinds: list[tuple[str, str, Callable[[Costs], float]]] = [
        ("FLOPs to make the set, artifacts in full", "", lambda cost: cost.flops)
    ]
    if len(classes) == 1:
        kinds.append(("seconds to make the set, artifacts in full", "s", lambda cost: cost.seconds))
    figure = Figure(figsize=(4.6 * len(kinds) + 2.2, 4), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (label, unit, cost_of) in zip(panels, kinds, strict=True):
        for n, place in enumerate(places):
            _draw(axes, n, place, cost_of(next(iter(place.costs.values()))))
        if any(cost_of(cost) > 0 for place in places for cost in place.costs.values()):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))
        _whole(axes, board)
        axes.set_xlabel(label)
        _tidy(axes)
    panels[0].set_ylabel(_plain(f"accuracy % on {board.architecture}"))
    _legend(figure, panels[0], [_label(place.entry) for place in places])
    return _png(figure)


def _draw(axes: Any, n: int, place: Place, cost: float) -> None:  # noqa: ANN401
    score, label = place.score, _label(place.entry)
    spread = 100 * score.spread if math.isfinite(score.spread) else 0.0
    style = _style(n)
    if cost > 0:
        axes.errorbar(cost, 100 * score.mean, spread, capsize=3, linestyle="", label=label, **style)
    else:
        y = 100 * score.mean
        axes.axhline(y, color=style["color"], linewidth=1.2, linestyle="--", label=label)
        axes.axhspan(y - spread, y + spread, color=style["color"], alpha=0.08, linewidth=0)


def _whole(axes: Any, board: Board) -> None:  # noqa: ANN401
    if board.reference:
        y = 100 * board.reference.score.mean
        axes.axhline(y, color="#666666", linewidth=1.2, linestyle=":", label="whole training set")


# -- curves ------------------------------------------------------------------------------------


def curve_plot(curves: Sequence[tuple[Entry, Sequence[pd.DataFrame]]]) -> tuple[bytes | None, int]:
    """Plot every metric that entries logged, a panel each, a line a seed.

    Returns the picture, and how many panels there was no room for.
    """
    panels = [
        (entry, name, by_seed)
        for entry, by_seed in curves
        for name in dict.fromkeys(name for curve in by_seed for name in metrics_of(curve))
    ]
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
        axes.set_title(f"{_label(entry)}: {_plain(name)}", fontsize=8)
        axes.tick_params(labelsize=7)
        _log_where_wide(axes, [c[name] for c in by_seed if name in c])
        _tidy(axes)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("step (each method's own unit)", fontsize=8)
    return _png(figure), len(panels) - len(shown)


def _thinned(curve: pd.DataFrame, name: str) -> tuple[list[float], list[float]]:
    """Return steps and finite values, averaged in equal parts where there are too many."""
    kept = curve[["step", name]] if "step" in curve else curve[[name]].assign(step=curve.index)
    kept = kept[kept[name].map(math.isfinite)]
    if len(kept) > POINTS:
        part = pd.Series(range(len(kept)), index=kept.index) * POINTS // len(kept)
        kept = kept.groupby(part).mean()
    return list(kept["step"]), list(kept[name])


def _log_where_wide(axes: Any, values: Iterable[pd.Series]) -> None:  # noqa: ANN401
    known = [float(v) for series in values for v in series if math.isfinite(v)]
    if known and min(known) > 0 and max(known) / min(known) > 100:
        axes.set_yscale("log")


# -- on the way --------------------------------------------------------------------------------


def anytime_plot(board: Board, curves: Curves, own: Curves = ()) -> bytes:
    """Plot accuracy over FLOPs so far and, on one class of hardware, over seconds so far.

    Dashed by the sets' own recipes; a single point where there is the final set alone.
    """
    styles = {entry.key: _style(n) for n, (entry, _) in enumerate(curves)}
    kinds: list[tuple[str, str, Callable[[Moment], float]]] = [
        ("FLOPs so far, artifacts in full", "", lambda moment: moment.flops)
    ]
    if one_hardware(board, (entry for entry, _ in curves)):
        kinds.insert(0, ("seconds so far, artifacts in full", "s", lambda moment: moment.seconds))
    figure = Figure(figsize=(4.6 * len(kinds) + 2.2, 4), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (label, unit, cost_of) in zip(panels, kinds, strict=True):
        for entry, moments in curves:
            style = styles[entry.key] | {"label": _label(entry)}
            _draw_moments(axes, moments, cost_of, style)
        for entry, moments in own:
            style = styles.get(entry.key, _style(0)) | {"linestyle": "--", "markerfacecolor": "w"}
            _draw_moments(axes, moments, cost_of, style | {"label": f"{_label(entry)}, own recipe"})
        _log_from_zero(axes, [cost_of(m) for _, moments in curves for m in moments])
        axes.xaxis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))
        _whole(axes, board)
        axes.set_xlabel(label)
        _tidy(axes)
    panels[0].set_ylabel(_plain(f"accuracy % on {board.architecture}"))
    _legend(figure, panels[0], [_label(entry) for entry, _ in curves])
    return _png(figure)


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


def _draw_moments(
    axes: Any,  # noqa: ANN401
    moments: Sequence[Moment],
    cost_of: Callable[[Moment], float],
    style: Mapping[str, str],
) -> None:
    known = [m for m in moments if m.score.known and math.isfinite(cost_of(m))]
    spreads = [100 * m.score.spread if math.isfinite(m.score.spread) else 0.0 for m in known]
    x, y = [cost_of(m) for m in known], [100 * m.score.mean for m in known]
    axes.errorbar(x, y, spreads, capsize=2, linewidth=1.2, markersize=4, **style)
