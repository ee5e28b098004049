"""Read text files and tables of other programs, with any encoding, delimiter or line ending."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ddbench.datasets.errors import DatasetError
from ddbench.text import encodings
from ddbench.text.lines import reason_of

DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """A table with a header line.

    Attributes:
        columns: Names, in order.
        rows: (number of its line in the file, values by column) of each row that is not empty.
    """

    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]


def read_text(path: Path) -> str:
    """Return the text of a file, lines ending in ``\\n``.

    Raises:
        DatasetError: It is not text in a Unicode encoding; the message names the line.
    """
    try:
        return encodings.read_text(path)
    except encodings.NotText as error:
        raise DatasetError(f"{path}: {error} (in a spreadsheet: 'CSV UTF-8')") from error


def read_table(path: Path) -> Table:
    """Return the table in a CSV file, its fields separated by comma, semicolon, tab or `|`.

    Values and column names are stripped of spaces around them. A row that ends early has "" in
    the columns that it lacks.

    Raises:
        DatasetError: No text, no table, two columns of one name, or a row of too many values.
    """
    text, before = read_text(path), 0
    if text[:4].lower() == "sep=":  # a spreadsheet's own hint
        text, before = text.partition("\n")[2], 1
    header = re.sub('"[^"]*"', "", text.partition("\n")[0])
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = tuple(name.strip() for name in next(reader, ()))
        rows = [(reader.line_num + before, row) for row in reader if any(row)]
    except csv.Error as error:
        raise DatasetError(f"{path}: is not a CSV file ({reason_of(error)})") from error
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise DatasetError(f"{path}: has two columns {twice[0]!r}; rename one")
    for number, row in rows:
        if any(row[len(columns) :]):
            raise DatasetError(
                f"{path}: line {number} has {len(row)} values for {len(columns)} columns; put a"
                " value that holds the delimiter into quotes"
            )
    padding = [""] * len(columns)
    values = ((number, [value.strip() for value in row] + padding) for number, row in rows)
    return Table(columns, [(n, dict(zip(columns, row, strict=False))) for n, row in values])


def class_name(name: str) -> str:
    """Return the name of a class as it can be written anywhere, the same on every system.

    Macs write an accent as a character of its own. Bytes of a file name that are no UTF-8, and
    control characters, are shown by their numbers.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = unicodedata.normalize("NFC", text)
    return "".join(repr(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in text)
