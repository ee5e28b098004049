"""Read image files into arrays of bytes, and resize such arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddbench.datasets.errors import DatasetError
from ddbench.text.lines import reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
GREY_MODES = frozenset({"1", "L", "LA"})
# Modes of more than 8 bits a channel would be clipped, not scaled, on the way to bytes.
COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"})


def find_images(folder: Path) -> list[Path]:
    """Return the image files anywhere below `folder`, sorted by path; hidden files are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not path.name.startswith("."))


def are_grey(paths: Sequence[Path]) -> bool:
    """Say whether every image is grey; reads headers only."""
    for path in paths:
        with _opened(path) as image:
            if image.mode not in GREY_MODES:
                return False
    return True


def read_images(paths: Sequence[Path], channels: int, size: int | None = None) -> NDArray[np.uint8]:
    """Return the images as (n, channels, H, W) bytes, resized to (size, size) where size is given.

    Args:
        paths: n image files of any PIL format with 8 bits a channel.
        channels: 1 for grey, 3 for RGB; images are converted to it.
        size: Pixels of a side; None keeps the images' own size, which must then be one.

    Raises:
        DatasetError: A file that is no image, is cut short, has more than 8 bits a channel, or
            has another size than the first.
    """
    images = np.empty((0, channels, 0, 0), dtype=np.uint8)
    for index, path in enumerate(paths):
        pixels = _pixels(path, "L" if channels == 1 else "RGB", size)
        if index == 0:
            images = np.empty((len(paths), channels, *pixels.shape[:2]), dtype=np.uint8)
        if pixels.shape[:2] != images.shape[2:]:
            height, width = images.shape[2:]
            raise DatasetError(
                f"{path}: is {pixels.shape[0]}x{pixels.shape[1]} (height x width), but {paths[0]}"
                f" is {height}x{width}; give option size to make all images one size: ?size=32 "
                "behind the dataset's name"
            )
        images[index] = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    return images


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return (n, ch, size, size): PIL's bilinear filter, widened when shrinking (antialiased)."""
    from PIL import Image

    if images.shape[2:] == (size, size):
        return images
    resized = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for source, target in zip(images, resized, strict=True):
        for channel in range(len(source)):
            plane = Image.fromarray(np.ascontiguousarray(source[channel]))
            target[channel] = plane.resize((size, size), Image.Resampling.BILINEAR)
    return resized


def _pixels(path: Path, mode: str, size: int | None) -> NDArray[np.uint8]:
    from PIL import Image

    with _opened(path) as image:
        try:
            converted = image.convert(mode)  # decodes: a file cut short is noticed here
        except Exception as error:  # PIL raises many types, by format
            raise _broken(path, error) from error
    if size is not None and converted.size != (size, size):
        converted = converted.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(converted)


def _opened(path: Path) -> Image:
    from PIL import Image

    try:
        image = Image.open(path)
    except Exception as error:
        raise _broken(path, error) from error
    if image.mode not in GREY_MODES | COLOUR_MODES:
        image.close()
        raise DatasetError(
            f"{path}: has pixels of mode {image.mode}; convert it to 8 bits a channel"
        )
    return image


def _broken(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path}: cannot be read as an image ({reason_of(error)});"
        " get the file again, or take it out of the dataset"
    )
