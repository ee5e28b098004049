"""The scaffold of a plugin: a complete, working distribution under a given name."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from ddbench.discovery.methods import discover

# Template -> where it goes; under its own name it is docs/examples/ddbench-mean-image.
TEMPLATES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "plugin.py.txt": "ddbench_mean_image.py",
    "test_plugin.py.txt": "tests/test_mean_image.py",
}
PREFIX = "ddbench-"


class ScaffoldError(ValueError):
    """A plugin that cannot be written: its name, or what is there already."""


def new_plugin(name: str, method: str | None = None, parent: Path = Path()) -> list[Path]:
    """Write the distribution ``ddbench-<name>`` below `parent`; return its files.

    Args:
        name: Of the distribution, with or without ``ddbench-`` in front.
        method: Of the method; `name` by default.
        parent: The folder to write into.

    Raises:
        ScaffoldError: A name that no package can have, or that an installed method or its package
            has, or a folder that is there already.
    """
    name = name.removeprefix(PREFIX)
    method = name if method is None else method
    for given in (name, method):
        _require_name(given)
    _require_free(name, method)
    folder = parent / f"{PREFIX}{name}"
    if folder.exists():
        raise ScaffoldError(f"{folder}: exists already; choose another name, or remove it")
    written = []
    for template, place in TEMPLATES.items():
        path = folder / _renamed(place, name, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_renamed(text_of(template), name, method), encoding="utf-8")
        written.append(path)
    return written


def text_of(template: str) -> str:
    """Return the text of a template."""
    return (files("ddbench.cli.scaffold") / template).read_text(encoding="utf-8")


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ScaffoldError(
            f"the name {name!r} will not do; use lower-case letters, digits and single hyphens, "
            "a letter first, as in my-method"
        )


def _require_free(name: str, method: str) -> None:
    """Refuse the names of what is installed, beside which the new plugin could not be."""
    for found in discover().values():
        if f"{PREFIX}{name}" == found.distribution:
            raise ScaffoldError(f"{PREFIX}{name} is installed already; choose another name")
        if method == found.name:
            raise ScaffoldError(
                f"method {method!r} is installed already, from {found.source}; choose another name"
            )


def _renamed(text: str, name: str, method: str) -> str:
    """Return `text` with the names of the example replaced, the longer ones first."""
    module = name.replace("-", "_")
    names = {
        "ddbench-mean-image": f"{PREFIX}{name}",
        "ddbench_mean_image": f"ddbench_{module}",
        "test_mean_image": f"test_{module}",
        "mean-image": method,
    }
    # In one pass: a new name may hold an old one.
    return re.sub("|".join(names), lambda match: names[match[0]], text)
