"""Expert trajectories: the weights of networks trained on the real data, after every epoch.

Made once, as artifacts that do not depend on the condensation's seed, and read a snapshot at a
time. The experts of MTT (Cazenavette et al., CVPR 2022) and of DATM (Guo et al., ICLR 2024).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import ddbench
import numpy as np
import torch
import torch.nn.functional as F
from ddbench import BuildContext, Task
from ddbench.augment import augment
from ddbench.discovery.fingerprints import file_fingerprint, package_fingerprint

from .flat import FlatNetwork
from .gsam import direction

KIND = "experts"
FORMAT = 1  # raised whenever a change here alters trajectories or their files
# What trains experts, less the harness, which has NUMERICS: of a local install these files are part
# of an expert's identity, and the rest of the package is not.
SOURCES = tuple(Path(__file__).with_name(name) for name in ("experts.py", "gsam.py", "flat.py"))
TOGETHER_ON_CUDA = 10  # experts trained at once: small networks leave a GPU mostly idle
JUDGED = 1000  # training images on which an expert's accuracy is recorded


class ExpertError(RuntimeError):
    """A trajectory that is missing, damaged or too short; says which and what to do."""


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
    """

    augment: str
    lr: float
    batch: int
    epochs: int
    rho: float
    alpha: float
    adaptive: bool
    seed: int = 0
    kept: tuple[int, ...] | None = None

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
        record["kept"] = list(self.snapshots)
        versions: dict[str, Any] = {"format": FORMAT, "numerics": ddbench.NUMERICS}
        code = edited_code("ddbench-datm", "ddbench_datm", SOURCES)
        if code is not None:
            versions["code"] = code
        return {"architecture": architecture, **record, **versions}


@cache  # of the files as they were first asked for: an edit does not reach a process that runs
def edited_code(name: str, package: str, sources: tuple[Path, ...]) -> str | None:
    """Return the hash of `sources` for a local install, None for a release, which has FORMAT."""
    try:
        installed = distribution(name)
        if package_fingerprint(installed, package) == installed.version:
            return None
    except PackageNotFoundError:  # on the path without an install
        pass
    hashes = "".join(file_fingerprint(source) for source in sources)
    return f"sha256:{hashlib.sha256(hashes.encode()).hexdigest()[:16]}"


# -- reading -------------------------------------------------------------------------------------


class Experts:
    """Trajectories on disk, memory-mapped: only the snapshots asked for are read."""

    def __init__(
        self, files: Sequence[Path], snapshots: Sequence[int], device: torch.device
    ) -> None:
        """Open one file for each expert; `snapshots` are the epochs of their rows."""
        self._rows = {epoch: row for row, epoch in enumerate(snapshots)}
        self._arrays = [_opened(file, len(snapshots)) for file in files]
        self._last = max(snapshots)
        self._device = device

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._arrays)

    def weights(self, expert: int, epoch: int) -> torch.Tensor:
        """Return an expert's weights after `epoch` epochs, -1 for the last, (P,) float32.

        Raises:
            ExpertError: There is no such snapshot.
        """
        row = self._rows.get(self._last if epoch == -1 else epoch)
        if row is None:
            raise ExpertError(
                f"expert {expert} has no snapshot after epoch {epoch}; it has "
                f"{_ranges(sorted(self._rows))}; train the experts longer, or keep more snapshots"
            )
        # A copy: torch may not share memory with a file opened for reading.
        return torch.from_numpy(np.array(self._arrays[expert][row])).to(self._device)


def _opened(file: Path, rows: int) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ExpertError(f"{file}: no readable trajectory ({error}); {_remedy(file)}") from error
    if array.ndim != 2 or len(array) != rows or array.dtype != np.float32:
        raise ExpertError(
            f"{file}: {array.dtype} of shape {array.shape}; expected float32 of {rows} rows; "
            f"{_remedy(file)}"
        )
    return array


def _remedy(file: Path) -> str:
    return f"remove the artifact {file.parent.name} and it is built again"


def _ranges(epochs: Sequence[int]) -> str:
    """Return rising numbers as text: 0..8, 40..61, 100."""
    parts: list[list[int]] = []
    for epoch in epochs:
        if parts and epoch == parts[-1][-1] + 1:
            parts[-1].append(epoch)
        else:
            parts.append([epoch])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}..{p[-1]}" for p in parts)


# -- making --------------------------------------------------------------------------------------


def trajectories(
    task: Task, network: FlatNetwork, recipe: ExpertRecipe, count: int, together: int = 0
) -> Experts:
    """Return the first `count` experts of `recipe`, trained now if nobody has yet.

    Each block of experts that train together is an artifact: alone on the CPU, where that is
    fastest and every smaller number of experts is then part of every larger one; by tens on CUDA.
    """
    files = []
    for block in blocks(count, together or default_together(task.device)):
        folder = task.artifact(
            KIND,
            {**recipe.spec(task.architecture), "first": block.start, "count": len(block)},
            partial(build, task, network, recipe, block),
        )
        files += [folder / trajectory_name(number) for number in block]
    return Experts(files, recipe.snapshots, task.device)


def default_together(device: torch.device) -> int:
    """Return how many experts train at once: stacking them is slower on a CPU (measured)."""
    return TOGETHER_ON_CUDA if device.type == "cuda" else 1


def blocks(count: int, together: int) -> list[range]:
    """Return the numbers of `count` experts in blocks of `together`, the last perhaps smaller."""
    return [range(first, min(first + together, count)) for first in range(0, count, together)]


def trajectory_name(number: int) -> str:
    """Return the file name of one expert's trajectory."""
    return f"expert-{number:04d}.npy"


