"""IDC: Dataset Condensation via Efficient Synthetic-Data Parameterization (Kim et al., ICML 2022).

A stored image is a canvas of f x f tiles, and each tile is enlarged to a whole image when the set
is used: f^2 times the images in the same bytes. `idc` brings the gradients on each class's decoded
images to those on its real images, under networks that are trained on real images. `idc-dm` does
with the same canvases what distribution matching (DM) does with images; its settings are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from ddbench import (
    Facts,
    MethodInfo,
    Network,
    SyntheticSet,
    Task,
    Unsupported,
    has_batchnorm,
    hookimpl,
    require,
)
from ddbench.augment import check_strategy, operations
from ddbench.formations import upsample
from ddbench.training import Mix, Recipe, cross_entropy, fit, new_optimizer

PAPER = (
    "Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022, "
    "arXiv:2205.14959"
)
BIBTEX = """@inproceedings{kim2022idc,
  title     = {Dataset Condensation via Efficient Synthetic-Data Parameterization},
  author    = {Kim, Jang-Hyun and Kim, Jinuk and Oh, Seong Joon and Yun, Sangdoo and
               Song, Hwanjun and Jeong, Joonhyun and Ha, Jung-Woo and Song, Hyun Oh},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2022}
}"""


@dataclass(frozen=True)
class IDC:
    """The options of IDC, at the values published for CIFAR-10; the registry has the others."""

    factor: int = 2  # f: a stored image is f x f tiles, each enlarged to an image
    shrink: str = "nearest"  # how real images become the first tiles; or "area"
    iterations: int = 2000  # networks, one after the other
    inner: int = 100  # steps on each network; with 1 every network is fresh and never trained
    match: str = "grad"  # gradients of convolutions; or "feat", mean embeddings
    metric: str = "mse"  # of gradients: the sum of squared ("mse") or absolute ("l1") differences
    update: str = "class"  # the images move after the loss of each class; or of "all"
    lr_images: float = 5e-3  # of pixels in 0..1, times ipc / 10; of "feat": of normalised pixels
    momentum: float = 0.5  # of the images' SGD
    batch_real: int = 64  # real images per class and step; all of a class that has fewer
    batch_synthetic: int | None = 128  # decoded images per class and step at most; None: all
    augment: str = "color+crop+cutout"  # siamese: "dsa" (the dataset's own), "none", or a strategy
    train_steps: int = 32  # of the network, on real images, between two steps
    batch_network: int = 64
    lr_network: float = 0.01
    mix: str = "cutmix"  # of the network's training, and of the evaluation; or "none"
    epochs: int = 1000  # of the set's own evaluation

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be condensed."""
        require(self, "factor", least=1, most=8)
        require(self, "shrink", one_of=("nearest", "area"))
        require(self, "match", one_of=("grad", "feat"))
        require(self, "metric", one_of=("mse", "l1"))
        require(self, "update", one_of=("class", "all"))
        require(self, "mix", one_of=("cutmix", "none"))
        require(self, "iterations", "inner", "lr_images", "batch_real", "batch_synthetic", above=0)
        require(self, "batch_network", "lr_network", above=0)
        require(self, "momentum", least=0, below=1)
        require(self, "train_steps", least=0)
        require(self, "epochs", least=6)  # fewer have no two drops of the learning rate
        check_strategy(self.augment)


@dataclass(frozen=True)
class IDCDM(IDC):
    """The options of DM on decoded images: DM's own, and IDC's canvases."""

    iterations: int = 20_000
    inner: int = 1
    match: str = "feat"
    update: str = "all"
    lr_images: float = 1.0
    batch_real: int = 256
    batch_synthetic: int | None = None
    augment: str = "dsa"


@dataclass
class State:
    """What a step advances."""

    images: torch.Tensor  # (C*ipc, ch, H, W) float32, normalised canvases; the leaf
    labels: torch.Tensor  # (C*ipc,) int64
    optimizer: torch.optim.Optimizer  # of the images
    network: Network  # theta, as the next step will match it
    trainer: torch.optim.Optimizer  # of the network
    order: torch.Tensor  # (m,) int64 on the CPU: the real images next in the network's training
    pixels: torch.Tensor = field(metadata={"checkpoint": False})  # (2, 1, ch, 1, 1): least, most
    config: IDC = field(metadata={"checkpoint": False})


