"""How far the inputs of a network's batch norms are from what they were in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.modules.batchnorm import _BatchNorm

Inputs = list[tuple[_BatchNorm, torch.Tensor]]  # (layer, (B, ch, ...) its input), in order


@contextmanager
def watched(network: torch.nn.Module) -> Iterator[Inputs]:
    """Collect the inputs of all batch norms in the block, with their graph."""
    inputs: Inputs = []

    def collect(layer: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)  # noqa: S101  (for the type checker)
        inputs.append((layer, arguments[0]))

    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    hooks = [layer.register_forward_pre_hook(collect) for layer in layers]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def distance(inputs: Inputs, first: float) -> torch.Tensor:
    """Return the sum over layers of |running mean - mean| + |running var - var|, a scalar.

    The norms are Euclidean, over channels; means and variances over batch and space, the variance
    biased (as the reference code has it; running variances are unbiased). The first layer's term
    is taken `first` times. Where both agree the gradient is zero.
    """
    terms = []
    for layer, values in inputs:
        mean, var = layer.running_mean, layer.running_var
        if mean is None or var is None:
            continue  # it always takes the batch's own
        axes = [axis for axis in range(values.ndim) if axis != 1]
        off = (values.mean(axes) - mean).norm() + (values.var(axes, correction=0) - var).norm()
        terms.append(off if terms else first * off)
    return torch.stack(terms).sum()
