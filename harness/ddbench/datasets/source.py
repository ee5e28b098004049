"""Where a dataset comes from: the interface that built-in and third-party datasets share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddbench.datasets.dataset import Dataset
from ddbench.datasets.errors import DatasetError, instead

Progress = Callable[[str], None]  # is told, in words, what goes on


@dataclass(frozen=True)
class Option:
    """One option of a dataset: its type, its default and what it does.

    Attributes:
        default: The value of who gives none; None where nothing happens by default.
        help: One line.
        type: int or bool.
        minimum: The least value of an int.
        maximum: The greatest, None for any.
    """

    default: int | bool | None
    help: str
    type: type = int
    minimum: int = 1
    maximum: int | None = None

    def validated(self, value: object) -> int | bool | None:
        """Return `value`, or raise a ValueError that says what would do."""
        if value is None and self.default is None:
            return None
        # bool is a kind of int, but `size = true` is a mistake
        if type(value) is not self.type:
            expected = "true or false" if self.type is bool else "an integer"
            raise ValueError(f"{value!r} is not {expected}")
        if self.type is int and value < self.minimum:  # type: ignore[operator]
            raise ValueError(f"{value} is below {self.minimum}")
        if self.maximum is not None and value > self.maximum:  # type: ignore[operator]
            raise ValueError(f"{value} is above {self.maximum}")
        return value  # type: ignore[return-value]


COMMON_OPTIONS: Mapping[str, Option] = {
    "zca": Option(False, "whiten the images (ZCA, fitted on the train split)", bool),
    "size": Option(None, "resize to size x size pixels (PIL, bilinear with antialiasing)"),
    "train_per_class": Option(None, "keep this many training images of each class, at random"),
    "validate": Option(
        None,
        "choose by the dataset's own validation split, or where it has none by this percentage of"
        " the training images, held out",
        maximum=90,
    ),
}


@dataclass(frozen=True)
class Presence:
    """Whether a dataset's files are there.

    Attributes:
        present: All files needed are there.
        where: The file or folder that holds them, None where none is needed or found.
        remedy: What would make it present; "" when it is.
    """

    present: bool
    where: Path | None
    remedy: str = ""


class Source(ABC):
    """One dataset by name: what is known of it, where its files are, and how to read them.

    A third party subclasses it, implements `locate` and `load`, and returns an instance from the
    extension hook `register_datasets`. `load` returns a `Dataset` of the images as they are:
    resizing, subsets, measured normalisation, fingerprint, checks and the cache are the harness's.

    Attributes:
        name: What users write.
        summary: One line for listings.
        num_classes: C, None where only the files tell.
        shape: (ch, H, W) with default options, None where only the files tell.
        train_size: Published number of training images, None where only the files tell.
        test_size: The same of test images.
        licence: Terms of use as its authors state them.
        homepage: Where to read about it.
        options: Options of its own, beside the common ones; a common name may be given anew.
        cached: Whether its arrays are worth keeping on disk.
        version: Raised when `load` returns other arrays for the same files: old caches are left.
    """

    name: str
    summary: str
    num_classes: int | None = None
    shape: tuple[int, int, int] | None = None
    train_size: int | None = None
    test_size: int | None = None
    licence: str = "unknown"
    homepage: str = ""
    options: Mapping[str, Option] = {}
    cached: bool = True
    version: int = 1

    @abstractmethod
    def locate(self, roots: Sequence[Path]) -> Presence:
        """Say whether the files are under one of the data roots, without reading them."""

    @abstractmethod
    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the files; called only when `locate` finds them, with every option resolved."""

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str, int, int]]:
        """Return (path, size, mtime in ns) of every file that `load` reads, in a fixed order.

        A cached copy holds as long as these are the same. By default everything under `where`.
        """
        where = self.locate(roots).where
        return [] if where is None else stat_tree(where)

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the files into `folder`, laid out as `locate` expects under a data root."""
        raise DatasetError(f"{self.name}: there is nothing to download")

    def adopt(self, path: Path, folder: Path) -> None:
        """Copy the files found at `path` into `folder`, laid out as under a data root."""
        raise DatasetError(f"{self.name}: there is nothing to import")

    def at(self, argument: str) -> Source:
        """Return the source that "<name>:<argument>" means, for names that end in a colon."""
        raise DatasetError(f"{self.name} takes no argument, not {argument!r}")


def resolve_options(source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of `source`, given or default, in one fixed order.

    Raises:
        DatasetError: An unknown option or a wrong value; all of them at once.
    """
    known = {**COMMON_OPTIONS, **source.options}
    faults = []
    for key in given:
        if key not in known:
            faults.append(f"unknown option {key!r}{instead(key, known)}")
    resolved = {}
    for key, option in sorted(known.items()):
        try:
            resolved[key] = option.validated(given.get(key, option.default))
        except ValueError as error:
            faults.append(f"option {key}: {error} ({option.help})")
    if faults:
        raise DatasetError(f"{source.name}: " + "; ".join(faults))
    return resolved


def stat_tree(where: Path) -> list[tuple[str, int, int]]:
    """Return (path, size, mtime in ns) of a file, or of every file below a folder, sorted."""
    if where.is_file():
        return [_stat(os.fspath(where), where.stat())]
    found, folders = [], [os.fspath(where)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    found.append(_stat(entry.path, entry.stat()))
    return sorted(found)


def _stat(path: str, status: os.stat_result) -> tuple[str, int, int]:
    return os.path.abspath(path), status.st_size, status.st_mtime_ns
