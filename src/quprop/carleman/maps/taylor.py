"""Truncated Taylor arithmetic on arrays: x(s) = x_0 + x_1 s + ... + x_K s^K, cut after every operation.

A gradient written with `Series` in place of arrays gives the jet of a polynomial model without any automatic
differentiation: +, -, *, @, transposition and reshaping are all it needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Like = "Series | np.ndarray | float"


class Series:
    """Coefficients (K + 1, ...) of an array-valued path."""

    __array_ufunc__ = None  # arrays on the left hand over to the operators below

    def __init__(self, coefficients: np.ndarray) -> None:
        self.coefficients = coefficients

    @property
    def order(self) -> int:
        return len(self.coefficients) - 1

    def _other(self, other: Any) -> Series:
        if isinstance(other, Series):
            return other
        first = np.asarray(other, dtype=float)
        return Series(np.concatenate([first[None], np.zeros((self.order, *first.shape))]))

    def __add__(self, other: Any) -> Series:
        return Series(self.coefficients + self._other(other).coefficients)

    __radd__ = __add__

    def __neg__(self) -> Series:
        return Series(-self.coefficients)

    def __sub__(self, other: Any) -> Series:
        return self + -self._other(other)

    def __rsub__(self, other: Any) -> Series:
        return -self + other

    def __mul__(self, other: Any) -> Series:
        if not isinstance(other, Series):
            return Series(self.coefficients * other)
        return self._product(other, np.multiply)

    __rmul__ = __mul__

    def __matmul__(self, other: Any) -> Series:
        return Series(self.coefficients @ other) if not isinstance(other, Series) else self._product(other, np.matmul)

    def __rmatmul__(self, other: np.ndarray) -> Series:
        return Series(np.matmul(other, self.coefficients))

    def _product(self, other: Series, times: Any) -> Series:
        a, b = self.coefficients, other.coefficients
        return Series(np.stack([sum(times(a[i], b[k - i]) for i in range(k + 1)) for k in range(len(a))]))

    @property
    def T(self) -> Series:
        """The last two axes swapped."""
        return Series(np.swapaxes(self.coefficients, -1, -2))

    def __getitem__(self, index: Any) -> Series:
        return Series(self.coefficients[(slice(None), *(index if isinstance(index, tuple) else (index,)))])

    def reshape(self, *shape: int) -> Series:
        return Series(self.coefficients.reshape(len(self.coefficients), *shape))


def concatenate(parts: list[Series]) -> Series:
    """Along the last axis."""
    return Series(np.concatenate([part.coefficients for part in parts], axis=-1))


def sigmoid_series(z: np.ndarray, order: int) -> np.ndarray:
    """Taylor coefficients of the logistic function at each z: (order + 1, ...), from sigma' = sigma (1 - sigma)."""
    out = np.zeros((order + 1, *np.shape(z)))
    out[0] = 0.5 * (1 + np.tanh(0.5 * np.asarray(z)))
    for k in range(order):
        square = sum(out[i] * out[k - i] for i in range(k + 1))
        out[k + 1] = (out[k] - square) / (k + 1)
    return out
