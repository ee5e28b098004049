"""Markdown as HTML: the blocks and cells of a report, and nothing that loads from elsewhere."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt

Files = Mapping[str, bytes]
MARKED = re.compile(r"[\\`*_\[\]<>&!~]")
KNOWN = re.compile(r"</?sub>|<br>")  # the tags that sections write, beside images
IMAGE = re.compile(r'<img src="([^"<>]*)" width="(\d+)" alt="([^"<>]*)">')
NOTE = re.compile(r"<blockquote>\s*<p>\[!NOTE\]\s*")


def block(markdown: str, files: Files) -> str:
    """Return a block as HTML, its images inside it."""
    text: str = _parser().render(markdown, {"files": files})
    return NOTE.sub('<blockquote class="note"><p>', text).strip()


def cell(markdown: str, files: Files) -> str:
    """Return markdown of one line as HTML, its images inside it."""
    if not MARKED.search(markdown):
        return markdown
    if "<img" in markdown:
        text: str = _parser().renderInline(markdown, {"files": files})
        return text
    return _words(markdown)


@lru_cache(maxsize=10_000)
def _words(markdown: str) -> str:
    text: str = _parser().renderInline(markdown, {"files": {}})
    return text


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    parser.add_render_rule("html_inline", _html_inline)
    parser.add_render_rule("html_block", _html_block)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("code_inline", _code_inline)
    return parser


def _html_inline(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    """Keep the tags that sections write; show any other as text."""
    content: str = tokens[index].content
    if KNOWN.fullmatch(content):
        return content
    found = IMAGE.fullmatch(content)
    if found:
        address, width, alt = found.groups()
        return picture(address, html.unescape(alt), env["files"], int(width))
    return html.escape(content)


def _html_block(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    return f"<p>{html.escape(tokens[index].content)}</p>"


def _image(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    token = tokens[index]
    alt = "".join(child.content for child in token.children or ())
    return picture(str(token.attrs["src"]), alt, env["files"])


def _code_inline(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    """Show code; the bars that a markdown table would need escaped stand alone here."""
    content = tokens[index].content.replace("\\|", "|")
    return f"<code>{html.escape(content)}</code>"


def picture(address: str, alt: str, files: Files, width: int | None = None) -> str:
    """Return a picture inside the page; its description alone where the document has none."""
    name = unquote(address).rpartition("/")[2]
    content = files.get(name, b"")
    if content.lstrip().startswith(b"<?xml"):
        label = html.escape(alt)
        return f'<span class="plot" role="img" aria-label="{label}">{_svg(content)}</span>'
    if not content.startswith(b"\x89PNG"):
        return html.escape(alt)
    data = base64.b64encode(content).decode()
    size = f' width="{width}" class="pixels"' if width else ""
    image = f'<img src="data:image/png;base64,{data}"{size} alt="{html.escape(alt)}">'
    return image if width else f'<span class="plot">{image}</span>'


def _svg(content: bytes) -> str:
    """Return a drawing to stand inside a page."""
    text = content.decode()
    return text[text.index("<svg") :].strip()
