"""The synthetic set: what every method returns, stored with all that training on it needs."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from ddbench.contract import set_metadata
from ddbench.contract.recipes import recipe_faults
from ddbench.store.atomic_files import write_whole

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

    from ddbench.datasets.tensors import Whitening

FORMAT = 2
PLAIN_FORMAT = 1  # of a set without payload and formation: earlier versions read it too
RECORDS = ("recipe", "measures", "provenance")
KINDS = ("index", "logits", "probabilities", "regression")

# What `payload` may hold; safetensors knows more types, and training needs none of them.
PAYLOAD_TYPES = (
    torch.float16, torch.float32, torch.uint8, torch.bool, torch.int16, torch.int32, torch.int64
)  # fmt: skip
SUM_WITHIN = 1e-4  # of 1, for rows of probabilities
_PAYLOAD_NAME = re.compile(r"[a-z0-9_./-]+")


# What reading a file of somebody else can end in, metadata nested without end among them.
_NOT_OURS = (SafetensorError, LookupError, ValueError, TypeError, RecursionError, OSError)


class SetError(ValueError):
    """A synthetic set, in memory or in a file, that breaks the contract; says where and how."""


class NewerFormatError(SetError):
    """The file of a set that a later ddbench wrote."""


@dataclass(frozen=True)
class SyntheticSet:
    """Synthetic images with their labels, and all else that training on them needs.

    A plain set is images and labels. `formation` says how stored images become what a network is
    trained on, by the names of parts (see `ddbench.formations`); `payload` holds the further
    tensors that these parts need. A set never holds code.

    Attributes:
        images: (N, ch, H, W) float32, in the normalised (or whitened) space of the dataset.
        labels: (N,) int64 class indices, or (N, C) float32 label logits (soft labels are their
            softmax at temperature 1). Other kinds of (N, C) labels are said in `formation`.
        recipe: What the set's own evaluation changes in a protocol: any of ``lr`` (float),
            ``batch`` (int), ``epochs`` or ``steps`` (int), ``augment`` (a strategy), ``labels``
            ("hard" or "soft": "hard" trains on the largest logit of soft labels), ``optimizer``,
            ``momentum``, ``weight_decay``, ``decay_matrices_only``, and ``schedule``, ``mix`` and
            ``loss``, tables of the fields of `contract.recipes.Schedule`, `Mix` and `Loss`.
        columns: Side columns, one value an image, (N, ...) each: ``client_id`` for instance.
        measures: Numbers or words about how the set came to be, for the leaderboard.
        provenance: Strings: dataset, preprocessing, method, versions. Filled in by the harness.
        payload: Further tensors by name, of `PAYLOAD_TYPES`: latents, views, labels of views,
            the weights of a teacher. They count as bytes of the set.
        formation: Stage ("decode", "views", "targets") -> {"name": a part, **its options}.
    """

    images: torch.Tensor
    labels: torch.Tensor
    recipe: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, torch.Tensor] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    payload: Mapping[str, torch.Tensor] = field(default_factory=dict)
    formation: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of stored images, each of which has one label."""
        return len(self.labels)

    @property
    def label_kind(self) -> str:
        """What the labels are, one of `KINDS`."""
        targets = self.formation.get("targets", {})
        kind = targets.get("kind") if isinstance(targets, Mapping) else None
        if kind is not None and targets.get("name") == "stored":
            return str(kind)
        return "logits" if self.soft else "index"

    @property
    def soft(self) -> bool:
        """Whether an image's label is a row of numbers rather than one class index."""
        return self.labels.ndim == 2

    def hard_labels(self) -> torch.Tensor:
        """Return one class index an image, (N,) int64: of soft labels that of the largest."""
        return self.labels.argmax(1) if self.soft else self.labels

    def class_indices(self, c: int) -> torch.Tensor:
        """Return the rows of class `c`, rising, (n_c,) int64 on the device of the labels."""
        return torch.nonzero(self.hard_labels() == c).flatten()

    def to(self, device: torch.device | str) -> SyntheticSet:
        """Return the set with its tensors on `device`."""
        return self.with_tensors(lambda tensor: tensor.to(device))

    def with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> SyntheticSet:
        """Return the set with every tensor of it changed."""
        return replace(
            self,
            images=change(self.images),
            labels=change(self.labels),
            columns={name: change(column) for name, column in self.columns.items()},
            payload={name: change(tensor) for name, tensor in self.payload.items()},
        )

    @property
    def bytes(self) -> int:
        """Bytes of images, labels and payload as stored, before decoding; side columns aside."""
        payload = sum(tensor.nbytes for tensor in self.payload.values())
        return self.images.nbytes + self.labels.nbytes + payload

    def sha256(self) -> str:
        """Return the hash of images, labels, recipe, payload and formation.

        What an evaluation depends on.
        """
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            _add_tensor(digest, tensor)
        digest.update(_as_read(self.recipe).encode())
        if self.payload or self.formation:
            for name in sorted(self.payload):
                digest.update(name.encode())
                _add_tensor(digest, self.payload[name])
            digest.update(_as_read(self.formation).encode())
        return digest.hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the set to one safetensors file, whole or not at all."""
        tensors = {"images": self.images, "labels": self.labels}
        tensors |= {f"columns.{name}": column for name, column in self.columns.items()}
        tensors |= {f"payload.{name}": tensor for name, tensor in self.payload.items()}
        tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        records = {name: dict(getattr(self, name)) for name in RECORDS}
        plain = not (self.payload or self.formation)
        records |= {} if plain else {"formation": dict(self.formation)}
        # one entry, because safetensors writes several in no fixed order
        number = PLAIN_FORMAT if plain else FORMAT
        metadata = {"ddbench": json.dumps({"format": number, **records})}
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
            formation = dict(metadata.get("formation", {}))
            images, labels = tensors.pop("images"), tensors.pop("labels")
            _check_form(images, labels, decoded="decode" in formation)
        except (FileNotFoundError, NewerFormatError):
            raise
        except _NOT_OURS as error:
            raise SetError(
                f"{path}: not a synthetic set written by ddbench ({error}); condense it again, or "
                "restore the file; `ddbench import` reads those of other programs"
            ) from error
        kept: dict[str, dict[str, torch.Tensor]] = {"columns": {}, "payload": {}}
        for name, tensor in tensors.items():
            place, _, own = name.partition(".")
            kept["payload" if place == "payload" else "columns"][own or name] = tensor
        return cls(images, labels, formation=formation, **kept, **records)

    def dataset(self) -> TensorDataset:
        """Return the set as a torch Dataset, to train on in one's own code.

        Pairs of an image, (ch, H, W) float32 in the set's own space, and its label: a class index,
        int64, or for soft labels (C,) float32 probabilities. `F.cross_entropy` takes either.
        Labels for regression are the numbers as they are.

        Raises:
            NotPlainError: What a network sees is made of the stored tensors, see `formation`.
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


