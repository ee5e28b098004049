"""Train one network on a set of images: the loop that evaluations and shared networks use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ddbench.contract.recipes import LRDrop, Recipe
from ddbench.formations.batches import Batches, drawn_batches
from ddbench.formations.losses import loss_of


def new_optimizer(network: torch.nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over all parameters of `network`."""
    decay = recipe.weight_decay
    parameters: Any = network.parameters()
    if recipe.decay_matrices_only:
        every = [*network.parameters()]
        parameters = [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
        ]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=recipe.momentum, weight_decay=decay)
    raise ValueError(f"optimizer is {recipe.optimizer!r}; available: adam, adamw, sgd")


def fit(
    network: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    step: AbstractContextManager | None = None,
    epoch_done: Callable[[int], None] = lambda epoch: None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train `network` in place on (N, ch, H, W) `images` with hard (N,) or soft (N, C) `labels`.

    `generator` (CPU) draws the order of the images and the augmentation. `step` is entered once
    per optimizer step (a StepMeter, say). `optimizer` is one of `new_optimizer` to go on with, with
    its momentum; None makes a new one. Evaluation protocol of Zhao et al. 2021, appendix.
    """
    batches = drawn_batches(images, labels, recipe, generator)
    train(network, batches, len(images), recipe, step, epoch_done, optimizer)


def train(
    network: torch.nn.Module,
    batches: Batches,
    count: int,
    recipe: Recipe,
    step: AbstractContextManager | None = None,
    epoch_done: Callable[[int], None] = lambda epoch: None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train `network` in place on `batches` of `count` images, as the recipe says.

    `step` is entered once per optimizer step, with the making of its batch. `optimizer` is one to
    go on with; None makes a new one.
    """
    network.train()
    optimizer = optimizer or new_optimizer(network, recipe, recipe.lr)
    steps, epochs, done = recipe.steps_of(count), recipe.epochs_of(count), 0
    for epoch in range(epochs):
        if recipe.drop and epoch == recipe.drop.after_epochs:
            optimizer = _dropped(optimizer, network, recipe, recipe.drop)
        for make in batches(epoch):
            if done == steps:
                break
            with step or nullcontext():
                if recipe.schedule:
                    share = recipe.schedule.share(epoch, epochs, done, steps)
                    _set_lr(optimizer, recipe.lr * share)
                batch = make()
                loss = loss_of(recipe.loss, network(batch.shown.images), batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            done += 1
        epoch_done(epoch)


def _dropped(
    optimizer: torch.optim.Optimizer, network: torch.nn.Module, recipe: Recipe, drop: LRDrop
) -> torch.optim.Optimizer:
    lr = recipe.lr * drop.factor
    if drop.reset_momentum:
        return new_optimizer(network, recipe, lr)
    _set_lr(optimizer, lr)
    return optimizer


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


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
