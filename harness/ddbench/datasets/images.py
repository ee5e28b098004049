"""Read image files into arrays of bytes, and resize such arrays."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.datasets.errors import DatasetError
from ddbench.datasets.texts import class_name
from ddbench.text.lines import reason_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

# Folders that systems put beside a user's own files; `.hidden` ones are left out too.
LITTER = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
SHOWN = 3  # names in a note


@dataclass(frozen=True)
class MethodEntry:
    """What lies below a folder.

    Attributes:
        images: Image files, sorted by path.
        left_out: Files that are not images, hidden files, and folders of the operating system.
    """

    images: list[Path]
    left_out: list[Path]


@functools.cache
def _formats() -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the suffixes of the formats that Pillow reads, and the formats it knows by content."""
    from PIL import Image, ImageFile

    Image.init()
    read = {
        name: accept
        for name, (factory, accept) in Image.OPEN.items()
        if not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))
    }
    suffixes = (suffix for suffix, name in Image.registered_extensions().items() if name in read)
    return frozenset(suffixes), tuple(name for name, accept in read.items() if accept)


def is_image(path: Path) -> bool:
    """Return whether Pillow reads a file as an image; decided by suffix, or else by content.

    A file with such a suffix that is damaged counts as an image: reading it names it.
    """
    from PIL import Image, UnidentifiedImageError

    suffixes, formats = _formats()
    if path.exists() and not path.is_file():
        return False  # a pipe or a device, which may never end
    if path.suffix.lower() in suffixes:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=formats).close()
    except UnidentifiedImageError:
        return False
    except OSError as error:
        raise _broken(path, error) from error
    except Exception:  # an image all the same, that is damaged or too large
        return True
    return True


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or belongs to the operating system."""
    return name.startswith(".") or name in LITTER


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted, without hidden ones and the system's own."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def find_images(folder: Path) -> MethodEntry:
    """Return the image files anywhere below `folder`, through links to folders too."""
    images: list[Path] = []
    left_out: list[Path] = []
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, onerror=_raised, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link to a folder that it lies in
            folders.clear()
            continue
        seen.add(real)
        here = Path(where)
        left_out += [here / name for name in folders if is_hidden(name)]
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in (here / name for name in files):
            (left_out if is_hidden(path.name) or not is_image(path) else images).append(path)
    return MethodEntry(sorted(images), sorted(left_out))


def _raised(error: OSError) -> None:
    raise error


def left_out_note(paths: Sequence[Path], base: Path) -> str:
    """Return a note on files that are left out because they are not images, or ""."""
    if not paths:
        return ""
    names = [class_name(os.path.relpath(path, base)) for path in paths[:SHOWN]]
    more = ", ..." if len(paths) > SHOWN else ""
    number = "1 file or folder" if len(paths) == 1 else f"{len(paths):,} files or folders"
    return f"{number} left out, hidden or no image that Pillow reads: {', '.join(names)}{more}"


def are_grey(paths: Sequence[Path]) -> bool:
    """Return whether every image is grey; reads headers only."""
    from PIL import ImageMode

    for path in paths:
        with _opened(path) as image:
            if ImageMode.getmode(image.mode).basemode != "L":
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


def read_splits(
    splits: Mapping[str, Sequence[tuple[Path, int]]], channels: int, size: int | None = None
) -> dict[str, Any]:
    """Return `<split>_images` and `<split>_labels` of splits of (file, label).

    `channels` and `size` as in `read_images`; labels are (n,) int64.
    """
    arrays: dict[str, Any] = {}
    for split, pairs in splits.items():
        arrays[f"{split}_images"] = read_images([path for path, _ in pairs], channels, size)
        arrays[f"{split}_labels"] = np.array([c for _, c in pairs], dtype=np.int64)
    return arrays


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
    from PIL import Image, ImageOps

    with _opened(path) as image:
        try:
            upright = ImageOps.exif_transpose(image)  # as the camera was held
            converted = upright.convert(mode)  # decodes: a file cut short is noticed here
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
    if not _is_of_bytes(image.mode):
        image.close()
        raise DatasetError(
            f"{path}: has pixels of mode {image.mode}; convert it to 8 bits a channel"
        )
    return image


def _is_of_bytes(mode: str) -> bool:
    """Say whether pixels of a mode have at most 8 bits a channel: more would be cut off."""
    from PIL import ImageMode

    try:
        return ImageMode.getmode(mode).typestr in ("|u1", "|b1")
    except KeyError:
        return False


def _broken(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path}: cannot be read as an image ({reason_of(error)});"
        " get the file again, or take it out of the dataset"
    )
