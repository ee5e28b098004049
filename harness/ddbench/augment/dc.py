"""The augmentations under which DC evaluates: one operation per image, not per batch.

DC: Dataset Condensation with Gradient Matching (Zhao et al., ICLR 2021), with the definitions of
its reference code, there a loop over images through numpy and scipy. `dc-mnist` gives each image a
crop, a scale or a rotation; `dc-bn`, meant for networks with batch normalisation, a crop or noise.
"""

from dataclasses import dataclass

import torch

from ddbench.augment.operation import Operation, Parameters, Shape, integers, mixture, uniform
from ddbench.augment.sampling import sample_cubic, take


@dataclass(frozen=True)
class Constants:
    """The strength of each operation, at the published values."""

    crop: int = 4  # pixels of padding on each side
    scale: float = 0.2  # largest change of either side, as a share of it
    rotate: int = 45  # largest angle, whole degrees
    noise: float = 0.001  # standard deviation


CONSTANTS = Constants()


def draw_crop(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw the translation in whole pixels, rows then columns, each (count,).

    From -4 to 3: of the nine places a padded image can be cut, the reference never takes the last.
    """
    low, high = -CONSTANTS.crop, CONSTANTS.crop - 1
    return {
        "rows": integers(low, high, (count,), generator),
        "columns": integers(low, high, (count,), generator),
    }


def crop(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Translate by whole pixels, filling with the batch's mean of the channel."""
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
    fill = images.mean(dim=(0, 2, 3))[:, None, None]  # (ch, 1, 1)
    return take(
        images, rows + parameters["rows"][:, None], columns + parameters["columns"][:, None], fill
    )


def draw_scale(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw the new height and then, independently, the new width, in pixels, each (count,)."""
    low, high = 1 - CONSTANTS.scale, 1 + CONSTANTS.scale
    return {
        "height": (uniform(low, high, (count,), generator) * shape[1]).long(),
        "width": (uniform(low, high, (count,), generator) * shape[2]).long(),
    }


def scale(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Resize to the nearest pixel, centre on zeros, and cut back to the size of the image."""
    height, width = parameters["height"], parameters["width"]
    # The reference pastes on a square canvas; its side's parity decides how halves are rounded.
    canvas = torch.maximum(height, width).clamp(min=max(images.shape[2:]))
    rows = _nearest(images.shape[2], height, canvas)
    columns = _nearest(images.shape[3], width, canvas)
    return take(images, rows, columns)


def draw_rotate(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw whole degrees from -45 to 44, (count,)."""
    low, high = -CONSTANTS.rotate, CONSTANTS.rotate - 1
    return {"degrees": integers(low, high, (count,), generator)}


def rotate(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Rotate on the cubic spline, filling with the batch's mean, and cut the middle out.

    Equal to `scipy.ndimage.rotate` with its default order and reshape, followed by the reference's
    cut: where the enlarged image is longer by an odd number of pixels, the cut is half a pixel off
    its centre.
    """
    H, W = images.shape[2:]
    angle = torch.deg2rad(parameters["degrees"].to(images.dtype))  # (n,)
    cos, sin = angle.cos(), angle.sin()
    y = _from_middle(H, cos * H + sin.abs() * W)[:, :, None]  # (n, H, 1)
    x = _from_middle(W, sin.abs() * H + cos * W)[:, None, :]  # (n, 1, W)
    cos, sin = cos[:, None, None], sin[:, None, None]
    return sample_cubic(
        images, cos * y + sin * x + (H - 1) / 2, cos * x - sin * y + (W - 1) / 2, images.mean()
    )


def draw_noise(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw Gaussian noise for every pixel, (count, ch, H, W)."""
    return {"noise": CONSTANTS.noise * torch.randn((count, *shape), generator=generator)}


def noise(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Add the noise."""
    return images + parameters["noise"]


OPERATIONS = {
    "dc-mnist": mixture(
        {
            "crop": Operation(draw_crop, crop),
            "scale": Operation(draw_scale, scale),
            "rotate": Operation(draw_rotate, rotate),
        }
    ),
    "dc-bn": mixture({"crop": Operation(draw_crop, crop), "noise": Operation(draw_noise, noise)}),
}


def _nearest(side: int, resized: torch.Tensor, canvas: torch.Tensor) -> torch.Tensor:
    """Return which pixel of a side is seen at each of its places once it is `resized`, (n, side).

    -1 where nothing is. resized, canvas (n,) int64: its new length and the canvas it is pasted on.
    """
    place = (
        torch.arange(side, device=resized.device)
        + ((canvas - side) // 2 - (canvas - resized) // 2)[:, None]
    )
    # In float32 whatever the images' dtype: F.interpolate rounds so, and may miss by one pixel.
    source = (place * (side / resized.to(torch.float32))[:, None]).floor().long()
    return torch.where((place >= 0) & (place < resized[:, None]), source, -1)


def _from_middle(side: int, enlarged: torch.Tensor) -> torch.Tensor:
    """Return how far the pixels of the cut lie from the middle of the enlarged side, (n, side)."""
    length = (enlarged + 0.5).floor()
    start = ((length - side) / 2).floor()
    pixels = torch.arange(side, dtype=enlarged.dtype, device=enlarged.device)
    return pixels + (start - (length - 1) / 2)[:, None]
