"""What methods logged step by step, and how sets got better with time."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from ddbench.reporting.leaderboard.dataframes import Frames
from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.rows import Entry
from ddbench.reporting.leaderboard.scores import Score, mean
from ddbench.store.run_folder import CURVE, RunFolder

PANELS = 24  # of curves in a plot, at most
NOT_METRICS = ("step", "seconds", "flops")


def read_curve(folder: RunFolder, id: str) -> pd.DataFrame:
    """Return a condensation's curve, (steps, columns) float; empty if none can be read.

    What is torn is named by `results.torn_files`; here its whole rows count.
    """
    try:
        with open(folder.condensation(id) / CURVE, newline="") as file:
            rows = [{k: _float(v) for k, v in row.items() if k} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return pd.DataFrame()
    return pd.DataFrame(rows, dtype=float)


def _float(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return math.nan


def metrics_of(curve: pd.DataFrame) -> list[str]:
    """Return the logged metrics that have at least two different finite values."""
    names = [name for name in curve.columns if name not in NOT_METRICS]
    return [name for name in names if len({v for v in curve[name] if math.isfinite(v)}) > 1]


def panels_of(
    curves: Sequence[tuple[Entry, Sequence[pd.DataFrame]]],
) -> list[tuple[Entry, str, Sequence[pd.DataFrame]]]:
    """Return what a plot of curves has a panel for: each metric that an entry logged."""
    return [
        (entry, name, by_seed)
        for entry, by_seed in curves
        for name in dict.fromkeys(name for curve in by_seed for name in metrics_of(curve))
    ]


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
    frames: Frames, folder: RunFolder, board: Board, own: bool = False
) -> list[tuple[Entry, Sequence[AnytimePoint]]]:
    """Return the moments of every entry of a board that has a score.

    The last is the final set's, and the only one where no set was evaluated on the way. Under the
    common protocol, or by the sets' own recipes.
    """
    frame = frames.evaluations
    here = frame[
        frame["current"]
        & frame["snapshot"].notna()
        & (frame["own_recipe"] == own)
        & (frame["dataset"] == board.dataset)
        & (frame["fingerprint"] == board.fingerprint)
        & (frame["architecture"] == board.architecture)
        & (frame["protocol"] == board.protocol)
    ]
    found: list[tuple[Entry, Sequence[AnytimePoint]]] = []
    for place in board.places:
        ours = here[here["condensation"].isin(place.entry.ids)]
        moments = [
            _moment(frames, folder, place, int(float(str(step))), group)
            for step, group in ours.groupby("snapshot", sort=True)
        ]
        moments = [m for m in (*moments, _last(frames, place, own)) if m.score.known]
        if moments:
            found.append((place.entry, moments))
    return found


def one_hardware(board: Board, entries: Iterable[Entry]) -> bool:
    """Say whether all entries' sets were made on one class of hardware: seconds compare then."""
    keys = {entry.key for entry in entries}
    return len({name for p in board.places if p.entry.key in keys for name in p.costs}) <= 1


def _last(frames: Frames, place: RankedRow, own: bool) -> AnytimePoint:
    """Return the moment of the final sets."""
    sets = frames.condensations[frames.condensations["id"].isin(place.entry.ids)]
    steps = mean(sets["steps_done"])
    return AnytimePoint(
        step=int(steps) if math.isfinite(steps) else 0,
        seconds=_on_one_class(place, mean(sets["own_s"] + sets["artifact_s"])),
        flops=mean(sets["flops_condense"] + sets["flops_artifact"]),
        score=place.own if own else place.score,
    )


def _on_one_class(place: RankedRow, seconds: float) -> float:
    return seconds if len(place.costs) == 1 else math.nan


def _moment(
    frames: Frames, folder: RunFolder, place: RankedRow, step: int, evaluations: pd.DataFrame
) -> AnytimePoint:
    sets = frames.condensations[frames.condensations["id"].isin(evaluations["condensation"])]
    seconds = [
        one["artifact_s"] + one["init_s"] + _seconds_until(folder, one["id"], step)
        for _, one in sets.iterrows()
    ]
    share = step / sets["steps_done"].clip(lower=1)
    start = sets["flops_init"].fillna(0)  # of the total; records of before have it in the steps
    steps = sets["flops_condense"] - start - sets["flops_export"].fillna(0)
    return AnytimePoint(
        step=step,
        seconds=_on_one_class(place, mean(pd.Series(seconds, dtype=float))),
        flops=mean(sets["flops_artifact"] + start + steps * share),
        score=Score.of(frames, evaluations),
    )


def _seconds_until(folder: RunFolder, id: str, step: int) -> float:
    """Return the seconds of the first `step` steps, from the curve."""
    if step == 0:
        return 0.0
    curve = read_curve(folder, id)
    if curve.empty or "seconds" not in curve or len(curve) < step:
        return math.nan
    return float(curve["seconds"].iloc[step - 1])
