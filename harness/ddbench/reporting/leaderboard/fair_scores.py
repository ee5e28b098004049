"""DD-Ranking's scores: what a set is worth beyond its labels, its recipe and its augmentation.

All accuracies are shares in [0, 1], as the formulas need them; what is chosen is chosen on training
images (docs/protocols-and-metrics.md, "Fair scores").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.rows import controls_of


def hard_label_recovery(real: float, synthetic: float) -> float:
    """Return HLR: what hard labels lose on the set against all real images; smaller is better."""
    return real - synthetic


def improvement_over_random(synthetic: float, random: float) -> float:
    """Return IOR: what the set gains over random images by the same recipe; larger is better."""
    return synthetic - random


def label_robust_score(hlr: float, ior: float, weight: float = 0.5) -> float:
    """Return LRS, in [0, 1], of HLR and IOR; 1 is best."""
    return _mapped(weight * ior - (1 - weight) * hlr)


def augmentation_robust_score(augmented: float, plain: float, weight: float = 0.5) -> float:
    """Return ARS, in [0, 1], of the gains over random with augmentation and without; 1 is best."""
    return _mapped(weight * augmented + (1 - weight) * plain)


def _mapped(value: float) -> float:
    """Return -1 to 1 as 0 to 1, growing like e^value."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


@dataclass(frozen=True)
class FairScores:
    """The scores of one row; None where something that one needs was not evaluated.

    Attributes:
        hard: With hard labels under the board's protocol, in [0, 1].
        own: By the set's own recipe.
        random: Random images under the board's protocol.
        random_by_recipe: Random images by the recipe that `ior` is of.
        plain, augmented: With hard labels, without and with augmentation, all else alike.
        hlr, ior, lrs, ars: The scores.
        missing: What would give those that are None.
    """

    hard: float
    own: float | None = None
    random: float | None = None
    random_by_recipe: float | None = None
    plain: float | None = None
    augmented: float | None = None
    hlr: float | None = None
    ior: float | None = None
    lrs: float | None = None
    ars: float | None = None
    missing: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return them as plain values."""
        return {**vars(self), "missing": list(self.missing)}


def fair_scores(board: Board, boards: Sequence[Board]) -> dict[str, FairScores]:
    """Return the scores of a board's rows by the keys of their entries; of rows with a score.

    The board with the other augmentation is looked for among all `boards`.
    """
    real = board.reference.score.mean if board.reference else None
    pair = [_Gains(one) for one in _by_augmentation(board, boards)]
    return {
        place.entry.key: _fair_scores(board, place, real, pair)
        for place in board.places
        if place.score.known
    }


class _Gains:
    """Accuracies of the rows of a board, and their gains over random images."""

    def __init__(self, board: Board) -> None:
        self.accuracies = {p.entry.key: p.score.mean for p in board.places if p.score.known}
        self.random = board.baseline.score.mean if board.baseline else None

    def of(self, key: str) -> tuple[float, float] | None:
        accuracy = self.accuracies.get(key)
        if accuracy is None or self.random is None:
            return None
        return accuracy, accuracy - self.random


def _fair_scores(
    board: Board, place: RankedRow, real: float | None, pair: Sequence[_Gains]
) -> FairScores:
    """Return the scores of one row; `pair` is without and with augmentation, or empty."""
    by_recipe = _random_by_recipe(board, place)
    best = place.own.mean if place.own.known else place.score.mean
    hlr = None if real is None else hard_label_recovery(real, place.score.mean)
    ior = None if by_recipe is None else improvement_over_random(best, by_recipe)
    plain, augmented = [one.of(place.entry.key) for one in pair] or (None, None)
    ars = augmentation_robust_score(augmented[1], plain[1]) if plain and augmented else None
    return FairScores(
        hard=place.score.mean,
        own=place.own.mean if place.own.known else None,
        random=board.baseline.score.mean if board.baseline else None,
        random_by_recipe=by_recipe,
        plain=plain[0] if plain else None,
        augmented=augmented[0] if augmented else None,
        hlr=hlr,
        ior=ior,
        lrs=None if hlr is None or ior is None else label_robust_score(hlr, ior),
        ars=ars,
        missing=_missing(board, place, hlr is not None, ior is not None, ars is not None),
    )


def _random_by_recipe(board: Board, place: RankedRow) -> float | None:
    """Return what random images reach by the recipe that a row's set has.

    Without a recipe of its own that is the protocol, and the random row of the board. Else it is
    the control that starts from random real images and takes no step, by its own recipe: the
    labels and the augmentation are the method's.
    """
    if not place.own.known:
        return board.baseline.score.mean if board.baseline else None
    entries = [one.entry for one in board.places if one.entry.is_control]
    beside = {one.key for one in controls_of(place.entry, entries) if one.init == "real"}
    starts = [one for one in board.places if one.entry.key in beside and one.own.known]
    return starts[0].own.mean if starts else None


def _by_augmentation(board: Board, boards: Sequence[Board]) -> list[Board]:
    """Return the boards without and with augmentation that are alike in all else, if both are."""
    alike = [one for one in boards if _all_but_augment(one) == _all_but_augment(board)]
    plain = [one for one in alike if one.recipe.get("augment") == "none"]
    augmented = [one for one in alike if one.recipe.get("augment") != "none"]
    if not plain or not augmented:
        return []
    other = augmented if board in plain else plain
    pair = (board, other[0])
    return list(pair if board in plain else reversed(pair))


def _all_but_augment(board: Board) -> tuple[Any, ...]:
    recipe = {k: v for k, v in board.recipe.items() if k != "augment"}
    place = (board.dataset, board.fingerprint, board.ipc, board.architecture)
    return (*place, board.data.tested_on, recipe)


def _missing(board: Board, place: RankedRow, hlr: bool, ior: bool, ars: bool) -> tuple[str, ...]:
    """Return what would give the scores that are not known."""
    lines = []
    if not hlr:
        lines.append("HLR: networks of the whole training set (`reference` of the preset)")
    if not ior and place.own.known:
        lines.append("IOR: random real images trained by the set's own recipe")
    elif not ior or board.baseline is None:
        lines.append("IOR: the method `random` beside it")
    if not ars:
        lines.append('ARS: two protocols that differ in `augment` alone, one of them "none"')
    return tuple(lines)
