"""The Python API, for notebooks and scripts: run, read runs as tidy frames, evaluate one set."""

from __future__ import annotations

import html
import inspect
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ddbench import formations
from ddbench.contract.recipes import Recipe
from ddbench.contract.set_fit import doubts, misfits
from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.datasets import Dataset, space_of
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import parts_fingerprint
from ddbench.discovery.methods import Method, MethodEntry, bind, discover, find, load
from ddbench.discovery.sources import parts_of_file, parts_of_module
from ddbench.execution.devices import device_named
from ddbench.execution.engines import PRELOAD
from ddbench.execution.job_context import JobContext
from ddbench.execution.run import carry_out
from ddbench.execution.run_options import RunOptions, jobs_at_once
from ddbench.planning.evaluations import recipe_of
from ddbench.planning.jobs import Choices
from ddbench.planning.registry import Protocol, Registry, RegistryError, read
from ddbench.planning.workspace import Places, Session, default_cache
from ddbench.processes.fork_server import ForkServer
from ddbench.reporting import leaderboard as boards
from ddbench.reporting.leaderboard.dataframes import (
    condensation_frame,
    evaluation_frame,
    network_frame,
)
from ddbench.store.hashing import hash_of_text
from ddbench.store.run_folder import RunFolder, open_run
from ddbench.testing.tasks import one_thread
from ddbench.text.suggestions import unknown_at
from ddbench.training.evaluation import RealImages, Registered, Scores, held_out
from ddbench.training.evaluation import evaluate as train_and_test

Several = str | int | Sequence[Any]  # one value, or several
PathLike = str | Path


