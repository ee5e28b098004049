"""The sections that hold rows against random images fairly: by recipe, by cost, by time."""

from __future__ import annotations

from collections.abc import Sequence

from ddbench.reporting.leaderboard import (
    Board,
    Entry,
    FairScores,
    Leaderboard,
    RankedRow,
    fair_scores,
    table_format,
)
from ddbench.reporting.leaderboard.curves import AnytimePoint, anytime, one_hardware
from ddbench.reporting.leaderboard.equal_cost import (
    SELECTIONS,
    SHARES,
    Cost,
    cost_of,
    levels,
    reaching,
    within,
)
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.text import number_format

NAMES: dict[Cost, str] = {"seconds": "seconds", "flops": "FLOPs"}
Curves = Sequence[tuple[Entry, Sequence[AnytimePoint]]]
FAIR = (
    "Accuracies in %. Plain, augmented: hard labels under protocols that differ in augmentation "
    "alone. Own: the set's own recipe; random (recipe): random real images by that recipe, else "
    "under this protocol. HLR (smaller is better) and IOR (larger) in points; LRS and ARS from 0 "
    "to 1, as shares go into their formulas."
)


def fair_section(document: Document, leaderboard: Leaderboard, boards: Sequence[Board]) -> None:
    """Write the fair scores of the first architecture's rows, folded away, if one is known."""
    board = boards[0]
    scores = fair_scores(board, leaderboard.boards)
    found = [
        (place, scores[place.entry.key])
        for place in board.places
        if place.rank is not None and not place.entry.is_baseline
    ]
    if not any(fair.hlr is not None or fair.ars is not None for _, fair in found):
        return  # a gain over random images alone stands in the ranking
    inner = document.inner()
    rows = [_fair_row(place, fair) for place, fair in found]
    inner.table(rows, set(rows[0]) - {"method", "init"})
    inner.add(f"<sub>{FAIR}</sub>")
    missing = dict.fromkeys(line for _, fair in found for line in fair.missing)
    inner.bullets(f"Not everywhere: {line}." for line in missing)
    document.folded("Fair scores: HLR, IOR, LRS, ARS", inner)


def _fair_row(place: RankedRow, fair: FairScores) -> dict[str, str]:
    def points(share: float | None) -> str:
        return number_format.NOTHING if share is None else number_format.points(share)

    def score(value: float | None) -> str:
        return number_format.NOTHING if value is None else f"{value:.3f}"

    return {
        "method": escaped(table_format.name(place.entry)),
        "init": escaped(place.entry.init),
        "hard": points(fair.hard),
        "plain": points(fair.plain),
        "augmented": points(fair.augmented),
        "own": points(fair.own),
        "random (recipe)": points(fair.random_by_recipe),
        "HLR": points(fair.hlr),
        "IOR": points(fair.ior),
        "LRS": score(fair.lrs),
        "ARS": score(fair.ars),
    }


# -- at equal cost -----------------------------------------------------------------------------


def equal_cost_section(
    document: Document, leaderboard: Leaderboard, boards: Sequence[Board]
) -> None:
    """Write what selections of real images give for no more cost, and times to an accuracy."""
    board = boards[0]
    curves = [
        (entry, points)
        for entry, points in anytime(leaderboard.results, leaderboard.folder, board)
        if not entry.is_control
    ]
    inner = document.inner()
    for cost in _costs(board, curves):
        inner.table(_against_selections(curves, cost), ("accuracy %", NAMES[cost], *SELECTIONS))
    if inner.blocks:
        inner.add(
            "<sub>Beside each row the accuracy in % of real images that cost no more, artifacts in "
            f"full; {number_format.NOTHING}: they cost more, or it is not known.</sub>"
        )
    _times(inner, board, curves)
    document.folded("At equal cost", inner)


def _costs(board: Board, curves: Curves) -> list[Cost]:
    """Return the costs that compare: seconds on one class of hardware alone."""
    seconds: list[Cost] = ["seconds"] if one_hardware(board, (e for e, _ in curves)) else []
    return [*seconds, "flops"]


def _against_selections(curves: Curves, cost: Cost) -> list[dict[str, str]]:
    """Return a row for each method that is no selection; none where no selection is there."""
    chosen = {name: [p for e, p in curves if e.method == name] for name in SELECTIONS}
    if not any(chosen.values()):
        return []
    rows = []
    for entry, points in curves:
        last = points[-1]
        if entry.method in SELECTIONS or not cost_of(last, cost) >= 0:
            continue
        row = {
            "method": escaped(entry.label),
            "init": escaped(entry.init),
            "accuracy %": number_format.points(last.score.mean),
            NAMES[cost]: _shown(last, cost),
        }
        for name, others in chosen.items():
            sets = [within(one, cost_of(last, cost), cost) for one in others]
            best = max((s.score.mean for s in sets if s is not None), default=None)
            row[name] = number_format.NOTHING if best is None else number_format.points(best)
        rows.append(row)
    return rows


def _shown(point: AnytimePoint, cost: Cost) -> str:
    if cost == "seconds":
        return number_format.seconds(point.seconds)
    return number_format.count(point.flops)


def _times(document: Document, board: Board, curves: Curves) -> None:
    """Write when each row reached some accuracies, where sets were evaluated on the way."""
    baseline = board.baseline
    if baseline is None or not any(len(points) > 1 for _, points in curves):
        return
    asked = levels([points for _, points in curves], baseline.score.mean)
    rows = []
    for entry, points in curves:
        if not entry.is_baseline:
            row = {"method": escaped(entry.label), "init": escaped(entry.init)}
            for level in asked:
                row[f"≥ {number_format.points(level)}%"] = _when(reaching(points, level))
            rows.append(row)
    document.table(rows, set(rows[0]) - {"method", "init"} if rows else ())
    shares = number_format.listed([f"{100 * share:.0f}%" for share in SHARES])
    document.add(
        "<sub>Seconds, artifacts in full, and steps of the first set on the way that was as "
        f"accurate as that: {shares} of the way from random images to the best row.</sub>"
    )


def _when(point: AnytimePoint | None) -> str:
    if point is None:
        return number_format.NOTHING
    seconds = number_format.seconds(point.seconds)
    return (
        f"{seconds} s (step {point.step:,})"
        if seconds != number_format.NOTHING
        else (f"step {point.step:,}")
    )
