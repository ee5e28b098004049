"""k-means: the real images nearest to the ipc centroids of each class in feature space.

The strongest selection baseline of DC-BENCH (Cui et al., NeurIPS 2022), where it is called
K-means-emb.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ddbench import MethodInfo, Task, hookimpl

# Imported here, not in init: scikit-learn takes a second to load, which is not selection.
from ddbench.features import kmeans, nearest_to

from ddbench_coresets.selection import Config as Selection
from ddbench_coresets.selection import State, information, select
from ddbench_coresets.selection import condense_step as condense_step
from ddbench_coresets.selection import export as export

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
        """Refuse no run at all."""
        super().__post_init__()
        if self.runs < 1:
            raise ValueError(f"runs is {self.runs}; expected at least 1")


@hookimpl
def describe() -> MethodInfo:
    """Say where k-means as a coreset comes from."""
    return information("Cui et al., DC-BENCH, NeurIPS 2022", BIBTEX, Config)


@hookimpl
def init(task: Task, config: Config) -> State:
    """Cluster every class."""

    def nearest_to_centroids(points: torch.Tensor, count: int) -> torch.Tensor:
        clustering = kmeans(points, count, task.generator, config.runs)
        task.count_flops(clustering.flops, "k-means")
        return nearest_to(clustering.centroids, points)

    return select(task, config, nearest_to_centroids)
