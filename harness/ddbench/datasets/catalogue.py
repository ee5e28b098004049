"""Find datasets by name, load and list them; download or import missing ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ddbench.datasets import cache as cached
from ddbench.datasets.dataset import Dataset, check, class_counts, fingerprint_of, measure
from ddbench.datasets.embedded import MnistMini, Toy, split_by_class
from ddbench.datasets.errors import DatasetError, DatasetMissing, instead
from ddbench.datasets.folders import Mhist, TinyImageNet
from ddbench.datasets.image_folders import ImageFolder
from ddbench.datasets.image_tables import ImageTable, table_in
from ddbench.datasets.images import resize
from ddbench.datasets.layouts import place, staged
from ddbench.datasets.npz import NpzFile
from ddbench.datasets.source import (
    AnyPath,
    Presence,
    Progress,
    Source,
    read_options,
    resolve_options,
)
from ddbench.datasets.splits import split_by_share
from ddbench.datasets.torchvision_sets import TORCHVISION_SETS
from ddbench.text.lines import reason_of

Sources = Mapping[str, Source]
SUBSET_SEED = 0  # of the option train_per_class
VALIDATION_SEED = 0  # of the option validate
WHITENING_MATRICES = 3  # that fitting one holds at once: covariance, eigenvectors, the result


def register_datasets() -> dict[str, Source]:
    """Return the built-in datasets by name, as an extension returns its own."""
    sources: list[Source] = [
        MnistMini(),
        *TORCHVISION_SETS,
        TinyImageNet(),
        Mhist(),
        AnyPath("npz:/path/file.npz", NpzFile, "file", "any .npz file in MedMNIST's layout",
                "https://medmnist.com"),
        AnyPath("folder:/path", ImageFolder, "folder",
                "any folder of images in train/<class>/ and test/<class>/"),
        AnyPath("csv:/path/labels.csv", ImageTable, "table",
                "images and labels listed in a CSV file"),
        Toy(),
    ]  # fmt: skip
    return {source.name: source for source in sources}


def find(name: str, sources: Sources | None = None) -> Source:
    """Return the source of a name, or of a `kind:argument` such as `npz:/path/file.npz`.

    Raises:
        DatasetError: Unknown, with the nearest known name.
    """
    known = register_datasets() if sources is None else sources
    kind, colon, argument = name.partition(":")
    if colon and f"{kind}:" in known:
        if not argument:
            raise DatasetError(f"dataset {name!r} needs a path after the colon")
        source = known[f"{kind}:"].at(argument)
        source.code = known[f"{kind}:"].code
        return source
    if name not in known:
        if meant := suggested_path(name, known):
            raise DatasetError(f"unknown dataset {name!r}; did you mean {meant!r}?")
        # of npx:/path/file.npz only what is before the colon can be near a known name
        raise DatasetError(f"unknown dataset {name!r}{instead(kind + colon, known, argument)}")
    return known[name]


def suggested_path(name: str, known: Iterable[str]) -> str:
    """Return the name that a bare path may mean, such as `folder:/path`; "" if it is no path.

    A folder with a table and without class folders means that table.
    """
    path = Path(name).expanduser()
    if not (path.exists() or os.sep in name) or ":" in name:
        return ""
    kind = {".npz": "npz:", ".csv": "csv:", ".tsv": "csv:"}.get(path.suffix.lower(), "folder:")
    kind = "folder:" if path.is_dir() else kind
    if path.is_dir() and (table := table_in(path)):
        kind, name = "csv:", os.path.join(name, table.name)
    return kind + name if kind in known else ""


def split_options(name: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the name and the options, as text, of `folder:/path?size=32&zca=true`."""
    match = re.fullmatch(r"(?P<name>.+)\?(?P<options>\w+=[^?&]*(&\w+=[^?&]*)*)", name, re.DOTALL)
    if not match:
        return name, []
    pairs = [pair.partition("=") for pair in match["options"].split("&")]
    return match["name"], [(key, text) for key, _, text in pairs]


def load(
    name: str,
    *,
    roots: Iterable[Path] = (),
    cache: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sources: Sources | None = None,
) -> Dataset:
    """Return the dataset of this name, from the cache where it is there already.

    Args:
        name: A registered name, `npz:/path/file.npz` or `folder:/path`; options may follow it, as
            in `folder:/path?size=32&zca=true`.
        roots: Data roots, searched in this order.
        cache: Folder that keeps arrays between processes; None keeps nothing.
        options: Options of the dataset, over those in its name; see `Source.options` and
            `COMMON_OPTIONS`.
        sources: Every dataset known, by name; None stands for the built-in ones.

    Raises:
        DatasetMissing: The files are not there.
        DatasetError: An unknown name or option; corrupt, truncated or mislabelled files.
    """
    source, folders, resolved = _asked(name, roots, options, sources)
    if resolved.get("zca") and (shape := _known_shape(source, resolved)):
        check_whitening(name, shape)

    def build() -> Dataset:
        return _read(source, folders, resolved)

    if cache is None or not source.cached:
        return build()
    entry = cached.entry_of(Path(cache), source, folders, resolved)
    return cached.read_or_build(entry, source.name, resolved, build)


