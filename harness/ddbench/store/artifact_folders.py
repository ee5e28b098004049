"""Tell without torch whether the folder of an artifact is finished, begun or absent."""

from __future__ import annotations

from pathlib import Path

MANIFEST = "manifest.json"
DONE, BEGUN, ABSENT = "done", "begun", "absent"


def state_of(root: Path, name: str) -> str:
    """Return the state of the artifact `name` below `root`: DONE, BEGUN or ABSENT."""
    if (root / name / MANIFEST).is_file():
        return DONE
    return BEGUN if (root / name).is_dir() else ABSENT
