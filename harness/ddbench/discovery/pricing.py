"""Estimate the cost of a plan: count the FLOPs of its jobs without running them.

Images and weights are tensors of the device "meta", which have a shape and no content, so a step at
full width takes a moment. Artifacts are priced by one step of their build. What depends on content
is said to be so, never guessed: work that a method declares makes a price a lower bound, and a
method that cannot run without content has none.
"""

from __future__ import annotations

import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_map_only

from ddbench import architectures
from ddbench.contract.artifacts import ArtifactStore, artifact_id, whitening_spec
from ddbench.contract.config import make_config
from ddbench.contract.hookspecs import Converged, Unsupported
from ddbench.contract.task import ArtifactRequest, Task, build_network
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import Method
from ddbench.inits import initial_set
from ddbench.meter import count_flops, forward_macs
from ddbench.text.lines import named, shortened
from ddbench.training import Recipe, fit, predict
from ddbench.training.evaluation import CHOOSING

META = torch.device("meta")
TEST_BATCH = 256  # images that are tested at once
INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


class _Shapes(TorchDispatchMode):
    """Let floating-point tensors have shapes only, while indices keep their values.

    Labels and indices decide the course of a method, and cost nothing: they stay on the CPU. A
    number read from a shape-only tensor is 0, a truth value is False, and a copy of it in the CPU's
    memory holds zeros.

    Attributes:
        peak: The most bytes that shape-only tensors would have held at once, those aside that were
            there before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._held = 0
        self._known: set[int] = set()  # storages

    def _hold(self, made: object) -> None:
        """Count what a new tensor would hold until nothing refers to it, autograd included."""
        if not isinstance(made, torch.Tensor) or made.device != META:
            return
        storage = made.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._held += size
            self.peak = max(self.peak, self._held)
            weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._held -= size

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
        if func is torch.ops.aten._to_copy.default and shapes and _to_cpu(kwargs):
            return torch.zeros_like(args[0], device="cpu", dtype=kwargs.get("dtype"))
        if func is torch.ops.aten._to_copy.default and not shapes and _becomes_real(args, kwargs):
            return torch.empty_like(args[0], device=META, dtype=kwargs["dtype"])
        if shapes and func.overloadpacket in INDEXING:
            args = (args[0], _as_numbers(args[1]), *args[2:])
            shapes = tree_any(_is_shape, (args, kwargs))
        if shapes:
            args, kwargs = tree_map_only(torch.Tensor, _as_shape, (args, kwargs))
        elif kwargs.get("device") == META and _whole_numbers(args, kwargs):
            kwargs["device"] = torch.device("cpu")
        made = func(*args, **kwargs)
        for one in made if isinstance(made, tuple | list) else (made,):
            self._hold(one)
        return made


def _as_numbers(indices: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Return indices with masks replaced by the places they choose, whose number is then known."""
    chosen: list[torch.Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool:
            known = index if index.device != META else torch.zeros_like(index, device="cpu")
            chosen += known.nonzero(as_tuple=True)
        else:
            chosen.append(index)
    return chosen


def _to_cpu(kwargs: Mapping[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == "cpu"


def _becomes_real(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Say whether whole numbers are made floating-point ones, as one-hot labels are."""
    dtype = kwargs.get("dtype")
    return dtype is not None and dtype.is_floating_point and not args[0].is_floating_point()


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
            return bool(numbers) and all(isinstance(number, int) for number in numbers)
    return not dtype.is_floating_point


class _Count:
    """What a block costs: `total` FLOPs, at least if `lower_bound`, and `peak` bytes at once."""

    def __init__(self, flops: Any, shapes: _Shapes) -> None:  # noqa: ANN401
        self._flops, self._shapes = flops, shapes

    @property
    def total(self) -> int:
        return int(self._flops.total)

    @property
    def lower_bound(self) -> bool:
        return bool(self._flops.lower_bound)

    @property
    def peak(self) -> int:
        return self._shapes.peak


@contextmanager
def _priced() -> Iterator[_Count]:
    with count_flops() as count, _Shapes() as shapes:
        yield _Count(count, shapes)


def condensation(
    job: Mapping[str, Any], facts: Mapping[str, Any], method: Method, extensions: Extensions
) -> dict[str, Any]:
    """Return ``{"flops", "lower_bound", "memory"}`` of a condensation, or ``{"unpriced": why}``.

    One cycle of steps is counted and taken for every other. ``memory`` is the most bytes that its
    tensors hold at once, beside the training data. `job` is a Condensation's record;
    `facts` holds ``num_classes``, ``shape``, ``class_counts`` and ``augment``. Where it shares
    artifacts with others there are ``artifacts`` too, {id: {"kind", "flops"}}, whose FLOPs are in
    no other number.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that wonder about zeros
            task = _task(job, facts, extensions, Path(folder))
            config = make_config(method.info, job["config"])
            with _priced() as setup:
                initial = initial_set(extensions.inits[job["init"]], task, method.info, config)
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
    known = setup.lower_bound or cycle.lower_bound or task.declared > 0
    steps = cycle.total * job["steps"] // counted if counted else 0
    flops = setup.total + steps
    shared = {"artifacts": task.priced} if task.priced else {}
    memory = setup.peak + cycle.peak
    return {"flops": flops, "lower_bound": known, "memory": memory, **shared}


class _PricedTask(Task):
    """A task whose images have shapes alone, and whose artifacts are counted and not built.

    Attributes:
        priced: {id: {"kind", "flops"}} of the artifacts asked for.
        declared: FLOPs that the method declared: their number depends on content, so that they
            say little.
    """

    shapes_only = True

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401
        super().__init__(**fields)
        self.priced: dict[str, dict[str, Any]] = {}
        self.declared = 0

    def _provide(self, wanted: ArtifactRequest) -> Path:
        """Count one step of the build, times their number.

        Raises:
            Unsupported: It does not say what a step is.
        """
        if wanted.step is None or wanted.steps < 1:
            raise Unsupported(f"artifact {wanted.kind!r} names no step to count (Task.artifact)")
        name = artifact_id(wanted.kind, wanted.spec)
        if name not in self.priced:
            with _priced() as count:
                wanted.step()
            self.priced[name] = {"kind": _what(wanted), "flops": count.total * wanted.steps}
        return self._store.root / name

    def count_flops(self, count: int, why: str) -> None:
        """Take note that something is declared."""
        self.declared += count


class _Enough(Exception):
    """An init has asked for what it shares; what it would do with that is not asked."""


class _AskedTask(_PricedTask):
    """A task whose artifacts are neither built nor counted: it is only noted which they are."""

    ends_there = False  # whether the first artifact ends the asking

    def _provide(self, wanted: ArtifactRequest) -> Path:
        """Note what is asked for."""
        name = artifact_id(wanted.kind, wanted.spec)
        self.priced[name] = {"kind": _what(wanted)}
        if self.ends_there:
            raise _Enough
        return self._store.root / name


def _what(wanted: ArtifactRequest) -> str:
    """Return the kind of an artifact, with the architecture that it is for if it is for one."""
    architecture = wanted.spec.get("architecture")
    return wanted.kind if architecture is None else f"{wanted.kind} {architecture}"


def artifacts_asked_for(
    job: Mapping[str, Any], facts: Mapping[str, Any], method: Method, extensions: Extensions
) -> dict[str, Any]:
    """Return ``{"artifacts": {id: what it is}, "unknown": why there may be more, or ""}``.

    The hook `prepare` says what a method shares, on a task that builds nothing; built-in inits are
    asked too. Its images are one zero in memory: those of "meta" make torch import for seconds.
    `facts` holds ``fingerprint`` and ``zca`` beside what `condensation` takes.
    """
    asked: dict[str, str] = {}
    if facts["zca"]:
        asked[artifact_id("zca", whitening_spec(facts["fingerprint"]))] = "zca"
    unknown = ""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blank = torch.zeros(1, 1, 1, 1)
        task = _task(job, facts, extensions, Path(folder), _AskedTask, blank)
        try:
            unknown = _ask_for_artifacts(job, task, method, extensions)
        except Exception as error:  # the method is someone else's code, and content is missing
            unknown = shortened(named(error))
    return {"artifacts": asked | {k: one["kind"] for k, one in task.priced.items()},
            "unknown": unknown}  # fmt: skip


def _ask_for_artifacts(
    job: Mapping[str, Any], task: _PricedTask, method: Method, extensions: Extensions
) -> str:
    """Let the init and the method ask `task` for what they share; return what cannot be told."""
    assert isinstance(task, _AskedTask)  # noqa: S101
    config = make_config(method.info, job["config"])
    unknown = ""
    if method.info.own_init(config) is None:
        if extensions.code_of_init(job["init"]):
            unknown = f"init {job['init']} does not say what it shares"
        else:
            task.ends_there = True
            with suppress(_Enough):
                extensions.inits[job["init"]].build(task)
            task.ends_there = False
    if not method.hook.prepare.get_hookimpls():
        return f"{job['method']} has no hook prepare"
    method.hook.prepare(task=task, config=config)
    return unknown


def _task(
    job: Mapping[str, Any],
    facts: Mapping[str, Any],
    extensions: Extensions,
    folder: Path,
    kind: type[_PricedTask] = _PricedTask,
    blank: torch.Tensor | None = None,
) -> _PricedTask:
    channels, height, width = facts["shape"]
    counts = torch.tensor(facts["class_counts"])
    labels = torch.arange(facts["num_classes"]).repeat_interleave(counts)
    size = (len(labels), channels, height, width)
    return kind(
        images=torch.empty(size, device=META) if blank is None else blank.expand(size),
        labels=labels,
        num_classes=facts["num_classes"],
        dataset=job["dataset"],
        fingerprint=facts.get("fingerprint", "shapes only"),
        strategy=facts["augment"],
        architecture=job["architecture"],
        ipc=job["ipc"],
        seed=job["seed"],
        store=ArtifactStore(folder),
        catalogue=extensions.architectures,
        epoch_images=facts["epoch_images"],
    )


@dataclass(frozen=True)
class NetworkCosts:
    """What a network costs for images of one shape.

    Attributes:
        parameters: Number of weights.
        macs_image: fvcore's multiply-adds of one forward of one image (see `forward_macs`).
        flops_train_step: Matrix and convolution operations of one training step, forward and
            backward, 2 per multiply-add.
    """

    parameters: int
    macs_image: int
    flops_train_step: int


def network_costs(
    name: str,
    shape: tuple[int, int, int],
    num_classes: int,
    batch: int,
    catalogue: Mapping[str, architectures.Architecture] | None = None,
) -> NetworkCosts:
    """Return what the network `name` costs; a step is one of `batch` images.

    Raises:
        ArchitectureError: There is no such network, or not for such images.
    """
    with META:
        network = architectures.build(name, shape, num_classes, catalogue=catalogue)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    recipe = Recipe(epochs=1, batch=batch)
    with _priced() as count:
        fit(
            network,
            torch.empty(batch, *shape, device=META),
            torch.arange(batch) % num_classes,
            recipe,
            torch.Generator().manual_seed(0),
        )
    real = build_network(name, shape, num_classes, 0, torch.device("cpu"), catalogue)  # to trace
    return NetworkCosts(parameters, forward_macs(real, shape), count.total)


def evaluation(
    job: Mapping[str, Any], facts: Mapping[str, Any], images: int, extensions: Extensions
) -> dict[str, Any]:
    """Return the costs of an evaluation on a set of `images` images, as of a condensation.

    ``flops`` is for training its networks, ``test_flops`` for testing them. One step on a full
    batch and one on what is left of the set are counted, and taken for every other.
    """
    recipe = Recipe.of({**job["recipe"], "epochs": 1, "drop": None})
    channels, height, width = facts["shape"]
    shape = (channels, height, width)
    try:
        with META:
            network = architectures.build(
                job["architecture"], shape, facts["num_classes"], catalogue=extensions.architectures
            )
        full, left = divmod(images, recipe.batch)
        parts = [(recipe.batch, full), (left, 1)]
        steps = [
            (_training_step(network, shape, facts["num_classes"], recipe, size), times)
            for size, times in parts
            if size and times
        ]
        batch = min(TEST_BATCH, sum(facts["test_counts"]))
        with _priced() as tested:
            predict(network, torch.empty(batch, *shape, device=META), TEST_BATCH)
    except Exception as error:  # an architecture may be someone else's code
        return {"unpriced": shortened(named(error))}
    networks = job["networks"] + CHOOSING * len(recipe.learning_rates)
    flops = sum(step.total * times for step, times in steps) * job["recipe"]["epochs"] * networks
    tests = sum(facts["test_counts"]) / max(1, batch) * job["networks"]
    return {
        "flops": flops,
        "test_flops": round(tested.total * tests),
        "lower_bound": any(step.lower_bound for step, _ in steps),
        "memory": max([tested.peak, *(step.peak for step, _ in steps)]),
    }


def _training_step(
    network: torch.nn.Module, shape: tuple[int, int, int], classes: int, recipe: Recipe, batch: int
) -> _Count:
    """Return what one step of training on `batch` images costs."""
    labels = torch.arange(batch) % classes
    data = torch.empty(batch, *shape, device=META)
    with _priced() as count:
        fit(network, data, labels, recipe, torch.Generator().manual_seed(0))
    return count
