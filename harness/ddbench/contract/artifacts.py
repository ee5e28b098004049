"""Artifacts: what several condensations share, built once under a lock and metered once."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ddbench.meter import StepMeter
from ddbench.store.atomic_files import locked, write_json

MANIFEST = "manifest.json"
METER = "meter.json"

# What reading a file of somebody else can end in, JSON nested without end among it.
_NOT_OURS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
             RecursionError)  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its folder, and what building it cost."""

    id: str
    kind: str
    folder: Path
    spec: Mapping[str, Any]
    seconds: float
    flops: int
    lower_bound: bool  # whether work that no formula counts dominates
    bytes: int

    def record(self) -> dict[str, Any]:
        """Return what a result keeps of it, ready for JSON."""
        costs = {"seconds": self.seconds, "flops": self.flops, "lower_bound": self.lower_bound}
        return {"id": self.id, "kind": self.kind, **costs, "bytes": self.bytes}


class BuildContext:
    """What a builder gets: a folder that outlives a kill, and the meter of its cost.

    A builder looks in `folder` for what an earlier, killed build left there and goes on from it.
    It enters `meter` once per training step (``with work.meter: ...``), and calls `save` whenever
    a part is complete, so that its cost is not lost with the process.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Take up the work in `folder`, with the costs of earlier attempts."""
        self.folder = folder
        self.meter = StepMeter(device)
        self._elsewhere = 0.0
        self._since = time.perf_counter()
        with suppress(*_NOT_OURS):  # else it starts from nothing
            saved = json.loads((folder / METER).read_text())
            meter, seconds = StepMeter(device), float(saved["seconds"])
            meter.load(saved["meter"])
            if math.isfinite(seconds + meter.seconds + meter.waited + meter.flops):
                self.meter, self._elsewhere = meter, seconds

    @property
    def seconds(self) -> float:
        """Wall seconds of all attempts so far."""
        return self._elsewhere + time.perf_counter() - self._since

    def save(self) -> None:
        """Write the costs so far beside the parts that are complete."""
        record = {"meter": self.meter.state(), "seconds": self.seconds}
        write_json(self.folder / METER, record)


def artifact_id(kind: str, spec: Mapping[str, Any]) -> str:
    """Return `kind` and the hash of everything that determines the artifact.

    Raises:
        ValueError: The kind is no name for a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", kind):
        raise ValueError(f"artifact kind {kind!r}: use letters, digits, '-', '_' and '.'")
    text = json.dumps(spec, sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class ArtifactStore:
    """The folder of artifacts that runs and jobs share."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which need not exist yet."""
        self.root = root

    def get(
        self,
        kind: str,
        spec: Mapping[str, Any],
        build: Callable[[BuildContext], None],
        device: torch.device,
        waiting: Callable[[], None] = lambda: None,
    ) -> Artifact:
        """Return the artifact, built by `build` if nobody has; others wait for the builder.

        `waiting` is called at every poll while another process builds it.
        """
        name = artifact_id(kind, spec)
        found = self.find(name)
        if found is None:
            with locked(self.root / "locks" / name, waiting):
                found = self.find(name) or self._build(name, kind, spec, build, device)
        return found

    def find(self, name: str) -> Artifact | None:
        """Return the finished artifact of this id, or None."""
        folder = self.root / name
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            artifact = Artifact(folder=folder, **{key: manifest[key] for key in _KEPT})
            return artifact if _is_sound(artifact) else None
        except _NOT_OURS:
            return None

    def __iter__(self) -> Iterator[Artifact]:
        """Go through the finished artifacts, by id."""
        for manifest in sorted(self.root.glob(f"*/{MANIFEST}")):
            artifact = self.find(manifest.parent.name)
            if artifact is not None:
                yield artifact

    def half_built(self) -> list[Path]:
        """Return the folders of builds that have not finished."""
        folders = (p for p in self.root.glob("*") if p.is_dir() and p.name != "locks")
        return sorted(p for p in folders if self.find(p.name) is None)

    def remove(self, name: str) -> None:
        """Remove an artifact, finished or not; waits for whoever is building it.

        Raises:
            OSError: A part of it cannot be removed.
        """
        with locked(self.root / "locks" / name), suppress(FileNotFoundError):
            shutil.rmtree(self.root / name)

    def _build(
        self,
        name: str,
        kind: str,
        spec: Mapping[str, Any],
        build: Callable[[BuildContext], None],
        device: torch.device,
    ) -> Artifact:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        work = BuildContext(folder, device)
        with _costs_kept(work):
            build(work)
        (folder / METER).unlink(missing_ok=True)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        manifest: dict[str, Any] = {
            "id": name,
            "kind": kind,
            "spec": dict(spec),
            "seconds": work.seconds,
            "flops": work.meter.flops,
            "lower_bound": work.meter.lower_bound,
            "bytes": size,
        }
        write_json(folder / MANIFEST, manifest)
        return Artifact(folder=folder, **{key: manifest[key] for key in _KEPT})


def _is_sound(artifact: Artifact) -> bool:
    """Say whether what a manifest holds is what `_build` writes, and of this very folder."""
    counts = (artifact.flops, artifact.bytes)
    return (
        artifact.id == artifact.folder.name
        and isinstance(artifact.kind, str)
        and isinstance(artifact.spec, dict)
        and isinstance(artifact.lower_bound, bool)
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts)
        and isinstance(artifact.seconds, int | float)
        and 0 <= artifact.seconds < math.inf
    )


_KEPT = ("id", "kind", "spec", "seconds", "flops", "lower_bound", "bytes")


@contextmanager
def _costs_kept(work: BuildContext) -> Iterator[None]:
    """Keep the costs of a build that is interrupted, for the one that goes on."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # a full disk may be what interrupted it
            work.save()
        raise
