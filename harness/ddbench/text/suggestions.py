"""Suggest a known name for an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that are spelt most like `name`, the nearest first.

    Upper case, `_` and `-` count as no difference. `cutoff` is the least similarity, from 0 to 1.
    """
    names = {one: _bare(one) for one in known}
    bare = _bare(name)
    alike = [one for one, plain in names.items() if plain == bare]
    spelt = {one.lower(): one for one in reversed(names)}
    near = difflib.get_close_matches(name.lower(), spelt, n=most, cutoff=cutoff)
    return list(dict.fromkeys([*alike, *(spelt[one] for one in near)]))[:most]


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """Return "did you mean 'x'?" for the nearest of the known names, "" where none is near."""
    near = nearest(name, known, most)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def is_typo(name: str, known: Iterable[str]) -> bool:
    """Return whether an unknown name is so near a known one (dmm, dm) that it must be meant.

    `datm` is not a typo of `dm`.
    """
    return bool(nearest(name, known, cutoff=0.75))


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return `unknown 'x'; did you mean 'y'? available: ...`."""
    names = sorted(known)
    hint = did_you_mean(name, names)
    return f"unknown {name!r}; {hint}{' ' if hint else ''}available: {', '.join(names) or 'none'}"


def unknown_at(place: str, name: str, known: Iterable[str]) -> str:
    """Return `<place>: unknown 'x'; did you mean 'y'? available: ...`."""
    return f"{place}: {unknown_name(name, known)}"


def _bare(name: str) -> str:
    """Return the letters and digits of a name in lower case, or the name where it has none."""
    return "".join(letter for letter in name.lower() if letter.isalnum()) or name
