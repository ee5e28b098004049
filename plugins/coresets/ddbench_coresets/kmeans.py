"""k-means: the real images nearest to the ipc centroids of each class in feature space.

The strongest selection baseline of DC-BENCH (Cui et al., NeurIPS 2022), where it is called
K-means-emb.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ddbench import MethodInfo, Task, hookimpl, require

# Imported here, not in init: scikit-learn takes a second to load, which is not selection.
from ddbench.features import kmeans, nearest_to

from ddbench_coresets.selection import Config as Selection
from ddbench_coresets.selection import State, information, select
from ddbench_coresets.selection import condense_step as condense_step
from ddbench_coresets.selection import export as export
from ddbench_coresets.selection import prepare as prepare

BIBTEX = """@inproceedings{cui2022dcbench,
  title={DC-BENCH: Dataset Condensation Benchmark},
  author={Cui, Justin and Wang, Ruochen and Si, Si and Hsieh, Cho-Jui},
  booktitle={Advances in Neural Information Processing Systems},
  year={2022}
}"""


@dataclass(frozen=True)
class Config(Selection):
    """The options of every selection, and how often k-means is tried."""

    runs: int = 10  # from different starts; the one with the least inertia counts

    def __post_init__(self) -> None:
        """Refuse a number of runs below 1."""
        super().__post_init__()
        require(self, "runs", least=1)


@hookimpl
def describe() -> MethodInfo:
    """Say where k-means as a coreset comes from."""
    return information("Cui et al., DC-BENCH, NeurIPS 2022", BIBTEX, Config)


# k-means of each class. phi features; m_1 .. m_ipc centroids.
#
# for c = 0 .. C-1, phi of its images      | select(task, config, nearest_to_centroids)
#   repeat for each of `runs` starts:      | kmeans(points, count, task.generator, config.runs)
#     m <- k-means++ start, then Lloyd's iteration
#   keep the m of least inertia            | clustering.centroids
#   for i = 1 .. ipc:
#     s_i <- argmin_x |phi(x) - m_i|       | nearest_to(clustering.centroids, points)
@hookimpl
def init(task: Task, config: Config) -> State:
    """Cluster every class."""

    def nearest_to_centroids(points: torch.Tensor, count: int) -> torch.Tensor:
        clustering = kmeans(points, count, task.generator, config.runs)
        task.count_flops(clustering.flops, "k-means")
        return nearest_to(clustering.centroids, points)

    return select(task, config, nearest_to_centroids)
