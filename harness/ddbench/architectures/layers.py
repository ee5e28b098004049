"""The parts that several families share: the network class, padding by size, norms, activations."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from .names import ArchitectureError

Size = tuple[int, int]  # (height, width) of a map
Norm = Callable[[int, Size], nn.Module]  # (channels, size of the map) -> layer

GROUPS = 4  # of group norm
GRID = 8  # what three 2x2 poolings divide by


class Network(nn.Module):
    """A feature extractor and a linear classifier: `forward = classifier(embed(images))`."""

    def __init__(self, features: nn.Module, classifier: nn.Linear) -> None:
        """Take the two halves; `features` may return maps, which `embed` flattens."""
        super().__init__()
        self.features = features
        self.classifier = classifier

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the input of the classifier, (B, d), for images (B, ch, H, W)."""
        return self.features(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, (B, C), for images (B, ch, H, W)."""
        return self.classifier(self.embed(images))


def has_batchnorm(module: nn.Module) -> bool:
    """Return whether any part of `module` is batch norm, told by type and not by name."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def extra_padding(size: Size) -> Size:
    """Return the pixels to add on each side so that both sides reach the next multiple of 8.

    28x28 becomes 32x32; 32x32 and 64x64 stay. The reference code pads whatever has one channel, so
    that 3x28x28 breaks and 1x32x32 grows to 36x36; padding by size agrees with it on its own
    datasets and works for the others. An odd lack is rounded up (27 -> 33; pooling floors).
    """
    height, width = ((-side % GRID + 1) // 2 for side in size)
    return height, width


def padded(size: Size) -> Size:
    """Return `size` after `extra_padding`."""
    extra = extra_padding(size)
    return size[0] + 2 * extra[0], size[1] + 2 * extra[1]


def first_padding(size: Size, kernel: int) -> Size:
    """Return the padding of a first convolution that keeps the padded size of the image."""
    extra = extra_padding(size)
    return extra[0] + kernel // 2, extra[1] + kernel // 2


def halved(size: Size, times: int = 1) -> Size:
    """Return `size` after `times` 2x2 poolings of stride 2."""
    return size[0] >> times, size[1] >> times


def trail(size: Size, poolings: int) -> str:
    """Return the maps between poolings as text: `8x8 -> 4x4 -> 2x2`."""
    return " -> ".join("{}x{}".format(*halved(size, n)) for n in range(poolings + 1))


def require_poolings(size: Size, poolings: int) -> None:
    """Raise where `poolings` of the padded image would leave a map without pixels."""
    if min(halved(padded(size), poolings)) >= 1:
        return
    sides = range(1, 2**poolings + 1)
    smallest = next(side for side in sides if min(halved(padded((side, side)), poolings)) >= 1)
    raise ArchitectureError(
        f"too deep for {size[0]}x{size[1]} images (maps {trail(padded(size), poolings)}); "
        f"it needs at least {smallest}x{smallest} pixels"
    )


def no_norm(channels: int, size: Size) -> nn.Module:
    """Return a layer that does nothing."""
    return nn.Identity()


def batch_norm(channels: int, size: Size) -> nn.Module:
    """Return batch norm with learned scale and shift."""
    return nn.BatchNorm2d(channels)


def layer_norm(channels: int, size: Size) -> nn.Module:
    """Return layer norm over channels and pixels."""
    return nn.LayerNorm([channels, *size])


def instance_norm(channels: int, size: Size) -> nn.Module:
    """Return group norm with one group per channel: the same in train and eval, and at batch 1."""
    if size == (1, 1):
        raise ArchitectureError(
            "instance norm of a 1x1 map is constant, so nothing would pass; "
            "use larger images or batch norm (bn)"
        )
    return nn.GroupNorm(channels, channels)


def group_norm(channels: int, size: Size) -> nn.Module:
    """Return group norm with 4 groups."""
    if channels % GROUPS:
        raise ArchitectureError(
            f"width {channels} with group norm of {GROUPS} groups; use a multiple of {GROUPS}"
        )
    return nn.GroupNorm(GROUPS, channels)


# In place, since each follows a layer whose backward does not need its own output.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "sigmoid": nn.Sigmoid,
    "leakyrelu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "swish": nn.SiLU,
}
