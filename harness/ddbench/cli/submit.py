"""The command that hands a run to Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.run import refuse_skipped, run, run_options
from ddbench.cli.shared import DEFAULT_PRESET, choices_of, explained, fail, open_session

if TYPE_CHECKING:
    from ddbench.execution.slurm import Array
    from ddbench.planning.jobs import Plan

NOT_HERE = {
    "stop_after": "--stop-after: comes from --time",
    "debug": "--debug: is for a terminal",
    "budget_total": "--budget-total: each task would count it anew; give --budget",
    "print_registry": "--print-registry: is for `ddbench run`",
    "test": "--test: test what was chosen with `ddbench run --test`, once the array has ended",
}


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--time", "limit", default="4h", show_default=True, help="Time limit of a task.")
@click.option(
    "--array", "tasks", type=click.IntRange(min=1), default=4, show_default=True,
    help="Tasks that share the jobs; no more than there are jobs.",
)  # fmt: skip
@click.option(
    "--gpus", type=click.IntRange(min=0), default=0, show_default=True, help="GPUs of a task."
)
@click.option(
    "--cpus", type=click.IntRange(min=1), default=4, show_default=True, help="Cores of a task."
)
@click.option("--partition", default="", help="Slurm's partition.")
@click.option("--account", default="", help="Slurm's account.")
@click.option(
    "--sbatch-args", default="", metavar="TEXT",
    help="More arguments of sbatch, as '--mem=32G --qos=low'.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the script, and submit and write nothing.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS OF run]...")
@explained
def submit(limit: str, arguments: tuple[str, ...], dry_run: bool, **asked: Any) -> None:  # noqa: ANN401
    """Submit a run to Slurm: a job array whose tasks share one run folder.

    What this command does not know is handed to `ddbench run`. A task ends a little before its time
    limit, and is queued again while work is left.
    """
    import shlex

    from ddbench.execution.slurm import script
    from ddbench.execution.slurm import submit as hand_over
    from ddbench.planning.option_values import parse_duration
    from ddbench.reporting.terminal import at_work
    from ddbench.store.run_folder import RunFolder
    from ddbench.store.shared_locks import refuse_without_locks

    time_s = parse_duration(limit, "--time")
    if time_s < 300:
        fail(f"--time {limit}: is too short for a task to start and to save; at least 5m")
    given = dict(run.make_context("run", list(arguments)).params)
    for name, why in NOT_HERE.items():
        if given.pop(name, None):
            fail(why)
    given["stop_after"], given["debug"], given["budget_total"] = None, False, None
    plan, out = _planned(given, with_gpus=bool(asked["gpus"]), status=at_work("planning"))
    more = tuple(shlex.split(asked.pop("sbatch_args")))
    asked["tasks"] = min(asked["tasks"], len(plan.condensations) + len(plan.evaluations))
    array = _array(out, arguments, time_s, more, asked)
    counts = f"{len(plan.condensations)} condensations, {len(plan.evaluations)} evaluations"
    if dry_run:
        click.echo(script(array), nl=False)
        click.echo(f"{counts}; nothing is submitted or written", err=True)
        return
    folder = RunFolder(out)
    folder.create()
    refuse_without_locks(folder)
    click.echo(hand_over(array))
    click.echo(f"{counts} on {asked['tasks']} tasks; see: ddbench status {out}", err=True)


def _planned(given: dict[str, Any], with_gpus: bool, status: Any) -> tuple[Plan, Path]:  # noqa: ANN401
    """Return the plan that the tasks will make too, and the run folder, absolute."""
    require_all = given.pop("require_all")
    # the machine that submits may have no GPU
    here = {**given, "device": "cpu" if with_gpus else given["device"], "gpus": None}
    preset = given["preset"] or DEFAULT_PRESET
    options = run_options(here, given["out"] or Path("runs") / preset)
    session = open_session(given, planning=True)
    with status:
        plan = session.plan(choices_of(given, options.jobs))
    refuse_skipped(plan, require_all)
    if not plan.condensations and not plan.evaluations:
        reasons = dict.fromkeys(left_out.reason for left_out in plan.skipped)
        fail("\n  ".join(["nothing can run:", *reasons]), 3)
    return plan, options.out.resolve()


def _array(
    out: Path,
    arguments: tuple[str, ...],
    time_s: float,
    more: tuple[str, ...],
    asked: Any,  # noqa: ANN401
) -> Array:
    from ddbench.execution.slurm import Array

    words: list[str] = []
    for word in arguments:
        if words[-1:] == ["--out"]:
            words.pop()
        elif not word.startswith("--out="):
            words.append(word)
    return Array(out, tuple(words), time_s=time_s, more=more, **asked)
