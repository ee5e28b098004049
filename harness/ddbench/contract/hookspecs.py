"""The hooks that a method implements, and those of extensions.

A method is an object (a module, or an instance) with functions marked `@hookimpl`; it is found
through the entry-point group ``ddbench.methods``. The harness calls ``init`` once, then
``condense_step`` until the steps or the budget are spent, then ``export``. A hook implementation
may leave out arguments that it does not use.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.architectures import Architecture
    from ddbench.contract.engines import Engine
    from ddbench.contract.synthetic_set import SyntheticSet
    from ddbench.contract.task import Task
    from ddbench.datasets import Source
    from ddbench.formations import Formation

HOOK_API = 4  # raised when a hook is added or gains an argument; hooks never lose one
METHODS_GROUP = "ddbench.methods"
EXTENSIONS_GROUP = "ddbench.extensions"

hookspec = pluggy.HookspecMarker("ddbench")
hookimpl = pluggy.HookimplMarker("ddbench")


class Unsupported(Exception):
    """Raised by a method that cannot do this combination; the row is skipped with the reason."""


class OptionsError(RuntimeError):
    """Raised if other options of the method would help: the row's reason names them.

    Attributes:
        options: Values to try, by option; the harness writes them as `--set` takes them.
    """

    def __init__(self, message: str, options: Mapping[str, Any] | None = None) -> None:
        """Say in `message` what is wrong, and in `options` what would do."""
        super().__init__(message)
        self.options = dict(options or {})


class Converged(Exception):
    """Raised by `condense_step` after a step that was the last one needed; the step counts."""

    def __init__(self, metrics: Mapping[str, float] | None = None) -> None:
        """Keep the step's metrics, as `condense_step` would have returned them."""
        super().__init__("converged")
        self.metrics = dict(metrics or {})


@dataclass(frozen=True)
class Init:
    """A way to make the initial set.

    Attributes:
        name: As written in the registry.
        build: Task -> initial set of ipc images in every class, class by class. It draws from
            ``task.new_generator("init")``.
        summary: One line for people.
    """

    name: str
    build: Callable[[Task], SyntheticSet]
    summary: str


