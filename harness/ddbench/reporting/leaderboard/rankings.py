"""Boards: the rankings, one for each dataset, ipc, evaluation architecture and protocol."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ddbench.reporting.leaderboard import number_format
from ddbench.reporting.leaderboard.dataframes import Frames
from ddbench.reporting.leaderboard.differences import Difference, difference
from ddbench.reporting.leaderboard.rows import Entry
from ddbench.reporting.leaderboard.scores import Costs, Score, Training, costs_of, mean, training_of
from ddbench.store.records import DONE, TEST, VALIDATION


@dataclass(frozen=True)
class RankedRow:
    """One row of a board.

    Attributes:
        entry: Whose row it is.
        score: Under the common protocol, with hard labels.
        own: Under the set's own recipe (soft labels, learning rate, augmentation), if it has one.
        costs: By class of hardware.
        training: By class of hardware.
        bytes: Of the stored set.
        images: In the set.
        rank: 1 for the most accurate; None without a score, and for controls; the same for rows
            of the same images.
        below: How far it lies below the best; None of the best itself, and without a rank.
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
    below: Difference | None = None
    trouble: tuple[str, ...] = ()

    @property
    def tied(self) -> bool:
        """Whether the networks do not tell it from the best; False where nothing tells."""
        return self.below is not None and self.below.known and not self.below.decided


@dataclass(frozen=True)
class Reference:
    """Networks trained on the whole training set, for so many epochs."""

    dataset: str
    fingerprint: str
    architecture: str
    protocol: str
    score: Score
    training: Mapping[str, Training]
    images: float
    forward_macs: float
    epochs: float
    tested_on: str = TEST
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFacts:
    """What a dataset alone allows to say.

    Attributes:
        n_test: Test images.
        chance: One over the number of classes.
        majority: Test accuracy of always naming the largest training class.
        unequal: Whether the test classes differ in size.
        tested_on: The split that these are of: "test" or "validation".
        validation: What the validation split is, in words; "" where there is none.
        classes: Each class's name, training images and images that networks are tested on; ()
            in records of an earlier ddbench.
        notes: What is to be said of the data, such as what was left out; "" for nothing.
    """

    n_test: int
    chance: float
    majority: float
    unequal: bool
    tested_on: str = TEST
    validation: str = ""
    classes: tuple[tuple[str, int, int], ...] = ()
    notes: str = ""

    @property
    def images(self) -> str:
        """What networks are tested on, in words."""
        return "validation images" if self.tested_on == VALIDATION else "test images"

    def resolution(self, accuracy: float) -> float:
        """Return the binomial standard error of `accuracy` on this test set, as a share.

        After Agresti and Coull (1998), with two more successes and two more failures: it stays
        above 0 where every image is recognised.
        """
        n = self.n_test + 4
        p = (accuracy * self.n_test + 2) / n
        return math.sqrt(p * (1 - p) / n)


@dataclass(frozen=True)
class Board:
    """One ranking: nothing outside it is compared with anything inside.

    Attributes:
        dataset, fingerprint, ipc, architecture, protocol: What all rows share.
        recipe: How networks were trained.
        places: Rows by accuracy, controls among them; then the rows without a score.
        data: Facts of the dataset.
        forward_macs: fvcore's count for one image.
        reference: Networks of this architecture on the whole training set, if there are any.
        variant: Tells protocols of one name but different constants apart; else "".
        data_variant: Tells datasets of one name but different content apart; else "".
        tested: Whether rows of a ranking on a validation split were tested on the test set since.
    """

    dataset: str
    fingerprint: str
    ipc: int
    architecture: str
    protocol: str
    recipe: Mapping[str, Any]
    places: tuple[RankedRow, ...]
    data: DataFacts
    forward_macs: float
    reference: Reference | None = None
    variant: str = ""
    data_variant: str = ""
    tested: bool = False

    @property
    def trained_alike(self) -> bool:
        """Whether the whole training set was trained on by the recipe of the sets."""
        return self.reference is not None and dict(self.reference.recipe) == dict(self.recipe)

    @property
    def dataset_name(self) -> str:
        """The dataset in words."""
        return f"{self.dataset} ({self.data_variant})" if self.data_variant else self.dataset

    @property
    def protocol_name(self) -> str:
        """The protocol in words."""
        return f"{self.protocol} ({self.variant})" if self.variant else self.protocol

    @property
    def best(self) -> RankedRow | None:
        """The most accurate row under the common protocol."""
        return next((place for place in self.places if place.rank == 1), None)

    @property
    def best_method(self) -> RankedRow | None:
        """The most accurate row that is neither random images nor a control."""
        rows = (p for p in self.places if p.rank is not None and not p.entry.is_baseline)
        return next(rows, None)

    @property
    def best_of_methods(self) -> tuple[RankedRow, ...]:
        """The most accurate row of each method, controls aside: what a validation chooses."""
        first: dict[str, RankedRow] = {}
        for place in self.places:
            if place.rank is not None:
                first.setdefault(place.entry.method, place)
        return tuple(first.values())

    @property
    def baseline(self) -> RankedRow | None:
        """The row of random images with the most seeds, if there is one with a score."""
        known = [p for p in self.places if p.entry.is_baseline and p.score.known]
        return max(known, key=lambda place: place.score.seeds, default=None)

    def over_random(self, place: RankedRow) -> Difference | None:
        """Return how far a row lies above random images; None without a score or such a row."""
        baseline = self.baseline
        if baseline is None or place is baseline or not place.score.known:
            return None
        return difference(place.score, baseline.score, self.data.n_test)

    @property
    def has_own(self) -> bool:
        """Whether some set brings a recipe of its own."""
        return any(place.own.known for place in self.places)


