"""The experts that are stored: listed, built ahead, verified, removed. For a command line.

`store` is the run's artifact store: iterable over finished artifacts, with `half_built()`, `find`
and `remove`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ddbench import Task

from .experts import KIND, PROGRESS, RECORD, Experts, sha256, trajectories
from .method import Config, expert_recipe, student_network


@dataclass(frozen=True)
class Stored:
    """One artifact of experts, finished or not.

    Attributes:
        id: Of the artifact.
        folder: Where it is.
        finished: Whether its trajectories are complete.
        epoch: The epoch it has reached.
        bytes: On disk.
        seconds: What building it took; None while unfinished.
        flops: Likewise.
        spec: All that determines it; {} while unfinished.
        record: Dataset, architecture, numbers of the experts, epochs kept, weights, accuracies;
            {} while unfinished.
    """

    id: str
    folder: Path
    finished: bool
    epoch: int
    bytes: int
    seconds: float | None
    flops: int | None
    spec: dict[str, Any]
    record: dict[str, Any]


def listing(store: Any) -> list[Stored]:  # noqa: ANN401
    """Return every artifact of experts in `store`, finished ones first."""
    finished = [
        Stored(
            id=artifact.id,
            folder=artifact.folder,
            finished=True,
            epoch=artifact.spec["epochs"],
            bytes=artifact.bytes,
            seconds=artifact.seconds,
            flops=artifact.flops,
            spec=dict(artifact.spec),
            record=_record(artifact.folder),
        )
        for artifact in store
        if artifact.kind == KIND
    ]
    begun = [folder for folder in store.half_built() if folder.name.startswith(f"{KIND}-")]
    return finished + [_half_built(folder) for folder in begun]


def build(task: Task, config: Config) -> Experts:
    """Train the experts that a condensation of `task` with `config` would ask for."""
    recipe = expert_recipe(config, task.strategy, len(task.labels))
    network = student_network(task)
    return trajectories(task, network, recipe, config.experts, config.experts_together)


def verify(folder: Path) -> list[str]:
    """Return what is wrong with finished experts in `folder`, one sentence each; [] if nothing."""
    try:
        record = json.loads((folder / RECORD).read_text())
        shape = (len(record["epochs"]), record["parameters"])
        hashes = dict(record["sha256"])
    except (OSError, ValueError, KeyError) as error:
        return [f"{folder / RECORD} cannot be read ({error}); remove {folder.name}, build it again"]
    return [
        f"{folder / name}: {problem}; remove {folder.name}, build it again"
        for name, expected in hashes.items()
        if (problem := _problem(folder / name, shape, expected))
    ]


def remove(store: Any, id: str) -> None:  # noqa: ANN401
    """Remove one artifact of experts, finished or not; waits for whoever is building it.

    Raises:
        ValueError: `id` is no artifact of experts.
    """
    known = [stored.id for stored in listing(store)]
    if id not in known:
        raise ValueError(f"no experts {id!r}; there are: {', '.join(known) or 'none'}")
    store.remove(id)


def _problem(file: Path, shape: tuple[int, int], expected: str) -> str | None:
    try:
        if sha256(file) != expected:
            return "its content has changed since it was written"
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    if array.shape != shape:
        return f"shape is {array.shape}; expected {shape}"
    if not all(np.isfinite(row).all() for row in array):
        return "has weights that are not finite"
    if len(array) > 1 and np.array_equal(array[0], array[1]):
        return "its first two snapshots are equal"
    return None


def _record(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}


def _half_built(folder: Path) -> Stored:
    try:
        with np.load(folder / PROGRESS, allow_pickle=False) as saved:
            epoch = int(saved["epoch"])
    except (OSError, ValueError, KeyError):
        epoch = 0
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Stored(folder.name, folder, False, epoch, size, None, None, {}, {})
