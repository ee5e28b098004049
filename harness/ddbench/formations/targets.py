"""The third stage: what a network should answer to a batch of views.

`stored` takes the labels of the set; `replayed` labels that are stored for each view; `teacher`
asks networks whose weights are in the set. There is no reference to a file elsewhere: a teacher is
part of the set, or there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ddbench import architectures
from ddbench.contract.synthetic_set import SUM_WITHIN, SetError, SyntheticSet
from ddbench.contract.task import build_network
from ddbench.formations.batches import Targets, View, stored_targets
from ddbench.formations.parts import Fit, Formation, Own, name_of
from ddbench.meter import forward_macs

MOST_TEACHERS = 16


@dataclass(frozen=True)
class Stored:
    """Options of `stored`: what the labels of the set are."""

    kind: Literal["index", "logits", "probabilities", "regression"] | None = None


@dataclass(frozen=True)
class Replayed:
    """Options of `replayed`: what the stored labels of the views are."""

    kind: Literal["logits", "probabilities"] = "logits"


@dataclass(frozen=True)
class Teacher:
    """Options of `teacher`: networks by name, and how several become one target."""

    architectures: tuple[str, ...]
    combine: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
        """Refuse more networks than a set may hold."""
        if not 1 <= len(self.architectures) <= MOST_TEACHERS:
            raise ValueError(
                f"{len(self.architectures)} architectures; expected 1 to {MOST_TEACHERS}"
            )


def teacher_payload(*networks: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors by which a set stores its teachers: ``teacher.<k>/<state key>``."""
    return {
        f"teacher.{k}/{key.lower()}": value.detach().clone()
        for k, network in enumerate(networks)
        for key, value in network.state_dict().items()
    }


def teachers(options: Teacher, synthetic: SyntheticSet, fit: Fit) -> list[torch.nn.Module]:
    """Return the teachers of a set, in eval mode and without gradients.

    Raises:
        SetError: An architecture is unknown, or the payload is not exactly its weights.
    """
    return [_network(name, k, synthetic, fit) for k, name in enumerate(options.architectures)]


@torch.no_grad()
def answer(networks: Sequence[torch.nn.Module], combine: str, images: torch.Tensor) -> torch.Tensor:
    """Return the mean of the networks' logits, or of their "probabilities", (B, C)."""
    logits = torch.stack([network(images) for network in networks])
    return (logits if combine == "logits" else logits.softmax(2)).mean(0)


def _network(name: str, k: int, synthetic: SyntheticSet, fit: Fit) -> torch.nn.Module:
    place = f"teacher.{k}/"
    stored = {
        key.removeprefix(place): tensor
        for key, tensor in synthetic.payload.items()
        if key.startswith(place)
    }
    device = synthetic.images.device
    expected = _expected(name, k, fit)
    for key in sorted(stored.keys() | expected.keys()):
        found, wanted = stored.get(key), expected.get(key)
        if found is None or wanted is None or found.shape != wanted.shape:
            raise SetError(
                f"teacher {k} ({name}): the payload and the network differ in {place}{key}"
            )
    network = build_network(name, fit.shape, fit.num_classes, 0, device, fit.catalogue)
    keys = {key.lower(): key for key in network.state_dict()}
    network.load_state_dict({keys[key]: tensor for key, tensor in stored.items()})
    return network.requires_grad_(False).eval()


def _expected(name: str, k: int, fit: Fit) -> dict[str, torch.Tensor]:
    """Return the state of a network with its shapes and without its numbers."""
    try:
        network = architectures.outline(name, fit.shape, fit.num_classes, fit.catalogue)
    except ValueError as error:
        raise SetError(f"teacher {k}: {error}") from error
    return {key.lower(): tensor for key, tensor in network.state_dict().items()}


def _stored(options: Stored, own: Own) -> Targets:
    labels = own.synthetic.labels[own.decoded.source]
    return stored_targets(labels, own.synthetic.label_kind)


def _replayed(options: Replayed, own: Own) -> Targets:
    targets = own.synthetic.payload["targets"]

    def of(view: View, images: torch.Tensor) -> torch.Tensor:
        return targets[view.epoch, view.start : view.start + len(images)].float()

    return Targets(options.kind, of, of_mixed=True)


def _of_teacher(options: Teacher, own: Own) -> Targets:
    networks = teachers(options, own.synthetic, own.fit)
    flops = sum(2 * forward_macs(network, own.fit.shape) for network in networks)
    return Targets(
        options.combine, lambda view, images: answer(networks, options.combine, images), True, flops
    )


# -- what a set may hold -----------------------------------------------------------------------


def _check_stored(options: Stored, synthetic: SyntheticSet, fit: Fit) -> list[str]:
    rows = synthetic.labels.ndim == 2
    if options.kind is not None and (options.kind == "index") == rows:
        shape = tuple(synthetic.labels.shape)
        return [f"stored: the labels have shape {shape}, which are not of kind {options.kind!r}"]
    return []


def _check_replayed(options: Replayed, synthetic: SyntheticSet, fit: Fit) -> list[str]:
    if name_of(synthetic, "views") != "replay":
        return ["replayed: labels of views need the stored views; name the views part replay"]
    targets, order = synthetic.payload.get("targets"), synthetic.payload.get("order")
    if targets is None or order is None:
        return ["replayed: the payload lacks targets"]
    expected = (*order.shape, fit.num_classes)
    if tuple(targets.shape) != expected or not targets.is_floating_point():
        return [
            f"replayed: targets are {targets.dtype} of shape {tuple(targets.shape)};"
            f" expected floating-point numbers of shape {expected}"
        ]
    if options.kind == "probabilities":
        off = (targets.float().sum(2) - 1).abs().max().item()
        if off > SUM_WITHIN + 2e-3 or bool((targets < 0).any()):  # float16 keeps three digits
            return [f"replayed: targets are no probabilities: a row is {off:g} off a sum of 1"]
    return []


def _check_teacher(options: Teacher, synthetic: SyntheticSet, fit: Fit) -> list[str]:
    try:
        teachers(options, synthetic, fit)
    except SetError as error:
        return [str(error)]
    return []


PARTS = {
    "stored": Formation("targets", Stored, _stored, "the labels of the set", _check_stored),
    "replayed": Formation(
        "targets", Replayed, _replayed, "stored labels of the views", _check_replayed
    ),
    "teacher": Formation(
        "targets", Teacher, _of_teacher, "answers of networks in the set", _check_teacher
    ),
}
