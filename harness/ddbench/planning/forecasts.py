"""How long jobs will take, how much memory they need: from history, or from a probe."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ddbench.planning.jobs import DatasetFacts, Plan
from ddbench.store.history import CONDENSE, EVALUATE, Observation, exact_key
from ddbench.store.records import Condensation, Evaluation

EXACT, ALIKE, PROBED = "same jobs", "similar jobs", "probe"
JOB_S = 2.0  # of a job beside its metered work, where nothing is known: data, warming up, writing


@dataclass(frozen=True)
class Machine:
    """What a plan is to run on.

    Attributes:
        device: Name of the processor or GPU.
        threads: CPU threads of a job.
        jobs_at_once: How many run beside each other.
        rates: FLOP/s by kind of work, as a probe has measured them; {} where none has.
    """

    device: str
    threads: int
    jobs_at_once: int
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Length:
    """How long a job will take in seconds, and what that is known from."""

    seconds: float
    basis: str


class Forecaster:
    """Foretells jobs from what others have taken on the same kind of device."""

    def __init__(self, history: Iterable[Observation], machine: Machine) -> None:
        """Take what is known of `machine`'s device; prefer as many threads and jobs at once."""
        self.machine = machine
        near: dict[tuple[str, str], list[Observation]] = {}
        for one in history:
            if one.device == machine.device and one.threads == machine.threads:
                near.setdefault((one.kind, one.exact), []).append(one)
        self._exact = {key: self._nearest(group) for key, group in near.items()}
        self._known = list(self._exact.values())

    def _nearest(self, group: list[Observation]) -> Observation:
        """Return the sum of the observations with the nearest number of jobs at once."""

        def distance(one: Observation) -> int:
            return abs(one.jobs_at_once - self.machine.jobs_at_once)

        closest = min(map(distance, group))
        return _together([one for one in group if distance(one) == closest])

    def exact(self, job: Condensation | Evaluation, images: int) -> Observation | None:
        """Return what is known of jobs that differ from this one by seed and steps alone."""
        kind = CONDENSE if isinstance(job, Condensation) else EVALUATE
        return self._exact.get((kind, exact_key(job, images)))

    def length(
        self, job: Condensation | Evaluation, images: int, flops: float | None
    ) -> Length | None:
        """Return how long a job will take; None is unknown, of `flops` too."""
        condenses = isinstance(job, Condensation)
        kind = CONDENSE if condenses else EVALUATE
        units = float(job.steps if isinstance(job, Condensation) else job.networks)
        same = self._exact.get((kind, exact_key(job, images)))
        if isinstance(job, Condensation) and job.budget_s is not None:
            overhead = same.overhead if same else self._overhead(kind)
            return Length(job.budget_s + overhead, EXACT if same else "budget")
        if same is not None and (same.units > 0 or units == 0):
            each = same.seconds / same.units * units if same.units else same.seconds / same.jobs
            return Length(each + same.overhead, EXACT)
        if flops is None:
            return None
        method = job.method if isinstance(job, Condensation) else ""
        rate, basis = self.rate(kind, method, job.architecture)
        return None if rate is None else Length(flops / rate + self._overhead(kind), basis)

    def rate(self, kind: str, method: str, architecture: str) -> tuple[float | None, str]:
        """Return FLOP/s of a kind of work, and what it is known from: jobs like it, or a probe."""
        seen = self._rate(kind, method, architecture)
        if seen is None and kind in self.machine.rates:
            return self.machine.rates[kind], PROBED
        return seen, ALIKE if seen else ""

    def _rate(self, kind: str, method: str, architecture: str) -> float | None:
        """Return FLOP/s of the jobs that are most like one, None where there are none."""
        levels: list[Callable[[Observation], bool]] = [
            lambda one: one.method == method and one.architecture == architecture,
            lambda one: one.method == method and one.method != "",
        ]
        if not self.machine.rates:
            levels.append(lambda one: True)
        for alike in levels:
            some = [one for one in self._known if one.kind == kind and one.flops and alike(one)]
            if seconds := sum(one.seconds for one in some):
                return sum(one.flops for one in some) / seconds
        return None

    def _overhead(self, kind: str) -> float:
        known = [one.overhead for one in self._known if one.kind == kind]
        return statistics.median(known) if known else JOB_S


def _together(group: list[Observation]) -> Observation:
    first = group[0]
    memory = [one.memory for one in group if one.memory is not None]
    return Observation(
        first.kind, first.exact, first.method, first.architecture, first.device, first.threads,
        first.jobs_at_once, sum(one.jobs for one in group), sum(one.units for one in group),
        sum(one.seconds for one in group), sum(one.flops for one in group),
        statistics.median(one.overhead for one in group), max(memory, default=None),
    )  # fmt: skip


def images_of(plan: Plan) -> dict[str, int]:
    """Return how many images each evaluation of a plan trains on, by its id."""
    ipc = {job.id: job.ipc for job in plan.condensations}
    return {
        job.id: _images(plan.datasets.get(job.dataset), ipc.get(job.condensation or "", 0))
        for job in plan.evaluations
    }


def _images(facts: DatasetFacts | None, ipc: int) -> int:
    if facts is None:
        return 0
    return ipc * facts.num_classes or sum(facts.class_counts)


def lengths(plan: Plan, forecaster: Forecaster, flops: Mapping[str, float]) -> dict[str, Length]:
    """Return how long each job of a plan will take, by id, as far as that can be told.

    `flops` holds those of jobs that are known, by id.
    """
    images: Mapping[str, int] = images_of(plan)
    jobs: list[Any] = [*plan.condensations, *plan.evaluations]
    found = {
        job.id: forecaster.length(job, images.get(job.id, 0), flops.get(job.id)) for job in jobs
    }
    return {id: length for id, length in found.items() if length is not None}


def seconds_of(plan: Plan, known: Mapping[str, Length]) -> dict[str, float]:
    """Return the seconds of every job, unknown ones as the median of their kind.

    {} where nothing is known.
    """
    seconds: dict[str, float] = {}
    for jobs in (plan.condensations, plan.evaluations):
        some = [known[job.id].seconds for job in jobs if job.id in known]
        if not some and jobs:
            continue
        middle = statistics.median(some) if some else 0.0
        seconds |= {job.id: known[job.id].seconds if job.id in known else middle for job in jobs}
    return seconds


def run_seconds(plan: Plan, seconds: Mapping[str, float], jobs_at_once: int) -> float:
    """Return how long a run of a plan takes, `jobs_at_once` beside each other.

    An evaluation follows its condensation, however many jobs may run.
    """
    alone = {job.id: seconds.get(job.id, 0.0) for job in plan.condensations}
    chains = dict(alone)
    total = sum(alone.values())
    for job in plan.evaluations:
        own, before = seconds.get(job.id, 0.0), alone.get(job.condensation or "", 0.0)
        total += own
        chains[job.id] = own + before
    return max(total / max(1, jobs_at_once), max(chains.values(), default=0.0))
