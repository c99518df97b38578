"""Linear coordinates of basis states: in which bits an index is written, and what Pauli strings are there.

Basis state j stands at j' = L j, L invertible over GF(2): bit i of j' is the parity of rows[i] & j. There X^x is X^{L
x} and Z^z is Z^{L^-T z}, since parities z.j = (L^-T z).(L j). The Hermitian string P = i^|x & z| X^x Z^z therefore
becomes plus or minus the Hermitian string of the new masks, minus where |x & z| - |x' & z'| is 2 modulo 4; the
difference is even because the parity of |x & z| is x.z, which stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Coordinates(NamedTuple):
    """rows: the functionals, L. columns: of L^-1, column i the index whose new coordinates have bit i alone."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[int]) -> Coordinates:
        """The coordinates of independent functionals, as many as there are bits."""
        return cls(tuple(rows), dual(rows))

    def x(self, mask: int) -> int:
        """L mask: where an index, or an x mask, goes."""
        return _parities(self.rows, mask)

    def z(self, mask: int) -> int:
        """L^-T mask: where a z mask, or a functional, goes."""
        return _parities(self.columns, mask)

    def index(self, j: int) -> int:  # type: ignore[override]
        """Where basis state j stands."""
        return self.x(j)

    def functional(self, mask: int) -> int:
        """A functional of indices as one of the new coordinates: the same parity."""
        return self.z(mask)

    def xs(self, masks: np.ndarray) -> np.ndarray:
        """`x` of an array of uint64."""
        return _all_parities(self.rows, masks)

    def zs(self, masks: np.ndarray) -> np.ndarray:
        """`z` of an array of uint64."""
        return _all_parities(self.columns, masks)

    def signs(self, xs: np.ndarray, zs: np.ndarray) -> np.ndarray:
        """The signs +1.0 and -1.0 of Hermitian strings with the masks xs, zs before."""
        before, after = np.bitwise_count(xs & zs), np.bitwise_count(self.xs(xs) & self.zs(zs))
        return 1.0 - ((before.astype(np.int64) - after) & 2)


def dual(vectors: Sequence[int]) -> tuple[int, ...]:
    """The dual basis: masks of which the k-th has an odd overlap with the k-th vector and even ones with the others."""
    n = len(vectors)
    left = [v | 1 << (n + k) for k, v in enumerate(vectors)]  # each row of the matrix beside one of the identity
    for bit in range(n):
        at = next((k for k in range(bit, n) if left[k] >> bit & 1), None)
        assert at is not None, "a basis is asked for, of vectors that are independent"
        left[bit], left[at] = left[at], left[bit]
        pivot = left[bit]
        for k in range(n):
            if k != bit and left[k] >> bit & 1:
                left[k] ^= pivot
    inverse = [row >> n for row in left]  # row `bit` of V^-1 for V with the vectors as rows; its columns are the dual
    return tuple(sum((row >> k & 1) << bit for bit, row in enumerate(inverse)) for k in range(n))


def odd(masks: np.ndarray) -> np.ndarray:
    """Whether each mask has an odd number of bits."""
    return (np.bitwise_count(masks) & 1).astype(bool)


def _parities(rows: Sequence[int], mask: int) -> int:
    return sum(((row & mask).bit_count() & 1) << i for i, row in enumerate(rows))


def _all_parities(rows: Sequence[int], masks: np.ndarray) -> np.ndarray:
    found = np.zeros_like(masks)
    for i, row in enumerate(rows):
        found |= (np.bitwise_count(masks & np.uint64(row)) & 1).astype(np.uint64) << np.uint64(i)
    return found
