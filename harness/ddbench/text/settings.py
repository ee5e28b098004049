"""What rows ran with that is not what was published, said once for all rows of a name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from ddbench.text.number_format import listed, number

_PLACES = {"dataset": "other data", "arch": "another network"}


class Set(Protocol):
    """A row as a plan or a leaderboard has it."""

    @property
    def row(self) -> str:
        """Its name."""

    @property
    def reduced(self) -> Mapping[str, Sequence[Any]]:
        """Option or axis -> (used, published)."""

    @property
    def published(self) -> bool:
        """Whether these were published, or are the method's defaults."""

    @property
    def control_of(self) -> str | None:
        """Which row it controls: it runs with the settings of that one."""


def other_settings(rows: Sequence[Set], without: Collection[str] = ()) -> list[str]:
    """Return a line for all rows of a name that differ: option used (published), then the places.

    Controls run as their rows do. `without` names options that are told elsewhere.
    """
    own = [row for row in rows if row.reduced and not row.control_of]
    names = dict.fromkeys(row.row for row in own)
    texts: dict[str, list[str]] = {}
    for name in names:
        text = _pairs([row for row in own if row.row == name], without)
        texts.setdefault(text or "the steps alone", []).append(name)
    lines = [f"{listed(alike)}: {text}" for text, alike in texts.items()]
    for axis, words in _PLACES.items():
        if elsewhere := list(dict.fromkeys(row.row for row in own if axis in row.reduced)):
            lines.append(f"{words} than published: {listed(elsewhere)}")
    return lines


def _pairs(rows: Sequence[Set], without: Collection[str]) -> str:
    used: dict[str, dict[str, None]] = {}
    published: dict[str, str] = {}
    for option, (value, was) in (pair for row in rows for pair in row.reduced.items()):
        if option not in without and option not in _PLACES:
            used.setdefault(option, {})[number(value)] = None
            published.setdefault(option, number(was) or "unset")
    word = "published " if rows[0].published else "default "
    return ", ".join(
        f"{option} {' or '.join(values)} ({word * (n == 0)}{published[option]})"
        for n, (option, values) in enumerate(used.items())
    )
