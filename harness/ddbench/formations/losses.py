"""What training minimises on a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ddbench.contract.recipes import Loss
from ddbench.formations.batches import Batch


def loss_of(loss: Loss | None, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return what the recipe minimises on a batch, a scalar; `logits` are the network's, (B, C).

    Targets of images that are mixed are mixed alike: share·L(z, y) + (1 - share)·L(z, y'), unless
    they are a teacher's for the mixed images.
    """

    def mixed_alike(one: Callable[[torch.Tensor], torch.Tensor], of: torch.Tensor) -> torch.Tensor:
        if batch.shown.partner is None:
            return one(of)
        return batch.shown.share * one(of) + (1 - batch.shown.share) * one(of[batch.shown.partner])

    def of_targets(targets: torch.Tensor) -> torch.Tensor:
        return _plain_loss(loss, logits, targets, batch.kind)

    targets = batch.targets
    value = of_targets(targets) if batch.of_mixed else mixed_alike(of_targets, targets)
    if loss is not None and loss.ce_weight and batch.classes is not None:
        hard = mixed_alike(lambda classes: F.cross_entropy(logits, classes), batch.classes)
        value = value + loss.ce_weight * hard
    return value


def _plain_loss(
    loss: Loss | None, logits: torch.Tensor, targets: torch.Tensor, kind: str
) -> torch.Tensor:
    if loss is None or loss.name == "cross_entropy":
        return cross_entropy(logits, targets, kind)
    if loss.name == "mse":
        squares = (logits - as_rows(targets, kind, logits.shape[1])).square()
        return squares.sum(1).mean() / 2 if loss.half else squares.mean()
    wanted = _distribution(targets, kind, loss.temperature, logits.shape[1])
    found = F.log_softmax(logits / loss.temperature, 1)
    if loss.name == "soft_cross_entropy":
        return -(wanted * found).sum(1).mean()
    value = F.kl_div(found, wanted, reduction="batchmean")
    return value * loss.temperature**2 if loss.scale_t2 else value


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, kind: str | None = None
) -> torch.Tensor:
    """Return the mean cross-entropy of (B, C) logits with class indices (B,) or logits (B, C).

    Soft labels are the softmax of the label logits at temperature 1 (DATM, section 3), or
    themselves where `kind` is "probabilities".
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    wanted = labels if kind == "probabilities" else F.softmax(labels, 1)
    return -(wanted * F.log_softmax(logits, 1)).sum(1).mean()


def as_rows(targets: torch.Tensor, kind: str, num_classes: int) -> torch.Tensor:
    """Return (B, C) float32 targets: class indices as one-hot rows, all else as it is."""
    return F.one_hot(targets, num_classes).float() if kind == "index" else targets


def _distribution(
    targets: torch.Tensor, kind: str, temperature: float, num_classes: int
) -> torch.Tensor:
    if kind == "logits":
        return F.softmax(targets / temperature, 1)
    return as_rows(targets, kind, num_classes)
