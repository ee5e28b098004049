"""A set in the terminal: what its file says, and its images drawn in half blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

from ddbench.reporting.terminal.tables import print_json, print_table, stdout
from ddbench.text import streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.contract.synthetic_set import SyntheticSet

Pixels = Any  # (H, W, 3) uint8; numpy's types of arrays say no shape

MOST_DRAWN = 50  # images; a picture file has all
FEWEST_BESIDE, MOST_BESIDE = 5, 10  # images in a row, as the terminal is wide
SYSTEMS = ("truecolor", "256")  # of rich: terminals that can show pictures
HALF = "▀"  # its colour is the upper pixel, that behind it the lower one


def show_set(path: Path, synthetic: SyntheticSet, *, as_json: bool) -> None:
    """Print what a set says of itself, and draw its images where the terminal can."""
    from ddbench.contract.set_metadata import in_words

    if as_json:
        print_json(_record(path, synthetic))
        return
    words = in_words(synthetic) | {"sha256": synthetic.sha256()[:16]}
    rows = [{"field": name, "value": value} for name, value in words.items()]
    print_table(rows, title=f"set {path}")
    console = stdout()
    if not can_draw(console):
        note = "no picture: this is no terminal of 256 colours or more; --png PATH writes one"
        console.print(note, style="dim")
        return
    draw(synthetic, console)


def can_draw(console: Console) -> bool:
    """Say whether pictures can be drawn: by the terminal, COLORTERM, TERM, NO_COLOR, FORCE_COLOR.

    What has fewer colours shows patches, and what is no terminal would get escape sequences.
    """
    speaks = streams.speaks_unicode(streams.data())
    return speaks and not console.no_color and console.color_system in SYSTEMS


def draw(synthetic: SyntheticSet, console: Console) -> None:
    """Draw the first images of each class, in class order."""
    from ddbench.contract.image_grid import as_bytes, visible

    chosen = _first_of_classes(synthetic.hard_labels().cpu().numpy(), len(synthetic.images))
    images = synthetic.images.detach().cpu().numpy()[chosen]
    if not images.size:
        return
    whole = as_bytes(visible(images, synthetic.provenance))  # (n, H, W, 1 or 3)
    beside, width = layout(whole.shape[2], console.width)
    tiles = [_resized(tile, width) for tile in whole]
    for start in range(0, len(tiles), beside):
        console.print(_lines(_beside(tiles[start : start + beside])))
    if len(chosen) < len(synthetic.images):
        left = f"{len(chosen)} of {len(synthetic.images)} images; --png PATH writes all"
        console.print(left, style="dim")
    if synthetic.provenance.get("zca"):
        console.print("whitened images: their colours are spread, not those of pixels", style="dim")


def layout(width: int, columns: int) -> tuple[int, int]:
    """Return how many images of `width` pixels stand in a row of `columns`, and how wide each is.

    A column of the terminal is a pixel. Images are made smaller where few would fit.
    """
    beside = max(FEWEST_BESIDE, min(MOST_BESIDE, (columns + 1) // (width + 1)))
    return beside, max(1, min(width, (columns + 1) // beside - 1))


def _first_of_classes(labels: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Return the rows of images to draw, class by class, as many of each class."""
    if len(labels) != images:  # of images that are decoded the labels are no help
        return np.arange(min(images, MOST_DRAWN))
    each = max(1, MOST_DRAWN // max(1, len(np.unique(labels))))
    order = np.argsort(labels, kind="stable")
    seen: dict[int, int] = {}
    chosen = []
    for row in order.tolist():
        seen[labels[row]] = seen.get(labels[row], 0) + 1
        if seen[labels[row]] <= each:
            chosen.append(row)
    return np.array(chosen[:MOST_DRAWN], dtype=np.int64)


def _resized(tile: Pixels, width: int) -> Pixels:
    """Return a tile of `width` pixels, of an even height, in three channels."""
    from PIL import Image

    colours = np.repeat(tile, 3, axis=2) if tile.shape[2] == 1 else tile
    height = max(1, round(tile.shape[0] * width / tile.shape[1]))
    size = (width, height + height % 2)
    if (tile.shape[1], tile.shape[0]) == size:
        return colours
    return np.asarray(Image.fromarray(colours).resize(size, Image.Resampling.BOX))


def _beside(tiles: list[Pixels]) -> list[Pixels | None]:
    """Return tiles with a gap between them: None."""
    return [part for tile in tiles for part in (None, tile)][1:]


def _lines(parts: list[Pixels | None]) -> Segments:
    """Return a row of tiles as lines of half blocks."""
    height = max(len(part) for part in parts if part is not None)
    segments = []
    for y in range(0, height, 2):
        for part in parts:
            if part is None:
                segments.append(Segment(" "))
            else:
                pairs = zip(part[y], part[y + 1], strict=True)
                segments += [Segment(HALF, _style(above, below)) for above, below in pairs]
        segments.append(Segment.line())
    segments.append(Segment.line())
    return Segments(segments)


def _style(above: Pixels, below: Pixels) -> Style:
    return Style(color=Color.from_rgb(*map(int, above)), bgcolor=Color.from_rgb(*map(int, below)))


def _record(path: Path, synthetic: SyntheticSet) -> dict[str, Any]:
    """Return what a file holds, as plain data without the tensors."""
    tensors = {"images": synthetic.images, "labels": synthetic.labels}
    for kind in ("payload", "columns"):
        tensors |= {f"{kind}.{name}": one for name, one in getattr(synthetic, kind).items()}
    shapes = {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in tensors.items()
    }
    about = {
        name: getattr(synthetic, name) for name in ("recipe", "formation", "measures", "provenance")
    }
    return {"path": str(path), "sha256": synthetic.sha256(), "bytes": synthetic.bytes,
            "tensors": shapes, **about}  # fmt: skip
