"""Who may import whom: the picture in docs/architecture.md, kept true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import ddbench
import pytest

ROOT = Path(ddbench.__file__).parent

# From the top down: a module imports only from lower lines (or its own).
LAYERS = [
    {"cli"},
    {"api", "scaffold", "housekeeping"},
    {"testing"},
    {"console", "report"},
    {"leaderboard"},
    {"session"},
    {"engines"},
    {"runner"},
    {"setting"},
    {"evaluate"},
    {"plan"},
    {"probe"},
    {"pricing"},
    {"options"},
    {"extensions"},
    {"observers"},
    {"methods"},
    {"registry", "results"},
    {"devices"},
    {"inits"},
    {"clusters"},
    {"features"},
    {"hookspecs"},
    {"task"},
    {"artifacts"},
    {"meter", "training", "trees", "fingerprints"},
    {"architectures", "augment", "datasets"},
    {"synthetic"},
    {"pictures"},
    {"files", "messages", "stopping", "streams"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}

ONLY = {
    "click": {"cli"},
    "rich": {"console"},
    "pandas": {"leaderboard", "report", "console", "api"},
    "matplotlib": {"report"},
    "fvcore": {"meter"},
    "sklearn": {"clusters"},
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
        assert down or same_line_lazy(own, other), f"{own} imports {other}, which is not below it"


def same_line_lazy(own: str, other: str) -> bool:
    """BuiltIn registers the core's own parts through the door of third parties."""
    return own == "extensions" and other in {"datasets", "architectures", "inits"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_where_they_belong(path):
    for name, _ in imports(path):
        allowed = ONLY.get(name.split(".")[0])
        assert allowed is None or module_of(path) in allowed, f"{name} in {path}"


def test_the_core_imports_no_plugin():
    plugins = {"ddbench_gm", "ddbench_dm", "ddbench_datm", "ddbench_fedd3", "ddbench_coresets"}
    for path in FILES:
        assert not {name.split(".")[0] for name, _ in imports(path)} & plugins


def test_plugins_import_only_the_public_modules_of_the_core():
    public = {
        "augment",
        "training",
        "testing",
        "synthetic",
        "features",
        "clusters",
        "meter",
        "files",
    }
    for path in sorted((ROOT.parents[1] / "plugins").glob("*/ddbench_*/**/*.py")):
        if path.name == "commands.py":  # a command of its own stands on what commands stand on
            continue
        for name, _ in imports(path):
            parts = name.split(".")
            if parts[0] == "ddbench" and len(parts) > 1 and not hasattr(ddbench, parts[1]):
                assert parts[1] in public, f"{path.name} imports {name}"


TORCH_FREE = ["--version", "datasets"]


@pytest.mark.parametrize("command", TORCH_FREE)
def test_light_commands_import_no_torch(command):
    code = (
        "import sys\nfrom ddbench.cli import main\n"
        f"try:\n    main({command.split()!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_no_help_imports_torch():
    """Of any command, those that plugins bring and those inside groups among them."""
    code = (
        "import sys, click\nfrom ddbench.cli import main\n"
        "def show(words, group, context):\n"
        "    main([*words, '--help'], standalone_mode=False)\n"
        "    heavy = {'torch', 'torchvision', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
        "    for name in group.list_commands(context) if isinstance(group, click.Group) else ():\n"
        "        show([*words, name], group.resolve_command(context, [name])[1], context)\n"
        "show([], main, click.Context(main))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for words in ("data fetch", "experts", "leaderboard"):
        assert f" {words} [OPTIONS] " in done.stdout
