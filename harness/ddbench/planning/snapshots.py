"""Parse the steps of `--snapshots`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ddbench.planning.registry import RegistryError


def snapshot_steps(wanted: Iterable[str], steps: int, budget: float | None) -> tuple[int, ...]:
    """Return the steps, in order, that `wanted` names in numbers or percentages.

    Raises:
        RegistryError: Those that are neither, or above 100%, or a percentage of an unknown number.
    """
    wanted = tuple(wanted)
    wrong = {text: why for text in wanted if (why := wrong_snapshot(text, budget))}
    if wrong:
        raise RegistryError(f"--snapshots {text}: {why}" for text, why in wrong.items())
    taken = {
        round(steps * float(text[:-1]) / 100) if text.endswith("%") else int(text)
        for text in wanted
    }
    # the final set is evaluated anyway
    return tuple(sorted(step for step in taken if step < steps or budget is not None))


def wrong_snapshot(text: str, budget: float | None) -> str:
    """Return what is wrong with one of them, "" if nothing is."""
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if not percent:
        return "" if text.isdecimal() else "expected steps or percentages, as 0,10%,500"
    if float(percent[1]) > 100:
        return "is more than the whole; at most 100%"
    if float(percent[1]) and budget is not None:
        return "of how many steps is unknown under --budget; name steps"
    return ""
