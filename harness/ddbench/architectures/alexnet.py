"""AlexNet for small images: five convolutions, three max poolings, one linear layer, no dropout."""

from torch import nn

from .layers import (
    Network,
    Norm,
    Size,
    batch_norm,
    first_padding,
    halved,
    no_norm,
    padded,
    require_poolings,
)
from .names import Architecture, Choice, Options, Shape, Width, scaled

# (channels, kernel, whether a pooling follows)
LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


def build(shape: Shape, num_classes: int, options: Options) -> Network:
    """Return an AlexNet whose hidden widths are multiplied by the `width` factor."""
    channels, *sides = shape
    image = (sides[0], sides[1])
    require_poolings(image, poolings=3)
    size = padded(image)
    layers: list[nn.Module] = []
    for full_width, kernel, pooled in LAYERS:
        width = scaled(full_width, options["width"])
        padding = (kernel // 2, kernel // 2) if layers else first_padding(image, kernel)
        layers += _convolution(channels, width, kernel, padding, options["norm"], size)
        if pooled:
            layers.append(nn.MaxPool2d(2))
            size = halved(size)
        channels = width
    return Network(nn.Sequential(*layers), nn.Linear(channels * size[0] * size[1], num_classes))


def _convolution(
    channels: int, width: int, kernel: int, padding: Size, norm: Norm, size: Size
) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel, padding=padding)
    return [convolution, norm(width, size), nn.ReLU(inplace=True)]


ALEXNET = Architecture(
    name="alexnet",
    build=build,
    summary="5 convolutions (128 to 256), ReLU, 3 max poolings",
    tokens=(Width(), Choice("norm", {"nn": no_norm, "bn": batch_norm})),
)
