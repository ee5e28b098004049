"""k-center (Sener & Savarese, ICLR 2018; Wolf 2011): leave no image of the class far from a pick.

Greedily, class by class: start from the image whose feature is nearest to the class mean, then
take, again and again, the image that is farthest from all that are picked.
"""

from __future__ import annotations

import math

import torch
from ddbench import MethodInfo, Task, hookimpl
from ddbench.features import distances

from ddbench_coresets.selection import Config, State, information, select
from ddbench_coresets.selection import condense_step as condense_step
from ddbench_coresets.selection import export as export
from ddbench_coresets.selection import prepare as prepare

BIBTEX = """@inproceedings{sener2018active,
  title={Active Learning for Convolutional Neural Networks: A Core-Set Approach},
  author={Sener, Ozan and Savarese, Silvio},
  booktitle={International Conference on Learning Representations},
  year={2018}
}"""


@hookimpl
def describe() -> MethodInfo:
    """Say where k-center comes from."""
    paper = "Sener & Savarese, Active Learning for Convolutional Neural Networks, ICLR 2018"
    return information(paper, BIBTEX)


@hookimpl
def init(task: Task, config: Config) -> State:
    """Spread the picks over every class."""
    return select(task, config, farthest_first)


# Greedy k-center of one class. x_1 .. x_n its images, phi features, s the picked ones.
#
# s_1 <- the x nearest to the mean         | int(distances(points, points.mean(0)).argmin())
# for i = 2 .. ipc:                        | for _ in range(count - 1):
#   d(x) <- min over s of |phi(x)-phi(s)|  | gaps = torch.minimum(gaps, distances(points,
#     for the picked ones d = -1           | gaps[chosen[-1]] = -1.0
#   s_i <- argmax_x d(x)                   | int(gaps.argmax())
# return s_1 .. s_ipc                      | return torch.tensor(chosen)
def farthest_first(points: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices of `count` of the (n, d) points by farthest-first traversal, none twice.

    Of equally far points the first is taken. (count,) int64 on the CPU.
    """
    chosen = [int(distances(points, points.mean(0)).argmin())]
    gaps = points.new_full((len(points),), math.inf)  # to the nearest picked point
    for _ in range(count - 1):
        gaps = torch.minimum(gaps, distances(points, points[chosen[-1]]))
        gaps[chosen[-1]] = -1.0  # below the 0 of a point that equals a picked one
        chosen.append(int(gaps.argmax()))
    return torch.tensor(chosen)
