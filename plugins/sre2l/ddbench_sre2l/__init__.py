"""SRe2L: Squeeze, Recover and Relabel (Yin, Xing & Shen, NeurIPS 2023).

Squeeze: a network (the teacher) is trained on the whole training set. Recover: from noise, images
are moved until it calls them their class and its batch norms see what they saw in training.
Relabel: random views of these images are stored with its answers to them, which networks learn.
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
    has_batchnorm,
    hookimpl,
    outline,
    require,
    shortage,
)
from ddbench.augment import operations
from ddbench.features import FLOOR, FeatureError, TrainedNetwork, trained_network
from ddbench.formations import as_payload, draw_views, view
from ddbench.training import Mix, predict

from ddbench_sre2l.batchnorm import distance, watched

QUICK = {"iterations": 100, "epochs": 300, "teachers": ["convnet-w32-bn"], "teacher_epochs": 4}
TINY = {"iterations": 2, "together": 3, "epochs": 2}  # steps that fit `ddbench check`
RANDOM = ({"method": "random"},)

BIBTEX = """@inproceedings{yin2023sre2l,
  title     = {Squeeze, Recover and Relabel: Dataset Condensation at {ImageNet} Scale From A New
               Perspective},
  author    = {Yin, Zeyuan and Xing, Eric and Shen, Zhiqiang},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year      = {2023}
}"""


@dataclass(frozen=True)
class Config:
    """The options of SRe2L, at the values published for CIFAR-100; the squeezing is ours."""

    images: str = "recovered"  # or "real", "noise": the controls, with all else the same
    iterations: int = 1000  # of the images of one pass
    together: int = 1  # images of each class in one pass; batch norm looks at all of a pass
    lr_images: float = 0.25
    bn_weight: float = 0.01  # of the distance of batch norm's statistics
    bn_first: float = 10.0  # more, of the first layer's
    roll: int = 4  # pixels: before each look all images are rolled by 0 to so many on each axis
    zoom: float = 1.0  # the least share of a random crop before each look; 1: none, and no flips
    teachers: tuple[str, ...] = ()  # architectures with batch norm; (): the one condensed for
    teacher_epochs: int = 20
    floor: float = FLOOR  # least accuracy of a teacher, of the way from chance to perfect
    epochs: int = 400  # of views, which are stored with their labels; and of a network's training
    batch: int = 128  # views a step, at most all images
    crop: float = 0.08  # the least share of an image that a view takes
    lr: float = 0.001  # of a network that is trained on the set
    temperature: float = 30.0  # of the loss between the network's answers and the stored ones

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be recovered or learned."""
        require(self, "iterations", "together", "teacher_epochs", "epochs", "batch", least=1)
        require(self, "bn_weight", "bn_first", "roll", least=0)
        require(self, "zoom", "crop", above=0, most=1)
        require(self, "lr_images", "lr", "temperature", above=0)
        require(self, "floor", least=0, most=1)
        require(self, "images", one_of=("recovered", "real", "noise"))


@dataclass
class State:
    """What a step advances. An epoch of views has M = C*ipc of them."""

    passes: list[torch.Tensor]  # (k, C, ch, H, W) float32 each, normalised; leaves of the optimizer
    optimizer: torch.optim.Optimizer
    targets: torch.Tensor  # (epochs, M, C) float16, the teachers' logits for the views
    labelled: int  # epochs of which `targets` holds them
    views: Any = field(metadata={"checkpoint": False})  # of all epochs, drawn in `init`
    teachers: list[TrainedNetwork] = field(metadata={"checkpoint": False})
    limits: tuple[torch.Tensor, torch.Tensor] = field(metadata={"checkpoint": False})  # (ch, 1, 1)
    config: Config = field(metadata={"checkpoint": False})


@hookimpl
def describe() -> MethodInfo:
    """Return what is published about SRe2L, and what fits the preset `quick`."""
    return MethodInfo(
        config=Config,
        inits=("noise", "real"),
        default_init="noise",
        own_init=lambda config: None if config.images == "recovered" else config.images,
        step="iteration",
        steps=lambda config, ipc: recovering(config, ipc) + config.epochs,
        quick=QUICK,
        check={**TINY, "teachers": ["convnet-w8-d1-bn"], "teacher_epochs": 40},
        own_recipe=True,
        published_at={
            "dataset": ("cifar100",),
            "arch": ("resnet18-bn",),
            "ipc": (10, 50),
            "init": ("noise",),
        },
        canonical=canonical,
        published=False,  # the published labels come of mixup and a teacher in train mode
        needs=needs,
        controls=tuple({"options": {"images": one}} for one in ("real", "noise")) + RANDOM,
        paper="Yin, Xing & Shen, Squeeze, Recover and Relabel: Dataset Condensation at ImageNet "
        "Scale From A New Perspective, NeurIPS 2023, arXiv:2306.13092",
        bibtex=BIBTEX,
    )


