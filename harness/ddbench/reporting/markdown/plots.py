"""The sections that hold a plot."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ddbench.reporting.leaderboard import Board, Entry, Leaderboard
from ddbench.reporting.leaderboard.curves import (
    AnytimePoint,
    anytime,
    one_hardware,
    read_curve,
)
from ddbench.reporting.markdown.document import Document, code, escaped, image
from ddbench.reporting.markdown.figures import anytime_plot, cost_plot, curve_plot


def _stem(board: Board) -> str:
    return f"{board.dataset_name}-ipc{board.ipc}-{board.protocol_name}"


def cost_plot_section(document: Document, boards: Sequence[Board]) -> None:
    """Write accuracy against cost."""
    board = boards[0]
    content = cost_plot(board)
    if content is None:
        return
    address = document.picture(f"{_stem(board)}-accuracy-against-cost.svg", content)
    document.add(image(address, f"accuracy on {board.architecture} against the cost of the set"))
    classes = {name for place in board.places for name in place.costs}
    lines = [
        "A colour for each method; hollow: a control. At 0: no counted operation. Grey: the Pareto "
        "front."
    ]
    uncounted = [
        _row(place.entry)
        for place in board.places
        if place.score.known and not all(isfinite(cost.flops) for cost in place.costs.values())
    ]
    if uncounted:
        lines.append(f"Not drawn over FLOPs, which are unknown: {', '.join(uncounted)}.")
    if len(classes) > 1:
        lines.append("Seconds are of several classes of hardware and are not plotted together.")
    document.add(
        f"<sub>Bars: standard deviation over the networks of all seeds. {' '.join(lines)}</sub>"
    )


def curve_section(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write the curves of what methods logged."""
    board, folder = boards[0], leaderboard.folder
    curves = [
        (place.entry, [read_curve(folder, id) for id in place.entry.ids]) for place in board.places
    ]
    content, left_out = curve_plot(curves)
    if content is None:
        return
    address = document.picture(f"{_stem(board)}-curves.svg", content)
    document.add(image(address, "logged metrics against steps"))
    note = f" {left_out} more are in the curve.csv files." if left_out else ""
    document.add(
        "<sub>A panel for each metric of a method, a line for each seed; rows of one method share "
        "its panels. A step is each method's own unit. Metrics that never change are left out."
        f"{note}</sub>"
    )


def anytime_section(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write the anytime curve of every row, where sets were evaluated on the way."""
    board = boards[0]
    curves = anytime(leaderboard.results, leaderboard.folder, board)
    own = anytime(leaderboard.results, leaderboard.folder, board, own=True)
    if not any(len(moments) > 1 for _, moments in (*curves, *own)):
        return
    address = document.picture(f"{_stem(board)}-anytime.svg", anytime_plot(board, curves, own))
    document.add(image(address, f"accuracy on {board.architecture} against the cost so far"))
    document.add(f"<sub>{' '.join(_anytime_caption(board, curves, bool(own)))}</sub>")


def _anytime_caption(
    board: Board, curves: Sequence[tuple[Entry, Sequence[AnytimePoint]]], own: bool
) -> list[str]:
    """Return what the curves are of, and which rows are points or missing, and why."""
    steps = [
        f"{_row(entry)} {', '.join(f'{m.step:,}' for m in moments)}"
        for entry, moments in curves
        if len(moments) > 1
    ]
    points = [_row(entry) for entry, moments in curves if len(moments) == 1]
    uncounted = [
        _row(entry) for entry, moments in curves if not all(isfinite(m.flops) for m in moments)
    ]
    scored = {entry.key for entry, _ in curves}
    missing = [_row(place.entry) for place in board.places if place.entry.key not in scored]
    lines = ["FLOPs so far: in proportion to the steps."]
    if steps:
        lines.insert(
            0,
            "Sets taken on the way and evaluated like final ones, after these steps: "
            f"{'; '.join(steps)}.",
        )
    if points:
        lines.append(f"Single points, the final set alone was evaluated: {', '.join(points)}.")
    if uncounted:
        lines.append(f"Not drawn over FLOPs, which are unknown: {', '.join(uncounted)}.")
    if missing:
        lines.append(f"Not drawn, without a score: {', '.join(missing)}.")
    if not one_hardware(board, (entry for entry, _ in curves)):
        lines.append("Seconds are of several classes of hardware and are not plotted.")
    return [*lines, *["Dashed and hollow: by the set's own recipe."] * own]


def _row(entry: Entry) -> str:
    return f"{code(entry.label)} ({escaped(entry.init)})"
