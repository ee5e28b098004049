"""Extensions: datasets, architectures, inits and observers, the built-in ones among them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from ddbench.hookspecs import EXTENSIONS_GROUP, ExtensionHooks, hookimpl

if TYPE_CHECKING:
    from ddbench.architectures import Architecture
    from ddbench.datasets import Source
    from ddbench.inits import Init

log = logging.getLogger("ddbench")


class BuiltIn:
    """What ddbench itself brings, through the same door as anyone else's."""

    @hookimpl
    def register_datasets(self) -> Mapping[str, Source]:
        """Return the built-in datasets."""
        from ddbench import datasets

        return datasets.register_datasets()

    @hookimpl
    def register_architectures(self) -> Mapping[str, Architecture]:
        """Return the built-in architecture families."""
        from ddbench import architectures

        return architectures.register_architectures()

    @hookimpl
    def register_inits(self) -> Mapping[str, Init]:
        """Return the built-in inits."""
        from ddbench import inits

        return inits.register_inits()


class Extensions:
    """All extensions behind one manager; one that raises is reported and switched off."""

    def __init__(self, plugins: Mapping[str, object] | None = None) -> None:
        """Take the built-in extension and `plugins`, by name."""
        self.manager = pluggy.PluginManager("ddbench")
        self.manager.add_hookspecs(ExtensionHooks)
        self.manager.register(BuiltIn(), name="ddbench")
        self.failures: dict[str, str] = {}
        for name, plugin in (plugins or {}).items():
            self._register(name, lambda plugin=plugin: plugin)  # type: ignore[misc]

    @classmethod
    def installed(cls, observers: Iterable[str] = (), folder: Path = Path()) -> Extensions:
        """Return the built-in extension and every installed one.

        Args:
            observers: Those of `ddbench.observers` that were asked for.
            folder: The run folder, for them to write into.
        """
        extensions = cls()
        for point in entry_points(group=EXTENSIONS_GROUP):
            extensions._register(point.name, point.load)
        extensions.observe(observers, folder)
        return extensions

    def observe(self, observers: Iterable[str], folder: Path) -> None:
        """Add observers of `ddbench.observers` by name; one that is there already stays."""
        from ddbench import observers as ours

        for name in observers:
            if not self.manager.has_plugin(name):
                self._register(name, functools.partial(ours.make, name, folder))

    def _register(self, name: str, load: Callable[[], object]) -> None:
        try:
            self.manager.register(load(), name=name)
            self.manager.check_pending()
        except Exception as error:  # an extension is someone else's code
            self._switch_off(name, error)

    def _switch_off(self, name: str, error: Exception) -> None:
        reason = f"extension {name!r} is switched off: {type(error).__name__}: {error}"
        self.failures[name] = reason
        log.warning(reason)
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)

    def _each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
        """Call one hook, plugin by plugin; return (name, answer) of those that did not raise."""
        answers = []
        for impl in list(getattr(self.manager.hook, hook).get_hookimpls()):
            try:
                wanted = {name: arguments[name] for name in impl.argnames}
                answers.append((impl.plugin_name, impl.function(**wanted)))
            except Exception as error:  # an extension is someone else's code
                self._switch_off(impl.plugin_name, error)
        return answers

    def _collect(self, hook: str) -> dict[str, Any]:
        collected: dict[str, Any] = {}
        for name, answer in self._each(hook):
            taken = collected.keys() & dict(answer or {}).keys()
            if taken:
                clash = ", ".join(sorted(taken))
                self._switch_off(name, ValueError(f"{hook}: {clash} is already registered"))
            else:
                collected.update(answer or {})
        return collected

    @functools.cached_property
    def datasets(self) -> dict[str, Source]:
        """Datasets by name."""
        return self._collect("register_datasets")

    @functools.cached_property
    def architectures(self) -> dict[str, Architecture]:
        """Architecture families by name."""
        return self._collect("register_architectures")

    @functools.cached_property
    def inits(self) -> dict[str, Init]:
        """Inits by name."""
        return self._collect("register_inits")

    def notify(self, hook: str, **arguments: Any) -> None:  # noqa: ANN401
        """Tell the observers; one that raises is switched off and costs nothing else."""
        self._each(hook, **arguments)
