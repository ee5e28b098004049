"""What a reader is told first: a warning, the best row, the cheapest as good, the gain over random.

The report and the terminal show the same sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ddbench.reporting.leaderboard import table_format
from ddbench.reporting.leaderboard.answer import answer
from ddbench.reporting.leaderboard.differences import Difference, difference
from ddbench.reporting.leaderboard.own_recipes import images_or_labels
from ddbench.reporting.leaderboard.rankings import Board, RankedRow
from ddbench.reporting.leaderboard.scores import Costs, Score
from ddbench.store.records import VALIDATION
from ddbench.text import number_format

NAMED = 3  # rows that are named where many are as good
CHEAPER = 0.8  # share of the best row's seconds that a row must stay under to be called cheaper
Shown = Callable[[str], str]  # writes a name in the form of what it is printed in


@dataclass(frozen=True)
class Summary:
    """The sentences about one dataset, ipc and protocol.

    Attributes:
        title: What it is about.
        warning: What the numbers must not be used for; "" for nothing.
        answers: What is said, and the sentences that say it.
        more: Sentences that follow.
    """

    title: str
    warning: str
    answers: tuple[tuple[str, str], ...]
    more: tuple[str, ...]


def summary(boards: Sequence[Board], shown: Shown = str) -> Summary:
    """Return the sentences about boards of one dataset, ipc and protocol."""
    return _Writer(boards, shown).summary()


def title(boards: Sequence[Board]) -> str:
    """Return the heading of a group of boards."""
    board = boards[0]
    images = "image" if board.ipc == 1 else "images"
    split = f", {board.data.images}" if board.data.validation else ""
    split += f", {board.setting}" if board.setting else ""
    where = f"{board.dataset_name}, {board.ipc} {images} per class{split}"
    return f"{where}, protocol {board.protocol_name}"


class _Writer:
    def __init__(self, boards: Sequence[Board], shown: Shown) -> None:
        self.boards, self.board, self.shown = boards, boards[0], shown

    def summary(self) -> Summary:
        best = self.board.best_method
        answers = [("Most accurate", self.only_baseline())]
        more: list[str] = []
        if best is not None:
            answers = [
                ("Answer", self.answer()),
                ("Most accurate", f"{self.accuracy(best)}. {self.cost(best)}".strip()),
                ("Cheapest as good", self.cheapest(best)),
                ("Over random images", self.over_random(best)),
                ("Images or labels", images_or_labels(self.board, self.shown)),
                ("Unequal classes", self.classes(best)),
            ]
            more = [self.whole(best), self.selection(best), self.own()]
        return Summary(
            title=title(self.boards),
            warning=self.warning(),
            answers=tuple((lead, text) for lead, text in answers if text),
            more=tuple(filter(None, more)),
        )

    def warning(self) -> str:
        """Return why the order of the rows must not be cited, or ""."""
        ranked = [place for place in self.board.places if place.rank is not None]
        reasons = []
        if any(place.entry.quick for place in ranked):
            reasons.append("quick settings: steps that fit minutes")
        elif any(place.entry.reduced for place in ranked):
            reasons.append("some rows did not run with the published settings")
        seeds = {p.score.seeds for p in ranked if p.score.known and not p.entry.is_baseline}
        if seeds and min(seeds) == 1:
            reasons.append("one condensation seed")
        networks = {place.score.networks for place in ranked if place.score.known}
        if networks and min(networks) <= 2:
            reasons.append("fewer than 3 networks a set")
        if not reasons or self.board.data.validation:
            return ""
        text = number_format.listed(reasons)
        return f"{text[0].upper()}{text[1:]}: do not cite the order of the methods."

    def answer(self) -> str:
        chooses = self.board.data.tested_on == VALIDATION
        return answer(self.boards, self.shown) if chooses else ""

    def only_baseline(self) -> str:
        baseline = self.board.baseline
        if baseline is None:
            return "no method has a score yet."
        score = _percent(baseline.score)
        return f"only random images have a score: {score} on {self.shown(self.board.architecture)}."

    def accuracy(self, best: RankedRow) -> str:
        lead = ""
        if self.board.best is not best or self.gain(best) <= 0:
            lead = "no method beats random images. The nearest is "
        return (
            f"{lead}{self.who(best)}: networks of {self.shown(self.board.architecture)} trained on "
            f"its {best.images:,.0f} images reach {_percent(best.score)} of "
            f"{self.board.data.n_test:,} {self.board.data.images} ({_sample(best.score)})"
        )

    def gain(self, best: RankedRow) -> float:
        """Return how far a row lies above random images, network by network."""
        over = self.board.over_random(best)
        return over.mean if over else math.inf

    def cost(self, best: RankedRow) -> str:
        """Return what the set cost, on each class of hardware."""
        costs = list(best.costs.values())
        if not costs or math.isnan(costs[0].own_s):
            return ""
        return f"Condensing took {number_format.listed([_cost_on(cost) for cost in costs])}."

    def cheapest(self, best: RankedRow) -> str:
        """Return the cheapest of the rows that cannot be told from the best, if it is cheaper."""
        if best is not self.board.best or self.board.data.tested_on == VALIDATION:
            return ""  # ties are with random images; or the answer has named them
        above = self.board.over_random(best)
        beats_random = above is not None and above.decided  # the one comparison by itself
        equal = [
            place
            for place in self.board.places
            if place.tied and place.costs and not (beats_random and place.entry.is_baseline)
        ]
        known = [place for place in equal if list(place.costs) == list(best.costs)]
        cheaper = [place for place in known if _seconds(place) <= CHEAPER * _seconds(best)]
        if cheaper:
            least = min(cheaper, key=_seconds)
            share = 100 * (1 - _seconds(least) / _seconds(best))
            return (
                f"{self.worth(least)}, {share:.0f}% less; it cannot be told from the most accurate."
            )
        if equal:
            names = [self.who(place) for place in equal[:NAMED]]
            if len(equal) > NAMED:
                names.append(number_format.several(len(equal) - NAMED, "other row"))
            listed = number_format.listed(names)
            return f"{listed} cannot be told from the best; none is at least 20% cheaper."
        return ""

    def over_random(self, best: RankedRow) -> str:
        """Return what the best row gains over random images, and whether that is noise."""
        baseline = self.board.baseline
        if baseline is None:
            return "no random images stand beside it, so nothing is said about what it is worth."
        found = difference(best.score, baseline.score, self.board.data.n_test)
        much = f"{100 * abs(found.mean):.1f} points {'more' if found.mean >= 0 else 'less'}"
        text = f"{much} ({table_format.interval(found)}{_pairing(found)})"
        text += f"; random real images give {_percent(baseline.score)} ({_sample(baseline.score)})"
        undecided = found.mean > 0 and found.known and not found.decided
        return f"{text}{': it cannot be told from them' if undecided else ''}."

    def selection(self, best: RankedRow) -> str:
        """Return what choosing real images gives, without condensing any, if that is something."""
        board = self.board
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
        return f"The best selection of real images is {self.worth(top)}."

    def whole(self, best: RankedRow) -> str:
        """Return what training on the set saves and loses against the whole training set."""
        reference = self.board.reference
        if reference is None:
            return ""
        lost = 100 * (reference.score.mean - best.score.mean)
        text = (
            f"The whole training set ({reference.images:,.0f} images) gives "
            f"{_percent(reference.score)}, {abs(lost):.1f} points {'more' if lost >= 0 else 'less'}"
        )
        shared = [name for name in best.training if name in reference.training]
        if shared:
            here, there = best.training[shared[0]].train_s, reference.training[shared[0]].train_s
            text += (
                f"; training a network on it takes {number_format.duration(there)}"
                f"{self.epochs(reference.epochs)}, on the set {number_format.duration(here)}"
                f"{self.epochs(self.board.recipe.get('epochs'))}"
            )
        return text + "."

    def epochs(self, epochs: object) -> str:
        """Return for how many epochs, where the set and the whole are not trained alike."""
        return "" if self.board.trained_alike else f" ({number_format.number(epochs)} epochs)"

    def classes(self, best: RankedRow) -> str:
        """Return what unequal classes make of an accuracy."""
        data = self.board.data
        if not data.unequal:
            return ""
        return (
            "the mean of the accuracies on each class (balanced accuracy) is "
            f"{number_format.points(best.score.balanced)}%; always naming the largest class gives "
            f"{number_format.points(data.majority)}% of the {data.images}."
        )

    def own(self) -> str:
        """Return the best accuracy by a set's own recipe, which ranks nowhere."""
        owners = [p for p in self.board.places if p.own.known and not p.entry.is_control]
        if not owners:
            return ""
        top = max(owners, key=lambda place: place.own.mean)
        alone = sum(place.own.known for place in self.board.places) == 1
        return (
            f"Trained by the recipe of its own set, {self.shown(top.entry.label)} gives "
            f"{_percent(top.own)}, a number for itself"
            f"{': no other row has such a recipe' if alone else ''}."
        )

    def who(self, place: RankedRow) -> str:
        return f"{self.shown(place.entry.label)} ({place.entry.init} init)"

    def worth(self, place: RankedRow) -> str:
        """Return a row's accuracy and the seconds of its set, artifacts in full."""
        costs = [
            number_format.duration(cost.seconds) + (f" on {name}" if len(place.costs) > 1 else "")
            for name, cost in place.costs.items()
        ]
        cost = number_format.listed(costs)
        return f"{self.who(place)}: {_percent(place.score)} for {cost} of condensing"


def _pairing(found: Difference) -> str:
    return f", {found.networks} networks in pairs" if found.networks > 1 else ""


def _percent(score: Score) -> str:
    return f"{number_format.points(score.mean, score.spread)}%"


def _sample(score: Score) -> str:
    seeds = number_format.several(score.seeds, "seed")
    return f"{seeds} × {number_format.several(score.networks, 'network')}"


def _cost_on(cost: Costs) -> str:
    text = number_format.duration(cost.own_s)
    if cost.artifact_s > 0:
        text += f" and {number_format.duration(cost.artifact_s)} for its artifacts, in full"
    flops = number_format.flops(cost.flops, cost.lower_bound)
    return f"{text} ({flops} in all) on {cost.hardware_class}"


def _selects(place: RankedRow) -> bool:
    return not place.entry.is_baseline and all(cost.steps == 0 for cost in place.costs.values())


def _seconds(place: RankedRow) -> float:
    return sum(cost.seconds for cost in place.costs.values())
