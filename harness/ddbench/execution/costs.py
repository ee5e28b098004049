"""What a plan costs on this machine: operations, hours, memory and disk, and what does not fit."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.execution.engines.limits import memory_of_a_job
from ddbench.execution.run_options import RunOptions, gpus_of, jobs_at_once
from ddbench.machine import cpu_model, gpu_models
from ddbench.planning.forecasts import (
    Forecaster,
    Length,
    Machine,
    images_of,
    lengths,
    run_seconds,
    seconds_of,
)
from ddbench.planning.jobs import DatasetFacts, Plan
from ddbench.planning.prices import Priced
from ddbench.processes.fork_server import surroundings
from ddbench.store.artifact_folders import DONE, state_of
from ddbench.store.atomic_files import write_json
from ddbench.store.hashing import hash_of_text
from ddbench.store.history import EVALUATE, Observation, recall
from ddbench.store.records import Condensation, Evaluation
from ddbench.text.number_format import size

if TYPE_CHECKING:
    from ddbench.planning.workspace import Session

PROCESS = 400 * 2**20  # bytes that a process with torch holds, where no probe has told
RECORD = 8 * 2**10  # bytes of a job's record and its log


@dataclass(frozen=True)
class Cost:
    """What a row of a plan costs, all of its jobs together but for the memory.

    Attributes:
        kind: "condense", "evaluate" or "artifact".
        row: What it is, in words.
        jobs: How many.
        flops: None where they cannot be counted; `why` tells the reason.
        lower_bound: Whether there are at least as many.
        seconds: On the device of the plan, one after the other; None is not known.
        basis: What the seconds are known from.
        memory: Bytes that one job's process holds at most.
        disk: Bytes that its results take; None is not known.
        why: Why it is not counted, or why it does not fit.
        fits: Whether one job may hold so much.
    """

    kind: str
    row: str
    jobs: int
    flops: int | None
    lower_bound: bool
    seconds: float | None
    basis: str
    memory: int | None
    disk: int | None
    why: str = ""
    fits: bool = True


@dataclass(frozen=True)
class Costs:
    """What a plan costs.

    Attributes:
        rows: Artifacts first, then condensations and evaluations.
        seconds: Of each job, by id, as far as anything is known.
        machine: What it is to run on.
        together_s: Seconds that all jobs take, so many at once.
        disk_free: Bytes that are free where the run folder is to be.
        memory_limit: Bytes that one job may hold; None is any.
        artifact_s: Seconds of building what is not in the cache yet.
    """

    rows: list[Cost]
    seconds: Mapping[str, float]
    machine: Machine
    together_s: float
    disk_free: int
    memory_limit: int | None
    artifact_s: float = 0.0

    @property
    def run_s(self) -> float | None:
        """Seconds that the run takes with so many jobs at once, None if some are not known."""
        if any(row.seconds is None for row in self.rows):
            return None
        return self.together_s + self.artifact_s


@dataclass(frozen=True)
class _Probe:
    """What a probe has measured; see `ddbench.meter.probe`."""

    device: str
    device_memory: int
    process: int = PROCESS
    rates: Mapping[str, float] = field(default_factory=dict)


def costs(session: Session, plan: Plan, options: RunOptions) -> Costs:
    """Return what a plan costs; counts on shapes, and measures a new device.

    No data are loaded and nothing is run.
    """
    found = _probe(session.places.cache, options, measure=True)
    forecaster = Forecaster(recall(session.places.cache), _machine(options, found))
    priced = session.price(plan)
    known = lengths(plan, forecaster, _flops_of_jobs(priced))
    builds = [_artifact(one, session.places.cache, forecaster) for one in priced
              if one.kind == "artifact"]  # fmt: skip
    limit = _memory_limit(options, found)
    every: list[Condensation | Evaluation] = [*plan.condensations, *plan.evaluations]
    jobs = {job.id: job for job in every}
    images = images_of(plan)
    rows = []
    for one in priced:
        if one.kind != "artifact":
            job = jobs[one.ids[0]]
            seen = forecaster.exact(job, images.get(job.id, 0))
            facts = plan.datasets[job.dataset]
            rows.append(_row(one, job, known, seen, (found.process, facts)))
    seconds = seconds_of(plan, known)
    return Costs(
        [*builds, *(_held_to(row, limit) for row in rows)],
        seconds,
        forecaster.machine,
        run_seconds(plan, seconds, forecaster.machine.jobs_at_once),
        free_disk(options.out),
        limit,
        sum(one.seconds or 0.0 for one in builds),
    )


def expected(session: Session, plan: Plan, options: RunOptions) -> dict[str, float]:
    """Return the seconds of each job of a plan by id, from what is known at no cost; {} if nothing.

    That is the history of finished jobs, and what an earlier `plan` has counted and measured.
    """
    found = _probe(session.places.cache, options, measure=False)
    forecaster = Forecaster(recall(session.places.cache), _machine(options, found))
    priced = session.price(plan, kept=True)
    return seconds_of(plan, lengths(plan, forecaster, _flops_of_jobs(priced)))


def _flops_of_jobs(priced: Iterable[Priced]) -> dict[str, float]:
    return {
        id: one.flops / one.jobs
        for one in priced
        if not one.unpriced and one.kind != "artifact"
        for id in one.ids
    }


# -- the machine ---------------------------------------------------------------------------------


def _machine(options: RunOptions, found: _Probe) -> Machine:
    return Machine(found.device, options.threads, jobs_at_once(options), found.rates)


def _probe(cache: Path, options: RunOptions, measure: bool) -> _Probe:
    """Return what is known of the device; `measure` it, once per machine, if nothing is."""
    device = gpus_of(options)[0]
    name = (gpu_models() or ["CUDA"])[0] if device.startswith("cuda") else cpu_model()
    asked = {"device": device, "threads": options.threads}
    key = hash_of_text(json.dumps([name, sys.prefix, asked], sort_keys=True), 16)
    kept = cache / "machines" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError):
        return _Probe(**json.loads(kept.read_bytes()))
    if measure:
        with suppress(OSError, ValueError, TypeError, subprocess.SubprocessError):
            with surroundings(options.threads):
                answer = subprocess.run(
                    [sys.executable, "-P", "-m", "ddbench.meter.probe", json.dumps(asked)],
                    capture_output=True, check=True, timeout=300,
                )  # fmt: skip
            found = _Probe(**json.loads(answer.stdout.splitlines()[-1]))
            write_json(kept, vars(found))
            return found
    return _Probe(name, 0)


def _memory_limit(options: RunOptions, found: _Probe) -> int | None:
    """Return the bytes that one job may hold: of the GPU where it runs on one."""
    if gpus_of(options)[0].startswith("cuda"):
        return found.device_memory // options.jobs_per_gpu if found.device_memory else None
    if options.memory is not None:
        return options.memory or None
    return memory_of_a_job(jobs_at_once(options))


def free_disk(out: Path) -> int:
    """Return the bytes that are free where a run folder is to be."""
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    return shutil.disk_usage(place).free


# -- rows ----------------------------------------------------------------------------------------


def _row(
    one: Priced,
    job: Condensation | Evaluation,
    known: Mapping[str, Length],
    seen: Observation | None,
    around: tuple[int, DatasetFacts],
) -> Cost:
    """Return what jobs like `job` cost; `around` has a process's own bytes, and its dataset."""
    process, facts = around
    held = process + _data(facts)
    pixels, classes = math.prod(facts.shape), facts.num_classes
    told = [known[id] for id in one.ids if id in known]
    seconds = sum(length.seconds for length in told) if len(told) == one.jobs else None
    tensors = seen.memory if seen is not None and seen.memory else one.memory
    sets = 0
    if isinstance(job, Condensation):
        sets = 4 * pixels * job.ipc * classes * (2 + len(job.snapshots))
    return Cost(
        one.kind, one.row, one.jobs, None if one.unpriced else one.flops, one.lower_bound,
        seconds, told[0].basis if told else "", None if tensors is None else held + tensors,
        one.jobs * (sets + RECORD), one.unpriced,
    )  # fmt: skip


