"""Boards: the rankings, one for each dataset, ipc, evaluation architecture and protocol."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ddbench.leaderboard.entries import Entry
from ddbench.leaderboard.frames import digest
from ddbench.results import DONE


@dataclass(frozen=True)
class Score:
    """Accuracies of networks, pooled over seeds.

    Attributes:
        mean: Mean over all networks of all seeds.
        spread: Sample standard deviation over them (n - 1); NaN with one network.
        seed_spread: Sample standard deviation over the seeds' means; NaN with one seed.
        seeds: Number of condensation seeds.
        networks: Networks a seed.
        balanced: Mean over classes of the accuracy on each.
    """

    mean: float = math.nan
    spread: float = math.nan
    seed_spread: float = math.nan
    seeds: int = 0
    networks: int = 0
    balanced: float = math.nan

    @classmethod
    def of(cls, networks: pd.DataFrame) -> Score:
        """Return the score of some rows of the networks frame."""
        if networks.empty:
            return cls()
        by_seed = networks.groupby("condensation", dropna=False)["accuracy"]
        return cls(
            mean=float(networks["accuracy"].mean()),
            spread=float(networks["accuracy"].std(ddof=1)),
            seed_spread=float(by_seed.mean().std(ddof=1)),
            seeds=int(by_seed.ngroups),
            networks=int(by_seed.size().max()),
            balanced=float(networks["balanced_accuracy"].mean()),
        )

    @property
    def known(self) -> bool:
        """Whether any network was tested."""
        return self.networks > 0


@dataclass(frozen=True)
class Costs:
    """What one entry cost on one class of hardware, means over its seeds.

    Attributes:
        own_s: Wall seconds of condensing: init, steps and export.
        artifact_s: Wall seconds of the artifacts that it used, in full.
        flops_own, flops_artifact: Operations of the same.
        lower_bound: Whether uncounted work dominates somewhere.
        peak_memory: Bytes.
        steps: Steps done.
    """

    hardware_class: str
    own_s: float
    artifact_s: float
    flops_own: float
    flops_artifact: float
    lower_bound: bool
    peak_memory: float
    steps: float

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


@dataclass(frozen=True)
class Place:
    """One row of a board.

    Attributes:
        entry: Whose row it is.
        score: Under the common protocol, with hard labels.
        own: Under the set's own recipe (soft labels, learning rate, augmentation), if it has one.
        costs: By hardware class.
        training: By hardware class.
        bytes: Of the stored set.
        images: In the set.
        rank: 1 for the most accurate; None without a score, and for controls.
        tied: Whether it lies within the combined spread of the best.
        trouble: Why some or all seeds have no score.
    """

    entry: Entry
    score: Score
    own: Score
    costs: Mapping[str, Costs]
    training: Mapping[str, Training]
    bytes: float
    images: float
    rank: int | None = None
    tied: bool = False
    trouble: tuple[str, ...] = ()

    def cost(self) -> Costs | None:
        """Return the costs, those of the first hardware class if there are several."""
        return next(iter(self.costs.values()), None)


@dataclass(frozen=True)
class Reference:
    """Networks trained on the whole training set."""

    dataset: str
    fingerprint: str
    architecture: str
    protocol: str
    score: Score
    training: Mapping[str, Training]
    images: float


@dataclass(frozen=True)
class DataFacts:
    """What a dataset alone allows to say."""

    n_test: int
    chance: float
    majority: float
    unequal: bool  # whether the test classes differ in size

    def resolution(self, accuracy: float) -> float:
        """Return the binomial standard error of `accuracy` on this test set, as a share."""
        return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / self.n_test)


@dataclass(frozen=True)
class Board:
    """One ranking: nothing outside it is compared with anything inside.

    Attributes:
        dataset, fingerprint, ipc, architecture, protocol: What all rows share.
        places: Rows, the best first; then controls and rows without a score among them by accuracy.
        data: Facts of the dataset.
        forward_macs: fvcore's count for one image.
        recipe: How networks were trained.
        networks: Networks a set.
        reference: Networks of this architecture on the whole training set, if there are any.
    """

    dataset: str
    fingerprint: str
    ipc: int
    architecture: str
    protocol: str
    recipe: Mapping[str, Any]
    places: tuple[Place, ...]
    data: DataFacts
    forward_macs: float
    reference: Reference | None = None
    variant: str = ""  # tells protocols of one name but different constants apart

    @property
    def best(self) -> Place | None:
        """The most accurate row under the common protocol."""
        return next((place for place in self.places if place.rank == 1), None)

    @property
    def baseline(self) -> Place | None:
        """The row of random images, if there is one with a score."""
        known = [p for p in self.places if p.entry.is_baseline and p.score.known]
        return max(known, key=lambda place: place.score.seeds, default=None)

    @property
    def hardware_classes(self) -> list[str]:
        """The classes of hardware that its times come from."""
        found = [*(c for p in self.places for c in (*p.costs, *p.training))]
        return list(dict.fromkeys(found))

    @property
    def has_own(self) -> bool:
        """Whether some set brings a recipe of its own."""
        return any(place.own.known for place in self.places)


def combined_spread(one: Score, other: Score, resolution: float = 0.0) -> float:
    """Return the root of the sum of squares of two spreads.

    A spread that a single network leaves unknown counts as the test set's resolution.
    """
    spreads = [s.spread if math.isfinite(s.spread) else resolution for s in (one, other)]
    return math.hypot(*spreads)


# -- making them -------------------------------------------------------------------------------


@dataclass
class Frames:
    """The tidy frames that boards are made of."""

    condensations: pd.DataFrame
    evaluations: pd.DataFrame
    networks: pd.DataFrame
    entries: Sequence[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Keep the evaluations that count, under the recipe that they share."""
        frame = self.evaluations
        good = ~frame["stale"].astype(bool) & ~frame["superseded"].astype(bool)
        self.current = frame[good & frame["snapshot"].isna()].copy()
        self.current["variant"] = [digest(recipe) for recipe in self.current["recipe"]]


