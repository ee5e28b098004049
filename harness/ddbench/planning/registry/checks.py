"""Check a registry file; report each mistake with its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ddbench.contract.rows import AXES, Row
from ddbench.planning.registry.lines import Keys, Lines, line_of, place_of
from ddbench.planning.registry.schema import (
    DropTable,
    File,
    NamedDataset,
    Optimizer,
    Preset,
    Protocol,
)
from ddbench.store.atomic_files import check_plain
from ddbench.text.suggestions import unknown_name

Problem = tuple[int, str]  # line, and what is wrong there


def validated(raw: dict[str, Any], path: Path, lines: Lines) -> tuple[File, list[Problem]]:
    """Return the valid part of the tables, and the mistakes."""
    found: list[Problem] = []
    told: set[tuple[Any, ...]] = set()
    raw = copy.deepcopy(raw | {"presets": _written_out(raw.get("presets", {}))})
    while True:  # JSON's strict mode: no "3" for 3, but a list for a tuple and 1 for 1.0
        try:
            return File.model_validate_json(json.dumps(raw, default=str), strict=True), found
        except ValidationError as error:
            faults = [one for one in error.errors() if not _follows(tuple(one["loc"]), told)]
            found += [
                _problem(path, lines, one)
                for one in faults
                if not (one["type"] == "too_short" and one["input"])  # its elements are wrong
            ]
            told |= {tuple(one["loc"]) for one in faults}
            for one in sorted(
                error.errors(), key=lambda one: [*map(str, one["loc"])], reverse=True
            ):
                take_out(raw, tuple(one["loc"]), STANDING_IN)


# What stands for a key that must be given, so that the rest of its table can be checked.
STANDING_IN: Mapping[str, Any] = {
    "datasets": ["mnist-mini"], "architectures": ["convnet"], "evaluate_on": ["convnet"],
    "ipc": [1], "protocol": [""], "epochs": 1, "networks": 1, "after_epochs": 1,
    "source": "mnist-mini",
}  # fmt: skip


def _follows(keys: tuple[Any, ...], told: Iterable[tuple[Any, ...]]) -> bool:
    """Return whether a fault is the result of another one that has been reported."""
    return any(one[: len(keys)] == keys[: len(one)] for one in told)


def take_out(raw: Any, keys: tuple[Any, ...], instead: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Remove what is at `keys`, or put in what stands for it."""
    *above, last = keys
    inner = raw
    for key in above:
        try:
            inner = inner[int(key) if isinstance(inner, list) else key]
        except (KeyError, IndexError, TypeError):  # it is out already
            return
    if isinstance(inner, dict) and last in instead and inner.get(last) != instead[last]:
        inner[last] = instead[last]
    elif isinstance(inner, dict) and last in inner:
        del inner[last]
    elif isinstance(inner, list) and int(last) < len(inner):
        del inner[int(last)]
    elif above and instead:  # it must be given, and nothing can stand for it
        take_out(raw, tuple(above), instead)


def _written_out(presets: Any) -> Any:  # noqa: ANN401
    """Return presets with the short forms written out: one protocol, rows that are names."""
    if not (isinstance(presets, dict) and all(isinstance(one, dict) for one in presets.values())):
        return presets
    written = {}
    for name, preset in presets.items():
        written[name] = dict(preset)
        if isinstance(preset.get("protocol"), str):
            written[name]["protocol"] = [preset["protocol"]]
        if isinstance(preset.get("rows"), list):
            rows = preset["rows"]
            written[name]["rows"] = [{"method": r} if isinstance(r, str) else r for r in rows]
    return written


def dangling(file: File, protocols: Collection[str]) -> Iterator[tuple[Keys, str]]:
    """Yield the mistakes between the tables of a file, and within method tables.

    `protocols` are the names that a preset may give.
    """
    for name, preset in file.presets.items():
        named = [("protocol", protocol) for protocol in preset.protocol if protocol]
        named += [("reference", preset.reference)] if preset.reference else []
        for key, protocol in named:
            if protocol not in protocols:
                yield ("presets", name, key), unknown_name(protocol, protocols)
    for name, recipe in file.protocols.items():
        if wrong := _wrong_augment(recipe.augment):
            yield ("protocols", name, "augment"), wrong
    for name, table in file.methods.items():
        yield from _wrong_in_table(("methods", name), table, AXES)
        if "published" in table and not isinstance(table["published"], bool):
            yield ("methods", name, "published"), "expected true or false"
        if "method" in table and not isinstance(table["method"], str):
            yield ("methods", name, "method"), "expected the name of a method"


