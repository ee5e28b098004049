"""The command line: `ddbench run --all` and its kin."""

from __future__ import annotations

import logging

import click

import ddbench
from ddbench.cli import artifacts, datasets, folder, listing, methods, plugins, results, run
from ddbench.cli.shared import Suggesting


@click.group(
    cls=Suggesting,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(ddbench.__version__, prog_name="ddbench")
@click.option("--debug", is_flag=True, help="Show tracebacks and log lines.")
def main(debug: bool) -> None:
    """Benchmark dataset distillation methods: which one, at what cost, for your data?"""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="ddbench: %(message)s"
    )


for command in (
    run.run,
    run.plan,
    run.init_registry,
    datasets.datasets,
    artifacts.artifacts,
    methods.methods,
    listing.presets,
    listing.architectures,
    results.leaderboard,
    results.report,
    results.show,
    *folder.COMMANDS,
    plugins.new_plugin,
    plugins.check,
):
    main.add_command(command)
