"""An HTML document under construction: the methods of a markdown document, another output."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ddbench.reporting.html.inline import Shown, block, cell
from ddbench.reporting.markdown.document import Document, anchor
from ddbench.text.lines import printable

LONG = 44  # characters of a cell of words, above which it is broken into lines


@dataclass
class HtmlDocument(Document):
    """Blocks of HTML with the pictures inside them.

    Attributes:
        choices: What a reader may choose parts and rows by: values by name.
        shown: Pictures of sets that the page has already, with their ids.
        headings: Ids and texts of the second level, for the list of contents.
    """

    choices: dict[str, dict[str, None]] = field(default_factory=dict)
    shown: Shown = field(default_factory=dict)
    headings: dict[str, str] = field(default_factory=dict)

    def add(self, block_: str) -> None:
        """Append a block of markdown as HTML; an empty one is left out."""
        if block_.strip():
            self.blocks.append(block(block_, self.files, self.shown))

    def contents(self, lead: str, titles: Sequence[str]) -> None:
        """Append a sentence; the page has a list of contents of its own."""
        self.add(f"{lead}.")

    def heading(self, level: int, text: str) -> None:
        """Append a heading that can be linked to."""
        text = " ".join(printable(text).split())
        if level > 2:
            self.blocks.append(f"<h{level}>{html.escape(text)}</h{level}>")
            return
        id, n = anchor(text), 1
        while id in self.headings:
            id, n = f"{anchor(text)}-{n}", n + 1
        if level == 2:
            self.headings[id] = text
        self.blocks.append(f'<h{level} id="{html.escape(id)}">{html.escape(text)}</h{level}>')

    def table(
        self,
        rows: Sequence[Mapping[str, str]],
        right: Iterable[str] = (),
        about: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Append a table that is sorted by a click on a heading, in a box that scrolls."""
        if not rows:
            return
        names, numbers = list(rows[0]), set(right)
        sides = ["" if name in numbers else " class=w" for name in names]
        head = "".join(
            f'<th scope="col"{side}>{cell(name, self.files, self.shown)}'
            for name, side in zip(names, sides, strict=True)
        )
        marks = [self._marks(one) for one in about] or [""] * len(rows)
        body = "\n".join(
            f"<tr{mark}>"
            + "".join(
                self._cell(row.get(name, ""), side) for name, side in zip(names, sides, strict=True)
            )
            for row, mark in zip(rows, marks, strict=True)
        )
        self.blocks.append(
            f'<div class="wide" tabindex="0"><table><thead><tr>{head}</thead>\n'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _cell(self, markdown: str, side: str) -> str:
        """Return a cell; only long words are broken into lines."""
        if side and len(markdown) > LONG and "<img" not in markdown:
            side = ' class="w l"'
        return f"<td{side}>{cell(markdown, self.files, self.shown)}"

    def folded(self, summary: str, inner: Document) -> None:
        """Append what `inner` holds, folded away under a line."""
        if inner.blocks:
            body = "\n".join(inner.blocks)
            self.blocks.append(
                f"<details><summary>{html.escape(summary)}</summary>\n{body}\n</details>"
            )

    def part(self, about: Mapping[str, str], write: Callable[[Document], None]) -> None:
        """Append what `write` writes, which a reader may choose by `about`."""
        inner = self.inner()
        write(inner)
        body = "\n".join(inner.blocks)
        self.blocks.append(f"<section{self._marks(about)}>\n{body}\n</section>")

    def text(self) -> str:
        """Return what stands in the body of the page."""
        return "\n".join(self.blocks)

    def _marks(self, about: Mapping[str, str]) -> str:
        """Return attributes that say what an element is of, and note the values."""
        for name, value in about.items():
            self.choices.setdefault(name, {}).update(dict.fromkeys(value.split("\n")))
        return "".join(f' data-{name}="{html.escape(value)}"' for name, value in about.items())
