"""Read registry.toml, alone or on top of the default one; report all mistakes together."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.planning.registry.checks import Problem, dangling, take_out, unfit, validated
from ddbench.planning.registry.lines import Keys, Lines, line_numbers, line_of
from ddbench.planning.registry.schema import File, RegistryError
from ddbench.planning.registry.tables import Registry
from ddbench.text.encodings import NotText, read_text

DEFAULT, NOTHING = "default", "nothing"  # what a registry may extend


def default_path() -> Path:
    """Return the registry that comes with ddbench."""
    packaged = Path(__file__).parents[2] / "registry.toml"
    return packaged if packaged.exists() else Path(__file__).parents[4] / "registry.toml"


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
    file, found = validated(raw, path, lines)
    registry = _on_top(read() if extends == DEFAULT else None, file, path, lines)
    # a protocol with mistakes of its own is there all the same
    wrong = list(dangling(file, {*registry.protocols, *raw.get("protocols", {})}))
    if extends not in ("", DEFAULT, NOTHING):
        wrong.append((("extends",), f"is {extends!r}; expected {DEFAULT!r} or {NOTHING!r}"))
    found += [_problem(registry, keys, why) for keys, why in wrong]
    told = [problem for _, problem in found]
    for keys, why in unfit(raw):
        if not any(problem.startswith(f"{registry.place(*keys)}: ") for problem in told):
            found.append(_problem(registry, keys, why))
            wrong.append((keys, why))
    faults = tuple(problem for _, problem in sorted(found))
    if faults and not lenient:
        raise RegistryError(faults)
    unsound = [keys for keys, _ in wrong if keys[0] == "methods" and len(keys) > 2]
    return replace(_without(registry, unsound), faults=faults, extends=str(extends))


def _problem(registry: Registry, keys: Keys, text: str) -> Problem:
    return line_of(registry.lines, keys), f"{registry.place(*keys)}: {text}"


def _without(registry: Registry, unsound: Iterable[Keys]) -> Registry:
    """Return the registry without what is at some keys of method tables."""
    tables = copy.deepcopy({"own": registry.own, "methods": registry.methods})
    for keys in unsound:
        for kind in tables:
            take_out(tables, (kind, *keys[1:]), {})
    return replace(registry, own=tables["own"], methods=tables["methods"])


def lost_tables(registry: Registry) -> list[str]:
    """Return the default registry's method tables that a registry leaves out without saying so."""
    if registry.extends:
        return []
    return [name for name in read().methods if name not in registry.methods]


def _on_top(base: Registry | None, file: File, path: Path, lines: Lines) -> Registry:
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
    """Merge two trees of tables; values in `above` win."""
    both = {
        key: _joined(below[key], value)
        for key, value in above.items()
        if isinstance(below.get(key), Mapping) and isinstance(value, Mapping)
    }
    return {**below, **above, **both}
