"""Count the FLOPs of a plan by rows, from tensor shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ddbench.discovery.asking import Answer
from ddbench.planning.jobs import Plan, row_labels
from ddbench.planning.sharing import alike, facts_asked, question_of
from ddbench.store.records import Evaluation


@dataclass(frozen=True)
class Priced:
    """The FLOPs of some jobs of a plan that cost the same.

    `kind` is condense or evaluate, or artifact: `jobs` are then the artifacts of a kind. With
    `lower_bound` they are at least as many, because content decides about some of the work.
    """

    kind: str
    row: str
    jobs: int
    flops: int
    unpriced: str = ""
    lower_bound: bool = False


@dataclass(frozen=True)
class _Item:
    """Jobs of equal cost, and the question about one of them."""

    kind: str
    row: str
    jobs: int
    question: Mapping[str, Any]

    def priced(self, answer: Mapping[str, Any]) -> Priced:
        flops = answer.get("flops", 0) * self.jobs
        bound = bool(answer.get("lower_bound"))
        return Priced(self.kind, self.row, self.jobs, flops, answer.get("unpriced", ""), bound)


def prices(plan: Plan, ask: Answer) -> list[Priced]:
    """Return the FLOPs of each row of a plan and of its evaluations, artifacts first.

    Jobs that differ by seed alone are counted once, and so is each artifact, whoever shares it.
    What cannot be priced says why.
    """
    items = [
        item
        for dataset in dict.fromkeys(job.dataset for job in plan.condensations)
        for item in (*_condensations(plan, dataset), *_evaluations(plan, dataset))
    ]
    answers = ask({"price": [item.question for item in items]})["price"] if items else []
    each = [item.priced(answer) for item, answer in zip(items, answers, strict=True)]
    return [*_artifacts(answers), *each]


def _artifacts(answers: Iterable[Mapping[str, Any]]) -> list[Priced]:
    """Return the artifacts of all answers, each once, by what they are."""
    found: dict[str, Mapping[str, Any]] = {}
    for answer in answers:
        found |= answer.get("artifacts", {})
    kinds: dict[str, list[int]] = {}
    for one in found.values():
        kinds.setdefault(one["kind"], []).append(one["flops"])
    return [Priced("artifact", kind, len(flops), sum(flops)) for kind, flops in kinds.items()]


def _condensations(plan: Plan, dataset: str) -> Iterator[_Item]:
    labels = row_labels(plan.condensations)
    for jobs in alike(job for job in plan.condensations if job.dataset == dataset):
        job = jobs[0]
        row = f"{labels[job.id]}, {job.architecture}, {job.init}, ipc {job.ipc}"
        yield _Item("condense", row, len(jobs), question_of(job, plan))


def _evaluations(plan: Plan, dataset: str) -> Iterator[_Item]:
    facts = plan.datasets[dataset]
    ipc_of = {job.id: job.ipc for job in plan.condensations}
    trained: dict[tuple[str, str, int], list[Evaluation]] = {}
    for job in plan.evaluations:
        if job.dataset == dataset:
            ipc = ipc_of[job.condensation] if job.condensation else 0
            trained.setdefault((job.architecture, job.protocol, ipc), []).append(job)
    for (architecture, protocol, ipc), jobs in trained.items():
        images = ipc * facts.num_classes or sum(facts.class_counts)
        what = f"ipc {ipc}" if ipc else "the whole set"
        record = jobs[0].record() | {"id": "", "condensation": None}
        question = {"job": record, "facts": facts_asked(facts), "images": images}
        yield _Item("evaluate", f"{what} on {architecture}, {protocol}", len(jobs), question)
