"""Boards: the rankings, one for each dataset, ipc, evaluation architecture and protocol."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ddbench.reporting.leaderboard.differences import Difference, difference
from ddbench.reporting.leaderboard.results import Evaluated, Results, number
from ddbench.reporting.leaderboard.rows import Entry
from ddbench.reporting.leaderboard.scores import (
    Costs,
    OwnTraining,
    Score,
    Training,
    costs_of,
    mean,
    training_of,
)
from ddbench.reporting.leaderboard.ties import standings
from ddbench.store.records import DONE, TEST, VALIDATION, CondensationRecord, EvaluationRecord
from ddbench.text import number_format


@dataclass(frozen=True)
class RankedRow:
    """One row of a board.

    Attributes:
        entry: Whose row it is.
        score: Under the common protocol, with hard labels.
        own: Under the set's own recipe (soft labels, learning rate, augmentation), if it has one.
        costs: By class of hardware.
        training: By class of hardware.
        own_training: How networks were trained by that recipe.
        bytes: Of the stored set.
        bytes_ratio: These to ipc float32 images a class.
        images: In the set.
        rank: 1 for the most accurate; None without a score, and for controls; the same for rows
            of the same images.
        below: How far it lies below the best; None of the best itself, and without a rank.
        tied: Whether nothing tells it from the best, by Holm's correction over all pairs of the
            board; False of the best itself, and where nothing is known of the noise.
        ranks: From the first to the last rank that it may have, by the same; None of unknown noise.
        groups: The ties that it is in, a letter each: rows that stand next to each other, none of
            which is told from another.
        trouble: Why some or all seeds have no score.
    """

    entry: Entry
    score: Score
    own: Score
    costs: Mapping[str, Costs]
    training: Mapping[str, Training]
    bytes: float
    images: float
    bytes_ratio: float = math.nan
    own_training: OwnTraining = field(default_factory=OwnTraining)
    rank: int | None = None
    below: Difference | None = None
    tied: bool = False
    ranks: tuple[int, int] | None = None
    groups: str = ""
    trouble: tuple[str, ...] = ()


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
        tests: How many pairs of rows have a test.
        setting: Of the data, such as "federated"; "" where they are in one place.
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
    tests: int = 0
    setting: str = ""

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

    @cached_property
    def by_key(self) -> Mapping[str, RankedRow]:
        """Its rows by the keys of their entries."""
        return {place.entry.key: place for place in self.places}

    @cached_property
    def front(self) -> frozenset[str]:
        """The keys of the Pareto front: no other row is both more accurate and cheaper to make.

        Of rows with a rank, made on one class of hardware.
        """
        ranked = [p for p in self.places if p.rank is not None and len(p.costs) == 1]
        costs = [
            (next(iter(place.costs.values())).seconds, -place.score.mean, place.entry.key)
            for place in ranked
        ]
        found, best = [], -math.inf
        for _, negative, key in sorted(one for one in costs if math.isfinite(one[0])):
            if -negative >= best:
                best = -negative
                found.append(key)
        return frozenset(found)

    @cached_property
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

    @cached_property
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


def make_boards(results: Results, entries: Sequence[Entry]) -> list[Board]:
    """Return the boards by dataset, ipc and protocol, the architectures that were matched first."""
    maker = _Maker(results, entries)
    boards = [board for board in map(maker.board, maker.keys()) if board.places]
    matched = {entry.architecture for entry in entries}
    datasets = list(dict.fromkeys((b.dataset, b.fingerprint) for b in boards))
    names = sorted(dict.fromkeys(b.architecture for b in boards), key=lambda n: n not in matched)

    def order(board: Board) -> tuple[Any, ...]:
        dataset = datasets.index((board.dataset, board.fingerprint))
        protocol = (board.protocol, board.variant)
        on = board.data.tested_on == TEST  # what is chosen by comes before what was chosen
        return dataset, board.ipc, *protocol, on, board.setting, names.index(board.architecture)

    return sorted(boards, key=order)


def grouped(boards: Sequence[Board]) -> list[tuple[Board, ...]]:
    """Return the boards that differ in the evaluation architecture only, together."""

    def shared(board: Board) -> tuple[Any, ...]:
        about = (board.dataset, board.fingerprint, board.ipc, board.protocol, board.variant)
        return *about, board.data.tested_on, board.setting

    return [tuple(group) for _, group in itertools.groupby(boards, shared)]


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


@dataclass(frozen=True)
class _Key:
    """What all evaluations of a board share, but the recipe."""

    dataset: str
    fingerprint: str
    ipc: int
    protocol: str
    architecture: str
    tested_on: str
    setting: str


class _Maker:
    """Makes boards of evaluations of final sets that count."""

    def __init__(self, results: Results, entries: Sequence[Entry]) -> None:
        self.results = results
        self.references = make_references(results)
        self.entries: dict[tuple[str, str, int, str], list[Entry]] = {}
        for entry in entries:
            place = (entry.dataset, entry.fingerprint, entry.ipc, entry.setting)
            self.entries.setdefault(place, []).append(entry)
        self.common: dict[_Key, list[Evaluated]] = {}  # by the protocol alone
        self.own: dict[_Key, list[Evaluated]] = {}  # by the sets' own recipes
        for one in results.evaluations:
            if one.current and one.of is not None and one.record.snapshot is None:
                into = self.own if one.record.own_recipe else self.common
                into.setdefault(_key(one.record, one.of.record), []).append(one)
        self.variants: dict[tuple[str, str, str], set[str]] = {}
        self.contents: dict[str, set[str]] = {}
        for key, variant in self.keys():
            protocol = (key.dataset, key.fingerprint, key.protocol)
            self.variants.setdefault(protocol, set()).add(variant)
            self.contents.setdefault(key.dataset, set()).add(key.fingerprint)

    def keys(self) -> list[tuple[_Key, str]]:
        """Return what the boards are of, and the hash of each one's recipe."""
        done = (
            (key, one.variant) for key, group in self.common.items() for one in group if one.done
        )
        return list(dict.fromkeys(done))

    def board(self, of: tuple[_Key, str]) -> Board:
        key, variant = of
        # A failed evaluation never got to note the recipe in its final form.
        common = [o for o in self.common[key] if o.variant == variant or not o.done]
        own = self.own.get(key, [])
        first = next(one for one in common if one.done).record
        data = _facts(first)
        entries = self.entries.get((key.dataset, key.fingerprint, key.ipc, key.setting), [])
        if data.validation and key.tested_on == TEST:  # only what was chosen is tested
            tested = {one.entry for one in common}
            entries = [entry for entry in entries if entry.key in tested]
        protocol = (key.dataset, key.fingerprint, key.protocol)
        on_test = self.common.get(replace(key, tested_on=TEST), [])
        places, tests = _ranked(self._places(entries, common, own), data.n_test)
        return Board(
            dataset=key.dataset,
            fingerprint=key.fingerprint,
            ipc=key.ipc,
            architecture=key.architecture,
            protocol=key.protocol,
            setting=key.setting,
            recipe=first.recipe,
            places=places,
            tests=tests,
            data=data,
            forward_macs=number(first.forward_macs),
            reference=self._reference(key),
            variant=variant[:6] if len(self.variants[protocol]) > 1 else "",
            data_variant=key.fingerprint[:8] if len(self.contents[key.dataset]) > 1 else "",
            tested=any(one.done for one in on_test),
        )

    def _places(
        self,
        entries: Iterable[Entry],
        common: Iterable[Evaluated],
        own: Iterable[Evaluated],
    ) -> list[RankedRow]:
        by_entry, own_by_entry = _by_entry(common), _by_entry(own)
        places = []
        for entry in entries:
            sets = self.results.of(entry.ids)
            ours = by_entry.get(entry.key, [])
            places.append(
                RankedRow(
                    entry=entry,
                    score=Score.of(ours),
                    own=Score.of(own_by_entry.get(entry.key, [])),
                    own_training=OwnTraining.of(own_by_entry.get(entry.key, [])),
                    costs=costs_of(sets),
                    training=training_of(ours),
                    bytes=mean(one.cost("bytes") for one in sets),
                    bytes_ratio=mean(one.cost("bytes_ratio") for one in sets),
                    images=mean(number(one.record.images) for one in sets),
                    trouble=_trouble(entry, ours),
                )
            )
        return places

    def _reference(self, key: _Key) -> Reference | None:
        """Return the one of most epochs: chosen before any test, and the least undertrained."""
        place = (key.dataset, key.fingerprint, key.architecture, key.tested_on)
        fitting = (
            r
            for r in self.references
            if (r.dataset, r.fingerprint, r.architecture, r.tested_on) == place
        )
        return max(
            fitting, key=lambda reference: (reference.epochs, reference.protocol), default=None
        )


