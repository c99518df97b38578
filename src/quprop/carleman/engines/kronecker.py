"""Kronecker blocks: the lifted state as full tensors n, n^2, ..., n^N. The reference, for n up to a dozen or so.

Two ways that share no code: `KroneckerTower` contracts one leg at a time and never forms a matrix; `kronecker_matrix`
writes down the blocks by M^1_m = G_m, M^(j+1)_m = sum_k G_k ⊗ M^j_(m-k).

The Euler variant replaces the exact step by I + eta A with A^j_(j+k-1) = sum over legs of I ⊗ .. ⊗ F_k ⊗ .. ⊗ I, the
continuous-time Carleman matrix. Then y_2 is no longer y_1 ⊗ y_1 after one step, an error of order eta^2 a step that no
N takes away. It is here as the baseline that plateaus.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from quprop.carleman.engines.state import LEVEL_LIMIT, LiftedState
from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap, tabulate
from quprop.errors import QupropError, nearest

VARIANTS = ("discrete", "euler")


def check_variant(variant: str) -> str:
    if variant not in VARIANTS:
        raise QupropError(f"unknown variant {variant!r}: {nearest(str(variant), VARIANTS)}")
    return variant


class KroneckerTower(LiftedState):
    """Engine "kronecker": memory n + ... + n^N. ``variant`` is "discrete" (exact) or "euler"."""

    name = "kronecker"

    def __init__(
        self, dynamics: Dynamics | PolynomialMap, start: np.ndarray, order: int, *, variant: str = "discrete"
    ) -> None:
        super().__init__(dynamics, start, order)
        self.variant = check_variant(variant)
        self.exact = variant == "discrete"
        if float(self.dimension) ** order > LEVEL_LIMIT:
            raise QupropError(
                f"level N = {order} of {self.dimension} parameters has {self.dimension}^{order} numbers, more than "
                f"{LEVEL_LIMIT:.0e}: use engine 'symmetric' or 'jets'"
            )
        self.levels = [np.array(1.0)]  # y_0, y_1, ..., y_N
        for _ in range(order):
            self.levels.append(np.multiply.outer(self.levels[-1], self.start))
        self._matrices: dict[object, list[Any]] = {}

    def _tables(self, step: PolynomialMap) -> tuple[np.ndarray, list[Any]]:
        """G_0 and G_1.. as (n, n^k) matrices, kept per map."""
        written = tabulate(step, self.order)
        if written.key not in self._matrices:
            found: list[Any] = []
            for k in range(1, min(self.order, written.order) + 1):
                matrix = written.matrix(k)
                found.append(matrix.toarray() if matrix.nnz > 0.1 * np.prod(matrix.shape) else matrix)
            self._matrices[written.key] = found
        return written.constant(), self._matrices[written.key]

    def step(self, t: int | None = None) -> None:
        constant, matrices = self._tables(self._tick(t))
        if self.variant == "euler":
            self.levels = self._euler(constant, matrices)
            return
        n, top = self.dimension, self.order
        # Homogeneous part: part[m] has `done` legs already contracted and m legs to go, as (n^done, n^m).
        part = [level.reshape(1, -1) for level in self.levels]
        moved = [np.array(1.0)]
        for done in range(top):
            grown = []
            for left in range(top - done):
                total = np.zeros((n ** (done + 1), n**left))
                for k, matrix in enumerate(matrices[: top - done - left], start=1):
                    total += _on_axis(matrix, part[left + k].reshape(n**done, n**k, n**left)).reshape(total.shape)
                grown.append(total)
            part = grown
            moved.append(part[0].reshape((n,) * (done + 1)))
        self.levels = shift(moved, constant) if np.any(constant) else moved

    def _euler(self, constant: np.ndarray, matrices: list[Any]) -> list[np.ndarray]:
        n, top = self.dimension, self.order
        grown = [np.array(1.0)]
        for j in range(1, top + 1):
            total = self.levels[j].copy()
            for leg in range(j):
                before, after = n**leg, n ** (j - 1 - leg)
                lower = self.levels[j - 1].reshape(before, 1, after) * constant[:, None]
                total += lower.reshape(total.shape)
                for k, matrix in enumerate(matrices[: top - j + 1], start=1):
                    change = _on_axis(matrix, self.levels[j + k - 1].reshape(before, n**k, after))
                    total += change.reshape(total.shape)
                total -= self.levels[j]
            grown.append(total)
        return grown

    def level(self, j: int) -> np.ndarray:
        self._check_level(j)
        return self.levels[j]

    def level_norms(self) -> np.ndarray:
        return np.array([np.linalg.norm(level.reshape(-1)) for level in self.levels[1:]])

    @property
    def memory(self) -> int:
        return sum(level.nbytes for level in self.levels)


def _on_axis(matrix: Any, block: np.ndarray) -> np.ndarray:
    """matrix (n, m) on axis 1 of block (a, m, b): (a, n, b)."""
    if isinstance(matrix, np.ndarray):
        return np.matmul(matrix, block)
    a, m, b = block.shape
    flat = matrix @ np.moveaxis(block, 1, 0).reshape(m, a * b)
    return np.moveaxis(np.asarray(flat).reshape(-1, a, b), 0, 1)


def shift(levels: list[np.ndarray], constant: np.ndarray) -> list[np.ndarray]:
    """y'_j = sum over subsets of legs that are replaced by ``constant``: what y becomes under u -> u + constant."""
    n, top = len(constant), len(levels) - 1
    part = [level.reshape(1, -1) for level in levels]
    moved = [np.array(1.0)]
    for done in range(top):
        grown = []
        for left in range(top - done):
            kept = part[left + 1].reshape(n**done, n, n**left)
            placed = part[left].reshape(n**done, 1, n**left) * constant[:, None]
            grown.append((kept + placed).reshape(n ** (done + 1), n**left))
        part = grown
        moved.append(part[0].reshape((n,) * (done + 1)))
    return moved


