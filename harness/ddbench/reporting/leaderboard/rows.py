"""Entries: the rows of a leaderboard, each one method and setting with all its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddbench.reporting.leaderboard.results import Condensed
from ddbench.store.records import DONE, CondensationRecord
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
        taken: How many steps it took, the fewest and the most of its seeds.
        notes: Words about how to read the row.
        setting: Of its data, such as "federated"; "" where they are in one place.
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
    setting: str = ""
    taken: str = ""

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


def find_entries(condensations: Iterable[Condensed]) -> list[Entry]:
    """Return the entries of a folder in the order of its records, superseded ones left out.

    Controls of the very same sets are one: the starts of a sweep that nothing has been made of yet.
    """
    groups: dict[str, list[Condensed]] = {}
    for one in condensations:
        if not one.superseded:
            groups.setdefault(one.entry, []).append(one)
    groups = {key: sorted(group, key=_seed) for key, group in groups.items()}
    groups = {key: groups[key] for key in _without_repeats(groups)}
    labels = _labels({key: group[0] for key, group in groups.items()})
    return [_entry(key, labels[key], group) for key, group in groups.items()]


def _seed(one: Condensed) -> int:
    return one.record.seed


def _without_repeats(groups: Mapping[str, Sequence[Condensed]]) -> list[str]:
    """Return the keys of the entries to show."""
    kept: dict[object, str] = {}
    for key, group in groups.items():
        first, of = group[0], _control_of(group)
        sets = tuple((one.record.seed, one.record.set_sha256) for one in group)
        alone = of is None or any(sha is None for _, sha in sets)
        place = (first.row, *_place(first), first.record.steps, first.record.code)
        kept.setdefault(key if alone else (of, *place, sets), key)
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


def _entry(key: str, label: str, group: Sequence[Condensed]) -> Entry:
    first = group[0].record
    done = [one.record for one in group if one.record.status == DONE]
    left = [one.record for one in group if one.record.status != DONE]
    return Entry(
        key=key,
        label=label,
        row=group[0].row,
        method=first.method,
        dataset=first.dataset,
        fingerprint=first.dataset_fingerprint,
        architecture=first.architecture,
        init=first.init,
        ipc=first.ipc,
        seeds=tuple(one.seed for one in done),
        ids=tuple(one.id for one in done),
        sets=tuple(one.set_sha256 for one in done),
        failed=tuple((one.seed, one.status, str(one.reason)) for one in left),
        control_of=_control_of(group),
        reduced=first.reduced,
        config=first.config,
        quick=bool(first.quick and first.reduced),
        published=first.published,
        budget_s=first.budget_s,
        setting=first.setting,
        taken=_taken([one.steps_done for one in done]),
        notes=_notes([one for one in group if one.record.status == DONE]),
    )


def _control_of(group: Sequence[Condensed]) -> str | None:
    """Return what the row controls, if none of its seeds was asked for by itself."""
    return group[0].control_of if all(one.control_of is not None for one in group) else None


def _taken(steps: Sequence[int]) -> str:
    ends = sorted({min(steps, default=0), max(steps, default=0)})
    return " to ".join(f"{n:,}" for n in ends)


def _notes(done: Sequence[Condensed]) -> tuple[str, ...]:
    notes = []
    if any(one.stale for one in done):
        last = max(one.record.ended[:10] for one in done)
        notes.append(f"made by code that has been edited since ({last})")
    records = [one.record for one in done]
    if any(record.from_file for record in records):
        notes.append("its set comes from a file, and was not condensed in this run")
    if any(record.chose_on_split for record in records):
        notes.append("chose settings on a part of the training data")
    if repeated := max((record.repeated_images for record in records), default=0):
        notes.append(
            f"{repeated:,} of its first images are repetitions: classes have fewer training images"
            " than ipc"
        )
    missing: dict[str, list[str]] = {}
    for record in records:
        classes = ", ".join(map(str, record.missing_classes))
        missing.setdefault(classes, []).append(str(record.seed))
    for classes, seeds in missing.items():
        if classes:
            notes.append(f"no image of class {classes} (seed {', '.join(seeds)})")
    return tuple(notes)


# -- labels ------------------------------------------------------------------------------------


def _labels(firsts: Mapping[str, Condensed]) -> dict[str, str]:
    """Return a label for each entry; where several share a name, with what tells them apart."""
    return labels(
        {
            key: Named(
                name=first.row,
                place=_place(first),
                traits=_traits(first.record),
                is_control=first.control_of is not None,
            )
            for key, first in firsts.items()
        }
    )


def _place(one: Condensed) -> tuple[Any, ...]:
    record = one.record
    return (
        record.dataset,
        record.dataset_fingerprint,
        record.ipc,
        record.init,
        record.architecture,
    )


def _traits(record: CondensationRecord) -> dict[str, Any]:
    """Return what can tell an entry from another of its name, the telling ones first."""
    config = {k: v for k, v in record.config.items() if k != "seed"}
    budget = {} if record.budget_s is None else {"budget": f"{record.budget_s:g} s"}
    return {**config, "steps": record.steps, **budget, "code": _code(record.code)}


def _code(code: str) -> str:
    """Return which code made a row in words: a version, or the beginning of a hash."""
    kind, _, digest = code.partition(":")
    return digest[:6] or kind
