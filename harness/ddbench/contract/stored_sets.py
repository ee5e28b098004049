"""Compare stored synthetic sets with the hashes in the records of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.store.records import DONE
from ddbench.store.run_folder import INITIAL, Records, RunFolder


def differing_sets(folder: RunFolder, records: Records, id: str) -> list[tuple[Path, str]]:
    """Return the sets of a finished condensation that are not as recorded: (file, reason).

    The final set has its hash in the record of the condensation, a snapshot in those of its
    evaluations. A set of which no record holds a hash (the initial one; a snapshot that nothing
    was evaluated on) is read in full: what is torn is found, a changed pixel is not.
    """
    differing = []
    for path, recorded in _sets(folder, records, id):
        reason = _difference(path, recorded)
        if reason:
            differing.append((path, reason))
    return differing


def _sets(folder: RunFolder, records: Records, id: str) -> Iterator[tuple[Path, set[str]]]:
    """Yield the file of each set with the hashes that records hold of it."""
    final = records.condensations[id].set_sha256
    yield folder.set_file(id), {final} if final else set()
    initial = folder.condensation(id) / INITIAL
    if initial.exists():
        yield initial, set()
    snapshots: dict[Path, set[str]] = {
        path: set() for path in sorted(folder.set_file(id, 0).parent.glob("*.safetensors"))
    }
    for record in records.evaluations.values():
        if record.status != DONE or record.condensation != id:
            continue
        if record.snapshot is not None and record.set_sha256 is not None:
            file = folder.set_file(id, record.snapshot)
            snapshots.setdefault(file, set()).add(record.set_sha256)
    yield from snapshots.items()


def _difference(path: Path, recorded: set[str]) -> str:
    """Return how a set differs from its recorded hashes, or "" where it does not."""
    try:
        found = SyntheticSet.load(path).sha256()
    except FileNotFoundError:
        return "is missing"
    except SetError as error:
        return str(error).removeprefix(f"{path}: ")
    others = sorted(recorded - {found})
    return f"has the hash {found[:8]}; recorded is {others[0][:8]}" if others else ""
