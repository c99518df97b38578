"""Z strings on bits, Z_a(x) = (-1)^(a . x): the Gaussian kernel as a mean of their products, and their means in data.

    exp(-|x - y|^2 / (2 sigma^2)) = E_a[Z_a(x) Z_a(y)],   the bits of a one with p = (1 - exp(-1 / (2 sigma^2))) / 2,

independently, so that MMD^2 = E_a (<Z_a>_model - <Z_a>_data)^2 (Rudolph et al., arXiv:2305.02881). Lists of strings are
SciPy CSR arrays (K, n) of ones: a string is short where sigma is wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.arrays import bits, checked
from quprop.errors import QupropError


def bandwidths(sigma: Any) -> np.ndarray:
    """One sigma or several as an array (S,) of positive numbers."""
    found = np.atleast_1d(checked("sigma", sigma))
    if found.ndim != 1 or not found.size or not (found > 0).all():
        raise QupropError(f"sigma must be a positive number, or a list of them, got {sigma!r}")
    return found


def draw_strings(n: int, sigma: float, count: int, generator: np.random.Generator) -> sp.csr_array:
    """`count` strings a (count, n) of the kernel of this sigma; p is below 1/2, so none is likelier than the empty
    one."""
    p = -math.expm1(-1 / (2 * sigma**2)) / 2
    weights = generator.binomial(n, p, size=count)
    rows = [np.sort(generator.choice(n, size=w, replace=False)) for w in weights]
    return of_rows(n, rows)


def of_rows(n: int, rows: Sequence[Any]) -> sp.csr_array:
    """Strings from lists of the bits they act on, none twice in one list."""
    lengths = np.array([len(row) for row in rows], np.int64)
    columns = np.concatenate([np.zeros(0, np.int64), *(np.asarray(row, np.int64) for row in rows if len(row))])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return sp.csr_array((np.ones(len(columns)), columns, ends), shape=(len(rows), n))


def strings(n: int, given: Any) -> sp.csr_array:
    """What a caller passes as strings on n bits, checked: (K, n) of zeros and ones, dense or sparse."""
    if sp.issparse(given):
        found = sp.csr_array(given, dtype=float)
        found.sum_duplicates()
        found.eliminate_zeros()
        if found.shape[1:] != (n,) or not (found.data == 1).all():
            raise QupropError(f"strings must be zeros and ones of shape (K, {n}), got {found.shape} or other numbers")
        return found
    return sp.csr_array(bits("strings", given, ("K", n)).astype(float))


class DataStrings:
    """Means of Z strings in data: bits (m, n), held as a row of packed samples for each bit."""

    def __init__(self, data: Any) -> None:
        data = bits("data", data)
        self.samples, self.n = data.shape
        packed = np.packbits(data.T, axis=1)
        padded = np.zeros((self.n, -(-packed.shape[1] // 8) * 8), np.uint8)  # zeros change no parity's count
        padded[:, : packed.shape[1]] = packed
        self._words = padded.view(np.uint64)

    def means(self, given: sp.csr_array) -> np.ndarray:
        """<Z_a> = 1 - 2 P(a . x odd) for CSR strings (K, n): exact, as (K,)."""
        odd = np.empty(given.shape[0])
        for k in range(len(odd)):
            row = given.indices[given.indptr[k] : given.indptr[k + 1]]
            odd[k] = np.bitwise_count(np.bitwise_xor.reduce(self._words[row], axis=0)).sum()
        return 1.0 - 2.0 * odd / self.samples
