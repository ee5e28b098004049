"""Turn the records of a run folder into tidy frames, and set aside those that do not hold."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ddbench.results import DONE, Records, RunFolder

Record = dict[str, Any]

_TEXT, _WHOLE, _SHARES = "text", "a whole number", "numbers"
_CONDENSATION_FIELDS = {
    "row": _TEXT,
    "method": _TEXT,
    "dataset": _TEXT,
    "architecture": _TEXT,
    "init": _TEXT,
    "ipc": _WHOLE,
    "seed": _WHOLE,
}
_EVALUATION_FIELDS = {"dataset": _TEXT, "architecture": _TEXT, "protocol": _TEXT}
_SCORE_FIELDS = {"accuracies": _SHARES, "train_s": _SHARES, "test_s": _SHARES}

_COSTS = (
    "init_s",
    "condense_s",
    "export_s",
    "artifact_s",
    "waited_s",
    "flops_condense",
    "flops_artifact",
    "peak_memory",
    "bytes",
    "steps_done",
)


def set_aside(records: Records, folder: RunFolder) -> None:
    """Move records that lack what a table needs to the unreadable files; they stay on disk."""
    kinds: tuple[tuple[dict[str, Record], Callable[[str], Path], Callable[[Record], str]], ...] = (
        (records.condensations, folder.result, _fault_of_condensation),
        (records.evaluations, folder.evaluation, _fault_of_evaluation),
    )
    for found, path, fault_of in kinds:
        for id, record in list(found.items()):
            fault = fault_of(record)
            if fault:
                records.unreadable.append((path(id), fault))
                del found[id]


def _fault_of_condensation(record: Record) -> str:
    fault = _fault(record, _CONDENSATION_FIELDS)
    if fault or record["status"] != DONE:
        return fault
    return _fault_of_mappings(record, ("config", "costs"))


def _fault_of_evaluation(record: Record) -> str:
    fault = _fault(record, _EVALUATION_FIELDS)
    if fault or record["status"] != DONE:
        return fault
    return _fault(record, _SCORE_FIELDS) or _fault_of_mappings(record, ("recipe",))


def _fault(record: Record, fields: Mapping[str, str]) -> str:
    for name, kind in fields.items():
        value = record.get(name)
        right = {
            _TEXT: isinstance(value, str),
            _WHOLE: isinstance(value, int) and not isinstance(value, bool),
            _SHARES: _is_numbers(value),
        }
        if not right[kind]:
            return f"{name} is {_short(value)}; expected {kind}"
    return ""


def _fault_of_mappings(record: Record, names: Iterable[str]) -> str:
    for name in names:
        if not isinstance(record.get(name), dict):
            return f"{name} is {_short(record.get(name))}; expected an object"
    return ""


def _is_numbers(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(x, int | float) and math.isfinite(x) for x in value)
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


# -- condensations -----------------------------------------------------------------------------


def condensation_frame(records: Mapping[str, Record]) -> pd.DataFrame:
    """Return one row a condensation: its place, its costs, and `entry`, shared by its seeds."""
    newest = _newest(records.values())
    rows = [
        _condensation_row(record) | {"superseded": newest[_options(record)] != record["id"]}
        for record in records.values()
    ]
    columns = list(_condensation_row(_EMPTY)) + ["superseded"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


_EMPTY: Record = {"id": "", "status": "", "row": "", "method": "", "dataset": "", "ipc": 0, "seed": 0,
                  "architecture": "", "init": ""}  # fmt: skip


def _options(record: Record) -> str:
    """Return what records of one job under different code share."""
    return str(record.get("options_id") or record["id"])


def _newest(records: Iterable[Record]) -> dict[str, str]:
    """Return the id of the newest record of each job, whatever its code was."""
    newest: dict[str, tuple[str, str]] = {}
    for record in records:
        at = (str(record.get("ended", "")), record["id"])
        if at > newest.get(_options(record), ("", "")):
            newest[_options(record)] = at
    return {options: id for options, (_, id) in newest.items()}


def _condensation_row(record: Record) -> dict[str, Any]:
    costs = record.get("costs") or {}
    measured = {name: _number(costs.get(name)) for name in _COSTS}
    own = [measured[name] for name in ("init_s", "condense_s", "export_s")]
    return {
        "id": record["id"],
        "entry": entry_key(record),
        "status": record["status"],
        "reason": record.get("reason"),
        "row": record["row"],
        "method": record["method"],
        "source": record.get("source", ""),
        "code": record.get("code", ""),
        "dataset": record["dataset"],
        "fingerprint": str(record.get("dataset_fingerprint", "")),
        "architecture": record["architecture"],
        "init": record["init"],
        "ipc": record["ipc"],
        "seed": record["seed"],
        "config": record.get("config") or {},
        "steps": record.get("steps"),
        "budget_s": record.get("budget_s"),
        "control_of": record.get("control_of"),
        "reduced": record.get("reduced") or {},
        "labels": record.get("labels", "hard"),
        "stale": bool(record.get("stale")),
        "chose_on_split": bool(record.get("chose_on_split")),
        "own_s": sum(own),
        **measured,
        "lower_bound": bool(costs.get("flops_lower_bound")),
        "images": _number(record.get("images")),
        "missing_classes": record.get("missing_classes") or [],
        "measures": record.get("measures") or {},
        "hardware_class": record.get("hardware_class") or "unknown",
        "set_sha256": record.get("set_sha256"),
        "ended": str(record.get("ended", "")),
    }


def entry_key(record: Record) -> str:
    """Return the hash of all that the seeds of one table row share."""
    config = {k: v for k, v in (record.get("config") or {}).items() if k != "seed"}
    names = ("row", "method", "code", "numerics", "dataset", "dataset_fingerprint", "architecture",
             "init", "ipc", "steps", "budget_s", "precision")  # fmt: skip
    return digest({"config": config, **{name: record.get(name) for name in names}})


def digest(value: object) -> str:
    """Return a short hash of plain values, the same whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _number(value: object) -> float:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if right else math.nan  # type: ignore[arg-type]


