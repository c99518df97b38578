"""The exact hypothesis: matrix multiplicative weights on a dense 2^n x 2^n matrix."""

from __future__ import annotations

from copy import copy as shallow_copy

import numpy as np

from quprop.collective.hypothesis.protocol import count, number, positive, require_held
from quprop.collective.hypothesis.vectors import INNER_OPS, applied, expectations, rotate
from quprop.errors import QupropError
from quprop.model.pauli import PauliString

# Hermitian eigendecomposition with vectors: 9 d^3 real flops for real matrices (Golub and Van Loan, Matrix
# Computations, section 8.3), half as many multiply-adds, four times as many for complex ones.
EIGH_OPS = 18


class DenseHypothesis:
    """sigma = V diag(p) V†, log sigma = V diag(h) V† + const: exact multiplicative weights, mistake bound included.

    What is kept is the eigenbasis V in the current frame and the eigenvalues. Since sigma and its logarithm share V, a
    rotation is V <- R V, on one side only (4^n complex numbers, half of turning sigma, a quarter of turning sigma and
    its logarithm), and a prediction sum_k p_k <v_k|P|v_k> reads V once. An update diagonalises diag(h) + (step/2) V†PV:
    8^n work, which is why updates and not rotations dominate. Before the first update sigma is 1/2^n in every frame and
    nothing is held or done.

    Memory: 16 * 4^n bytes held, six times that during an update; n = 9 takes 0.5 ms a rotation or prediction and 0.2 s
    an update on one core.
    """

    def __init__(self, n: int) -> None:
        self.n = count(n, "n")
        require_held(self.required_bytes(self.n), f"a DenseHypothesis of {n} qubits", self.n)
        self.updates = 0
        self.classical_ops = 0
        self._vectors: np.ndarray | None = None  # (2^n, 2^n) complex, eigenvectors are columns
        self._logs = np.zeros(0)  # (2^n,) eigenvalues of log sigma up to a constant
        self._weights = np.zeros(0)  # (2^n,) eigenvalues of sigma

    @staticmethod
    def required_bytes(n: int) -> int:
        """The most it holds at any moment: V, P V, V†PV, its eigenvectors and workspace, the new V."""
        return 6 * 16 * 4**n

    @property
    def classical_bytes(self) -> int:
        return 0 if self._vectors is None else self._vectors.nbytes + self._logs.nbytes + self._weights.nbytes

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        if self._vectors is None:
            return 0.0
        self.classical_ops += INNER_OPS * self._vectors.size
        return sign * min(1.0, max(-1.0, float(self._weights @ expectations(self._vectors, pauli))))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        half = sign * number(step, "step") / 2
        self.updates += 1
        if pauli.weight == 0:
            return  # a multiple of the identity is taken away by the normalisation
        self._start()
        assert self._vectors is not None
        self._exponentiate(applied(self._vectors, pauli), half)

    def predict_matrix(self, observable: np.ndarray) -> float:
        """tr(sigma A) of a Hermitian matrix (2^n, 2^n): what `predict` is for events that are no Pauli strings."""
        matrix = self._fitting(observable)
        if self._vectors is None:
            return float(np.trace(matrix).real) / 2**self.n
        self.classical_ops += 4 * len(matrix) ** 3
        return float(self._weights @ np.einsum("jk,jk->k", self._vectors.conj(), matrix @ self._vectors).real)

    def update_matrix(self, observable: np.ndarray, step: float) -> None:
        """log sigma += step * A, renormalised, for a Hermitian matrix (2^n, 2^n)."""
        matrix = self._fitting(observable)
        step = number(step, "step")
        self.updates += 1
        self._start()
        assert self._vectors is not None
        self._exponentiate(matrix @ self._vectors, step)
        self.classical_ops += 4 * len(matrix) ** 3

    def _fitting(self, observable: np.ndarray) -> np.ndarray:
        matrix = np.asarray(observable)
        if matrix.shape != (2**self.n, 2**self.n):
            raise QupropError(
                f"the hypothesis has {self.n} qubits and takes matrices of size {2**self.n}, got shape {matrix.shape}"
            )
        return matrix

    def _start(self) -> None:
        if self._vectors is None:
            self._vectors, self._logs = np.eye(2**self.n, dtype=complex), np.zeros(2**self.n)

    def _exponentiate(self, turned: np.ndarray, step: float) -> None:
        """log sigma += step * A, from `turned` = A V."""
        assert self._vectors is not None
        dim = 2**self.n
        inside = self._vectors.conj().T @ turned  # V† A V
        inside *= step
        inside[np.diag_indices(dim)] += self._logs
        self._logs, turn = np.linalg.eigh(inside)
        self._vectors = self._vectors @ turn
        self._logs -= self._logs[-1]
        weights = np.exp(self._logs)
        self._weights = weights / weights.sum()
        self.classical_ops += (2 * 4 + EIGH_OPS) * dim**3

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        angle = sign * number(angle, "angle")
        if self._vectors is not None:
            self.classical_ops += rotate(self._vectors, pauli, angle)

    def copy(self) -> DenseHypothesis:
        twin = shallow_copy(self)
        twin._vectors = None if self._vectors is None else self._vectors.copy()
        return twin  # eigenvalues are replaced, never changed in place

    def matrix(self) -> np.ndarray:
        """sigma in the current frame, complex (2^n, 2^n)."""
        if self._vectors is None:
            return np.eye(2**self.n, dtype=complex) / 2**self.n
        return (self._vectors * self._weights) @ self._vectors.conj().T
