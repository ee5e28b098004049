"""What methods logged step by step, and how sets got better with time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.results import Condensed, Evaluated, Results
from ddbench.reporting.leaderboard.rows import Entry
from ddbench.reporting.leaderboard.scores import Score, mean
from ddbench.store.run_folder import CURVE, RunFolder

PANELS = 24  # of curves in a plot, at most
NOT_METRICS = ("step", "seconds", "flops")


Curve = Mapping[str, Sequence[float]]  # what was logged, a value a step, by name


def read_curve(folder: RunFolder, id: str) -> Curve:
    """Return a condensation's curve; {} if none can be read.

    What is torn is named by `torn_files`; here its whole rows count. A value that is no number is
    NaN.
    """
    try:
        with open(folder.condensation(id) / CURVE, newline="") as file:
            rows = [{k: _float(v) for k, v in row.items() if k} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, math.nan) for row in rows] for name in names}


def _float(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def metrics_of(curve: Curve) -> list[str]:
    """Return the logged metrics that have at least two different finite values."""
    names = [name for name in curve if name not in NOT_METRICS]
    return [name for name in names if len({v for v in curve[name] if math.isfinite(v)}) > 1]


@dataclass(frozen=True)
class Logged:
    """One metric of one method: what a plot of curves has a panel for.

    Attributes:
        metric: Its name.
        rows: The rows of the method that logged it, each with the curves of its seeds.
    """

    metric: str
    rows: Sequence[tuple[Entry, Sequence[Curve]]]


def panels_of(curves: Sequence[tuple[Entry, Sequence[Curve]]]) -> list[Logged]:
    """Return the metrics of each method; its rows share them, so that a sweep can be compared."""
    found: dict[tuple[str, str], list[tuple[Entry, Sequence[Curve]]]] = {}
    for entry, by_seed in curves:
        for name in dict.fromkeys(name for curve in by_seed for name in metrics_of(curve)):
            found.setdefault((entry.method, name), []).append((entry, by_seed))
    return [Logged(name, rows) for (_, name), rows in found.items()]


@dataclass(frozen=True)
class AnytimePoint:
    """A set on its way: what it had cost, and what it was good for.

    Attributes:
        step: Steps done.
        seconds: Wall seconds until then: init and steps, artifacts in full; NaN where they were
            measured on several classes of hardware.
        flops: Operations until then, artifacts in full; in proportion to the steps.
        score: Of networks trained on it.
    """

    step: int
    seconds: float
    flops: float
    score: Score


def anytime(
    results: Results, folder: RunFolder, board: Board, own: bool = False
) -> list[tuple[Entry, Sequence[AnytimePoint]]]:
    """Return the moments of every entry of a board that has a score.

    The last is the final set's, and the only one where no set was evaluated on the way. Under the
    common protocol, or by the sets' own recipes.
    """
    place = (board.dataset, board.fingerprint, board.architecture, board.protocol, own)
    here: dict[str | None, dict[int, list[Evaluated]]] = {}
    for one in results.on_the_way.get(place, ()):
        here.setdefault(one.entry, {}).setdefault(one.record.snapshot or 0, []).append(one)
    found: list[tuple[Entry, Sequence[AnytimePoint]]] = []
    for row in board.places:
        snapshots = sorted(here.get(row.entry.key, {}).items())
        moments = [_moment(folder, row, step, group) for step, group in snapshots]
        moments = [m for m in (*moments, _last(results, row, own)) if m.score.known]
        if moments:
            found.append((row.entry, moments))
    return found


def one_hardware(board: Board, entries: Iterable[Entry]) -> bool:
    """Say whether all entries' sets were made on one class of hardware: seconds compare then."""
    keys = {entry.key for entry in entries}
    return len({name for p in board.places if p.entry.key in keys for name in p.costs}) <= 1


def _last(results: Results, row: RankedRow, own: bool) -> AnytimePoint:
    """Return the moment of the final sets."""
    sets = results.of(row.entry.ids)
    steps = mean(one.cost("steps_done") for one in sets)
    return AnytimePoint(
        step=int(steps) if math.isfinite(steps) else 0,
        seconds=_on_one_class(row, mean(one.own_s + one.cost("artifact_s") for one in sets)),
        flops=mean(one.cost("flops_condense") + one.cost("flops_artifact") for one in sets),
        score=row.own if own else row.score,
    )


def _on_one_class(row: RankedRow, seconds: float) -> float:
    return seconds if len(row.costs) == 1 else math.nan


def _moment(
    folder: RunFolder, row: RankedRow, step: int, evaluations: Sequence[Evaluated]
) -> AnytimePoint:
    sets = [one.of for one in evaluations if one.of]
    seconds = [
        one.cost("artifact_s") + one.cost("init_s") + _seconds_until(folder, one.record.id, step)
        for one in sets
    ]
    return AnytimePoint(
        step=step,
        seconds=_on_one_class(row, mean(seconds)),
        flops=mean(_flops_until(one, step) for one in sets),
        score=Score.of(evaluations),
    )


def _flops_until(one: Condensed, step: int) -> float:
    """Return the operations of init, artifacts and the first `step` steps."""
    ends = [one.cost(name) for name in ("flops_init", "flops_export")]
    start, export = (0.0 if math.isnan(flops) else flops for flops in ends)  # of early records
    steps = one.cost("flops_condense") - start - export
    share = step / max(1.0, one.cost("steps_done"))
    return one.cost("flops_artifact") + start + steps * share


def _seconds_until(folder: RunFolder, id: str, step: int) -> float:
    """Return the seconds of the first `step` steps, from the curve."""
    if step == 0:
        return 0.0
    seconds = read_curve(folder, id).get("seconds", ())
    return seconds[step - 1] if len(seconds) >= step else math.nan
