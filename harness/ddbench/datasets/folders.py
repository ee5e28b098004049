"""Datasets that are folders of image files: Tiny-ImageNet, MHIST, and any other."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.datasets.dataset import WITH_FLIP, WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.images import are_grey, find_images, read_images
from ddbench.datasets.layouts import find_folder, unpacked
from ddbench.datasets.npz import FLIP, read_npz
from ddbench.datasets.source import Option, Presence, Progress, Source, stat_tree
from ddbench.datasets.torchvision_sets import patience
from ddbench.text.lines import reason_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)


class TinyImageNet(Source):
    """Tiny-ImageNet as its zip unpacks; its labelled validation split serves as the test set."""

    name = "tinyimagenet"
    summary = "photographs in 200 classes of ImageNet; the validation split is the test set"
    num_classes = 200
    shape = (3, 64, 64)
    train_size = 100_000
    test_size = 10_000
    licence = "ImageNet's terms: non-commercial research"
    homepage = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"
    marks = ("val/val_annotations.txt", "val/images", "train")
    std = (0.229, 0.224, 0.225)

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for `tiny-imagenet-200`, or `tinyimagenet.npz`, in each root."""
        for root in roots:
            folder = root / "tiny-imagenet-200"
            if all((folder / mark).exists() for mark in self.marks):
                return Presence(True, folder)
            if (root / "tinyimagenet.npz").is_file():
                return Presence(True, root / "tinyimagenet.npz")
        return Presence(
            False,
            None,
            f"no tiny-imagenet-200 with {', '.join(self.marks)} in {_listed(roots)};"
            " `ddbench datasets fetch tinyimagenet` downloads it (248 MB),"
            " `ddbench datasets import tinyimagenet PATH` takes the zip or its folder",
        )

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str, int, int]]:
        """Return all but the unlabelled test images."""
        where = _found(self, roots)
        if where.is_file():
            return stat_tree(where)
        lists = [where / name for name in ("wnids.txt", "words.txt")]
        parts = [where / "train", where / "val", *(path for path in lists if path.is_file())]
        return [entry for part in parts for entry in stat_tree(part)]

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the JPEG files, some of which are grey, as RGB."""
        where = _found(self, roots)
        if where.is_file():
            dataset = read_npz(where, self.name)
        else:
            dataset = self._read(where)
        return replace(dataset, mean=IMAGENET_MEAN, std=self.std)

    def _read(self, folder: Path) -> Dataset:
        ids = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
        self._check_ids(folder, ids)
        train = [(path, c) for c, wnid in enumerate(ids) for path in _train_images(folder, wnid)]
        test = _validation_images(folder, ids)
        arrays = _arrays({"train": train, "test": test}, channels=3)
        return Dataset(self.name, **arrays, classes=_words(folder, ids))

    def _check_ids(self, folder: Path, ids: Sequence[str]) -> None:
        listed = folder / "wnids.txt"
        missing = set(listed.read_text().split()) - set(ids) if listed.is_file() else set()
        if missing:
            raise DatasetError(
                f"{folder / 'train'}: lacks {len(missing)} of the classes in {listed}"
                f" ({', '.join(sorted(missing)[:5])}): unpack the zip again"
            )

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Download the zip, check it, and unpack it."""
        from torchvision.datasets.utils import download_url

        progress(f"downloading {self.name}, 248 MB ({self.homepage})")
        archive = folder / "tiny-imagenet-200.zip"
        try:
            with patience():
                download_url(self.homepage, folder, archive.name, self.md5)
        except Exception as error:  # URLError, timeouts, RuntimeError for a checksum
            raise DatasetError(
                f"{self.name}: the download failed ({reason_of(error)}); try again, or download"
                f" it elsewhere and `ddbench datasets import {self.name} PATH`"
            ) from error
        progress("unpacking 120,000 files")
        self.adopt(archive, folder)
        archive.unlink()

    def adopt(self, path: Path, folder: Path) -> None:
        """Take the zip, the folder it unpacks to, or an npz."""
        if path.suffix == ".npz":
            shutil.copyfile(path, folder / "tinyimagenet.npz")
            return
        with unpacked(path, folder) as opened:
            _copy_tree(find_folder(opened, self.marks), folder / "tiny-imagenet-200")


def _train_images(folder: Path, wnid: str) -> list[Path]:
    return find_images(folder / "train" / wnid)


