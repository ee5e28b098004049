"""GSAM: the descent direction towards flat minima that DATM's experts are trained with.

Surrogate Gap Minimization Improves Sharpness-Aware Training (Zhuang et al., ICLR 2022), with
ASAM's adaptive perturbation (Kwon et al., ICML 2021), as FTD (Du et al., CVPR 2023) uses both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

EPSILON = 1e-12


def direction(
    gradient: Callable[[torch.Tensor], torch.Tensor],
    weights: torch.Tensor,
    rho: float,
    alpha: float,
    adaptive: bool,
) -> torch.Tensor:
    """Return the vector that takes the place of the gradient, shaped like `weights` (..., P).

    `gradient` gives the gradient of one and the same batch at any weights. Leading axes are
    networks of their own. With rho 0 it is the gradient, at the price of one.
    """
    here = gradient(weights)
    if rho == 0:
        return here
    there = gradient(perturbed(weights, here, rho, adaptive))
    norm_here, norm_there = _norm(here), _norm(there)
    cosine = (here * there).sum(-1, keepdim=True) / (norm_here * norm_there + EPSILON)
    # The part of the first gradient across the second: descending both would undo the flatness.
    vertical = here - cosine * norm_here * there / (norm_there + EPSILON)
    return there - alpha * vertical


def perturbed(
    weights: torch.Tensor, gradient: torch.Tensor, rho: float, adaptive: bool
) -> torch.Tensor:
    """Return the weights at the end of the ascent of length `rho`, in units of |w| if adaptive."""
    scale = weights.abs() if adaptive else torch.ones_like(weights)
    return weights + rho * scale.square() * gradient / (_norm(scale * gradient) + EPSILON)


def _norm(vector: torch.Tensor) -> torch.Tensor:
    return vector.norm(dim=-1, keepdim=True)
