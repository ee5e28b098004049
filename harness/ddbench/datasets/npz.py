"""Datasets in one .npz file: MedMNIST's layout and similar ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.datasets.dataset import WITH_FLIP, WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import FLIP, Option, Presence, Source
from ddbench.datasets.splits import TEST_OPTIONS, choose_test, split_by_share, splits_read
from ddbench.datasets.texts import class_name
from ddbench.text.lines import reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names of images and labels of each split: MedMNIST's and Keras's, and those of arrays that are
# not split.
NAMES: Mapping[str, Sequence[tuple[str, str]]] = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train"), ("images", "labels")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
    "val": (("val_images", "val_labels"), ("x_val", "y_val")),
}
CHUNK = 4096  # images at a time, where a copy of all as floats would not fit
OPTIONS: Mapping[str, Option] = {
    "flip": FLIP,
    **TEST_OPTIONS,
    "labels": Option(
        "index",
        "index: they count from 0; shift: from 1 or more; ids: each distinct one is a class",
        str,
        choices=("index", "shift", "ids"),
    ),
}
DEFAULTS = {key: option.default for key, option in OPTIONS.items()}
Keyed = tuple[str, np.ndarray]  # an array, and its name in the file


def read_npz(
    path: Path,
    name: str,
    classes: tuple[str, ...] = (),
    options: Mapping[str, Any] = DEFAULTS,
) -> Dataset:
    """Return the dataset in the npz file `path`; nothing is unpickled.

    The file holds train_images and test_images (or x_train and x_test), (n, H, W), (n, H, W, ch) or
    (n, ch, H, W) with 1 or 3 channels: whole numbers in 0..255, or floats in 0..1 or 0..255; and
    train_labels and test_labels (or y_train and y_test), (n,) or (n, 1) integers or strings. Class
    names are `classes`, else the file's array `classes`, else the labels.

    Args:
        path: The file.
        name: Of the dataset.
        classes: Names that are known without the file.
        options: Values of `OPTIONS`.

    Raises:
        DatasetError: An unreadable file, a missing array, or one of another form.
    """
    with _Archive(path) as archive:
        keys = archive.keys()
        tests, note = choose_test(keys, options["test"], str(path))
        used = {split: keys[split] for split in splits_read(keys, tests)}
        images = {split: (key, archive.read(key)) for split, (key, _) in used.items()}
        labels = {split: (key, archive.read(key)) for split, (_, key) in used.items()}
        named = classes or archive.classes()
    targets, named = _targets(path, labels, named, options["labels"])
    pixels, scaled = _pixels(path, images)
    if tests == "train":
        _hold_out(path, pixels, targets, options)
    else:
        pixels["test"], targets["test"] = pixels.pop(tests), targets.pop(tests)
    return Dataset(
        name=name,
        train_images=pixels["train"],
        train_labels=targets["train"],
        test_images=pixels["test"],
        test_labels=targets["test"],
        classes=named,
        notes="; ".join(filter(None, (note, scaled))),
        val_images=pixels.get("val"),
        val_labels=targets.get("val"),
    )


class _Archive:
    """The arrays of a file by name; any fault of the file becomes a DatasetError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Archive:
        self.file = open(self.path, "rb")
        try:
            self.arrays = np.load(self.file, allow_pickle=False)
        except Exception as error:  # of numpy, zipfile and zlib
            self.file.close()
            raise self._unreadable("it", error) from error
        if not isinstance(self.arrays, np.lib.npyio.NpzFile):
            self.file.close()
            raise DatasetError(f"{self.path}: is a single array, not an npz file of several")
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def keys(self) -> dict[str, tuple[str, str]]:
        """Return the names of images and labels of each split that is there."""
        there = {*self.arrays.files}
        found = {
            split: next((pair for pair in pairs if {*pair} & there), pairs[0])
            for split, pairs in NAMES.items()
        }
        missing = [key for split in ("train", "test") for key in found[split] if key not in there]
        if missing and {*missing} != {*found["test"]}:  # without a test split others may do
            raise DatasetError(
                f"{self.path}: has no {', '.join(missing)} (it has"
                f" {', '.join(map(class_name, self.arrays.files)) or 'nothing'}); the MedMNIST"
                " layout names its arrays so"
            )
        return {split: pair for split, pair in found.items() if {*pair} <= there}

    def read(self, key: str) -> np.ndarray:
        """Return the array of this name."""
        try:
            return self.arrays[key]
        except Exception as error:
            raise self._unreadable(key, error) from error

    def classes(self) -> tuple[str, ...]:
        """Return the names of classes that the file gives, () where it gives none."""
        if "classes" not in self.arrays.files:
            return ()
        return tuple(map(_text, self.read("classes").reshape(-1).tolist()))

    def _unreadable(self, what: str, error: Exception) -> DatasetError:
        if "allow_pickle" in str(error):
            return DatasetError(
                f"{self.path}: {what} holds Python objects, which could run code when read; store"
                " it as plain numbers or strings: np.array(the_array.tolist())"
            )
        return DatasetError(
            f"{self.path}: cannot be read as an npz file ({reason_of(error)});"
            " it is cut short, damaged or locked: get it again"
        )


