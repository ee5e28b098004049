"""The evaluations of a plan: every set, and the whole training set, on every network."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddbench.datasets import passes
from ddbench.planning.axes import reference_on
from ddbench.planning.draft import Draft
from ddbench.planning.job_ids import with_evaluation_id
from ddbench.planning.jobs import DatasetFacts
from ddbench.planning.registry import Protocol
from ddbench.store.records import TEST, VALIDATION, Condensation, Evaluation, Skipped


@dataclass(frozen=True)
class _Wanted:
    """What to evaluate: the set of a condensation, or None for the whole training set."""

    job: Condensation | None
    snapshot: int | None = None
    own_recipe: bool = False


def add_evaluations(draft: Draft) -> None:
    """Add the evaluations of the condensations in the plan; reference rows first."""
    planned = {job.dataset for job in draft.plan.condensations}
    for dataset, facts in draft.plan.datasets.items():
        if dataset in planned and draft.preset.reference is not None:
            for architecture in reference_on(draft):
                _add(draft, facts, dataset, architecture, draft.preset.reference, _Wanted(None))
    for job in draft.plan.condensations:
        facts = draft.plan.datasets[job.dataset]
        sets: tuple[int | None, ...] = (None, *job.snapshots)
        own = (False, True) if draft.has_own_recipe(job) else (False,)
        for architecture, protocol, snapshot, own_recipe in itertools.product(
            draft.preset.evaluate_on, draft.preset.protocol, sets, own
        ):
            wanted = _Wanted(job, snapshot, own_recipe)
            _add(draft, facts, job.dataset, architecture, protocol, wanted)


def _add(
    draft: Draft,
    facts: DatasetFacts,
    dataset: str,
    architecture: str,
    protocol: str,
    wanted: _Wanted,
) -> None:
    job = wanted.job
    fits = draft.fits[architecture, dataset]
    if "error" in fits:
        if job is not None and wanted == _Wanted(job):  # said once, of its final set
            where = (dataset, job.architecture, job.init, job.ipc, job.seed)
            skipped = Skipped(job.row, *where, fits["error"], evaluate_on=architecture)
            draft.plan.skipped.append(skipped)
        return
    constants = draft.registry.protocols[protocol]
    recipe = draft.recipes.get((protocol, facts.augment)) or recipe_of(constants, facts.augment)
    draft.recipes[protocol, facts.augment] = recipe
    if job is None:
        recipe = _repeated(recipe, passes(sum(facts.class_counts), facts.epoch_images))
    evaluation = Evaluation(
        id="",
        condensation=job.id if job else None,
        snapshot=wanted.snapshot,
        dataset=dataset,
        dataset_fingerprint=facts.fingerprint,
        architecture=fits["canonical"],
        protocol=protocol,
        recipe=recipe,
        own_recipe=wanted.own_recipe,
        networks=constants.networks,
        extensions=draft.extensions(architecture, dataset),
        validate=facts.validate,
        tested_on=TEST if facts.validate is None else VALIDATION,
    )
    draft.plan.evaluations.append(with_evaluation_id(evaluation, job))


def _repeated(recipe: Mapping[str, Any], times: int) -> dict[str, Any]:
    """Return the recipe with `times` as many epochs, for a training set of few images."""
    drop = recipe["drop"]
    if drop:
        drop = drop | {"after_epochs": times * drop["after_epochs"]}
    return {**recipe, "epochs": times * recipe["epochs"], "drop": drop}


def recipe_of(protocol: Protocol, strategy: str) -> dict[str, Any]:
    """Return the protocol's training recipe (fields of training.Recipe) for one dataset.

    `strategy` is the dataset's own augmentation, which the protocol calls "dsa".
    """
    return {
        "epochs": protocol.epochs,
        "optimizer": protocol.optimizer.name,
        "lr": protocol.optimizer.lr,
        "momentum": protocol.optimizer.momentum,
        "weight_decay": protocol.optimizer.weight_decay,
        "batch": protocol.batch,
        "drop": protocol.drop.model_dump() if protocol.drop else None,
        "augment": strategy if protocol.augment == "dsa" else protocol.augment,
        # Only where there is a choice, so that all other evaluations keep their ids.
        **({"learning_rates": list(protocol.learning_rates)} if protocol.learning_rates else {}),
    }
