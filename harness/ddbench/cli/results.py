"""The commands that read a run folder."""

from __future__ import annotations

from pathlib import Path

import click

from ddbench.cli.completion import complete_folder, complete_format, complete_job
from ddbench.cli.sets import SET, read_set
from ddbench.cli.shared import FOLDER, JSON, PLUGIN, explained, fail

OLD_CODE = click.option(
    "--old-code", is_flag=True, help="With rows for what other code has done again since."
)


@click.command()
@FOLDER
@OLD_CODE
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "md", "latex", "json"]),
    default="table",
    help="csv and json hold every value; latex needs the package booktabs.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="NAME=VALUE",
    help="Only rows with this value, by a name of the JSON: --where method=dm.",
)
@click.option("--sort", default="", metavar="NAME", help="By a name of the JSON; -NAME: down.")
@JSON
@explained
def leaderboard(
    folder: Path, old_code: bool, form: str, where: tuple[str, ...], sort: str, as_json: bool
) -> None:
    """Print the leaderboard of a run folder."""
    from ddbench.reporting import formats
    from ddbench.reporting.leaderboard import load
    from ddbench.reporting.terminal import print_leaderboard
    from ddbench.store.run_folder import open_run

    wanted = [
        (name, value) for name, equals, value in (one.partition("=") for one in where) if equals
    ]
    if len(wanted) < len(where):
        fail("--where: expected NAME=VALUE, as in --where method=dm")
    found = load(open_run(folder), old_code=old_code)
    chosen = formats.Selection(found, wanted, sort)
    writers = {"csv": formats.as_csv, "md": formats.as_markdown, "latex": formats.as_latex}
    if form in writers and not as_json:
        click.echo(writers[form](found, chosen), nl=form != "csv")
    else:
        print_leaderboard(found, chosen, as_json=as_json or form == "json")


@click.command()
@FOLDER
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_format,
    help="md, html, csv (one row a network), json, latex (for the package booktabs), or one that "
    "an extension brings; repeatable. Without it: by the ending of --to, else md, html and csv.",
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    help="A copy to write; pictures of markdown beside it. Each --format has its own ending.",
)
@OLD_CODE
@PLUGIN
@explained
def report(
    folder: Path,
    formats: tuple[str, ...],
    target: Path | None,
    old_code: bool,
    plugins: tuple[Path, ...],
) -> None:
    """Write the report of a run folder again, from its results alone."""
    from ddbench.reporting.leaderboard import load
    from ddbench.reporting.reporters import USUAL, ReporterError, Reporters, write_report
    from ddbench.store.run_folder import open_run

    known = Reporters(plugins)
    if target is not None and not formats:
        chosen = [known.of_file(target)]
    else:
        chosen = [known.named(name) for name in dict.fromkeys(formats) or USUAL]
    more = [part for name in plugins for part in ("--plugin", str(name))]
    more += ["--old-code"] * old_code
    leaderboard, failures = load(open_run(folder), old_code=old_code), []
    for one in chosen:
        path = target
        if target is not None and len(chosen) > 1:
            stem = target.stem if target.suffix in known.endings else target.name
            path = target.with_name(f"{stem}{one.ending}")
        try:
            click.echo(write_report(leaderboard, one, path, more))
        except ReporterError as error:  # of one format; the others are written all the same
            failures.append(str(error))
    if failures:
        fail("\n  ".join(failures), 1)


@click.command()
@click.argument("run_a", type=click.Path(path_type=Path), shell_complete=complete_folder)
@click.argument("run_b", type=click.Path(path_type=Path), shell_complete=complete_folder)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "md", "json"]),
    default="table",
    help="json holds every value.",
)
@JSON
@explained
def compare(run_a: Path, run_b: Path, form: str, as_json: bool) -> None:
    """Say what changed from RUN_A to RUN_B, row by row, and whether it is more than noise.

    Exit codes: 0 no row is worse, 1 some row is worse or has lost its score, 2 no row is in both.
    """
    from ddbench.reporting.changes import as_markdown, compared
    from ddbench.reporting.leaderboard import load
    from ddbench.reporting.terminal import print_json
    from ddbench.reporting.terminal.changes import print_changes
    from ddbench.store.run_folder import open_run

    before, after = open_run(run_a), open_run(run_b)
    found = compared(load(before), load(after))
    if as_json or form == "json":
        print_json(found.record())
    elif form == "md":
        click.echo(as_markdown(found), nl=False)
    else:
        print_changes(found)
    if not found.shared:
        fail(f"{run_a} and {run_b} share no row: nothing can be compared")
    raise SystemExit(1 if found.worse else 0)


@click.command()
@click.argument(
    "folder",
    type=click.Path(path_type=Path),
    shell_complete=complete_folder,
    metavar="RUN|FILE",
)
@click.argument("job", required=False, shell_complete=complete_job)
@click.option("--failed", is_flag=True, help="Show every job that failed, with its traceback.")
@click.option("--last", is_flag=True, help="Show the job that ended last; with --failed, of those.")
@click.option(
    "--png", type=click.Path(path_type=Path), help="Write the images of FILE as a picture."
)
@JSON
@explained
def show(
    folder: Path, job: str | None, failed: bool, last: bool, png: Path | None, as_json: bool
) -> None:
    """Show one job of RUN in full; JOB is an id or the beginning of one.

    Or show the set in FILE: what it says of itself, and its images, where the terminal has colours.
    """
    from ddbench.reporting.terminal import show_failed, show_job, show_last
    from ddbench.store.run_folder import open_run

    if folder.is_file() or (folder / SET).is_file() or folder.suffix == ".safetensors":
        if job is not None or failed or last:
            fail(f"{folder}: is one set; a job, --failed and --last are of a run folder")
        _show_set(folder, png, as_json)
        return
    if png is not None:
        fail(f"--png: is of the file of a set, as {folder}/condensations/ID/{SET}")
    if (job is None) != (failed or last):
        fail("say which job to show: the beginning of its id, --failed or --last")
    run = open_run(folder)
    if job is not None:
        show_job(run, job, as_json=as_json)
    elif last:
        show_last(run, failed=failed, as_json=as_json)
    else:
        show_failed(run, as_json=as_json)


def _show_set(path: Path, png: Path | None, as_json: bool) -> None:
    from ddbench.reporting.terminal import show_set

    given = read_set(path)
    if png is not None:
        from ddbench.contract.image_grid import png as as_png
        from ddbench.store.atomic_files import write_whole

        if png.suffix.lower() != ".png":
            fail(f"--png {png}: ends otherwise; name a file that ends in .png")
        write_whole(png, as_png(given.synthetic.show()))
        click.echo(f"{png} written", err=True)
    show_set(given.path, given.synthetic, as_json=as_json)
