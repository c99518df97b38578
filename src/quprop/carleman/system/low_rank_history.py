"""Histories of T steps too large to be written down, as low-rank matrices or tensor trains, with their residual.

The linear system is `HistorySystem`'s in the basis of full tensors, D = n + ... + n^N unknowns a time. Its solution is
the marched tower at every time, which `engines.low_rank` (N = 2) and `engines.tensor_train` (any N) hold compressed.
What compression leaves out shows in the residual ||L Y - RHS||/||RHS||, computed from the factors: block by block

    r(t+1) = y(t+1) - M(t) y(t) - b(t),     the error of Y is at most kappa times as large, relative to ||RHS||/||L||,

of which a QR decomposition of all factors side by side gives the norm without cancellation; no vector of D numbers is
formed. The residual is that of the map of each time as it is now, whatever the history was made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quprop.carleman.engines import TOWERS
from quprop.carleman.engines.lift import BLOW_UP, success_probability
from quprop.carleman.engines.low_rank import LowRankTower
from quprop.carleman.engines.state import LEVEL_LIMIT
from quprop.carleman.engines.tensor_train import TensorTrainTower, Train, full, moved, norm, total
from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap, as_dynamics, check_vector
from quprop.carleman.system.history import balanced_scale
from quprop.errors import QupropError


@dataclass(frozen=True, eq=False)
class LowRankHistory:
    """Y = (y(0), ..., y(T), p more copies of y(T)), level by level as tensor trains, in the units of ``start``.

    ``trains[t][j - 1]`` is y_j(t), j cores (r, n, r'); ``scale`` is the unit of u in the linear system, as in
    `HistorySystem`; ``dropped`` is the norm that compression left out, added over all steps and levels.
    """

    dynamics: Dynamics
    start: np.ndarray
    trains: tuple[tuple[Train, ...], ...]
    idle: int
    scale: float
    dropped: float

    @property
    def steps(self) -> int:
        return len(self.trains) - 1

    @property
    def order(self) -> int:
        return len(self.trains[0])

    @property
    def unknowns(self) -> int:
        """K (n + ... + n^N), K = T + p + 1."""
        return (self.steps + self.idle + 1) * sum(len(self.start) ** j for j in range(1, self.order + 1))

    @property
    def memory(self) -> int:
        """Bytes that the history takes."""
        return sum(core.nbytes for levels in self.trains for train in levels for core in train)

    def ranks(self) -> list[int]:
        """The largest rank of each level."""
        return [max(core.shape[0] for levels in self.trains for core in levels[j]) for j in range(self.order)]

    @cached_property
    def norms(self) -> np.ndarray:
        """||y_j(t)||, shape (T + 1, N)."""
        return np.array([[norm(train) for train in levels] for levels in self.trains])

    def estimate(self) -> np.ndarray:
        """u(T) (n,): level 1 of the last time."""
        return np.asarray(self.trains[-1][0][0][0, :, 0])

    def success_probability(self) -> float:
        """Chance that measuring time and level of Y/||Y|| gives level 1 at time T or in an idle copy."""
        return success_probability(self.norms, self.idle, self.scale)

    def level_weights(self) -> np.ndarray:
        """Share of ||Y||^2 at each level (N,), in units of ``scale``."""
        squares = (self.norms / self.scale ** np.arange(1, self.order + 1)) ** 2
        found = squares.sum(axis=0) + self.idle * squares[-1]
        return np.asarray(found / found.sum())

    def residual(self) -> float:
        """||L Y - RHS|| / ||RHS||, both in units of ``scale``."""
        levels = np.arange(1, self.order + 1)
        units = float(self.scale) ** levels
        first = [norm(total([train, _negative([self.start[None, :, None]] * j)])) for j, train in self._at(0)]
        missed = float(np.sum((np.array(first) / units) ** 2))
        asked = float(np.sum((np.linalg.norm(self.start) / self.scale) ** (2.0 * levels)))
        for t in range(self.steps):
            step = self.dynamics[t]
            gaps = _gaps(step, self.trains[t], self.trains[t + 1])
            missed += float(np.sum((gaps / units) ** 2))
            asked += float(np.sum((np.linalg.norm(step.constant()) / self.scale) ** (2.0 * levels)))
        return float(np.sqrt(missed / asked))

    def vector(self) -> np.ndarray:
        """Y written down in the "kronecker" basis of `HistorySystem`, shape (K D,), where that is small enough."""
        if self.unknowns > LEVEL_LIMIT:
            raise QupropError(f"the history has {self.unknowns:.1e} numbers, too many to write down")
        rows = [
            np.concatenate([full(train).reshape(-1) / self.scale**j for j, train in self._at(t)])
            for t in range(self.steps + 1)
        ]
        return np.concatenate([*rows, *([rows[-1]] * self.idle)])

    def _at(self, t: int) -> list[tuple[int, Train]]:
        return list(enumerate(self.trains[t], start=1))


def solve_low_rank(
    dynamics: Dynamics | PolynomialMap,
    start: np.ndarray,
    order: int,
    steps: int,
    *,
    idle: int | None = None,
    scale: float | None = None,
    tolerance: float = 1e-12,
    max_rank: int | None = None,
) -> LowRankHistory:
    """Forward substitution in compressed form: at N = 2 the closure with driving force, at any other N tensor trains.

    ``idle`` and ``scale`` as in `HistorySystem`; ``tolerance`` and ``max_rank`` as of the engine: what a compression
    may drop, and the largest rank.
    """
    dynamics = as_dynamics(dynamics)
    start = check_vector(start, dynamics.dimension, "start")
    idle = steps if idle is None else idle
    if steps < 1 or idle < 0:
        raise QupropError(f"steps >= 1 and idle >= 0 were expected, got {steps} and {idle}")
    scale = balanced_scale(dynamics, start, steps) if scale is None else scale
    if not scale > 0:
        raise QupropError(f"`scale` must be positive, got {scale}")
    settings = {"tolerance": tolerance, "max_rank": max_rank}
    tower = TOWERS["low_rank" if order == 2 else "tensor_train"](dynamics, start, order, **settings)
    assert isinstance(tower, LowRankTower | TensorTrainTower)
    trains, limit = [tuple(tower.as_trains())], BLOW_UP * max(1e-3, float(np.linalg.norm(start)))
    for t in range(steps):
        with np.errstate(over="ignore", invalid="ignore"):
            tower.step()
            size = float(np.linalg.norm(tower.estimate()))
        if not size <= limit:
            raise QupropError(f"the system left all bounds at step {t + 1}: shorten the block or lower the rate")
        trains.append(tuple(tower.as_trains()))
    return LowRankHistory(dynamics, start, tuple(trains), idle, scale, tower.dropped)


def _gaps(step: PolynomialMap, before: tuple[Train, ...], after: tuple[Train, ...]) -> np.ndarray:
    """||y_j(t+1) - (M(t) y(t) + b(t))_j||, j = 1..N."""
    reached = _reached_at_two(step, before) if len(before) == 2 else moved(step, list(before))
    return np.array([norm(total([mine, _negative(its)])) for mine, its in zip(after, reached, strict=True)])


def _reached_at_two(step: PolynomialMap, before: tuple[Train, ...]) -> list[Train]:
    """M y + b at N = 2 for Y = sum_i s_i w_i w_i^T, with one series for each rank: with u = G_1 y_1 + G_2[Y] they are
    G_0 + u and G_1 Y G_1^T + G_0 u^T + u G_0^T + G_0 G_0^T."""
    first, (left, right) = before[0][0][0, :, 0], before[1]
    weighted, vectors = left[0].T, right[..., 0]
    values = np.sum(weighted * vectors, axis=1) / np.maximum(np.sum(vectors**2, axis=1), np.finfo(float).tiny)
    if not np.allclose(weighted, values[:, None] * vectors, rtol=0, atol=1e-13 * np.max(np.abs(weighted))):
        return moved(step, list(before))
    path = np.zeros((2, len(values) + 1, len(first)))
    path[0] = np.concatenate([vectors, first[None]])
    found = step.series(path)
    constant, carried = found[0, 0], found[1, :-1]
    u = found[1, -1] + values @ found[2, :-1]
    lefts = np.concatenate([values[:, None] * carried, [constant + u, constant]])
    rights = np.concatenate([carried, [constant, u]])
    return [[(constant + u)[None, :, None]], [lefts.T[None], rights[..., None]]]


def _negative(train: Train) -> Train:
    return [-train[0], *train[1:]]
