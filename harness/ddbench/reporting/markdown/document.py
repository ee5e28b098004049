"""A markdown document under construction, with the pictures it refers to."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from ddbench.text.lines import printable, slug


@dataclass
class Document:
    """Blocks of markdown, and files by name that it refers to.

    Sections are written by these methods alone, so that another kind of document (HTML) has the
    same sections.

    Attributes:
        title: The run's name.
        pictures: The folder of the pictures, relative to the document.
        blocks: Paragraphs, tables, headings so far.
        files: Contents by name.
    """

    title: str
    pictures: str
    blocks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, block: str) -> None:
        """Append a block; an empty one is left out."""
        if block.strip():
            self.blocks.append(block)

    def heading(self, level: int, text: str) -> None:
        """Append a heading."""
        self.add(f"{'#' * level} {escaped(text)}")

    def contents(self, lead: str, titles: Sequence[str]) -> None:
        """Append a sentence, and links to the headings of several parts."""
        links = " · ".join(f"[{escaped(one)}](#{anchor(one)})" for one in titles)
        self.add(f"{lead}: {links}." if len(titles) > 1 else f"{lead}.")

    def bullets(self, lines: Iterable[str]) -> None:
        """Append a list of markdown lines."""
        self.add("\n".join(f"- {line}" for line in lines if line))

    def table(
        self,
        rows: Sequence[Mapping[str, str]],
        right: Iterable[str] = (),
        about: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Append a table of markdown cells; columns are those of the first row.

        Columns in `right` are aligned to the right, and their cells are never broken. `about` says
        of each row what a reader may choose it by (`method`: `dm`), where the document can do that;
        several values stand on lines of their own.
        """
        if not rows:
            return
        names, numbers = list(rows[0]), set(right)
        rule = ["---:" if name in numbers else "---" for name in names]
        cells = [
            [_cell(row.get(name, ""), unbroken=name in numbers) for name in names] for row in rows
        ]
        lines = [[_cell(name) for name in names], rule, *cells]
        self.add("\n".join("| " + " | ".join(line) + " |" for line in lines))

    def fenced(self, language: str, text: str) -> None:
        """Append text as it is, in a fence that is longer than any in it."""
        runs = re.findall("`{3,}", text)
        fence = "`" * (max(map(len, runs), default=2) + 1)
        self.add(f"{fence}{language}\n{text}\n{fence}")

    def folded(self, summary: str, inner: Document) -> None:
        """Append what `inner` holds, folded away under a line."""
        if inner.blocks:
            body = "\n\n".join(inner.blocks)
            self.add(
                f"<details>\n<summary>{html.escape(summary)}</summary>\n\n{body}\n\n</details>"
            )

    def fold(self, summary: str, write: Callable[[Document], None]) -> None:
        """Append what `write` writes into a document of its own, folded away under a line."""
        inner = self.inner()
        write(inner)
        self.folded(summary, inner)

    def part(self, about: Mapping[str, str], write: Callable[[Document], None]) -> None:
        """Append what `write` writes, which a reader may choose by `about`, as in a table."""
        write(self)

    def inner(self) -> Document:
        """Return an empty document that shares this one's pictures, to be folded in."""
        return replace(self, blocks=[])

    def picture(self, name: str, content: bytes) -> str:
        """Keep a picture, whose name ends in .png or .svg; return its address in the document."""
        stem, _, kind = name.rpartition(".")
        stem, n = slug(stem, most=100) or "picture", 2
        name = f"{stem}.{kind}"
        while name in self.files and self.files[name] != content:
            name, n = f"{stem}-{n}.{kind}", n + 1
        self.files[name] = content
        return quote(os.fsencode(f"{self.pictures}/{name}"))

    def text(self) -> str:
        """Return the whole document."""
        return "\n\n".join(self.blocks) + "\n"


def _cell(text: str, unbroken: bool = False) -> str:
    """Return markdown so that it stays in its cell: no bar that is not escaped, no new line."""
    if "|" in text or "\n" in text:
        text = re.sub(r"(?<!\\)\|", r"\|", " ".join(text.split("\n")))
    return text.replace(" ", "\N{NO-BREAK SPACE}") if unbroken else text


def anchor(heading: str) -> str:
    """Return the address of a heading inside its document, as GitHub makes it."""
    kept = (c for c in heading.lower() if c.isalnum() or c in " -_")
    return "".join(kept).replace(" ", "-")


def escaped(text: str) -> str:
    """Return words of others so that markdown and its tables show them as they are."""
    text = " ".join(printable(text).split())
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", text)


def code(text: str) -> str:
    """Return words of others as code inside a line or a table cell."""
    text = " ".join(printable(text).split()).replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def image(address: str, alt: str, width: int | None = None) -> str:
    """Return an image for a paragraph or a table cell."""
    alt = " ".join(printable(alt).split())
    if width is None:
        return f"![{escaped(alt)}]({address})"
    return f'<img src="{address}" width="{width}" alt="{html.escape(alt).replace("|", "&#124;")}">'
