"""Random selection: ipc random training images of each class.

The baseline of every condensation, and the same images from which the others start under
the init ``real`` and the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl, shortage

from ddbench_coresets.selection import condense_step as condense_step


@dataclass
class State:
    """The initial set, as the init made it."""

    images: torch.Tensor  # (C*ipc, ch, H, W) float32, normalised
    labels: torch.Tensor  # (C*ipc,) int64


@hookimpl
def describe() -> MethodInfo:
    """Say that there is nothing to do after the init."""
    return MethodInfo(
        inits=("real",),
        step="none",
        steps=lambda config, ipc: 0,
        needs=shortage,
        published=False,
        paper="random subset",
    )


@hookimpl
def prepare() -> bool:
    """Build nothing: no artifact is shared."""
    return True


@hookimpl
def init(synthetic: SyntheticSet) -> State:
    """Take the random images that the init ``real`` drew."""
    return State(synthetic.images, synthetic.hard_labels())


@hookimpl
def export(state: State) -> SyntheticSet:
    """Return them."""
    return SyntheticSet(state.images.detach().clone(), state.labels.clone())
