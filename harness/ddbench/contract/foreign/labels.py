"""Labels of other programs, told apart: class indices from 0 or 1, one-hot rows, soft labels."""

from __future__ import annotations

import torch

from ddbench.contract.foreign.errors import ForeignError

KINDS = ("logits", "probabilities")
CLOSE = 1e-3  # that rows of probabilities may miss a sum of 1 by
LEAST = 1e-12  # a probability of 0 as a logit


def labels_of(
    found: torch.Tensor, images: int, num_classes: int, first: int | None, soft: str | None
) -> tuple[torch.Tensor, str]:
    """Return labels as a set has them, and in words what they were.

    (N,) int64 class indices, or (N, C) float32 logits.

    Args:
        found: As the file has them.
        images: N.
        num_classes: C.
        first: The number of the first class, where it is said.
        soft: Of `KINDS`, what rows of numbers are, where it is said.

    Raises:
        ForeignError: They are none of these, or may be two.
    """
    found = found.detach()
    if found.ndim == 2 and found.shape[1] == 1:
        found = found.flatten()
    if found.ndim not in (1, 2) or len(found) != images:
        raise ForeignError(
            f"labels have the shape {tuple(found.shape)}; expected {images} class indices, or"
            f" {images} rows of {num_classes} numbers"
        )
    if found.is_complex() or not torch.isfinite(found.double()).all():
        raise ForeignError("labels hold NaN, infinite or complex values; none can be a class")
    if found.ndim == 1:
        return _indices(found, num_classes, first, soft)
    return _rows(found, num_classes, first, soft)


def _indices(
    found: torch.Tensor, num_classes: int, first: int | None, soft: str | None
) -> tuple[torch.Tensor, str]:
    if soft is not None:
        raise ForeignError(f"--soft {soft}: labels are one number an image; leave it out")
    if found.dtype == torch.bool:
        raise ForeignError("labels are true or false; expected class indices")
    whole = found.double().round()
    if not torch.equal(whole, found.double()):
        raise ForeignError(
            f"labels are numbers with fractions, such as {_odd(found, whole):g}; expected class"
            " indices, or a row of logits or probabilities an image"
        )
    least, most = int(whole.min()), int(whole.max())
    start = _first(least, most, num_classes, first)
    if least < start or most >= start + num_classes:
        raise ForeignError(
            f"labels run from {least} to {most}; expected {start}..{start + num_classes - 1} for"
            f" {num_classes} classes: are they ids, or of other data?"
        )
    words = "class indices" + (", which were counted from 1" if start else "")
    words += "" if not found.is_floating_point() else f", which were {_name(found)}"
    return whole.long() - start, words


def _first(least: int, most: int, num_classes: int, said: int | None) -> int:
    """Return the number of the first class."""
    if said is not None:
        return said
    if least >= 1 and most == num_classes:
        raise ForeignError(
            f"labels run from {least} to {most} for {num_classes} classes: they seem to be counted"
            " from 1; say so by --first-label 1"
        )
    if least == 1:
        raise ForeignError(
            f"labels run from 1 to {most}, and no image is of class 0: say by --first-label whether"
            " the first class is 0 or 1"
        )
    return 0


def _rows(
    found: torch.Tensor, num_classes: int, first: int | None, soft: str | None
) -> tuple[torch.Tensor, str]:
    if first is not None:
        raise ForeignError(f"--first-label {first}: labels are rows of numbers; leave it out")
    if found.shape[1] != num_classes:
        raise ForeignError(
            f"labels are rows of {found.shape[1]} numbers; the data have {num_classes} classes"
        )
    values = found.double()
    ones = (values == 1).sum(1)
    if bool(((values == 0) | (values == 1)).all()) and bool((ones == 1).all()) and soft is None:
        return values.argmax(1), "class indices, which were one-hot rows"
    if not found.is_floating_point():
        raise ForeignError(
            f"labels are rows of {_name(found)}, and not one-hot; expected one 1 in each row, or"
            " logits or probabilities as floats"
        )
    shares = bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() < CLOSE).all())
    if soft is None and not shares and bool((values >= 0).all()):
        raise ForeignError(
            "labels are rows of numbers that are nowhere below 0 and do not sum to 1: say by --soft"
            " whether they are logits or probabilities"
        )
    if soft == "probabilities" and not shares:
        raise ForeignError("--soft probabilities: rows of labels go below 0, or do not sum to 1")
    if soft == "logits" or (soft is None and not shares):
        return found.float(), "soft labels (logits)"
    logits = values.clamp_min(LEAST).log().float()
    return logits, "soft labels, which were probabilities"


def _odd(found: torch.Tensor, whole: torch.Tensor) -> float:
    return float(found[(whole != found.double()).nonzero()[0, 0]])


def _name(found: torch.Tensor) -> str:
    return str(found.dtype).removeprefix("torch.")
