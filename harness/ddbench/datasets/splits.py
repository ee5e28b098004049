"""Which images train and which test, where a dataset does not come with both splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ddbench.datasets.errors import DatasetError
from ddbench.datasets.source import Option

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """Return "train", "test" or "val" for what people call it, None for anything else."""
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
    left_out = "its validation split left out" if "val" in present else ""
    if share is not None and "test" in present:
        raise DatasetError(
            f"{where}: has a test split of its own; leave the option test={100 * share:g}% out"
        )
    if share is not None:
        held_out = f"{100 * share:g}% of the images of each class drawn for testing"
        return "train", "; ".join(note for note in (held_out, left_out) if note)
    if "test" in present:
        return "test", left_out
    if "val" in present:
        return "val", "its validation split serves as the test set"
    raise DatasetError(
        f"{where}: has no test images; behind the dataset's name, ?test=20% holds out a fifth of"
        " each class"
    )


def stratified(
    labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sorted indices of the images to train on and of `share` of each class to test on.

    At least one image of a class stays on either side, as far as it has two. numpy keeps
    RandomState's stream as it is for ever, so a draw is the same on every machine.
    """
    generator = np.random.RandomState(seed)
    held_out = []
    for c in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == c))
        held_out.append(members[: min(max(1, round(share * len(members))), len(members) - 1)])
    test = np.sort(np.concatenate(held_out or [np.empty(0, dtype=np.int64)]))
    return np.setdiff1d(np.arange(len(labels)), test), test
