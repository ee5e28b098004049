"""The options: those of MTT, and those of DATM, which are MTT's and more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from ddbench import Facts, Task, require
from ddbench.augment import check_strategy

from .experts import ExpertRecipe
from .matching import GRADIENTS
from .start import LABELS

OF_STEPS = (  # and of nothing else: neither of the experts, nor of the start, nor of the export
    "student_steps", "expand_until", "threshold", "lr_images", "lr_labels", "lr_lr", "lr_floor",
    "momentum", "momentum_labels", "first_max_start_epoch",
)  # fmt: skip


@dataclass(frozen=True)
class MTTConfig:
    """Options of MTT; the defaults are those of CIFAR-10 at ipc 10."""

    student_steps: int = 30  # N
    match_epochs: int = 2  # M, expert epochs between start and target
    max_start_epoch: int = 20  # T+, exclusive: starts are 0..T+ - 1
    lr_images: float = 100.0
    lr_lr: float = 1e-5  # learning rate of the student's learning rate
    lr_student: float = 0.001  # alpha, where it starts
    lr_floor: float = 0.0  # what alpha may not fall below; 0, as published: no floor
    momentum: float = 0.5  # of the images' and alpha's updates
    batch_synthetic: int = 0  # images in a student step; 0: the whole set
    augment: str = "dsa"  # of the student's batches: dsa (the dataset's own), none or a strategy
    grad_mode: str = "adjoint"  # or unroll (the same numbers, more memory), tesla (biased)
    batch_train: int = 256  # in the set's own evaluation
    experts: int = 100
    expert_epochs: int = 50
    expert_lr: float = 0.01
    expert_batch: int = 256
    expert_augment: str = "dsa"
    expert_seed: int = 0
    experts_together: int = 0  # trained at once; 0: 1 on CPU, 10 on CUDA
    keep: str = "all"  # snapshots stored: all, or only the window that these options can read

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        counts = ("student_steps", "match_epochs", "experts", "expert_epochs", "expert_batch")
        require(self, *counts, least=1)
        require(self, "batch_synthetic", "experts_together", least=0)
        require(self, "grad_mode", one_of=GRADIENTS)
        require(self, "keep", one_of=("all", "window"))
        for name in ("augment", "expert_augment"):
            try:
                check_strategy(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None

    def starts(self, step: int) -> range:
        """Return the epochs from which a student may start at a step."""
        return range(self.max_start_epoch)

    def all_starts(self) -> range:
        """Return the epochs from which a student may start at any step."""
        return range(self.max_start_epoch)

    def accepts(self, loss: float) -> bool:
        """Say whether a matching loss may change the set: MTT has no gate."""
        return True

    def epochs_read(self) -> set[int]:
        """Return the epochs whose snapshots are read: those of starts and targets, the last."""
        starts = self.all_starts()
        return {*range(starts.start, starts.stop + self.match_epochs), self.expert_epochs}

    def recipe(self, task: Task) -> ExpertRecipe:
        """Return how the experts are trained: by plain SGD."""
        return ExpertRecipe(
            augment=task.resolve_strategy(self.expert_augment),
            lr=self.expert_lr,
            batch=self.expert_batch,
            epochs=self.expert_epochs,
            seed=self.expert_seed,
            kept=None if self.keep == "all" else tuple(sorted(self.epochs_read())),
            passes=task.passes,
        )

    def canonical(self, facts: Facts) -> Self:
        """Return these options with those that change the result by rounding at most at one value.

        The exact gradients agree; how many experts train at once and which snapshots are stored
        changes none that is read; a student's batch of the whole set is one whatever its number.
        Without a step, the options of steps do nothing.
        """
        usual = vars(type(self)())
        idle = {} if facts.steps else {name: usual[name] for name in OF_STEPS if name in usual}
        whole = not facts.steps or self.batch_synthetic >= facts.ipc * facts.num_classes
        return replace(
            replace(self, **idle),
            grad_mode=self.grad_mode if facts.steps and self.grad_mode == "tesla" else "adjoint",
            batch_synthetic=0 if whole else self.batch_synthetic,
            experts_together=0,
            keep="all",
        )

    def obstacle(self, facts: Facts) -> str | None:
        """Return why no condensation can follow from these options, or None."""
        first, whole = self.starts(0), self.all_starts()
        if first.stop > whole.stop:
            return (
                f"first_max_start_epoch {first.stop} is above max_start_epoch {whole.stop}; "
                "ranges only grow"
            )
        if not first:  # nor the whole range, perhaps, which is never smaller
            at_first = f", at first {first.stop}" if first != whole else ""
            return (
                f"no start epoch: min_start_epoch {whole.start}, max_start_epoch "
                f"{whole.stop}{at_first}; the upper ends are exclusive"
            )
        furthest = whole[-1] + self.match_epochs
        if furthest > self.expert_epochs:
            return (
                f"the last start {whole[-1]} plus match_epochs {self.match_epochs} is epoch "
                f"{furthest}, beyond expert_epochs {self.expert_epochs}; train the experts longer"
            )
        return None


@dataclass(frozen=True)
class DATMConfig(MTTConfig):
    """Options of DATM: MTT's with defaults of its own, and its own; CIFAR-10 at ipc 10."""

    student_steps: int = 80
    lr_student: float = 0.01
    batch_train: int = 128
    expert_epochs: int = 100

    min_start_epoch: int = 0  # T-
    first_max_start_epoch: int = 10  # T, exclusive, at step 0; 0: T+ from the start
    expand_until: int = 1000  # the step at which the range has become [T-, T+)
    threshold: float = 1.0  # of the loss, above which a step changes nothing
    lr_labels: float = 2.0
    momentum_labels: float = 0.9
    select: str = "init"  # the init's images; or expert: expert 0 chooses, as the paper's code does
    label_init: str = "ensemble_correct"  # or single
    label_epoch: int = -1  # expert epoch that chooses images and gives labels; -1: the last
    rho: float = 0.01  # GSAM's ascent; 0: plain SGD
    gsam_alpha: float = 0.3  # doubtful on CIFAR-100 and Tiny-ImageNet: its author is not sure
    adaptive: bool = True  # ASAM's scaling of the ascent

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        require(self, "min_start_epoch", "first_max_start_epoch", least=0)
        require(self, "select", one_of=("init", "expert"))
        require(self, "label_init", one_of=LABELS)

    def starts(self, step: int) -> range:
        """Return [T-, U), where U = T + floor((T+ - T) * step / expand_until), and T+ at most."""
        first, last = self.first_max_start_epoch, self.max_start_epoch
        if first and step < self.expand_until:
            last = first + (last - first) * step // self.expand_until
        return range(self.min_start_epoch, last)

    def all_starts(self) -> range:
        """Return [T-, T+)."""
        return range(self.min_start_epoch, self.max_start_epoch)

    def accepts(self, loss: float) -> bool:
        """Say whether a loss passes the gate; NaN does not."""
        return loss <= self.threshold

    def epochs_read(self) -> set[int]:
        """Return MTT's, and the epoch that gives the labels."""
        return super().epochs_read() | ({self.label_epoch} - {-1})

    def recipe(self, task: Task) -> ExpertRecipe:
        """Return how the experts are trained: by GSAM."""
        return replace(
            super().recipe(task), rho=self.rho, alpha=self.gsam_alpha, adaptive=self.adaptive
        )

    def obstacle(self, facts: Facts) -> str | None:
        """Return why no condensation can follow from these options, or None."""
        if not -1 <= self.label_epoch <= self.expert_epochs:
            return f"label_epoch is {self.label_epoch}; expected -1..{self.expert_epochs}"
        return super().obstacle(facts)
