"""The registry: registry.toml read once into typed records, every mistake reported at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

RESERVED = ("method", "steps", "init", "ipc", "dataset")  # keys of a method table, not options


class RegistryError(ValueError):
    """What is wrong with a registry: one line for each mistake, with its place and a remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep the mistakes, in the order of their lines."""
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(_Strict):
    """The optimizer of a protocol."""

    name: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)


class Drop(_Strict):
    """The one drop of a protocol's learning rate."""

    after_epochs: int = Field(ge=1)
    factor: float = Field(0.1, gt=0)
    reset_momentum: bool = False


class Protocol(_Strict):
    """How sets are evaluated: everything but the set and the architecture."""

    summary: str = ""
    epochs: int = Field(ge=1)
    optimizer: Optimizer = Optimizer()
    drop: Drop | None = None
    batch: int = Field(256, ge=1)
    augment: str = "none"  # "dsa" is the dataset's own strategy
    networks: int = Field(ge=1)


class Row(_Strict):
    """One row of a preset: a method or a variant, and what it changes."""

    method: str
    init: str | None = None
    seeds: tuple[int, ...] | None = None
    ipc: tuple[int, ...] | None = None
    steps: int | None = Field(None, ge=0)
    options: dict[str, Any] = {}


class Preset(_Strict):
    """A fixed list of rows, crossed with datasets, architectures, ipc and seeds."""

    summary: str = ""
    datasets: tuple[str, ...]
    architectures: tuple[str, ...]
    evaluate_on: tuple[str, ...]
    ipc: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    protocol: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    others: bool = False  # plus every other installed method
    quick: bool = False  # take MethodInfo.quick of every method
    reference: str | None = None  # protocol of the whole training set's row
    reference_on: str | None = None  # its architecture; by default the first of evaluate_on

    @field_validator("protocol", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:  # noqa: ANN401
        return (value,) if isinstance(value, str) else value

    @field_validator("rows", mode="before")
    @classmethod
    def _names_are_rows(cls, value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, list | tuple):
            return value
        return [{"method": row} if isinstance(row, str) else row for row in value]

    @field_validator("ipc")
    @classmethod
    def _at_least_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(ipc < 1 for ipc in value):
            raise ValueError("ipc is at least 1")
        return value


class NamedDataset(_Strict):
    """A dataset under a name of its own, with options."""

    source: str
    options: dict[str, Any] = {}


class _File(_Strict):
    presets: dict[str, Preset] = {}
    protocols: dict[str, Protocol] = {}
    methods: dict[str, dict[str, Any]] = {}
    datasets: dict[str, NamedDataset] = {}


@dataclass(frozen=True)
class Layer:
    """Options from one place: `keys` of the registry, or `place` elsewhere, in words."""

    options: Mapping[str, Any]
    keys: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True)
class Registry:
    """A registry as read.

    Attributes:
        path: Where it came from.
        presets, protocols, methods, datasets: Its tables.
        lines: Line number of each key path.
    """

    path: Path
    presets: Mapping[str, Preset]
    protocols: Mapping[str, Protocol]
    methods: Mapping[str, Mapping[str, Any]]
    datasets: Mapping[str, NamedDataset]
    lines: Mapping[tuple[str, ...], int]

    def place(self, *keys: str) -> str:
        """Return `registry.toml:12: [methods.gm] batch_real`, for messages."""
        return _place(self.path, self.lines, keys)

    def method_of(self, row: str) -> str:
        """Return the method behind a row's name: a variant names its own."""
        return str(self.methods.get(row, {}).get("method", row))

    def layers(self, row: str, dataset: str, ipc: int) -> list[Layer]:
        """Return the options of a row from weak to strong: method, dataset, ipc, variant."""
        found: list[Layer] = []
        for name in dict.fromkeys((self.method_of(row), row)):
            table = self.methods.get(name, {})
            found.append(Layer(_options(table), ("methods", name)))
            for axis, value in (("dataset", dataset), ("ipc", str(ipc))):
                within = table.get(axis, {}).get(value, {})
                found.append(Layer(_options(within), ("methods", name, axis, value)))
        return [layer for layer in found if layer.options]

    def table_value(self, row: str, key: str, dataset: str, ipc: int) -> Any:  # noqa: ANN401
        """Return a reserved key (steps, init) as the strongest table says it, or None."""
        value = None
        for name in dict.fromkeys((self.method_of(row), row)):
            table = self.methods.get(name, {})
            tables = (table, table.get("dataset", {}).get(dataset, {}))
            for within in (*tables, table.get("ipc", {}).get(str(ipc), {})):
                value = within.get(key, value)
        return value

    def dump(self) -> dict[str, Any]:
        """Return the whole registry as plain values."""
        return {
            "presets": {k: v.model_dump(exclude_none=True) for k, v in self.presets.items()},
            "protocols": {k: v.model_dump(exclude_none=True) for k, v in self.protocols.items()},
            "methods": {k: dict(v) for k, v in self.methods.items()},
            "datasets": {k: v.model_dump() for k, v in self.datasets.items()},
        }


def _options(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in RESERVED}


def default_path() -> Path:
    """Return the registry that comes with ddbench."""
    packaged = Path(__file__).with_name("registry.toml")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "registry.toml"


