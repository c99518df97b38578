"""The Gaussian kernel applied to all probabilities of n bits at once: 2 n 2^n operations a width."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop.arrays import library, like


def smoothed(v: Any, sigma: tuple[float, ...]) -> Any:
    """K v for v (..., 2^n), of any library, the mean over the widths, bit by bit: K is the tensor product of [[1, k],
    [k, 1]], k = exp(-1 / (2 sigma^2))."""
    xp, total = library(v), 0.0
    for near in (math.exp(-0.5 / s**2) for s in sigma):
        out, step = v, 1
        while step < v.shape[-1]:
            pairs = out.reshape(-1, 2, step)
            low, high = pairs[:, 0], pairs[:, 1]
            out = xp.stack([low + near * high, high + near * low], 1)
            step *= 2
        total = total + out.reshape(v.shape) / len(sigma)
    return total


class Kernels:
    """MMD^2 from probabilities: (p - q)^T K (p - q), the mean over the widths, q the data's frequencies.

    Unbiased in the data: q^T K q loses its diagonal.
    """

    def __init__(self, bits: np.ndarray, sigma: tuple[float, ...]) -> None:
        self.count, n = bits.shape
        index = bits.astype(np.int64) @ (np.int64(1) << np.arange(n))
        self.q = np.bincount(index, minlength=1 << n) / self.count
        self._sigma = sigma
        m, q = self.count, self.q
        self._smooth = smoothed(q, sigma)
        self._own = (m * float(q @ self._smooth) - 1) / (m - 1)

    def mmd2(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        """MMD^2, and its derivative by p."""
        smooth = smoothed(p, self._sigma)
        return float(p @ smooth - 2 * p @ self._smooth + self._own), 2 * (smooth - self._smooth)

    def of(self, p: Any) -> Any:
        """MMD^2 of p (..., 2^n), with functions of p's own library only."""
        constant = like(self._smooth, p)
        return (p * smoothed(p, self._sigma)).sum(-1) - 2 * (p * constant).sum(-1) + self._own
