"""A leaderboard as CSV, markdown, LaTeX and JSON: writers of the one specification of columns."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.contract.hookspecs import Reporter
from ddbench.reporting.leaderboard import Board, Leaderboard, columns, grouped
from ddbench.reporting.leaderboard.columns import View
from ddbench.reporting.leaderboard.summary import title
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.store.run_folder import RunError
from ddbench.text.json_text import json_text
from ddbench.text.suggestions import unknown_at

if TYPE_CHECKING:
    from ddbench.reporting.reporters import Report


class ColumnError(RunError):
    """A column that no row has; the text is the remedy."""


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
        for row in leaderboard.rows[:1] if where or sort else ():  # all of a row's values cost time
            names = [name for name, value in row.items() if not isinstance(value, list | dict)]
            places = [("--where", name) for name, _ in where]
            for place, name in [*places, *([("--sort", self.sort)] if self.sort else [])]:
                if name not in row:
                    raise ColumnError(unknown_at(place, name, names))

    def views(self, rows: Sequence[View]) -> list[View]:
        """Return the rows that are chosen, in order; without a value they come last."""
        if not self.where and not self.sort:
            return list(rows)
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


def record(leaderboard: Leaderboard, selection: Selection | None = None) -> dict[str, Any]:
    """Return all rows as plain data, with what stands beside them: references, failed jobs."""
    rows = leaderboard.rows
    return {
        "run": leaderboard.folder.name,
        "rows": selection.plain(rows) if selection else rows,
        "references": [
            {
                "dataset": one.dataset,
                "architecture": one.architecture,
                "protocol": one.protocol,
                "accuracy": one.score.mean,
                "spread_networks": one.score.spread,
                "images": one.images,
                "training": [vars(training) for training in one.training.values()],
            }
            for one in leaderboard.references
        ],
        "troubles": [vars(trouble) for trouble in leaderboard.troubles],
        "superseded": leaderboard.superseded,
        "stale_evaluations": leaderboard.stale_evaluations,
        "unreadable": [
            {"file": str(path), "reason": reason} for path, reason in leaderboard.records.unreadable
        ],
    }


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
    return _csv(names, rows)


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(row[name]) for name in names} for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    """Return a value of a CSV; empty where it is unknown."""
    return None if isinstance(value, float) and math.isnan(value) else value


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
            rf"\caption{{{_in_latex(title(boards))}. {MARKS}}}",
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


MARKS = "Bold: the most accurate. Underlined: not told from it."
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
    """Return words so that LaTeX shows them as they are; what it has no letter for as an escape."""
    read = "".join(
        c if c in _LATEX or ord(c) < 0x180 or c in "—‘’“”…" else ascii(c)[1:-1] for c in text
    )
    return re.sub(
        r"[\\&%$#_{}~^–−±≥≈◆†‡§×]", lambda found: _LATEX.get(found[0], "\\" + found[0]), read
    )


# -- as reports --------------------------------------------------------------------------------

NAMES_OF_NETWORKS = (
    "dataset", "ipc", "architecture", "protocol", "tested_on", "own_recipe", "row", "method",
    "init", "matched", "seed", "snapshot", "network", "accuracy", "balanced_accuracy", "train_s",
    "test_s", "condense_s", "own_s", "artifact_s", "own_flops", "artifact_flops",
    "peak_memory_bytes", "bytes", "images", "hardware_class", "dataset_fingerprint",
    "condensation", "evaluation",
)  # fmt: skip


def _networks_as_csv(report: Report) -> str:
    return _csv(NAMES_OF_NETWORKS, report.networks)


def _all_as_json(report: Report) -> str:
    return json_text(record(report.leaderboard) | {"networks": list(report.networks)})


def _tables_as_latex(report: Report) -> str:
    return as_latex(report.leaderboard, Selection(report.leaderboard)) + "\n"


REPORTERS = (
    Reporter("csv", _networks_as_csv, ".csv", "tidy: one row a network"),
    Reporter("json", _all_as_json, ".json", "all rows, networks and failed jobs"),
    Reporter("latex", _tables_as_latex, ".tex", "the first table of each dataset, for booktabs"),
)
