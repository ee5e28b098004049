"""Fingerprints of code: what tells an edited method from the one whose results are kept."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import Distribution
from pathlib import Path


class ChangedError(Exception):
    """Code or data are no longer what a plan was made of; says which, and what to do."""


def package_fingerprint(distribution: Distribution, module: str) -> str:
    """Return the version of a released install; for a local one a hash of the package's code.

    An editable or local install is told by PEP 610's ``direct_url.json``. The package is found
    without importing it.
    """
    if not _is_local(distribution):
        return distribution.version
    folder = _locate(module.split(".")[0])
    return code_fingerprint(folder) if folder else distribution.version


def _is_local(distribution: Distribution) -> bool:
    text = distribution.read_text("direct_url.json") or "{}"
    return str(json.loads(text).get("url", "")).startswith("file:")


def _locate(package: str) -> Path | None:
    """Return the folder of a package, or the file of a single module."""
    for finder in sys.meta_path:
        spec = finder.find_spec(package, None) if hasattr(finder, "find_spec") else None
        if spec is not None:
            break
    else:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin else None


def code_fingerprint(path: Path) -> str:
    """Return the sha256 of the names and bytes of the ``.py`` files in a package, or of a file."""
    if path.is_file():
        return file_fingerprint(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.py")):
        digest.update(f"{file.relative_to(path).as_posix()}\0".encode(errors="surrogateescape"))
        digest.update(file.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()[:16]}"


def file_fingerprint(path: Path) -> str:
    """Return the sha256 of one file."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def seed_name(dataset: str, fingerprint: str) -> str:
    """Return what random draws on a dataset are seeded by, beside the job's own seed.

    Its name; for a file or folder, whose path differs between machines, its content.
    """
    return fingerprint if ":" in dataset else dataset
