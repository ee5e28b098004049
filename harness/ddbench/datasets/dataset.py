"""The record of a loaded dataset: arrays of bytes, labels, and how to normalise them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.datasets.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The siamese augmentation of a set: mirrored digits and letters are other characters, or none.
WITHOUT_FLIP = "color_crop_cutout_scale_rotate"
WITH_FLIP = "color_crop_cutout_flip_scale_rotate"
EPOCH_IMAGES = 3600  # that an epoch goes over at least: nine tenths of mnist-mini


@dataclass(frozen=True, eq=False)
class Dataset:
    """Real images with their labels, in memory or mapped from the cache; not to be written to.

    A `Source` may leave `mean`, `std`, `options` and `fingerprint` empty: loading fills them in.

    Attributes:
        name: The name it was asked for by.
        train_images: (n, ch, H, W) uint8.
        train_labels: (n,) int64, 0 .. C-1.
        test_images: (m, ch, H, W) uint8.
        test_labels: (m,) int64.
        classes: The C class names, in the order of the labels.
        mean: Mean of each channel, of pixels in [0, 1]; () means "measure it".
        std: Standard deviation of each channel, in the same unit.
        augment: The siamese augmentation strategy that suits the images.
        fingerprint: sha256, in hex, of all that decides a result; see `fingerprint_of`.
        options: Every option as resolved, defaults included.
        notes: What a report should say about the data, or "".
        val_images: (k, ch, H, W) uint8, a validation split: what a source has of its own, and after
            loading what the option `validate` asks for; else None.
        val_labels: (k,) int64 of the same.
        validation: What the validation split is, in words, or "".
        epoch_images: Training images that an epoch goes over at least, see `passes`.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: str = WITH_FLIP
    fingerprint: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    val_images: NDArray[np.uint8] | None = None
    val_labels: NDArray[np.int64] | None = None
    validation: str = ""
    epoch_images: int = EPOCH_IMAGES

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(ch, H, W) of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def zca(self) -> bool:
        """Whether the images are to be whitened instead of normalised with mean and std."""
        return bool(self.options.get("zca", False))

    def validating(self) -> Dataset:
        """Return the dataset with its validation split in place of the test split.

        Raises:
            DatasetError: It was loaded without one.
        """
        if self.val_images is None or self.val_labels is None:
            raise DatasetError(
                f"{self.name}: was loaded without a validation split; ask for one with the option"
                " validate, as in ?validate=20"
            )
        return replace(self, test_images=self.val_images, test_labels=self.val_labels)


def space_of(dataset: Dataset) -> dict[str, Any]:
    """Return what tells in which space the network inputs of `dataset` are, as plain values.

    A synthetic set keeps it as part of its provenance, by which `check_space` tells a misfit.
    """
    return {
        "dataset_fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "zca": dataset.zca,
    }


def class_counts(dataset: Dataset) -> NDArray[np.int64]:
    """Return the number of training images of each class, (C,)."""
    return np.bincount(dataset.train_labels, minlength=dataset.num_classes).astype(np.int64)


