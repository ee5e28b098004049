"""The shared feature network, trained once on the real training set, and its features.

Selection methods and inits look at real images through it. It is an artifact, the same one for
every condensation seed, so that its cost is paid once and shown once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from ddbench import NUMERICS
from ddbench.contract.artifacts import BuildContext
from ddbench.contract.task import Split, Task, build_network
from ddbench.store.atomic_files import write_json, write_whole
from ddbench.store.hashing import seed_of
from ddbench.store.tensor_trees import load_tree, save_tree
from ddbench.training import Recipe, cross_entropy, new_optimizer, predict

SEED = 0  # not the condensation's: all seeds share one network
RECIPE = Recipe(epochs=20, optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=0.0, batch=256)
HELD_OUT = 0.1  # of the training images of each class, to know how good the network is
FLOOR = 0.1  # of the way from chance to perfect
SAVE_S = 20.0  # seconds of training that a kill may cost at most, beside the epoch under way

WEIGHTS, ACCURACY = "network.safetensors", "accuracy.json"


class FeatureError(RuntimeError):
    """A feature network that cannot be trained, read or used; says why and what to do."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A feature network, and how good it is.

    Attributes:
        network: In eval mode, on the task's device; ``forward`` and ``embed`` as all networks.
        architecture: Its name.
        epochs: Passes over the training images that it was trained for.
        accuracy: Mean over the classes of the share of held-out training images that it
            classifies correctly, in [0, 1].
        held_out: Number of these images.
    """

    network: torch.nn.Module
    architecture: str
    epochs: int
    accuracy: float
    held_out: int

    def measures(self, role: str = "feature") -> dict[str, float | int | str]:
        """Return what a synthetic set made with it records in its measures.

        `role` is what the network was: of a "teacher" the accuracy is ``teacher_accuracy``.
        """
        return {
            f"{role}_network": self.architecture,
            f"{role}_epochs": self.epochs,
            f"{role}_accuracy": self.accuracy,
        }


def trained_network(
    task: Task, architecture: str = "convnet", epochs: int = RECIPE.epochs, floor: float = FLOOR
) -> TrainedNetwork:
    """Return the shared network of `task`'s dataset; train it if that has not been done.

    It is trained by `RECIPE` on nine tenths of the training images and judged on the rest, class
    by class. `floor` is the least accuracy taken, as a share of the way from chance (1/C) to 1. Of
    few images an epoch is several passes (`datasets.passes`).

    Raises:
        FeatureError: The network stays below the floor, no class has two images, or the stored
            network is damaged.
    """
    recipe = replace(RECIPE, epochs=epochs)
    spec = {
        "architecture": architecture,
        "seed": SEED,
        "held_out": HELD_OUT,
        "numerics": NUMERICS,
        **asdict(recipe),
    }
    split = _split(task)
    if (several := task.passes_over(len(split.fit))) > 1:
        spec["passes"] = several
    folder = task.artifact(
        "network",
        spec,
        lambda work: _build(task, architecture, recipe, split, work),
        steps=epochs * several * math.ceil(len(split.fit) / recipe.batch),
        step=lambda: _one_step(task, architecture, recipe, split),
    )
    if task.shapes_only:
        network = _untrained(task, architecture).eval()
        return TrainedNetwork(network, architecture, epochs, 1.0, len(split.held_out))
    trained = _load(task, architecture, epochs, folder)
    _check_floor(task, trained, floor)
    return trained


@torch.no_grad()
def features(network: torch.nn.Module, images: torch.Tensor, batch: int = 256) -> torch.Tensor:
    """Return the embeddings of (n, ch, H, W) images by `network` in eval mode, (n, d).

    The network's mode is put back.
    """
    embed = cast(Callable[[torch.Tensor], torch.Tensor], network.embed)
    training = network.training
    network.eval()
    try:
        return torch.cat([embed(part) for part in images.split(batch)])
    finally:
        network.train(training)


def class_features(network: torch.nn.Module, task: Task, c: int) -> torch.Tensor:
    """Return the features of the training images of class `c`, (n_c, d), in index order."""
    return features(network, task.images[task.class_indices(c).to(task.device)])


def distances(points: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean distances of (n, d) `points` to one (d,) `point`, (n,).

    By differences, not by the product formula: equal points are exactly 0 apart, and nothing as
    large as `points` is allocated.
    """
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points, point[None], compute_mode=exact).squeeze(1)


# -- building --------------------------------------------------------------------------------


