"""ConvNet, the field's standard network: blocks of convolution, norm, activation and pooling.

Gidaris & Komodakis (CVPR 2018), as used by Dataset Condensation with Gradient Matching (Zhao,
Mopuri & Bilen, ICLR 2021) with depth 3, width 128, instance norm and average pooling.
"""

from torch import nn

from .layers import (
    ACTIVATIONS,
    GROUPS,
    Network,
    Size,
    batch_norm,
    first_padding,
    group_norm,
    halved,
    instance_norm,
    layer_norm,
    no_norm,
    padded,
    trail,
)
from .names import Architecture, ArchitectureError, Choice, Options, Shape, Width
from .pooling import AveragePool

NORMS = {
    "in": instance_norm,
    "nn": no_norm,
    "bn": batch_norm,
    "ln": layer_norm,
    "gn": group_norm,
}
POOLINGS = {
    "ap": AveragePool,
    "mp": lambda: nn.MaxPool2d(2),
    "np": None,
}


def build(shape: Shape, num_classes: int, options: Options) -> Network:
    """Return a ConvNet; `depth` blocks of `width` channels, then one linear layer."""
    channels, *sides = shape
    image = (sides[0], sides[1])
    width, depth, pooling = options["width"], options["depth"], options["pooling"]
    if pooling:
        _require_depth(image, depth)
    size, padding = padded(image), first_padding(image, 3)
    blocks: list[nn.Module] = []
    for _ in range(depth):
        blocks += [
            nn.Conv2d(channels, width, 3, padding=padding),
            options["norm"](width, size),
            options["activation"](),
        ]
        if pooling:
            blocks.append(pooling())
            size = halved(size)
        channels, padding = width, (1, 1)
    return Network(nn.Sequential(*blocks), nn.Linear(width * size[0] * size[1], num_classes))


def _require_depth(image: Size, depth: int) -> None:
    size = padded(image)
    possible = min(size).bit_length() - 1
    if depth > possible:
        raise ArchitectureError(
            f"depth {depth} is too deep for {image[0]}x{image[1]} images "
            f"(maps {trail(size, depth)}); use at most d{possible}, or no pooling (np)"
        )


CONVNET = Architecture(
    name="convnet",
    build=build,
    summary="3 blocks of 3x3 convolution (128), instance norm, ReLU, average pooling",
    tokens=(
        Width(base=128, multiple=GROUPS),
        Choice("depth", {"d3": 3, "d1": 1, "d2": 2, "d4": 4}),
        Choice("activation", ACTIVATIONS),
        Choice("norm", NORMS),
        Choice("pooling", POOLINGS),
    ),
)
