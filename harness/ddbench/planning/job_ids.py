"""Compute the id of a job: the hash of everything that determines its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TypeVar

from ddbench import NUMERICS
from ddbench.datasets.source import seed_name
from ddbench.planning.jobs import Plan
from ddbench.store.hashing import hash_of_values
from ddbench.store.records import TEST, Condensation, Evaluation
from ddbench.text.lines import slug

Job = TypeVar("Job", Condensation, Evaluation)


def with_ids(job: Condensation) -> Condensation:
    """Return the job with its ids: hashes of everything that determines its result."""
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
    return _named(
        job,
        id=f"{name}-{hash_of_values(whole)}",
        options_id=hash_of_values(options),
        series_id=hash_of_values(series),
    )


def _named(job: Job, **ids: str) -> Job:
    """Return the job with ids, as `replace` does, in a tenth of its time: plans have thousands."""
    new = copy(job)
    vars(new).update(ids)
    return new


def with_evaluation_id(job: Evaluation, of: Condensation | None) -> Evaluation:
    """Return the job with its id; `of` is None for the whole training set."""
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
    if job.tested_on != TEST:
        record["tested_on"] = job.tested_on
    what = (of.row, of.init, f"ipc{of.ipc}", f"s{of.seed}") if of else ("whole", job.dataset)
    at = (f"at{job.snapshot}",) if job.snapshot is not None else ()
    own = ("own",) if job.own_recipe else ()
    split = () if job.tested_on == TEST else (job.tested_on,)
    name = slug(*what, *at, "on", job.architecture, job.protocol, *own, *split)
    return _named(job, id=f"{name}-{hash_of_values(record)}")


def adopting(plan: Plan, condensations: Iterable[str], evaluations: Iterable[str]) -> Plan:
    """Return the plan with the ids under which a run folder already holds its jobs.

    What determines a result is in the hash; the readable part in front of it may have been made
    otherwise, from a variant's name, or by an earlier version with the options of `--set` in it.
    """
    others = _by_hash(condensations, [job.id for job in plan.condensations])
    kept = {
        job.id: replace(job, id=others.get(_hash(job.id), job.id)) for job in plan.condensations
    }
    moved = [
        with_evaluation_id(replace(evaluation, condensation=kept[of].id), kept[of])
        if (of := evaluation.condensation) is not None and kept[of].id != of
        else evaluation
        for evaluation in plan.evaluations
    ]
    others = _by_hash(evaluations, [evaluation.id for evaluation in moved])
    named = [replace(one, id=others.get(_hash(one.id), one.id)) for one in moved]
    return replace(plan, condensations=[*kept.values()], evaluations=named)


def _by_hash(there: Iterable[str], planned: Sequence[str]) -> dict[str, str]:
    """Return hash -> id of what is there; what is planned under its own id, or twice, is not."""
    planned_as = Counter(map(_hash, planned))
    own = {_hash(id) for id in {*there} & {*planned}}
    return {
        _hash(id): id for id in sorted(there) if planned_as[_hash(id)] == 1 and _hash(id) not in own
    }


def _hash(id: str) -> str:
    return id.rpartition("-")[2]


def keeping(plan: Plan, stale: Mapping[str, str]) -> Plan:
    """Return the plan that keeps results of other code; `kept` maps planned ids to kept ones."""
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
    return replace(
        plan,
        condensations=list(kept.values()),
        evaluations=evaluations,
        kept_stale=sorted(stale.values()),
    )
