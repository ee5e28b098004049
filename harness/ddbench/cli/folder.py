"""The commands that check, clean and merge run folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from ddbench.cli.completion import complete_job
from ddbench.cli.shared import FOLDER, JSON, cache_of, explained, fail

YES = click.option(
    "--yes", is_flag=True, help="Do it. Without this option, only show what would be done."
)


@click.command()
@FOLDER
@click.option("--all", "everything", is_flag=True, help="Also list the finished jobs.")
@click.option(
    "--verify",
    is_flag=True,
    help="Hash every set again; exit code 1 if one differs from its record.",
)
@JSON
@explained
def status(folder: Path, everything: bool, verify: bool, as_json: bool) -> None:
    """Show which jobs are done, running (and by whom), failed or missing."""
    from ddbench.reporting.terminal import print_json, print_table
    from ddbench.store.housekeeping import status_of
    from ddbench.store.records import DONE
    from ddbench.store.run_folder import open_run, read_run

    run = open_run(folder)
    if verify:
        from ddbench.contract.stored_sets import differing_sets  # imports torch

        jobs = status_of(run, differing_sets)
    else:
        jobs = status_of(run)
    rows = [vars(job) for job in jobs if everything or as_json or job.state != DONE or job.note]
    if as_json:
        print_json(rows)
    elif rows:
        print_table([{key: row[key] for key in ("kind", "id", "state", "note")} for row in rows])
    counts = Counter(job.state for job in jobs)
    text = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    click.echo(text or "no jobs yet", err=True)
    if verify:
        unreadable = read_run(run).unreadable
        for path, reason in unreadable:
            click.echo(f"{path}: {reason}", err=True)
        faults = sum(job.damaged for job in jobs) + len(unreadable)
        words = f"{faults} do not match their records" if faults else "every set is as recorded"
        click.echo(f"verified: {words}", err=True)
        raise SystemExit(1 if faults else 0)


@click.command()
@FOLDER
@click.argument("jobs", nargs=-1, shell_complete=complete_job)
@click.option("--failed", is_flag=True, help="Every failed job.")
@click.option("--skipped", is_flag=True, help="Every skipped job.")
@click.option("--afresh", is_flag=True, help="Start over, not from the last checkpoint.")
@YES
@explained
def retry(
    folder: Path, jobs: tuple[str, ...], failed: bool, skipped: bool, afresh: bool, yes: bool
) -> None:
    """Remove the records of jobs, so that the next `run` does them again; JOBS are ids."""
    from ddbench.store.housekeeping import to_retry
    from ddbench.store.run_folder import open_run

    if not (jobs or failed or skipped):
        fail("say which jobs to do again: ids, --failed or --skipped; see `ddbench status`")
    chosen = to_retry(open_run(folder), jobs, failed=failed, skipped=skipped, afresh=afresh)
    for id, files in chosen.items():
        click.echo(id)
        for path in files if yes else ():
            path.unlink(missing_ok=True)
    words = "will be done again by the next `ddbench run`" if yes else "would be; add --yes"
    click.echo(f"{len(chosen)} jobs {words}", err=True)


@click.command()
@FOLDER
@click.option("--cache", type=click.Path(path_type=Path), help="Cache folder with the artifacts.")
@YES
@explained
def clean(folder: Path, cache: Path | None, yes: bool) -> None:
    """Remove what dead processes left: partial files, stale locks, half-built artifacts."""
    from ddbench.contract.artifacts import ArtifactStore
    from ddbench.store.housekeeping import find_litter
    from ddbench.store.run_folder import open_run

    artifacts = ArtifactStore(cache_of(cache) / "artifacts")
    litter = [*find_litter(open_run(folder)), *artifacts.litter()]
    gone, freed, left = 0, 0, []
    for item in litter:
        click.echo(f"{item.path}: {item.why}")
        size = item.bytes
        try:
            if yes:
                item.remove()
        except OSError as error:
            left.append(f"{item.path}: {error.strerror or error}")
        else:
            gone, freed = gone + 1, freed + size
    words = "removed" if yes else "to remove; add --yes"
    click.echo(f"{gone} things, {freed / 1e6:.1f} MB {words}", err=True)
    if left:
        what = "these cannot be removed; make their folders writable and clean again:"
        fail("\n  ".join([what, *left]))


@click.command()
@click.argument("into", type=click.Path(path_type=Path))
@click.argument("others", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--preview", is_flag=True, help="Only show what would be copied.")
@explained
def merge(into: Path, others: tuple[Path, ...], preview: bool) -> None:
    """Copy the results of other run folders into INTO, which is created if needed.

    Two different sets with the same id are refused.
    """
    from ddbench.store.housekeeping import left_out
    from ddbench.store.housekeeping import merge as join
    from ddbench.store.run_folder import RunFolder, open_run

    folders = [open_run(other) for other in others]
    copies = join(open_run(into) if into.exists() else RunFolder(into), folders, preview)
    for path in left_out(folders):
        click.echo(f"{path}: is not a file; left out", err=True)
    for copy in copies:
        click.echo(f"{copy.source} -> {copy.target}")
    click.echo(f"{len(copies)} things {'to copy' if preview else 'copied'}", err=True)


COMMANDS = (status, retry, clean, merge)
