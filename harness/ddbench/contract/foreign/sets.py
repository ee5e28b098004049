"""A set of ours, made of what another program's file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from ddbench.contract.foreign.errors import ForeignError
from ddbench.contract.foreign.images import Source, in_space_of
from ddbench.contract.foreign.labels import labels_of
from ddbench.contract.foreign.layouts import Foreign
from ddbench.contract.set_fit import misfits
from ddbench.contract.set_metadata import about_data
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.datasets import space_of

if TYPE_CHECKING:
    from ddbench.datasets import Dataset
    from ddbench.datasets.tensors import Whitening


@dataclass(frozen=True)
class HowToRead:
    """What a file does not say and a person does.

    Attributes:
        source: In which space its images are.
        first_label: The number of the first class; None where the labels tell.
        soft: "logits" or "probabilities"; None where the labels tell.
        recipe: What the set wants to be trained by, over what the file says.
        method: What made it; "" is unknown.
    """

    source: Source = Source("")
    first_label: int | None = None
    soft: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""


@dataclass(frozen=True)
class RealData:
    """The data that a set was made of.

    Attributes:
        name: As it was asked for.
        dataset: As it was loaded.
        whitening: Where the dataset is whitened.
    """

    name: str
    dataset: Dataset
    whitening: Whitening | None = None


def set_of(path: Path, found: Foreign, data: RealData, how: HowToRead) -> tuple[SyntheticSet, str]:
    """Return the set that a file holds, and in words what its labels were.

    Raises:
        ForeignError: It does not fit the data, or says too little.
    """
    real = data.dataset
    if found.unwhitened and how.source.space == "zca":
        raise ForeignError(
            f"--space zca: {path.name} holds images whose whitening has been undone; read the file"
            " without zca in its name, or say --space 0..1"
        )
    images = in_space_of(found.images, real, how.source, data.whitening)
    labels, words = labels_of(
        found.labels, len(images), real.num_classes, how.first_label, how.soft
    )
    recipe = {**found.recipe, **how.recipe}
    about: dict[str, Any] = about_data(data.name, real) | {
        "imported_from": path.name,
        "layout": found.layout,
        "row": how.method or path.stem,
        "method": how.method or path.stem,
    }
    if found.accuracies:
        about["claimed"] = {name: list(values) for name, values in found.accuracies.items()}
    made = SyntheticSet(images, labels, recipe=recipe, provenance=about)
    if problems := misfits(made, real.shape, space_of(real)):
        raise ForeignError(f"does not fit {data.name}: {'; '.join(problems)}")
    return made, words


@dataclass(frozen=True)
class Claim:
    """What a file claims of its set: a mean accuracy, in percent.

    Attributes:
        network: As the file names it.
        mean, spread: In percent; the spread is None of one network.
        networks: How many.
    """

    network: str
    mean: float
    spread: float | None
    networks: int


def claims_of_file(found: Foreign) -> list[Claim]:
    """Return what a file claims of its set, one a network."""
    return [
        Claim(
            network,
            100 * fmean(values),
            100 * stdev(values) if len(values) > 1 else None,
            len(values),
        )
        for network, values in found.accuracies.items()
    ]