def fingerprint(
    name: str,
    *,
    roots: Iterable[Path] = (),
    cache: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sources: Sources | None = None,
) -> str:
    """Return the dataset's content fingerprint; arguments and errors are those of `load`.

    Where the cache has it, only the names, sizes and times of the files are looked at.
    """
    source, folders, resolved = _asked(name, roots, options, sources)
    if cache is not None and source.cached:
        facts = cached.read_facts(cached.entry_of(Path(cache), source, folders, resolved))
        if facts is not None:
            return facts.fingerprint
    return load(name, roots=folders, cache=cache, options=options, sources=sources).fingerprint


@dataclass(frozen=True)
class Sizes:
    """The known sizes of a dataset's arrays.

    Attributes:
        num_classes: C.
        shape: (ch, H, W).
        train: Number of training images.
        test: Number of test images.
        measured: Whether the files were read, else these are the published sizes.
    """

    num_classes: int
    shape: tuple[int, int, int]
    train: int
    test: int
    measured: bool


def sizes(
    name: str,
    *,
    roots: Iterable[Path] = (),
    cache: Path | None = None,
    options: Mapping[str, Any] | None = None,
    sources: Sources | None = None,
) -> Sizes:
    """Return the sizes of a dataset; the published ones where its files are not here.

    Arguments and errors are those of `load`: files that are absent are one only where nothing is
    published.
    """
    try:
        dataset = load(name, roots=roots, cache=cache, options=options, sources=sources)
    except DatasetMissing:
        published = _published_sizes(name, options, sources)
        if published is None:
            raise
        return published
    counts = len(dataset.train_labels), len(dataset.test_labels)
    return Sizes(dataset.num_classes, dataset.shape, *counts, measured=True)


