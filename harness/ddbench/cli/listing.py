"""The commands that list what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ddbench.cli.data import list_data
from ddbench.cli.shared import JSON, PLACES, explained, open_session, stacked


@click.command()
@stacked(PLACES)
@JSON
@explained
def methods(
    registry_path: Path | None,
    data: tuple[Path, ...],
    cache: Path | None,
    plugins: tuple[Path, ...],
    as_json: bool,
) -> None:
    """List the installed methods, their inits and options."""
    from ddbench.console import print_table

    session = open_session(registry_path, data, cache, plugins)
    info = session.ask({"describe": sorted(session.found)})["describe"]
    rows = []
    for name, found in session.found.items():
        about = info[name]
        rows.append(
            {
                "method": name,
                "source": found.source,
                "inits": ", ".join(about.get("inits", ())) or "any",
                "step": about.get("step", ""),
                "options": about.get("options", {}) if as_json else _options_text(about),
                "paper": about.get("paper", ""),
                "error": about.get("error", ""),
            }
        )
    if not any(row["error"] for row in rows):
        for row in rows:
            del row["error"]
    print_table(rows, as_json=as_json)


def _options_text(about: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in about.get("options", {}).items())


@click.command()
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with datasets; repeatable. DDBENCH_DATA adds more.",
)
@JSON
@explained
def datasets(data: tuple[Path, ...], as_json: bool) -> None:
    """List the datasets, whether they are here, and what the absent ones need."""
    list_data(data, as_json)


@click.command()
@JSON
@explained
def architectures(as_json: bool) -> None:
    """List the architecture families and the tokens that vary them."""
    from ddbench import architectures as zoo
    from ddbench.console import print_table
    from ddbench.extensions import Extensions

    rows = [vars(listed) for listed in zoo.listing(Extensions.installed().architectures)]
    print_table(rows, as_json=as_json)