# -- making them -------------------------------------------------------------------------------


def make_boards(frames: Frames, entries: Sequence[Entry]) -> list[Board]:
    """Return the boards by dataset, ipc and protocol, the architectures that were matched first."""
    maker = _Maker(frames, entries, make_references(frames))
    boards = [board for board in map(maker.board, maker.keys()) if board.places]
    matched = {entry.architecture for entry in entries}
    datasets = list(dict.fromkeys((b.dataset, b.fingerprint) for b in boards))
    names = sorted(dict.fromkeys(b.architecture for b in boards), key=lambda n: n not in matched)

    def order(board: Board) -> tuple[Any, ...]:
        dataset = datasets.index((board.dataset, board.fingerprint))
        protocol = (board.protocol, board.variant)
        on = board.data.tested_on == TEST  # what is chosen by comes before what was chosen
        return dataset, board.ipc, *protocol, on, names.index(board.architecture)

    return sorted(boards, key=order)


def grouped(boards: Sequence[Board]) -> list[tuple[Board, ...]]:
    """Return the boards that differ in the evaluation architecture only, together."""

    def shared(board: Board) -> tuple[Any, ...]:
        about = (board.dataset, board.fingerprint, board.ipc, board.protocol, board.variant)
        return *about, board.data.tested_on

    return [tuple(group) for _, group in itertools.groupby(boards, shared)]


_KEY = ["dataset", "fingerprint", "ipc", "protocol", "variant", "architecture", "tested_on"]


def chosen_sets(boards: Sequence[Board]) -> list[str]:
    """Return the condensations that validations chose, by the first architecture of each group.

    Of each method the most accurate row, and the controls of those rows.
    """
    found: dict[str, None] = {}
    for board, *_ in grouped(boards):
        if board.data.tested_on == VALIDATION:
            chosen = board.best_of_methods
            rows = {place.entry.row for place in chosen}
            controls = [p for p in board.places if p.entry.control_of in rows]
            for place in (*chosen, *controls):
                found.update(dict.fromkeys(place.entry.ids))
    return list(found)


@dataclass
class _Maker:
    frames: Frames
    entries: Sequence[Entry]
    references: Sequence[Reference]
    final: pd.DataFrame = field(init=False)  # evaluations of final sets that count
    common: pd.DataFrame = field(init=False)  # those by the protocol alone
    sets: Mapping[str, pd.DataFrame] = field(init=False)  # condensations that are done, by entry

    def __post_init__(self) -> None:
        frame = self.frames.evaluations
        of_set = frame["condensation"].notna() & frame["snapshot"].isna()
        self.final = frame[frame["current"] & of_set]
        self.common = self.final[~self.final["own_recipe"]]
        sets = self.frames.condensations
        self.sets = {entry.key: sets[sets["id"].isin(entry.ids)] for entry in self.entries}

    def keys(self) -> list[tuple[Any, ...]]:
        done = self.common[self.common["status"] == DONE]
        return list(dict.fromkeys(done[_KEY].itertuples(index=False, name=None)))

    def board(self, key: tuple[Any, ...]) -> Board:
        dataset, fingerprint, ipc, protocol, variant, architecture, tested_on = key
        where = dict(zip(_KEY, key, strict=True))
        del where["variant"]
        common, own = _at(self.common, where), _at(self.final[self.final["own_recipe"]], where)
        # A failed evaluation never got to note the recipe in its final form.
        common = common[(common["variant"] == variant) | (common["status"] != DONE)]
        done = self.common[self.common["status"] == DONE]
        first = common[common["status"] == DONE].iloc[0]
        data = _facts(first)
        place = (dataset, fingerprint, ipc)
        entries = [e for e in self.entries if (e.dataset, e.fingerprint, e.ipc) == place]
        if data.validation and tested_on == TEST:  # only what was chosen is tested
            tested = set(common["entry"])
            entries = [entry for entry in entries if entry.key in tested]
        frames = self.frames.of(pd.concat([common, own]))
        return Board(
            dataset=dataset,
            fingerprint=fingerprint,
            ipc=int(ipc),
            architecture=architecture,
            protocol=protocol,
            recipe=first["recipe"],
            places=_ranked(
                [self._place(frames, entry, common, own) for entry in entries], data.n_test
            ),
            data=data,
            forward_macs=float(first["forward_macs"]),
            reference=self._reference(dataset, fingerprint, architecture, tested_on),
            variant=variant[:6] if self._has_variants(dataset, fingerprint, protocol) else "",
            data_variant=fingerprint[:8] if self._has_contents(dataset) else "",
            tested=bool(len(_at(done, where | {"tested_on": TEST}))),
        )

    def _place(
        self, frames: Frames, entry: Entry, common: pd.DataFrame, own: pd.DataFrame
    ) -> RankedRow:
        sets = self.sets[entry.key]
        ours = common[common["condensation"].isin(entry.ids)]
        return RankedRow(
            entry=entry,
            score=Score.of(frames, ours),
            own=Score.of(frames, own[own["condensation"].isin(entry.ids)]),
            costs=costs_of(sets),
            training=training_of(frames, ours),
            bytes=mean(sets["bytes"]),
            images=mean(sets["images"]),
            trouble=_trouble(entry, ours),
        )

    def _reference(
        self, dataset: str, fingerprint: str, architecture: str, tested_on: str
    ) -> Reference | None:
        """Return the one of most epochs: chosen before any test, and the least undertrained."""
        place = (dataset, fingerprint, architecture, tested_on)
        fitting = (
            r
            for r in self.references
            if (r.dataset, r.fingerprint, r.architecture, r.tested_on) == place
        )
        return max(
            fitting, key=lambda reference: (reference.epochs, reference.protocol), default=None
        )

    def _has_variants(self, dataset: str, fingerprint: str, protocol: str) -> bool:
        where = {"dataset": dataset, "fingerprint": fingerprint, "protocol": protocol}
        here = _at(self.common[self.common["status"] == DONE], where)
        return here["variant"].nunique() > 1

    def _has_contents(self, dataset: str) -> bool:
        return _at(self.common, {"dataset": dataset})["fingerprint"].nunique() > 1


