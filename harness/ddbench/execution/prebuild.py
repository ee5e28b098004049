"""Build the artifacts that the condensations of a plan ask for, before it is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench.contract.config import make_config

if TYPE_CHECKING:
    from ddbench.contract.artifacts import Artifact
    from ddbench.execution.job_context import JobContext
    from ddbench.planning.jobs import Plan
    from ddbench.planning.workspace import Session
    from ddbench.store.records import Condensation


@dataclass(frozen=True)
class Built:
    """One artifact of a plan, or the condensation whose artifacts cannot be built, and why."""

    job: str
    artifact: Artifact | None = None
    trouble: str = ""


def build_ahead(session: Session, plan: Plan, context: JobContext) -> Iterator[Built]:
    """Build what the condensations of `plan` share, in this process, each artifact once.

    That is the whitening of the dataset, what the init looks through, and what the hook `prepare`
    of the method builds. A condensation that raises is told of, and the next one follows.
    """
    seen = set()
    for job in plan.condensations:
        try:
            artifacts = _artifacts_of(job, session, context)
        except Exception as error:  # a method's, a dataset's or an init's code
            yield Built(job.id, trouble=f"{type(error).__name__}: {error}")
            continue
        for artifact in artifacts:
            if artifact.id not in seen:
                seen.add(artifact.id)
                yield Built(job.id, artifact)


def _artifacts_of(job: Condensation, session: Session, context: JobContext) -> list[Artifact]:
    method = session.method(job.method)
    dataset = context.dataset_of(job, session.extensions)
    whitening = context.whitening(dataset)
    task = context.task(job, dataset, context.tensors(dataset), session.extensions)
    session.extensions.inits[job.init].build(task)
    method.hook.prepare(task=task, config=make_config(method.info, job.config))
    shared = [] if whitening is None else [whitening]
    return [*shared, *task.artifacts_used.values()]
