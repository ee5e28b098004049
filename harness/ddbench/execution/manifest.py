"""The manifest of a run: how it was started, and what was planned."""

from __future__ import annotations

import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ddbench
from ddbench.store.atomic_files import write_json
from ddbench.store.records import FROM_FILE

if TYPE_CHECKING:
    from ddbench.execution.run_options import RunOptions
    from ddbench.planning.jobs import Plan
    from ddbench.planning.registry import Registry


@dataclass(frozen=True)
class ManifestFile:
    """A manifest, and the file that it is written to: one for each start of a run."""

    path: Path
    content: Mapping[str, Any]

    def write(self, **more: object) -> None:
        """Write the manifest, with `more` once the run has ended."""
        write_json(self.path, {**self.content, **more})


def manifest_of(
    plan: Plan, registry: Registry, options: RunOptions, seconds: Mapping[str, float] | None = None
) -> ManifestFile:
    """Return the manifest of a run that starts now; `seconds` are predicted of its jobs, by id."""
    started, host = datetime.now(UTC), socket.gethostname()
    commit, dirty = git_commit()
    content = {
        "started": in_words(started),
        "command": list(options.command),
        "commit": commit,
        "dirty": dirty,
        "versions": {"ddbench": ddbench.__version__, "python": platform.python_version()},
        "preset": options.preset,
        "registry": registry.dump(),
        "plan": {
            **plan.record(),
            "expected": {id: round(value, 3) for id, value in (seconds or {}).items()},
        },
        "code": {
            job.method: job.code for job in plan.condensations if not job.code.startswith(FROM_FILE)
        },
        "options": {"device": options.device, "threads": options.threads, "jobs": options.jobs},
        "host": host,
    }
    name = f"{re.sub(r'[^A-Za-z0-9.-]+', '-', host)}-{started.strftime('%Y%m%dT%H%M%S%f')}.json"
    return ManifestFile(options.out / "manifests" / name, content)


def in_words(moment: datetime) -> str:
    """Return a moment as records have it: ISO 8601, to the millisecond."""
    return moment.isoformat(timespec="milliseconds")


def git_commit() -> tuple[str | None, bool]:
    """Return the commit of the checkout that ddbench runs from, and whether it has been edited."""
    place = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(place), *words], capture_output=True, text=True, timeout=10,
                check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    tracked = git("ls-files", "--error-unmatch", __file__)
    if not commit or not tracked:
        return None, False
    return commit, bool(git("status", "--porcelain", "--untracked-files=no"))
