"""Who may import whom: the picture in docs/architecture.md, kept true."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import ddbench
import pytest
from ddbench.contract.hookspecs import EXTENSIONS_GROUP, METHODS_GROUP
from packaging.requirements import Requirement

ROOT = Path(ddbench.__file__).parent

# From the top down: a room imports only from lower lines (or its own).
LAYERS = [
    {"__main__"},
    {"cli"},
    {"api"},
    {"reporting", "testing"},
    {"execution"},
    {"planning"},
    {"discovery"},
    {"inits"},
    {"features"},
    {"training"},
    {"formations"},
    {"contract"},
    {"datasets"},
    {"architectures", "augment", "meter", "processes"},
    {"store"},
    {"machine", "text"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}

ONLY = {
    "click": {"cli"},
    "rich": {"reporting"},
    "pandas": {"reporting", "api"},
    "fvcore": {"meter"},
    "scipy": {"reporting"},
    "sklearn": {"features"},
    "mlxtend": {"datasets"},
}


def module_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path):
    """Yield (imported module, whether only for type checking) of a file."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((name, id(node) in typing_only) for name in names)


FILES = sorted(
    path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "__init__.py"
)


def test_the_page_shows_the_same_list():
    page = Path(__file__).parents[1] / "docs" / "architecture.md"
    rows = re.findall(r"^\| (`[^|]+) \|", page.read_text(), re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == LAYERS


def test_every_module_has_its_place():
    assert {module_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = module_of(path)
    for name, typing_only in imports(path):
        parts = name.split(".")
        if parts[0] != "ddbench" or len(parts) < 2 or typing_only or parts[1] not in LEVEL:
            continue
        other = parts[1]
        down = other == own or LEVEL[own] < LEVEL[other]
        assert down, f"{own} imports {other}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_where_they_belong(path):
    for name, _ in imports(path):
        allowed = ONLY.get(name.split(".")[0])
        assert allowed is None or module_of(path) in allowed, f"{name} in {path}"


def test_the_core_imports_no_plugin():
    plugins = {path.name for path in REPOSITORY.glob("plugins/*/ddbench_*")}
    assert plugins >= {"ddbench_gm", "ddbench_coresets"}
    for path in FILES:
        assert not {name.split(".")[0] for name, _ in imports(path)} & plugins


REPOSITORY = Path(__file__).parents[1]
SOURCES = [*FILES, ROOT / "__init__.py", *sorted(REPOSITORY.glob("plugins/*/ddbench_*/**/*.py"))]
LINES, PARAMETERS = 60, 8
# A command's parameters are its options, a constructor's are the fields of what it makes; these
# take a command's options by keyword, or are all keywords with a default.
BY_KEYWORD = {"api.py: run", "api.py: evaluate", "testing/tasks.py: toy_task"}


def long_functions(text):
    """Yield the functions of a source that have too many lines or parameters, with how many."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = node.end_lineno - node.lineno + 1
        if lines > LINES:
            yield node.name, f"{lines} lines"
        names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([one for one in names if one.arg not in ("self", "cls")])
        count += bool(node.args.vararg) + bool(node.args.kwarg)
        decorators = [ast.unparse(one) for one in node.decorator_list]
        free = node.name == "__init__" or any(one.endswith("command()") for one in decorators)
        if count > PARAMETERS and not free:
            yield node.name, f"{count} parameters"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_functions_are_short_and_take_few_parameters(path):
    name = path.relative_to(ROOT if path.is_relative_to(ROOT) else REPOSITORY)
    found = [
        (function, what)
        for function, what in long_functions(path.read_text())
        if not (what.endswith("parameters") and f"{name}: {function}" in BY_KEYWORD)
    ]
    assert not found, f"{name}: {found}; at most {LINES} lines and {PARAMETERS} parameters"


def test_a_long_function_and_one_of_many_parameters_are_found():
    names = ", ".join(f"p{n}" for n in range(9))
    text = "def few(a): ...\ndef long():\n" + "    a = 1\n" * 60
    text += f"class A:\n    def many(self, {names}): ...\n    def __init__(self, {names}): ...\n"
    text += f"@click.command()\ndef command({names}): ...\n"
    assert list(long_functions(text)) == [("long", "61 lines"), ("many", "9 parameters")]


DOORS = re.compile(r"^\| `(ddbench(?:\.\w+)*)` \| (.+) \|$", re.MULTILINE)


def listed_names():
    """Return module -> names, of the list in docs/plugin-api.md."""
    page = (REPOSITORY / "docs" / "plugin-api.md").read_text()
    names = {}
    for module, cell in DOORS.findall(page.split("## Names")[1].split("\n## ")[0]):
        names.setdefault(module, set()).update(re.findall(r"`(\w+)`", cell))
    return names


PUBLIC = listed_names()
GROUPS = (METHODS_GROUP, EXTENSIONS_GROUP)  # of entry points: names, not modules


def uses(text):
    """Yield each (module, name) of ddbench that a source uses; name None is the module itself."""
    tree = ast.parse(text)
    known = {}  # what stands for a module -> the module
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ddbench":
                    known[alias.asname or "ddbench"] = alias.name if alias.asname else "ddbench"
                    yield alias.name, None
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ddbench":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in PUBLIC and alias.name not in PUBLIC.get(node.module, ()):
                    known[alias.asname or alias.name] = inner  # from ddbench import augment
                    yield inner, None
                else:
                    yield node.module, alias.name
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"ddbench(\.\w+)+", node.value)  # import_module("ddbench.…")
            and node.value not in GROUPS
        ):
            yield node.value, None
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in known:
            module = known[ast.unparse(node.value)]
            inner = f"{module}.{node.attr}"
            yield (inner, None) if inner in PUBLIC else (module, node.attr)


def strangers(text):
    """Return what a source uses of ddbench that is not in the list."""
    return sorted(
        f"{module}.{name}" if name else module
        for module, name in uses(text)
        if not (module in PUBLIC and (name is None or name in PUBLIC[module]))
    )


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_every_public_name_is_there(module):
    home = importlib.import_module(module)
    assert PUBLIC[module] and not {name for name in PUBLIC[module] if not hasattr(home, name)}


def test_the_list_has_every_name_of_the_package():
    assert PUBLIC["ddbench"] == set(ddbench.__all__)
    for module in set(PUBLIC) - {"ddbench"}:
        exported = set(getattr(importlib.import_module(module), "__all__", PUBLIC[module]))
        assert PUBLIC[module] <= exported, module


FOREIGN = sorted(
    path
    for pattern in (
        "plugins/*/ddbench_*/**/*.py",
        "plugins/*/tests/*.py",
        "docs/examples/**/*.py",
        "harness/ddbench/**/scaffold/*plugin.py.txt",
    )
    for path in REPOSITORY.glob(pattern)
)


# What tests of plugins may use beside the list: nothing public evaluates a set or builds a network.
UNDER_TEST = (
    "ddbench.training.evaluation.", "ddbench.architectures.", "ddbench.contract.",
    "ddbench.formations.",
)  # fmt: skip


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_plugins_use_only_the_public_names(path):
    found = strangers(path.read_text())
    if path.parent.name == "tests":
        found = [name for name in found if not name.startswith(UNDER_TEST)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from ddbench.cli.shared import fail", ["ddbench.cli.shared.fail"]),
        ("from ddbench import contract", ["ddbench.contract"]),
        ("from ddbench.contract.task import Task", ["ddbench.contract.task.Task"]),
        ("from ddbench.augment import _unknown", ["ddbench.augment._unknown"]),
        ("import ddbench.text as t\nt.lines", ["ddbench.text", "ddbench.text.lines"]),
        ("import ddbench\nddbench.store.hashing", ["ddbench.store"]),
        ("from ddbench import augment\naugment._unknown", ["ddbench.augment._unknown"]),
        ("import_module('ddbench.store')", ["ddbench.store"]),
        ("def f():\n    from ddbench.inits import spc", ["ddbench.inits.spc"]),
        ("import ddbench\nfrom ddbench import Task, augment\nddbench.NUMERICS, augment.draw", []),
    ],
)  # fmt: skip
def test_no_way_around_the_list_is_overlooked(text, found):
    assert strangers(text) == found


DISTRIBUTIONS = sorted(REPOSITORY.glob("plugins/*/pyproject.toml")) + [
    REPOSITORY / "docs" / "examples" / "ddbench-mean-image" / "pyproject.toml"
]


@pytest.mark.parametrize("path", DISTRIBUTIONS, ids=lambda path: path.parent.name)
def test_a_plugin_says_which_versions_of_ddbench_it_is_made_for(path):
    needed = map(Requirement, tomllib.loads(path.read_text())["project"]["dependencies"])
    (own,) = [one for one in needed if one.name == "ddbench"]
    assert {bound.operator for bound in own.specifier} == {">=", "<"}
    assert own.specifier.contains(ddbench.__version__, prereleases=True)


@pytest.mark.parametrize("folder", sorted(REPOSITORY.glob("plugins/*/ddbench_*")), ids=str)
def test_a_plugin_is_checked_by_mypy_and_ships_its_types(folder):
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["mypy"]
    assert (folder / "py.typed").exists() and folder.name in settings["packages"]


TORCH_FREE = ["--version", "datasets"]


@pytest.mark.parametrize("command", TORCH_FREE)
def test_light_commands_import_no_torch(command):
    code = (
        "import sys\nfrom ddbench.cli import main\n"
        f"try:\n    main({command.split()!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'torchvision', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_no_help_imports_torch():
    """Of any command, those inside groups among them."""
    code = (
        "import sys, click\nfrom ddbench.cli import main\n"
        "def show(words, group, context):\n"
        "    main([*words, '--help'], standalone_mode=False)\n"
        "    heavy = {'torch', 'torchvision', 'pandas'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
        "    for name in group.list_commands(context) if isinstance(group, click.Group) else ():\n"
        "        show([*words, name], group.resolve_command(context, [name])[1], context)\n"
        "show([], main, click.Context(main))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for words in ("datasets fetch", "artifacts verify", "leaderboard"):
        assert f" {words} [OPTIONS] " in done.stdout
