"""Load extensions: datasets, architectures, inits, engines, observers, built-in ones included."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from ddbench.contract.hookspecs import EXTENSIONS_GROUP, ExtensionHooks, hookimpl
from ddbench.discovery.fingerprints import file_code, package_code
from ddbench.discovery.methods import from_file, import_file, is_extension
from ddbench.text.lines import named

if TYPE_CHECKING:
    import torch

    from ddbench.architectures import Architecture
    from ddbench.contract.engines import Engine
    from ddbench.contract.hookspecs import Init, Reporter
    from ddbench.datasets import Source
    from ddbench.formations import Formation

log = logging.getLogger("ddbench")


class BuiltIn:
    """The built-in parts of ddbench, registered like those of other packages."""

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

    @hookimpl
    def register_formations(self) -> Mapping[str, Formation]:
        """Return the built-in parts of sets."""
        from ddbench import formations

        return formations.register_formations()


def canonical_architecture(name: str) -> str:
    """Return the one name of a network, of ddbench or of an installed extension.

    Raises:
        ValueError: There is none of this name; names the nearest.
    """
    from ddbench.architectures import ArchitectureError, canonical

    try:
        return canonical(name)
    except ArchitectureError:  # a third party's, perhaps; asked second, for it takes its import
        return canonical(name, Extensions.installed().architectures)


def outline(name: str, shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
    """Return a network of ddbench or of an installed extension, without the numbers of its weights.

    For `MethodInfo.needs`, which is asked before there is a task: whether it has batch norm, say.

    Raises:
        ValueError: There is none of this name, or the images (ch, H, W) do not suit it.
    """
    from ddbench import architectures

    try:
        return architectures.outline(name, shape, num_classes)
    except architectures.ArchitectureError:
        catalogue = Extensions.installed().architectures
        return architectures.outline(name, shape, num_classes, catalogue)


class Extensions:
    """All extensions behind one manager; one that raises is reported and switched off.

    What raises in an observer's hook is no longer told anything; what it has registered stays.

    Attributes:
        failures: What was switched off, and why.
        silenced: Those that are told nothing.
    """

    def __init__(self, plugins: Mapping[str, object] | None = None) -> None:
        """Take the built-in extension and `plugins`, by name."""
        self.silenced: set[str] = set()
        self._code: dict[str, str] = {}  # fingerprint of each one's code
        self._brought: dict[tuple[str, str], str] = {}  # (hook, registered name) -> by whom
        self.manager = pluggy.PluginManager("ddbench")
        self.manager.add_hookspecs(ExtensionHooks)
        self.manager.register(BuiltIn(), name="ddbench")
        self.failures: dict[str, str] = {}
        for name, plugin in (plugins or {}).items():
            self._register(name, lambda plugin=plugin: plugin)  # type: ignore[misc]

    @classmethod
    def installed(
        cls,
        observers: Iterable[str] = (),
        folder: Path = Path(),
        silenced: Iterable[str] = (),
        files: Iterable[Path] = (),
        built_in: Mapping[str, object] | None = None,
    ) -> Extensions:
        """Return the built-in extension, every installed one, and those of `files`.

        Args:
            observers: Those of `ddbench.discovery.observers` that were asked for.
            folder: The run folder, for them to write into.
            silenced: Those that are to be told nothing: they have raised before.
            files: Python files; one that is a method is passed over.
            built_in: Parts of ddbench that higher rooms bring, by name.
        """
        files = list(dict.fromkeys(Path(file).resolve() for file in files))
        extensions = cls(built_in)
        extensions.silenced |= set(silenced)
        extensions._code |= installed_code(files)
        for name, point in _points():
            extensions._register(name, point.load)
        for file in filter(is_extension, files):
            load = functools.partial(import_file, from_file(file))
            extensions._register(str(file), load)
        extensions.observe(observers, folder)
        return extensions

    def observe(self, observers: Iterable[str], folder: Path) -> None:
        """Add built-in observers by name; one that is there already stays."""
        from ddbench.discovery import observers as ours

        for name in observers:
            if not self.manager.has_plugin(name):
                self._register(name, functools.partial(ours.make, name, folder))

    def bring(self, name: str, plugin: object) -> None:
        """Add a part of ddbench itself that lies in a room above; once added it stays."""
        if not self.manager.has_plugin(name):
            self._register(name, lambda: plugin)

    def _register(self, name: str, load: Callable[[], object]) -> None:
        try:
            self.manager.register(load(), name=name)
            self.manager.check_pending()
        except (Exception, SystemExit) as error:  # an extension is someone else's code
            self._switch_off(name, error)

    def _report(self, name: str, error: BaseException) -> None:
        reason = f"extension {name!r} is switched off: {named(error)}"
        self.failures[name] = reason
        log.warning(reason)

    def _switch_off(self, name: str, error: BaseException) -> None:
        self._report(name, error)
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)

    def _collect(self, hook: str) -> dict[str, Any]:
        """Return what all have registered through a hook, by name."""
        collected: dict[str, Any] = {}
        for impl in list(getattr(self.manager.hook, hook).get_hookimpls()):
            name = impl.plugin_name
            try:
                answer = dict(impl.function() or {})
            except (Exception, SystemExit) as error:  # an extension is someone else's code
                self._switch_off(name, error)
                continue
            if taken := collected.keys() & answer.keys():
                clash = ", ".join(sorted(taken))
                self._switch_off(name, ValueError(f"{hook}: {clash} is already registered"))
            else:
                collected.update(answer)
                self._brought.update({(hook, key): name for key in answer})
        return collected

    def code_of_init(self, name: str) -> str:
        """Return the fingerprint of the code that brings an init, "" for a built-in one."""
        return self._code_of("register_inits", self.inits, name)

    def bringers_of(self, parts: Sequence[str]) -> dict[str, str]:
        """Return which distributions bring parts of sets, but for those of ddbench itself."""
        if not parts:
            return {}
        brought = {part: self._brought.get(("register_formations", part), "") for part in parts}
        foreign = {part: by for part, by in brought.items() if by not in ("", "ddbench")}
        dists = {name: point.dist for name, point in _points()} if foreign else {}
        return {
            part: f"{dist.metadata['Name']} {dist.version}" if (dist := dists.get(by)) else by
            for part, by in foreign.items()
        }

    def code_of_formation(self, name: str) -> str:
        """Return the fingerprint of the code that brings a part of sets, "" for a built-in one."""
        return self._code_of("register_formations", self.formations, name)

    def code_of_architecture(self, name: str) -> str:
        """Return the fingerprint of the code that brings a network, "" for a built-in one."""
        from ddbench.architectures import family_of

        family = family_of(name, self.architectures)
        return self._code_of("register_architectures", self.architectures, family)

    def _code_of(self, hook: str, registered: Mapping[str, Any], name: str) -> str:
        by = self._brought.get((hook, name), "") if name in registered else ""
        return "" if by in ("", "ddbench") else self._code.get(by, f"{by}, in this process")

    @functools.cached_property
    def datasets(self) -> dict[str, Source]:
        """Datasets by name; each knows the code of the extension that reads it."""
        found = self._collect("register_datasets")
        for name, source in found.items():
            code = self._code.get(self._brought["register_datasets", name], "")
            if code:
                with suppress(AttributeError):  # a frozen one, or none at all
                    source.code = code
        return found

    @functools.cached_property
    def architectures(self) -> dict[str, Architecture]:
        """Architecture families by name."""
        return self._collect("register_architectures")

    @functools.cached_property
    def inits(self) -> dict[str, Init]:
        """Inits by name."""
        return self._collect("register_inits")

    @functools.cached_property
    def engines(self) -> dict[str, Engine]:
        """Engines by name; ddbench's own are brought by `execution`."""
        return self._collect("register_engines")

    @functools.cached_property
    def formations(self) -> dict[str, Formation]:
        """Parts of sets by name."""
        return self._collect("register_formations")

    @functools.cached_property
    def reporters(self) -> dict[str, Reporter]:
        """Formats of reports by name; ddbench's own are brought by `reporting`."""
        return self._collect("register_reporters")

    def notify(self, hook: str, **arguments: Any) -> None:  # noqa: ANN401
        """Tell the observers; one that raises is told nothing more and costs nothing else.

        Each gets copies of its own.
        """
        for impl in list(getattr(self.manager.hook, hook).get_hookimpls()):
            if impl.plugin_name in self.silenced:
                continue
            try:
                wanted = {name: copy.deepcopy(arguments[name]) for name in impl.argnames}
                impl.function(**wanted)
            except (Exception, SystemExit) as error:  # an extension is someone else's code
                self.silenced.add(impl.plugin_name)
                self._report(impl.plugin_name, error)


def _points() -> Iterator[tuple[str, EntryPoint]]:
    """Go through the installed extensions; a name that is taken is followed by whose it is."""
    taken: set[str] = set()
    for point in entry_points(group=EXTENSIONS_GROUP):
        by = point.dist.metadata["Name"] if point.dist else point.module
        name = f"{point.name} of {by}" if point.name in taken else point.name
        taken.add(name)
        yield name, point


def installed_code(files: Iterable[Path] = ()) -> dict[str, str]:
    """Return the code fingerprint of each installed extension by name, and of those of `files`.

    Imports none of them.
    """
    installed = {
        name: package_code(point.dist, point.module).fingerprint
        for name, point in _points()
        if point.dist is not None
    }
    named = {str(file): file_code(file).fingerprint for file in filter(is_extension, files)}
    return installed | named