class RunResults(Protocol):
    """A run's results as a reporter gets them: plain values, accuracies in [0, 1].

    Attributes:
        title: The name of the run, or of the file that is written.
        folder: The run folder.
        rows: One mapping for each row of a ranking, as in `ddbench leaderboard --json`.
        networks: One mapping for each network that was trained and counts: its place, its
            accuracy, its seconds, and what its set cost.
        troubles: One mapping for each job that failed or was skipped: what, seeds, reason.
    """

    @property
    def title(self) -> str: ...  # noqa: D102

    @property
    def folder(self) -> Path: ...  # noqa: D102

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102

    @property
    def networks(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102

    @property
    def troubles(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102


@dataclass(frozen=True)
class Reporter:
    """A format that the results of a run are written in.

    Attributes:
        name: As in ``ddbench report --format``.
        write: `RunResults` -> the content of the file; text becomes UTF-8.
        ending: Of the file, with its dot: ".xlsx".
        summary: One line for people.
    """

    name: str
    write: Callable[[Any], str | bytes]
    ending: str
    summary: str


@dataclass(frozen=True)
class NoOptions:
    """The Config of a method that has no options."""


@dataclass(frozen=True)
class Facts:
    """The facts of a condensation before it runs: for `MethodInfo.needs`.

    Attributes:
        dataset: Name of the dataset.
        num_classes: C.
        shape: (ch, H, W).
        class_counts: Training images of each class, C numbers.
        architecture: Name of the matched architecture.
        init: Name of the init.
        ipc: Images per class.
        steps: Steps planned.
    """

    dataset: str
    num_classes: int
    shape: tuple[int, int, int]
    class_counts: tuple[int, ...]
    architecture: str
    init: str
    ipc: int
    steps: int


class HasData(Protocol):
    """What `missing_classes` and `shortage` need: a `Facts` or a `Task`."""

    @property
    def dataset(self) -> str:
        """Name of the dataset."""

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training images of each class, C numbers."""

    @property
    def ipc(self) -> int:
        """Images per class."""


def missing_classes(config: object, facts: HasData) -> str | None:
    """Return a message if classes have no training images, else None: a `MethodInfo.needs`."""
    empty = [c for c, count in enumerate(facts.class_counts) if not count]
    return f"{facts.dataset} has no training images of classes {empty}" if empty else None


def shortage(config: object, facts: HasData) -> str | None:
    """Return a message if a class has fewer than ipc training images, else None."""
    for c, count in enumerate(facts.class_counts):
        if count < facts.ipc:
            return (
                f"class {c} has {count} training images, ipc is {facts.ipc}; "
                f"use ipc <= {min(facts.class_counts)}"
            )
    return None


def require(
    config: object,
    *names: str,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    one_of: Iterable[str] = (),
) -> None:
    """Refuse options outside a range, or not among `one_of`; for `__post_init__` of a Config.

    The options called `names` must be > `above`, >= `least`, < `below` and <= `most`, as far as
    these are given. An option that is None passes.

    Raises:
        ValueError: The first that is not; names the option, its value and what is expected.
    """
    bounds = (
        (above, operator.gt, "more than"),
        (least, operator.ge, "at least"),
        (below, operator.lt, "below"),
        (most, operator.le, "at most"),
    )
    given = [(limit, holds, words) for limit, holds, words in bounds if limit is not None]
    choices = tuple(one_of)
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        if choices and value not in choices:
            raise ValueError(f"{name} is {value!r}; available: {', '.join(choices)}")
        if not all(holds(value, limit) for limit, holds, _ in given):
            expected = " and ".join(f"{words} {limit:g}" for limit, _, words in given)
            raise ValueError(f"{name} is {value!r}; expected {expected}")


@dataclass(frozen=True)
class MethodInfo:
    """The description of a method; every field is optional.

    Attributes:
        config: A frozen dataclass of options whose defaults are the paper's.
        inits: Names of the inits it accepts, () for any.
        default_init: The init of a row that names none.
        own_init: (config) -> None where the method starts from the initial set; else the name of
            the init that it makes by itself: no initial set is built then, and the hook `init`
            gets None for it.
        step: What one step is, in one or two words.
        steps: (config, ipc) -> the published number of steps; 0 for selection methods.
        cycle: (config, ipc) -> after how many steps the cost pattern repeats (for metering).
        quick: Options, and ``steps``, that fit 25 CPU seconds on mnist-mini at ipc 1.
        check: Options, over those of `quick`, that fit the tiny data of `ddbench check`.
        labels: "hard" or "soft"; a set with soft labels is also evaluated by its own recipe.
        own_recipe: Whether a set with hard labels brings a recipe too (a learned rate, say), by
            which it is also evaluated.
        published_at: Where the Config's defaults are the published settings: ``dataset``, ``init``,
            ``ipc``, ``arch`` (its canonical name) or an option -> the values there, the usual one
            first; what it does not name may be any. A row that is elsewhere is marked, and
            ``--published`` takes the init and the options that stand here.
        canonical: (config, facts) -> the config with every option that leaves the result as it
            is, but for rounding, at one value: such options are never marked as not published.
        published: Whether a publication gives the Config's defaults; None: if `paper` is named.
        formations: Parts that its sets name and that extensions bring (`register_formations`);
            their code is part of what determines a result.
        setting: "" where all data are in one place; else what another setting is called, such as
            "federated": its rows have tables of their own.
        balanced: Whether the set has exactly ipc images in every class.
        needs: (config, facts) -> why this combination is impossible, or None; asked at plan time.
        controls: Rows that must stand beside every row of this method: preset rows, in which a
            missing ``method`` means this method with the options of the row that is controlled,
            and ``options`` over them: ``{"method": "random"}``, ``{"steps": 0}``.
        paper: Authors, title, venue or arXiv number.
        bibtex: The entry to cite.
    """

    config: type = NoOptions
    inits: tuple[str, ...] = ()
    default_init: str = "real"
    own_init: Callable[[Any], str | None] = lambda config: None
    step: str = "step"
    steps: Callable[[Any, int], int] = lambda config, ipc: 1000
    cycle: Callable[[Any, int], int] = lambda config, ipc: 1
    quick: Mapping[str, Any] = field(default_factory=dict)
    check: Mapping[str, Any] = field(default_factory=dict)
    labels: str = "hard"
    own_recipe: bool = False
    published_at: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    published: bool | None = None
    canonical: Callable[[Any, Facts], Any] = lambda config, facts: config
    formations: tuple[str, ...] = ()
    setting: str = ""
    balanced: bool = True
    needs: Callable[[Any, Facts], str | None] = lambda config, facts: None
    controls: tuple[Mapping[str, Any], ...] = ()
    paper: str = ""
    bibtex: str = ""


class MethodHooks:
    """The hooks of one method; `describe`, `prepare`, `save` and `restore` are optional."""

    @hookspec(firstresult=True)
    def describe(self) -> MethodInfo | None:
        """Return what the planner and the reports may know before any work is done."""

    @hookspec(firstresult=True)
    def prepare(self, task: Task, config: Any) -> bool | None:  # noqa: ANN401
        """Build the artifacts that `init` would ask for, and return True; for building ahead."""

    @hookspec(firstresult=True)
    def init(
        self,
        task: Task,
        synthetic: SyntheticSet | None,
        config: Any,  # noqa: ANN401
    ) -> Any | None:  # noqa: ANN401
        """Return the state to condense from, made of the initial set and the frozen options.

        `synthetic` is None for a method that makes its own (`MethodInfo.own_init`). What `export`
        returns before the first step is recorded as what the condensation started from.
        """

    @hookspec(firstresult=True)
    def condense_step(
        self,
        state: Any,  # noqa: ANN401
        task: Task,
        step: int,
    ) -> Mapping[str, float] | None:
        """Advance `state` in place by one step, 0-based; return numbers to log.

        May raise Converged, and that step counts.
        """

    @hookspec(firstresult=True)
    def export(self, state: Any, task: Task) -> SyntheticSet | None:  # noqa: ANN401
        """Return the synthetic set as it stands, detached and independent of later steps."""

    @hookspec(firstresult=True)
    def save(self, state: Any) -> Any | None:  # noqa: ANN401
        """Return a tree of tensors, numbers, strings and None from which `restore` can go on."""

    @hookspec(firstresult=True)
    def restore(self, state: Any, tree: Any) -> bool | None:  # noqa: ANN401
        """Write a saved tree into the state that `init` made, in place; return True."""


class ExtensionHooks:
    """What a package in the group ``ddbench.extensions`` may add; all of its hooks are optional."""

    @hookspec
    def register_datasets(self) -> Mapping[str, Source] | None:
        """Return datasets by name."""

    @hookspec
    def register_architectures(self) -> Mapping[str, Architecture] | None:
        """Return architecture families by name."""

    @hookspec
    def register_inits(self) -> Mapping[str, Init] | None:
        """Return inits by name."""

    @hookspec
    def register_engines(self) -> Mapping[str, Engine] | None:
        """Return engines by name."""

    @hookspec
    def register_formations(self) -> Mapping[str, Formation] | None:
        """Return parts that sets may name, by name: decoders, views and targets."""

    @hookspec
    def register_reporters(self) -> Mapping[str, Reporter] | None:
        """Return formats of reports by name."""

    @hookspec
    def job_started(self, job: Mapping[str, Any]) -> None:
        """Observe that a job begins; `job` is its record in the plan."""

    @hookspec
    def step_finished(
        self, job: Mapping[str, Any], step: int, metrics: Mapping[str, float]
    ) -> None:
        """Observe one condensing step, 0-based, in the process that runs it."""

    @hookspec
    def job_finished(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Observe that a job ended, done, failed or skipped; `result` is its record."""

    @hookspec
    def run_finished(self, folder: str) -> None:
        """Observe that the run command ends."""
