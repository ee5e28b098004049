"""Plan evaluations on the test set, after a choice on a validation split."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ddbench.planning.job_ids import with_evaluation_id
from ddbench.planning.jobs import Plan
from ddbench.store.records import TEST, VALIDATION, Evaluation


def with_tests(plan: Plan, chosen: Collection[str]) -> Plan:
    """Return the plan with evaluations of some condensations on the test set.

    `chosen` holds ids of condensations. Each of their validations, and those of the whole training
    set, is repeated on the test set; sets on the way (snapshots) are not.
    """
    by_id = {job.id: job for job in plan.condensations}
    tests: list[Evaluation] = []
    for job in plan.evaluations:
        of = by_id.get(job.condensation or "")
        wanted = job.condensation is None or job.condensation in chosen
        if job.tested_on == VALIDATION and wanted and job.snapshot is None:
            tests.append(with_evaluation_id(replace(job, tested_on=TEST), of))
    return replace(plan, evaluations=[*plan.evaluations, *tests])
