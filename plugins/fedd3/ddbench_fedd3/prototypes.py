"""Prototypes: points that stand for one client's images of one class. No kernel, no gradient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

# (n, d) float64 images, how many points, generator -> (points, d) and the operations spent
Fit = Callable[[np.ndarray, int, torch.Generator], tuple[np.ndarray, int]]


def load() -> None:
    """Import scikit-learn, which takes seconds that no client spends: only two fits need it."""
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401


def part_means(
    images: np.ndarray, count: int, generator: torch.Generator
) -> tuple[np.ndarray, int]:
    """Return the means of `count` random equal parts; one part is the class mean."""
    order = torch.randperm(len(images), generator=generator).numpy()
    parts = np.array_split(images[order], count)
    return np.stack([part.mean(0) for part in parts]), images.size


def kmeans_centres(
    images: np.ndarray, count: int, generator: torch.Generator
) -> tuple[np.ndarray, int]:
    """Return the centres of k-means (scikit-learn's defaults: k-means++, one start)."""
    from sklearn.cluster import KMeans

    model = KMeans(count, random_state=_seed(generator))
    with _threads():
        model.fit(images)
    products = 2 * images.size * count  # images with centres
    trials = 2 + int(np.log(count))  # candidates k-means++ tries for each centre
    return model.cluster_centers_, (model.n_iter_ + trials) * products


def mixture_means(
    images: np.ndarray, count: int, generator: torch.Generator
) -> tuple[np.ndarray, int]:
    """Return the component means of a Gaussian mixture (scikit-learn's defaults: full covariances).

    With one component this is the class mean, as in the reference's runs.
    """
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(count, random_state=_seed(generator))
    with _threads():
        model.fit(images)
    d = images.shape[1]
    # An iteration: densities and covariances, 2 n d^2 each; the Cholesky factor, d^3 / 3, and its
    # inverse, d^3. The start by k-means does one more of it.
    iteration = count * (4 * images.size * d + 4 * d**3 // 3)
    return model.means_, (model.n_iter_ + 1) * iteration


FITS: dict[str, Fit] = {
    "class_mean": part_means,
    "kmeans": kmeans_centres,
    "gmm": mixture_means,
}


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31 - 1, (1,), generator=generator))


def _threads() -> AbstractContextManager[object]:
    # scikit-learn has thread pools of its own: as many threads as the job gives torch, or the sums
    # and with them the centres would depend on the machine's cores.
    return threadpool_limits(torch.get_num_threads())
