"""Kernel ridge regression on the features of a network, and its loss."""

from __future__ import annotations

import torch

LEAST = 1e-12  # of the ridge, for features that vanish: of black images, say


def predict(
    real: torch.Tensor, synthetic: torch.Tensor, labels: torch.Tensor, ridge: float
) -> torch.Tensor:
    """Return what regression on synthetic features says of real ones, (B, C) float64.

    With K = synthetic synthetic^T it is real synthetic^T (K + ridge (tr K / n) I)^-1 labels. In
    float64 always: K has condition numbers of 1e4 to 1e6, and float32 is off by up to 3e-3.

    Args:
        real: (B, d) features.
        synthetic: (n, d) features.
        labels: (n, C) regression targets.
        ridge: Relative to the mean diagonal of K; `LEAST` at least.

    Raises:
        FloatingPointError: K is not positive definite, or not finite.
    """
    real, synthetic, labels = real.double(), synthetic.double(), labels.double()
    kernel = synthetic @ synthetic.T
    ridges = (ridge * kernel.diagonal().mean()).clamp(min=LEAST).expand(len(kernel))
    factor, failed = torch.linalg.cholesky_ex(kernel + ridges.diag())
    if failed or (~factor.isfinite()).any():
        raise FloatingPointError("the kernel of the synthetic images is not positive definite")
    weights = synthetic.T @ torch.cholesky_solve(labels, factor)  # (d, C)
    return real @ weights  # the kernel of real with synthetic, (B, n), is never made


def regression_loss(predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over the batch of half of the squared error summed over the classes."""
    return (predicted - targets).square().sum(1).mean() / 2


def margin_loss(labels: torch.Tensor) -> torch.Tensor:
    """Return minus the mean lead of the largest entry of (n, C) labels, 1/C at most.

    It acts only on a label that has nearly lost its class: before, it is -1/C without a gradient.
    """
    first, second = labels.topk(2, dim=1).values.unbind(1)
    return -(first - second).clamp(max=1 / labels.shape[1]).mean()
