"""GM (DC) and DSA: condensation by gradient matching, two settings of one algorithm.

GM: Dataset Condensation with Gradient Matching (Zhao, Mopuri & Bilen, ICLR 2021). DSA: Dataset
Condensation with Differentiable Siamese Augmentation (Zhao & Bilen, ICML 2021).

Make the gradient of the loss on each class's synthetic images point, layer by layer and row by
row, where that on its real images does: under fresh networks, and under the same networks while
they are trained on the synthetic images. DSA sees both batches through one random transform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from ddbench import (
    Facts,
    MethodInfo,
    Network,
    SyntheticSet,
    Task,
    has_batchnorm,
    hookimpl,
    missing_classes,
    require,
)
from ddbench.augment import check_strategy
from ddbench.training import Recipe, cross_entropy, fit
from torch.nn.modules.batchnorm import _BatchNorm

from ddbench_gm.distance import METRICS, Gradients, matching_distance
from ddbench_gm.schedule import PUBLISHED, Loops, loops_by_ipc

__all__ = [
    "DSA",
    "GM",
    "GradientMatching",
    "Loops",
    "State",
    "dsa",
    "gm",
    "loops",
    "loops_by_ipc",
    "matching_distance",
]

BATCHNORM_REAL = 16  # real images per class from which batch norm takes its statistics

# Where the settings of both were published; the registry has the exceptions. GM's table of MNIST at
# ipc 1 across networks is not here: we know its settings from memory alone.
PLACES: dict[str, tuple[Any, ...]] = {
    "dataset": ("mnist", "fashionmnist", "svhn", "cifar10", "cifar100"),
    "arch": ("convnet",),
    "ipc": tuple(PUBLISHED),
}


@dataclass(frozen=True)
class GM:
    """The options of GM, at their published values."""

    iterations: int = 1000  # networks, one after the other: K
    outer: int | None = None  # image updates on each network, T; None: by ipc, `loops_by_ipc`
    inner_epochs: int | None = None  # of training between two updates; None: by ipc
    lr_images: float = 0.1
    momentum: float = 0.5  # of the images' SGD; never reset
    lr_network: float = 0.01
    batch_real: int = 256  # real images per class and update; all of a class that has fewer
    batch_network: int = 256  # synthetic images per step of the network's training
    metric: str = "ours"  # or "mse", "cos": see `matching_distance`
    guard: float = 0.0  # rows of vanishing gradient taken as constant: see `matching_distance`
    augment: str = "none"  # "dsa" (the dataset's own strategy), "none", or a strategy

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be condensed."""
        require(self, "iterations", "outer", "lr_images", "batch_real", "batch_network", above=0)
        require(self, "inner_epochs", "lr_network", "guard", least=0)
        require(self, "momentum", least=0, below=1)
        require(self, "metric", one_of=METRICS)
        check_strategy(self.augment)


@dataclass(frozen=True)
class DSA(GM):
    """The options of DSA, at their published values."""

    augment: str = "dsa"


@dataclass
class State:
    """What a step advances."""

    images: torch.Tensor  # (C*ipc, ch, H, W) float32, normalised; the leaf being optimised
    labels: torch.Tensor  # (C*ipc,) int64
    optimizer: torch.optim.Optimizer  # of the images
    network: Network  # theta, as the next step will match it
    config: GM = field(metadata={"checkpoint": False})
    members: list[torch.Tensor] = field(metadata={"checkpoint": False})  # indices of each class


class GradientMatching:
    """The hooks of GM and of DSA, which differ in their options alone."""

    def __init__(self, config: type[GM], start: str, quick: Mapping[str, Any], **of: str) -> None:
        """Keep what `describe` tells about the method; `start` is the published runs' init."""
        self.config, self.start, self.quick = config, start, quick
        self.paper, self.bibtex = of["paper"], of["bibtex"]

    @hookimpl
    def describe(self) -> MethodInfo:
        """Return what is published about the method, and what fits the preset `quick`."""
        return MethodInfo(
            config=self.config,
            step="update",
            steps=lambda config, ipc: config.iterations * loops(config, ipc).outer,
            cycle=lambda config, ipc: loops(config, ipc).outer,
            quick=self.quick,
            published_at={**PLACES, "init": (self.start,)},
            canonical=canonical,
            needs=missing_classes,  # a class without images has no gradient
            paper=self.paper,
            bibtex=self.bibtex,
        )

    @hookimpl
    def prepare(self) -> bool:
        """Build nothing: no artifact is shared."""
        return True

    @hookimpl
    def init(self, task: Task, synthetic: SyntheticSet, config: GM) -> State:
        """Return the initial images as a leaf under SGD with momentum, and the first network."""
        images = synthetic.images.detach().clone().requires_grad_()
        labels = synthetic.hard_labels().clone()
        optimizer = torch.optim.SGD([images], lr=config.lr_images, momentum=config.momentum)
        members = [synthetic.class_indices(c) for c in range(task.num_classes)]
        return State(images, labels, optimizer, task.new_network(), config, members)

    # Algorithm 1 of DC; with omega that of DSA. T real set, S synthetic set, theta network, L loss.
    #
    # theta_0 ~ P_theta, K times                | state.network = task.new_network()
    #   for t = 0 .. T-1: (a step is one t)     | if (step + 1) % outer:
    #     for c = 0 .. C-1:                     | for c in range(task.num_classes)
    #       sample B^T_c from T                 | task.real_images(c, config.batch_real),
    #       take all of S_c                     | state.images[state.members[c]],
    #       both under one omega                | real, synthetic = task.augment_alike(
    #       grad_theta L^T_c(theta_t)           | parameter_gradients(state.network, real, c)
    #       grad_theta L^S_c(theta_t)           | parameter_gradients(state.network, synthetic, c,
    #       D(grad L^S_c, grad L^T_c)           | matching_distance(current, target, config.metric,
    #     S <- opt(S; grad_S D, eta_S)          | state.optimizer.step()
    #     theta <- opt(theta; L^S, eta_theta)   | train_network(state, task, inner_epochs)
    @hookimpl
    def condense_step(self, state: State, task: Task, step: int) -> dict[str, float]:
        """Update all images once, then train or replace the network; log the loss per class."""
        outer, inner_epochs = loops(state.config, task.ipc)
        settle_batchnorm(state.network, task)
        state.optimizer.zero_grad()
        loss = sum(match_class(c, state, task) for c in range(task.num_classes))
        state.optimizer.step()
        if (step + 1) % outer:
            train_network(state, task, inner_epochs)
        else:  # the last update on a network is not followed by training
            state.network = task.new_network()
        return {"loss": float(loss) / task.num_classes}

    @hookimpl
    def export(self, state: State) -> SyntheticSet:
        """Return the images as they stand."""
        return SyntheticSet(state.images.detach().clone(), state.labels.clone())


