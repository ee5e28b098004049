"""Small tasks without a run, and the loop that condenses on them."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ddbench.contract.artifacts import ArtifactStore
from ddbench.contract.hookspecs import Converged
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.contract.task import Task
from ddbench.inits import initial_set, register_inits
from ddbench.store.tensor_trees import load_tree, restore_state, save_state, save_tree


def toy_task(
    *,
    classes: int = 3,
    channels: int = 1,
    size: int = 8,
    per_class: int = 20,
    ipc: int = 1,
    seed: int = 0,
    architecture: str = "convnet-w8-d1",
    store: Path | str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Task:
    """Return a task on blobs: `per_class` noisy copies of one random image for each class.

    Artifacts are kept in `store`; without one in a folder that goes with the task.
    """
    generator = torch.Generator().manual_seed(7)
    centres = torch.randn(classes, channels, size, size, generator=generator, dtype=dtype)
    noise = torch.randn(classes, per_class, channels, size, size, generator=generator, dtype=dtype)
    images = (centres[:, None] + 0.5 * noise).flatten(0, 1).to(device)
    labels = torch.arange(classes).repeat_interleave(per_class).to(device)
    return Task(
        images=images,
        labels=labels,
        num_classes=classes,
        dataset="toy",
        fingerprint=f"toy-{classes}-{channels}-{size}-{per_class}-{dtype}",
        strategy="color_crop_cutout_scale_rotate",
        architecture=architecture,
        ipc=ipc,
        seed=seed,
        store=_passing_store() if store is None else ArtifactStore(Path(store)),
        epoch_images=0,
    )


def _passing_store() -> ArtifactStore:
    """Return a store whose folder, made when first needed, is gone with it or with the process."""
    folder = Path(tempfile.gettempdir()) / f"ddbench-test-{uuid.uuid4().hex}"
    store = ArtifactStore(folder)
    weakref.finalize(store, _remove, folder, os.getpid())
    return store


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a process forked from it
        shutil.rmtree(folder, ignore_errors=True)


def condense(method: Any, task: Task, config: Any, steps: int, init: str = "real") -> SyntheticSet:  # noqa: ANN401
    """Run a method (an object with the hooks, called by keyword) on `task` and export.

    The plain loop of the runner, without metering, checkpoints or isolation.
    """
    from ddbench.discovery.methods import bind

    bound = bind(method)
    hook, start = bound.hook, initial_set(register_inits()[init], task, bound.info, config)
    state = hook.init(task=task, synthetic=start, config=config)
    for step in range(steps):
        try:
            hook.condense_step(state=state, task=task, step=step)
        except Converged:
            break
    return hook.export(state=state, task=task)


def built_init(task: Task, init: str = "real") -> SyntheticSet:
    """Return the initial set of an init that the harness brings."""
    return register_inits()[init].build(task)


def save_checkpoint(path: Path, state: Any, task: Task) -> None:  # noqa: ANN401
    """Write the state of a method and the task's random generators, as the runner does."""
    save_tree(path, {"state": save_state(state), "generators": task.generator_states()})


def load_checkpoint(path: Path, state: Any, task: Task) -> None:  # noqa: ANN401
    """Put what `save_checkpoint` wrote into a new `state` and a new `task`, in place."""
    saved = load_tree(path)
    restore_state(state, saved["state"])
    task.restore_generators(saved["generators"])


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one CPU thread, as jobs do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
