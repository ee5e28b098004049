"""Entries: the rows of a leaderboard, each one method and setting with all its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ddbench.store.records import DONE
from ddbench.text.labels import Named, labels

BASELINE = "random"  # the method that every other is held against


@dataclass(frozen=True)
class Entry:
    """One row: a method with one setting, condensed with one or more seeds.

    Attributes:
        key: Its identity in this folder.
        label: The row's name, with the options that tell it from others of that name.
        row: The name in the registry.
        method: The method.
        dataset, fingerprint, architecture, init, ipc: What was condensed, matched and started from.
        seeds: Seeds that have a set.
        ids: Their condensations, in the order of the seeds.
        sets: The sha256 of each set, None where it is unknown.
        failed: (seed, status, reason) of seeds that have none.
        control_of: The row beside which this one stands only as its control.
        reduced: Option -> (used, published), where they differ.
        config: The options.
        published: Whether they are published, else the method's defaults.
        quick: Whether they differ because a preset took the method's quick settings.
        notes: Words about how to read the row.
        budget_s: Seconds that each of its condensations had, None where steps end them.
    """

    key: str
    label: str
    row: str
    method: str
    dataset: str
    fingerprint: str
    architecture: str
    init: str
    ipc: int
    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    sets: tuple[str | None, ...]
    failed: tuple[tuple[int, str, str], ...]
    control_of: str | None
    reduced: Mapping[str, Sequence[Any]]
    config: Mapping[str, Any]
    quick: bool = False
    published: bool = True
    notes: tuple[str, ...] = ()
    budget_s: float | None = None

    @property
    def images(self) -> tuple[tuple[int, str | None], ...] | str:
        """What rows of the very same sets have in common; the row's own key if that is unknown."""
        known = self.sets and all(self.sets)
        return tuple(zip(self.seeds, self.sets, strict=True)) if known else self.key

    @property
    def is_baseline(self) -> bool:
        """Whether this is the random selection that others are held against."""
        return self.method == BASELINE

    @property
    def is_control(self) -> bool:
        """Whether the row stands in the table only because another one needs it there."""
        return self.control_of is not None


def find_entries(condensations: pd.DataFrame) -> list[Entry]:
    """Return the entries of a folder in the order of its records, superseded ones left out.

    Controls of the very same sets are one: the starts of a sweep that nothing has been made of yet.
    """
    current = condensations[~condensations["superseded"]]
    groups = {str(key): g.sort_values("seed") for key, g in current.groupby("entry", sort=False)}
    groups = {key: groups[key] for key in _without_repeats(groups)}
    labels = _labels({key: group.iloc[0] for key, group in groups.items()})
    return [_entry(key, labels[key], group) for key, group in groups.items()]


def _without_repeats(groups: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the keys of the entries to show."""
    kept: dict[Any, str] = {}
    for key, group in groups.items():
        first, of = group.iloc[0], _control_of(group)
        sets = tuple(zip(group["seed"], group["set_sha256"], strict=True))
        alone = of is None or not all(isinstance(sha, str) for _, sha in sets)
        names = ("row", "dataset", "fingerprint", "architecture", "init", "ipc", "steps", "code")
        kept.setdefault(key if alone else (of, *(first[name] for name in names), sets), key)
    return list(kept.values())


def controls_of(entry: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """Return the controls that stand beside a row: of those of its name the nearest in options."""
    if entry.is_control:
        return []
    beside = [one for one in entries if one.control_of == entry.row and _at(one) == _at(entry)]
    apart = {one.key: _apart(one, entry) for one in beside if one.method == entry.method}
    least = min(apart.values(), default=0)
    return [one for one in beside if apart.get(one.key, least) == least]


def _at(entry: Entry) -> tuple[Any, ...]:
    return entry.dataset, entry.fingerprint, entry.architecture, entry.ipc


def _apart(control: Entry, entry: Entry) -> int:
    """Return in how many of their options, and in the init or not, two rows of a method differ."""
    options = {*control.config, *entry.config} - {"seed"}
    differing = [name for name in options if control.config.get(name) != entry.config.get(name)]
    return len(differing) + (control.init != entry.init)


def _entry(key: str, label: str, group: pd.DataFrame) -> Entry:
    first, done = group.iloc[0], group[group["status"] == DONE]
    left = group[group["status"] != DONE]
    return Entry(
        key=key,
        label=label,
        row=first["row"],
        method=first["method"],
        dataset=first["dataset"],
        fingerprint=first["fingerprint"],
        architecture=first["architecture"],
        init=first["init"],
        ipc=int(first["ipc"]),
        seeds=tuple(int(seed) for seed in done["seed"]),
        ids=tuple(done["id"]),
        sets=tuple(done["set_sha256"]),
        failed=tuple(
            (int(one["seed"]), str(one["status"]), str(one["reason"])) for _, one in left.iterrows()
        ),
        control_of=_control_of(group),
        reduced=first["reduced"],
        config=first["config"],
        quick=bool(first["quick"] and first["reduced"]),
        published=bool(first["published"]),
        budget_s=None if math.isnan(first["budget_s"]) else float(first["budget_s"]),
        notes=_notes(done),
    )


def _control_of(group: pd.DataFrame) -> str | None:
    """Return what the row controls, if none of its seeds was asked for by itself."""
    of = list(group["control_of"])
    return str(of[0]) if all(isinstance(one, str) for one in of) else None


def _notes(done: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    if any(done["stale"]):
        last = max(str(ended)[:10] for ended in done["ended"])
        notes.append(f"made by code that has been edited since ({last})")
    if any(done["chose_on_split"]):
        notes.append("chose settings on a part of the training data")
    for budget in done["budget_s"].dropna().unique():
        steps = [f"{n:,.0f}" for n in sorted({min(done["steps_done"]), max(done["steps_done"])})]
        notes.append(f"had {budget:g} s, in which it took {' to '.join(steps)} steps")
    for classes, group in done.groupby(done["missing_classes"].map(_words), sort=False):
        if classes:
            seeds = ", ".join(map(str, group["seed"]))
            notes.append(f"no image of class {classes} (seed {seeds})")
    return tuple(notes)


def _words(classes: Sequence[Any]) -> str:
    return ", ".join(map(str, classes))


# -- labels ------------------------------------------------------------------------------------


def _labels(firsts: Mapping[Any, pd.Series]) -> dict[Any, str]:
    """Return a label for each entry; where several share a name, with what tells them apart."""
    names = ("dataset", "fingerprint", "ipc", "init", "architecture")
    return labels(
        {
            key: Named(
                name=str(first["row"]),
                place=tuple(first[name] for name in names),
                traits=_traits(first),
                is_control=isinstance(first["control_of"], str),
            )
            for key, first in firsts.items()
        }
    )


def _traits(first: pd.Series) -> dict[str, Any]:
    """Return what can tell an entry from another of its name, the telling ones first."""
    config = {k: v for k, v in first["config"].items() if k != "seed"}
    budget = {} if math.isnan(first["budget_s"]) else {"budget": f"{first['budget_s']:g} s"}
    return {**config, "steps": first["steps"], **budget, "code": _code(first)}


def _code(first: pd.Series) -> str:
    """Return which code made a row in words: a version, or the beginning of a hash."""
    kind, _, digest = str(first["code"]).partition(":")
    return digest[:6] or kind
