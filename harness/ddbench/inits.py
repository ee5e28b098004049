"""Inits: the initial synthetic set of a condensation, so that no method makes its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ddbench.synthetic import SyntheticSet
from ddbench.task import Task


@dataclass(frozen=True)
class Init:
    """A way to make the initial set.

    Attributes:
        name: As written in the registry.
        build: Task -> initial set of ipc images in every class, class by class. It draws from
            ``task.new_generator("init")``.
        summary: One line for people.
    """

    name: str
    build: Callable[[Task], SyntheticSet]
    summary: str


def register_inits() -> dict[str, Init]:
    """Return the built-in inits."""
    inits = (
        Init("noise", noise, "standard normal pixels in the normalised space"),
        Init("real", real, "random training images of the class, none twice"),
    )
    return {init.name: init for init in inits}


def class_major_labels(task: Task) -> torch.Tensor:
    """Return 0, 0, .., 1, 1, .., (C*ipc,) int64: each class ipc times."""
    return torch.arange(task.num_classes, device=task.device).repeat_interleave(task.ipc)


def noise(task: Task) -> SyntheticSet:
    """Return images of standard normal pixels."""
    size = (task.num_classes * task.ipc, *task.shape)
    images = torch.randn(size, generator=task.new_generator("init"))
    return SyntheticSet(images.to(task.device), class_major_labels(task))


def real(task: Task) -> SyntheticSet:
    """Return ipc random training images of each class."""
    generator = task.new_generator("init")
    chosen = [task.real_images(c, task.ipc, generator).clone() for c in range(task.num_classes)]
    return SyntheticSet(torch.cat(chosen), class_major_labels(task))
