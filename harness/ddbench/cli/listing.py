"""The commands that list what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddbench.cli.shared import JSON, explained, read_registry

if TYPE_CHECKING:
    from ddbench.planning.registry import Preset, Registry


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
    """List the presets of the registry, what is in them, and the protocols of evaluation."""
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
@JSON
@explained
def architectures(as_json: bool) -> None:
    """List the architecture families and the tokens that vary them."""
    from ddbench import architectures as zoo
    from ddbench.discovery.extensions import Extensions
    from ddbench.reporting.terminal import print_table

    rows = [vars(listed) for listed in zoo.listing(Extensions.installed().architectures)]
    print_table(rows, as_json=as_json)
