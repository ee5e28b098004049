"""The rows of a plan: those of the preset, other methods, and their controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddbench.contract.rows import Row
from ddbench.discovery.methods import unknown
from ddbench.planning.blame import Place
from ddbench.planning.draft import Draft
from ddbench.planning.overrides import at_ipc, rows_named
from ddbench.text.suggestions import did_you_mean, is_typo


@dataclass(frozen=True)
class PlannedRow:
    """A planned row of the table.

    Attributes:
        row: What the row says.
        control_of: The row that it is a control of; None: it is no control.
        forced: Options that make a control what it is.
        places: Of `init` and `options`, where a MethodInfo's control gives them.
    """

    row: Row
    control_of: str | None = None
    forced: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)


def rows_of(draft: Draft) -> list[Row]:
    """Return the rows without their controls."""
    choices, preset = draft.choices, draft.preset
    rows = list(preset.rows)
    if choices.rows is not None:
        rows = [row for name in choices.rows for row in rows_named(name, rows)]
    if choices.ipc is not None:
        rows = at_ipc(rows, preset.ipc)
    if choices.all_methods or (choices.rows is None and preset.others):
        named = {draft.method_of(row) for row in rows} | set(preset.leave_out)
        rows += [Row(method=name) for name in draft.context.found if name not in named]
    return rows


def describe(draft: Draft, rows: Sequence[Row]) -> None:
    """Ask the methods of the rows and of their controls what they are."""
    methods = dict.fromkeys(draft.method_of(row) for row in rows)
    draft.info = _described(draft, methods)
    controls = {
        str(control["method"])
        for info in draft.info.values()
        for control in info.get("controls", ())
        if "method" in control
    }
    draft.info |= _described(draft, sorted(controls - {*draft.info}))
    for name in methods:
        if name not in draft.info:
            _check_absent(draft, name, rows)


def _described(draft: Draft, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    installed = [name for name in names if name in draft.context.found]
    return draft.context.ask({"describe": installed})["describe"] if installed else {}


def _check_absent(draft: Draft, name: str, rows: Sequence[Row]) -> None:
    """Refuse a method that is not installed where it looks like a typo; else its rows are skipped.

    A variant that the registry lacks, of a method that is installed, is refused too.
    """
    row = next(row for row in rows if draft.method_of(row) == name)
    found, asked_for = draft.context.found, draft.choices.rows is not None
    place = "--method" if asked_for else draft.row_place(row)
    method = name.partition("@")[0]
    if method != name and method in found:
        draft.problems.append(f"{place}: {_unknown_variant(draft, name, method)}")
    elif asked_for or is_typo(name, found):
        draft.problems.append(f"{place}: {unknown(name, found)}")


def _unknown_variant(draft: Draft, name: str, method: str) -> str:
    variants = draft.registry.variants_of(method)
    meant = did_you_mean(name, variants, most=3)
    hint = f"; {meant}" if meant else "."
    there = f"Variants of {method}: {', '.join(variants) or 'none'}"
    return f"{draft.registry.path.name} has no variant {name!r}{hint} {there}"


def with_controls(draft: Draft, rows: Sequence[Row]) -> Iterator[PlannedRow]:
    """Go through the rows, then their controls."""
    yield from map(PlannedRow, rows)
    for row in rows:
        for control in draft.info_of(row).get("controls", ()):
            yield _control(draft, row, control)


def _control(draft: Draft, row: Row, control: Mapping[str, Any]) -> PlannedRow:
    """Return a control of a row: the row with something changed, or a row of another method."""
    place = Place.of_method(draft.method_of(row), "controls")
    given: dict[str, Any] = {"method": row.method, "seeds": row.seeds, "ipc": row.ipc}
    if "method" in control:
        places = {key: place for key in ("init", "options") if key in control}
        return PlannedRow(Row.model_validate({**given, **control}), row.method, {}, places)
    steps = row.steps if draft.choices.steps is None else draft.choices.steps
    given |= {"init": row.init, "steps": steps, **control, "options": row.options}
    places = {"init": place} if "init" in control else {}
    forced = control.get("options", {})
    return PlannedRow(Row.model_validate(given), row.method, forced, places)
