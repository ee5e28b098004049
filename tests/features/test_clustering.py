import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from ddbench.features.clustering import _flops, kmeans, nearest_to


def points_of(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def cluster(points, k, seed=0, runs=10):
    return kmeans(points, k, torch.Generator().manual_seed(seed), runs)


def least_inertia(points, k):
    """Try every assignment of the points to k clusters."""
    points, best = points.double().numpy(), np.inf
    for assignment in product(range(k), repeat=len(points)):
        groups = [points[np.array(assignment) == j] for j in set(assignment)]
        best = min(best, sum(((group - group.mean(0)) ** 2).sum() for group in groups))
    return best


def test_two_groups_on_a_line():
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [15.0]])
    found = cluster(points, 2)
    assert sorted(found.centroids.flatten().tolist()) == pytest.approx([1, 12])
    assert found.inertia == pytest.approx(1 + 1 + 4 + 1 + 9)
    assert sorted(nearest_to(found.centroids, points).tolist()) == [1, 4]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_of_the_runs_is_the_optimum_of_a_small_case(seed):
    points = points_of(8, 2, seed)
    assert cluster(points, 3, runs=20).inertia == pytest.approx(least_inertia(points, 3), rel=1e-5)


def test_more_runs_are_never_worse_and_all_are_counted():
    points = points_of(60, 3)
    one, ten = cluster(points, 9, runs=1), cluster(points, 9, runs=10)
    assert ten.inertia < one.inertia  # this generator's first start is not its best
    assert ten.flops > 9 * one.flops / 2


def test_the_generator_alone_decides():
    points = points_of(60, 3)
    first, again, other = (cluster(points, 9, seed, runs=1) for seed in (0, 0, 1))
    assert torch.equal(first.centroids, again.centroids)
    assert not torch.equal(first.centroids, other.centroids)


def test_one_centroid_is_the_mean():
    points = points_of(30, 4)
    assert torch.allclose(cluster(points, 1).centroids[0], points.mean(0), atol=1e-6)


def test_flops_are_those_of_the_products():
    # k-means++ for 4 of 10 points in 3-d tries 2 + floor(ln 4) = 3 candidates for each of the 3
    # after the first: 1 + 9 rows of distances; then 5 iterations and the last assignment: 6 * 4
    assert _flops(10, 3, 4, 5) == 2 * 10 * 3 * (10 + 24)


def brute_nearest(centroids, points):
    chosen = []
    for centroid in centroids.double().numpy():
        gaps = [np.linalg.norm(point - centroid) for point in points.double().numpy()]
        order = sorted(range(len(gaps)), key=lambda i: (gaps[i], i))
        chosen.append(next(i for i in order if i not in chosen))
    return chosen


@pytest.mark.parametrize("k", [1, 5, 20])
def test_nearest_points_are_those_of_an_exhaustive_search(k):
    points, centroids = points_of(20, 3, 1), points_of(k, 3, 2)
    found = nearest_to(centroids, points)
    assert found.tolist() == brute_nearest(centroids, points)
    assert len(set(found.tolist())) == k


def test_a_point_that_two_centroids_want_goes_to_the_first():
    points = torch.tensor([[0.0], [5.0], [7.0]])
    assert nearest_to(torch.tensor([[5.1], [5.0]]), points).tolist() == [1, 2]


def test_of_equally_near_points_the_first_is_taken():
    points = torch.tensor([[3.0], [1.0], [-1.0], [1.0]])
    assert nearest_to(torch.tensor([[0.0], [1.0]]), points).tolist() == [1, 3]


def test_fewer_distinct_points_than_centroids_still_give_different_indices():
    points = torch.ones(5, 2)
    chosen = nearest_to(cluster(points, 3).centroids, points)
    assert len(set(chosen.tolist())) == 3


def test_only_what_clusters_loads_scikit_learn():
    """Every job is a process of its own, and pays what its method imports."""
    code = (
        "import sys, ddbench.features as f, ddbench.inits\n"
        "assert 'sklearn' not in sys.modules\n"
        "from ddbench.features import nearest_to\n"
        "assert f.kmeans and 'sklearn' in sys.modules and not hasattr(f, 'means')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
