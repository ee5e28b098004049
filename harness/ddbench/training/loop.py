"""Train one network on a set of images: the loop that evaluations and shared networks use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ddbench import augment


@dataclass(frozen=True)
class LRDrop:
    """One drop of the learning rate: after `after_epochs` epochs, times `factor`."""

    after_epochs: int
    factor: float = 0.1
    reset_momentum: bool = True  # the reference code builds a new optimizer (momentum lost)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: every constant of it.

    Attributes:
        epochs: Passes over the set; 301 in the papers' "300 epochs", which count from 0 to 300.
        optimizer: "sgd" or "adam".
        lr: Learning rate.
        momentum: Of SGD; ignored by Adam.
        weight_decay: L2 penalty on all parameters.
        batch: Images a step; the last batch of an epoch may be smaller.
        drop: The drop of the learning rate, or None.
        augment: Augmentation of each training batch: a strategy of `ddbench.augment`, or "none".
        learning_rates: Of which an evaluation takes the one that is best on held-out training
            images, in place of `lr`; () takes `lr`.
    """

    epochs: int
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    drop: LRDrop | None = None
    augment: str = "none"
    learning_rates: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of plain values, as jobs and records hold them."""
        drop = values.get("drop")
        rates = tuple(values.get("learning_rates", ()))
        given = {**values, "drop": LRDrop(**drop) if drop else None, "learning_rates": rates}
        return cls(**given)

    def plain(self) -> dict[str, Any]:
        """Return the recipe as plain values; without learning rates where there is no choice."""
        values = {**vars(self), "drop": vars(self.drop) if self.drop else None}
        rates = values.pop("learning_rates")
        return values | ({"learning_rates": list(rates)} if rates else {})


def new_optimizer(network: torch.nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters of `network`."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    raise ValueError(f"optimizer is {recipe.optimizer!r}; available: adam, sgd")


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of (B, C) logits with class indices (B,) or logits (B, C).

    Soft labels are the softmax of the label logits at temperature 1 (DATM, section 3).
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    return -(F.softmax(labels, 1) * F.log_softmax(logits, 1)).sum(1).mean()


def fit(
    network: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    step: AbstractContextManager | None = None,
    epoch_done: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Train `network` in place on (N, ch, H, W) `images` with hard (N,) or soft (N, C) `labels`.

    `generator` (CPU) draws the order of the images and the augmentation. `step` is entered once
    per optimizer step (a StepMeter, say). Evaluation protocol of Zhao et al. 2021, appendix.
    """
    network.train()
    optimizer = new_optimizer(network, recipe, recipe.lr)
    for epoch in range(recipe.epochs):
        if recipe.drop and epoch == recipe.drop.after_epochs:
            optimizer = _dropped(optimizer, network, recipe, recipe.drop)
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for chosen in order.split(recipe.batch):
            with step or nullcontext():
                batch = augment.augment(recipe.augment, generator, images[chosen])
                loss = cross_entropy(network(batch), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        epoch_done(epoch)


def _dropped(
    optimizer: torch.optim.Optimizer, network: torch.nn.Module, recipe: Recipe, drop: LRDrop
) -> torch.optim.Optimizer:
    lr = recipe.lr * drop.factor
    if drop.reset_momentum:
        return new_optimizer(network, recipe, lr)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return optimizer


@torch.no_grad()
def predict(network: torch.nn.Module, images: torch.Tensor, batch: int = 256) -> torch.Tensor:
    """Return the logits (N, C) of `network` in eval mode; its mode is put back."""
    training = network.training
    network.eval()
    try:
        return torch.cat([network(part) for part in images.split(batch)])
    finally:
        network.train(training)


def accuracy(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of `images` whose largest logit is their label, in [0, 1]."""
    return (predict(network, images).argmax(1) == labels).float().mean().item()
