"""Whether the parts that a set names are there, and fit what the set holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ddbench.architectures import Architecture
from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.formations.decoding import MOST_IMAGES, decode
from ddbench.formations.parts import STAGES, Decoded, Fit, Parts, part_of


def problems(
    synthetic: SyntheticSet,
    *,
    num_classes: int,
    shape: tuple[int, int, int],
    parts: Parts | None = None,
    catalogue: Mapping[str, Architecture] | None = None,
) -> list[str]:
    """Return why the formation of a set cannot be trained on, one sentence each; [] if it can.

    The set itself must be right, see `synthetic_set.check_fit`.
    """
    if not synthetic.formation:
        extra = ", ".join(sorted(synthetic.payload))
        return [f"the payload has {extra}, which no part of a formation uses"] if extra else []
    if unknown := [stage for stage in synthetic.formation if stage not in STAGES]:
        return [f"formation: {unknown[0]!r} is no stage (known: {', '.join(STAGES)})"]
    try:
        fit = Fit(num_classes, shape, len(synthetic), catalogue)
        if found := _of_part(synthetic, "decode", parts, fit):
            return found
        decoded = decode(synthetic, parts)
        if found := _wrong_images(decoded, synthetic, shape):
            return found
        fit = Fit(num_classes, shape, len(decoded.images), catalogue)
        return [
            one for stage in ("views", "targets") for one in _of_part(synthetic, stage, parts, fit)
        ]
    except SetError as error:
        return [str(error)]


def _of_part(synthetic: SyntheticSet, stage: str, parts: Parts | None, fit: Fit) -> list[str]:
    _, part, options = part_of(synthetic, stage, parts)
    return part.check(options, synthetic, fit)


def _wrong_images(
    decoded: Decoded, synthetic: SyntheticSet, shape: tuple[int, int, int]
) -> list[str]:
    images, source = decoded.images, decoded.source
    if images.ndim != 4 or tuple(images.shape[1:]) != tuple(shape):
        return [f"decoded images have shape {tuple(images.shape)}; expected (M, {shape})"]
    if images.dtype != torch.float32 or not torch.isfinite(images).all():
        return ["decoded images are not finite numbers of torch.float32"]
    rows = max(1, len(synthetic))
    if not 1 <= len(images) <= MOST_IMAGES * rows:
        return [f"{len(images)} decoded images of {rows} stored; at most {MOST_IMAGES} of each"]
    if tuple(source.shape) != (len(images),) or source.dtype != torch.int64:
        return ["the decoder does not say which stored row each image comes from"]
    if not 0 <= int(source.min()) <= int(source.max()) < rows:
        return [f"the decoder names stored rows outside 0..{rows - 1}"]
    return []
