"""Registry and choices crossed into jobs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddbench.contract.rows import Row
from ddbench.datasets import passes, split_options, suggested_path
from ddbench.discovery.introspection import Answer
from ddbench.discovery.methods import MethodEntry, install, package_of, unknown
from ddbench.planning import budgets
from ddbench.planning.job_ids import with_evaluation_id, with_ids
from ddbench.planning.jobs import Choices, DatasetFacts, Plan
from ddbench.planning.overrides import at_ipc, chosen, impossible, rows_named
from ddbench.planning.registry import (
    Layer,
    Preset,
    Protocol,
    Registry,
    RegistryError,
    Where,
    default_path,
)
from ddbench.planning.snapshots import snapshot_steps
from ddbench.store.records import TEST, VALIDATION, Condensation, Evaluation, Skipped
from ddbench.text.suggestions import did_you_mean, nearest, unknown_at

# Places that a method names, behind its name: what is wrong there costs its own rows alone.
OWN = QUICK, CONTROLS, DEFAULT_INIT, PUBLISHED_AT = (
    ": MethodInfo.quick",
    ": MethodInfo.controls",
    ": MethodInfo.default_init",
    ": MethodInfo.published_at",
)


@dataclass(frozen=True)
class PlanningContext:
    """What the planner can ask.

    Attributes:
        found: Installed methods by name.
        ask: Asks methods and architectures (see `probe`).
        dataset: Name and options -> facts; raises LookupError-like `MissingData` when absent.
        dataset_names: Known names, for suggestions.
    """

    found: Mapping[str, MethodEntry]
    ask: Answer
    dataset: Callable[[str, Mapping[str, Any]], DatasetFacts]
    dataset_names: Callable[[], Iterable[str]]


class MissingData(Exception):
    """A dataset that is not here; the text is the remedy."""


def make(registry: Registry, choices: Choices, world: PlanningContext) -> Plan:
    """Return the plan of a run.

    Raises:
        RegistryError: Every unknown name and refused option at once.
    """
    times = {"--budget": choices.budget, "--budget-total": choices.budget_total}
    given = [option for option, value in times.items() if value is not None]
    if choices.steps is not None and given:
        named = " and ".join([*given, "--steps"])
        raise RegistryError([f"{named}: a condensation ends by time or by steps; give one"])
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
    forced: Mapping[str, Any]  # options that make a control what it is
    places: Mapping[str, str]  # of `init` and `options`, where a MethodInfo's control gives them


class _Planner:
    def __init__(self, registry: Registry, choices: Choices, world: PlanningContext) -> None:
        self.registry, self.choices, self.world = registry, choices, world
        if choices.preset not in registry.presets:
            place = f"--preset ({registry.path.name})"
            unknown_preset = unknown_at(place, choices.preset, registry.presets)
            raise RegistryError([*registry.faults, *choices.faults, unknown_preset])
        self.as_written = registry.presets[choices.preset]
        self.preset = chosen(self.as_written, choices)
        self.problems = [*registry.faults, *choices.faults, *impossible(choices)]
        self.budget = choices.budget
        self.result = Plan(total_s=choices.budget_total)

    def plan(self) -> Plan:
        self._read_architectures_of_tables()
        rows = self._rows()
        self.info = self._describe(rows)
        self._check_names()
        if self.registry.path != default_path():
            self._check_all_tables()
        self.facts = self._datasets()
        self.canonical = self._architectures()
        self._drop_second_spellings()
        self.result.datasets = {
            name: facts for name, facts in self.facts.items() if not isinstance(facts, str)
        }
        cells = [cell for one in self._with_controls(rows) for cell in self._cells(*one)]
        self._add_condensations(_without_repeats(cells))
        self._check_snapshots()
        if self.problems:
            raise RegistryError(dict.fromkeys(self.problems))
        self._add_evaluations()
        return self.result

    def _read_architectures_of_tables(self) -> None:
        """Let `[methods.X.arch.NAME]` hold for its network, however the name is spelt."""
        if self.registry.path == default_path():  # whose names are canonical, by a test
            return
        written = self.registry.own_architectures()
        asked = [[name, [1, 32, 32], 10] for name in written]
        answers = self.world.ask({"architectures": asked})["architectures"] if asked else []
        spelt = {}
        for (name, place), answer in zip(written.items(), answers, strict=True):
            if "unknown" in answer:
                self.problems.append(f"{place}: {answer['unknown']}")
            else:
                spelt[name] = answer["canonical"]
        self.registry = replace(self.registry, spelt=spelt)

    # -- rows ------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        choices, registry = self.choices, self.registry
        rows = list(self.preset.rows)
        if choices.rows is not None:
            rows = [row for name in choices.rows for row in rows_named(name, rows)]
        if choices.ipc is not None:
            rows = at_ipc(rows, self.preset.ipc)
        if choices.all_methods or (choices.rows is None and self.preset.others):
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
        """A method that is not installed: an error if it looks like a typo, else a skipped row.

        A variant that the registry lacks, of a method that is installed, is an error.
        """
        row = next(row for row in rows if self.registry.method_of(row.method) == name)
        place = "--method" if self.choices.rows is not None else self._row_place(row)
        method = name.partition("@")[0]
        if method != name and method in self.world.found:
            self.problems.append(f"{place}: {self._unknown_variant(name, method)}")
        elif self.choices.rows is not None or _typo(name, self.world.found):
            self.problems.append(f"{place}: {unknown(name, self.world.found)}")

    def _unknown_variant(self, name: str, method: str) -> str:
        variants = self.registry.variants_of(method)
        meant = did_you_mean(name, variants, most=3)
        hint = f"; {meant}" if meant else "."
        there = f"Variants of {method}: {', '.join(variants) or 'none'}"
        return f"{self.registry.path.name} has no variant {name!r}{hint} {there}"

    def _with_controls(
        self, rows: Sequence[Row]
    ) -> Iterator[tuple[Row, str | None, Mapping[str, Any], Mapping[str, str]]]:
        """Go through the rows, then their controls.

        Each is (row, of which, options that make it one, what a MethodInfo gives of it and where).
        A control is its row with something changed, or a row of another method.
        """
        for row in rows:
            yield row, None, {}, {}
        for row in rows:
            method = self.registry.method_of(row.method)
            info = self.info.get(method, {})
            for control in info.get("controls", ()):
                places = dict.fromkeys({*control} & {"init", "options"}, method + CONTROLS)
                given: dict[str, Any] = {"seeds": row.seeds, "ipc": row.ipc, "method": row.method}
                if "method" not in control:
                    steps = row.steps if self.choices.steps is None else self.choices.steps
                    given |= {"init": row.init, "steps": steps}
                    forced = control.get("options", {})
                    places.pop("options", None)
                    control = {**control, "options": row.options}
                    yield Row.model_validate(given | control), row.method, forced, places
                else:
                    yield Row.model_validate({**given, **control}), row.method, {}, places

    # -- names -----------------------------------------------------------------------------

    def _check_names(self) -> None:
        registry, preset = self.registry, self.preset
        known = {*self.world.dataset_names(), *registry.datasets}
        for name in preset.datasets:
            if not self._is_dataset(name):
                self.problems.append(_unknown_dataset(self._place("datasets"), name, known))
        for row, table in registry.methods.items():
            method, keys = registry.method_of(row), ("methods", row)
            if method not in self.world.found and _typo(method, self.world.found):
                place = registry.place(*keys, *(["method"] if "method" in table else []))
                self.problems.append(unknown_at(place, method, self.world.found))
            for name in table.get("dataset", {}):
                if name not in known and _typo(name, known):
                    place = registry.place(*keys, "dataset", name)
                    self.problems.append(unknown_at(place, name, known))
        for name in self.choices.protocol or ():
            if name not in registry.protocols:
                self.problems.append(unknown_at("--protocol", name, registry.protocols))
        for row, option, _ in self.choices.settings:
            self._check_setting(row, option)
        self._snapshots(0, None)  # which finds what is wrong whatever the method

    def _check_all_tables(self) -> None:
        """Check those tables of a registry of one's own too that this run makes no use of."""
        registry, found = self.registry, self.world.found
        presets = registry.own_presets()
        settings = [(row, at, keys, Layer({})) for row, at, keys in registry.own_settings()]
        for preset, table in presets.items():
            for i, row in enumerate(table.rows):
                keys = ("presets", preset, "rows", str(i))
                settings.append((row.method, {}, keys, Layer(row.options, keys)))
                method = registry.method_of(row.method)
                if method not in found and _typo(method, found):
                    self.problems.append(f"{registry.place(*keys)}: {unknown(method, found)}")
        for name, named in registry.datasets.items():
            if not self._is_dataset(named.source):
                place, known = (
                    registry.place("datasets", name, "source"),
                    self.world.dataset_names(),
                )
                self.problems.append(unknown_at(place, named.source, known))
        self._check_options(settings)
        self._check_places(presets)

    def _check_options(
        self, settings: Iterable[tuple[str, Mapping[str, str], tuple[str, ...], Layer]]
    ) -> None:
        """Ask the methods about options: (row, where they hold, its table, options over them)."""
        registry, asked, about = self.registry, list[Any](), list[Any]()
        for row, at, keys, above in settings:
            method, plain = registry.method_of(row), row.partition("@")[0]
            if method not in self.world.found:
                if keys[0] == "methods" and method == row != plain and plain in self.world.found:
                    text = f'is missing; add method = "{plain}"'
                    self.problems.append(f"{registry.place(*keys)} method: {text}")
                continue
            where = Where(at.get("dataset", ""), at.get("arch", ""), int(at.get("ipc", 1)))
            layers = [*registry.layers(row, where), above]
            about.append((row, self._places(layers)))
            facts = {"dataset": where.dataset, "num_classes": 10, "shape": [1, 32, 32],
                     "class_counts": [6000] * 10, "architecture": where.arch, "init": "real",
                     "ipc": where.ipc}  # fmt: skip
            asked.append({"method": method, "options": _merged(layers), "published": {},
                          "steps": None, "published_steps": None, "facts": facts})  # fmt: skip
        answers = self.world.ask({"configure": asked})["configure"] if asked else []
        for (row, places), answer in zip(about, answers, strict=True):
            for option, text in answer.get("problems", ()):
                place = _place_of(option, text, places)
                self.problems.append(f"{place or row}: {text}")

    def _check_places(self, presets: Mapping[str, Preset]) -> None:
        """Check the names of datasets, networks and inits."""
        registry = self.registry
        known = {*self.world.dataset_names(), *registry.datasets}
        networks: dict[str, str] = {}
        for preset, table in presets.items():
            for name in table.datasets:
                if not self._is_dataset(name):
                    place = registry.place("presets", preset, "datasets")
                    self.problems.append(unknown_at(place, split_options(name)[0], known))
            for key in ("architectures", "evaluate_on"):
                place = registry.place("presets", preset, key)
                networks |= {name: place for name in getattr(table, key) if name not in networks}
        asked = [[name, [1, 32, 32], 10] for name in networks]
        answers = self.world.ask({"architectures": asked, "inits": True})
        for place, answer in zip(networks.values(), answers["architectures"], strict=True):
            if "unknown" in answer:
                self.problems.append(f"{place}: {answer['unknown']}")
        inits = [(place, init) for place, init in registry.own_inits()]
        inits += [(registry.place("presets", preset, "rows", str(i)) + " init", row.init)
                  for preset, table in presets.items() for i, row in enumerate(table.rows)
                  if row.init]  # fmt: skip
        for place, init in inits:
            if init not in answers["inits"]:
                self.problems.append(unknown_at(place, init, answers["inits"]))

    def _check_setting(self, row: str, option: str) -> None:
        info = self.info.get(self.registry.method_of(row))
        if info is None:
            place = f"--set {row}.{option}"
            self.problems.append(unknown_at(place, row, self.info))
        elif "options" in info and option not in info["options"]:
            self.problems.append(unknown_at(f"--set {row}.{option}", option, info["options"]))

    def _snapshots(self, steps: int, budget: float | None) -> tuple[int, ...]:
        """Return the steps whose sets are evaluated too; what is wrong becomes a problem."""
        try:
            return snapshot_steps(self.choices.snapshots, steps, budget)
        except RegistryError as error:
            self.problems += error.problems
            return ()

    def _check_snapshots(self) -> None:
        """Refuse a step that no row reaches. A row of fewer steps, or none, goes without it."""
        most = max((job.steps for job in self.result.condensations), default=0)
        if most and self.budget is None:  # how far a budget reaches is unknown
            for text in self.choices.snapshots:
                if text.isdecimal() and int(text) > most:
                    self.problems.append(f"--snapshots {text}: no row takes more than {most} steps")

    def _place(self, key: str) -> str:
        """Return where the values of an axis come from."""
        options = {
            "datasets": "--dataset",
            "architectures": "--arch",
            "evaluate_on": "--evaluate-on",
        }
        if getattr(self.choices, key, None) is not None:
            return options[key]
        if key == "evaluate_on" and self.choices.architectures is not None:
            return "--arch"
        return self.registry.place("presets", self.choices.preset, key)

    def _row_place(self, row: Row) -> str:
        """Return where a row stands in the registry; a control stands with the preset's rows."""
        found = [str(n) for n, other in enumerate(self.as_written.rows) if other is row]
        return self.registry.place("presets", self.choices.preset, "rows", *found)

    def _datasets(self) -> dict[str, DatasetFacts | str]:
        """Return the facts of each dataset, or the remedy if it is absent."""
        facts: dict[str, DatasetFacts | str] = {}
        for name in self.preset.datasets:
            if not self._is_dataset(name):
                continue
            named = self.registry.datasets.get(name)
            source, options = (named.source, named.options) if named else (name, {})
            if self.preset.validate_on is not None:
                options = {**options, "validate": self.preset.validate_on}
            try:
                facts[name] = self.world.dataset(source, options)
            except MissingData as missing:
                facts[name] = str(missing)
            except ValueError as error:
                place = self._place("datasets")
                if named:
                    place = self.registry.place("datasets", name, "options")
                file = split_options(name)[0].partition(":")[2]
                which = "" if file and file in str(error) else f"{name}: "
                self.problems.append(f"{place}: {which}{error}")
        return facts

    def _is_dataset(self, name: str) -> bool:
        """Return whether there is such a name, of a file or folder, or with options behind it."""
        if name in self.registry.datasets or ":" in name:
            return True
        return split_options(name)[0] in self.world.dataset_names()

    def _architectures(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Ask for each (architecture, dataset) whether it fits; names canonical."""
        preset = self.preset
        places = {name: self.registry.place("presets", self.choices.preset, "reference_on")
                  for name in self._reference_on()}  # fmt: skip
        places |= dict.fromkeys(preset.evaluate_on, self._place("evaluate_on"))
        places |= dict.fromkeys(preset.architectures, self._place("architectures"))
        present = {n: f for n, f in self.facts.items() if not isinstance(f, str)}
        shapes = {d: [list(f.shape), f.num_classes] for d, f in present.items()}
        shapes = shapes or {"": [[1, 32, 32], 10]}  # without data a name may still be wrong
        pairs = [(name, dataset) for name in places for dataset in shapes]
        asked = [[name, *shapes[dataset]] for name, dataset in pairs]
        answers = self.world.ask({"architectures": asked, "inits": True})
        self.inits: dict[str, str] = answers["inits"]
        found = dict(zip(pairs, answers["architectures"], strict=True))
        for (name, _), answer in found.items():
            if "unknown" in answer:
                self.problems.append(f"{places[name]}: {answer['unknown']}")
        for init in self.choices.inits or ():
            if init not in self.inits:
                self.problems.append(unknown_at("--init", init, self.inits))
        return found

    def _drop_second_spellings(self) -> None:
        """Leave one of the names that mean the same network, or the same data; the first."""
        spelled = {name: answer.get("canonical", name)
                   for (name, _), answer in self.canonical.items()}  # fmt: skip
        axes = {
            axis: _first_of_each(getattr(self.preset, axis), lambda name: spelled.get(name, name))
            for axis in ("architectures", "evaluate_on")
        }
        self.preset = self.preset.model_copy(update=axes)

        def content(name: str) -> tuple[str, str]:
            facts, named = self.facts[name], name in self.registry.datasets
            if isinstance(facts, str) or named:
                return name, ""
            # a file's or folder's path may be written in many ways, a name's options in two
            return "" if ":" in name else split_options(name)[0], facts.fingerprint

        self.facts = {name: self.facts[name] for name in _first_of_each(self.facts, content)}

    def _reference_on(self) -> tuple[str, ...]:
        on = self.preset.reference_on
        return (on,) if self.preset.reference and on else ()

    # -- condensations ---------------------------------------------------------------------

    def _cells(
        self,
        row: Row,
        control_of: str | None,
        forced: Mapping[str, Any],
        places: Mapping[str, str],
    ) -> Iterator[_Cell]:
        preset, method = self.preset, self.registry.method_of(row.method)
        seeds = row.seeds if row.seeds and self.choices.seeds is None else preset.seeds
        known = self.info.get(method, {}).get("options")  # an unknown one is a problem of its own
        axes: dict[str, list[tuple[str, str, Any]]] = {}
        for name, option, values in self.choices.settings:
            if name in (row.method, method) and (known is None or option in known):
                # The same option again widens its axis, by values that it has not yet.
                axis = axes.setdefault(option, [])
                for value in values:
                    if not any(_is_same(value, other) for _, _, other in axis):
                        axis.append((name, option, value))
        for dataset, architecture, ipc in itertools.product(
            self.facts, preset.architectures, row.ipc or preset.ipc
        ):
            fits = self.canonical.get((architecture, dataset), {})
            if "unknown" in fits:
                continue  # which is a problem of its own
            name = fits.get("canonical", architecture)
            for init in self._inits(row, Where(dataset, name, ipc), fixed="init" in places):
                for settings, seed in itertools.product(itertools.product(*axes.values()), seeds):
                    left = tuple(setting for setting in settings if setting[1] not in forced)
                    where = (dataset, architecture, init, ipc, seed)
                    yield _Cell(row, *where, left, control_of, forced, places)

    def _inits(self, row: Row, where: Where, fixed: bool) -> tuple[str, ...]:
        """Return the inits of a row; `--init` passes over methods that it was not meant for.

        Under `--published` it is the published one, unless a control has it `fixed`.
        """
        info = self.info.get(self.registry.method_of(row.method), {})
        name = row.init or self.registry.table_value(row.method, "init", where)
        name = name or info.get("default_init", "real")
        if self.choices.published and not fixed:
            published = self._published_at(row.method, where).get("init", [name])
            name = name if name in published else published[0]
        own = (name,)
        if self.choices.inits is None:
            return own
        fit = [init for init in self.choices.inits if init in (info.get("inits") or (init,))]
        return self.choices.inits if fit or self.choices.rows is not None else own

    def _add_condensations(self, cells: Sequence[_Cell]) -> None:
        ready = [(cell, self._question(cell)) for cell in cells if self._possible(cell)]
        answers = self._answers(ready)
        if self.choices.budget_total is not None and self.budget is None:
            self.budget = self._part_of_total(ready, answers)
        planned: set[tuple[str, str]] = set()
        for (asked, question), answer in zip(ready, answers, strict=True):
            cell = replace(asked, init=answer.get("own_init") or asked.init)
            if "error" in answer:
                self._skip(cell, answer["error"], failed=True)
            elif answer["problems"]:
                self._refuse(cell, question["places"], answer["problems"])
            elif answer["needs"]:
                self._skip(cell, answer["needs"])
            elif cell.init != asked.init and asked.init in (self.choices.inits or ()):
                own = f"these options make a start of their own, {cell.init}"
                self._skip(asked, f"{own}, and take no --init {asked.init}; use --init {cell.init}")
            else:
                job = self._condensation(cell, answer)
                name = "" if job.control_of else job.row  # a control may stand there by any name
                if (name, job.options_id) not in planned:
                    self.result.condensations.append(job)
                    planned |= {("", job.options_id), (job.row, job.options_id)}

    def _answers(self, ready: Sequence[tuple[_Cell, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return what the methods answer for each cell.

        A control that comes out the same without what `--set` changes in its row is the control
        of that row as it is without: one of all values of a sweep.
        """
        swept = [i for i, (cell, _) in enumerate(ready) if cell.control_of and cell.settings]
        plain = [self._question(replace(ready[i][0], settings=())) for i in swept]
        questions = [question for _, question in ready]
        if not questions:
            return []
        answers = self.world.ask({"configure": questions + plain})["configure"]
        for i, without in zip(swept, answers[len(questions) :], strict=True):
            parts = ("canonical", "steps", "needs")
            if "canonical" in without and all(without[k] == answers[i].get(k) for k in parts):
                answers[i] = without
        return list(answers[: len(questions)])

    def _part_of_total(
        self, ready: Sequence[tuple[_Cell, Any]], answers: Sequence[Mapping[str, Any]]
    ) -> float:
        """Return the seconds of each condensation that takes steps, of `--budget-total`."""
        total = self.choices.budget_total or 0.0
        stepping = {
            self._condensation(cell, answer).options_id
            for (cell, _), answer in zip(ready, answers, strict=True)
            if not ("error" in answer or answer["problems"] or answer["needs"]) and answer["steps"]
        }
        part = budgets.share(total, len(stepping), self.choices.workers)
        if part < budgets.LEAST_S:
            least = budgets.least_total(len(stepping), self.choices.workers)
            self.problems.append(
                f"--budget-total {total:g}s: is {part:g} s for each of {len(stepping)} "
                f"condensations; give at least {least:g}s, or choose fewer methods, rows or seeds"
            )
        return part

    def _refuse(
        self, cell: _Cell, places: Mapping[str, str], refused: Iterable[tuple[str, str]]
    ) -> None:
        """Take options that a method refuses for mistakes, or for its own where it gave them."""
        named = [(_place_of(option, text, places), text) for option, text in refused]
        unasked = all(place.endswith(OWN) for place in places.values())
        others = [(place, text) for place, text in named
                  if not (place.endswith(OWN) if place else unasked)]  # fmt: skip
        for place, text in others:
            self.problems.append(f"{place or cell.row.method}: {text}")
        if not others:
            place, text = named[0]
            place = place or f"{self.registry.method_of(cell.row.method)}: MethodInfo.config"
            self._skip(cell, f"{place}: {text}", failed=True)

    def _possible(self, cell: _Cell) -> bool:
        method = self.registry.method_of(cell.row.method)
        info = self.info.get(method)
        facts = self.facts[cell.dataset]
        if info is None:
            method = method.partition("@")[0]  # of a variant that the registry lacks
            self._skip(cell, f"method {method!r} is not installed; {install(package_of(method))}")
        elif "error" in info:
            self._skip(cell, info["error"], failed=True)
        elif isinstance(facts, str):
            self._skip(cell, facts)
        elif "error" in (fits := self.canonical[cell.architecture, cell.dataset]):
            self._skip(cell, fits["error"])
        elif cell.init not in self.inits:
            text = unknown_at(self._init_place(cell), cell.init, self.inits)
            if self._init_place(cell).endswith(OWN):
                self._skip(cell, text, failed=True)
            else:
                self.problems.append(text)
        elif info["inits"] and cell.init not in info["inits"]:
            self._skip(cell, f"starts from {' or '.join(info['inits'])}, not from {cell.init}")
        elif cell.init != "noise" and (short := _short_of(facts, cell.ipc)):
            self._skip(cell, short)
        else:
            return True
        return False

    def _init_place(self, cell: _Cell) -> str:
        """Return where the init of a row was named."""
        row, where = cell.row, Where(cell.dataset, self._canonical(cell), cell.ipc)
        if cell.init in (self.choices.inits or ()):
            return "--init"
        if row.init is not None and "init" in cell.places:
            return cell.places["init"]
        if row.init:
            return f"{self._row_place(row)} init"
        if keys := self.registry.keys_of_init(row.method, where):
            return self.registry.place(*keys)
        return self.registry.method_of(row.method) + DEFAULT_INIT

    def _skip(self, cell: _Cell, reason: str, failed: bool = False) -> None:
        where = (cell.dataset, cell.architecture, cell.init, cell.ipc, cell.seed)
        given = {option: value for _, option, value in cell.settings}
        skipped = Skipped(cell.row.method, *where, reason, failed, options=given)
        self.result.skipped.append(skipped)

    def _question(self, cell: _Cell) -> dict[str, Any]:
        """Return what to ask the method: options merged from weak to strong, and the facts."""
        registry, row = self.registry, cell.row
        method = registry.method_of(row.method)
        where = Where(cell.dataset, self._canonical(cell), cell.ipc)
        tables = registry.layers(row.method, where)
        usual = {name: values[0] for name, values in self._published_at(row.method, where).items()
                 if name in self.info[method]["options"]}  # fmt: skip
        chosen_there = Layer(usual, place=method + PUBLISHED_AT)
        published = [chosen_there, *registry.layers(row.method, where, published=True)]
        if self.choices.published:
            tables = [chosen_there, *tables]
        given = [Layer(row.options, place=cell.places.get("options") or self._row_place(row))]
        given += [Layer({option: value}, place=f"--set {name}.{option}")
                  for name, option, value in cell.settings]  # fmt: skip
        given.append(Layer(cell.forced, place=method + CONTROLS))
        quick = dict(self.info[method]["quick"]) if self.preset.quick else {}
        quick_steps = quick.pop("steps", None)
        layers = [*tables, Layer(quick, place=method + QUICK), *given]
        asked = self.choices.steps if cell.control_of is None else None
        own = registry.table_value(row.method, "steps", where)
        given_steps = (asked, row.steps, quick_steps, own)
        facts = self.facts[cell.dataset]
        assert not isinstance(facts, str)  # noqa: S101  (`_possible` has sorted those out)
        return {
            "method": method,
            "options": _merged(layers),
            "published": _merged(published),
            "places": self._places(layers),
            "steps": next((steps for steps in given_steps if steps is not None), None),
            "published_steps": registry.table_value(row.method, "steps", where, published=True),
            "facts": {
                "dataset": cell.dataset,
                "num_classes": facts.num_classes,
                "shape": list(facts.shape),
                "class_counts": list(facts.class_counts),
                "architecture": where.arch,
                "init": cell.init,
                "ipc": cell.ipc,
            },
        }

    def _canonical(self, cell: _Cell) -> str:
        return str(self.canonical[cell.architecture, cell.dataset]["canonical"])

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
        budget = self.budget if answer["steps"] else None
        job = Condensation(
            id="",
            options_id="",
            row=cell.row.method,
            method=method,
            source=found.source,
            code=found.code,
            dataset=cell.dataset,
            dataset_fingerprint=facts.fingerprint,
            architecture=self._canonical(cell),
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
            reduced=self._reduced(cell, answer, budget),
            quick=self.preset.quick,
            control_of=cell.control_of,
            published=info["published"],
            paper=info["paper"],
            bibtex=info["bibtex"],
            snapshots=self._snapshots(answer["steps"], budget),
            extensions=self._extensions(cell.architecture, cell.dataset, cell.init),
            validate=facts.validate,
        )
        return with_ids(job)

    def _reduced(
        self, cell: _Cell, answer: Mapping[str, Any], budget: float | None
    ) -> dict[str, list[Any]]:
        """Return what differs from the published settings: option or axis -> [used, published]."""
        where = Where(cell.dataset, self._canonical(cell), cell.ipc)
        at = self._published_at(cell.row.method, where)
        used, published = answer["config"], answer["published"]
        expected = {name: at.get(name, [value]) for name, value in published.items()}
        reduced = {
            name: [used[name], _either(values)]
            for name, values in expected.items()
            if used[name] not in values and name not in answer["alike"]
        }
        if budget is not None:
            reduced["steps"] = [f"as many as {budget:g} s allow", answer["published_steps"]]
        elif answer["steps"] != answer["published_steps"]:
            reduced["steps"] = [answer["steps"], answer["published_steps"]]
        axes = {"dataset": cell.dataset, "arch": where.arch, "ipc": cell.ipc, "init": cell.init}
        return reduced | {
            axis: [axes[axis], _either(values)]
            for axis, values in at.items()
            if axis in axes and not self._stands_in(axes[axis], axis, values)
        }

    def _published_at(self, row: str, where: Where) -> dict[str, list[Any]]:
        """Return where a row's settings were published: axis or option -> the values there.

        What the registry's tables say is stronger than what the method says itself.
        """
        info = self.info.get(self.registry.method_of(row), {})
        settled = _merged(self.registry.layers(row, where, published=True))
        own = {k: v for k, v in info.get("published_at", {}).items() if k not in settled}
        return own | self.registry.published_at(row, where)

    def _stands_in(self, value: Any, axis: str, values: Sequence[Any]) -> bool:  # noqa: ANN401
        """Return whether a place is among the published ones; data may have several names."""
        if axis == "dataset":
            return self._data(value) in [self._data(name) for name in values]
        return value in values

    def _data(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the source behind the name of a dataset, and its options as they are written."""
        named = self.registry.datasets.get(name)
        source, texts = split_options(named.source if named else name)
        options = {**dict(texts), **(named.options if named else {})}
        written = {key: str(value).lower() for key, value in options.items()}
        return source, {k: v for k, v in written.items() if v not in ("none", "false")}

    def _extensions(self, architecture: str, dataset: str, init: str = "") -> dict[str, str]:
        """Return the code fingerprints of what others registered, by its name."""
        code = {architecture: self.canonical[architecture, dataset].get("code", "")}
        code |= {init: self.inits[init]} if init else {}
        return {name: fingerprint for name, fingerprint in code.items() if fingerprint}

    # -- evaluations -----------------------------------------------------------------------

    def _add_evaluations(self) -> None:
        preset = self.preset
        planned = {job.dataset for job in self.result.condensations}
        for dataset, facts in self.facts.items():
            if dataset in planned and not isinstance(facts, str):
                self._add_references(dataset, facts)
        for job in self.result.condensations:
            facts = self.facts[job.dataset]
            assert not isinstance(facts, str)  # noqa: S101
            sets: tuple[int | None, ...] = (None, *job.snapshots)
            own = (False, True) if self.info[job.method]["own_recipe"] else (False,)
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
                where = (dataset, job.architecture, job.init, job.ipc, job.seed)
                skipped = Skipped(job.row, *where, fits["error"], evaluate_on=architecture)
                self.result.skipped.append(skipped)
            return
        constants = self.registry.protocols[protocol]
        recipe = recipe_of(constants, facts.augment)
        if job is None:
            recipe = _repeated(recipe, passes(sum(facts.class_counts), facts.epoch_images))
        evaluation = Evaluation(
            id="",
            condensation=job.id if job else None,
            snapshot=snapshot,
            dataset=dataset,
            dataset_fingerprint=facts.fingerprint,
            architecture=fits["canonical"],
            protocol=protocol,
            recipe=recipe,
            own_recipe=own_recipe,
            networks=constants.networks,
            extensions=self._extensions(architecture, dataset),
            validate=facts.validate,
            tested_on=TEST if facts.validate is None else VALIDATION,
        )
        self.result.evaluations.append(with_evaluation_id(evaluation, job))


def _first_of_each(names: Iterable[str], meant: Callable[[str], object]) -> tuple[str, ...]:
    """Return the names less those that mean the same as an earlier one."""
    first: dict[object, str] = {}
    for name in names:
        first.setdefault(meant(name), name)
    return tuple(first.values())


def _is_same(value: object, other: object) -> bool:
    """Say whether two values of an option are one; 1 and 1.0 are, 1 and true are not."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _unknown_dataset(place: str, name: str, known: Collection[str]) -> str:
    """Return what is wrong with a name that no dataset has, and what it may mean."""
    bare, _ = split_options(name)
    if meant := suggested_path(bare, known):
        return f"{place}: unknown {bare!r}; did you mean {meant + name.removeprefix(bare)!r}?"
    return unknown_at(place, bare, known)


def _typo(name: str, known: Iterable[str]) -> bool:
    """Return whether an unknown name is so near a known one (dmm, dm) that it must be meant.

    `datm` where only `dm` is installed is none.
    """
    return bool(nearest(name, known, cutoff=0.75))


def _place_of(option: str, text: str, places: Mapping[str, str]) -> str:
    """Return where a refused option got its value.

    A Config's own check names options in its text alone: what was set on the command line is
    likelier meant than other places, and else what is named first.
    """
    at = {name: found.start() for name in places
          if (found := re.search(rf"\b{re.escape(name)}\b", text))}  # fmt: skip
    named = sorted(at, key=lambda name: (not places[name].startswith("--set"), at[name]))
    return places.get(option) or (places[named[0]] if named else "")


def _merged(layers: Iterable[Layer]) -> dict[str, Any]:
    return {name: value for layer in layers for name, value in layer.options.items()}


def _without_repeats(cells: Iterable[_Cell]) -> list[_Cell]:
    """Drop a control that stands in the table anyway."""
    kept: dict[str, _Cell] = {}
    for cell in cells:
        row = cell.row.model_copy(update={"seeds": None, "ipc": None, "init": None})
        kept.setdefault(repr(replace(cell, row=row, control_of=None, places={})), cell)
    return list(kept.values())


def _short_of(facts: DatasetFacts, ipc: int) -> str | None:
    least = min(facts.class_counts)
    if ipc <= least:
        return None
    c = facts.class_counts.index(least)
    return (
        f"ipc {ipc} asks for more real images than class {c} of {facts.name} has ({least}); "
        f"use ipc {least} or less"
    )


def _either(values: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return a single value as it is, several in words."""
    return values[0] if len(values) == 1 else " or ".join(map(str, values))


def _repeated(recipe: Mapping[str, Any], times: int) -> dict[str, Any]:
    """Return the recipe with every epoch `times` over: for a whole set of few images."""
    drop = recipe["drop"]
    if drop:
        drop = drop | {"after_epochs": times * drop["after_epochs"]}
    return {**recipe, "epochs": times * recipe["epochs"], "drop": drop}


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
