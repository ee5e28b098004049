"""The report as one HTML file that loads nothing: tables, plots and images are inside it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from ddbench.contract.hookspecs import Reporter
from ddbench.reporting.html.document import HtmlDocument
from ddbench.reporting.leaderboard import Leaderboard, columns
from ddbench.reporting.markdown import PICTURES, write_end, write_results
from ddbench.reporting.markdown.document import escaped

if TYPE_CHECKING:
    from ddbench.reporting.reporters import Report

__all__ = ["REPORTER", "make_page"]
ALL = tuple(dict.fromkeys((*columns.RANKING, columns.USE, columns.MEMORY, columns.SIZE)))
RESULTS = "All results"
CHOICES = ("dataset", "ipc", "architecture", "protocol", "method")


def _written(report: Report) -> str:
    return make_page(report.leaderboard, report.title, report.command)


REPORTER = Reporter("html", _written, ".html", "one file with all inside it, to open in a browser")


def make_page(leaderboard: Leaderboard, title: str, export_command: str = "") -> str:
    """Return the whole page.

    Its sections are those of the markdown report; a table of all results stands before "About this
    run". A reader chooses rows and sections by dataset, ipc, architecture, protocol and method.
    """
    document = HtmlDocument(title, PICTURES)
    write_results(leaderboard, document)
    _all_results(document, leaderboard)
    write_end(leaderboard, document, export_command)
    first, overview, *rest = document.blocks
    body = "\n".join((first, overview, _contents(document), _choices(document), *rest))
    return _page(f"Leaderboard: {title}", body)


def _all_results(document: HtmlDocument, leaderboard: Leaderboard) -> None:
    """Write one table of all rows of all boards."""
    boards = leaderboard.boards
    shown = [column for column in ALL if any(column.shown([board]) for board in boards)]
    words = {column.heading for column in shown if column.words}
    rows, about = [], []
    for board in boards:
        where = {
            "dataset": board.dataset_name,
            "ipc": str(board.ipc),
            "architecture": board.architecture,
            "protocol": board.protocol_name,
        }
        for view in columns.views([board]):
            about.append({**where, "method": view.place.entry.method})
            row = {name: escaped(value) for name, value in where.items()}
            for column in shown:
                text = column.text(view) if column.shown([board]) else ""
                row[column.heading] = escaped(text) if column.heading in words else text
            rows.append(row)
    if not rows:
        return
    document.heading(2, RESULTS)
    inner = document.inner()
    inner.table(rows, ("ipc", *columns.numeric(shown)), about)
    document.blocks += [
        '<details id="columns" hidden><summary>Columns</summary></details>',
        f'<div id="all">{inner.text()}</div>',
    ]


def _contents(document: HtmlDocument) -> str:
    items = "".join(
        f'<li><a href="#{html.escape(id)}">{html.escape(text)}</a></li>'
        for id, text in document.headings.items()
    )
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _choices(document: HtmlDocument) -> str:
    """Return the form that chooses rows: a list for each thing that has several values."""
    lists = []
    for name in CHOICES:
        values = list(document.choices.get(name, ()))
        if len(values) > 1:
            options = "".join(f"<option>{html.escape(value)}</option>" for value in values)
            lists.append(
                f'<label>{name} <select name="{name}"><option value="">all</option>{options}'
                "</select></label>"
            )
    if not lists:
        return ""
    lists += ['<button type="reset">show all</button>', '<output id="count"></output>']
    return f'<form id="choose" hidden autocomplete="off">{"".join(lists)}</form>'


def _page(title: str, body: str) -> str:
    here = files(__package__)
    template, style, script = (
        (here / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    digest = hashlib.sha256(script.encode()).digest()
    parts = {
        "hash": base64.b64encode(digest).decode(),
        "title": html.escape(title),
        "style": style,
        "body": body,
        "script": script,
    }
    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], template)
