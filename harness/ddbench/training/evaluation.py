"""Evaluation: train fresh networks on one set under one protocol, test them on real data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ddbench.contract.synthetic_set import SetError, SyntheticSet, check_recipe
from ddbench.contract.task import build_network
from ddbench.meter import StepMeter, Stopwatch, forward_macs
from ddbench.store.hashing import seed_of
from ddbench.training.loop import Recipe, fit, predict

if TYPE_CHECKING:
    from ddbench.architectures import Architecture

Progress = Callable[[int, int], None]  # epochs done, of all networks together


@dataclass(frozen=True)
class Scores:
    """What K networks reached, one entry a network, and what training one of them costs.

    Attributes:
        accuracies: Last-epoch test accuracy, in [0, 1].
        balanced_accuracies: Mean over the classes of the accuracy on each.
        train_s: Wall seconds of training.
        test_s: Wall seconds of testing.
        flops_train: Matrix and convolution operations of training one network, 2 per
            multiply-add.
        lower_bound: Whether work that no formula counts dominates.
        forward_macs: fvcore's count for one image.
        recipe: The recipe as used.
        labels: "hard" or "soft".
    """

    accuracies: list[float]
    balanced_accuracies: list[float]
    train_s: list[float]
    test_s: list[float]
    flops_train: int
    lower_bound: bool
    forward_macs: int
    recipe: Recipe
    labels: str


@dataclass(frozen=True)
class RealImages:
    """The real images that networks are tested on.

    Attributes:
        images: (m, ch, H, W) float32, in the space of the set's images.
        labels: (m,) int64.
        num_classes: C.
    """

    images: torch.Tensor
    labels: torch.Tensor
    num_classes: int


def own_recipe(recipe: Recipe, synthetic: SyntheticSet) -> Recipe:
    """Return the protocol's recipe with the set's own learning rate, batch, ... laid over it.

    When the number of epochs changes, the drop moves with it, to just past the half as in the
    published protocols (E // 2 + 1).

    Raises:
        SetError: The set's recipe has an unknown key or a wrong value.
    """
    if problems := check_recipe(synthetic):
        raise SetError("; ".join(problems))
    names = ("epochs", "lr", "batch", "augment")
    given = {name: synthetic.recipe[name] for name in names if name in synthetic.recipe}
    if "epochs" in given and recipe.drop:
        half = replace(recipe.drop, after_epochs=(given["epochs"] - 1) // 2 + 2)
        return replace(recipe, **given, drop=half)
    return replace(recipe, **given)


def evaluate(
    synthetic: SyntheticSet,
    real: RealImages,
    *,
    architecture: str,
    recipe: Recipe,
    networks: int,
    own: bool = False,
    catalogue: Mapping[str, Architecture] | None = None,
    progress: Progress = lambda done, total: None,
) -> Scores:
    """Train `networks` fresh networks on `synthetic` and test each after its last epoch.

    Args:
        synthetic: The set, on the device to compute on.
        real: What the networks are tested on.
        architecture: Name of the networks' architecture.
        recipe: How each is trained.
        networks: K. Network k starts from the same weights for every set and method.
        own: Take the set's own recipe and labels, where it has any; else hard labels.
        catalogue: Architecture families beside the built-in ones.
        progress: Told the epochs done.
    """
    if own:
        recipe = own_recipe(recipe, synthetic)
    hard = not own or synthetic.recipe.get("labels") == "hard"
    labels = synthetic.hard_labels() if hard else synthetic.labels
    _, channels, height, width = synthetic.images.shape
    shape, device = (channels, height, width), synthetic.images.device
    scores: dict[str, list[float]] = {"accuracy": [], "balanced": [], "train": [], "test": []}
    counted = StepMeter(device)
    for k in range(networks):
        seed, order = seed_of("evaluation", k), seed_of("evaluation", "order", k)
        network = build_network(architecture, shape, real.num_classes, seed, device, catalogue)
        meter = counted if k == 0 else StepMeter(device, count=False)
        fit(
            network, synthetic.images, labels, recipe, torch.Generator().manual_seed(order), meter,
            lambda epoch, k=k: progress(k * recipe.epochs + epoch + 1, networks * recipe.epochs),  # type: ignore[misc]
        )  # fmt: skip
        watch = Stopwatch(device)
        with watch("test"):
            predicted = predict(network, real.images).argmax(1)
        scores["accuracy"].append((predicted == real.labels).double().mean().item())
        scores["balanced"].append(balanced_accuracy(predicted, real.labels, real.num_classes))
        scores["train"].append(meter.seconds)
        scores["test"].append(watch.seconds["test"])
    return Scores(
        accuracies=scores["accuracy"],
        balanced_accuracies=scores["balanced"],
        train_s=scores["train"],
        test_s=scores["test"],
        flops_train=counted.flops,
        lower_bound=counted.lower_bound,
        forward_macs=forward_macs(network, shape),
        recipe=recipe,
        labels="soft" if labels.ndim == 2 else "hard",
    )


def balanced_accuracy(predicted: torch.Tensor, labels: torch.Tensor, num_classes: int) -> float:
    """Return the mean over classes of the share predicted right; classes without images aside."""
    right = torch.bincount(labels[predicted == labels], minlength=num_classes).double()
    counts = torch.bincount(labels, minlength=num_classes)
    present = counts > 0
    return (right[present] / counts[present]).mean().item()
