"""FRePo's network: each block twice as wide as the one before, norm before a convolution.

Zhou et al., NeurIPS 2022. Sets are condensed with batch norm (`frepo-bn`) and evaluated without any
norm (`frepo`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ddbench import Architecture, Network
from ddbench.architectures import Choice, Width
from torch import nn

BLOCKS = 3
GRID = 2**BLOCKS  # what the poolings divide by
OF_NEW = 0.9  # what statistics of a batch weigh in the running ones (flax: momentum 0.1)
TRUNCATED = 0.87962566103423978  # standard deviation of a standard normal cut at -2 and 2


def build(shape: tuple[int, int, int], num_classes: int, options: Mapping[str, Any]) -> Network:
    """Return the network: 3 blocks of convolution, ReLU and average pooling, one linear layer.

    The first convolution pads the sides to the next multiple of 8 (28x28 to 32x32).
    """
    channels, *sides = shape
    extra = [(-side % GRID + 1) // 2 for side in sides]
    layers: list[nn.Module] = []
    for k in range(BLOCKS):
        width = options["width"] * 2**k
        if k and options["norm"]:
            layers.append(nn.BatchNorm2d(channels, momentum=OF_NEW))
        padding = (1 + extra[0], 1 + extra[1]) if k == 0 else (1, 1)
        layers += [nn.Conv2d(channels, width, 3, padding=padding), nn.ReLU(), nn.AvgPool2d(2)]
        channels = width
    height, width = ((side + 2 * more) // GRID for side, more in zip(sides, extra, strict=True))
    network = Network(nn.Sequential(*layers), nn.Linear(channels * height * width, num_classes))
    return network.apply(_lecun_normal)


@torch.no_grad()
def _lecun_normal(layer: nn.Module) -> None:
    """Draw weights of variance 1 / fan-in from a cut normal, biases 0: flax's default."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        std = 1 / math.sqrt(layer.weight[0].numel()) / TRUNCATED
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
        assert layer.bias is not None  # noqa: S101  (for mypy)
        nn.init.zeros_(layer.bias)


FREPO = Architecture(
    name="frepo",
    build=build,
    summary="FRePo's: 3 blocks of 3x3 convolution (128, 256, 512), ReLU, average pooling",
    tokens=(Width(base=128), Choice("norm", {"nn": False, "bn": True})),
)
