"""What methods logged step by step, and how sets got better with time."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ddbench.leaderboard.boards import Board
from ddbench.leaderboard.entries import Entry
from ddbench.leaderboard.frames import Frames
from ddbench.leaderboard.scores import Score, mean
from ddbench.results import RunFolder

NOT_METRICS = ("step", "seconds", "flops")


def read_curve(folder: RunFolder, id: str) -> pd.DataFrame:
    """Return a condensation's curve, (steps, columns) float; empty if none can be read."""
    try:
        with open(folder.condensation(id) / "curve.csv", newline="") as file:
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
    """Return the logged metrics that have at least two finite values."""
    names = [name for name in curve.columns if name not in NOT_METRICS]
    return [name for name in names if curve[name].map(math.isfinite).sum() >= 2]


@dataclass(frozen=True)
class Moment:
    """A set on its way: what it had cost, and what it was good for.

    Attributes:
        step: Steps done.
        seconds: Wall seconds until then: init and steps, artifacts in full.
        flops: Operations until then, artifacts in full; in proportion to the steps.
        score: Of networks trained on it.
    """

    step: int
    seconds: float
    flops: float
    score: Score


def anytime(
    frames: Frames, folder: RunFolder, board: Board, own: bool = False
) -> list[tuple[Entry, Sequence[Moment]]]:
    """Return the moments of every entry of a board that has evaluated snapshots.

    Under the common protocol, or by the sets' own recipes.
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
    found: list[tuple[Entry, Sequence[Moment]]] = []
    for place in board.places:
        ours = here[here["condensation"].isin(place.entry.ids)]
        if ours.empty or len(place.costs) != 1:
            continue
        cost = next(iter(place.costs.values()))
        moments = [
            _moment(frames, folder, int(float(str(step))), group)
            for step, group in ours.groupby("snapshot", sort=True)
        ]
        score = place.own if own else place.score
        steps = int(cost.steps) if math.isfinite(cost.steps) else 0
        last = Moment(steps, cost.seconds, cost.flops, score)
        found.append((place.entry, [m for m in moments if m.score.known] + [last]))
    return found


def _moment(frames: Frames, folder: RunFolder, step: int, evaluations: pd.DataFrame) -> Moment:
    sets = frames.condensations[frames.condensations["id"].isin(evaluations["condensation"])]
    seconds = [
        one["artifact_s"] + one["init_s"] + _seconds_until(folder, one["id"], step)
        for _, one in sets.iterrows()
    ]
    share = step / sets["steps_done"].clip(lower=1)
    return Moment(
        step=step,
        seconds=mean(pd.Series(seconds, dtype=float)),
        flops=mean(sets["flops_artifact"] + sets["flops_condense"] * share),
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
