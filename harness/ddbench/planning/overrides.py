"""Apply the choices on the command line to a preset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ddbench.contract.rows import Row
from ddbench.planning.jobs import Choices
from ddbench.planning.registry import Preset

LEAST = {"ipc": 1, "seeds": 0}  # of the numbers on the axes


def chosen(preset: Preset, choices: Choices) -> Preset:
    """Return the preset with its axes replaced by the chosen ones."""
    fields = ("datasets", "architectures", "evaluate_on", "ipc", "seeds", "protocol")
    given = {name: getattr(choices, name) for name in fields if getattr(choices, name) is not None}
    for name, least in LEAST.items():  # what cannot be is a problem of its own
        if name in given:
            possible = tuple(value for value in given[name] if value >= least)
            given[name] = possible or getattr(preset, name)
    if "architectures" in given and "evaluate_on" not in given:
        given["evaluate_on"] = given["architectures"]
    if choices.validate is not None:
        given["validate_on"] = choices.validate
    given["reference_on"] = preset.reference_on or preset.evaluate_on[0]
    if choices.published:
        plain = [row.model_copy(update={"options": {}, "steps": None}) for row in preset.rows]
        given |= {"quick": False, "rows": tuple(plain)}
    laid = preset.model_copy(update=given)
    once = {name: tuple(dict.fromkeys(getattr(laid, name))) for name in fields}
    return laid.model_copy(update=once)  # what is named twice is planned once


def impossible(choices: Choices) -> Iterator[str]:
    """Yield a message for each chosen number that is not possible."""
    for name, option in (("ipc", "--ipc"), ("seeds", "--seed")):
        for value in getattr(choices, name) or ():
            if value < LEAST[name]:
                yield f"{option} {value}: is too small; expected at least {LEAST[name]}"


def rows_named(name: str, rows: Sequence[Row]) -> list[Row]:
    """Return the preset's rows of this name, or a plain one."""
    return [row for row in rows if row.method == name] or [Row(method=name)]


def at_ipc(rows: Sequence[Row], wanted: tuple[int, ...]) -> list[Row]:
    """Return the rows at the ipc asked for.

    A row that the preset restricts to others is left out; where that leaves a method without a row
    at some ipc, it gets a plain one.
    """
    kept = []
    for row in rows:
        ipc = wanted if row.ipc is None else tuple(i for i in wanted if i in row.ipc)
        if ipc:
            kept.append(row if row.ipc is None else row.model_copy(update={"ipc": ipc}))
    for name in dict.fromkeys(row.method for row in rows):
        covered = {ipc for row in kept if row.method == name for ipc in row.ipc or wanted}
        left = tuple(ipc for ipc in wanted if ipc not in covered)
        kept += [Row(method=name, ipc=left)] if left else []
    return kept
