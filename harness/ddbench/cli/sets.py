"""The commands about sets in files: evaluate them, as a run would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.completion import completing, datasets_of
from ddbench.cli.run import carried_out, close, run_options, server_of, stop_of
from ddbench.cli.shared import (
    DEFAULT_PRESET,
    ENGINE,
    EVALUATE_ON,
    JSON,
    PLACES,
    PRESET,
    PROTOCOL,
    explained,
    fail,
    open_session,
    stacked,
)

if TYPE_CHECKING:
    from ddbench.planning.given_sets import GivenSet, PlanOfSets
    from ddbench.planning.workspace import Session

SET = "synthetic.safetensors"  # as a run folder names it

DATASET = click.option(
    "--dataset",
    shell_complete=completing(datasets_of),
    help="Dataset with the test images.  [default: the data that the set was made of]",
)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@DATASET
@EVALUATE_ON
@PROTOCOL
@PRESET
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder; an existing run is continued.  [default: runs/evaluate-<name>]",
)
@stacked(ENGINE)
@stacked(PLACES)
@JSON
@explained
def evaluate(
    files: tuple[Path, ...],
    dataset: str | None,
    out: Path | None,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Evaluate sets from FILES, each a synthetic.safetensors of any run, or an imported one.

    The results go into a new run folder, which `leaderboard` and `report` read; you can add files
    to it later. A set with its own recipe or soft labels is also evaluated with these.

    Exit codes: see `run`.
    """
    from ddbench.execution.given_sets import lay_in
    from ddbench.store.run_folder import RunFolder

    stop = stop_of(given)
    with stop.heard():
        sets = [read_set(path) for path in files]
        options = run_options(given, out or Path("runs") / f"evaluate-{name_of(sets)}")
        session = open_session(given, planning=True, server=server_of(options))
        planned = plan_of(session, sets, dataset, given)
        lay_in(RunFolder(options.out), planned)
        close(carried_out(session, planned.plan, options, stop), as_json)


def plan_of(
    session: Session, sets: Sequence[GivenSet], dataset: str | None, given: Mapping[str, Any]
) -> PlanOfSets:
    """Return the plan of evaluations of sets, and say what a person should know of them."""
    from ddbench.planning.given_sets import choices_for
    from ddbench.reporting.terminal import at_work

    choices = choices_for(
        sets,
        dataset,
        preset=given["preset"] or DEFAULT_PRESET,
        evaluate_on=given["evaluate_on"] or None,
        protocol=given["protocol"] or None,
    )
    with at_work("planning"):
        planned = session.plan_of_sets(choices, sets)
    for doubt in planned.doubts:
        click.echo(f"ddbench: {doubt}", err=True)
    return planned


def read_set(path: Path) -> GivenSet:
    """Return the set in a file, or in the folder of a condensation; end where there is none."""
    from ddbench.contract.synthetic_set import SetError, SyntheticSet
    from ddbench.planning.given_sets import GivenSet

    if path.is_dir():
        if not (path / SET).is_file():
            fail(f"{path}: is a folder without {SET}; name the file of a set")
        path = path / SET
    try:
        return GivenSet(path, SyntheticSet.load(path))
    except FileNotFoundError:
        fail(f"{path}: no such file; name the file of a set (runs/<name>/condensations/*/{SET})")
    except SetError as error:
        fail(str(error))


def name_of(sets: Sequence[GivenSet]) -> str:
    """Return a name for the run folder of some sets."""
    from ddbench.text.lines import slug

    if len(sets) > 1:
        return "sets"
    path = sets[0].path.resolve()
    return slug(path.parent.name if path.name == SET else path.stem) or "set"
