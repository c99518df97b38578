"""The polynomial that keeps the kernel of a matrix and damps all else: Lin and Tong's filter.

    R_l(x) = T_l(-1 + 2 (x^2 - d^2)/(1 - d^2)) / T_l(-1 - 2 d^2/(1 - d^2)),   d = 1/kappa, degree 2 l

is 1 at 0 and at most 1/cosh(2 l artanh d) on [d, 1] (Lin and Tong, Quantum 4, 361 (2020), arXiv:1910.14596).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from quprop.carleman.system.linear_system import check_precision

Product = Callable[[np.ndarray], np.ndarray]


def filter_terms(kappa: float, leak: float) -> int:
    """The least l with 1/cosh(2 l artanh(1/kappa)) <= leak; the filter makes 2 l queries, about kappa ln(2/leak)."""
    check_precision(kappa, leak)
    if kappa == 1:
        return 1  # R_1(x) = 1 - x^2 vanishes at the one value, x = 1
    return max(1, math.ceil(math.acosh(1 / leak) / (2 * math.atanh(1 / kappa))))


def filter_value(x: np.ndarray, kappa: float, terms: int) -> np.ndarray:
    """R_l(x) for |x| <= 1."""
    if kappa == 1:
        return (1 - np.asarray(x, float) ** 2) ** terms
    d2 = kappa**-2
    y = (1 + d2 - 2 * np.asarray(x, float) ** 2) / (1 - d2)  # minus the argument above: T_l is even or odd
    rate = 2 * math.atanh(1 / kappa)
    outside = np.cos(terms * np.arccos(np.clip(y, -1, 1))) / math.cosh(terms * rate)
    inside = np.cosh(terms * np.arccosh(np.maximum(y, 1))) / math.cosh(terms * rate)
    return np.where(y > 1, inside, outside)


def apply_filter(apply: Product, adjoint: Product, vector: np.ndarray, kappa: float, terms: int) -> np.ndarray:
    """R_l(sqrt(G†G)) v from products with G and G†, l of each.

    The three-term recursion of T_l, divided at each step by its value at 0, so that nothing grows.
    """
    if kappa == 1:
        for _ in range(terms):
            vector = vector - adjoint(apply(vector))
        return vector
    d2 = kappa**-2
    top = (1 + d2) / (1 - d2)  # cosh(2 artanh d)

    def shifted(v: np.ndarray) -> np.ndarray:
        return ((1 + d2) * v - 2 * adjoint(apply(v))) / (1 - d2)

    before, now = vector, shifted(vector) / top
    ratio = 1 / top  # T_{k-1}(top) / T_k(top)
    for _ in range(1, terms):
        after = 1 / (2 * top - ratio)
        before, now = now, 2 * after * shifted(now) - ratio * after * before
        ratio = after
    return now
