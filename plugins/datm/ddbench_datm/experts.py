"""Expert trajectories: the weights of networks trained on the real data, after every epoch.

Made once, as artifacts that do not depend on the condensation's seed. The experts of MTT
(Cazenavette et al., CVPR 2022) and of DATM (Guo et al., ICLR 2024).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ddbench
import torch
import torch.nn.functional as F
from ddbench import BuildContext, Task, edited_code, load_tree, save_tree, seed_of
from ddbench.augment import augment

from .flat import FlatNetwork
from .gsam import direction
from .storage import ExpertError, Experts, Recorder, ShapesOfExperts, trajectory_name

KIND = "experts"
FORMAT = 1  # raised whenever a change here alters trajectories or their files
# What trains and stores experts, less the harness, which has NUMERICS: of a local install these
# files are part of an expert's identity, and the rest of the package is not.
SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("experts.py", "gsam.py", "flat.py", "storage.py")
)
TOGETHER_ON_CUDA = 10  # experts trained at once: small networks leave a GPU mostly idle


@dataclass(frozen=True)
class ExpertRecipe:
    """All that determines a trajectory, besides the data, the network's name and its number.

    Attributes:
        augment: Augmentation of each batch, a strategy of `ddbench.augment`.
        lr: Learning rate of plain SGD: no momentum, no weight decay, no schedule.
        batch: Images a step; the last batch of an epoch may be smaller.
        epochs: E; there are E + 1 snapshots, the initial weights first.
        rho: Length of GSAM's ascent; 0 is plain SGD.
        alpha: Weight of GSAM's gap term.
        adaptive: Whether the ascent is in units of the weights.
        seed: Seed of all experts; number and seed together give one expert.
        kept: The epochs whose snapshots are stored; None for all.
        passes: How often an epoch goes over the images: more than once where they are few.
    """

    augment: str
    lr: float
    batch: int
    epochs: int
    rho: float = 0.0
    alpha: float = 0.0
    adaptive: bool = True
    seed: int = 0
    kept: tuple[int, ...] | None = None
    passes: int = 1

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The epochs after which the weights are stored, rising."""
        return tuple(range(self.epochs + 1)) if self.kept is None else self.kept

    def spec(self, architecture: str) -> dict[str, Any]:
        """Return it as plain values, the same for recipes that mean the same."""
        record = dataclasses.asdict(self)
        if self.rho == 0:
            for unused in ("alpha", "adaptive"):
                del record[unused]
        if self.passes == 1:
            del record["passes"]
        record["kept"] = list(self.snapshots)
        versions: dict[str, Any] = {"format": FORMAT, "numerics": ddbench.NUMERICS}
        code = edited_code("ddbench-datm", "ddbench_datm", *SOURCES)
        if code is not None:
            versions["code"] = code
        return {"architecture": architecture, **record, **versions}


