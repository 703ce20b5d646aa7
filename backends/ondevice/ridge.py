"""Kernel ridge regression on all rows, either exactly or with a bounded number of centres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["fit_ridge"]

# Rows whose kernel is in memory at once: 24 MB for 6,000 centres.
_BLOCK = 500
# Added to the diagonal, relative to the number of rows: two equal centres would make the matrix singular.
_JITTER = 1e-9
# Maximum weighted number of rows for single precision with the usual penalty of 0.08: no eigenvalue exceeds it, and
# 100,000 times 2^-24 is 0.006.
_SINGLE = 100_000


def fit_ridge(
    kernel: Callable[[Sequence[int]], NDArray[np.float64]],
    centres: Sequence[int],
    wanted: NDArray[np.float64],
    counts: NDArray[np.float64],
    penalty: float,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Fit every row by a sum of kernels at the centres.

    With the kernel K of rows and centres, C of centres and the counts on the diagonal of W, the weights are
    (K'WK + penalty C)^-1 K'W wanted: the subset of regressors (Rasmussen and Williams 2006, section 8.3.1), or plain
    kernel ridge regression if every row is a centre. A row's leave-one-out value follows in closed form,
    (fitted - h wanted) / (1 - h) with its leverage h (Rifkin and Lippert 2007, section 3).

    Args:
        kernel: Returns the kernel of the rows at given indices against all centres.
        centres: Indices of the rows that are centres, in order.
        wanted: Targets, one row per row and one column per output.
        counts: Weight of each row.
        penalty: Weight of the smoothness, above 0.

    Returns:
        Weights, one row per centre, and the leave-one-out value of each row.
    """
    if len(centres) == len(wanted) and counts.min() > 0 and counts.sum() <= _SINGLE:
        return _fit_all(kernel, wanted, counts, penalty)
    return _fit_by_centres(kernel, centres, wanted, counts, penalty)


def _fit_all(
    kernel: Callable[[Sequence[int]], NDArray[np.float64]],
    wanted: NDArray[np.float64],
    counts: NDArray[np.float64],
    penalty: float,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Fit with every row as a centre.

    With S the roots of the counts and A = SKS + penalty, the weights are S A^-1 S wanted. The difference between a
    row's target and its leave-one-out value is its weight divided by the diagonal of S A^-1 S.
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.linalg.lapack import strtri

    roots = np.sqrt(counts)
    matrix = np.empty((len(wanted), len(wanted)), dtype=np.float32, order="F")
    for block in _blocks(len(wanted)):
        # The kernel is symmetric, so a block of columns is a block of rows.
        matrix[:, block] = (kernel(block) * roots[block, None] * roots).T
    matrix[np.diag_indices_from(matrix)] += penalty
    factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    scaled = (wanted * roots[:, None]).astype(np.float32)
    weights = cho_solve((factor, True), scaled, check_finite=False) * roots[:, None]
    inverse, _ = strtri(factor, lower=1, overwrite_c=1)
    diagonal = np.array([inverse[place:, place] @ inverse[place:, place] for place in range(len(wanted))])
    return weights, wanted - weights / (counts * diagonal)[:, None]


def _fit_by_centres(
    kernel: Callable[[Sequence[int]], NDArray[np.float64]],
    centres: Sequence[int],
    wanted: NDArray[np.float64],
    counts: NDArray[np.float64],
    penalty: float,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    from scipy.linalg import blas, cho_solve, cholesky, solve_triangular

    matrix = np.zeros((len(centres), len(centres)), order="F")
    right = np.zeros((len(centres), wanted.shape[1]))
    for block in _blocks(len(wanted)):
        rows = kernel(block)
        scaled = rows * np.sqrt(counts[block, None])
        # Add only the lower triangle, in place: a plain product would need a second matrix.
        matrix = blas.dsyrk(1.0, scaled.T, beta=1.0, c=matrix, lower=1, overwrite_c=1)
        right += rows.T @ (wanted[block] * counts[block, None])
    for start in range(0, len(centres), _BLOCK):
        matrix[start : start + _BLOCK] += penalty * kernel(centres[start : start + _BLOCK])
    matrix[np.diag_indices_from(matrix)] += _JITTER * counts.sum()
    factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
    weights = cho_solve((factor, True), right, check_finite=False)

    left_out = np.empty_like(wanted)
    for block in _blocks(len(wanted)):
        rows = kernel(block)
        fitted = rows @ weights
        # Solve in place, which overwrites the rows.
        half = solve_triangular(factor, rows.T, lower=True, overwrite_b=True, check_finite=False)
        leverage = (np.einsum("ij,ij->j", half, half) * counts[block])[:, None]
        left_out[block] = (fitted - leverage * wanted[block]) / (1 - leverage)
    return weights, left_out


def _blocks(rows: int) -> list[range]:
    return [range(start, min(start + _BLOCK, rows)) for start in range(0, rows, _BLOCK)]
