"""The columns of every table of rows: heading, text of a cell, plain values, when each is shown.

The markdown report, the terminal, and the JSON and CSV of `ddbench leaderboard` are made of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddbench.reporting.leaderboard import table_format
from ddbench.reporting.leaderboard.differences import Difference, interval_of, seeds_needed
from ddbench.reporting.leaderboard.own_recipes import over_controls
from ddbench.reporting.leaderboard.published import against_published
from ddbench.reporting.leaderboard.rankings import Board, RankedRow, Reference
from ddbench.reporting.leaderboard.scores import Costs, Training
from ddbench.text import number_format


@dataclass(frozen=True)
class View:
    """What a cell is made of: a row of the first of some boards.

    Attributes:
        boards: Of one dataset, ipc and protocol, one for each network that sets are evaluated on.
        place: The row.
        same: Other rows of the very same images.
        letters: Of classes of hardware, where there are several.
    """

    boards: Sequence[Board]
    place: RankedRow
    same: Sequence[RankedRow] = ()
    letters: Mapping[str, str] = field(default_factory=dict)

    @property
    def board(self) -> Board:
        """The board that ranks the row."""
        return self.boards[0]

    def on(self, board: Board) -> RankedRow:
        """Return the same row of another board."""
        return board.by_key[self.place.entry.key]

    def cost(self, of: Callable[[Costs], float]) -> float:
        """Return a cost of condensing; NaN without one, and on several classes of hardware."""
        values = [of(cost) for cost in self.place.costs.values()]
        return values[0] if len(values) == 1 else math.nan

    def training(self, of: Callable[[Training], float]) -> float:
        """Return a cost of training a network on the set, likewise."""
        values = [of(training) for training in self.place.training.values()]
        return values[0] if len(values) == 1 else math.nan

    @property
    def use(self) -> Mapping[str, float]:
        """Seconds of condensing and then training one network, by class of hardware."""
        return {
            name: cost.seconds + self.place.training[name].train_s
            for name, cost in self.place.costs.items()
            if name in self.place.training
        }


def _always(boards: Sequence[Board]) -> bool:
    return bool(boards)


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: In tables.
        text: A cell of a table.
        values: Plain values by their names in JSON and CSV, with units; accuracies in [0, 1].
        shown: Whether a table of some boards has it.
        words: Whether it holds words, which are aligned to the left and may be broken.
        meaning: One line about it, where the heading does not say enough.
    """

    heading: str
    text: Callable[[View], str]
    values: Callable[[View], Mapping[str, object]] = lambda _: {}
    shown: Callable[[Sequence[Board]], bool] = _always
    words: bool = False
    meaning: str = ""


def _seconds(of: Callable[[Costs], float]) -> Callable[[View], str]:
    return lambda view: table_format.by_class(
        view.place.costs, lambda cost: number_format.seconds(of(cost)), view.letters
    )


def _of_costs(show: Callable[[Costs], str]) -> Callable[[View], str]:
    return lambda view: table_format.by_class(view.place.costs, show, view.letters)


def _of_training(show: Callable[[Training], str]) -> Callable[[View], str]:
    return lambda view: table_format.by_class(view.place.training, show, view.letters)


# -- who, and how accurate ---------------------------------------------------------------------

