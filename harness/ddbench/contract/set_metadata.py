"""What the file of a set says of itself: how it was made, of what data, in which space it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from ddbench.contract.image_grid import channel_constants, visible
from ddbench.datasets import space_of
from ddbench.text import number_format
from ddbench.text.lines import brief, printable

if TYPE_CHECKING:
    from ddbench.contract.synthetic_set import SyntheticSet
    from ddbench.datasets import Dataset
    from ddbench.datasets.tensors import Whitening
    from ddbench.store.records import Condensation

NORMALISED = (
    "x = (pixel / 255 - mean) / std in each channel",
    "pixel = 255 * (x * std + mean) in each channel, rounded, cut to 0..255",
)
WHITENED = (
    "x = (pixel / 255 - m) W: ZCA, m and W fitted to the training images of this fingerprint",
    "pixel = 255 * (x W^-1 + m), rounded, cut to 0..255",
)

MOST_NAMES = 20  # of classes, in a list in words
AS_STORED = ("identity", "protocol", "stored")  # parts that take tensors as they are stored


class UnknownSpaceError(ValueError):
    """A set whose images cannot be given as they are asked for; says what is missing."""


class NotPlainError(ValueError):
    """A set whose stored images and labels are not what networks are trained on; says why."""


def about_data(name: str, dataset: Dataset, validate: int | None = None) -> dict[str, Any]:
    """Return what a set's provenance keeps of the data that it was made of, as plain values.

    `name` is the dataset's as it was asked for; `validate` the percentage that was held out.
    """
    preprocessing, inverse = WHITENED if dataset.zca else NORMALISED
    return {
        "dataset": name,
        **space_of(dataset),
        "preprocessing": preprocessing,
        "inverse": inverse,
        "augment": dataset.augment,
        "validate": validate,
    }


# Of a condensation, under the names that its record has.
TOLD = (
    "row", "method", "source", "init", "ipc", "seed", "steps", "published_steps", "budget_s",
    "step_unit", "architecture", "reduced", "published", "quick", "setting", "paper", "bibtex",
)  # fmt: skip


def about_job(job: Condensation) -> dict[str, Any]:
    """Return what a set's provenance keeps of the condensation that made it, as plain values."""
    told = {name: getattr(job, name) for name in TOLD}
    return {**told, "options": dict(job.config), "code": job.code, "id": job.id}


# -- for a person's own code -------------------------------------------------------------------


def torch_dataset(synthetic: SyntheticSet) -> TensorDataset:
    """Return (image, label) pairs; soft labels as probabilities, as `F.cross_entropy` takes them.

    Images (ch, H, W) float32 as they are; labels int64 class indices, or (C,) float32;
    regression targets as they are.

    Raises:
        NotPlainError: What a network sees is made of the stored tensors.
    """
    parts = {stage: part.get("name") for stage, part in synthetic.formation.items()}
    if made := {k: name for k, name in parts.items() if name not in AS_STORED}:
        raise NotPlainError(
            "the stored images and labels are not what networks are trained on:"
            f" {_pairs(made)}; ddbench.formations makes that of them"
        )
    labels = synthetic.labels
    logits = synthetic.label_kind == "logits"
    return TensorDataset(synthetic.images, labels.softmax(1) if logits else labels)


def unnormalised(synthetic: SyntheticSet, whitening: Whitening | None = None) -> torch.Tensor:
    """Return the images as pixels, (N, ch, H, W) uint8 on the CPU.

    Raises:
        UnknownSpaceError: The set does not say how its images were normalised, or they are
            whitened and no `whitening` is given.
    """
    images, of_set = synthetic.images.detach().cpu(), synthetic.provenance
    if of_set.get("zca"):
        if whitening is None:
            raise UnknownSpaceError(
                "the images are whitened (zca), and the matrix is fitted to the data, not in the"
                " set: give unnormalised() the Whitening that ddbench.datasets.tensors.fit_zca"
                f" makes of the training images of {of_set.get('dataset', 'the data')!r}"
            )
        shown = whitening.invert(images).clamp(0, 1).numpy()
    elif any(channel_constants(of_set, name, images.shape[1]) is None for name in ("mean", "std")):
        raise UnknownSpaceError(
            "the set does not say how its images were normalised: its provenance lacks mean and"
            " std, one number a channel each"
        )
    else:
        shown = visible(images.numpy(), of_set)
    return torch.from_numpy(np.rint(shown * 255).astype(np.uint8))


# -- in words ----------------------------------------------------------------------------------


def three_lines(synthetic: SyntheticSet) -> str:
    """Return what a set is, in three lines of text."""
    tensors = (synthetic.images, synthetic.labels)
    if not all(isinstance(one, torch.Tensor) and one.ndim for one in tensors):
        kinds = " and ".join(type(one).__name__ for one in tensors)
        return f"SyntheticSet of {kinds}: no set that can be trained on"
    about = in_words(synthetic)
    made = [about[name] for name in ("made by", "from") if name in about]
    made += [f"seed {about['seed']}"] if made and "seed" in about else []
    recipe = f"recipe {about['recipe']}" if "recipe" in about else "no recipe of its own"
    return "\n".join(
        (
            f"SyntheticSet: {about['images']}, {about['labels']}, {about['bytes']}",
            f"  made by {', '.join(made)}" if made else "  does not say how it was made",
            f"  {_space(synthetic.provenance)}; {recipe}",
        )
    )


