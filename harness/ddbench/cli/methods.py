"""`ddbench methods`: list installed methods, or show one in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ddbench.cli.shared import JSON, PLACES, explained, open_session, stacked

if TYPE_CHECKING:
    from ddbench.planning.registry import Registry


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@stacked(PLACES)
@JSON
@explained
def methods(names: tuple[str, ...], as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """List the installed methods; with NAMES, show their options, values and variants."""
    from ddbench.discovery.methods import MethodError, unknown
    from ddbench.reporting.terminal import print_json

    session = open_session(given)
    wanted = list(dict.fromkeys(map(session.registry.method_of, names))) or sorted(session.found)
    if absent := [unknown(name, session.found) for name in wanted if name not in session.found]:
        raise MethodError("\n  ".join(absent))
    info = session.ask({"describe": wanted})["describe"]
    rows = [_method_row(name, session.found[name].source, info[name]) for name in wanted]
    if not names:
        _print_methods(rows, as_json)
        return
    shown = [
        row | _method_details(row["method"], info[row["method"]], session.registry) for row in rows
    ]
    if as_json:
        print_json(shown)
        return
    for one in shown:
        _print_method(one)


def _method_row(name: str, source: str, about: dict[str, Any]) -> dict[str, Any]:
    row = {
        "method": name,
        "source": source,
        "inits": ", ".join(about.get("inits", ())) or "any",
        "step": about.get("step", ""),
        "options": about.get("options", {}),
        "paper": about.get("paper", ""),
    }
    return row | ({"error": about["error"]} if "error" in about else {})


def _print_methods(rows: list[dict[str, Any]], as_json: bool) -> None:
    from ddbench.reporting.terminal import print_rows

    columns = ["method", "source", "inits", "paper"]
    columns += ["error"] if any("error" in row for row in rows) else []
    print_rows(rows, columns, as_json=as_json)
    if not rows:
        from ddbench.discovery.methods import PACKAGES, install

        click.echo(f"no method is installed; {install(' '.join(PACKAGES))}", err=True)
    elif not as_json:
        click.echo("`ddbench methods NAME` shows the options of one", err=True)


def _method_details(name: str, about: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """Return what a list of methods leaves out: of the method itself, and of the registry."""
    keys = ("default_init", "steps", "quick", "labels", "own_recipe", "published_at", "balanced",
            "controls", "bibtex")  # fmt: skip
    settings = [{"at": at, **given} for at, given in registry.settings_of(name)]
    variants = {
        variant: {
            "published": registry.methods[variant].get("published", True),
            "settings": [{"at": at, **given} for at, given in registry.settings_of(variant)],
        }
        for variant in registry.variants_of(name)
    }
    known = {key: about[key] for key in keys if key in about}
    return known | {"registry": settings, "variants": variants}


def _print_method(one: dict[str, Any]) -> None:
    from ddbench.reporting.terminal import print_table

    click.echo(one["method"])
    for label, text in _facts(one):
        click.echo(f"  {label:<8} {text}")
    if options := _option_rows(one):
        print_table(options, title="options", right=("default", "quick"))
    if one["variants"]:
        print_table(_variant_rows(one), title="variants of the registry")
    click.echo()


def _facts(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Go through what there is to say of a method beside its options: label, text."""
    yield "source", one["source"]
    if "error" in one:
        yield "error", one["error"]
        return
    if one["paper"]:
        yield "paper", one["paper"]
    yield "inits", f"{one['inits']}; by default {one['default_init']}"
    steps = [f"{steps:,} at ipc {ipc}" for ipc, steps in one["steps"].items()]
    if len(set(one["steps"].values())) == 1:
        steps = [f"{steps:,}" for steps in one["steps"].values()][:1]
    yield "steps", ", ".join(steps) or "unknown"
    yield "step", one["step"]
    if one["published_at"]:
        places = [f"{axis} {' or '.join(map(str, at))}" for axis, at in one["published_at"].items()]
        yield "defaults", f"published for {', '.join(places)}"
    own = ", and evaluated by the set's own recipe too" if one["own_recipe"] else ""
    yield "labels", one["labels"] + own


def _option_rows(one: dict[str, Any]) -> list[dict[str, str]]:
    """Return a line for each option, and for what else the registry or a quick run sets."""
    quick = one.get("quick", {})
    given = [(where["at"], key) for where in one["registry"] for key in where if key != "at"]
    names = dict.fromkeys([*one["options"], *quick, *(key for _, key in given)])
    return [
        {
            "option": name,
            "default": _written(one["options"].get(name, "")),
            "quick": _written(quick.get(name, "")),
            "registry": "; ".join(
                f"{_written(where[name])}{_at(where['at'])}"
                for where in one["registry"]
                if name in where
            ),
        }
        for name in names
    ]


def _variant_rows(one: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for name, variant in one["variants"].items():
        settings = [
            f"{key}={_written(value)}{_at(where['at'])}"
            for where in variant["settings"]
            for key, value in where.items()
            if key != "at"
        ]
        published = "yes" if variant["published"] else "no"
        rows.append({"variant": name, "published": published, "settings": ", ".join(settings)})
    return rows


def _written(value: Any) -> str:  # noqa: ANN401
    """Return a value as `--set` takes it; there is no way to write None."""
    if isinstance(value, bool):
        return str(value).lower()
    return "unset" if value is None else str(value)


def _at(where: dict[str, str]) -> str:
    """Return where a setting holds, in words: " (dataset cifar10, ipc 10)"."""
    return f" ({', '.join(f'{axis} {value}' for axis, value in where.items())})" if where else ""
