"""What finished jobs have taken, kept in the cache beyond their run folders.

For each run folder that a run has ended in there is one file of sums: small, and replaced when the
folder is run again. Costs of a plan are predicted from them.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ddbench.store.atomic_files import write_json
from ddbench.store.hashing import hash_of_text
from ddbench.store.records import (
    DONE,
    Condensation,
    CondensationRecord,
    Evaluation,
    EvaluationRecord,
)
from ddbench.store.run_folder import Records, RunFolder

CONDENSE, EVALUATE = "condense", "evaluate"


@dataclass(frozen=True)
class Observation:
    """What jobs of one kind have taken together that differ by their seeds and steps alone.

    Attributes:
        kind: "condense" or "evaluate".
        exact: Hash of all that they have in common.
        method: Of condensations; "" of evaluations.
        architecture: Matched, or trained.
        device: Name of the processor or GPU.
        threads: CPU threads of a job.
        jobs_at_once: How many ran beside each other.
        jobs: How many they are.
        units: Steps of condensations, or networks of evaluations, of all of them.
        seconds: On the meters, of all of them.
        flops: Counted by the meters, of all of them.
        overhead: Median seconds of one that were on no meter: data, warming up, writing.
        memory: Most bytes that one has held beyond what it held before; None is not known.
    """

    kind: str
    exact: str
    method: str
    architecture: str
    device: str
    threads: int
    jobs_at_once: int
    jobs: int
    units: float
    seconds: float
    flops: float
    overhead: float
    memory: int | None = None


@dataclass(frozen=True)
class _Seen:
    """One finished job."""

    place: tuple[str, str, str, str, str, int, int]
    units: float
    seconds: float
    flops: float
    overhead: float
    memory: int | None


_KEPT = TypeAdapter(list[Observation])


def exact_key(job: Condensation | Evaluation, images: int) -> str:
    """Return the hash of all that the time of a job depends on, but for its seed and its steps.

    `images` is the number of images that an evaluation trains on.
    """
    if isinstance(job, Condensation):
        parts = [job.method, job.config, job.dataset, job.architecture, job.init, job.ipc]
    else:
        parts = [job.dataset, job.architecture, job.protocol, job.own_recipe, images]
    return hash_of_text(json.dumps([*parts, job.validate], sort_keys=True), 16)


def remember(records: Records, folder: RunFolder, cache: Path) -> None:
    """Keep what the finished jobs of a run folder have taken."""
    observations = observed([*records.condensations.values(), *records.evaluations.values()])
    if observations:
        name = hash_of_text(str(folder.root.resolve()), 16)
        write_json(cache / "history" / f"{name}.json", [asdict(one) for one in observations])


def recall(cache: Path) -> list[Observation]:
    """Return what is kept of all run folders; files that cannot be read are passed over."""
    found: list[Observation] = []
    for path in sorted((cache / "history").glob("*.json")):
        try:
            found += _KEPT.validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
    return found


def observed(records: Iterable[CondensationRecord | EvaluationRecord]) -> list[Observation]:
    """Return the sums of the records that are done."""
    groups: dict[tuple[str, str, str, str, str, int, int], list[_Seen]] = {}
    for record in records:
        if record.status == DONE and (seen := _seen(record)) is not None:
            groups.setdefault(seen.place, []).append(seen)
    return [
        Observation(
            *place[:5],
            place[5],
            place[6],
            len(group),
            sum(one.units for one in group),
            sum(one.seconds for one in group),
            sum(one.flops for one in group),
            statistics.median(one.overhead for one in group),
            max((one.memory for one in group if one.memory is not None), default=None),
        )
        for place, group in groups.items()
    ]


def wall_seconds(record: CondensationRecord | EvaluationRecord) -> float | None:
    """Return the seconds from the start of a job to its end, None where no time was recorded.

    Without those in which a condensation built artifacts, or waited for others to build them.
    """
    try:
        ended = datetime.fromisoformat(record.ended)
        started = datetime.fromisoformat(record.started)
    except ValueError:
        return None
    wall = (ended - started).total_seconds()
    if isinstance(record, CondensationRecord) and record.costs:
        wall -= record.costs.waited_s
        built = record.costs.artifact_s
        if built and wall - _metered(record) >= built:  # the record names what others built too
            wall -= built
    return max(wall, 0.0)


def _metered(record: CondensationRecord | EvaluationRecord) -> float:
    if isinstance(record, CondensationRecord):
        costs = record.costs
        parts = (costs.init_s, costs.condense_s, costs.export_s) if costs else ()
        return sum(part or 0.0 for part in parts)
    return sum(record.train_s) + sum(record.test_s)


def _seen(record: CondensationRecord | EvaluationRecord) -> _Seen | None:
    machine = record.hardware
    wall, seconds = wall_seconds(record), _metered(record)
    if wall is None or not machine.get("device"):
        return None
    if isinstance(record, CondensationRecord):
        costs = record.costs
        if costs is None or costs.condense_s is None:  # of a set that came from a file
            return None
        if record.resumed or record.extended_from:  # a part of it alone was timed
            return None
        kind, method, images = CONDENSE, record.method, 0
        units, flops, memory = costs.steps_done, costs.flops_condense or 0.0, costs.peak_memory
    else:
        kind, method, images = EVALUATE, "", record.images or 0
        units, memory = len(record.accuracies), record.peak_memory
        flops = ((record.flops_train or 0.0) + 2 * _tested(record)) * units
    place = (kind, exact_key(record, images), method, record.architecture, str(machine["device"]),
             _whole(machine, "threads"), _whole(machine, "jobs_at_once"))  # fmt: skip
    return _Seen(place, float(units), seconds, float(flops), max(0.0, wall - seconds), memory)


def _tested(record: EvaluationRecord) -> float:
    """Return the multiply-adds of testing one network."""
    return (record.forward_macs or 0.0) * (record.n_test or 0)


def _whole(machine: Mapping[str, Any], name: str) -> int:
    value = machine.get(name)
    return value if isinstance(value, int) else 1
