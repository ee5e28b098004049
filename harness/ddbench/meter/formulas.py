"""FLOPs of the operations that torch's own formulas leave at zero or get wrong.

The convention is torch's: 2 per multiply-add, dense and naive, complex counted as real.
Factorisations are given to leading order after Golub & Van Loan, *Matrix Computations* (4th ed.),
"GVL" below, and LAPACK Working Note 41, "LAWN 41"; both count an addition and a multiplication as
one FLOP each, which is the same unit. Counts of iterative ones (eigen and singular values) are
GVL's expectations: what a LAPACK driver executes differs by a small factor. `eigvalsh` and
`svdvals` are counted with vectors, as torch computes them while any counting mode is on.

`torch.outer` and `torch.kron` reach the dispatcher as elementwise products and stay uncounted.
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


def _long_short(matrix: torch.Tensor) -> tuple[int, int]:
    """Return the longer and the shorter side of `matrix` (..., m, n)."""
    m, n = matrix.shape[-2:]
    return max(m, n), min(m, n)


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


def _addmv(args: Sequence[Any], out: Result) -> int:
    return 2 * args[1].numel()


def _addr(args: Sequence[Any], out: Result) -> int:
    return 2 * out.numel()


def _trilinear(args: Sequence[Any], out: Result) -> int:
    """Two products and a sum per point of the index space; `bilinear` is made of it."""
    shapes = []
    for operand, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(operand.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        shapes.append(shape)
    return 3 * math.prod(max(sizes) for sizes in zip(*shapes, strict=True))


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


def _distances_backward(args: Sequence[Any], out: Result) -> int:
    return 2 * args[0].numel() * args[1].shape[-1]


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


# Factorisations of one rectangular matrix, (..., m, n)


def _lu(args: Sequence[Any], out: Result) -> int:
    """l*s^2 - s^3/3 for the longer side l and the shorter s; 2n^3/3 for a square (GVL 3.2)."""
    long, short = _long_short(args[0])
    return _batch(args[0]) * (3 * long * short**2 - short**3) // 3


def _qr_factor(matrix: torch.Tensor) -> int:
    """2*l*s^2 - 2s^3/3 (GVL 5.2)."""
    long, short = _long_short(matrix)
    return _batch(matrix) * 2 * (3 * long * short**2 - short**3) // 3


def _form_q(q: torch.Tensor, reflectors: int) -> int:
    """4mck - 2(m+c)k^2 + 4k^3/3 for an m x c result from k reflectors (LAWN 41, xORGQR)."""
    m, c = q.shape[-2:]
    k = reflectors
    return _batch(q) * (12 * m * c * k - 6 * (m + c) * k**2 + 4 * k**3) // 3


def _geqrf(args: Sequence[Any], out: Result) -> int:
    return _qr_factor(args[0])


def _householder_product(args: Sequence[Any], out: Result) -> int:
    return _form_q(out, args[1].shape[-1])


def _qr(args: Sequence[Any], out: Result) -> int:
    """The factorisation and, unless mode is "r", forming Q."""
    q = out[0]
    form = _form_q(q, min(args[0].shape[-2:])) if q.numel() else 0
    return _qr_factor(args[0]) + form


def _lstsq(args: Sequence[Any], out: Result) -> int:
    """Householder QR, then 4ls - s^2 per right-hand side (GVL 5.3)."""
    long, short = _long_short(args[0])
    sides = args[1].numel() // args[0].shape[-2]  # over the whole batch
    return _qr_factor(args[0]) + sides * (4 * long * short - short**2)


def _thin_svd(matrix: torch.Tensor) -> int:
    """6*l*s^2 + 20s^3 (GVL 8.6, R-SVD)."""
    long, short = _long_short(matrix)
    return _batch(matrix) * (6 * long * short**2 + 20 * short**3)


def _svd(args: Sequence[Any], out: Result) -> int:
    """R-SVD (GVL 8.6): 2ls^2 + 2s^3 values alone, 4l^2s + 22s^3 with the full square factors."""
    long, short = _long_short(args[0])
    u, _, vh = out
    if not u.numel():
        return _batch(args[0]) * (2 * long * short**2 + 2 * short**3)
    if u.numel() + vh.numel() > _batch(args[0]) * (long * short + short**2):  # more than thin
        return _batch(args[0]) * (4 * long**2 * short + 22 * short**3)
    return _thin_svd(args[0])


def _pinv(args: Sequence[Any], out: Result) -> int:
    """A thin SVD and the product of its factors."""
    long, short = _long_short(args[0])
    return _thin_svd(args[0]) + _batch(args[0]) * 2 * long * short**2


# Solves: 2 per multiply-add and right-hand side


def _solve_triangular(args: Sequence[Any], out: Result) -> int:
    """n^2 per right-hand side (GVL 3.1)."""
    return out.numel() * args[0].shape[-1]


def _old_triangular_solve(args: Sequence[Any], out: Result) -> int:
    """As `_solve_triangular`; takes (b, A) and returns a copy of A too."""
    return out[0].numel() * args[1].shape[-1]


def _factored_solve(args: Sequence[Any], out: Result) -> int:
    """Two triangular solves, 2n^2 per right-hand side (GVL 3.2 and 4.2)."""
    n = max(args[0].shape[-2:])
    return 2 * out.numel() * n


def _cholesky_solve(args: Sequence[Any], out: Result) -> int:
    """As `_factored_solve`; takes (b, L)."""
    return 2 * out.numel() * args[1].shape[-1]


def _solve(args: Sequence[Any], out: Result) -> int:
    """LU and two triangular solves."""
    return _lu(args, out) + 2 * out[0].numel() * args[0].shape[-1]


FORMULAS: dict[str, Formula] = {  # by the operation's name in torch.ops.aten
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "convolution": _convolution,
    "mv": _mv,
    "addmv": _addmv,
    "dot": _mv,
    "vdot": _mv,
    "addr": _addr,
    "addbmm": _addmm,
    "_int_mm": _mm,
    "_addmm_activation": _addmm,
    "_trilinear": _trilinear,
    "convolution_backward": _convolution_backward,
    "_cdist_forward": _distances,
    "_euclidean_dist": _distances,
    "_cdist_backward": _distances_backward,
    "_pdist_forward": _distances,
    "_pdist_backward": _distances_backward,
    "linalg_cholesky_ex": _cubic(1, 3),  # GVL 4.2; LAWN 41 xPOTRF
    "cholesky": _cubic(1, 3),
    "cholesky_inverse": _cubic(2, 3),  # LAWN 41 xPOTRI
    "linalg_ldl_factor_ex": _cubic(1, 3),  # GVL 4.4
    "linalg_inv_ex": _cubic(2),  # GVL 3.4: LU and n solves
    "_linalg_det": _cubic(2, 3),  # LU
    "_linalg_slogdet": _cubic(2, 3),
    "_linalg_eigh": _eigh,
    "linalg_eig": _cubic(25),  # GVL 7.5
    "_linalg_eigvals": _cubic(10),  # GVL 7.5
    "linalg_lu_factor_ex": _lu,
    "linalg_lu": _lu,
    "geqrf": _geqrf,
    "linalg_householder_product": _householder_product,
    "linalg_qr": _qr,
    "linalg_lstsq": _lstsq,
    "_linalg_svd": _svd,
    "linalg_pinv": _pinv,
    "linalg_solve_triangular": _solve_triangular,
    "triangular_solve": _old_triangular_solve,
    "linalg_lu_solve": _factored_solve,
    "linalg_ldl_solve": _factored_solve,
    "cholesky_solve": _cholesky_solve,
    "_linalg_solve_ex": _solve,
}
