"""Choose the jobs to do again; their records are removed, so that the next run does them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ddbench.store.job_names import find_job
from ddbench.store.records import FAILED, SKIPPED
from ddbench.store.run_folder import RunFolder, read_run


def to_retry(
    folder: RunFolder,
    ids: Collection[str] = (),
    *,
    failed: bool = False,
    skipped: bool = False,
    afresh: bool = False,
) -> dict[str, list[Path]]:
    """Return the files to remove so that jobs are done again, by job.

    Those named by `ids` (or beginnings of them, as `find_job` takes them), and all `failed` or
    `skipped` ones. A checkpoint
    stays, to go on from, unless `afresh`. The log stays.

    Raises:
        RunError: An id fits no job that has ended, or several.
    """
    records = read_run(folder)
    ended = {**records.condensations, **records.evaluations}
    named = {find_job(records, wanted).id for wanted in ids}
    states = {state for state, wanted in ((FAILED, failed), (SKIPPED, skipped)) if wanted}
    chosen: dict[str, list[Path]] = {}
    for id, record in ended.items():
        if record.status in states or id in named:
            condensation = id in records.condensations
            files = [folder.result(id) if condensation else folder.evaluation(id)]
            if condensation and afresh:
                files.append(folder.checkpoint(id))
            chosen[id] = [path for path in files if path.exists()]
    return chosen
