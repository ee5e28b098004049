"""The jobs of a run folder that have no result, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard.dataframes import Frames
from ddbench.store.run_folder import DONE, FAILED, SKIPPED, Records


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
    for manifest in records.manifests:
        for skipped in _left_out(manifest):
            place = tuple(str(skipped.get(name)) for name in names)
            on = str(skipped.get("evaluate_on") or "")
            if not on and any(_has(config, skipped) for config in there.get(place, ())):
                continue
            status = FAILED if skipped.get("failed") else SKIPPED
            seeds = (skipped["seed"],) if isinstance(skipped.get("seed"), int) else ()
            words, reason = f"condense {_words(skipped, {})}", _reason(skipped)
            words = f"evaluate {_words(skipped, {})} on {on}" if on else words
            found[words, *seeds, reason] = Trouble(status, words, reason, "", seeds)
    return list(found.values())


def _left_out(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    plan = manifest.get("plan")
    skipped = plan.get("skipped") if isinstance(plan, dict) else None
    return [one for one in skipped if isinstance(one, dict)] if isinstance(skipped, list) else []


def _has(config: Mapping[str, Any], skipped: Mapping[str, Any]) -> bool:
    """Say whether a row has the options that `--set` gave to the one left out."""
    return all(config.get(name) == value for name, value in _options(skipped).items())


def _options(skipped: Mapping[Any, Any]) -> Mapping[str, Any]:
    options = skipped.get("options")
    return options if isinstance(options, dict) else {}


def _reason(one: Mapping[Any, Any]) -> str:
    return str(one.get("reason") or "no reason was noted")


def _words(one: Mapping[Any, Any], labels: Mapping[str, str]) -> str:
    given = ", ".join(f"{name}={value}" for name, value in _options(one).items())
    label = labels.get(str(one.get("entry")), f"{one.get('row')}{f' [{given}]' if given else ''}")
    where = f"{label} on {one.get('dataset')}, {one.get('architecture')}"
    return f"{where}, {one.get('init')} init, ipc {one.get('ipc')}"
