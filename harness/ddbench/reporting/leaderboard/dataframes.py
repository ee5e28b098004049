"""Turn the records of a run folder into tidy frames, and set aside those that do not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ddbench.store.hashing import hash_of_values
from ddbench.store.run_folder import DONE, TEST, VALIDATION, Records, RunFolder
from ddbench.text.lines import brief

Record = dict[str, Any]
_FaultOf = Callable[[Record], str]

UNKNOWN = "unknown hardware"
_LARGEST = 1e30  # of any quantity: sums and ratios of such numbers stay finite
_TEXT, _WHOLE, _OBJECT = "text", "a whole number", "an object"
_COUNT, _SHARES, _NUMBERS = "a number above 0", "a list of numbers from 0 to 1", "a list of numbers"
_COUNTS, _NAME = "a list of whole numbers", "text, or null"
_CONDENSATION_FIELDS = {
    "row": _TEXT,
    "method": _TEXT,
    "dataset": _TEXT,
    "architecture": _TEXT,
    "init": _TEXT,
    "ipc": _COUNT,
    "seed": _WHOLE,
    "dataset_fingerprint": _NAME,
    "control_of": _NAME,
}
_SET_FIELDS = {"config": _OBJECT, "costs": _OBJECT, "set_sha256": _NAME}
_EVALUATION_FIELDS = {
    "dataset": _TEXT,
    "architecture": _TEXT,
    "protocol": _TEXT,
    "dataset_fingerprint": _NAME,
    "set_sha256": _NAME,
}
_SCORE_FIELDS = {
    "recipe": _OBJECT,
    "accuracies": _SHARES,
    "train_s": _NUMBERS,
    "test_s": _NUMBERS,
    "n_test": _COUNT,
    "class_counts_test": _COUNTS,
}
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
        code = _typed(manifest.get("code"), dict)
        newest |= {method: one for method, one in code.items() if isinstance(one, str)}
    return newest


def _kept_stale(records: Records) -> set[str]:
    """Return the condensations that runs kept although their method's code had changed.

    A later run that plans one again, because the code is what it was, takes the mark away.
    """
    kept: set[str] = set()
    for manifest in records.manifests:
        plan = _typed(manifest.get("plan"), dict)
        planned, stale = (
            {id for id in _typed(plan.get(name), list) if isinstance(id, str)}
            for name in ("condensations", "kept_stale")
        )
        kept = kept - planned | stale
    return kept


def _in_plan_order(records: Records) -> dict[str, Record]:
    """Return the condensations as the plans had them; those of no plan follow."""
    planned: dict[str, None] = {}
    for manifest in records.manifests:
        plan = manifest.get("plan")
        ids = plan.get("condensations") if isinstance(plan, dict) else None
        planned.update(dict.fromkeys(id for id in _typed(ids, list) if isinstance(id, str)))
    order = dict.fromkeys([*planned, *records.condensations])
    return {id: records.condensations[id] for id in order if id in records.condensations}


# -- what does not hold ------------------------------------------------------------------------


def set_aside(records: Records, folder: RunFolder) -> None:
    """Move records that lack what a table needs to the unreadable files; they stay on disk."""

    def sift(found: dict[str, Record], path: Callable[[str], Path], fault_of: _FaultOf) -> None:
        for id, record in list(found.items()):
            fault = fault_of(record)
            if fault:
                records.unreadable.append((path(id), fault))
                del found[id]

    sift(records.condensations, folder.result, _fault_of_condensation)
    sift(records.evaluations, folder.evaluation, _fault_of_evaluation)
    # Only now: what is compared must be of the right kind on both sides.
    sets = records.condensations
    sift(records.evaluations, folder.evaluation, lambda record: _misplaced(record, sets))


def _fault_of_condensation(record: Record) -> str:
    more = _SET_FIELDS if record["status"] == DONE else {}
    return _fault(record, _CONDENSATION_FIELDS | more)


def _fault_of_evaluation(record: Record) -> str:
    more = _SCORE_FIELDS if record["status"] == DONE else {}
    return _fault(record, _EVALUATION_FIELDS | more)


def _misplaced(record: Record, sets: Mapping[str, Record]) -> str:
    """Say where an evaluation claims other data than the set that it is of was made from."""
    of = sets.get(str(record.get("condensation")), record)
    for name in ("dataset", "dataset_fingerprint"):
        if of.get(name) != record.get(name):
            return (
                f"{name} is {brief(record.get(name))}; its condensation has {brief(of.get(name))}"
            )
    return ""


def _fault(record: Record, fields: Mapping[str, str]) -> str:
    for name, kind in fields.items():
        if not _RIGHT[kind](record.get(name)):
            return f"{name} is {brief(record.get(name))}; expected {kind}"
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_number(x) == x for x in value)


def _is_shares(value: object) -> bool:
    return _is_numbers(value) and isinstance(value, list) and all(0 <= x <= 1 for x in value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_RIGHT: Mapping[str, Callable[[object], bool]] = {
    _TEXT: _is_text,
    _NAME: lambda value: value is None or _is_text(value),
    _WHOLE: _is_whole,
    _COUNT: lambda value: _is_whole(value) and value > 0,  # type: ignore[operator]
    _NUMBERS: _is_numbers,
    _SHARES: _is_shares,
    _COUNTS: lambda value: isinstance(value, list) and all(map(_is_whole, value)),
    _OBJECT: _is_object,
}


# -- condensations -----------------------------------------------------------------------------


def condensation_frame(records: Mapping[str, Record], old_code: bool = False) -> pd.DataFrame:
    """Return one row a condensation: its place, its costs, and `entry`, shared by its seeds."""
    newest = _newest(records.values(), _options)
    newest_of_code = _newest(records.values(), _options_and_code)
    rows = []
    for record in records.values():
        row = _condensation_row(record)
        earlier = newest[_options(record)] != record["id"]
        repeated = newest_of_code[_options_and_code(record)] != record["id"]
        row["superseded"] = repeated if old_code else earlier
        row["stale"] |= old_code and earlier
        rows.append(row)
    empty = dict.fromkeys(["id", "status", *_CONDENSATION_FIELDS])
    columns = [*_condensation_row(empty), "superseded"]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    return frame.astype({"superseded": bool, **dict.fromkeys([*_COSTS, "own_s"], float)})


def _options(record: Record) -> str:
    """Return what records of one job under different code share."""
    return str(record.get("options_id") or record["id"])


def _options_and_code(record: Record) -> str:
    """Return what records of one job under the same code share."""
    code = {name: record.get(name) for name in ("code", "numerics", "extensions")}
    return hash_of_values({"options": _options(record), **code}, 12)


def _newest(records: Iterable[Record], job: Callable[[Record], str]) -> dict[str, str]:
    """Return the id of the newest record of each job."""
    newest: dict[str, tuple[str, str]] = {}
    for record in records:
        at = (str(record.get("ended", "")), record["id"])
        if at > newest.get(job(record), ("", "")):
            newest[job(record)] = at
    return {name: id for name, (_, id) in newest.items()}


def _condensation_row(record: Record) -> dict[str, Any]:
    costs = _typed(record.get("costs"), dict)
    measured = {name: _number(costs.get(name)) for name in _COSTS}
    return {
        "id": record["id"],
        "entry": entry_key(record),
        "status": record["status"],
        "reason": record.get("reason"),
        "row": _bare(record["row"]),
        "method": record["method"],
        "source": str(record.get("source", "")),
        "code": str(record.get("code", "")),
        "dataset": record["dataset"],
        "fingerprint": str(record.get("dataset_fingerprint", "")),
        "architecture": record["architecture"],
        "init": record["init"],
        "ipc": record["ipc"],
        "seed": record["seed"],
        "config": _typed(record.get("config"), dict),
        "steps": record.get("steps"),
        "step_unit": str(record.get("step_unit") or "step"),
        "budget_s": _number(record.get("budget_s")),
        "control_of": _bare(record.get("control_of")),
        "reduced": _pairs(record.get("reduced")),
        "published": record.get("published") is not False,
        "quick": bool(record.get("quick")),
        "labels": record.get("labels", "hard"),
        "stale": bool(record.get("stale")),
        "chose_on_split": bool(record.get("chose_on_split")),
        "own_s": measured["init_s"] + measured["condense_s"] + measured["export_s"],
        **measured,
        "lower_bound": bool(costs.get("flops_lower_bound")) or _all_uncounted(measured),
        "images": _number(record.get("images")),
        "missing_classes": _typed(record.get("missing_classes"), list),
        "measures": _typed(record.get("measures"), dict),
        "artifacts": [one for one in _typed(record.get("artifacts"), list) if _is_object(one)],
        "hardware_class": str(record.get("hardware_class") or UNKNOWN),
        "set_sha256": record.get("set_sha256"),
        "paper": str(record.get("paper") or ""),
        "bibtex": str(record.get("bibtex") or ""),
        "ended": str(record.get("ended", "")),
    }


def _all_uncounted(measured: Mapping[str, float]) -> bool:
    """Whether steps were taken without one counted operation: all their work is of other kinds."""
    return measured["flops_condense"] == 0 and measured["steps_done"] > 0


def entry_key(record: Record) -> str:
    """Return the hash of all that the seeds of one table row share, the code included."""
    config = {k: v for k, v in _typed(record.get("config"), dict).items() if k != "seed"}
    names = ("row", "method", "code", "numerics", "dataset", "dataset_fingerprint", "architecture",
             "init", "ipc", "steps", "budget_s", "precision")  # fmt: skip
    values = {name: record.get(name) for name in names} | {"row": _bare(record["row"])}
    return hash_of_values({"config": config, **values}, 12)


def _bare(row: Any) -> Any:  # noqa: ANN401
    """Return a row's name without the options that earlier versions wrote behind it."""
    return row.partition("[")[0] if isinstance(row, str) else row


