"""State vectors that are rotated together, in place.

Large arrays that are made and thrown away at every rotation cost more than the arithmetic; the scratch here is kept.
"""

from __future__ import annotations

import math

import numpy as np

from quprop.model.pauli import PauliString
from quprop.simulate.vectors import apply


class RotatingStates:
    """Vectors (R, 2^n) complex128, bit q of the last index being qubit q, and as much scratch twice."""

    def __init__(self, rows: np.ndarray) -> None:
        self._hold(np.array(rows, complex))

    def _hold(self, rows: np.ndarray) -> None:
        self.rows = rows
        self._scratch = np.empty_like(rows), np.empty_like(rows), np.empty(rows.shape[1])

    def append(self, vector: np.ndarray) -> None:
        self._hold(np.concatenate([self.rows, vector[None]]))

    def applied(self, pauli: PauliString) -> np.ndarray:
        """P v for every row; scratch that the next call overwrites, and that `mix` may scale."""
        return apply(pauli, self.rows, self._scratch)

    def mix(self, keep: complex, moved: np.ndarray, add: complex) -> None:
        """v <- keep v + add moved; `moved` is overwritten."""
        if keep != 1:
            self.rows *= keep
        moved *= add
        self.rows += moved

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2) v = cos(angle/2) v - i sin(angle/2) P v."""
        self.mix(math.cos(angle / 2), self.applied(pauli), -1j * math.sin(angle / 2))
