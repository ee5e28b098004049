"""Inits: the initial synthetic sets that the harness makes for methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ddbench.contract.hookspecs import Init, MethodInfo, Unsupported
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.contract.task import Task

if TYPE_CHECKING:
    from ddbench.features.extractor import TrainedNetwork

BLOCK = 256  # images that one step of spc's walk looks at


def register_inits() -> dict[str, Init]:
    """Return the built-in inits."""
    inits = (
        Init("noise", noise, "standard normal pixels in the normalised space"),
        Init("real", real, "random training images of the class, none twice"),
        Init("fill", fill, "as real; a class with too few images repeats them"),
        Init("spc", spc, "random training images that a trained network classifies correctly"),
        Init("kmeans", kmeans, "training images nearest to the class's centroids, by k-means"),
    )
    return {init.name: init for init in inits}


def initial_set(init: Init, task: Task, info: MethodInfo, config: Any) -> SyntheticSet | None:  # noqa: ANN401
    """Return what a method starts from: the initial set, or None if it makes its own."""
    return None if info.own_init(config) else init.build(task)


def class_major_labels(task: Task) -> torch.Tensor:
    """Return 0, 0, .., 1, 1, .., (C*ipc,) int64: each class ipc times."""
    return torch.arange(task.num_classes, device=task.device).repeat_interleave(task.ipc)


def noise(task: Task) -> SyntheticSet:
    """Return images of standard normal pixels."""
    size = (task.num_classes * task.ipc, *task.shape)
    images = torch.randn(size, generator=task.new_generator("init"))
    return SyntheticSet(images.to(task.device), class_major_labels(task))


def real(task: Task) -> SyntheticSet:
    """Return ipc random training images of each class.

    Raises:
        Unsupported: A class has fewer than ipc.
    """
    _require_ipc(task, "real")
    generator = task.new_generator("init")
    chosen = [task.real_images(c, task.ipc, generator).clone() for c in range(task.num_classes)]
    return SyntheticSet(torch.cat(chosen), class_major_labels(task))


def fill(task: Task) -> SyntheticSet:
    """Return ipc random training images of each class, repeated where a class has fewer.

    All images of a class are there before one is there twice. The measure ``repeated_images``
    counts the repetitions. Images that start equal may stay equal: a method that moves all images
    of a class alike has fewer different ones then.

    Raises:
        Unsupported: A class has no training image.
    """
    if 0 in task.class_counts:
        empty = [c for c, count in enumerate(task.class_counts) if not count]
        raise Unsupported(f"init fill on {task.dataset}: no training images of classes {empty}")
    generator = task.new_generator("init")
    chosen = []
    for c in range(task.num_classes):
        drawn = task.real_images(c, task.ipc, generator)
        times = -(-task.ipc // len(drawn))
        chosen.append(drawn.repeat(times, 1, 1, 1)[: task.ipc])
    repeated = sum(max(0, task.ipc - count) for count in task.class_counts)
    measures = {"repeated_images": repeated} if repeated else {}
    return SyntheticSet(torch.cat(chosen), class_major_labels(task), measures=measures)


def spc(task: Task) -> SyntheticSet:
    """Return ipc samples of each class that are predicted correctly by a trained network.

    A random walk through the class keeps the first ipc images that the shared network (of the
    task's architecture) classifies correctly. If there are fewer, the first wrongly classified
    images of the walk fill up; the measure ``spc_wrong`` counts them. Guo et al., DATM, ICLR 2024.

    Raises:
        Unsupported: A class has fewer than ipc images.
        FeatureError: The network is not good enough to judge.
    """
    _require_ipc(task, "spc")
    trained = _judge(task, "spc")
    generator = task.new_generator("init")
    walks = [_walk(task, trained.network, c, generator) for c in range(task.num_classes)]
    images = task.images[torch.cat([kept for kept, _ in walks])]
    wrong = sum(wrong for _, wrong in walks)
    measures = {**trained.measures(), "spc_wrong": wrong}
    return SyntheticSet(images, class_major_labels(task), measures=measures)


def _walk(
    task: Task, network: torch.nn.Module, c: int, generator: torch.Generator
) -> tuple[torch.Tensor, int]:
    """Return the indices that spc keeps of class `c`, and how many of them are misclassified."""
    from ddbench.training.loop import predict

    members = task.class_indices(c)
    order = members[torch.randperm(len(members), generator=generator)].to(task.device)
    right, wrong = order[:0], order[:0]
    for block in order.split(BLOCK):
        hits = (predict(network, task.images[block]).argmax(1) == c).cpu()
        right, wrong = torch.cat([right, block[hits]]), torch.cat([wrong, block[~hits]])
        if len(right) >= task.ipc:
            break
    return torch.cat([right, wrong])[: task.ipc], max(0, task.ipc - len(right))


def kmeans(task: Task) -> SyntheticSet:
    """Return the training images nearest to the ipc centroids of each class in feature space.

    The features are those of the shared network of the task's architecture.

    Raises:
        Unsupported: A class has fewer than ipc images.
        FeatureError: The network is not good enough to judge.
    """
    # Imported here: scikit-learn takes a second, which is no cost of a method.
    with task.off_the_clock():
        from ddbench.features import clustering as clusters
        from ddbench.features.extractor import class_features

    _require_ipc(task, "kmeans")
    trained = _judge(task, "kmeans")
    generator = task.new_generator("init")
    chosen = []
    for c in range(task.num_classes):
        points = class_features(trained.network, task, c)
        clustering = clusters.kmeans(points, task.ipc, generator)
        task.count_flops(clustering.flops, "k-means")
        nearest = clusters.nearest_to(clustering.centroids, points)
        chosen.append(task.class_indices(c)[nearest])
    images = task.images[torch.cat(chosen).to(task.device)]
    return SyntheticSet(images, class_major_labels(task), measures=trained.measures())


def _judge(task: Task, init: str) -> TrainedNetwork:
    """Return the shared network of the task's architecture; errors end in what would do."""
    from ddbench.features.extractor import FeatureError, trained_network

    try:
        return trained_network(task, task.architecture)
    except FeatureError as error:
        raise FeatureError(
            f"init {init}: {error}; the network is the condensation's own: try another --arch, or "
            "--init real"
        ) from error


def _require_ipc(task: Task, init: str) -> None:
    """Refuse a class too small: images that start equal would stay equal under any method."""
    for c, count in enumerate(task.class_counts):
        if count < task.ipc:
            raise Unsupported(
                f"init {init} on {task.dataset}: class {c} has {count} training images, ipc is "
                f"{task.ipc}; use ipc <= {min(task.class_counts)}, or init fill, which repeats "
                "images"
            )
