"""`ddbench experts`: the stored expert trajectories; found through the group ddbench.commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from ddbench.cli.folder import YES
from ddbench.cli.shared import (
    CHOICES,
    JSON,
    PLACES,
    cache_of,
    choices_of,
    explained,
    fail,
    open_session,
    stacked,
)

_CACHE = click.option("--cache", type=click.Path(path_type=Path), help="Folder that runs share.")


def _store(cache: Path | None) -> Any:  # noqa: ANN401
    from ddbench.contract.artifacts import ArtifactStore

    return ArtifactStore(cache_of(cache) / "artifacts")


@click.group()
def experts() -> None:
    """List, build ahead, verify and remove expert trajectories (of datm and mtt)."""


@experts.command("list")
@_CACHE
@JSON
@explained
def list_(cache: Path | None, as_json: bool) -> None:
    """List the experts that are stored, finished or not, with what they cost."""
    from ddbench.reporting.terminal import print_table

    from .library import listing

    rows = [
        {
            "id": stored.id,
            "state": "finished" if stored.finished else f"at epoch {stored.epoch}",
            "dataset": stored.record.get("dataset", ""),
            "architecture": stored.record.get("architecture", ""),
            "epochs": stored.spec.get("epochs", ""),
            "seconds": "" if stored.seconds is None else round(stored.seconds, 1),
            "TFLOP": "" if stored.flops is None else round(stored.flops / 1e12, 3),
            "MiB": round(stored.bytes / 2**20, 1),
        }
        for stored in listing(_store(cache))
    ]
    print_table(rows, as_json=as_json)


@experts.command()
@stacked(CHOICES)
@stacked(PLACES)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@explained
def build(
    registry_path: Path | None,
    data: tuple[Path, ...],
    cache: Path | None,
    plugins: tuple[Path, ...],
    device: str,
    **choices: Any,  # noqa: ANN401
) -> None:
    """Train the experts that `ddbench run` with the same options would ask for."""
    from ddbench.contract.config import make_config
    from ddbench.execution.job_context import JobContext

    from . import library
    from .method import datm, mtt

    infos = {"datm": datm.info, "mtt": mtt.info}
    session = open_session(registry_path, data, cache, plugins)
    plan = session.plan(choices_of(**choices))
    session.close()
    jobs = [job for job in plan.condensations if job.method in infos]
    if not jobs:
        fail("experts build: no row of these options matches trajectories; try --method datm")
    setting = JobContext(
        folder=Path.cwd(),
        cache=session.places.cache,
        roots=session.places.roots,
        datasets=session.named_datasets(),
        device=device,
    )
    built: dict[str, Any] = {}  # rows that differ by seed or ipc share theirs
    for job in jobs:
        dataset = setting.dataset(job.dataset, session.extensions)
        task = setting.task(job, dataset, setting.tensors(dataset), session.extensions)
        config = make_config(infos[job.method], job.config)
        library.build(task, config)
        for artifact in task.artifacts_used.values():
            if built.setdefault(artifact.id, artifact) is artifact:
                size = artifact.bytes / 2**20
                click.echo(f"{artifact.id}: {artifact.seconds:.1f} s, {size:.1f} MiB")


@experts.command()
@_CACHE
@explained
def verify(cache: Path | None) -> None:
    """Check every stored trajectory against the hash it was written with."""
    from .library import listing
    from .library import verify as problems_of

    problems = [
        problem
        for stored in listing(_store(cache))
        if stored.finished
        for problem in problems_of(stored.folder)
    ]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(1)
    click.echo("all stored experts are whole")


@experts.command()
@click.argument("ids", nargs=-1, required=True)
@_CACHE
@YES
@explained
def remove(ids: tuple[str, ...], cache: Path | None, yes: bool) -> None:
    """Remove experts by id; waits for whoever is building them."""
    from .library import listing
    from .library import remove as remove_one

    store = _store(cache)
    known = {stored.id: stored for stored in listing(store)}
    unknown = [id for id in ids if id not in known]
    if unknown:
        fail(f"no experts {', '.join(unknown)}; there are: {', '.join(known) or 'none'}")
    chosen = [known[id] for id in dict.fromkeys(ids)]
    for stored in chosen:
        click.echo(stored.id)
        if yes:
            remove_one(store, stored.id)
    size = sum(stored.bytes for stored in chosen) / 2**20
    words = "removed" if yes else "to remove; add --yes"
    click.echo(f"{_several(len(chosen))}, {size:.1f} MiB {words}", err=True)


def _several(count: int) -> str:
    return f"{count} {'artifact' if count == 1 else 'artifacts'} of experts"