def recovering(config: Config, ipc: int) -> int:
    """Return the steps that move images: so many iterations for each pass."""
    if config.images != "recovered":
        return 0
    return config.iterations * math.ceil(ipc / config.together)


def canonical(config: Config, facts: Facts) -> Config:
    """Return the options with those that leave the result as it is at one value."""
    teachers = config.teachers or (facts.architecture,)
    batch = min(config.batch, facts.num_classes * facts.ipc)
    together = min(config.together, facts.ipc)
    # the floor refuses, or not
    same = replace(config, together=together, teachers=teachers, batch=batch, floor=FLOOR)
    if config.images == "recovered":
        return same
    of_recovering = (
        "iterations", "together", "lr_images", "bn_weight", "bn_first", "roll", "zoom",
    )  # fmt: skip
    return replace(same, **{name: getattr(Config, name) for name in of_recovering})


def needs(config: Config, facts: Facts) -> str | None:
    """Return why nothing can be recovered, or that real images are too few, or None."""
    if config.images == "recovered":
        for name in config.teachers or (facts.architecture,):
            try:
                network = outline(name, facts.shape, facts.num_classes)
            except ValueError:  # of an extension that is not installed: `init` looks again
                continue
            if not has_batchnorm(network):
                return no_batchnorm(name)
    return shortage(config, facts) if config.images == "real" else None


def no_batchnorm(name: str) -> str:
    """Return why an architecture cannot be a teacher."""
    return (
        f"{name} has no batch norm, whose statistics SRe2L recovers images from; take one that"
        f' has, such as teachers=["convnet-bn"], or images="real"'
    )


@hookimpl
def prepare(task: Task, config: Config) -> bool:
    """Train the teachers."""
    teachers_of(task, config)
    return True


def teachers_of(task: Task, config: Config) -> list[TrainedNetwork]:
    """Return the shared networks that look and label, trained now if they are not kept."""
    names = config.teachers or (task.architecture,)
    try:
        return [trained_network(task, one, config.teacher_epochs, config.floor) for one in names]
    except FeatureError as error:
        raise OptionsError(str(error), {"teacher_epochs": 5 * config.teacher_epochs}) from error


@hookimpl
def init(task: Task, synthetic: SyntheticSet | None, config: Config) -> State:
    """Return the initial images as leaves, a leaf a pass, and all views that will be labelled."""
    images = start(task, config) if synthetic is None else synthetic.images
    by_turns = images.unflatten(0, (task.num_classes, task.ipc)).transpose(0, 1)  # (ipc, C, ...)
    passes = [
        part.contiguous().clone().requires_grad_() for part in by_turns.split(config.together)
    ]
    teachers = teachers_of(task, config)
    for one in teachers:
        one.network.requires_grad_(False)
        if config.images == "recovered" and not has_batchnorm(one.network):
            raise Unsupported(no_batchnorm(one.architecture))
    views = draw_views(
        len(images),
        (task.shape[1], task.shape[2]),
        epochs=config.epochs,
        batch=batch_of(task, config),
        generator=task.new_generator("views"),
        scale=(config.crop, 1.0),
        flip=flips(task),
        mix=Mix("cutmix"),
    )
    shape = (config.epochs, len(images), task.num_classes)
    return State(
        passes=passes,
        optimizer=torch.optim.Adam(passes, lr=config.lr_images, betas=(0.5, 0.9)),
        targets=torch.zeros(shape, dtype=torch.float16, device=task.device),
        labelled=0,
        views=views,
        teachers=teachers,
        limits=(
            task.images.amin((0, 2, 3))[:, None, None], task.images.amax((0, 2, 3))[:, None, None]
        ),
        config=config,
    )  # fmt: skip


def start(task: Task, config: Config) -> torch.Tensor:
    """Return the images of a control, as the init of that name draws them, (C*ipc, ch, H, W)."""
    generator = task.new_generator("init")
    if config.images == "noise":
        size = (task.num_classes * task.ipc, *task.shape)
        return torch.randn(size, generator=generator).to(task.device)
    if why := shortage(config, task):
        raise Unsupported(why)
    classes = range(task.num_classes)
    return torch.cat([task.real_images(c, task.ipc, generator) for c in classes])


# Section 3 of the paper. x the images, phi the teacher, y their classes, A a random view.
#
# for each pass, k images a class:         | place, iteration = divmod(step, config.iterations)
#   for t = 0 .. I-1: (a step is one t)    | recovering(config, ipc) + config.epochs
#     look at A(x)                         | shown = looked_at(images.flatten(0, 1), task, config)
#     CE(phi(A(x)), y)                     | fit = F.cross_entropy(logits, classes)
#     + r * distance of phi's statistics   | loss = fit + config.bn_weight * off
#     x <- clamp(Adam(x; lr cos(t/I)))     | images.clamp_(*state.limits)
# for e = 0 .. E-1: (then one e)           | epoch = step - recovering(config, task.ipc)
#   a random view of each x, mixed         | shown = view(images, state.views, epoch, start, batch)
#   its label is phi's answer              | state.targets[epoch] = torch.cat(answers).half()
@hookimpl
def condense_step(state: State, task: Task, step: int) -> dict[str, float]:
    """Move the images of one pass once, or label one epoch of views when all are recovered."""
    config = state.config
    epoch = step - recovering(config, task.ipc)
    if epoch < 0:
        return recover(state, task, step)
    if epoch >= config.epochs:
        raise Converged
    return relabel(state, task, epoch)


