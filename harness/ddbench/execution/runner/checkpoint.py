"""Where a condensation stands: what a checkpoint holds, and from which one to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ddbench.contract.synthetic_set import NewerFormatError, SetError, SyntheticSet
from ddbench.store.atomic_files import write_whole
from ddbench.store.records import DONE, Condensation, CondensationRecord
from ddbench.store.run_folder import INITIAL, RunFolder, read_run
from ddbench.store.tensor_trees import TreeError, load_tree, save_tree


@dataclass
class Progress:
    """Where the loop stands.

    Attributes:
        step: Steps done.
        curve: One row for each step: step, seconds, metrics.
        converged: Whether the method said that it was done.
        resumed: How often the condensation went on from a checkpoint.
        extended_from: Id of the finished condensation of fewer steps that it started from.
        peak_memory: Bytes that it held at most until the last checkpoint, if they were measured.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    converged: bool = False
    resumed: int = 0
    extended_from: str | None = None
    peak_memory: int | None = None


@dataclass
class Checkpoint:
    """All that a killed condensation needs to go on bit by bit."""

    state: Any
    generators: Mapping[str, torch.Tensor]
    meters: Mapping[str, Mapping[str, Any]]
    artifacts: list[str]  # ids of those used so far
    chose_on_split: bool
    progress: Progress

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            TreeError: The state holds something that no file can; names the field.
        """
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        save_tree(path, fields | {"progress": asdict(self.progress)})

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Checkpoint:
        """Read it.

        Raises:
            FileNotFoundError: There is none.
            TreeError: It is torn, or another program's.
        """
        tree = load_tree(path, device)
        try:
            return cls(**{**tree, "progress": Progress(**tree["progress"])})
        except (TypeError, KeyError) as error:
            raise TreeError(f"{path}: not a checkpoint of this version of ddbench") from error


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its folder."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        if not os.listdir(path.parent):
            path.parent.rmdir()


def holds_set_of(id: str, path: Path) -> bool:
    """Say whether a file holds a whole set of the condensation `id`.

    Raises:
        NewerFormatError: A later ddbench wrote it, and nothing may replace it.
    """
    try:
        return SyntheticSet.load(path).provenance.get("id") == id
    except NewerFormatError:
        raise
    except (OSError, SetError):
        return False


def take_over(job: Condensation, run: RunFolder) -> str | None:
    """Start `job` from the kept state of the same condensation with fewer steps, if there is one.

    Copies its checkpoint, and the snapshots that `job` wants of the steps behind it; returns the
    id of the condensation that is extended.
    """
    found = _shorter(job, run)
    if found is None:
        return None
    base = found.id
    behind = [s for s in job.snapshots if s < found.steps_done]
    sets = [(run.set_file(base, s), run.set_file(job.id, s)) for s in behind]
    sets += [(run.condensation(base) / INITIAL, run.condensation(job.id) / INITIAL)]
    for source, target in sets:
        taken = SyntheticSet.load(source)
        replace(taken, provenance={**taken.provenance, "id": job.id}).save(target)
    # Last: it says that all is there.
    write_whole(run.checkpoint(job.id), run.checkpoint(base).read_bytes())
    return base


def _shorter(job: Condensation, run: RunFolder) -> CondensationRecord | None:
    if job.budget_s is not None or not job.steps:
        return None
    records = read_run(run).condensations.values()
    fitting = [record for record in records if _extends(job, record, run)]
    return max(fitting, key=lambda record: record.steps_done, default=None)


def _extends(job: Condensation, record: CondensationRecord, run: RunFolder) -> bool:
    if record.status != DONE or record.series_id != job.series_id:
        return False
    if record.converged or record.budget_s is not None:
        return False
    done = record.steps_done
    if not (0 < done < job.steps and run.checkpoint(record.id).exists()):
        return False
    behind = [run.set_file(record.id, s) for s in job.snapshots if s < done]
    sets = (run.condensation(record.id) / INITIAL, *behind)
    try:
        return all(holds_set_of(record.id, path) for path in sets)
    except NewerFormatError:
        return False
