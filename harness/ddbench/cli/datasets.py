"""`ddbench datasets`: list datasets, and fetch or import missing ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from ddbench.cli.shared import JSON, PLUGIN, Suggesting, explained, fail, roots_of

_ROOTS = click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with datasets; repeatable. DDBENCH_DATA adds more.",
)
_NAME = click.argument("name")


@click.group(cls=Suggesting, invoke_without_command=True)
@_ROOTS
@PLUGIN
@JSON
@click.pass_context
@explained
def datasets(
    context: click.Context, data: tuple[Path, ...], plugins: tuple[Path, ...], as_json: bool
) -> None:
    """List the available datasets and what the others need; fetch and import them."""
    if context.invoked_subcommand is not None:
        return
    from ddbench.datasets import listing
    from ddbench.discovery.extensions import Extensions
    from ddbench.reporting.terminal import print_rows

    lines = listing(roots=roots_of(data), sources=Extensions.installed(files=plugins).datasets)
    rows = [dataclasses.asdict(line) for line in lines]
    if not as_json:
        rows = [_short(row) for row in rows]
    print_rows(rows, as_json=as_json)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    shape = "x".join(str(size) for size in row["shape"] or ())
    return {
        "dataset": row["name"],
        "classes": row["num_classes"] or "",
        "shape": shape,
        "train": row["train_size"] or "",
        "test": row["test_size"] or "",
        "here": row["where"] or "always" if row["present"] else "no",
        "needs": row["remedy"],
    }


@datasets.command()
@_NAME
@_ROOTS
@PLUGIN
@explained
def fetch(name: str, data: tuple[Path, ...], plugins: tuple[Path, ...]) -> None:
    """Download the dataset NAME into the first data folder, with progress and checks."""
    from ddbench.datasets import fetch as fetch_dataset
    from ddbench.discovery.extensions import Extensions

    sources = Extensions.installed(files=plugins).datasets
    where = fetch_dataset(name, root=_first(data), progress=_say, sources=sources)
    click.echo(f"{name} needs no files" if where is None else f"{name} is in {where}")


@datasets.command("import")
@_NAME
@click.argument("path", type=click.Path(path_type=Path))
@_ROOTS
@PLUGIN
@explained
def import_(name: str, path: Path, data: tuple[Path, ...], plugins: tuple[Path, ...]) -> None:
    """Copy the dataset NAME from PATH (archive or folder) into the first data folder."""
    from ddbench.datasets import adopt
    from ddbench.discovery.extensions import Extensions

    sources = Extensions.installed(files=plugins).datasets
    where = adopt(name, path, root=_first(data), progress=_say, sources=sources)
    click.echo(f"{name} is in {where}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _first(data: tuple[Path, ...]) -> Path:
    roots = roots_of(data)
    if not roots:
        fail("say where the data should be: --data FOLDER, or the variable DDBENCH_DATA")
    return roots[0]