def passes(images: int, epoch_images: int = EPOCH_IMAGES) -> int:
    """Return how often an epoch goes over a training set of so many images: once if it is large.

    Settings in epochs were chosen on thousands of images. An epoch of 200 would be one step or a
    few, and a network trained for some of them no better than chance.
    """
    return max(1, -(-epoch_images // max(1, images)))


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """Return what a report says of a dataset, as plain values.

    `class_names`, `train_counts` and `test_counts` have C entries each, in the order of the labels;
    `data_notes` is text.
    """
    test_counts = np.bincount(dataset.test_labels, minlength=dataset.num_classes)
    return {
        "class_names": list(dataset.classes),
        "train_counts": class_counts(dataset).tolist(),
        "test_counts": test_counts.tolist(),
        "data_notes": dataset.notes,
    }


def chance(dataset: Dataset) -> float:
    """Return the accuracy of a guess that is uniform over the classes, in [0, 1]."""
    return 1.0 / dataset.num_classes


def majority_accuracy(dataset: Dataset) -> float:
    """Return the test accuracy of always answering the commonest training class, in [0, 1].

    Of several commonest classes the first is taken.
    """
    majority = int(class_counts(dataset).argmax())
    return float(np.mean(dataset.test_labels == majority))


def check(dataset: Dataset, where: str) -> None:
    """Raise unless the arrays fit together and every class has training and test images.

    `where` begins the message: the file or folder that a person would look at.

    Raises:
        DatasetError: Names `where`, the value and the remedy.
    """
    if not all(isinstance(name, str) for name in dataset.classes):
        raise DatasetError(f"{where}: classes are {dataset.classes!r}; expected names as strings")
    if dataset.num_classes < 2:
        raise DatasetError(
            f"{where}: has {dataset.num_classes} class ({', '.join(dataset.classes) or 'none'});"
            " a dataset needs at least two"
        )
    _check_split(dataset, "train", dataset.train_images, dataset.train_labels, where)
    splits = [("test", dataset.test_images, dataset.test_labels)]
    if dataset.val_images is not None and dataset.val_labels is not None:
        splits.append(("validation", dataset.val_images, dataset.val_labels))
    for split, images, labels in splits:
        _check_split(dataset, split, images, labels, where)
        if dataset.train_images.shape[1:] != images.shape[1:]:
            raise DatasetError(
                f"{where}: training images are {_size(dataset.train_images)}, {split} images"
                f" {_size(images)}; both must have one size (?size=32 behind the dataset's"
                " name resizes them)"
            )
    if len(dataset.mean) != len(dataset.std) or len(dataset.mean) not in (0, dataset.shape[0]):
        raise DatasetError(
            f"{where}: {len(dataset.mean)} means and {len(dataset.std)} stds for"
            f" {dataset.shape[0]} channels; give one of each per channel, or none to measure them"
        )
    if any(not std > 0 for std in dataset.std):
        raise DatasetError(f"{where}: std {dataset.std} is not positive in every channel")


def _check_split(
    dataset: Dataset, split: str, images: np.ndarray, labels: np.ndarray, where: str
) -> None:
    for array in (images, labels):
        if not isinstance(array, np.ndarray):
            raise DatasetError(
                f"{where}: {split} images or labels are {type(array).__name__}; expected numpy"
                " arrays"
            )
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise DatasetError(
            f"{where}: {split} images are {images.dtype} of shape {images.shape};"
            " expected uint8 of shape (n, channels, height, width)"
        )
    if labels.ndim != 1 or labels.dtype != np.int64:
        raise DatasetError(
            f"{where}: {split} labels are {labels.dtype} of shape {labels.shape};"
            " expected int64 of shape (n,)"
        )
    if len(images) != len(labels):
        raise DatasetError(
            f"{where}: {len(images)} {split} images but {len(labels)} labels: images and labels"
            " are not of one set, or a file is cut short; get the files again"
        )
    _check_labels(dataset, split, labels, where)


def _check_labels(dataset: Dataset, split: str, labels: np.ndarray, where: str) -> None:
    classes = dataset.num_classes
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside) and labels.min() == 1 and labels.max() == classes:
        raise DatasetError(f"{where}: {split} labels start at 1; they must count from 0")
    if len(outside):
        raise DatasetError(
            f"{where}: {len(outside)} {split} labels are outside 0..{classes - 1}"
            f" (the first is {outside[0]}): mislabelled, or the file of another dataset"
        )
    counts = np.bincount(labels, minlength=classes)
    empty = [dataset.classes[c] for c in np.flatnonzero(counts == 0)]
    if empty:
        named = ", ".join(repr(name) for name in empty[:5]) + (" ..." if len(empty) > 5 else "")
        raise DatasetError(
            f"{where}: {len(empty)} of {classes} classes have no {split} images: {named};"
            " add images of them, or take the class out of both splits"
        )


def _size(images: np.ndarray) -> str:
    return "x".join(str(length) for length in images.shape[1:])


def measure(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and (population) std of each channel of pixels in [0, 1].

    Counts of the 256 pixel values make both exact up to one rounding, so they are the same on
    every machine. A channel of one colour throughout gets std 1, and thus becomes all zeros.
    """
    moments = [_moments(images[:, channel]) for channel in range(images.shape[1])]
    return tuple(mean for mean, _ in moments), tuple(std for _, std in moments)


def _moments(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    counts = np.zeros(256, dtype=np.int64)
    step = max(1, 2**22 // pixels[0].size)  # bincount copies its input to int64: 32 MB at a time
    for start in range(0, len(pixels), step):
        counts += np.bincount(pixels[start : start + step].reshape(-1), minlength=256)
    number = sum(map(int, counts))
    total = sum(value * int(count) for value, count in enumerate(counts))
    squares = sum(value * value * int(count) for value, count in enumerate(counts))
    scaled_variance = number * squares - total * total  # an integer: nothing cancels
    std = math.sqrt(scaled_variance / (number * number)) / 255
    return total / number / 255, std or 1.0


def fingerprint_of(dataset: Dataset) -> str:
    """Return the sha256 of the arrays, the normalisation, ZCA and the augmentation strategy.

    A validation split is part of it where there is one, and leaves no trace where there is none.

    Where the files lie and how they are packed does not count: CIFAR-10 has one fingerprint as an
    npz and as torchvision keeps it. Options that change pixels show in the arrays.
    """
    digest = hashlib.sha256()
    arrays: list[np.ndarray] = [
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    ]
    if dataset.val_images is not None and dataset.val_labels is not None:
        arrays += [dataset.val_images, dataset.val_labels]
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr((dataset.mean, dataset.std, dataset.zca, dataset.augment)).encode())
    return digest.hexdigest()