def _data(facts: DatasetFacts) -> int:
    """Return the bytes of a dataset as jobs hold it: float32, with the matrices of a whitening."""
    pixels = math.prod(facts.shape)
    images = sum(facts.class_counts) + sum(facts.test_counts)
    return 4 * pixels * images + 2 * 4 * pixels**2 * facts.zca


def _artifact(one: Priced, cache: Path, forecaster: Forecaster) -> Cost:
    """Return what the artifacts of a kind cost; those in the cache cost nothing more."""
    root = cache / "artifacts"
    missing = [id for id in one.ids if state_of(root, id) != DONE]
    flops = round(one.flops * len(missing) / max(1, one.jobs))
    _, _, architecture = one.row.partition(" ")
    rate, basis = forecaster.rate(EVALUATE, "", architecture)
    seconds = flops / rate if rate else None
    if not missing:
        seconds, basis = 0.0, "in the cache"
    return Cost(
        "artifact", one.row, one.jobs, flops, False, seconds, basis, None,
        _bytes_like(root, one, flops), "",
    )  # fmt: skip


def _bytes_like(root: Path, one: Priced, flops: int) -> int | None:
    """Return the bytes of artifacts by those of their kind that the cache has; None if it has none.

    Those of one kind grow with the operations that they take.
    """
    if not flops:
        return 0
    taken, counted = 0, 0.0
    kind = one.row.partition(" ")[0]
    for manifest in root.glob(f"{kind}-*/manifest.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(manifest.read_bytes())
            taken, counted = taken + int(content["bytes"]), counted + float(content["flops"])
    return round(taken / counted * flops) if counted else None


def _held_to(row: Cost, limit: int | None) -> Cost:
    """Return a row, with why it does not fit where it does not."""
    if row.memory is None or limit is None or row.memory <= limit:
        return row
    why = f"needs {size(row.memory)} of memory, a job may hold {size(limit)}: fewer --jobs"
    return replace(row, why=why, fits=False)


# -- what to leave out ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """Something to leave out of a plan, and how long the run takes then."""

    what: str
    run_s: float


def to_fit(plan: Plan, found: Costs, within_s: float) -> list[Proposal]:
    """Return what to leave out, in this order, so that a run fits into some seconds.

    Seeds go first, the last one first, down to one; then networks to evaluate on, the dearest
    first, down to one; then rows, the dearest first. [] if all fits as it is.
    """
    left = plan
    proposals: list[Proposal] = []
    while _takes(left, found) > within_s and (next_one := _candidate(left, found)):
        what, left = next_one
        proposals.append(Proposal(what, _takes(left, found)))
    return proposals


def _takes(plan: Plan, found: Costs) -> float:
    builds = found.artifact_s * bool(plan.condensations)
    return run_seconds(plan, found.seconds, found.machine.jobs_at_once) + builds


def _candidate(plan: Plan, found: Costs) -> tuple[str, Plan] | None:
    """Return the next thing to leave out and the plan without it, None if nothing is left."""
    seeds = list(dict.fromkeys(job.seed for job in plan.condensations))
    if len(seeds) > 1:
        return f"seed {seeds[-1]}", _without(
            plan, [job.id for job in plan.condensations if job.seed == seeds[-1]], ()
        )
    networks = list(dict.fromkeys(job.architecture for job in plan.evaluations))
    if len(networks) > 1:
        dearest = max(networks[1:], key=lambda name: _spent_on(plan, found, name))
        evaluations = [job.id for job in plan.evaluations if job.architecture == dearest]
        return f"evaluation on {dearest}", _without(plan, (), evaluations)
    rows = _spent_on_rows(plan, found)
    if len(rows) < 2:
        return None
    row = max(rows, key=lambda name: rows[name])
    ids = [job.id for job in plan.condensations if _row_name(job) == row]
    return row, _without(plan, ids, ())


def _spent_on(plan: Plan, found: Costs, architecture: str) -> float:
    jobs = [job.id for job in plan.evaluations if job.architecture == architecture]
    return sum(found.seconds.get(id, 0.0) for id in jobs)


def _spent_on_rows(plan: Plan, found: Costs) -> dict[str, float]:
    rows: dict[str, float] = {}
    behind: dict[str, float] = {}
    for evaluation in plan.evaluations:
        of = evaluation.condensation or ""
        behind[of] = behind.get(of, 0.0) + found.seconds.get(evaluation.id, 0.0)
    for job in plan.condensations:
        spent = found.seconds.get(job.id, 0.0) + behind.get(job.id, 0.0)
        rows[_row_name(job)] = rows.get(_row_name(job), 0.0) + spent
    return rows


def _row_name(job: Condensation) -> str:
    return f"{job.row} on {job.dataset}, {job.architecture}, {job.init}, ipc {job.ipc}"


def _without(plan: Plan, condensations: Sequence[str], evaluations: Sequence[str]) -> Plan:
    gone, not_evaluated = set(condensations), set(evaluations)
    return replace(
        plan,
        condensations=[job for job in plan.condensations if job.id not in gone],
        evaluations=[
            job
            for job in plan.evaluations
            if job.id not in not_evaluated and job.condensation not in gone
        ],
    )
