"""One job in full: its record, its evaluations, and its curves drawn in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ddbench.reporting.terminal.chart import chart
from ddbench.reporting.terminal.tables import cell, print_json, print_table, stdout
from ddbench.store.job_names import find_job
from ddbench.store.records import FAILED, Result
from ddbench.store.run_folder import Records, RunError, RunFolder, read_run

_FIRST = ("status", "reason", "row", "method", "source", "condensation", "snapshot", "dataset",
          "architecture", "protocol", "init", "ipc", "seed", "steps", "config", "reduced",
          "accuracies", "balanced_accuracies")  # fmt: skip
_APART = ("id", "schema", "kind", "traceback", "bibtex", "hardware")
_CURVES = 4  # drawn at most; --json has all


Record = dict[str, Any]


def show_job(folder: RunFolder, prefix: str, *, as_json: bool = False) -> None:
    """Print one job in full; a condensation with its evaluations and curves.

    Raises:
        RunError: No job's id begins so, or several do.
    """
    records = read_run(folder)
    whole = _whole(folder, records, find_job(records, prefix))
    print_json(whole) if as_json else _print_whole(whole)


def show_last(folder: RunFolder, *, failed: bool = False, as_json: bool = False) -> None:
    """Print the job that ended last, or of those that have `failed`, in full.

    Raises:
        RunError: There is none.
    """
    records = read_run(folder)
    jobs = [r for r in _all(records) if r.status == FAILED or not failed]
    if not jobs:
        raise RunError(f"{folder.root}: no job has {'failed' if failed else 'ended'} yet")
    whole = _whole(folder, records, max(jobs, key=lambda job: _when(folder, job)))
    print_json(whole) if as_json else _print_whole(whole)


def show_failed(folder: RunFolder, *, as_json: bool = False) -> None:
    """Print every failed job in full; of those that failed for one reason the first."""
    records = read_run(folder)
    failed = sorted(
        (r for r in _all(records) if r.status == FAILED), key=lambda job: _when(folder, job)
    )
    if as_json:
        print_json([_whole(folder, records, record) for record in failed])
        return
    together: dict[Any, list[Result]] = {}
    for record in failed:
        together.setdefault((record.kind, record.reason), []).append(record)
    for first, *others in together.values():
        _print_whole(_whole(folder, records, first))
        if others:
            stdout().print("the same happened to", style="bold")
            print_table([{"id": other.id} for other in others])
    if not failed:
        stdout().print("no job has failed")


def _all(records: Records) -> list[Result]:
    return [*records.condensations.values(), *records.evaluations.values()]


def _when(folder: RunFolder, record: Result) -> float:
    """Return when a job ended: if its process was killed, when its record was written."""
    with suppress(ValueError):
        return datetime.fromisoformat(record.ended).timestamp()
    of_condensation = record.kind == "condensation"
    return (
        (folder.result(record.id) if of_condensation else folder.evaluation(record.id))
        .stat()
        .st_mtime
    )


def _whole(folder: RunFolder, records: Records, record: Result) -> Record:
    """Return all there is about a job: its record, curve and evaluations."""
    of = [one.record() for one in records.evaluations.values() if one.condensation == record.id]
    curve = _curve(folder, record.id) if record.kind == "condensation" else {}
    return {**record.record(), "curve": curve, "evaluations": of}


def _print_whole(whole: Record) -> None:
    record = {name: value for name, value in whole.items() if name not in ("curve", "evaluations")}
    _print_record(record)
    if rows := [_evaluation_row(one) for one in whole["evaluations"]]:
        if all(row["learning rate"] is None for row in rows):  # no protocol with a choice
            rows = [{k: v for k, v in row.items() if k != "learning rate"} for row in rows]
        print_table(rows, title="evaluations")
    _print_curves(whole["curve"])
    if record.get("traceback"):
        stdout().print(record["traceback"], soft_wrap=True)


def _print_record(record: Mapping[str, Any]) -> None:
    names = [name for name in (*_FIRST, *record) if name in record and name not in _APART]
    rows = []
    for name in dict.fromkeys(names):
        value = record[name]
        if name in ("costs", "measures", "artifacts", "whitening"):
            rows += _parts(name, value)
        elif name == "reduced":
            than = "default" if record.get("published") is False else "published"
            rows += [{"field": "reduced", "value": text} for text in _reduced(value, than)]
        elif value not in (None, "", [], {}):
            rows.append({"field": name, "value": cell(value)})
    print_table(rows, title=f"{record['kind']} {record['id']}")


def _reduced(value: Any, than: str) -> list[str]:  # noqa: ANN401
    """Return a line for each option that differs from what was published, or is the default."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    good = [(k, pair) for k, pair in pairs if isinstance(pair, list) and len(pair) == 2]
    return [f"{k} {cell(used)} ({than} {cell(published)})" for k, (used, published) in good]


def _parts(name: str, value: Any) -> list[dict[str, str]]:  # noqa: ANN401
    """Return a line for each number of a record inside the record."""
    if isinstance(value, Mapping):
        return [{"field": f"{name}.{k}", "value": cell(v)} for k, v in value.items()]
    items = value if isinstance(value, list) else []
    return [{"field": f"{name}[{n}]", "value": cell(item)} for n, item in enumerate(items)]


def _evaluation_row(record: Mapping[str, Any]) -> dict[str, Any]:
    accuracies = record.get("accuracies") or []
    at = record.get("snapshot")
    return {
        "architecture": record.get("architecture"),
        "protocol": record.get("protocol"),
        "recipe": "own" if record.get("own_recipe") else "common",
        "after step": "the last" if at is None else at,
        "accuracies %": [round(100 * a, 2) for a in accuracies if isinstance(a, int | float)]
        or f"{record['status']}: {record.get('reason')}",
        "learning rate": record.get("chosen_lr"),
        "id": record["id"],
    }


def _curve(folder: RunFolder, id: str) -> dict[str, list[float]]:
    """Return the columns of a condensation's curve."""
    from ddbench.reporting.leaderboard.curves import read_curve

    curve = read_curve(folder, id)
    return {str(name): [float(v) for v in curve[name]] for name in curve}


def _print_curves(curve: Mapping[str, Sequence[float]]) -> None:
    from ddbench.reporting.leaderboard.curves import NOT_METRICS

    out = stdout()
    width = max(20, min(72, out.width - 14))
    for name in [name for name in curve if name not in NOT_METRICS][:_CURVES]:
        steps = len(curve[name])
        out.print(f"{name} in {steps:,} {'step' if steps == 1 else 'steps'}", style="bold")
        for line in chart(curve[name], width):
            out.print(line)