def make_boards(frames: Frames) -> list[Board]:
    """Return the boards, by dataset, ipc and protocol, the matched architecture's first."""
    references = make_references(frames)
    boards = [_board(frames, key, references) for key in _keys(frames)]
    order = {one: n for n, one in enumerate(_matched_first(boards))}
    datasets = list(dict.fromkeys((b.dataset, b.fingerprint) for b in boards))
    return sorted(
        boards,
        key=lambda b: (
            datasets.index((b.dataset, b.fingerprint)),
            b.ipc,
            b.protocol,
            b.variant,
            order[b.architecture],
        ),
    )


_KEY = ["dataset", "fingerprint", "ipc", "protocol", "variant", "architecture"]


def _keys(frames: Frames) -> list[tuple[Any, ...]]:
    """Return the boards' keys: those of the evaluations under a common protocol."""
    common = frames.current[
        frames.current["condensation"].notna() & ~frames.current["own_recipe"].astype(bool)
    ]
    done = common[common["status"] == DONE]
    keys = list(dict.fromkeys(tuple(row) for row in done[_KEY].itertuples(index=False)))
    return [(*key[:2], int(key[2]), *key[3:]) for key in keys]


def _matched_first(boards: Sequence[Board]) -> list[str]:
    """Return the evaluation architectures, those that sets were matched on first."""
    names = list(dict.fromkeys(board.architecture for board in boards))
    matched = {place.entry.architecture for board in boards for place in board.places}
    return sorted(names, key=lambda name: name not in matched)


def _board(
    frames: Frames, key: tuple[Any, ...], references: Sequence[Reference]
) -> Board:
    dataset, fingerprint, ipc, protocol, variant, architecture = key
    frame = frames.current
    here = frame[
        (frame["dataset"] == dataset)
        & (frame["fingerprint"] == fingerprint)
        & (frame["ipc"] == ipc)
        & (frame["protocol"] == protocol)
        & (frame["architecture"] == architecture)
    ]
    own = here["own_recipe"].astype(bool)
    common = here[~own & ((here["variant"] == variant) | (here["status"] != DONE))]
    entries = [
        e for e in frames.entries
        if (e.dataset, e.fingerprint, e.ipc) == (dataset, fingerprint, ipc)
    ]  # fmt: skip
    places = [_place(frames, entry, common, here[own]) for entry in entries]
    first = common[common["status"] == DONE].iloc[0]
    data = _data_facts(first)
    return Board(
        dataset=dataset,
        fingerprint=fingerprint,
        ipc=ipc,
        architecture=architecture,
        protocol=protocol,
        recipe=first["recipe"],
        places=_ranked(places, data),
        data=data,
        forward_macs=first["forward_macs"],
        reference=_reference_for(references, dataset, fingerprint, architecture),
        variant=variant if _is_ambiguous(frame, protocol) else "",
    )


def _is_ambiguous(frame: pd.DataFrame, protocol: str) -> bool:
    """Whether one name stands for several recipes in this folder; augmentation follows the data."""
    common = frame[
        (frame["protocol"] == protocol)
        & ~frame["own_recipe"].astype(bool)
        & (frame["status"] == DONE)
        & frame["condensation"].notna()
    ]
    return bool((common.groupby(["dataset", "fingerprint"])["variant"].nunique() > 1).any())


def _data_facts(first: Mapping[str, Any]) -> DataFacts:
    counts = first["class_counts_test"]
    return DataFacts(
        n_test=int(first["n_test"]),
        chance=first["chance"],
        majority=first["majority"],
        unequal=len(set(counts)) > 1,
    )


