"""Two-outcome events on one copy.

Vectors are complex arrays (..., 2^n), bit q of the last index being qubit q; any number of leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate.vectors import apply, expectation

_PROJECTOR_TOLERANCE = 1e-9  # ||E^2 - E|| that rounding of a user's own matrix products may leave


@dataclass(frozen=True, eq=False)
class Event:
    """A projector E on one copy: the copy "accepts" with probability <E>.

    `Event(pauli)` is E = (1 + P)/2 for a Hermitian Pauli string that may carry a sign; `Event.dense(matrix)` any other
    projector, (2^n, 2^n). The quantum backpropagation of Abbas et al. (arXiv:2305.13362) asks Pauli events only.
    """

    pauli: PauliString | None = None
    matrix: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.matrix is not None:
            if self.pauli is not None:
                raise QupropError("an Event is a Pauli string or a matrix, got both; use Event(pauli) or Event.dense()")
            return
        if not isinstance(self.pauli, PauliString):
            raise QupropError(
                f"an Event is made from a PauliString, got {self.pauli!r}; write Event(PauliString.parse('X0 Y2')) "
                "or Event.dense(matrix)"
            )
        if not self.pauli.is_hermitian:
            raise QupropError(f"an Event needs a Hermitian Pauli string, got {self.pauli}; drop its factor i")

    @classmethod
    def dense(cls, matrix: np.ndarray) -> Event:
        """The event of a projector matrix (2^n, 2^n): Hermitian, E^2 = E."""
        matrix = checked("the matrix of an event", matrix, ("2^n", "2^n"), complex).copy()
        d = len(matrix)
        if matrix.shape[1] != d or d < 2 or d & (d - 1):
            raise QupropError(f"a dense event is a square matrix of size 2^n, got shape {matrix.shape}")
        if max(np.abs(matrix - matrix.conj().T).max(), np.abs(matrix @ matrix - matrix).max()) > _PROJECTOR_TOLERANCE:
            raise QupropError(
                "a dense event must be a Hermitian projector (E² = E), got a matrix that is not; "
                "build it from its orthonormal accepting vectors as V @ V.conj().T"
            )
        matrix.setflags(write=False)
        return cls(matrix=matrix)

    @property
    def n_qubits(self) -> int:
        """The fewest qubits a copy must have."""
        if self.matrix is not None:
            return int(self.matrix.shape[0]).bit_length() - 1
        assert self.pauli is not None
        return self.pauli.n_qubits

    @property
    def key(self) -> object:
        """Equal for equal events, hashable."""
        return self.pauli if self.matrix is None else self.matrix.tobytes()

    def complement(self) -> Event:
        """1 - E."""
        if self.matrix is not None:
            return Event(matrix=np.eye(len(self.matrix)) - self.matrix)
        assert self.pauli is not None
        return Event(-self.pauli)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """E v for every vector (..., 2^n), as a new array."""
        if self.matrix is not None:
            return vectors @ self.matrix.T
        assert self.pauli is not None
        out = apply(self.pauli, vectors)
        out += vectors
        out *= 0.5
        return out

    def mean(self, vectors: np.ndarray) -> np.ndarray:
        """<v|E|v> of normalised vectors: real (...), within [0, 1]."""
        if self.matrix is not None:
            value = np.sum(vectors.conj() * self.apply(vectors), axis=-1).real
        else:
            assert self.pauli is not None
            value = (1 + expectation(self.pauli, vectors)) / 2
        return np.clip(value, 0.0, 1.0)

    def check_fits(self, n: int) -> None:
        """Refuses a copy of n qubits that the event does not fit."""
        if self.n_qubits > n or (self.matrix is not None and self.n_qubits != n):
            what = f"{self.pauli}" if self.matrix is None else f"the dense event of size {len(self.matrix)}"
            raise QupropError(f"the copies have {n} qubits, but {what} needs {self.n_qubits}; prepare larger copies")


def hermitian(pauli: PauliString, n: int) -> PauliString:
    """`pauli`, if it is a Hermitian string on n qubits."""
    if not isinstance(pauli, PauliString):
        raise QupropError(f"a PauliString was expected, got {pauli!r}; write PauliString.parse('X0 Y2')")
    if not pauli.is_hermitian:
        raise QupropError(f"a Hermitian Pauli string was expected, got {pauli}; drop its factor i")
    if pauli.n_qubits > n:
        raise QupropError(f"the copies have {n} qubits, but {pauli} acts on qubit {pauli.n_qubits - 1}")
    return pauli