def _known_shape(source: Source, options: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return (ch, H, W) of a dataset's images before any is read, None where it is not known."""
    if source.shape is None:
        return None
    size = options.get("size")
    return (source.shape[0], size, size) if size else source.shape


def _published_sizes(
    name: str, options: Mapping[str, Any] | None, sources: Sources | None
) -> Sizes | None:
    source, resolved = _named(name, options, sources)
    if None in (source.num_classes, source.shape, source.train_size, source.test_size):
        return None
    assert source.num_classes and source.shape and source.train_size and source.test_size  # noqa: S101
    per_class, train = resolved["train_per_class"], source.train_size
    shape = _known_shape(source, resolved) or source.shape
    train = min(train, per_class * source.num_classes) if per_class else train
    return Sizes(source.num_classes, shape, train, source.test_size, measured=False)


def _named(
    name: str, options: Mapping[str, Any] | None, sources: Sources | None
) -> tuple[Source, dict[str, Any]]:
    """Return the source and the resolved options of a dataset, whose files may be absent."""
    name, texts = split_options(name)
    source = find(name, sources)
    named = read_options(source, texts)
    resolved = resolve_options(source, {**named, **(options or {})})
    return source.configured(resolved), resolved


def _asked(
    name: str,
    roots: Iterable[Path],
    options: Mapping[str, Any] | None,
    sources: Sources | None,
) -> tuple[Source, tuple[Path, ...], dict[str, Any]]:
    """Return source, roots and resolved options of a dataset whose files are there."""
    source, resolved = _named(name, options, sources)
    folders = _expanded(roots)
    presence = source.locate(folders)
    if not presence.present:
        raise DatasetMissing(source.name, presence.remedy)
    return source, folders, resolved


def _expanded(roots: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(Path(root).expanduser() for root in roots)


def _read(source: Source, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
    """Return the source's dataset, checked and completed; errors name the place of its files."""
    where = str(source.locate(roots).where or source.name)
    try:
        dataset = source.load(roots, options)
    except OSError as error:  # a file that cannot be opened, or vanished while being read
        named = error.filename or where
        raise DatasetError(
            f"{named}: cannot be read ({error.strerror or error}); check it, or get it again"
        ) from error
    except (DatasetError, DatasetMissing):
        raise
    except Exception as error:  # of a third party's code, or of a parser
        kind = type(error).__name__
        raise DatasetError(f"{where}: cannot be read ({kind}: {reason_of(error)})") from error
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"{where}: load returned {type(dataset).__name__}; expected a ddbench.datasets.Dataset"
        )
    return complete(replace(dataset, options=dict(options)), source, where)


def complete(dataset: Dataset, source: Source, where: str) -> Dataset:
    """Check what a source has read, apply the common options, measure what is not known.

    Known normalisation holds for the images as distributed: after the option `size` has resized
    them it is measured anew (not so for a source that resizes by itself, as MHIST does).

    Raises:
        DatasetError: See `dataset.check`.
    """
    dataset, of_its_own = _asked_for(dataset)
    check(dataset, where)
    size, per_class = dataset.options.get("size"), dataset.options.get("train_per_class")
    notes = [dataset.notes, of_its_own, *_size_notes(dataset, source, per_class)]
    if size is not None and dataset.shape[1:] != (size, size):
        notes.append(f"resized from {dataset.shape[1]}x{dataset.shape[2]} to {size}x{size}")
        dataset = _resized(dataset, size)
    if per_class is not None and per_class < class_counts(dataset).max():
        notes.append(f"a fixed random subset of at most {per_class} training images a class")
        dataset = _subset(dataset, per_class)
    if dataset.options.get("validate") is not None:
        dataset = _with_validation(dataset, dataset.options["validate"], where)
    if dataset.zca:
        check_whitening(where, dataset.shape)
    if not dataset.mean:
        mean, std = measure(dataset.train_images)
        dataset = replace(dataset, mean=mean, std=std)
    dataset = replace(dataset, notes="; ".join(note for note in notes if note))
    return replace(dataset, fingerprint=fingerprint_of(dataset))


def check_whitening(name: str, shape: tuple[int, int, int]) -> None:
    """See that a whitening (ZCA) of (ch, H, W) images can be fitted on this machine.

    Raises:
        DatasetError: Its matrices need more memory than there is.
    """
    pixels = shape[0] * shape[1] * shape[2]
    matrix, memory = 8 * pixels**2, psutil.virtual_memory().total
    if matrix * WHITENING_MATRICES > memory:
        raise DatasetError(
            f"{name}: whitening (zca=true) of {'×'.join(map(str, shape))} images needs matrices of "
            f"{pixels:,} × {pixels:,} numbers: {matrix / 1e9:.3g} GB each, "
            f"{WHITENING_MATRICES} at once, and this machine has {memory / 1e9:.3g} GB of memory; "
            "leave zca out, or resize the images (size=32)"
        )


def _size_notes(dataset: Dataset, source: Source, per_class: int | None) -> list[str]:
    """Say where a split is not of the published size (the toy's size is for its options to say)."""
    splits = [
        ("train", len(dataset.train_labels), source.train_size),
        ("test", len(dataset.test_labels), source.test_size),
    ]
    if source.options.get("train_per_class"):
        return []
    return [
        f"{split}: {number:,} images where {published:,} are published"
        for split, number, published in splits
        if published is not None and number != published
    ]


def _asked_for(dataset: Dataset) -> tuple[Dataset, str]:
    """Return the dataset without its validation split if that is not asked for, and a note."""
    if dataset.val_images is None or dataset.options.get("validate") is not None:
        return dataset, ""
    return replace(dataset, val_images=None, val_labels=None), "its validation split is left out"


def _with_validation(dataset: Dataset, percent: int, where: str) -> Dataset:
    """Return the dataset with a validation split: its own, or `percent` of its training images.

    Raises:
        DatasetError: A class has a single training image, none of which can be held out.
    """
    if dataset.val_images is not None:
        return replace(dataset, validation="its own validation split")
    labels = np.asarray(dataset.train_labels)
    single = [dataset.classes[c] for c in np.flatnonzero(class_counts(dataset) < 2)]
    if single:
        raise DatasetError(
            f"{where}: class {single[0]!r} has a single training image, so none can be held out"
            " to validate on; add images of it, or leave out --validate"
        )
    held_out, kept = split_by_share(labels, percent / 100, VALIDATION_SEED)
    return replace(
        dataset,
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
        val_images=dataset.train_images[held_out],
        val_labels=dataset.train_labels[held_out],
        validation=f"{percent}% of the training images, held out",
    )


def _resized(dataset: Dataset, size: int) -> Dataset:
    return replace(
        dataset,
        train_images=resize(dataset.train_images, size),
        test_images=resize(dataset.test_images, size),
        val_images=None if dataset.val_images is None else resize(dataset.val_images, size),
        mean=(),
        std=(),
    )


def _subset(dataset: Dataset, per_class: int) -> Dataset:
    kept, _ = split_by_class(np.asarray(dataset.train_labels), per_class, SUBSET_SEED)
    return replace(
        dataset,
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
    )


def locate(name: str, *, roots: Iterable[Path] = (), sources: Sources | None = None) -> Presence:
    """Return whether a dataset's files are present, where, and how to get them.

    Raises:
        DatasetError: An unknown name.
    """
    return find(name, sources).locate(_expanded(roots))


@dataclass(frozen=True)
class Listing:
    """One line of `ddbench datasets`; None where only the files have the answer."""

    name: str
    summary: str
    num_classes: int | None
    shape: tuple[int, int, int] | None
    train_size: int | None
    test_size: int | None
    licence: str
    homepage: str
    present: bool
    where: str
    remedy: str


def listing(*, roots: Iterable[Path] = (), sources: Sources | None = None) -> list[Listing]:
    """Return one line for every dataset known, in the order of registration."""
    folders = _expanded(roots)
    known = register_datasets() if sources is None else sources
    return [_line(source, folders) for source in known.values()]


def _line(source: Source, roots: Sequence[Path]) -> Listing:
    presence = source.locate(roots)
    published = (source.train_size, source.test_size)
    train_size, test_size = source.sizes(roots) if presence.present else published
    return Listing(
        source.name,
        source.summary,
        source.num_classes,
        source.shape,
        train_size,
        test_size,
        source.licence,
        source.homepage,
        presence.present,
        "" if presence.where is None else str(presence.where),
        presence.remedy,
    )


def fetch(
    name: str,
    *,
    root: Path,
    progress: Progress = lambda message: None,
    sources: Sources | None = None,
) -> Path | None:
    """Download a dataset into the data root; return where it is (None where no files are needed).

    The files are downloaded to a temporary folder, checked by loading them, and then moved into
    place. A dataset that is present already stays as it is.

    Raises:
        DatasetError: Nothing to download, no network, or a file that is not what it should be.
    """
    source, root = find(name, sources), Path(root).expanduser()
    presence = source.locate((root,))
    if not presence.present:
        with staged(root) as folder:
            source.fetch(folder, progress)
            progress(f"checking {source.name}")
            _verified(source, folder, str(root))
            place(folder, root)
        presence = source.locate((root,))
    return presence.where


def adopt(
    name: str,
    path: Path,
    *,
    root: Path,
    progress: Progress = lambda message: None,
    sources: Sources | None = None,
) -> Path | None:
    """Copy a dataset that lies at `path` into the data root; return where it is then.

    `path` is the archive as distributed, a folder with the files in it or below (packed with gzip
    or not), or an .npz of MedMNIST's layout. The copy is checked by loading it before it is moved
    into place.

    Raises:
        DatasetError: Nothing usable at `path`, damaged files, or a root that has the set already.
    """
    source, root, path = find(name, sources), Path(root).expanduser(), Path(path).expanduser()
    if not path.exists():
        raise DatasetError(f"{path}: there is no such file or folder")
    present = source.locate((root,))
    if present.present:
        raise DatasetError(
            f"{source.name}: is already at {present.where or 'hand'}; delete that first to replace"
            " it"
        )
    with staged(root) as folder:
        progress(f"copying {path}")
        source.adopt(path, folder)
        progress(f"checking {source.name}")
        found = _verified(source, folder, str(path))
        progress(
            f"{len(found.train_labels):,} training and {len(found.test_labels):,} test images of"
            f" {found.num_classes} classes"
        )
        place(folder, root)
    return source.locate((root,)).where


def _verified(source: Source, folder: Path, origin: str) -> Dataset:
    """Return what was put into `folder`, read once; errors speak of where it came from."""
    presence = source.locate((folder,))
    if not presence.present:
        raise DatasetError(f"{origin}: is incomplete: {presence.remedy}")
    try:
        return _read(source, (folder,), resolve_options(source, {}))
    except DatasetError as error:
        message = str(error).replace(str(folder / f"{source.name}.npz"), origin)
        paths = re.compile(re.escape(str(folder)) + r"/?([^\s:;,]*)")
        raise DatasetError(paths.sub(lambda path: _at(origin, path[1]), message)) from error


def _at(origin: str, relative: str) -> str:
    """Return the path of a file of the layout where it came from: perhaps flat, or packed."""
    path, beside = Path(origin) / relative, Path(origin) / Path(relative).name
    for there in (path, beside, beside.with_name(f"{beside.name}.gz")):
        if there.exists():
            return str(there)
    return str(path)
