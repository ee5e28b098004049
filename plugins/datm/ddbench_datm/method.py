"""DATM: Difficulty-Aligned Trajectory Matching (Guo et al., ICLR 2024), and MTT.

Train a student on the synthetic set from the weights of an expert, and pull where it ends towards
where the expert went in some epochs of real data. MTT (Cazenavette et al., CVPR 2022) does that
with fixed labels from any early epoch. DATM draws its starts from a range of epochs that fits the
size of the set (early epochs hold easy patterns, for few images) and widens as it goes; it
learns soft labels too, and skips steps whose loss says that the student went astray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from ddbench import (
    Facts,
    MethodInfo,
    OptionsError,
    SyntheticSet,
    Task,
    Unsupported,
    has_batchnorm,
    hookimpl,
)
from ddbench.augment import operations
from ddbench.datasets import passes

from .experts import ExpertRecipe, Experts, trajectories
from .flat import FlatNetwork
from .matching import GRADIENTS, Match, Problem, draw_batches
from .start import LABELS, predicted_correctly


class Diverged(OptionsError):
    """The experts, the student's rate or the images left what training can work with."""


@dataclass(frozen=True)
class MTTConfig:
    """Options of MTT; the defaults are those of CIFAR-10 at ipc 10."""

    student_steps: int = 30  # N
    match_epochs: int = 2  # M_e, expert epochs between start and target
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

    # What DATM adds, at rest.
    min_start_epoch: ClassVar[int] = 0
    first_max_start_epoch: ClassVar[int] = 0
    expand_until: ClassVar[int] = 0
    threshold: ClassVar[float] = math.inf
    select: ClassVar[str] = "init"
    label_init: ClassVar[str] = "none"
    label_epoch: ClassVar[int] = -1
    rho: ClassVar[float] = 0.0
    gsam_alpha: ClassVar[float] = 0.0
    adaptive: ClassVar[bool] = True
    lr_labels: ClassVar[float] = 0.0
    momentum_labels: ClassVar[float] = 0.0


@dataclass(frozen=True)
class DATMConfig:
    """Options of DATM; the defaults are those of CIFAR-10 at ipc 10."""

    student_steps: int = 80  # N
    match_epochs: int = 2  # M_e, expert epochs between start and target
    min_start_epoch: int = 0  # T-
    first_max_start_epoch: int = 10  # T, exclusive, at step 0; 0: T+ from the start
    max_start_epoch: int = 20  # T+, exclusive, from step `expand_until` on
    expand_until: int = 1000  # the step at which the range has become [T-, T+)
    threshold: float = 1.0  # of the loss, above which a step changes nothing
    lr_images: float = 100.0
    lr_labels: float = 2.0
    lr_lr: float = 1e-5  # learning rate of the student's learning rate
    lr_student: float = 0.01  # alpha, where it starts
    lr_floor: float = 0.0  # what alpha may not fall below; 0, as published: no floor
    momentum: float = 0.5  # of the images' and alpha's updates
    momentum_labels: float = 0.9
    batch_synthetic: int = 0  # images in a student step; 0: the whole set
    augment: str = "dsa"  # of the student's batches: dsa (the dataset's own), none or a strategy
    grad_mode: str = "adjoint"  # or unroll (the same numbers, more memory), tesla (biased)
    select: str = "init"  # the init's images; or expert: expert 0 chooses, as the paper's code does
    label_init: str = "ensemble_correct"  # or single
    label_epoch: int = -1  # expert epoch that chooses images and gives labels; -1: the last
    batch_train: int = 128  # in the set's own evaluation
    experts: int = 100
    expert_epochs: int = 100
    expert_lr: float = 0.01
    expert_batch: int = 256
    expert_augment: str = "dsa"
    rho: float = 0.01  # GSAM's ascent; 0: plain SGD
    gsam_alpha: float = 0.3
    adaptive: bool = True  # ASAM's scaling of the ascent
    expert_seed: int = 0
    experts_together: int = 0  # trained at once; 0: 1 on CPU, 10 on CUDA
    keep: str = "all"  # snapshots stored: all, or only the window that these options can read


Config = DATMConfig | MTTConfig


@dataclass
class State:
    """What a condensation learns, and where it stands in the experts."""

    images: torch.Tensor  # (M, ch, H, W) float32, normalised; a leaf
    labels: torch.Tensor  # (M, C) float32 logits, a leaf; or (M,) int64, fixed
    lr: torch.Tensor  # () float32, the student's; a leaf
    optimizers: list[torch.optim.Optimizer]
    order: torch.Tensor  # (experts,) int64, CPU: the order in which this pass goes through them
    position: int  # in that order
    config: Config = field(metadata={"checkpoint": False})
    network: FlatNetwork = field(metadata={"checkpoint": False})
    experts: Experts = field(metadata={"checkpoint": False})


