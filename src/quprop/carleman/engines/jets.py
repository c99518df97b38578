"""Jets: the truncated tower at any n, as N vectors of n numbers.

Where G_0 = 0 the tower is block triangular, so y_1(T) is exactly the Taylor polynomial of degree N, in the start u(0),
of the T-fold composed step map. Put u(0) = s u_0 and keep the coefficients of s: c_1..c_N in R^n. Then

    c' = truncate_N S(s c_1 + s^2 c_2 + ...),    y_j = sum over a_1 + ... + a_j <= N of c_{a_1} ⊗ ... ⊗ c_{a_j}.

One step is one pass of Taylor arithmetic through the gradient. Where G_0 != 0 it counts as of order one in s. That is
another truncation of the same order, labelled "weighted": a term is dropped by how often start and force occur in it
together, not by the degree in u at the time.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from quprop.carleman.engines.state import LiftedState
from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap


class JetTower(LiftedState):
    """Engine "jets": memory N n. Exact where G_0 = 0, "weighted" otherwise."""

    name = "jets"

    def __init__(self, dynamics: Dynamics | PolynomialMap, start: np.ndarray, order: int) -> None:
        super().__init__(dynamics, start, order)
        self.exact = order == 1 or self.dynamics.homogeneous
        self.coefficients = np.zeros((order, self.dimension))  # c_1..c_N
        self.coefficients[0] = self.start

    def step(self, t: int | None = None) -> None:
        moved = self._tick(t).series(self.coefficients)
        moved[1] += moved[0]
        self.coefficients = moved[1:]

    def level(self, j: int) -> np.ndarray:
        self._check_level(j)
        if j == 1:
            return self.coefficients.sum(axis=0)
        out = np.zeros((self.dimension,) * j)
        for orders in product(range(1, self.order + 1), repeat=j):
            if sum(orders) <= self.order:
                term: Any = self.coefficients[orders[0] - 1]
                for a in orders[1:]:
                    term = np.multiply.outer(term, self.coefficients[a - 1])
                out += term
        return out

    def level_norms(self) -> np.ndarray:
        return norms_from_gram(self.coefficients @ self.coefficients.T)

    def tail(self) -> float | None:
        """||c_N|| / ||c_{N-1}||, the ratio by which the series converges (or does not)."""
        if self.order < 2:
            return None
        last, before = np.linalg.norm(self.coefficients[-1]), np.linalg.norm(self.coefficients[-2])
        return float(last / before) if before > 0 else 0.0

    @property
    def memory(self) -> int:
        return int(self.coefficients.nbytes)

    def info(self) -> dict[str, Any]:
        return super().info() | {"truncation": "tower" if self.exact else "weighted"}


def norms_from_gram(gram: np.ndarray) -> np.ndarray:
    """||y_j||, j = 1..N, from K_ab = <c_a, c_b> (N, N).

    ||y_j||^2 is the sum of the coefficients of s^a r^b, a <= N and b <= N, in [sum_ab K_ab s^a r^b]^j.
    """
    order = len(gram)
    power = np.zeros((order + 1, order + 1))
    power[0, 0] = 1.0
    found = []
    for _ in range(order):
        grown = np.zeros_like(power)
        for a, b in product(range(1, order + 1), repeat=2):
            grown[a:, b:] += gram[a - 1, b - 1] * power[: order + 1 - a, : order + 1 - b]
        power = grown
        found.append(np.sqrt(max(0.0, power.sum())))
    return np.array(found)


def jet_train(coefficients: np.ndarray, j: int) -> list[np.ndarray]:
    """y_j of a jet as an exact tensor train: cores (r, n, r') whose bond counts the degree used up so far.

    Core i takes degree a to a' with vector c_{a'-a}, a' <= N minus the legs that are left, so ranks are <= N - j + 1.
    """
    order, n = coefficients.shape
    width = order - j + 1
    cores = []
    for leg in range(1, j + 1):  # before leg i the degree is i - 1 .. i - 1 + width - 1
        core = np.zeros((width, n, width))
        for a, b in product(range(width), repeat=2):
            if b >= a:
                core[a, :, b] = coefficients[b - a]
        if leg == 1:
            core = core[:1]
        if leg == j:
            core = core.sum(axis=2, keepdims=True)
        cores.append(core)
    return cores
