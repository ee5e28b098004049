"""RDED: On the Diversity and Realism of Distilled Dataset (Sun et al., CVPR 2024).

Keep the crops of real images that a trained network (the teacher) finds easiest, one of each image,
and put them together into images. Nothing is optimised. The teacher goes with the set: networks
learn its answers to each mixed view, and no hard label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from ddbench import (
    Converged,
    Facts,
    MethodInfo,
    OptionsError,
    SyntheticSet,
    Task,
    Unsupported,
    hookimpl,
    require,
)
from ddbench.augment import operations
from ddbench.features import FLOOR, FeatureError, TrainedNetwork, trained_network
from ddbench.formations import teacher_payload
from ddbench.training import predict

MANY_CLASSES = 100  # from here on the published batch is twice as large

BIBTEX = """@inproceedings{sun2024rded,
  title     = {On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
               Paradigm},
  author    = {Sun, Peng and Shi, Bei and Yu, Daiwei and Lin, Tao},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2024}
}"""


@dataclass(frozen=True)
class Config:
    """The options of RDED, at their published values; of the teacher the training is ours."""

    candidates: int = 300  # real images a class whose crops are judged; all of a class with fewer
    crops: int = 5  # of each candidate; the easiest one is kept
    smallest: float = 0.08  # the least share of an image that a crop takes
    factor: int = 1  # an image is factor² patches; 2 was published for images of 224 pixels
    select: str = "teacher"  # or "random": whole real images, for the control
    teacher: str = ""  # architecture; "": the one that is condensed for
    teacher_epochs: int = 20
    floor: float = FLOOR  # least accuracy of the teacher, of the way from chance to perfect
    epochs: int = 300  # of a network that is trained on the set; these too are of its own recipe:
    batch: int | None = None  # None: by ipc, `batch_of`
    lr: float = 0.001
    temperature: float = 20.0  # of the loss between the network's answers and the teacher's

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be selected or learned."""
        require(self, "candidates", "crops", "factor", "teacher_epochs", "epochs", least=1)
        require(self, "batch", least=1)
        require(self, "smallest", above=0, most=1)
        require(self, "lr", "temperature", above=0)
        require(self, "floor", least=0, most=1)
        require(self, "select", one_of=("teacher", "random"))

    @property
    def tiles(self) -> int:
        """How many patches a stored image has on each side: whole images are not cut."""
        return self.factor if self.select == "teacher" else 1


@dataclass
class State:
    """What a step advances: the easiest patches so far, n = ipc·factor² of each class."""

    patches: torch.Tensor  # (C, n, ch, H/factor, W/factor) float32, normalised; the easiest first
    losses: torch.Tensor  # (C, n) float32, the teacher's, rising; infinite: not judged yet
    sources: torch.Tensor  # (C, n) int64, the training image of each patch
    orders: list[torch.Tensor] = field(metadata={"checkpoint": False})  # of each class, at random
    trained: TrainedNetwork = field(metadata={"checkpoint": False})
    config: Config = field(metadata={"checkpoint": False})


@hookimpl
def describe() -> MethodInfo:
    """Return what is published about RDED, and what fits the preset `quick`."""
    return MethodInfo(
        config=Config,
        inits=("real",),
        own_init=lambda config: "real",  # out of the whole training set
        step="candidate",
        steps=lambda config, ipc: config.candidates if config.select == "teacher" else 0,
        # the network of the quick selections, so that it is trained once
        quick={"candidates": 100, "teacher": "convnet-w32", "teacher_epochs": 4},
        check={"teacher": "", "teacher_epochs": 40, "epochs": 3},  # for tiny data
        own_recipe=True,
        published_at={
            "dataset": ("cifar10", "cifar100"),
            "arch": ("convnet-bn", "resnet18-bn"),
            "ipc": (1, 10, 50),
        },
        canonical=canonical,
        needs=needs,
        controls=({"options": {"select": "random"}}, {"method": "random"}),
        paper="Sun, Shi, Yu & Lin, On the Diversity and Realism of Distilled Dataset: An Efficient "
        "Dataset Distillation Paradigm, CVPR 2024, arXiv:2312.03526",
        bibtex=BIBTEX,
    )


def canonical(config: Config, facts: Facts) -> Config:
    """Return the options with those that leave the result as it is at one value."""
    same = replace(
        config,
        candidates=min(config.candidates, max(facts.class_counts)),
        teacher=config.teacher or facts.architecture,
        floor=FLOOR,  # which refuses, or not
        batch=batch_of(config, facts.num_classes, facts.ipc),
    )
    if config.select == "teacher":
        return same
    of_crops = ("candidates", "crops", "smallest", "factor")
    return replace(same, **{name: getattr(Config, name) for name in of_crops})


