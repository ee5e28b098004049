"""The method under test: the checks start it, step it, and compare its results."""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddbench.contract.hookspecs import Converged, Facts, Unsupported
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.contract.task import Task
from ddbench.discovery.methods import Method
from ddbench.inits import initial_set, register_inits
from ddbench.testing.tasks import toy_task

PER_CLASS = 20  # training images of each class
SIZE = 8  # pixels, high and wide
ARCHITECTURE = "convnet-w8-d1"


@dataclass(frozen=True)
class Shape:
    """What a check condenses: channels, classes, images a class."""

    channels: int = 1
    classes: int = 3
    ipc: int = 2

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.channels} channels, {self.classes} classes, ipc {self.ipc}"


@dataclass(frozen=True)
class Subject:
    """A method with the options, the init and the device that it is checked with.

    Attributes:
        name: What users call it.
        method: As loaded.
        options: Over the Config's defaults.
        config: The frozen options.
        init: Name of the init.
        shape: What it condenses.
        steps: Steps of a trial: enough to see the loop, few enough to take no time.
        store: Folder of the artifacts of all trials.
        device: Where the trials compute.
        full: Whether to look at every combination.
        architecture: The network that is matched.
    """

    name: str
    method: Method
    options: Mapping[str, Any]
    config: Any
    init: str
    shape: Shape
    steps: int
    store: Path
    device: torch.device
    full: bool = False
    architecture: str = ARCHITECTURE

    def task(self, seed: int = 0) -> Task:
        """Return the toy task of this shape."""
        return toy_task(
            classes=self.shape.classes,
            channels=self.shape.channels,
            size=SIZE,
            per_class=PER_CLASS,
            ipc=self.shape.ipc,
            seed=seed,
            architecture=self.architecture,
            store=self.store,
            device=self.device,
        )

    def initial_set(self, task: Task) -> SyntheticSet | None:
        """Return what the method starts from on `task`; None if it makes its own."""
        init = register_inits()[self.init]
        return initial_set(init, task, self.method.info, self.config)

    def refusal(self) -> str | None:
        """Return why the method says, before any work, that it cannot do this shape."""
        facts = Facts(
            dataset="toy",
            num_classes=self.shape.classes,
            shape=(self.shape.channels, SIZE, SIZE),
            class_counts=(PER_CLASS,) * self.shape.classes,
            architecture=self.architecture,
            init=self.init,
            ipc=self.shape.ipc,
            steps=self.steps,
        )
        return self.method.info.needs(self.config, facts)

    def at(self, **changes: Any) -> Subject:  # noqa: ANN401
        """Return the subject with another shape, init or device.

        Raises:
            Unsupported: The method says that it cannot do that one.
        """
        changed = replace(self, **changes)
        why = changed.refusal()
        if why is not None:
            raise Unsupported(why)
        return changed


class Trial:
    """One condensation under way, in the plain loop of the runner."""

    def __init__(
        self, subject: Subject, task: Task | None = None, initial: SyntheticSet | None = None
    ) -> None:
        """Call the hook `init` on `task`, or on the subject's own with seed 0."""
        self.hook = subject.method.hook
        self.task = subject.task() if task is None else task
        if initial is None:
            initial = subject.initial_set(self.task)
        self.state = self.hook.init(task=self.task, synthetic=initial, config=subject.config)
        self.step, self.converged = 0, False

    def go(self, steps: int) -> Trial:
        """Take `steps` steps more, or as many as it wants."""
        for _ in range(steps):
            if self.converged:
                break
            try:
                self.hook.condense_step(state=self.state, task=self.task, step=self.step)
            except Converged:
                self.converged = True
            self.step += 1
        return self

    def export(self) -> SyntheticSet:
        """Return the set as it stands."""
        return self.hook.export(state=self.state, task=self.task)


def run(subject: Subject, seed: int = 0) -> SyntheticSet:
    """Condense from start to end."""
    return Trial(subject, subject.task(seed)).go(subject.steps).export()


def copied(result: SyntheticSet) -> SyntheticSet:
    """Return a copy that shares nothing with `result`."""
    return result.with_tensors(lambda tensor: tensor.detach().clone())


def difference(one: SyntheticSet, other: SyntheticSet) -> str | None:
    """Return in words where two sets differ, or None if every bit is the same."""
    tensors = {"images": (one.images, other.images), "labels": (one.labels, other.labels)}
    for place, these, those in (
        ("column", one.columns, other.columns),
        ("payload", one.payload, other.payload),
    ):
        if these.keys() != those.keys():
            return f"{place}s have the names {sorted(these)} and {sorted(those)}"
        tensors |= {f"{place} {name!r}": (these[name], those[name]) for name in these}
    for name, (a, b) in tensors.items():
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{name} are {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
        if not torch.equal(a, b):
            most = (a.detach().double() - b.detach().double()).abs().max().item()
            return f"{name} differ by up to {most:.3g}"
    for name in ("recipe", "formation"):
        these, those = (json.loads(json.dumps(dict(getattr(s, name)))) for s in (one, other))
        if these != those:  # as files hold them, with lists for tuples
            return f"{name}s are {these} and {those}"
    return None


def global_state() -> dict[str, Any]:
    """Return the global state that a method must not change, by name, in comparable form."""
    numpy_state = np.random.get_state(legacy=False)
    return {
        "the random state of torch": torch.get_rng_state().numpy().tobytes(),
        "the random state of numpy": str(numpy_state["state"]["key"].tobytes()) + str(numpy_state),
        "the random state of Python": random.getstate(),
        "the default dtype of torch": torch.get_default_dtype(),
        "the grad mode of torch": torch.is_grad_enabled(),
        "the number of threads of torch": torch.get_num_threads(),
    }


@contextmanager
def ambient_seed(seed: int) -> Iterator[None]:
    """Run the block with all global random states seeded; put them back afterwards."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def where(error: BaseException) -> str:
    """Return an error, and the last line of the method's own code that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    foreign = ("/harness/ddbench/", "/site-packages/ddbench/", "/torch/", "/pluggy/")
    own = [frame for frame in frames if not any(part in frame.filename for part in foreign)]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}"
