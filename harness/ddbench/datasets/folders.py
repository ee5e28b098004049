"""Known datasets that are folders of image files: Tiny-ImageNet and MHIST."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.datasets.dataset import Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.images import LITTER, find_images, read_splits, subfolders
from ddbench.datasets.layouts import find_folder, unpacked
from ddbench.datasets.npz import read_npz
from ddbench.datasets.source import Option, Presence, Progress, Source, stat_tree
from ddbench.datasets.texts import read_table, read_text
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

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str | int, ...]]:
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
        dataset = read_npz(where, self.name) if where.is_file() else self._read(where)
        return replace(dataset, mean=IMAGENET_MEAN, std=self.std)

    def _read(self, folder: Path) -> Dataset:
        ids = [path.name for path in subfolders(folder / "train")]
        self._check_ids(folder, ids)
        train = [(path, c) for c, wnid in enumerate(ids) for path in _train_images(folder, wnid)]
        test = _validation_images(folder, ids)
        arrays = read_splits({"train": train, "test": test}, channels=3)
        return Dataset(self.name, **arrays, classes=_words(folder, ids))

    def _check_ids(self, folder: Path, ids: Sequence[str]) -> None:
        listed = folder / "wnids.txt"
        missing = set(read_text(listed).split()) - set(ids) if listed.is_file() else set()
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
    return find_images(folder / "train" / wnid).images


def _validation_images(folder: Path, ids: Sequence[str]) -> list[tuple[Path, int]]:
    """Return (file, label) of each line of val_annotations.txt; the files lie in one folder."""
    annotations = folder / "val" / "val_annotations.txt"
    labels = {wnid: c for c, wnid in enumerate(ids)}
    found = []
    for number, line in enumerate(read_text(annotations).splitlines(), start=1):
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
    lines = read_text(listed).splitlines() if listed.is_file() else []
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
    names = re.compile(r"MHIST_[a-z]{3}\.png")
    columns = ("Image Name", "Majority Vote Label", "Partition")
    counts: Mapping[tuple[str, str], int] = {
        ("train", "HP"): 1_545,
        ("train", "SSA"): 630,
        ("test", "HP"): 617,
        ("test", "SSA"): 360,
    }  # as published (Wei et al., AIME 2021)
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

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str | int, ...]]:
        """Return the annotations and the images."""
        where = _found(self, roots)
        return [entry for mark in self.marks for entry in stat_tree(where / mark)]

    def sizes(self, roots: Sequence[Path]) -> tuple[int | None, int | None]:
        """Count the rows of annotations.csv."""
        try:
            rows = read_table(_found(self, roots) / "annotations.csv").rows
        except (DatasetError, OSError):
            return None, None
        found = Counter(row.get("Partition") for _, row in rows)
        return found["train"], found["test"]

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
        arrays = read_splits(splits, 3, options["size"])
        std = (0.5, 0.5, 0.5)
        return Dataset(self.name, **arrays, classes=self.classes, mean=IMAGENET_MEAN, std=std)

    def _rows(self, folder: Path) -> list[dict[str, str]]:
        path = folder / "annotations.csv"
        table = read_table(path)
        seen: set[str] = set()
        for number, row in table.rows:
            fault = self._fault(row, folder, seen)
            if fault:
                raise DatasetError(
                    f"{path}: line {number}: {fault}; take the authors' files unchanged"
                )
            seen.add(row["Image Name"])
        return [row for _, row in table.rows]

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
                found = find_folder(opened, self.marks)
                self._check_published(found / "annotations.csv")
                _copy_tree(found, folder / "MHIST")
                return
            self._check_published(path / "annotations.csv")
            images = opened / "images" if (opened / "images").is_dir() else opened
            _copy_tree(images, folder / "MHIST" / "images")
            shutil.copyfile(path / "annotations.csv", folder / "MHIST" / "annotations.csv")

    def _check_published(self, path: Path) -> None:
        """Refuse annotations that are not MHIST's own: other counts, or other names of images.

        Raises:
            DatasetError: With the dataset name to use for other data.
        """
        rows = [row for _, row in read_table(path).rows]
        found = Counter((row.get("Partition"), row.get("Majority Vote Label")) for row in rows)
        names = (row.get("Image Name", "") for row in rows)
        other = next((name for name in names if not self.names.fullmatch(name)), None)
        if found == self.counts and other is None:
            return
        fault = "; ".join(
            f"{found[part]:,} {part[1]} images to {part[0]} on where {published:,} are published"
            for part, published in self.counts.items()
            if found[part] != published
        )
        fault = fault or f"{other!r} is no name of its images"
        raise DatasetError(
            f"{path}: is not MHIST ({fault}); data of your own need no import:"
            f" csv:{path}?name=COLUMN&label=COLUMN&split=COLUMN"
        )


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", *LITTER))


def _found(source: Source, roots: Sequence[Path]) -> Path:
    presence = source.locate(roots)
    if presence.where is None:
        raise DatasetError(f"{source.name}: {presence.remedy}")
    return presence.where


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(map(str, roots)) or "any data root (none given)"
