"""Check that the names in the choices, the preset and the method tables are known."""

from __future__ import annotations

from ddbench.datasets import split_options, suggested_path
from ddbench.planning.draft import Draft
from ddbench.planning.registry import RegistryError
from ddbench.planning.snapshots import snapshot_steps
from ddbench.text.suggestions import is_typo, unknown_at


def check_names(draft: Draft) -> None:
    """Check datasets, protocols, options and snapshots of the run, and names in method tables."""
    for name in draft.preset.datasets:
        if not draft.is_dataset(name):
            draft.problems.append(_unknown_dataset(draft, name))
    _check_method_tables(draft)
    for name in draft.choices.protocol or ():
        if name not in draft.registry.protocols:
            draft.problems.append(unknown_at("--protocol", name, draft.registry.protocols))
    for row, option, _ in draft.choices.settings:
        _check_setting(draft, row, option)
    snapshots_of(draft, 0, None)  # which finds what is wrong whatever the method


def _unknown_dataset(draft: Draft, name: str) -> str:
    """Return what is wrong with a name that no dataset has, and what it may mean."""
    place, known = draft.place("datasets"), draft.known_datasets()
    bare, _ = split_options(name)
    if meant := suggested_path(bare, known):
        return f"{place}: unknown {bare!r}; did you mean {meant + name.removeprefix(bare)!r}?"
    return unknown_at(place, bare, known)


def _check_method_tables(draft: Draft) -> None:
    """Refuse likely typos; other unknown names may belong to packages that are not installed."""
    registry, found, datasets = draft.registry, draft.context.found, draft.known_datasets()
    for row, table in registry.methods.items():
        method, keys = registry.method_of(row), ("methods", row)
        if method not in found and is_typo(method, found):
            place = registry.place(*keys, *(["method"] if "method" in table else []))
            draft.problems.append(unknown_at(place, method, found))
        for name in table.get("dataset", {}):
            if name not in datasets and is_typo(name, datasets):
                place = registry.place(*keys, "dataset", name)
                draft.problems.append(unknown_at(place, name, datasets))


def _check_setting(draft: Draft, row: str, option: str) -> None:
    place, info = f"--set {row}.{option}", draft.info.get(draft.registry.method_of(row))
    if info is None:
        draft.problems.append(unknown_at(place, row, draft.info))
    elif option not in info.get("options", [option]):
        draft.problems.append(unknown_at(place, option, info["options"]))


def snapshots_of(draft: Draft, steps: int, budget: float | None) -> tuple[int, ...]:
    """Return the steps whose sets are evaluated too; what is wrong becomes a problem."""
    try:
        return snapshot_steps(draft.choices.snapshots, steps, budget)
    except RegistryError as error:
        draft.problems += error.problems
        return ()


def check_snapshots(draft: Draft) -> None:
    """Refuse a step that no row reaches. A row with fewer steps has no snapshot there."""
    most = max((job.steps for job in draft.plan.condensations), default=0)
    if most and draft.budget is None:  # how far a budget reaches is unknown
        for text in draft.choices.snapshots:
            if text.isdecimal() and int(text) > most:
                draft.problems.append(f"--snapshots {text}: no row takes more than {most} steps")
