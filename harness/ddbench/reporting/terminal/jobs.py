"""One job in full: its record, its evaluations, and its curves drawn in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ddbench.reporting.terminal.chart import chart
from ddbench.reporting.terminal.tables import cell, print_json, print_table, stdout
from ddbench.store.run_folder import Records, RunError, RunFolder, read_run
from ddbench.text.suggestions import nearest

_FIRST = ("status", "reason", "row", "method", "source", "condensation", "snapshot", "dataset",
          "architecture", "protocol", "init", "ipc", "seed", "steps", "config", "reduced",
          "accuracies", "balanced_accuracies")  # fmt: skip
_APART = ("id", "schema", "kind", "traceback", "bibtex", "hardware")
_CURVES = 4  # drawn at most; --json has all


def show_job(folder: RunFolder, prefix: str, *, as_json: bool = False) -> None:
    """Print one job in full; a condensation with its evaluations and curves.

    Raises:
        RunError: No job's id begins so, or several do.
    """
    records = read_run(folder)
    record = find_job(records, prefix)
    evaluations = [r for r in records.evaluations.values() if r.get("condensation") == record["id"]]
    curve = _curve(folder, record["id"]) if record["kind"] == "condensation" else {}
    if as_json:
        print_json({**record, "curve": curve, "evaluations": evaluations})
        return
    _print_record(record)
    if evaluations:
        print_table([_evaluation_row(one) for one in evaluations], title="evaluations")
    _print_curves(curve)
    if record.get("traceback"):
        stdout().print(record["traceback"], soft_wrap=True)


def find_job(records: Records, prefix: str) -> dict[str, Any]:
    """Return the record whose id is `prefix` or begins with it.

    Ids of evaluations begin as those of condensations do, so one condensation that fits is the
    one that is meant.

    Raises:
        RunError: No job's id begins so, or several do.
    """
    jobs = {**records.condensations, **records.evaluations}
    fitting = [id for id in jobs if id == prefix] or [id for id in jobs if id.startswith(prefix)]
    condensations = [id for id in fitting if id in records.condensations]
    if len(fitting) == 1 or len(condensations) == 1:
        return jobs[(condensations or fitting)[0]]
    fitting = condensations or fitting
    if fitting:
        more = f" and {len(fitting) - 10} more" if len(fitting) > 10 else ""
        names = "\n  ".join(fitting[:10])
        raise RunError(f"{prefix}: {len(fitting)} jobs begin so; name one{more}:\n  {names}")
    near = nearest(prefix, jobs, most=3, cutoff=0.3)
    hint = "did you mean\n  " + "\n  ".join(near) if near else f"there are {len(jobs)} jobs"
    raise RunError(f"{prefix}: no job's id begins so; {hint}")


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