def _key(record: EvaluationRecord, of: CondensationRecord) -> _Key:
    return _Key(
        dataset=record.dataset,
        fingerprint=record.dataset_fingerprint,
        ipc=of.ipc,
        protocol=record.protocol,
        architecture=record.architecture,
        tested_on=record.tested_on,
        setting=of.setting,
    )


def _by_entry(evaluations: Iterable[Evaluated]) -> dict[str | None, list[Evaluated]]:
    groups: dict[str | None, list[Evaluated]] = {}
    for one in evaluations:
        groups.setdefault(one.entry, []).append(one)
    return groups


def _facts(first: EvaluationRecord) -> DataFacts:
    return DataFacts(
        n_test=first.n_test or 0,
        chance=number(first.chance),
        majority=number(first.majority),
        unequal=len(set(first.class_counts_test)) > 1,
        tested_on=first.tested_on,
        validation=first.validation,
        classes=_classes(first),
        notes=first.data_notes,
    )


def _classes(first: EvaluationRecord) -> tuple[tuple[str, int, int], ...]:
    about = (first.class_names, first.train_counts, first.class_counts_test)
    return tuple(zip(*about, strict=True)) if len({len(one) for one in about}) == 1 else ()


def _trouble(entry: Entry, evaluations: Iterable[Evaluated]) -> tuple[str, ...]:
    """Return why seeds have no score: their condensation or their evaluation has none."""
    lines = [f"seed {seed} {status}: {reason}" for seed, status, reason in entry.failed]
    records = {one.record.condensation: one.record for one in evaluations}
    for seed, id in zip(entry.seeds, entry.ids, strict=True):
        one = records.get(id)
        if one is None:
            lines.append(f"seed {seed}: not evaluated yet")
        elif one.status != DONE:
            lines.append(f"seed {seed}: evaluation {one.status}: {one.reason}")
    return tuple(lines)


