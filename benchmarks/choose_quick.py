"""Choose the quick settings of each method on a split of the training data.

    python benchmarks/choose_quick.py [--out runs/choose-quick] [--cache FOLDER] [--jobs N]

The preset `quick` takes each method's `MethodInfo.quick`. Of those settings, the options in GRID
are chosen here: on mnist-mini, at one image per class and seed 0, each candidate is condensed from
80% of the training images and its networks are tested on the other 20%. No network sees a test
image. The most accurate candidate of each method is what belongs into its `MethodInfo.quick`.

Prints what was tried and what was chosen, as markdown. A run that was stopped goes on with the same
command. About six minutes of CPU time.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ddbench.execution.run import RunOptions, carry_out
from ddbench.planning.jobs import Choices, Plan
from ddbench.planning.registry import read
from ddbench.planning.workspace import Places, Session, default_cache
from ddbench.reporting.leaderboard import load
from ddbench.reporting.terminal import Progress
from ddbench.store.run_folder import RunFolder
from ddbench.text import number_format

PERCENT = 20  # of the training images, held out
# Method -> the options that are chosen, with the values tried. The rest of MethodInfo.quick is
# there to fit the time: steps, batches, networks. Herding stands for k-center and k-means, with
# which it shares its feature network.
GRID = {
    "gm": {"lr_images": (0.3, 1.0, 3.0)},
    "dsa": {"lr_images": (0.5, 2.0, 8.0)},
    "dm": {"lr_images": (1.0, 3.0, 10.0)},
    "idc": {"lr_images": (0.03, 0.1, 0.3)},
    "idc-dm": {"lr_images": (3.0, 10.0, 30.0)},
    "mtt": {"lr_images": (50.0, 150.0)},
    "datm": {"lr_images": (50.0, 150.0)},
    "fedd3": {"lr_images": (0.004, 0.02)},
    "frepo": {"lr_images": (0.003, 0.01, 0.03)},
    "herding": {"network_epochs": (2, 4)},
}


def choices(method: str, grid: dict) -> Choices:
    """Return the candidates of a method as choices of a run."""
    return Choices(
        preset="quick",
        rows=(method,),
        evaluate_on=("convnet-w32",),
        inits=("real",),
        seeds=(0,),
        ipc=(1,),
        validate=PERCENT,
        settings=tuple((method, option, values) for option, values in grid.items()),
    )


def candidates(session: Session) -> Plan:
    """Return one plan of all candidates, without controls, references and own recipes."""
    plan = Plan()
    for method, grid in GRID.items():
        part = session.plan(choices(method, grid))
        kept = {job.id: job for job in part.condensations if job.control_of is None}
        plan.condensations += kept.values()
        plan.evaluations += [
            job for job in part.evaluations if job.condensation in kept and not job.own_recipe
        ]
        plan.skipped += [one for one in part.skipped if one.row == method]
    return plan


def results(plan: Plan, out: Path) -> dict:
    """Return method -> {values of its options: (accuracy, spread, seconds)}."""
    jobs = {job.id: job for job in plan.condensations}
    found = {method: {} for method in GRID}
    for board in load(RunFolder(out)).boards:
        for place in board.places:
            for job in (jobs[id] for id in place.entry.ids if id in jobs):
                values = tuple(job.config[option] for option in GRID[job.method])
                seconds = sum(cost.seconds for cost in place.costs.values())
                found[job.method][values] = (place.score.mean, place.score.spread, seconds)
    return found


def print_choice(found: dict) -> None:
    """Print what was tried and, in bold, what was chosen: the most accurate of each method."""
    print("| method | candidate | accuracy % on held-out images | condense s |")
    print("|---|---|---:|---:|")
    for method, tried in found.items():
        chosen = max(tried, key=tried.__getitem__, default=None)
        for values, (mean, spread, seconds) in tried.items():
            text = ", ".join(f"{k} {v:g}" for k, v in zip(GRID[method], values, strict=True))
            text = f"**{text}**" if values == chosen else text
            row = (method, text, number_format.points(mean, spread), number_format.seconds(seconds))
            print("| " + " | ".join(row) + " |")


def main() -> None:
    """Run what is missing, and print the choice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/choose-quick"))
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--jobs", type=int, help="at once; one for each core by default")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    session = Session.installed(read(), Places(given.cache))
    plan = candidates(session)
    options = RunOptions(given.out, jobs=given.jobs, command=("benchmarks/choose_quick.py",))
    with Progress() as progress:
        outcome = carry_out(session, plan, replace(options, preset="quick"), progress)
    print_choice(results(plan, given.out))
    raise SystemExit(outcome.exit_code)


if __name__ == "__main__":
    main()
