"""What every engine is: the lifted state y_1, ..., y_N of Carleman linearisation, marched through time.

The exact discrete tower: tensoring u' = sum_k G_k u⊗k j times gives

    y_j(t+1) = sum_m M^j_m y_m(t),    M^j_m = sum over k_1 + ... + k_j = m of G_{k_1} ⊗ ... ⊗ G_{k_j},    y_0 = 1,

and terms with m > N are dropped (Liu et al. 2024). Two exact factors make every engine simpler than this sum: with
S = G_0 + S^, the homogeneous S^ moves first (block upper triangular), and then all legs are shifted by G_0,

    y^_j = sum over k_i >= 1, m <= N,    y'_j = sum over subsets of legs that are replaced by G_0.

Truncation is linear in the degree of u, so the two factors together are the truncated tower itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap, as_dynamics, check_vector
from quprop.errors import QupropError

LEVEL_LIMIT = 100_000_000  # numbers in a level that `level` writes down: 800 MB


class LiftedState(ABC):
    """y_1..y_N after ``time`` steps of ``dynamics`` from u = ``start``; ``order`` is N."""

    name: ClassVar[str]
    exact: bool = True  # does it follow the truncated tower itself, not something of the same order?

    def __init__(self, dynamics: Dynamics | PolynomialMap, start: np.ndarray, order: int) -> None:
        self.dynamics = as_dynamics(dynamics)
        self.dimension = self.dynamics.dimension
        if not isinstance(order, int) or order < 1:
            raise QupropError(f"the truncation order N must be a whole number of at least 1, got {order!r}")
        self.order = order
        self.start = check_vector(start, self.dimension, "start")
        self.time = 0

    @abstractmethod
    def step(self, t: int | None = None) -> None:
        """One training step, with the map of time ``t`` (the state's own time where none is given)."""

    @abstractmethod
    def level(self, j: int) -> np.ndarray:
        """y_j as an array of j axes of n; ``level(1)`` is the estimate of u. Only small levels can be written down."""

    @abstractmethod
    def level_norms(self) -> np.ndarray:
        """||y_j||, j = 1..N, at any n."""

    @property
    @abstractmethod
    def memory(self) -> int:
        """Bytes that the lifted state takes."""

    def estimate(self) -> np.ndarray:
        """What the linear system says u is: y_1 (n,)."""
        return self.level(1)

    def tail(self) -> float | None:
        """An estimate of u/radius of convergence, where the engine has one for nothing; above 1 means outside."""
        return None

    def info(self) -> dict[str, Any]:
        """What the engine knows about its own approximation."""
        return {"engine": self.name, "order": self.order, "exact": self.exact}

    def _tick(self, t: int | None) -> PolynomialMap:
        step = self.dynamics[self.time if t is None else t]
        self.time += 1
        return step

    def _check_level(self, j: int) -> None:
        if not 1 <= j <= self.order:
            raise QupropError(f"levels are 1..N = {self.order}, got {j}")
        if j > 1 and float(self.dimension) ** j > LEVEL_LIMIT:
            raise QupropError(
                f"level {j} has {self.dimension}^{j} numbers, too many to write down: ask for level_norms()"
            )