RANK = Column(
    "#",
    lambda view: table_format.rank(view.place),
    lambda view: {
        "rank": view.place.rank,
        "tied_with_best": view.place.tied
        if view.place.below is None or view.place.below.known
        else None,
        "below_best_interval": _ends(view.place.below),
        "rank_interval": list(view.place.ranks) if view.place.ranks else None,
        "tie_groups": view.place.groups or None,
        "seeds_to_tell_from_best": _seeds_to_tell(view),
    },
)
METHOD = Column(
    "method",
    lambda view: table_format.name(view.place.entry),
    lambda view: {
        "row": view.place.entry.label,
        "method": view.place.entry.method,
        "control_of": view.place.entry.control_of,
    },
    words=True,
)
INIT = Column(
    "init",
    lambda view: view.place.entry.init,
    lambda view: {"init": view.place.entry.init},
    words=True,
)
SET = Column("method (init)", lambda view: _set_name(view), words=True)
MATCHED = Column(
    "condensed on",
    lambda view: view.place.entry.architecture,
    lambda view: {"matched": view.place.entry.architecture},
    shown=lambda boards: len({p.entry.architecture for p in boards[0].places}) > 1,
    words=True,
)
ACCURACY = Column(
    "accuracy %",
    lambda view: table_format.accuracy(view.place),
    lambda view: {
        "accuracy": view.place.score.mean,
        "accuracy_interval": list(interval_of(view.place.score, view.board.data.n_test) or ())
        or None,
        "accuracy_interval_over": "networks" if view.place.score.seeds == 1 else "seeds",
        "variance_networks": view.place.score.network_variance,
        "variance_sets": view.place.score.set_variance,
        "spread_networks": view.place.score.spread,
        "spread_seeds": view.place.score.seed_spread,
        "balanced_accuracy": view.place.score.balanced,
    },
    meaning="accuracy: mean ± sample standard deviation over the networks of all seeds together, "
    "after the last epoch",
)
WITH_INTERVAL = Column(
    "accuracy %",
    lambda view: _with_interval(view),
    meaning="accuracy: mean over networks and seeds, with its 95% interval",
)
SAMPLES = Column(
    "n",
    lambda view: table_format.samples(view.place.score),
    lambda view: {"seeds": view.place.score.seeds, "networks": view.place.score.networks},
    meaning="n: condensation seeds × networks trained on each set",
)
OVER_SEEDS = Column(
    "± over seeds",
    lambda view: number_format.points(view.place.score.seed_spread),
    shown=lambda boards: any(p.score.seeds > 1 for p in boards[0].places),
    meaning="± over seeds: of the seeds' means",
)
BALANCED = Column(
    "balanced %",
    lambda view: number_format.points(view.place.score.balanced),
    shown=lambda boards: boards[0].data.unequal,
    meaning="balanced: mean of the accuracies on each class",
)
OWN = Column(
    "own recipe %",
    lambda view: table_format.accuracy(view.place, view.place.own),
    lambda view: {
        "own_recipe_accuracy": view.place.own.mean,
        "own_recipe_spread": view.place.own.spread,
    },
    shown=lambda boards: boards[0].has_own,
    meaning="own recipe: labels (soft ones too), learning rate and augmentation as the set brings "
    "them; it ranks no row",
)
REGIME = Column(
    "labels",
    lambda view: view.place.own_training.regime or number_format.NOTHING,
    lambda view: {"own_recipe_regime": view.place.own_training.regime or None},
    words=True,
    meaning="labels of the own recipe: HL hard, SL a soft label for each image, SL+KD for each "
    "view of an image",
)
OVER_CONTROL = Column(
    "over control",
    lambda view: _over_control(view),
    words=True,
    meaning="over control: points by the own recipe above other images with soft labels made in "
    "the same way, with the 95% interval",
)
STEPS_TRAINED = Column(
    "steps trained",
    lambda view: number_format.number(view.place.own_training.steps),
    lambda view: {"own_recipe_steps_trained": view.place.own_training.steps},
)
IMAGES_SEEN = Column(
    "images seen",
    lambda view: number_format.number(view.place.own_training.images_seen),
    lambda view: {
        "own_recipe_images_seen": view.place.own_training.images_seen,
        "own_recipe_flops_targets": view.place.own_training.flops_targets,
    },
    meaning="steps trained, images seen: of one network, by the own recipe",
)
BYTES_RATIO = Column(
    "bytes ratio",
    lambda view: _ratio(view.place.bytes_ratio),
    lambda view: {"bytes_ratio": view.place.bytes_ratio},
    meaning="bytes ratio: all that is stored (images, labels, views, teachers), against as many "
    "float32 images; rows whose ratios differ by more than 5% are not at equal bytes",
)
OVER_RANDOM = Column(
    "vs random",
    lambda view: _over_random(view),
    lambda view: _over_random_values(view),
    shown=lambda boards: boards[0].baseline is not None,
    meaning="vs random: points of accuracy above random real images",
)
OVER_WHOLE = Column(
    "vs whole",
    lambda view: number_format.difference(-_lost(view)),
    lambda view: {"lost_to_whole": _lost(view)},
    shown=lambda boards: boards[0].reference is not None,
    meaning="vs whole: against the whole training set",
)
OTHERS = Column(
    "others %",
    lambda view: _others(view),
    shown=lambda boards: len(boards) > 1,
    meaning="others: accuracy on the other networks, their mean where there are several",
)

