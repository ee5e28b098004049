"""A network as a function of one flat vector of weights, so that an update is one operation."""

from __future__ import annotations

import torch
from ddbench import Task, Unsupported, has_batchnorm
from torch.func import functional_call


class FlatNetwork:
    """A module whose weights are passed in, flat, in the order of `named_parameters`.

    Attributes:
        module: The module, in train mode; its own weights are the ones it came with.
        count: P, the number of weights.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        """Wrap `module`; it must not have state besides its parameters."""
        self.module = module.train()
        parameters = dict(module.named_parameters())
        self._names = tuple(parameters)
        self._shapes = tuple(parameter.shape for parameter in parameters.values())
        self._sizes = tuple(parameter.numel() for parameter in parameters.values())
        self.count = sum(self._sizes)

    def weights(self) -> torch.Tensor:
        """Return the module's own weights as a new vector, (P,)."""
        return torch.cat([p.detach().flatten() for p in self.module.parameters()])

    def __call__(self, weights: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, C) of `images` (B, ch, H, W) under `weights` (P,)."""
        parts = zip(self._names, weights.split(self._sizes), self._shapes, strict=True)
        parameters = {name: part.view(shape) for name, part, shape in parts}
        return functional_call(self.module, parameters, (images,))


def student_network(task: Task) -> FlatNetwork:
    """Return the matched architecture as a function of its weights.

    Raises:
        Unsupported: It has batch norm, whose statistics no trajectory holds, or dropout, which
            would make a step that cannot be taken again.
    """
    module = task.new_network()
    if has_batchnorm(module):
        raise Unsupported(
            f"{task.architecture} has batch norm, and expert trajectories hold weights alone; "
            "match a network with instance norm"
        )
    if any(isinstance(part, torch.nn.modules.dropout._DropoutNd) for part in module.modules()):
        raise Unsupported(f"{task.architecture} has dropout, so its steps cannot be repeated")
    return FlatNetwork(module)
