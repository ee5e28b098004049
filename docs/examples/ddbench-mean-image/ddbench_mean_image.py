"""mean-image: pull the synthetic images of each class towards the mean of its real images.

An example to start from: put your own idea into `condense_step`.
"""

from dataclasses import dataclass

import torch
from ddbench import MethodInfo, SyntheticSet, Task, hookimpl


@dataclass(frozen=True)
class Config:
    """The options and their defaults; `--set mean-image.lr_images=0.5` changes one."""

    lr_images: float = 1.0
    batch_real: int = 64  # real images per class and step


@dataclass
class State:
    """All that a step advances: a run that is killed goes on from its last saved state."""

    images: torch.Tensor  # (C*ipc, ch, H, W) float32, normalised; the leaf being optimised
    labels: torch.Tensor  # (C*ipc,) int64
    optimizer: torch.optim.Optimizer
    batch_real: int


@hookimpl
def describe() -> MethodInfo:
    """Tell the harness about the options, and how many steps a full and a quick run take."""
    return MethodInfo(config=Config, steps=lambda config, ipc: 500, quick={"steps": 100})


@hookimpl
def init(synthetic: SyntheticSet, config: Config) -> State:
    """Start from the images that the harness made: real ones, or noise."""
    images = synthetic.images.clone().requires_grad_()
    optimizer = torch.optim.SGD([images], lr=config.lr_images)
    return State(images, synthetic.hard_labels().clone(), optimizer, config.batch_real)


@hookimpl
def condense_step(state: State, task: Task) -> dict[str, float]:
    """Take one step; the numbers returned are the curve of the run."""
    loss = state.images.new_zeros(())  # on the device of the images
    for c in range(task.num_classes):
        real = task.real_images(c, state.batch_real)  # (batch_real, ch, H, W), random
        loss += (state.images[state.labels == c] - real.mean(0)).square().sum()
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    return {"loss": loss.item()}


@hookimpl
def export(state: State) -> SyntheticSet:
    """Return the set as it stands, as a copy: more steps may follow."""
    return SyntheticSet(state.images.detach().clone(), state.labels.clone())
