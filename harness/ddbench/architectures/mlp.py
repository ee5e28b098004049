"""A multilayer perceptron with two hidden layers."""

import math

from torch import nn

from .layers import Network
from .names import Architecture, Options, Shape, Width, scaled


def build(shape: Shape, num_classes: int, options: Options) -> Network:
    """Return an MLP; its `embed` is the last hidden layer, which DM's paper does not use."""
    hidden = scaled(128, options["width"])
    features = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
    )
    return Network(features, nn.Linear(hidden, num_classes))


MLP = Architecture(
    name="mlp", build=build, summary="2 hidden layers (128), ReLU", tokens=(Width(),)
)
