"""T training steps as one linear system, the one that a quantum computer is to solve.

Unknowns are the lifted states of all times and p idle copies of the last, K = T + p + 1 blocks of D numbers:

    y(0) = y_in,    y(t+1) - M(t) y(t) = b(t),  t < T,    y(t+1) - y(t) = 0,  T <= t < T + p,

that is L Y = RHS with L block bidiagonal. Idle copies make measuring the last time likely. In units of ``scale``,
u = scale u~, block M^j_m is multiplied by scale^(m-j); this balances the levels, without it condition number and
success probability are exponential in N (Costa et al., arXiv:2312.09518).

||L|| <= 1 + max(1, ||M||), ||L^-1|| <= max over s of sum_t ||M(t) ... M(s)||; so for ||M|| = mu < 1 without idle copies
kappa <= (1 + mu)/(1 - mu), for ||M|| <= 1 in any case kappa <= 2 K.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from quprop.carleman.engines.kronecker import check_variant, kronecker_matrix
from quprop.carleman.engines.monomials import SymmetricOperator, monomial_tables, symmetric_matrix
from quprop.carleman.engines.symmetric import likely_entries
from quprop.carleman.maps.dynamics import Dynamics, Polynomial, PolynomialMap, as_dynamics, check_vector, tabulate
from quprop.carleman.system.linear_system import LinearSystem
from quprop.errors import QupropError, nearest

BASES = ("symmetric", "kronecker")
STORE_LIMIT = 60_000_000  # entries of all step matrices together that are written down: about 1 GB
DENSE_ABOVE = 0.2  # share of entries from which a step matrix is multiplied as a dense one
DENSE_LIMIT = 1_500  # unknowns up to which the condition number is by dense singular values


@dataclass(frozen=True)
class Condition:
    """kappa = sigma_max/sigma_min of L, and how it was found: "dense", "lanczos" or "bound"."""

    kappa: float
    sigma_max: float
    sigma_min: float
    method: str


class HistorySystem:
    """L Y = RHS for ``steps`` steps of ``dynamics`` from ``start``, truncated at ``order``.

    ``idle``   p, idle copies of the last state; default T
    ``scale``  the unit of u; default `balanced_scale`
    ``basis``  "symmetric", every distinct entry once, weighted so that norms are those of the full tensors; or
               "kronecker", the full tensors, D = n + ... + n^N, as the qubits hold them
    """

    def __init__(
        self,
        dynamics: Dynamics | PolynomialMap | Sequence[PolynomialMap],
        start: np.ndarray,
        order: int,
        steps: int,
        *,
        idle: int | None = None,
        scale: float | None = None,
        basis: str = "symmetric",
        variant: str = "discrete",
    ) -> None:
        self.dynamics = as_dynamics(dynamics)
        self.n = self.dynamics.dimension
        self.start = check_vector(start, self.n, "start")
        self.order, self.steps = order, steps
        self.idle = steps if idle is None else idle
        if order < 1 or steps < 1 or self.idle < 0:
            raise QupropError(f"order >= 1, steps >= 1 and idle >= 0 were expected, got {order}, {steps}, {self.idle}")
        if basis not in BASES:
            raise QupropError(f"unknown basis {basis!r}: {nearest(str(basis), BASES)}")
        self.basis, self.variant = basis, check_variant(variant)
        self.scale = balanced_scale(self.dynamics, self.start, steps) if scale is None else scale
        if not self.scale > 0:
            raise QupropError(f"`scale` must be positive, got {self.scale}")
        distinct = [self.dynamics[t] for t in range(min(steps, len(self.dynamics)))]
        store = STORE_LIMIT / len(distinct)
        self._steps = [_block(tabulate(step, order), order, basis, variant, self.scale, store) for step in distinct]
        first = self.start / self.scale
        if basis == "symmetric":
            tables = monomial_tables(self.n, order)
            self.y_in = (tables.weights() * tables.lift(first))[1:]
        else:
            levels = [first]
            for _ in range(order - 1):
                levels.append(np.multiply.outer(levels[-1], first).reshape(-1))
            self.y_in = np.concatenate(levels)
        self.block = len(self.y_in)
        self.blocks = steps + self.idle + 1
        self.shape = (self.block * self.blocks,) * 2
        self._conditions: dict[str, Condition] = {}

    def _at(self, t: int) -> StepBlock:
        return self._steps[t % len(self._steps)]

    def rhs(self) -> np.ndarray:
        """(y_in, b(0), ..., b(T-1), 0, ..., 0), shape (K D,)."""
        out = np.zeros((self.blocks, self.block))
        out[0] = self.y_in
        for t in range(self.steps):
            out[t + 1] = self._at(t).force
        return out.reshape(-1)

    def matvec(self, y: np.ndarray) -> np.ndarray:
        """L Y, with one product for all times that share a map."""
        y, last = np.reshape(y, (self.blocks, self.block)), self.steps
        out, period = y.copy(), len(self._steps)
        for first, step in enumerate(self._steps):
            out[first + 1 : last + 1 : period] -= step.apply(y[first:last:period])
        out[last + 1 :] -= y[last:-1]
        return out.reshape(-1)

    def rmatvec(self, y: np.ndarray) -> np.ndarray:
        """L^T Y."""
        y, last = np.reshape(y, (self.blocks, self.block)), self.steps
        out, period = y.copy(), len(self._steps)
        for first, step in enumerate(self._steps):
            out[first:last:period] -= step.transposed(y[first + 1 : last + 1 : period])
        out[last:-1] -= y[last + 1 :]
        return out.reshape(-1)

    def residual(self, y: np.ndarray) -> float:
        """||L Y - RHS|| / ||RHS||: how well Y solves the system."""
        rhs = self.rhs()
        return float(np.linalg.norm(self.matvec(y) - rhs) / np.linalg.norm(rhs))

    def entries(self) -> int:
        """About how many multiplications a product with L takes: the entries of M(t), added over the T steps."""
        return sum(self._at(t).entries for t in range(self.steps))

    def solve(self, rhs: np.ndarray | None = None) -> np.ndarray:
        """L^-1 RHS by forward substitution: the exact history, which the solvers are judged by."""
        out = np.reshape(self.rhs() if rhs is None else rhs, (self.blocks, self.block)).copy()
        for t in range(self.blocks - 1):
            out[t + 1] += self._at(t).apply(out[t]) if t < self.steps else out[t]
        return out.reshape(-1)

    def solve_transposed(self, rhs: np.ndarray) -> np.ndarray:
        """L^-T RHS by backward substitution."""
        out = np.reshape(rhs, (self.blocks, self.block)).copy()
        for t in range(self.blocks - 2, -1, -1):
            out[t] += self._at(t).transposed(out[t + 1]) if t < self.steps else out[t + 1]
        return out.reshape(-1)

    def matrix(self) -> sparse.csr_array:
        """L as a sparse matrix, where the step matrices could be written down."""
        grid: list[list[Any]] = [[None] * self.blocks for _ in range(self.blocks)]
        eye = sparse.eye_array(self.block, format="csr")
        for t in range(self.blocks):
            grid[t][t] = eye
            if t + 1 < self.blocks:
                below = self._at(t).stored if t < self.steps else eye
                if below is None:
                    raise QupropError(
                        f"the step matrix of {self.n} parameters at N = {self.order} is too large to write down; "
                        "use matvec, which does without"
                    )
                grid[t + 1][t] = -below
        return sparse.csr_array(sparse.block_array(grid, format="csr"))

    def estimate(self, y: np.ndarray) -> np.ndarray:
        """u (n,) read off a solution: level 1 of the last block, in the units of ``start``."""
        return np.asarray(np.reshape(y, (self.blocks, self.block))[-1, : self.n] * self.scale)

    def success_probability(self, y: np.ndarray) -> float:
        """Chance that measuring time and level of the state Y/||Y|| gives level 1 at time T or in an idle copy."""
        table = np.reshape(y, (self.blocks, self.block))
        return float(np.sum(table[self.steps :, : self.n] ** 2) / np.sum(table**2))

    def sparsity(self) -> tuple[int, int]:
        """Most entries of L in a row and in a column."""
        pattern = self.matrix()
        pattern.eliminate_zeros()
        rows = np.diff(pattern.indptr)
        columns = np.bincount(pattern.indices, minlength=pattern.shape[1])
        return int(rows.max()), int(columns.max())

    def step_norm(self) -> float:
        """max over t of ||M(t)||."""
        return max(step.norm() for step in self._steps)

    def kappa_bound(self) -> float:
        """An upper bound on kappa from ||M(t)|| alone: (1 + max(1, mu)) max over s of sum of the products of norms."""
        norms = [self._at(t).norm() for t in range(min(self.steps, len(self._steps)))]
        return (1 + max(1.0, max(norms))) * self._inverse_bound(norms)

    def _inverse_bound(self, norms: list[float]) -> float:
        total = worst = float(self.idle + 1)  # the row sum from the start s = T: y(T) and its copies
        for t in range(self.steps - 1, -1, -1):
            total = 1 + norms[t % len(norms)] * total
            worst = max(worst, total)
        return worst

    def condition(self, method: str = "auto") -> Condition:
        """kappa of L. "dense" by singular values, "lanczos" by L^-1 (substitution) and L, "bound" from ||M|| alone."""
        if method == "auto":
            method = "dense" if self.shape[0] <= DENSE_LIMIT else "lanczos"
        if method not in self._conditions:
            self._conditions[method] = self._condition(method)
        return self._conditions[method]

    def _condition(self, method: str) -> Condition:
        if method == "dense":
            values = np.linalg.svd(self.matrix().toarray(), compute_uv=False)
            return Condition(float(values[0] / values[-1]), float(values[0]), float(values[-1]), method)
        if method == "lanczos":
            largest = _largest(lambda v: self.rmatvec(self.matvec(v)), self.shape[0]) ** 0.5
            inverse = _largest(lambda v: self.solve(self.solve_transposed(v)), self.shape[0]) ** 0.5
            return Condition(float(largest * inverse), float(largest), float(1 / inverse), method)
        if method == "bound":
            kappa, largest = self.kappa_bound(), 1 + max(1.0, self.step_norm())
            return Condition(kappa, largest, largest / kappa, method)
        raise QupropError(f"method is 'auto', 'dense', 'lanczos' or 'bound', got {method!r}")

    def linear_system(self, method: str = "auto") -> LinearSystem:
        """What the solvers take: products, right-hand side, ||L|| and kappa. A margin of 1e-6 covers Lanczos' error."""
        found = self.condition(method)
        slack = 1 + 1e-6
        return LinearSystem(
            matvec=self.matvec,
            rmatvec=self.rmatvec,
            rhs=self.rhs(),
            shape=self.shape,
            norm=found.sigma_max * slack,
            kappa=max(1.0, found.kappa * slack**2),
        )

    def qubits(self) -> int:
        """Data qubits: ceil log2 K for time, ceil log2 N for the level, N ceil log2 n for the tensors."""
        return _bits(self.blocks) + _bits(self.order) + self.order * _bits(self.n)


