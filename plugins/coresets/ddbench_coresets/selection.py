"""The shared part of herding, k-center and k-means: select real images by class in feature space.

Each method has a rule, which picks ipc of the (n_c, d) features of one class; all of its work is
done in `init`. The features come from ddbench's shared network, trained once per dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from ddbench import (
    Converged,
    MethodInfo,
    OptionsError,
    SyntheticSet,
    Task,
    Unsupported,
    hookimpl,
    require,
    shortage,
)
from ddbench.features import FLOOR, FeatureError, TrainedNetwork, class_features, trained_network

Rule = Callable[[torch.Tensor, int], torch.Tensor]  # (n_c, d) features, ipc -> (ipc,) int64


@dataclass(frozen=True)
class Config:
    """Which network the features come from; the defaults are the harness's shared recipe."""

    network: str = ""  # architecture; "": the one that is condensed for
    network_epochs: int = 20
    floor: float = FLOOR  # least accuracy, as a share of the way from chance to perfect

    def __post_init__(self) -> None:
        """Refuse values that no network can be trained or judged by."""
        require(self, "network_epochs", least=1)
        require(self, "floor", least=0, most=1)


QUICK = {"network": "convnet-w32", "network_epochs": 4}  # a minute less; 96% on mnist-mini


@dataclass
class State:
    """The selection, which is complete when `init` returns."""

    chosen: torch.Tensor  # (C*ipc,) int64 indices of training images, class by class, on the CPU
    measures: dict[str, Any]


def network_of(task: Task, config: Config) -> TrainedNetwork:
    """Return the feature network, and train it if that has not been done."""
    network = config.network or task.architecture
    try:
        return trained_network(task, network, config.network_epochs, config.floor)
    except FeatureError as error:
        longer = {"network_epochs": 5 * config.network_epochs}
        raise OptionsError(str(error), longer) from error


@hookimpl
def prepare(task: Task, config: Config) -> bool:
    """Train the feature network."""
    network_of(task, config)
    return True


def select(task: Task, config: Config, rule: Rule) -> State:
    """Apply `rule` to the features of each class."""
    too_few = shortage(config, task)
    if too_few:
        raise Unsupported(too_few)
    trained = network_of(task, config)
    chosen = []
    for c in range(task.num_classes):  # one class's features at a time: they can be large
        picked = rule(class_features(trained.network, task, c), task.ipc)
        chosen.append(task.class_indices(c)[picked])
    return State(torch.cat(chosen), trained.measures())


@hookimpl
def condense_step() -> NoReturn:
    """Do nothing: the selection is complete after `init`, whatever steps were asked for."""
    raise Converged


@hookimpl
def export(state: State, task: Task) -> SyntheticSet:
    """Return the chosen training images with their labels and their places in the training set."""
    chosen = state.chosen.to(task.device)
    images, labels = task.images[chosen], task.labels[chosen]
    return SyntheticSet(images, labels, columns={"index": chosen}, measures=dict(state.measures))


def information(paper: str, bibtex: str = "", config: type[Config] = Config) -> MethodInfo:
    """Return the MethodInfo of such a method."""
    return MethodInfo(
        config=config,
        inits=("real",),
        own_init=lambda config: "real",  # out of the whole training set
        step="none",
        steps=lambda config, ipc: 0,
        quick=QUICK,
        check={"network_epochs": 40},  # what the network needs to be of use on tiny data
        canonical=lambda config, facts: replace(config, floor=FLOOR),  # which refuses, or not
        needs=shortage,
        published=False,  # the features' network was never described: its recipe here is ours
        paper=paper,
        bibtex=bibtex,
    )
