"""Open the workspace of a plan: the registry, installed methods, data and the cache."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench import datasets
from ddbench.discovery.asking import SERVER, Answer, Child, in_process
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import Method, MethodEntry, discover, load
from ddbench.planning.draft import MissingData, PlanningContext
from ddbench.planning.jobs import Choices, DatasetFacts, Plan, Shared
from ddbench.planning.planner import make
from ddbench.planning.prices import Priced, prices
from ddbench.planning.registry import Registry
from ddbench.planning.sharing import shared
from ddbench.processes.fork_server import ForkServer
from ddbench.store.run_folder import RunError

if TYPE_CHECKING:
    from ddbench.planning.given_sets import GivenSet, PlanOfSets

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Where a session looks and keeps things.

    Attributes:
        cache: Datasets, artifacts and answers kept between runs.
        roots: Data roots, in the order of search.
        plugins: Python files, each a method or an extension.
    """

    cache: Path
    roots: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()


def default_cache() -> Path:
    """Return the user's cache folder for ddbench.

    Raises:
        RunError: The user has no home folder, as in a container under an unknown user id.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "ddbench"
    except RuntimeError as error:
        raise RunError(
            "no folder for the cache: XDG_CACHE_HOME and HOME are not set, and this user "
            "has no home folder; name one with --cache, or set XDG_CACHE_HOME"
        ) from error


@dataclass
class Session:
    """Everything that a command needs to plan and run.

    Attributes:
        registry: As read.
        places: Where things are.
        found: Methods by name.
        extensions: Datasets, architectures, inits, observers.
        ask: How methods are asked; in a child process unless methods are bound here.
        bound: Methods that are loaded here, for the inline engine.
    """

    registry: Registry
    places: Places
    found: dict[str, MethodEntry]
    extensions: Extensions
    ask: Answer
    bound: Mapping[str, Method] = field(default_factory=dict)

    @classmethod
    def installed(cls, registry: Registry, places: Places, server: ForkServer = SERVER) -> Session:
        """Return a session over what is installed; methods are asked in a process of `server`."""
        found = discover(places.plugins)
        extensions = Extensions.installed(files=places.plugins)
        ask = Child(found, places.cache, places.plugins, server)
        LOG.debug("registry %s, cache %s, data in %s", registry.path, places.cache,
                  ", ".join(map(str, places.roots)) or "no folder")  # fmt: skip
        LOG.debug("methods: %s", ", ".join(f"{one.name} ({one.source})" for one in found.values()))
        return cls(registry, places, found, extensions, ask)

    @classmethod
    def of(
        cls,
        registry: Registry,
        places: Places,
        methods: Mapping[str, Method],
        extensions: Extensions | None = None,
    ) -> Session:
        """Return a session over methods bound in this process: tests and notebooks."""
        found = {name: replace(method.found, name=name) for name, method in methods.items()}
        extensions = extensions or Extensions()
        ask = in_process(methods, extensions)
        return cls(registry, places, found, extensions, ask, methods)

    def method(self, name: str) -> Method:
        """Return a method, loaded into this process.

        Raises:
            MethodError: It cannot be loaded.
        """
        return self.bound[name] if name in self.bound else load(self.found[name])

    def plan(self, choices: Choices) -> Plan:
        """Return the plan of a run.

        Raises:
            RegistryError: Every unknown name and refused option at once.
        """
        return make(self.registry, choices, self._context())

    def plan_of_sets(self, choices: Choices, sets: Sequence[GivenSet]) -> PlanOfSets:
        """Return the plan of evaluations of given sets, see `given_sets`.

        Raises:
            RegistryError: Every unknown name, and every set that does not fit the data, at once.
        """
        from ddbench.planning.given_sets import plan_of_sets  # which imports torch

        parts = self.extensions.formations
        return plan_of_sets(self.registry, choices, self._context(), sets, parts)

    def facts(self, name: str, validate: int | None = None) -> DatasetFacts:
        """Return what is known of a dataset of the registry or of ddbench.

        `validate` is the option of that name: the percentage of the training images to hold out.

        Raises:
            MissingData: It is not here; the text is the remedy.
        """
        source, options = self.named_datasets().get(name, (name, {}))
        more = {} if validate is None else {"validate": validate}
        return self._facts(source, {**options, **more})

    def _context(self) -> PlanningContext:
        return PlanningContext(self.found, self.ask, self._facts, lambda: self.extensions.datasets)

    def close(self) -> None:
        """End the process that answers about methods; no questions follow while jobs run."""
        if isinstance(self.ask, Child):
            self.ask.close()

    def price(self, plan: Plan, kept: bool = False) -> list[Priced]:
        """Return the FLOPs of each row of a plan and of its evaluations (see `prices`).

        `kept`: only of those that have been counted before.
        """
        if not kept:
            return prices(plan, self.ask)
        return prices(plan, self.ask.kept_answers) if isinstance(self.ask, Child) else []

    def shared(self, plan: Plan) -> list[Shared]:
        """Return the artifacts that the rows of a plan share, and whether the cache has them."""
        return shared(plan, self.ask, self.places.cache / "artifacts")

    def _facts(self, name: str, options: Mapping[str, Any]) -> DatasetFacts:
        started = time.monotonic()
        try:
            dataset = datasets.load(
                name,
                roots=self.places.roots,
                cache=self.places.cache,
                options=options,
                sources=self.extensions.datasets,
            )
        except datasets.DatasetMissing as missing:
            raise MissingData(str(missing)) from missing
        LOG.debug("dataset %s: %d + %d images in %.1f s", name, len(dataset.train_images),
                  len(dataset.test_images), time.monotonic() - started)  # fmt: skip
        about = datasets.facts_of(dataset)
        return DatasetFacts(
            name,
            dataset.fingerprint,
            dataset.num_classes,
            dataset.shape,
            tuple(about["train_counts"]),
            dataset.augment,
            tuple(about["class_names"]),
            tuple(about["test_counts"]),
            dataset.notes,
            dataset.options.get("validate"),
            dataset.epoch_images,
            dataset.zca,
            datasets.space_of(dataset),
        )

    def sizes(self, name: str) -> datasets.Sizes:
        """Return the sizes of a dataset, known or read.

        Raises:
            DatasetError: An unknown name; files that are absent, of which nothing is published.
        """
        source, options = self.named_datasets().get(name, (name, {}))
        places = self.places
        known = self.extensions.datasets
        return datasets.sizes(
            source, roots=places.roots, cache=places.cache, options=options, sources=known
        )

    def named_datasets(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Return the registry's own datasets, as jobs need them."""
        return {k: (d.source, d.options) for k, d in self.registry.datasets.items()}
