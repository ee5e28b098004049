"""DM: Dataset Condensation with Distribution Matching (Zhao & Bilen, WACV 2023).

Pull the mean embedding of each class's synthetic images to that of its real images, under networks
drawn at random and never trained. No labels are used, no classifier, no inner loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from ddbench import Facts, MethodInfo, SyntheticSet, Task, has_batchnorm, hookimpl
from ddbench.augment import operations

Embed = Callable[[torch.Tensor], torch.Tensor]  # (B, ch, H, W) -> (B, d), before the last layer

ITERATIONS = 20_000  # published for every dataset and ipc; the reference code runs one more

BIBTEX = """@inproceedings{zhao2023dm,
  title     = {Dataset Condensation with Distribution Matching},
  author    = {Zhao, Bo and Bilen, Hakan},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  year      = {2023}
}"""


@dataclass(frozen=True)
class Config:
    """The options of DM, at their published values."""

    lr_images: float = 1.0
    momentum: float = 0.5  # of the images' SGD
    batch_real: int = 256  # real images per class and step; all of a class that has fewer
    augment: str = "dsa"  # siamese: "dsa" (the dataset's own strategy), "none", or a strategy

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be condensed."""
        for name in ("lr_images", "batch_real"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; expected at least 0 and below 1")
        if self.augment != "dsa":
            operations(self.augment)  # raises for an unknown one


@dataclass
class State:
    """What a step advances."""

    images: torch.Tensor  # (C*ipc, ch, H, W) float32, normalised; the leaf being optimised
    labels: torch.Tensor  # (C*ipc,) int64
    optimizer: torch.optim.Optimizer
    config: Config = field(metadata={"checkpoint": False})
    members: list[torch.Tensor] = field(metadata={"checkpoint": False})  # indices of each class


@hookimpl
def describe() -> MethodInfo:
    """Return what is published about DM, and what fits the preset `quick`."""
    return MethodInfo(
        config=Config,
        step="iteration",
        steps=lambda config, ipc: ITERATIONS,
        quick={"batch_real": 16, "steps": 200},
        published_at={
            "dataset": ("mnist", "cifar10", "cifar100", "tinyimagenet"),
            "arch": ("convnet",),
            "ipc": (1, 10, 50),
            "init": ("real",),
        },
        canonical=canonical,
        needs=missing_classes,
        paper="Zhao & Bilen, Dataset Condensation with Distribution Matching, WACV 2023, "
        "arXiv:2110.04181",
        bibtex=BIBTEX,
    )


def canonical(config: Config, facts: Facts) -> Config:
    """Return the options with the real batch as it can be: all images of a class at most.

    Without a step no option does anything.
    """
    if not facts.steps:
        return Config()
    return replace(config, batch_real=min(config.batch_real, max(facts.class_counts)))


def missing_classes(config: Config, facts: Facts) -> str | None:
    """Return why a dataset cannot be matched: a class without images has no mean."""
    empty = [c for c, count in enumerate(facts.class_counts) if not count]
    return f"{facts.dataset} has no training images of classes {empty}" if empty else None


@hookimpl
def init(task: Task, synthetic: SyntheticSet, config: Config) -> State:
    """Return the initial images as a leaf under SGD with momentum."""
    images = synthetic.images.detach().clone().requires_grad_()
    labels = synthetic.hard_labels().clone()
    optimizer = torch.optim.SGD([images], lr=config.lr_images, momentum=config.momentum)
    members = [torch.nonzero(labels == c).flatten() for c in range(task.num_classes)]
    return State(images, labels, optimizer, config, members)


@hookimpl
def condense_step(state: State, task: Task) -> dict[str, float]:
    """Move all images by one step on a fresh network; log the loss per class."""
    network = task.new_network().requires_grad_(False)  # theta ~ P(theta), in train mode
    state.optimizer.zero_grad()
    embed: Embed = network.embed  # type: ignore[assignment]  # any attribute is Tensor | Module
    match = match_together if has_batchnorm(network) else match_each_class
    loss = match(embed, state, task)
    state.optimizer.step()
    return {"loss": loss.item() / task.num_classes}


@hookimpl
def export(state: State) -> SyntheticSet:
    """Return the images as they stand."""
    return SyntheticSet(state.images.detach().clone(), state.labels.clone())


def match_each_class(embed: Embed, state: State, task: Task) -> torch.Tensor:
    """Add the gradient of every class's distance to the images; return the sum of the distances.

    One backward per class instead of one for all: a pixel is in the distance of its own class
    only, so the gradient is the same, and memory does not grow with the number of classes.
    """
    loss = state.images.new_zeros(())
    for real, synthetic in pairs(state, task):
        distance = squared_distance(embed(real).detach().mean(0), embed(synthetic).mean(0))
        distance.backward()
        loss += distance.detach()
    return loss


def match_together(embed: Embed, state: State, task: Task) -> torch.Tensor:
    """As `match_each_class`, with all real images in one forward and all synthetic in another.

    For batch norm, whose statistics would otherwise be those of one class, or of one image.
    """
    real, synthetic = zip(*pairs(state, task), strict=True)
    targets = class_means(embed, real).detach()
    loss = squared_distance(targets, class_means(embed, synthetic))
    loss.backward()
    return loss.detach()


def pairs(state: State, task: Task) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draw for each class a real batch, and augment it and the synthetic images alike."""
    strategy = None if state.config.augment == "dsa" else state.config.augment
    for c, members in enumerate(state.members):
        real = task.real_images(c, state.config.batch_real)
        real, synthetic = task.augment_alike(real, state.images[members], strategy=strategy)
        yield real, synthetic  # (min(batch_real, n_c), ch, H, W), (ipc, ch, H, W)


def class_means(embed: Embed, batches: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the mean embedding of each batch, (C, d), from one forward of all of them."""
    embedded = embed(torch.cat(batches)).split([len(batch) for batch in batches])
    return torch.stack([part.mean(0) for part in embedded])


def squared_distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    """Return the sum of squared differences: by neither dimension nor class divided."""
    return (real - synthetic).square().sum()