def in_words(synthetic: SyntheticSet) -> dict[str, str]:
    """Return what a set says of itself: name -> words, without what it does not say."""
    said = {
        "images": _images(synthetic),
        "labels": _labels(synthetic),
        "bytes": number_format.size(synthetic.bytes),
        "recipe": _pairs(_mapping(synthetic.recipe)),
        "formation": _pairs(_mapping(synthetic.formation)),
        "payload": ", ".join(map(str, synthetic.payload)),
        **_made(_mapping(synthetic.provenance)),
        **_data(_mapping(synthetic.provenance)),
        "costs": _costs(_mapping(synthetic.provenance.get("costs"))),
        "measures": _pairs(_mapping(synthetic.measures)),
        "columns": ", ".join(map(str, synthetic.columns)),
        "versions": _versions(_mapping(synthetic.provenance.get("versions"))),
    }
    return {name: printable(words) for name, words in said.items() if words}


def _space(provenance: Mapping[str, Any]) -> str:
    if "zca" not in provenance and "mean" not in provenance:
        return "does not say how its images were normalised"
    return "whitened (zca)" if provenance.get("zca") else "normalised"


def _images(synthetic: SyntheticSet) -> str:
    size = "×".join(map(str, synthetic.images.shape[1:]))
    return f"{len(synthetic)} images of {size}"


def _labels(synthetic: SyntheticSet) -> str:
    if synthetic.soft:
        kind = "regression targets" if synthetic.label_kind == "regression" else "soft labels"
        return f"{kind} over {synthetic.labels.shape[1]} classes"
    counts = synthetic.labels.unique(return_counts=True)[1].tolist()
    least, most = min(counts, default=0), max(counts, default=0)
    each = str(least) if least == most else f"{least} to {most}"
    return f"hard labels of {len(counts)} {'class' if len(counts) == 1 else 'classes'}, {each} each"


def _made(provenance: Mapping[str, Any]) -> dict[str, str]:
    who = provenance.get("row") or provenance.get("method") or ""
    source = provenance.get("source")
    return {
        "made by": f"{who} ({source})" if who and source else str(who),
        "imported from": str(provenance.get("imported_from") or ""),
        "claimed there": _claimed(_mapping(provenance.get("claimed"))),
        "seed": brief(provenance["seed"]) if "seed" in provenance else "",
        "init": str(provenance.get("init") or ""),
        "matched on": str(provenance.get("architecture") or ""),
        "steps": _steps(provenance),
        "options": _pairs(_mapping(provenance.get("options"))),
    }


def _claimed(claims: Mapping[str, Any]) -> str:
    """Return the accuracies that a file of another program claims, by its names of networks."""
    means = [
        f"{100 * sum(values) / len(values):.1f}% on {network}"
        for network, values in claims.items()
        if isinstance(values, list) and values and all(map(number_format.known, values))
    ]
    return ", ".join(means)


def _steps(provenance: Mapping[str, Any]) -> str:
    taken, planned = (provenance.get(name) for name in ("taken", "steps"))
    if taken is None or taken == planned:
        return "" if planned is None else brief(planned)
    return f"{brief(taken)} of {brief(planned)}"


def _data(provenance: Mapping[str, Any]) -> dict[str, str]:
    fingerprint = provenance.get("dataset_fingerprint")
    name = str(provenance.get("dataset") or "")
    constants = [
        f"{key} {_numbers(provenance[key])}" for key in ("mean", "std") if provenance.get(key)
    ]
    classes = provenance.get("classes")
    return {
        "from": f"{name} ({str(fingerprint)[:8]})" if name and fingerprint else name,
        "classes": _names(classes) if isinstance(classes, list | tuple) else "",
        "preprocessing": str(provenance.get("preprocessing") or ""),
        "constants": "" if provenance.get("zca") else ", ".join(constants),
        "inverse": str(provenance.get("inverse") or ""),
        "augmentation": str(provenance.get("augment") or ""),
        "held out": f"{provenance['validate']}%" if provenance.get("validate") else "",
    }


def _names(classes: Sequence[object]) -> str:
    shown = ", ".join(map(str, classes[:MOST_NAMES]))
    return f"{shown}, ... ({len(classes)} in all)" if len(classes) > MOST_NAMES else shown


def _numbers(values: object) -> str:
    if not isinstance(values, list | tuple):
        return brief(values)
    return " ".join(f"{v:.4g}" if isinstance(v, float) else brief(v) for v in values)


def _costs(costs: Mapping[str, Any]) -> str:
    seconds = [costs.get(name) for name in ("init_s", "condense_s", "export_s")]
    known = [value for value in seconds if isinstance(value, int | float)]
    words = [number_format.duration(sum(known))] if known else []
    if isinstance(flops := costs.get("flops_condense"), int | float):
        words.append(number_format.flops(flops, bool(costs.get("flops_lower_bound"))))
    return ", ".join(words)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={brief(value)}" for name, value in values.items())


def _versions(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in values.items())
