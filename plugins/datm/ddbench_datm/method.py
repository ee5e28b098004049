"""MTT, and DATM: Difficulty-Aligned Trajectory Matching (Guo et al., ICLR 2024).

Train a student on the synthetic set from the weights of an expert, and pull where it ends towards
where the expert went in some epochs of real data. MTT (Cazenavette et al., CVPR 2022) does that
with fixed labels from any early epoch. DATM draws its starts from a range of epochs that fits the
size of the set (early epochs hold easy patterns, for few images) and widens as it goes; it
learns soft labels too, and skips steps whose loss says that the student went astray.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from ddbench import MethodInfo, SyntheticSet, Task, hookimpl

from .checks import require_experts, require_labels, require_usable
from .experts import trajectories
from .flat import FlatNetwork, student_network
from .matching import GRADIENTS, Match, Problem, draw_batches
from .options import DATMConfig, MTTConfig
from .start import LABELS, predicted_correctly
from .storage import Experts


@dataclass
class State:
    """What a condensation learns, and where it stands in the experts."""

    images: torch.Tensor  # (M, ch, H, W) float32, normalised; a leaf
    labels: torch.Tensor  # (M, C) float32 logits, a leaf; or (M,) int64, fixed
    lr: torch.Tensor  # () float32, the student's; a leaf
    optimizers: list[torch.optim.Optimizer]
    order: torch.Tensor  # (experts,) int64, CPU: the order in which this pass goes through them
    position: int  # in that order
    config: MTTConfig = field(metadata={"checkpoint": False})
    network: FlatNetwork = field(metadata={"checkpoint": False})
    experts: Experts = field(metadata={"checkpoint": False})


class MTT:
    """The hooks of MTT."""

    def __init__(self, info: MethodInfo) -> None:
        """Take what the method tells about itself."""
        self.info = info

    @hookimpl
    def describe(self) -> MethodInfo:
        """Return what the method tells about itself."""
        return self.info

    @hookimpl
    def prepare(self, task: Task, config: MTTConfig) -> bool:
        """Train the experts."""
        experts_of(task, student_network(task), config)
        return True

    @hookimpl
    def init(self, task: Task, synthetic: SyntheticSet, config: MTTConfig) -> State:
        """Get the experts (train missing ones); start from the initial set."""
        network = student_network(task)
        experts = experts_of(task, network, config)
        require_experts(config, experts)
        images, labels = synthetic.images.detach().clone(), synthetic.hard_labels().clone()
        return new_state(config, network, experts, images, labels)

    # Algorithm 1 of MTT, and (DATM) what that adds. theta* expert, theta^ student, D synthetic set.
    #
    # sample an expert (theta*_0, theta*_1, ..)   | expert = next_expert(state, task.generator)
    # sample t < T+ (DATM: T- <= t < U)           | torch.randint(starts.start, starts.stop,
    # theta^_0 <- theta*_t                        | start=state.experts.weights(expert, start)
    # for n = 0 .. N-1:                           | for batch in problem.batches:
    #   sample a batch b of D, and A for it       | batches=draw_batches(
    #   theta^_n+1 <- theta^_n - alpha grad l     | weights = weights - lr * gradient
    # L <- |theta^_N - theta*_t+M|^2              | (weights - problem.target).square().sum()
    #      / |theta*_t - theta*_t+M|^2            | / problem.distance
    # (DATM) skip if L > threshold                | passed = config.accepts(loss)
    # D, alpha <- SGD on L (DATM: labels too)     | optimizer.step()
    @hookimpl
    def condense_step(self, state: State, task: Task, step: int) -> dict[str, float]:
        """Match one stretch of one expert's trajectory; return the loss and what became of it."""
        config = state.config
        require_usable(config, state.lr.item(), state.images, f"before step {step}")
        expert = next_expert(state, task.generator)
        starts = config.starts(step)
        start = int(torch.randint(starts.start, starts.stop, (), generator=task.generator))
        problem = Problem(
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
                task.resolve_strategy(config.augment),
                task.shape,
                task.generator,
            ),
        )
        match = GRADIENTS[config.grad_mode](problem)
        loss = match.loss.item()
        passed = config.accepts(loss)
        if passed:
            update(state, match)
        return {
            "loss": loss,
            "gated": float(not passed),
            "lr_student": state.lr.item(),
            "start_epoch": float(start),
        }

    @hookimpl
    def export(self, state: State, task: Task) -> SyntheticSet:
        """Return images, labels, and the recipe: the learned rate above all."""
        require_usable(state.config, state.lr.item(), state.images, "at the end")
        recipe = {
            "lr": state.lr.item(),
            "batch": state.config.batch_train,
            "augment": task.resolve_strategy(state.config.augment),
            "labels": "soft" if state.labels.is_floating_point() else "hard",
        }
        images, labels = state.images.detach().clone(), state.labels.detach().clone()
        return SyntheticSet(images, labels, recipe=recipe)


