"""The clients' local data: which images each client holds, their units, and random draws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ddbench import Task

from ddbench_fedd3.partition import Partition


@dataclass(frozen=True)
class Clients:
    """K clients, their data padded so that all of them can be drawn from at once.

    Attributes:
        partition: Which client holds which training images.
        groups: (K, G, n) int64 on the CPU, indices of training images: one group for each class
            of a client, or a single group where a client draws from its data as it is.
        valid: (K, G, n) bool on the CPU, False where a group is padded.
        mean: (K, ch, 1, 1) float64, of a client's own images.
        std: (K, ch, 1, 1) float64.
        generators: One for each client, so that more clients do not change the others' order.
    """

    partition: Partition
    groups: torch.Tensor
    valid: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    generators: tuple[torch.Generator, ...]

    @classmethod
    def of(cls, task: Task, partition: Partition) -> Clients:
        """Return the clients of a partition of the task's training images."""
        groups, valid = _padded(_groups(partition, task.labels.cpu()))
        statistics = [_mean_and_std(task.images[m.to(task.device)]) for m in partition.members]
        mean, std = (torch.stack(column) for column in zip(*statistics, strict=True))
        generators = tuple(task.new_generator(f"client-{i}") for i in range(len(groups)))
        return cls(partition, groups, valid, mean, std, generators)

    def __len__(self) -> int:
        """Return K."""
        return len(self.groups)

    @property
    def smallest_group(self) -> int:
        """Images in the smallest group of any client."""
        return int(self.valid.sum(2).min())

    def draw(self, clients: torch.Tensor, count: int) -> torch.Tensor:
        """Return `count` random indices for each client, (len(clients), count), none twice.

        As many from each of its groups. A client draws from its own generator alone.
        """
        valid = self.valid[clients]
        sizes = valid.sum((1, 2)).tolist()
        draws = [
            torch.rand(size, generator=self.generators[client])
            for client, size in zip(clients.tolist(), sizes, strict=True)
        ]
        keys = torch.full(valid.shape, 2.0)
        keys[valid] = torch.cat(draws)
        chosen = keys.topk(count // valid.shape[1], dim=2, largest=False).indices
        return self.groups[clients].gather(2, chosen).flatten(1)

    def images(self, task: Task, clients: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Return training images in each client's own units, (len(clients), n, d) float64.

        `indices` is (len(clients), n). Standardised by the channel with the mean and the standard
        deviation of the client's own data, as the reference does.
        """
        images = task.images[indices.to(task.device)].double()  # (K', n, ch, H, W)
        clients = clients.to(task.device)
        return ((images - self.mean[clients, None]) / self.std[clients, None]).flatten(2)


def _groups(partition: Partition, labels: torch.Tensor) -> list[list[torch.Tensor]]:
    if partition.classes is None:
        return [[members] for members in partition.members]
    return [
        [members[labels[members] == c] for c in sorted(classes)]
        for members, classes in zip(partition.members, partition.classes, strict=True)
    ]


def _padded(groups: list[list[torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(group) for client in groups for group in client)
    indices = torch.zeros(len(groups), len(groups[0]), longest, dtype=torch.int64)
    valid = torch.zeros_like(indices, dtype=torch.bool)
    for i, client in enumerate(groups):
        for j, group in enumerate(client):
            indices[i, j, : len(group)] = group
            valid[i, j, : len(group)] = True
    return indices, valid


def _mean_and_std(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    images = images.double()
    mean = images.mean((0, 2, 3))
    std = images.std((0, 2, 3), correction=0)
    std = torch.where(std > 0, std, 1.0)  # a channel that never varies stays as it is
    return mean[:, None, None], std[:, None, None]
