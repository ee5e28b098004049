"""Find the artifacts that the rows of a plan share, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.discovery.asking import Answer
from ddbench.discovery.methods import MethodError
from ddbench.planning.jobs import DatasetFacts, Plan, Shared, row_labels
from ddbench.store.artifact_folders import state_of
from ddbench.store.records import Condensation

UNKNOWN = "not known before it runs"


def shared(plan: Plan, ask: Answer, root: Path) -> list[Shared]:
    """Return the artifacts of a plan, each once, in the order of the rows; then what is unknown.

    `root` is the folder of the artifacts. Jobs that differ by seed alone are asked about once.
    Nothing is built.
    """
    labels = row_labels(plan.condensations)
    jobs = [jobs[0] for jobs in alike(plan.condensations) if jobs[0].dataset in plan.datasets]
    found: dict[tuple[str, str, str], list[str]] = {}
    for job, answer in zip(jobs, _answers(jobs, plan, ask), strict=True):
        for name, kind in answer["artifacts"].items():
            found.setdefault((kind, name, state_of(root, name)), []).append(labels[job.id])
        if why := answer["unknown"]:
            found.setdefault(("", "", f"{UNKNOWN}: {why}"), []).append(labels[job.id])
    ordered = sorted(found.items(), key=lambda one: not one[0][1])
    return [
        Shared(kind, name, tuple(dict.fromkeys(rows)), state)
        for (kind, name, state), rows in ordered
    ]


def _answers(jobs: Sequence[Condensation], plan: Plan, ask: Answer) -> list[dict[str, Any]]:
    questions = [question_of(job, plan) for job in jobs]
    try:
        return list(ask({"artifacts": questions})["artifacts"]) if questions else []
    except MethodError as error:  # a plan does not fail of what it only mentions
        return [{"artifacts": {}, "unknown": str(error)} for _ in questions]


def alike(jobs: Iterable[Condensation]) -> list[list[Condensation]]:
    """Return the condensations that differ by seed alone side by side."""
    groups: dict[str, list[Condensation]] = {}
    for job in jobs:
        bare = replace(job, id="", options_id="", series_id="", seed=0, control_of=None)
        groups.setdefault(repr(bare), []).append(job)
    return list(groups.values())


def question_of(job: Condensation, plan: Plan) -> dict[str, Any]:
    """Return what the method of a condensation is asked about its costs and its artifacts."""
    record = job.record() | {"id": "", "options_id": ""}
    facts = facts_asked(plan.datasets[job.dataset])
    return {"method": job.method, "job": record, "facts": facts}


def facts_asked(facts: DatasetFacts) -> dict[str, Any]:
    """Return what such questions say of a dataset."""
    return {
        "num_classes": facts.num_classes,
        "shape": list(facts.shape),
        "class_counts": list(facts.class_counts),
        "test_counts": list(facts.test_counts),
        "augment": facts.augment,
        "epoch_images": facts.epoch_images,
        "fingerprint": facts.fingerprint,
        "zca": facts.zca,
    }
