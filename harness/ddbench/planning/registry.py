"""The registry: registry.toml read once into typed records, every mistake reported at once."""

from __future__ import annotations

import copy
import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ddbench.contract.rows import AXES, AtLeastOne, AtLeastZero, Row, Strict
from ddbench.store.atomic_files import check_plain
from ddbench.text.encodings import NotText, read_text
from ddbench.text.suggestions import unknown_name

RESERVED = (
    "method",
    "published",
    "published_at",
    "steps",
    "init",
    *AXES,
)  # keys of a method table, not options


class RegistryError(ValueError):
    """What is wrong with a registry: one line for each mistake, with its place and a remedy."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep the mistakes, in the order of their lines."""
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


OneOrMore = Field(min_length=1)
Rate = Annotated[float, Field(gt=0)]


class Optimizer(Strict):
    """The optimizer of a protocol."""

    name: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)


class DropTable(Strict):
    """The one drop of a protocol's learning rate."""

    after_epochs: int = Field(ge=1)
    factor: float = Field(0.1, gt=0)
    reset_momentum: bool = False


class Protocol(Strict):
    """How sets are evaluated: everything but the set and the architecture."""

    summary: str = ""
    epochs: int = Field(ge=1)
    optimizer: Optimizer = Optimizer()
    drop: DropTable | None = None
    batch: int = Field(256, ge=1)
    augment: str = "none"  # "dsa" is the dataset's own strategy
    networks: int = Field(ge=1)
    learning_rates: tuple[Rate, ...] | None = Field(None, min_length=2)  # chosen on held-out images


class Preset(Strict):
    """A fixed list of rows, crossed with datasets, architectures, ipc and seeds."""

    summary: str = ""
    datasets: tuple[str, ...] = OneOrMore
    architectures: tuple[str, ...] = OneOrMore
    evaluate_on: tuple[str, ...] = OneOrMore
    ipc: tuple[AtLeastOne, ...] = OneOrMore
    seeds: tuple[AtLeastZero, ...] = Field((0,), min_length=1)
    protocol: tuple[str, ...] = OneOrMore
    rows: tuple[Row, ...] = ()
    others: bool = False  # plus every other installed method
    quick: bool = False  # take MethodInfo.quick of every method
    reference: str | None = None  # protocol of the whole training set's row
    reference_on: str | None = None  # its architecture; by default the first of evaluate_on
    validate_on: int | None = Field(None, ge=1, le=90)  # percent of the training images held out


class NamedDataset(Strict):
    """A dataset under a name of its own, with options."""

    source: str
    options: dict[str, Any] = {}


class _File(Strict):
    presets: dict[str, Preset] = {}
    protocols: dict[str, Protocol] = {}
    methods: dict[str, dict[str, Any]] = {}
    datasets: dict[str, NamedDataset] = {}


