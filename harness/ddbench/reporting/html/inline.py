"""Markdown as HTML: the blocks and cells of a report, and nothing that loads from elsewhere."""

from __future__ import annotations

import base64
import html
import re
import struct
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt

Files = Mapping[str, bytes]
Shown = dict[bytes, str]  # pictures of sets that the page has already, with the id of each
MARKED = re.compile(r"[\\`*_\[\]<>&!~]")
KNOWN = re.compile(r"</?sub>|<br>")  # the tags that sections write, beside images
IMAGE = re.compile(r'<img src="([^"<>]*)" width="(\d+)" alt="([^"<>]*)">')
NOTE = re.compile(r"<blockquote>\s*<p>\[!NOTE\]\s*")


def block(markdown: str, files: Files, shown: Shown) -> str:
    """Return a block as HTML, its images inside it; a picture that is `shown` is referred to."""
    text: str = _parser().render(markdown, {"files": files, "shown": shown})
    return NOTE.sub('<blockquote class="note"><p>', text).strip()


def cell(markdown: str, files: Files, shown: Shown) -> str:
    """Return markdown of one line as HTML, likewise."""
    if not MARKED.search(markdown):
        return markdown
    if "<img" in markdown:
        text: str = _parser().renderInline(markdown, {"files": files, "shown": shown})
        return text
    return _words(markdown)


@lru_cache(maxsize=10_000)
def _words(markdown: str) -> str:
    text: str = _parser().renderInline(markdown, {"files": {}, "shown": {}})
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
        return _of_set(
            _content(address, env["files"]), html.unescape(alt), env["shown"], int(width)
        )
    return html.escape(content)


def _html_block(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    return f"<p>{html.escape(tokens[index].content)}</p>"


def _image(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    token = tokens[index]
    alt = "".join(child.content for child in token.children or ())
    return _plot(_content(str(token.attrs["src"]), env["files"]), alt)


def _code_inline(_: Any, tokens: Any, index: int, options: Any, env: Any) -> str:  # noqa: ANN401
    """Show code; the bars that a markdown table would need escaped stand alone here."""
    content = tokens[index].content.replace("\\|", "|")
    return f"<code>{html.escape(content)}</code>"


def _content(address: str, files: Files) -> bytes:
    """Return the picture at an address; nothing where the document has none."""
    return files.get(unquote(address).rpartition("/")[2], b"")


def _plot(content: bytes, alt: str) -> str:
    """Return a drawing inside the page; its description alone where there is none."""
    text = content.decode(errors="replace")
    if not text.startswith("<?xml"):
        return html.escape(alt)
    drawing = text[text.index("<svg") :].strip()
    return f'<span class="plot" role="img" aria-label="{html.escape(alt)}">{drawing}</span>'


def _of_set(content: bytes, alt: str, shown: Shown, width: int) -> str:
    """Return a picture of a set, `width` pixels wide; the page holds each once."""
    if not content.startswith(b"\x89PNG"):
        return html.escape(alt)
    across, down = struct.unpack(">II", content[16:24])
    inside = f'<use href="#{shown.get(content)}"/>'
    if content not in shown:
        shown[content] = f"set-{len(shown) + 1}"
        data = base64.b64encode(content).decode()
        inside = (
            f'<image id="{shown[content]}" href="data:image/png;base64,{data}" '
            f'width="{across}" height="{down}"/>'
        )
    return (
        f'<svg class="pixels" role="img" aria-label="{html.escape(alt)}" width="{width}" '
        f'height="{width * down / across:.0f}" viewBox="0 0 {across} {down}">{inside}</svg>'
    )
