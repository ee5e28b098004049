"""A leaderboard as CSV, markdown and LaTeX: writers of the one specification of columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ddbench.reporting.leaderboard import Board, Leaderboard, columns, grouped
from ddbench.reporting.leaderboard.columns import View
from ddbench.reporting.leaderboard.summary import title
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.text.suggestions import unknown_at


class ColumnError(ValueError):
    """A column that no row has; the text is the remedy."""

    exit_code = 2  # of a command that ends so


class Selection:
    """Which rows of a leaderboard are shown, and in what order."""

    def __init__(
        self, leaderboard: Leaderboard, where: Sequence[tuple[str, str]] = (), sort: str = ""
    ) -> None:
        """Choose rows.

        Args:
            leaderboard: Whose rows.
            where: (name, value) each; the names are those of the JSON.
            sort: A name; with "-" before it from the largest down. "" keeps the ranks.

        Raises:
            ColumnError: No row has such a value.
        """
        self.where, self.sort, self.down = where, sort.removeprefix("-"), sort.startswith("-")
        for row in leaderboard.rows[:1]:
            names = [name for name, value in row.items() if not isinstance(value, list | dict)]
            places = [("--where", name) for name, _ in where]
            for place, name in [*places, *([("--sort", self.sort)] if self.sort else [])]:
                if name not in row:
                    raise ColumnError(unknown_at(place, name, names))

    def views(self, rows: Sequence[View]) -> list[View]:
        """Return the rows that are chosen, in order; without a value they come last."""
        values = {id(view): columns.plain(view.boards[:1], view.place) for view in rows}
        return self._ordered(list(rows), lambda view: values[id(view)])

    def plain(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return rows of plain values, likewise."""
        return self._ordered(list(rows), lambda row: row)

    def _ordered(self, rows: list[Any], values: Callable[[Any], Mapping[str, Any]]) -> list[Any]:
        kept = [
            row
            for row in rows
            if all(str(values(row)[name]) == value for name, value in self.where)
        ]
        if not self.sort:
            return kept
        known = [row for row in kept if values(row)[self.sort] is not None]
        unknown = [row for row in kept if values(row)[self.sort] is None]
        texts = any(isinstance(values(row)[self.sort], str) for row in known)

        def key(row: Any) -> Any:  # noqa: ANN401
            value = values(row)[self.sort]
            return str(value) if texts else value

        return [*sorted(known, key=key, reverse=self.down), *unknown]


def as_csv(leaderboard: Leaderboard, selection: Selection) -> str:
    """Return one line a row of each ranking, with units in the names; accuracies in [0, 1].

    What a row has several of is left out: `--format json` has it.
    """
    rows = selection.plain(leaderboard.rows)
    names = [
        name
        for name in (rows[0] if rows else {})
        if not any(isinstance(row[name], list | dict) for row in rows)
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_markdown(leaderboard: Leaderboard, selection: Selection) -> str:
    """Return the first table of each dataset, ipc and protocol."""
    document = Document("", "")
    for boards, rows in _tables(leaderboard, selection):
        document.heading(2, title(boards))
        cells = [
            {heading: escaped(text) for heading, text in row.items()}
            for row in columns.cells(columns.FIRST, rows)
        ]
        document.table(cells, columns.numeric(columns.FIRST))
    return document.text()


def as_latex(leaderboard: Leaderboard, selection: Selection) -> str:
    """Return the same as tables for the package booktabs.

    The best accuracy is bold; those that are not told from it are underlined.
    """
    tables = [_latex(boards, rows) for boards, rows in _tables(leaderboard, selection)]
    return "\n".join(["% \\usepackage{booktabs} in the preamble", *tables])


def _tables(
    leaderboard: Leaderboard, selection: Selection
) -> list[tuple[Sequence[Board], list[View]]]:
    found = [
        (boards, selection.views(columns.views_of_sets(boards)))
        for boards in grouped(leaderboard.boards)
    ]
    return [(boards, rows) for boards, rows in found if rows]


def _latex(boards: Sequence[Board], rows: Sequence[View]) -> str:
    cells = columns.cells(columns.FIRST, rows)
    numbers = columns.numeric(columns.FIRST)
    lines = []
    for view, row in zip(rows, cells, strict=True):
        texts = {heading: _in_latex(text) for heading, text in row.items()}
        if view.place.rank == 1:
            texts["accuracy %"] = rf"\textbf{{{texts['accuracy %']}}}"
        elif view.place.tied:
            texts["accuracy %"] = rf"\underline{{{texts['accuracy %']}}}"
        lines.append(" & ".join(texts.values()) + r" \\")
    align = "".join("r" if heading in numbers else "l" for heading in cells[0])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_in_latex(title(boards))}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            " & ".join(map(_in_latex, cells[0])) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "◆": r"$\star$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "×": r"$\times$",
}


def _in_latex(text: str) -> str:
    """Return words so that LaTeX shows them as they are."""
    return re.sub(
        r"[\\&%$#_{}~^–−±≥≈◆†‡§×]", lambda found: _LATEX.get(found[0], "\\" + found[0]), text
    )
