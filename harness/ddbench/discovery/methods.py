"""Find methods through entry points; load and validate them one at a time."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, entry_points
from pathlib import Path
from typing import Any

import pluggy

from ddbench.contract.hookspecs import METHODS_GROUP, ExtensionHooks, MethodHooks, MethodInfo
from ddbench.discovery.fingerprints import ChangedError, file_code, package_code, parts_fingerprint
from ddbench.discovery.method_info import wrong_fields
from ddbench.discovery.sources import Part
from ddbench.store.atomic_files import check_plain
from ddbench.store.hashing import hash_of_text
from ddbench.text.lines import named, reason_of, shortened
from ddbench.text.suggestions import did_you_mean

REQUIRED = ("init", "condense_step", "export")


class MethodError(Exception):
    """A method that cannot be used: unknown, broken or incomplete; the message says why."""


@dataclass(frozen=True)
class MethodEntry:
    """An entry point of a method, not imported yet.

    Attributes:
        name: The method's name.
        target: ``module`` or ``module:object``.
        distribution: Who brings it, "" for a file.
        version: Of that distribution.
        code: Fingerprint of the code: the version of a released install, a hash otherwise.
        path: The file, for a method from a file.
        parts: Name and path of what that hash is of; () for a released install.
        refused: Why it can never be loaded, "" where nothing is known against it.
    """

    name: str
    target: str
    distribution: str
    version: str
    code: str
    path: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    refused: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return self.path or f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Method:
    """A loaded method: its hooks and its MethodInfo."""

    name: str
    hook: Any
    info: MethodInfo
    found: MethodEntry


def discover(files: Iterable[Path | str] = ()) -> dict[str, MethodEntry]:
    """Return every installed method by name, and those of `files`; imports none of them.

    A method that several distributions provide is refused; the other methods still work.

    Raises:
        MethodError: Two of `files` provide a method of the same name.
    """
    brought: dict[str, dict[str, MethodEntry]] = {}
    for entry in _entries():
        brought.setdefault(entry.name, {})[entry.source] = entry
    found = {name: _the_one_of(list(entries.values())) for name, entries in brought.items()}
    named: dict[str, MethodEntry] = {}
    for file in files:
        entry = from_file(Path(file))
        if is_extension(Path(file)):
            continue
        if named.setdefault(entry.name, entry).path != entry.path:
            raise MethodError(
                f"method {entry.name!r} is provided by both {named[entry.name].path} and "
                f"{entry.path} (a method from a file has the file's name); rename one of them"
            )
    return dict(sorted((found | named).items()))  # someone who names a file means that file


def _the_one_of(entries: list[MethodEntry]) -> MethodEntry:
    """Return the only entry of a name; of several the first, refused."""
    first = entries[0]
    if len(entries) == 1:
        return first
    sources = " and ".join(entry.source for entry in entries)
    remedies = " or ".join(f"`{uninstall(entry.distribution)}`" for entry in entries)
    return replace(
        first,
        refused=f"method {first.name!r} is provided by {sources}; keep one of them: {remedies}",
    )


def is_extension(file: Path) -> bool:
    """Return whether a Python file defines extension hooks and is not a method.

    Decides by the names of its functions, without importing the file.
    """
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return False  # loading it as a method says what is wrong
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    hooks = {name for name in vars(ExtensionHooks) if not name.startswith("_")}
    return bool(defined & hooks) and "condense_step" not in defined


def _entries() -> Iterable[MethodEntry]:
    for point in entry_points(group=METHODS_GROUP):  # of each distribution, the first on the path
        if (distribution := point.dist) is not None:
            code = package_code(distribution, point.module)
            name, version = distribution.metadata["Name"] or "", distribution.version
            parts = _plain(code.parts)
            yield MethodEntry(point.name, point.value, name, version, code.fingerprint, parts=parts)


def _plain(parts: Iterable[Part]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(path)) for name, path in parts)


def from_file(path: Path) -> MethodEntry:
    """Return the method in a Python file; its name is the file's, without ``.py``.

    Raises:
        MethodError: There is no such file.
    """
    if not path.is_file() or path.suffix != ".py":
        raise MethodError(f"--plugin {path}: no such Python file; give the path of a .py file")
    name, path = path.stem.replace("_", "-"), path.resolve()
    # a name of its own among modules, or a file copy.py would take the place of Python's
    # and two files of one name, of which one brings a method and the other datasets, meet
    folder = hash_of_text(repr(str(path.parent)), 8)
    module = "_".join(("ddbench_plugin", re.sub(r"\W", "_", path.stem), folder))
    code = file_code(path)
    return MethodEntry(name, module, "", "", code.fingerprint, str(path), _plain(code.parts))


def find(name: str, available: dict[str, MethodEntry]) -> MethodEntry:
    """Return the method called `name`.

    Raises:
        MethodError: There is none; the message suggests a close name, or how to install it.
    """
    if name in available:
        return available[name]
    raise MethodError(unknown(name, available))


def unknown(name: str, available: Iterable[str]) -> str:
    """Return the error message for a method that is not installed."""
    names = sorted(available)
    package = package_of(name)
    sure = "." if package in PACKAGES else ", if it exists."
    hint = did_you_mean(name, names) or f"{install(package)}{sure}"
    if name.endswith(".py"):
        hint = f"for a file: --plugin {name} --method {Path(name).stem.replace('_', '-')}."
    return f"method {name!r} is not installed; {hint} Installed: {', '.join(names) or 'none'}"


# The packages of this project, and what methods they bring: for those who have none of them.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "ddbench-gm": ("gm", "dsa"),
    "ddbench-dm": ("dm",),
    "ddbench-idc": ("idc", "idc-dm"),
    "ddbench-datm": ("datm", "mtt"),
    "ddbench-fedd3": ("fedd3",),
    "ddbench-frepo": ("frepo",),
    "ddbench-rded": ("rded",),
    "ddbench-sre2l": ("sre2l",),
    "ddbench-coresets": ("random", "herding", "kcenter", "kmeans"),
}


def package_of(method: str) -> str:
    """Return the package that provides a method; for an unknown method, its likely name."""
    return next((one for one, brings in PACKAGES.items() if method in brings), f"ddbench-{method}")


def install(what: str) -> str:
    """Return the command that installs `what` beside this interpreter.

    It uses pip where pip is installed, and else uv (environments made by uv have no pip).
    """
    return f"{'' if importlib.util.find_spec('pip') else 'uv '}pip install {what}"


def uninstall(what: str) -> str:
    """Return the command that uninstalls `what`."""
    return install(what).replace("install", "uninstall")


def load(found: MethodEntry) -> Method:
    """Import one method and check its hooks.

    Raises:
        MethodError: It is refused, does not import, or a hook is misspelt, missing or ill-formed.
        ChangedError: Its code was edited after it was found.
    """
    if found.refused:
        raise MethodError(found.refused)
    try:
        plugin = _import(found)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a method is someone else's code
        raise MethodError(
            f"method {found.name!r} from {found.source} does not import: {named(error)}"
        ) from error
    if _code_now(found) != found.code:
        raise ChangedError(
            f"the code of method {found.name!r} ({found.source}) was edited after the plan "
            "was made; run the same command again"
        )
    return bind(plugin, found)


def _code_now(found: MethodEntry) -> str:
    try:
        if found.parts:
            return parts_fingerprint(found.parts)
        distribution = Distribution.from_name(found.distribution)
        return package_code(distribution, found.target.split(":")[0]).fingerprint
    except (OSError, PackageNotFoundError):
        return ""  # it has gone


def _import(found: MethodEntry) -> object:
    if found.path:
        return import_file(found)
    return EntryPoint(found.name, found.target, METHODS_GROUP).load()


def import_file(found: MethodEntry) -> object:
    """Return the module in a Python file, as `from_file` found it; it may raise anything."""
    spec = importlib.util.spec_from_file_location(found.target, found.path)
    assert spec is not None and spec.loader is not None  # noqa: S101  (it is a .py file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[found.target] = module  # dataclasses and pickles look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[found.target]
        raise
    return module


def bind(plugin: object, found: MethodEntry | None = None) -> Method:
    """Return `plugin`, a module or an object with the hooks, as a method of its own manager.

    Raises:
        MethodError: As `load`.
    """
    found = found or MethodEntry(type(plugin).__name__.lower(), "", "bound", "0", "bound")
    manager = pluggy.PluginManager("ddbench")
    manager.add_hookspecs(MethodHooks)
    try:
        manager.register(plugin, name=found.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise MethodError(f"method {found.name!r} from {found.source}: {error}") from error
    _check_hooks(manager, plugin, found)
    return Method(found.name, manager.hook, _described(manager, found), found)


def _check_hooks(manager: pluggy.PluginManager, plugin: object, found: MethodEntry) -> None:
    known = [name for name in vars(MethodHooks) if not name.startswith("_")]
    for name in known:
        implementations = getattr(manager.hook, name).get_hookimpls()
        if any(impl.hookwrapper or impl.wrapper for impl in implementations):
            raise MethodError(
                f"method {found.name!r} from {found.source}: hook {name} is a wrapper; "
                "define the hook without wrapper=True"
            )
        if not implementations and name in REQUIRED:
            undecorated = callable(inspect.getattr_static(plugin, name, None))
            remedy = "put @hookimpl above it" if undecorated else f"add {name} with @hookimpl"
            raise MethodError(
                f"method {found.name!r} from {found.source}: hook {name} is missing; {remedy}"
            )


def _described(manager: pluggy.PluginManager, found: MethodEntry) -> MethodInfo:
    place = f"method {found.name!r} from {found.source}: describe"
    try:
        info = manager.hook.describe()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a method is someone else's code
        raise MethodError(f"{place} raised {named(error)}") from error
    info = MethodInfo() if info is None else info
    if not isinstance(info, MethodInfo):
        raise MethodError(f"{place} returned {type(info).__name__}; expected a MethodInfo")
    config = info.config
    if not (isinstance(config, type) and is_dataclass(config)):
        raise MethodError(f"{place}: config is {config!r}; expected a frozen dataclass")
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise MethodError(
            f"{place}: {config.__name__} is not frozen; write @dataclass(frozen=True) above it"
        )
    _check_defaults(config, place)
    if wrong := next(wrong_fields(info, found.name), None):
        raise MethodError(f"{place}: MethodInfo.{shortened(wrong)}")
    return info


def _check_defaults(config: type, place: str) -> None:
    try:
        defaults = config()
    except Exception as error:
        raise MethodError(
            f"{place}: {config.__name__} has options without a valid default "
            f"({reason_of(error)}); give each its published value"
        ) from error
    try:
        plain_options(defaults)
    except Exception as error:
        raise MethodError(
            f"{place}: a default of {config.__name__} cannot be stored in a record "
            f"({reason_of(error)}); for 'no limit' use None"
        ) from error


def plain_options(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the options in an instance of a Config as values of JSON.

    Raises:
        ValueError: An option cannot be stored in a record; the message names it.
    """
    options = json.loads(json.dumps(asdict(config), default=str))
    check_plain(options)
    return dict(options)