@dataclass(frozen=True)
class Where:
    """What the settings of a row may depend on; `arch` is the canonical name."""

    dataset: str
    arch: str
    ipc: int


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
        base: The registry that it extends, whose tables are among its own.
        own: Its method tables without those of the base.
        faults: What is wrong with it; the tables are then what they would be without.
        extends: What it says of that, "" if nothing.
        spelt: Canonical names of the architectures that its method tables spell otherwise.
    """

    path: Path
    presets: Mapping[str, Preset]
    protocols: Mapping[str, Protocol]
    methods: Mapping[str, Mapping[str, Any]]
    datasets: Mapping[str, NamedDataset]
    lines: Mapping[tuple[str, ...], int]
    base: Registry | None = None
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    extends: str = ""
    spelt: Mapping[str, str] = field(default_factory=dict)

    def place(self, *keys: str) -> str:
        """Return `registry.toml:12: [methods.gm] batch_real`, for messages."""
        if self.base is not None and keys not in self.lines and keys in self.base.lines:
            return self.base.place(*keys)
        return _place(self.path, self.lines, keys)

    def method_of(self, row: str) -> str:
        """Return the method behind a row's name: a variant names its own."""
        return str(self.methods.get(row, {}).get("method", row))

    def variants_of(self, method: str) -> list[str]:
        """Return the names of a method's variants, in the order of the file."""
        return [name for name in self.methods if name != self.method_of(name) == method]

    def settings_of(self, name: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Return what the table of a method or variant sets and where: ({axis: value}, settings).

        The settings are options, steps and init; {} is everywhere.
        """
        return list(_narrowing(self.methods.get(name, {}), {}))

    def own_settings(self) -> Iterator[tuple[str, dict[str, str], tuple[str, ...]]]:
        """Go through the method tables that are not of the base: row, {axis: value}, keys."""
        for row, table in self.own.items():
            for at, _ in _narrowing(table, {}):
                yield row, at, ("methods", row, *itertools.chain.from_iterable(at.items()))

    def own_architectures(self) -> dict[str, str]:
        """Return the architectures that method tables not of the base are for: name -> place."""
        return {
            at["arch"]: self.place(*keys[: keys.index("arch") + 2])
            for _, at, keys in self.own_settings()
            if "arch" in at
        }

    def own_inits(self) -> Iterator[tuple[str, str]]:
        """Go through the inits of method tables that are not of the base: place, init."""
        for row, table in self.own.items():
            for at, settings in _narrowing(table, {}):
                keys = ("methods", row, *itertools.chain.from_iterable(at.items()), "init")
                if "init" in settings:
                    yield self.place(*keys), settings["init"]

    def own_presets(self) -> dict[str, Preset]:
        """Return the presets without those of the base."""
        base = self.base.presets if self.base is not None else {}
        return {name: one for name, one in self.presets.items() if base.get(name) is not one}

    def layers(self, row: str, at: Where, *, published: bool = False) -> list[Layer]:
        """Return the options of a row from weak to strong: its method's tables, then its own.

        Within each the more special are stronger: `[methods.NAME]`, `.dataset.D`, `.arch.A`,
        `.ipc.N`, `.dataset.D.ipc.N`. With `published`, tables that say they are not are left out.
        """
        return [
            Layer(options, keys)
            for keys, table in self._tables(row, at, published)
            if (options := {k: v for k, v in table.items() if k not in RESERVED})
        ]

    def table_value(self, row: str, key: str, at: Where, *, published: bool = False) -> Any:  # noqa: ANN401
        """Return a reserved key (steps, init) as the strongest table says it, or None."""
        value = None
        for _, table in self._tables(row, at, published):
            value = table.get(key, value)
        return value

    def keys_of_init(self, row: str, at: Where) -> tuple[str, ...]:
        """Return the keys of the init that `table_value` returns, () if there is none."""
        tables = self._tables(row, at, published=False)
        found = [(*keys, "init") for keys, table in tables if "init" in table]
        return found[-1] if found else ()

    def published_at(self, row: str, at: Where) -> dict[str, list[Any]]:
        """Return where the tables say that a row's settings were published: axis -> values.

        What a variant says of one axis leaves what its method says of the others. Settings that a
        table has for one dataset, architecture or ipc were published there, and from its init.
        """
        found: dict[str, list[Any]] = {}
        for keys, table in self._tables(row, at, published=True):
            if any(key not in _SAID_ELSEWHERE for key in table):
                places = dict(zip(keys[2::2], keys[3::2], strict=True))
                found |= {
                    k: [int(v) if k == "ipc" else self._canonical(k, v)] for k, v in places.items()
                }
            found |= {"init": [table["init"]]} if "init" in table else {}
            found |= table.get("published_at", {})
        return found

    def _canonical(self, axis: str, value: str) -> str:
        return self.spelt.get(value, value) if axis == "arch" else value

    def _tables(
        self, row: str, at: Where, published: bool
    ) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
        values = {"dataset": at.dataset, "arch": at.arch, "ipc": str(at.ipc)}
        base = [self.base.own] if self.base is not None else []
        names = dict.fromkeys((self.method_of(row), row))
        for name, own in itertools.product(names, (*base, self.own)):
            table = own.get(name, {})
            if published and not table.get("published", True):
                continue
            yield ("methods", name), table
            for axis in AXES:
                inner = table.get(axis, {})
                written = [v for v in inner if self._canonical(axis, v) == values[axis]]
                for value in written:
                    yield ("methods", name, axis, value), inner[value]
            inner = table.get("dataset", {}).get(at.dataset, {}).get("ipc", {})
            keys = ("methods", name, "dataset", at.dataset, "ipc", str(at.ipc))
            yield keys, inner.get(str(at.ipc), {})

    def lost(self) -> list[str]:
        """Return the default registry's method tables that a registry is without, unasked."""
        return [] if self.extends else [name for name in read().methods if name not in self.methods]

    def without(self, faults: Iterable[tuple[str, ...]]) -> Registry:
        """Return the registry without what is at some keys of method tables."""
        tables = copy.deepcopy({"own": self.own, "methods": self.methods})
        for keys in faults:
            for kind in tables:
                _take_out(tables, (kind, *keys[1:]), {})
        return replace(self, own=tables["own"], methods=tables["methods"])

    def dump(self) -> dict[str, Any]:
        """Return the whole registry as plain values."""
        return {
            "presets": {k: v.model_dump(exclude_none=True) for k, v in self.presets.items()},
            "protocols": {k: v.model_dump(exclude_none=True) for k, v in self.protocols.items()},
            "methods": {k: dict(v) for k, v in self.methods.items()},
            "datasets": {k: v.model_dump() for k, v in self.datasets.items()},
        }


_SAID_ELSEWHERE = ("method", "published", "published_at", *AXES)


def _narrowing(
    table: Mapping[str, Any], at: dict[str, str]
) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    if settings := {k: v for k, v in table.items() if k not in _SAID_ELSEWHERE}:
        yield at, settings
    for axis in AXES:
        for value, inner in table.get(axis, {}).items():
            yield from _narrowing(inner, {**at, axis: value})


def default_path() -> Path:
    """Return the registry that comes with ddbench."""
    packaged = Path(__file__).parents[1] / "registry.toml"
    return packaged if packaged.exists() else Path(__file__).parents[3] / "registry.toml"


def read(path: Path | None = None, *, lenient: bool = False) -> Registry:
    """Read and check a registry; None is the default one.

    With `lenient`, mistakes are in `Registry.faults`, to be told with what a plan finds.

    Raises:
        RegistryError: All mistakes of the file at once; `lenient`: it cannot be read at all.
    """
    path = path or default_path()
    try:
        text = read_text(path)
    except (OSError, NotText) as error:
        reason = getattr(error, "strerror", None) or error
        raise RegistryError(
            [f"{path}: cannot be read ({reason}); `ddbench init-registry` writes a copy to start"]
        ) from error
    return parse(text, path, lenient=lenient)


def parse(text: str, path: Path, *, lenient: bool = False) -> Registry:
    """Read a registry from its text; `path` is for messages.

    Raises:
        RegistryError: As `read`.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError([f"{path}: is not TOML: {error}"]) from error
    lines = line_numbers(text)
    extends = raw.pop("extends", "")
    base = read() if extends == DEFAULT else None
    file, found = _validated(raw, path, lines)
    registry = _on_top(base, file, path, lines)
    if extends not in ("", DEFAULT, NOTHING):
        place = registry.place("extends")
        wrong = f"is {extends!r}; expected {DEFAULT!r} or {NOTHING!r}"
        found.append((_line(lines, ("extends",)), f"{place}: {wrong}"))
    dangling = list(_dangling(registry, file, raw))
    found += [(_line(lines, keys), f"{registry.place(*keys)}: {text}") for keys, text in dangling]
    unsound = [keys for keys, _ in dangling]
    told = {problem for _, problem in found}
    for keys, wrong in _unfit(raw):
        place = registry.place(*keys)
        if not any(problem.startswith(f"{place}: ") for problem in told):
            found.append((_line(lines, keys), f"{place}: {wrong}"))
            unsound.append(keys)
    faults = tuple(problem for _, problem in sorted(found))
    if faults and not lenient:
        raise RegistryError(faults)
    unsound = [keys for keys in unsound if keys[0] == "methods" and len(keys) > 2]
    return replace(registry.without(unsound), faults=faults, extends=str(extends))


DEFAULT, NOTHING = "default", "nothing"  # what a registry may extend


def _on_top(
    base: Registry | None, file: _File, path: Path, lines: Mapping[tuple[str, ...], int]
) -> Registry:
    """Return the registry of a file: its presets, protocols and datasets replace those of the base.

    Method tables join those of the same name.
    """
    if base is None:
        tables = (file.presets, file.protocols, file.methods, file.datasets)
        return Registry(path, *tables, lines, own=file.methods)
    return Registry(
        path,
        {**base.presets, **file.presets},
        {**base.protocols, **file.protocols},
        _joined(base.methods, file.methods),
        {**base.datasets, **file.datasets},
        lines,
        base,
        file.methods,
    )


def _joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees of tables as one; what is in `above` is stronger."""
    both = {
        key: _joined(below[key], value)
        for key, value in above.items()
        if isinstance(below.get(key), Mapping) and isinstance(value, Mapping)
    }
    return {**below, **above, **both}


def _unfit(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: ANN401
    """Go through the numbers that no record could hold, with what is wrong of each."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unfit(inner, (*keys, str(key)))
    elif isinstance(value, int | float):
        try:
            check_plain(value)
        except ValueError as error:
            yield keys, f"{str(error).strip()}; where there is no limit, leave it out"


Problem = tuple[int, str]  # line, and what is wrong there


def _validated(
    raw: dict[str, Any], path: Path, lines: Mapping[tuple[str, ...], int]
) -> tuple[_File, list[Problem]]:
    """Return the tables as they are without what is wrong, and what that is."""
    found: list[Problem] = []
    told: set[tuple[Any, ...]] = set()
    raw = copy.deepcopy(raw | {"presets": _written_out(raw.get("presets", {}))})
    while True:  # JSON's strict mode: no "3" for 3, but a list for a tuple and 1 for 1.0
        try:
            return _File.model_validate_json(json.dumps(raw, default=str), strict=True), found
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
                _take_out(raw, tuple(one["loc"]), STANDING_IN)


# What stands for a key that must be given, so that the rest of its table can be checked.
STANDING_IN: Mapping[str, Any] = {
    "datasets": ["mnist-mini"], "architectures": ["convnet"], "evaluate_on": ["convnet"],
    "ipc": [1], "protocol": [""], "epochs": 1, "networks": 1, "after_epochs": 1,
    "source": "mnist-mini",
}  # fmt: skip


def _follows(keys: tuple[Any, ...], told: Iterable[tuple[Any, ...]]) -> bool:
    """Say whether a fault is there because of another, which has been told."""
    return any(one[: len(keys)] == keys[: len(one)] for one in told)


def _take_out(raw: Any, keys: tuple[Any, ...], instead: Mapping[str, Any]) -> None:  # noqa: ANN401
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
        _take_out(raw, tuple(above), instead)


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


def _dangling(
    registry: Registry, file: _File, raw: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Go through what is wrong between the tables of one registry, and within method tables."""
    # one with mistakes of its own is there all the same
    protocols = {*registry.protocols, *raw.get("protocols", {})}
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
    keys: tuple[str, ...], table: Mapping[str, Any], axes: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
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


# What a protocol's `augment` may be; the operations may be joined by "_".
AUGMENTATIONS = ("none", "dsa", "dc-mnist", "dc-bn")
OPERATIONS = ("color", "crop", "cutout", "flip", "rotate", "scale")


def _wrong_augment(name: str) -> str:
    """Return what is wrong with a protocol's augmentation, "" if nothing is."""
    parts = name.split("_")
    wrong = [part for part in parts if part not in OPERATIONS]
    if name in AUGMENTATIONS or not wrong and len(set(parts)) == len(parts):
        return ""
    if not wrong:
        return f"{name!r} names an operation twice; drop one"
    return unknown_name(wrong[0], (*AUGMENTATIONS, *OPERATIONS))


def _place(path: Path, lines: Mapping[tuple[str, ...], int], keys: tuple[str, ...]) -> str:
    for depth in range(len(keys), 0, -1):
        if keys[:depth] in lines:
            table, key = ".".join(keys[:-1]), keys[-1]
            where = f"[{table}] {key}" if table else f"[{key}]"
            return f"{path.name}:{lines[keys[:depth]]}: {where}"
    return f"{path.name}: {'.'.join(keys)}"


def _line(lines: Mapping[tuple[str, ...], int], keys: tuple[str, ...]) -> int:
    return next((lines[keys[:d]] for d in range(len(keys), 0, -1) if keys[:d] in lines), 0)


def _problem(path: Path, lines: Mapping[tuple[str, ...], int], error: Mapping[str, Any]) -> Problem:
    keys = tuple(str(part) for part in error["loc"])
    place = _place(path, lines, keys)
    line = _line(lines, keys)
    if error["type"] == "extra_forbidden":
        wrong = unknown_name(keys[-1], _allowed(keys))
        return (
            line,
            f"{place}: {wrong.replace('unknown', 'unknown key', 1)}",
        )
    if error["type"] == "missing":
        return line, f"{place}: is missing; add it"
    if error["type"] == "too_short":
        return line, f"{place}: is empty; name at least one"
    return line, f"{place}: {error['msg'].lower()} (is {error['input']!r})"


def _allowed(keys: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = _File
    kinds: dict[str, type[BaseModel]] = {
        "presets": Preset,
        "protocols": Protocol,
        "datasets": NamedDataset,
    }
    inner: dict[str, type[BaseModel]] = {"optimizer": Optimizer, "drop": DropTable, "rows": Row}
    if len(keys) > 1:
        model = kinds.get(keys[0], _File)
    for key in keys[2:-1]:
        model = inner.get(key, model)
    return list(model.model_fields)


_HEADER = re.compile(r"^\s*\[{1,2}\s*(?P<keys>[^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<keys>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_OPENS = re.compile(r"=\s*\[\s*(#.*)?$")  # an array whose elements have lines of their own
_ELEMENT = re.compile(r"""^\s*(\{.*\}|"[^"]*"|'[^']*')\s*,?\s*(#.*)?$""")
_PART = re.compile(r"""[\w-]+|"([^"]*)"|'([^']*)'""")


def line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Return the line (from 1) of every table header and key of a TOML text.

    Keys inside inline tables and arrays share the line of the key that holds them; where an array
    has a line for each element, these have their own.
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    array: tuple[str, ...] = ()  # the key whose array is open
    elements = 0
    for number, line in enumerate(text.split("\n"), 1):  # what TOML calls a line
        if array and _ELEMENT.match(line):
            found = (*array, str(elements))
            elements += 1
        elif header := _HEADER.match(line):
            table = _keys(header["keys"])
            found, array = table, ()
        elif key := _KEY.match(line):
            found = (*table, *_keys(key["keys"]))
            array, elements = (found, 0) if _OPENS.search(line) else ((), 0)
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