@dataclass(frozen=True)
class Run:
    """A run folder as tidy tables.

    Attributes:
        folder: Where it is.
        board: The leaderboard as the reports use it.
    """

    folder: Path
    board: boards.Leaderboard

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row for each row of a ranking; accuracies in [0, 1]."""
        return pd.DataFrame(self.board.rows)

    @property
    def condensations(self) -> pd.DataFrame:
        """One row for each condensation: status, options, costs."""
        return condensation_frame(self.board.results)

    @property
    def evaluations(self) -> pd.DataFrame:
        """One row for each evaluation."""
        return evaluation_frame(self.board.results)

    @property
    def networks(self) -> pd.DataFrame:
        """One row for each network that was trained on a set."""
        return network_frame(self.board)

    @property
    def troubles(self) -> pd.DataFrame:
        """One row for each job that failed or was skipped, with the reason."""
        return pd.DataFrame([vars(trouble) for trouble in self.board.troubles])

    def synthetic(self, id: str, snapshot: int | None = None) -> SyntheticSet:
        """Return the set of the condensation whose id begins with `id`.

        Raises:
            LookupError: None does, or more than one.
        """
        ids = [name for name in self.condensations["id"] if str(name).startswith(id)]
        if len(ids) != 1:
            there = ", ".join(map(str, ids or self.condensations["id"])) or "none"
            raise LookupError(f"{len(ids)} condensations begin with {id!r}; there are: {there}")
        return SyntheticSet.load(RunFolder(self.folder).set_file(ids[0], snapshot))

    def __repr__(self) -> str:
        """Return the leaderboard in short."""
        return f"run {self.folder}\n{self._short().to_string(index=False)}"

    def _repr_html_(self) -> str:
        table = self._short().to_html(index=False, float_format=lambda value: f"{value:.3f}")
        return f"<p>run {html.escape(str(self.folder))}</p>{table}"

    def _short(self) -> pd.DataFrame:
        names = ["dataset", "ipc", "architecture", "protocol", "rank", "row", "init", "accuracy"]
        frame = self.leaderboard
        return frame[names] if len(frame) else pd.DataFrame(columns=names)


def load_run(path: PathLike) -> Run:
    """Return the results in a run folder; needs neither its datasets nor its plugins.

    Raises:
        RunError: There is no run folder at `path`.
    """
    folder = open_run(Path(path))
    return Run(folder.root, boards.load(folder))


def run(
    methods: str | Sequence[str] | Mapping[str, object] | None = None, *,
    out: PathLike | None = None, preset: str = "quick",
    dataset: Several | None = None, architecture: Several | None = None,
    evaluate_on: Several | None = None, init: Several | None = None, ipc: Several | None = None,
    seed: Several | None = None, protocol: Several | None = None, published: bool = False,
    steps: int | None = None, budget: float | None = None, budget_total: float | None = None,
    validate: int | None = None, options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto", jobs: int | None = None, registry: PathLike | None = None,
    data: PathLike | Sequence[PathLike] = (), cache: PathLike | None = None,
    plugins: PathLike | Sequence[PathLike] = (),
) -> Run:  # fmt: skip
    """Condense and evaluate as `ddbench run` does; return the run folder's results.

    What the folder already holds is not done again. Methods given as objects run in this process,
    one job after the other.

    Args:
        methods: Names of installed methods or of variants in the registry; or name -> an object
            with the hooks (a module, or an instance of a class defined in a notebook), where a
            string stands for an installed method. None is every row of the preset.
        out: The run folder; runs/<preset> by default.
        preset: Which preset of the registry fills in what is left out here.
        dataset, architecture, evaluate_on, init, ipc, seed, protocol: One value or several.
        published: Take the published options, init and steps, not the preset's reduced ones.
        steps: Instead of the published number.
        budget: Seconds of condensing, instead of steps.
        budget_total: Seconds of the whole run, which then ends: half of them for condensing.
        validate: Test on this percentage of the training images, held out, or on the dataset's own
            validation split; the test set is left alone.
        options: Method -> {option: value}.
        device: "auto", "cpu", "cuda", "cuda:1".
        jobs: Jobs at once; one for each core by default.
        registry: A registry.toml instead of the one that comes with ddbench.
        data, cache: Folders with datasets; what runs share, the user's cache by default.
        plugins: Python files, each a method or an extension.

    Raises:
        RegistryError: What is wrong with the choices, all of it at once.
        MethodError: A method cannot be loaded.
    """
    session = _session(methods, _registry(registry), _places(data, cache, plugins))
    where = RunOptions(
        out=Path("runs") / preset if out is None else Path(out), device=device_named(device)[0],
        jobs=jobs, engine="inline" if session.bound else "local", command=("ddbench.run",),
        preset=preset,
    )  # fmt: skip
    several = {
        "datasets": dataset, "architectures": architecture, "evaluate_on": evaluate_on,
        "inits": init, "ipc": ipc, "seeds": seed, "protocol": protocol, "rows": methods,
    }  # fmt: skip
    axes: dict[str, Any] = {axis: _several(values) for axis, values in several.items()}
    return _carried_out(session, where, Choices(
        preset=preset, all_methods=methods is None, published=published, steps=steps,
        budget=budget, budget_total=budget_total, validate=validate, workers=jobs_at_once(where),
        settings=_settings(options or {}), **axes,
    ))  # fmt: skip


def _carried_out(session: Session, options: RunOptions, choices: Choices) -> Run:
    plan = session.plan(choices)
    if not plan.condensations:
        reasons = [f"{skipped.row}: {skipped.reason}" for skipped in plan.skipped]
        raise RegistryError(["nothing can run", *reasons])
    return load_run(carry_out(session, plan, options).folder.root)


def evaluate(
    synthetic: SyntheticSet | PathLike,
    dataset: str,
    architectures: str | Sequence[str],
    protocol: str | Protocol = "quick",
    *,
    networks: int | None = None,
    own_recipe: bool = False,
    device: str = "auto",
    registry: PathLike | None = None,
    data: PathLike | Sequence[PathLike] = (),
    cache: PathLike | None = None,
) -> pd.DataFrame:
    """Train fresh networks on a set, test them on real data; return one row a network.

    Network k of an architecture starts from the same weights for every set, as in a run.

    Args:
        synthetic: The set, or the file that holds it.
        dataset: Whose test images to test on, and whose normalisation the set is in.
        architectures: Names, as in `ddbench architectures`.
        protocol: A protocol of the registry, or one of your own.
        networks: How many of each architecture, instead of the protocol's number.
        own_recipe: Lay the set's own recipe and labels over the protocol.
        device, registry, data, cache: As in `run`.

    Returns:
        Columns architecture, network, accuracy and balanced_accuracy (in [0, 1], after the last
        epoch), train_s, test_s, flops_train.

    Raises:
        RegistryError: There is no such protocol, or no such device.
        DatasetMissing: The dataset is not here; the text is the remedy.
        SetError: The set does not fit the dataset: another shape or number of classes, made in
            another space (whitened, or normalised with other constants), or its own recipe is not
            right. A set made of other data in the same space is evaluated with a warning.
    """
    if networks is not None and networks < 1:
        raise ValueError(f"networks is {networks}; expected 1 or more, or None for the protocol's")
    read_registry = _registry(registry)
    chosen = _protocol(protocol, read_registry)
    context = _context(read_registry, _places(data, cache, ()), device)
    extensions = Extensions.installed()
    real = context.dataset(dataset, extensions)
    if not isinstance(synthetic, SyntheticSet):
        synthetic = SyntheticSet.load(synthetic)
    _require_fit(synthetic, real, extensions)
    of_data = _real_images(context, real, choose=bool(chosen.learning_rates))
    with one_thread():
        scores = [
            (architecture, train_and_test(
                synthetic.to(context.device), of_data,
                architecture=architecture, recipe=Recipe.of(recipe_of(chosen, real.augment)),
                networks=networks or chosen.networks, own=own_recipe,
                registered=Registered(extensions.architectures, extensions.formations),
            ))
            for architecture in _several(architectures) or ()
        ]  # fmt: skip
    return pd.DataFrame([row for name, of in scores for row in _rows(name, of)])


def _real_images(context: JobContext, real: Dataset, *, choose: bool) -> RealImages:
    tensors = context.tensors(real)
    by = held_out(tensors.train_images, tensors.train_labels) if choose else None
    return RealImages(tensors.test_images, tensors.test_labels, real.num_classes, by)


def _context(registry: Registry, places: Places, device: str) -> JobContext:
    datasets = {name: (one.source, one.options) for name, one in registry.datasets.items()}
    return JobContext(
        folder=Path(),
        cache=places.cache,
        roots=places.roots,
        datasets=datasets,
        device=device_named(device)[0],
    )


def _rows(architecture: str, scores: Scores) -> Iterator[dict[str, Any]]:
    for k in range(len(scores.accuracies)):
        yield {
            "architecture": architecture,
            "network": k,
            "accuracy": scores.accuracies[k],
            "balanced_accuracy": scores.balanced_accuracies[k],
            "train_s": scores.train_s[k],
            "test_s": scores.test_s[k],
            "flops_train": scores.flops_train,
        }


def _require_fit(synthetic: SyntheticSet, real: Dataset, extensions: Extensions) -> None:
    """See that a set can be trained on and tested on a dataset's images."""
    space = space_of(real)
    problems = misfits(synthetic, real.shape, space) or formations.problems(
        synthetic,
        num_classes=real.num_classes,
        shape=real.shape,
        parts=extensions.formations,
        catalogue=extensions.architectures,
    )
    if problems:
        raise SetError(f"the set does not fit {real.name}: {'; '.join(problems)}")
    for doubt in doubts(synthetic, real.name, space):
        warnings.warn(doubt, stacklevel=3)


