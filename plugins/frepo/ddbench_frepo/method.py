"""FRePo: Dataset Distillation using Neural Feature Regression (Zhou et al., NeurIPS 2022).

Fit a ridge regression to the features of the synthetic images, and move images and labels so that
it predicts the labels of real images. The features are those of a pool of networks, each trained
on the synthetic set for some steps and then replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from ddbench import (
    Facts,
    MethodInfo,
    Network,
    OptionsError,
    SyntheticSet,
    Task,
    hookimpl,
    missing_classes,
    require,
)
from ddbench.augment import operations

from ddbench_frepo.lamb import Moments, lamb_step, zero_moments
from ddbench_frepo.regression import margin_loss, predict, regression_loss

# Steps of training on so many synthetic images at most; the reference code knows no others.
TRAIN_STEPS = {10: 1000, 100: 2000, 500: 5000, 1000: 10_000, 2000: 40_000}
WARMUP_STEPS, LAST_SHARE = 500, 0.01  # of that training: linear warm-up, then a cosine
TRAIN_BATCH = 500
LAST_SHARE_IMAGES = 0.1  # of the cosine of lr_images

BIBTEX = """@inproceedings{zhou2022frepo,
  title     = {Dataset Distillation using Neural Feature Regression},
  author    = {Zhou, Yongchao and Nezhadarya, Ehsan and Ba, Jimmy},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year      = {2022}
}"""


@dataclass(frozen=True)
class Config:
    """The options of FRePo, at their published values."""

    iterations: int = 500_000  # steps, over which the learning rate of the images falls
    lr_images: float = 3e-4  # of LAMB, which moves images and labels
    learn_labels: bool = True
    batch_real: int = 1024  # real images per step, of all classes together
    ridge: float = 1e-6  # relative to the mean diagonal of the kernel
    flip: bool | None = None  # regression on mirrored images too; None: as the dataset's strategy
    pool: int = 10  # networks
    max_updates: int = 100  # a network that has had more is replaced
    lr_network: float = 3e-4  # of the networks' Adam
    batch_network: int = 1000  # synthetic images per step of a network
    train_steps: int | None = None  # of training on the set; None: by its size, `TRAIN_STEPS`

    def __post_init__(self) -> None:
        """Refuse values with which nothing could be condensed."""
        require(self, "iterations", "lr_images", "batch_real", "ridge", "pool", above=0)
        require(self, "lr_network", "batch_network", "train_steps", above=0)
        require(self, "max_updates", least=0)


@dataclass
class State:
    """What a step advances."""

    images: torch.Tensor  # (N, ch, H, W) float32, normalised; a leaf, N = C*ipc
    labels: torch.Tensor  # (N, C) float32, regression targets; a leaf
    moments: tuple[Moments, Moments]  # LAMB's, of images and labels
    networks: list[Network]
    optimizers: list[torch.optim.Adam]  # of each network
    updates: list[int]  # that each network has had, or is said to have had at the start
    config: Config = field(metadata={"checkpoint": False})
    flip: bool = field(metadata={"checkpoint": False})


@hookimpl
def describe() -> MethodInfo:
    """Return what is published about FRePo, and what fits the preset `quick`."""
    return MethodInfo(
        config=Config,
        steps=lambda config, ipc: config.iterations,
        quick={"iterations": 300, "lr_images": 0.01, "batch_real": 64, "pool": 4,
               "train_steps": 150},
        labels="soft",
        published_at={
            "dataset": ("cifar10-zca", "cifar100-zca", "mnist", "fashionmnist"),
            "arch": ("frepo-bn",),
            "ipc": (1, 10, 50),
            "init": ("real",),
        },
        canonical=canonical,
        needs=missing_classes,  # a class without images has none to start from
        controls=({"steps": 0}, {"method": "random"}),
        paper="Zhou, Nezhadarya & Ba, Dataset Distillation using Neural Feature Regression, "
        "NeurIPS 2022, arXiv:2206.00719",
        bibtex=BIBTEX,
    )  # fmt: skip


def canonical(config: Config, facts: Facts) -> Config:
    """Return the options with those that leave the result as it is at one value.

    Batches hold all there is at most. Without a step only the training on the set is left.
    """
    count = facts.num_classes * facts.ipc
    train_steps = config.train_steps or train_steps_of(count)
    if not facts.steps:
        return Config(train_steps=train_steps)
    return replace(
        config,
        batch_real=min(config.batch_real, sum(facts.class_counts)),
        batch_network=min(config.batch_network, count),
        train_steps=train_steps,
    )


@hookimpl
def prepare() -> bool:
    """Build nothing: no artifact is shared."""
    return True


@hookimpl
def init(task: Task, synthetic: SyntheticSet, config: Config) -> State:
    """Return images and labels as leaves under LAMB, and the pool of networks.

    All networks are fresh; the counts of their updates alone are staggered, so that they are not
    replaced at once.
    """
    images = synthetic.images.detach().clone().requires_grad_()
    centred = centred_labels(synthetic.hard_labels(), task.num_classes)
    labels = (centred / math.sqrt(task.num_classes / 10)).requires_grad_()
    networks = [task.new_network() for _ in range(config.pool)]
    return State(
        images,
        labels,
        (zero_moments(images), zero_moments(labels)),
        networks,
        [new_adam(network, config) for network in networks],
        [config.max_updates // config.pool * k for k in range(config.pool)],
        config,
        "flip" in operations(task.strategy) if config.flip is None else config.flip,
    )


# Algorithm 1 of the paper. T real set, (X, Y) synthetic set, f features of a network, M networks.
#
# for t = 0, 1, ...: (a step is one t) | steps=lambda config, ipc: config.iterations
#   draw one of the M networks         | k = int(torch.randint(config.pool, (1,)
#   sample (x, y) ~ T                  | real, targets = sample(state, task)
#   K = f(X) f(X)^T                    | kernel = synthetic @ synthetic.T
#   K + lambda (tr K / n) I = L L^T    | torch.linalg.cholesky_ex(kernel + ridges.diag())
#   p = f(x) f(X)^T (L L^T)^-1 Y       | predict(real, network.embed(images), labels, config.ridge)
#   loss |p - y|^2 / 2 + margin of Y   | error_now + margin_loss(state.labels)
#   (X, Y) <- opt((X, Y); grad loss)   | lamb_step(leaf, gradient, moments, step + 1, lr)
#   it has had its updates: a new one  | if state.updates[k] > config.max_updates:
#   else train it on (X, Y), one step  | regression_loss(network(images), labels).backward()
@hookimpl
def condense_step(state: State, task: Task, step: int) -> dict[str, float]:
    """Move images and labels by one step on one network, and train that network or replace it."""
    config = state.config
    k = int(torch.randint(config.pool, (1,), generator=task.generator))
    network = state.networks[k].eval().requires_grad_(False)
    real, targets = sample(state, task)
    images, labels = state.images, state.labels
    if state.flip:
        images, labels = torch.cat([images, images.flip(3)]), torch.cat([labels, labels])
    with torch.no_grad():
        real = network.embed(real)
    try:
        predicted = predict(real, network.embed(images), labels, config.ridge)
    except FloatingPointError as error:
        would_do = {"ridge": 10 * config.ridge, "lr_images": config.lr_images / 10}
        rounded = {name: float(f"{value:.2g}") for name, value in would_do.items()}
        raise OptionsError(str(error), rounded) from error
    error_now = regression_loss(predicted, targets)
    leaves = [state.images, state.labels] if config.learn_labels else [state.images]
    gradients = torch.autograd.grad(error_now + margin_loss(state.labels), leaves)
    lr = config.lr_images * share_at(step, config.iterations)
    for leaf, gradient, moments in zip(leaves, gradients, state.moments, strict=False):
        lamb_step(leaf, gradient, moments, step + 1, lr)
    advance(state, task, k)
    right = (predicted.argmax(1) == targets.argmax(1)).double().mean()
    return {"loss": error_now.item(), "regression_accuracy": right.item()}


@hookimpl
def export(state: State, task: Task) -> SyntheticSet:
    """Return images and labels as they stand, with the training that they are made for."""
    count = len(state.images)
    steps = state.config.train_steps or train_steps_of(count)
    recipe = {
        "optimizer": "adam",
        "lr": 3e-4,
        "weight_decay": 0.0,
        "batch": min(count, TRAIN_BATCH),
        "steps": steps,
        "schedule": {
            "name": "cosine",
            "end": LAST_SHARE,
            "by": "step",
            "warmup_steps": min(WARMUP_STEPS, steps // 2),
        },
        "loss": {"name": "mse", "half": True},
        "augment": task.strategy,
    }
    return SyntheticSet(
        state.images.detach().clone(),
        state.labels.detach().clone(),
        recipe=recipe,
        formation={"targets": {"name": "stored", "kind": "regression"}},
    )


def centred_labels(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return one-hot rows of (B,) class indices less 1/C, (B, C) float32: each row sums to 0."""
    return torch.nn.functional.one_hot(labels, num_classes).float() - 1 / num_classes


