"""Which artifacts the rows of a plan share, told before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddbench.discovery.introspection import Answer
from ddbench.discovery.methods import MethodError
from ddbench.planning.jobs import DatasetFacts, Plan, Shared, row_labels
from ddbench.store.artifact_folders import state_of
from ddbench.store.records import Condensation

UNKNOWN = "not known before it runs"


def shared(plan: Plan, ask: Answer, root: Path) -> list[Shared]:
    """Return the artifacts of a plan, each once, in the order of the rows; then what is unknown.

    `root` is the folder of the artifacts.
    """
    labels = row_labels(plan.condensations)
    alike: dict[str, Condensation] = {}
    for job in plan.condensations:
        bare = replace(job, id="", options_id="", series_id="", seed=0, control_of=None)
        alike.setdefault(repr(bare), job)
    jobs = [job for job in alike.values() if job.dataset in plan.datasets]
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


def _answers(jobs: list[Condensation], plan: Plan, ask: Answer) -> list[dict[str, Any]]:
    questions = [
        {
            "method": job.method,
            "job": replace(job, id="", options_id="").record(),
            "facts": _facts(plan.datasets[job.dataset]),
        }
        for job in jobs
    ]
    try:
        return list(ask({"artifacts": questions})["artifacts"]) if questions else []
    except MethodError as error:  # a plan does not fail of what it only mentions
        return [{"artifacts": {}, "unknown": str(error)} for _ in questions]


def _facts(facts: DatasetFacts) -> Mapping[str, Any]:
    return {
        "num_classes": facts.num_classes,
        "shape": list(facts.shape),
        "class_counts": list(facts.class_counts),
        "augment": facts.augment,
        "epoch_images": facts.epoch_images,
        "fingerprint": facts.fingerprint,
        "zca": facts.zca,
    }
