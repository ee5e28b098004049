"""The commands that plan and run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.shared import (
    CHOICES,
    DEFAULT_PRESET,
    JSON,
    PLACES,
    RUN,
    choices_of,
    debugging,
    explained,
    fail,
    open_session,
    read_registry,
    stacked,
)

if TYPE_CHECKING:
    from ddbench.execution.run import Outcome
    from ddbench.execution.run_options import RunOptions
    from ddbench.execution.signals import Stop
    from ddbench.planning.jobs import Plan
    from ddbench.planning.workspace import Session


@click.command()
@stacked(CHOICES)
@stacked(RUN)
@stacked(PLACES)
@JSON
@click.option(
    "--test",
    is_flag=True,
    help="At the end test what --validate chose: each method's best row, on the test set, once.",
)
@click.option("--print-registry", is_flag=True, help="Show the registry as resolved and end.")
@explained
def run(
    as_json: bool,
    print_registry: bool,
    test: bool,
    require_all: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Condense, evaluate, and write the leaderboard and the report.

    What a run folder already holds is not done again: the same command goes on where it stopped.

    Exit codes: 0 all done, 1 some job failed, 2 usage, 3 nothing could run, 4 stopped in time
    with more to do, 130 interrupted.
    """
    from ddbench.execution.run_options import jobs_at_once
    from ddbench.execution.signals import Stop
    from ddbench.planning.option_values import parse_duration
    from ddbench.reporting.terminal import at_work

    if print_registry:
        _print_registry(given["registry_path"])
        return
    after = given["stop_after"]
    stop = Stop(parse_duration(after, "--stop-after") if after else None)
    with stop.heard():
        options = run_options(given)
        choices = choices_of(given, jobs_at_once(options))
        session = open_session(given, planning=True)
        with at_work("planning"):
            plan = session.plan(choices)
        refuse_skipped(plan, require_all)
        if test:
            _require_validation(plan)
        _close(_carry_out(session, plan, options, stop, test), as_json)


def refuse_skipped(plan: Plan, require_all: bool) -> None:
    """End where rows are skipped and all are required."""
    if require_all and plan.skipped:
        reasons = dict.fromkeys(left_out.reason for left_out in plan.skipped)  # one a seed
        fail("\n  ".join(["--require-all:", *reasons]))


def run_options(given: Mapping[str, Any]) -> RunOptions:
    """Return how a plan is carried out, from the values of the options in `RUN`."""
    from ddbench.execution.devices import device_named
    from ddbench.execution.run_options import RunOptions
    from ddbench.planning.option_values import parse_duration, parse_size

    preset = given["preset"] or DEFAULT_PRESET
    device, gpus = device_named(given["device"], given["gpus"])
    job_time, memory = given["job_time"], given["memory"]
    return RunOptions(
        out=given["out"] or Path("runs") / preset,
        device=device,
        jobs=1 if given["exclusive"] else given["jobs"],
        gpus=gpus,
        jobs_per_gpu=given["jobs_per_gpu"],
        job_s=None if job_time == "none" else parse_duration(job_time, "--job-time"),
        memory=parse_size(memory, "--memory") if memory else None,
        threads=given["threads"],
        checkpoint_s=parse_duration(given["checkpoint_every"], "--checkpoint-every"),
        keep_state=given["keep_state"],
        engine="inline" if given["debug"] else given["engine"],
        engine_options=_engine_options(given),
        keep_stale=given["keep_stale"],
        observers=_observers(given["observers"]),
        command=("ddbench", *sys.argv[1:]),
        preset=preset,
    )


