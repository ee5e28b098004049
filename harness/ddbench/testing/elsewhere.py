"""A device that is not there: shows on any machine whether code would run on a GPU.

Tensors that are moved `elsewhere` compute on the CPU, and behave as on another device: an
operation that mixes them with tensors of the CPU raises, as CUDA would, and so does a tensor made
on any third device. Drawing on the CPU and moving the draw is as right here as it is there.
"""
# ruff: noqa: ANN401  (PyTorch hands over anything)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# PyTorch's device without storage: it has a name, a place in autograd, and no use otherwise.
ELSEWHERE = torch.device("meta")
CPU = torch.device("cpu")

# Operations that take their indices, or the values that they copy, from the CPU, as on CUDA.
_TAKES_FROM_CPU = {
    "copy_", "index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index",
    "_unsafe_index_put",
}  # fmt: skip


class DeviceError(RuntimeError):
    """Tensors of two devices met, or one was made on a device that is neither."""


class _Moved(torch.Tensor):
    """A tensor that says it is elsewhere; `held` holds its values."""

    held: torch.Tensor
    is_meta = False  # or modules would take it for a tensor without values

    @staticmethod
    def __new__(cls: type[_Moved], inner: torch.Tensor) -> _Moved:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=ELSEWHERE,
        )
        made.held = inner
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()  # PyTorch refuses it to subclasses

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{self.held!r} elsewhere"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        return _compute(func, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[None]:
    """Run the block with `ELSEWHERE` as a device like any other."""
    with _Literals(), _Dispatch():
        yield


class _Literals(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU first: PyTorch forgets them on its own."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Replace torch.tensor(data, device=ELSEWHERE) and its kin."""
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            func, args = torch.tensor, args[1:]
        device = kwargs.get("device")
        if func not in (torch.tensor, torch.as_tensor) or device is None:
            return func(*args, **kwargs)
        if torch.device(device) != ELSEWHERE:
            return func(*args, **kwargs)
        grad = kwargs.pop("requires_grad", False)
        made = func(*args, **{**kwargs, "device": CPU}).to(ELSEWHERE)
        return made.requires_grad_(grad)


class _Dispatch(TorchDispatchMode):
    """Computes on the CPU what is elsewhere."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    wanted = kwargs.get("device")
    target = None if wanted is None else torch.device(wanted)
    if target is not None:
        if target.type not in (CPU.type, ELSEWHERE.type):
            raise DeviceError(f"{name} on device {wanted}; expected task.device")
        kwargs = {**kwargs, "device": CPU}
    tensors = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, torch.Tensor)]
    moved = any(isinstance(tensor, _Moved) for tensor in tensors)
    if moved and target is None:
        _refuse_mixed(name, tensors)
    out = func(*tree_map(_inner, args), **tree_map(_inner, dict(kwargs)))
    if name == "_local_scalar_dense":
        return out
    written = _written(func, args)
    if written is not None and isinstance(out, torch.Tensor):
        return written  # an operation in place returns the very tensor
    if target == ELSEWHERE or (target is None and moved):
        return tree_map(lambda t: _Moved(t) if isinstance(t, torch.Tensor) else t, out)
    return out


def _refuse_mixed(name: str, tensors: list[torch.Tensor]) -> None:
    for tensor in tensors:
        # CUDA takes numbers, as tensors without dimensions, from the CPU too
        if not isinstance(tensor, _Moved) and tensor.ndim and name not in _TAKES_FROM_CPU:
            raise DeviceError(
                f"{name} mixes a tensor of the task's device with one of the CPU, of shape "
                f"{tuple(tensor.shape)}; make it with device=task.device, or move it there"
            )


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, _Moved) else value


def _written(func: Any, args: tuple[Any, ...]) -> torch.Tensor | None:
    """Return the argument that an operation writes into, if there is one."""
    for argument, schema in zip(args, func._schema.arguments, strict=False):
        if schema.alias_info is not None and schema.alias_info.is_write:
            return argument if isinstance(argument, torch.Tensor) else None
    return None
