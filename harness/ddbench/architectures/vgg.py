"""VGG11 for small images: eight 3x3 convolutions with norm, five max poolings, one linear layer."""

from torch import nn

from .layers import (
    Network,
    batch_norm,
    first_padding,
    halved,
    instance_norm,
    padded,
    require_poolings,
)
from .names import Architecture, Choice, Options, Shape, Width, scaled

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # a max pooling ends each


def build(shape: Shape, num_classes: int, options: Options) -> Network:
    """Return a VGG11 whose hidden widths are multiplied by the `width` factor."""
    channels, *sides = shape
    image = (sides[0], sides[1])
    require_poolings(image, poolings=len(STAGES))
    size, padding = padded(image), first_padding(image, 3)
    layers: list[nn.Module] = []
    for stage in STAGES:
        for full_width in stage:
            width = scaled(full_width, options["width"])
            convolution = nn.Conv2d(channels, width, 3, padding=padding)
            layers += [convolution, options["norm"](width, size), nn.ReLU(inplace=True)]
            channels, padding = width, (1, 1)
        layers.append(nn.MaxPool2d(2))
        size = halved(size)
    return Network(nn.Sequential(*layers), nn.Linear(channels * size[0] * size[1], num_classes))


VGG11 = Architecture(
    name="vgg11",
    build=build,
    summary="8 3x3 convolutions (64 to 512), instance norm, ReLU, 5 max poolings",
    tokens=(Width(), Choice("norm", {"in": instance_norm, "bn": batch_norm})),
)
