"""The command line of ddbench."""

from __future__ import annotations

import logging
from typing import Any

import click

import ddbench
from ddbench.cli import (
    artifacts,
    datasets,
    folder,
    imports,
    listing,
    methods,
    plugins,
    references,
    results,
    run,
    sets,
    submit,
    verify,
)
from ddbench.cli.shared import Suggesting
from ddbench.text import streams


class Program(Suggesting):
    """The top-level command, which prepares the standard streams first."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Run `ddbench` as a program."""
        streams.prepare_program()
        return super().__call__(*args, **kwargs)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(ddbench.__version__, prog_name="ddbench")
@click.option(
    "--debug", is_flag=True, help="Log what ddbench does, and show the tracebacks of all errors."
)
def main(debug: bool) -> None:
    """Benchmark dataset distillation methods: which one, at what cost, for your data?"""
    logging.basicConfig(format="%(name)s %(asctime)s %(message)s", datefmt="%H:%M:%S")
    if debug:  # of this program alone: other libraries would say thousands of lines
        logging.getLogger("ddbench").setLevel(logging.DEBUG)


for command in (
    run.run,
    run.plan,
    submit.submit,
    run.init_registry,
    sets.evaluate,
    verify.verify,
    imports.import_set,
    datasets.datasets,
    artifacts.artifacts,
    methods.methods,
    listing.presets,
    listing.architectures,
    references.references,
    results.leaderboard,
    results.report,
    results.compare,
    results.show,
    *folder.COMMANDS,
    plugins.new_plugin,
    plugins.check,
):
    main.add_command(command)
