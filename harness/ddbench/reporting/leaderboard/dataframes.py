"""Turn the records of a run folder into tidy frames, and set aside those that do not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pandas as pd

from ddbench.store.hashing import hash_of_values
from ddbench.store.records import DONE, CondensationRecord, EvaluationRecord
from ddbench.store.run_folder import Records, RunFolder
from ddbench.text.lines import brief

UNKNOWN = "unknown hardware"
_COSTS = (
    "init_s",
    "condense_s",
    "export_s",
    "artifact_s",
    "waited_s",
    "flops_condense",
    "flops_init",
    "flops_export",
    "flops_artifact",
    "peak_memory",
    "bytes",
    "steps_done",
)


@dataclass(frozen=True)
class Frames:
    """A run folder as tables.

    Attributes:
        condensations: One row each; `entry` is shared by the seeds of one table row, and
            `superseded` says that other code has done the same job again since.
        evaluations: One row each; `current` says whether it counts: newest of its kind, and of a
            set that still is what it was.
        networks: One row for each network of an evaluation that is done.
    """

    condensations: pd.DataFrame
    evaluations: pd.DataFrame
    networks: pd.DataFrame

    def of(self, evaluations: pd.DataFrame) -> Frames:
        """Return the frames with only these evaluations and their networks, quicker to search."""
        networks = self.networks["evaluation"].isin(evaluations["id"])
        return Frames(self.condensations, evaluations, self.networks[networks])


def make_frames(records: Records, old_code: bool = False) -> Frames:
    """Return the frames of records that `set_aside` has gone over, in the order of the plans.

    With `old_code` nothing is superseded by what other code has done since.
    """
    condensations = condensation_frame(_in_plan_order(records), old_code)
    newest = _newest_code(records)
    made_by = condensations[["id", "method", "code"]].itertuples(index=False, name=None)
    stale = {id for id, method, code in made_by if newest.get(method, code) != code}
    condensations["stale"] |= condensations["id"].isin(stale | _kept_stale(records))
    evaluations = evaluation_frame(records.evaluations, condensations)
    return Frames(condensations, evaluations, network_frame(records.evaluations, evaluations))


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


# -- what does not hold ------------------------------------------------------------------------


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


# -- condensations -----------------------------------------------------------------------------


def condensation_frame(
    records: Mapping[str, CondensationRecord], old_code: bool = False
) -> pd.DataFrame:
    """Return one row a condensation: its place, its costs, and `entry`, shared by its seeds."""
    newest = _newest(records.values(), _options)
    newest_of_code = _newest(records.values(), _options_and_code)
    rows = []
    for record in records.values():
        row = _condensation_row(record)
        earlier = newest[_options(record)] != record.id
        repeated = newest_of_code[_options_and_code(record)] != record.id
        row["superseded"] = repeated if old_code else earlier
        row["stale"] |= old_code and earlier
        rows.append(row)
    frame = pd.DataFrame(rows, columns=_CONDENSATION_COLUMNS, dtype=object)
    return frame.astype({"superseded": bool, **dict.fromkeys([*_COSTS, "own_s"], float)})


def _options(record: CondensationRecord) -> str:
    """Return what records of one job under different code share."""
    return record.options_id or record.id


def _options_and_code(record: CondensationRecord) -> str:
    """Return what records of one job under the same code share."""
    code = {name: getattr(record, name) for name in ("code", "numerics", "extensions")}
    return hash_of_values({"options": _options(record), **code}, 12)


def _newest(
    records: Iterable[CondensationRecord], job: Callable[[CondensationRecord], str]
) -> dict[str, str]:
    """Return the id of the newest record of each job."""
    newest: dict[str, tuple[str, str]] = {}
    for record in records:
        name = job(record)
        newest[name] = max(newest.get(name, ("", "")), (record.ended, record.id))
    return {name: id for name, (_, id) in newest.items()}


def _condensation_row(record: CondensationRecord) -> dict[str, Any]:
    measured = {name: _number(getattr(record.costs, name, None)) for name in _COSTS}
    uncounted = measured["flops_condense"] == 0 and measured["steps_done"] > 0
    return {
        **{name: getattr(record, name) for name in _AS_RECORDED},
        "entry": entry_key(record),
        "row": _bare(record.row),
        "control_of": record.control_of and _bare(record.control_of),
        "fingerprint": record.dataset_fingerprint,
        "step_unit": record.step_unit or "step",
        "budget_s": _number(record.budget_s),
        "own_s": measured["init_s"] + measured["condense_s"] + measured["export_s"],
        **measured,
        # Steps without one counted operation: all their work is of other kinds.
        "lower_bound": uncounted or (record.costs is not None and record.costs.flops_lower_bound),
        "images": _number(record.images),
        "artifacts": [vars(artifact) for artifact in record.artifacts],
        "hardware_class": record.hardware_class or UNKNOWN,
    }


_AS_RECORDED = (
    "id", "status", "reason", "method", "source", "code", "dataset", "architecture", "init",
    "ipc", "seed", "config", "steps", "reduced", "published", "quick", "labels",
    "stale", "chose_on_split", "missing_classes", "measures", "set_sha256", "paper", "bibtex",
    "ended",
)  # fmt: skip
_CONDENSATION_COLUMNS = [
    *_AS_RECORDED, "row", "control_of", "entry", "fingerprint", "step_unit", "budget_s", "own_s",
    *_COSTS, "lower_bound", "images", "artifacts", "hardware_class", "superseded",
]  # fmt: skip


def entry_key(record: CondensationRecord) -> str:
    """Return the hash of all that the seeds of one table row share, the code included."""
    config = {k: v for k, v in record.config.items() if k != "seed"}
    names = ("row", "method", "code", "numerics", "dataset", "dataset_fingerprint", "architecture",
             "init", "ipc", "steps", "budget_s", "precision")  # fmt: skip
    values = {name: getattr(record, name) for name in names} | {"row": _bare(record.row)}
    return hash_of_values({"config": config, **values}, 12)


def _bare(row: str) -> str:
    """Return a row's name without the options that earlier versions wrote behind it."""
    return row.partition("[")[0]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


