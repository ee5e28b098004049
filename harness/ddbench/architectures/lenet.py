"""LeNet: two 5x5 convolutions with max pooling, three linear layers."""

from torch import nn

from .layers import Network, Size, extra_padding, halved, padded
from .names import Architecture, ArchitectureError, Options, Shape, Width, scaled

SMALLEST = 9  # pixels; padded to 16, whose maps are 12 -> 6 -> 2 -> 1


def build(shape: Shape, num_classes: int, options: Options) -> Network:
    """Return a LeNet; its `embed` is the last hidden layer, which DM's paper does not use."""
    channels, *sides = shape
    image = (sides[0], sides[1])
    if min(image) < SMALLEST:
        raise ArchitectureError(
            f"too deep for {image[0]}x{image[1]} images; "
            f"it needs at least {SMALLEST}x{SMALLEST} pixels"
        )
    size = _convolved(_convolved(padded(image)))
    first, second, wide, narrow = (scaled(width, options["width"]) for width in (6, 16, 120, 84))
    features = nn.Sequential(
        nn.Conv2d(channels, first, 5, padding=extra_padding(image)),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * size[0] * size[1], wide),
        nn.ReLU(inplace=True),
        nn.Linear(wide, narrow),
        nn.ReLU(inplace=True),
    )
    return Network(features, nn.Linear(narrow, num_classes))


def _convolved(size: Size) -> Size:
    """Return the size after a 5x5 convolution without padding and a pooling."""
    return halved((size[0] - 4, size[1] - 4))


LENET = Architecture(
    name="lenet",
    build=build,
    summary="2 5x5 convolutions (6, 16), 2 max poolings, 2 hidden layers (120, 84)",
    tokens=(Width(),),
)
