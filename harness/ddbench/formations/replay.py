"""The second stage: which views of the images make up each batch.

`protocol` draws them as the recipe says (`batches.drawn_views`). `replay` repeats views that were
drawn once and are stored in the set, so that stored labels of views fit the images that a network
sees (the fast knowledge distillation of Shen & Xing, ECCV 2022, which SRe2L and RDED use).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from ddbench.contract.recipes import Mix
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.formations.batches import Shown, View, drawn_views
from ddbench.formations.batches import Views as ViewsOfEpoch
from ddbench.formations.mixing import mixed_box, pasted
from ddbench.formations.parts import Fit, Formation, NoOptions, Own

MOST_EPOCHS = 10_000
LARGEST = 255  # pixels of a side: crops and boxes are stored in one byte a number
CROP_RATIO = (3 / 4, 4 / 3)  # width over height, of a random crop
TRIES = 10  # to draw a crop that lies in the image; then the whole image is taken


@dataclass(frozen=True)
class Replay:
    """Options of `replay`: stored views of some epochs, repeated in a cycle."""

    epochs: int
    batch: int

    def __post_init__(self) -> None:
        """Refuse counts outside their limits."""
        if not 1 <= self.epochs <= MOST_EPOCHS:
            raise ValueError(f"epochs is {self.epochs}; expected 1 to {MOST_EPOCHS:,}")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; expected 1 or more")


@dataclass(frozen=True)
class StoredViews:
    """Views of M images over E epochs, of b batches each; all tensors on one device.

    Attributes:
        order: (E, M) int32, the image at each place of an epoch.
        crop: (E, M, 4) uint8, top, left, height and width in pixels.
        flip: (E, M) bool.
        partner: (E, M) int32, the place, in the same batch, that each place is mixed with.
        box: (E, b, 4) uint8, top, left, height and width of what is pasted; no pixels: not mixed.
    """

    order: torch.Tensor
    crop: torch.Tensor
    flip: torch.Tensor
    partner: torch.Tensor
    box: torch.Tensor


_SHAPES = {"order": (torch.int32, 0), "crop": (torch.uint8, 4), "flip": (torch.bool, 0),
           "partner": (torch.int32, 0), "box": (torch.uint8, 4)}  # fmt: skip


def views_of(synthetic: SyntheticSet) -> StoredViews:
    """Return the stored views of a set."""
    return StoredViews(**{name: synthetic.payload[name] for name in _SHAPES})


def as_payload(views: StoredViews) -> dict[str, torch.Tensor]:
    """Return the tensors by which a set stores its views."""
    return dict(vars(views))


def draw_views(
    count: int,
    size: tuple[int, int],
    *,
    epochs: int,
    batch: int,
    generator: torch.Generator,
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = False,
    mix: Mix | None = None,
) -> StoredViews:
    """Draw views of `count` images of `size` (H, W): order, random crops, flips and CutMix boxes.

    Args:
        count: M.
        size: (H, W), at most 255 each.
        epochs: E.
        batch: Images a batch; the last of an epoch may be smaller.
        generator: On the CPU; all is drawn from it, epoch by epoch.
        scale: Range of a crop's share of the area; (1, 1) draws no crops.
        flip: Whether each view is mirrored with probability one half.
        mix: CutMix, or None.
    """
    if max(size) > LARGEST:
        raise ValueError(f"views of {size[0]}x{size[1]} images; at most {LARGEST} pixels a side")
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in _SHAPES}
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator)
        parts["order"].append(order.int())
        parts["crop"].append(_crops(count, size, scale, generator))
        drawn = torch.rand(count, generator=generator) < 0.5 if flip else torch.zeros(count)
        parts["flip"].append(drawn.bool())
        boxes, partners = [], []
        for start in range(0, count, batch):
            length = min(batch, count - start)
            box, partner = mixed_box(mix, length, size, generator)
            boxes.append(torch.tensor(box, dtype=torch.uint8))
            partners.append(partner.int() + start)
        parts["box"].append(torch.stack(boxes))
        parts["partner"].append(torch.cat(partners))
    return StoredViews(**{name: torch.stack(drawn) for name, drawn in parts.items()})


def _crops(
    count: int, size: tuple[int, int], scale: tuple[float, float], generator: torch.Generator
) -> torch.Tensor:
    """Draw (count, 4) uint8 crops as torchvision's RandomResizedCrop does."""
    height, width = size
    whole = torch.tensor([0, 0, height, width], dtype=torch.uint8)
    if scale == (1.0, 1.0):
        return whole.repeat(count, 1)
    low, high = (torch.tensor(ratio).log() for ratio in CROP_RATIO)
    area = height * width * _between(*scale, (count, TRIES), generator)
    ratio = torch.exp(_between(float(low), float(high), (count, TRIES), generator))
    wide, tall = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (wide > 0) & (tall > 0) & (wide <= width) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    w, h = wide.gather(1, first)[:, 0], tall.gather(1, first)[:, 0]
    place = torch.rand(count, 2, generator=generator)
    top, left = (place[:, 0] * (height - h + 1)).floor(), (place[:, 1] * (width - w + 1)).floor()
    crops = torch.stack([top, left, h, w], 1)
    return torch.where(fits.any(1)[:, None], crops, whole.to(crops)).to(torch.uint8)


