"""Price a plan: count the FLOPs of its jobs without running them.

Images and weights are tensors of the device "meta", which have a shape and no content, so a step at
full width takes a moment. What depends on content cannot be priced: a method that reads such
numbers to decide its course, or whose work torch does not see. It is then said so, never guessed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_map_only

from ddbench.contract.artifacts import ArtifactStore
from ddbench.contract.config import make_config
from ddbench.contract.hookspecs import Converged
from ddbench.contract.task import Task
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import Method
from ddbench.meter import count_flops
from ddbench.text.lines import named, shortened
from ddbench.training.loop import Recipe, fit

META = torch.device("meta")
INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


class _Shapes(TorchDispatchMode):
    """Let floating-point tensors have shapes only, while indices keep their values.

    Labels and indices decide the course of a method, and cost nothing: they stay on the CPU. A
    number read from a shape-only tensor is 0.
    """

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        shapes = tree_any(_is_shape, (args, kwargs))
        if func is torch.ops.aten._local_scalar_dense.default and shapes:
            return 0.0
        if shapes:
            if func.overloadpacket in INDEXING:
                args = (args[0], _as_numbers(args[1]), *args[2:])
            args, kwargs = tree_map_only(torch.Tensor, _as_shape, (args, kwargs))
        elif kwargs.get("device") == META and _whole_numbers(args, kwargs):
            kwargs["device"] = torch.device("cpu")
        return func(*args, **kwargs)


def _as_numbers(indices: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Return indices with masks replaced by the places they choose, whose number is then known."""
    chosen: list[torch.Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and index.device != META:
            chosen += index.nonzero(as_tuple=True)
        else:
            chosen.append(index)
    return chosen


def _is_shape(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.device == META


def _as_shape(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.device == META else torch.empty_like(tensor, device=META)


def _whole_numbers(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Say whether an operation makes a tensor of integers or truth values."""
    dtype = kwargs.get("dtype")
    if dtype is None:
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        numbers = [arg for arg in args if not isinstance(arg, list | tuple)]
        if tensors:
            dtype = tensors[0].dtype
        else:
            return all(isinstance(number, int) for number in numbers)
    return not dtype.is_floating_point


@contextmanager
def _priced() -> Iterator[Any]:
    with count_flops() as count, _Shapes():
        yield count


def condensation(
    job: Mapping[str, Any], facts: Mapping[str, Any], method: Method, extensions: Extensions
) -> dict[str, Any]:
    """Return ``{"flops", "lower_bound"}`` of a condensation, or ``{"unpriced": why}``.

    One cycle of steps is counted and taken for every other. `job` is a Condensation's record;
    `facts` holds ``num_classes``, ``shape``, ``class_counts`` and ``augment``.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            task = _task(job, facts, extensions, Path(folder))
            config = make_config(method.info, job["config"])
            with _priced() as setup:
                initial = extensions.inits[job["init"]].build(task)
                state = method.hook.init(task=task, synthetic=initial, config=config)
            counted = min(job["cycle"], job["steps"])
            with _priced() as cycle:
                for step in range(counted):
                    try:
                        method.hook.condense_step(state=state, task=task, step=step)
                    except Converged:
                        return {"unpriced": "it decides by content when to end"}
    except Exception as error:  # the method is someone else's code, and content is missing
        return {"unpriced": shortened(named(error))}
    steps = cycle.total * job["steps"] // counted if counted else 0
    return {"flops": setup.total + steps, "lower_bound": setup.lower_bound or cycle.lower_bound}


def _task(
    job: Mapping[str, Any], facts: Mapping[str, Any], extensions: Extensions, folder: Path
) -> Task:
    channels, height, width = facts["shape"]
    counts = torch.tensor(facts["class_counts"])
    labels = torch.arange(facts["num_classes"]).repeat_interleave(counts)
    return Task(
        images=torch.empty(len(labels), channels, height, width, device=META),
        labels=labels,
        num_classes=facts["num_classes"],
        dataset=job["dataset"],
        fingerprint="shapes only",
        strategy=facts["augment"],
        architecture=job["architecture"],
        ipc=job["ipc"],
        seed=job["seed"],
        store=ArtifactStore(folder),
        catalogue=extensions.architectures,
    )


def evaluation(
    job: Mapping[str, Any], facts: Mapping[str, Any], images: int, extensions: Extensions
) -> dict[str, Any]:
    """Return the FLOPs of training an evaluation's networks on a set of `images` images.

    One epoch is counted and taken for every other; testing is not in it.
    """
    from ddbench import architectures

    recipe = Recipe.of({**job["recipe"], "epochs": 1, "drop": None})
    channels, height, width = facts["shape"]
    shape = (channels, height, width)
    try:
        with META:
            network = architectures.build(
                job["architecture"], shape, facts["num_classes"], catalogue=extensions.architectures
            )
        labels = torch.arange(images) % facts["num_classes"]
        data = torch.empty(images, *shape, device=META)
        with _priced() as count:
            fit(network, data, labels, recipe, torch.Generator().manual_seed(0))
    except Exception as error:  # an architecture may be someone else's code
        return {"unpriced": shortened(named(error))}
    flops = count.total * job["recipe"]["epochs"] * job["networks"]
    return {"flops": flops, "lower_bound": count.lower_bound}
