"""Augment batches of images differentiably; several batches can share one transform.

A *strategy* names what may happen to a batch: operations of DSA joined by `_`, of which each batch
gets one ("color_crop_cutout_scale_rotate"), or "none", or one of DC's ("dc-mnist", "dc-bn"), which
choose for each image. Strategies joined by `+` are applied one after the other
("flip+color+crop_scale_rotate": mirror, then colour, then one of three). All randomness is drawn on
the CPU from the generator that is passed in, in a fixed order: the operation, then its parameters
(in the order that its `draw_` function states), strategy by strategy. So one seed gives one
transform on every device, and "none" draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ddbench.augment import dc, dsa
from ddbench.augment.operation import Parameters
from ddbench.text.suggestions import did_you_mean

OPERATIONS = dsa.OPERATIONS | dc.OPERATIONS

OWN = "dsa"  # as an option or in a protocol: the dataset's own strategy
AFTER = "+"  # joins strategies that are applied one after the other

__all__ = [
    "OPERATIONS",
    "OWN",
    "Transform",
    "augment",
    "augment_alike",
    "check_strategy",
    "draw",
    "operations",
    "resolve",
]


@dataclass(frozen=True)
class Transform:
    """One operation (or None) with its parameters drawn, for images of one size.

    parameters: CPU tensors whose first axis counts images, 1 standing for any number of them.
    then: What is applied to its result, of strategies joined by `+`.
    """

    operation: str | None
    size: tuple[int, int]  # (H, W)
    parameters: Parameters
    then: Transform | None = None

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images (B, ch, H, W) transformed, with their shape, dtype and device.

        A pure function of images and parameters, differentiable any number of times in the images
        and usable under torch.func. Raises ValueError for images it was not drawn for.
        """
        self._check(images)
        if self.operation is None:
            return images
        parameters = {name: _like(images, value) for name, value in self.parameters.items()}
        result = OPERATIONS[self.operation].apply(images, parameters)
        return self.then.apply(result) if self.then else result

    def _check(self, images: torch.Tensor) -> None:
        if images.dim() != 4 or tuple(images.shape[2:]) != self.size:
            raise ValueError(
                f"augment: images have shape {tuple(images.shape)}; "
                f"the transform was drawn for (B, ch, {self.size[0]}, {self.size[1]})"
            )
        if not images.is_floating_point():
            raise ValueError(f"augment: images are {images.dtype}; normalise them to float first")
        for name, value in self.parameters.items():
            if value.shape[0] not in (1, images.shape[0]):
                raise ValueError(
                    f"augment: {images.shape[0]} images, but {name} was drawn for "
                    f"{value.shape[0]}; draw for as many images, or with shared=True"
                )


def draw(
    strategy: str,
    count: int,
    size: tuple[int, int],
    generator: torch.Generator,
    shared: bool,
    channels: int = 1,
) -> Transform:
    """Draw one operation of each strategy and its parameters for `count` images of size (H, W).

    shared: one set of parameters for all images, whatever their number (siamese), instead of one
    per image. channels only matters to the noise of "dc-bn", which has a value for every pixel.
    Raises ValueError for an unknown operation.
    """
    if not operations(strategy):
        return Transform(None, size, {})
    first, _, rest = strategy.partition(AFTER)
    names = first.split("_")
    name = names[int(torch.randint(len(names), (), generator=generator))]
    shape = (channels, *size)
    parameters = OPERATIONS[name].draw(1 if shared else count, shape, generator)
    then = draw(rest, count, size, generator, shared, channels) if rest else None
    return Transform(name, size, parameters, then)


def augment(strategy: str, generator: torch.Generator, images: torch.Tensor) -> torch.Tensor:
    """Return the images (B, ch, H, W) under one operation, its parameters drawn for each of them.

    Of strategies joined by `+` under one operation of each, one after the other.

    The form for training networks: in the inner loop of DSA, and in evaluation.
    """
    count, channels, *size = images.shape
    transform = draw(
        strategy, count, (size[0], size[1]), generator, shared=False, channels=channels
    )
    return transform.apply(images)


def augment_alike(
    strategy: str, generator: torch.Generator, *batches: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return the batches under one transform, the same for each image of each of them (siamese).

    batches: (B, ch, H, W) each, of any B, alike in ch, H and W. The form for matching real and
    synthetic images. Raises ValueError when the images differ in shape.
    """
    shapes = {tuple(images.shape[1:]) for images in batches}
    if len(shapes) != 1:
        raise ValueError(
            f"augment_alike: batches of images of shapes {sorted(shapes)}; one shape is needed"
        )
    channels, height, width = shapes.pop()
    transform = draw(strategy, 1, (height, width), generator, shared=True, channels=channels)
    return tuple(transform.apply(images) for images in batches)


def resolve(name: str, own: str) -> str:
    """Return the strategy that an option means: "dsa" is the dataset's `own`, else `name`."""
    return own if name == OWN else name


def check_strategy(name: str) -> None:
    """Raise ValueError, as `operations`, for what is neither a strategy nor "dsa"."""
    operations(resolve(name, "none"))


def operations(strategy: str) -> tuple[str, ...]:
    """Return the names of the operations in a strategy, or in several; none for "none".

    Raises ValueError naming the first unknown or repeated operation.
    """
    if strategy == "none":
        return ()
    names = tuple(name for part in strategy.split(AFTER) for name in part.split("_"))
    for index, name in enumerate(names):
        if name not in OPERATIONS:
            raise ValueError(_unknown(name, strategy, OPERATIONS))
        if name in names[:index]:
            raise ValueError(
                f"augment: operation {name!r} twice in strategy {strategy!r}; drop one"
            )
    return names


def _unknown(name: str, strategy: str, known: Mapping[str, object]) -> str:
    hint = did_you_mean(name, [*known, "none"])
    return (
        f"augment: unknown operation {name!r} in strategy {strategy!r}; {hint}{' ' if hint else ''}"
        f"known: {', '.join(known)}, joined by '_' (one of them) or '+' (all in turn), or none"
    )


def _like(images: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Move a parameter to the images' device, and to their dtype when it is floating."""
    if parameter.is_floating_point():
        parameter = parameter.to(images.dtype)  # before the move: not every device has float64
    return parameter.to(images.device, non_blocking=True)
