"""The commands that list presets and architectures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.shared import JSON, PLACES, explained, fail, open_session, read_registry, stacked

if TYPE_CHECKING:
    from ddbench.architectures import Listed
    from ddbench.planning.registry import Preset, Registry
    from ddbench.planning.workspace import Session


@click.command()
@click.option(
    "--registry",
    "registry_path",
    type=click.Path(path_type=Path),
    help="A registry.toml instead of the default one.",
)
@JSON
@explained
def presets(registry_path: Path | None, as_json: bool) -> None:
    """List the presets of the registry with their content, and the evaluation protocols."""
    from ddbench.reporting.terminal import print_json, print_table

    registry = read_registry(registry_path)
    if as_json:
        kept = registry.dump()
        print_json({kind: kept[kind] for kind in ("presets", "protocols")})
        return
    rows = [
        {
            "preset": name,
            "datasets": preset.datasets,
            "ipc": preset.ipc,
            "methods": _methods_text(preset, registry),
            "summary": preset.summary,
            "seeds": preset.seeds,
            "matched": preset.architectures,
            "evaluated on": preset.evaluate_on,
            "protocol": preset.protocol,
        }
        for name, preset in registry.presets.items()
    ]
    print_table(rows, title="presets", droppable=("seeds", "matched", "evaluated on", "protocol"))
    protocols = [
        {"protocol": name}
        | {key: getattr(protocol, key) for key in ("epochs", "networks", "batch", "augment")}
        | {"summary": protocol.summary}
        for name, protocol in registry.protocols.items()
    ]
    print_table(protocols, title="protocols")


def _methods_text(preset: Preset, registry: Registry) -> str:
    """Return the methods of a preset's rows; narrow terminals would cut the names of variants."""
    names = [registry.method_of(row.method) for row in preset.rows]
    return ", ".join(dict.fromkeys([*names, *(["every other"] if preset.others else [])]))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--dataset", "on", multiple=True, help="Dataset that gives the image size; repeatable."
)
@click.option(
    "--batch",
    type=click.IntRange(1, 2**20),
    default=256,
    show_default=True,
    help="Images in a training step.",
)
@stacked(PLACES)
@JSON
@explained
def architectures(
    names: tuple[str, ...],
    on: tuple[str, ...],
    batch: int,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """List the architecture families; with NAMES, show parameters and the cost of images.

    If the files of a known dataset are missing, its published sizes are used.
    """
    from ddbench import architectures as zoo
    from ddbench.reporting.terminal import print_json, print_rows

    session = open_session(given)
    families = zoo.listing(session.extensions.architectures)
    if names or on:
        wanted = names or tuple(family.name for family in families)
        costs = [cost for name in wanted for cost in _costs(session, name, on, batch)]
        if as_json:
            print_json(costs)
        else:
            click.echo("\n\n".join(map(_cost_text, costs)))
        return
    rows = [{**vars(family), "parameters": _counts(family, as_json)} for family in families]
    print_rows(rows, as_json=as_json)
    if not as_json:
        click.echo("`ddbench architectures NAME --dataset DATASET` shows what one costs", err=True)


def _counts(family: Listed, as_json: bool) -> Any:  # noqa: ANN401
    """Return the parameters by the shape of an image: as text "1×28×28: 317,706"."""
    known = {_shape_text(shape): count for shape, count in family.parameters.items()}
    if as_json:
        return known
    return "\n".join(f"{s}: {'too small' if n is None else f'{n:,}'}" for s, n in known.items())


def _shape_text(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def _costs(
    session: Session, name: str, on: tuple[str, ...], batch: int
) -> Iterator[dict[str, Any]]:
    """Go through what a network costs on each dataset, or on the listed kinds of images."""
    from ddbench import architectures as zoo
    from ddbench.discovery.pricing import network_costs

    known = session.extensions.architectures
    sizes = {dataset: session.sizes(dataset) for dataset in on}
    shapes = [(dataset, size.shape, size.num_classes) for dataset, size in sizes.items()]
    shapes = shapes or [("", shape, zoo.LISTED_CLASSES) for shape in zoo.LISTED_SHAPES]
    for dataset, shape, classes in shapes:
        size = sizes.get(dataset)
        try:
            costs = network_costs(name, shape, classes, batch, known)
        except zoo.ArchitectureError as error:
            fail(str(error))
        yield {
            "architecture": zoo.canonical(name, known),
            "dataset": dataset or None,
            "shape": list(shape),
            "classes": classes,
            "sizes": None if size is None else "measured" if size.measured else "published",
            "parameters": costs.parameters,
            "macs_image": costs.macs_image,
            "test_images": size and size.test,
            "macs_test": size and size.test * costs.macs_image,
            "macs_tool": "fvcore",
            "batch": batch,
            "flops_train_step": costs.flops_train_step,
        }


def _cost_text(cost: dict[str, Any]) -> str:
    images = f"{_shape_text(cost['shape'])}, {cost['classes']} classes"
    if cost["dataset"]:
        published = " (as published)" if cost["sizes"] == "published" else ""
        images = f"{cost['dataset']}: {images}, {cost['test_images']:,} test images{published}"
    lines = [
        ("parameters", cost["parameters"], ""),
        ("multiply-adds of one image", cost["macs_image"], "  (fvcore)"),
        ("multiply-adds of the test set", cost["macs_test"], "  (fvcore)"),
        ("FLOPs of a training step", cost["flops_train_step"],
         f"  (batch {cost['batch']}; 2 per multiply-add)"),
    ]  # fmt: skip
    known = [line for line in lines if line[1] is not None]
    wide = max(len(f"{number:,}") for _, number, _ in known)
    rows = [f"  {what:<30}{number:>{wide},}{about}" for what, number, about in known]
    return "\n".join([f"{cost['architecture']} on {images}", *rows])
