"""Does a set fit data: its shape and classes, and the space that its images are in?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ddbench.contract.synthetic_set import SyntheticSet, check_fit, check_recipe, check_space
from ddbench.text.lines import brief

LEAST_WHITE = 20.0  # above it values are no normalised pixels, where none is below 0


def misfits(
    synthetic: SyntheticSet, shape: tuple[int, int, int], space: Mapping[str, Any]
) -> list[str]:
    """Return why a set cannot be trained on and tested on data; [] if it can. One sentence each.

    Args:
        synthetic: The set.
        shape: (ch, H, W) of the data's images.
        space: The data's, of `datasets.space_of`.
    """
    problems = check_fit(synthetic, num_classes=len(space["classes"]), shape=shape)
    problems = problems or check_recipe(synthetic)
    problems = problems or check_space(synthetic, space)
    return problems or [*_class_order(synthetic, space["classes"]), *_raw(synthetic, space)]


def unsaid_space(synthetic: SyntheticSet) -> str:
    """Return what is missing where a set does not say in which space its images are, else ""."""
    said = synthetic.provenance
    if said.get("zca") or ("mean" in said and "std" in said):
        return ""
    return (
        "it does not say how its images were normalised; `ddbench import FILE --dataset NAME "
        "--space SPACE` writes a file that does"
    )


def doubts(synthetic: SyntheticSet, name: str, space: Mapping[str, Any]) -> list[str]:
    """Return what a person should know who evaluates a set on data that it was not made of.

    `name` is the data's, `space` as in `misfits`.
    """
    said, fingerprint = synthetic.provenance, str(space["dataset_fingerprint"])
    made_of = said.get("dataset_fingerprint")
    if made_of in (None, fingerprint):
        return []
    others = _other_names(said.get("classes"), space["classes"])
    return [
        f"the set was made of {said.get('dataset', 'other data')!r}"
        f" (fingerprint {str(made_of)[:8]}), not of {name} ({fingerprint[:8]}), whose test images"
        f" it is evaluated on{others}"
    ]


def _other_names(found: object, expected: Sequence[str]) -> str:
    if not isinstance(found, list | tuple) or list(found) == list(expected):
        return ""
    c = next((c for c, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), 0)
    return f"; its class {c} is {brief(found[c])}, theirs {brief(expected[c])}" if found else ""


def _class_order(synthetic: SyntheticSet, expected: Sequence[str]) -> list[str]:
    found = synthetic.provenance.get("classes")
    if not isinstance(found, list | tuple) or list(found) == list(expected):
        return []
    if sorted(map(str, found)) != sorted(map(str, expected)):
        return []
    c = next(c for c, name in enumerate(found) if name != expected[c])
    return [
        f"its classes stand in another order: its class {c} is {brief(found[c])}, the data's"
        f" {brief(expected[c])}; number its labels as the data do, and save it again"
    ]


def _raw(synthetic: SyntheticSet, space: Mapping[str, Any]) -> list[str]:
    """Say so where images look like pixels as they were: none is below 0.

    Normalised and whitened images have values on both sides of 0. Only where the data's own black
    is 0, or nearly so, values from 0 to 1 may be normalised.
    """
    images = synthetic.images.detach()
    if "decode" in synthetic.formation or not images.numel():  # stored may be no pixels
        return []
    least, most = images.min().item(), images.max().item()
    constants = [] if space["zca"] else list(zip(space["mean"], space["std"], strict=True))
    black = min((-mean / std for mean, std in constants), default=-1.0)
    white = max(((1 - mean) / std for mean, std in constants), default=2.0)
    if least < 0 or most <= least or black > -0.1:
        return []
    if 1 < most < max(LEAST_WHITE, 4 * white):  # odd, but not what pixels are
        return []
    scale = "0..1" if most <= 1 else "0..255"
    return [
        f"its images run from {least:.3g} to {most:.3g}, as pixels of {scale} do that are not"
        f" normalised; `ddbench import FILE --dataset NAME --space {scale}` converts them"
    ]
