"""k-means in feature space: the centroids of a class, and the real images nearest to them."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ddbench.features.extractor import distances


@dataclass(frozen=True)
class Clustering:
    """The best of several runs of k-means.

    Attributes:
        centroids: (k, d), on the device and of the type of the points.
        inertia: Sum of the squared distances of the points to their centroids.
        flops: Operations of the matrix products of all runs, 2 per multiply-add.
    """

    centroids: torch.Tensor
    inertia: float
    flops: int


def kmeans(points: torch.Tensor, k: int, generator: torch.Generator, runs: int = 10) -> Clustering:
    """Cluster (n, d) `points` into `k` <= n by Lloyd's iteration from k-means++ starts.

    `generator` (CPU) draws one seed for each of the `runs`, of which the one with the least
    inertia is returned.
    """
    seeds = torch.randint(2**31 - 1, (runs,), generator=generator).tolist()
    array = points.cpu().numpy()
    fits = [_fit(array, k, seed) for seed in seeds]
    best = min(fits, key=lambda fit: fit.inertia_)
    centroids = torch.from_numpy(best.cluster_centers_).to(points)
    flops = sum(_flops(len(points), points.shape[1], k, fit.n_iter_) for fit in fits)
    return Clustering(centroids, float(best.inertia_), flops)


def nearest_to(centroids: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return the index of the nearest of (n, d) `points` to each of k <= n centroids, none twice.

    A point that several centroids want goes to the first of them, the others take their next
    nearest; of equally near points the first is taken. (k,) int64 on the CPU.
    """
    free = torch.ones(len(points), dtype=torch.bool, device=points.device)
    chosen = []
    for centroid in centroids:
        gaps = distances(points, centroid).masked_fill(~free, math.inf)
        chosen.append(int(gaps.argmin()))
        free[chosen[-1]] = False
    return torch.tensor(chosen)


def _fit(array: object, k: int, seed: int) -> KMeans:
    """Run k-means once: one thread, because several add up the centroids in any order."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than k
        return KMeans(k, n_init=1, algorithm="lloyd", random_state=seed).fit(array)


def _flops(n: int, d: int, k: int, iterations: int) -> int:
    """Return the products' operations: k-means++ with its trials, then n x k x d an iteration.

    One more product assigns the points at the end.
    """
    trials = 2 + int(math.log(k))
    start = 1 + (k - 1) * trials
    return 2 * n * d * (start + (iterations + 1) * k)
