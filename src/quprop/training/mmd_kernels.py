"""The Gaussian kernel applied to all probabilities of n bits at once: 2 n 2^n operations a width."""

from __future__ import annotations

import math

import numpy as np


def smoothed(v: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    """K v for v (2^n,), the mean over the widths, bit by bit: K is the tensor product of [[1, k], [k, 1]], k = exp(-1 /
    (2 sigma^2))."""
    total = np.zeros_like(v)
    for near in (math.exp(-0.5 / s**2) for s in sigma):
        out, step = v.copy(), 1
        while step < len(v):
            pairs = out.reshape(-1, 2, step)
            out = (pairs + near * pairs[:, ::-1]).ravel()
            step *= 2
        total += out / len(sigma)
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