class DATM(MTT):
    """The hooks of DATM: MTT's, but for the start."""

    @hookimpl
    def init(  # type: ignore[override]  # its options are more than MTT's
        self, task: Task, synthetic: SyntheticSet | None, config: DATMConfig
    ) -> State:
        """Start from the experts' choice of images, if asked for, and from their labels."""
        network = student_network(task)
        experts = experts_of(task, network, config)
        if synthetic is None or own_init(config):
            generator = task.new_generator("expert's choice")
            images, classes = predicted_correctly(
                task, network, experts, config.label_epoch, generator
            )
        else:
            images, classes = synthetic.images.detach().clone(), synthetic.hard_labels()
        labels = LABELS[config.label_init](network, experts, config.label_epoch, images, classes)
        require_labels(config, labels)
        require_experts(config, experts)
        state = new_state(config, network, experts, images, labels.requires_grad_())
        state.optimizers.append(
            torch.optim.SGD([labels], lr=config.lr_labels, momentum=config.momentum_labels)
        )
        return state


def own_init(config: DATMConfig) -> str | None:
    """Return the init that DATM makes by itself: the images that an expert knows."""
    return "spc" if config.select == "expert" else None


def experts_of(task: Task, network: FlatNetwork, config: MTTConfig) -> Experts:
    """Return the experts that these options ask for; train those that do not exist."""
    recipe = config.recipe(task)
    return trajectories(task, network, recipe, config.experts, config.experts_together)


def new_state(
    config: MTTConfig,
    network: FlatNetwork,
    experts: Experts,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> State:
    """Return the state before the first step: images and the student's rate under SGD."""
    lr = torch.tensor(config.lr_student, device=images.device)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD([images.requires_grad_()], lr=config.lr_images, momentum=config.momentum),
        torch.optim.SGD([lr.requires_grad_()], lr=config.lr_lr, momentum=config.momentum),
    ]
    order = torch.zeros(len(experts), dtype=torch.int64)
    return State(images, labels, lr, optimizers, order, len(order), config, network, experts)


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


def update(state: State, match: Match) -> None:
    """Take one step of SGD on the gradients of a match."""
    state.images.grad, state.lr.grad = match.images, match.lr
    if match.labels is not None:
        state.labels.grad = match.labels
    for optimizer in state.optimizers:
        optimizer.step()
    if state.config.lr_floor > 0:
        with torch.no_grad():
            state.lr.clamp_(min=state.config.lr_floor)


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

datm = DATM(
    MethodInfo(
        config=DATMConfig,
        inits=("spc", "real", "noise"),
        default_init="spc",
        own_init=own_init,
        step="iteration",
        steps=lambda config, ipc: 10_000,
        quick=QUICK_DATM,
        check={"experts": 2, "expert_epochs": 5, "student_steps": 3, "max_start_epoch": 3},
        labels="soft",
        published_at={
            "dataset": ("cifar10-zca",),
            "arch": ("convnet",),
            "ipc": (10,),
            "init": ("spc",),
            "select": ("expert",),
        },
        canonical=lambda config, facts: config.canonical(facts),
        needs=lambda config, facts: config.obstacle(facts),
        controls=({"steps": 0},),
        paper="Guo, Wang, Cazenavette, Li, Zhang & You: Towards Lossless Dataset Distillation via "
        "Difficulty-Aligned Trajectory Matching, ICLR 2024, arXiv:2310.05773",
        bibtex=BIBTEX_DATM,
    )
)
mtt = MTT(
    MethodInfo(
        config=MTTConfig,
        inits=("real", "noise", "spc"),
        default_init="real",
        step="iteration",
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
        published_at={
            "dataset": ("cifar10-zca",),
            "arch": ("convnet",),
            "ipc": (10,),
            "init": ("real",),
        },
        canonical=lambda config, facts: config.canonical(facts),
        needs=lambda config, facts: config.obstacle(facts),
        paper="Cazenavette, Wang, Torralba, Efros & Zhu: Dataset Distillation by Matching Training "
        "Trajectories, CVPR 2022, arXiv:2203.11932",
        bibtex=BIBTEX_MTT,
    )
)