# -- from what is convenient to what the harness takes ---------------------------------------


def _several(value: Any) -> tuple[Any, ...] | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def _settings(
    options: Mapping[str, Mapping[str, Any]],
) -> tuple[tuple[str, str, tuple[Any, ...]], ...]:
    return tuple(
        (m, name, (value,)) for m, given in options.items() for name, value in given.items()
    )


def _registry(path: PathLike | None) -> Registry:
    return read(None if path is None else Path(path), lenient=True)  # the plan tells what is wrong


def _places(
    data: PathLike | Sequence[PathLike],
    cache: PathLike | None,
    plugins: PathLike | Sequence[PathLike],
) -> Places:
    roots, files = (
        tuple(Path(path) for path in _several(given) or ()) for given in (data, plugins)
    )
    return Places(default_cache() if cache is None else Path(cache), roots, files)


def _protocol(protocol: str | Protocol, registry: Registry) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    if not isinstance(protocol, str):
        raise RegistryError(
            [f"protocol is {type(protocol).__name__}; give a name, or a Protocol of the registry"]
        )
    if protocol not in registry.protocols:
        raise RegistryError([unknown_at("protocol", protocol, registry.protocols)])
    return registry.protocols[protocol]


def _session(methods: Any, registry: Registry, places: Places) -> Session:  # noqa: ANN401
    if not isinstance(methods, Mapping):
        return Session.installed(registry, places, ForkServer(PRELOAD))
    bound = {name: _bound(name, method, places) for name, method in methods.items()}
    return Session.of(registry, places, bound, Extensions.installed(files=places.plugins))


def _bound(name: str, method: object, places: Places) -> Method:
    if isinstance(method, str):
        return load(find(method, discover(places.plugins)))
    return bind(method, MethodEntry(name, "", "python", "0", _fingerprint(method)))


def _fingerprint(method: object) -> str:
    """Return what changes when the code of a method in a notebook does."""
    code = method if inspect.ismodule(method) or inspect.isclass(method) else type(method)
    try:
        text = inspect.getsource(code)
    except (OSError, TypeError):
        return uuid.uuid4().hex  # unknown: never the same, so that nothing old is taken for new
    kept = "" if inspect.ismodule(method) else repr(vars(method))
    return hash_of_text(text + kept + _more_code(code), 16)


def _more_code(code: Any) -> str:  # noqa: ANN401
    """Return the fingerprint of the code beside a method's own, "" where its text is all.

    A notebook's cell has no file; a class stands in a module, and a module may import others.
    """
    path = inspect.getsourcefile(code)
    if path is None or not Path(path).is_file():
        return ""
    name = inspect.ismodule(code) and code.__spec__ and code.__spec__.name
    parts = parts_of_module(name) if name else ()
    parts = parts or parts_of_file(Path(path))
    alone = inspect.ismodule(code) and [one for _, one in parts] == [Path(path)]
    return "" if alone else parts_fingerprint(parts)
