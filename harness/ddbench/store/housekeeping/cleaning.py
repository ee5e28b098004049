"""Find what dead processes have left behind, and remove it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ddbench.store.atomic_files import claimed, half_written, is_claimed
from ddbench.store.records import DONE
from ddbench.store.run_folder import RunFolder, read_run

QUIET = 60.0  # seconds that a half-written file must have been left alone


@dataclass(frozen=True)
class Litter:
    """A file or folder that can be removed, and why."""

    path: Path
    why: str
    lock: Path | None = None  # whoever holds it needs what lies at `path`

    @property
    def bytes(self) -> int:
        """Bytes that removing it frees."""
        files = [self.path] if self.path.is_file() else self.path.rglob("*")
        total = 0
        for file in files:
            with suppress(OSError):
                total += file.stat().st_size if file.is_file() else 0
        return total

    def remove(self) -> None:
        """Remove it, unless somebody has begun to work with it.

        Raises:
            OSError: It, or a part of it, cannot be removed.
        """
        if self.lock is None:
            self._remove()
        else:
            with claimed(self.lock) as free:
                if free:
                    self._remove()

    def _remove(self) -> None:
        with suppress(FileNotFoundError):  # somebody else has
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink()


def find_litter(folder: RunFolder) -> list[Litter]:
    """Return what is not needed any more in a run folder."""
    return sorted(_of_run(folder), key=lambda item: str(item.path))


def _of_run(folder: RunFolder) -> Iterator[Litter]:
    records = read_run(folder)
    for path in half_written(folder.root):
        with suppress(FileNotFoundError):  # its writer lives, and has just ended
            if time.time() - path.stat().st_mtime > QUIET:
                yield Litter(path, "half written by a process that died")
    for path in (folder.root / "claims").glob("*"):
        if not is_claimed(path):
            yield Litter(path, "a stale lock file of a job", lock=path)
    for path, reason in records.unreadable:
        # A later ddbench reads what it wrote, and what could not be opened may be whole.
        if path not in records.newer and path not in records.unopened:
            yield Litter(path, f"unreadable: {reason}")
    for id, record in records.condensations.items():
        checkpoint = folder.checkpoint(id).parent
        of_no_use = record.status == DONE and not record.kept_state
        if of_no_use and checkpoint.exists() and not is_claimed(claim := folder.claim(id)):
            yield Litter(checkpoint, "the checkpoint of a finished condensation", lock=claim)
    for id, evaluation in records.evaluations.items():
        of = evaluation.condensation
        if of is not None and not folder.condensation(of).exists():
            yield Litter(folder.evaluation(id), "the evaluation of a condensation that is gone")
