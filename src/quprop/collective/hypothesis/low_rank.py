"""A hypothesis of rank r: sigma = V diag(p) V†, V a 2^n x r matrix with orthonormal columns."""

from __future__ import annotations

from copy import copy as shallow_copy

import numpy as np

from quprop.collective.hypothesis.max_entropy import EIGH_OPS
from quprop.collective.hypothesis.protocol import count, learn_by_steps, number, positive, require_held
from quprop.collective.hypothesis.vectors import (
    INNER_OPS,
    applied,
    boost,
    dtype_of,
    expectations,
    rotate,
    start_vectors,
)
from quprop.errors import QupropError
from quprop.model.pauli import PauliString


class LowRankHypothesis:
    """The exponentiated gradient cut back to rank r after every update; no mistake bound, a count R(r) to report.

    V starts as r random orthonormal columns (``rng``), p flat. ``method`` says what an update does:

    - ``"exponentiated"`` (default): log sigma is taken to be h_i on the kept directions and min(h) - ``floor`` on all
      others. Then log sigma + (step/2) P leaves span(V, P V) invariant, because P^2 = 1; it is diagonalised there
      exactly (2r x 2r) and the r largest eigenvalues are kept. A small floor lets new directions in easily, a large one
      ties sigma to its span: 0 forgets (updates without end), infinity cannot learn a state outside the start's span.
      Of 0.25, 0.5, 1, 2 and 4 at rank 4 on five kinds of state, n = 5 and 6, 1 needed the fewest updates; with 0.25
      a quarter of the runs did not end. With r = 2^n this is exact multiplicative weights.
    - ``"product"``: B <- e^{step P/4} B for B = V sqrt(diag(p)), orthogonalised again. Cheaper, no cut; B stays the
      image of its random start. It is what :class:`TypicalityHypothesis` does.

    ``discarded`` is the weight cut off so far, a sum of fractions of the trace, one for each update. Memory 16 r 2^n
    bytes held, six times that during an update; a rotation touches r 2^n numbers.
    """

    def __init__(
        self,
        n: int,
        rank: int = 16,
        rng: int | np.random.Generator = 0,
        *,
        method: str = "exponentiated",
        floor: float = 1.0,
        precision: str = "double",
    ) -> None:
        self.n = count(n, "n")
        self.rank = min(count(rank, "rank"), 2**self.n)
        if method not in ("exponentiated", "product"):
            raise QupropError(f"`method` must be 'exponentiated' (the default) or 'product', got {method!r}")
        if number(floor, "floor") < 0:
            raise QupropError(f"`floor` must not be negative, got {floor}; 1.0 is the default")
        dtype = dtype_of(precision)
        require_held(
            self.required_bytes(self.n, self.rank, precision), f"a LowRankHypothesis of {n} qubits, rank {rank}", n
        )
        self.updates = 0
        self.classical_ops = 0
        self.discarded = 0.0
        self.floor = float(floor)
        self._product = method == "product"
        start = start_vectors(self.n, self.rank, np.random.default_rng(rng))
        self._vectors = np.linalg.qr(start)[0].astype(dtype)  # (2^n, r)
        self._logs = np.zeros(self.rank)
        self._weights = np.full(self.rank, 1 / self.rank)

    @staticmethod
    def required_bytes(n: int, rank: int = 16, precision: str = "double") -> int:
        """The most it holds: V, P V, the new directions, their basis with V's, and what decompositions need."""
        return 6 * np.dtype(dtype_of(precision)).itemsize * min(rank, 2**n) * 2**n

    @property
    def classical_bytes(self) -> int:
        return self._vectors.nbytes + self._logs.nbytes + self._weights.nbytes

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        if not self.updates:
            return 0.0  # nothing is known: what a random start would say is noise
        self.classical_ops += INNER_OPS * self._vectors.size
        return sign * min(1.0, max(-1.0, float(self._weights @ expectations(self._vectors, pauli))))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        half = sign * number(step, "step") / 2
        self.updates += 1
        if pauli.weight == 0:
            return
        if self._product:
            self._product_step(pauli, half)
        else:
            self._exponentiated_step(pauli, half)

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        learn_by_steps(self, pauli, value, error)

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        angle = sign * number(angle, "angle")
        if self.updates:
            self.classical_ops += rotate(self._vectors, pauli, angle)

    def copy(self) -> LowRankHypothesis:
        twin = shallow_copy(self)
        twin._vectors = self._vectors.copy()
        return twin

    def matrix(self) -> np.ndarray:
        """sigma in the current frame, complex (2^n, 2^n)."""
        if not self.updates:
            return np.eye(2**self.n, dtype=complex) / 2**self.n
        return (self._vectors * self._weights) @ self._vectors.conj().T

    def _exponentiated_step(self, pauli: PauliString, half: float) -> None:
        basis, logs = self._vectors, self._logs
        fresh = applied(basis, pauli)  # P V
        for _ in range(2):  # twice is enough (Kahan)
            fresh -= basis @ (basis.conj().T @ fresh)
        left, sizes, _ = np.linalg.svd(fresh, full_matrices=False)
        new = left[:, sizes > 1e4 * np.finfo(basis.real.dtype).eps]  # (2^n, at most r)
        basis = np.concatenate([basis, new], axis=1)
        logs = np.concatenate([logs, np.full(new.shape[1], logs.min() - self.floor)])
        inside = half * (basis.conj().T @ applied(basis, pauli)).astype(complex)
        inside[np.diag_indices(len(logs))] += logs
        values, turn = np.linalg.eigh(inside)
        self._vectors = basis @ turn[:, -self.rank :].astype(basis.dtype)
        weights = np.exp(values - values[-1])
        kept = weights[-self.rank :]
        self.discarded += float(1 - kept.sum() / weights.sum())
        self._logs, self._weights = values[-self.rank :] - values[-1], kept / kept.sum()
        size, wide = self._vectors.size, basis.shape[1]
        # two projections, the decomposition (R-SVD: 7 r^2 a row), the form inside, the new basis: complex, four each
        self.classical_ops += 4 * size * (4 * self.rank + 7 * self.rank + wide * wide // self.rank + wide)
        self.classical_ops += EIGH_OPS * wide**3

    def _product_step(self, pauli: PauliString, half: float) -> None:
        root = (self._vectors * np.sqrt(self._weights)).astype(self._vectors.dtype)  # sigma = B B†
        self.classical_ops += boost(root, pauli, half, 1.0)
        weights, turn = np.linalg.eigh((root.conj().T @ root).astype(complex))  # (r, r) Gram matrix
        weights = np.maximum(weights, np.finfo(float).tiny)
        self._vectors = np.linalg.qr(root @ turn.astype(root.dtype))[0]
        self._weights = weights / weights.sum()
        self._logs = np.log(self._weights)
        self.classical_ops += 4 * root.size * 4 * self.rank + EIGH_OPS * self.rank**3