# -- evaluations -------------------------------------------------------------------------------


def evaluation_frame(records: Mapping[str, Record], condensations: pd.DataFrame) -> pd.DataFrame:
    """Return one row an evaluation, with the place of the condensation that it evaluates.

    `stale` marks evaluations of a set that has been condensed again since, or is not there.
    """
    rows = [_evaluation_row(record) for record in records.values()]
    columns = list(_evaluation_row({"id": "", "status": "", **dict.fromkeys(_EVALUATION_FIELDS)}))
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    place = condensations.set_index("id")[
        ["entry", "ipc", "seed", "superseded", "set_sha256", "status"]
    ]
    place.columns = ["entry", "ipc", "seed", "superseded", "sha256_now", "condensation_status"]
    frame = frame.join(place, on="condensation")
    of_set = frame["condensation"].notna()
    gone = frame["condensation_status"] != DONE
    # A snapshot's set is another than the final one, so its hash says nothing here.
    changed = frame["snapshot"].isna() & (frame["set_sha256"] != frame["sha256_now"])
    frame["stale"] = of_set & (gone | (changed & (frame["status"] == DONE)))
    frame["superseded"] = frame["superseded"].eq(True)
    return frame.drop(columns=["sha256_now", "condensation_status"])


def _evaluation_row(record: Record) -> dict[str, Any]:
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
        "recipe": record.get("recipe") or {},
        "own_recipe": bool(record.get("own_recipe")),
        "labels": record.get("labels", "hard"),
        "planned_networks": record.get("networks"),
        "flops_train": _number(record.get("flops_train")),
        "lower_bound": bool(record.get("flops_lower_bound")),
        "forward_macs": _number(record.get("forward_macs")),
        "n_test": _number(record.get("n_test")),
        "images": _number(record.get("images")),
        "chance": _number(record.get("chance")),
        "majority": _number(record.get("majority")),
        "class_counts_test": record.get("class_counts_test") or [],
        "peak_memory": _number(record.get("peak_memory")),
        "hardware_class": record.get("hardware_class") or "unknown",
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
    columns = ["evaluation", "network", "accuracy", "balanced_accuracy", "train_s", "test_s"]
    frame = pd.DataFrame(rows, columns=columns)
    place = evaluations.set_index("id")[
        ["entry", "condensation", "snapshot", "dataset", "fingerprint", "architecture", "protocol",
         "own_recipe", "ipc", "seed", "hardware_class", "stale", "superseded"]
    ]  # fmt: skip
    return frame.join(place, on="evaluation")


def _scores(record: Record) -> list[dict[str, float]]:
    balanced = record.get("balanced_accuracies")
    n = len(record["accuracies"])
    columns = {
        "accuracy": record["accuracies"],
        "balanced_accuracy": balanced if _is_numbers(balanced) else [math.nan] * n,
        "train_s": record["train_s"],
        "test_s": record["test_s"],
    }
    return [
        {name: _number(values[k]) if k < len(values) else math.nan for name, values in columns.items()}
        for k in range(n)
    ]
