"""The matching loss of a student that trains on the synthetic set, and its gradients.

A student takes N plain SGD steps of size `lr` from an expert's weights theta_0; the loss is
J = |theta_N - target|^2 / |theta_0 - target|^2 (MTT, CVPR 2022, equation 2). Three ways to its
gradient in images, labels and lr:

- `unroll`, the specification: the paper's loop, and one backward pass through its N steps.
- `adjoint`, the default: the same gradient (tests hold it against `unroll`), with memory for the N
  weight vectors and the graph of one step.
- `tesla`: what TESLA (Cui et al., ICML 2023) computes. It takes each theta_i for independent of
  the batches before it, and so is biased: here for comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from ddbench.augment import Transform, draw
from ddbench.training import cross_entropy

from .flat import FlatNetwork


@dataclass(frozen=True)
class StudentBatch:
    """What one student step trains on: rows of the synthetic set (B,), and their augmentation.

    The augmentation is recorded, so that a step can be taken again exactly.
    """

    rows: torch.Tensor
    transform: Transform


@dataclass(frozen=True)
class Match:
    """The matching loss J, (), and its gradients.

    Attributes:
        loss: J. 1 means that the student came no nearer to the target.
        images: (M, ch, H, W).
        labels: (M, C), or None for hard labels.
        lr: ().
        student: theta_N, (P,).
    """

    loss: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor | None
    lr: torch.Tensor
    student: torch.Tensor


@dataclass(frozen=True)
class Problem:
    """One matching problem: everything J depends on.

    Attributes:
        network: The student's architecture.
        start: theta_0, (P,).
        target: The expert's weights some epochs later, (P,).
        images: (M, ch, H, W).
        labels: Logits (M, C), or class indices (M,), which have no gradient.
        lr: The student's step size, ().
        batches: What each of the N steps trains on.
    """

    network: FlatNetwork
    start: torch.Tensor
    target: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor
    lr: torch.Tensor
    batches: Sequence[StudentBatch]

    @property
    def distance(self) -> torch.Tensor:
        """|theta_0 - target|^2, ()."""
        return (self.start - self.target).square().sum()


def draw_batches(
    count: int,
    size: int,
    steps: int,
    strategy: str,
    shape: Sequence[int],
    generator: torch.Generator,
) -> list[StudentBatch]:
    """Draw the batches of `steps` student steps on a set of `count` images of `shape` (ch, H, W).

    The set is gone through in random order, and the chunks of `size` (0: the whole set) are
    taken from the end, so that a shorter remainder comes first, as in MTT's code. Each batch gets
    one random operation of `strategy`, with parameters for each image.
    """
    channels, height, width = shape
    chunks: list[torch.Tensor] = []
    batches = []
    for _ in range(steps):
        if not chunks:
            chunks = list(torch.randperm(count, generator=generator).split(size or count))
        rows = chunks.pop()
        transform = draw(
            strategy, len(rows), (height, width), generator, shared=False, channels=channels
        )
        batches.append(StudentBatch(rows, transform))
    return batches


def unroll(problem: Problem) -> Match:
    """Return J and its exact gradients: the paper's loop, and one backward pass through it."""
    images = problem.images.detach().requires_grad_()
    labels = problem.labels.detach()
    soft = labels.is_floating_point()
    lr = problem.lr.detach().requires_grad_()
    leaves = [images, lr] + ([labels.requires_grad_()] if soft else [])
    weights = problem.start.detach().requires_grad_()
    for batch in problem.batches:
        rows = batch.rows.to(images.device)
        augmented = batch.transform.apply(images[rows])
        gradient = _gradient(problem.network, weights, augmented, labels[rows], create_graph=True)
        weights = weights - lr * gradient
    loss = (weights - problem.target).square().sum() / problem.distance
    by_images, by_lr, *by_labels = torch.autograd.grad(loss, leaves)
    student = weights.detach()
    return Match(loss.detach(), by_images, by_labels[0] if soft else None, by_lr, student)