class TrajectoryMatching:
    """The algorithm of both methods; which of them it is, the options say."""

    def __init__(self, info: MethodInfo) -> None:
        """Take what the method tells about itself."""
        self.info = info

    @hookimpl
    def describe(self) -> MethodInfo:
        """Return what the method tells about itself."""
        return self.info

    @hookimpl
    def init(self, task: Task, synthetic: SyntheticSet | None, config: Config) -> State:
        """Get the experts, trained now if nobody has yet; start from their choice and labels."""
        network = student_network(task)
        recipe = expert_recipe(config, task.strategy, len(task.labels))
        experts = trajectories(task, network, recipe, config.experts, config.experts_together)
        if synthetic is None or own_init(config):
            generator = task.new_generator("expert's choice")
            images, labels = predicted_correctly(
                task, network, experts, config.label_epoch, generator
            )
        else:
            images, labels = synthetic.images.detach().clone(), synthetic.hard_labels().clone()
        if config.label_init != "none":
            label = LABELS[config.label_init]
            labels = label(network, experts, config.label_epoch, images, labels)
        if not task.shapes_only:
            require_startable(config, experts, labels)
        return _new_state(config, network, experts, images, labels)

    @hookimpl
    def condense_step(self, state: State, task: Task, step: int) -> dict[str, float]:
        """Match one stretch of one expert's trajectory; return the loss and what became of it."""
        config = state.config
        require_usable(state, step)
        expert = next_expert(state, task.generator)
        end = start_end(config, step)
        start = int(torch.randint(config.min_start_epoch, end, (), generator=task.generator))
        match = GRADIENTS[config.grad_mode](
            Problem(
                network=state.network,
                start=state.experts.weights(expert, start),
                target=state.experts.weights(expert, start + config.match_epochs),
                images=state.images,
                labels=state.labels,
                lr=state.lr,
                batches=draw_batches(
                    len(state.images),
                    config.batch_synthetic,
                    config.student_steps,
                    strategy(config.augment, task.strategy),
                    task.shape,
                    task.generator,
                ),
            )
        )
        loss = match.loss.item()
        # The gate of DATM, through which NaN does not pass either. MTT has none.
        passed = config.threshold == math.inf or loss <= config.threshold
        if passed:
            _update(state, match)
        return {
            "loss": loss,
            "gated": float(not passed),
            "lr_student": state.lr.item(),
            "start_epoch": float(start),
        }

    @hookimpl
    def export(self, state: State, task: Task) -> SyntheticSet:
        """Return images, labels, and the recipe: the learned rate above all."""
        require_usable(state, None)
        recipe = {
            "lr": state.lr.item(),
            "batch": state.config.batch_train,
            "augment": strategy(state.config.augment, task.strategy),
            "labels": "soft" if state.labels.is_floating_point() else "hard",
        }
        images, labels = state.images.detach().clone(), state.labels.detach().clone()
        return SyntheticSet(images, labels, recipe=recipe)


# -- parts of a step -----------------------------------------------------------------------------


def start_end(config: Config, step: int) -> int:
    """Return U, the exclusive upper end of the start epochs at a step.

    U = min(T+, T + floor((T+ - T) * step / expand_until)) where the range expands, else T+.
    """
    first, last = config.first_max_start_epoch, config.max_start_epoch
    if first == 0 or step >= config.expand_until:
        return last
    return first + (last - first) * step // config.expand_until


def next_expert(state: State, generator: torch.Generator) -> int:
    """Return the next expert of a random order, which is drawn again after each pass.

    The reference goes file by file, ten experts each; with all of them mapped there are no files
    to wait for.
    """
    if state.position == len(state.order):
        state.order.copy_(torch.randperm(len(state.order), generator=generator))
        state.position = 0
    state.position += 1
    return int(state.order[state.position - 1])


def require_startable(config: Config, experts: Experts, labels: torch.Tensor) -> None:
    """Raise where no step could change anything: the gate would skip every one without a word.

    Raises:
        Diverged: Initial labels are not finite, or an expert goes nowhere, or infinitely far.
    """
    if not torch.isfinite(labels).all():
        raise Diverged(
            f"initial labels hold NaN or infinite values: the experts' logits after epoch "
            f"{config.label_epoch} overflow; lower expert_lr ({config.expert_lr:g})",
            {"expert_lr": f"{config.expert_lr / 10:g}"},
        )
    start, end = config.min_start_epoch, config.min_start_epoch + config.match_epochs
    for expert in range(len(experts)):
        stretch = experts.weights(expert, end) - experts.weights(expert, start)
        distance = stretch.square().sum().item()  # the loss is in units of it
        if not (math.isfinite(distance) and distance > 0):
            which = "lower" if distance else "raise"
            raise Diverged(
                f"expert {expert} moves by {distance:.3g} (squared) from epoch {start} to {end}, "
                f"and must by a positive, finite distance; {which} expert_lr "
                f"({config.expert_lr:g})",
                {"expert_lr": f"{config.expert_lr * (0.1 if distance else 10):g}"},
            )


