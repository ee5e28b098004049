"""KIP, kernel inducing points (Nguyen et al., ICLR 2021), for many clients at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ddbench_fedd3.kernel import Kernel, ntk_blocks

# What the clients of one chunk may take. On a CPU more falls out of the caches (500 clients took
# 0.22 s a step in chunks of 32 MiB, 0.34 s in one of 256 MiB); elsewhere a step costs its launches.
CHUNK_BYTES = {"cpu": 32 * 2**20}
CHUNK_BYTES_ELSEWHERE = 2**30
BUMPS = 12  # ridge x 10^12: a matrix that is still not positive definite holds NaN
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's


@dataclass(frozen=True)
class Outcome:
    """The result of one step for each of K clients.

    Attributes:
        losses: (K,) before the update.
        accuracies: (K,) of the kernel regression on the target batch, before the update.
        bumps: (K,) how often the ridge had to be multiplied by 10.
        gradients: Of each client's own loss, by the support images (K, m, d) and the targets of
            the support images (K, m, C).
    """

    losses: torch.Tensor
    accuracies: torch.Tensor
    bumps: torch.Tensor
    gradients: tuple[torch.Tensor, torch.Tensor]


def evaluate(
    kernel: Kernel,
    ridge: float,
    support: tuple[torch.Tensor, torch.Tensor],
    batch: tuple[torch.Tensor, torch.Tensor],
) -> Outcome:
    """Fit kernel ridge regression to each client's support set; test it on its target batch.

    `support` and `batch` are images (K, m, d) and (K, n, d) with regression targets (K, m, C) and
    (K, n, C). The losses are summed, not averaged, over the clients: each client's gradient is
    what it would be alone.
    """
    images, targets = (tensor.detach().requires_grad_() for tensor in support)
    across, within = ntk_blocks(kernel, batch[0], images)
    factor, bumps = regularised_cholesky((within + within.mT) / 2, ridge)
    prediction = across @ torch.cholesky_solve(targets, factor)  # (K, n, C)
    losses = 0.5 * (prediction - batch[1]).square().mean((1, 2))
    by_images, by_targets = torch.autograd.grad(losses.sum(), (images, targets))
    correct = prediction.argmax(2) == batch[1].argmax(2)
    return Outcome(losses.detach(), correct.double().mean(1), bumps, (by_images, by_targets))


def regularised_cholesky(matrix: torch.Tensor, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the Cholesky factors (K, m, m) of matrix + ridge x mean diagonal x identity.

    Where a factorisation fails, the ridge of that client is multiplied by 10 until it succeeds;
    the second result, (K,), counts how often.

    Raises:
        FloatingPointError: No ridge helps: the kernel of some client is not finite.
    """
    diagonal = matrix.diagonal(dim1=1, dim2=2).mean(1)
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    bumps = torch.zeros_like(diagonal)
    for _ in range(BUMPS):
        added = (ridge * 10**bumps * diagonal)[:, None, None] * identity
        factor, info = torch.linalg.cholesky_ex(matrix + added)
        if not info.any():
            return factor, bumps
        bumps = bumps + (info > 0)
    failed = info.nonzero().flatten().tolist()
    raise FloatingPointError(
        f"fedd3: the support kernels of {len(failed)} clients (first of the chunk: {failed[0]}) "
        f"are not positive definite at {10.0 ** (BUMPS - 1) * ridge:g} of their mean diagonal; "
        "lower lr_images"
    )


@dataclass
class Adam:
    """Adam's moments of tensors that are stacked over clients, each with a step count of its own.

    `torch.optim.Adam` counts steps per tensor and would go on moving a client that has stopped.
    """

    first: torch.Tensor
    second: torch.Tensor

    @classmethod
    def like(cls, values: torch.Tensor) -> Adam:
        """Return the moments before the first step."""
        return cls(torch.zeros_like(values), torch.zeros_like(values))

    def update(
        self,
        values: torch.Tensor,
        clients: torch.Tensor,
        gradient: torch.Tensor,
        taken: torch.Tensor,
        lr: float,
    ) -> None:
        """Move `values[clients]` in place; `taken` (len(clients),) counts steps, this one too."""
        first = self.first[clients].lerp(gradient, 1 - BETAS[0])
        second = self.second[clients].lerp(gradient.square(), 1 - BETAS[1])
        self.first[clients], self.second[clients] = first, second
        taken = taken.to(values)[:, None, None]
        size = (second / (1 - BETAS[1] ** taken)).sqrt() + EPSILON
        values[clients] -= lr * first / (1 - BETAS[0] ** taken) / size


def chunks(
    clients: torch.Tensor, bytes_each: int, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Return `clients` in chunks that fit into memory, of one client at least."""
    limit = CHUNK_BYTES.get(device.type, CHUNK_BYTES_ELSEWHERE)
    return clients.split(max(1, limit // bytes_each))


def bytes_of_a_client(n: int, m: int, d: int, depth: int) -> int:
    """Return about how many bytes one client's step takes: images, and saved activations."""
    return 8 * (3 * (n + m) * d + 20 * depth * (n + m) * m)
