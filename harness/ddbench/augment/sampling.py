"""Resample images: whole pixels, bilinear, cubic spline; linear in the images.

Plain gathers rather than `F.grid_sample`, which was tried. In torch 2.11, the lowest version
supported, it has no double backward (`gradgradcheck`, and `torch.func.grad` twice, end in
"derivative for aten::grid_sampler_2d_backward is not implemented") and no `jvp`. In torch 2.15 it
has both, but no `jvp` of its gradient. Gathers have all of them, and `vmap`, in every version.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


def take(
    images: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    fill: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Return the pixels at `rows` x `columns` of each image, `fill` where they lie outside.

    images (B, ch, H, W); rows (n, H') and columns (n, W') int64 with n = B or 1;
    fill broadcastable to (B, ch, H', W'). Returns (B, ch, H', W').
    """
    B, ch, H, W = images.shape
    inside_rows = ((rows >= 0) & (rows < H))[:, None, :, None]
    inside_columns = ((columns >= 0) & (columns < W))[:, None, None, :]
    rows = rows.clamp(0, H - 1)[:, None, :, None].expand(B, ch, -1, W)
    columns = columns.clamp(0, W - 1)[:, None, None, :].expand(B, ch, rows.shape[2], -1)
    taken = images.gather(2, rows).gather(3, columns)  # (B, ch, H', W')
    return torch.where(inside_rows & inside_columns, taken, fill)


def sample_bilinear(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the images at pixel coordinates y, x, interpolated bilinearly, zero outside.

    images (B, ch, H, W); y, x (n, H', W') with n = B or 1, in pixels from the centre of the first.
    Same values as `F.grid_sample(..., padding_mode="zeros")`. Returns (B, ch, H', W').
    """
    H, W = images.shape[2:]
    # A frame of zeros stands for everything outside, so no corner needs a mask.
    y, x = y.clamp(-1, H) + 1, x.clamp(-1, W) + 1
    padded = F.pad(images, (1, 2, 1, 2))
    top, left = y.floor(), x.floor()
    y, x = (y - top)[:, None], (x - left)[:, None]  # (n, 1, H', W') in [0, 1)
    corner = (top * (W + 3) + left).long()
    upper = torch.lerp(_at(padded, corner), _at(padded, corner + 1), x)
    lower = torch.lerp(_at(padded, corner + W + 3), _at(padded, corner + W + 4), x)
    return torch.lerp(upper, lower, y)


def sample_cubic(
    images: torch.Tensor, y: torch.Tensor, x: torch.Tensor, fill: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Return the images at pixel coordinates y, x on their cubic spline, `fill` outside.

    The interpolation of `scipy.ndimage` with order 3 and mode "constant", and as there a point
    outside the centres of the border pixels is all fill. Needs H, W >= 3.
    images (B, ch, H, W); y, x (n, H', W') with n = B or 1. Returns (B, ch, H', W').
    """
    H, W = images.shape[2:]
    inside = ((y >= 0) & (y <= H - 1) & (x >= 0) & (x <= W - 1))[:, None]
    y, x = y.clamp(0, H - 1), x.clamp(0, W - 1)
    top, left = y.floor(), x.floor()
    coefficients = F.pad(spline_coefficients(images), (1, 2, 1, 2), mode="reflect")
    corner = (top * (W + 3) + left).long()  # of the 4 x 4 neighbours, one up and one left
    weights_y, weights_x = _spline_weights(y - top), _spline_weights(x - left)
    sampled = torch.zeros((), dtype=images.dtype, device=images.device)
    for i, weight_y in enumerate(weights_y):
        for j, weight_x in enumerate(weights_x):
            neighbour = _at(coefficients, corner + i * (W + 3) + j)
            sampled = sampled + neighbour * (weight_y * weight_x)[:, None]
    return torch.where(inside, sampled, fill)


def spline_coefficients(images: torch.Tensor) -> torch.Tensor:
    """Return the cubic B-spline coefficients of each image, (B, ch, H, W), mirrored at borders."""
    rows, columns = (
        torch.from_numpy(_spline_filter(size)).to(images.dtype).to(images.device, non_blocking=True)
        for size in images.shape[2:]
    )
    return rows @ images @ columns.T


@lru_cache
def _spline_filter(size: int) -> NDArray[np.float64]:
    """Return the matrix that turns `size` samples into their spline coefficients.

    Its inverse is tridiagonal: a sample is 4/6 of its own coefficient and 1/6 of each neighbour's,
    the neighbour beyond the border being the mirrored one.
    """
    # Kept as numpy: a tensor first made under inference_mode could never meet autograd later.
    samples = np.zeros((size, size))
    for row in range(size):
        for column, weight in ((row - 1, 1 / 6), (row, 4 / 6), (row + 1, 1 / 6)):
            column = abs(column) if column < size else 2 * (size - 1) - column
            samples[row, column] += weight
    return np.asarray(np.linalg.inv(samples), dtype=np.float64)


def _spline_weights(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the weights of the coefficients at -1, 0, 1 and 2 for a point at t in [0, 1)."""
    s = 1 - t
    return s**3 / 6, 2 / 3 - t * t * (2 - t) / 2, 2 / 3 - s * s * (2 - s) / 2, t**3 / 6


def _at(images: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the pixels at flat positions `index` (n, H', W') of each image, (B, ch, H', W')."""
    B, ch = images.shape[:2]
    flat = index.flatten(1)[:, None].expand(B, ch, -1)
    return images.flatten(2).gather(2, flat).unflatten(2, index.shape[1:])
