"""Errors about datasets; each names a remedy."""

from __future__ import annotations

from collections.abc import Iterable

from ddbench.text.suggestions import nearest


class DatasetError(ValueError):
    """A dataset that is unknown, corrupt, truncated, mislabelled, or asked for wrongly."""


class DatasetMissing(LookupError):
    """A dataset whose files are missing; a run skips its jobs and shows the remedy.

    Attributes:
        name: The dataset.
        remedy: How to get the files, as one line.
    """

    def __init__(self, name: str, remedy: str) -> None:
        """Keep the two parts apart, for tables."""
        super().__init__(name, remedy)
        self.name, self.remedy = name, remedy

    def __str__(self) -> str:
        """Return both parts as one line."""
        return f"{self.name}: {self.remedy}"


def instead(wrong: str, known: Iterable[str], argument: str = "") -> str:
    """Return "; did you mean 'x'?" where a known name is near, then the list of all of them.

    `argument` follows the name that is suggested, where that takes one.
    """
    names = sorted(known)
    near = nearest(wrong, names)
    meant = near[0] + (argument if near[0].endswith(":") else "") if near else ""
    suggestion = f"; did you mean {meant!r}?" if near else ""
    return f"{suggestion} (available: {', '.join(names)})"