def _at(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


def _facts(first: pd.Series) -> DataFacts:
    return DataFacts(
        n_test=int(first["n_test"]),
        chance=float(first["chance"]),
        majority=float(first["majority"]),
        unequal=len(set(first["class_counts_test"])) > 1,
        tested_on=str(first["tested_on"]),
        validation=str(first["validation"]),
        classes=_classes(first),
        notes=str(first["data_notes"]),
    )


def _classes(first: pd.Series) -> tuple[tuple[str, int, int], ...]:
    about = (first["class_names"], first["train_counts"], first["class_counts_test"])
    return tuple(zip(*about, strict=True)) if len({len(one) for one in about}) == 1 else ()


def _trouble(entry: Entry, evaluations: pd.DataFrame) -> tuple[str, ...]:
    """Return why seeds have no score: their condensation or their evaluation has none."""
    lines = [f"seed {seed} {status}: {reason}" for seed, status, reason in entry.failed]
    status = {one["condensation"]: one for _, one in evaluations.iterrows()}
    for seed, id in zip(entry.seeds, entry.ids, strict=True):
        one = status.get(id)
        if one is None:
            lines.append(f"seed {seed}: not evaluated yet")
        elif one["status"] != DONE:
            lines.append(f"seed {seed}: evaluation {one['status']}: {one['reason']}")
    return tuple(lines)


def _ranked(rows: Sequence[RankedRow], n_test: int) -> tuple[RankedRow, ...]:
    """Return the rows by accuracy; controls stand among them without a rank.

    Rows of the same images, as selections of one image per class may be, share the first's rank.
    """
    scored = sorted((row for row in rows if row.score.known), key=lambda row: -row.score.mean)
    unscored = [row for row in rows if not row.score.known]
    competing = [row for row in scored if not row.entry.is_control]
    ranks = dict[Any, int]()
    for number, row in enumerate(competing, 1):
        ranks.setdefault(row.entry.images, number)

    def ranked(row: RankedRow) -> RankedRow:
        if row.entry.is_control:
            return row
        best = competing[0]
        below = None if row is best else difference(best.score, row.score, n_test)
        return replace(row, rank=ranks[row.entry.images], below=below)

    return (*map(ranked, scored), *unscored)


# -- the whole training set --------------------------------------------------------------------


def make_references(frames: Frames) -> list[Reference]:
    """Return what networks reach that are trained on the whole training set."""
    frame = frames.evaluations
    done = frame["current"] & (frame["status"] == DONE)
    whole = frame[done & frame["condensation"].isna()]
    keys = ["dataset", "fingerprint", "architecture", "protocol", "tested_on", "variant"]
    return [
        Reference(
            dataset=str(dataset),
            fingerprint=str(fingerprint),
            architecture=str(architecture),
            protocol=str(protocol),
            score=Score.of(frames, group),
            training=training_of(frames, group),
            images=mean(group["images"]),
            forward_macs=mean(group["forward_macs"]),
            epochs=_epochs(group.iloc[0]["recipe"]),
            tested_on=str(tested_on),
            recipe=group.iloc[0]["recipe"],
        )
        for (dataset, fingerprint, architecture, protocol, tested_on, _), group in whole.groupby(
            keys, sort=False
        )
    ]


def _epochs(recipe: Mapping[str, Any]) -> float:
    epochs: Any = recipe.get("epochs")
    return float(epochs) if number_format.known(epochs) else 0.0
