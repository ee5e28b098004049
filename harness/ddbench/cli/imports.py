"""The command that imports a synthetic set from the file of another program."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.completion import completing, datasets_of
from ddbench.cli.shared import PLACES, explained, fail, open_session, stacked

if TYPE_CHECKING:
    from ddbench.contract.foreign import HowToRead, RealData
    from ddbench.contract.foreign.sets import Claim
    from ddbench.planning.workspace import Session


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    required=True,
    shell_complete=completing(datasets_of),
    help="Dataset that the set was made from, with options as in 'cifar10?zca=true'.",
)
@click.option(
    "--space",
    type=click.Choice(["normalised", "zca", "0..1", "0..255"]),
    help="The space of its images; you must tell it, because it cannot be guessed.",
)
@click.option("--mean", metavar="NUMBERS", help="Mean of normalised images, if not the dataset's.")
@click.option(
    "--std", metavar="NUMBERS", help="With --mean: one number per channel, such as 0.2,0.2,0.2."
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "dc", "mtt", "datm", "pair"]),
    default="auto",
    show_default=True,
    help="Program that wrote it: DatasetCondensation, MTT, DATM, or (images, labels).",
)
@click.option("--labels", type=click.Path(path_type=Path), help="File with the labels.")
@click.option(
    "--experiment", type=click.IntRange(min=0), help="Number of the set in the file, from 0."
)
@click.option(
    "--first-label", type=click.IntRange(0, 1), help="Number of the first class, if unclear."
)
@click.option(
    "--soft", type=click.Choice(["logits", "probabilities"]), help="Meaning of label rows."
)
@click.option(
    "--recipe",
    multiple=True,
    metavar="KEY=VALUE",
    help="Its training recipe, such as lr=0.02; keys: lr, batch, epochs, augment, labels.",
)
@click.option("--method", default="", help="Method that made it, for tables.  [default: its name]")
@click.option(
    "--to", type=click.Path(path_type=Path), help="Output file.  [default: FILE.safetensors]"
)
@stacked(PLACES)
@explained
def import_set(path: Path, dataset: str, to: Path | None, **given: Any) -> None:  # noqa: ANN401
    """Make a set of FILE, which another program wrote: .pt, .pth or .safetensors.

    For MTT and DATM name images_best.pt, or its folder: labels and learning rate are found beside
    it. Nothing in the file is run: one that holds more than tensors, numbers and words is refused.
    """
    from ddbench.contract.foreign import ForeignError, claims_of_file, read_foreign, set_of

    target = to or _target(path)
    if target.exists():
        fail(f"{target}: exists already; name another file by --to")
    try:
        how = _how(given)
        found = read_foreign(path, given["layout"], given["experiment"], given["labels"])
        made, labels = set_of(path, found, _data(open_session(given), dataset), how)
    except FileNotFoundError as error:
        fail(f"{error.filename or path}: no such file")
    except ForeignError as error:
        text = str(error)
        fail(text if str(path) in text else f"{path}: {text}")
    made.save(target)
    click.echo(repr(made))
    click.echo(f"  read as {found.layout}; labels: {labels}")
    for claim in claims_of_file(found):
        spread = "" if claim.spread is None else f" ± {claim.spread:.1f}"
        networks = "network" if claim.networks == 1 else "networks"
        words = f"{claim.mean:.1f}{spread}% on {claim.network} ({claim.networks} {networks})"
        click.echo(f"  the file claims {words}")
    click.echo(f"written: {target}; next: ddbench evaluate {shlex.quote(str(target))}", err=True)
    if claims := claims_of_file(found):
        click.echo(f"or: {_check(target, claims[0])}", err=True)


def _check(target: Path, claim: Claim) -> str:
    """Return the command that verifies a claim of the file."""
    words = ["ddbench", "verify", str(target), "--accuracy", f"{claim.mean:.1f}%"]
    if claim.spread is not None:
        words += ["--spread", f"{claim.spread:.1f}%", "--networks", str(claim.networks)]
    return f"{shlex.join(words)} --evaluate-on NETWORK --protocol PROTOCOL"


def _target(path: Path) -> Path:
    if path.is_dir():
        return path / "images_best.safetensors"
    if path.suffix == ".safetensors":
        return path.with_name(f"{path.stem}-imported.safetensors")
    return path.with_suffix(".safetensors")


def _data(session: Session, name: str) -> RealData:
    """Return the data that a set was made of, with their whitening."""
    from ddbench.contract.foreign import RealData
    from ddbench.execution.job_context import JobContext

    places = session.places
    context = JobContext(Path(), places.cache, places.roots, session.named_datasets())
    real = context.dataset(name, session.extensions)
    return RealData(name, real, context.fitted(real))


def _how(given: Mapping[str, Any]) -> HowToRead:
    from ddbench.contract.foreign import HowToRead, Source

    mean, std = (_numbers(given[name], f"--{name}") for name in ("mean", "std"))
    if bool(mean) != bool(std):
        fail("--mean and --std: give both, or none")
    return HowToRead(
        source=Source(given["space"] or "", mean, std),
        first_label=given["first_label"],
        soft=given["soft"],
        recipe=dict(_pair(text) for text in given["recipe"]),
        method=given["method"],
    )


def _numbers(text: str | None, option: str) -> tuple[float, ...]:
    try:
        return () if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        fail(f"{option} {text}: expected numbers, one a channel, as 0.49,0.48,0.45")


def _pair(text: str) -> tuple[str, Any]:
    from ddbench.planning.option_values import value_of

    key, equals, value = text.partition("=")
    if not equals:
        fail(f"--recipe {text}: expected KEY=VALUE, as lr=0.02")
    return key.strip(), value_of(value.strip())
