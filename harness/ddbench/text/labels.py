"""Make labels of rows for display: a name, and the options in which rows of it differ."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Named:
    """What a label is made of.

    Attributes:
        name: A method or a variant.
        place: Only rows of one name at one place are told apart: dataset, ipc, init, network.
        traits: What can tell them apart, the telling ones first: options, steps, code.
        is_control: Whether the row stands beside another, which keeps its plain name.
    """

    name: str
    place: tuple[Hashable, ...]
    traits: Mapping[str, Any]
    is_control: bool = False


def labels(rows: Mapping[Any, Named]) -> dict[Any, str]:
    """Return a label for each row: its name, or `name [option=value]` where rows share it."""
    alike: dict[tuple[Hashable, ...], list[Any]] = {}
    for key, row in rows.items():
        alike.setdefault((row.name, *row.place), []).append(key)
    made = {}
    for keys in alike.values():
        plain = [key for key in keys if not rows[key].is_control]
        differing = {True: _differing([rows[key].traits for key in keys])}
        differing[False] = _differing([rows[key].traits for key in plain])
        for key in keys:
            row = rows[key]
            said = [f"{name}={row.traits[name]}" for name in differing[row.is_control]
                    if name in row.traits]  # fmt: skip
            made[key] = f"{row.name} [{', '.join(said)}]" if said else row.name
    return {key: made[key] for key in rows}


def _differing(all_traits: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the traits that differ between rows."""
    names = dict.fromkeys(name for traits in all_traits for name in traits)
    return [name for name in names if len({repr(traits.get(name)) for traits in all_traits}) > 1]