def _ranked(places: Sequence[RankedRow], n_test: int) -> tuple[tuple[RankedRow, ...], int]:
    """Return the rows by accuracy, and how many pairs of them have a test.

    Controls stand among them without a rank. Rows of the same images, as selections of one image
    per class may be, share the first's rank.
    """
    scored = sorted((p for p in places if p.score.known), key=lambda p: -p.score.mean)
    rest = [place for place in places if not place.score.known]
    rows = [place for place in scored if not place.entry.is_control]
    if not rows:
        return (*scored, *rest), 0
    sets = [place.entry.images for place in rows]
    first: dict[Any, int] = {}
    for k, one in enumerate(sets):
        first.setdefault(one, k)
    found, tests = standings([place.score for place in rows], sets, n_test)
    new = {
        place.entry.key: replace(
            place,
            rank=1 + first[place.entry.images],
            below=None if k == 0 else stands.below,
            tied=stands.tied,
            ranks=stands.ranks,
            groups=stands.groups,
        )
        for k, (place, stands) in enumerate(zip(rows, found, strict=True))
    }
    return (*(new.get(place.entry.key, place) for place in scored), *rest), tests


# -- the whole training set --------------------------------------------------------------------


def make_references(results: Results) -> list[Reference]:
    """Return what networks reach that are trained on the whole training set."""
    groups: dict[tuple[str, ...], list[Evaluated]] = {}
    for one in results.evaluations:
        record = one.record
        if one.current and one.done and record.condensation is None:
            key = (record.dataset, record.dataset_fingerprint, record.architecture,
                   record.protocol, record.tested_on, one.variant)  # fmt: skip
            groups.setdefault(key, []).append(one)
    return [_make_reference(group) for group in groups.values()]


def _make_reference(group: Sequence[Evaluated]) -> Reference:
    first = group[0].record
    return Reference(
        dataset=first.dataset,
        fingerprint=first.dataset_fingerprint,
        architecture=first.architecture,
        protocol=first.protocol,
        score=Score.of(group),
        training=training_of(group),
        images=mean(number(one.record.images) for one in group),
        forward_macs=mean(number(one.record.forward_macs) for one in group),
        epochs=_epochs(first.recipe),
        tested_on=first.tested_on,
        recipe=first.recipe,
    )


def _epochs(recipe: Mapping[str, Any]) -> float:
    epochs: Any = recipe.get("epochs")
    return float(epochs) if number_format.known(epochs) else 0.0
