"""The distance between two lists of gradients that gradient matching minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch

EPSILON = 1e-6  # the reference code's, added to the product of the norms
METRICS = ("ours", "mse", "cos")  # the reference code's names

Gradients = Sequence[torch.Tensor]  # one tensor for each parameter, of its shape


def matching_distance(
    synthetic: Gradients, real: Gradients, metric: str = "ours", guard: float = 0.0
) -> torch.Tensor:
    """Return the distance of two gradients, a scalar, differentiable in both.

    `metric` is "ours", the layerwise cosine distance of the paper (equations 9 and 10); "mse", the
    squared distance of the gradients as one vector; or "cos", the cosine distance of the same.

    `guard` concerns "ours". Rows with ||r|| ||s|| below it keep their value but are taken as
    constant. At 0, the reference's form, a row that nearly vanishes in `synthetic` alone has a
    gradient of up to ||r|| / 1e-6. (Small rows that agree are another flaw of the same epsilon:
    rows of norm n are 1e-6 / (n^2 + 1e-6) apart, 0.5 at n = 0.001, instead of 0.)

    Raises:
        ValueError: There is no such metric.
    """
    if metric == "ours":
        layers = zip(synthetic, real, strict=True)
        return torch.stack([layer_distance(s, r, guard) for s, r in layers]).sum()
    one, other = _as_vector(synthetic), _as_vector(real)
    if metric == "mse":
        return (one - other).square().sum()
    if metric == "cos":
        return cosine_distance(one, other)
    raise ValueError(f"metric is {metric!r}; available: {', '.join(METRICS)}")


def layer_distance(synthetic: torch.Tensor, real: torch.Tensor, guard: float = 0.0) -> torch.Tensor:
    """Return the sum over the rows of one parameter's gradients of their cosine distance.

    A row is what one output unit or channel holds: (out, in, h, w) has `out` rows. Of tensors with
    one axis (biases, the scales and shifts of batch, instance and group norm) nothing counts.
    """
    if real.ndim < 2:
        return real.new_zeros(())
    synthetic, real = synthetic.flatten(1), real.flatten(1)  # (rows, length)
    distances = cosine_distance(synthetic, real)  # (rows,)
    if guard > 0:
        vanishing = real.norm(dim=-1) * synthetic.detach().norm(dim=-1) < guard
        distances = torch.where(vanishing, distances.detach(), distances)
    return distances.sum()


def cosine_distance(synthetic: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return 1 - <r, s> / (||r|| ||s|| + 1e-6) along the last axis: 0 to 2, and 1 for zeros."""
    # norm() and not a root of a sum: its gradient at exactly 0 is 0, and not NaN.
    norms = real.norm(dim=-1) * synthetic.norm(dim=-1)
    return 1 - (synthetic * real).sum(-1) / (norms + EPSILON)


def _as_vector(gradients: Gradients) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])
