"""The six operations of differentiable siamese augmentation.

DSA: Dataset Condensation with Differentiable Siamese Augmentation (Zhao & Bilen, ICML 2021), with
the definitions of its reference code. All act on normalised images, so the zero that crop, cutout,
scale and rotate fill in is the mean colour of the dataset and brightness is in units of its std.
"""

import math
from dataclasses import dataclass

import torch

from ddbench.augment.operation import Operation, Parameters, Shape, integers, uniform
from ddbench.augment.sampling import sample_bilinear, take


@dataclass(frozen=True)
class Constants:
    """The strength of each operation, at the published values."""

    brightness: float = 1.0  # width of the added shift, centred on 0
    saturation: float = 2.0  # the factor is uniform in [0, saturation)
    contrast: float = 0.5  # the factor is uniform in [contrast, contrast + 1)
    crop: float = 0.125  # largest translation, as a share of each side
    cutout: float = 0.5  # side of the hole, as a share of each side
    flip: float = 0.5  # probability
    scale: float = 1.2  # largest factor; the smallest is its inverse
    rotate: float = 15.0  # largest angle, degrees


CONSTANTS = Constants()


def draw_color(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw brightness, saturation and contrast, in this order, each (count,)."""
    return {
        "brightness": (uniform(0, 1, (count,), generator) - 0.5) * CONSTANTS.brightness,
        "saturation": uniform(0, 1, (count,), generator) * CONSTANTS.saturation,
        "contrast": uniform(0, 1, (count,), generator) + CONSTANTS.contrast,
    }


def color(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Shift the brightness, then scale each pixel's distance to grey, then each image's to flat.

    On one channel a pixel is its own grey: saturation then changes nothing.
    """
    brightness, saturation, contrast = (
        parameters[name][:, None, None, None] for name in ("brightness", "saturation", "contrast")
    )
    images = images + brightness
    grey = images.mean(dim=1, keepdim=True)  # (B, 1, H, W)
    images = (images - grey) * saturation + grey
    flat = images.mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return (images - flat) * contrast + flat


def draw_crop(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw the translation in whole pixels, rows then columns, each (count,)."""
    reach_rows, reach_columns = (_share(side, CONSTANTS.crop) for side in shape[1:])
    return {
        "rows": integers(-reach_rows, reach_rows, (count,), generator),
        "columns": integers(-reach_columns, reach_columns, (count,), generator),
    }


def crop(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Translate by whole pixels, filling with zero."""
    rows, columns = _pixels(images)
    return take(
        images, rows + parameters["rows"][:, None], columns + parameters["columns"][:, None]
    )


def draw_cutout(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw the centre of the hole, row then column, each (count,).

    A hole of even side is centred on a pixel's edge, of which there is one more than pixels.
    """
    rows, columns = (side - _share(side, CONSTANTS.cutout) % 2 for side in shape[1:])
    return {
        "row": integers(0, rows, (count,), generator),
        "column": integers(0, columns, (count,), generator),
    }


def cutout(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Zero a rectangle of half the height and half the width, clipped at the borders."""
    rows, columns = _pixels(images)
    height, width = (_share(side, CONSTANTS.cutout) for side in images.shape[2:])
    rows = rows - parameters["row"][:, None] + height // 2  # (n, H), 0..height-1 in the hole
    columns = columns - parameters["column"][:, None] + width // 2
    in_rows = ((rows >= 0) & (rows < height))[:, None, :, None]
    in_columns = ((columns >= 0) & (columns < width))[:, None, None, :]
    return images.masked_fill(in_rows & in_columns, 0.0)


def draw_flip(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw which images are mirrored, (count,) bool."""
    return {"flip": uniform(0, 1, (count,), generator) < CONSTANTS.flip}


def flip(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Mirror the chosen images left to right."""
    return torch.where(parameters["flip"][:, None, None, None], images.flip(3), images)


def draw_scale(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw the horizontal and then, independently, the vertical factor, each (count,)."""
    low, high = 1 / CONSTANTS.scale, CONSTANTS.scale
    return {
        "x": uniform(low, high, (count,), generator),
        "y": uniform(low, high, (count,), generator),
    }


def scale(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Read the image on a grid stretched by the factors: above 1 the content shrinks."""
    x, y = parameters["x"], parameters["y"]
    zero = torch.zeros_like(x)
    return _affine(images, (x, zero), (zero, y))


def draw_rotate(count: int, shape: Shape, generator: torch.Generator) -> Parameters:
    """Draw the angle in degrees, (count,)."""
    return {"degrees": uniform(-CONSTANTS.rotate, CONSTANTS.rotate, (count,), generator)}


def rotate(images: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Rotate about the centre, in coordinates that run from -1 to 1 along each side.

    As in the reference code, so that an image that is not square is sheared as well.
    """
    angle = parameters["degrees"] * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    return _affine(images, (cos, -sin), (sin, cos))


OPERATIONS = {
    "color": Operation(draw_color, color),
    "crop": Operation(draw_crop, crop),
    "cutout": Operation(draw_cutout, cutout),
    "flip": Operation(draw_flip, flip),
    "scale": Operation(draw_scale, scale),
    "rotate": Operation(draw_rotate, rotate),
}


def _share(side: int, ratio: float) -> int:
    """Return `ratio` of a side in whole pixels, halves rounded up."""
    return int(side * ratio + 0.5)


def _pixels(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row numbers (1, H) and column numbers (1, W) of the images."""
    H, W = images.shape[2:]
    return (
        torch.arange(H, device=images.device)[None],
        torch.arange(W, device=images.device)[None],
    )


def _affine(
    images: torch.Tensor,
    to_x: tuple[torch.Tensor, torch.Tensor],
    to_y: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Read each image at x = a x' + b y', y = c x' + d y', (a, b) = to_x, (c, d) = to_y, all (n,).

    The same as `F.affine_grid` and `F.grid_sample` with bilinear interpolation, zero padding and
    align_corners=False: -1 and 1 are the outer edges of the border pixels. (The published DSA
    runs used torch 1.2, where the default put them on the pixels' centres: on square images, as all
    of theirs are, that is the same map. A rotation shears others a little differently.)
    """
    H, W = images.shape[2:]
    rows, columns = _pixels(images)
    y = ((2 * rows + 1).to(images.dtype) / H - 1)[:, :, None]  # (1, H, 1)
    x = ((2 * columns + 1).to(images.dtype) / W - 1)[:, None, :]  # (1, 1, W)
    a, b, c, d = (factor[:, None, None] for factor in (*to_x, *to_y))
    return sample_bilinear(
        images, ((c * x + d * y + 1) * H - 1) / 2, ((a * x + b * y + 1) * W - 1) / 2
    )
