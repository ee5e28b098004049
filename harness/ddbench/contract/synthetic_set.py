"""The synthetic set: what every method returns, stored with all that training on it needs."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from ddbench import augment
from ddbench.contract import set_metadata
from ddbench.store.atomic_files import write_whole

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

    from ddbench.datasets.tensors import Whitening

FORMAT = 1
RECORDS = ("recipe", "measures", "provenance")


# What reading a file of somebody else can end in, metadata nested without end among them.
_NOT_OURS = (SafetensorError, LookupError, ValueError, TypeError, RecursionError, OSError)


class SetError(ValueError):
    """A synthetic set, in memory or in a file, that breaks the contract; says where and how."""


class NewerFormatError(SetError):
    """The file of a set that a later ddbench wrote."""


@dataclass(frozen=True)
class SyntheticSet:
    """Synthetic images with their labels, and the recipe they want to be trained by.

    Attributes:
        images: (N, ch, H, W) float32, in the normalised (or whitened) space of the dataset.
        labels: (N,) int64 class indices, or (N, C) float32 label logits (soft labels are their
            softmax at temperature 1).
        recipe: What the set's own evaluation changes in a protocol: any of ``lr`` (float),
            ``batch`` (int), ``epochs`` (int), ``augment`` (a strategy), ``labels``
            ("hard" or "soft": "hard" trains on the largest logit of soft labels).
        columns: Side columns, one value an image, (N, ...) each: ``client_id`` for instance.
        measures: Numbers or words about how the set came to be, for the leaderboard.
        provenance: Strings: dataset, preprocessing, method, versions. Filled in by the harness.
    """

    images: torch.Tensor
    labels: torch.Tensor
    recipe: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, torch.Tensor] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def soft(self) -> bool:
        """Whether the labels are logits rather than class indices."""
        return self.labels.ndim == 2

    def hard_labels(self) -> torch.Tensor:
        """Return one class index an image, (N,) int64: the largest logit where labels are soft."""
        return self.labels.argmax(1) if self.soft else self.labels

    def class_indices(self, c: int) -> torch.Tensor:
        """Return the rows of class `c`, rising, (n_c,) int64 on the device of the labels."""
        return torch.nonzero(self.hard_labels() == c).flatten()

    def to(self, device: torch.device | str) -> SyntheticSet:
        """Return the set with its tensors on `device`."""
        columns = {name: column.to(device) for name, column in self.columns.items()}
        return replace(
            self, images=self.images.to(device), labels=self.labels.to(device), columns=columns
        )

    @property
    def bytes(self) -> int:
        """Bytes of the stored images and labels (soft labels count; side columns do not)."""
        return self.images.nbytes + self.labels.nbytes

    def sha256(self) -> str:
        """Return the hash of images, labels and recipe: what an evaluation depends on."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            tensor = tensor.detach().cpu().contiguous()
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
        recipe = json.loads(json.dumps(dict(self.recipe)))  # as it will be read: keys are strings
        digest.update(json.dumps(recipe, sort_keys=True).encode())
        return digest.hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the set to one safetensors file, whole or not at all."""
        tensors = {"images": self.images, "labels": self.labels}
        tensors |= {f"columns.{name}": column for name, column in self.columns.items()}
        tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        records = {name: dict(getattr(self, name)) for name in RECORDS}
        # one entry, because safetensors writes several in no fixed order
        metadata = {"ddbench": json.dumps({"format": FORMAT, **records})}
        write_whole(Path(path), to_safetensors(tensors, metadata))

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> SyntheticSet:
        """Read a set that `save` wrote. Runs no code from the file.

        Raises:
            SetError: The file is torn, not a safetensors file, not a synthetic set, or of a later
                ddbench.
        """
        try:
            with safe_open(str(path), framework="pt", device=str(device)) as file:
                metadata = json.loads((file.metadata() or {})["ddbench"])
                _check_format(path, metadata["format"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            records = {name: dict(metadata[name]) for name in RECORDS}
            images, labels = tensors.pop("images"), tensors.pop("labels")
            _check_form(images, labels)
        except (FileNotFoundError, NewerFormatError):
            raise
        except _NOT_OURS as error:
            raise SetError(
                f"{path}: not a synthetic set written by ddbench ({error}); condense it again, or "
                "restore the file; `ddbench import` reads those of other programs"
            ) from error
        columns = {name.removeprefix("columns."): tensor for name, tensor in tensors.items()}
        return cls(images, labels, columns=columns, **records)

    def dataset(self) -> TensorDataset:
        """Return the set as a torch Dataset, to train on in one's own code.

        Pairs of an image, (ch, H, W) float32 in the set's own space, and its label: a class index,
        int64, or for soft labels (C,) float32 probabilities. `F.cross_entropy` takes either.
        """
        return set_metadata.torch_dataset(self)

    def unnormalised(self, whitening: Whitening | None = None) -> torch.Tensor:
        """Return the images as pixels, (N, ch, H, W) uint8 on the CPU.

        `whitening` is that of the data, for a whitened (zca) set alone.

        Raises:
            UnknownSpaceError: The set does not say how its images were normalised, or they are
                whitened and no `whitening` is given.
        """
        return set_metadata.unnormalised(self, whitening)

    def __repr__(self) -> str:
        """Return what the set is and where it comes from, in three lines."""
        return set_metadata.three_lines(self)

    def show(self, columns: int = 10) -> Any:  # noqa: ANN401  (PIL.Image, not imported here)
        """Return the images as one picture, a PIL image, row by row in class order."""
        from ddbench.contract.image_grid import grid

        return grid(self, columns=columns)

    def _repr_html_(self) -> str:
        from ddbench.contract.image_grid import as_html

        return as_html(self)


def _check_format(path: Path | str, number: object) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"format {number!r}")
    if number > FORMAT:
        raise NewerFormatError(
            f"{path}: format {number} is newer than this ddbench reads ({FORMAT}); upgrade ddbench"
        )


def _check_form(images: torch.Tensor, labels: torch.Tensor) -> None:
    """See that tensors of a file can be images and labels."""
    if images.ndim != 4 or images.dtype != torch.float32:
        raise ValueError(f"images are {images.dtype} of shape {tuple(images.shape)}")
    kinds = {1: torch.int64, 2: torch.float32}
    if kinds.get(labels.ndim) != labels.dtype or len(labels) != len(images):
        raise ValueError(f"labels are {labels.dtype} of shape {tuple(labels.shape)}")


def check(
    result: object, *, num_classes: int, shape: tuple[int, int, int], ipc: int, balanced: bool
) -> list[str]:
    """Return what is wrong with a set that a method exported, one sentence each; [] if nothing.

    `shape` is (ch, H, W); `ipc` the budget of images a class; a set that is not `balanced` may
    spread at most C*ipc images over the classes as it likes.
    """
    if not isinstance(result, SyntheticSet):
        return [f"export returned {type(result).__name__}; expected a ddbench.SyntheticSet"]
    problems = check_fit(result, num_classes=num_classes, shape=shape)
    problems = problems or check_recipe(result)
    if problems:
        return problems
    counts = torch.bincount(result.hard_labels().cpu(), minlength=num_classes).tolist()
    if balanced and not result.soft and any(count != ipc for count in counts):
        problems.append(
            f"images per class are {counts}; expected exactly {ipc} each "
            "(say balanced=False in MethodInfo if the method does not promise it)"
        )
    if len(result) > num_classes * ipc or (balanced and len(result) != num_classes * ipc):
        problems.append(f"{len(result)} images; the budget is {num_classes} x {ipc}")
    for name, column in result.columns.items():
        if len(column) != len(result):
            problems.append(f"column {name!r} has {len(column)} rows for {len(result)} images")
    return problems


def check_fit(result: SyntheticSet, *, num_classes: int, shape: tuple[int, int, int]) -> list[str]:
    """Return why networks for `num_classes` and images of `shape` cannot train on a set; [] if so.

    `shape` is (ch, H, W). One sentence each.
    """
    problems = _check_kinds(result)
    return problems or _check_images(result.images, shape) + _check_labels(result, num_classes)


def check_recipe(result: SyntheticSet) -> list[str]:
    """Return what is wrong with a set's own recipe, one sentence each; [] if nothing."""
    problems = []
    for key, value in result.recipe.items():
        if key not in _RECIPE:
            near = difflib.get_close_matches(str(key), _RECIPE, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(
                f"the recipe has the unknown key {key!r}{hint} (known: {', '.join(_RECIPE)})"
            )
        elif fault := _RECIPE[key](value):
            problems.append(f"the recipe's {key} is {value!r}; {fault}")
    if result.recipe.get("labels") == "soft" and not result.soft:
        problems.append("the recipe's labels are 'soft', but the set's are class indices: 'hard'")
    return problems


def check_space(result: SyntheticSet, space: Mapping[str, Any]) -> list[str]:
    """Return why a set's images are in another space than `space` (of `datasets.space_of`).

    Told by the set's provenance; of a set that has none nothing is known, and nothing is said.
    """
    of_set = result.provenance
    made_of = f"the set was made of {of_set.get('dataset', 'other data')!r}"
    if "zca" not in of_set:
        return []
    if bool(of_set["zca"]) != bool(space["zca"]):
        states = ("normalised, not whitened", "whitened (zca)")
        return [
            f"{made_of}, {states[bool(of_set['zca'])]}, and these data are"
            f" {states[bool(space['zca'])]}: name them with ?zca={str(bool(of_set['zca'])).lower()}"
        ]
    if space["zca"]:
        if of_set.get("dataset_fingerprint") == space["dataset_fingerprint"]:
            return []
        return [f"{made_of}, whitened by a matrix (zca) fitted to other images than these data's"]
    return [
        f"{made_of}, normalised with {name} {of_set[name]}, and these data with {space[name]}:"
        " evaluate it on the data that it was made of, or convert its images"
        " (times the one std plus the one mean, then minus the other mean, over the other std)"
        for name in ("mean", "std")
        if name in of_set and not _near(of_set[name], space[name])
    ][:1]


def _near(found: object, expected: Sequence[float]) -> bool:
    """Say whether numbers of a set's file are those expected, to the digits that JSON keeps."""
    if not isinstance(found, list | tuple) or len(found) != len(expected):
        return False
    return all(
        isinstance(a, int | float) and math.isclose(a, b, abs_tol=1e-6)
        for a, b in zip(found, expected, strict=True)
    )


def _rate_fault(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number and 0 < value < math.inf else "expected a finite number above 0"  # type: ignore[operator]


def _count_fault(value: object) -> str:
    # bool is a kind of int
    whole = isinstance(value, int) and not isinstance(value, bool)
    return "" if whole and value >= 1 else "expected a whole number of at least 1"  # type: ignore[operator]


def _strategy_fault(value: object) -> str:
    if not isinstance(value, str):
        return "expected the name of a strategy, such as task.strategy or 'none'"
    try:
        augment.operations(value)
    except ValueError as error:
        return str(error)
    return ""


def _labels_fault(value: object) -> str:
    return "" if value in ("hard", "soft") else "expected 'hard' or 'soft'"


# What is wrong with a value of each key of a recipe, "" if nothing.
_RECIPE: Mapping[str, Callable[[Any], str]] = {
    "lr": _rate_fault,
    "batch": _count_fault,
    "epochs": _count_fault,
    "augment": _strategy_fault,
    "labels": _labels_fault,
}


def _check_kinds(result: SyntheticSet) -> list[str]:
    """Return what is no mapping, or no tensor with rows that can be read."""
    problems = [
        f"{name} is {type(value).__name__}; expected a dict"
        for name in (*RECORDS, "columns")
        if not isinstance(value := getattr(result, name), Mapping)
    ]
    tensors: dict[str, object] = {"images": result.images, "labels": result.labels}
    if isinstance(result.columns, Mapping):
        tensors |= {f"column {name!r}": column for name, column in result.columns.items()}
    for name, tensor in tensors.items():
        verb = "is" if name.startswith("column") else "are"
        if not isinstance(tensor, torch.Tensor):
            problems.append(f"{name} {verb} {type(tensor).__name__}; expected a torch.Tensor")
        elif tensor.layout != torch.strided:
            problems.append(f"{name} {verb} {tensor.layout}; export a dense tensor: .to_dense()")
        elif tensor.is_meta:
            problems.append(f"{name} {verb} on the device meta, which holds no numbers")
        elif not tensor.ndim:
            problems.append(f"{name} {verb} a single number; expected a row for each image")
    return problems


def _check_images(images: torch.Tensor, shape: tuple[int, int, int]) -> list[str]:
    problems = []
    if images.ndim != 4 or tuple(images.shape[1:]) != tuple(shape):
        problems.append(f"images have shape {tuple(images.shape)}; expected (N, {shape})")
    if images.dtype != torch.float32:
        problems.append(f"images are {images.dtype}; expected torch.float32")
    if images.requires_grad:
        problems.append("images still require grad; export a detached copy: .detach().clone()")
    if not images.numel():
        problems.append("the set is empty")
    elif not torch.isfinite(images.detach()).all():
        problems.append("images hold NaN or infinite values")
    return problems


def _check_labels(result: SyntheticSet, num_classes: int) -> list[str]:
    labels = result.labels
    if len(labels) != len(result.images):
        return [f"{len(labels)} labels for {len(result.images)} images"]
    if labels.requires_grad:
        return ["labels still require grad; export a detached copy: .detach().clone()"]
    if labels.ndim == 2 and labels.dtype == torch.float32:
        if labels.shape[1] != num_classes:
            return [f"soft labels have {labels.shape[1]} columns; expected {num_classes}"]
        return [] if torch.isfinite(labels).all() else ["labels hold NaN or infinite values"]
    if labels.ndim != 1 or labels.dtype != torch.int64:
        return [
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected (N,) int64 "
            f"class indices or (N, {num_classes}) float32 logits"
        ]
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        return [f"labels run from {labels.min()} to {labels.max()}; expected 0..{num_classes - 1}"]
    return []
