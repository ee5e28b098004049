"""The neural tangent kernel of an infinitely wide fully connected ReLU network, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

# Relative gap below which two vectors count as parallel (angle 3e-7 in float64). A dot product over
# some thousand pixels is off by a few machine epsilons, so a smaller angle would be noise, and the
# slope of the angle, 1 / sin, would carry that noise into the gradient.
PARALLEL = 512


@dataclass(frozen=True)
class Kernel:
    """The network whose kernel it is: (dense, ReLU) x depth, then one dense layer.

    Attributes:
        depth: Hidden layers.
        w_std: Standard deviation of the weights, in NTK parameterisation.
        b_std: Standard deviation of the biases.
    """

    depth: int = 4
    w_std: float = math.sqrt(2)
    b_std: float = 0.1


def kernels(
    kernel: Kernel, dots: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the NNGP and the NTK, (..., n, m) each, of vectors given by their dot products.

    `dots` (..., n, m) holds x . z / d, `rows` (..., n) x . x / d, `columns` (..., m) z . z / d.
    Where x and z are the same vector, `dots` must equal both exactly. Jacot et al. 2018; the
    expectations over a ReLU are the arc-cosine kernels of Cho & Saul 2009.
    """
    weight, bias = kernel.w_std**2, kernel.b_std**2
    s, p, q = dots, rows[..., :, None], columns[..., None, :]
    t = torch.zeros_like(s)  # d s / d theta: the first dense layer makes it s
    for _ in range(kernel.depth):
        s, p, q = weight * s + bias, weight * p + bias, weight * q + bias
        t = s + weight * t
        s, slope = arc_cosine(s, p, q)
        t, p, q = t * slope, p / 2, q / 2
    s = weight * s + bias
    return s, s + weight * t


def arc_cosine(
    s: torch.Tensor, p: torch.Tensor, q: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return E[relu(a) relu(b)] and E[relu'(a) relu'(b)] for normal a, b.

    `s` (..., n, m) is their covariance, `p` (..., n, 1) and `q` (..., 1, m) their variances.
    """
    product = p * q
    gap = product - s * s
    parallel = gap <= PARALLEL * torch.finfo(s.dtype).eps * product
    # The slope of sqrt and of atan2 is infinite at 0, and 0 x infinity is NaN in the backward pass:
    # parallel pairs are taken out before sqrt, not after it. Every kernel matrix has its diagonal.
    root = torch.where(parallel, 1.0, gap).sqrt()
    angle = torch.atan2(root, s)  # acos(s / sqrt(p q)) loses half of the digits near 0
    straight = torch.where(s < 0, math.pi, 0.0).to(s)
    angle = torch.where(parallel, straight, angle)
    slope = (math.pi - angle) / (2 * math.pi)
    return torch.where(parallel, 0.0, root) / (2 * math.pi) + slope * s, slope


def ntk_blocks(
    kernel: Kernel, targets: torch.Tensor, support: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the NTK of targets with support (K, n, m) and of support with itself (K, m, m).

    `targets` is (K, n, d), `support` (K, m, d). Both blocks go through the layers as one, because
    what a step costs is the number of operations and not their size.
    """
    n, m, d = targets.shape[-2], support.shape[-2], support.shape[-1]
    dots = torch.cat([targets @ support.mT, support @ support.mT], dim=-2) / d  # (K, n + m, m)
    columns = support.square().sum(-1) / d
    rows = torch.cat([targets.square().sum(-1) / d, columns], dim=-1)
    same = torch.eye(n + m, m, dtype=torch.bool, device=dots.device).roll(n, 0)
    dots = torch.where(same, columns[..., None, :], dots)  # exactly, see `kernels`
    _, ntk = kernels(kernel, dots, rows, columns)
    return ntk[..., :n, :], ntk[..., n:, :]
