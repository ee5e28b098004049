"""Tell the status of every job of a run: done, running (and by whom), failed, missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ddbench.store.atomic_files import claim_note, is_claimed
from ddbench.store.records import DONE, FAILED, SKIPPED, Result
from ddbench.store.run_folder import Records, RunFolder, read_run, torn_files

RUNNING, INTERRUPTED, MISSING = "running", "interrupted", "missing"
STATES = (DONE, RUNNING, INTERRUPTED, MISSING, FAILED, SKIPPED)


Compare = Callable[[RunFolder, Records, str], list[tuple[Path, str]]]


@dataclass(frozen=True)
class JobStatus:
    """Where one job stands.

    Attributes:
        kind: "condensation" or "evaluation".
        id: Of the job.
        state: One of `STATES`; "interrupted" has a checkpoint to go on from; an evaluation
            whose condensation has failed, or ended before its snapshot, is "missing".
        note: The reason, who runs it, when the checkpoint was written, or what is wrong with the
            files of a finished condensation.
        damaged: Whether files of a finished condensation are torn or differ from the record.
    """

    kind: str
    id: str
    state: str
    note: str = ""
    damaged: bool = False


def status_of(folder: RunFolder, compare: Compare | None = None) -> list[JobStatus]:
    """Return the status of each job that a manifest planned or a record tells of.

    `compare` returns the sets of a condensation that are not as recorded: (file, reason).
    """
    records = read_run(folder)
    plans = [manifest.plan for manifest in records.manifests]
    sets = [id for plan in plans for id in plan.condensations]
    scores = [id for plan in plans for id in plan.evaluations]
    condensations = dict.fromkeys([*sets, *records.condensations])
    evaluations = dict.fromkeys([*scores, *records.evaluations])
    blocked, claimed = _blocked(records), {*running(folder)}
    return [
        *(
            _claimed("condensation", id, folder)
            if id in claimed
            else _condensation(id, records, folder, compare)
            for id in condensations
        ),
        *(
            _claimed("evaluation", id, folder)
            if id in claimed
            else _evaluation(id, records, blocked.get(id, ""))
            for id in evaluations
        ),
    ]


def _claimed(kind: str, id: str, folder: RunFolder) -> JobStatus:
    """Return the status of a job that is worked on; it may be done again."""
    return JobStatus(kind, id, RUNNING, claim_note(folder.claim(id)))


def _blocked(records: Records) -> dict[str, str]:
    """Return why evaluations have no set, as the runs said that ended without it."""
    return {id: why for manifest in records.manifests for id, why in manifest.blocked.items()}


def running(folder: RunFolder) -> list[str]:
    """Return the ids of the jobs that processes of this machine work on."""
    return [id for id in sorted(folder.claims()) if is_claimed(folder.claim(id))]


def _condensation(
    id: str, records: Records, folder: RunFolder, compare: Compare | None
) -> JobStatus:
    record = records.condensations.get(id)
    if record is not None:
        damaged = _damaged(id, records, folder, compare) if record.status == DONE else {}
        if damaged:
            words = [f"{path}: {reason}" for path, reason in damaged.items()]
            remedy = f"`ddbench retry {folder.root} {id}` and the next run mend it"
            return JobStatus("condensation", id, DONE, "; ".join([*words, remedy]), damaged=True)
        return _ended("condensation", id, record)
    checkpoint = folder.checkpoint(id)
    if checkpoint.exists():
        written = datetime.fromtimestamp(checkpoint.stat().st_mtime)
        return JobStatus("condensation", id, INTERRUPTED, f"checkpoint of {written:%d %b %H:%M:%S}")
    return JobStatus("condensation", id, MISSING)


def _damaged(
    id: str, records: Records, folder: RunFolder, compare: Compare | None
) -> dict[Path, str]:
    """Return what is wrong with the files of a finished condensation, by file."""
    damaged = dict(torn_files(folder, id))
    if compare:
        damaged = dict(compare(folder, records, id)) | damaged
    return damaged


def _evaluation(id: str, records: Records, blocked: str) -> JobStatus:
    record = records.evaluations.get(id)
    if record is not None:
        return _ended("evaluation", id, record)
    return JobStatus("evaluation", id, MISSING, blocked)


def _ended(kind: str, id: str, record: Result) -> JobStatus:
    return JobStatus(kind, id, record.status, record.reason or "")
