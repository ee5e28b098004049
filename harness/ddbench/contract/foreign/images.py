"""Images of other programs, brought into the space of the data that they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ddbench.contract.foreign.errors import ForeignError

if TYPE_CHECKING:
    from ddbench.datasets import Dataset
    from ddbench.datasets.tensors import Whitening

SPACES = ("normalised", "zca", "0..1", "0..255")
MOST_OUTSIDE = 0.5  # of the values of pixels that were optimised
MOST = {"0..1": 3.0, "0..255": 765.0}  # synthetic pixels leave their range, but not so far


@dataclass(frozen=True)
class Source:
    """In which space images are, as a person has said.

    Attributes:
        space: Of `SPACES`; "" where nothing was said.
        mean, std: One number a channel, of pixels in [0, 1], that "normalised" images were
            normalised with; () is by the data's own.
    """

    space: str
    mean: Sequence[float] = ()
    std: Sequence[float] = ()


def in_space_of(
    found: torch.Tensor, real: Dataset, source: Source, whitening: Whitening | None
) -> torch.Tensor:
    """Return images as networks take those of `real`, (N, ch, H, W) float32.

    `whitening` is that of `real`, where it is whitened.

    Raises:
        ForeignError: Their shape is another, or it is not said in which space they are.
    """
    images = _shaped(found.detach(), real.shape)
    space = source.space or ("0..255" if images.dtype == torch.uint8 else "")
    if not space:
        raise ForeignError(
            "in which space are the images? say by --space: normalised (by the data's mean and std,"
            " or those of --mean and --std), zca (whitened), 0..1 or 0..255"
        )
    if images.dtype == torch.uint8 and space != "0..255":
        raise ForeignError(f"--space {space}: the images are bytes (uint8): 0..255")
    if (source.mean or source.std) and space != "normalised":
        raise ForeignError(f"--mean and --std: are of normalised images; --space is {space}")
    images = images.float()
    if not torch.isfinite(images).all():
        raise ForeignError("images hold NaN or infinite values")
    if space == "zca":
        if whitening is None:
            raise ForeignError(f"--space zca: name the data whitened, as {_whitened(real.name)}")
        return images
    if space == "normalised" and not source.mean:
        if whitening is not None:
            raise ForeignError("--space normalised: these data are whitened; leave out ?zca=true")
        return images
    return _networks_take(_pixels(images, space, source), real, whitening)


def _pixels(images: torch.Tensor, space: str, source: Source) -> torch.Tensor:
    """Return images as pixels of 0..1."""
    if space == "normalised":
        channels = images.shape[1]
        if len(source.mean) != channels or len(source.std) != channels:
            raise ForeignError(
                f"--mean and --std: give {channels} numbers each, one a channel, as"
                f" {','.join(['0.5'] * channels)}"
            )
        mean, std = (torch.tensor(list(v)).view(1, -1, 1, 1) for v in (source.mean, source.std))
        if not bool((std > 0).all()):
            raise ForeignError("--std: expected numbers above 0")
        return images * std + mean
    largest = float(images.abs().max())
    if largest > MOST[space]:
        raise ForeignError(f"--space {space}: images have values up to {largest:.3g}")
    if space == "0..255" and largest <= 1:
        raise ForeignError(f"--space 0..255: no value is above {largest:.3g}; is it 0..1?")
    pixels = images / 255 if space == "0..255" else images
    outside = float(((pixels < 0) | (pixels > 1)).float().mean())
    if outside > MOST_OUTSIDE:
        raise ForeignError(
            f"--space {space}: {100 * outside:.0f}% of the values lie outside {space}, as in images"
            " that are normalised or whitened"
        )
    return pixels


def _networks_take(
    pixels: torch.Tensor, real: Dataset, whitening: Whitening | None
) -> torch.Tensor:
    if whitening is not None:
        return whitening.apply(pixels)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (real.mean, real.std))
    return (pixels - mean) / std


def _shaped(found: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Return images with their axes in order: (N, ch, H, W)."""
    channels, height, width = shape
    if found.ndim == 3 and channels == 1:
        found = found.unsqueeze(1)
    if found.ndim == 4 and tuple(found.shape[1:]) == (height, width, channels) != shape:
        found = found.permute(0, 3, 1, 2)
    if found.ndim != 4 or tuple(found.shape[1:]) != shape or not len(found):
        raise ForeignError(
            f"images have the shape {tuple(found.shape)}; the data's are {shape}: name the data"
            " that the set was made of, in the size that it has (?size=32)"
        )
    if found.is_complex() or found.dtype == torch.bool:
        raise ForeignError(f"images are {found.dtype}; expected numbers")
    return found.contiguous()


def _whitened(name: str) -> str:
    return f"'{name}{'&' if '?' in name else '?'}zca=true'"
