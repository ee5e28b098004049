"""Check the MethodInfo that a method returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ddbench.contract.config import option_names
from ddbench.contract.hookspecs import MethodInfo
from ddbench.contract.rows import AXES, Row
from ddbench.store.atomic_files import check_plain
from ddbench.text.suggestions import unknown_at


def wrong_fields(info: MethodInfo, method: str) -> Iterator[str]:
    """Yield a sentence for each invalid field in the MethodInfo of `method`.

    Report the first one only: later checks assume that earlier fields are valid.
    """
    yield from _wrong_types(info)
    yield from _unstorable(info)
    yield from _wrong_names(info, method)


def _is_row_of(kind: type) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, tuple | list) and all(isinstance(one, kind) for one in value)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


# Field -> whether a value is of its type, and what is expected.
_TYPES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(
        ("default_init", "step", "labels", "setting", "paper", "bibtex"), (_is_text, "a string")
    ),
    "steps": (callable, "a function, as in lambda config, ipc: 1000"),
    "cycle": (callable, "a function, as in lambda config, ipc: 1"),
    "canonical": (callable, "a function, as in lambda config, facts: config"),
    "needs": (callable, "a function, as in lambda config, facts: None"),
    "own_init": (callable, "a function, as in lambda config: None"),
    **dict.fromkeys(
        ("inits", "formations"), (_is_row_of(str), "a tuple of names, as in ('real',)")
    ),
    "controls": (_is_row_of(Mapping), "a tuple of dicts"),
    **dict.fromkeys(("quick", "check", "published_at"), (_is_table, "a dict")),
}  # fmt: skip


def _wrong_types(info: MethodInfo) -> Iterator[str]:
    for name, (fits, expected) in _TYPES.items():
        if not fits(value := getattr(info, name)):
            yield f"{name} is {value!r}; expected {expected}"
    for name, values in info.published_at.items():
        if not isinstance(values, tuple | list):
            yield f"published_at has {name}: {values!r}; expected a tuple of values"


def _unstorable(info: MethodInfo) -> Iterator[str]:
    """Go through the values that no record could hold."""
    for name in ("quick", "check", "published_at", "controls", "balanced", "own_recipe"):
        value = getattr(info, name)
        try:
            check_plain(dict(value) if isinstance(value, Mapping) else value, name)
        except ValueError as error:
            yield str(error)


def _wrong_names(info: MethodInfo, method: str) -> Iterator[str]:
    """Go through unknown options and axes, and through controls that are no rows."""
    options = option_names(info)
    for name in ("quick", "check"):
        yield from _wrong_settings(name, getattr(info, name), options)
    yield from _unknown_keys("published_at", info.published_at, [*AXES, "init", *options])
    for i, control in enumerate(info.controls):
        yield from _wrong_control(f"controls[{i}]", control)
        if control.get("method", method) == method:
            yield from _unknown_keys(f"controls[{i}].options", control.get("options", {}), options)


def _wrong_settings(
    place: str, settings: Mapping[str, Any], options: Iterable[str]
) -> Iterator[str]:
    """Go through what is wrong with options and steps; the Config refuses wrong values."""
    yield from _unknown_keys(place, settings, [*options, "steps"])
    steps = settings.get("steps", 0)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        yield f"{place}.steps is {steps!r}; expected a whole number from 0"


def _wrong_control(place: str, control: Mapping[str, Any]) -> Iterator[str]:
    """Go through what a row of a preset may not hold."""
    text = json.dumps({"method": "its own", **control})
    try:
        Row.model_validate_json(text, strict=True)
    except ValidationError as error:
        for one in error.errors():
            if one["type"] == "extra_forbidden":
                yield unknown_at(place, str(one["loc"][-1]), Row.model_fields)
            else:
                where = ".".join(map(str, (place, *one["loc"])))
                yield f"{where}: {one['msg'].lower()} (is {one['input']!r})"


def _unknown_keys(place: str, keys: Iterable[Any], known: Iterable[str]) -> Iterator[str]:
    for key in keys:
        if key not in known:
            yield unknown_at(place, str(key), known)
