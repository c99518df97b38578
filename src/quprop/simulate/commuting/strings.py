"""Products of Z on bits, Z_a(x) = (-1)^(a . x): the Gaussian kernel as their mean, and their means in data.

    exp(-|x - y|^2 / (2 sigma^2)) = E_a[Z_a(x) Z_a(y)],   the bits of a one with p = (1 - exp(-1 / (2 sigma^2))) / 2,

independently, so that MMD^2 = E_a (<Z_a>_model - <Z_a>_data)^2 (Rudolph et al., arXiv:2305.02881).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.gates import kernels


def bandwidths(sigma: Any) -> np.ndarray:
    """One sigma or several as an array (S,) of positive numbers."""
    found = np.atleast_1d(checked("sigma", sigma))
    if found.ndim != 1 or not found.size or not (found > 0).all():
        raise QupropError(f"sigma must be a positive number, or a list of them, got {sigma!r}")
    return found


def probability(sigma: float) -> float:
    """p of the Bernoulli bits of a."""
    return -math.expm1(-0.5 / sigma**2) / 2


def drawn_subsets(n: int, sigma: float, count: int, rng: np.random.Generator) -> Subsets:
    """Subsets of n bits, each bit with probability p of sigma."""
    sizes = rng.binomial(n, probability(sigma), size=count)
    ptr = np.zeros(count + 1, np.int64)
    np.cumsum(sizes, out=ptr[1:])
    owner = np.repeat(np.arange(count), sizes)
    qubits = np.empty(ptr[-1], np.int64)
    small = sizes <= n // 4
    left = small[owner]
    while left.any():  # uniform lists without repetition: those that repeat are drawn anew as a whole
        qubits[left] = rng.integers(0, n, size=int(left.sum()))
        order = np.lexsort((qubits, owner))
        qubits = qubits[order]
        twice = (qubits[1:] == qubits[:-1]) & (owner[1:] == owner[:-1]) & left[1:]
        again = np.zeros(count, bool)
        again[owner[1:][twice]] = True
        left = again[owner]
    for k in np.flatnonzero(~small):
        qubits[ptr[k] : ptr[k + 1]] = np.sort(rng.choice(n, sizes[k], replace=False))
    return Subsets(ptr, qubits.astype(np.int32))


class Moments:
    """<Z_a> of data (m, n) for any subsets a, by parities of packed bits."""

    def __init__(self, data: np.ndarray) -> None:
        self.count, self.n = data.shape
        packed = np.packbits(data.T, axis=1, bitorder="little")
        words = np.zeros((self.n, (packed.shape[1] + 7) // 8 * 8), np.uint8)
        words[:, : packed.shape[1]] = packed
        self._words = words.view(np.uint64)

    def of(self, subsets: Subsets) -> np.ndarray:
        out = np.empty(len(subsets))
        kernels().parities(subsets.ptr, subsets.qubits, self._words, self.count, out)
        return out

    def squares(self, means: np.ndarray) -> np.ndarray:
        """Unbiased estimates of the squares of what the means estimate."""
        return (self.count * means**2 - 1) / (self.count - 1)