@dataclass
class _Progress:
    """A network in training, as it is kept between two epochs."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # the order of the images
    epochs_done: int = 0

    def save(self, path: Path) -> None:
        """Write where the training stands."""
        tree = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "epochs_done": self.epochs_done,
        }
        save_tree(path, tree)

    def restore(self, path: Path) -> None:
        """Go back to where `save` was called."""
        tree = load_tree(path)
        self.network.load_state_dict(tree["network"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.generator.set_state(tree["generator"])
        self.epochs_done = tree["epochs_done"]


def _build(task: Task, architecture: str, recipe: Recipe, split: Split, work: BuildContext) -> None:
    """Train the network, or go on from the last epoch that an earlier attempt kept."""
    progress = _begin(task, architecture, recipe)
    if work.progress.exists():
        progress.restore(work.progress)
    saved = work.seconds
    while progress.epochs_done < recipe.epochs:
        _train_epoch(progress, task, split.fit, recipe.batch, work)
        progress.epochs_done += 1
        if work.seconds - saved >= SAVE_S:
            work.save()
            progress.save(work.progress)
            saved = work.seconds
    _finish(task, progress.network, split.held_out, work.folder)


def _split(task: Task) -> Split:
    """Hold a share of each class out. Not by `Task.split`, which depends on the seed."""
    generator = torch.Generator().manual_seed(seed_of(SEED, "feature network", "split"))
    fit, held_out = [], []
    for c in range(task.num_classes):
        members = task.class_indices(c)
        order = members[torch.randperm(len(members), generator=generator)]
        out = max(0, min(len(order) - 1, max(1, round(HELD_OUT * len(order)))))
        held_out.append(order[:out])
        fit.append(order[out:])
    split = Split(torch.cat(fit), torch.cat(held_out))
    if not len(split.held_out):
        raise FeatureError(
            f"feature network on {task.dataset}: training images per class are "
            f"{list(task.class_counts)}, so none can be held out; some class needs at least 2"
        )
    return split


def _begin(task: Task, architecture: str, recipe: Recipe) -> _Progress:
    network = _untrained(task, architecture)
    generator = torch.Generator().manual_seed(seed_of(SEED, "feature network", "order"))
    return _Progress(network, new_optimizer(network, recipe, recipe.lr), generator)


def _untrained(task: Task, architecture: str) -> torch.nn.Module:
    seed = seed_of(SEED, "feature network", "weights")
    # the task's own catalogue, because a third party's architecture may be asked for
    catalogue = task.catalogue
    return build_network(architecture, task.shape, task.num_classes, seed, task.device, catalogue)


def _train_epoch(
    progress: _Progress, task: Task, fit: torch.Tensor, batch: int, work: BuildContext
) -> None:
    progress.network.train()
    for _ in range(task.passes_over(len(fit))):
        order = fit[torch.randperm(len(fit), generator=progress.generator)].to(task.device)
        # equal batches, at most `batch` large: no tiny last step, and steps of equal cost to meter
        for chosen in order.tensor_split(math.ceil(len(order) / batch)):
            with work.meter:
                _train_step(progress, task, chosen)


def _train_step(progress: _Progress, task: Task, chosen: torch.Tensor) -> None:
    loss = cross_entropy(progress.network(task.images[chosen]), task.labels[chosen])
    progress.optimizer.zero_grad()
    loss.backward()
    progress.optimizer.step()


def _one_step(task: Task, architecture: str, recipe: Recipe, split: Split) -> None:
    """Train a new network for one step, to price what a build costs."""
    first = split.fit.tensor_split(math.ceil(len(split.fit) / recipe.batch))[0]
    _train_step(_begin(task, architecture, recipe), task, first.to(task.device))


def _finish(task: Task, network: torch.nn.Module, held_out: torch.Tensor, folder: Path) -> None:
    correct = _correct(network, task, held_out)
    labels = task.labels.cpu()[held_out]
    recalls = [correct[labels == c].mean().item() for c in labels.unique()]
    record = {"accuracy": sum(recalls) / len(recalls), "held_out": len(held_out)}
    weights = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    write_json(folder / ACCURACY, record)
    write_whole(folder / WEIGHTS, to_safetensors(weights))


def _correct(network: torch.nn.Module, task: Task, indices: torch.Tensor) -> torch.Tensor:
    """Return 1.0 where the network is right and 0.0 where not, (n,) on the CPU."""
    chosen = indices.to(task.device)
    hits = predict(network, task.images[chosen]).argmax(1) == task.labels[chosen]
    return hits.double().cpu()


# -- reading ---------------------------------------------------------------------------------


def _load(task: Task, architecture: str, epochs: int, folder: Path) -> TrainedNetwork:
    """Return the stored network; its builder reads it too, so that all jobs use the same one."""
    network = _untrained(task, architecture)
    try:
        record = json.loads((folder / ACCURACY).read_bytes())
        network.load_state_dict(load_file(folder / WEIGHTS))
        accuracy, held_out = float(record["accuracy"]), int(record["held_out"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise FeatureError(
            f"{folder}: the stored {architecture} cannot be read ({error}); "
            "remove this folder, and the next run trains the network again"
        ) from error
    return TrainedNetwork(network.eval(), architecture, epochs, accuracy, held_out)


def _check_floor(task: Task, trained: TrainedNetwork, floor: float) -> None:
    chance = 1 / task.num_classes
    least = chance + floor * (1 - chance)
    if trained.accuracy < least:
        raise FeatureError(
            f"feature network on {task.dataset}: {trained.architecture} after {trained.epochs} "
            f"epochs classifies {trained.accuracy:.1%} of {trained.held_out} held-out training "
            f"images (mean over the classes), the floor is {least:.1%} (chance {chance:.1%}); "
            "train it longer, take another network, or lower the floor"
        )
