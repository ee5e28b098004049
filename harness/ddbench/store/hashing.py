"""Hash text, plain values and files with SHA-256; ids show the first digits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_JSON = json.JSONEncoder(sort_keys=True, default=str)


def hash_of_text(text: str, length: int | None = None) -> str:
    """Return the hash of some text in UTF-8: its first `length` hex digits, by default all 64."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def hash_of_values(values: object, length: int = 10) -> str:
    """Return the hash of plain values (as JSON), the same whatever the order of keys."""
    return hash_of_text(_JSON.encode(values), length)


def hash_of_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file's bytes in hex; publishers of data give "md5".

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def seed_of(*names: object) -> int:
    """Return a 63-bit seed that depends on the names alone: the same on every machine."""
    text = "/".join(str(name) for name in names)
    return int(hash_of_text(text, 16), 16) >> 1
