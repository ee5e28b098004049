"""What a plan costs, in the terminal: a line for each row, the total, and what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ddbench.reporting.terminal.tables import print_table
from ddbench.text import number_format
from ddbench.text.number_format import duration, several, size

if TYPE_CHECKING:
    from ddbench.execution.costs import Cost, Costs, Proposal

WIDEST = 100


def costs_record(costs: Costs, proposals: Sequence[Proposal] = ()) -> dict[str, Any]:
    """Return the costs of a plan as plain data: bytes, seconds, FLOPs; null is not known."""
    return {
        "rows": [asdict(row) for row in costs.rows],
        "total": {
            "flops": sum(row.flops or 0 for row in costs.rows),
            "seconds": costs.run_s,
            "jobs_at_once": costs.machine.jobs_at_once,
            "memory": max((row.memory or 0 for row in costs.rows), default=0) or None,
            "memory_limit": costs.memory_limit,
            "disk": sum(row.disk or 0 for row in costs.rows),
            "disk_free": costs.disk_free,
        },
        "device": costs.machine.device,
        "rates": dict(costs.machine.rates),
        "leave_out": [asdict(one) for one in proposals],
    }


def print_costs(costs: Costs) -> None:
    """Print a table of the rows' costs."""
    rows = [_row(row) for row in costs.rows]
    print_table(
        rows, title="costs", right=("jobs", "FLOPs", "time", "memory", "disk"),
        droppable=("known from", "disk"), widest=WIDEST,
    )  # fmt: skip


def _row(row: Cost) -> dict[str, Any]:
    flops = number_format.NOTHING if row.flops is None else number_format.count(row.flops)
    return {
        "what": row.kind,
        "row": row.row + (f": {row.why}" if row.why else ""),
        "jobs": row.jobs,
        "FLOPs": ("≥ " if row.lower_bound else "") + flops,
        "time": number_format.NOTHING if row.seconds is None else duration(row.seconds),
        "memory": number_format.NOTHING if row.memory is None else size(row.memory),
        "disk": number_format.NOTHING if row.disk is None else size(row.disk),
        "known from": row.basis,
    }


def cost_lines(
    costs: Costs, proposals: Sequence[Proposal] = (), within_s: float | None = None
) -> Iterator[str]:
    """Go through what there is to say below the table: totals, what they stand on, what to do."""
    rows, machine = costs.rows, costs.machine
    least = "at least " if any(row.lower_bound or row.flops is None for row in rows) else ""
    yield (
        f"FLOPs: {least}{number_format.flops(sum(row.flops or 0 for row in rows))} "
        "(matrix products and convolutions, 2 per multiply-add)"
    )
    yield f"time: {_time(costs)}"
    memory = max((row.memory or 0 for row in rows), default=0)
    limit = "" if costs.memory_limit is None else f"; one may hold {size(costs.memory_limit)}"
    yield f"memory: {size(memory)} for the largest job{limit}"
    disk = sum(row.disk or 0 for row in rows)
    unknown = [row.row for row in rows if row.disk is None]
    besides = f" and what {number_format.listed(unknown)} take" if unknown else ""
    yield f"disk: {size(disk)}{besides}; {size(costs.disk_free)} are free"
    if disk > costs.disk_free:
        yield "does not fit: the disk is too small; name another --out"
    for row in rows:
        if not row.fits:
            yield f"does not fit: {row.row}: {row.why}"
    known = Counter(row.basis for row in rows if row.basis)
    if known:
        basis = ", ".join(f"{name} ({several(n, 'row')})" for name, n in known.items())
        yield f"times are known from: {basis}; on {machine.device}"
    yield from _advice(costs, proposals, within_s)


def _time(costs: Costs) -> str:
    machine = costs.machine
    beside = f"with {several(machine.jobs_at_once, 'job')} at once"
    if costs.run_s is not None:
        return f"{duration(costs.run_s)} {beside}"
    unknown = [row.row for row in costs.rows if row.seconds is None]
    return f"not known, because nothing predicts the time of {number_format.listed(unknown[:3])}"


def _advice(costs: Costs, proposals: Sequence[Proposal], within_s: float | None) -> Iterator[str]:
    """Say what to leave out so that a run fits into some seconds."""
    if within_s is None:
        return
    if not proposals:
        yield f"--fit: the run fits into {duration(within_s)} as it is"
        return
    yield f"--fit: to end within {duration(within_s)}, leave out, in this order:"
    for one in proposals:
        yield f"  {one.what} (then {duration(one.run_s)})"
    if proposals[-1].run_s > within_s:
        yield "  even that is too long: choose fewer steps, a smaller network, or --budget-total"