def _between(
    low: float, high: float, size: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    return low + (high - low) * torch.rand(size, generator=generator)


def view(
    images: torch.Tensor, views: StoredViews, epoch: int, start: int, batch: int
) -> torch.Tensor:
    """Return one batch of views, (B, ch, H, W): cropped, flipped, and mixed out of place.

    `images` are all M decoded images; the batch begins at place `start` of the epoch. The views
    may be on the CPU, where they are drawn, and the images elsewhere. Differentiable in these.
    """
    places = slice(start, start + batch)
    order, crop, flip, partner = (
        one[epoch, places].to(images.device)
        for one in (views.order, views.crop, views.flip, views.partner)
    )
    shown = cropped(images[order.long()], crop)
    shown = torch.where(flip[:, None, None, None], shown.flip(3), shown)
    top, left, height, width = views.box[epoch, start // batch].tolist()
    if height * width:
        partner = partner.long() - start
        shown = pasted(shown, partner, (top, left, height, width))
    return shown


def cropped(images: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """Return one crop of each image, enlarged bilinearly to the image's size.

    A pixel outside a crop is never read; the crop of a whole image is the image, bit for bit.

    Args:
        images: (B, ch, H, W).
        crops: (B, 4) integers: top, left, height, width.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = crops.long().unbind(1)
    low, high, weight = _between_pixels(top, tall, height, images.dtype)
    rows = torch.arange(len(images), device=images.device)[:, None]
    # (B, H', ch, W): the two rows that each row of the result lies between
    above, below = (images[rows, :, which] for which in (low, high))
    tall_enough = above + weight[:, :, None, None] * (below - above)
    low, high, weight = _between_pixels(left, wide, width, images.dtype)
    across = tall_enough.permute(0, 3, 2, 1)  # (B, W, ch, H')
    before, after = (across[rows, which] for which in (low, high))
    return (before + weight[:, :, None, None] * (after - before)).permute(0, 2, 3, 1)


def _between_pixels(
    start: torch.Tensor, length: torch.Tensor, size: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return for each of `size` places the pixels on both sides, and the weight of the second."""
    place = torch.arange(size, device=start.device, dtype=dtype)
    at = (place + 0.5) * (length[:, None].to(dtype) / size) - 0.5
    at = torch.minimum(at.clamp(min=0), (length[:, None] - 1).to(dtype))
    low = at.floor()
    first = start[:, None] + low.long()
    last = torch.minimum(first + 1, (start + length)[:, None] - 1)
    return first, last, at - low


# -- what a set may hold -----------------------------------------------------------------------


def _replay(options: Replay, own: Own) -> ViewsOfEpoch:
    """Return the stored views, from the first again after the last."""
    stored, images = views_of(own.synthetic), own.decoded.images

    def views(epoch: int) -> Iterator[View]:
        at = epoch % options.epochs
        for start in range(0, len(images), options.batch):
            chosen = stored.order[at, start : start + options.batch].long()
            make = partial(view, images, stored, at, start, options.batch)
            yield View(at, start, chosen, lambda make=make: Shown(make()))  # type: ignore[misc]

    return views


def _protocol(options: NoOptions, own: Own) -> ViewsOfEpoch:
    return drawn_views(own.decoded.images, own.recipe, own.generator)


def _check(options: Replay, synthetic: SyntheticSet, fit: Fit) -> list[str]:
    """Return why the payload is not the views of so many epochs; nothing of their size is made."""
    payload = synthetic.payload
    if missing := [name for name in _SHAPES if name not in payload]:
        return [f"replay: the payload lacks {', '.join(missing)}"]
    count = payload["order"].shape[1] if payload["order"].ndim == 2 else 0
    if count != fit.images:
        return [
            f"replay: order has shape {tuple(payload['order'].shape)};"
            f" expected ({options.epochs}, {fit.images}), a place for each decoded image"
        ]
    batches = -(-count // options.batch)
    for name, (dtype, last) in _SHAPES.items():
        expected = (options.epochs, batches if name == "box" else count, *([last] if last else []))
        if tuple(payload[name].shape) != expected or payload[name].dtype != dtype:
            return [
                f"replay: {name} is {payload[name].dtype} of shape {tuple(payload[name].shape)};"
                f" expected {dtype} of shape {expected}"
            ]
    return _outside(views_of(synthetic), options.batch, fit.shape) + _drawn_again(
        options, synthetic
    )


def _outside(views: StoredViews, batch: int, shape: tuple[int, int, int]) -> list[str]:
    """Return which numbers point outside of what they are about."""
    count = views.order.shape[1]
    problems = []
    if not 0 <= int(views.order.min()) <= int(views.order.max()) < count:
        problems.append(f"replay: order names images outside 0..{count - 1}")
    own = torch.arange(count, device=views.partner.device) // batch
    beside = views.partner.div(batch, rounding_mode="floor")
    if (beside != own).any() or int(views.partner.max()) >= count:
        problems.append("replay: partner names a place outside its batch")
    height, width = shape[1:]
    for name, boxes in (("crop", views.crop), ("box", views.box)):
        ends = boxes[..., :2].int() + boxes[..., 2:].int()
        if (ends > ends.new_tensor([height, width])).any():
            problems.append(f"replay: {name} reaches out of the {height}x{width} image")
    if not views.crop[..., 2:].all():
        problems.append("replay: a crop has no pixels")
    return problems


def _drawn_again(options: Replay, synthetic: SyntheticSet) -> list[str]:
    """Return what of the recipe would draw what is stored."""
    problems = []
    for name in ("augment", "mix"):
        if synthetic.recipe.get(name, "none") != "none":
            problems.append(
                f"replay: the recipe has {name}, but the views are stored; leave it out"
            )
    if (batch := synthetic.recipe.get("batch")) != options.batch:
        problems.append(
            f"replay: the recipe's batch is {batch}, the stored views are for {options.batch}"
        )
    return problems


PARTS: Mapping[str, Formation] = {
    "protocol": Formation("views", NoOptions, _protocol, "drawn anew as the recipe says"),
    "replay": Formation("views", Replay, _replay, "stored views, in a cycle", _check),
}
