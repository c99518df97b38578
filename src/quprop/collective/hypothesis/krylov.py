"""The action of e^{H/2} on several vectors by Lanczos, one Krylov space a column, all columns in step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quprop.collective.hypothesis.vectors import real_inner
from quprop.errors import QupropError

MOST_STEPS = 200
LANCZOS_OPS = 12  # real multiply-adds a number and step: two inner products, two subtractions, scaling, the sum


def exp_half(apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray, tolerance: float) -> tuple[np.ndarray, int]:
    """e^{H/2} v for every column v of ``start`` (2^n, k), scaled so that no number overflows (one scale for all);
    and the number of times H was applied.

    After m steps H is the tridiagonal T on the Krylov space Q, and e^{H/2} v ~ |v| Q e^{T/2} e_1. Stopped when the next
    off-diagonal element times the last component of e^{T/2} e_1 is under ``tolerance`` of its norm in every column
    (Saad, SIAM J. Numer. Anal. 29, 209, the a posteriori estimate). ``apply`` is x -> H x for a stack like ``start``.
    """
    norms = np.sqrt(real_inner(start, start))  # (k,)
    basis = [(start / norms).astype(start.dtype)]
    diagonal: list[np.ndarray] = []  # each (k,)
    beside: list[np.ndarray] = []
    for _ in range(MOST_STEPS):
        following = apply(basis[-1])
        diagonal.append(real_inner(basis[-1], following))
        following -= diagonal[-1].astype(start.real.dtype) * basis[-1]
        if beside:
            following -= beside[-1].astype(start.real.dtype) * basis[-2]
        length = np.sqrt(real_inner(following, following))
        coefficients, logs = _exp_first_column(np.array(diagonal), np.array(beside))  # (k, m), (k,)
        done = length * np.abs(coefficients[:, -1]) <= tolerance
        floor = 100 * np.finfo(start.dtype).eps * (np.abs(np.array(diagonal)).max() + 1e-300)
        exhausted = length <= floor  # the Krylov space is invariant
        if np.all(done | exhausted):
            scale = norms * np.exp(logs - logs.max())
            out = np.zeros_like(start)
            for q, c in zip(basis, coefficients.T, strict=True):
                out += (scale * c).astype(start.real.dtype) * q
            return out, len(basis)
        length = np.where(exhausted, 0.0, length)
        beside.append(length)
        basis.append((following * np.where(exhausted, 0.0, 1 / np.where(exhausted, 1.0, length))).astype(start.dtype))
    raise QupropError(
        f"e^(H/2) did not reach tolerance {tolerance} in {MOST_STEPS} Lanczos steps; loosen `tolerance`, or use "
        "refresh='product'"
    )


def _exp_first_column(diagonal: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of e^{T/2} for k tridiagonal T: the first column with norm 1, (k, m), and the logarithm of its norm, (k,)."""
    m, k = diagonal.shape
    tri = np.zeros((k, m, m))
    i = np.arange(m)
    tri[:, i, i] = diagonal.T
    if m > 1:
        tri[:, i[1:], i[:-1]] = beside.T
    values, vectors = np.linalg.eigh(tri)  # reads the lower triangle
    column = np.einsum("kij,kj->ki", vectors, np.exp((values - values[:, -1:]) / 2) * vectors[:, 0, :])
    length = np.linalg.norm(column, axis=1)
    return column / length[:, None], values[:, -1] / 2 + np.log(length)