def _text(value: object) -> str:
    """Return a label or a name as text; numpy's byte strings are UTF-8."""
    if isinstance(value, bytes):
        return class_name(value.decode("utf-8", "surrogateescape").strip())
    return class_name(str(value).strip())


# -- labels --------------------------------------------------------------------------------------


def _targets(
    path: Path, labels: Mapping[str, Keyed], classes: tuple[str, ...], kind: str
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Return the labels of each split as (n,) int64, and the names of the classes.

    `kind` is the option `labels`. Labels that are text are a class each, whatever it says.
    """
    flat = {split: (key, _flat(path, key, array)) for split, (key, array) in labels.items()}
    arrays = [array for _, array in flat.values()]
    texts = [array.dtype.kind == "U" for array in arrays]
    if any(texts) != all(texts):
        raise DatasetError(
            f"{path}: of {' and '.join(key for key, _ in flat.values())} some are text and some are"
            " numbers; store labels of one kind"
        )
    if all(texts) or kind == "ids":
        return _ids(path, flat, classes)
    lowest = min((int(array.min()) for array in arrays if array.size), default=0)
    highest = max((int(array.max()) for array in arrays if array.size), default=-1)
    first = lowest if kind == "shift" else 0
    distinct = {int(label) for array in arrays for label in np.unique(array)}
    keys = " and ".join(key for key, _ in flat.values())
    dense = len(distinct) == highest - lowest + 1
    if lowest > first and dense and len(distinct) == len(classes or distinct):
        raise DatasetError(f"{path}: {keys}: labels start at {lowest}: use ?labels=shift")
    if not classes and len(distinct) < highest - first + 1:
        raise DatasetError(
            f"{path}: {keys}: {len(distinct):,} distinct labels between {lowest} and {highest} are"
            " no count from 0; use ?labels=ids, which takes each distinct label as a class"
        )
    targets = {split: (array - first).astype(np.int64) for split, (_, array) in flat.items()}
    return targets, classes or tuple(str(label) for label in range(first, highest + 1))


def _flat(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Return labels as (n,), of integers or of text."""
    if array.ndim == 2 and array.shape[1] > 1:
        raise DatasetError(
            f"{path}: {key} has {array.shape[1]} labels an image; only one class an image is"
            " supported (of one-hot labels, store labels.argmax(1))"
        )
    whole = array.dtype.kind == "f" and np.isfinite(array).all() and (array == array.round()).all()
    if array.ndim not in (1, 2) or (array.dtype.kind not in "iubSU" and not whole):
        raise DatasetError(
            f"{path}: {key} is {array.dtype} of shape {array.shape};"
            " expected integers or strings of shape (n,) or (n, 1)"
        )
    array = array.reshape(-1)
    if array.dtype.kind in "SU":
        return np.array([_text(label) for label in array.tolist()], dtype=str)
    huge = array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max
    return array if huge else array.astype(np.int64)


def _ids(
    path: Path, labels: Mapping[str, Keyed], classes: tuple[str, ...]
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Return labels of which each distinct one is a class, in the order of `classes`, or sorted."""
    distinct = np.unique(np.concatenate([array for _, array in labels.values()]))
    targets = {s: np.searchsorted(distinct, array) for s, (_, array) in labels.items()}
    names = tuple(_text(label) for label in distinct.tolist())
    if distinct.dtype.kind == "U" and classes:
        if unknown := sorted({*names} - {*classes}):
            raise DatasetError(f"{path}: the label {unknown[0]!r} is not among its classes")
        order = np.array([classes.index(name) for name in names], dtype=np.int64)
        targets, names = {split: order[array] for split, array in targets.items()}, classes
    elif len(classes) == len(names):
        names = classes
    return {split: array.astype(np.int64) for split, array in targets.items()}, names


# -- pixels --------------------------------------------------------------------------------------


def _pixels(path: Path, images: Mapping[str, Keyed]) -> tuple[dict[str, NDArray[np.uint8]], str]:
    """Return the images of each split as (n, ch, H, W) bytes, and a note if they were scaled."""
    spread = {s: (key, _by_channel(path, key, array)) for s, (key, array) in images.items()}
    floats = [array for _, array in spread.values() if array.dtype.kind == "f"]
    highest = max((float(array.max()) for array in floats if array.size), default=0.0)
    factor = 255.0 if floats and highest <= 1 else 1.0
    scaled = "times 255, rounded" if factor > 1 else "rounded"
    note = f"{floats[0].dtype.name} pixels {scaled} to bytes" if floats else ""
    pixels = {s: _as_bytes(path, key, array, factor) for s, (key, array) in spread.items()}
    return pixels, note


def _by_channel(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Return (n, ch, H, W) from (n, H, W), (n, H, W, ch) or (n, ch, H, W), of any numbers."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or array.dtype.kind not in "buif":
        raise DatasetError(
            f"{path}: {key} is {array.dtype} of shape {array.shape}; expected numbers of shape"
            " (n, height, width), (n, height, width, 1 or 3) or (n, 1 or 3, height, width)"
        )
    return array


def _as_bytes(path: Path, key: str, array: np.ndarray, factor: float) -> NDArray[np.uint8]:
    """Return numbers in 0..255, or floats in 0..1 times the `factor` 255, as bytes."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).astype(np.uint8) * np.uint8(255)
    lowest, highest = (array.min(initial=0), array.max(initial=0))
    if not (lowest >= 0 and highest <= 255):
        raise DatasetError(
            f"{path}: {key} is {array.dtype.name} in {lowest:g}..{highest:g};"
            " expected bytes, numbers in 0..255 or floats in 0..1, before any normalisation"
        )
    result = np.empty(array.shape, dtype=np.uint8)
    for start in range(0, len(array), CHUNK):
        part = array[start : start + CHUNK]
        if array.dtype.kind == "f":
            part = (part.astype(np.float64) * factor).round()
        result[start : start + CHUNK] = part
    return result


def _hold_out(
    path: Path,
    images: dict[str, NDArray[np.uint8]],
    labels: dict[str, NDArray[np.int64]],
    options: Mapping[str, Any],
) -> None:
    """Take the images that the option `test` draws from those to train on."""
    if len(images["train"]) != len(labels["train"]):
        raise DatasetError(
            f"{path}: {len(images['train'])} train images but {len(labels['train'])} labels;"
            " store one for each"
        )
    drawn, rest = split_by_share(labels["train"], options["test"], options["seed"])
    images["train"], images["test"] = images["train"][rest], images["train"][drawn]
    labels["train"], labels["test"] = labels["train"][rest], labels["train"][drawn]


class NpzFile(Source):
    """One npz file, named by its path."""

    options = OPTIONS
    licence = "its owner's"

    def __init__(self, path: str) -> None:
        """Take the path as given; the file is looked for when asked for."""
        self.name, self.path = f"npz:{path}", Path(path).expanduser()
        self.summary = f"MedMNIST-layout file {self.path.name}"

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for the file itself; data roots play no part."""
        if self.path.is_file():
            return Presence(True, self.path)
        return Presence(False, None, f"no such file: {self.path}")

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read the file."""
        augment = WITH_FLIP if options["flip"] else WITHOUT_FLIP
        return replace(read_npz(self.path, self.name, options=options), augment=augment)
