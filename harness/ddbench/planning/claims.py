"""The plan that does evaluations of a run again, as they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ddbench.planning.draft import MissingData
from ddbench.planning.jobs import DatasetFacts, Plan
from ddbench.planning.registry import RegistryError
from ddbench.store.records import (
    DONE,
    Condensation,
    CondensationRecord,
    Evaluation,
    EvaluationRecord,
)
from ddbench.store.run_folder import Records


@dataclass(frozen=True)
class Claims:
    """What a run claims, and the plan that finds it again.

    Attributes:
        plan: The evaluations under their recorded ids.
        records: The claims, in the order of the plan's evaluations.
        condensations: The records of the condensations of the plan.
        left_out: How many evaluations of the run were left out: of sets on the way, of the whole
            training set, and those that failed.
    """

    plan: Plan
    records: tuple[EvaluationRecord, ...]
    condensations: Mapping[str, CondensationRecord]
    left_out: int


def claims_of(
    records: Records, jobs: Sequence[str], facts: Callable[[str, int | None], DatasetFacts]
) -> Claims:
    """Return the claims of a run about its final sets.

    Args:
        records: Of the run.
        jobs: Beginnings of the ids of condensations or evaluations; () is all.
        facts: Dataset and percentage held out -> what is known of it here.

    Raises:
        RegistryError: A job that is not there, no claim at all, data that are not here or others.
    """
    done = [one for one in records.evaluations.values() if _is_claim(one, records)]
    names = [[one.id, one.condensation or ""] for one in done]
    unknown = [job for job in jobs if not any(_begins(of, [job]) for of in names)]
    if unknown:
        raise RegistryError(
            [f"no finished evaluation of a final set is, or is of, {job!r}" for job in unknown]
        )
    chosen = [one for one, of in zip(done, names, strict=True) if not jobs or _begins(of, jobs)]
    if not chosen:
        raise RegistryError(["the run holds no finished evaluation of a final set: no claim"])
    data = {(one.dataset, one.validate): one.dataset_fingerprint for one in chosen}
    plan = Plan(datasets=_checked(data, facts))
    condensed = {id: records.condensations[id] for id in dict.fromkeys(_of(one) for one in chosen)}
    plan.condensations = [_job(Condensation, record) for record in condensed.values()]
    plan.evaluations = [_job(Evaluation, record) for record in chosen]
    return Claims(plan, tuple(chosen), condensed, len(records.evaluations) - len(chosen))


def _is_claim(record: EvaluationRecord, records: Records) -> bool:
    of = records.condensations.get(record.condensation or "")
    current = of is not None and of.status == DONE and of.set_sha256 == record.set_sha256
    return record.status == DONE and record.snapshot is None and current


def _begins(names: Sequence[str], jobs: Sequence[str]) -> bool:
    return any(name.startswith(job) for name in names for job in jobs)


def _of(record: EvaluationRecord) -> str:
    return record.condensation or ""


def _checked(
    data: Mapping[tuple[str, int | None], str], facts: Callable[[str, int | None], DatasetFacts]
) -> dict[str, DatasetFacts]:
    """Return the facts of the data, once they are those of the claims."""
    found, problems = dict[str, DatasetFacts](), list[str]()
    for (name, validate), fingerprint in data.items():
        try:
            found[name] = facts(name, validate)
        except MissingData as missing:
            problems.append(str(missing))
        else:
            if found[name].fingerprint != fingerprint:
                problems.append(
                    f"{name}: is not what the claim was made on (fingerprint"
                    f" {found[name].fingerprint[:8]}, claimed {fingerprint[:8]}); name the folder"
                    " with those data by --data"
                )
    if problems:
        raise RegistryError(problems)
    return found


def _job(kind: Any, record: Any) -> Any:  # noqa: ANN401  (a job of that kind)
    return kind(**{field.name: getattr(record, field.name) for field in fields(kind)})
