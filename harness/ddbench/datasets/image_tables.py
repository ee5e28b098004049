"""A table of file names and labels beside a folder of images."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.datasets.dataset import WITH_FLIP, WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError, instead
from ddbench.datasets.images import are_grey, find_images, read_splits, subfolders
from ddbench.datasets.source import FLIP, Option, Presence, Source, stat_tree
from ddbench.datasets.splits import NAMES, TEST_OPTIONS, choose_test, divided, split_of, splits_read
from ddbench.datasets.texts import Table, class_name, read_table

OPTIONS: Mapping[str, Option] = {
    "flip": FLIP,
    **TEST_OPTIONS,
    "name": Option(None, "column of file names, with suffix or without", str),
    "label": Option(None, "column of labels", str),
    "split": Option(None, "column that says train, test or val", str),
    "images": Option(None, "folder of the images, from that of the table; else its own", str),
}


def table_in(folder: Path) -> Path | None:
    """Return the table that a folder holds, if it is the only one and there are no classes."""
    tables = [path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv")]
    return tables[0] if len(tables) == 1 and len(subfolders(folder)) < 2 else None


class Finder:
    """Find the image that a table names, on whatever system the table was written."""

    def __init__(self, folder: Path) -> None:
        """Look through `folder`, and what is below it, once."""
        self.folder, self.images = folder, find_images(folder).images
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.images:
            inside = _plain(path.relative_to(folder).as_posix())
            parts = inside.split("/")
            for start in range(len(parts)):  # a/b.png is also meant by b.png, a/b and b
                name = "/".join(parts[start:])
                for spelling in {name, name.removesuffix(path.suffix.casefold())}:
                    self._by_name[spelling].append(path)

    def find(self, name: str) -> Path:
        """Return the image of this name: its path, or the end of it, with suffix or without.

        Case and the form of accents do not count, where only one image is meant.

        Raises:
            LookupError: No image has this name, or several have; the message says which.
        """
        exact = self.folder / name
        if name and exact.is_file():
            return exact
        plain = _plain(name.replace("\\", "/")).removeprefix("./")
        found = self._by_name.get(plain, [])
        if not found and "/" in plain:  # the path of another machine
            found = self._by_name.get(plain.rpartition("/")[2], [])
        if len(found) == 1:
            return found[0]
        if not found:
            raise LookupError(f"no image {name!r} in {self.folder} or below")
        listed = ", ".join(str(path.relative_to(self.folder)) for path in found[:2])
        raise LookupError(f"{name!r} may be {listed}: give more of the path")


class ImageTable(Source):
    """A CSV file with a row for each image, and the images in a folder beside it."""

    options = OPTIONS
    licence = "its owner's"

    def __init__(self, path: str) -> None:
        """Take the path as given; the file is looked for when asked for."""
        self.name, self.path = f"csv:{path}", Path(path).expanduser()
        self.summary = f"images listed in {self.path.name}"
        self.folder = self.path.parent

    def configured(self, options: Mapping[str, Any]) -> Source:
        """Return the source with the folder of the images that the options name."""
        source = ImageTable(self.name.removeprefix("csv:"))
        if options["images"] is not None:
            source.folder = self.path.parent / Path(options["images"]).expanduser()
        return source

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for the table itself; data roots play no part."""
        if not self.path.is_file():
            return Presence(False, None, f"no such file: {self.path}")
        if not self.folder.is_dir():
            return Presence(False, None, f"no folder of images: {self.folder}")
        return Presence(True, self.path)

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str | int, ...]]:
        """Return the table and what lies in the folder of the images."""
        return [*stat_tree(self.path), *stat_tree(self.folder)]

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the images that the table lists, in its order; grey if all are, otherwise RGB."""
        table, finder = read_table(self.path), Finder(self.folder)
        name, label, split = self._columns(table, finder, options)
        listed = self._listed(table, finder, name, label)
        parts = self._parts(table, split)
        tests, note = choose_test(parts, options["test"], str(self.path))
        classes = _classes({class_of for _, class_of in listed})
        pairs = [(path, classes.index(class_of)) for path, class_of in listed]
        read = {split: [pairs[i] for i in parts[split]] for split in splits_read(parts, tests)}
        splits = divided(read, tests, options)
        every = [path for part in splits.values() for path, _ in part]
        arrays = read_splits(splits, 1 if are_grey(every) else 3, options["size"])
        unlisted = len(set(finder.images) - {path for path, _ in listed})
        left_out = f"{unlisted:,} images left out, which the table does not list"
        augment = WITH_FLIP if options["flip"] else WITHOUT_FLIP
        dataset = Dataset(self.name, **arrays, classes=classes, augment=augment)
        return replace(dataset, notes="; ".join(filter(None, [note, left_out * bool(unlisted)])))

    def _columns(
        self, table: Table, finder: Finder, options: Mapping[str, Any]
    ) -> tuple[str, str, str | None]:
        """Return the columns of names, labels and splits, as told or where only one can be meant.

        Raises:
            DatasetError: There is no such column, or it is not clear which is meant.
        """
        for key in ("name", "label", "split"):
            if options[key] is not None and options[key] not in table.columns:
                raise DatasetError(
                    f"{self.path}: has no column {options[key]!r}"
                    f"{instead(options[key], table.columns)}"
                )
        if not table.rows:
            raise DatasetError(f"{self.path}: has no rows below its header")
        name, label, split = (options[key] for key in ("name", "label", "split"))
        first = table.rows[0][1]
        if name is None:
            free = [column for column in table.columns if column not in (label, split)]
            names = [column for column in free if _is_found(finder, first[column])]
            name = names[0] if len(names) == 1 else None
        if label is None:
            free = [column for column in table.columns if column not in (name, split)]
            label = free[0] if len(free) == 1 else None
        if name is None or label is None:
            raise DatasetError(
                f"{self.path}: has the columns {', '.join(table.columns)}; say which hold the"
                " names of files and the labels: ?name=COLUMN&label=COLUMN (and &images=FOLDER"
                " where the images lie elsewhere)"
            )
        return name, label, split

    def _listed(
        self, table: Table, finder: Finder, name: str, label: str
    ) -> list[tuple[Path, str]]:
        """Return the image and the label of each row.

        Raises:
            DatasetError: A row without one of them, or one image in two rows; names the line.
        """
        listed: list[tuple[Path, str]] = []
        lines: dict[Path, int] = {}
        for number, row in table.rows:
            where = f"{self.path}: line {number}"
            if not row[label]:
                raise DatasetError(f"{where}: no {label!r} of {row[name]!r}; fill it in, or delete")
            try:
                path = finder.find(row[name])
            except LookupError as error:
                raise DatasetError(
                    f"{where}: {error.args[0]} (the option images names another folder)"
                ) from error
            if path in lines:
                raise DatasetError(
                    f"{where}: {row[name]} stands in line {lines[path]} too; delete one of them"
                )
            lines[path] = number
            listed.append((path, class_name(row[label])))
        return listed

    def _parts(self, table: Table, split: str | None) -> dict[str, list[int]]:
        """Return the numbers of the rows of each split; all train where no column tells."""
        if split is None:
            return {"train": list(range(len(table.rows)))}
        parts: dict[str, list[int]] = defaultdict(list)
        for index, (number, row) in enumerate(table.rows):
            part = split_of(row[split])
            if part is None:
                known = ", ".join(name for names in NAMES.values() for name in names)
                raise DatasetError(
                    f"{self.path}: line {number}: {split} is {row[split]!r}; expected one of"
                    f" {known}"
                )
            parts[part].append(index)
        if "train" not in parts:
            raise DatasetError(f"{self.path}: no row of the column {split!r} says train")
        return dict(parts)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _is_found(finder: Finder, name: str) -> bool:
    try:
        finder.find(name)
    except LookupError:
        return False
    return True


def _classes(labels: set[str]) -> tuple[str, ...]:
    """Return the labels in order: by number where all are numbers, else by letter."""
    try:
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(labels))
