"""Join the run folders of several machines into one."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddbench.store.atomic_files import HALF
from ddbench.store.housekeeping.status import running
from ddbench.store.records import DONE, Result
from ddbench.store.run_folder import Records, RunError, RunFolder, read_run, refuse_newer
from ddbench.text.lines import brief


@dataclass(frozen=True)
class Copy:
    """A file or folder to bring over."""

    source: Path
    target: Path


def merge(into: RunFolder, others: Sequence[RunFolder], preview: bool = False) -> list[Copy]:
    """Bring the results of `others` into a run folder; return what was, or would be, copied.

    One that is not there yet is made.

    A finished job wins over one that failed or was skipped, and any record over none.

    Raises:
        RunError: A folder is at work or holds results of a later ddbench, or two hold different
            sets under one id: nothing is copied. Or a file cannot be copied: those before it are.
    """
    for folder in (into, *others):
        if running(folder):
            raise RunError(f"{folder.root}: a run is at work in it; stop it first")
        refuse_newer(folder, "merge")
    mine, copies = read_run(into), list[Copy]()
    problems = [
        f"{path}: {reason}; merge when it can be read; its content might be replaced otherwise"
        for path, reason in mine.unreadable
        if path in mine.unopened and path.parent.name != "manifests"
    ]
    best = Records(dict(mine.condensations), dict(mine.evaluations))
    for other in others:
        theirs = read_run(other)
        problems += _conflicts(best, theirs, other, into)
        copies += _copies(best, theirs, other, into)
        for have, new in _pairs(best, theirs):
            have |= {id: record for id, record in new.items() if _better(record, have.get(id))}
    if problems:
        raise RunError("\n  ".join(["these cannot be merged:", *problems]))
    if not preview:
        into.create()
        for copy in copies:
            _bring(copy)
    return copies


def _pairs(best: Records, theirs: Records) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    yield best.condensations, theirs.condensations
    yield best.evaluations, theirs.evaluations


def _conflicts(best: Records, theirs: Records, other: RunFolder, into: RunFolder) -> list[str]:
    """Return a sentence for each id under which two folders hold different sets.

    `best` are the records that stand so far: of `into`, and of the folders before.
    """
    problems = []
    for id, record in theirs.condensations.items():
        mine = best.condensations.get(id)
        both_done = mine is not None and mine.status == record.status == DONE
        if not both_done or mine is None:
            continue
        other_set, ours = record.set_sha256, mine.set_sha256
        if other_set is None or ours is None:
            problems.append(
                f"{id}: nothing says whether {other.root} holds the same set as {into.root} or a "
                f"folder before it (set_sha256 {brief(other_set)} and {brief(ours)}); "
                "remove one of them"
            )
        elif other_set != ours:
            problems.append(
                f"{id}: {other.root} holds another set than {into.root} or a folder before it "
                f"({other_set[:12]} and {ours[:12]}); remove one of them"
            )
    return problems


def _copies(best: Records, theirs: Records, other: RunFolder, into: RunFolder) -> Iterator[Copy]:
    for folder in sorted((other.root / "condensations").glob("*")):
        if folder.name.endswith(HALF):
            continue
        record, own = theirs.condensations.get(folder.name), best.condensations.get(folder.name)
        target = into.condensation(folder.name)
        new = own is None and not target.exists()
        if folder.is_dir() and (_better(record, own) or new):
            yield Copy(folder, target)
    for id, evaluation in theirs.evaluations.items():
        if _better(evaluation, best.evaluations.get(id)):
            yield Copy(other.evaluation(id), into.evaluation(id))
    for part in ("manifests", "logs"):
        for file in _files(other.root / part):
            target = into.root / part / file.name
            if not os.path.lexists(target):
                yield Copy(file, target)
            elif part == "manifests" and not _alike(file, target):
                named = target.with_name(f"{file.stem}-{other.name}{file.suffix}")
                if not named.exists():
                    yield Copy(file, named)


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder; folders and links to nothing are none."""
    return [path for path in sorted(folder.glob("*")) if path.is_file()]


def _alike(file: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(file, other, shallow=False)


def left_out(others: Sequence[RunFolder]) -> list[Path]:
    """Return what `merge` leaves out: entries beside manifests and logs that are not files."""
    found = []
    for folder in (other.root / part for other in others for part in ("manifests", "logs")):
        found += [path for path in sorted(folder.glob("*")) if not path.is_file()]
    return found


def _better(record: Result | None, own: Result | None) -> bool:
    """Say whether the other folder's record should replace ours."""
    if record is None:
        return False
    return own is None or (record.status == DONE and own.status != DONE)


def _bring(copy: Copy) -> None:
    """Copy a file or a folder so that it appears whole or not at all.

    Raises:
        RunError: It cannot be read, or not be written.
    """
    try:
        _copy(copy)
    except OSError as error:
        raise RunError(
            f"{copy.source}: cannot be copied to {copy.target} ({_reason(error)}); correct that "
            "and merge again: files copied so far are complete"
        ) from error


def _reason(error: OSError) -> str:
    """Return why a copy has failed, of a whole folder the first of the reasons."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)


def _copy(copy: Copy) -> None:
    copy.target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".merge.", suffix=HALF, dir=copy.target.parent))
    try:
        fresh, replaced = beside / copy.target.name, beside / "replaced"
        if copy.source.is_dir():
            shutil.copytree(copy.source, fresh, ignore=shutil.ignore_patterns(f"*{HALF}"))
            if copy.target.exists():
                os.replace(copy.target, replaced)
        else:
            shutil.copy2(copy.source, fresh)
        try:
            os.replace(fresh, copy.target)
        except OSError:
            if replaced.exists():
                os.replace(replaced, copy.target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