# -- costs -------------------------------------------------------------------------------------

CONDENSE = Column(
    "condense s",
    _seconds(lambda cost: cost.seconds),
    lambda view: {
        "condense_s": view.cost(lambda cost: cost.seconds),
        "condensing": [vars(cost) for cost in view.place.costs.values()],
    },
    meaning="condense s: wall seconds until the set is there, artifacts in full",
)
USE = Column(
    "one use s",
    lambda view: table_format.by_class(view.use, number_format.seconds, view.letters),
    lambda view: {"use_s": next(iter(view.use.values())) if len(view.use) == 1 else math.nan},
    meaning="one use s: condensing, then training one network",
)
STEPS = Column(
    "steps",
    _of_costs(lambda cost: number_format.number(cost.steps)),
    lambda view: {"steps": view.cost(lambda cost: cost.steps)},
)
OWN_SECONDS = Column(
    "own s",
    _seconds(lambda cost: cost.own_s),
    lambda view: {"own_s": view.cost(lambda cost: cost.own_s)},
)
ARTIFACT_SECONDS = Column(
    "artifacts s (share)",
    _of_costs(lambda cost: _artifact_share(cost)),
    lambda view: {"artifact_s": view.cost(lambda cost: cost.artifact_s)},
)
OWN_FLOPS = Column(
    "own FLOPs",
    _of_costs(lambda cost: number_format.count(cost.flops_own, cost.lower_bound)),
    lambda view: {
        "own_flops": view.cost(lambda cost: cost.flops_own),
        "flops_are_lower_bound": any(cost.lower_bound for cost in view.place.costs.values()),
    },
)
ARTIFACT_FLOPS = Column(
    "artifact FLOPs",
    _of_costs(lambda cost: number_format.count(cost.flops_artifact)),
    lambda view: {"artifact_flops": view.cost(lambda cost: cost.flops_artifact)},
)
MEMORY = Column(
    "peak memory",
    _of_costs(lambda cost: number_format.size(cost.peak_memory)),
    lambda view: {"peak_memory_bytes": view.cost(lambda cost: cost.peak_memory)},
)
SIZE = Column(
    "set",
    lambda view: number_format.size(view.place.bytes),
    lambda view: {"bytes": view.place.bytes, "images": view.place.images},
    meaning="set: bytes of the stored images and labels",
)
TRAIN = Column(
    "train s",
    _of_training(lambda training: number_format.seconds(training.train_s)),
    lambda view: {
        "train_s": view.training(lambda training: training.train_s),
        "training": [vars(training) for training in view.place.training.values()],
    },
)
TEST = Column(
    "test s",
    _of_training(lambda training: number_format.seconds(training.test_s)),
    lambda view: {"test_s": view.training(lambda training: training.test_s)},
)
TRAIN_FLOPS = Column(
    "train FLOPs",
    _of_training(lambda training: number_format.count(training.flops, training.lower_bound)),
    lambda view: {"train_flops": view.training(lambda training: training.flops)},
)
SAVED = Column(
    "time saved",
    lambda view: table_format.by_class(_saved(view), lambda s: f"{100 * s:.0f}%", view.letters),
    shown=lambda boards: boards[0].trained_alike,
    meaning="time saved: of training one network, against the whole training set",
)
PAYS_OFF = Column(
    "pays off after",
    lambda view: table_format.by_class(_pays_off_after(view), lambda n: f"{n:,}", view.letters),
    shown=lambda boards: boards[0].trained_alike,
    meaning="pays off after: trainings after which that has made up for the seconds of condensing",
)