def _engine_options(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what the engine takes beside the jobs, by name."""
    options = {} if given["ray_address"] is None else {"address": given["ray_address"]}
    for text in given["engine_settings"]:
        name, equals, value = text.partition("=")
        if not (name and equals):
            fail(f"--engine-option {text}: expected NAME=VALUE")
        options[name] = value
    return options


def _carry_out(
    session: Session,
    plan: Plan,
    options: RunOptions,
    stop: Stop,
    test: bool,
) -> Outcome:
    """Do what is missing of a plan; with `test`, then test what its validations chose."""
    from ddbench.execution.run import carry_out
    from ddbench.planning.test_set import with_tests
    from ddbench.reporting.leaderboard import load
    from ddbench.reporting.terminal import Progress

    tracebacks = options.engine == "inline" or debugging()
    with Progress(tracebacks=tracebacks) as progress:
        outcome = carry_out(session, plan, options, progress, stop)
    if test and not outcome.stopped:
        tests = with_tests(outcome.plan, load(outcome.folder).chosen)
        with Progress(tracebacks=tracebacks) as progress:
            outcome = carry_out(session, tests, options, progress, stop)
    return outcome


def _require_validation(plan: Plan) -> None:
    from ddbench.store.records import VALIDATION

    if plan.evaluations and not any(job.tested_on == VALIDATION for job in plan.evaluations):
        fail("--test: tests what a validation split has chosen; add --validate 20%")


def _observers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names`, once each observer is known to be at hand."""
    from ddbench.discovery.observers import ObserverError, make

    try:
        for name in names:
            make(name, Path())
    except ObserverError as error:
        fail(str(error))
    return names


def _close(outcome: Any, as_json: bool) -> None:  # noqa: ANN401
    if not outcome.stopped.startswith("SIG"):  # a batch system grants seconds, not a report
        _show(outcome, as_json)
    if outcome.stopped:
        left = outcome.jobs.left_over
        click.echo(
            f"stopped ({outcome.stopped}); {left} jobs left, the same command goes on", err=True
        )
    raise SystemExit(outcome.exit_code)


def _show(outcome: Any, as_json: bool) -> None:  # noqa: ANN401
    from ddbench.reporting.html import write_page
    from ddbench.reporting.leaderboard import load
    from ddbench.reporting.markdown import write_report
    from ddbench.reporting.terminal import print_leaderboard
    from ddbench.store.run_folder import RunError

    try:  # first, for whoever reads the leaderboard may close the pipe
        said = f"report: {write_report(outcome.folder)}, {write_page(outcome.folder).name}"
    except (OSError, RunError) as error:
        said = f"ddbench: the report cannot be written: {error}"
    print_leaderboard(load(outcome.folder), as_json=as_json)
    click.echo(said, err=True)


@click.command()
@stacked(CHOICES)
@stacked(RUN)
@stacked(PLACES)
@JSON
@click.option(
    "--price/--no-price",
    default=True,
    show_default=True,
    help="Count the operations, and tell hours, memory and disk; nothing is run.",
)
@click.option("--fit", "fit", metavar="TIME", help="Say what to leave out to end within, as 2h.")
@explained
def plan(as_json: bool, price: bool, fit: str | None, require_all: bool, **given: Any) -> None:  # noqa: ANN401
    """Show what `run` with the same options would do, and at what cost.

    Hours are known from jobs that have ended on this machine, else from a measurement of a few
    seconds, made once. Counting takes seconds for each row; what is counted is kept.

    Exit codes: as `run` would give them for what cannot run: 1 a broken plugin, 3 nothing can run.
    """
    from ddbench.execution.costs import costs, to_fit
    from ddbench.execution.run_options import jobs_at_once
    from ddbench.planning.option_values import parse_duration
    from ddbench.reporting.terminal import at_work, print_plan

    within = parse_duration(fit, "--fit") if fit else None
    options = run_options(given)
    workers = jobs_at_once(options)
    session = open_session(given, planning=True)
    with at_work("planning"):
        planned = session.plan(choices_of(given, workers))
        refuse_skipped(planned, require_all)
        shared = session.shared(planned)
    found = None
    if (price or within is not None) and (planned.condensations or planned.evaluations):
        with at_work("counting operations"):
            found = costs(session, planned, options)
    proposals = to_fit(planned, found, within) if found and within is not None else []
    print_plan(
        planned, shared, jobs_at_once=workers, as_json=as_json,
        costs=found, proposals=proposals, within_s=within,
    )  # fmt: skip
    raise SystemExit(planned.exit_code)


@click.command("init-registry")
@click.argument("path", type=click.Path(path_type=Path), default="registry.toml")
@explained
def init_registry(path: Path) -> None:
    """Write a copy of the default registry, to edit."""
    from ddbench.planning.registry import default_path

    if path.exists():
        fail(f"{path}: exists already; name another file")
    try:
        path.write_bytes(default_path().read_bytes())
    except OSError as error:
        fail(f"{path}: cannot be written ({error.strerror}); name another file")
    click.echo(f"{path} written; use it with `ddbench run --registry {path}`")


def _print_registry(path: Path | None) -> None:
    from ddbench.reporting.terminal import print_json

    registry = read_registry(path)
    print_json({"path": str(registry.path), **registry.dump()})
