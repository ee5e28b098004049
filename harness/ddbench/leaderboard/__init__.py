"""The leaderboard: a run folder's records as tidy frames, and the rankings made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ddbench.leaderboard.boards import (
    Board,
    Costs,
    DataFacts,
    Frames,
    Place,
    Reference,
    Score,
    Training,
    combined_spread,
    make_boards,
    make_references,
)
from ddbench.leaderboard.entries import Entry, find_entries
from ddbench.leaderboard.frames import (
    condensation_frame,
    evaluation_frame,
    network_frame,
    set_aside,
)
from ddbench.results import DONE, Records, RunFolder, read_run

__all__ = [
    "Board",
    "Costs",
    "DataFacts",
    "Entry",
    "Leaderboard",
    "Place",
    "Reference",
    "Score",
    "Training",
    "Trouble",
    "combined_spread",
    "load",
]


@dataclass(frozen=True)
class Trouble:
    """A job without a result: failed, skipped, or never planned."""

    status: str
    what: str
    reason: str
    id: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """All of a run folder that a table or report needs.

    Attributes:
        folder: The run folder.
        records: What was read from it.
        condensations: One row a condensation.
        evaluations: One row an evaluation.
        networks: One row a network of an evaluation.
        entries: The rows of all tables.
        boards: The rankings.
        references: Networks trained on whole training sets.
        troubles: Jobs that failed or were skipped.
    """

    folder: RunFolder
    records: Records
    condensations: pd.DataFrame
    evaluations: pd.DataFrame
    networks: pd.DataFrame
    entries: Sequence[Entry]
    boards: Sequence[Board]
    references: Sequence[Reference]
    troubles: Sequence[Trouble]

    @property
    def superseded(self) -> int:
        """How many condensations have been done again since by other code."""
        return int(self.condensations["superseded"].astype(bool).sum())

    @property
    def hardware_classes(self) -> list[str]:
        """The classes of hardware that results come from."""
        found = [*self.condensations["hardware_class"], *self.evaluations["hardware_class"]]
        return list(dict.fromkeys(name for name in found if name != "unknown"))

    def ranking(self) -> pd.DataFrame:
        """Return all boards as one flat frame, a row of a board in each."""
        rows = [flat(board, place) for board in self.boards for place in board.places]
        return pd.DataFrame(rows)


def load(folder: RunFolder) -> Leaderboard:
    """Return the leaderboard of a run folder; files that cannot be used are listed, never fatal."""
    records = read_run(folder)
    set_aside(records, folder)
    condensations = condensation_frame(records.condensations)
    evaluations = evaluation_frame(records.evaluations, condensations)
    networks = network_frame(records.evaluations, evaluations)
    entries = find_entries(condensations)
    frames = Frames(condensations, evaluations, networks, entries)
    return Leaderboard(
        folder=folder,
        records=records,
        condensations=condensations,
        evaluations=evaluations,
        networks=networks,
        entries=entries,
        boards=make_boards(frames),
        references=make_references(frames),
        troubles=_troubles(records, condensations, evaluations),
    )


def _troubles(
    records: Records, condensations: pd.DataFrame, evaluations: pd.DataFrame
) -> list[Trouble]:
    """Return the jobs without a result: condensations, evaluations, then what was never planned."""
    found = []
    for _, one in condensations.iterrows():
        if one["status"] != DONE and not one["superseded"]:
            what = f"condense {_words(one)}"
            found.append(Trouble(one["status"], what, str(one["reason"]), one["id"]))
    by_id = {one["id"]: one for _, one in condensations.iterrows()}
    for _, one in evaluations.iterrows():
        if one["status"] == DONE or one["superseded"]:
            continue
        of = by_id.get(one["condensation"])
        what = f"evaluate {_words(of)}" if of is not None else f"evaluate the whole of {one['dataset']}"
        what += f" on {one['architecture']}"
        found.append(Trouble(one["status"], what, str(one["reason"]), one["id"]))
    return [*found, *_never_planned(records, condensations)]


def _never_planned(records: Records, condensations: pd.DataFrame) -> list[Trouble]:
    """Return what plans left out and no later plan put in."""
    names = ("row", "dataset", "architecture", "init", "ipc", "seed")
    there = {tuple(one[name] for name in names) for _, one in condensations.iterrows()}
    found: dict[tuple[Any, ...], Trouble] = {}
    for manifest in records.manifests:
        for skipped in _skipped(manifest):
            place = tuple(skipped.get(name) for name in names)
            reason = str(skipped.get("reason", "no reason was noted"))
            if place in there and not reason.startswith("evaluation: "):
                continue
            status = "failed" if skipped.get("failed") else "skipped"
            found[*place, reason] = Trouble(status, f"condense {_words(skipped)}", reason)
    return list(found.values())


def _skipped(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    plan = manifest.get("plan")
    skipped = plan.get("skipped") if isinstance(plan, dict) else None
    return [one for one in skipped or [] if isinstance(one, dict)] if isinstance(skipped, list) else []


def _words(one: Mapping[str, Any]) -> str:
    return (
        f"{one['row']} on {one['dataset']}, {one['architecture']}, {one['init']} init, "
        f"ipc {one['ipc']}, seed {one['seed']}"
    )


# -- plain data --------------------------------------------------------------------------------


def flat(board: Board, place: Place) -> dict[str, Any]:
    """Return one row of a board as plain values; accuracies in [0, 1], unknown ones None."""
    cost, training = place.cost(), next(iter(place.training.values()), None)
    reference = board.reference
    values = {
        "dataset": board.dataset,
        "ipc": board.ipc,
        "architecture": board.architecture,
        "protocol": board.protocol,
        "rank": place.rank,
        "tied_with_best": place.tied,
        "row": place.entry.label,
        "method": place.entry.method,
        "init": place.entry.init,
        "matched": place.entry.architecture,
        "control_of": place.entry.control_of,
        "accuracy": place.score.mean,
        "spread_networks": place.score.spread,
        "spread_seeds": place.score.seed_spread,
        "seeds": place.score.seeds,
        "networks": place.score.networks,
        "balanced_accuracy": place.score.balanced,
        "own_recipe_accuracy": place.own.mean,
        "own_recipe_spread": place.own.spread,
        "accuracy_lost": reference.score.mean - place.score.mean if reference else None,
        "condense_s": cost.own_s if cost else None,
        "artifact_s": cost.artifact_s if cost else None,
        "train_s": training.train_s if training else None,
        "test_s": training.test_s if training else None,
        "flops_condense": cost.flops_own if cost else None,
        "flops_artifact": cost.flops_artifact if cost else None,
        "flops_train": training.flops if training else None,
        "flops_lower_bound": cost.lower_bound if cost else None,
        "forward_macs": board.forward_macs,
        "peak_memory": cost.peak_memory if cost else None,
        "bytes": place.bytes,
        "images": place.images,
        "hardware_class": cost.hardware_class if cost else None,
        "reduced": {name: list(values) for name, values in place.entry.reduced.items()},
        "trouble": list(place.trouble),
    }
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}
