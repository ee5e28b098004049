"""Rows held against published figures: the difference, z, and what that says.

docs/published.md, "What a verdict means", has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.rows import Entry
from ddbench.reporting.leaderboard.scores import Score
from ddbench.reporting.references import (
    ACCURACY,
    LAST,
    Reference,
    Training,
    chosen,
    data_of,
    references,
)
from ddbench.store.records import VALIDATION
from ddbench.text import number_format

REPRODUCED, CLOSE = "reproduced", "close"
NOT_REPRODUCED, NOT_COMPARABLE = "not reproduced", "not comparable"
TRUSTED = ("own", "quoted", "rerun")  # others are orientation, and lead to no verdict
NEAR = 0.02  # as a share: two points, about as far as reruns of one method lie apart
NOISE = 2.0  # standard errors within which a difference is noise


@dataclass(frozen=True)
class Comparison:
    """A row beside one published figure.

    Attributes:
        reference: The figure.
        accuracy: The row's, by the set's own recipe where the figure is; in [0, 1].
        z: The difference in its standard errors; NaN where the noise is not known, or nothing is
            comparable.
        verdict: "reproduced", "close", "not reproduced" or "not comparable".
        reason: Why it is not comparable; "" of other verdicts.
    """

    reference: Reference
    accuracy: float
    z: float
    verdict: str
    reason: str = ""

    @property
    def difference(self) -> float:
        """How far the row lies above the figure, as a share."""
        return self.accuracy - self.reference.value

    @property
    def text(self) -> str:
        """The verdict in words."""
        return f"{self.verdict}, because {self.reason}" if self.reason else self.verdict

    def record(self) -> dict[str, Any]:
        """Return it as plain values."""
        of = self.reference
        return {
            "published": of.value,
            "published_spread": of.spread,
            "accuracy": self.accuracy,
            "difference": self.difference,
            "z": self.z if math.isfinite(self.z) else None,
            "verdict": self.verdict,
            "reason": self.reason or None,
            "dataset": of.dataset,
            "architecture": of.architecture,
            "protocol": of.protocol,
            "source": of.source,
            "trust": of.trust,
            "note": of.note or None,
        }


def against_published(
    board: Board, place: RankedRow, figures: Iterable[Reference] | None = None
) -> list[Comparison]:
    """Return a row beside each published figure of its method on its data, ipc and kind of network.

    Controls have none. `figures` are all that come with ddbench, unless given.
    """
    if place.entry.is_control or not place.score.known:
        return []
    known = _of(place.entry.method, place.entry.ipc) if figures is None else figures
    return [_compared(board, place, one) for one in known if _matches(board, place.entry, one)]


@cache
def _of(method: str, ipc: int) -> list[Reference]:
    return chosen(references(), method=[method], ipc=[ipc])


def _matches(board: Board, entry: Entry, figure: Reference) -> bool:
    """Say whether a figure is of the same method, data, ipc and family of networks."""
    family = board.architecture.partition("-")[0]
    return (
        figure.quantity == ACCURACY
        and figure.method == entry.method
        and figure.ipc == entry.ipc
        and data_of(figure.dataset) == data_of(entry.dataset)
        and figure.architecture in (board.architecture, family)
        and figure.init in (None, entry.init)
        and all(entry.config.get(name) == value for name, value in figure.options.items())
    )


def _compared(board: Board, place: RankedRow, figure: Reference) -> Comparison:
    score = place.own if figure.how.own and place.own.known else place.score
    reasons = [*_unlike(board, place.entry, figure)]
    if reasons:
        return Comparison(figure, score.mean, math.nan, NOT_COMPARABLE, "; ".join(reasons))
    error = _error(score, figure)
    z = (score.mean - figure.value) / error if error > 0 else math.nan
    return Comparison(figure, score.mean, z, *_verdict(score.mean - figure.value, error))


def _verdict(difference: float, error: float) -> tuple[str, str]:
    """Return what a difference under like conditions says, and why if it says nothing."""
    near = abs(difference) <= NEAR
    if not math.isfinite(error):
        unknown = "the noise of one set, or of one network, is not known"
        return (CLOSE, "") if near else (NOT_COMPARABLE, unknown)
    within = abs(difference) <= NOISE * error
    if within and not near:
        half = number_format.points(NOISE * error)
        return NOT_COMPARABLE, f"the noise (± {half} points) hides the difference"
    return (REPRODUCED if within else CLOSE if near else NOT_REPRODUCED), ""


def _error(score: Score, figure: Reference) -> float:
    """Return the standard error of the difference; NaN where it is not known.

    The published ± is a standard deviation over all networks of all sets: it is taken to be that
    of the sets, which is the most they can vary by. Where the row has one set, what condensing
    again would change is taken from it too.
    """
    if figure.spread is None:
        if score.seeds < 2:
            return math.nan
        return score.seed_spread / math.sqrt(score.seeds)
    theirs = figure.spread**2 / (figure.how.sets or 1)
    if score.seeds > 1:
        return math.sqrt(theirs + score.seed_spread**2 / score.seeds)
    if score.networks < 2:
        return math.nan
    return math.sqrt(theirs + figure.spread**2 + score.spread**2 / score.networks)


# -- what is not alike -------------------------------------------------------------------------


def _unlike(board: Board, entry: Entry, figure: Reference) -> Iterable[str]:
    """Yield every reason why a row and a figure do not compare."""
    how = figure.how
    if entry.dataset != figure.dataset:
        yield f"the data are {entry.dataset}, published {figure.dataset}"
    if board.data.tested_on == VALIDATION:
        yield "it was tested on validation images"
    if board.architecture != figure.architecture:
        yield f"the networks are {board.architecture}, published {figure.architecture}"
    if figure.condensed_on not in (None, entry.architecture):
        yield f"it was condensed on {entry.architecture}, published {figure.condensed_on}"
    yield from _other_settings(entry, figure.settings)
    if how.reports not in ("", LAST):
        yield f"the figure is {how.reports}"
    elif how.recipe is None:
        yield f"its protocol is not known in full ({how.summary})"
    else:
        yield from _other_recipe(board.recipe, how.recipe)
    if figure.trust not in TRUSTED:
        yield _DOUBT[figure.trust]


_DOUBT: Mapping[str, str] = {
    "reported": "the figure is a user's",
    "read off": "the figure is read off a plot",
    "notes": "the figure is from notes of others",
    "recalled": "the figure is recalled, not read",
    "contradicted": "its source contradicts itself",
}


def _other_settings(entry: Entry, settings: Mapping[str, Any]) -> Iterable[str]:
    """Yield which settings differ from those of the figure; None at all where there are none."""
    used = {name: values[0] for name, values in entry.reduced.items()}
    other = [
        f"{name} {number_format.number(used[name])} (published {_shown(name, entry, settings)})"
        for name in used
        if name not in settings or used[name] != settings[name]
    ]
    other += [
        f"{name} as in the method's paper (there {number_format.number(value)})"
        for name, value in settings.items()
        if name not in used
    ]
    if other:
        yield f"other settings: {', '.join(other)}"
    if not entry.published and set(entry.config) - {"seed"}:
        yield "the method's settings here are ddbench's own"


def _shown(name: str, entry: Entry, settings: Mapping[str, Any]) -> str:
    return number_format.number(settings.get(name, entry.reduced[name][1]))


def _other_recipe(recipe: Mapping[str, Any], published: Training) -> Iterable[str]:
    """Yield in what networks were trained otherwise than for the figure."""
    expected = published.model_dump()
    augment: Sequence[str] = expected.pop("augment")
    if published.optimizer == "adam":
        expected.pop("momentum")
    other = [
        f"{name} {_plain(recipe.get(name))} (published {_plain(value)})"
        for name, value in expected.items()
        if recipe.get(name) != value
    ]
    if recipe.get("augment") not in augment:
        other.append(f"augment {recipe.get('augment')} (published {' or '.join(augment)})")
    if other:
        yield f"another protocol: {', '.join(other)}"


def _plain(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        momentum = "lost" if value.get("reset_momentum") else "kept"
        after, factor = value.get("after_epochs"), value.get("factor")
        return f"after {after} epochs, times {factor}, momentum {momentum}"
    return "none" if value is None else number_format.number(value)
