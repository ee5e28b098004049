"""Trees of tensors and plain values: stored without pickling, and the default save and restore."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from ddbench.files import write_whole

PLAIN = (bool, int, float, str, type(None))


class TreeError(ValueError):
    """A value that no checkpoint can hold, or a file that holds no tree; says where."""


def save_tree(path: Path, tree: Any) -> None:  # noqa: ANN401
    """Write a tree (dicts, lists, tuples, tensors, numbers, strings, None) to one file, whole.

    Raises:
        TreeError: A value of another type; the message gives its place in the tree.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _encode(tree, tensors, "state")
    write_whole(path, to_safetensors(tensors, {"tree": json.dumps(skeleton)}))


def load_tree(path: Path) -> Any:  # noqa: ANN401
    """Read what `save_tree` wrote, tensors on the CPU. Runs no code from the file.

    Raises:
        TreeError: The file is torn or not a tree.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})["tree"])
            return _decode(skeleton, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise TreeError(f"{path}: not a checkpoint written by ddbench ({error})") from error


def _encode(value: Any, tensors: dict[str, torch.Tensor], place: str) -> Any:  # noqa: ANN401
    if isinstance(value, torch.Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return {"t": str(len(tensors) - 1)}
    if isinstance(value, float):
        return {"f": value.hex()}  # exact, and JSON has no NaN or infinity
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, dict):
        pairs = [
            [_encode(key, tensors, place), _encode(item, tensors, f"{place}[{key!r}]")]
            for key, item in value.items()
        ]
        return {"d": pairs}
    if isinstance(value, list | tuple):
        items = [_encode(item, tensors, f"{place}[{i}]") for i, item in enumerate(value)]
        return {"l" if isinstance(value, list) else "u": items}
    raise TreeError(
        f"{place} is {type(value).__name__}, which a checkpoint cannot hold; use tensors, numbers, "
        'strings, None, lists or dicts, mark the field metadata={"checkpoint": False} and make it '
        "in init, or implement the hooks save and restore"
    )


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return value
    (kind, body), *_ = value.items()
    if kind == "t":
        return tensors[body]
    if kind == "f":
        return float.fromhex(body)
    if kind == "d":
        return {_decode(key, tensors): _decode(item, tensors) for key, item in body}
    items = [_decode(item, tensors) for item in body]
    return items if kind == "l" else tuple(items)


def save_state(state: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a method's dataclass state as a tree: the default of the hook `save`.

    Raises:
        TreeError: The state is no dataclass, or a field cannot be held; names the field.
    """
    if not dataclasses.is_dataclass(state):
        raise TreeError(
            f"the state is {type(state).__name__}; make it a dataclass, or implement the hooks "
            "save and restore"
        )
    tree = {name: _flatten(value, f"state.{name}") for name, value in _fields(state)}
    _encode(tree, {}, "state")  # any other type is an error at the first checkpoint
    return tree


def restore_state(state: Any, tree: dict[str, Any]) -> None:  # noqa: ANN401
    """Lay a saved tree over `state`: the default of the hook `restore`.

    Tensors are written in place, so an optimizer keeps its leaves.
    """
    for name, value in _fields(state):
        restored = _lay_over(value, tree[name])
        if restored is not value:
            object.__setattr__(state, name, restored)


def _fields(state: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    kept = (f for f in dataclasses.fields(state) if f.metadata.get("checkpoint", True))
    return [(f.name, getattr(state, f.name)) for f in kept]


def _flatten(value: Any, place: str) -> Any:  # noqa: ANN401
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, torch.nn.Module | torch.optim.Optimizer):
        return value.state_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _flatten(item, f"{place}.{name}") for name, item in _fields(value)}
    if isinstance(value, dict):
        return {key: _flatten(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_flatten(item, f"{place}[{i}]") for i, item in enumerate(value))
    if isinstance(value, torch.Tensor | PLAIN):
        return value
    _encode(value, {}, place)  # raises, and names the place
    return value


def _lay_over(value: Any, saved: Any) -> Any:  # noqa: ANN401
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            return value.copy_(saved) if value.shape == saved.shape else value.set_(saved)
    if isinstance(value, torch.Generator):
        value.set_state(saved)
        return value
    if isinstance(value, torch.nn.Module | torch.optim.Optimizer):
        value.load_state_dict(saved)
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        restore_state(value, saved)
        return value
    if isinstance(value, dict) and value.keys() == saved.keys():
        value.update({key: _lay_over(item, saved[key]) for key, item in value.items()})
        return value
    if isinstance(value, list | tuple) and len(value) == len(saved):
        laid = [_lay_over(item, other) for item, other in zip(value, saved, strict=True)]
        if isinstance(value, list):
            value[:] = laid
            return value
        return tuple(laid)
    return saved
