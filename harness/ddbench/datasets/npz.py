"""Datasets in one .npz file of the MedMNIST layout."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.datasets.dataset import WITH_FLIP, WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import Option, Presence, Source
from ddbench.text.lines import reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLIP = Option(True, "the siamese augmentation may mirror images; false for digits and text", bool)


def read_npz(path: Path, name: str, classes: tuple[str, ...] = ()) -> Dataset:
    """Return the dataset in the MedMNIST-layout file `path`.

    The file holds train_images and test_images, (n, H, W) or (n, H, W, ch) uint8 with 1 or 3
    channels, and train_labels and test_labels, (n,) or (n, 1) integers from 0; val_images and
    val_labels, of the same form, are its validation split. Class names are
    `classes`, else the file's array of strings `classes`, else the numbers. Nothing is unpickled.

    Raises:
        DatasetError: An unreadable file, a missing array, or one of another form.
    """
    try:
        with open(path, "rb") as file:  # numpy leaves a damaged file open
            archive = np.load(file, allow_pickle=False)
            arrays = {key: archive[key] for key in _needed(path, archive)}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{path}: cannot be read as an npz file ({reason_of(error)});"
            " it is cut short, damaged or holds objects: get it again"
        ) from error
    train_labels = _labels(path, "train_labels", arrays["train_labels"])
    test_labels = _labels(path, "test_labels", arrays["test_labels"])
    named = classes or tuple(str(label) for label in arrays.get("classes", ()))
    highest = int(max(train_labels.max(initial=-1), test_labels.max(initial=-1)))
    validation: dict[str, Any] = {}
    if "val_images" in arrays and "val_labels" in arrays:
        validation["val_images"] = _images(path, "val_images", arrays["val_images"])
        validation["val_labels"] = _labels(path, "val_labels", arrays["val_labels"])
    return Dataset(
        name=name,
        train_images=_images(path, "train_images", arrays["train_images"]),
        train_labels=train_labels,
        test_images=_images(path, "test_images", arrays["test_images"]),
        test_labels=test_labels,
        classes=named or tuple(str(label) for label in range(highest + 1)),
        **validation,
    )


def _needed(path: Path, archive: Any) -> list[str]:  # noqa: ANN401 (NpzFile has no public type)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DatasetError(f"{path}: is a single array, not an npz file of several")
    needed = ["train_images", "train_labels", "test_images", "test_labels"]
    missing = [key for key in needed if key not in archive.files]
    if missing:
        raise DatasetError(
            f"{path}: has no {', '.join(missing)} (it has {', '.join(archive.files) or 'nothing'});"
            " the MedMNIST layout names its arrays so"
        )
    optional = ("classes", "val_images", "val_labels")
    return needed + [key for key in optional if key in archive.files]


def _images(path: Path, key: str, array: np.ndarray) -> NDArray[np.uint8]:
    """Return (n, ch, H, W) from (n, H, W) or (n, H, W, ch)."""
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3):
        raise DatasetError(
            f"{path}: {key} is {array.dtype} of shape {array.shape};"
            " expected uint8 (n, height, width) or (n, height, width, 1 or 3)"
        )
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _labels(path: Path, key: str, array: np.ndarray) -> NDArray[np.int64]:
    if array.ndim == 2 and array.shape[1] > 1:
        raise DatasetError(
            f"{path}: {key} has {array.shape[1]} labels an image; only one class an image is"
            " supported"
        )
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu":
        raise DatasetError(
            f"{path}: {key} is {array.dtype} of shape {array.shape};"
            " expected integers of shape (n,) or (n, 1)"
        )
    return array.reshape(-1).astype(np.int64)


class NpzFile(Source):
    """One npz file, named by its path."""

    options: Mapping[str, Option] = {"flip": FLIP}
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
        from dataclasses import replace

        augment = WITH_FLIP if options["flip"] else WITHOUT_FLIP
        return replace(read_npz(self.path, self.name), augment=augment)


class AnyNpzFile(Source):
    """The name `npz:`, which stands for any file."""

    name = "npz:"
    summary = "any .npz file in MedMNIST's layout: npz:/path/file.npz"
    homepage = "https://medmnist.com"
    licence = "its owner's"
    options: Mapping[str, Option] = {"flip": FLIP}

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Nothing is there until a path is given."""
        return Presence(False, None, "name a file: npz:/path/file.npz")

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Refuse: there is no file."""
        raise DatasetError("npz: needs a path, such as npz:/path/file.npz")

    def at(self, argument: str) -> Source:
        """Return the file's source."""
        return NpzFile(argument)
