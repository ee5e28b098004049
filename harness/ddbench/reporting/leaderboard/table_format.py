"""The text of table cells and captions, the same in the terminal and in a report."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ddbench.reporting.leaderboard.differences import Difference, difference, interval_of
from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.rows import Entry, controls_of
from ddbench.reporting.leaderboard.scores import Score
from ddbench.store.records import VALIDATION
from ddbench.text import number_format

REDUCED, CONTROL, TIED, NOTED, FRONT = "†", "‡", "≈", "§", "◆"
FAR = 0.05  # as a share: a recipe that loses more against the common protocol has a footnote
Value = TypeVar("Value")


def name(entry: Entry) -> str:
    """Return a row's label with its marks."""
    marks = [REDUCED] * bool(entry.reduced) + [CONTROL] * entry.is_control
    marks += [NOTED] * bool(entry.notes)
    return " ".join([entry.label, "".join(marks)]).strip()


def rank(place: RankedRow) -> str:
    """Return a row's rank, marked where it is as good as the best."""
    if place.rank is None:
        return ""
    return f"{place.rank} {TIED}" if place.tied else str(place.rank)


def accuracy(place: RankedRow, score: Score | None = None) -> str:
    """Return mean ± spread in percent; what is missing is said, never averaged over."""
    score = place.score if score is None else score
    if score.known:
        missing = (
            f" ({number_format.several(len(place.trouble), 'seed')} missing)"
            if place.trouble
            else ""
        )
        return number_format.points(score.mean, score.spread) + missing
    if score is not place.score or not place.trouble:
        return number_format.NOTHING
    said = (word for word in ("failed", "skipped") if word in place.trouble[0].split(": ")[0])
    return next(said, "missing")


def accuracy_interval(score: Score, n_test: int) -> str:
    """Return the 95% interval of a row's accuracy in percent, with what it is over.

    84.0 to 88.2 (5 seeds); 84.0 to 88.2 (1 seed, 3 networks).
    """
    found = interval_of(score, n_test)
    if found is None:
        return number_format.NOTHING
    low, high = (number_format.points(end) for end in found)
    over = number_format.several(score.seeds, "seed")
    if score.seeds == 1:
        over += f", {number_format.several(score.networks, 'network')}"
    return f"{low} to {high} ({over})"


def ranks(place: RankedRow) -> str:
    """Return the ranks that a row may have: 1, 2–4."""
    if place.ranks is None:
        return number_format.NOTHING
    first, last = place.ranks
    return str(first) if first == last else f"{first}–{last}"


def samples(score: Score) -> str:
    """Return how many seeds and networks: 5 × 3."""
    return f"{score.seeds} × {score.networks}" if score.known else number_format.NOTHING


# -- classes of hardware -----------------------------------------------------------------------


def letters(boards: Iterable[Board]) -> dict[str, str]:
    """Return a letter for each class of hardware, if there are several; {} if there is one."""
    classes = dict.fromkeys(
        name for b in boards for p in b.places for name in (*p.costs, *p.training)
    )
    if len(classes) < 2:
        return {}
    return dict(zip(classes, _letters(len(classes)), strict=True))


def _letters(n: int) -> list[str]:
    return [string.ascii_uppercase[k] if k < 26 else f"#{k + 1}" for k in range(n)]


def by_class(
    values: Mapping[str, Value], show: Callable[[Value], str], letter: Mapping[str, str]
) -> str:
    """Return a value for each class of hardware, each with its letter where there are several."""
    if not values:
        return number_format.NOTHING
    parts = [
        f"{show(value)} [{letter[name]}]" if name in letter else show(value)
        for name, value in values.items()
    ]
    return " / ".join(parts)


# -- captions ----------------------------------------------------------------------------------


def data_caption(board: Board) -> str:
    """Return what the dataset alone allows to say: chance, majority class, resolution."""
    data = board.data
    validation = data.validation if data.tested_on == VALIDATION else ""
    parts = [
        f"{data.n_test:,} {data.images}" + (f" ({validation})" if validation else ""),
        f"chance {number_format.points(data.chance)}%",
        f"majority class {number_format.points(data.majority)}%",
    ]
    best = board.best
    if best:
        error = 100 * data.resolution(best.score.mean)
        shown = f"{error:.1f}" if error >= 0.1 else f"{error:#.1g}"
        parts.append(
            f"resolution ±{shown} points (binomial standard error at "
            f"{number_format.points(best.score.mean)}%)"
        )
    return ", ".join(parts)


def validation_caption(board: Board) -> str:
    """Return what a ranking on a validation split, or on the test set after it, is of."""
    if not board.data.validation:
        return ""
    if board.data.tested_on == VALIDATION:
        waits = "no network was tested on the test set: --test does that for each method's best row"
        tested = "each method's best row was tested on the test set since: see there"
        return f"measured on {board.data.validation}; {tested if board.tested else waits}"
    return f"the rows that were chosen on {board.data.validation}, tested on the test set"


def legend(places: Sequence[RankedRow]) -> list[str]:
    """Return what the marks mean that are the same in all rows."""
    lines = [f"{FRONT} no other row is both more accurate and cheaper to make"]
    if any(place.tied for place in places):
        lines.append(
            f"{TIED} not told from the best: 95% sure of all pairs of rows together, by Holm's "
            "correction"
        )
    lines += [*_leaps(places), *_silences(places)]
    of = dict.fromkeys(str(p.entry.control_of) for p in places if p.entry.is_control)
    if of:
        whose = number_format.listed(list(of))
        lines.append(f"{CONTROL} a control of {whose}, which stands beside it and is not ranked")
    return lines