def needs(config: Config, facts: Facts) -> str | None:
    """Return why there are too few images, or why they do not divide into patches, or None."""
    height, width = facts.shape[1:]
    if height % config.tiles or width % config.tiles:
        return (
            f"images of {height}x{width} do not divide into {config.factor}x{config.factor}"
            " patches; take a factor that divides both"
        )
    wanted = facts.ipc * config.tiles**2
    if facts.steps and config.candidates < wanted:
        return (
            f"{facts.ipc} images of {config.tiles**2} patches a class need as many candidates,"
            f" {wanted}; candidates is {config.candidates}"
        )
    for c, count in enumerate(facts.class_counts):
        if count < wanted:
            return (
                f"class {c} has {count} training images, {wanted} are needed, one a patch; "
                f"use ipc <= {min(facts.class_counts) // config.tiles**2}"
            )
    return None


def batch_of(config: Config, num_classes: int, ipc: int) -> int:
    """Return the batch of the set's own recipe: 10, 50, 100 at ipc 1, 10, 50, doubled of many.

    Between the published ipc that of the next lower one, where the reference code stops. At most
    all images.
    """
    by_ipc = 10 if ipc < 10 else 50 if ipc < 50 else 100
    batch = config.batch or by_ipc * (2 if num_classes >= MANY_CLASSES else 1)
    return min(batch, num_classes * ipc)


@hookimpl
def prepare(task: Task, config: Config) -> bool:
    """Train the teacher."""
    teacher_of(task, config)
    return True


def teacher_of(task: Task, config: Config) -> TrainedNetwork:
    """Return the shared network that judges and labels, trained now if it is not kept."""
    try:
        name = config.teacher or task.architecture
        return trained_network(task, name, config.teacher_epochs, config.floor)
    except FeatureError as error:
        raise OptionsError(str(error), {"teacher_epochs": 5 * config.teacher_epochs}) from error


