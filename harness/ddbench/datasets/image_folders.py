"""Datasets from any folder of images, with one folder for each class, in split folders or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.datasets.dataset import WITH_FLIP, WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.image_tables import table_in
from ddbench.datasets.images import (
    are_grey,
    find_images,
    is_hidden,
    is_image,
    left_out_note,
    read_splits,
    subfolders,
)
from ddbench.datasets.source import FLIP, Option, Presence, Source, stat_tree
from ddbench.datasets.splits import TEST_OPTIONS, choose_test, divided, split_of, splits_read
from ddbench.datasets.texts import class_name

LAYOUT = "images belong in train/<class>/ and test/<class>/, or in <class>/ with ?test=20%"
OPTIONS: Mapping[str, Option] = {"flip": FLIP, **TEST_OPTIONS}


class ImageFolder(Source):
    """A folder with `<class>/` of image files, in `train/`, `test/` and `val/` or by themselves."""

    options = OPTIONS
    licence = "its owner's"
    version = 2

    def __init__(self, path: str) -> None:
        """Take the path as given; the folder is looked for when asked for."""
        self.name, self.path = f"folder:{path}", Path(path).expanduser()
        self.summary = f"image folder {self.path.name}"

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for the folder itself; data roots play no part."""
        if not self.path.exists():
            return Presence(False, None, f"no such folder: {self.path}; {LAYOUT}")
        if not self.path.is_dir():
            return Presence(False, None, f"{self.path} is not a folder; {LAYOUT}")
        splits = self._splits()
        if not splits and (table := table_in(self.path)):
            remedy = f"{self.path}: has a table and no folders for classes; name it: csv:{table}"
            return Presence(False, None, remedy)
        if "train" in splits or (not splits and subfolders(self.path)):
            return Presence(True, self.path)
        return Presence(False, None, f"no folder {self.path / 'train'}; {LAYOUT}")

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str | int, ...]]:
        """Return what lies below the splits, or below the folder where there are none."""
        parts = self._splits().values() or (self.path,)
        return [entry for part in parts for entry in stat_tree(part)]

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the images; grey if all of them are, otherwise RGB."""
        folders = self._splits() or {"train": self.path}
        tests, note = choose_test(folders, options["test"], str(self.path))
        used = {split: folders[split] for split in splits_read(folders, tests)}
        found = {split: _by_class(folder) for split, folder in used.items()}
        classes = self._classes({split: by_class for split, (by_class, _) in found.items()}, used)
        pairs = {
            split: [(path, c) for c, name in enumerate(classes) for path in by_class[name]]
            for split, (by_class, _) in found.items()
        }
        splits = divided(pairs, tests, options)
        every = [path for part in splits.values() for path, _ in part]
        arrays = read_splits(splits, 1 if are_grey(every) else 3, options["size"])
        left_out = left_out_note([path for _, rest in found.values() for path in rest], self.path)
        augment = WITH_FLIP if options["flip"] else WITHOUT_FLIP
        dataset = Dataset(self.name, **arrays, classes=classes, augment=augment)
        return replace(dataset, notes="; ".join(text for text in (note, left_out) if text))

    def _splits(self) -> dict[str, Path]:
        """Return the folders of the splits, whatever their spelling; {} where there are none."""
        found: dict[str, Path] = {}
        for folder in subfolders(self.path):
            split = split_of(folder.name)
            if split in found:
                raise DatasetError(
                    f"{self.path}: {found[split].name}/ and {folder.name}/ are both the {split}"
                    " split; remove one of them"
                )
            if split is not None:
                found[split] = folder
        return found

    def _classes(
        self, found: Mapping[str, Mapping[str, Sequence[Path]]], folders: Mapping[str, Path]
    ) -> tuple[str, ...]:
        """Return the names of the class folders, which every split must have.

        Raises:
            DatasetError: A class that one split lacks.
        """
        names = {split: {*by_class} for split, by_class in found.items()}
        for split, own in names.items():
            for other in names:
                if only := sorted(own - names[other]):
                    raise DatasetError(
                        f"{self.path}: class {only[0]!r} is only in {folders[split].name};"
                        f" {' and '.join(part.name for part in folders.values())} need the same"
                        " class folders"
                    )
        return tuple(sorted(names["train"]))


def _by_class(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the images of each class folder, and the files that are left out.

    Raises:
        DatasetError: Images lie beside the class folders, or a class has files but no image.
    """
    by_class: dict[str, list[Path]] = defaultdict(list)
    left_out: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not is_hidden(path.name):
            found = find_images(path)
            by_class[class_name(path.name)] += found.images
            left_out += found.left_out
            if found.left_out and not found.images:
                names = ", ".join(class_name(file.name) for file in found.left_out[:3])
                raise DatasetError(
                    f"{path}: none of its files is an image that Pillow reads ({names});"
                    " convert them, to PNG for instance"
                )
        elif not path.is_dir() and not is_hidden(path.name) and is_image(path):
            raise DatasetError(
                f"{path}: lies beside the class folders; move it into the folder of its class,"
                " or remove it"
            )
        else:
            left_out.append(path)
    return by_class, left_out
