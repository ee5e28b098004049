"""Herding (Welling, ICML 2009), as a coreset: keep the mean of what is picked at the class mean.

Greedily, class by class: the i-th pick is the image whose feature brings the sum of the picked
features nearest to i times the mean feature of the class. In the form used for condensation's
baseline, by the author's description.
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

BIBTEX = """@inproceedings{welling2009herding,
  title={Herding Dynamical Weights to Learn},
  author={Welling, Max},
  booktitle={International Conference on Machine Learning},
  year={2009}
}"""


@hookimpl
def describe() -> MethodInfo:
    """Say where herding comes from."""
    return information("Welling, Herding Dynamical Weights to Learn, ICML 2009", BIBTEX)


@hookimpl
def init(task: Task, config: Config) -> State:
    """Herd every class."""
    return select(task, config, herd)


# Herding of one class. x_1 .. x_n its images, phi features, mu their mean.
#
# mu <- 1/n sum phi(x_i)                   | mean = points.mean(0)
# w <- mu                                  | target = mean.clone()
# for i = 1 .. ipc:                        | for _ in range(count):
#   among the images not picked            | masked_fill(taken, math.inf)
#     p_i <- argmin_x |w - phi(x)|         | int(gaps.argmin())
#   w <- w + mu - phi(p_i)                 | target += mean - points[chosen[-1]]
def herd(points: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices of `count` of the (n, d) points in the order of herding, none twice.

    Of equally good points the first is taken. (count,) int64 on the CPU.
    """
    mean = points.mean(0)
    target = mean.clone()  # i * mean - the sum of the picked ones: small, unlike either of the two
    taken = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    chosen = []
    for _ in range(count):
        gaps = distances(points, target).masked_fill(taken, math.inf)
        chosen.append(int(gaps.argmin()))
        taken[chosen[-1]] = True
        target += mean - points[chosen[-1]]
    return torch.tensor(chosen)
