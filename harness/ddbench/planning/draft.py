"""A plan under construction: the request, what is known so far, and the problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ddbench.contract.rows import Row
from ddbench.datasets import split_options
from ddbench.discovery.asking import Answer
from ddbench.discovery.methods import MethodEntry
from ddbench.planning.jobs import Choices, DatasetFacts, Plan
from ddbench.planning.registry import Preset, Registry, Where
from ddbench.store.records import Condensation

# What the command line calls the axes of a preset.
OPTIONS = {"datasets": "--dataset", "architectures": "--arch", "evaluate_on": "--evaluate-on"}


class MissingData(Exception):
    """A dataset whose files are missing; the text is the remedy."""


@dataclass(frozen=True)
class PlanningContext:
    """What the planner can ask.

    Attributes:
        found: Installed methods by name.
        ask: Asks methods and architectures (see `discovery.asking`).
        dataset: Name and options -> facts; raises `MissingData` when the dataset is absent.
        dataset_names: Known names, for suggestions.
    """

    found: Mapping[str, MethodEntry]
    ask: Answer
    dataset: Callable[[str, Mapping[str, Any]], DatasetFacts]
    dataset_names: Callable[[], Iterable[str]]


@dataclass
class Draft:
    """The data that the planner's steps share; each step adds its findings.

    Attributes:
        registry: With the canonical names of its architectures, once these are known.
        choices: What the user asked for.
        context: What can be asked.
        as_written: The preset as the registry has it.
        preset: The preset with the choices laid over it.
        budget: Seconds of each condensation, None: it ends by steps.
        problems: The user's mistakes; any of them refuses the plan.
        info: Method -> its description.
        datasets: Names of the datasets to plan for, those that are absent among them.
        absent: Dataset -> why it is not here.
        fits: (architecture, dataset) -> its canonical name, or why it does not fit.
        inits: Init -> fingerprint of its code, "" where it is of ddbench.
        formations: The same of the parts that sets may name.
        plan: The plan as far as it goes.
        recipes: (protocol, the dataset's own augmentation) -> the recipe of an evaluation.
        own_recipe: Condensation of a given set -> whether the set has its own recipe.
    """

    registry: Registry
    choices: Choices
    context: PlanningContext
    as_written: Preset
    preset: Preset
    budget: float | None
    problems: list[str] = field(default_factory=list)
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    fits: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    inits: dict[str, str] = field(default_factory=dict)
    formations: dict[str, str] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    recipes: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    own_recipe: dict[str, bool] = field(default_factory=dict)
    _published: dict[object, dict[str, list[Any]]] = field(default_factory=dict, init=False)

    def has_own_recipe(self, job: Condensation) -> bool:
        """Say whether the set of a condensation is evaluated by its own recipe too."""
        if job.id in self.own_recipe:
            return self.own_recipe[job.id]
        return bool(self.info[job.method]["own_recipe"])

    def method_of(self, row: Row) -> str:
        """Return the method behind a row."""
        return self.registry.method_of(row.method)

    def info_of(self, row: Row) -> Mapping[str, Any]:
        """Return the description of a row's method, {} where there is none."""
        return self.info.get(self.method_of(row), {})

    def is_dataset(self, name: str) -> bool:
        """Return whether there is such a name, of a file or folder, or with options behind it."""
        if name in self.registry.datasets or ":" in name:
            return True
        return split_options(name)[0] in self.context.dataset_names()

    def known_datasets(self) -> set[str]:
        """Return the names that a dataset may have."""
        return {*self.context.dataset_names(), *self.registry.datasets}

    def place(self, axis: str) -> str:
        """Return where the values of an axis of the preset come from."""
        options = {
            "datasets": "--dataset",
            "architectures": "--arch",
            "evaluate_on": "--evaluate-on",
        }
        if getattr(self.choices, axis, None) is not None:
            return options[axis]
        if axis == "evaluate_on" and self.choices.architectures is not None:
            return "--arch"
        return self.registry.place("presets", self.choices.preset, axis)

    def row_place(self, row: Row) -> str:
        """Return where a row stands in the registry; a control stands with the preset's rows."""
        found = [str(n) for n, other in enumerate(self.as_written.rows) if other is row]
        return self.registry.place("presets", self.choices.preset, "rows", *found)

    def published_at(self, row: Row, where: Where) -> dict[str, list[Any]]:
        """Return where a row's settings were published: axis or option -> the values there.

        What the registry's tables say is stronger than what the method says itself.
        """
        asked = row.method, where, id(self.info_of(row)), id(self.registry)
        if asked not in self._published:
            self._published[asked] = self._published_at(row, where)
        return self._published[asked]

    def _published_at(self, row: Row, where: Where) -> dict[str, list[Any]]:
        settled = {
            name
            for layer in self.registry.layers(row.method, where, published=True)
            for name in layer.options
        }
        said = self.info_of(row).get("published_at", {})
        own = {name: values for name, values in said.items() if name not in settled}
        return own | self.registry.published_at(row.method, where)

    def extensions(
        self, architecture: str, dataset: str, init: str = "", parts: Iterable[str] = ()
    ) -> dict[str, str]:
        """Return the code fingerprints of what others registered, by its name."""
        code = {architecture: self.fits[architecture, dataset].get("code", "")}
        code |= {init: self.inits[init]} if init else {}
        code |= {part: self.formations.get(part, "") for part in parts}
        return {name: fingerprint for name, fingerprint in code.items() if fingerprint}
