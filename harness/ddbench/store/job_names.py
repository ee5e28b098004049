"""Find a job by the beginning of its id."""

from __future__ import annotations

from collections.abc import Sequence

from ddbench.store.records import CondensationRecord, Result
from ddbench.store.run_folder import Records, RunError
from ddbench.text.suggestions import nearest


def find_job(records: Records, prefix: str) -> Result:
    """Return the record whose id is `prefix` or begins with it.

    Ids of evaluations begin as those of condensations do, so one condensation that fits is the
    one that is meant; of a row and its controls, the row.

    Raises:
        RunError: No job's id begins so, or several do.
    """
    jobs: dict[str, Result] = {**records.condensations, **records.evaluations}
    fitting = [id for id in jobs if id == prefix] or [id for id in jobs if id.startswith(prefix)]
    condensations = [id for id in fitting if id in records.condensations]
    if len(condensations) > 1:
        condensations = _without_controls([records.condensations[id] for id in condensations])
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


def _without_controls(found: Sequence[CondensationRecord]) -> list[str]:
    """Return the ids of some condensations, without the controls of one that is among them."""
    rows = {record.row for record in found if record.control_of is None}
    return [record.id for record in found if record.control_of not in rows]