def _place(frames: Frames, entry: Entry, common: pd.DataFrame, own: pd.DataFrame) -> Place:
    sets = frames.condensations[frames.condensations["id"].isin(entry.ids)]
    ours = common[common["condensation"].isin(entry.ids)]
    return Place(
        entry=entry,
        score=_score(frames, ours),
        own=_score(frames, own[own["condensation"].isin(entry.ids)]),
        costs={str(name): _costs(str(name), group) for name, group in sets.groupby("hardware_class")},
        training=_training(frames, ours),
        bytes=_mean(sets["bytes"]),
        images=_mean(sets["images"]),
        trouble=_trouble(entry, ours),
    )


def _score(frames: Frames, evaluations: pd.DataFrame) -> Score:
    done = evaluations[evaluations["status"] == DONE]
    return Score.of(frames.networks[frames.networks["evaluation"].isin(done["id"])])


def _trouble(entry: Entry, evaluations: pd.DataFrame) -> tuple[str, ...]:
    """Return why seeds have no score: their condensation or their evaluation has none."""
    lines = [f"seed {seed} {status}: {reason}" for seed, status, reason in entry.failed]
    for _, one in evaluations[evaluations["status"] != DONE].iterrows():
        lines.append(f"seed {int(one['seed'])}, evaluation {one['status']}: {one['reason']}")
    return tuple(lines)


def _costs(hardware_class: str, sets: pd.DataFrame) -> Costs:
    return Costs(
        hardware_class=hardware_class,
        own_s=_mean(sets["own_s"]),
        artifact_s=_mean(sets["artifact_s"]),
        flops_own=_mean(sets["flops_condense"]),
        flops_artifact=_mean(sets["flops_artifact"]),
        lower_bound=bool(sets["lower_bound"].any()),
        peak_memory=_mean(sets["peak_memory"]),
        steps=_mean(sets["steps_done"]),
    )


def _training(frames: Frames, evaluations: pd.DataFrame) -> dict[str, Training]:
    done = evaluations[evaluations["status"] == DONE]
    found = {}
    for name, group in done.groupby("hardware_class"):
        networks = frames.networks[frames.networks["evaluation"].isin(group["id"])]
        found[str(name)] = Training(
            hardware_class=str(name),
            train_s=_mean(networks["train_s"]),
            test_s=_mean(networks["test_s"]),
            flops=_mean(group["flops_train"]),
            lower_bound=bool(group["lower_bound"].any()),
        )
    return found


def _mean(values: pd.Series) -> float:
    return float(values.astype(float).mean()) if len(values) else math.nan


def _ranked(places: Sequence[Place], data: DataFacts) -> tuple[Place, ...]:
    """Return the rows by accuracy; ranks are for methods, controls stand among them without one."""
    scored = sorted((p for p in places if p.score.known), key=lambda p: -p.score.mean)
    rest = [p for p in places if not p.score.known]
    best = next((p for p in scored if not p.entry.is_control), None)
    ranks: Iterator[int] = iter(range(1, len(scored) + 1))
    ranked = []
    for place in scored:
        rank = None if place.entry.is_control else next(ranks)
        ranked.append(_with_rank(place, rank, best, data))
    return (*ranked, *rest)


def _with_rank(place: Place, rank: int | None, best: Place | None, data: DataFacts) -> Place:
    from dataclasses import replace

    tied = False
    if rank is not None and best is not None and place is not best:
        within = combined_spread(best.score, place.score, data.resolution(best.score.mean))
        tied = best.score.mean - place.score.mean <= within
    return replace(place, rank=rank, tied=tied)


# -- the whole training set --------------------------------------------------------------------


def make_references(frames: Frames) -> list[Reference]:
    """Return what networks reach that are trained on the whole training set."""
    frame = frames.current
    whole = frame[frame["condensation"].isna() & (frame["status"] == DONE)]
    keys = ["dataset", "fingerprint", "architecture", "protocol", "variant"]
    return [
        Reference(
            dataset=key[0],
            fingerprint=key[1],
            architecture=key[2],
            protocol=key[3],
            score=_score(frames, group),
            training=_training(frames, group),
            images=_mean(group["images"]),
        )
        for key, group in whole.groupby(keys, sort=False)
    ]


def _reference_for(
    references: Sequence[Reference], dataset: str, fingerprint: str, architecture: str
) -> Reference | None:
    """Return the most accurate one: what a set is measured against should not be undertrained."""
    place = (dataset, fingerprint, architecture)
    fitting = [r for r in references if (r.dataset, r.fingerprint, r.architecture) == place]
    return max(fitting, key=lambda r: r.score.mean, default=None)
