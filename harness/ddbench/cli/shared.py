"""What the commands share: options, error messages, exit codes."""

from __future__ import annotations

import errno
import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ddbench.cli.completion import complete_folder, completing, datasets_of, rows_of
from ddbench.text import streams
from ddbench.text.suggestions import did_you_mean

if TYPE_CHECKING:
    from ddbench.planning.jobs import Choices
    from ddbench.planning.registry import Registry
    from ddbench.planning.workspace import Session
    from ddbench.processes.fork_server import ForkServer

USAGE, STOPPED, INTERRUPTED = 2, 4, 130
DEFAULT_PRESET = "quick"


def debugging() -> bool:
    """Say whether `ddbench --debug` was asked for."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get("debug"))


def fail(message: str, code: int = USAGE) -> NoReturn:
    """Say what is wrong and end."""
    if debugging() and sys.exc_info()[0] is not None:
        click.echo(traceback.format_exc(), err=True)
    click.echo(f"ddbench: {message}", err=True)
    raise SystemExit(code)


def explained(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors that users cause into a message and exit code 2.

    With --json, standard output holds what the command prints there and nothing else.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        from ddbench.datasets import DatasetError, DatasetMissing
        from ddbench.discovery.methods import MethodError
        from ddbench.execution.signals import ToldToStop
        from ddbench.planning.registry import RegistryError
        from ddbench.store.run_folder import RunError

        try:
            with streams.data_alone() if kwargs.get("as_json") else nullcontext():
                _see_working_folder()
                try:
                    return command(*args, **kwargs)
                finally:
                    streams.data().flush()
        except RegistryError as error:
            fail("\n  ".join(["this cannot be planned:", *error.problems]))
        except (MethodError, DatasetError, DatasetMissing) as error:
            fail(str(error))
        except RunError as error:
            fail(str(error), error.exit_code)
        except ToldToStop as told:
            fail(f"stopped ({told}); the same command goes on", STOPPED)
        except KeyboardInterrupt:
            fail("interrupted; no finished job is lost, the same command goes on", INTERRUPTED)
        except OSError as error:
            fail(_of_the_system(error))

    return wrapped


def _see_working_folder() -> None:
    """End where the working folder has been removed: paths would mean nothing."""
    try:
        os.getcwd()
    except OSError:
        fail("the working folder is not there any more; change to another (cd) and run again")


class Suggesting(click.Group):
    """A group of commands that says which of them an unknown one may mean."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command to run."""
        known = self.list_commands(context)
        if args[0] not in known and not args[0].startswith("-"):
            meant = did_you_mean(args[0], known)
            hint = f"; {meant}" if meant else f". There are: {', '.join(known)}"
            context.fail(f"No such command {args[0]!r}{hint}")
        return super().resolve_command(context, args)


FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
TOO_MANY = {errno.EMFILE, errno.ENFILE}


def _of_the_system(error: OSError) -> str:
    """Return one line about a disk that is full, read-only or gone: where, what, the remedy."""
    place = error.filename2 or error.filename  # of a copy, where it was to go
    where = os.fsdecode(place) if isinstance(place, str | bytes | Path) else ""
    what = error.strerror or str(error) or type(error).__name__
    if error.errno in FULL:
        remedy = "make room there"
    elif error.errno in REFUSED:
        remedy = "make it writable, or name another place"
    elif error.errno in TOO_MANY:
        remedy = "allow more open files (`ulimit -n 1024`)"
    else:
        remedy = "see that its disk is there and whole"
    again = "and run the same command again"
    return f"{where}: {what}; {remedy} {again}" if where else f"{what}; {remedy} {again}"


