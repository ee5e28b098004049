"""Find the line of a key in a TOML file, for messages; tomllib does not tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

Keys = tuple[str, ...]
Lines = Mapping[Keys, int]

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


def place_of(path: Path, lines: Lines, keys: Keys) -> str:
    """Return `registry.toml:12: [methods.gm] batch_real`, for messages."""
    for depth in range(len(keys), 0, -1):
        if keys[:depth] in lines:
            table, key = ".".join(keys[:-1]), keys[-1]
            where = f"[{table}] {key}" if table else f"[{key}]"
            return f"{path.name}:{lines[keys[:depth]]}: {where}"
    return f"{path.name}: {'.'.join(keys)}"


def line_of(lines: Lines, keys: Keys) -> int:
    """Return the line of a key or of the nearest table around it, 0 if there is none."""
    return next((lines[keys[:d]] for d in range(len(keys), 0, -1) if keys[:d] in lines), 0)
