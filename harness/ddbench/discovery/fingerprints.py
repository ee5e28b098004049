"""Compute fingerprints of code, to see whether a method was edited after its results were made."""

from __future__ import annotations

import hashlib
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.metadata import Distribution
from pathlib import Path

from ddbench.discovery.sources import SITE, Part, files_of, parts_of_file, parts_of_module
from ddbench.store.hashing import hash_of_file, hash_of_text


class ChangedError(Exception):
    """Code or data changed after the plan was made; the message says which, and what to do."""


@dataclass(frozen=True)
class Code:
    """The code behind an entry point, or of a file.

    Attributes:
        fingerprint: The version of a released install; of local code a hash of its files.
        parts: Name and path of each package, module and file of local code; () if released.
    """

    fingerprint: str
    parts: tuple[Part, ...] = ()


def package_code(distribution: Distribution, module: str) -> Code:
    """Return the code of a module that a distribution brings, found without importing it."""
    parts = () if _is_released(distribution, module) else parts_of_module(module)
    return Code(parts_fingerprint(parts), parts) if parts else Code(distribution.version)


@cache  # of the files as they were first asked for: an edit does not reach a process that runs
def edited_code(distribution: str, package: str, *files: Path) -> str | None:
    """Return the hash of `files`, or None for a release, which its version identifies.

    For the spec of an artifact: in an editable or local install, that an edit of the files that
    build it makes another artifact. `package` is what the distribution is imported as.
    """
    try:
        installed = metadata.distribution(distribution)
        if not package_code(installed, package).parts:
            return None
    except metadata.PackageNotFoundError:  # on the path without an install
        pass
    hashes = "".join(file_fingerprint(file) for file in files)
    return f"sha256:{hash_of_text(hashes, 16)}"


def file_code(path: Path) -> Code:
    """Return the code of a Python file and of the local modules that it imports."""
    parts = parts_of_file(path)
    return Code(parts_fingerprint(parts), parts)


def _is_released(distribution: Distribution, module: str) -> bool:
    """Say whether the version tells the code: an index's install whose files are as released.

    A path, a repository or an archive that was installed from leaves a ``direct_url.json`` (PEP
    610). A folder of sources that is only on the path has no RECORD of installed files.
    """
    if distribution.read_text("direct_url.json") is not None:
        return False
    if distribution.read_text("RECORD") is None:  # a system's package, in its site folder
        return os.path.basename(os.path.abspath(str(distribution.locate_file("")))) in SITE
    top = module.partition(".")[0]
    return all(
        _is_as_recorded(Path(str(distribution.locate_file(file))), file.hash.mode, file.hash.value)
        for file in distribution.files or ()
        if file.hash and file.parts[0].partition(".")[0] == top
    )


def _is_as_recorded(path: Path, kind: str, value: str) -> bool:
    try:
        found = hashlib.new(kind, path.read_bytes()).digest()
    except (OSError, ValueError):
        return False
    return urlsafe_b64encode(found).rstrip(b"=").decode() == value.rstrip("=")


def parts_fingerprint(parts: Iterable[tuple[str, Path | str]]) -> str:
    """Return the sha256 of local code, wherever it lies; "" if a part has gone."""
    each = []
    for name, path in parts:
        if not os.path.exists(path):
            return ""
        each.append((name, code_fingerprint(Path(path))))
    if len(each) == 1:
        return each[0][1]
    text = "".join(f"{name}\0{fingerprint}\0" for name, fingerprint in sorted(each))
    return _shown(hashlib.sha256(text.encode(errors="surrogateescape")))


def code_fingerprint(path: Path) -> str:
    """Return the sha256 of the names and bytes of the files of a package, or of one file.

    Data that lie in a package count; byproducts (caches, logs, hidden files) do not.
    """
    if path.is_file():
        return file_fingerprint(path)
    digest = hashlib.sha256()
    for file in sorted(files_of(path)):
        digest.update(f"{file.relative_to(path).as_posix()}\0".encode(errors="surrogateescape"))
        _add(digest, file)
        digest.update(b"\0")
    return _shown(digest)


def file_fingerprint(path: Path) -> str:
    """Return the sha256 of one file."""
    return f"sha256:{hash_of_file(path)[:16]}"


def _add(digest: hashlib._Hash, path: Path) -> None:
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:  # what cannot be read cannot be used either
        digest.update(f"\0{error.errno}".encode())


def _shown(digest: hashlib._Hash) -> str:
    return f"sha256:{digest.hexdigest()[:16]}"