def trajectories(
    task: Task, network: FlatNetwork, recipe: ExpertRecipe, count: int, together: int = 0
) -> Experts:
    """Return the first `count` experts of `recipe`; train those that do not exist.

    Each block of experts that train together is an artifact: alone on the CPU, where that is
    fastest (measured) and every smaller number of experts is then part of every larger one; by
    tens on CUDA. `together` other than 0 is the size of a block.
    """
    files = []
    an_epoch = recipe.passes * -(-len(task.labels) // recipe.batch)
    for block in blocks(count, together or (TOGETHER_ON_CUDA if task.device.type == "cuda" else 1)):
        folder = task.artifact(
            KIND,
            {**recipe.spec(task.architecture), "first": block.start, "count": len(block)},
            partial(build, task, network, recipe, block),
            steps=recipe.epochs * an_epoch,
            step=partial(one_step, task, network, recipe, block),
        )
        files += [folder / trajectory_name(number) for number in block]
    if task.shapes_only:
        return ShapesOfExperts(count, network.count, task.device)
    return Experts(files, recipe.snapshots, task.device)


def blocks(count: int, together: int) -> list[range]:
    """Return the numbers of `count` experts in blocks of `together`, the last perhaps smaller."""
    return [range(first, min(first + together, count)) for first in range(0, count, together)]


def build(
    task: Task, network: FlatNetwork, recipe: ExpertRecipe, block: range, work: BuildContext
) -> None:
    """Train the experts of `block` into ``work.folder``, on from where an earlier build was."""
    training = Training.begin(task, recipe, block)
    recorder = Recorder(work.folder, block, recipe.snapshots)
    if work.progress.exists():
        training.load(work.progress)
    else:
        recorder.create(network.count)
        recorder.store(0, training.weights)
        training.save(work.progress)
    while training.epoch < recipe.epochs:
        train_epoch(task, network, recipe, training, work.meter)
        _require_finite(training, recipe, block)
        recorder.store(training.epoch, training.weights)
        training.save(work.progress)  # after the snapshot that it speaks of
        work.save()


@dataclass
class Training:
    """Experts between two epochs: all that going on needs.

    Attributes:
        epoch: Epochs done.
        weights: (G, P) float32.
        generators: One for each expert, on the CPU: order of the images, and augmentation.
    """

    epoch: int
    weights: torch.Tensor
    generators: list[torch.Generator]

    @classmethod
    def begin(cls, task: Task, recipe: ExpertRecipe, block: range) -> Training:
        """Return the experts of `block` before their first step."""
        seeds = [seed_of("expert", recipe.seed, number, "weights") for number in block]
        weights = [FlatNetwork(task.new_network(seed=seed)).weights() for seed in seeds]
        seeds = [seed_of("expert", recipe.seed, number, "training") for number in block]
        return cls(0, torch.stack(weights), [torch.Generator().manual_seed(s) for s in seeds])

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        states = [generator.get_state() for generator in self.generators]
        save_tree(path, {"epoch": self.epoch, "weights": self.weights, "generators": states})

    def load(self, path: Path) -> None:
        """Take up what `save` wrote."""
        saved = load_tree(path)
        self.epoch, self.weights = saved["epoch"], saved["weights"].to(self.weights.device)
        for generator, state in zip(self.generators, saved["generators"], strict=True):
            generator.set_state(state)


def train_epoch(
    task: Task,
    network: FlatNetwork,
    recipe: ExpertRecipe,
    training: Training,
    meter: AbstractContextManager[object],
) -> None:
    """Train every expert for one epoch, each on its own order and augmentation of the images."""
    for _ in range(recipe.passes):
        streams = [task.batches(recipe.batch, generator) for generator in training.generators]
        for batches in zip(*streams, strict=True):
            with meter:
                train_step(network, recipe, training, batches)
    training.epoch += 1


def train_step(
    network: FlatNetwork,
    recipe: ExpertRecipe,
    training: Training,
    batches: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Train every expert for one step, each on its own batch: (B, ch, H, W) images, (B,) labels."""
    drawn = zip(batches, training.generators, strict=True)
    images = torch.stack([augment(recipe.augment, g, batch[0]) for batch, g in drawn])
    labels = torch.stack([batch[1] for batch in batches])
    gradient = partial(gradients, network, images=images, labels=labels)
    step = direction(gradient, training.weights, recipe.rho, recipe.alpha, recipe.adaptive)
    # A new tensor, never in place: a snapshot that shares memory would move with it.
    training.weights = training.weights - recipe.lr * step


def one_step(task: Task, network: FlatNetwork, recipe: ExpertRecipe, block: range) -> None:
    """Train new experts for one step of mean size, to price what a build costs."""
    training = Training.begin(task, recipe, block)
    images = len(task.labels)
    size = round(images / -(-images // recipe.batch))
    batch = next(task.batches(size, training.generators[0]))
    train_step(network, recipe, training, [batch] * len(block))


def gradients(
    network: FlatNetwork, weights: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return each expert's gradient of its own batch, (G, P): stacked for G > 1.

    weights (G, P), images (G, B, ch, H, W), labels (G, B).
    """
    if len(weights) == 1:
        leaf = weights[0].detach().requires_grad_()
        loss = _loss(network, leaf, images[0], labels[0])
        return torch.autograd.grad(loss, leaf)[0][None]
    each: Callable[..., torch.Tensor] = torch.func.grad(partial(_loss, network))
    return torch.vmap(each)(weights, images, labels)


def _loss(
    network: FlatNetwork, weights: torch.Tensor, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    return F.cross_entropy(network(weights, images), labels)


def _require_finite(training: Training, recipe: ExpertRecipe, block: range) -> None:
    """Refuse weights that nothing can be matched with, before they are stored."""
    finite = torch.isfinite(training.weights).all(1).tolist()
    for number, good in zip(block, finite, strict=True):
        if not good:
            gsam = f", or rho ({recipe.rho:g})" if recipe.rho else ""
            raise ExpertError(
                f"expert {number} has weights that are not finite after epoch {training.epoch}; "
                f"its training diverged: lower expert_lr ({recipe.lr:g}){gsam}",
                {"expert_lr": f"{recipe.lr / 10:g}"},
            )
