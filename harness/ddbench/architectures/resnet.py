"""ResNet18 for small images: a 3x3 stem, four stages of two basic blocks, no padding by size.

The form `-ap` halves the maps by average pooling instead of stride and pools nothing at the end;
the papers condense with that one.
"""

import torch
from torch import nn

from .layers import Network, Norm, Size, batch_norm, halved, instance_norm
from .names import Architecture, ArchitectureError, Choice, Options, Shape, Width, scaled
from .pooling import AveragePool

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # (channels, stride of the first block)


class Block(nn.Module):
    """Two 3x3 convolutions with norm, added to a shortcut."""

    def __init__(
        self, channels: int, width: int, stride: int, size: Size, norm: Norm, pooled: bool
    ) -> None:
        """Map (B, channels, ...) to (B, width, ...), halving the maps where `stride` is 2.

        `size` is that of the maps that come in; `pooled` halves by average pooling.
        """
        super().__init__()
        pool: list[nn.Module] = [AveragePool()] if pooled and stride == 2 else []
        step = 1 if pooled else stride
        out = shrunk(size, stride, pooled)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=step, padding=1, bias=False),
            norm(width, size if pooled else out),
            nn.ReLU(inplace=True),
            *pool,
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            norm(width, out),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            projection = nn.Conv2d(channels, width, 1, stride=step, bias=False)
            self.shortcut = nn.Sequential(projection, *pool, norm(width, out))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the block's output maps."""
        return torch.relu(self.residual(maps) + self.shortcut(maps))


def shrunk(size: Size, stride: int, pooled: bool) -> Size:
    """Return the size after a block: a strided convolution rounds up, pooling rounds down."""
    if stride == 1:
        return size
    return halved(size) if pooled else halved((size[0] + 1, size[1] + 1))


def build(shape: Shape, num_classes: int, options: Options) -> Network:
    """Return a ResNet18 whose hidden widths are multiplied by the `width` factor."""
    in_channels, *sides = shape
    size = (sides[0], sides[1])
    norm, pooled = options["norm"], options["pooling"]
    channels = scaled(STAGES[0][0], options["width"])
    layers = [
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        norm(channels, size),
        nn.ReLU(inplace=True),
    ]
    for full_width, first_stride in STAGES:
        width = scaled(full_width, options["width"])
        for stride in (first_stride, 1):
            layers.append(Block(channels, width, stride, size, norm, pooled))
            channels, size = width, shrunk(size, stride, pooled)
            _require_pixels(size, shape)
    if not pooled:
        # The papers pool 4x4, all of the map of a 32x32 image; smaller maps are pooled whole.
        window = (min(4, size[0]), min(4, size[1]))
        layers.append(nn.AvgPool2d(window))
        size = size[0] // window[0], size[1] // window[1]
    return Network(nn.Sequential(*layers), nn.Linear(channels * size[0] * size[1], num_classes))


def _require_pixels(size: Size, shape: Shape) -> None:
    # Only the pooled form can run out: a strided convolution of a 1x1 map is 1x1 again.
    if min(size) < 1:
        raise ArchitectureError(
            f"too deep for {shape[1]}x{shape[2]} images: "
            "three average poolings need at least 8x8 pixels"
        )


RESNET18 = Architecture(
    name="resnet18",
    build=build,
    summary="8 residual blocks (64 to 512), instance norm, ReLU; strided, or pooled (ap)",
    tokens=(
        Width(),
        Choice("norm", {"in": instance_norm, "bn": batch_norm}),
        Choice("pooling", {"strided": False, "ap": True}),
    ),
)