def _wrong_published_at(value: Any) -> str:  # noqa: ANN401
    """Return what is wrong with where settings were published, "" if nothing is."""
    axes = {*AXES, "init"}
    if not (isinstance(value, dict) and all(isinstance(one, list) for one in value.values())):
        return 'expected lists of values, as { dataset = ["mnist"], ipc = [1, 10] }'
    return next((unknown_name(axis, axes) for axis in value if axis not in axes), "")


def _wrong_in_table(
    keys: Keys, table: Mapping[str, Any], axes: tuple[str, ...]
) -> Iterator[tuple[Keys, str]]:
    steps, init = table.get("steps", 0), table.get("init", "")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        yield (*keys, "steps"), f"is {steps!r}; expected a whole number from 0"
    if not isinstance(init, str):
        yield (*keys, "init"), f"is {init!r}; expected the name of an init"
    if wrong := _wrong_published_at(table.get("published_at", {})):
        yield (*keys, "published_at"), wrong
    for axis in axes:
        within = table.get(axis, {})
        if not (isinstance(within, dict) and all(isinstance(v, dict) for v in within.values())):
            example = {"ipc": "10", "arch": "mlp", "dataset": "mnist"}[axis]
            yield (*keys, axis), f"expected tables like [{'.'.join(keys)}.{axis}.{example}]"
            continue
        for value, inner in within.items():
            at = (*keys, axis, value)
            if axis == "ipc" and not (value.isdigit() and int(value) > 0):
                yield at, f"{value!r} is no ipc; expected a whole number from 1"
            yield from _wrong_in_table(at, inner, ("ipc",) if axis == "dataset" else ())


# What a protocol's `augment` may be; the operations may be joined by "_" and "+".
AUGMENTATIONS = ("none", "dsa", "dc-mnist", "dc-bn")
OPERATIONS = ("color", "crop", "cutout", "flip", "rotate", "scale")


def _wrong_augment(name: str) -> str:
    """Return what is wrong with a protocol's augmentation, "" if nothing is."""
    parts = name.replace("+", "_").split("_")
    wrong = [part for part in parts if part not in OPERATIONS]
    if name in AUGMENTATIONS or not wrong and len(set(parts)) == len(parts):
        return ""
    if not wrong:
        return f"{name!r} names an operation twice; drop one"
    return unknown_name(wrong[0], (*AUGMENTATIONS, *OPERATIONS))


def _problem(path: Path, lines: Lines, error: Mapping[str, Any]) -> Problem:
    keys = tuple(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        wrong = unknown_name(keys[-1], _allowed(keys)).replace("unknown", "unknown key", 1)
    elif error["type"] == "missing":
        wrong = "is missing; add it"
    elif error["type"] == "too_short":
        wrong = "is empty; name at least one"
    else:
        wrong = f"{error['msg'].lower()} (is {error['input']!r})"
    return line_of(lines, keys), f"{place_of(path, lines, keys)}: {wrong}"


TABLES: Mapping[str, type[BaseModel]] = {
    "presets": Preset, "protocols": Protocol, "datasets": NamedDataset,
    "optimizer": Optimizer, "drop": DropTable, "rows": Row,
}  # fmt: skip


def _allowed(keys: Keys) -> list[str]:
    """Return the keys that the table around an unknown key may have."""
    above = [key for key in (*keys[:1], *keys[2:-1]) if key in TABLES] if len(keys) > 1 else []
    return list((TABLES[above[-1]] if above else File).model_fields)


def unfit(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:  # noqa: ANN401
    """Yield the numbers that a record cannot hold, with the reason for each."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from unfit(inner, (*keys, str(key)))
    elif isinstance(value, int | float):
        try:
            check_plain(value)
        except ValueError as error:
            yield keys, f"{str(error).strip()}; for 'no limit', leave the key out"