def build(
    task: Task, network: FlatNetwork, recipe: ExpertRecipe, block: range, work: BuildContext
) -> None:
    """Train the experts of `block` into ``work.folder``, on from where an earlier build was."""
    if (work.folder / RECORD).exists():  # killed between the last file and the store's manifest
        return
    training = Training.begin(task, recipe, block)
    arrays = _storage(work.folder, recipe, block, network.count)
    if (work.folder / PROGRESS).exists():
        training.load(work.folder / PROGRESS)
    else:
        _store(arrays, recipe, training)
        training.save(work.folder / PROGRESS)
    while training.epoch < recipe.epochs:
        train_epoch(task, network, recipe, training, work.meter)
        _require_finite(training, recipe, block)
        _store(arrays, recipe, training)
        training.save(work.folder / PROGRESS)  # after the snapshot that it speaks of
        work.save()
    (work.folder / PROGRESS).unlink()
    _write_record(work.folder, task, network, recipe, block, training)


PROGRESS = "progress.npz"
RECORD = "experts.json"


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
        initial = [initial_weights(task, expert_seed(recipe.seed, n, "weights")) for n in block]
        generators = [
            torch.Generator().manual_seed(expert_seed(recipe.seed, n, "training")) for n in block
        ]
        return cls(0, torch.stack(initial), generators)

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        content = io.BytesIO()
        np.savez(
            content,
            epoch=np.array(self.epoch),
            weights=self.weights.cpu().numpy(),
            generators=torch.stack([g.get_state() for g in self.generators]).numpy(),
        )
        _write_whole(path, content.getvalue())

    def load(self, path: Path) -> None:
        """Take up what `save` wrote."""
        with np.load(path, allow_pickle=False) as saved:
            self.epoch = int(saved["epoch"])
            self.weights = torch.from_numpy(saved["weights"]).to(self.weights.device)
            for generator, state in zip(self.generators, saved["generators"], strict=True):
                generator.set_state(torch.from_numpy(state))


def expert_seed(seed: int, number: int, purpose: str) -> int:
    """Return the seed of one expert for one purpose, the same on every machine."""
    text = f"expert/{seed}/{number}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def initial_weights(task: Task, seed: int) -> torch.Tensor:
    """Return the weights of a new network that depend on `seed` alone, (P,).

    The task draws its networks from the condensation's seed, which experts must not depend on:
    its generator is lent another state, and put back.
    """
    before = task.generator_states()
    if "networks" not in before:
        task.new_generator("networks")
        before = task.generator_states()
    task.restore_generators({"networks": torch.Generator().manual_seed(seed).get_state()})
    try:
        return FlatNetwork(task.new_network()).weights()
    finally:
        task.restore_generators(before)


def train_epoch(
    task: Task,
    network: FlatNetwork,
    recipe: ExpertRecipe,
    training: Training,
    meter: Any,  # noqa: ANN401
) -> None:
    """Train every expert for one epoch, each on its own order and augmentation of the images."""
    streams = [task.batches(recipe.batch, generator) for generator in training.generators]
    for batches in zip(*streams, strict=True):
        with meter:
            drawn = zip(batches, training.generators, strict=True)
            images = torch.stack([augment(recipe.augment, g, batch[0]) for batch, g in drawn])
            labels = torch.stack([batch[1] for batch in batches])
            gradient = partial(gradients, network, images=images, labels=labels)
            step = direction(gradient, training.weights, recipe.rho, recipe.alpha, recipe.adaptive)
            # A new tensor, never in place: a snapshot that shares memory would move with it.
            training.weights = training.weights - recipe.lr * step
    training.epoch += 1


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
                f"its training diverged: lower expert_lr ({recipe.lr:g}){gsam}"
            )


def _storage(folder: Path, recipe: ExpertRecipe, block: range, parameters: int) -> list[np.memmap]:
    """Return the arrays of the block's trajectories on disk, (snapshots, P) float32 each."""
    shape = (len(recipe.snapshots), parameters)
    resumed = (folder / PROGRESS).exists()
    return [
        np.lib.format.open_memmap(folder / trajectory_name(n), mode="r+")
        if resumed
        else np.lib.format.open_memmap(
            folder / trajectory_name(n), mode="w+", dtype=np.float32, shape=shape
        )
        for n in block
    ]


def _store(arrays: list[np.memmap], recipe: ExpertRecipe, training: Training) -> None:
    """Write the weights as they stand into their row, if this epoch is kept."""
    if training.epoch not in recipe.snapshots:
        return
    row = recipe.snapshots.index(training.epoch)
    for array, weights in zip(arrays, training.weights, strict=True):
        array[row] = weights.cpu().numpy()
        array.flush()


def _write_record(
    folder: Path,
    task: Task,
    network: FlatNetwork,
    recipe: ExpertRecipe,
    block: range,
    training: Training,
) -> None:
    """Write what the listing and the verification need."""
    files = [folder / trajectory_name(n) for n in block]
    record = {
        "dataset": task.dataset,
        "architecture": task.architecture,
        "experts": list(block),
        "epochs": list(recipe.snapshots),
        "parameters": network.count,
        "train_accuracy": [train_accuracy(task, network, w) for w in training.weights],
        "sha256": {file.name: sha256(file) for file in files},
    }
    _write_whole(folder / RECORD, json.dumps(record, indent=1).encode() + b"\n")


@torch.no_grad()
def train_accuracy(task: Task, network: FlatNetwork, weights: torch.Tensor) -> float:
    """Return the share of (at most 1,000) training images that a network gets right, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(task.labels), generator=generator)[:JUDGED].to(task.device)
    parts = [network(weights, task.images[rows]).argmax(1) for rows in order.split(256)]
    return (torch.cat(parts) == task.labels[order]).float().mean().item()


def sha256(file: Path) -> str:
    """Return the hash of a file's bytes, hex."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
