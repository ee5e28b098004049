"""Copy a dataset's files from any place into the layout under a data root."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ddbench.datasets.errors import DatasetError
from ddbench.text.lines import reason_of

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@contextmanager
def staged(root: Path) -> Iterator[Path]:
    """Give an empty folder beside the data, on the same disk, that is gone after the block.

    Raises:
        DatasetError: The root cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".incoming-", dir=root))
    except OSError as error:
        raise DatasetError(
            f"{root}: cannot be written ({error.strerror}); choose another data root"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(folder: Path, root: Path) -> None:
    """Move everything in `folder` to the same place under `root`, over files of the same name."""
    for path in sorted(folder.iterdir()):
        target = root / path.name
        if path.is_dir() and target.is_dir():
            place(path, target)
        else:
            os.replace(path, target)


@contextmanager
def unpacked(path: Path, beside: Path) -> Iterator[Path]:
    """Give `path` itself, or for an archive a folder with its content, gone after the block.

    Raises:
        DatasetError: The archive is damaged, or has members that would leave the folder.
    """
    if not (path.is_file() and path.name.lower().endswith(ARCHIVES)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=beside.parent) as folder:
        try:
            _unpack(path, folder)
        except RuntimeError as error:  # locked, or packed by a method that Python does not know
            raise DatasetError(
                f"{path}: cannot be unpacked ({reason_of(error)}); unpack it by another program,"
                " then name the folder"
            ) from error
        except (OSError, EOFError, ValueError, *DAMAGE) as error:
            raise DatasetError(
                f"{path}: cannot be unpacked ({reason_of(error)}); get the archive again"
            ) from error
        yield Path(folder)


def _unpack(path: Path, folder: str) -> None:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                member.filename = member.filename.replace("\\", "/")  # as Windows packs
                archive.extract(member, folder)  # takes drive letters, roots and ".." out of names
    else:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")


def copy_files(path: Path, wanted: Sequence[str], folder: Path) -> None:
    """Copy the files `wanted`, paths in the layout, from wherever they lie at or below `path`.

    A file is recognised by the longest end of its path in the layout, with `.gz` appended or not;
    compressed ones are unpacked (a repacked .gz, such as Debian's, is as good as any).

    Raises:
        DatasetError: A file that is missing, there twice, or damaged.
    """
    for relative in wanted:
        source = _find(path, relative)
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.name.endswith(".gz") and not relative.endswith(".gz"):
            _gunzip(source, target)
        else:
            shutil.copyfile(source, target)


def _find(path: Path, relative: str) -> Path:
    parts = Path(relative).parts
    for start in range(len(parts)):  # the most telling end of the path first
        for name in _spellings(os.path.join(*parts[start:])):
            if (path / name).is_file():
                return path / name
    names = {Path(name).name for name in _spellings(parts[-1])}
    if path.is_file():
        found = [path] if path.name in names else []
    else:
        found = sorted(file for file in path.rglob("*") if file.name in names and file.is_file())
    if not found:
        raise DatasetError(f"{path}: has no {parts[-1]}, packed (.gz) or not, in it or below")
    if len(found) > 1:
        raise DatasetError(
            f"{path}: {parts[-1]} exists more than once ({found[0]}, {found[1]});"
            " name the folder of the right one"
        )
    return found[0]


def _spellings(name: str) -> list[str]:
    # MNIST's files are about as train-images-idx3-ubyte and as train-images.idx3-ubyte
    dotted = name.replace("-idx", ".idx")
    return [spelling + end for end in ("", ".gz") for spelling in dict.fromkeys((name, dotted))]


def _gunzip(source: Path, target: Path) -> None:
    try:
        with gzip.open(source, "rb") as packed, open(target, "wb") as plain:
            shutil.copyfileobj(packed, plain)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{source}: cannot be unpacked ({reason_of(error)}); get the file again"
        ) from error


def find_folder(path: Path, marks: Sequence[str]) -> Path:
    """Return `path` or the one folder below it in which every one of `marks` exists.

    Raises:
        DatasetError: No folder has them all, or several do.
    """
    depth = len(Path(marks[0]).parts)
    below = (mark.parents[depth - 1] for mark in path.rglob(marks[0]))
    found = sorted({p for p in (path, *below) if all((p / mark).exists() for mark in marks)})
    if len(found) == 1:
        return found[0]
    listed = ", ".join(marks)
    if not found:
        raise DatasetError(f"{path}: has no folder in it that holds {listed}")
    raise DatasetError(f"{path}: several folders hold {listed} ({found[0]}, {found[1]}); name one")