def _leaps(places: Sequence[RankedRow]) -> list[str]:
    """Return why a row counts as equal to the best while one nearer to the best does not."""
    lines = []
    told: RankedRow | None = None  # the nearest to the best that is told from it
    for place in (p for p in places if p.below and p.below.known):
        if place.tied and told is not None and told.below is not None:
            near, far = told.below, place.below
            assert far is not None  # noqa: S101
            lines.append(
                f"{TIED} {_row(place.entry)} is further from the best than {_row(told.entry)}, "
                f"which is told from it: its difference is known to "
                f"±{number_format.points(far.half)} points, that of the other to "
                f"±{number_format.points(near.half)}"
            )
        elif not place.tied:
            told = told or place
    return lines


def _silences(places: Sequence[RankedRow]) -> list[str]:
    """Return what the numbers cannot say: noise that was not measured."""
    scores = [place.score for place in places if place.score.known]
    lines = []
    if any(place.below and not place.below.known for place in places):
        lines.append("one network has no spread: nothing is said of rows being as good as others")
    if any(score.networks == 2 for score in scores):
        lines.append(
            "two networks: their intervals are nearly four times as wide as those of three of the "
            "same noise; use 3 networks or more (`networks` of the protocol)"
        )
    if any(score.seeds == 1 for score in scores):
        lines.append(
            "one condensation seed (n 1 × …): ± and intervals do not hold what condensing again "
            "would change"
        )
    return lines


def noted(places: Sequence[RankedRow]) -> list[str]:
    """Return what is odd about rows."""
    entries = [place.entry for place in places]
    lines = [f"{NOTED} {_row(one)}: {'; '.join(one.notes)}" for one in entries if one.notes]
    for budget in dict.fromkeys(one.budget_s for one in entries if one.budget_s is not None):
        taken = [f"{one.label} {one.taken}" for one in entries if one.budget_s == budget]
        lines.append(f"steps taken in {budget:g} s: {', '.join(taken)}")
    return lines


def _row(entry: Entry) -> str:
    return f"{entry.label} ({entry.init} init)"


Settings = Mapping[str, Sequence[Any]]  # option -> (used, published)


def settings(places: Sequence[RankedRow]) -> list[tuple[list[str], str, Settings]]:
    """Return the rows, whose settings they are not ("published" or "default"), and the options.

    Rows of the same settings stand together; of a control only what differs from its row.
    """
    entries = [place.entry for place in places]
    controls = [entry for entry in entries if entry.is_control]
    whose = {one.key: entry for entry in entries for one in controls_of(entry, controls)}
    alike: dict[str, tuple[list[str], str, Settings]] = {}
    for entry in entries:
        of = whose.get(entry.key)
        beside = of.reduced if of else {}
        options = {k: v for k, v in entry.reduced.items() if list(beside.get(k, ())) != [*v]}
        kind = "published" if entry.published else "default"
        if options:
            found = alike.setdefault(repr((kind, options)), ([], kind, options))
            found[0].append(_row(entry))
    return list(alike.values())


def own_recipe_notes(board: Board) -> list[str]:
    """Return the rows that their own recipe does harm: near chance, or far below the protocol."""
    lines = []
    for place in (p for p in board.places if p.own.known and p.score.known):
        own, lost = place.own.mean, place.score.mean - place.own.mean
        chance = own <= board.data.chance + 2 * board.data.resolution(board.data.chance)
        if chance or lost > FAR:
            lines.append(
                f"{_row(place.entry)}: its own recipe gives "
                f"{number_format.points(own)}%, {number_format.difference(-lost)} points "
                f"against the common protocol{', no better than chance' if chance else ''}"
            )
    return lines


def against_controls(board: Board) -> list[str]:
    """Return what each row gains over its control, in points, with its interval."""
    lines = []
    controls = [place for place in board.places if place.entry.is_control]
    entries = [place.entry for place in controls]
    beside = {p.entry.key: controls_of(p.entry, entries) for p in board.places if entries}
    for control in controls:
        for place in board.places:
            own, of = place.entry, control.entry
            if of not in beside[own.key]:
                continue
            gains = _gain(place.score, control.score, board.data.n_test)
            by_own = _gain(place.own, control.own, board.data.n_test)
            text = " and ".join([*gains, *(f"{gain} by their own recipes" for gain in by_own)])
            if text:
                lines.append(f"{_row(own)} against {_row(of)}: {text}")
    return lines


def _gain(score: Score, control: Score, n_test: int) -> list[str]:
    """Return a gain in words, if both are known: +3.2 points (95% interval +1.1 to +5.3)."""
    if not (score.known and control.known):
        return []
    found = difference(score, control, n_test)
    return [f"{number_format.difference(found.mean)} points ({interval(found)})"]


def interval(found: Difference) -> str:
    """Return the interval of a difference in words, or that there is none."""
    if not found.known:
        return "one network, so no spread"
    low, high = map(number_format.difference, found.interval)
    return f"95% interval {low} to {high}"


def hardware_caption(letter: Mapping[str, str]) -> str:
    """Return which letter is which class of hardware; "" if there is one only."""
    if not letter:
        return ""
    classes = "; ".join(f"[{short}] {name}" for name, short in letter.items())
    return f"times and memory compare only inside one class of hardware: {classes}"
