"""Datasets that torchvision reads: one adapter over its dataset classes.

torchvision reads the files (and checks CIFAR's and SVHN's checksums before it unpickles anything);
this module knows where they lie, checks them by name first, and turns them into arrays.
"""

from __future__ import annotations

import math
import shutil
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ddbench.datasets.dataset import WITH_FLIP, WITHOUT_FLIP, Dataset
from ddbench.datasets.errors import DatasetError
from ddbench.datasets.layouts import copy_files, unpacked
from ddbench.datasets.npz import read_npz
from ddbench.datasets.source import Option, Presence, Progress, Source, stat_tree
from ddbench.store.hashing import hash_of_file
from ddbench.text.lines import reason_of

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
DIGITS = tuple("0123456789")
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CLOTHES = tuple(
    "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")
)
CIFAR10_NAMES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR10_CONSTANTS = "cifar10_constants"  # an option of CIFAR-100: MTT's code has them for both
MEAN_TOLERANCE = 0.1  # relative: the sets of one layout differ by a third and more
STALL_SECONDS = 60.0  # a download that is silent for so long has failed


@dataclass(frozen=True, eq=False)
class TorchvisionSet(Source):
    """A dataset class of torchvision, or the same data in `<root>/<name>.npz`.

    Attributes beside `Source`'s:
        class_name: The class in `torchvision.datasets`.
        layout: Every file needed, below a data root or one of `subfolders`.
        class_names: C names; () takes those in the files.
        mean: Known normalisation, () where it is to be measured.
        std: The same.
        pixel_mean: Mean of each channel as measured, for sets without a known normalisation.
        augment: The siamese augmentation strategy.
        axes: Order of the axes of the class's images.
        by_split: Whether the class takes `split="train"` instead of `train=True`.
        subfolders: Folders below a root that may hold the layout.
        options: Options of its own.
    """

    name: str
    summary: str
    class_name: str
    layout: tuple[str, ...]
    num_classes: int
    shape: tuple[int, int, int]
    train_size: int
    test_size: int
    licence: str
    homepage: str
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pixel_mean: tuple[float, ...] = ()
    augment: str = WITH_FLIP
    axes: str = "nhw"
    by_split: bool = False
    subfolders: tuple[str, ...] = ("",)
    options: Mapping[str, Option] = field(default_factory=dict)

    def locate(self, roots: Sequence[Path]) -> Presence:
        """Look for torchvision's layout, then for `<name>.npz`, in each root in turn."""
        base = self._base(roots)
        if base is None:
            return Presence(False, None, f"{self._shortfall(roots)}; {self._remedy()}")
        if base.is_file():
            return Presence(True, base)
        return Presence(True, (base / self.layout[0]).parent)

    def _base(self, roots: Sequence[Path]) -> Path | None:
        """Return the folder that the layout is relative to, or the npz."""
        for root in roots:
            for folder in (root / sub for sub in self.subfolders):
                if not self._missing(folder):
                    return folder
            if (root / f"{self.name}.npz").is_file():
                return root / f"{self.name}.npz"
        return None

    def _missing(self, folder: Path) -> list[str]:
        return [file for file in self.layout if not (folder / file).is_file()]

    def _shortfall(self, roots: Sequence[Path]) -> str:
        """Say what lacks where some of the files are, else where they were searched."""
        for folder in (root / sub for root in roots for sub in self.subfolders):
            missing = self._missing(folder)
            if len(missing) < len(self.layout):
                return f"{folder} lacks {', '.join(missing)}"
        return f"not in {', '.join(map(str, roots)) or 'any data root (none given)'}"

    def _remedy(self) -> str:
        return (
            f"`ddbench datasets fetch {self.name}` downloads it,"
            f" `ddbench datasets import {self.name} PATH` takes files that are elsewhere"
        )

    def files(self, roots: Sequence[Path]) -> Iterable[tuple[str | int, ...]]:
        """Return the files of the layout, or the npz."""
        where = self._found(roots)
        paths = [where] if where.is_file() else [where / file for file in self.layout]
        return [entry for path in paths for entry in stat_tree(path)]

    def sizes(self, roots: Sequence[Path]) -> tuple[int | None, int | None]:
        """Return what the headers of idx files say; other files are checked against their sums."""
        where = self._found(roots)
        if where.is_file():
            return None, None  # an npz, which holds what it holds
        if self.layout[0].endswith(IDX_FILES[0]):
            return _idx_length(where / self.layout[0]), _idx_length(where / self.layout[2])
        return self.train_size, self.test_size

    def load(self, roots: Sequence[Path], options: Mapping[str, Any]) -> Dataset:
        """Read both splits through torchvision, or the npz."""
        where = self._found(roots)
        if where.is_file():
            names = self.class_names or tuple(map(str, range(self.num_classes)))
            dataset = read_npz(where, self.name, names)
        else:
            dataset = self._read(where)
        if dataset.shape != self.shape:
            raise DatasetError(
                f"{where}: has images of {dataset.shape}, but those of {self.name} are"
                f" {self.shape} (channels, height, width): the files of another dataset"
            )
        self._check_pixels(dataset, where)
        mean, std = self.mean, self.std
        if options.get(CIFAR10_CONSTANTS):
            mean, std = CIFAR10_MEAN, CIFAR10_STD
        return replace(dataset, mean=mean, std=std, augment=self.augment)

    def _check_pixels(self, dataset: Dataset, where: Path) -> None:
        """Refuse the files of another set of the same form, such as those of MNIST's variants.

        Sets of another size than the published one may be anything, so nothing is said of them.
        """
        if len(dataset.train_labels) != self.train_size or not self.expected_mean:
            return
        found = tuple(dataset.train_images.mean((0, 2, 3), dtype=np.float64) / 255)
        if _near(found, self.expected_mean):
            return
        like = [other.name for other in TORCHVISION_SETS if other.resembles(self, found)]
        file = where if where.is_file() else where / self.layout[0]
        raise DatasetError(
            f"{file}: the mean pixel of its training images is {_in_words(found)}, that of"
            f" {self.name} is {_in_words(self.expected_mean)}:"
            f" {f'these look like {like[0]}' if like else 'the files of another dataset'}"
        )

    @property
    def expected_mean(self) -> tuple[float, ...]:
        """Mean of each channel of the training images, of pixels in [0, 1]; () if not known."""
        return self.mean or self.pixel_mean

    def resembles(self, other: TorchvisionSet, mean: tuple[float, ...]) -> bool:
        """Say whether files in the form of `other`, of this mean, may be this set's."""
        alike = (self.shape, self.train_size) == (other.shape, other.train_size)
        return alike and _near(mean, self.expected_mean)

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Let torchvision download and check the files; its own bar goes to stderr."""
        progress(f"downloading {self.name} ({self.homepage})")
        with patience():
            try:
                for train in (True, False):
                    self._split(folder, train, download=True)
            except Exception as error:  # URLError, timeouts, RuntimeError for a checksum
                raise DatasetError(
                    f"{self.name}: the download failed ({reason_of(error)}); try again, or"
                    f" download it elsewhere and `ddbench datasets import {self.name} PATH`"
                ) from error
        wanted = {folder / file for file in self.layout}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path not in wanted:
                path.unlink()  # the archives

    def adopt(self, path: Path, folder: Path) -> None:
        """Take an npz, the archive as distributed, or a folder with the files in it or below."""
        if path.suffix == ".npz":
            shutil.copyfile(path, folder / f"{self.name}.npz")
            return
        with unpacked(path, folder) as opened:
            copy_files(opened, self.layout, folder)

    def _found(self, roots: Sequence[Path]) -> Path:
        base = self._base(roots)
        if base is None:
            raise DatasetError(f"{self.name}: its files are gone; {self._remedy()}")
        return base

    def _read(self, folder: Path) -> Dataset:
        self._check_files(folder)
        try:
            train, test = self._split(folder, True), self._split(folder, False)
        except Exception as error:  # torchvision raises what its parsers raise
            raise DatasetError(
                f"{folder}: torchvision cannot read {self.name} ({reason_of(error)});"
                f" delete {', '.join(self.layout)} there, then {self._remedy()}"
            ) from error
        names = self.class_names or tuple(train.classes)
        return Dataset(
            self.name, self._images(train), _labels(train), self._images(test), _labels(test), names
        )

    def _split(self, folder: Path, train: bool, download: bool = False) -> Any:  # noqa: ANN401
        which = {"split": "train" if train else "test"} if self.by_split else {"train": train}
        with warnings.catch_warnings():  # of numpy, about the age of CIFAR's pickles
            warnings.simplefilter("ignore")
            return self._torchvision_class()(folder, download=download, **which)

    def _torchvision_class(self) -> Any:  # noqa: ANN401
        from torchvision import datasets

        return getattr(datasets, self.class_name)

    def _images(self, split: Any) -> np.ndarray:  # noqa: ANN401
        """Return (n, ch, H, W)."""
        data = np.asarray(split.data)
        if self.axes == "nhw":
            return data[:, None]
        return np.ascontiguousarray(data.transpose([self.axes.index(axis) for axis in "nchw"]))

    def _check_files(self, folder: Path) -> None:
        """Name the file that is damaged: torchvision's own errors do not."""
        digests = _digests(self._torchvision_class())
        for file in self.layout:
            path = folder / file
            fault = (
                _idx_fault(path)
                if "-idx" in path.name
                else _digest_fault(path, digests.get(path.name))
            )
            if fault:
                raise DatasetError(f"{path}: {fault}; delete it, then {self._remedy()}")