def loops(config: GM, ipc: int) -> Loops:
    """Return the loops that the options set, or else those of the ipc."""
    outer, inner_epochs = loops_by_ipc(ipc)
    return Loops(
        outer if config.outer is None else config.outer,
        inner_epochs if config.inner_epochs is None else config.inner_epochs,
    )


def canonical(config: GM, facts: Facts) -> GM:
    """Return the options with those that leave the result as it is at one value.

    Loops of None are those of the ipc. A network that is matched once is never trained. Iterations
    are told by the steps, and a batch of all real images of each class is one whatever its number.
    Without a step no option does anything.
    """
    if not facts.steps:
        return type(config)()
    outer, inner_epochs = loops(config, facts.ipc)
    batch_real = min(config.batch_real, max(facts.class_counts))
    same = replace(
        config,
        iterations=GM.iterations,
        outer=outer,
        inner_epochs=inner_epochs,
        batch_real=batch_real,
    )
    if outer > 1:
        return same
    return replace(same, inner_epochs=0, lr_network=GM.lr_network, batch_network=GM.batch_network)


def settle_batchnorm(network: torch.nn.Module, task: Task) -> None:
    """Put `network` in train mode, but batch norm on statistics of real images, held fixed.

    One synthetic image per class would make too small a batch for statistics of its own.
    """
    network.train()
    if not has_batchnorm(network):
        return
    real = [task.real_images(c, BATCHNORM_REAL) for c in range(task.num_classes)]
    with torch.no_grad():
        network(torch.cat(real))
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def match_class(c: int, state: State, task: Task) -> torch.Tensor:
    """Add the gradient of class `c`'s matching distance to the images; return the distance.

    One backward per class instead of one for all: a pixel is in the distance of its own class
    only, so the gradient is the same, and the graph of one class is alive at a time.
    """
    config = state.config
    real, synthetic = task.augment_alike(
        task.real_images(c, config.batch_real),
        state.images[state.members[c]],
        strategy=config.augment,
    )
    target = parameter_gradients(state.network, real, c)
    current = parameter_gradients(state.network, synthetic, c, create_graph=True)
    distance = matching_distance(current, target, config.metric, config.guard)
    distance.backward(inputs=[state.images])  # and not the network's parameters
    return distance.detach()


def parameter_gradients(
    network: torch.nn.Module, images: torch.Tensor, c: int, create_graph: bool = False
) -> Gradients:
    """Return the gradient of the mean cross-entropy of (B, ch, H, W) images, all of class `c`."""
    labels = torch.full((len(images),), c, device=images.device)
    loss = cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=create_graph)


def train_network(state: State, task: Task, epochs: int) -> None:
    """Train the network on the synthetic images as they stand: plain SGD, shuffled batches.

    Under augmentation each batch has one random operation, its parameters drawn for each image.
    """
    config = state.config
    recipe = Recipe(
        epochs=epochs,
        lr=config.lr_network,
        momentum=0.0,
        weight_decay=0.0,
        batch=config.batch_network,
        augment=task.resolve_strategy(config.augment),
    )
    fit(state.network, state.images.detach(), state.labels, recipe, task.generator)


gm = GradientMatching(
    GM,
    start="noise",
    quick={"batch_real": 8, "lr_images": 1.0, "steps": 100},
    paper="Zhao, Mopuri & Bilen, Dataset Condensation with Gradient Matching, ICLR 2021, "
    "arXiv:2006.05929",
    bibtex="""@inproceedings{zhao2021dc,
  title     = {Dataset Condensation with Gradient Matching},
  author    = {Zhao, Bo and Mopuri, Konda Reddy and Bilen, Hakan},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2021}
}""",
)

dsa = GradientMatching(
    DSA,
    start="real",
    quick={"batch_real": 16, "lr_images": 8.0, "steps": 60},
    paper="Zhao & Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, "
    "arXiv:2102.08259",
    bibtex="""@inproceedings{zhao2021dsa,
  title     = {Dataset Condensation with Differentiable Siamese Augmentation},
  author    = {Zhao, Bo and Bilen, Hakan},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2021}
}""",
)
