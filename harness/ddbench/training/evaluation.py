"""Evaluation: train fresh networks on one set under one protocol, test them on real data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ddbench.contract.recipes import Recipe
from ddbench.contract.synthetic_set import SetError, SyntheticSet, check_recipe
from ddbench.contract.task import build_network
from ddbench.datasets.splits import split_by_share
from ddbench.formations.batches import Batches, drawn_batches
from ddbench.formations.decoding import decode
from ddbench.formations.own import HARD, own_batches, regime
from ddbench.formations.parts import FIRST, Decoded, Fit, Own, Parts, name_of
from ddbench.meter import StepMeter, Stopwatch, forward_macs
from ddbench.store.hashing import seed_of
from ddbench.training.loop import accuracy, predict, train

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
        regime: Of the set's own recipe: "HL" (hard labels), "SL" (a soft label an image), "SL+KD"
            (a soft label a view); "" under the protocol's recipe.
        decoded_images: Images that a network sees in an epoch.
        steps_trained: Optimizer steps of one network.
        images_seen: Images that one network has seen.
        flops_targets: Part of `flops_train` that teachers take, by fvcore's count.
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
    regime: str = ""
    decoded_images: int = 0
    steps_trained: int = 0
    images_seen: int = 0
    flops_targets: int = 0


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


@dataclass(frozen=True)
class Registered:
    """What extensions bring; None is what is built in.

    Attributes:
        architectures: Architecture families by name.
        formations: Parts of sets by name.
    """

    architectures: Mapping[str, Architecture] | None = None
    formations: Parts | None = None


def own_recipe(recipe: Recipe, synthetic: SyntheticSet, images: int | None = None) -> Recipe:
    """Return the protocol's recipe with the set's own learning rate, batch, ... laid over it.

    When the number of epochs changes, the drop moves with it, to just past the half as in the
    published protocols (E // 2 + 1); a schedule takes its place. `images` are those that networks
    see, the stored ones where the set has no decoder.

    Raises:
        SetError: The set's recipe has an unknown key or a wrong value.
    """
    if problems := check_recipe(synthetic):
        raise SetError("; ".join(problems))
    said = {name: value for name, value in synthetic.recipe.items() if name != "labels"}
    own = Recipe.of({"epochs": recipe.epochs, **said})
    given: dict[str, Any] = {name: getattr(own, name) for name in said}
    if "lr" in given:
        given["learning_rates"] = ()  # the set's own is no choice
    if "schedule" in given:
        given["drop"] = None
    if name_of(synthetic, "views") != FIRST["views"]:
        given["augment"] = "none"  # the part of the set makes its views, not the recipe
    changed = replace(recipe, **given)
    if changed.drop and given.keys() & {"epochs", "steps"}:
        epochs = changed.epochs_of(len(synthetic) if images is None else images)
        return replace(changed, drop=replace(changed.drop, after_epochs=(epochs - 1) // 2 + 2))
    return changed


def evaluate(
    synthetic: SyntheticSet,
    real: RealImages,
    *,
    architecture: str,
    recipe: Recipe,
    networks: int,
    own: bool = False,
    registered: Registered = Registered(),
    progress: Progress = lambda done, total: None,
) -> Scores:
    """Train `networks` fresh networks on `synthetic` and test each after its last epoch.

    Networks are trained on the decoded images. Under the protocol's recipe they learn hard labels
    of views that the protocol draws; by its own recipe a set brings views and targets as well.

    Args:
        synthetic: The set, on the device to compute on.
        real: What the networks are tested on.
        architecture: Name of the networks' architecture.
        recipe: How each is trained.
        networks: K. Network k starts from the same weights for every set and method.
        own: Take the set's own recipe, views and targets, where it has any; else hard labels.
        registered: What extensions bring.
        progress: Told the epochs done.

    Raises:
        ValueError: The recipe has learning rates, and nothing to choose by.
        SetError: The set cannot be trained on.
    """
    data = _Data.of(synthetic, real.num_classes, registered, own)
    if own:
        recipe = own_recipe(recipe, synthetic, len(data.decoded.images))
    fresh = _Networks(architecture, data, registered.architectures, progress)
    epochs = recipe.epochs_of(len(data.decoded.images))
    fresh.total = (networks + CHOOSING * len(recipe.learning_rates)) * epochs
    chosen = _chosen(fresh, recipe, real.choose_by) if recipe.learning_rates else None
    used = recipe if chosen is None else replace(recipe, lr=chosen)
    scores = _scores(fresh, used, real, networks)
    return replace(scores, recipe=recipe, chosen_lr=chosen, regime=data.regime if own else "")


def _scores(fresh: _Networks, recipe: Recipe, real: RealImages, networks: int) -> Scores:
    """Train and test each of the networks."""
    data = fresh.data
    scores: dict[str, list[float]] = {"accuracy": [], "balanced": [], "train": [], "test": []}
    counted = StepMeter(fresh.device)
    for k in range(networks):
        meter = counted if k == 0 else StepMeter(fresh.device, count=False)
        network = fresh.trained("evaluation", k, data, recipe, meter)
        watch = Stopwatch(fresh.device)
        with watch("test"):
            predicted = predict(network, real.images).argmax(1)
        scores["accuracy"].append((predicted == real.labels).double().mean().item())
        scores["balanced"].append(balanced_accuracy(predicted, real.labels, real.num_classes))
        scores["train"].append(meter.seconds)
        scores["test"].append(watch.seconds["test"])
    count = len(data.decoded.images)
    return Scores(
        accuracies=scores["accuracy"],
        balanced_accuracies=scores["balanced"],
        train_s=scores["train"],
        test_s=scores["test"],
        flops_train=counted.flops,
        lower_bound=counted.lower_bound,
        forward_macs=forward_macs(network, fresh.shape),
        recipe=recipe,
        labels="hard" if data.regime == HARD else "soft",
        decoded_images=count,
        steps_trained=recipe.steps_of(count),
        images_seen=recipe.images_seen(count),
        flops_targets=fresh.target_flops * recipe.images_seen(count),
    )


@dataclass(frozen=True)
class _Data:
    """What networks are trained on: images and hard labels, or what a set's formation gives."""

    synthetic: SyntheticSet
    decoded: Decoded
    labels: torch.Tensor  # (M,) or (M, C)
    fit: Fit
    parts: Parts | None = None
    regime: str = HARD
    formed: bool = False  # whether the set brings views or targets of its own

    @classmethod
    def of(
        cls, synthetic: SyntheticSet, num_classes: int, registered: Registered, own: bool
    ) -> _Data:
        """Return what a set gives under a protocol, or by its own recipe."""
        decoded = decode(synthetic, registered.formations)
        _, channels, height, width = decoded.images.shape
        shape = (channels, height, width)
        fit = Fit(num_classes, shape, len(decoded.images), registered.architectures)
        hard = not own or synthetic.recipe.get("labels") == "hard"
        labels = synthetic.hard_labels() if hard else synthetic.labels
        return cls(
            synthetic,
            decoded,
            labels[decoded.source],
            fit,
            registered.formations,
            HARD if hard else regime(synthetic),
            formed=not hard and bool(synthetic.formation),
        )

    def batches(self, recipe: Recipe, generator: torch.Generator) -> tuple[Batches, int]:
        """Return the batches, and the FLOPs of making the targets of one image."""
        if self.formed:
            own = Own(self.synthetic, self.decoded, recipe, generator, self.fit)
            return own_batches(own, self.parts)
        return drawn_batches(self.decoded.images, self.labels, recipe, generator), 0


class _Networks:
    """Trains fresh networks of one architecture, and counts the epochs of all together."""

    def __init__(
        self,
        architecture: str,
        data: _Data,
        catalogue: Mapping[str, Architecture] | None,
        progress: Progress,
    ) -> None:
        self.shape, self.num_classes = data.fit.shape, data.fit.num_classes
        self.device = data.decoded.images.device
        self.architecture, self.catalogue = architecture, catalogue
        self.data = data
        self.progress, self.done, self.total = progress, 0, 0
        self.target_flops = 0

    def trained(
        self, purpose: str, k: int, data: _Data, recipe: Recipe, meter: StepMeter
    ) -> torch.nn.Module:
        """Return network k of a purpose, trained on some data."""
        network = build_network(
            self.architecture, self.shape, self.num_classes, seed_of(purpose, k), self.device,
            self.catalogue,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed_of(purpose, "order", k))
        batches, self.target_flops = data.batches(recipe, generator)
        train(network, batches, len(data.decoded.images), recipe, meter, self._epoch_done)
        return network

    def _epoch_done(self, epoch: int) -> None:
        self.done += 1
        self.progress(self.done, self.total)


def _chosen(fresh: _Networks, recipe: Recipe, choose_by: HeldOut | None) -> float:
    """Return the learning rate of the recipe's that is best on held-out training images."""
    if choose_by is None:
        raise ValueError("a recipe with learning rates needs held-out images to choose by")
    data = fresh.data
    if choose_by.rest is not None:
        data = _Data.of(choose_by.rest, data.fit.num_classes, Registered(), own=False)
    right: dict[float, float] = {}
    for lr in recipe.learning_rates:
        accuracies = [
            accuracy(
                fresh.trained("choosing", k, data, replace(recipe, lr=lr),
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
