"""The command line: `ddbench run --all` and its kin."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

import ddbench
from ddbench.cli import data, folder, listing, methods, plugins, results, run
from ddbench.cli.shared import Suggesting
from ddbench.text import streams

COMMANDS_GROUP = "ddbench.commands"


class Commands(Suggesting):
    """The core's commands, and those that installed methods bring; theirs are imported on use."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Be the program `ddbench`."""
        streams.prepare_program()
        return super().__call__(*args, **kwargs)

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(context), *_brought()})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command; one that does not import says so when it is used."""
        own = super().get_command(context, name)
        point = _brought().get(name)
        if own is not None or point is None:
            return own
        return click.Command(name, short_help=f"Of {_distribution(point)}.")  # for the help

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command to run; this is where one of a plugin is imported."""
        name = args[0]
        if super().get_command(context, name) is None and name in _brought():
            try:
                return name, _brought()[name].load(), args[1:]
            except Exception as error:  # a plugin is someone else's code
                where = _distribution(_brought()[name])
                raise click.ClickException(f"{name} of {where} does not import: {error}") from error
        return super().resolve_command(context, args)


def _brought() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=COMMANDS_GROUP)}


def _distribution(point: EntryPoint) -> str:
    return point.dist.metadata["Name"] if point.dist else point.module


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(ddbench.__version__, prog_name="ddbench")
@click.option(
    "--debug", is_flag=True, help="Say what ddbench does, and show the tracebacks of all errors."
)
def main(debug: bool) -> None:
    """Benchmark dataset distillation methods: which one, at what cost, for your data?"""
    logging.basicConfig(format="%(name)s %(asctime)s %(message)s", datefmt="%H:%M:%S")
    if debug:  # of this program alone: other libraries would say thousands of lines
        logging.getLogger("ddbench").setLevel(logging.DEBUG)


for command in (
    run.run,
    run.plan,
    run.init_registry,
    data.data,
    methods.methods,
    listing.presets,
    listing.datasets,
    listing.architectures,
    results.leaderboard,
    results.report,
    results.show,
    *folder.COMMANDS,
    plugins.new_plugin,
    plugins.check,
):
    main.add_command(command)