def _number(value: object) -> float:
    """Return a number that can have been measured, or NaN."""
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if right and abs(value) <= _LARGEST else math.nan  # type: ignore


def _typed(value: Any, kind: type) -> Any:  # noqa: ANN401
    """Return the value if it is of its kind, else an empty one."""
    return value if isinstance(value, kind) else kind()


def _pairs(reduced: object) -> dict[str, Sequence[Any]]:
    """Return option -> [used, published]."""
    pairs = _typed(reduced, dict).items()
    return {str(k): v for k, v in pairs if isinstance(v, list) and len(v) == 2}


# -- evaluations -------------------------------------------------------------------------------


def evaluation_frame(records: Mapping[str, Record], condensations: pd.DataFrame) -> pd.DataFrame:
    """Return one row an evaluation, with the place of the condensation that it evaluates.

    `stale` marks evaluations of a set that has been condensed again since, or is not there.
    """
    rows = [_evaluation_row(record) for record in records.values()]
    columns = list(_evaluation_row(dict.fromkeys(["id", "status", *_EVALUATION_FIELDS])))
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
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
    numbers = ("flops_train", "forward_macs", "n_test", "images", "chance", "majority")
    frame = frame.drop(columns=["sha256_now", "status_now"])
    return frame.astype({"own_recipe": bool, **dict.fromkeys(numbers, float)})


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


