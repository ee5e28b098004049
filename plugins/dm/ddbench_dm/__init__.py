"""DM: Dataset Condensation with Distribution Matching (Zhao & Bilen, WACV 2023).

Pull the mean embedding of each class's synthetic images to that of its real images, under networks
drawn at random and never trained. No labels are used, no classifier, no inner loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from ddbench import (
    Facts,
    MethodInfo,
    SyntheticSet,
    Task,
    has_batchnorm,
    hookimpl,
    missing_classes,
    require,
)
from ddbench.augment import check_strategy

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
        require(self, "lr_images", "batch_real", above=0)
        require(self, "momentum", least=0, below=1)
        check_strategy(self.augment)


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
        quick={"batch_real": 16, "lr_images": 10.0, "steps": 200},
        published_at={
            "dataset": ("mnist", "cifar10", "cifar100", "tinyimagenet"),
            "arch": ("convnet",),
            "ipc": (1, 10, 50),
            "init": ("real",),
        },
        canonical=canonical,
        needs=missing_classes,  # a class without images has no mean
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


@hookimpl
def prepare() -> bool:
    """Build nothing: no artifact is shared."""
    return True


@hookimpl
def init(task: Task, synthetic: SyntheticSet, config: Config) -> State:
    """Return the initial images as a leaf under SGD with momentum."""
    images = synthetic.images.detach().clone().requires_grad_()
    labels = synthetic.hard_labels().clone()
    optimizer = torch.optim.SGD([images], lr=config.lr_images, momentum=config.momentum)
    members = [synthetic.class_indices(c) for c in range(task.num_classes)]
    return State(images, labels, optimizer, config, members)


# Algorithm 1 of the paper. T real set, S synthetic set, psi embedding, A augmentation, eta rate.
#
# for k = 0 .. K-1: (a step is one k)  | steps=lambda config, ipc: ITERATIONS
#   sample theta ~ P_theta             | network = task.new_network()
#   for c = 0 .. C-1:                  | for classes in groups:
#     sample B^T_c from T              | task.real_images(c, config.batch_real)
#     take all of S_c                  | state.images[state.members[c]]
#     sample omega_c; A of both        | task.augment_alike(*pair, strategy=config.augment)
#     mean of psi_theta(A(B^T_c))      | targets = class_means(network.embed, real)
#     mean of psi_theta(A(S_c))        | means = class_means(network.embed, synthetic)
#     L += |difference of the means|^2 | distance = (targets - means).square().sum()
#   S <- S - eta grad_S L              | state.optimizer.step()
@hookimpl
def condense_step(state: State, task: Task) -> dict[str, float]:
    """Move all images by one step on a fresh network; log the loss per class."""
    config = state.config
    network = task.new_network().requires_grad_(False)  # in train mode
    # One backward per class: a pixel is in the distance of its own class only, so the gradient is
    # that of the sum, and memory does not grow with the classes. Batch norm gets all of them in
    # one forward: its statistics would otherwise be those of one class, or of one image.
    everything = list(range(task.num_classes))
    groups = [everything] if has_batchnorm(network) else [[c] for c in everything]
    loss = state.images.new_zeros(())
    state.optimizer.zero_grad()
    for classes in groups:
        drawn = [task.real_images(c, config.batch_real) for c in classes]
        pairs = zip(drawn, [state.images[state.members[c]] for c in classes], strict=True)
        alike = [task.augment_alike(*pair, strategy=config.augment) for pair in pairs]
        real, synthetic = zip(*alike, strict=True)  # (min(batch_real, n_c), ...), (ipc, ch, H, W)
        targets = class_means(network.embed, real).detach()  # (classes, d)
        means = class_means(network.embed, synthetic)
        distance = (targets - means).square().sum()  # divided by neither dimension nor class
        distance.backward()
        loss += distance.detach()
    state.optimizer.step()
    return {"loss": loss.item() / task.num_classes}


@hookimpl
def export(state: State) -> SyntheticSet:
    """Return the images as they stand."""
    return SyntheticSet(state.images.detach().clone(), state.labels.clone())


def class_means(embed: Embed, batches: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the mean embedding of each batch, (len(batches), d), from one forward of all."""
    embedded = embed(torch.cat(batches)).split([len(batch) for batch in batches])
    return torch.stack([part.mean(0) for part in embedded])
