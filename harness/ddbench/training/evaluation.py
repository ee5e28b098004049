"""Evaluation: train fresh networks on one set under one protocol, test them on real data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ddbench.contract.synthetic_set import SetError, SyntheticSet, check_recipe
from ddbench.contract.task import build_network
from ddbench.datasets.splits import split_by_share
from ddbench.meter import StepMeter, Stopwatch, forward_macs
from ddbench.store.hashing import seed_of
from ddbench.training.loop import Recipe, accuracy, fit, predict

if TYPE_CHECKING:
    from ddbench.architectures import Architecture

Progress = Callable[[int, int], None]  # epochs done, of all networks together

CHOOSING = 3  # networks that choose a learning rate: of their own, never those that are tested
HELD_OUT = 0.1  # of the training images of each class, to choose by


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
        chosen_lr: The learning rate that was chosen of the recipe's; None without a choice.
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
    chosen_lr: float | None = None


@dataclass(frozen=True)
class HeldOut:
    """Training images that choose a learning rate.

    Attributes:
        images, labels: To choose by.
        rest: What networks are trained on meanwhile, in place of the set: all other training
            images, where the set is the whole training set. None is the set itself.
    """

    images: torch.Tensor
    labels: torch.Tensor
    rest: SyntheticSet | None = None


def held_out(images: torch.Tensor, labels: torch.Tensor, whole: bool = False) -> HeldOut:
    """Return a tenth of each class of the training images, always the same.

    `whole`: for a choice for networks of the whole training set.
    """
    drawn, rest = (
        torch.from_numpy(indices).to(images.device)
        for indices in split_by_share(labels.cpu().numpy(), HELD_OUT, seed=0)
    )
    remaining = SyntheticSet(images[rest], labels[rest]) if whole else None
    return HeldOut(images[drawn], labels[drawn], remaining)


@dataclass(frozen=True)
class RealImages:
    """The real images that networks are tested on.

    Attributes:
        images: (m, ch, H, W) float32, in the space of the set's images.
        labels: (m,) int64.
        num_classes: C.
        choose_by: What a recipe with learning rates needs: the one is taken with the highest mean
            accuracy on it after the last epoch, the first of equals. The test images have no say.
    """

    images: torch.Tensor
    labels: torch.Tensor
    num_classes: int
    choose_by: HeldOut | None = None


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
    if "lr" in given:
        given["learning_rates"] = ()  # the set's own is no choice
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

    Raises:
        ValueError: The recipe has learning rates, and nothing to choose by.
    """
    if own:
        recipe = own_recipe(recipe, synthetic)
    hard = not own or synthetic.recipe.get("labels") == "hard"
    labels = synthetic.hard_labels() if hard else synthetic.labels
    fresh = _Networks(architecture, synthetic, real.num_classes, catalogue, progress)
    fresh.total = (networks + CHOOSING * len(recipe.learning_rates)) * recipe.epochs
    chosen = _chosen(fresh, labels, recipe, real.choose_by) if recipe.learning_rates else None
    used = recipe if chosen is None else replace(recipe, lr=chosen)
    scores: dict[str, list[float]] = {"accuracy": [], "balanced": [], "train": [], "test": []}
    counted = StepMeter(fresh.device)
    for k in range(networks):
        meter = counted if k == 0 else StepMeter(fresh.device, count=False)
        network = fresh.trained("evaluation", k, synthetic.images, labels, used, meter)
        watch = Stopwatch(fresh.device)
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
        forward_macs=forward_macs(network, fresh.shape),
        recipe=recipe,
        labels="soft" if labels.ndim == 2 else "hard",
        chosen_lr=chosen,
    )


class _Networks:
    """Trains fresh networks of one architecture, and counts the epochs of all together."""

    def __init__(
        self,
        architecture: str,
        synthetic: SyntheticSet,
        num_classes: int,
        catalogue: Mapping[str, Architecture] | None,
        progress: Progress,
    ) -> None:
        _, channels, height, width = synthetic.images.shape
        self.shape = (channels, height, width)
        self.device = synthetic.images.device
        self.architecture, self.num_classes, self.catalogue = architecture, num_classes, catalogue
        self.synthetic = synthetic
        self.progress, self.done, self.total = progress, 0, 0

    def trained(
        self,
        purpose: str,
        k: int,
        images: torch.Tensor,
        labels: torch.Tensor,
        recipe: Recipe,
        meter: StepMeter,
    ) -> torch.nn.Module:
        """Return network k of a purpose, trained on a set."""
        network = build_network(
            self.architecture, self.shape, self.num_classes, seed_of(purpose, k), self.device,
            self.catalogue,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed_of(purpose, "order", k))
        fit(network, images, labels, recipe, generator, meter, self._epoch_done)
        return network

    def _epoch_done(self, epoch: int) -> None:
        self.done += 1
        self.progress(self.done, self.total)


def _chosen(
    fresh: _Networks, labels: torch.Tensor, recipe: Recipe, choose_by: HeldOut | None
) -> float:
    """Return the learning rate of the recipe's that is best on held-out training images."""
    if choose_by is None:
        raise ValueError("a recipe with learning rates needs held-out images to choose by")
    images = fresh.synthetic.images
    if choose_by.rest is not None:
        images, labels = choose_by.rest.images, choose_by.rest.labels
    right: dict[float, float] = {}
    for lr in recipe.learning_rates:
        accuracies = [
            accuracy(
                fresh.trained("choosing", k, images, labels, replace(recipe, lr=lr),
                              StepMeter(fresh.device, count=False)),
                choose_by.images,
                choose_by.labels,
            )
            for k in range(CHOOSING)
        ]  # fmt: skip
        right[lr] = sum(accuracies)
    return max(right, key=lambda lr: right[lr])


def balanced_accuracy(predicted: torch.Tensor, labels: torch.Tensor, num_classes: int) -> float:
    """Return the mean over classes of the share predicted right; classes without images aside."""
    right = torch.bincount(labels[predicted == labels], minlength=num_classes).double()
    counts = torch.bincount(labels, minlength=num_classes)
    present = counts > 0
    return (right[present] / counts[present]).mean().item()
