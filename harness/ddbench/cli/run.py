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
    from ddbench.processes.fork_server import ForkServer


@click.command()
@stacked(CHOICES)
@stacked(RUN)
@stacked(PLACES)
@JSON
@click.option(
    "--test",
    is_flag=True,
    help="At the end, evaluate on the test set what --validate chose: the best row of each method.",
)
@click.option("--print-registry", is_flag=True, help="Print the resolved registry and exit.")
@explained
def run(
    as_json: bool,
    print_registry: bool,
    test: bool,
    require_all: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Condense, evaluate, and write the leaderboard and the report.

    Finished jobs in the run folder are not done again: the same command continues a run.

    Exit codes: 0 all jobs done, 1 a job failed, 2 wrong usage, 3 nothing could run, 4 stopped
    with jobs left, 130 interrupted.
    """
    from ddbench.execution.run_options import jobs_at_once
    from ddbench.reporting.terminal import at_work

    if print_registry:
        _print_registry(given["registry_path"])
        return
    stop = stop_of(given)
    with stop.heard():
        preset = given["preset"] or DEFAULT_PRESET
        options = run_options(given, given["out"] or Path("runs") / preset)
        choices = choices_of(given, jobs_at_once(options))
        session = open_session(given, planning=True, server=server_of(options))
        with at_work("planning"):
            plan = session.plan(choices)
        refuse_skipped(plan, require_all)
        if test:
            _require_validation(plan)
        close(carried_out(session, plan, options, stop, test), as_json)


def refuse_skipped(plan: Plan, require_all: bool) -> None:
    """End where rows are skipped and all are required."""
    if require_all and plan.skipped:
        reasons = dict.fromkeys(left_out.reason for left_out in plan.skipped)  # one a seed
        fail("\n  ".join(["--require-all:", *reasons]))


def stop_of(given: Mapping[str, Any]) -> Stop:
    """Return what tells a run to stop: a signal, or the time of --stop-after."""
    from ddbench.execution.signals import Stop
    from ddbench.planning.option_values import parse_duration

    after = given["stop_after"]
    return Stop(parse_duration(after, "--stop-after") if after else None)


def server_of(options: RunOptions) -> ForkServer | None:
    """Return what the processes of a run are forked from, those that answer questions included."""
    from ddbench.execution.engines import PRELOAD
    from ddbench.processes.fork_server import ForkServer

    return ForkServer(PRELOAD, options.threads) if options.engine == "local" else None


def run_options(given: Mapping[str, Any], out: Path) -> RunOptions:
    """Return how a plan is carried out, from the values of the options in `RUN` or `ENGINE`."""
    from ddbench.execution.devices import device_named
    from ddbench.execution.run_options import RunOptions
    from ddbench.planning.option_values import parse_duration, parse_size

    preset = given["preset"] or DEFAULT_PRESET
    device, gpus = device_named(given["device"], given["gpus"])
    job_time, memory = given["job_time"], given["memory"]
    return RunOptions(
        out=out,
        device=device,
        jobs=1 if given["exclusive"] else given["jobs"],
        gpus=gpus,
        jobs_per_gpu=given["jobs_per_gpu"],
        job_s=None if job_time == "none" else parse_duration(job_time, "--job-time"),
        memory=parse_size(memory, "--memory") if memory else None,
        threads=given["threads"],
        checkpoint_s=parse_duration(given.get("checkpoint_every", "60s"), "--checkpoint-every"),
        keep_state=given.get("keep_state", False),
        engine="inline" if given["debug"] else given.get("engine", "local"),
        engine_options=_engine_options(given),
        keep_stale=given.get("keep_stale", False),
        observers=_observers(given["observers"]),
        command=("ddbench", *sys.argv[1:]),
        preset=preset,
    )


def _engine_options(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what the engine takes beside the jobs, by name."""
    address = given.get("ray_address")
    options = {} if address is None else {"address": address}
    for text in given.get("engine_settings", ()):
        name, equals, value = text.partition("=")
        if not (name and equals):
            fail(f"--engine-option {text}: expected NAME=VALUE")
        options[name] = value
    return options


def carried_out(
    session: Session,
    plan: Plan,
    options: RunOptions,
    stop: Stop,
    test: bool = False,
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
    """Return `names`, after a check that each observer is installed."""
    from ddbench.discovery.observers import ObserverError, make

    try:
        for name in names:
            make(name, Path())
    except ObserverError as error:
        fail(str(error))
    return names


def close(outcome: Any, as_json: bool) -> None:  # noqa: ANN401
    """Show what a run came to, and end with its exit code."""
    if not outcome.stopped.startswith("SIG"):  # a batch system grants seconds, not a report
        _show(outcome, as_json)
    if outcome.stopped:
        left = outcome.jobs.left_over
        click.echo(
            f"stopped ({outcome.stopped}); {left} jobs left, the same command goes on", err=True
        )
    raise SystemExit(outcome.exit_code)


def _show(outcome: Any, as_json: bool) -> None:  # noqa: ANN401
    from ddbench.reporting.leaderboard import load
    from ddbench.reporting.reporters import USUAL, Reporters, write_report
    from ddbench.reporting.terminal import print_leaderboard
    from ddbench.store.run_folder import RunError

    leaderboard = load(outcome.folder)
    try:  # first, for whoever reads the leaderboard may close the pipe
        known = Reporters()
        paths = [write_report(leaderboard, known.named(name)) for name in USUAL]
        said = ", ".join([str(paths[0]), *(path.name for path in paths[1:])])
        said = f"report: {said}"
    except (OSError, RunError) as error:
        said = f"ddbench: the report cannot be written: {error}"
    print_leaderboard(leaderboard, as_json=as_json)
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
    options = run_options(given, given["out"] or Path("runs") / (given["preset"] or DEFAULT_PRESET))
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
    """Write a copy of the default registry for editing."""
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
