"""The first paragraph: which method, at what cost, against random images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddbench.reporting.leaderboard import (
    Board,
    Costs,
    Difference,
    Leaderboard,
    RankedRow,
    Score,
    answer,
    difference,
    grouped,
    table_format,
)
from ddbench.reporting.markdown.document import code, escaped
from ddbench.store.records import VALIDATION
from ddbench.text import number_format


def summary(leaderboard: Leaderboard) -> list[str]:
    """Return a paragraph for each dataset, ipc and protocol, on the first architecture."""
    if not leaderboard.boards:
        return ["No evaluation has ended yet, so there is nothing to rank."]
    return [_paragraph(boards) for boards in grouped(leaderboard.boards)]


def _paragraph(boards: Sequence[Board]) -> str:
    board = boards[0]
    images = "image" if board.ipc == 1 else "images"
    split = f", {board.data.images}" if board.data.validation else ""
    where = f"**{escaped(board.dataset_name)}, {board.ipc} {images} per class{split}.**"
    best = board.best_method
    if best is None:
        return f"{where} {_only_baseline(board)}"
    chooses = board.data.tested_on == VALIDATION
    sentences = [
        answer(boards, code) if chooses else "",
        _quick(board),
        _verdict(board, best),
        _cost(best),
        _gain(board, best),
        _equals(board, best),
        _selection(board, best),
        _own(board),
        _classes(board, best),
        _caveat(best),
    ]
    return " ".join([where, *filter(None, sentences)])


def _only_baseline(board: Board) -> str:
    baseline = board.baseline
    if baseline is None:
        return "No method has a score yet."
    score = _percent(baseline.score)
    return f"Only random images have a score: {score} on {code(board.architecture)}."


def _quick(board: Board) -> str:
    """Return what a ranking of quick settings is worth."""
    text = table_format.quick_caption(board)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _verdict(board: Board, best: RankedRow) -> str:
    """Return who is best and whether that is more than random images give."""
    who = _who(best)
    reaches = (
        f"networks of {code(board.architecture)} trained on its {best.images:,.0f} images reach "
        f"{_percent(best.score)} of {board.data.n_test:,} {board.data.images}"
        f" ({_sample(best.score)}, protocol {code(board.protocol_name)})"
    )
    baseline = board.baseline
    if baseline is None:
        return (
            f"The most accurate method is {who}: {reaches}. No random images stand beside it, "
            "so nothing is said about what condensing is worth."
        )
    found = difference(best.score, baseline.score, board.data.n_test)
    against = f"random real images give {_percent(baseline.score)} ({_sample(baseline.score)})"
    much = f"{100 * abs(found.mean):.1f} points {'more' if found.mean >= 0 else 'less'}"
    if found.mean <= 0:
        return f"No method beats random images. The nearest is {who}: {reaches}; {against}."
    lead = "The most accurate method is"
    if found.known and not found.decided:
        lead = "No method can be told from random images. The most accurate is"
    known = f"{table_format.interval(found)}{_pairing(found)}"
    return f"{lead} {who}: {reaches}; {against}: {much} ({known})."


def _pairing(found: Difference) -> str:
    return f", {found.networks} networks in pairs" if found.networks > 1 else ""


def _percent(score: Score) -> str:
    return f"{number_format.points(score.mean, score.spread)}%"


def _sample(score: Score) -> str:
    seeds = number_format.several(score.seeds, "seed")
    return f"{seeds} × {number_format.several(score.networks, 'network')}"


def _cost(best: RankedRow) -> str:
    """Return what the set cost, on each class of hardware."""
    costs = list(best.costs.values())
    if not costs or math.isnan(costs[0].own_s):
        return ""
    parts = [_cost_on(cost) for cost in costs]
    return f"Condensing took {number_format.listed(parts)}."


def _cost_on(cost: Costs) -> str:
    text = number_format.duration(cost.own_s)
    if cost.artifact_s > 0:
        text += f" and {number_format.duration(cost.artifact_s)} for its artifacts, in full"
    flops = number_format.flops(cost.flops, cost.lower_bound)
    return f"{text} ({flops} in all) on {escaped(cost.hardware_class)}"


def _equals(board: Board, best: RankedRow) -> str:
    """Return the cheapest of the rows that cannot be told from the best, if that is a method."""
    if best is not board.best:
        return ""  # ties are with random images
    equal = [place for place in board.places if place.tied and not place.entry.is_baseline]
    if not equal:
        return ""
    cheaper = [
        p for p in equal if list(p.costs) == list(best.costs) and _seconds(p) < _seconds(best)
    ]
    if not cheaper:
        names = [_who(place) for place in equal]
        listed = number_format.listed(names)
        return f"{listed} cannot be told from the best; none is known to be cheaper."
    least = min(cheaper, key=_seconds)
    return f"The cheapest row that cannot be told from the best, {_worth(least)}."


def _selection(board: Board, best: RankedRow) -> str:
    """Return what choosing real images gives, without condensing any, if that is something."""
    chosen = [p for p in board.places if p.rank is not None and p.score.known and _selects(p)]
    if not chosen:
        return ""
    top = max(chosen, key=lambda place: (place.score.mean, -_seconds(place)))
    if top is best:
        return "Its images are real ones, selected."
    over = board.over_random(top)
    if over is not None and over.mean <= 0:
        return "No selection of real images beats random ones."
    if over is not None and over.known and not over.decided:
        return "No selection of real images can be told from random ones."
    return f"The best selection of real images, {_worth(top)}."


def _selects(place: RankedRow) -> bool:
    return not place.entry.is_baseline and all(cost.steps == 0 for cost in place.costs.values())


def _who(place: RankedRow) -> str:
    return f"{code(place.entry.label)} ({escaped(place.entry.init)} init)"


def _worth(place: RankedRow) -> str:
    """Return a row's accuracy and the seconds of its set, artifacts in full."""
    costs = [
        number_format.duration(cost.seconds)
        + (f" on {escaped(name)}" if len(place.costs) > 1 else "")
        for name, cost in place.costs.items()
    ]
    cost = number_format.listed(costs)
    return f"{_who(place)}, gives {_percent(place.score)} for {cost} of condensing"


