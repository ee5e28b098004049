"""What stands in a row: accuracies pooled over networks, and costs by class of hardware."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TypeVar

from ddbench.reporting.leaderboard.results import Condensed, Evaluated, number

Result = TypeVar("Result", Condensed, Evaluated)


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
    def of(cls, evaluations: Iterable[Evaluated]) -> Score:
        """Return the score of some evaluations."""
        by_set: dict[str, list[float]] = {}
        balanced: list[float] = []
        for one in evaluations:
            if one.done:
                by_set.setdefault(one.record.condensation or "", []).extend(one.record.accuracies)
                balanced += one.record.balanced_accuracies
        sets = tuple(tuple(by_set[id]) for id in sorted(by_set))
        if not sets:
            return cls()
        accuracies = [accuracy for one in sets for accuracy in one]
        return cls(
            mean=fmean(accuracies),
            spread=_spread(accuracies),
            seed_spread=_spread([fmean(one) for one in sets]),
            seeds=len(sets),
            networks=max(map(len, sets)),
            balanced=mean(balanced),
            sets=sets,
        )

    @property
    def known(self) -> bool:
        """Whether any network was tested."""
        return self.networks > 0

    @cached_property
    def network_variance(self) -> float:
        """The variance between the networks of one set, mean over the sets; NaN of one network."""
        within = [variance(accuracies) for accuracies in self.sets if len(accuracies) > 1]
        return fmean(within) if within else math.nan

    @cached_property
    def set_variance(self) -> float:
        """The variance between sets, without what their networks make of it; NaN of one seed.

        With one network a set the two cannot be told apart, and it is both together.
        """
        if len(self.sets) < 2:
            return math.nan
        whole = variance([fmean(accuracies) for accuracies in self.sets])
        own = self.network_variance / min(map(len, self.sets))
        return whole if math.isnan(own) else max(0.0, whole - own)


@dataclass(frozen=True)
class OwnTraining:
    """What the set's own recipe makes of one training, means over its evaluations.

    Attributes:
        regime: "HL", "SL" or "SL+KD": hard labels, a soft label an image, a soft label a view;
            "" of records that do not say it.
        steps: Optimizer steps of one network.
        images_seen: Images that it has seen.
        flops_targets: Operations of the teachers that it asked.
    """

    regime: str = ""
    steps: float = math.nan
    images_seen: float = math.nan
    flops_targets: float = math.nan

    @classmethod
    def of(cls, evaluations: Iterable[Evaluated]) -> OwnTraining:
        """Return that of some evaluations by their sets' own recipes."""
        records = [one.record for one in evaluations if one.done]
        return cls(
            regime="/".join(dict.fromkeys(record.regime for record in records if record.regime)),
            steps=mean(number(record.steps_trained) for record in records),
            images_seen=mean(number(record.images_seen) for record in records),
            flops_targets=mean(number(record.flops_targets) for record in records),
        )

    @property
    def soft(self) -> bool:
        """Whether networks learn from labels that tell more than the class."""
        return self.regime not in ("", "HL")


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


def costs_of(sets: Iterable[Condensed]) -> dict[str, Costs]:
    """Return the costs of an entry's condensations by class of hardware."""
    return {
        name: Costs(
            hardware_class=name,
            own_s=mean([one.own_s for one in group]),
            artifact_s=_mean_cost(group, "artifact_s"),
            flops_own=_mean_cost(group, "flops_condense"),
            flops_artifact=_mean_cost(group, "flops_artifact"),
            lower_bound=any(one.lower_bound for one in group),
            peak_memory=_mean_cost(group, "peak_memory"),
            steps=_mean_cost(group, "steps_done"),
            seeds=len(group),
        )
        for name, group in _by_hardware(sets).items()
    }


def training_of(evaluations: Iterable[Evaluated]) -> dict[str, Training]:
    """Return what training on some evaluations' sets costs by class of hardware."""
    found = {}
    for name, group in _by_hardware(one for one in evaluations if one.done).items():
        records = [one.record for one in group]
        found[name] = Training(
            hardware_class=name,
            train_s=mean([seconds for record in records for seconds in record.train_s]),
            test_s=mean([seconds for record in records for seconds in record.test_s]),
            flops=mean([number(record.flops_train) for record in records]),
            lower_bound=any(record.flops_lower_bound for record in records),
        )
    return found


def _by_hardware(results: Iterable[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for one in results:
        groups.setdefault(one.hardware_class, []).append(one)
    return dict(sorted(groups.items()))


def _mean_cost(sets: Iterable[Condensed], name: str) -> float:
    return mean([one.cost(name) for one in sets])


def mean(values: Iterable[float]) -> float:
    """Return the mean of the known values, NaN if there is none."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def variance(values: Sequence[float]) -> float:
    """Return the sample variance of two or more values; the standard library's takes 50 µs."""
    if min(values) == max(values):
        return 0.0
    centre = fmean(values)
    return math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)


def _spread(values: Sequence[float]) -> float:
    return math.sqrt(variance(values)) if len(values) > 1 else math.nan
