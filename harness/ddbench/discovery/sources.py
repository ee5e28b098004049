"""Find the files of local code by reading import statements, without importing anything.

Local is what lies neither in Python's own library nor in a site folder, where installers put
released packages: editable installs, folders on PYTHONPATH, a Python file and what lies beside it.
What an import names only at run time (a computed name, a computed path) is not seen.
"""

from __future__ import annotations

import ast
import functools
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

SITE = ("site-packages", "dist-packages")
OWN = str(Path(__file__).parent)  # the core answers for its changes by NUMERICS
STANDARD = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")})
LONGEST = 200  # characters of a string that may name a file
BYPRODUCTS = (".pyc", ".pyo", ".pyi", ".typed", ".log", ".orig", ".rej", ".swp", ".half", "~")

Part = tuple[str, Path]  # a dotted name, or a path relative to the file that needs it; where it is


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the code and data files of a package, without caches, logs and hidden files.

    Links to folders are followed, as an import follows them.
    """
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [name for name in folders if not _is_byproduct(name)]
        for name in () if real in seen else names:
            if not _is_byproduct(name) and os.path.isfile(os.path.join(place, name)):
                yield Path(place, name)
        seen.add(real)


def _is_byproduct(name: str) -> bool:
    hidden = name.startswith((".", "__pycache__"))
    return hidden or name.endswith((*BYPRODUCTS, ".egg-info", ".dist-info"))


def parts_of_module(module: str) -> tuple[Part, ...]:
    """Return the package or module behind a dotted name, and the local code that it imports.

    The first is the module's own, wherever it lies; () where there is no such module.
    """
    search = _Search()
    return search.with_imports(search.located(module))


def parts_of_file(path: Path) -> tuple[Part, ...]:
    """Return a Python file, and the local code and files beside it that it names."""
    return _Search([str(path.parent)]).with_imports([(path.name, path)])


class _Search:
    """Finds what code imports: in the `places` that it adds to the search path, and on that."""

    def __init__(self, places: Iterable[str] = ()) -> None:
        self.places = list(places)
        self._known: dict[tuple[str, int], list[Part]] = {}
        self._tops: dict[str, ModuleSpec | None] = {}

    def with_imports(self, first: Iterable[Part]) -> tuple[Part, ...]:
        """Return parts with the local code that they import, and that this imports."""
        found: dict[Path, str] = {}
        left = list(first)
        while left:
            name, path = left.pop(0)
            if path not in found and not any(above in found for above in path.parents):
                found[path] = name
                for package, file in _code_of(name, path):
                    left += [part for part in self._named_in(file, package) if _is_local(part)]
        return tuple((name, path) for path, name in found.items())

    def _named_in(self, file: Path, package: str) -> Iterator[Part]:
        """Go through what one file of `package` names: modules, and files beside it."""
        reads = _reads(file)
        self.places += [folder for folder in reads.folders if folder not in self.places]
        for dotted in reads.imports(package):
            if dotted.partition(".")[0] not in ("ddbench", *sys.stdlib_module_names):
                yield from self.located(dotted)
        for named in reads.files:
            yield os.path.relpath(named, file.parent), Path(named)

    def located(self, dotted: str) -> list[Part]:
        """Return the packages or the module in which a dotted name lies, [] for none."""
        key = dotted, len(self.places)
        if key not in self._known:
            top = dotted.partition(".")[0]
            beside = PathFinder.find_spec(top, self.places) if self.places else None
            self._known[key] = _located(dotted, beside) or _located(dotted, self._top_level(top))
        return self._known[key]

    def _top_level(self, name: str) -> ModuleSpec | None:
        """Return where an import would find a top-level module, without importing it."""
        if name not in self._tops:
            finders = (one.find_spec for one in sys.meta_path if hasattr(one, "find_spec"))
            specs = (find(name, None) for find in finders)
            self._tops[name] = next((spec for spec in specs if spec is not None), None)
        return self._tops[name]


def _code_of(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    """Go through the Python files of a part, each behind its package, "" for none."""
    if path.is_dir():
        for file in sorted(file for file in files_of(path) if file.suffix == ".py"):
            yield ".".join((name, *file.relative_to(path).parent.parts)), file
    elif path.suffix == ".py":
        yield "" if name == path.name or os.sep in name else name.rpartition(".")[0], path


def _located(dotted: str, spec: ModuleSpec | None) -> list[Part]:
    """Return the packages or the module in which a dotted name lies, from what its top is.

    Folders of a namespace package hold no code of their own: the name is followed into all of
    them. A package that looks for its portions itself (pkgutil) is all of them.
    """
    name, *rest = dotted.split(".")
    while spec is not None and spec.submodule_search_locations and not _origin(spec):
        if not rest:
            return []
        tail = rest.pop(0)  # alone: the finder would look for the parent among what is imported
        spec = PathFinder.find_spec(tail, list(spec.submodule_search_locations))
        name = f"{name}.{tail}"
    origin = spec and _origin(spec)
    if spec is None or not origin:
        return []
    if not spec.submodule_search_locations:
        return [(name, origin)]
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    if _is_portion(origin):
        folders += [Path(place, name) for place in sys.path if Path(place, name).is_dir()]
    archive = getattr(spec.loader, "archive", None)
    return [(name, Path(archive))] if archive else [(name, one) for one in dict.fromkeys(folders)]


def _origin(spec: ModuleSpec) -> Path | None:
    """Return the file of a module, None for a namespace and for what is built into Python."""
    archive = getattr(spec.loader, "archive", None)
    if archive is not None:  # a zip on the path
        return Path(archive)
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _is_portion(init: Path) -> bool:
    if init.name != "__init__.py" or not init.is_file():
        return False
    text = init.read_bytes()
    return b"extend_path" in text or b"declare_namespace" in text


# -- what a file reads -----------------------------------------------------------------------


@dataclass
class _Reads:
    """What a Python file names.

    Attributes:
        absolute: Dotted names that it imports; of ``from a import b`` both a and a.b.
        relative: (dots, name) of those that start with dots.
        files: Files that strings name, seen from the file, where it asks for its own place.
        folders: Folders that strings name, where it changes the search path.
    """

    absolute: set[str] = field(default_factory=set)
    relative: set[tuple[int, str]] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def imports(self, package: str) -> list[str]:
        """Return the imports as dotted names, sorted, those with dots seen from `package`."""
        above = package.split(".") if package else []
        relative = {
            ".".join((*above[: len(above) - dots + 1], name))
            for dots, name in self.relative
            if name and dots <= len(above)
        }
        return sorted(self.absolute | relative)


def _reads(file: Path) -> _Reads:
    try:
        state = file.stat()
        same = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        return _parsed(str(file), same)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return _Reads()  # importing it says what is wrong


@functools.lru_cache(maxsize=4096)
def _parsed(file: str, _same: tuple[int, ...]) -> _Reads:
    reads, strings, words = _Reads(), set[str](), set[str]()
    for node in _nodes(ast.parse(Path(file).read_bytes())):
        if isinstance(node, ast.Import):
            reads.absolute |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            names += [".".join(filter(None, (node.module, one.name))) for one in node.names]
            if node.level:
                reads.relative |= {(node.level, name) for name in names}
            else:
                reads.absolute |= set(names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
        elif isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.Attribute):
            words.add("sys.path" if _is_sys_path(node) else node.attr)
    _look_up(Path(file).parent, strings, words, reads)
    return reads


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Go through a syntax tree; three times faster than `ast.walk`."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                left.append(value)
            elif isinstance(value, list):
                left += [one for one in value if isinstance(one, ast.AST)]


def _is_sys_path(node: ast.Attribute) -> bool:
    return node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys"


def _look_up(folder: Path, strings: set[str], words: set[str], reads: _Reads) -> None:
    """Add what strings of a file in `folder` name, if words of it show that they may."""
    if words & {"import_module", "__import__", "run_module"}:
        reads.absolute |= {
            one for one in strings if all(part.isidentifier() for part in one.split("."))
        }
    if not words & {"__file__", "sys.path"}:
        return
    plain = [one for one in sorted(strings) if 0 < len(one) <= LONGEST and one.isprintable()]
    places = [folder, *(folder / one for one in plain if (folder / one).is_dir())]
    places += [
        place / one for place in places[1:] for one in plain if (place / one).is_dir()
    ]  # such as ".." and "lib"
    if "sys.path" in words:
        reads.folders = [str(place.resolve()) for place in dict.fromkeys(places)]
    if "__file__" in words:
        there = {place / one for place in dict.fromkeys(places) for one in plain}
        reads.files = [
            str(path) for path in sorted(there) if not _is_byproduct(path.name) and path.is_file()
        ]


# -- where code is local ---------------------------------------------------------------------


def _is_local(part: Part) -> bool:
    name, path = part
    place = str(path)
    if place.startswith(OWN + os.sep) or place == OWN:
        return False
    site = next((above for above in path.parents if _is_site(str(above))), None)
    if site is not None:
        return name.partition(".")[0] in _put_by_hand(tuple(sys.path))
    return not place.startswith(tuple(folder + os.sep for folder in STANDARD))


@functools.lru_cache(maxsize=4096)
def _is_site(folder: str) -> bool:
    """Say whether installers put packages into a folder: by its name, or by their records."""
    if os.path.basename(folder) in SITE:
        return True
    return any(Path(folder).glob("*.dist-info/RECORD"))


@functools.lru_cache(maxsize=8)
def _put_by_hand(path: tuple[str, ...]) -> frozenset[str]:
    """Return the top-level names in site folders that come from local sources (PEP 610)."""
    tops: set[str] = set()
    for distribution in distributions(path=list(path)):
        if distribution.read_text("direct_url.json") is not None:
            tops |= {_top(file) for file in distribution.files or ()}
    return frozenset(tops - {""})


def _top(file: Any) -> str:  # noqa: ANN401
    top = str(file.parts[0])
    return "" if top.endswith((".dist-info", ".egg-info", ".pth")) else top.partition(".")[0]