class FormationMatching:
    """The hooks of IDC and of its relative of DM, which differ in their options alone."""

    def __init__(self, config: type[IDC], quick: Mapping[str, Any], **about: Any) -> None:  # noqa: ANN401
        """Keep what `describe` tells about the method."""
        self.config, self.quick, self.about = config, quick, about

    @hookimpl
    def describe(self) -> MethodInfo:
        """Return what is published about the method, and what fits the preset `quick`."""
        return MethodInfo(
            config=self.config,
            inits=("real",),
            own_init=lambda config: "real",  # f^2 images a canvas, shrunk to tiles
            steps=lambda config, ipc: config.iterations * config.inner,
            cycle=lambda config, ipc: config.inner,
            quick=self.quick,
            own_recipe=True,
            canonical=canonical,
            needs=needs,
            # Real images through the same decoder; real images as they are; DM at equal bytes.
            controls=({"steps": 0}, {"method": "random"}, {"method": "dm"}),
            paper=PAPER,
            bibtex=BIBTEX,
            **self.about,
        )

    @hookimpl
    def prepare(self) -> bool:
        """Build nothing: no artifact is shared."""
        return True

    @hookimpl
    def init(self, task: Task, config: IDC) -> State:
        """Return canvases of real images as a leaf under SGD with momentum, and a network."""
        images = canvases(task, config).requires_grad_()
        labels = torch.arange(task.num_classes, device=task.device).repeat_interleave(task.ipc)
        rate = config.lr_images * (task.ipc / 10 if config.match == "grad" else 1)
        optimizer = torch.optim.SGD([images], lr=rate, momentum=config.momentum)
        order = torch.empty(0, dtype=torch.int64)
        pixels = torch.stack(torch.aminmax(task.images.transpose(0, 1).flatten(1), dim=1))
        pixels = pixels[:, None, :, None, None]
        return State(images, labels, optimizer, *new_network(task, config), order, pixels, config)

    # Algorithm 1 of the paper. T real set, S canvases, f decoder, A augmentation, theta network.
    #
    # repeat N times:                     | config.iterations * config.inner
    #   initialise theta                  | network = task.new_network()
    #   for m = 1..M: (a step is one m)   | if (step + 1) % config.inner:
    #     for c = 0 .. C-1:               | for c in range(task.num_classes):
    #       sample B from T_c             | task.real_images(c, config.batch_real)
    #       take f(S_c)                   | decoded = upsample(
    #       both under one A              | real, synthetic = task.augment_alike(
    #       grad l(theta; A(B))           | targets = gradients(network, real, c)
    #       grad l(theta; A(f(S_c)))      | gradients(network, synthetic, c, create_graph=True)
    #       D of both                     | d.square().sum() if metric == "mse" else d.abs().sum()
    #       S <- S - eta grad_S D         | state.optimizer.step()
    #     theta <- theta - eta grad l(T)  | train_network(state, task)
    @hookimpl
    def condense_step(self, state: State, task: Task, step: int) -> dict[str, float]:
        """Move the images class by class, then train or replace the network; log the mean loss."""
        config = state.config
        if config.match == "grad" and step % config.inner == 0:
            with torch.no_grad():
                state.images.clamp_(*state.pixels)
        loss = state.images.new_zeros(())
        for c in range(task.num_classes):
            loss += match_class(c, state, task)
            if config.update == "class" or c == task.num_classes - 1:
                move(state)
        if (step + 1) % config.inner:
            train_network(state, task)
        else:
            state.network, state.trainer = new_network(task, config)
        return {"loss": loss.item() / task.num_classes}

    @hookimpl
    def export(self, state: State, task: Task) -> SyntheticSet:
        """Return the canvases as they stand, how they are decoded, and IDC's evaluation."""
        factor = state.config.factor
        decode = {"decode": {"name": "upsample", "factor": factor}} if factor > 1 else {}
        return SyntheticSet(
            state.images.detach().clone(),
            state.labels.clone(),
            recipe=evaluation(state.config, task.strategy),
            formation=decode,
        )