def kronecker_matrix(
    step: PolynomialMap, order: int, *, variant: str = "discrete", scale: float = 1.0
) -> tuple[sparse.csr_array, np.ndarray]:
    """M (D, D), D = n + ... + n^N, and b (D,) of y(t+1) = M y(t) + b, with u in units of ``scale``.

    Rescaling u = scale u~ multiplies block M^j_m by scale^(m-j).
    """
    check_variant(variant)
    n = step.dimension
    written = tabulate(step, order)
    g = [written.matrix(k) for k in range(min(order, written.order) + 1)]
    eye = sparse.eye_array(n, format="csr")
    blocks: list[dict[int, Any]] = [{0: sparse.csr_array(np.ones((1, 1)))}]
    if variant == "discrete":
        for _ in range(order):
            rows: dict[int, Any] = {}
            for m, block in blocks[-1].items():
                for k, matrix in enumerate(g):
                    if m + k <= order and matrix.nnz:
                        term = sparse.kron(matrix, block, format="csr")
                        rows[m + k] = rows[m + k] + term if m + k in rows else term
            blocks.append(rows)
    else:
        for j in range(1, order + 1):
            rows = {j: sparse.eye_array(n**j, format="csr")}
            for leg in range(j):
                left, right = sparse.eye_array(n**leg), sparse.eye_array(n ** (j - 1 - leg))
                for k, matrix in enumerate(g):
                    if j + k - 1 <= order:
                        change = matrix - eye if k == 1 else matrix
                        term = sparse.kron(sparse.kron(left, change), right, format="csr")
                        rows[j + k - 1] = rows[j + k - 1] + term if j + k - 1 in rows else term
            blocks.append(rows)
    sizes = [n**j for j in range(1, order + 1)]
    edges = np.concatenate([[0], np.cumsum(sizes)])
    grid: list[list[Any]] = []
    b = np.zeros(edges[-1])
    for j in range(1, order + 1):
        row: list[Any] = []
        for m in range(1, order + 1):
            block = blocks[j].get(m)
            row.append(sparse.csr_array((n**j, n**m)) if block is None else block * scale ** (m - j))
        grid.append(row)
        if 0 in blocks[j]:
            low, high = list(pairwise(edges))[j - 1]
            b[low:high] = blocks[j][0].toarray()[:, 0] * scale ** (-j)
    return sparse.csr_array(sparse.block_array(grid)), b
