"""The command that evaluates again and says whether what is claimed holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.completion import complete_job
from ddbench.cli.run import carried_out, run_options, server_of, stop_of
from ddbench.cli.sets import DATASET, SET, name_of, plan_of, read_set
from ddbench.cli.shared import (
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
    from ddbench.execution.run import Outcome
    from ddbench.execution.signals import Stop
    from ddbench.reporting.leaderboard.verification import Verdict
    from ddbench.reporting.terminal.verdicts import Verified
    from ddbench.store.records import EvaluationRecord

OF_A_FILE = ("spread", "networks", "own_recipe", "dataset", "evaluate_on", "protocol", "preset")


@click.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE|RUN")
@click.argument("wanted", nargs=-1, metavar="[JOB]...", shell_complete=complete_job)
@click.option("--accuracy", metavar="PERCENT", help="Claimed mean accuracy of FILE, such as 45.2%.")
@click.option(
    "--spread", metavar="PERCENT", help="Claimed standard deviation over networks, such as 0.8%."
)
@click.option("--networks", type=click.IntRange(min=1), help="Number of networks of the claim.")
@click.option("--own-recipe", is_flag=True, help="The claim uses the set's own recipe and labels.")
@DATASET
@EVALUATE_ON
@PROTOCOL
@PRESET
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder for the new results.  [default: runs/verify-<name>]",
)
@stacked(ENGINE)
@stacked(PLACES)
@JSON
@explained
def verify(
    target: Path,
    wanted: tuple[str, ...],
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Evaluate again, and test whether a claimed accuracy holds.

    For RUN: all finished evaluations of its final sets, or those of JOB (the beginning of an id).
    For FILE: the results in the run that holds it, or with --accuracy a published figure, on one
    network (--evaluate-on) with one protocol (--protocol).

    A claim holds if a test of equality does not reject it at 5%, with Holm's correction for
    several claims. The 95% interval is that of the new result minus the claim.

    Exit codes: 0 all claims hold, 1 one does not or was not tested, 2 wrong usage, 4 stopped.
    """
    from ddbench.reporting.terminal import print_verdicts

    stop = stop_of(given)
    with stop.heard():
        if given["accuracy"] is None:
            found = _of_run(target, wanted, given, stop)
        else:
            if wanted:
                fail(f"{wanted[0]}: jobs belong to a run, --accuracy to one file; give one of them")
            found = _of_claim(target, given, stop)
        print_verdicts(found, as_json=as_json)
        raise SystemExit(0 if found.holds else 1)


def _of_run(target: Path, jobs: Sequence[str], given: Mapping[str, Any], stop: Stop) -> Verified:
    """Do evaluations of a run again; return what became of its claims."""
    from ddbench.execution.given_sets import copy_in
    from ddbench.planning.claims import claims_of
    from ddbench.reporting.leaderboard.verification import of_networks
    from ddbench.store.run_folder import RunFolder, open_run, read_run

    for name in OF_A_FILE:
        if given[name]:
            option = f"--{name.replace('_', '-')}"
            fail(f"{option}: is of a claim about a file; give --accuracy with it, or leave it out")
    root, jobs = _run_of(target, jobs)
    folder = open_run(root)
    out = given["out"] or Path("runs") / f"verify-{folder.name}"
    if out.resolve() == folder.root.resolve():
        fail(f"--out {out}: is the run that is to be verified; name another folder")
    options = run_options(given, out)
    session = open_session(given, planning=True, server=server_of(options))
    claims = claims_of(read_run(folder), jobs, session.facts)
    copy_in(RunFolder(out), folder, claims.condensations.values())
    outcome = carried_out(session, claims.plan, options, stop)
    claimed = dict(zip((job.id for job in outcome.plan.evaluations), claims.records, strict=True))

    def judge(found: EvaluationRecord) -> Verdict:
        return of_networks(claimed[found.id].accuracies, found.accuracies, found.n_test or 1)

    return _verified(outcome, judge, claims.left_out)


def _run_of(target: Path, jobs: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """Return the run folder and the jobs that a target means: a run, or a set that lies in one."""
    place = (target.parent if target.name == SET else target).resolve()
    if place.parent.name != "condensations":
        if target.is_file():
            fail(
                f"{target}: lies in no run, so nothing is claimed of it; give --accuracy, as 45.2%"
            )
        return target, jobs
    if jobs:
        fail(f"{jobs[0]}: {target} is one set already; name its run to choose jobs")
    return place.parent.parent, (place.name,)


def _of_claim(target: Path, given: Mapping[str, Any], stop: Stop) -> Verified:
    """Evaluate a file; return what became of the claim about it."""
    from ddbench.execution.given_sets import lay_in
    from ddbench.planning.option_values import parse_accuracy
    from ddbench.reporting.leaderboard.verification import of_mean
    from ddbench.store.run_folder import RunFolder

    claimed = parse_accuracy(given["accuracy"], "--accuracy")
    spread = given["spread"]
    spread = None if spread is None else _spread_of(spread)
    one = read_set(target)
    out = given["out"] or Path("runs") / f"verify-{name_of([one])}"
    options = run_options(given, out)
    session = open_session(given, planning=True, server=server_of(options))
    planned = plan_of(session, [one], given["dataset"], given)
    plan = planned.plan
    plan.evaluations = [job for job in plan.evaluations if job.own_recipe == given["own_recipe"]]
    if not plan.evaluations:
        fail(f"--own-recipe: {target} has no recipe or soft labels of its own; leave it out")
    if len(plan.evaluations) > 1:
        networks = ", ".join(dict.fromkeys(job.architecture for job in plan.evaluations))
        protocols = ", ".join(dict.fromkeys(job.protocol for job in plan.evaluations))
        fail(
            "a claim is of one network by one protocol: name one of each by --evaluate-on"
            f" ({networks}) and --protocol ({protocols})"
        )
    lay_in(RunFolder(out), planned)
    outcome = carried_out(session, plan, options, stop)

    def judge(found: EvaluationRecord) -> Verdict:
        n_test = found.n_test or 1
        return of_mean(claimed, found.accuracies, n_test, spread, given["networks"])

    return _verified(outcome, judge)


def _spread_of(text: str) -> float:
    """Return a standard deviation in percent as a share of 1."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        fail(f"--spread {text}: expected percent, as 0.8%")
    return value / 100


def _verified(
    outcome: Outcome, judge: Callable[[EvaluationRecord], Verdict], left_out: int = 0
) -> Verified:
    """Return the verdicts on the evaluations of a run; end where it was stopped."""
    from ddbench.reporting.leaderboard.verification import Verdict, together
    from ddbench.reporting.terminal.verdicts import Verified
    from ddbench.store.records import DONE

    if outcome.stopped:
        left = outcome.jobs.left_over
        fail(
            f"stopped ({outcome.stopped}); {left} jobs left, the same command goes on",
            outcome.exit_code,
        )
    verdicts = []
    for job in outcome.plan.evaluations:
        record: Any = outcome.jobs.ended.get(job.id)
        if record is not None and record.status == DONE:
            verdicts.append(judge(record))
        else:
            reason = record.reason if record is not None else outcome.jobs.blocked.get(job.id)
            verdicts.append(Verdict.untested(str(reason or "was not done")))
    return Verified(outcome.plan, tuple(together(verdicts)), outcome.folder, left_out)
