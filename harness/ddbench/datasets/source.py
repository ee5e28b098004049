"""The interface of a dataset's source, which built-in and third-party datasets share."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddbench.datasets.dataset import Dataset
from ddbench.datasets.errors import DatasetError, instead

Value = int | bool | float | str | None  # of an option
Progress = Callable[[str], None]  # is told, in words, what goes on


@dataclass(frozen=True)
class Option:
    """One option of a dataset: its type, its default and what it does.

    Attributes:
        default: The value of who gives none; None where nothing happens by default.
        help: One line.
        type: int, bool, str, or float: a share of a whole, 0 to 1, or in percent: "20%" or 20.
        minimum: The least value of an int.
        choices: What a str may be; () leaves it open.
        maximum: The greatest, None for any.
    """

    default: Value
    help: str
    type: type = int
    minimum: int = 1
    choices: tuple[str, ...] = ()
    maximum: int | None = None

    def read(self, text: str) -> Value:
        """Return the value that `text` means on a command line, or `text` itself if it means none.

        `validated` refuses the latter.
        """
        if self.type is bool and text in ("true", "false"):
            return text == "true"
        if self.type is int and re.fullmatch("-?[0-9]{1,18}", text):
            return int(text)
        return text

    def validated(self, value: object) -> Value:
        """Return `value`, or raise a ValueError that says what is allowed."""
        if value is None and self.default is None:
            return None
        if self.type is float:
            return _share(value)
        # bool is a kind of int, but `size = true` is a mistake
        if type(value) is not self.type:
            raise ValueError(f"{value!r} is not {_EXPECTED[self.type]}")
        if self.type is int and value < self.minimum:  # type: ignore[operator]
            raise ValueError(f"{value} is below {self.minimum}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is none of {', '.join(self.choices)}")
        if self.maximum is not None and value > self.maximum:  # type: ignore[operator]
            raise ValueError(f"{value} is above {self.maximum}")
        return value  # type: ignore[return-value]


_EXPECTED: Mapping[type, str] = {bool: "true or false", int: "an integer", str: "text"}


def _share(value: object) -> float:
    """Return a share of a whole as a number: 0.2 for 0.2, "0.2", "20%", "20" and 20."""
    try:
        if isinstance(value, str):
            number = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
        else:
            raise ValueError
        if number >= 1 and not str(value).endswith("%"):  # nobody means the whole, or more
            number /= 100
    except ValueError:
        raise ValueError(f"{value!r} is not a share, such as 20%") from None
    if not 0 < number < 1:
        raise ValueError(f"{value} is not between 0% and 100%")
    return number


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


# Of sources that do not know what their images show.
FLIP = Option(True, "the siamese augmentation may mirror images; false for digits and text", bool)


@dataclass(frozen=True)
class Presence:
    """Whether a dataset's files are present, and where.

    Attributes:
        present: All files needed are there.
        where: The file or folder that holds them, None where none is needed or found.
        remedy: How to get the files; "" when they are present.
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
        code: Fingerprint of the extension that brings it, which the harness sets; "" for our own.
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
    code: str = ""

    @abstractmethod
    def locate(self, roots: Sequence[Path]) -> Presence:
        """Say whether the files are under one of the data roots, without reading them."""

    @abstractmethod
    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the files; called only when `locate` finds them, with every option resolved."""

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str | int, ...]]:
        """Return what `stat_tree` says of every file that `load` reads, in a fixed order.

        A cached copy holds as long as these are the same. By default everything under `where`.
        """
        where = self.locate(roots).where
        return [] if where is None else stat_tree(where)

    def sizes(self, roots: Sequence[Path]) -> tuple[int | None, int | None]:
        """Return how many training and test images the files hold, for listings; None if unknown.

        Asked only where `locate` finds the files, and answered without reading images.
        """
        return self.train_size, self.test_size

    def configured(self, options: Mapping[str, Any]) -> Source:
        """Return the source as its options make it, where they say which files are read."""
        return self

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the files into `folder`, laid out as `locate` expects under a data root."""
        raise DatasetError(f"{self.name}: there is nothing to download")

    def adopt(self, path: Path, folder: Path) -> None:
        """Copy the files found at `path` into `folder`, laid out as under a data root."""
        raise DatasetError(f"{self.name}: there is nothing to import")

    def at(self, argument: str) -> Source:
        """Return the source that "<name>:<argument>" means, for names that end in a colon."""
        raise DatasetError(f"{self.name} takes no argument, not {argument!r}")


class AnyPath(Source):
    """A name that ends in a colon, such as `folder:`, and stands for whatever path follows it."""

    def __init__(
        self,
        example: str,
        kind: Callable[[str], Source],
        what: str,
        summary: str,
        homepage: str = "",
    ) -> None:
        """Stand for sources that `kind` makes of a path; `example` is the name of one."""
        self.name = example.partition(":")[0] + ":"
        self.example, self.kind, self.what = example, kind, what
        self.summary, self.homepage, self.licence = f"{summary}: {example}", homepage, "its owner's"
        self.options = kind("").options

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Nothing is there until a path is given."""
        return Presence(False, None, f"name a {self.what}: {self.example}")

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Refuse: there is no path."""
        raise DatasetError(f"{self.name} needs a path, such as {self.example}")

    def at(self, argument: str) -> Source:
        """Return the source of the path."""
        return self.kind(argument)


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


def read_options(source: Source, texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the options that stand behind a name, of the types that `source` wants.

    Raises:
        DatasetError: One is given twice.
    """
    known = {**COMMON_OPTIONS, **source.options}
    values: dict[str, Any] = {}
    for key, text in texts:
        if key in values:
            raise DatasetError(f"{source.name}: option {key} is given twice; give it once")
        values[key] = known[key].read(text) if key in known else text
    return values


def stat_tree(where: Path) -> list[tuple[str | int, ...]]:
    """Return path, size, mtime, ctime and inode of a file, or of every one below a folder, sorted.

    ctime and inode reveal a file that replaced another of the same size and time (`cp -p`, an
    archive with fixed dates, a changed link); programs cannot set a ctime.
    """
    if where.is_file():
        return [_stat(os.fspath(where), where.stat())]
    found, folders, seen = [], [os.fspath(where)], set()
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder that it lies in
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    found.append(_stat(entry.path, _status(entry)))
    return sorted(found)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except FileNotFoundError:  # a link to nothing
        return entry.stat(follow_symlinks=False)


def _stat(path: str, status: os.stat_result) -> tuple[str | int, ...]:
    times = status.st_mtime_ns, status.st_ctime_ns
    return os.path.abspath(path), status.st_size, *times, status.st_ino


def seed_name(dataset: str, fingerprint: str) -> str:
    """Return what random draws on a dataset are seeded by, beside the job's own seed.

    Its name; for a file or folder, whose path differs between machines, its content.
    """
    return fingerprint if ":" in dataset else dataset
