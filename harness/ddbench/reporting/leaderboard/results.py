"""The results of a run folder as its tables read them: which of them count, and which do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ddbench.store.hashing import hash_of_values
from ddbench.store.records import DONE, CondensationRecord, EvaluationRecord
from ddbench.store.run_folder import Records, RunFolder
from ddbench.text.lines import brief

UNKNOWN = "unknown hardware"


@dataclass(frozen=True)
class Condensed:
    """A condensation that has ended.

    Attributes:
        record: What the run folder holds of it.
        entry: The key of its table row, which all seeds of the row share.
        superseded: Whether other code has done the same job again since.
        stale: Whether the method's code has changed since.
    """

    record: CondensationRecord
    entry: str
    superseded: bool
    stale: bool

    @property
    def row(self) -> str:
        """The name of its row in the registry."""
        return _bare(self.record.row)

    @property
    def control_of(self) -> str | None:
        """The row that it controls, if it is a control."""
        return self.record.control_of and _bare(self.record.control_of)

    @property
    def hardware_class(self) -> str:
        """The class of hardware that it ran on."""
        return self.record.hardware_class or UNKNOWN

    def cost(self, name: str) -> float:
        """Return one of its `Costs`; NaN where it is not known."""
        return number(getattr(self.record.costs, name, None))

    @property
    def own_s(self) -> float:
        """Wall seconds of init, steps and export."""
        return self.cost("init_s") + self.cost("condense_s") + self.cost("export_s")

    @property
    def lower_bound(self) -> bool:
        """Whether its FLOPs are a lower bound.

        Steps without one counted operation do work of other kinds alone.
        """
        costs = self.record.costs
        if costs is None:
            return False
        return costs.flops_lower_bound or (costs.flops_condense == 0 and costs.steps_done > 0)


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that has ended.

    Attributes:
        record: What the run folder holds of it.
        of: The condensation whose set it evaluates; None of a whole training set, and of a
            condensation that is not there any more.
        variant: The hash of its recipe.
        stale: Whether the set has been condensed again since, or is not there.
        current: Whether it counts: newest of its kind, and of a set that is what it was.
    """

    record: EvaluationRecord
    of: Condensed | None
    variant: str
    stale: bool
    current: bool = False

    @property
    def done(self) -> bool:
        """Whether its networks were tested."""
        return self.record.status == DONE

    @property
    def entry(self) -> str | None:
        """The key of the table row of its set."""
        return self.of.entry if self.of else None

    @property
    def hardware_class(self) -> str:
        """The class of hardware that it ran on."""
        return self.record.hardware_class or UNKNOWN


@dataclass(frozen=True)
class Results:
    """All that a run folder's tables are made of.

    Attributes:
        condensations: By id, in the order of the plans.
        evaluations: In the order of their ids.
    """

    condensations: Mapping[str, Condensed]
    evaluations: Sequence[Evaluated]

    @cached_property
    def on_the_way(self) -> Mapping[tuple[object, ...], Sequence[Evaluated]]:
        """The evaluations of snapshots that count, by what `place_of` says of them."""
        found: dict[tuple[object, ...], list[Evaluated]] = {}
        for one in self.evaluations:
            if one.record.snapshot is not None and one.current:
                found.setdefault(place_of(one.record), []).append(one)
        return found

    def of(self, ids: Iterable[str]) -> list[Condensed]:
        """Return some condensations by their ids."""
        return [self.condensations[id] for id in ids]


def place_of(record: EvaluationRecord) -> tuple[object, ...]:
    """Return data, network, protocol, and whether the set's own recipe was laid over it."""
    data = record.dataset, record.dataset_fingerprint
    return (*data, record.architecture, record.protocol, record.own_recipe)


def find_results(records: Records, old_code: bool = False) -> Results:
    """Return the results of records that `set_aside` has gone over.

    With `old_code` nothing is superseded by what other code has done since.
    """
    condensations = _condensations(records, old_code)
    return Results(condensations, _evaluations(records.evaluations, condensations))


def set_aside(records: Records, folder: RunFolder) -> None:
    """Move evaluations of other data than their set was made from to the unreadable files."""
    for id, record in list(records.evaluations.items()):
        of = records.condensations.get(record.condensation or "", record)
        for name in ("dataset", "dataset_fingerprint"):
            value, expected = getattr(record, name), getattr(of, name)
            if value != expected:
                fault = f"{name} is {brief(value)}; its condensation has {brief(expected)}"
                records.unreadable.append((folder.evaluation(id), fault))
                records.evaluations.pop(id, None)


def number(value: float | None) -> float:
    """Return a number of a record; NaN where it has none."""
    return math.nan if value is None else float(value)


# -- condensations -----------------------------------------------------------------------------


