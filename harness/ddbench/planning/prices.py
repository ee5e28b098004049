"""Count the FLOPs and the memory of a plan by rows, from tensor shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ddbench.discovery.asking import Answer
from ddbench.planning.jobs import Plan, row_labels
from ddbench.planning.sharing import alike, facts_asked, question_of
from ddbench.store.records import FROM_FILE, Evaluation


@dataclass(frozen=True)
class Priced:
    """What some jobs of a plan cost that cost the same.

    Attributes:
        kind: "condense" or "evaluate", or "artifact": `jobs` are then the artifacts of a kind.
        row: What they are, in words.
        jobs: How many.
        flops: Of all of them together, the testing of networks included.
        unpriced: Why nothing is known, or "".
        lower_bound: Whether content decides about some of the work: they are at least as many.
        ids: Of the jobs, or of the artifacts.
        memory: Bytes that the tensors of one hold at most, beside the data; None is not known.
    """

    kind: str
    row: str
    jobs: int
    flops: int
    unpriced: str = ""
    lower_bound: bool = False
    ids: tuple[str, ...] = ()
    memory: int | None = None


@dataclass(frozen=True)
class _Item:
    """Jobs of equal cost, and the question about one of them."""

    kind: str
    row: str
    ids: tuple[str, ...]
    question: Mapping[str, Any]

    def priced(self, answer: Mapping[str, Any]) -> Priced:
        jobs = len(self.ids)
        flops = (answer.get("flops", 0) + answer.get("test_flops", 0)) * jobs
        return Priced(
            self.kind, self.row, jobs, flops, answer.get("unpriced", ""),
            bool(answer.get("lower_bound")), self.ids, answer.get("memory"),
        )  # fmt: skip


def prices(plan: Plan, ask: Answer | Callable[[Any], dict[str, Any] | None]) -> list[Priced]:
    """Return the costs of each row of a plan and of its evaluations, artifacts first.

    Jobs that differ by seed alone are counted once, and so is each shared artifact. Sets that files
    brought cost nothing more.
    What cannot be priced says why. Each question is one request, so that its answer is kept for
    other plans too; where `ask` answers None, nothing is told of its jobs.
    """
    items = [
        item
        for dataset in dict.fromkeys(job.dataset for job in plan.condensations)
        for item in (*_condensations(plan, dataset), *_evaluations(plan, dataset))
    ]
    asked = [(item, ask({"price": [item.question]})) for item in items]
    answers = [(item, answer["price"][0]) for item, answer in asked if answer]
    each = [item.priced(answer) for item, answer in answers]
    return [*_artifacts(answer for _, answer in answers), *each]


def _artifacts(answers: Iterable[Mapping[str, Any]]) -> list[Priced]:
    """Return the artifacts of all answers, each once, by what they are."""
    found: dict[str, Mapping[str, Any]] = {}
    for answer in answers:
        found |= answer.get("artifacts", {})
    kinds: dict[str, dict[str, int]] = {}
    for id, one in found.items():
        kinds.setdefault(one["kind"], {})[id] = one["flops"]
    return [
        Priced("artifact", kind, len(flops), sum(flops.values()), ids=tuple(flops))
        for kind, flops in kinds.items()
    ]


_PLACE = {"dataset": "", "architecture": "", "init": "", "ipc": "ipc "}  # said where they differ


def _condensations(plan: Plan, dataset: str) -> Iterator[_Item]:
    labels = row_labels(plan.condensations)
    varied = [name for name in _PLACE if len({getattr(j, name) for j in plan.condensations}) > 1]
    own = [job for job in plan.condensations if not job.code.startswith(FROM_FILE)]
    for jobs in alike(job for job in own if job.dataset == dataset):
        job = jobs[0]
        place = [f"{words}{getattr(job, name)}" for name, words in _PLACE.items() if name in varied]
        row = ", ".join((labels[job.id], *place))
        ids = tuple(job.id for job in jobs)
        yield _Item("condense", row, ids, question_of(job, plan))


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
        ids = tuple(job.id for job in jobs)
        yield _Item("evaluate", f"{what} on {architecture}, {protocol}", ids, question)
