"""Where DATM starts: which images, and the label logits that the experts give them."""

from __future__ import annotations

import torch
from ddbench import Task, Unsupported

from .flat import FlatNetwork
from .storage import Experts

WALK = 256  # images judged at once on the walk through a class
FALLBACK_LOGIT = 10.0  # of the right class where no expert is right: softmax 0.9996 of 10 classes

# -- images --------------------------------------------------------------------------------------


def predicted_correctly(
    task: Task, network: FlatNetwork, experts: Experts, epoch: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ipc real images of each class that an expert classifies correctly, class by class.

    Each class is walked in random order with expert 0. Where it runs out, the next expert takes
    over, for the later classes too, and walks it again; what was kept stays. A class of which the
    experts together know fewer than ipc images is filled up in walking order. (C*ipc, ch, H, W)
    and their classes, (C*ipc,) int64.

    Raises:
        Unsupported: A class has fewer than ipc images.
    """
    if min(task.class_counts) < task.ipc:
        raise Unsupported(
            f"select = 'expert': the smallest class has {min(task.class_counts)} training images, "
            f"ipc is {task.ipc}; use a smaller ipc"
        )
    judge = 0
    chosen = []
    for c in range(task.num_classes):
        members = task.class_indices(c)
        order = members[torch.randperm(len(members), generator=generator)].to(task.device)
        kept: list[int] = []
        for judge in range(judge, len(experts)):  # noqa: B020  (the judge stays in office)
            weights = experts.weights(judge, epoch)
            kept = _walk(network, weights, task, order, c, kept)
            if len(kept) == task.ipc:
                break
        kept += [row for row in order.tolist() if row not in kept][: task.ipc - len(kept)]
        chosen += kept
    rows = torch.tensor(chosen, device=task.device)
    return task.images[rows].clone(), task.labels[rows].clone()


@torch.no_grad()
def _walk(
    network: FlatNetwork,
    weights: torch.Tensor,
    task: Task,
    order: torch.Tensor,
    c: int,
    kept: list[int],
) -> list[int]:
    """Return `kept` and the next images of class `c` that are classified correctly, ipc at most."""
    kept = list(kept)
    for rows in order.split(WALK):
        right = network(weights, task.images[rows]).argmax(1) == c
        new = [row for row in rows[right].tolist() if row not in kept]
        kept += new[: task.ipc - len(kept)]
        if len(kept) == task.ipc:
            break
    return kept


# -- labels --------------------------------------------------------------------------------------


@torch.no_grad()
def ensemble_labels(
    network: FlatNetwork, experts: Experts, epoch: int, images: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Return the mean logits of those experts that classify an image correctly, (M, C).

    `classes` (M,) are the true ones. Where no expert is right the mean would be 0/0: the image
    then gets a scaled one-hot label.
    """
    total = torch.zeros((), device=images.device)
    votes = torch.zeros(len(images), 1, device=images.device)
    for expert in range(len(experts)):
        logits = _logits(network, experts.weights(expert, epoch), images)  # (M, C)
        right = (logits.argmax(1) == classes)[:, None].to(logits.dtype)
        total = total + logits * right
        votes = votes + right
    fallback = FALLBACK_LOGIT * torch.nn.functional.one_hot(classes, logits.shape[1])
    return torch.where(votes > 0, total / votes.clamp(min=1), fallback.to(logits.dtype))


@torch.no_grad()
def single_labels(
    network: FlatNetwork, experts: Experts, epoch: int, images: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Return the logits of expert 0, right or wrong, (M, C)."""
    return _logits(network, experts.weights(0, epoch), images)


def _logits(network: FlatNetwork, weights: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([network(weights, part) for part in images.split(WALK)])


LABELS = {"ensemble_correct": ensemble_labels, "single": single_labels}
