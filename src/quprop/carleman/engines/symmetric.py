"""Symmetric monomials: every distinct entry of y_1..y_N once, C(n + N, N) - 1 numbers, for n up to a few hundred."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from quprop.carleman.engines.kronecker import check_variant
from quprop.carleman.engines.monomials import MonomialTables, SymmetricOperator, monomial_tables, symmetric_matrix
from quprop.carleman.engines.state import LiftedState
from quprop.carleman.maps.dynamics import Dynamics, Polynomial, PolynomialMap, tabulate

STORE_BELOW = 4_000_000  # entries under which a step's matrix is written down once and multiplied with ever after


class SymmetricTower(LiftedState):
    """Engine "symmetric": memory C(n + N, N). ``variant`` is "discrete" (exact) or "euler"."""

    name = "symmetric"

    def __init__(
        self, dynamics: Dynamics | PolynomialMap, start: np.ndarray, order: int, *, variant: str = "discrete"
    ) -> None:
        super().__init__(dynamics, start, order)
        self.variant = check_variant(variant)
        self.exact = variant == "discrete"
        self.tables = monomial_tables(self.dimension, order)
        self.moments = self.tables.lift(self.start)  # degree 0..N
        self._weights = self.tables.weights()
        self._kept: dict[object, SymmetricOperator | sparse.csr_array] = {}
        self._shift = SymmetricOperator(self.tables, {})

    def step(self, t: int | None = None) -> None:
        step = tabulate(self._tick(t), self.order)
        if step.key not in self._kept:
            self._kept[step.key] = self._prepare(step)
        operator, constant = self._kept[step.key], step.constant()
        before = self.moments
        if isinstance(operator, SymmetricOperator):
            self.moments = operator.forward(before, constant)
        else:
            self.moments = operator @ before
            if np.any(constant):
                if self.variant == "euler":
                    self.moments += self._force(before, constant)
                else:
                    self.moments = self._shift.shift(self.moments, constant)

    def _prepare(self, step: Polynomial) -> SymmetricOperator | sparse.csr_array:
        if self.variant == "euler" or likely_entries(self.tables, step) < STORE_BELOW:
            return symmetric_matrix(self.tables, np.zeros(self.dimension), step.parts, self.variant)
        return SymmetricOperator(self.tables, step.parts)

    def _force(self, moments: np.ndarray, constant: np.ndarray) -> np.ndarray:
        """What G_0 adds in an Euler step: on every leg, once."""
        tables, out = self.tables, np.zeros_like(moments)
        for j in range(1, self.order + 1):
            below = moments[tables.edges[j - 1] : tables.edges[j]]
            for leg in range(j):
                rest = tables.rank(np.delete(tables.tuples[j], leg, axis=1))
                out[tables.edges[j] : tables.edges[j + 1]] += constant[tables.tuples[j][:, leg]] * below[rest]
        return out

    def level(self, j: int) -> np.ndarray:
        self._check_level(j)
        part = self.moments[self.tables.edges[j] : self.tables.edges[j + 1]]
        return part.copy() if j == 1 else self.tables.to_tensor(part, j)

    def level_norms(self) -> np.ndarray:
        weighted = self._weights * self.moments
        edges = self.tables.edges
        return np.array([np.linalg.norm(weighted[edges[j] : edges[j + 1]]) for j in range(1, self.order + 1)])

    @property
    def memory(self) -> int:
        return int(self.moments.nbytes)


def likely_entries(tables: MonomialTables, step: Polynomial) -> float:
    """About how many entries the exact step's matrix has: rows of (sum_k s_k x^k)^j, at most all columns."""
    per_row = np.zeros(tables.order + 1)
    for k, (_, table) in step.parts.items():
        if k <= tables.order:
            per_row[k] = np.count_nonzero(table) / tables.n if isinstance(table, np.ndarray) else table.nnz / tables.n
    total, power = 0.0, np.array([1.0])
    for j in range(1, tables.order + 1):
        power = np.convolve(power, per_row)[: tables.order + 1]
        total += tables.sizes[j] * sum(min(p, tables.sizes[m]) for m, p in enumerate(power))
    return total
