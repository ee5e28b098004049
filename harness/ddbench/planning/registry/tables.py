"""A registry in memory: the settings of a method for a dataset, architecture and ipc."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddbench.contract.rows import AXES
from ddbench.planning.blame import Place
from ddbench.planning.registry.lines import Keys, Lines, place_of
from ddbench.planning.registry.schema import NamedDataset, Preset, Protocol

# Keys of a method table that set nothing, and those that are no options.
_SAID_ELSEWHERE = ("method", "published", "published_at", *AXES)
RESERVED = (*_SAID_ELSEWHERE, "steps", "init")


@dataclass(frozen=True)
class Where:
    """What the settings of a row may depend on; `arch` is the canonical name."""

    dataset: str
    arch: str
    ipc: int


@dataclass(frozen=True)
class Layer:
    """Options from one place: `keys` of the registry, or `place` elsewhere."""

    options: Mapping[str, Any]
    keys: Keys = ()
    place: Place | None = None


Tables = tuple[tuple[Keys, Mapping[str, Any]], ...]


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
    lines: Lines
    base: Registry | None = None
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    extends: str = ""
    spelt: Mapping[str, str] = field(default_factory=dict)
    _found: dict[tuple[str, Where, bool], Tables] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def place(self, *keys: str) -> str:
        """Return `registry.toml:12: [methods.gm] batch_real`, for messages."""
        if self.base is not None and keys not in self.lines and keys in self.base.lines:
            return self.base.place(*keys)
        return place_of(self.path, self.lines, keys)

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
        tables = _narrowing(("methods", name), self.methods.get(name, {}))
        return [(axes_of(keys), settings) for keys, settings in tables]

    def own_settings(self) -> Iterator[tuple[Keys, dict[str, Any]]]:
        """Go through what the method tables set that are not of the base: keys, settings."""
        for row, table in self.own.items():
            yield from _narrowing(("methods", row), table)

    def own_architectures(self) -> dict[str, str]:
        """Return the architectures that method tables not of the base are for: name -> place."""
        return {
            axes_of(keys)["arch"]: self.place(*keys[: keys.index("arch") + 2])
            for keys, _ in self.own_settings()
            if "arch" in axes_of(keys)
        }

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

    def keys_of_init(self, row: str, at: Where) -> Keys:
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
                found |= {
                    axis: [int(value) if axis == "ipc" else self._canonical(axis, value)]
                    for axis, value in axes_of(keys).items()
                }
            found |= {"init": [table["init"]]} if "init" in table else {}
            found |= table.get("published_at", {})
        return found

    def _canonical(self, axis: str, value: str) -> str:
        return self.spelt.get(value, value) if axis == "arch" else value

    def _tables(self, row: str, at: Where, published: bool) -> Tables:
        """Return the tables for a row at a place from weak to strong, looked for once."""
        asked = row, at, published
        if asked not in self._found:
            self._found[asked] = tuple(self._look_for(*asked))
        return self._found[asked]

    def _look_for(
        self, row: str, at: Where, published: bool
    ) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
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

    def dump(self) -> dict[str, Any]:
        """Return the whole registry as plain values."""
        return {
            "presets": {k: v.model_dump(exclude_none=True) for k, v in self.presets.items()},
            "protocols": {k: v.model_dump(exclude_none=True) for k, v in self.protocols.items()},
            "methods": {k: dict(v) for k, v in self.methods.items()},
            "datasets": {k: v.model_dump() for k, v in self.datasets.items()},
        }


def axes_of(keys: Keys) -> dict[str, str]:
    """Return where a method table holds, by its keys: axis -> value; {} is everywhere."""
    return dict(zip(keys[2::2], keys[3::2], strict=True))


def _narrowing(keys: Keys, table: Mapping[str, Any]) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Go through a method table and the tables within: their keys, and what each sets."""
    if settings := {k: v for k, v in table.items() if k not in _SAID_ELSEWHERE}:
        yield keys, settings
    for axis in AXES:
        for value, inner in table.get(axis, {}).items():
            yield from _narrowing((*keys, axis, value), inner)
