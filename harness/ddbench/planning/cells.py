"""Rows crossed with datasets, architectures, ipc, inits, options and seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ddbench.contract.rows import Row
from ddbench.planning.blame import Blame
from ddbench.planning.draft import Draft
from ddbench.planning.registry import Where
from ddbench.planning.rows import PlannedRow
from ddbench.store.records import Skipped

Setting = tuple[str, str, Any]  # of `--set`: row or method, option, value


@dataclass(frozen=True)
class Cell:
    """A planned condensation, before its method has been asked about it.

    Attributes:
        planned: Its row.
        where: Its dataset, ipc and the canonical name of its architecture.
        architecture: The name of that as it is written in the choices or the preset.
        init: The init that it is to start from.
        seed: The seed.
        settings: What `--set` says of its options.
    """

    planned: PlannedRow
    where: Where
    architecture: str
    init: str
    seed: int
    settings: tuple[Setting, ...]

    @property
    def row(self) -> Row:
        """What the row says."""
        return self.planned.row

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.where.dataset

    @property
    def ipc(self) -> int:
        """Images per class."""
        return self.where.ipc


def cells_of(draft: Draft, planned: Iterable[PlannedRow]) -> list[Cell]:
    """Return the cells of some rows, without controls that are rows of the plan already."""
    kept: dict[object, Cell] = {}
    for row in planned:
        bare = row.row.model_copy(update={"seeds": None, "ipc": None, "init": None})
        alike = repr(replace(row, row=bare, control_of=None, places={}))
        for cell in _crossed(draft, row):
            place = cell.where, cell.architecture, cell.init, cell.seed, repr(cell.settings)
            kept.setdefault((alike, *place), cell)
    return list(kept.values())


def _crossed(draft: Draft, planned: PlannedRow) -> Iterator[Cell]:
    row, preset = planned.row, draft.preset
    seeds = row.seeds if row.seeds and draft.choices.seeds is None else preset.seeds
    settings = list(itertools.product(*_swept(draft, planned)))
    for dataset, architecture, ipc in itertools.product(
        draft.datasets, preset.architectures, row.ipc or preset.ipc
    ):
        fits = draft.fits.get((architecture, dataset), {})
        if "unknown" in fits:
            continue  # which is a problem of its own
        where = Where(dataset, fits.get("canonical", architecture), ipc)
        inits = _inits(draft, planned, where)
        for init, setting, seed in itertools.product(inits, settings, seeds):
            yield Cell(planned, where, architecture, init, seed, setting)


def _swept(draft: Draft, planned: PlannedRow) -> list[list[Setting]]:
    """Return for each option of the row that `--set` names the values that it takes in turn.

    The same option again widens its axis, by values that it has not yet.
    """
    row, method = planned.row, draft.method_of(planned.row)
    axes: dict[str, list[Setting]] = {}
    for name, option, values in draft.choices.settings:
        known = option in draft.info_of(row).get("options", [option])  # else it is a problem
        if name not in (row.method, method) or not known or option in planned.forced:
            continue
        axis = axes.setdefault(option, [])
        for value in values:
            if not any(_is_same(value, other) for _, _, other in axis):
                axis.append((name, option, value))
    return list(axes.values())


def _is_same(value: object, other: object) -> bool:
    """Return whether two values of an option are equal; 1 and 1.0 are, 1 and true are not."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _inits(draft: Draft, planned: PlannedRow, where: Where) -> tuple[str, ...]:
    """Return the inits of a row; `--init` does not apply to methods that cannot use it.

    Under `--published` it is the published one, unless a control says which.
    """
    row, choices, info = planned.row, draft.choices, draft.info_of(planned.row)
    name = row.init or draft.registry.table_value(row.method, "init", where)
    name = name or info.get("default_init", "real")
    if choices.published and "init" not in planned.places:
        published = draft.published_at(row, where).get("init", [name])
        name = name if name in published else published[0]
    if choices.inits is None:
        return (name,)
    fit = [init for init in choices.inits if init in (info.get("inits") or (init,))]
    return choices.inits if fit or choices.rows is not None else (name,)


def leave_out(draft: Draft, cell: Cell, reason: str, blame: Blame) -> None:
    """Leave a cell out of the plan; a mistake of the user becomes a problem of the plan."""
    if blame is Blame.USER:
        draft.problems.append(reason)
        return
    where = (cell.dataset, cell.architecture, cell.init, cell.ipc, cell.seed)
    given = {option: value for _, option, value in cell.settings}
    failed = blame is Blame.METHOD
    draft.plan.skipped.append(Skipped(cell.row.method, *where, reason, failed, options=given))
