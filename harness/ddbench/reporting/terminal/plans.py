"""A plan in the terminal: what would run, and how much that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ddbench.reporting.terminal.tables import print_json, print_table, stdout
from ddbench.store.artifact_folders import ABSENT, BEGUN, DONE
from ddbench.store.records import VALIDATION

if TYPE_CHECKING:
    from ddbench.planning.jobs import Plan, Shared
    from ddbench.store.records import Condensation, Skipped


def print_plan(plan: Plan, shared: Sequence[Shared] = (), *, as_json: bool = False) -> None:
    """Print the jobs of a plan, one line for all seeds of a row, what they share, and how many."""
    if as_json:
        print_json(
            {
                "condensations": [job.record() for job in plan.condensations],
                "evaluations": [job.record() for job in plan.evaluations],
                "skipped": plan.record()["skipped"],
                "datasets": plan.record()["datasets"],
                "artifacts": [asdict(one) for one in shared],
            }
        )
        return
    evaluations = Counter(job.condensation for job in plan.evaluations)
    from ddbench.planning.jobs import row_labels

    labels = row_labels(plan.condensations)
    rows: dict[Any, dict[str, Any]] = {}
    for job in plan.condensations:
        row = rows.setdefault(_key(job), _row(job, labels[job.id]))
        row["seeds"].append(job.seed)
        row["evaluations"] += evaluations[job.id]
    print_table(
        list(rows.values()),
        title="condensations",
        right=("ipc", "steps"),
        captions=_captions(plan, labels),
        droppable=("evaluations", "options"),
    )
    if shared:
        if found := _artifacts(shared):
            print_table(found, title="artifacts", right=("number",))
        for line in _not_known(shared):
            stdout().print(line, soft_wrap=True)
    if plan.skipped:
        print_table(_skipped(plan), title="skipped")
    stdout().print(_counts(plan), soft_wrap=True)


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
        {"artifact": kind, "number": number, "state": _STATES[state], "for": ", ".join(rows)}
        for (kind, state, rows), number in counts.items()
    ]


def _not_known(shared: Sequence[Shared]) -> list[str]:
    return [f"artifacts of {', '.join(one.rows)}: {one.state}" for one in shared if not one.id]


def _captions(plan: Plan, labels: Mapping[str, str]) -> list[str]:
    lines = []
    for job in plan.condensations:
        than = "published" if job.published else "default"
        differing = [f"{k} {used} ({than} {was})" for k, (used, was) in job.reduced.items()]
        if differing:
            lines.append(f"† {labels[job.id]}, ipc {job.ipc}: {', '.join(differing)}")
    lines = list(dict.fromkeys(lines))
    if any(job.quick and job.reduced for job in plan.condensations):
        lines.append("† the preset's quick settings; --published takes the published ones")
    for of in dict.fromkeys(job.control_of for job in plan.condensations if job.control_of):
        lines.append(f"‡ stands beside {of} as its control")
    return [*lines, *data_notes(plan)]


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


def _counts(plan: Plan) -> str:
    networks = sum(job.networks for job in plan.evaluations)
    whole = sum(job.condensation is None for job in plan.evaluations)
    held_out = any(job.tested_on == VALIDATION for job in plan.evaluations)
    tested = "; tested on validation images, the test set waits for --test" if held_out else ""
    return (
        f"{len(plan.condensations)} condensations; {len(plan.evaluations)} evaluations "
        f"({networks} networks to train; {whole} on a whole training set); "
        f"{len(plan.skipped)} skipped{tested}"
    )