# -- evaluations -------------------------------------------------------------------------------


def evaluation_frame(
    records: Mapping[str, EvaluationRecord], condensations: pd.DataFrame
) -> pd.DataFrame:
    """Return one row an evaluation, with the place of the condensation that it evaluates.

    `stale` marks evaluations of a set that has been condensed again since, or is not there.
    """
    rows = [_evaluation_row(record) for record in records.values()]
    frame = pd.DataFrame(rows, columns=_EVALUATION_COLUMNS, dtype=object)
    place = condensations.set_index("id")[
        ["entry", "ipc", "seed", "superseded", "set_sha256", "status"]
    ]
    place.columns = pd.Index(["entry", "ipc", "seed", "superseded", "sha256_now", "status_now"])
    frame = frame.join(place, on="condensation")
    of_set = frame["condensation"].notna()
    gone = frame["status_now"] != DONE
    # A snapshot's set is another than the final one, so its hash says nothing here.
    changed = frame["snapshot"].isna() & (frame["set_sha256"] != frame["sha256_now"])
    frame["stale"] = of_set & (gone | (changed & (frame["status"] == DONE)))
    frame["superseded"] = frame["superseded"].eq(True)
    frame["current"] = ~frame["stale"] & ~frame["superseded"] & _is_newest(frame)
    frame = frame.drop(columns=["sha256_now", "status_now"])
    return frame.astype({"own_recipe": bool, **dict.fromkeys(_EVALUATION_NUMBERS, float)})


def _is_newest(frame: pd.DataFrame) -> pd.Series:
    """Say of each evaluation whether it is the newest of what it evaluates, and how.

    Two of one kind share networks (each starts from the same weights), so only one may count. What
    was left undone gives way to anything newer, whatever its constants.
    """
    kind = ["condensation", "snapshot", "dataset", "fingerprint", "architecture", "protocol",
            "own_recipe", "tested_on"]  # fmt: skip
    variant = frame["variant"].where(~frame["own_recipe"].astype(bool), "")
    keys = [frame[name].astype(object).where(frame[name].notna(), "") for name in kind]
    stamp = frame["ended"] + frame["id"]
    newest = stamp.groupby([*keys, variant]).transform("max")
    newest_of_all = stamp.groupby(keys).transform("max")
    return stamp == newest.where(frame["status"] == DONE, newest_of_all)


def _evaluation_row(record: EvaluationRecord) -> dict[str, Any]:
    return {
        **{name: getattr(record, name) for name in _EVALUATION_AS_RECORDED},
        **{name: _number(getattr(record, name)) for name in _EVALUATION_NUMBERS},
        "fingerprint": record.dataset_fingerprint,
        "variant": hash_of_values(record.recipe, 12),
        "lower_bound": record.flops_lower_bound,
        "hardware_class": record.hardware_class or UNKNOWN,
    }


_EVALUATION_AS_RECORDED = (
    "id", "status", "reason", "condensation", "snapshot", "dataset", "architecture", "protocol",
    "recipe", "own_recipe", "tested_on", "validation", "labels", "class_counts_test",
    "class_names", "data_notes", "train_counts", "set_sha256", "ended",
)  # fmt: skip
_EVALUATION_NUMBERS = ("flops_train", "forward_macs", "n_test", "images", "chance", "majority")
_EVALUATION_COLUMNS = [
    *_EVALUATION_AS_RECORDED, *_EVALUATION_NUMBERS, "fingerprint", "variant", "lower_bound",
    "hardware_class",
]  # fmt: skip


def network_frame(
    records: Mapping[str, EvaluationRecord], evaluations: pd.DataFrame
) -> pd.DataFrame:
    """Return one row an evaluation network: its accuracy, times, and where it belongs."""
    rows = [
        (record.id, k, *scores)
        for record in records.values()
        if record.status == DONE
        for k, scores in enumerate(
            zip_longest(
                record.accuracies, record.balanced_accuracies, record.train_s, record.test_s,
                fillvalue=math.nan,
            )
        )
    ]  # fmt: skip
    scores = ["accuracy", "balanced_accuracy", "train_s", "test_s"]
    frame = pd.DataFrame(rows, columns=["evaluation", "network", *scores])
    frame = frame.astype(dict.fromkeys(scores, float))
    place = evaluations.set_index("id")[
        ["condensation", "entry", "snapshot", "dataset", "architecture", "protocol", "own_recipe",
         "ipc", "seed", "hardware_class", "current"]
    ]  # fmt: skip
    return frame.join(place, on="evaluation")
