"""CutMix and mixup: two images of a batch made one, always out of place."""

from __future__ import annotations

import numpy as np
import torch

from ddbench.contract.recipes import Mix


def mixed(
    mix: Mix, images: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None, float]:
    """Return (images, partner, share) of a batch, mixed out of place or, by chance, left alone.

    `share` is what is left of each image: of CutMix the true share of its pixels.
    """
    if mix.name == "cutmix":
        size = (images.shape[2], images.shape[3])
        box, drawn = mixed_box(mix, len(images), size, generator)
        if not box[2] * box[3]:
            return images, None, 1.0
        partner = drawn.to(images.device)
        return pasted(images, partner, box), partner, 1 - box[2] * box[3] / (size[0] * size[1])
    share = _drawn_share(mix, generator)
    if share is None:
        return images, None, 1.0
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    return share * images + (1 - share) * images[partner], partner, share


def mixed_box(
    mix: Mix | None, count: int, size: tuple[int, int], generator: torch.Generator
) -> tuple[tuple[int, int, int, int], torch.Tensor]:
    """Draw CutMix for a batch of `count` images of `size`: (box, partners).

    The box is top, left, height, width; without pixels where the batch is not mixed, and each
    image is its own partner then.
    """
    share = None if mix is None else _drawn_share(mix, generator)
    if share is None:
        return (0, 0, 0, 0), torch.arange(count)
    partner = torch.randperm(count, generator=generator)
    return _drawn_box(share, size, generator), partner


def _drawn_share(mix: Mix, generator: torch.Generator) -> float | None:
    """Draw the share of the first image, None where the batch is left alone."""
    if mix.p < 1 and torch.rand((), generator=generator) >= mix.p:
        return None
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(mix.alpha, mix.alpha))


def pasted(
    images: torch.Tensor, partner: torch.Tensor, box: tuple[int, int, int, int]
) -> torch.Tensor:
    """Return the images with one box (top, left, height, width) of their partners, out of place."""
    top, left, height, width = box
    result = images.clone()
    rows, columns = slice(top, top + height), slice(left, left + width)
    result[:, :, rows, columns] = images[partner][:, :, rows, columns]
    return result


def _drawn_box(
    share: float, size: tuple[int, int], generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Draw CutMix's box for a share of the image that stays, cut off at the image's edges."""
    height, width = size
    cut = (1 - share) ** 0.5
    centre = [int(torch.randint(length, (), generator=generator)) for length in size]
    half = (int(height * cut) // 2, int(width * cut) // 2)
    top, left = (max(0, c - h) for c, h in zip(centre, half, strict=True))
    bottom, right = (min(length, c + h) for c, h, length in zip(centre, half, size, strict=True))
    return top, left, bottom - top, right - left
