"""Artifacts, which several condensations share: built once under a lock, measured once."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ddbench.meter import StepMeter
from ddbench.store.artifact_folders import MANIFEST
from ddbench.store.atomic_files import is_claimed, locked, write_json
from ddbench.store.hashing import hash_of_file, hash_of_text
from ddbench.store.housekeeping import Litter

METER, PROGRESS = "meter.json", "progress"  # of a build under way

# What reading a file of somebody else can end in, JSON nested without end among it.
_NOT_OURS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
             RecursionError)  # fmt: skip


def _is_below(name: str) -> str:
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise ValueError("leads out of the artifact's folder")
    return name


class Manifest(BaseModel):
    """The record of a finished artifact: what determines it, and its cost.

    Attributes:
        id: Kind and hash of everything that determines it.
        kind: What it is.
        spec: Everything that determines it, as values of JSON.
        seconds: Wall seconds of all attempts to build it.
        flops: Counted operations.
        lower_bound: Whether work that no formula counts dominates.
        bytes: Of all its files.
        dataset: Name of the dataset that it was built from; "" where an earlier ddbench wrote it.
        files: sha256 of each of its files by name; None where an earlier ddbench wrote it.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    id: str
    kind: str
    spec: dict[str, Any]
    seconds: float = Field(ge=0)
    flops: int = Field(ge=0)
    lower_bound: bool
    bytes: int = Field(ge=0)
    dataset: str = ""
    files: dict[Annotated[str, AfterValidator(_is_below)], str] | None = None

    def record(self) -> dict[str, Any]:
        """Return what a result keeps of it, ready for JSON."""
        return self.model_dump(include={"id", "kind", "seconds", "flops", "lower_bound", "bytes"})


class Artifact(Manifest):
    """A finished artifact: its manifest, and the folder of its files."""

    folder: Path


class _ReportingMeter(StepMeter):
    def __init__(self, device: torch.device, report: Callable[[int], None]) -> None:
        super().__init__(device)
        self._report = report

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        super().__exit__(*error)
        self._report(self.steps)


class BuildContext:
    """What a builder gets: a folder that survives a kill, and the meter of its cost.

    A builder looks in `folder` for the files of an earlier, killed build, and continues from them.
    It enters `meter` once per training step (``with work.meter: ...``), and calls `save` whenever
    a part is complete, so that its cost is not lost with the process.

    Attributes:
        folder: What the artifact will hold.
        progress: A file for where the build stands; it goes when the artifact is finished.
        meter: The meter of the cost.
    """

    def __init__(
        self, folder: Path, device: torch.device, report: Callable[[int], None] = lambda done: None
    ) -> None:
        """Take up the work in `folder`, with the costs of earlier attempts.

        `report` is told the number of steps after each of them.
        """
        self.folder, self.progress = folder, folder / PROGRESS
        self.meter: StepMeter = _ReportingMeter(device, report)
        self._elsewhere = 0.0
        self._since = time.perf_counter()
        with suppress(*_NOT_OURS):  # else it starts from nothing
            saved = json.loads((folder / METER).read_bytes())
            meter, seconds = _ReportingMeter(device, report), float(saved["seconds"])
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
        ValueError: The kind cannot be the name of a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", kind):
        raise ValueError(f"artifact kind {kind!r}: use letters, digits, '-', '_' and '.'")
    text = json.dumps(spec, sort_keys=True)
    return f"{kind}-{hash_of_text(text, 16)}"


def whitening_spec(fingerprint: str) -> dict[str, Any]:
    """Return what determines the whitening (kind "zca") of the dataset of a fingerprint."""
    return {"dataset": fingerprint, "epsilon": 0.1, "version": 1}


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
        dataset: str = "",
        waiting: Callable[[], None] = lambda: None,
        report: Callable[[int], None] = lambda done: None,
    ) -> Artifact:
        """Return the artifact; `build` makes it if it does not exist, and other jobs wait for that.

        `dataset` is the name of its dataset, for listings. `waiting` is called at every poll while
        another process builds it, `report` after each step of a build with their number.
        """
        name = artifact_id(kind, spec)
        found = self.find(name)
        if found is None:
            with locked(self.root / "locks" / name, waiting):
                found = self.find(name)
                if found is None:
                    about = {"id": name, "kind": kind, "spec": dict(spec), "dataset": dataset}
                    found = self._build(about, build, device, report)
        return found

    def find(self, name: str) -> Artifact | None:
        """Return the finished artifact of this id, or None."""
        folder = self.root / name
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except (OSError, ValidationError):  # absent, torn, or another program's
            return None
        return Artifact(folder=folder, **dict(manifest)) if manifest.id == name else None

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

    def litter(self) -> Iterator[Litter]:
        """Go through what dead processes left: half-built artifacts and stale locks."""
        for path in self.half_built():
            if not is_claimed(lock := self.root / "locks" / path.name):
                yield Litter(
                    path, "a half-built artifact (a build would continue from it)", lock=lock
                )
        for path in (self.root / "locks").glob("*"):
            if not is_claimed(path):
                yield Litter(path, "a stale lock file", lock=path)

    def remove(self, name: str) -> None:
        """Remove an artifact, finished or not; waits until a running build ends.

        Raises:
            OSError: A part of it cannot be removed.
        """
        with locked(self.root / "locks" / name), suppress(FileNotFoundError):
            shutil.rmtree(self.root / name)

    def _build(
        self,
        about: dict[str, Any],
        build: Callable[[BuildContext], None],
        device: torch.device,
        report: Callable[[int], None],
    ) -> Artifact:
        folder = self.root / about["id"]
        folder.mkdir(parents=True, exist_ok=True)
        work = BuildContext(folder, device, report)
        with _costs_kept(work):
            build(work)
        files = _files(folder)
        manifest = Manifest(
            **about,
            seconds=work.seconds,
            flops=work.meter.flops,
            lower_bound=work.meter.lower_bound,
            bytes=sum(file.stat().st_size for file in files.values()),
            files={name: hash_of_file(file) for name, file in files.items()},
        )
        write_json(folder / MANIFEST, manifest.model_dump())
        for name in (METER, PROGRESS):  # only now: a kill before the manifest costs nothing
            (folder / name).unlink(missing_ok=True)
        return Artifact(folder=folder, **dict(manifest))


def problems_of(artifact: Artifact) -> list[str]:
    """Return what is wrong with the files of an artifact, one sentence each; [] if nothing.

    Those of an artifact that an earlier ddbench stored have no hashes: only that is said.
    """
    again = f"remove {artifact.id}, so that it is built again"
    if artifact.files is None:
        return [f"{artifact.folder}: stored without hashes, by an earlier ddbench; {again}"]
    problems = []
    for name, expected in artifact.files.items():
        file = artifact.folder / name
        try:
            if hash_of_file(file) != expected:
                problems.append(f"{file}: its content has changed since it was stored; {again}")
        except OSError as error:
            problems.append(f"{file}: cannot be read ({error.strerror or error}); {again}")
    return problems


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of an artifact, less those of the build, by their names below `folder`."""
    files = {f.relative_to(folder).as_posix(): f for f in sorted(folder.rglob("*")) if f.is_file()}
    return {name: f for name, f in files.items() if name not in (MANIFEST, METER, PROGRESS)}


@contextmanager
def _costs_kept(work: BuildContext) -> Iterator[None]:
    """Keep the costs of a build that is interrupted, for the one that goes on."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # a full disk may be what interrupted it
            work.save()
        raise
