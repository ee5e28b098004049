"""Read text files of people and other tools, with or without a byte order mark."""

from __future__ import annotations

import codecs
from pathlib import Path

# Marks at the start of a file, the longer of two alike first. Python's codecs take them out.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class NotText(ValueError):
    """Bytes that are not text in a Unicode encoding; says where, and what to do."""


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in the encoding that its byte order mark names.

    Lines end in ``\\n``, whatever they are in the file; the locale of the machine has no effect.

    Raises:
        OSError: The file cannot be read.
        NotText: It is in another encoding, or no text.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise NotText(
            f"it is not {encoding.removesuffix('-sig').upper()} text (byte 0x{byte:02x} in line "
            f"{line}); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