@hookimpl
def init(task: Task, config: Config) -> State:
    """Return n whole images of each class, shrunk to a patch, which are not judged yet.

    They are the first n candidates, the last of them first, so that each gives its place to its
    own crop.
    """
    facts = Facts(
        task.dataset, task.num_classes, task.shape, task.class_counts, task.architecture, "real",
        task.ipc, 0,
    )  # fmt: skip
    if why := needs(config, facts):
        raise Unsupported(why)
    wanted = task.ipc * config.tiles**2
    members = [task.class_indices(c) for c in range(task.num_classes)]
    orders = [one[torch.randperm(len(one), generator=task.generator)] for one in members]
    sources = torch.stack([order[:wanted].flip(0) for order in orders]).to(task.device)
    size = (task.shape[1] // config.tiles, task.shape[2] // config.tiles)
    patches = shrunk(task.images[sources.flatten()], size).unflatten(0, sources.shape)
    losses = torch.full(sources.shape, math.inf, device=task.device)
    return State(patches, losses, sources, orders, teacher_of(task, config), config)


# Algorithm 1 of the paper, section 4. phi the teacher; a class's crops are those of all images.
#
# for each image x of a random T'_c of T:   | order[step] for _, order in live
#   (a step is one image of each class)     | steps=lambda config, ipc: config.candidates if
#   crop x m times, at random               | crops = random_crops(task, state, images)
#   s_i = -log phi(crop_i)[c]               | losses = judged(state.trained.network, crops,
#   keep the crop of the least s_i          | best = losses.argmin(1)
# sort the kept ones by s                   | order = found.argsort(dim=1, stable=True)
# take the first ipc * N                    | order[:, : state.losses.shape[1]]
# put N of them together into an image      | images=mosaics(state.patches, config.tiles)
# labels: phi of each mixed view            | "targets": {"name": "teacher",
@hookimpl
def condense_step(state: State, task: Task, step: int) -> dict[str, float]:
    """Judge one more image of each class; log the mean loss of the patches that are kept."""
    live = [(c, order) for c, order in enumerate(state.orders) if step < len(order)]
    if not live or state.config.select == "random":
        raise Converged
    classes = torch.tensor([c for c, _ in live], device=task.device)  # (B,)
    sources = torch.stack([order[step] for _, order in live]).to(task.device)
    images = task.images[sources]
    crops = random_crops(task, state, images)  # (B, m, ch, h, w)
    losses = judged(state.trained.network, crops, classes, task.shape)  # (B, m)
    best = losses.argmin(1)
    rows = torch.arange(len(best), device=task.device)
    keep(state, classes, crops[rows, best], losses[rows, best], sources)
    return {"loss": state.losses[state.losses.isfinite()].mean().item()}


@hookimpl
def export(state: State, task: Task) -> SyntheticSet:
    """Return the images with their hard labels, and the teacher with the recipe to learn from it.

    The column `source` has the training image of each patch, (C*ipc, factor²).
    """
    config, trained = state.config, state.trained
    labels = torch.arange(task.num_classes, device=task.device).repeat_interleave(task.ipc)
    return SyntheticSet(
        images=mosaics(state.patches, config.tiles),
        labels=labels,
        recipe=recipe_of(task, config),
        columns={"source": by_image(state.sources, config.tiles).flatten(0, 1).clone()},
        measures=trained.measures("teacher"),
        payload=teacher_payload(trained.network),
        formation={"targets": {"name": "teacher", "architectures": [trained.architecture]}},
    )


def recipe_of(task: Task, config: Config) -> dict[str, Any]:
    """Return how RDED trains a network on the set: flips where the data have them, and CutMix."""
    return {
        "epochs": config.epochs,
        "batch": batch_of(config, task.num_classes, task.ipc),
        "optimizer": "adamw",
        "lr": config.lr,
        "weight_decay": 0.01,
        "decay_matrices_only": True,
        "schedule": {"name": "cosine", "waves": 0.25},  # ends at half of the rate
        "augment": "flip" if "flip" in operations(task.strategy) else "none",
        "mix": {"name": "cutmix"},
        "loss": {"name": "kl", "temperature": config.temperature},
    }


def random_crops(task: Task, state: State, images: torch.Tensor) -> torch.Tensor:
    """Return m square crops of each of (B, ch, H, W) images as patches, (B, m, ch, h, w).

    Their share of the image is uniform, from the smallest to all of it.
    """
    config, (height, width) = state.config, images.shape[2:]
    draws = torch.rand(len(images), config.crops, 3, generator=task.generator)
    areas = config.smallest + (1 - config.smallest) * draws[..., 0]
    sides = (areas * height * width).sqrt().round().clamp(1, min(height, width))
    tops = (draws[..., 1] * (height - sides + 1)).int()
    lefts = (draws[..., 2] * (width - sides + 1)).int()
    places = torch.stack([tops, lefts, sides.int()], -1).tolist()
    size = (state.patches.shape[3], state.patches.shape[4])
    crops = [
        shrunk(image[None, :, top : top + side, left : left + side], size)
        for image, own in zip(images, places, strict=True)
        for top, left, side in own
    ]
    return torch.cat(crops).unflatten(0, (len(images), config.crops))


def shrunk(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return (B, ch, ., .) images at another size, (B, ch, h, w), without aliasing."""
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def judged(
    network: torch.nn.Module,
    crops: torch.Tensor,
    classes: torch.Tensor,
    shape: tuple[int, int, int],
) -> torch.Tensor:
    """Return the teacher's loss of (B, m, ch, h, w) crops under their classes (B,), (B, m).

    A crop smaller than an image lies in the middle of one that is zero elsewhere; it is not
    enlarged.
    """
    top, left = (shape[1] - crops.shape[3]) // 2, (shape[2] - crops.shape[4]) // 2
    bottom, right = shape[1] - crops.shape[3] - top, shape[2] - crops.shape[4] - left
    framed = F.pad(crops.flatten(0, 1), (left, right, top, bottom))
    labels = classes.repeat_interleave(crops.shape[1])
    losses = F.cross_entropy(predict(network, framed), labels, reduction="none")
    return losses.unflatten(0, crops.shape[:2])


def keep(
    state: State,
    classes: torch.Tensor,
    patches: torch.Tensor,
    losses: torch.Tensor,
    sources: torch.Tensor,
) -> None:
    """Add one patch to each of some classes, and drop the hardest of each, or the first unjudged.

    (B,) classes, (B, ch, h, w) patches, their (B,) losses and sources.
    """
    found = torch.cat([state.losses[classes], losses[:, None]], 1)
    order = found.argsort(dim=1, stable=True)
    kept = order[:, : state.losses.shape[1]]
    rows = torch.arange(len(classes), device=classes.device)[:, None]
    for name, new in (("patches", patches), ("losses", losses), ("sources", sources)):
        held = getattr(state, name)
        held[classes] = torch.cat([held[classes], new[:, None]], 1)[rows, kept]


def by_image(of_patches: torch.Tensor, tiles: int) -> torch.Tensor:
    """Return (C, n, ...) as (C, ipc, tiles², ...): tile k of image q is patch k·ipc + q."""
    return of_patches.unflatten(1, (tiles**2, -1)).transpose(1, 2)


def mosaics(patches: torch.Tensor, tiles: int) -> torch.Tensor:
    """Return (C, n, ch, h, w) patches as images, tiles row by row, (C*ipc, ch, H, W)."""
    tiled = by_image(patches, tiles).unflatten(2, (tiles, tiles))  # (C, ipc, row, column, ch, h, w)
    rows = tiled.permute(0, 1, 4, 2, 5, 3, 6)  # (C, ipc, ch, row, h, column, w)
    return rows.flatten(5, 6).flatten(3, 4).flatten(0, 1).clone()
