"""The plan: registry and choices crossed into jobs, each with the id of all that determines it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ddbench import NUMERICS
from ddbench.methods import Found, unknown
from ddbench.probe import Answer
from ddbench.registry import Layer, Preset, Protocol, Registry, RegistryError, Row
from ddbench.registry import unknown as unknown_name

SLUG = 80  # characters of an id's readable part
PRECISION = "float32"


@dataclass(frozen=True)
class DatasetFacts:
    """What the planner knows of a dataset."""

    name: str
    fingerprint: str
    num_classes: int
    shape: tuple[int, int, int]
    class_counts: tuple[int, ...]
    augment: str


@dataclass(frozen=True)
class Choices:
    """What the command line says about a run; None leaves it to the preset.

    Attributes:
        preset: Name of the preset.
        all_methods: Whether every installed method joins.
        rows: Methods or variants.
        settings: (row or method, option, values) of each `--set`; several values make an axis.
        snapshots: Steps, or percentages like "10%", whose sets are evaluated too.
        budget: Seconds of condensing, instead of steps.
    """

    preset: str = "quick"
    all_methods: bool = False
    rows: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    architectures: tuple[str, ...] | None = None
    evaluate_on: tuple[str, ...] | None = None
    inits: tuple[str, ...] | None = None
    ipc: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    protocol: tuple[str, ...] | None = None
    steps: int | None = None
    budget: float | None = None
    settings: tuple[tuple[str, str, tuple[Any, ...]], ...] = ()
    snapshots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condensation:
    """One method on one dataset, architecture, init, ipc and seed."""

    id: str
    options_id: str  # the same for every version of the code
    row: str
    method: str
    source: str
    code: str
    dataset: str
    dataset_fingerprint: str
    architecture: str
    init: str
    ipc: int
    seed: int
    config: Mapping[str, Any]
    steps: int
    published_steps: int
    budget_s: float | None
    cycle: int
    step_unit: str
    labels: str
    balanced: bool
    reduced: Mapping[str, Sequence[Any]]
    quick: bool
    control_of: str | None
    paper: str
    bibtex: str
    snapshots: tuple[int, ...] = ()
    precision: str = PRECISION
    numerics: int = NUMERICS
    series_id: str = ""  # the same for every number of steps: one may be extended to another

    def record(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Fresh networks of one architecture trained on one set under one protocol.

    `condensation` None is the whole training set: the reference row. `recipe` holds every
    constant of the training; with `own_recipe` the set's own recipe is laid over it.
    """

    id: str
    condensation: str | None
    snapshot: int | None
    dataset: str
    dataset_fingerprint: str
    architecture: str
    protocol: str
    recipe: Mapping[str, Any]
    own_recipe: bool
    networks: int

    def record(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A row that will not be done, and why."""

    row: str
    dataset: str
    architecture: str
    init: str
    ipc: int
    seed: int
    reason: str
    failed: bool = False  # a broken plugin, rather than something impossible or absent


@dataclass
class Plan:
    """All jobs of a run in table order, and what is left out.

    Attributes:
        condensations: In the order of rows.
        evaluations: In the order of their condensations; reference rows first.
        skipped: What will not be done, and why.
        kept_stale: Ids of condensations whose results come from other code than is installed.
    """

    condensations: list[Condensation] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    kept_stale: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return what a manifest keeps."""
        return {
            "condensations": [job.id for job in self.condensations],
            "evaluations": [job.id for job in self.evaluations],
            "skipped": [asdict(skipped) for skipped in self.skipped],
            "kept_stale": self.kept_stale,
        }

    def keeping(self, stale: Mapping[str, str]) -> Plan:
        """Return the plan with results of other code in place: planned id -> the one kept."""
        kept = {
            job.id: replace(job, id=stale[job.id]) if job.id in stale else job
            for job in self.condensations
        }
        evaluations = []
        for evaluation in self.evaluations:
            if evaluation.condensation is not None and evaluation.condensation in stale:
                of = kept[evaluation.condensation]
                evaluation = _with_evaluation_id(replace(evaluation, condensation=of.id), of)
            evaluations.append(evaluation)
        return Plan(list(kept.values()), evaluations, self.skipped, sorted(stale.values()))


@dataclass(frozen=True)
class World:
    """What the planner can ask.

    Attributes:
        found: Installed methods by name.
        ask: Asks methods and architectures (see `probe`).
        dataset: Name and options -> facts; raises LookupError-like `MissingData` when absent.
        dataset_names: Known names, for suggestions.
    """

    found: Mapping[str, Found]
    ask: Answer
    dataset: Callable[[str, Mapping[str, Any]], DatasetFacts]
    dataset_names: Callable[[], Iterable[str]]


class MissingData(Exception):
    """A dataset that is not here; the text is the remedy."""


def make(registry: Registry, choices: Choices, world: World) -> Plan:
    """Return the plan of a run.

    Raises:
        RegistryError: Every unknown name and refused option at once.
    """
    return _Planner(registry, choices, world).plan()


@dataclass(frozen=True)
class _Cell:
    """A condensation to be, before its method has been asked."""

    row: Row
    dataset: str
    architecture: str
    init: str
    ipc: int
    seed: int
    settings: tuple[tuple[str, str, Any], ...]
    control_of: str | None


class _Planner:
    def __init__(self, registry: Registry, choices: Choices, world: World) -> None:
        self.registry, self.choices, self.world = registry, choices, world
        if choices.preset not in registry.presets:
            place = f"--preset ({registry.path.name})"
            raise RegistryError([unknown_name(place, choices.preset, registry.presets)])
        self.preset = _chosen(registry.presets[choices.preset], choices)
        self.problems: list[str] = []
        self.result = Plan()

    def plan(self) -> Plan:
        rows = self._rows()
        self.info = self._describe(rows)
        self._check_names()
        if self.problems:
            raise RegistryError(self.problems)
        self.facts = self._datasets()
        self.canonical = self._architectures()
        cells = [cell for row, control_of in self._with_controls(rows)
                 for cell in self._cells(row, control_of)]  # fmt: skip
        self._add_condensations(_without_repeats(cells))
        if self.problems:
            raise RegistryError(dict.fromkeys(self.problems))
        self._add_evaluations()
        return self.result

    # -- rows ------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        choices, registry = self.choices, self.registry
        rows = list(self.preset.rows)
        if choices.rows is not None:
            rows = [row for name in choices.rows for row in _rows_named(name, rows)]
        if choices.rows is None and (self.preset.others or choices.all_methods):
            named = {registry.method_of(row.method) for row in rows}
            rows += [Row(method=name) for name in self.world.found if name not in named]
        return rows

    def _describe(self, rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
        methods = dict.fromkeys(self.registry.method_of(row.method) for row in rows)
        installed = [name for name in methods if name in self.world.found]
        info = self.world.ask({"describe": installed})["describe"] if installed else {}
        needed = [
            str(control["method"])
            for one in info.values()
            for control in one.get("controls", ())
            if control.get("method") in self.world.found and control["method"] not in info
        ]
        if needed:
            info |= self.world.ask({"describe": sorted(set(needed))})["describe"]
        for name in methods:
            if name not in info:
                self._absent(name, rows)
        return info

    def _absent(self, name: str, rows: Sequence[Row]) -> None:
        """A method that is not installed: an error if it looks like a typo, else a skipped row."""
        message = unknown(name, self.world.found)
        asked = self.choices.rows is not None
        if asked or "did you mean" in message:
            place = (
                "--method" if asked else self.registry.place("presets", self.choices.preset, "rows")
            )
            self.problems.append(f"{place}: {message}")

    def _with_controls(self, rows: Sequence[Row]) -> Iterator[tuple[Row, str | None]]:
        for row in rows:
            yield row, None
        for row in rows:
            info = self.info.get(self.registry.method_of(row.method), {})
            for control in info.get("controls", ()):
                given = {"method": row.method, "init": row.init, "seeds": row.seeds, "ipc": row.ipc}
                if "method" in control:
                    given |= {"init": None}
                    if control["method"] not in self.info:
                        continue
                yield Row.model_validate(given | control), row.method

    # -- names -----------------------------------------------------------------------------

    def _check_names(self) -> None:
        registry, preset = self.registry, self.preset
        known = {*self.world.dataset_names(), *registry.datasets}
        for name in preset.datasets:
            if name not in known and ":" not in name:
                self.problems.append(unknown_name(self._place("datasets"), name, known))
        for name in preset.protocol:
            if name not in registry.protocols:
                self.problems.append(unknown_name("--protocol", name, registry.protocols))
        for row, option, _ in self.choices.settings:
            self._check_setting(row, option)

    def _check_setting(self, row: str, option: str) -> None:
        info = self.info.get(self.registry.method_of(row))
        if info is None:
            place = f"--set {row}.{option}"
            self.problems.append(unknown_name(place, row, self.info))
        elif "options" in info and option not in info["options"]:
            self.problems.append(unknown_name(f"--set {row}.{option}", option, info["options"]))

    def _place(self, key: str) -> str:
        given = {"datasets": self.choices.datasets, "architectures": self.choices.architectures}
        if given.get(key) is not None:
            return {"datasets": "--dataset", "architectures": "--arch"}[key]
        return self.registry.place("presets", self.choices.preset, key)

    def _datasets(self) -> dict[str, DatasetFacts | str]:
        """Return the facts of each dataset, or the remedy if it is absent."""
        facts: dict[str, DatasetFacts | str] = {}
        for name in self.preset.datasets:
            named = self.registry.datasets.get(name)
            source, options = (named.source, named.options) if named else (name, {})
            try:
                facts[name] = self.world.dataset(source, options)
            except MissingData as missing:
                facts[name] = str(missing)
            except ValueError as error:
                self.problems.append(f"{self._place('datasets')}: {name}: {error}")
        if self.problems:
            raise RegistryError(self.problems)
        return facts

    def _architectures(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Ask for each (architecture, dataset) whether it fits; names canonical."""
        preset = self.preset
        names = dict.fromkeys((*preset.architectures, *preset.evaluate_on, *self._reference_on()))
        present = {n: f for n, f in self.facts.items() if not isinstance(f, str)}
        pairs = [(name, dataset) for name in names for dataset in present]
        asked = [[name, list(present[d].shape), present[d].num_classes] for name, d in pairs]
        answers = self.world.ask({"architectures": asked, "inits": True}) if asked else {}
        self.inits = answers.get("inits", [])
        found = dict(zip(pairs, answers.get("architectures", ()), strict=True))
        for answer in found.values():
            if "unknown" in answer.get("error", ""):
                self.problems.append(answer["error"])
        return found

    def _reference_on(self) -> tuple[str, ...]:
        if not self.preset.reference:
            return ()
        return (self.preset.reference_on or self.preset.evaluate_on[0],)

    # -- condensations ---------------------------------------------------------------------

    def _cells(self, row: Row, control_of: str | None) -> Iterator[_Cell]:
        preset, method = self.preset, self.registry.method_of(row.method)
        info = self.info.get(method, {})
        inits = self._inits(row, info)
        ipcs = row.ipc if row.ipc and self.choices.ipc is None else preset.ipc
        seeds = row.seeds if row.seeds and self.choices.seeds is None else preset.seeds
        axes = [
            [(name, option, value) for value in values]
            for name, option, values in self.choices.settings
            if name in (row.method, method)
        ]
        for dataset, architecture, init, ipc in itertools.product(
            preset.datasets, preset.architectures, inits, ipcs
        ):
            for settings, seed in itertools.product(itertools.product(*axes), seeds):
                yield _Cell(row, dataset, architecture, init, ipc, seed, settings, control_of)

    def _inits(self, row: Row, info: Mapping[str, Any]) -> tuple[str, ...]:
        if self.choices.inits is not None and not info.get("balanced_only"):
            return self.choices.inits
        return (row.init or info.get("default_init", "real"),)

    def _add_condensations(self, cells: Sequence[_Cell]) -> None:
        ready = [(cell, self._question(cell)) for cell in cells if self._possible(cell)]
        questions = [question for _, question in ready]
        answers = self.world.ask({"configure": questions})["configure"] if ready else []
        for (cell, question), answer in zip(ready, answers, strict=True):
            if "error" in answer:
                self._skip(cell, answer["error"], failed=True)
            elif answer["problems"]:
                for option, text in answer["problems"]:
                    self.problems.append(
                        f"{question['places'].get(option, cell.row.method)}: {text}"
                    )
            elif answer["needs"]:
                self._skip(cell, answer["needs"])
            else:
                self.result.condensations.append(self._condensation(cell, answer))

    def _possible(self, cell: _Cell) -> bool:
        method = self.registry.method_of(cell.row.method)
        info = self.info.get(method)
        facts = self.facts[cell.dataset]
        if info is None:
            self._skip(cell, unknown(method, self.world.found))
        elif "error" in info:
            self._skip(cell, info["error"], failed=True)
        elif isinstance(facts, str):
            self._skip(cell, facts)
        elif "error" in (fits := self.canonical[cell.architecture, cell.dataset]):
            self._skip(cell, fits["error"])
        elif cell.init not in self.inits:
            place = "--init" if self.choices.inits else f"row {cell.row.method!r}: init"
            self.problems.append(unknown_name(place, cell.init, self.inits))
        elif info["inits"] and cell.init not in info["inits"]:
            self._skip(cell, f"starts from {' or '.join(info['inits'])}, not from {cell.init}")
        elif cell.init != "noise" and (short := _short_of(facts, cell.ipc)):
            self._skip(cell, short)
        else:
            return True
        return False

    def _skip(self, cell: _Cell, reason: str, failed: bool = False) -> None:
        where = (cell.dataset, cell.architecture, cell.init, cell.ipc, cell.seed)
        self.result.skipped.append(Skipped(cell.row.method, *where, reason, failed))

    def _question(self, cell: _Cell) -> dict[str, Any]:
        """Return what to ask the method: options merged from weak to strong, and the facts."""
        registry, row = self.registry, cell.row
        method = registry.method_of(row.method)
        published = registry.layers(row.method, cell.dataset, cell.ipc)
        given = [Layer(row.options, place=registry.place("presets", self.choices.preset, "rows"))]
        given += [Layer({option: value}, place=f"--set {name}.{option}")
                  for name, option, value in cell.settings]  # fmt: skip
        quick = dict(self.info[method]["quick"]) if self.preset.quick else {}
        quick_steps = quick.pop("steps", None)
        layers = [*published, Layer(quick, place=f"{method}: MethodInfo.quick"), *given]
        own = registry.table_value(row.method, "steps", cell.dataset, cell.ipc)
        chosen = (row.steps, self.choices.steps if cell.control_of is None else None, quick_steps)
        facts = self.facts[cell.dataset]
        assert not isinstance(facts, str)  # noqa: S101  (`_possible` has sorted those out)
        return {
            "method": method,
            "options": _merged(layers),
            "published": _merged(published),
            "places": self._places(layers),
            "steps": next((steps for steps in chosen if steps is not None), None),
            "published_steps": own,
            "facts": {
                "dataset": cell.dataset,
                "num_classes": facts.num_classes,
                "shape": list(facts.shape),
                "class_counts": list(facts.class_counts),
                "architecture": self.canonical[cell.architecture, cell.dataset]["canonical"],
                "init": cell.init,
                "ipc": cell.ipc,
            },
        }

    def _places(self, layers: Iterable[Layer]) -> dict[str, str]:
        """Return where each option got its value, for messages."""
        return {
            name: layer.place or self.registry.place(*layer.keys, name)
            for layer in layers
            for name in layer.options
        }

    def _condensation(self, cell: _Cell, answer: Mapping[str, Any]) -> Condensation:
        method = self.registry.method_of(cell.row.method)
        found, info, facts = self.world.found[method], self.info[method], self.facts[cell.dataset]
        assert not isinstance(facts, str)  # noqa: S101
        labels = [f"{option}={value}" for _, option, value in cell.settings]
        budget = self.choices.budget if answer["steps"] else None
        job = Condensation(
            id="",
            options_id="",
            row=cell.row.method + (f"[{','.join(labels)}]" if labels else ""),
            method=method,
            source=found.source,
            code=found.code,
            dataset=cell.dataset,
            dataset_fingerprint=facts.fingerprint,
            architecture=self.canonical[cell.architecture, cell.dataset]["canonical"],
            init=cell.init,
            ipc=cell.ipc,
            seed=cell.seed,
            config=answer["config"],
            steps=answer["steps"],
            published_steps=answer["published_steps"],
            budget_s=budget,
            cycle=answer["cycle"],
            step_unit=info["step"],
            labels=info["labels"],
            balanced=info["balanced"],
            reduced=_reduced(answer, budget),
            quick=self.preset.quick,
            control_of=cell.control_of,
            paper=info["paper"],
            bibtex=info["bibtex"],
            snapshots=_snapshot_steps(self.choices.snapshots, answer["steps"], budget),
        )
        return with_ids(job)

    # -- evaluations -----------------------------------------------------------------------

    def _add_evaluations(self) -> None:
        preset = self.preset
        for dataset, facts in self.facts.items():
            if not isinstance(facts, str):
                self._add_references(dataset, facts)
        for job in self.result.condensations:
            facts = self.facts[job.dataset]
            assert not isinstance(facts, str)  # noqa: S101
            sets: tuple[int | None, ...] = (None, *job.snapshots)
            own = (False, True) if job.labels == "soft" else (False,)
            for name, protocol, snapshot, own_recipe in itertools.product(
                preset.evaluate_on, preset.protocol, sets, own
            ):
                self._add_evaluation(name, job.dataset, facts, job, protocol, snapshot, own_recipe)

    def _add_references(self, dataset: str, facts: DatasetFacts) -> None:
        for architecture in self._reference_on():
            assert self.preset.reference is not None  # noqa: S101  (else there is none)
            self._add_evaluation(
                architecture, dataset, facts, None, self.preset.reference, None, False
            )

    def _add_evaluation(
        self,
        architecture: str,
        dataset: str,
        facts: DatasetFacts,
        job: Condensation | None,
        protocol: str,
        snapshot: int | None,
        own_recipe: bool,
    ) -> None:
        fits = self.canonical[architecture, dataset]
        if "error" in fits:
            if job is not None and snapshot is None and not own_recipe:
                skipped = (job.row, dataset, architecture, job.init, job.ipc, job.seed)
                self.result.skipped.append(Skipped(*skipped, f"evaluation: {fits['error']}"))
            return
        constants = self.registry.protocols[protocol]
        evaluation = Evaluation(
            id="",
            condensation=job.id if job else None,
            snapshot=snapshot,
            dataset=dataset,
            dataset_fingerprint=facts.fingerprint,
            architecture=fits["canonical"],
            protocol=protocol,
            recipe=recipe_of(constants, facts.augment),
            own_recipe=own_recipe,
            networks=constants.networks,
        )
        self.result.evaluations.append(_with_evaluation_id(evaluation, job))


def _chosen(preset: Preset, choices: Choices) -> Preset:
    fields = ("datasets", "architectures", "evaluate_on", "ipc", "seeds", "protocol")
    given = {name: getattr(choices, name) for name in fields if getattr(choices, name) is not None}
    if given.get("ipc") and min(given["ipc"]) < 1:
        raise RegistryError([f"--ipc {min(given['ipc'])}: is not possible; at least 1"])
    if "architectures" in given and "evaluate_on" not in given:
        given["evaluate_on"] = given["architectures"]
    return preset.model_copy(update=given)


def _rows_named(name: str, rows: Sequence[Row]) -> list[Row]:
    """Return the preset's first row of this name, or a plain one."""
    return [next((row for row in rows if row.method == name), Row(method=name))]


def _merged(layers: Iterable[Layer]) -> dict[str, Any]:
    return {name: value for layer in layers for name, value in layer.options.items()}


def _without_repeats(cells: Iterable[_Cell]) -> list[_Cell]:
    """Drop a control that stands in the table anyway."""
    kept: dict[str, _Cell] = {}
    for cell in cells:
        row = cell.row.model_copy(update={"seeds": None, "ipc": None, "init": None})
        kept.setdefault(repr(replace(cell, row=row, control_of=None)), cell)
    return list(kept.values())


def _short_of(facts: DatasetFacts, ipc: int) -> str | None:
    least = min(facts.class_counts)
    if ipc <= least:
        return None
    c = facts.class_counts.index(least)
    return f"ipc {ipc} asks for more real images than class {c} of {facts.name} has ({least})"


def _reduced(answer: Mapping[str, Any], budget: float | None) -> dict[str, list[Any]]:
    """Return what differs from the published settings: option -> [used, published]."""
    used, published = answer["config"], answer["published"]
    reduced = {k: [used[k], published[k]] for k in used if used[k] != published[k]}
    if budget is not None:
        reduced["steps"] = [f"as many as {budget:g} s allow", answer["published_steps"]]
    elif answer["steps"] != answer["published_steps"]:
        reduced["steps"] = [answer["steps"], answer["published_steps"]]
    return reduced


def _snapshot_steps(wanted: Iterable[str], steps: int, budget: float | None) -> tuple[int, ...]:
    taken = set()
    for text in wanted:
        percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
        if not percent and not text.isdigit():
            raise RegistryError(
                [f"--snapshots {text}: expected steps or percentages, as 0,10%,500"]
            )
        if percent and budget is not None and float(percent[1]):
            raise RegistryError(
                [f"--snapshots {text}: of how many steps is unknown under --budget; name steps"]
            )
        step = round(steps * float(percent[1]) / 100) if percent else int(text)
        if step < steps or budget is not None:  # the final set is evaluated anyway
            taken.add(step)
    return tuple(sorted(taken))


def recipe_of(protocol: Protocol, strategy: str) -> dict[str, Any]:
    """Return the protocol's training recipe (fields of training.Recipe) for one dataset.

    `strategy` is the dataset's own augmentation, which the protocol calls "dsa".
    """
    return {
        "epochs": protocol.epochs,
        "optimizer": protocol.optimizer.name,
        "lr": protocol.optimizer.lr,
        "momentum": protocol.optimizer.momentum,
        "weight_decay": protocol.optimizer.weight_decay,
        "batch": protocol.batch,
        "drop": protocol.drop.model_dump() if protocol.drop else None,
        "augment": strategy if protocol.augment == "dsa" else protocol.augment,
    }


# -- identity --------------------------------------------------------------------------------


def digest(record: Mapping[str, Any], length: int = 10) -> str:
    """Return the hash of plain values, the same whatever the order of keys."""
    text = json.dumps(record, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def slug(*parts: object) -> str:
    """Return a readable file name of at most 80 characters without paths."""
    text = "-".join(re.sub(r"[^a-z0-9.]+", "-", str(part).lower()).strip("-.") for part in parts)
    return text[:SLUG].strip("-.")


def with_ids(job: Condensation) -> Condensation:
    """Return the job with the ids of all that determines its result."""
    options = {
        "method": job.method,
        "config": job.config,
        "dataset": job.dataset_fingerprint,
        "architecture": job.architecture,
        "init": job.init,
        "ipc": job.ipc,
        "seed": job.seed,
        "steps": None if job.budget_s else job.steps,
        "budget_s": job.budget_s,
        "precision": job.precision,
    }
    whole = options | {"code": job.code, "numerics": job.numerics}
    name = slug(job.row, job.dataset.rsplit("/", 1)[-1], job.architecture, job.init,
                f"ipc{job.ipc}", f"s{job.seed}")  # fmt: skip
    series = {key: value for key, value in whole.items() if key not in ("steps", "budget_s")}
    return replace(
        job,
        id=f"{name}-{digest(whole)}",
        options_id=digest(options),
        series_id=digest(series),
    )


def _with_evaluation_id(job: Evaluation, of: Condensation | None) -> Evaluation:
    record = {
        "condensation": of.id if of else job.dataset_fingerprint,
        "snapshot": job.snapshot,
        "architecture": job.architecture,
        "recipe": job.recipe,
        "own_recipe": job.own_recipe,
        "networks": job.networks,
        "numerics": NUMERICS,
    }
    what = (of.row, of.init, f"ipc{of.ipc}", f"s{of.seed}") if of else ("whole", job.dataset)
    at = (f"at{job.snapshot}",) if job.snapshot is not None else ()
    own = ("own",) if job.own_recipe else ()
    name = slug(*what, *at, "on", job.architecture, job.protocol, *own)
    return replace(job, id=f"{name}-{digest(record)}")
