"""One evaluation: a synthetic set from the run folder -> accuracies and costs."""

from __future__ import annotations

from typing import Any

import torch

from ddbench import formations
from ddbench.contract.recipes import Recipe
from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.datasets import Dataset, chance, facts_of, majority_accuracy
from ddbench.discovery.extensions import Extensions
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner.callbacks import Control, Stopped
from ddbench.meter import PeakMemory, warm_up
from ddbench.store.records import VALIDATION, Evaluation
from ddbench.store.run_folder import hash_of_set
from ddbench.training.evaluation import RealImages, Registered, Scores, evaluate, held_out


def evaluate_set(
    job: Evaluation, setting: JobContext, extensions: Extensions, control: Control
) -> dict[str, Any]:
    """Train fresh networks on a set and test them; return the record's fields.

    Raises:
        Stopped: The engine asked for it; an evaluation starts over.
    """
    dataset = setting.dataset_of(job, extensions)
    validation = dataset.validation
    if job.tested_on == VALIDATION:
        dataset = dataset.validating()
    data = setting.tensors(dataset)
    synthetic, sha256 = _set_of(job, setting, data.train_images, data.train_labels)
    _check_formation(synthetic, dataset, extensions)

    def progress(done: int, total: int) -> None:
        control.report({"step": done, "of": total, "metrics": {}})
        if control.stop():
            raise Stopped(f"stopped after {done} of {total} epochs; evaluations start over")

    choose_by = None
    if job.recipe.get("learning_rates"):
        whole = job.condensation is None
        choose_by = held_out(data.train_images, data.train_labels, whole)
    warm_up(torch.device(setting.device))
    memory = PeakMemory(torch.device(setting.device))
    with memory:
        scores = evaluate(
            synthetic,
            RealImages(data.test_images, data.test_labels, dataset.num_classes, choose_by),
            architecture=job.architecture,
            recipe=Recipe.of(job.recipe),
            networks=job.networks,
            own=job.own_recipe,
            registered=Registered(extensions.architectures, extensions.formations),
            progress=progress,
        )
    return {
        **_of_scores(scores),
        "peak_memory": memory.bytes,
        "n_test": len(data.test_labels),
        "validation": validation,
        "images": len(synthetic),
        "chance": chance(dataset),
        "majority": majority_accuracy(dataset),
        "class_counts_test": facts_of(dataset)["test_counts"],
        **facts_of(dataset),
        "set_sha256": sha256,
    }


def _of_scores(scores: Scores) -> dict[str, Any]:
    """Return the fields of a record that tell of training and testing."""
    return {
        "accuracies": scores.accuracies,
        "balanced_accuracies": scores.balanced_accuracies,
        "train_s": scores.train_s,
        "test_s": scores.test_s,
        "flops_train": scores.flops_train,
        "flops_lower_bound": scores.lower_bound,
        "forward_macs": scores.forward_macs,
        "recipe": scores.recipe.plain(),
        "chosen_lr": scores.chosen_lr,
        "labels": scores.labels,
        "regime": scores.regime,
        "decoded_images": scores.decoded_images,
        "steps_trained": scores.steps_trained,
        "images_seen": scores.images_seen,
        "flops_targets": scores.flops_targets,
    }


def _check_formation(synthetic: SyntheticSet, dataset: Dataset, extensions: Extensions) -> None:
    """See that the parts that a set names are here, and fit it."""
    if problems := formations.problems(
        synthetic,
        num_classes=dataset.num_classes,
        shape=dataset.shape,
        parts=extensions.formations,
        catalogue=extensions.architectures,
    ):
        raise SetError("; ".join(problems))


def _set_of(
    job: Evaluation, setting: JobContext, images: torch.Tensor, labels: torch.Tensor
) -> tuple[SyntheticSet, str | None]:
    """Return the set to train on and its hash: the whole training set has none.

    Raises:
        SetError: The file is torn, or holds another set than the condensation's record tells of.
    """
    if job.condensation is None:
        return SyntheticSet(images, labels), None
    path = setting.run.set_file(job.condensation, job.snapshot)
    synthetic = SyntheticSet.load(path, setting.device)
    sha256, recorded = synthetic.sha256(), hash_of_set(setting.run, job.condensation, job.snapshot)
    if recorded is not None and sha256 != recorded:
        raise SetError(
            f"{path}: is not the set that was condensed (hash {sha256[:8]}, recorded "
            f"{str(recorded)[:8]}); restore it, or "
            f"`ddbench retry RUN {job.condensation} --failed`"
        )
    return synthetic, sha256
