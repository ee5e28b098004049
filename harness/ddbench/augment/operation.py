"""The interface of an augmentation operation: draw its parameters, apply it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Parameters = Mapping[str, torch.Tensor]
"""Named parameters, the first axis of each counting images (or 1: the same for every image)."""

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


@dataclass(frozen=True)
class Operation:
    """One operation on a batch of images, split into its random and its deterministic half.

    `draw(count, (ch, H, W), generator)` returns CPU parameters for `count` images.
    `apply(images, parameters)` uses parameters that are already on the device and, where they are
    floating, in the dtype of the images, (B, ch, H, W); it is a pure function of both.
    """

    draw: Callable[[int, Shape, torch.Generator], Parameters]
    apply: Callable[[torch.Tensor, Parameters], torch.Tensor]


def integers(
    low: int, high: int, size: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """Draw int64 uniformly from low..high, both included."""
    return torch.randint(low, high + 1, size, generator=generator)


def uniform(
    low: float, high: float, size: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """Draw float32 uniformly from [low, high)."""
    return low + (high - low) * torch.rand(size, generator=generator)


def mixture(operations: Mapping[str, Operation]) -> Operation:
    """Return the operation that gives each image one of `operations`, chosen uniformly.

    Drawn in order: the choice, then the parameters of every operation, needed or not, so that the
    number of draws never depends on the choices.
    """

    def draw(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
        parameters = {"choice": integers(0, len(operations) - 1, (count,), generator)}
        for name, operation in operations.items():
            drawn = operation.draw(count, shape, generator)
            parameters |= {f"{name}.{key}": value for key, value in drawn.items()}
        return parameters

    def apply(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
        choice = parameters["choice"][:, None, None, None]
        result = images
        for index, (name, operation) in enumerate(operations.items()):
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in parameters.items()
                if key.startswith(f"{name}.")
            }
            # Applying all and selecting costs less than asking the device who chose what.
            result = torch.where(choice == index, operation.apply(images, own), result)
        return result

    return Operation(draw, apply)
