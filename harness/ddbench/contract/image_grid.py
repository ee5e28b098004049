"""Pictures of synthetic sets: images laid out in class order, in the colours of the real data."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from ddbench.contract.synthetic_set import SyntheticSet

GAP = 2  # pixels between images
SMALLEST = 64  # an image narrower than this is enlarged, by a whole factor
WHITENED = 2.5  # standard deviations that reach black and white, where no mean can be put back


def grid(synthetic: SyntheticSet, columns: int = 10) -> Image:
    """Return the images of a set as one picture, `columns` in a row, in class order."""
    images = synthetic.images.detach().cpu().numpy()
    labels = synthetic.hard_labels().cpu().numpy()
    return picture(images, labels, synthetic.provenance, columns)


def as_html(synthetic: SyntheticSet) -> str:
    """Return the set as HTML for a notebook: what it is, and its images."""
    made_by = synthetic.provenance.get("id") or "a synthetic set"
    ch, height, width = synthetic.images.shape[1:]
    labels = "soft" if synthetic.soft else "hard"
    text = f"{made_by}: {len(synthetic)} images of {ch}×{height}×{width}, {labels} labels"
    data = base64.b64encode(png(grid(synthetic))).decode()
    return f'<p>{html.escape(text)}</p><img src="data:image/png;base64,{data}">'


def picture(
    images: np.ndarray, labels: np.ndarray, provenance: Mapping[str, Any], columns: int = 10
) -> Image:
    """Return images, (N, ch, H, W) float32 as a set holds them, as one RGB or grey picture."""
    from PIL import Image

    order = np.argsort(labels, kind="stable")
    tiles = as_bytes(visible(images[order], provenance))  # (N, H, W, 1 or 3)
    n, height, width, channels = tiles.shape
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    factor = max(1, -(-SMALLEST // width)) if width < SMALLEST else 1
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor, width * factor
    sheet = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8
    )
    for k, tile in enumerate(tiles):
        top, left = (k // columns) * (height + GAP), (k % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


def visible(images: np.ndarray, provenance: Mapping[str, Any]) -> np.ndarray:
    """Return images with values in [0, 1]: normalisation undone, or, where whitened, spread out."""
    images = np.where(np.isfinite(images), images, 0.0).astype(np.float64)
    mean = channel_constants(provenance, "mean", images.shape[1])
    std = channel_constants(provenance, "std", images.shape[1])
    if provenance.get("zca") or mean is None or std is None:
        spread = images.std() or 1.0
        return np.clip(0.5 + (images - images.mean()) / (2 * WHITENED * spread), 0, 1)
    return np.clip(images * std + mean, 0, 1)


def channel_constants(provenance: Mapping[str, Any], name: str, channels: int) -> np.ndarray | None:
    """Return numbers of a set's file, one a channel, (1, ch, 1, 1); None if they are not that."""
    values = provenance.get(name)
    if not isinstance(values, list | tuple) or len(values) != channels:
        return None
    if not all(isinstance(value, int | float) and abs(value) < 1e6 for value in values):
        return None
    return np.asarray(values, np.float64).reshape(1, -1, 1, 1)


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Return (N, H, W, 1 or 3) uint8 of (N, ch, H, W) in [0, 1]; other channel counts as grey."""
    if images.shape[1] not in (1, 3):
        images = images.mean(axis=1, keepdims=True)
    return np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def png(image: Image) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
