"""Ids: the hash of all that determines a job's result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ddbench import NUMERICS
from ddbench.discovery.fingerprints import seed_name
from ddbench.planning.jobs import Condensation, Evaluation, Plan

SLUG = 80  # characters of an id's readable part


def digest(record: Mapping[str, Any], length: int = 10) -> str:
    """Return the hash of plain values, the same whatever the order of keys."""
    text = json.dumps(record, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def slug(*parts: object) -> str:
    """Return a readable file name of at most 80 characters without paths."""
    text = "-".join(re.sub(r"[^a-z0-9.]+", "-", str(part).lower()).strip("-.") for part in parts)
    return text[:SLUG].strip("-.")


def with_ids(job: Condensation) -> Condensation:
    """Return the job with the ids of all that determines its result."""
    options = {
        "method": job.method,
        "config": job.config,
        "dataset": job.dataset_fingerprint,
        "draws": seed_name(job.dataset, job.dataset_fingerprint),
        "architecture": job.architecture,
        "init": job.init,
        "ipc": job.ipc,
        "seed": job.seed,
        "steps": None if job.budget_s else job.steps,
        "budget_s": job.budget_s,
        "precision": job.precision,
    }
    code = {"code": job.code, "numerics": job.numerics, "extensions": job.extensions}
    whole = options | code
    name = slug(job.row, job.dataset.rsplit("/", 1)[-1], job.architecture, job.init,
                f"ipc{job.ipc}", f"s{job.seed}")  # fmt: skip
    series = {key: value for key, value in whole.items() if key not in ("steps", "budget_s")}
    return replace(
        job,
        id=f"{name}-{digest(whole)}",
        options_id=digest(options),
        series_id=digest(series),
    )


def with_evaluation_id(job: Evaluation, of: Condensation | None) -> Evaluation:
    """Return the job with its id; `of` None: it is about the whole training set."""
    record = {
        "condensation": of.id if of else job.dataset_fingerprint,
        "snapshot": job.snapshot,
        "architecture": job.architecture,
        "recipe": job.recipe,
        "own_recipe": job.own_recipe,
        "networks": job.networks,
        "numerics": NUMERICS,
        "extensions": job.extensions,
    }
    what = (of.row, of.init, f"ipc{of.ipc}", f"s{of.seed}") if of else ("whole", job.dataset)
    at = (f"at{job.snapshot}",) if job.snapshot is not None else ()
    own = ("own",) if job.own_recipe else ()
    name = slug(*what, *at, "on", job.architecture, job.protocol, *own)
    return replace(job, id=f"{name}-{digest(record)}")


def keeping(plan: Plan, stale: Mapping[str, str]) -> Plan:
    """Return the plan with results of other code in place: planned id -> the one kept."""
    kept = {  # without the snapshots: other code could not take them of what is kept
        job.id: replace(job, id=stale[job.id], snapshots=()) if job.id in stale else job
        for job in plan.condensations
    }
    evaluations = []
    for evaluation in plan.evaluations:
        if evaluation.condensation is not None and evaluation.condensation in stale:
            if evaluation.snapshot is not None:
                continue
            of = kept[evaluation.condensation]
            evaluation = with_evaluation_id(replace(evaluation, condensation=of.id), of)
        evaluations.append(evaluation)
    return Plan(list(kept.values()), evaluations, plan.skipped, sorted(stale.values()))
