"""Tables on stdout, as wide as they need to be where no terminal limits them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ddbench.text import streams
from ddbench.text.json_text import json_text
from ddbench.text.lines import printable

UNCUT = 100_000  # columns; rich would cut tables to 80 where stdout is no terminal
LABEL = 18  # columns that words need at least; longer ones go on in the next line


def stdout(widest: int = UNCUT) -> Console:
    """Return where data goes; a pipe is as wide as `widest`.

    Whether it is a terminal the stream itself says: FORCE_COLOR asks a log for colours alone.
    """
    out = streams.data()
    width = None if out.isatty() else widest
    return Console(file=out, highlight=False, markup=False, emoji=False, width=width)


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print plain data; what is not a finite number becomes null."""
    out = streams.data()
    only_ascii = not streams.speaks_unicode(out)  # an escape of Python's is none of JSON's
    out.write(json_text(value, only_ascii))


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, *, as_json: bool
) -> None:
    """Print rows as they are in JSON, or else as a table of some or all columns."""
    if as_json:
        print_json([dict(row) for row in rows])
    else:
        print_table(rows, columns)


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    title: str = "",
    captions: Iterable[str] = (),
    right: Iterable[str] = (),
    droppable: Sequence[str] = (),
    legend: Mapping[str, str] | None = None,
    widest: int = UNCUT,
) -> None:
    """Print rows as one table.

    Args:
        rows: One mapping a row; a column that a row lacks stays empty there.
        columns: Which, and in what order; all by default.
        title: A line above.
        captions: Lines below.
        right: Columns of text that are aligned like numbers, and never broken.
        droppable: Columns that a narrow terminal may do without, the last first.
        legend: What columns mean; below the table for those that it shows.
        widest: How wide a table may be where no terminal limits it.
    """
    console = stdout(widest)
    if title:
        console.print(Text(title, style="bold"))
    if not rows:
        console.print("nothing to show")
        return
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    shown = _fitting(console, rows, names, set(right), list(droppable))
    console.print(_table(rows, shown, set(right)))
    missing = ", ".join(name for name in names if name not in shown)
    left_out = f"not shown: {missing} (a wider terminal or --json has them)" if missing else ""
    meanings = "; ".join(text for name, text in (legend or {}).items() if name in shown)
    for caption in filter(None, [left_out, meanings, *captions]):
        console.print(Text(caption, style="dim"))


def _fitting(
    console: Console,
    rows: Sequence[Mapping[str, Any]],
    names: list[str],
    right: set[str],
    droppable: list[str],
) -> list[str]:
    """Return the columns, without as many as the terminal is too narrow for."""
    if console.width >= UNCUT:
        return names
    free = console.options.update(width=UNCUT)

    def needed() -> int:
        table = _table(rows, names, right, LABEL)
        return Measurement.get(console, free, table).maximum

    while droppable and needed() > console.width:
        dropped = droppable.pop()
        names = [name for name in names if name != dropped]
    return names


def _table(
    rows: Sequence[Mapping[str, Any]],
    names: list[str],
    right: set[str],
    widest: int | None = None,
) -> Table:
    """Return the columns as a table, words in no more than `widest` columns each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in names:
        if name in right or all(_is_number(row.get(name)) for row in rows):
            table.add_column(Text(name), justify="right", no_wrap=True)
        else:
            table.add_column(Text(name), max_width=widest, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in names))
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell(value: Any) -> str:  # noqa: ANN401
    """Return a value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{cell(k)}={cell(v)}" for k, v in value.items())
    return printable(str(value))
