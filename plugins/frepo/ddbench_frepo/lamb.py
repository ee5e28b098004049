"""LAMB (You et al., ICLR 2020) without weight decay: Adam, each tensor's step as long as itself."""

from __future__ import annotations

import torch

BETAS, EPSILON = (0.9, 0.999), 1e-6

Moments = tuple[torch.Tensor, torch.Tensor]  # of the gradient and of its square, as the tensor


def zero_moments(tensor: torch.Tensor) -> Moments:
    """Return the moments of a tensor before its first step."""
    return torch.zeros_like(tensor), torch.zeros_like(tensor)


@torch.no_grad()
def lamb_step(
    tensor: torch.Tensor, gradient: torch.Tensor, moments: Moments, count: int, lr: float
) -> None:
    """Move `tensor` in place by lr (|tensor| / |u|) u, with u the step of Adam, number `count`.

    The norms are over the whole tensor; where one of them is 0 their ratio is taken as 1.
    """
    first, second = moments
    first.lerp_(gradient, 1 - BETAS[0])
    second.lerp_(gradient.square(), 1 - BETAS[1])
    size = (second / (1 - BETAS[1] ** count)).sqrt() + EPSILON
    update = first / (1 - BETAS[0] ** count) / size
    ratio = tensor.norm() / update.norm()
    tensor -= lr * torch.where(ratio.isfinite() & (ratio > 0), ratio, 1.0) * update