def stacked(options: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return a decorator that puts several options on a command."""
    return lambda command: functools.reduce(
        lambda made, option: option(made), options[::-1], command
    )


PLUGIN = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file with a method or an extension; repeatable.",
)

PLACES = (
    click.option(
        "--registry",
        "registry_path",
        type=click.Path(path_type=Path),
        help="Use this registry.toml instead of the default one.",
    ),
    click.option(
        "--data",
        "data",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Folder with datasets; repeatable. DDBENCH_DATA adds more.",
    ),
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        help="Folder for artifacts and prepared data.  [default: ~/.cache/ddbench]",
    ),
    PLUGIN,
)

PRESET = click.option(
    "--preset",
    shell_complete=completing(lambda registry: registry.presets),
    help="Preset of the registry.  [default: quick]",
)
EVALUATE_ON = click.option(
    "--evaluate-on", multiple=True, help="Architecture trained on the sets; repeatable."
)
PROTOCOL = click.option(
    "--protocol",
    multiple=True,
    shell_complete=completing(lambda registry: registry.protocols),
    help="Evaluation protocol; repeatable.",
)

CHOICES = (
    click.option(
        "--all",
        "all_methods",
        is_flag=True,
        help="Run every row of the preset and every installed method that it does not leave out.",
    ),
    PRESET,
    click.option(
        "--method",
        "rows",
        multiple=True,
        shell_complete=completing(rows_of),
        help="Method, or variant from the registry; repeatable.",
    ),
    click.option(
        "--dataset",
        "datasets",
        multiple=True,
        shell_complete=completing(datasets_of),
        help="Dataset, with options as in 'folder:/path?size=32'; repeatable.",
    ),
    click.option(
        "--arch",
        "architectures",
        multiple=True,
        help="Architecture used for condensation; repeatable.",
    ),
    EVALUATE_ON,
    click.option(
        "--init",
        "inits",
        multiple=True,
        help="Initial synthetic images (noise, real, ...); repeatable.",
    ),
    click.option("--ipc", multiple=True, type=int, help="Images per class; repeatable."),
    click.option(
        "--seed",
        "seeds",
        multiple=True,
        type=int,
        help="Random seed of a condensation; repeatable.",
    ),
    PROTOCOL,
    click.option(
        "--published",
        is_flag=True,
        help="Use the published options, init and steps of each method, not the reduced ones.",
    ),
    click.option(
        "--steps",
        type=click.IntRange(min=0),
        help="Condensation steps, instead of the published number.",
    ),
    click.option("--budget", help="Condensation time instead of steps, such as 90s or 10m."),
    click.option(
        "--budget-total",
        help="Time of the whole run, such as 30m; half is for condensation, unfinished jobs wait.",
    ),
    click.option(
        "--validate",
        metavar="PERCENT",
        help="Hold out this share of the training data for choices, such as 20%.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="METHOD.OPTION=VALUE",
        help="Set an option of a method; repeatable. Several values (64,128) run one row each.",
    ),
    click.option("--snapshots", help="Also evaluate the set after these steps, such as 0,10%,50%."),
)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder; an existing run is continued.  [default: runs/<preset>]",
)

# How jobs are done, whatever they are.
ENGINE = (
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Number of parallel jobs.  [default: one per core; with GPUs --jobs-per-gpu on each]",
    ),
    click.option("--gpus", help="GPUs to use, such as 0,2.  [default: all visible ones]"),
    click.option(
        "--jobs-per-gpu",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Parallel jobs on each GPU; recorded with their times.",
    ),
    click.option(
        "--exclusive", is_flag=True, help="One job at a time, for undisturbed time measurements."
    ),
    click.option(
        "--job-time",
        default="24h",
        show_default=True,
        help="Time limit of a job, such as 2h, or none.",
    ),
    click.option(
        "--memory",
        help="Memory limit of a job, such as 4G, or none.  [default: its share of the free memory]",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="CPU threads of a job; compare times only at equal numbers.",
    ),
    click.option(
        "--stop-after", help="Save checkpoints and exit after this time, such as 9m; exit code 4."
    ),
    click.option(
        "--observe",
        "observers",
        multiple=True,
        metavar="NAME",
        help="Send results to an observer, such as tensorboard; repeatable.",
    ),
    click.option("--debug", is_flag=True, help="Run the jobs in this process, one at a time."),
)

RUN = (
    OUT,
    *ENGINE[:-1],
    click.option(
        "--checkpoint-every",
        default="60s",
        show_default=True,
        help="Time between checkpoints of a condensation.",
    ),
    click.option(
        "--keep-state",
        is_flag=True,
        help="Keep the final state, so that a later run can add steps.",
    ),
    click.option(
        "--keep-stale",
        is_flag=True,
        help="Keep results of an older version of a method's code, and mark them.",
    ),
    click.option(
        "--require-all", is_flag=True, help="Missing data is an error, not a skipped row."
    ),
    click.option(
        "--engine",
        default="local",
        show_default=True,
        help="What runs the jobs: local, inline, ray, or an extension's engine.",
    ),
    click.option("--ray-address", help="A Ray cluster for --engine ray, instead of a new one."),
    click.option(
        "--engine-option",
        "engine_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="An option of the engine; repeatable.",
    ),
    ENGINE[-1],
)


def read_registry(path: Path | None, *, lenient: bool = False) -> Registry:
    """Return the registry at `path`, or the default one."""
    from ddbench.planning.registry import read

    return read(path, lenient=lenient)


def open_session(
    given: Mapping[str, Any], *, planning: bool = False, server: ForkServer | None = None
) -> Session:
    """Return a session over what is installed, from the values of the options in `PLACES`.

    `planning`: the plan will tell what is wrong with the registry. `server`: what jobs will be
    forked from, which answers questions about methods too; None where no jobs follow.
    """
    from ddbench.discovery.asking import SERVER
    from ddbench.planning.registry import lost_tables
    from ddbench.planning.workspace import Places, Session

    folder = writable(cache_of(given["cache"]))
    registry = read_registry(given["registry_path"], lenient=planning)
    if planning and (lost := lost_tables(registry)):
        click.echo(
            f"{registry.path}: leaves out the default registry's {len(lost)} tables of methods "
            f'({lost[0]}, ...); extends = "default" in its first line takes them in, '
            f'extends = "nothing" ends this message',
            err=True,
        )
    places = Places(folder, roots_of(given["data"]), given["plugins"])
    return Session.installed(registry, places, server or SERVER)


def writable(cache: Path) -> Path:
    """Return the cache folder, made if it is not there; end if nothing can be kept in it."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except (FileExistsError, NotADirectoryError):
        fail(f"--cache {cache}: is a file, or lies below one; name a folder")
    except OSError as error:
        fail(f"--cache {cache}: cannot be written ({error.strerror}); name another folder")


def cache_of(cache: Path | None) -> Path:
    """Return the cache folder: the one given, or the user's own."""
    from ddbench.planning.workspace import default_cache

    return cache or default_cache()


def roots_of(data: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the data roots: those given, then those of DDBENCH_DATA."""
    named = [Path(part) for part in os.environ.get("DDBENCH_DATA", "").split(":") if part]
    return (*data, *named)


AXES = ("datasets", "architectures", "evaluate_on", "inits", "ipc", "seeds", "protocol")


def choices_of(given: Mapping[str, Any], workers: int | None = None) -> Choices:
    """Return the choices of a run from the values of the options in `CHOICES`.

    Raises:
        RegistryError: Nothing is chosen. What is wrong beside that waits for the planner, which
            tells it with all else.
    """
    from ddbench.execution.run_options import default_jobs
    from ddbench.planning.jobs import Choices
    from ddbench.planning.option_values import parse_duration, parse_percentage, parse_setting
    from ddbench.planning.registry import RegistryError

    faults = list(_nothing_chosen(given))
    axes = {axis: given[axis] or None for axis in AXES}
    snapshots = given["snapshots"]

    def read(parse: Callable[..., Any], *texts: str | None) -> Any:  # noqa: ANN401
        try:
            return None if texts[0] is None else parse(*texts)
        except RegistryError as error:
            faults.extend(error.problems)
            return None

    settings = [setting for text in given["settings"] if (setting := read(parse_setting, text))]
    return Choices(
        preset=given["preset"] or DEFAULT_PRESET,
        all_methods=given["all_methods"],
        rows=given["rows"] or None,
        published=given["published"],
        steps=given["steps"],
        budget=read(parse_duration, given["budget"] or None, "--budget"),
        budget_total=read(parse_duration, given["budget_total"] or None, "--budget-total"),
        workers=workers or default_jobs(1),
        validate=read(parse_percentage, given["validate"] or None, "--validate"),
        settings=tuple((row, option, tuple(values)) for row, option, values in settings),
        snapshots=tuple(part.strip() for part in snapshots.split(",")) if snapshots else (),
        faults=tuple(faults),
        **axes,
    )


def _nothing_chosen(given: Mapping[str, Any]) -> Iterator[str]:
    """Say that neither rows nor a preset are chosen; where nothing else is, end with that."""
    from ddbench.planning.registry import RegistryError

    if given["all_methods"] or given["preset"] or given["rows"]:
        return
    fault = "say what to run: --all, --preset NAME or --method NAME; see `ddbench methods`"
    others = [given[name] for name in ("budget", "settings", "snapshots", *AXES)]
    if given["steps"] is None and not any(others):
        raise RegistryError([fault])
    yield fault


FOLDER = click.argument("folder", type=click.Path(path_type=Path), shell_complete=complete_folder)