def _condensations(records: Records, old_code: bool) -> dict[str, Condensed]:
    every = records.condensations.values()
    newest, newest_of_code = _newest(every, _job), _newest(every, _job_and_code)
    code, kept_stale = _newest_code(records), _kept_stale(records)
    found = {}
    for id, record in _in_plan_order(records).items():
        earlier = newest[_job(record)] != id
        repeated = newest_of_code[_job_and_code(record)] != id
        edited = not record.from_file and code.get(record.method, record.code) != record.code
        found[id] = Condensed(
            record=record,
            entry=_entry_key(record),
            superseded=repeated if old_code else earlier,
            stale=record.stale or edited or id in kept_stale or (old_code and earlier),
        )
    return found


def _newest_code(records: Records) -> dict[str, str]:
    """Return the code of each method as the last run that planned it had it."""
    newest: dict[str, str] = {}
    for manifest in records.manifests:
        newest |= manifest.code
    return newest


def _kept_stale(records: Records) -> set[str]:
    """Return the condensations that runs kept although their method's code had changed.

    A later run that plans one again, because the code is what it was, takes the mark away.
    """
    kept: set[str] = set()
    for plan in (manifest.plan for manifest in records.manifests):
        kept = kept - set(plan.condensations) | set(plan.kept_stale)
    return kept


def _in_plan_order(records: Records) -> dict[str, CondensationRecord]:
    """Return the condensations as the plans had them; those of no plan follow."""
    planned = (id for manifest in records.manifests for id in manifest.plan.condensations)
    order = dict.fromkeys([*planned, *records.condensations])
    return {id: records.condensations[id] for id in order if id in records.condensations}


def _job(record: CondensationRecord) -> str:
    """Return what records of one job under different code share."""
    return record.options_id or record.id


def _job_and_code(record: CondensationRecord) -> tuple[object, ...]:
    """Return what records of one job under the same code share."""
    return _job(record), record.code, record.numerics, *sorted(record.extensions.items())


def _newest(
    records: Iterable[CondensationRecord], job: Callable[[CondensationRecord], object]
) -> dict[object, str]:
    """Return the id of the newest record of each job."""
    newest: dict[object, tuple[str, str]] = {}
    for record in records:
        name = job(record)
        newest[name] = max(newest.get(name, ("", "")), (record.ended, record.id))
    return {name: id for name, (_, id) in newest.items()}


def _entry_key(record: CondensationRecord) -> str:
    """Return the hash of all that the seeds of one table row share, the code included."""
    config = {k: v for k, v in record.config.items() if k != "seed"}
    names = ("row", "method", "code", "numerics", "dataset", "dataset_fingerprint", "architecture",
             "init", "ipc", "steps", "budget_s", "precision")  # fmt: skip
    values = {name: getattr(record, name) for name in names} | {"row": _bare(record.row)}
    return hash_of_values({"config": config, **values}, 12)


def _bare(row: str) -> str:
    """Return a row's name without the options that earlier versions wrote behind it."""
    return row.partition("[")[0]


# -- evaluations -------------------------------------------------------------------------------


def _evaluations(
    records: Mapping[str, EvaluationRecord], condensations: Mapping[str, Condensed]
) -> list[Evaluated]:
    found = []
    variants: dict[str, str] = {}  # many evaluations have few recipes
    for record in records.values():
        of = condensations.get(record.condensation or "")
        recipe = repr(record.recipe)
        variant = variants.get(recipe) or hash_of_values(record.recipe, 12)
        variants[recipe] = variant
        found.append(Evaluated(record, of, variant, stale=_is_stale(record, of)))
    newest = _newest_evaluations(found)
    return [
        Evaluated(
            one.record,
            one.of,
            one.variant,
            one.stale,
            current=not one.stale
            and not (one.of and one.of.superseded)
            and newest[_kind(one, one.done)] == (one.record.ended, one.record.id),
        )
        for one in found
    ]


def _is_stale(record: EvaluationRecord, of: Condensed | None) -> bool:
    if record.condensation is None:
        return False
    if of is None or of.record.status != DONE:
        return True
    # A snapshot's set is another than the final one, so its hash says nothing here.
    if record.snapshot is not None or record.status != DONE:
        return False
    return record.set_sha256 is None or record.set_sha256 != of.record.set_sha256


def _newest_evaluations(found: Iterable[Evaluated]) -> dict[tuple[object, ...], tuple[str, str]]:
    """Return the time and the id of the newest evaluation of each kind.

    Two of one kind share networks (each starts from the same weights), so only one may count. What
    was left undone gives way to anything newer, whatever its constants.
    """
    newest: dict[tuple[object, ...], tuple[str, str]] = {}
    for one in found:
        stamp = (one.record.ended, one.record.id)
        for kind in (_kind(one, True), _kind(one, False)):
            newest[kind] = max(newest.get(kind, ("", "")), stamp)
    return newest


def _kind(one: Evaluated, with_recipe: bool) -> tuple[object, ...]:
    record = one.record
    recipe = one.variant if with_recipe and not record.own_recipe else None
    return (
        with_recipe, recipe, record.condensation, record.snapshot, record.dataset,
        record.dataset_fingerprint, record.architecture, record.protocol, record.own_recipe,
        record.tested_on,
    )  # fmt: skip