def evaluation(config: IDC, strategy: str) -> dict[str, Any]:
    """Return the recipe by which IDC evaluates; `strategy` is the dataset's own augmentation."""
    drops = [2 * config.epochs // 3, 5 * config.epochs // 6]
    return {
        **{"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "batch": 64},
        "epochs": config.epochs,
        "schedule": {"name": "multistep", "at": drops, "factor": 0.2},
        "augment": in_turn(strategy, without="cutout"),
        **({"mix": {"name": "cutmix", "p": 0.5}} if config.mix == "cutmix" else {}),
    }


def in_turn(strategy: str, without: str = "") -> str:
    """Return IDC's composition of the operations of a strategy, less one of them.

    Mirror, colour, one of the rest, cutout: each that the strategy has is applied, in this order.
    """
    names = [name for name in operations(strategy) if name != without]
    rest = [name for name in names if name not in ("flip", "color", "cutout")]
    first = [name for name in ("flip", "color") if name in names]
    last = [name for name in names if name == "cutout"]
    return "+".join([*first, *(["_".join(rest)] if rest else []), *last]) or "none"


def canonical(config: IDC, facts: Facts) -> IDC:
    """Return the options with those that leave the result as it is at one value.

    Iterations are told by the steps; a batch of all images is one whatever its number; a network
    that is matched once is never trained. Without a step only tiles and evaluation count.
    """
    decoded, most = facts.ipc * config.factor**2, config.batch_synthetic
    idle = {"iterations"}
    idle |= {"shrink"} if config.factor == 1 else set()
    idle |= {"metric"} if config.match == "feat" else set()
    idle |= {"train_steps", "batch_network", "lr_network"} if config.inner == 1 else set()
    if not facts.steps:
        idle |= {*vars(config)} - {"factor", "shrink", "mix", "epochs"}
    same = {
        "batch_real": min(config.batch_real, max(facts.class_counts)),
        "batch_synthetic": None if most is None or most >= decoded else most,
    }
    return replace(config, **{**same, **{name: getattr(type(config), name) for name in idle}})


def needs(config: IDC, facts: Facts) -> str | None:
    """Return why there are no canvases: sides that do not divide, or too few images in a class."""
    factor, (_, height, width) = config.factor, facts.shape
    if height % factor or width % factor:
        fitting = [f for f in range(1, 9) if not height % f and not width % f]
        return (
            f"images of {height}x{width} do not divide into {factor}x{factor} tiles; "
            f"use factor {' or '.join(map(str, fitting))}"
        )
    wanted, fewest = facts.ipc * factor**2, min(facts.class_counts)
    if fewest >= wanted:
        return None
    return (
        f"class {facts.class_counts.index(fewest)} has {fewest} training images, and {facts.ipc} "
        f"canvases of {factor}x{factor} tiles start from {wanted}; "
        f"use ipc <= {fewest // factor**2}{', or a smaller factor' if factor > 1 else ''}"
    )


def canvases(task: Task, config: IDC) -> torch.Tensor:
    """Return the first canvases: each tile a random real image of the class, shrunk.

    Tile k of canvas n of a class, row by row, is the class's image k*ipc + n; none stands twice.
    """
    factor, (_, height, width) = config.factor, task.shape
    generator, size = task.new_generator("init"), (height // factor, width // factor)
    made = []
    for c in range(task.num_classes):
        real = task.real_images(c, task.ipc * factor**2, generator)
        tiles = F.interpolate(real, size=size, mode=config.shrink)
        # (row, column, canvas, ch, h, w) -> (canvas, ch, row, h, column, w)
        placed = tiles.unflatten(0, (factor, factor, task.ipc)).permute(2, 3, 0, 4, 1, 5)
        made.append(placed.reshape(task.ipc, *task.shape))
    return torch.cat(made)


def new_network(task: Task, config: IDC) -> tuple[Network, torch.optim.Optimizer]:
    """Return a fresh network and the optimizer of its training.

    Raises:
        Unsupported: It has batch norm, whose statistics would be of one class, or nothing to match.
    """
    network = task.new_network()
    if has_batchnorm(network):
        raise Unsupported(
            f"{task.architecture} has batch norm, whose statistics would be those of one class; "
            "match a network with instance norm"
        )
    if config.match == "grad" and not convolutions(network):
        raise Unsupported(
            f"{task.architecture} has no convolutions, the only gradients that are matched; "
            "match another network, or set match=feat"
        )
    return network, new_optimizer(network, network_recipe(config, task), config.lr_network)


def network_recipe(config: IDC, task: Task) -> Recipe:
    """Return how a network is trained on real images between two steps."""
    strategy = in_turn(task.resolve_strategy(config.augment), without="cutout")
    mix = Mix("cutmix", p=0.5) if config.mix == "cutmix" else None
    return Recipe(1, lr=config.lr_network, batch=config.batch_network, augment=strategy, mix=mix)


def train_network(state: State, task: Task) -> None:
    """Train the network on the next real images of an endless shuffled pass over all of them."""
    config = state.config
    count = config.train_steps * config.batch_network
    if not count:
        return
    while len(state.order) < count:
        passed = torch.randperm(len(task.labels), generator=task.generator)
        state.order = torch.cat([state.order, passed])
    chosen, state.order = state.order[:count].to(task.device), state.order[count:]
    images, labels, recipe = task.images[chosen], task.labels[chosen], network_recipe(config, task)
    fit(state.network, images, labels, recipe, task.generator, optimizer=state.trainer)


def match_class(c: int, state: State, task: Task) -> torch.Tensor:
    """Add the gradient of class `c`'s matching distance to the images; return the distance."""
    config = state.config
    decoded = upsample(state.images.unflatten(0, (task.num_classes, -1))[c], config.factor)
    if config.batch_synthetic is not None and len(decoded) > config.batch_synthetic:
        drawn = torch.randperm(len(decoded), generator=task.generator)[: config.batch_synthetic]
        decoded = decoded[drawn.to(task.device)]
    real, synthetic = task.augment_alike(
        task.real_images(c, config.batch_real), decoded, strategy=config.augment
    )
    if config.match == "feat":
        distance = feature_distance(state.network, real, synthetic)
    else:
        distance = gradient_distance(state.network, real, synthetic, c, config.metric)
    distance.backward(inputs=[state.images])  # and not the network's parameters
    return distance.detach()


def move(state: State) -> None:
    """Take one step of the images' SGD, in pixels of 0..1 where gradients are matched.

    A normalised pixel is (x - mean) / std: a step of x takes the gradient times 1 / std^2, and
    1 / std is the range of real pixels.
    """
    if state.config.match == "grad" and state.images.grad is not None:
        state.images.grad *= (state.pixels[1] - state.pixels[0]).square()
    state.optimizer.step()
    state.optimizer.zero_grad()


def feature_distance(network: Network, real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    """Return the squared distance of the mean embeddings of two batches, a scalar."""
    with torch.no_grad():
        target = network.embed(real).mean(0)
    return (target - network.embed(synthetic).mean(0)).square().sum()


def gradient_distance(
    network: torch.nn.Module, real: torch.Tensor, synthetic: torch.Tensor, c: int, metric: str
) -> torch.Tensor:
    """Return the distance of the gradients of two batches of class `c`, a scalar.

    A sum over the weights of all convolutions; biases, norms and the classifier do not count.
    """
    targets = gradients(network, real, c)
    current = gradients(network, synthetic, c, create_graph=True)
    differences = [one - other for one, other in zip(current, targets, strict=True)]
    each = [d.square().sum() if metric == "mse" else d.abs().sum() for d in differences]
    return torch.stack(each).sum()


def gradients(
    network: torch.nn.Module, images: torch.Tensor, c: int, create_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """Return what the mean cross-entropy of (B, ch, H, W) images of class `c` has as gradients."""
    labels = torch.full((len(images),), c, device=images.device)
    loss = cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, convolutions(network), create_graph=create_graph)


def convolutions(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the weights of the convolutions of a network."""
    return [parameter for parameter in network.parameters() if parameter.ndim == 4]


idc = FormationMatching(
    IDC,
    quick={
        "batch_real": 16, "inner": 10, "train_steps": 2, "metric": "l1", "lr_images": 0.1,
        "augment": "color+crop", "mix": "none", "epochs": 150, "steps": 40,
    },
    published_at={
        "dataset": ("cifar10", "cifar100", "svhn", "fashionmnist", "mnist"),
        "arch": ("convnet",),
        "ipc": (1, 10, 50),
        "factor": (2, 1),
    },
)  # fmt: skip

idc_dm = FormationMatching(
    IDCDM,
    quick={"batch_real": 16, "lr_images": 10.0, "mix": "none", "epochs": 150, "steps": 140},
    published=False,  # the reference code has it in part, and publishes no settings
)
