"""`ddbench artifacts`: list, build ahead, verify and remove what condensations share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.folder import YES
from ddbench.cli.shared import (
    CHOICES,
    JSON,
    PLACES,
    Suggesting,
    cache_of,
    choices_of,
    explained,
    fail,
    open_session,
    stacked,
)

if TYPE_CHECKING:
    from ddbench.contract.artifacts import ArtifactStore

_CACHE = click.option(
    "--cache", type=click.Path(path_type=Path), help="Cache folder, shared by all runs."
)


def _store(cache: Path | None) -> ArtifactStore:
    from ddbench.contract.artifacts import ArtifactStore

    return ArtifactStore(cache_of(cache) / "artifacts")


@click.group(cls=Suggesting)
def artifacts() -> None:
    """List, build ahead, verify and remove what condensations share: trained networks and more."""


@artifacts.command("list")
@_CACHE
@JSON
@explained
def list_(cache: Path | None, as_json: bool) -> None:
    """List the artifacts that are stored, finished or not, with what they cost."""
    from ddbench.reporting.terminal import print_rows

    store = _store(cache)
    rows: list[dict[str, Any]] = [
        {
            "id": one.id,
            "state": "done",
            "dataset": one.dataset,
            "network": one.spec.get("architecture", ""),
            "seconds": round(one.seconds, 1),
            "TFLOP": round(one.flops / 1e12, 3),
            "MiB": round(one.bytes / 2**20, 2),
        }
        for one in store
    ]
    for folder in store.half_built():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        empty = {key: "" for key in ("dataset", "network", "seconds", "TFLOP")}
        rows.append({"id": folder.name, "state": "begun", **empty, "MiB": round(size / 2**20, 2)})
    if as_json:
        specs = {one.id: {"kind": one.kind, "spec": dict(one.spec)} for one in store}
        rows = [{**row, **specs.get(row["id"], {})} for row in rows]
    else:  # what does not fit beside the rest into 80 columns
        rows = [{key: row[key] for key in row if key != "TFLOP"} for row in rows]
    print_rows(rows, as_json=as_json)


@artifacts.command()
@stacked(CHOICES)
@stacked(PLACES)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@explained
def build(device: str, **given: Any) -> None:  # noqa: ANN401
    """Build the artifacts that `ddbench run` with the same options would need."""
    from ddbench.execution.job_context import JobContext
    from ddbench.execution.prebuild import build_ahead
    from ddbench.testing import one_thread

    session = open_session(given)
    plan = session.plan(choices_of(given))
    session.close()
    context = JobContext(
        folder=Path.cwd(),
        cache=session.places.cache,
        roots=session.places.roots,
        datasets=session.named_datasets(),
        device=device,
    )
    count, troubles = 0, []
    with one_thread():  # as jobs have: what is built does not depend on the number of cores
        for built in build_ahead(session, plan, context):
            if built.artifact is None:
                troubles.append(f"{built.job}: {built.trouble}")
                continue
            count += 1
            one = built.artifact
            click.echo(f"{one.id}: {one.seconds:.1f} s, {one.bytes / 2**20:.1f} MiB")
    if troubles:
        fail("\n  ".join(["the artifacts of these rows cannot be built:", *troubles]), 1)
    if not count:
        click.echo("nothing to build: no row of these options shares anything", err=True)


@artifacts.command()
@click.argument("ids", nargs=-1)
@_CACHE
@explained
def verify(ids: tuple[str, ...], cache: Path | None) -> None:
    """Compare the files of artifacts (default: all) with their recorded hashes."""
    from ddbench.contract.artifacts import problems_of

    store = _store(cache)
    known = {one.id: one for one in store}
    chosen = _chosen(ids, known) if ids else list(known)
    problems = [problem for id in chosen for problem in problems_of(known[id])]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(1)
    click.echo(f"{_several(len(chosen))} verified, all whole")


@artifacts.command()
@click.argument("ids", nargs=-1, required=True)
@_CACHE
@YES
@explained
def remove(ids: tuple[str, ...], cache: Path | None, yes: bool) -> None:
    """Remove artifacts by id, finished or not; waits until a running build ends."""
    store = _store(cache)
    sizes = {one.id: one.bytes for one in store}
    for folder in store.half_built():
        sizes[folder.name] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    chosen = _chosen(ids, sizes)
    for id in chosen:
        click.echo(id)
        if yes:
            store.remove(id)
    size = sum(sizes[id] for id in chosen) / 2**20
    words = "removed" if yes else "to remove; add --yes"
    click.echo(f"{_several(len(chosen))}, {size:.1f} MiB {words}", err=True)


def _several(count: int) -> str:
    return "1 artifact" if count == 1 else f"{count} artifacts"


def _chosen(ids: tuple[str, ...], known: Any) -> list[str]:  # noqa: ANN401
    """Return the ids that are meant, each once; end with a message where one is unknown."""
    unknown = [id for id in ids if id not in known]
    if unknown:
        there = ", ".join(known) or "none"
        fail(f"no artifact {', '.join(unknown)}; there are: {there}")
    return list(dict.fromkeys(ids))
