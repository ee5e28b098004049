"""The first stage: stored images -> the images that a network sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.formations.parts import Decoded, Fit, Formation, NoOptions, Parts, part_of

MOST_FACTOR = 8
MOST_IMAGES = 64  # decoded images of one stored row


def decode(synthetic: SyntheticSet, parts: Parts | None = None) -> Decoded:
    """Return the images that networks are trained on; `parts` None are the built-in ones.

    Deterministic, and differentiable in the stored images. Of a set without a decoder they are the
    stored images themselves.

    Raises:
        SetError: The decoder is unknown, or gives something other than images and their rows.
    """
    name, part, options = part_of(synthetic, "decode", parts)
    decoded = part.apply(options, synthetic)
    if not isinstance(decoded, Decoded):
        raise SetError(f"decoder {name!r} gives {type(decoded).__name__}; expected Decoded")
    return decoded


def upsample(images: torch.Tensor, factor: int) -> torch.Tensor:
    """Return the factor² tiles of each image, every one enlarged to the image's size.

    The multi-formation of IDC (Kim et al., ICML 2022, section 4.1): tiles in row-major order, each
    enlarged bilinearly without aligned corners.

    Args:
        images: (N, ch, H, W) with H and W divisible by `factor`.
        factor: f; 1 returns the images themselves.

    Returns:
        (N·f², ch, H, W): all images' first tiles, then all second tiles, and so on.

    Raises:
        SetError: The image does not divide into tiles.
    """
    if factor == 1:
        return images
    height, width = images.shape[2:]
    if uneven := _uneven(images, factor):
        raise SetError(uneven)
    tiles = [
        tile for row in images.split(height // factor, 2) for tile in row.split(width // factor, 3)
    ]
    return F.interpolate(
        torch.cat(tiles), size=(height, width), mode="bilinear", align_corners=False
    )


@dataclass(frozen=True)
class Upsample:
    """Options of `upsample`: f² tiles in each stored image."""

    factor: int

    def __post_init__(self) -> None:
        """Refuse a factor that would fill the memory."""
        if not 1 <= self.factor <= MOST_FACTOR:
            raise ValueError(f"factor is {self.factor}; expected 1 to {MOST_FACTOR}")


def _identity(options: NoOptions, synthetic: SyntheticSet) -> Decoded:
    rows = torch.arange(len(synthetic.images), device=synthetic.images.device)
    return Decoded(synthetic.images, rows)


def _upsample(options: Upsample, synthetic: SyntheticSet) -> Decoded:
    rows = torch.arange(len(synthetic.images), device=synthetic.images.device)
    return Decoded(upsample(synthetic.images, options.factor), rows.repeat(options.factor**2))


def _check_upsample(options: Upsample, synthetic: SyntheticSet, fit: Fit) -> list[str]:
    uneven = _uneven(synthetic.images, options.factor)
    return [uneven] if uneven else []


def _uneven(images: torch.Tensor, factor: int) -> str:
    """Return why images do not divide into tiles, "" where they do."""
    height, width = images.shape[2:]
    if not (height % factor or width % factor):
        return ""
    return (
        f"upsample: images of {height}x{width} do not divide into {factor}x{factor} tiles;"
        " take a factor that divides both"
    )


PARTS = {
    "identity": Formation("decode", NoOptions, _identity, "the stored images themselves"),
    "upsample": Formation(
        "decode", Upsample, _upsample, "tiles of each stored image, enlarged", _check_upsample
    ),
}
