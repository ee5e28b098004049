"""Shell completion of values: run folders, job ids, names of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from ddbench.planning.registry import Registry

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_folder(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the run folders below `runs/`; where none fits, the shell offers folders."""
    runs = [str(path.parent) for path in sorted(Path("runs").glob("*/condensations"))]
    return _beginning(incomplete, runs) or [CompletionItem(incomplete, type="dir")]


def complete_job(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the ids of the jobs in the run folder that is named before."""
    folder = Path(context.params.get("folder") or context.params.get("target") or ".")
    ids = [path.name for path in sorted((folder / "condensations").glob("*"))]
    ids += [path.stem for path in sorted((folder / "evaluations").glob("*.json"))]
    return _beginning(incomplete, ids)


def complete_format(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the formats of reports that ddbench itself brings."""
    from ddbench.reporting.reporters import Reporters

    return _beginning(incomplete, Reporters().found)


def completing(names: Callable[[Registry], Iterable[str]]) -> Complete:
    """Return what completes `names` of the registry that the command would read."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from ddbench.planning.registry import RegistryError, read

        try:
            registry = read(context.params.get("registry_path"))
        except (RegistryError, OSError):
            return []  # the command itself will say what is wrong
        return _beginning(incomplete, sorted({*names(registry)}))

    return complete


def rows_of(registry: Registry) -> Iterable[str]:
    """Return the installed methods and the variants of the registry."""
    from importlib.metadata import entry_points

    from ddbench.contract.hookspecs import METHODS_GROUP

    return [*registry.methods, *(point.name for point in entry_points(group=METHODS_GROUP))]


def datasets_of(registry: Registry) -> Iterable[str]:
    """Return the datasets of ddbench and of the registry."""
    from ddbench import datasets

    return [*registry.datasets, *(line.name for line in datasets.listing())]


def _beginning(incomplete: str, values: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]
