"""Cache decoded datasets on disk, so that the next start does not parse or decode them again.

An entry is a folder `<cache>/datasets/<name>-<key>/` with one memory-mappable .npy for each array
and a small JSON. The key is made of the options, of path, size, times and inode of every source
file, and of the code of an extension that reads them: an entry is never wrong, at most left behind.
Any of it may be deleted at any time.
"""

from __future__ import annotations

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
from pydantic import BaseModel, ConfigDict, ValidationError

from ddbench.datasets.dataset import Dataset, check
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import Source, stat_tree
from ddbench.store.atomic_files import locked
from ddbench.store.hashing import hash_of_text

CACHE_VERSION = 2  # raised when entries change form, or `complete` makes other arrays
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
VALIDATION = ("val_images", "val_labels")  # where the option validate asks for them


def entry_of(
    cache: Path, source: Source, roots: Sequence[Path], options: Mapping[str, Any]
) -> Path:
    """Return the folder in which the arrays of `source` with `options` are, or would be."""
    files = [_now(file) for file in source.files(roots)]
    code = [source.version, source.code]
    text = json.dumps([CACHE_VERSION, source.name, code, dict(options), files], sort_keys=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", source.name)[-40:].strip("-")
    return cache / "datasets" / f"{slug}-{hash_of_text(text, 16)}"


def _now(file: Sequence[str | int]) -> list[str | int]:
    """Return what a source says of a file, and where that is less, all that `stat_tree` says."""
    if len(file) > 3:
        return list(file)
    try:
        return [*file, *stat_tree(Path(str(file[0])))[0][1:]]
    except (OSError, IndexError):  # a member of an archive, say
        return list(file)


class Facts(BaseModel):
    """The part of an entry that is not arrays: the other fields of `Dataset`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", from_attributes=True)

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str
    fingerprint: str
    notes: str
    validation: str


def read_facts(entry: Path) -> Facts | None:
    """Return the fields of an entry without its arrays, or None if there is no such entry."""
    try:
        return Facts.model_validate_json((entry / "dataset.json").read_bytes())
    except (OSError, ValidationError):  # absent, torn, or another program's
        return None


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
    wanted = ARRAYS if options.get("validate") is None else ARRAYS + VALIDATION
    arrays: dict[str, Any] = {key: _mapped(entry / f"{key}.npy") for key in wanted}
    dataset = Dataset(name, **arrays, **dict(facts), options=dict(options))
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
        for key in ARRAYS if dataset.val_images is None else ARRAYS + VALIDATION:
            with open(beside / f"{key}.npy", "wb") as file:
                np.save(file, getattr(dataset, key), allow_pickle=False)
                _sync(file)
        with open(beside / "dataset.json", "wb") as file:
            file.write(Facts.model_validate(dataset).model_dump_json(indent=1).encode())
            _sync(file)
        os.replace(beside, entry)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
