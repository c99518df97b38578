"""State vectors that are rotated together, in place.

Large arrays that are made and thrown away at every rotation cost more than the arithmetic; the scratch here is kept.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from quprop.model.pauli import PauliString

_LOW_BITS = 9  # an index is (high, low): high bits move rows of 2^9 amplitudes, low bits permute within a row


class Frame:
    """Vectors (R, 2^n) complex128, bit q of the last index being qubit q, and as much scratch twice."""

    def __init__(self, rows: np.ndarray) -> None:
        self._hold(np.array(rows, complex))

    def _hold(self, rows: np.ndarray) -> None:
        self.rows = rows
        self._moved, self._spare = np.empty_like(self.rows), np.empty_like(self.rows)
        self._signs = np.empty(self.rows.shape[1])

    def append(self, vector: np.ndarray) -> None:
        self._hold(np.concatenate([self.rows, vector[None]]))

    def applied(self, pauli: PauliString) -> np.ndarray:
        """P v for every row; scratch that the next call overwrites, and that `mix` may scale."""
        d = self.rows.shape[1]
        low = min(d, 1 << _LOW_BITS)
        shape = (len(self.rows), d // low, low)
        source, target = self.rows, self._moved
        if pauli.x // low:
            index = _order(d // low, pauli.x // low)
            np.take(source.reshape(shape), index, axis=1, out=target.reshape(shape), mode="clip")
            source, target = target, self._spare
        if pauli.x % low:
            np.take(source.reshape(shape), _order(low, pauli.x % low), axis=2, out=target.reshape(shape), mode="clip")
            source = target
        # (P v)[j] = i^phase (-1)^{|z & (j ^ x)|} v[j ^ x]
        factor = 1j ** ((pauli.phase + 2 * (pauli.z & pauli.x).bit_count()) & 3)
        np.multiply(
            _signs(d // low, pauli.z // low)[:, None], _signs(low, pauli.z % low), self._signs.reshape(shape[1:])
        )
        np.multiply(source, self._signs, out=self._moved)
        if factor != 1:
            self._moved *= factor
        return self._moved

    def mix(self, keep: complex, moved: np.ndarray, add: complex) -> None:
        """v <- keep v + add moved; `moved` is overwritten."""
        if keep != 1:
            self.rows *= keep
        moved *= add
        self.rows += moved

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2) v = cos(angle/2) v - i sin(angle/2) P v."""
        self.mix(math.cos(angle / 2), self.applied(pauli), -1j * math.sin(angle / 2))


@lru_cache(maxsize=4096)
def _order(size: int, x: int) -> np.ndarray:
    return np.arange(size) ^ x


@lru_cache(maxsize=4096)
def _signs(size: int, z: int) -> np.ndarray:
    return 1.0 - 2.0 * (np.bitwise_count(np.arange(size) & z) & 1)
