"""FLOP formulas for operations that torch's own formulas lack or get wrong.

The convention is torch's: 2 per multiply-add, dense and naive, complex counted as real.
Factorisations are given to leading order after Golub & Van Loan, *Matrix Computations* (4th ed.),
"GVL" below, which counts an addition and a multiplication as one FLOP each: the same unit. The
count of `eigh`, which is iterative, is GVL's expectation: what a LAPACK driver executes differs by
a small factor. `eigvalsh` is counted with vectors, as torch computes them while any counting mode
is on.

Of other factorisations and products `flops` estimates the work; where that dominates, the count is
a lower bound, and shown as "≥".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

Result = Any  # a tensor or a tuple of tensors, as the operation has it
Formula = Callable[[Sequence[Any], Result], int]  # (positional arguments, result) -> FLOPs


def _batch(matrix: torch.Tensor) -> int:
    """Return how many matrices `matrix` (..., m, n) holds."""
    return math.prod(matrix.shape[:-2])


# Products and convolutions: 2 per multiply-add. The five that make up nearly all of a network are
# here only for speed: torch's formulas say the same, but walk through all arguments first, which
# takes longer than a small convolution.


def _mm(args: Sequence[Any], out: Result) -> int:
    return 2 * args[0].numel() * args[1].shape[-1]


def _addmm(args: Sequence[Any], out: Result) -> int:
    return 2 * args[1].numel() * args[2].shape[-1]


def _convolution(args: Sequence[Any], out: Result) -> int:
    images, weight, transposed = args[0], args[1], args[6]
    return _one_convolution(images, images if transposed else out, weight)


def _one_convolution(images: torch.Tensor, slid_over: torch.Tensor, weight: torch.Tensor) -> int:
    """Every weight meets every place of `slid_over` once per image; right for any groups."""
    return 2 * images.shape[0] * math.prod(slid_over.shape[2:]) * weight.numel()


def _mv(args: Sequence[Any], out: Result) -> int:
    return 2 * args[0].numel()


def _convolution_backward(args: Sequence[Any], out: Result) -> int:
    """Each gradient asked for costs one forward convolution.

    torch's formula agrees for one group; with more it charges the weight's gradient for all
    pairs of channels, also those that belong to different groups.
    """
    grad_out, images, weight = args[:3]
    transposed, output_mask = args[7], args[10]
    forward = _one_convolution(images, images if transposed else grad_out, weight)
    return forward * sum(map(bool, output_mask[:2]))


# Distances: as the matrix product that the same call becomes for large inputs


def _distances(args: Sequence[Any], out: Result) -> int:
    return 2 * out.numel() * args[0].shape[-1]


# Factorisations of one square matrix, (..., n, n)


def _cubic(numerator: int, denominator: int = 1) -> Formula:
    """Return the formula n^3 * numerator / denominator for the first argument (..., n, n)."""

    def formula(args: Sequence[Any], out: Result) -> int:
        n = args[0].shape[-1]
        return _batch(args[0]) * numerator * n**3 // denominator

    return formula


def _eigh(args: Sequence[Any], out: Result) -> int:
    """9n^3 with eigenvectors, 4n^3/3 without (GVL 8.3)."""
    wants_vectors = out[1].numel() > 0
    return (_cubic(9) if wants_vectors else _cubic(4, 3))(args, out)


# Solves: 2 per multiply-add and right-hand side


def _solve_triangular(args: Sequence[Any], out: Result) -> int:
    """n^2 per right-hand side (GVL 3.1)."""
    return out.numel() * args[0].shape[-1]


def _cholesky_solve(args: Sequence[Any], out: Result) -> int:
    """Two triangular solves, 2n^2 per right-hand side (GVL 4.2); takes (b, L)."""
    return 2 * out.numel() * args[1].shape[-1]


FORMULAS: dict[str, Formula] = {  # by the operation's name in torch.ops.aten
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "mv": _mv,
    "dot": _mv,
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "_cdist_forward": _distances,
    "_euclidean_dist": _distances,
    "linalg_cholesky_ex": _cubic(1, 3),  # GVL 4.2
    "_linalg_eigh": _eigh,
    "linalg_solve_triangular": _solve_triangular,
    "cholesky_solve": _cholesky_solve,
}
