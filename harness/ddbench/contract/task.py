"""The task: all that a method sees of its condensation. It never holds the test set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ddbench import architectures, augment
from ddbench.contract.artifacts import Artifact, ArtifactStore, BuildContext
from ddbench.datasets import EPOCH_IMAGES, passes
from ddbench.datasets.source import seed_name
from ddbench.store.hashing import seed_of


@dataclass(frozen=True)
class Split:
    """Indices of training images, for choices that must not touch the test set."""

    fit: torch.Tensor  # (n_fit,) int64
    held_out: torch.Tensor  # (n_held_out,) int64


@dataclass(frozen=True)
class ArtifactRequest:
    """An artifact that a method or an init asks for (see `Task.artifact`).

    `spec` has the dataset's fingerprint.
    """

    kind: str
    spec: Mapping[str, Any]
    build: Callable[[BuildContext], None]
    steps: int
    step: Callable[[], object] | None


class Task:
    """One condensation's data, networks, augmentation and randomness.

    Attributes:
        dataset: Name of the dataset.
        fingerprint: Hash of its content and preprocessing.
        architecture: Name of the matched architecture.
        num_classes: C.
        shape: (ch, H, W) of an image.
        ipc: Images per class that the set may have.
        seed: Seed of the condensation.
        device: Where the tensors are.
        images: (n, ch, H, W) float32, the normalised training images. Not to be written to.
        labels: (n,) int64.
        strategy: Name of the dataset's augmentation strategy (no flips for digits).
        generator: The method's own source of randomness, on the CPU.
        catalogue: Architecture families, None for the built-in ones.
        artifacts_used: What `artifact` has returned so far.
        chose_on_split: Whether `split` has been called.
        shapes_only: Whether its images have a shape and no content, and no artifact is built: the
            task is there to be priced.
        on_build: Is told of the steps of an artifact's build. For the runner.
    """

    shapes_only = False

    def __init__(
        self,
        *,
        images: torch.Tensor,
        labels: torch.Tensor,
        num_classes: int,
        dataset: str,
        fingerprint: str,
        strategy: str,
        architecture: str,
        ipc: int,
        seed: int,
        store: ArtifactStore,
        catalogue: Mapping[str, architectures.Architecture] | None = None,
        epoch_images: int = EPOCH_IMAGES,
    ) -> None:
        """Made by the runner. Every generator derives from `seed` and a name of its own."""
        self.dataset, self.fingerprint, self.strategy = dataset, fingerprint, strategy
        self.architecture, self.ipc, self.seed = architecture, ipc, seed
        self.num_classes = num_classes
        self.shape: tuple[int, int, int] = (images.shape[1], images.shape[2], images.shape[3])
        self.images, self.labels, self.device = images, labels, images.device
        self.artifacts_used: dict[str, Artifact] = {}
        self.chose_on_split = False
        self.on_build: Callable[[Mapping[str, Any]], None] = lambda event: None
        self._store, self.catalogue, self._epoch_images = store, catalogue, epoch_images
        self._members = [torch.nonzero(labels.cpu() == c).flatten() for c in range(num_classes)]
        self._generators: dict[str, torch.Generator] = {}
        self.generator = self.new_generator("method")
        self._meter: Any = None  # the runner's StepMeter while a hook runs

    # -- randomness ------------------------------------------------------------------------

    def new_generator(self, name: str) -> torch.Generator:
        """Return a CPU generator seeded by the condensation's seed and `name` alone.

        The harness keeps those it uses itself; a method keeps its own in its state.
        """
        generator = torch.Generator()
        data = seed_name(self.dataset, self.fingerprint)
        generator.manual_seed(seed_of(self.seed, data, name))
        self._generators[name] = generator
        return generator

    def _own(self, name: str) -> torch.Generator:
        return self._generators.get(name) or self.new_generator(name)

    def generator_states(self) -> dict[str, torch.Tensor]:
        """Return the states of all generators made so far, for a checkpoint."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def restore_generators(self, states: Mapping[str, torch.Tensor]) -> None:
        """Set every generator back to a saved state."""
        for name, state in states.items():
            self._own(name).set_state(state)

    @contextmanager
    def without_a_trace(self) -> Iterator[None]:
        """Let a block draw and compute, off every clock, as if it had never been run.

        For the runner, which looks at the set between two steps.
        """
        before = self.generator_states()
        try:
            with self.metered_by(None):
                yield
        finally:
            for name in self._generators.keys() - before.keys():
                del self._generators[name]
            self.restore_generators(before)

    # -- data ------------------------------------------------------------------------------

    def class_indices(self, c: int) -> torch.Tensor:
        """Return the indices of the training images of class `c`, (n_c,) int64 on the CPU."""
        return self._members[c].clone()

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, C numbers."""
        return tuple(len(members) for members in self._members)

    @property
    def passes(self) -> int:
        """How often an epoch goes over the training images: several times where they are few."""
        return self.passes_over(len(self.labels))

    def passes_over(self, images: int) -> int:
        """Return how often an epoch goes over a part of so many of the training images."""
        return passes(images, self._epoch_images)

    def real_images(
        self, c: int, count: int, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return `count` random training images of class `c`, (count, ch, H, W), none twice.

        All of them, in random order, when the class has no more.
        """
        members = self._members[c]
        order = torch.randperm(len(members), generator=generator or self._own("real"))
        return self.images[members[order[:count]].to(self.device)]

    def batches(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Go once through the training set in random order: (B, ch, H, W) images, (B,) labels.

        The last batch may be smaller.
        """
        order = torch.randperm(len(self.labels), generator=generator or self._own("batches"))
        for chosen in order.to(self.device).split(size):
            yield self.images[chosen], self.labels[chosen]

    def split(self, fraction: float) -> Split:
        """Split the training images at random, class by class: `fraction` of each is held out.

        For choices a method makes (a step size, a stopping point); its row says that it did.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"task.split: fraction is {fraction}; expected between 0 and 1")
        self.chose_on_split = True
        generator = self._own("split")
        fit, held_out = [], []
        for members in self._members:
            order = members[torch.randperm(len(members), generator=generator)]
            kept = min(len(order) - 1, max(1, round(fraction * len(order))))
            held_out.append(order[:kept])
            fit.append(order[kept:])
        return Split(torch.cat(fit).to(self.device), torch.cat(held_out).to(self.device))

    # -- networks and augmentation ---------------------------------------------------------

    def new_network(
        self, architecture: str | None = None, seed: int | None = None
    ) -> architectures.Network:
        """Return a freshly initialised network in train mode, on the device.

        It has ``forward`` (B, ch, H, W) -> logits (B, C) and ``embed`` -> features (B, d). Each
        call draws a new one; the same seed draws the same ones on CPU and GPU. With `seed` its
        weights depend on that alone, not on the condensation's seed, and nothing is drawn: for
        networks that condensations share.
        """
        fixed = None if seed is None else torch.Generator().manual_seed(seed)
        drawn = int(torch.randint(2**62, (1,), generator=fixed or self._own("networks")))
        network = build_network(
            architecture or self.architecture,
            self.shape,
            self.num_classes,
            drawn,
            self.device,
            self.catalogue,
        )
        return cast(architectures.Network, network)  # a third party's has the same two functions

    def resolve_strategy(self, name: str | None) -> str:
        """Return the strategy that an option means: "dsa", or None, is the dataset's own."""
        return augment.resolve(name or augment.OWN, self.strategy)

    def augment_alike(
        self, *batches: torch.Tensor, strategy: str | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Return the batches under one and the same random transform (siamese augmentation).

        `strategy` None, or "dsa", is the dataset's own; "none" returns the batches as they are.
        """
        generator = self._own("augment")
        return augment.augment_alike(self.resolve_strategy(strategy), generator, *batches)

    def augment(self, images: torch.Tensor, strategy: str | None = None) -> torch.Tensor:
        """Return (B, ch, H, W) `images` under one random operation, parameters for each image."""
        return augment.augment(self.resolve_strategy(strategy), self._own("augment"), images)

    # -- costs that are shared or unseen -----------------------------------------------------

    def artifact(
        self,
        kind: str,
        spec: Mapping[str, Any],
        build: Callable[[BuildContext], None],
        *,
        steps: int = 0,
        step: Callable[[], object] | None = None,
    ) -> Path:
        """Return the folder of something costly that several condensations share.

        `spec` (plain values) must hold everything that determines it; the dataset's fingerprint
        is added here. `build(work)` fills ``work.folder`` once. Neither building nor
        waiting for another builder counts as condensing; the build is metered once, by itself.

        `steps` is how often `build` enters the meter: the progress shows it. `step` does one such
        step on tensors of the task and keeps nothing: `ddbench plan` counts it. Where the task is
        `shapes_only` nothing is built, and the folder is empty.
        """
        spec = {"dataset": self.fingerprint, **spec}
        return self._provide(ArtifactRequest(kind, spec, build, steps, step))

    def _provide(self, wanted: ArtifactRequest) -> Path:
        about = {"artifact": wanted.kind, "of": wanted.steps, "metrics": {}}
        with self.off_the_clock():
            artifact = self._store.get(
                wanted.kind,
                wanted.spec,
                wanted.build,
                self.device,
                self.dataset,
                waiting=lambda: self.on_build({**about, "step": 0, "waiting": True}),
                report=lambda done: self.on_build({**about, "step": done}),
            )
        self.artifacts_used[artifact.id] = artifact
        return artifact.folder

    def count_flops(self, count: int, why: str) -> None:
        """Report `count` operations that torch cannot see (a library's own loops, say)."""
        if self._meter is not None:
            self._meter.add_flops(count, why)

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Keep a block out of the condensing time: waits and shared work."""
        if self._meter is None:
            yield
        else:
            with self._meter.excluding():
                yield

    @contextmanager
    def metered_by(self, meter: Any) -> Iterator[None]:  # noqa: ANN401
        """Let `count_flops` and `off_the_clock` speak to `meter` for the block. For the runner."""
        before, self._meter = self._meter, meter
        try:
            yield
        finally:
            self._meter = before


def build_network(
    architecture: str,
    shape: tuple[int, int, int],
    num_classes: int,
    seed: int,
    device: torch.device,
    catalogue: Mapping[str, architectures.Architecture] | None = None,
) -> torch.nn.Module:
    """Return a network whose weights depend on `seed` alone, the same on CPU and GPU.

    Built on the CPU: PyTorch's default initialisation draws from the global generator, so this
    is the one place that seeds it, inside a fork that puts it back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architectures.build(architecture, shape, num_classes, catalogue=catalogue)
    return network.to(device)