def _near(found: tuple[float, ...], known: tuple[float, ...]) -> bool:
    pairs = zip(found, known, strict=False)
    return bool(known) and all(abs(a - b) <= MEAN_TOLERANCE * b for a, b in pairs)


def _in_words(mean: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in mean)


def _labels(split: Any) -> np.ndarray:  # noqa: ANN401
    labels = split.targets if hasattr(split, "targets") else split.labels
    return np.asarray(labels).astype(np.int64).reshape(-1)


def _digests(torchvision_class: Any) -> dict[str, str]:  # noqa: ANN401
    """Return {file name: md5} of what torchvision knows about unpacked files."""
    pairs = [
        *getattr(torchvision_class, "train_list", []),
        *getattr(torchvision_class, "test_list", []),
        *(entry[1:] for entry in getattr(torchvision_class, "split_list", {}).values()),
    ]
    meta = getattr(torchvision_class, "meta", None)
    return dict(pairs) | ({meta["filename"]: meta["md5"]} if meta else {})


def _digest_fault(path: Path, expected: str | None) -> str:
    if expected is None:
        return ""
    found = hash_of_file(path, "md5")
    if found == expected:
        return ""
    size = path.stat().st_size
    return f"is damaged or cut short ({size} bytes, md5 {found}, expected {expected})"