def read(path: Path | None = None) -> Registry:
    """Read and check a registry; None is the default one.

    Raises:
        RegistryError: All mistakes of the file at once.
    """
    path = path or default_path()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise RegistryError(
            [f"{path}: cannot be read ({reason}); `ddbench init-registry` writes a copy to start"]
        ) from error
    return parse(text, path)


def parse(text: str, path: Path) -> Registry:
    """Read a registry from its text; `path` is for messages.

    Raises:
        RegistryError: As `read`.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError([f"{path}: is not TOML: {error}"]) from error
    lines = line_numbers(text)
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        found = sorted(_problem(path, lines, one) for one in error.errors())
        raise RegistryError(problem for _, problem in found) from error
    registry = Registry(path, file.presets, file.protocols, file.methods, file.datasets, lines)
    problems = _dangling(registry)
    if problems:
        raise RegistryError(problems)
    return registry


def _dangling(registry: Registry) -> list[str]:
    """Return what is wrong between the tables of one registry."""
    problems = []
    for name, preset in registry.presets.items():
        named = [("protocol", protocol) for protocol in preset.protocol]
        named += [("reference", preset.reference)] if preset.reference else []
        for key, protocol in named:
            if protocol not in registry.protocols:
                place = registry.place("presets", name, key)
                problems.append(unknown(f"{place}: protocol", protocol, registry.protocols))
    for name, table in registry.methods.items():
        for key in ("ipc", "dataset"):
            within = table.get(key, {})
            if not (isinstance(within, dict) and all(isinstance(v, dict) for v in within.values())):
                place = registry.place("methods", name, key)
                problems.append(f"{place}: expected tables like [methods.{name}.{key}.10]")
        steps = table.get("steps")
        if steps is not None and (not isinstance(steps, int) or steps < 0):
            place = registry.place("methods", name, "steps")
            problems.append(f"{place}: is {steps!r}; expected a whole number from 0")
    return problems


def unknown(place: str, name: str, known: Iterable[str]) -> str:
    """Return `<place>: unknown 'x'; did you mean 'y'? available: ...`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return f"{place}: unknown {name!r};{hint} available: {', '.join(names) or 'none'}"


def _place(path: Path, lines: Mapping[tuple[str, ...], int], keys: tuple[str, ...]) -> str:
    for depth in range(len(keys), 0, -1):
        if keys[:depth] in lines:
            table, key = ".".join(keys[:-1]), keys[-1]
            where = f"[{table}] {key}" if table else f"[{key}]"
            return f"{path.name}:{lines[keys[:depth]]}: {where}"
    return f"{path.name}: {'.'.join(keys)}"


def _problem(
    path: Path, lines: Mapping[tuple[str, ...], int], error: Mapping[str, Any]
) -> tuple[int, str]:
    keys = tuple(str(part) for part in error["loc"])
    place = _place(path, lines, keys)
    line = next((lines[keys[:d]] for d in range(len(keys), 0, -1) if keys[:d] in lines), 0)
    if error["type"] == "extra_forbidden":
        return line, unknown(f"{place}", keys[-1], _allowed(keys)).replace("unknown", "unknown key")
    if error["type"] == "missing":
        return line, f"{place}: is missing; add it"
    return line, f"{place}: {error['msg'].lower()} (is {error['input']!r})"


def _allowed(keys: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = _File
    kinds: dict[str, type[BaseModel]] = {
        "presets": Preset,
        "protocols": Protocol,
        "datasets": NamedDataset,
    }
    inner: dict[str, type[BaseModel]] = {"optimizer": Optimizer, "drop": Drop, "rows": Row}
    if len(keys) > 1:
        model = kinds.get(keys[0], _File)
    for key in keys[2:-1]:
        model = inner.get(key, model)
    return list(model.model_fields)


_HEADER = re.compile(r"^\s*\[{1,2}\s*(?P<keys>[^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<keys>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[\w-]+|"([^"]*)"|'([^']*)'""")


def line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Return the line (from 1) of every table header and key of a TOML text.

    Keys inside inline tables and arrays share the line of the key that holds them.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _keys(header["keys"])
            found = table
        elif key := _KEY.match(line):
            found = (*table, *_keys(key["keys"]))
        else:
            continue
        for depth in range(1, len(found) + 1):
            lines.setdefault(found[:depth], number)
    return lines


def _keys(text: str) -> tuple[str, ...]:
    return tuple(m[1] or m[2] or m[0] for m in _PART.finditer(text))


def parse_setting(text: str) -> tuple[str, str, list[Any]]:
    """Return (row, option, values) of `--set gm.batch_real=128` (values: `64,128` is an axis).

    Raises:
        RegistryError: It is not of that form.
    """
    match = re.fullmatch(r"(?P<row>[^=]+)\.(?P<option>\w+)=(?P<value>.*)", text, re.DOTALL)
    if not match:
        raise RegistryError([f"--set {text}: expected METHOD.OPTION=VALUE, as gm.batch_real=128"])
    values = [match["value"]] if match["value"][:1] in "[\"'" else match["value"].split(",")
    return match["row"], match["option"], [_value(value) for value in values]


def _value(text: str) -> Any:  # noqa: ANN401
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
