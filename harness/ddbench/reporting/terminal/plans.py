"""A plan in the terminal: what would run, and how much that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ddbench.reporting.terminal.costs import cost_lines, costs_record, print_costs
from ddbench.reporting.terminal.tables import cell, print_json, print_table, stdout
from ddbench.store.artifact_folders import ABSENT, BEGUN, DONE
from ddbench.store.records import VALIDATION
from ddbench.text.number_format import duration, listed, number, several

if TYPE_CHECKING:
    from ddbench.execution.costs import Costs, Proposal
    from ddbench.planning.jobs import DatasetFacts, Plan, Shared
    from ddbench.store.records import Condensation, Skipped


WIDEST = 100  # columns of a plan where no terminal limits it
FEW = 6  # classes that are named
_AXES = ("dataset", "matched", "init", "ipc", "seeds")


def print_plan(
    plan: Plan,
    shared: Sequence[Shared] = (),
    *,
    jobs_at_once: int = 1,
    as_json: bool = False,
    costs: Costs | None = None,
    proposals: Sequence[Proposal] = (),
    within_s: float | None = None,
) -> None:
    """Print the jobs of a plan, one line for all seeds of a row, what they share, and how many.

    Args:
        plan: What would be done.
        shared: The artifacts of its rows.
        jobs_at_once: How many jobs would run side by side.
        as_json: Print every job in full instead.
        costs: What it costs, if that was asked for.
        proposals: What to leave out so that it ends within `within_s` seconds.
    """
    if as_json:
        print_json(
            {
                "condensations": [job.record() for job in plan.condensations],
                "evaluations": [job.record() for job in plan.evaluations],
                "skipped": plan.record()["skipped"],
                "datasets": plan.record()["datasets"],
                "artifacts": [asdict(one) for one in shared],
                **({"costs": costs_record(costs, proposals)} if costs else {}),
            }
        )
        return
    _print_lines([*_data(plan), *data_notes(plan)])
    if rows := _rows(plan):
        _print_rows(
            "condensations", rows, right=("ipc", "steps"), droppable=("unit", "evaluations")
        )
    if found := _artifacts(shared):
        _print_rows("artifacts", found)
    if plan.skipped:
        _print_rows("skipped", _skipped(plan))
    _print_lines([*_captions(plan), *_not_known(shared)])
    if costs is not None and costs.rows:
        print_costs(costs)
    known = [] if costs is None else list(cost_lines(costs, proposals, within_s))
    _print_lines([*_counts(plan), *_budget(plan, jobs_at_once), *known])


def _data(plan: Plan) -> list[str]:
    """Return what each dataset is taken to be, so that a misreading shows before a run."""
    return [
        f"{name}: {sum(facts.class_counts):,} training images"
        + (f" ({facts.validate}% more held out)" if facts.validate else "")
        + f", {sum(facts.test_counts):,} test images, {'×'.join(map(str, facts.shape))}; "
        + f"{facts.num_classes} classes: {_classes(facts)}"
        for name, facts in plan.datasets.items()
    ]


def _classes(facts: DatasetFacts) -> str:
    """Return the training images of each class by name, or the fewest and the most."""
    counts = facts.class_counts
    if len(counts) <= FEW and facts.class_names:
        return ", ".join(f"{k} ({n:,})" for k, n in zip(facts.class_names, counts, strict=True))
    least, most = min(counts), max(counts)
    return f"{least:,} of each" if least == most else f"{least:,} to {most:,} of each"


def _print_rows(title: str, rows: list[dict[str, Any]], **options: Any) -> None:  # noqa: ANN401
    """Print a table; what all of its rows have in common stands once, in the title."""
    alike = [name for name in _AXES if len({str(r.get(name)) for r in rows}) == 1]
    common = ", ".join(f"{name} {cell(rows[0][name])}" for name in alike if name in rows[0])
    title = f"{title}: {common}" if common else title
    columns = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in alike]
    print_table(rows, columns, title=title, widest=WIDEST, **options)


def _print_lines(lines: Sequence[str]) -> None:
    """Print lines; what goes on in a next one is indented."""
    console = stdout(WIDEST)
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        console.print(fill(line, console.width, subsequent_indent=indent, break_long_words=False))


def _rows(plan: Plan) -> list[dict[str, Any]]:
    from ddbench.planning.jobs import row_labels

    evaluations = Counter(job.condensation for job in plan.evaluations)
    labels = row_labels(plan.condensations)
    rows: dict[Any, dict[str, Any]] = {}
    for job in plan.condensations:
        row = rows.setdefault(_key(job), _row(job, labels[job.id]))
        row["seeds"].append(job.seed)
        row["evaluations"] += evaluations[job.id]
    return list(rows.values())


def _key(job: Condensation) -> Any:  # noqa: ANN401
    config = sorted((name, repr(value)) for name, value in job.config.items())
    return (job.row, job.dataset, job.architecture, job.init, job.ipc, job.steps, *config)


def _row(job: Condensation, label: str) -> dict[str, Any]:
    marks = " †" * bool(job.reduced) + " ‡" * (job.control_of is not None)
    steps = f"{job.budget_s:g} s" if job.budget_s is not None else f"{job.steps:,}"
    return {
        "method": label + marks,
        "dataset": job.dataset,
        "matched": job.architecture,
        "init": job.init,
        "ipc": job.ipc,
        "seeds": [],
        "steps": steps,
        "published": f"{job.published_steps:,}",
        "unit": job.step_unit,
        "evaluations": 0,
    }


_STATES = {DONE: "in the cache", BEGUN: "begun; the run goes on", ABSENT: "the run builds it"}


def _artifacts(shared: Sequence[Shared]) -> list[dict[str, Any]]:
    """Return a line for all artifacts of a kind that the same rows share in the same state."""
    counts = Counter((one.kind, one.state, one.rows) for one in shared if one.id)
    return [
        {"artifact": kind, "number": count, "state": _STATES[state], "for": _methods(rows)}
        for (kind, state, rows), count in counts.items()
    ]


def _methods(labels: Sequence[str]) -> str:
    """Return rows by their names, without what tells those of one name apart."""
    return ", ".join(dict.fromkeys(label.partition(" [")[0] for label in labels))


def _not_known(shared: Sequence[Shared]) -> list[str]:
    return [f"artifacts of {_methods(one.rows)}: {one.state}" for one in shared if not one.id]


def _captions(plan: Plan) -> list[str]:
    lines = [f"† {line}" for line in _settings(plan.condensations)]
    if any(job.quick and job.reduced for job in plan.condensations):
        lines.append("† by the preset's quick settings; --published takes the published ones")
    if of := list(dict.fromkeys(job.control_of for job in plan.condensations if job.control_of)):
        lines.append(f"‡ a control: it stands beside {listed(of)} and is not ranked")
    return lines


_PLACES = {"dataset": "other data", "arch": "another network"}


def _settings(jobs: Sequence[Condensation]) -> list[str]:
    """Return a line for all rows of a name that differ: option used (published), then the places.

    Controls run as their rows do, and steps have columns of their own.
    """
    own = [job for job in jobs if job.reduced and not job.control_of]
    names = dict.fromkeys(job.row for job in own)
    texts: dict[str, list[str]] = {}
    for name in names:
        text = _pairs([job for job in own if job.row == name])
        texts.setdefault(text or "the steps alone", []).append(name)
    lines = [f"{listed(alike)}: {text}" for text, alike in texts.items()]
    for axis, words in _PLACES.items():
        if elsewhere := list(dict.fromkeys(job.row for job in own if axis in job.reduced)):
            lines.append(f"{words} than published: {listed(elsewhere)}")
    return lines


def _pairs(jobs: Sequence[Condensation]) -> str:
    used: dict[str, dict[str, None]] = {}
    published: dict[str, str] = {}
    for option, (value, was) in (pair for job in jobs for pair in job.reduced.items()):
        if option != "steps" and option not in _PLACES:
            used.setdefault(option, {})[number(value)] = None
            published.setdefault(option, number(was) or "unset")
    word = "published " if jobs[0].published else "default "
    return ", ".join(
        f"{option} {' or '.join(values)} ({word * (n == 0)}{published[option]})"
        for n, (option, values) in enumerate(used.items())
    )


def data_notes(plan: Plan) -> list[str]:
    """Return what there is to say about the data of a plan, a line for each dataset."""
    return [f"{name}: {facts.notes}" for name, facts in plan.datasets.items() if facts.notes]


def _skipped(plan: Plan) -> list[dict[str, Any]]:
    rows: dict[Any, dict[str, Any]] = {}
    any_on = any(one.evaluate_on for one in plan.skipped)
    for one in plan.skipped:
        place = (_skipped_label(one), one.dataset, one.architecture, one.init, one.ipc,
                 one.evaluate_on, one.reason)  # fmt: skip
        row = rows.setdefault(
            place,
            {
                "method": _skipped_label(one),
                "dataset": one.dataset,
                "matched": one.architecture,
                "init": one.init,
                "ipc": one.ipc,
                "seeds": [],
                **({"evaluated on": one.evaluate_on} if any_on else {}),
                "reason": one.reason,
            },
        )
        row["seeds"].append(one.seed)
    return list(rows.values())


def _skipped_label(one: Skipped) -> str:
    given = ", ".join(f"{name}={value}" for name, value in one.options.items())
    return f"{one.row} [{given}]" if given else one.row


def _counts(plan: Plan) -> list[str]:
    networks = sum(job.networks for job in plan.evaluations)
    whole = sum(job.condensation is None for job in plan.evaluations)
    held_out = any(job.tested_on == VALIDATION for job in plan.evaluations)
    lines = [
        f"{several(len(plan.condensations), 'condensation')}, "
        f"{several(len(plan.evaluations), 'evaluation')} of {several(networks, 'network')} "
        f"({whole} on the whole training set), {len(plan.skipped)} skipped"
    ]
    if held_out:
        lines.append("tested on validation images; the test set waits for --test")
    return lines


def _budget(plan: Plan, jobs_at_once: int) -> list[str]:
    """Return how the time of a run is divided that has a budget."""
    parts = [job.budget_s for job in plan.condensations if job.budget_s is not None]
    if not parts:
        return []
    condensing = (
        f"{len(parts)} × {parts[0]:g} s of condensing take {duration(sum(parts) / jobs_at_once)} "
        f"with {several(jobs_at_once, 'job')} at once"
    )
    if plan.total_s is None:
        return [f"budget: {condensing}; artifacts and evaluations come on top"]
    return [f"budget: the run ends after {duration(plan.total_s)}; {condensing}"]
