"""Arrays of bytes kept on disk, so that a second start neither parses nor decodes anything.

An entry is a folder `<cache>/datasets/<name>-<key>/` with one memory-mappable .npy for each array
and a small JSON. The key is made of the options and of path, size and time of every source file:
an entry is never wrong, at most left behind. Any of it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from ddbench.datasets.dataset import Dataset, check
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import Source
from ddbench.store.atomic_files import locked

CACHE_VERSION = 1  # raised when entries change form, or `complete` makes other arrays
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
TEXTS = ("classes", "mean", "std", "augment", "fingerprint", "notes")


def entry_of(
    cache: Path, source: Source, roots: Sequence[Path], options: Mapping[str, Any]
) -> Path:
    """Return the folder in which the arrays of `source` with `options` are, or would be."""
    identity = [CACHE_VERSION, source.name, source.version, dict(options), source.files(roots)]
    text = json.dumps(identity, default=list, sort_keys=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", source.name)[-40:].strip("-")
    return cache / "datasets" / f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def read_facts(entry: Path) -> dict[str, Any] | None:
    """Return what an entry says beside its arrays, or None where there is no such entry."""
    try:
        facts = json.loads((entry / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # absent, unreadable, or not JSON
        return None
    return facts if isinstance(facts, dict) and _are_sound(facts) else None


def _are_sound(facts: Mapping[str, Any]) -> bool:
    """Say whether the values are of the kinds that `_write` writes."""
    lists = {"classes": str, "mean": int | float, "std": int | float}
    return all(
        isinstance(facts.get(key), list) and all(isinstance(value, kind) for value in facts[key])
        for key, kind in lists.items()
    ) and all(isinstance(facts.get(key), str) for key in TEXTS if key not in lists)


def read(entry: Path, name: str, options: Mapping[str, Any]) -> Dataset | None:
    """Return the entry's dataset, mapped read-only, or None where it is absent or damaged."""
    try:
        return _read(entry, name, options)
    except (OSError, ValueError, EOFError, TokenError, DatasetError):
        return None  # a file that is gone, cut short, or another program's


def _read(entry: Path, name: str, options: Mapping[str, Any]) -> Dataset | None:
    facts = read_facts(entry)
    if facts is None:
        return None
    arrays: dict[str, Any] = {key: _mapped(entry / f"{key}.npy") for key in ARRAYS}
    arrays |= {key: tuple(v) if isinstance(v := facts[key], list) else v for key in TEXTS}
    dataset = Dataset(name, **arrays, options=dict(options))
    check(dataset, str(entry))
    return dataset


def _mapped(path: Path) -> np.ndarray:
    # Not np.load, which opens archives too.
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def read_or_build(
    entry: Path, name: str, options: Mapping[str, Any], build: Callable[[], Dataset]
) -> Dataset:
    """Return the entry's dataset; build and keep it first where needed, in one process only.

    Raises:
        DatasetError: The cache cannot be written; or what `build` raises.
    """
    found = read(entry, name, options)
    if found is not None:
        return found
    try:
        with locked(entry.with_name(f"{entry.name}.lock")):
            found = read(entry, name, options)  # another process may have built it meanwhile
            if found is not None:
                return found
            dataset = build()
            _write(entry, dataset)
    except OSError as error:
        raise DatasetError(
            f"{entry.parent}: cannot keep {name} there ({error.strerror or error});"
            " choose another cache folder or make room"
        ) from error
    return read(entry, name, options) or dataset


def _write(entry: Path, dataset: Dataset) -> None:
    for old in (entry, *entry.parent.glob(f".{entry.name}.*")):  # damaged, or of a killed process
        shutil.rmtree(old, ignore_errors=True)
    beside = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    beside.mkdir()
    try:
        for key in ARRAYS:
            with open(beside / f"{key}.npy", "wb") as file:
                np.save(file, getattr(dataset, key), allow_pickle=False)
                _sync(file)
        with open(beside / "dataset.json", "wb") as file:
            facts = {key: getattr(dataset, key) for key in TEXTS}
            file.write(json.dumps(facts, indent=1).encode())
            _sync(file)
        os.replace(beside, entry)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