# -- tables ------------------------------------------------------------------------------------

FIRST = (SET, WITH_INTERVAL, OVER_RANDOM, OTHERS, CONDENSE, USE, SIZE)
RANKING = (RANK, METHOD, INIT, MATCHED, ACCURACY, SAMPLES, OVER_SEEDS, BALANCED, OWN, OVER_RANDOM,
           OVER_WHOLE, CONDENSE)  # fmt: skip
COSTS = (METHOD, INIT, STEPS, OWN_SECONDS, ARTIFACT_SECONDS, OWN_FLOPS, ARTIFACT_FLOPS, MEMORY,
         SIZE, TRAIN, SAVED, PAYS_OFF)  # fmt: skip
OWN_RECIPES = (METHOD, INIT, REGIME, OWN, ACCURACY, OVER_CONTROL, BYTES_RATIO, STEPS_TRAINED,
               IMAGES_SEEN)  # fmt: skip
EVERY = tuple(dict.fromkeys((*RANKING, USE, *COSTS, *OWN_RECIPES, TEST, TRAIN_FLOPS)))


def views(boards: Sequence[Board], places: Iterable[RankedRow] | None = None) -> list[View]:
    """Return what the cells of rows are made of; all rows of the first board by default."""
    letters = table_format.letters(boards)
    places = boards[0].places if places is None else places
    return [View(boards, place, (), letters) for place in places]


def views_of_sets(boards: Sequence[Board]) -> list[View]:
    """Return one view a set: rows of the very same images share it, the cheapest is named first."""
    groups: dict[object, list[RankedRow]] = {}
    for place in boards[0].places:
        alike = place.entry.images if place.rank is not None else place.entry.key
        groups.setdefault(alike, []).append(place)
    found, letters = [], table_format.letters(boards)
    for group in groups.values():
        first, *same = sorted(group, key=_condensing_seconds)
        found.append(View(boards, first, same, letters))
    return found


def cells(columns: Sequence[Column], rows: Sequence[View]) -> list[dict[str, str]]:
    """Return the texts of some rows by heading, of the columns that are shown."""
    if not rows:
        return []
    shown = [column for column in columns if column.shown(rows[0].boards)]
    return [{column.heading: column.text(view) for column in shown} for view in rows]


def numeric(columns: Sequence[Column]) -> list[str]:
    """Return the headings of the columns that hold numbers."""
    return [column.heading for column in columns if not column.words]


def plain(boards: Sequence[Board], place: RankedRow) -> dict[str, Any]:
    """Return one row of a board as plain values, unknown ones None.

    Accuracies are in [0, 1]. Costs are None where they were measured on several classes of
    hardware: `condensing` and `training` have them for each.
    """
    board, entry = boards[0], place.entry
    view = View(boards, place)
    values: dict[str, Any] = {
        "dataset": board.dataset_name,
        "ipc": board.ipc,
        "architecture": board.architecture,
        "protocol": board.protocol_name,
        "tested_on": board.data.tested_on,
    }
    for column in EVERY:
        values |= column.values(view)
    values |= {
        "forward_macs": board.forward_macs,
        "reduced": {name: list(pair) for name, pair in entry.reduced.items()},
        "notes": list(entry.notes),
        "published": [one.record() for one in against_published(board, place)],
        "trouble": list(place.trouble),
        "condensations": list(entry.ids),
    }
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


# -- cells -------------------------------------------------------------------------------------


