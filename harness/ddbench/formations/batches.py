"""Batches: views of images, and what a network should answer to them.

A batch is made only when it is asked for, so that the caller can meter what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from ddbench import augment
from ddbench.contract.recipes import Recipe
from ddbench.formations.mixing import mixed


@dataclass(frozen=True)
class Shown:
    """The images of one batch, as a network sees them.

    Attributes:
        images: (B, ch, H, W), augmented and mixed.
        partner: (B,) int64, the row of the batch that each image is mixed with; None: not mixed.
        share: What is left of the image itself, in [0, 1].
    """

    images: torch.Tensor
    partner: torch.Tensor | None = None
    share: float = 1.0


@dataclass(frozen=True)
class View:
    """One batch of an epoch, whose images are made when they are asked for.

    Attributes:
        epoch: From 0.
        start: The place of its first image in the epoch.
        chosen: (B,) int64, which images.
        make: Makes them.
    """

    epoch: int
    start: int
    chosen: torch.Tensor
    make: Callable[[], Shown]


Views = Callable[[int], Iterable[View]]  # epoch -> its batches


@dataclass(frozen=True)
class Targets:
    """What a network should answer.

    Attributes:
        kind: One of `synthetic_set.KINDS`.
        of: (view, (B, ch, H, W) images as shown) -> (B,) int64 or (B, C) float32.
        of_mixed: Whether they are those of the mixed images, as a teacher's, so that the loss
            does not mix them.
        flops: What answering takes for one image.
    """

    kind: str
    of: Callable[[View, torch.Tensor], torch.Tensor]
    of_mixed: bool = False
    flops: int = 0


@dataclass(frozen=True)
class Batch:
    """What one optimizer step learns from.

    Attributes:
        shown: The images.
        targets: (B,) int64 class indices, or (B, C) float32 of `kind`.
        kind: What the targets are, one of `synthetic_set.KINDS`.
        of_mixed: Whether the targets are those of the mixed images.
        classes: (B,) int64, the hard labels.
    """

    shown: Shown
    targets: torch.Tensor
    kind: str = "index"
    of_mixed: bool = False
    classes: torch.Tensor | None = None


Batches = Callable[[int], Iterable[Callable[[], Batch]]]  # epoch -> its batches, not yet made


def drawn_views(images: torch.Tensor, recipe: Recipe, generator: torch.Generator) -> Views:
    """Return views in random order, augmented and mixed as the recipe says.

    `generator` (CPU) draws the order, then for each batch the augmentation and the mixing.
    """

    def shown(chosen: torch.Tensor) -> Shown:
        batch = augment.augment(recipe.augment, generator, images[chosen])
        return Shown(*mixed(recipe.mix, batch, generator)) if recipe.mix else Shown(batch)

    def views(epoch: int) -> Iterator[View]:
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for k, chosen in enumerate(order.split(recipe.batch)):
            yield View(epoch, k * recipe.batch, chosen, partial(shown, chosen))

    return views


def stored_targets(labels: torch.Tensor, kind: str | None = None) -> Targets:
    """Return each image's label as its target; `kind` None: class indices, or logits."""
    kind = kind or ("index" if labels.ndim == 1 else "logits")
    return Targets(kind, lambda view, images: labels[view.chosen])


def joined(views: Views, targets: Targets, classes: torch.Tensor | None = None) -> Batches:
    """Return the batches of views with their targets; `classes` (M,) are all hard labels."""

    def made(view: View) -> Batch:
        shown = view.make()
        hard = None if classes is None else classes[view.chosen]
        answers = targets.of(view, shown.images)
        return Batch(shown, answers, targets.kind, targets.of_mixed, hard)

    return lambda epoch: (partial(made, view) for view in views(epoch))


def drawn_batches(
    images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, generator: torch.Generator
) -> Batches:
    """Return batches of (N, ch, H, W) images with their hard (N,) or soft (N, C) labels."""
    return joined(drawn_views(images, recipe, generator), stored_targets(labels))
