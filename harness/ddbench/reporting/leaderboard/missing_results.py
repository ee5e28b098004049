"""The jobs of a run folder that have no result, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard.results import Condensed, Results
from ddbench.store.records import DONE, FAILED, SKIPPED, Condensation, Skipped
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


def find_troubles(records: Records, results: Results, labels: Mapping[str, str]) -> list[Trouble]:
    """Return the jobs without a result: condensations, evaluations, then what no plan held.

    `labels` are those of entries, by their keys.
    """
    found = [*_condensations(results, labels), *_evaluations(results, labels)]
    found += _never_planned(records, results)
    together: dict[tuple[str, str, str], Trouble] = {}
    for one in found:
        same = together.get((one.status, one.what, one.reason))
        seeds = (*(same.seeds if same else ()), *one.seeds)
        id = same.id if same else one.id
        together[one.status, one.what, one.reason] = Trouble(
            one.status, one.what, one.reason, id, tuple(dict.fromkeys(seeds))
        )
    return list(together.values())


def unfinished(records: Records) -> str:
    """Return how much of its plan the last run has left, "" if it came to its end."""
    last = records.manifests[-1] if records.manifests else None
    if last is None or not last.stopped:
        return ""
    sets, scores = last.plan.condensations, last.plan.evaluations
    no_set = len({*sets} - records.condensations.keys())
    no_score = len({*scores} - records.evaluations.keys() - last.blocked.keys())
    if not no_set + no_score:
        return ""
    return (
        f"not the whole plan yet: the last run ended ({last.stopped}) without {no_set} of "
        f"{len(sets)} sets and {no_score} of {len(scores)} evaluations; the same command goes on"
    )


def _condensations(results: Results, labels: Mapping[str, str]) -> list[Trouble]:
    return [
        Trouble(
            one.record.status,
            f"condense {_label(one, labels)}",
            _reason(one.record.reason),
            one.record.id,
            (one.record.seed,),
        )
        for one in results.condensations.values()
        if one.record.status != DONE and not one.superseded
    ]


def _evaluations(results: Results, labels: Mapping[str, str]) -> list[Trouble]:
    found = []
    for one in results.evaluations:
        if one.done or not one.current:
            continue
        record = one.record
        what = _label(one.of, labels) if one.of else f"the whole of {record.dataset}"
        own = " by its own recipe" if record.own_recipe else ""
        words = f"evaluate {what} on {record.architecture}, {record.protocol}{own}"
        seeds = (one.of.record.seed,) if one.of else ()
        found.append(Trouble(record.status, words, _reason(record.reason), record.id, seeds))
    return found


def _never_planned(records: Records, results: Results) -> list[Trouble]:
    """Return what plans left out and no later plan put in."""
    there: dict[tuple[object, ...], list[Mapping[str, Any]]] = {}
    for one in results.condensations.values():
        place = (one.row, *_place(one.record), one.record.seed)
        there.setdefault(place, []).append(one.record.config)
    found: dict[tuple[object, ...], Trouble] = {}
    for skipped in (one for manifest in records.manifests for one in manifest.plan.skipped):
        place, on = (skipped.row, *_place(skipped), skipped.seed), skipped.evaluate_on
        if not on and any(_has(config, skipped) for config in there.get(place, ())):
            continue
        status = FAILED if skipped.failed else SKIPPED
        given = ", ".join(f"{name}={value}" for name, value in skipped.options.items())
        row = f"{skipped.row} [{given}]" if given else skipped.row
        words, reason = _words(row, skipped), _reason(skipped.reason)
        words = f"evaluate {words} on {on}" if on else f"condense {words}"
        found[words, skipped.seed, reason] = Trouble(status, words, reason, "", (skipped.seed,))
    return list(found.values())


def _place(one: Condensation | Skipped) -> Sequence[object]:
    return one.dataset, one.architecture, one.init, one.ipc


def _has(config: Mapping[str, Any], skipped: Skipped) -> bool:
    """Say whether a row has the options that `--set` gave to the one left out."""
    return all(config.get(name) == value for name, value in skipped.options.items())


def _reason(reason: str | None) -> str:
    return reason or "no reason was noted"


def _label(one: Condensed, labels: Mapping[str, str]) -> str:
    return _words(labels.get(one.entry, one.row), one.record)


def _words(row: str, one: Condensation | Skipped) -> str:
    return f"{row} on {one.dataset}, {one.architecture}, {one.init} init, ipc {one.ipc}"