def _seconds(place: RankedRow) -> float:
    return sum(cost.seconds for cost in place.costs.values())


def _gain(board: Board, best: RankedRow) -> str:
    """Return what training on the set saves and loses against the whole training set."""
    reference = board.reference
    if reference is None:
        return ""
    lost = 100 * (reference.score.mean - best.score.mean)
    text = f"The whole training set ({reference.images:,.0f} images) gives "
    text += f"{_percent(reference.score)}, {abs(lost):.1f} points {'more' if lost >= 0 else 'less'}"
    shared = [name for name in best.training if name in reference.training]
    if shared:
        here, there = best.training[shared[0]].train_s, reference.training[shared[0]].train_s
        text += (
            f"; training a network on it takes {number_format.duration(there)}"
            f"{_epochs(board, reference.epochs)}, "
            f"on the set {number_format.duration(here)}{_epochs(board, board.recipe.get('epochs'))}"
        )
    return text + "."


def _epochs(board: Board, epochs: object) -> str:
    """Return for how many epochs, where the set and the whole are not trained alike."""
    return "" if board.trained_alike else f" ({number_format.number(epochs)} epochs)"


def _classes(board: Board, best: RankedRow) -> str:
    """Return what unequal classes make of an accuracy."""
    if not board.data.unequal:
        return ""
    return (
        f"The classes are unequal: the mean of the accuracies on each class (balanced accuracy) is "
        f"{number_format.points(best.score.balanced)}%, and always naming the largest class gives "
        f"{number_format.points(board.data.majority)}% of the {board.data.images}."
    )


def _own(board: Board) -> str:
    """Return the best accuracy by a set's own recipe, which ranks nowhere."""
    owners = [place for place in board.places if place.own.known and not place.entry.is_control]
    if not owners:
        return ""
    top = max(owners, key=lambda place: place.own.mean)
    alone = sum(place.own.known for place in board.places) == 1
    return (
        f"Trained by the recipe of its own set, {code(top.entry.label)} gives {_percent(top.own)}, "
        f"a number for itself{': no other row has such a recipe' if alone else ''}."
    )


def _caveat(best: RankedRow) -> str:
    if not best.entry.reduced or best.entry.quick:
        return ""
    settings = "the published settings" if best.entry.published else "its default settings"
    return f"{code(best.entry.label)} did not run with {settings} ({table_format.REDUCED})."


def headline(boards: Sequence[Board]) -> str:
    """Return the heading of a group of boards."""
    board = boards[0]
    images = "image" if board.ipc == 1 else "images"
    split = f", {board.data.images}" if board.data.validation else ""
    where = f"{board.dataset_name}, {board.ipc} {images} per class{split}"
    return f"{where}, protocol {board.protocol_name}"