def _condensing_seconds(place: RankedRow) -> float:
    return sum(cost.seconds for cost in place.costs.values())


def _set_name(view: View) -> str:
    """Return the methods whose set this is, the init, and the marks of the row."""
    entries = [view.place.entry, *(place.entry for place in view.same)]
    names = " = ".join(dict.fromkeys(entry.label for entry in entries))
    inits = "/".join(dict.fromkeys(entry.init for entry in entries))
    marks = table_format.TIED * view.place.tied + table_format.FRONT * (
        view.place.entry.key in view.board.front
    )
    marks += table_format.CONTROL * view.place.entry.is_control
    marks += table_format.NOTED * any(entry.notes for entry in entries)
    return f"{names} ({inits}) {marks}".strip()


def _with_interval(view: View) -> str:
    found = interval_of(view.place.score, view.board.data.n_test)
    if found is None or view.place.trouble:
        return table_format.accuracy(view.place)
    low, high = (number_format.points(end) for end in found)
    return f"{number_format.points(view.place.score.mean)} ({low}–{high})"


def _over_random(view: View) -> str:
    baseline = view.board.baseline
    if baseline is None or view.place is baseline or not view.place.score.known:
        return number_format.NOTHING
    return number_format.difference(view.place.score.mean - baseline.score.mean)


def _over_random_values(view: View) -> dict[str, object]:
    over = view.board.over_random(view.place)
    if over is None:
        return {"over_random": 0.0 if view.place is view.board.baseline else None,
                "over_random_interval": None}  # fmt: skip
    return {"over_random": over.mean, "over_random_interval": _ends(over)}


def _ends(difference: Difference | None) -> list[float] | None:
    return list(difference.interval) if difference and difference.known else None


def _seeds_to_tell(view: View) -> float | None:
    place, best = view.place, view.board.best
    if not place.tied or place.below is None or best is None:
        return None
    seeds = min(best.score.seeds, place.score.seeds)
    needed = seeds_needed(place.below, seeds, view.board.tests)
    return needed if math.isfinite(needed) else None


def _over_control(view: View) -> str:
    gains = over_controls(view.board, view.place)
    return ", ".join(
        f"{number_format.difference(one.found.mean)} over {one.control.entry.label}"
        f" ({table_format.interval(one.found)})"
        for one in gains
    ) or number_format.NOTHING  # fmt: skip


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio) else number_format.NOTHING


def _lost(view: View) -> float:
    whole = view.board.reference
    return whole.score.mean - view.place.score.mean if whole else math.nan


def _others(view: View) -> str:
    means = [view.on(board).score.mean for board in view.boards[1:]]
    known = [mean for mean in means if math.isfinite(mean)]
    return number_format.points(sum(known) / len(known)) if known else number_format.NOTHING


def _artifact_share(cost: Costs) -> str:
    if not cost.artifact_s > 0:
        return number_format.seconds(cost.artifact_s)
    return f"{number_format.seconds(cost.artifact_s)} ({100 * cost.artifact_share:.0f}%)"


def _saved(view: View) -> dict[str, float]:
    """Return the share of training time that the set saves, inside a class of hardware."""
    whole = _whole_training(view.board.reference)
    return {
        name: 1 - training.train_s / whole[name].train_s
        for name, training in view.place.training.items()
        if name in whole and whole[name].train_s > 0
    }


def _whole_training(reference: Reference | None) -> Mapping[str, Training]:
    return reference.training if reference else {}


def _pays_off_after(view: View) -> dict[str, int]:
    """Return the trainings after which a set has saved the seconds that it took to make."""
    whole, costs = _whole_training(view.board.reference), view.place.costs
    found = {}
    for name, training in view.place.training.items():
        if name not in costs or name not in whole:
            continue
        saved = whole[name].train_s - training.train_s
        if saved > 0 and math.isfinite(costs[name].seconds):
            found[name] = max(1, math.ceil(costs[name].seconds / saved))
    return found
