"""The jobs of a run folder that have no result, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard.dataframes import Frames
from ddbench.store.records import DONE, FAILED, SKIPPED, Skipped
from ddbench.store.run_folder import Records


@dataclass(frozen=True)
class Trouble:
    """A job without a result: failed, skipped, or left out of the plan.

    Attributes:
        status: "failed" or "skipped".
        what: The job in words.
        reason: Why, in one line.
        id: Its id; "" if it was never planned.
        seeds: The seeds that this happened to, where only they differ.
    """

    status: str
    what: str
    reason: str
    id: str = ""
    seeds: tuple[int, ...] = ()


def find_troubles(records: Records, frames: Frames, labels: Mapping[str, str]) -> list[Trouble]:
    """Return the jobs without a result: condensations, evaluations, then what no plan held.

    `labels` are those of entries, by their keys.
    """
    found = [*_condensations(frames, labels), *_evaluations(frames, labels)]
    found += _never_planned(records, frames)
    together: dict[tuple[str, str, str], Trouble] = {}
    for one in found:
        same = together.get((one.status, one.what, one.reason))
        seeds = (*(same.seeds if same else ()), *one.seeds)
        id = same.id if same else one.id
        together[one.status, one.what, one.reason] = Trouble(
            one.status, one.what, one.reason, id, tuple(dict.fromkeys(seeds))
        )
    return list(together.values())


def _condensations(frames: Frames, labels: Mapping[str, str]) -> list[Trouble]:
    frame = frames.condensations
    undone = frame[(frame["status"] != DONE) & ~frame["superseded"]]
    return [
        Trouble(
            one["status"],
            f"condense {_words(one, labels)}",
            _reason(one),
            one["id"],
            (one["seed"],),
        )
        for one in undone.to_dict("records")
    ]


def _evaluations(frames: Frames, labels: Mapping[str, str]) -> list[Trouble]:
    frame = frames.evaluations
    undone = frame[(frame["status"] != DONE) & frame["current"]]
    sets = {one["id"]: one for one in frames.condensations.to_dict("records")}
    found = []
    for one in undone.to_dict("records"):
        of = sets.get(one["condensation"])
        what = f"the whole of {one['dataset']}" if of is None else _words(of, labels)
        own = " by its own recipe" if one["own_recipe"] else ""
        words = f"evaluate {what} on {one['architecture']}, {one['protocol']}{own}"
        seeds = () if of is None else (of["seed"],)
        found.append(Trouble(one["status"], words, _reason(one), one["id"], seeds))
    return found


def _never_planned(records: Records, frames: Frames) -> list[Trouble]:
    """Return what plans left out and no later plan put in."""
    names = ("row", "dataset", "architecture", "init", "ipc", "seed")
    there: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for one in frames.condensations.to_dict("records"):
        there.setdefault(tuple(str(one[name]) for name in names), []).append(one["config"])
    found: dict[tuple[Any, ...], Trouble] = {}
    for skipped in (one for manifest in records.manifests for one in manifest.plan.skipped):
        values = vars(skipped)
        place, on = tuple(str(values[name]) for name in names), skipped.evaluate_on
        if not on and any(_has(config, skipped) for config in there.get(place, ())):
            continue
        status = FAILED if skipped.failed else SKIPPED
        words, reason = f"condense {_words(values, {})}", _reason(values)
        words = f"evaluate {_words(values, {})} on {on}" if on else words
        found[words, skipped.seed, reason] = Trouble(status, words, reason, "", (skipped.seed,))
    return list(found.values())


def _has(config: Mapping[str, Any], skipped: Skipped) -> bool:
    """Say whether a row has the options that `--set` gave to the one left out."""
    return all(config.get(name) == value for name, value in skipped.options.items())


def _reason(one: Mapping[Any, Any]) -> str:
    return str(one.get("reason") or "no reason was noted")


def _words(one: Mapping[Any, Any], labels: Mapping[str, str]) -> str:
    given = ", ".join(f"{name}={value}" for name, value in (one.get("options") or {}).items())
    label = labels.get(str(one.get("entry")), f"{one.get('row')}{f' [{given}]' if given else ''}")
    where = f"{label} on {one.get('dataset')}, {one.get('architecture')}"
    return f"{where}, {one.get('init')} init, ipc {one.get('ipc')}"
