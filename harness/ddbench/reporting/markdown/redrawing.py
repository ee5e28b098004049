"""Pictures of an earlier report, taken again where they would be drawn of the same data.

Drawing takes most of the time of a report. A picture holds, in a text of its own, the hash of all
that it was drawn of: the data, the code that draws, the version of matplotlib.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from ddbench.store.hashing import hash_of_file, hash_of_text

START, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
KEY = b"drawn of\0"
HEADER = 8 + 25  # bytes of a PNG's start and its first chunk, behind which a text may stand
FIGURES = Path(__file__).with_name("figures.py")


def mark_of(kind: str, data: str) -> str:
    """Return the hash of a kind of picture, its data in words and numbers, and what draws it."""
    return hash_of_text("\0".join((kind, data, hash_of_file(FIGURES), version("matplotlib"))), 32)


def marked(picture: bytes, mark: str) -> bytes:
    """Return a PNG with its mark."""
    if not picture.startswith(START):
        return picture
    body = b"tEXt" + KEY + mark.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return picture[:HEADER] + chunk + picture[HEADER:]


def marks_in(folder: Path) -> dict[str, Path]:
    """Return the marked pictures of a folder by their marks."""
    found = {}
    for path in sorted(folder.glob("*.png")) if folder.is_dir() else ():
        try:
            with path.open("rb") as file:
                start = file.read(HEADER + 128)
        except OSError:
            continue
        at = start.find(b"tEXt" + KEY)
        if at == HEADER + 4:
            (length,) = struct.unpack(">I", start[HEADER : HEADER + 4])
            text = start[HEADER + 8 + len(KEY) : HEADER + 8 + length]
            found[text.decode("latin-1")] = path
    return found


def drawn(earlier: Mapping[str, Path], mark: str, draw: Callable[[], bytes | None]) -> bytes | None:
    """Return the earlier picture of this mark if it is whole, else draw it; None is no picture."""
    if mark in earlier:
        try:
            content = earlier[mark].read_bytes()
        except OSError:
            content = b""
        if content.startswith(START) and content.endswith(END):
            return content
    new = draw()
    return new and marked(new, mark)