def _add_tensor(digest: Any, tensor: torch.Tensor) -> None:  # noqa: ANN401  (of hashlib)
    tensor = tensor.detach().cpu().contiguous()
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.numpy().tobytes())


def _as_read(values: Mapping[str, Any]) -> str:
    """Return plain values as sorted JSON, with keys as they will be read: strings."""
    return json.dumps(json.loads(json.dumps(dict(values))), sort_keys=True)


def _check_form(images: torch.Tensor, labels: torch.Tensor, decoded: bool) -> None:
    """See that tensors of a file can be images and labels; `decoded` ones may be none at all."""
    if images.ndim != 4 or images.dtype != torch.float32:
        raise ValueError(f"images are {images.dtype} of shape {tuple(images.shape)}")
    kinds = {1: torch.int64, 2: torch.float32}
    if kinds.get(labels.ndim) != labels.dtype or not (
        len(labels) == len(images) or (decoded and not len(images))
    ):
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

    `shape` is (ch, H, W). One sentence each. Parts that the set names are not looked at: see
    `ddbench.formations.problems`.
    """
    problems = _check_kinds(result)
    return problems or _check_images(result, shape) + _check_labels(
        result, num_classes
    ) + _check_payload(result.payload)


def check_recipe(result: SyntheticSet) -> list[str]:
    """Return what is wrong with a set's own recipe, one sentence each; [] if nothing."""
    problems = recipe_faults(result.recipe)
    if result.recipe.get("labels") == "soft" and not result.soft:
        problems.append("the recipe's labels are 'soft', but the set's are class indices: 'hard'")
    return problems or _check_loss(result)


def _check_loss(result: SyntheticSet) -> list[str]:
    """Return why the labels are not what the recipe's loss takes; the recipe itself is right."""
    loss = result.recipe.get("loss", {}).get("name", "cross_entropy")
    hard = result.recipe.get("labels") == "hard"
    if hard or result.label_kind != "regression" or loss == "mse":
        return []
    return [
        f"the labels are regression targets, which are no distribution, and the recipe's loss is"
        f" {loss}; take {{'name': 'mse'}}, or labels 'hard'"
    ]


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