class StepBlock:
    """M of one map in the chosen basis and unit, stored or matrix-free, and its b; products are along the last axis."""

    def __init__(
        self,
        stored: sparse.csr_array | None,
        force: np.ndarray,
        operator: SymmetricOperator | None = None,
        constant: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        entries: float = 0.0,
    ) -> None:
        self.stored, self.force = stored, force
        self.entries = int(entries) if stored is None else int(stored.nnz)
        self._forward: Any = stored
        if stored is not None and stored.nnz > DENSE_ABOVE * np.prod(stored.shape):
            self._forward = stored.toarray()
        self._turned = None if stored is None else self._forward.T.copy()
        self._operator, self._constant, self._weights = operator, constant, weights
        self._norm: float | None = None

    def apply(self, y: np.ndarray) -> np.ndarray:
        """M y for y (..., D)."""
        return self._product(self._forward, y, self._moved)

    def transposed(self, y: np.ndarray) -> np.ndarray:
        """M^T y for y (..., D)."""
        return self._product(self._turned, y, self._moved_back)

    def _product(self, matrix: Any, y: np.ndarray, free: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        if matrix is not None:
            return np.asarray((matrix @ y.T).T)
        return free(y) if y.ndim == 1 else np.array([free(row) for row in y])

    def _moved(self, y: np.ndarray) -> np.ndarray:
        assert self._operator is not None and self._weights is not None
        moments = np.concatenate([[0.0], y / self._weights])
        return np.asarray(self._operator.forward(moments, self._constant)[1:] * self._weights)

    def _moved_back(self, y: np.ndarray) -> np.ndarray:
        assert self._operator is not None and self._weights is not None
        moments = np.concatenate([[0.0], y * self._weights])
        return np.asarray(self._operator.backward(moments, self._constant)[1:] / self._weights)

    def norm(self) -> float:
        """||M||: exact up to a few hundred rows, by Lanczos beyond."""
        if self._norm is None:
            size = len(self.force)
            if self.stored is not None and size <= 400:
                self._norm = float(np.linalg.norm(self.stored.toarray(), 2))
            else:
                self._norm = _largest(lambda v: self.transposed(self.apply(v)), size) ** 0.5
        return self._norm


def _block(step: Polynomial, order: int, basis: str, variant: str, scale: float, store: float) -> StepBlock:
    if basis == "kronecker":
        return StepBlock(*kronecker_matrix(step, order, variant=variant, scale=scale))
    tables = monomial_tables(step.dimension, order)
    weights = tables.weights()
    degree = np.repeat(np.arange(order + 1), tables.sizes)
    entries = likely_entries(tables, step)
    if variant == "euler" or entries < store:
        matrix = symmetric_matrix(tables, step.constant(), step.parts, variant)
        # In units of `scale` a moment of degree j is scale^-j times itself.
        units = weights * scale ** (-degree.astype(float))
        matrix = sparse.csr_array(sparse.diags_array(units) @ matrix @ sparse.diags_array(1 / units))
        return StepBlock(sparse.csr_array(matrix[1:, 1:]), matrix[1:, [0]].toarray()[:, 0])
    parts = {k: (monomials, table * scale ** (k - 1)) for k, (monomials, table) in step.parts.items()}
    constant = step.constant() / scale
    operator = SymmetricOperator(tables, parts)
    one = np.zeros(int(tables.edges[-1]))
    one[0] = 1.0
    force = operator.forward(one, constant)[1:] * weights[1:]
    return StepBlock(None, force, operator, constant, weights[1:], entries)


def _largest(product: Any, size: int) -> float:
    """The largest eigenvalue of a symmetric positive operator, by Lanczos from a fixed start."""
    start = np.random.default_rng(1).normal(size=size)
    if size < 20:
        table = np.column_stack([product(column) for column in np.eye(size)])
        return float(np.linalg.eigvalsh(0.5 * (table + table.T))[-1])
    operator = LinearOperator((size, size), matvec=lambda v: product(np.ravel(v)), dtype=float)
    return float(
        eigsh(operator, k=1, which="LA", v0=start, ncv=min(size - 1, 40), return_eigenvectors=False, tol=1e-8)[0]
    )


def balanced_scale(dynamics: Dynamics, start: np.ndarray, steps: int) -> float:
    """A unit of u between where the run goes and where the map is trapped.

    sqrt(rho Gamma) with rho the largest deviation of the run and Gamma the outer trapping radius of the first map,
    where there is one beyond rho and the map is small enough for its norms; 1.3 rho otherwise.
    """
    from quprop.carleman.maps.radius import convergence_radius

    rho = max(float(np.linalg.norm(u)) for u in dynamics.trajectory(start, steps))
    if not np.isfinite(rho) or rho == 0:
        return 1.0
    first = dynamics[0]
    if isinstance(first, Polynomial):
        outer = convergence_radius(first.norms()).outer
        if np.isfinite(outer) and outer > rho:
            return float(np.sqrt(rho * outer))
    return 1.3 * rho


def scalar_kappa(factor: float, blocks: int) -> float:
    """kappa of the history of one number that is multiplied by ``factor`` every step: (blocks, blocks) bidiagonal."""
    values = np.linalg.svd(np.eye(blocks) - factor * np.eye(blocks, k=-1), compute_uv=False)
    return float(values[0] / values[-1])


def _bits(count: int) -> int:
    return max(0, count - 1).bit_length()
