"""`ddbench references`: list published figures, to compare results with."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import click

from ddbench.cli.shared import JSON, explained, fail, stacked


def _filter(
    name: str, help: str, kind: type = str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, multiple=True, type=kind, help=f"{help}; repeatable.")


FILTERS = (
    _filter("--method", "Only figures of this method, or 'whole': the whole training set"),
    _filter("--dataset", "Only on this dataset, with or without whitening"),
    _filter("--ipc", "Only with this number of images per class", int),
    _filter("--arch", "Only on networks of this architecture"),
    _filter("--source", "Only from this source; use a name from the table"),
    _filter("--trust", "Only with this level of trust: own, quoted, rerun, ..."),
)


@click.command()
@stacked(FILTERS)
@JSON
@explained
def references(
    method: tuple[str, ...],
    dataset: tuple[str, ...],
    ipc: tuple[int, ...],
    arch: tuple[str, ...],
    source: tuple[str, ...],
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """List published figures, each with its source, protocol and level of trust.

    A table shows accuracies in %, as printed; --json has them in [0, 1], like a leaderboard's.
    """
    from ddbench.reporting.references import chosen, data_of
    from ddbench.reporting.references import references as published
    from ddbench.reporting.terminal import print_references

    known = published()
    _check("--method", method, {one.method for one in known})
    _check("--dataset", dataset, {d for one in known for d in (one.dataset, data_of(one.dataset))})
    _check("--arch", arch, {one.architecture for one in known})
    _check("--source", source, {one.source for one in known})
    _check("--trust", trust, {one.trust for one in known})
    wanted = {
        "method": method, "ipc": ipc, "architecture": arch, "source": source, "trust": trust,
    }  # fmt: skip
    print_references(chosen(known, dataset, **wanted), as_json=as_json)


def _check(option: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse a value that no figure has, and say which it may mean."""
    from ddbench.text.suggestions import unknown_at

    for name in given:
        if name not in known:
            fail(unknown_at(option, name, known))