def train_steps_of(count: int) -> int:
    """Return the published training steps of the next size that is not below `count` images."""
    return next((steps for size, steps in TRAIN_STEPS.items() if count <= size), 40_000)


def share_at(step: int, steps: int) -> float:
    """Return the factor of `lr_images`: a cosine from 1 to 0.1, and 0.1 from `steps` on."""
    falling = (1 + math.cos(math.pi * min(step / steps, 1))) / 2
    return LAST_SHARE_IMAGES + (1 - LAST_SHARE_IMAGES) * falling


def sample(state: State, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random real images and their targets, (B, ch, H, W) and (B, C)."""
    order = torch.randperm(len(task.labels), generator=task.generator)
    chosen = order[: state.config.batch_real].to(task.device)
    return task.images[chosen], centred_labels(task.labels[chosen], task.num_classes)


def new_adam(network: Network, config: Config) -> torch.optim.Adam:
    """Return the optimizer of a fresh network."""
    return torch.optim.Adam(network.parameters(), lr=config.lr_network)


def advance(state: State, task: Task, k: int) -> None:
    """Train network `k` on the synthetic set for one step, or replace it."""
    config = state.config
    if state.updates[k] > config.max_updates:
        state.networks[k] = task.new_network()
        state.optimizers[k] = new_adam(state.networks[k], config)
        state.updates[k] = 0
        return
    network, optimizer = state.networks[k].train().requires_grad_(True), state.optimizers[k]
    images, labels = state.images.detach(), state.labels.detach()
    if len(images) > config.batch_network:
        order = torch.randperm(len(images), generator=task.generator)
        chosen = order[: config.batch_network].to(task.device)
        images, labels = images[chosen], labels[chosen]
    optimizer.zero_grad()
    regression_loss(network(images), labels).backward()
    optimizer.step()
    state.updates[k] += 1
