"""A set's own training: its views and its targets, by its own recipe."""

from __future__ import annotations

from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.formations.batches import Batches, joined
from ddbench.formations.parts import FIRST, Own, Parts, name_of, part_of

HARD, SOFT, SOFT_PER_VIEW = "HL", "SL", "SL+KD"  # the regimes of labels, as the literature says


def own_batches(own: Own, parts: Parts | None = None) -> tuple[Batches, int]:
    """Return the batches by which a set wants to be trained on, and the FLOPs of a target.

    Raises:
        SetError: A part is unknown, or gives what it should not.
    """
    _, views, view_options = part_of(own.synthetic, "views", parts)
    _, targets, target_options = part_of(own.synthetic, "targets", parts)
    loss = own.recipe.loss
    classes = None
    if loss is not None and loss.ce_weight:
        classes = own.synthetic.hard_labels()[own.decoded.source]
    answers = targets.apply(target_options, own)
    return joined(views.apply(view_options, own), answers, classes), answers.flops


def regime(synthetic: SyntheticSet) -> str:
    """Return which labels a set's own recipe trains on: "HL", "SL" or "SL+KD".

    Hard labels; one soft label an image; a soft label for each view.
    """
    if synthetic.recipe.get("labels") == "hard":
        return HARD
    if name_of(synthetic, "targets") != FIRST["targets"]:
        return SOFT_PER_VIEW
    return HARD if synthetic.label_kind == "index" else SOFT