def require_usable(state: State, step: int | None) -> None:
    """Raise where nothing sensible can follow: in DATM the gate would otherwise skip for ever.

    Raises:
        Diverged: The student's learning rate is not positive and finite, or pixels are not finite.
    """
    if state.lr.is_meta:  # without content: it is being priced
        return
    lr = state.lr.item()
    place = "at the end" if step is None else f"before step {step}"
    if not (math.isfinite(lr) and lr > 0):
        raise Diverged(
            f"the student's learning rate is {lr:.3g} {place}, and must be positive; lower lr_lr "
            f"({state.config.lr_lr:g}), or set lr_floor",
            {"lr_lr": f"{state.config.lr_lr / 10:g}"},
        )
    if not torch.isfinite(state.images.detach()).all():
        raise Diverged(
            f"images hold NaN or infinite values {place}; lower lr_images "
            f"({state.config.lr_images:g})",
            {"lr_images": f"{state.config.lr_images / 10:g}"},
        )


def _update(state: State, match: Match) -> None:
    state.images.grad, state.lr.grad = match.images, match.lr
    if match.labels is not None:
        state.labels.grad = match.labels
    for optimizer in state.optimizers:
        optimizer.step()
    if state.config.lr_floor > 0:
        with torch.no_grad():
            state.lr.clamp_(min=state.config.lr_floor)


# -- parts of the start --------------------------------------------------------------------------


def student_network(task: Task) -> FlatNetwork:
    """Return the matched architecture as a function of its weights.

    Raises:
        Unsupported: It has batch norm, whose statistics no trajectory holds, or dropout, which
            would make a step that cannot be taken again.
    """
    module = task.new_network()
    if has_batchnorm(module):
        raise Unsupported(
            f"{task.architecture} has batch norm, and expert trajectories hold weights alone; "
            "match a network with instance norm"
        )
    if any(isinstance(part, torch.nn.modules.dropout._DropoutNd) for part in module.modules()):
        raise Unsupported(f"{task.architecture} has dropout, so its steps cannot be repeated")
    return FlatNetwork(module)


def expert_recipe(config: Config, dataset_strategy: str, images: int | None = None) -> ExpertRecipe:
    """Return how the experts are trained.

    `dataset_strategy` is the dataset's own augmentation, `images` the number of training images:
    of few of them an epoch is several passes.
    """
    return ExpertRecipe(
        augment=strategy(config.expert_augment, dataset_strategy),
        lr=config.expert_lr,
        batch=config.expert_batch,
        epochs=config.expert_epochs,
        rho=config.rho,
        alpha=config.gsam_alpha,
        adaptive=config.adaptive,
        seed=config.expert_seed,
        kept=None if config.keep == "all" else window(config),
        passes=1 if images is None else passes(images),
    )


def window(config: Config) -> tuple[int, ...]:
    """Return the epochs whose snapshots can be read: [T-, T+ - 1 + M_e], the labels', the last."""
    last = config.expert_epochs
    read = set(range(config.min_start_epoch, config.max_start_epoch + config.match_epochs))
    return tuple(sorted(read | {last, last if config.label_epoch == -1 else config.label_epoch}))


def strategy(option: str, dataset_strategy: str) -> str:
    """Return the strategy that an option means: "dsa" is the dataset's own."""
    return dataset_strategy if option == "dsa" else option


def _new_state(
    config: Config,
    network: FlatNetwork,
    experts: Experts,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> State:
    lr = torch.tensor(config.lr_student, device=images.device)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD([images.requires_grad_()], lr=config.lr_images, momentum=config.momentum),
        torch.optim.SGD([lr.requires_grad_()], lr=config.lr_lr, momentum=config.momentum),
    ]
    if labels.is_floating_point():
        labels.requires_grad_()
        optimizers.append(
            torch.optim.SGD([labels], lr=config.lr_labels, momentum=config.momentum_labels)
        )
    order = torch.zeros(len(experts), dtype=torch.int64)
    return State(images, labels, lr, optimizers, order, len(order), config, network, experts)


# -- what is known before any work ---------------------------------------------------------------


def own_init(config: Config) -> str | None:
    """Return the init that DATM makes by itself: the images that an expert knows."""
    return "spc" if config.select == "expert" else None