def _idx_fault(path: Path) -> str:
    """Say what is wrong with the header or the length of an MNIST-style file of bytes."""
    axes = 3 if "idx3" in path.name else 1
    with open(path, "rb") as file:
        header = file.read(4 + 4 * axes)
    if header[:2] == b"\x1f\x8b":
        return "is still compressed (gzip)"
    if header[:4] != bytes([0, 0, 8, axes]) or len(header) < 4 + 4 * axes:
        kind = "images" if axes == 3 else "labels"
        return f"is not an idx file of {kind} (it begins with the bytes {header[:4].hex()})"
    lengths = [int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4)]
    expected = len(header) + math.prod(lengths)
    if path.stat().st_size != expected:
        return (
            f"is cut short or too long: {path.stat().st_size} bytes where its header"
            f" ({' x '.join(map(str, lengths))}) needs {expected}"
        )
    return ""


def _idx_length(path: Path) -> int | None:
    """Return how many images an idx file says it holds, None where it is no idx file."""
    try:
        with open(path, "rb") as file:
            header = file.read(8)
    except OSError:
        return None
    return int.from_bytes(header[4:], "big") if header[:2] == b"\0\0" else None


@contextmanager
def patience() -> Iterator[None]:
    """Bound how long a connection may be silent; urllib waits for ever by default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


MNIST = TorchvisionSet(
    name="mnist",
    summary="handwritten digits",
    class_name="MNIST",
    layout=tuple(f"MNIST/raw/{file}" for file in IDX_FILES),
    num_classes=10,
    shape=(1, 28, 28),
    train_size=60_000,
    test_size=10_000,
    licence="CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    class_names=DIGITS,
    mean=(0.1307,),
    std=(0.3081,),
    augment=WITHOUT_FLIP,
)
CIFAR10 = TorchvisionSet(
    name="cifar10",
    summary="photographs of animals and vehicles",
    class_name="CIFAR10",
    layout=tuple(f"cifar-10-batches-py/{file}" for file in CIFAR10_FILES),
    num_classes=10,
    shape=(3, 32, 32),
    train_size=50_000,
    test_size=10_000,
    licence="not stated",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    class_names=CIFAR10_NAMES,
    mean=CIFAR10_MEAN,
    std=CIFAR10_STD,
    axes="nhwc",
)
TORCHVISION_SETS: tuple[TorchvisionSet, ...] = (
    MNIST,
    replace(
        MNIST,
        name="fashionmnist",
        summary="articles of clothing",
        class_name="FashionMNIST",
        layout=tuple(f"FashionMNIST/raw/{file}" for file in IDX_FILES),
        licence="MIT",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        class_names=CLOTHES,
        mean=(0.2861,),
        std=(0.3530,),
        augment=WITH_FLIP,
    ),
    replace(
        MNIST,
        name="kmnist",
        summary="cursive Japanese characters",
        class_name="KMNIST",
        layout=tuple(f"KMNIST/raw/{file}" for file in IDX_FILES),
        licence="CC BY-SA 4.0",
        homepage="https://codh.rois.ac.jp/kmnist/",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        mean=(),
        std=(),
        pixel_mean=(0.1918,),
    ),
    TorchvisionSet(
        name="usps",
        summary="handwritten digits of postal codes",
        class_name="USPS",
        layout=("usps.bz2", "usps.t.bz2"),
        num_classes=10,
        shape=(1, 16, 16),
        train_size=7_291,
        test_size=2_007,
        licence="not stated",
        homepage="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        class_names=DIGITS,
        augment=WITHOUT_FLIP,
        subfolders=("", "USPS", "usps"),
    ),
    TorchvisionSet(
        name="svhn",
        summary="house numbers in street views (train split only, no extra)",
        class_name="SVHN",
        layout=("train_32x32.mat", "test_32x32.mat"),
        num_classes=10,
        shape=(3, 32, 32),
        train_size=73_257,
        test_size=26_032,
        licence="non-commercial use",
        homepage="http://ufldl.stanford.edu/housenumbers/",
        class_names=DIGITS,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        augment=WITHOUT_FLIP,
        axes="nchw",
        by_split=True,
        subfolders=("", "SVHN", "svhn"),
    ),
    CIFAR10,
    replace(
        CIFAR10,
        name="cifar100",
        summary="photographs in a hundred fine classes",
        class_name="CIFAR100",
        layout=tuple(f"cifar-100-python/{file}" for file in ("train", "test", "meta")),
        num_classes=100,
        class_names=(),
        mean=(0.5071, 0.4866, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        options={CIFAR10_CONSTANTS: Option(False, "normalise with CIFAR-10's mean, std", bool)},
    ),
)
