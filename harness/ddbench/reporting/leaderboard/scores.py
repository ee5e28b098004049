"""What stands in a row: accuracies pooled over networks, and costs by class of hardware."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from ddbench.reporting.leaderboard.dataframes import Frames
from ddbench.store.records import DONE


@dataclass(frozen=True)
class Score:
    """Accuracies of networks, pooled over seeds.

    Attributes:
        mean: Mean over all networks of all seeds.
        spread: Sample standard deviation over them (n - 1); NaN with one network.
        seed_spread: Sample standard deviation over the seeds' means; NaN with one seed.
        seeds: Number of condensation seeds.
        networks: Networks a seed.
        balanced: Mean of the balanced accuracies (of a network: the mean over the classes).
        sets: The accuracies of each seed's set, one of each network in order.
    """

    mean: float = math.nan
    spread: float = math.nan
    seed_spread: float = math.nan
    seeds: int = 0
    networks: int = 0
    balanced: float = math.nan
    sets: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, frames: Frames, evaluations: pd.DataFrame) -> Score:
        """Return the score of some evaluations."""
        if evaluations.empty:
            return cls()
        networks = frames.networks[frames.networks["evaluation"].isin(evaluations["id"])]
        if networks.empty:
            return cls()
        by_seed = networks.groupby("condensation", dropna=False)["accuracy"]
        return cls(
            mean=float(networks["accuracy"].mean()),
            spread=float(networks["accuracy"].std(ddof=1)),
            seed_spread=float(by_seed.mean().std(ddof=1)),
            seeds=by_seed.ngroups,
            networks=int(by_seed.size().max()),
            balanced=float(networks["balanced_accuracy"].mean()),
            sets=tuple(tuple(accuracies) for _, accuracies in by_seed),
        )

    @property
    def known(self) -> bool:
        """Whether any network was tested."""
        return self.networks > 0


@dataclass(frozen=True)
class Costs:
    """What condensing one entry cost on one class of hardware, means over its seeds.

    Attributes:
        own_s: Wall seconds of condensing: init, steps and export.
        artifact_s: Wall seconds of the artifacts that it used, in full.
        flops_own, flops_artifact: Operations of the same.
        lower_bound: Whether uncounted work dominates somewhere.
        peak_memory: Bytes.
        steps: Steps done.
        seeds: How many seeds this is the mean of.
    """

    hardware_class: str
    own_s: float
    artifact_s: float
    flops_own: float
    flops_artifact: float
    lower_bound: bool
    peak_memory: float
    steps: float
    seeds: int

    @property
    def seconds(self) -> float:
        """Own seconds and the artifacts' in full."""
        return self.own_s + self.artifact_s

    @property
    def flops(self) -> float:
        """Own operations and the artifacts' in full."""
        return self.flops_own + self.flops_artifact

    @property
    def artifact_share(self) -> float:
        """The artifacts' share of the seconds, in [0, 1]."""
        return self.artifact_s / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Training:
    """What training and testing one network on a set costs, on one class of hardware."""

    hardware_class: str
    train_s: float
    test_s: float
    flops: float
    lower_bound: bool


def costs_of(sets: pd.DataFrame) -> dict[str, Costs]:
    """Return the costs of an entry's condensations by class of hardware."""
    return {
        str(name): Costs(
            hardware_class=str(name),
            own_s=mean(group["own_s"]),
            artifact_s=mean(group["artifact_s"]),
            flops_own=mean(group["flops_condense"]),
            flops_artifact=mean(group["flops_artifact"]),
            lower_bound=bool(group["lower_bound"].any()),
            peak_memory=mean(group["peak_memory"]),
            steps=mean(group["steps_done"]),
            seeds=len(group),
        )
        for name, group in sets.groupby("hardware_class")
    }


def training_of(frames: Frames, evaluations: pd.DataFrame) -> dict[str, Training]:
    """Return what training on some evaluations' sets costs by class of hardware."""
    done = evaluations[evaluations["status"] == DONE]
    found = {}
    for name, group in done.groupby("hardware_class"):
        networks = frames.networks[frames.networks["evaluation"].isin(group["id"])]
        found[str(name)] = Training(
            hardware_class=str(name),
            train_s=mean(networks["train_s"]),
            test_s=mean(networks["test_s"]),
            flops=mean(group["flops_train"]),
            lower_bound=bool(group["lower_bound"].any()),
        )
    return found


def mean(values: pd.Series) -> float:
    """Return the mean of the known values, NaN if there is none."""
    return float(values.astype(float).mean()) if len(values) else math.nan
