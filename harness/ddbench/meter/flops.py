"""Count the FLOPs that a block executes, and fvcore's forward count of a network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ddbench.meter.formulas import FORMULAS, Formula, Result

Operation = Any  # torch's OpOverload or HigherOrderOperator, as the dispatcher hands it over

# Below this much uncounted work (about 10 ms of one CPU core) a count of 0 is as good as exact.
NEGLIGIBLE = 10**7


def is_lower_bound(counted: int, uncounted: int, opaque: bool) -> bool:
    """Return whether most of the work ran in operations that are not `counted`.

    `uncounted` is the estimate of `FlopCount.work`; `opaque`: an operation of unknown work ran,
    and nothing was declared for it.
    """
    return opaque or uncounted > max(counted, NEGLIGIBLE)


class FlopCount(TorchDispatchMode):
    """The FLOPs of a ``with`` block: matrix and convolution operations, 2 per multiply-add.

    The formulas are those of torch's `FlopCounterMode` and, before them, `FORMULAS`; elsewhere the
    totals agree. Other operations are named in `uncounted`, and what they do is estimated. Without
    a table per module this mode costs about a third as much, and counts what makes torch's raise:
    `autograd.grad` for a leaf that was a module's input. Backward, double
    backward and torch.func are counted as they execute.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        """Start from zero; entering again adds to the counts."""
        super().__init__()
        self.by_op: dict[str, int] = {}  # FLOPs of each counted operation
        self.uncounted: dict[str, int] = {}  # calls of each operation without a formula
        self.work: dict[str, int] = {}  # estimated operations of those that do arithmetic
        self.opaque: set[str] = set()  # operations whose work cannot be told from outside
        self._rules: dict[Operation, _Rule] = {}
        self._paused = False

    @property
    def total(self) -> int:
        """All FLOPs counted."""
        return sum(self.by_op.values())

    @property
    def lower_bound(self) -> bool:
        """Whether uncounted work dominates, so that `total` should be read as "at least"."""
        return is_lower_bound(self.total, sum(self.work.values()), bool(self.opaque))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing in the block."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def __torch_dispatch__(
        self,
        func: Operation,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Result:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        rule = self._rules.get(func)
        if rule is None:
            rule = self._rules[func] = _rule(func)
        if rule.composite:  # only seen in inference mode; elsewhere its parts arrive by themselves
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        self._count(rule, args, kwargs, out)
        return out

    def _count(
        self, rule: _Rule, args: Sequence[Any], kwargs: Mapping[str, Any], out: Result
    ) -> None:
        """Enter one call under its formula, or under `uncounted`."""
        if rule.flops is not None:
            try:
                flops = rule.flops(args, kwargs, out)
                self.by_op[rule.name] = self.by_op.get(rule.name, 0) + flops
                return
            except Exception:  # a formula, perhaps another package's, must not cost the job
                self.opaque.add(rule.name)
        self.uncounted[rule.name] = self.uncounted.get(rule.name, 0) + 1
        if rule.work is not None:
            self.work[rule.name] = self.work.get(rule.name, 0) + rule.work(args, out)
        elif rule.opaque:
            self.opaque.add(rule.name)


def count_flops() -> FlopCount:
    """Return a count for one block: ``with count_flops() as count: ...``, then ``count.total``."""
    return FlopCount()


class _Rule(NamedTuple):
    """How one operation is counted."""

    name: str
    flops: Callable[[Sequence[Any], Mapping[str, Any], Result], int] | None = None
    work: Formula | None = None  # estimate, where there is no formula
    composite: bool = False
    opaque: bool = False


def _rule(func: Operation) -> _Rule:
    """Find how `func`, an OpOverload or a higher-order operator, is counted."""
    packet = getattr(func, "_overloadpacket", func)
    name = str(packet).removeprefix("aten.")
    aten = getattr(func, "namespace", "") == "aten"
    own = FORMULAS.get(name) if aten else None
    if own is not None:
        return _Rule(name, flops=lambda args, kwargs, out: own(args, out))
    torchs = flop_registry.get(packet)
    if torchs is not None:
        return _Rule(name, flops=lambda args, kwargs, out: torchs(*args, **kwargs, out_val=out))
    if not aten:
        return _Rule(name, opaque=getattr(func, "namespace", "") not in _BOOKKEEPING)
    if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
        return _Rule(name, composite=True)
    if torch.Tag.pointwise in func.tags and name != "clone":
        return _Rule(name, work=_per_element)
    work = _WORK.get(name) or (_cubes if "linalg_" in name else None)
    return _Rule(name, work=work, opaque=name in _OPAQUE)