def _evaluation_row(record: Record) -> dict[str, Any]:
    recipe = _typed(record.get("recipe"), dict)
    return {
        "id": record["id"],
        "status": record["status"],
        "reason": record.get("reason"),
        "condensation": record.get("condensation"),
        "snapshot": record.get("snapshot"),
        "dataset": record["dataset"],
        "fingerprint": str(record.get("dataset_fingerprint", "")),
        "architecture": record["architecture"],
        "protocol": record["protocol"],
        "recipe": recipe,
        "variant": hash_of_values(recipe, 12),
        "own_recipe": bool(record.get("own_recipe")),
        "tested_on": VALIDATION if record.get("tested_on") == VALIDATION else TEST,
        "validation": str(record.get("validation") or ""),
        "labels": record.get("labels", "hard"),
        "flops_train": _number(record.get("flops_train")),
        "lower_bound": bool(record.get("flops_lower_bound")),
        "forward_macs": _number(record.get("forward_macs")),
        "n_test": _number(record.get("n_test")),
        "images": _number(record.get("images")),
        "chance": _number(record.get("chance")),
        "majority": _number(record.get("majority")),
        "class_counts_test": _typed(record.get("class_counts_test"), list),
        "class_names": [str(name) for name in _typed(record.get("class_names"), list)],
        "data_notes": str(record.get("data_notes") or ""),
        "train_counts": [n for n in _typed(record.get("train_counts"), list) if _is_whole(n)],
        "hardware_class": str(record.get("hardware_class") or UNKNOWN),
        "set_sha256": record.get("set_sha256"),
        "ended": str(record.get("ended", "")),
    }


def network_frame(records: Mapping[str, Record], evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return one row an evaluation network: its accuracy, times, and where it belongs."""
    rows = [
        {"evaluation": record["id"], "network": k, **scores}
        for record in records.values()
        if record["status"] == DONE
        for k, scores in enumerate(_scores(record))
    ]
    scores = ["accuracy", "balanced_accuracy", "train_s", "test_s"]
    frame = pd.DataFrame(rows, columns=["evaluation", "network", *scores])
    frame = frame.astype(dict.fromkeys(scores, float))
    place = evaluations.set_index("id")[
        ["condensation", "entry", "snapshot", "dataset", "architecture", "protocol", "own_recipe",
         "ipc", "seed", "hardware_class", "current"]
    ]  # fmt: skip
    return frame.join(place, on="evaluation")


def _scores(record: Record) -> list[dict[str, float]]:
    balanced, n = record.get("balanced_accuracies"), len(record["accuracies"])
    columns = {
        "accuracy": record["accuracies"],
        "balanced_accuracy": balanced if _is_numbers(balanced) else [],
        "train_s": record["train_s"],
        "test_s": record["test_s"],
    }
    return [
        {name: _number(values[k]) if k < len(values) else math.nan
         for name, values in columns.items()}
        for k in range(n)
    ]  # fmt: skip
