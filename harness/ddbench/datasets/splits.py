"""Choose training and test images for a dataset that does not come with both splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import Option

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pairs = Sequence[tuple[Path, int]]  # (file, label)
# What people call the splits, in any case.
NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
TEST_OPTIONS: Mapping[str, Option] = {
    "test": Option(None, "hold out this share of each class for testing, such as 20%", float),
    "seed": Option(0, "seed of the draw of the test images", minimum=0),
}


def split_of(name: str) -> str | None:
    """Return "train", "test" or "val" for the usual names of a split, or None."""
    plain = name.strip().casefold()
    return next((split for split, names in NAMES.items() if plain in names), None)


def choose_test(present: Collection[str], share: float | None, where: str) -> tuple[str, str]:
    """Return which split tests, and a note on it for reports, or "".

    It is "test"; "val", where there is no other; or "train", where `share` of it is to be held out.

    Args:
        present: Which of "train", "test" and "val" the data have.
        share: The option `test`.
        where: The file or folder, for messages.

    Raises:
        DatasetError: There is no test split, or one beside the option.
    """
    if share is not None and "test" in present:
        raise DatasetError(
            f"{where}: has its own test split; remove the option test={100 * share:g}%"
        )
    if share is not None:
        return "train", f"{100 * share:g}% of the images of each class drawn for testing"
    if "test" in present:
        return "test", ""
    if "val" in present:
        return "val", "its validation split serves as the test set"
    raise DatasetError(
        f"{where}: has no test images; behind the dataset's name, ?test=20% holds out a fifth of"
        " each class"
    )


def splits_read(present: Collection[str], tests: str) -> list[str]:
    """Return which splits of the data are read where `tests` is what `choose_test` returned."""
    validation = ["val"] if "val" in present else []
    return list(dict.fromkeys(["train", tests, *validation]))


def divided(pairs: Mapping[str, Pairs], tests: str, options: Mapping[str, Any]) -> dict[str, Pairs]:
    """Return the images that train, test and validate, of the (file, label) of each split read."""
    if tests != "train":
        return {"test" if split == tests else split: part for split, part in pairs.items()}
    train = pairs["train"]
    labels = np.array([c for _, c in train], dtype=np.int64)
    drawn, rest = split_by_share(labels, options["test"], options["seed"])
    return {**pairs, "train": [train[i] for i in rest], "test": [train[i] for i in drawn]}


def split_by_share(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sorted indices of a share of each class drawn by `seed`, and of the rest.

    Of a class of n images round(share * n) are drawn, but at least one and at most n - 1. numpy
    keeps RandomState's stream as it is for ever, so a draw is the same on every machine.
    """
    generator = np.random.RandomState(seed)
    drawn = [np.empty(0, dtype=np.int64)]
    for c in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == c))
        drawn.append(members[: min(len(members) - 1, max(1, round(share * len(members))))])
    chosen = np.sort(np.concatenate(drawn))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)