def _validation_images(folder: Path, ids: Sequence[str]) -> list[tuple[Path, int]]:
    """Return (file, label) of each line of val_annotations.txt; the files lie in one folder."""
    annotations = folder / "val" / "val_annotations.txt"
    labels = {wnid: c for c, wnid in enumerate(ids)}
    found = []
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in labels:
            raise DatasetError(
                f"{annotations}: line {number}: class {wnid!r} of {name!r} has no folder in"
                f" {folder / 'train'}: mislabelled or incomplete; unpack the zip again"
            )
        path = folder / "val" / "images" / name
        if not path.is_file():
            raise DatasetError(
                f"{path}: is missing, though line {number} of {annotations} names it; the images"
                " must lie as the zip has them: unpack it again"
            )
        found.append((path, labels[wnid]))
    return found


def _words(folder: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Return each class's first word, with its id where two classes share it, or its id alone."""
    listed = folder / "words.txt"
    lines = listed.read_text().splitlines() if listed.is_file() else []
    pairs = (line.partition("\t") for line in lines)
    words = {wnid: text.partition(",")[0].strip() for wnid, _, text in pairs}
    names = [words.get(wnid, wnid) for wnid in ids]
    shared = Counter(names)
    return tuple(
        name if shared[name] == 1 else f"{name} ({wnid})"
        for name, wnid in zip(names, ids, strict=True)
    )


class Mhist(Source):
    """MHIST: colorectal polyps, hyperplastic (HP, 0) or sessile serrated adenoma (SSA, 1).

    Given out by its authors on request. Normalised as the seed study did it, at every size.
    """

    name = "mhist"
    summary = "histopathology of colorectal polyps, official partition, resized"
    num_classes = 2
    shape = (3, 32, 32)
    train_size = 2_175
    test_size = 977
    licence = "research use agreement"
    homepage = "https://bmirds.github.io/MHIST/"
    classes = ("HP", "SSA")
    marks = ("annotations.csv", "images")
    columns = ("Image Name", "Majority Vote Label", "Partition")
    options: Mapping[str, Option] = {
        "size": Option(32, "resize to size x size pixels (PIL, bilinear with antialiasing)")
    }

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for annotations.csv and images/ in `MHIST` or `mhist` of each root, or in it."""
        for root in roots:
            for folder in (root / "MHIST", root / "mhist", root):
                if all((folder / mark).exists() for mark in self.marks):
                    return Presence(True, folder)
        return Presence(
            False,
            None,
            f"no MHIST/annotations.csv with MHIST/images in {_listed(roots)}; ask for it at"
            f" {self.homepage}, then `ddbench datasets import mhist FOLDER`",
        )

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str, int, int]]:
        """Return the annotations and the images."""
        where = _found(self, roots)
        return [entry for mark in self.marks for entry in stat_tree(where / mark)]

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the images of the official partition, in the order of annotations.csv."""
        folder = _found(self, roots)
        rows = self._rows(folder)
        splits = {
            split: [
                (
                    folder / "images" / row["Image Name"],
                    self.classes.index(row["Majority Vote Label"]),
                )
                for row in rows
                if row["Partition"] == split
            ]
            for split in ("train", "test")
        }
        arrays = _arrays(splits, 3, options["size"])
        std = (0.5, 0.5, 0.5)
        return Dataset(self.name, **arrays, classes=self.classes, mean=IMAGENET_MEAN, std=std)

    def _rows(self, folder: Path) -> list[dict[str, str]]:
        path = folder / "annotations.csv"
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{path}: is not a CSV file ({reason_of(error)})") from error
        seen: set[str] = set()
        for number, row in enumerate(rows, start=2):
            fault = self._fault(row, folder, seen)
            if fault:
                raise DatasetError(
                    f"{path}: line {number}: {fault}; take the authors' files unchanged"
                )
            seen.add(row["Image Name"])
        return rows

    def _fault(self, row: Mapping[str, str | None], folder: Path, seen: set[str]) -> str:
        missing = [column for column in self.columns if not row.get(column)]
        if missing:
            return f"no value for {', '.join(missing)}"
        name, label, partition = (row[column] for column in self.columns)
        if label not in self.classes:
            return f"label {label!r} of {name} is neither HP nor SSA"
        if partition not in ("train", "test"):
            return f"partition {partition!r} of {name} is neither train nor test"
        if name in seen:
            return f"{name} is listed twice"
        if not (folder / "images" / str(name)).is_file():
            return f"{folder / 'images' / str(name)} does not exist"
        return ""

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Refuse: the authors give it out on request."""
        raise DatasetError(
            f"mhist: has no download; ask for it at {self.homepage}, then"
            " `ddbench datasets import mhist FOLDER`"
        )

    def adopt(self, path: Path, folder: Path) -> None:
        """Take a folder with annotations.csv and images/ or images.zip, as sent by the authors."""
        packed = path.is_dir() and not (path / "images").exists() and (path / "images.zip").exists()
        with unpacked(path / "images.zip" if packed else path, folder) as opened:
            if not packed:
                _copy_tree(find_folder(opened, self.marks), folder / "MHIST")
                return
            images = opened / "images" if (opened / "images").is_dir() else opened
            _copy_tree(images, folder / "MHIST" / "images")
            shutil.copyfile(path / "annotations.csv", folder / "MHIST" / "annotations.csv")


class ImageFolder(Source):
    """Any folder with `train/<class>/` and `test/<class>/` of image files."""

    options: Mapping[str, Option] = {"flip": FLIP}
    licence = "its owner's"

    def __init__(self, path: str) -> None:
        """Take the path as given; the folder is looked for when asked for."""
        self.name, self.path = f"folder:{path}", Path(path).expanduser()
        self.summary = f"image folder {self.path.name}"

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for the folder itself; data roots play no part."""
        missing = [split for split in ("train", "test") if not (self.path / split).is_dir()]
        if not missing:
            return Presence(True, self.path)
        return Presence(
            False,
            None,
            f"no folder {self.path / missing[0]}; images belong in train/<class>/ and"
            " test/<class>/",
        )

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str, int, int]]:
        """Return what lies below train and test, and val if it is there."""
        return [entry for split in self._splits() for entry in stat_tree(self.path / split)]

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the images; grey if all of them are, otherwise RGB."""
        classes = self._classes()
        splits = {split: self._split(split, classes) for split in self._splits()}
        every = [path for split in splits.values() for path, _ in split]
        channels = 1 if are_grey(every) else 3
        arrays = _arrays(splits, channels, options["size"])
        augment = WITH_FLIP if options["flip"] else WITHOUT_FLIP
        return Dataset(self.name, **arrays, classes=classes, augment=augment)

    def _splits(self) -> list[str]:
        """Return the splits that are there: val is optional."""
        return ["train", "test"] + ["val"] * (self.path / "val").is_dir()

    def _classes(self) -> tuple[str, ...]:
        train = _subfolders(self.path / "train")
        for split in self._splits()[1:]:
            unmatched = sorted({*train} ^ {*_subfolders(self.path / split)})
            if unmatched:
                present = "train" if unmatched[0] in train else split
                raise DatasetError(
                    f"{self.path}: class {unmatched[0]!r} is only in {present};"
                    f" train and {split} need the same class folders"
                )
        return tuple(train)

    def _split(self, split: str, classes: Sequence[str]) -> list[tuple[Path, int]]:
        return [
            (path, c)
            for c, name in enumerate(classes)
            for path in find_images(self.path / split / name)
        ]


class AnyImageFolder(Source):
    """The name `folder:`, which stands for any folder."""

    name = "folder:"
    summary = "any folder of images in train/<class>/ and test/<class>/: folder:/path"
    licence = "its owner's"
    options: Mapping[str, Option] = {"flip": FLIP}

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Nothing is there until a path is given."""
        return Presence(False, None, "name a folder: folder:/path")

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Refuse: there is no folder."""
        raise DatasetError("folder: needs a path, such as folder:/path/to/images")

    def at(self, argument: str) -> Source:
        """Return the folder's source."""
        return ImageFolder(argument)


def _arrays(
    splits: Mapping[str, Sequence[tuple[Path, int]]], channels: int, size: int | None = None
) -> dict[str, Any]:
    """Return `<split>_images` and `<split>_labels` of splits of (file, label)."""
    arrays: dict[str, Any] = {}
    for split, pairs in splits.items():
        arrays[f"{split}_images"] = read_images([path for path, _ in pairs], channels, size)
        arrays[f"{split}_labels"] = np.array([c for _, c in pairs], dtype=np.int64)
    return arrays


def _subfolders(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith("."))


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "__MACOSX"))


def _found(source: Source, roots: Sequence[Path]) -> Path:
    presence = source.locate(roots)
    if presence.where is None:
        raise DatasetError(f"{source.name}: {presence.remedy}")
    return presence.where


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(map(str, roots)) or "any data root (none given)"
