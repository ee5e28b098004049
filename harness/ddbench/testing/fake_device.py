"""A simulated device, which shows on any machine whether code would run on a GPU.

Tensors that are moved `elsewhere` compute on the CPU, and behave as on another device: an
operation that mixes them with tensors of the CPU raises, as CUDA would, and so does a tensor made
on any third device. Drawing on the CPU and moving the draw is as right here as it is there.

Taking real numbers to the CPU, computing with them and moving the outcome back runs anywhere, and
leaves the device idle: that raises too. Whole numbers, a few numbers (fewer than an image has
pixels) and what goes through numpy pass.
"""
# ruff: noqa: ANN401  (PyTorch hands over anything)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
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


# Operations that move values about; any other on floating point values computes, but for those
# that take only a shape (zeros_like, new_empty).
_MOVES = {
    "_to_copy", "_unsafe_view", "alias", "as_strided", "cat", "clone", "copy_", "detach", "expand",
    "flip", "gather", "index", "index_put_", "index_select", "lift_fresh", "masked_select",
    "permute", "repeat", "roll", "select", "slice", "split", "split_with_sizes", "squeeze", "stack",
    "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
}  # fmt: skip
FEW = 64  # numbers that may be computed with on the CPU are fewer: an image of `ddbench check`


class DeviceError(RuntimeError):
    """Tensors of two devices met, or one was made on a device that is neither."""


class _Taken:
    """What was taken from elsewhere to the CPU: storages, and whether anything computed there."""

    def __init__(self) -> None:
        # The weak reference keeps the address, not the memory, from being given to another.
        self._known: dict[int, tuple[StorageWeakRef, bool]] = {}

    def follow(self, func: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        """Take note of an operation that has been done.

        Raises:
            DeviceError: It brings back what was computed with on the CPU.
        """
        name = func.overloadpacket.__name__
        here = [tensor for tensor in inputs if not isinstance(tensor, _Moved) and tensor.ndim]
        known = [self._known[key] for key in map(_address, here) if key in self._known]
        computed = any(computed for _, computed in known)
        if computed and any(isinstance(tensor, _Moved) for tensor in outputs):
            raise DeviceError(
                f"{name} brings back to the task's device what was taken to the CPU and computed "
                "with there; compute it on task.device"
            )
        taken = any(isinstance(tensor, _Moved) and tensor.numel() >= FEW for tensor in inputs)
        if (taken or known) and not (name.endswith("_like") or name.startswith("new_")):
            self._add(outputs, computed or not (taken or name in _MOVES))

    def _add(self, tensors: list[torch.Tensor], computed: bool) -> None:
        for tensor in tensors:
            if not isinstance(tensor, _Moved) and tensor.is_floating_point():
                reference = StorageWeakRef(tensor.untyped_storage())
                self._known[reference.cdata] = (reference, computed)


def _address(tensor: torch.Tensor) -> int:
    return StorageWeakRef(tensor.untyped_storage()).cdata


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
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[None]:
    """Run the block with `ELSEWHERE` as a device like any other."""
    with _Literals(), _Dispatch():
        yield


class _Literals(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU first: PyTorch forgets them on its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace torch.tensor(data, device=ELSEWHERE) and similar functions."""
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
    """Computes on the CPU what is elsewhere, and follows what is taken from there."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = _Taken()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = _compute(func, args, kwargs)
        self.taken.follow(func, _tensors((args, kwargs)), _tensors((out, _written(func, args))))
        return out


def _compute(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Do an operation on the CPU, and say that its results are where they would be."""
    name = func.overloadpacket.__name__
    target = _target(name, kwargs.get("device"))
    tensors = _tensors((args, dict(kwargs)))
    moved = any(isinstance(tensor, _Moved) for tensor in tensors)
    if moved and target is None:
        _refuse_mixed(name, tensors)
    here = {**kwargs, **({} if target is None else {"device": CPU})}
    out = func(*tree_map(_inner, args), **tree_map(_inner, here))
    written = _written(func, args)
    if isinstance(out, torch.Tensor) and written and isinstance(written[0], torch.Tensor):
        return written[0]  # an operation in place returns the very tensor
    if name != "_local_scalar_dense" and (moved if target is None else target == ELSEWHERE):
        return tree_map(lambda leaf: _Moved(leaf) if isinstance(leaf, torch.Tensor) else leaf, out)
    return out


def _target(name: str, device: Any) -> torch.device | None:
    """Return the device that an operation names, if it names one."""
    if device is None:
        return None
    target = torch.device(device)
    if target.type not in (CPU.type, ELSEWHERE.type):
        raise DeviceError(f"{name} on device {device}; expected task.device")
    return target


def _refuse_mixed(name: str, tensors: list[torch.Tensor]) -> None:
    for tensor in tensors:
        # CUDA takes numbers, as tensors without dimensions, from the CPU too
        if not isinstance(tensor, _Moved) and tensor.ndim and name not in _TAKES_FROM_CPU:
            raise DeviceError(
                f"{name} mixes a tensor of the task's device with one of the CPU, of shape "
                f"{tuple(tensor.shape)}; make it with device=task.device, or move it there"
            )


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, _Moved) else value


def _written(func: Any, args: tuple[Any, ...]) -> list[Any]:
    """Return the arguments that an operation writes into: tensors, or lists of them."""
    return [
        argument
        for argument, schema in zip(args, func._schema.arguments, strict=False)
        if schema.alias_info is not None and schema.alias_info.is_write
    ]
