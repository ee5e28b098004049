"""The commands for people who write a method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.shared import JSON, explained, fail

if TYPE_CHECKING:
    from ddbench.testing import Finding

FAILED = 1


@click.command("new-plugin")
@click.argument("name")
@click.option("--method", help="Name of the method.  [default: NAME]")
@click.option(
    "--in",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder to write it into.  [default: here]",
)
@explained
def new_plugin(name: str, method: str | None, parent: Path) -> None:
    """Create a plugin to start from: a working package called ddbench-NAME."""
    from ddbench.cli import scaffold
    from ddbench.discovery.methods import install

    try:
        written = scaffold.new_plugin(name, method, parent)
    except scaffold.ScaffoldError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{parent}: cannot be written to ({error.strerror}); name another folder with --in")
    for path in written:
        click.echo(path)
    method = method or name.removeprefix(scaffold.PREFIX)
    installing = install(f"-e {written[0].parent}")
    click.echo(f"next: {installing} && ddbench check {method}", err=True)


@click.command()
@click.argument("method")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that is a method; repeatable.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="OPTION=VALUE",
    help="Value of an option; overrides MethodInfo.quick; repeatable.",
)
@click.option("--init", help="Initial images.  [default: the method's own init]")
@click.option("--quick", is_flag=True, help="Check fewer combinations of data.")
@JSON
@explained
def check(
    method: str,
    plugins: tuple[Path, ...],
    settings: tuple[str, ...],
    init: str | None,
    quick: bool,
    as_json: bool,
) -> None:
    """Check that METHOD (a name or a .py file) keeps the contract; takes under a minute.

    Exit codes: 0 all checks passed, 1 a check failed, 2 the method cannot be loaded.
    """
    from ddbench.discovery.methods import discover, find, from_file, load
    from ddbench.reporting.terminal import print_json
    from ddbench.testing import findings

    options = dict(_setting(text) for text in settings)
    found = from_file(Path(method)) if method.endswith(".py") else find(method, discover(plugins))
    asked = findings(load(found), found.name, options=options, init=init, full=not quick)
    seen = []
    for finding in asked:
        seen.append(finding)
        if not as_json:
            click.echo(_line(finding))
    broken = [finding for finding in seen if not finding.passed]
    if as_json:
        print_json([_record(finding) for finding in seen])
    else:
        click.echo(f"{found.name}: {len(seen) - len(broken)} of {len(seen)} checks passed")
    raise SystemExit(FAILED if broken else 0)


def _line(finding: Finding) -> str:
    head, *rest = str(finding).splitlines()
    return "\n".join([f"{finding.seconds:6.1f} s  {head}", *(f"          {line}" for line in rest)])


def _record(finding: Finding) -> dict[str, Any]:
    faults = [{"expected": expected, "came": came} for expected, came in finding.faults]
    return {**vars(finding), "faults": faults, "passed": finding.passed}


def _setting(text: str) -> tuple[str, Any]:
    from ddbench.planning.option_values import parse_setting
    from ddbench.planning.registry import RegistryError

    if "=" not in text:
        raise RegistryError([f"--set {text}: expected OPTION=VALUE, as batch_real=32"])
    _, option, values = parse_setting(f"method.{text}")
    return option, values[0]
