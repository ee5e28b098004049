"""Make the frozen Config of a method from plain values; report all mistakes together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ddbench.contract.hookspecs import MethodInfo
from ddbench.store.atomic_files import check_plain
from ddbench.text.lines import reason_of
from ddbench.text.suggestions import unknown_at


class ConfigError(ValueError):
    """Options that a method refuses: a pair (option or "", reason) for each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        """Keep the mistakes."""
        super().__init__("; ".join(f"{name}: {text}" if name else text for name, text in problems))
        self.problems = problems


def make_config(info: MethodInfo, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the frozen Config of validated `options`.

    Raises:
        ConfigError: Unknown options and wrong values, all at once.
    """
    names = option_names(info)
    problems = [(name, unknown_at("option", name, names)) for name in options if name not in names]
    known = {name: value for name, value in options.items() if name in names}
    problems += _unfit(known)
    config: Any = None
    try:  # JSON's strict mode: no true for 1, but a list for a tuple and 1 for 1.0
        config = TypeAdapter(info.config).validate_json(json.dumps(known), strict=True)
    except ValidationError as error:
        for one in error.errors():
            if one["loc"]:
                text = f"{one['msg'].lower()} (is {one['input']!r})"
                problems.append((str(one["loc"][0]), text))
            else:  # the Config's own check, in its own words
                problems.append(("", one["msg"].removeprefix("Value error, ")))
    except (TypeError, ValueError) as error:
        problems.append(("", reason_of(error)))
    if problems:
        raise ConfigError(problems)
    return config


def _unfit(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the values that a record cannot hold, with the reason for each."""
    for name, value in options.items():
        try:
            check_plain(value)
        except ValueError as error:
            yield name, str(error).strip()


def option_names(info: MethodInfo) -> list[str]:
    """Return the names of a method's options."""
    return [field.name for field in fields(info.config)]