def recover(state: State, task: Task, step: int) -> dict[str, float]:
    """Take one step of Adam on the images of the pass that is under way."""
    config = state.config
    place, iteration = divmod(step, config.iterations)
    images = state.passes[place]  # the other passes have no gradient, and stay
    classes = torch.arange(task.num_classes, device=task.device).repeat(len(images))
    teacher = state.teachers[iteration % len(state.teachers)].network
    shown = looked_at(images.flatten(0, 1), task, config)
    with watched(teacher) as inputs:
        logits = teacher(shown)
    fit = F.cross_entropy(logits, classes)
    off = distance(inputs, config.bn_first)
    loss = fit + config.bn_weight * off
    state.optimizer.zero_grad()
    loss.backward()
    falling = 0.5 * (1 + math.cos(math.pi * iteration / config.iterations))
    for group in state.optimizer.param_groups:
        group["lr"] = config.lr_images * falling
    state.optimizer.step()
    with torch.no_grad():
        images.clamp_(*state.limits)
    return {"loss": loss.item(), "cross_entropy": fit.item(), "batchnorm": off.item()}


def looked_at(images: torch.Tensor, task: Task, config: Config) -> torch.Tensor:
    """Return the images (B, ch, H, W) under one random crop, flip and roll, the same for all."""
    size = (task.shape[1], task.shape[2])
    if config.zoom < 1:
        one = draw_views(
            1, size, epochs=1, batch=1, generator=task.generator, scale=(config.zoom, 1.0),
            flip=flips(task),
        )  # fmt: skip
        # as channels of one image, which share its crop
        images = view(images.flatten(0, 1)[None], one, 0, 0, 1)[0].unflatten(0, (-1, task.shape[0]))
    if not config.roll:
        return images
    by = torch.randint(config.roll + 1, (2,), generator=task.generator).tolist()
    return images.roll(by, (2, 3))


def relabel(state: State, task: Task, epoch: int) -> dict[str, float]:
    """Store the teachers' answers to one epoch of views: the mean of their logits."""
    images, batch, answers = images_of(state), batch_of(task, state.config), []
    for start in range(0, len(images), batch):
        shown = view(images, state.views, epoch, start, batch)
        logits = [predict(one.network, shown, batch) for one in state.teachers]
        answers.append(torch.stack(logits).mean(0))
    state.targets[epoch] = torch.cat(answers).half()
    state.labelled = epoch + 1
    return {"epochs_labelled": float(state.labelled)}


@hookimpl
def export(state: State, task: Task) -> SyntheticSet:
    """Return the images, with the views that are labelled so far; a plain set before the first."""
    images, config, count = images_of(state), state.config, state.labelled
    labels = torch.arange(task.num_classes, device=task.device).repeat_interleave(task.ipc)
    weakest = min(state.teachers, key=lambda one: one.accuracy)
    names = "+".join(one.architecture for one in state.teachers)
    measures = weakest.measures("teacher") | {"teacher_network": names}
    if not count:
        return SyntheticSet(images, labels, measures=measures)
    views = {
        name: every[:count].to(task.device, copy=True)
        for name, every in as_payload(state.views).items()
    }
    batch = batch_of(task, config)
    return SyntheticSet(
        images,
        labels,
        recipe={
            "epochs": config.epochs,
            "batch": batch,
            "optimizer": "adamw",
            "lr": config.lr,
            "weight_decay": 0.01,
            "schedule": {"name": "cosine"},
            "loss": {"name": "kl", "temperature": config.temperature},
        },
        measures=measures,
        payload={**views, "targets": state.targets[:count].clone()},
        formation={
            "views": {"name": "replay", "epochs": count, "batch": batch},
            "targets": {"name": "replayed"},
        },
    )


def images_of(state: State) -> torch.Tensor:
    """Return a copy of all images as they stand, class by class, (C*ipc, ch, H, W)."""
    return torch.cat([part.detach() for part in state.passes]).transpose(0, 1).flatten(0, 1).clone()


def batch_of(task: Task, config: Config) -> int:
    """Return the views of a step: at most all images."""
    return min(config.batch, task.num_classes * task.ipc)


def flips(task: Task) -> bool:
    """Return whether the data set's own strategy mirrors images: not that of digits."""
    return "flip" in operations(task.strategy)
