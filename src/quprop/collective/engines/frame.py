"""States of one copy that are rotated in place: vectors here, and whatever else is a `RotatingState`.

Large arrays that are made and thrown away at every rotation cost more than the arithmetic; the scratch here is kept.
"""

from __future__ import annotations

import math
from typing import Protocol, Self

import numpy as np

from quprop.model.pauli import PauliString
from quprop.simulate.vectors import apply, expectation


class RotatingState(Protocol):
    """The state of one copy of `n` qubits, held in any way that can be rotated and asked for means."""

    @property
    def n(self) -> int: ...

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2), in place."""
        ...

    def mean(self, pauli: PauliString) -> float:
        """<P>, in [-1, 1]."""
        ...

    def copy(self) -> Self: ...


class RotatingStates:
    """Vectors (R, 2^n) complex128, bit q of the last index being qubit q, and as much scratch twice."""

    def __init__(self, rows: np.ndarray) -> None:
        self._hold(np.array(rows, complex), len(rows))

    def _hold(self, buffer: np.ndarray, used: int) -> None:
        self._buffer = buffer
        self._scratch = np.empty_like(buffer), np.empty_like(buffer), np.empty(buffer.shape[1])
        self._use(used)

    def _use(self, used: int) -> None:
        self.rows = self._buffer[:used]
        self._working = self._scratch[0][:used], self._scratch[1][:used], self._scratch[2]

    @property
    def n(self) -> int:
        return self.rows.shape[1].bit_length() - 1

    def copy(self) -> RotatingStates:
        return RotatingStates(self.rows)

    def mean(self, pauli: PauliString) -> float:
        """<P> of the first vector."""
        return float(expectation(pauli, self.rows[0]))

    def append(self, vector: np.ndarray) -> None:
        """One more row; an eighth more than is needed is taken, so that appending many copies each a few times."""
        used = len(self.rows)
        if used == len(self._buffer):
            del self._scratch, self._working  # given back before more is taken
            buffer = np.empty((used + used // 8 + 1, self._buffer.shape[1]), complex)
            buffer[:used] = self.rows
            self._hold(buffer, used)
        self._buffer[used] = vector
        self._use(used + 1)

    def applied(self, pauli: PauliString) -> np.ndarray:
        """P v for every row; scratch that the next call overwrites, and that `mix` may scale."""
        return apply(pauli, self.rows, self._working)

    def mix(self, keep: complex, moved: np.ndarray, add: complex) -> None:
        """v <- keep v + add moved; `moved` is overwritten."""
        if keep != 1:
            self.rows *= keep
        moved *= add
        self.rows += moved

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2) v = cos(angle/2) v - i sin(angle/2) P v."""
        self.mix(math.cos(angle / 2), self.applied(pauli), -1j * math.sin(angle / 2))
