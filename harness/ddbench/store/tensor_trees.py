"""Store trees of tensors and plain values without pickle; the default save and restore."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from ddbench.store.atomic_files import write_whole

PLAIN = (bool, int, float, str, type(None))


# What reading a file of somebody else can end in: a gradient of whole numbers and a float beyond
# all floats among them.
_NOT_OURS = (
    SafetensorError, LookupError, ValueError, TypeError, OSError, RuntimeError, ArithmeticError,
)  # fmt: skip


class TreeError(ValueError):
    """A value that no checkpoint can hold, or a file that holds no tree; says where."""


@dataclass(frozen=True)
class Held:
    """The saved contents of an object that only its own kind can take up again."""

    kind: str  # "module", "optimizer", "generator" or "dataclass"
    body: Any


# -- files -------------------------------------------------------------------------------------


def save_tree(path: Path, tree: Any) -> None:  # noqa: ANN401
    """Write a tree (dicts, lists, tuples, tensors, numbers, strings, None) to one file, whole.

    Raises:
        TreeError: A value of another type; the message gives its place in the tree.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _encode(tree, tensors, "state")
    write_whole(path, to_safetensors(tensors, {"tree": json.dumps(skeleton)}))


def load_tree(path: Path, device: torch.device | str = "cpu") -> Any:  # noqa: ANN401
    """Read what `save_tree` wrote. Runs no code from the file.

    Tensors come on the CPU; those that were on an accelerator come on `device`.

    Raises:
        TreeError: The file is torn or not a tree.
        OSError: It cannot be opened now, and may be whole.
    """
    if path.is_file():
        path.open("rb").close()
    try:
        with safe_open(str(path), framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})["tree"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _decode(skeleton, tensors, torch.device(device))
    except FileNotFoundError:
        raise
    except _NOT_OURS as error:
        raise TreeError(f"{path}: not a checkpoint written by ddbench ({error})") from error


def copied(tree: Any) -> Any:  # noqa: ANN401
    """Return the tree with tensors of its own."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone().requires_grad_(tree.requires_grad and tree.is_leaf)
    if isinstance(tree, Held):
        return Held(tree.kind, copied(tree.body))
    if isinstance(tree, dict):
        return {key: copied(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map(copied, tree))
    return tree


def _encode(value: Any, tensors: dict[str, torch.Tensor], place: str) -> Any:  # noqa: ANN401
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, tensors)
    if isinstance(value, float):
        return {"f": float(value).hex()}  # exact, and JSON has no NaN or infinity
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Held):
        return {"h": [value.kind, _encode(value.body, tensors, place)]}
    if isinstance(value, dict):
        pairs = [
            [_encode(key, tensors, place), _encode(item, tensors, f"{place}[{key!r}]")]
            for key, item in value.items()
        ]
        return {"d": pairs}
    if isinstance(value, list | tuple):
        items = [_encode(item, tensors, f"{place}[{i}]") for i, item in enumerate(value)]
        return {"l" if isinstance(value, list) else "u": items}
    raise _unfit(value, place)


def _encode_tensor(value: torch.Tensor, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    name = str(len(tensors))
    tensors[name] = value.detach().cpu().contiguous().clone()
    encoded: dict[str, Any] = {"t": name}
    if value.requires_grad and value.is_leaf:
        encoded["grad"] = True
    if value.device.type != "cpu":
        encoded["moved"] = True
    return encoded


def _unfit(value: object, place: str) -> TreeError:
    return TreeError(
        f"{place} is {type(value).__name__}, which a checkpoint cannot hold; use tensors, numbers, "
        'strings, None, lists or dicts, mark the field metadata={"checkpoint": False} and make it '
        "in init, or implement the hooks save and restore"
    )


def _decode(
    value: Any,  # noqa: ANN401
    tensors: Mapping[str, torch.Tensor],
    device: torch.device,
) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return value
    if "t" in value:
        tensor = tensors[value["t"]].to(device if value.get("moved") else "cpu")
        return tensor.requires_grad_(value.get("grad", False))
    (kind, body), *_ = value.items()
    if kind == "f":
        return float.fromhex(body)
    if kind == "h":
        return Held(body[0], _decode(body[1], tensors, device))
    if kind == "d":
        return {_decode(key, tensors, device): _decode(item, tensors, device) for key, item in body}
    if kind not in ("l", "u"):
        raise ValueError(f"unknown mark {kind!r}")
    items = [_decode(item, tensors, device) for item in body]
    return items if kind == "l" else tuple(items)


# -- the default of the hooks save and restore ---------------------------------------------------


def save_state(state: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a method's dataclass state as a tree: the default of the hook `save`.

    The tree shares its tensors with the state: write it, or take `copied` of it, before the next
    step.

    Raises:
        TreeError: The state is no dataclass, or a field cannot be held; names the field.
    """
    if not dataclasses.is_dataclass(state) or isinstance(state, type):
        raise TreeError(
            f"the state is {type(state).__name__}; make it a dataclass, or implement the hooks "
            "save and restore"
        )
    return {name: _flatten(value, f"state.{name}") for name, value in _fields(state)}


def restore_state(state: Any, tree: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Lay a saved tree over `state`: the default of the hook `restore`.

    Tensors are written in place, so an optimizer keeps its leaves.

    Raises:
        TreeError: A network, optimizer or generator was saved where the state has none.
    """
    _lay_fields(state, tree, "state")


def held_kinds(tree: Any, place: str = "state") -> dict[str, str]:  # noqa: ANN401
    """Return which places of a saved tree need an object of which kind to be laid over."""
    kinds: dict[str, str] = {}
    if isinstance(tree, Held):
        kinds[place] = tree.kind
        if tree.kind == "dataclass":
            kinds |= held_kinds(tree.body, place)
            kinds[place] = tree.kind
    elif isinstance(tree, dict):
        for key, item in tree.items():
            kinds |= held_kinds(item, f"{place}.{key}")
    elif isinstance(tree, list | tuple):
        for i, item in enumerate(tree):
            kinds |= held_kinds(item, f"{place}[{i}]")
    return kinds


def check_restorable(tree: Any, made_by_init: Mapping[str, str]) -> None:  # noqa: ANN401
    """Check that what `init` makes can take up a saved tree: `held_kinds` right after init.

    Raises:
        TreeError: A network, optimizer or generator that came later; names the field.
    """
    for place, kind in held_kinds(tree).items():
        if made_by_init.get(place) != kind:
            raise TreeError(_came_later(place, kind))


def _came_later(place: str, kind: str) -> str:
    return (
        f"{place} holds a {kind} that init did not make, so a checkpoint cannot be laid over it; "
        "make one in init, or implement the hooks save and restore"
    )


def _fields(state: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    kept = (f for f in dataclasses.fields(state) if f.metadata.get("checkpoint", True))
    return [(f.name, getattr(state, f.name)) for f in kept]


def _kind(value: object) -> str | None:
    if isinstance(value, torch.Generator):
        return "generator"
    if isinstance(value, torch.nn.Module):
        return "module"
    if isinstance(value, torch.optim.Optimizer):
        return "optimizer"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "dataclass"
    return None


def _flatten(value: Any, place: str) -> Any:  # noqa: ANN401
    kind = _kind(value)
    if kind == "generator":
        return Held(kind, value.get_state())
    if kind == "module":
        return Held(kind, _flatten_module(value))
    if kind == "optimizer":
        return Held(kind, value.state_dict())
    if kind == "dataclass":
        fields = {name: _flatten(item, f"{place}.{name}") for name, item in _fields(value)}
        return Held(kind, fields)
    if isinstance(value, dict):
        return {key: _flatten(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = (_flatten(item, f"{place}[{i}]") for i, item in enumerate(value))
        return list(items) if isinstance(value, list) else tuple(items)
    if isinstance(value, (torch.Tensor, *PLAIN)):
        return value
    raise _unfit(value, place)


def _flatten_module(module: torch.nn.Module) -> dict[str, Any]:
    """Return weights and buffers, and what `state_dict` leaves out."""
    return {
        "weights": dict(module.state_dict()),
        "training": [part.training for part in module.modules()],
        "trained": [weight.requires_grad for weight in module.parameters()],
    }


def _lay_fields(state: Any, tree: Mapping[str, Any], place: str) -> None:  # noqa: ANN401
    for name, value in _fields(state):
        if name not in tree:
            raise TreeError(f"{place}.{name}: the checkpoint was saved without this field")
        restored = _lay_over(value, tree[name], f"{place}.{name}")
        if restored is not value:
            object.__setattr__(state, name, restored)


def _lay_over(value: Any, saved: Any, place: str) -> Any:  # noqa: ANN401
    kind = _kind(value)
    if isinstance(saved, Held):
        if kind != saved.kind:
            raise TreeError(_came_later(place, saved.kind))
        _LAY[saved.kind](value, saved.body, place)
        return value
    if isinstance(value, torch.Tensor) and isinstance(saved, torch.Tensor):
        return _lay_tensor(value, saved)
    if isinstance(value, dict) and isinstance(saved, dict):
        laid = {key: _lay_over(value.get(key), item, place) for key, item in saved.items()}
        value.clear()
        value.update(laid)
        return value
    if isinstance(value, list | tuple) and isinstance(saved, list | tuple):
        return _lay_items(value, saved, place)
    if held_kinds(saved):
        raise TreeError(_came_later(place, "network, optimizer or generator"))
    return saved


def _lay_tensor(value: torch.Tensor, saved: torch.Tensor) -> torch.Tensor:
    if value.shape != saved.shape or value.dtype != saved.dtype:
        return saved.to(value.device)
    with torch.no_grad():
        value.copy_(saved)
    return value.requires_grad_(saved.requires_grad) if value.is_leaf else value


def _lay_items(value: Any, saved: Any, place: str) -> Any:  # noqa: ANN401
    """Lay a list or tuple over one that may be shorter."""
    own = [*value, *[None] * (len(saved) - len(value))]
    laid = [
        _lay_over(item, other, f"{place}[{i}]")
        for i, (item, other) in enumerate(zip(own, saved, strict=False))
    ]
    if isinstance(value, list):
        value[:] = laid
        return value
    return type(value)._make(laid) if hasattr(value, "_make") else tuple(laid)


def _lay_module(module: torch.nn.Module, body: Mapping[str, Any], place: str) -> None:
    try:
        module.load_state_dict(body["weights"])
    except RuntimeError as error:
        raise TreeError(f"{place}: the network that init made is another one ({error})") from error
    for part, training in zip(module.modules(), body["training"], strict=True):
        part.training = training
    for weight, trained in zip(module.parameters(), body["trained"], strict=True):
        weight.requires_grad_(trained)


def _lay_optimizer(optimizer: torch.optim.Optimizer, body: Mapping[str, Any], place: str) -> None:
    try:
        optimizer.load_state_dict(dict(body))
    except ValueError as error:
        raise TreeError(f"{place}: the optimizer that init made is another ({error})") from error


_LAY: dict[str, Callable[[Any, Any, str], None]] = {
    "generator": lambda generator, body, place: generator.set_state(body),
    "module": _lay_module,
    "optimizer": _lay_optimizer,
    "dataclass": _lay_fields,
}
