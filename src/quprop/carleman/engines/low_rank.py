"""The closure at N = 2 with driving force, exact at any n: y_1 and Y = y_2 as a symmetric matrix of low rank.

    u = G_1 y_1 + G_2[Y],   y_1' = G_0 + u,   Y' = G_1 Y G_1^T + y_1' y_1'^T - u u^T

is the truncated tower for N = 2, whatever the degree of the map. Y = sum_i s_i w_i w_i^T grows by two ranks a step and
is compressed by thin QR and a small eigenproblem. G_1 w is a Hessian-vector product, G_2[w, w] a second-order jet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.carleman.engines.state import LiftedState
from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap
from quprop.errors import QupropError


class LowRankTower(LiftedState):
    """Engine "low_rank": N = 2, memory rank x n.

    ``tolerance``  eigenvalues of Y under tolerance x the largest are dropped (what is dropped adds up in ``dropped``)
    ``max_rank``   at most this many are kept; None: as many as there are
    """

    name = "low_rank"

    def __init__(
        self,
        dynamics: Dynamics | PolynomialMap,
        start: np.ndarray,
        order: int = 2,
        *,
        tolerance: float = 1e-16,
        max_rank: int | None = None,
    ) -> None:
        super().__init__(dynamics, start, order)
        if order != 2:
            raise QupropError(
                f"engine 'low_rank' is the closure at N = 2, got N = {order}: use 'jets' or 'tensor_train'"
            )
        if max_rank is not None and max_rank < 1:
            raise QupropError(f"max_rank must be at least 1, got {max_rank}")
        self.tolerance, self.max_rank = tolerance, max_rank
        self.first = self.start.copy()
        norm = float(np.linalg.norm(self.start))
        self.vectors = self.start[None, :] / norm if norm else np.zeros((0, self.dimension))  # orthonormal rows w_i
        self.values = np.full(len(self.vectors), norm**2)
        self.dropped = 0.0  # sum over steps of the Frobenius norm of what compression left out

    def step(self, t: int | None = None) -> None:
        step = self._tick(t)
        rank = len(self.values)
        path = np.zeros((2, rank + 1, self.dimension))
        path[0, :rank], path[0, rank] = self.vectors, self.first
        moved = step.series(path)
        constant = moved[0, 0]
        carried = moved[1, :rank]
        u = moved[1, rank] + self.values @ moved[2, :rank]
        self.first = constant + u
        # y_1' y_1'^T - u u^T: two more vectors.
        self._compress(np.vstack([carried, self.first, u]), np.concatenate([self.values, [1.0, -1.0]]))

    def _compress(self, vectors: np.ndarray, values: np.ndarray) -> None:
        q, r = np.linalg.qr(vectors.T)
        small, turn = np.linalg.eigh((r * values) @ r.T)
        largest = np.argsort(-np.abs(small))
        size = np.abs(small[largest])
        keep = largest[size > self.tolerance * max(size[0], np.finfo(float).tiny)][: self.max_rank]
        self.dropped += float(np.linalg.norm(np.delete(small, keep)))
        self.values = small[keep]
        self.vectors = np.ascontiguousarray((q @ turn[:, keep]).T)

    def level(self, j: int) -> np.ndarray:
        self._check_level(j)
        return self.first.copy() if j == 1 else (self.vectors.T * self.values) @ self.vectors

    def as_trains(self) -> list[list[np.ndarray]]:
        """y_1 and Y as tensor trains: (1, n, 1), and (1, n, r) with (r, n, 1)."""
        values, vectors = self.values, self.vectors
        if not len(values):  # a bond has at least one value
            values, vectors = np.zeros(1), np.zeros((1, self.dimension))
        return [[self.first[None, :, None]], [(vectors.T * values)[None], vectors[..., None]]]

    def level_norms(self) -> np.ndarray:
        return np.array([np.linalg.norm(self.first), np.linalg.norm(self.values)])

    @property
    def memory(self) -> int:
        return int(self.first.nbytes + self.vectors.nbytes + self.values.nbytes)

    def info(self) -> dict[str, Any]:
        return super().info() | {"rank": len(self.values), "dropped": self.dropped}