def impossible(config: Config, facts: Facts) -> str | None:
    """Return why no condensation can follow from these options, or None."""
    first, last = config.first_max_start_epoch, config.max_start_epoch
    furthest = last - 1 + config.match_epochs
    counts = ("student_steps", "match_epochs", "experts", "expert_epochs", "expert_batch")
    for name in counts:
        if getattr(config, name) < 1:
            return f"{name} is {getattr(config, name)}; expected at least 1"
    for name in ("batch_synthetic", "experts_together", "min_start_epoch", "first_max_start_epoch"):
        if getattr(config, name) < 0:
            return f"{name} is {getattr(config, name)}; expected at least 0"
    if config.min_start_epoch >= min(last, first or last):
        ends = f"max_start_epoch {last}" + (f", at first {first}" if first else "")
        return (
            f"no start epoch: min_start_epoch {config.min_start_epoch}, {ends}; "
            "the upper ends are exclusive"
        )
    if first > last:
        return f"first_max_start_epoch {first} is above max_start_epoch {last}; ranges only grow"
    if furthest > config.expert_epochs:
        return (
            f"the last start {last - 1} plus match_epochs {config.match_epochs} is epoch "
            f"{furthest}, beyond expert_epochs {config.expert_epochs}; train the experts longer"
        )
    return _unknown_choice(config)


def _unknown_choice(config: Config) -> str | None:
    choices = {
        "grad_mode": tuple(GRADIENTS),
        "keep": ("all", "window"),
        "select": ("init", "expert"),
    }
    if config.label_init != "none":
        choices["label_init"] = tuple(LABELS)
    for name, known in choices.items():
        if getattr(config, name) not in known:
            return f"{name} is {getattr(config, name)!r}; available: {', '.join(known)}"
    if not -1 <= config.label_epoch <= config.expert_epochs:
        return f"label_epoch is {config.label_epoch}; expected -1..{config.expert_epochs}"
    for name in ("augment", "expert_augment"):
        try:
            operations(strategy(getattr(config, name), "none"))
        except ValueError as error:
            return f"{name}: {error}"
    return None


BIBTEX_DATM = """@inproceedings{guo2024datm,
  title = {Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching},
  author = {Guo, Ziyao and Wang, Kai and Cazenavette, George and Li, Hui and Zhang, Kaipeng and
            You, Yang},
  booktitle = {ICLR},
  year = {2024}
}"""
BIBTEX_MTT = """@inproceedings{cazenavette2022mtt,
  title = {Dataset Distillation by Matching Training Trajectories},
  author = {Cazenavette, George and Wang, Tongzhou and Torralba, Antonio and Efros, Alexei A. and
            Zhu, Jun-Yan},
  booktitle = {CVPR},
  year = {2022}
}"""

# For 25 CPU seconds on mnist-mini at ipc 1: few, short experts that both methods share, short
# matches with a large rate, and no augmentation, which takes more steps to pay off.
QUICK: dict[str, Any] = {
    "experts": 2,
    "expert_epochs": 2,
    "expert_batch": 64,
    "expert_augment": "none",
    "match_epochs": 1,
    "max_start_epoch": 2,
    "student_steps": 8,
    "lr_student": 0.06,
    "lr_images": 150.0,
    "augment": "none",
    "grad_mode": "unroll",
    "steps": 100,
}
QUICK_DATM: dict[str, Any] = {
    **QUICK,
    "first_max_start_epoch": 0,
    "threshold": 1.1,
    "rho": 0.0,
}

datm = TrajectoryMatching(
    MethodInfo(
        config=DATMConfig,
        inits=("spc", "real", "noise"),
        default_init="spc",
        own_init=own_init,
        step="matching iteration",
        steps=lambda config, ipc: 10_000,
        quick=QUICK_DATM,
        check={"experts": 2, "expert_epochs": 5, "student_steps": 3, "max_start_epoch": 3},
        labels="soft",
        published_at={"dataset": ("cifar10-zca",), "ipc": (10,), "select": ("expert",)},
        needs=impossible,
        controls=({"steps": 0},),
        paper="Guo, Wang, Cazenavette, Li, Zhang & You: Towards Lossless Dataset Distillation via "
        "Difficulty-Aligned Trajectory Matching, ICLR 2024, arXiv:2310.05773",
        bibtex=BIBTEX_DATM,
    )
)
mtt = TrajectoryMatching(
    MethodInfo(
        config=MTTConfig,
        inits=("real", "noise", "spc"),
        default_init="real",
        step="matching iteration",
        steps=lambda config, ipc: 5_000,
        quick=QUICK,
        check={
            "experts": 2,
            "expert_epochs": 5,
            "student_steps": 3,
            "lr_lr": 1e-9,
            "lr_student": 1e-3,
        },
        labels="hard",
        own_recipe=True,  # the learned rate of the student
        published_at={"dataset": ("cifar10-zca",), "ipc": (10,), "init": ("real",)},
        needs=impossible,
        paper="Cazenavette, Wang, Torralba, Efros & Zhu: Dataset Distillation by Matching Training "
        "Trajectories, CVPR 2022, arXiv:2203.11932",
        bibtex=BIBTEX_MTT,
    )
)