def rollout(problem: Problem) -> torch.Tensor:
    """Return the student's weights before each step and after the last, (N+1, P), detached."""
    weights = problem.start.new_empty(len(problem.batches) + 1, problem.network.count)
    weights[0] = problem.start
    for i, batch in enumerate(problem.batches):
        images, labels = _batch(problem, batch)
        leaf = weights[i].clone().requires_grad_()
        gradient = _gradient(problem.network, leaf, batch.transform.apply(images), labels)
        torch.add(weights[i], -problem.lr.detach() * gradient, out=weights[i + 1])
    return weights


def adjoint(problem: Problem) -> Match:
    """Return J and its exact gradients, going back through the steps one at a time.

    With lambda_N = dJ/dtheta_N and s_i = <lambda_{i+1}, grad_theta l(theta_i; batch i)>,
    dJ/d(batch i) = -lr ds_i/d(batch i), dJ/dlr = -sum of s_i, and
    lambda_i = lambda_{i+1} - lr ds_i/dtheta.
    """
    return _backwards(problem, through_steps=True)


def tesla(problem: Problem) -> Match:
    """Return J and TESLA's gradients: those of `adjoint` with lambda held at lambda_N. Biased."""
    return _backwards(problem, through_steps=False)


def _backwards(problem: Problem, through_steps: bool) -> Match:
    weights = rollout(problem)
    lr = problem.lr.detach()
    remainder = weights[-1] - problem.target
    loss = remainder.square().sum() / problem.distance
    adjoint_weights = 2 * remainder / problem.distance  # lambda, (P,)
    by_images = torch.zeros_like(problem.images)
    soft = problem.labels.is_floating_point()
    by_labels = torch.zeros_like(problem.labels) if soft else None
    by_lr = torch.zeros_like(lr)
    for i, batch in reversed(list(enumerate(problem.batches))):
        product, gradients = _product_and_gradients(problem, batch, weights[i], adjoint_weights)
        rows = batch.rows.to(lr.device)
        by_images[rows] -= lr * gradients[1]  # rows of a batch are distinct
        if by_labels is not None:
            by_labels[rows] -= lr * gradients[2]
        by_lr -= product
        if through_steps:
            adjoint_weights = adjoint_weights - lr * gradients[0]
    return Match(loss, by_images, by_labels, by_lr, weights[-1].clone())


def _product_and_gradients(
    problem: Problem, batch: StudentBatch, theta: torch.Tensor, adjoint_weights: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Return s = <lambda, grad_theta l>, () detached, and ds/d(theta, images[, labels])."""
    images, labels = _batch(problem, batch)
    leaves = [theta.clone().requires_grad_(), images.requires_grad_()]
    if labels.is_floating_point():
        leaves.append(labels.requires_grad_())
    gradient = _gradient(
        problem.network, leaves[0], batch.transform.apply(images), labels, create_graph=True
    )
    product = (adjoint_weights * gradient).sum()
    return product.detach(), torch.autograd.grad(product, leaves)


def _batch(problem: Problem, batch: StudentBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return detached copies of a batch's images and labels."""
    rows = batch.rows.to(problem.images.device)
    return problem.images.detach()[rows], problem.labels.detach()[rows]


def _gradient(
    network: FlatNetwork,
    weights: torch.Tensor,
    images: torch.Tensor,
    labels: torch.Tensor,
    create_graph: bool = False,
) -> torch.Tensor:
    """Return the gradient of the training loss in `weights`, (P,)."""
    loss = cross_entropy(network(weights, images), labels)
    (gradient,) = torch.autograd.grad(loss, weights, create_graph=create_graph)
    return gradient


GRADIENTS: dict[str, Callable[[Problem], Match]] = {
    "adjoint": adjoint,
    "unroll": unroll,
    "tesla": tesla,
}
