"""The layouts of other programs' files: where the images, labels and learning rate are in them.

- ``dc`` (DatasetCondensation: DC, DSA, DM): ``res_METHOD_DATASET_NET_10ipc.pt``, a dict of
  ``data``, one ``[images, labels]`` an experiment, and ``accs_all_exps``, network -> accuracies.
- ``mtt`` (mtt-distillation): ``images_best.pt`` or ``images_500.pt``, and the file of that name
  with ``labels`` beside it. ``images_zca_500.pt`` are the same with the whitening undone.
- ``datm`` (DATM): as ``mtt``, with logits for labels, and ``lr_best.pt`` beside them.
- ``pair``: ``(images, labels)``, or a dict or safetensors file with both by name.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ddbench.contract.foreign.errors import ForeignError
from ddbench.contract.synthetic_set import SetError, SyntheticSet
from ddbench.text.lines import named

LAYOUTS = ("dc", "mtt", "datm", "pair")
UNWHITENED = "images_zca_"
NAMES = {"images": ("images", "image_syn", "data", "x"), "labels": ("labels", "label_syn", "y")}


@dataclass(frozen=True)
class Foreign:
    """What a file holds, as it is there.

    Attributes:
        images: Whatever shape and dtype it has.
        labels: The same.
        layout: Of `LAYOUTS`.
        recipe: How the set wants to be trained: the learned learning rate of DATM's files, and all
            that a set of ours says.
        accuracies: Network -> the accuracies that the file claims of this set, in [0, 1].
        unwhitened: Whether its name says that whitened images have been turned back into pixels.
    """

    images: torch.Tensor
    labels: torch.Tensor
    layout: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    accuracies: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unwhitened: bool = False


def read_foreign(
    path: Path, layout: str = "auto", experiment: int | None = None, labels: Path | None = None
) -> Foreign:
    """Read a file, or a folder with `images_best.pt`. No code of the file is run.

    Args:
        path: ``.pt``, ``.pth`` or ``.safetensors``.
        layout: "auto" tells by the content.
        experiment: Which of several in a ``dc`` file, from 0.
        labels: The file of the labels, where it is not found by its name.

    Raises:
        ForeignError: It cannot be read so; says why and what would do.
        OSError: The system does not give it out.
    """
    path = path / "images_best.pt" if path.is_dir() else path
    content = _content(path)
    found = _layout_of(content, path)
    if layout not in ("auto", found) and {layout, found} != {"mtt", "datm"}:
        raise ForeignError(
            f"{path}: is not of the layout {layout!r} but {found!r}: leave --layout out"
        )
    if found == "dc":
        return _of_experiments(path, content, experiment)
    if experiment is not None:
        raise ForeignError(f"--experiment {experiment}: {path} holds one set; leave it out")
    if isinstance(content, SyntheticSet):
        return _ours(path, content)
    if found == "pair":
        images, of_images = _pair(path, content)
        return Foreign(images, of_images, found)
    return _of_files(path, content, labels)


def _content(path: Path) -> Any:  # noqa: ANN401  (whatever a file holds)
    """Return what a file holds: tensors, numbers and words in lists and dicts, and nothing else."""
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_numbers()):
            warnings.simplefilter("ignore")  # of pickles of another protocol: refused, or read
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise ForeignError(
            f"{path}: holds more than tensors, numbers and words ({_culprit(error)}), which is"
            " code that reading would run; save its tensors alone, as torch.save((images, labels))"
        ) from error
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, EOFError,
            AttributeError, RecursionError) as error:  # fmt: skip
        raise ForeignError(
            f"{path}: is torn, or no file that torch.save or safetensors wrote"
            f" ({named(error)[:80]})"
        ) from error


def _safetensors(path: Path) -> Any:  # noqa: ANN401  (a set of ours, or tensors by name)
    try:
        return SyntheticSet.load(path)
    except SetError:
        return load_file(path)


def _numpy_numbers() -> list[Any]:
    """Return what numbers of numpy need to be read: no code of theirs runs.

    The accuracies in files of DatasetCondensation are such.
    """
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("f8", "f4", "i8")]
    old, new = "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"
    return [(scalar, old), (scalar, new), np.dtype, *kinds]


def _culprit(error: Exception) -> str:
    """Return the name that torch did not take, of its long message."""
    for word in str(error).replace("`", " ").split():
        if word.count(".") and not word.endswith(".") and "torch.load" not in word:
            name = word.strip("[](),.")
            if name.replace(".", "").replace("_", "").isalnum() and not name[0].isdigit():
                return name
    return "a Python object"


def _layout_of(content: object, path: Path) -> str:
    if isinstance(content, torch.Tensor):
        return "datm" if _beside(path, "lr").is_file() else "mtt"
    if isinstance(content, Mapping) and isinstance(content.get("data"), list):
        return "dc"
    return "pair"


# -- DatasetCondensation ------------------------------------------------------------------------


def _of_experiments(path: Path, content: Mapping[str, Any], experiment: int | None) -> Foreign:
    sets = content["data"]
    if experiment is None and len(sets) != 1:
        raise ForeignError(
            f"{path}: holds the sets of {len(sets)} experiments; choose one by --experiment"
            f" 0..{len(sets) - 1}"
        )
    number = experiment or 0
    if not 0 <= number < len(sets):
        raise ForeignError(f"--experiment {number}: {path} holds 0..{len(sets) - 1}")
    images, labels = _two(path, sets[number])
    accuracies = _accuracies(content.get("accs_all_exps"), number, len(sets))
    return Foreign(images, labels, "dc", accuracies=accuracies)


def _accuracies(said: object, number: int, experiments: int) -> dict[str, list[float]]:
    """Return the accuracies of one experiment; those of all stand one after the other."""
    found = {}
    for network, values in said.items() if isinstance(said, Mapping) else ():
        several = values if isinstance(values, list | tuple) else ()
        shares = [float(v) for v in several if isinstance(v, int | float | np.number)]
        of_one = len(shares) // experiments
        if of_one and all(0 <= share <= 1 for share in shares):
            found[str(network)] = shares[number * of_one : (number + 1) * of_one]
    return found


# -- MTT and DATM ------------------------------------------------------------------------------


def _of_files(path: Path, images: torch.Tensor, labels: Path | None) -> Foreign:
    beside = labels or _beside(path, "labels")
    if not beside.is_file() or beside == path:
        raise ForeignError(
            f"{path}: holds images alone, and there are no labels in {beside}; name their file by"
            " --labels"
        )
    found = _content(beside)
    if not isinstance(found, torch.Tensor):
        raise ForeignError(f"{beside}: holds {type(found).__name__}, not one tensor of labels")
    rate, pixels = _beside(path, "lr"), path.name.startswith(UNWHITENED)
    if not rate.is_file() or rate == path:
        return Foreign(images, found, "mtt", unwhitened=pixels)
    return Foreign(images, found, "datm", recipe={"lr": _rate(rate)}, unwhitened=pixels)


def _beside(path: Path, kind: str) -> Path:
    """Return the file of labels or learning rate that belongs to one of images, by its name."""
    stem = path.name.replace(UNWHITENED, "images_", 1)
    return path.with_name(stem.replace("images", kind, 1))


def _rate(path: Path) -> float:
    value = _content(path)
    single = isinstance(value, torch.Tensor) and value.numel() == 1
    if not single and not isinstance(value, int | float):
        raise ForeignError(f"{path}: holds no single learning rate; move it away to leave it out")
    shortest = np.float32(value.item()) if isinstance(value, torch.Tensor) else value
    return float(str(shortest))


def _ours(path: Path, content: SyntheticSet) -> Foreign:
    """Return what a set of ours holds that does not say in which space its images are."""
    if content.formation or content.payload:
        raise ForeignError(
            f"{path}: is a set of ddbench with a formation or payload, which are not converted;"
            " save it with the provenance of its data (contract.set_metadata.about_data)"
        )
    if content.provenance.get("zca") or "mean" in content.provenance:
        raise ForeignError(
            f"{path}: is a set of ddbench that describes itself; `ddbench evaluate` takes it as it"
            " is"
        )
    return Foreign(content.images, content.labels, "pair", content.recipe)


# -- pairs ------------------------------------------------------------------------------------


def _pair(path: Path, content: object) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(content, Mapping):
        lower = {str(name).lower(): value for name, value in content.items()}
        named = [next((lower[n] for n in NAMES[kind] if n in lower), None) for kind in NAMES]
        if any(value is None for value in named):
            there = ", ".join(sorted(map(str, content))[:6]) or "nothing"
            raise ForeignError(
                f"{path}: has no images and labels by these names, but {there}; save them as"
                " torch.save((images, labels))"
            )
        return _two(path, named)
    return _two(path, content)


def _two(path: Path, content: object) -> tuple[torch.Tensor, torch.Tensor]:
    both = content if isinstance(content, list | tuple) else ()
    if len(both) != 2 or not all(isinstance(one, torch.Tensor) for one in both):
        kinds = ", ".join(type(one).__name__ for one in both) or type(content).__name__
        raise ForeignError(
            f"{path}: expected images and labels as two tensors, found {kinds}; save them as"
            " torch.save((images, labels))"
        )
    return both[0], both[1]
