"""Starts that lead nowhere, and states that have gone astray: said at once, with the remedy."""

from __future__ import annotations

import math

import torch
from ddbench import OptionsError

from .options import DATMConfig, MTTConfig
from .storage import Experts


class Diverged(OptionsError):
    """The experts, the student's rate or the images left what training can work with."""


def require_experts(config: MTTConfig, experts: Experts) -> None:
    """Raise where a loss in units of the experts' way would not be a number.

    Raises:
        Diverged: An expert goes nowhere from the first start, or infinitely far.
    """
    start = config.all_starts().start
    if experts.weights(0, start).is_meta:  # without content: it is being priced
        return
    end = start + config.match_epochs
    for expert in range(len(experts)):
        stretch = experts.weights(expert, end) - experts.weights(expert, start)
        distance = stretch.square().sum().item()
        if not (math.isfinite(distance) and distance > 0):
            which = "lower" if distance else "raise"
            raise Diverged(
                f"expert {expert} moves by {distance:.3g} (squared) from epoch {start} to {end}, "
                f"and must by a positive, finite distance; {which} expert_lr "
                f"({config.expert_lr:g})",
                {"expert_lr": f"{config.expert_lr * (0.1 if distance else 10):g}"},
            )


def require_labels(config: DATMConfig, labels: torch.Tensor) -> None:
    """Raise where the gate would skip every step without a word.

    Raises:
        Diverged: Initial labels are not finite.
    """
    if not labels.is_meta and not torch.isfinite(labels).all():
        raise Diverged(
            f"initial labels hold NaN or infinite values: the experts' logits after epoch "
            f"{config.label_epoch} overflow; lower expert_lr ({config.expert_lr:g})",
            {"expert_lr": f"{config.expert_lr / 10:g}"},
        )


def require_usable(config: MTTConfig, lr: float, images: torch.Tensor, place: str) -> None:
    """Raise where nothing sensible can follow: in DATM the gate would otherwise skip for ever.

    Raises:
        Diverged: The student's learning rate is not positive and finite, or pixels are not finite.
    """
    if images.is_meta:  # without content: it is being priced
        return
    if not (math.isfinite(lr) and lr > 0):
        raise Diverged(
            f"the student's learning rate is {lr:.3g} {place}, and must be positive; lower lr_lr "
            f"({config.lr_lr:g}), or set lr_floor",
            {"lr_lr": f"{config.lr_lr / 10:g}"},
        )
    if not torch.isfinite(images.detach()).all():
        raise Diverged(
            f"images hold NaN or infinite values {place}; lower lr_images ({config.lr_images:g})",
            {"lr_images": f"{config.lr_images / 10:g}"},
        )