def _check_kinds(result: SyntheticSet) -> list[str]:
    """Return what is no mapping, or no tensor with rows that can be read."""
    problems = [
        f"{name} is {type(value).__name__}; expected a dict"
        for name in (*RECORDS, "columns", "payload", "formation")
        if not isinstance(value := getattr(result, name), Mapping)
    ]
    tensors: dict[str, object] = {"images": result.images, "labels": result.labels}
    if isinstance(result.columns, Mapping):
        tensors |= {f"column {name!r}": column for name, column in result.columns.items()}
    if isinstance(result.payload, Mapping):
        tensors |= {f"payload {name!r}": tensor for name, tensor in result.payload.items()}
    for name, tensor in tensors.items():
        verb = "is" if name.startswith(("column", "payload")) else "are"
        if not isinstance(tensor, torch.Tensor):
            problems.append(f"{name} {verb} {type(tensor).__name__}; expected a torch.Tensor")
        elif tensor.layout != torch.strided:
            problems.append(f"{name} {verb} {tensor.layout}; export a dense tensor: .to_dense()")
        elif tensor.is_meta:
            problems.append(f"{name} {verb} on the device meta, which holds no numbers")
        elif not tensor.ndim and not name.startswith("payload"):
            problems.append(f"{name} {verb} a single number; expected a row for each image")
    return problems


def _check_payload(payload: Mapping[str, torch.Tensor]) -> list[str]:
    problems = []
    for name, tensor in payload.items():
        if not _PAYLOAD_NAME.fullmatch(str(name)):
            problems.append(
                f"payload {name!r}: a name has lower-case letters, digits and the signs _ . / -"
            )
        if tensor.dtype not in PAYLOAD_TYPES:
            known = ", ".join(str(one).removeprefix("torch.") for one in PAYLOAD_TYPES)
            problems.append(f"payload {name!r} is {tensor.dtype}; expected one of {known}")
        elif tensor.requires_grad:
            problems.append(f"payload {name!r} still requires grad; export a detached copy")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            problems.append(f"payload {name!r} holds NaN or infinite values")
    return problems


def _check_images(result: SyntheticSet, shape: tuple[int, int, int]) -> list[str]:
    """Return what is wrong with the stored images; those that are decoded may have any shape."""
    problems = []
    images, decoded = result.images, "decode" in result.formation
    if images.ndim != 4 or (not decoded and tuple(images.shape[1:]) != tuple(shape)):
        problems.append(f"images have shape {tuple(images.shape)}; expected (N, {shape})")
    if images.dtype != torch.float32:
        problems.append(f"images are {images.dtype}; expected torch.float32")
    if images.requires_grad:
        problems.append("images still require grad; export a detached copy: .detach().clone()")
    if not images.numel():
        if not decoded or not len(result.labels):
            problems.append("the set is empty")
    elif not torch.isfinite(images.detach()).all():
        problems.append("images hold NaN or infinite values")
    return problems


def _check_labels(result: SyntheticSet, num_classes: int) -> list[str]:
    labels, images = result.labels, result.images
    if len(labels) != len(images) and not ("decode" in result.formation and not len(images)):
        return [f"{len(labels)} labels for {len(result.images)} images"]
    if labels.requires_grad:
        return ["labels still require grad; export a detached copy: .detach().clone()"]
    if labels.ndim == 2 and labels.dtype == torch.float32:
        if labels.shape[1] != num_classes:
            return [f"soft labels have {labels.shape[1]} columns; expected {num_classes}"]
        if not torch.isfinite(labels).all():
            return ["labels hold NaN or infinite values"]
        return _check_kind_of_rows(result)
    if labels.ndim != 1 or labels.dtype != torch.int64:
        return [
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected (N,) int64 "
            f"class indices or (N, {num_classes}) float32 logits"
        ]
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        return [f"labels run from {labels.min()} to {labels.max()}; expected 0..{num_classes - 1}"]
    return []


def _check_kind_of_rows(result: SyntheticSet) -> list[str]:
    """Return why rows of numbers are not labels of the kind that the set says."""
    kind, labels = result.label_kind, result.labels
    if kind == "index":
        return ["the set says that its labels are class indices, but they are rows of numbers"]
    if kind == "probabilities":
        sums = labels.sum(1)
        if (labels < 0).any() or ((sums - 1).abs() > SUM_WITHIN).any():
            return [
                f"labels are said to be probabilities; their rows sum to {sums.min():g} to"
                f" {sums.max():g}, and the least is {labels.min():g}"
            ]
    return []
