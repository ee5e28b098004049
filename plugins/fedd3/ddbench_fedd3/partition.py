"""Partitions: which client holds which training images."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

TRIES = 1000


@dataclass(frozen=True)
class Partition:
    """A disjoint and complete partition of the training images.

    Attributes:
        members: For each client the indices of its images, (n_k,) int64 on the CPU.
        classes: For each client the classes it draws from in equal numbers; None where a client
            draws from its data as it is.
    """

    members: tuple[torch.Tensor, ...]
    classes: tuple[tuple[int, ...], ...] | None


def owned(client: int, clients: int, per_client: int, num_classes: int) -> tuple[int, ...]:
    """Return the classes of one client: `per_client` neighbours, from class `client` on.

    The reference starts client i at class i. With few clients, classes have no client then (5
    clients of 2 classes reach 6 of 10), and only then the starts are spread evenly instead.
    """
    reached = clients + per_client - 1 >= num_classes
    start = client if reached else client * num_classes // clients
    return tuple((start + j) % num_classes for j in range(per_client))


def owners(clients: int, per_client: int, num_classes: int) -> list[int]:
    """Return how many clients own each class, C numbers."""
    counts = [0] * num_classes
    for client in range(clients):
        for c in owned(client, clients, per_client, num_classes):
            counts[c] += 1
    return counts


def by_classes(
    class_members: Sequence[torch.Tensor],
    clients: int,
    per_client: int,
    generator: torch.Generator,
) -> Partition:
    """Cut each class, shuffled, into equal parts for the clients that own it.

    The scheme of the reference repository rruisong/FedD3: the last owner gets the remainder.
    """
    num_classes = len(class_members)
    classes = [owned(i, clients, per_client, num_classes) for i in range(clients)]
    counts = owners(clients, per_client, num_classes)
    shares: list[list[torch.Tensor]] = [[] for _ in range(clients)]
    for c, members in enumerate(class_members):
        order = members[torch.randperm(len(members), generator=generator)]
        size = len(order) // max(1, counts[c])
        mine = [client for client in range(clients) if c in classes[client]]
        for k, client in enumerate(mine):
            stop = len(order) if k == len(mine) - 1 else (k + 1) * size
            shares[client].append(order[k * size : stop])
    return Partition(tuple(torch.cat(share) for share in shares), tuple(classes))


def iid(
    class_members: Sequence[torch.Tensor], clients: int, generator: torch.Generator
) -> Partition:
    """Cut the shuffled training set into equal parts, whatever the classes."""
    everything = torch.cat(list(class_members))
    order = everything[torch.randperm(len(everything), generator=generator)]
    classes = (tuple(range(len(class_members))),) * clients
    return Partition(tuple(order.tensor_split(clients)), classes)


def dirichlet(
    class_members: Sequence[torch.Tensor],
    clients: int,
    alpha: float,
    least: int,
    generator: torch.Generator,
) -> Partition | None:
    """Share each class among the clients in proportions drawn from Dirichlet(alpha).

    Hsu et al. 2019, arXiv:1909.06335, by class. Drawn again until every client has `least` images;
    None after a thousand tries.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    random = np.random.default_rng(seed)  # torch's Dirichlet takes no generator
    sizes = np.array([len(members) for members in class_members])
    for _ in range(TRIES):
        shares = random.dirichlet(np.full(clients, alpha), size=len(sizes))  # (C, K)
        cuts = np.rint(shares.cumsum(1) * sizes[:, None]).astype(int)
        cuts[:, -1] = sizes
        counts = np.diff(cuts, prepend=0)
        if counts.sum(0).min() >= least:
            return _cut(class_members, counts, generator)
    return None


def _cut(
    class_members: Sequence[torch.Tensor], counts: np.ndarray, generator: torch.Generator
) -> Partition:
    parts = []
    for members, row in zip(class_members, counts.tolist(), strict=True):
        order = members[torch.randperm(len(members), generator=generator)]
        parts.append(order.split(row))
    return Partition(tuple(torch.cat(share) for share in zip(*parts, strict=True)), None)


def heterogeneity(partition: Partition, labels: torch.Tensor, num_classes: int) -> float:
    """Return the mean total variation distance of a client's labels from everyone's, in [0, 1]."""
    labels = labels.cpu()
    overall = _shares(labels, num_classes)
    locally = torch.stack([_shares(labels[m], num_classes) for m in partition.members])
    return float((locally - overall).abs().sum(1).mean() / 2)


def _shares(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    return torch.bincount(labels, minlength=num_classes).double() / len(labels)


def encode(partition: Partition, count: int) -> str:
    """Return the client of each of `count` training images as one compact string."""
    clients = np.full(count, -1, dtype="<i4")
    for client, members in enumerate(partition.members):
        clients[members.numpy()] = client
    return base64.b64encode(zlib.compress(clients.tobytes(), 9)).decode()


def decode(text: str) -> torch.Tensor:
    """Return the client of each training image, (n,) int64, from what `encode` returned."""
    clients = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4")
    return torch.from_numpy(clients.astype(np.int64))