# Estimates of uncounted work. They decide only whether a count is marked as a lower bound. Copies,
# views, indexing and random draws do no arithmetic; norms and pooling follow a convolution that
# costs far more; neither is in the list.


def _size(tree: Result) -> int:
    """Return the elements of the largest tensor in `tree`, itself or directly inside."""
    items = tree if isinstance(tree, (tuple, list)) else (tree,)
    return max((item.numel() for item in items if isinstance(item, torch.Tensor)), default=0)


def _per_element(args: Sequence[Any], out: Result) -> int:
    return _size(out)


def _per_input(args: Sequence[Any], out: Result) -> int:
    return _size(args)


def _sorting(args: Sequence[Any], out: Result) -> int:
    return _n_log_n(_size(args))


def _fourier(args: Sequence[Any], out: Result) -> int:
    return 5 * _n_log_n(max(_size(args), _size(out)))  # the customary 5 n log2 n


def _n_log_n(n: int) -> int:
    return n * max(1, math.ceil(math.log2(max(n, 1))))


def _cubes(args: Sequence[Any], out: Result) -> int:
    """About ten matrix products: what the costly ones of a matrix's factorisations take."""
    return 20 * _size(args) * min(args[0].shape[-2:], default=0)


def _product(args: Sequence[Any], out: Result) -> int:
    """Each element of the largest tensor meets the longest last axis: no product takes more."""
    lengths = [arg.shape[-1] for arg in args if isinstance(arg, torch.Tensor) and arg.ndim]
    return 2 * max(_size(args), _size(out)) * max(lengths, default=1)


def _sampling(args: Sequence[Any], out: Result) -> int:
    return 8 * max(_size(args), _size(out))  # four multiply-adds a pixel


_WORK: dict[str, Formula] = {
    **dict.fromkeys(
        "sum mean prod amax amin aminmax max min argmax argmin std var std_mean var_mean "
        "linalg_vector_norm norm logsumexp cumsum cumprod histc bincount".split(),
        _per_input,
    ),
    **dict.fromkeys(
        "sort argsort topk kthvalue median nanmedian mode _unique2 unique_dim "
        "unique_consecutive searchsorted bucketize".split(),
        _sorting,
    ),
    **dict.fromkeys("_fft_r2c _fft_c2c _fft_c2r".split(), _fourier),
    **dict.fromkeys(
        "grid_sampler_2d grid_sampler_3d grid_sampler_2d_backward grid_sampler_3d_backward "
        "upsample_bilinear2d upsample_bilinear2d_backward upsample_bicubic2d "
        "upsample_bicubic2d_backward".split(),
        _sampling,
    ),
    # what "linalg_" in the name does not tell
    **dict.fromkeys("cholesky cholesky_inverse geqrf ormqr triangular_solve".split(), _cubes),
    **dict.fromkeys(
        "addbmm addmv addr vdot _int_mm _addmm_activation _trilinear _cdist_backward "
        "_pdist_forward _pdist_backward".split(),
        _product,
    ),
}
_OPAQUE = {  # whole recurrent layers in one call
    "mkldnn_rnn_layer",
    "mkldnn_rnn_layer_backward",
    "_cudnn_rnn",
    "_cudnn_rnn_backward",
    "miopen_rnn",
    "miopen_rnn_backward",
}
_BOOKKEEPING = {"prim", "prims", "_c10d_functional", "c10d", "profiler", "inductor"}


def forward_macs(network: torch.nn.Module, shape: Sequence[int]) -> int:
    """Return fvcore's count for one forward of one image of `shape` (ch, H, W), in eval mode.

    1 per multiply-add of convolutions and linear layers, and fvcore's convention for norms (5 per
    element of group and layer norm, 2 of an evaluated batch norm); activations and pooling are
    not counted. The network's modes are left as they were.
    """
    with warnings.catch_warnings(), _evaluating(network), torch.no_grad():
        warnings.simplefilter("ignore")  # fvcore's use of torch.jit, and its tracer
        from fvcore.nn import FlopCountAnalysis

        parameter = next(network.parameters(), torch.empty(0))
        image = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
        analysis = FlopCountAnalysis(network, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return int(analysis.tracer_warnings("none").total())


@contextmanager
def _evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Put every module of `network` in eval mode for the block."""
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
