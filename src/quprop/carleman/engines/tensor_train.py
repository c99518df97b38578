"""Tensor trains: y_j as a product of j small cores, with driving force and N >= 3 at middling n.

One step is again a tensor train. The legs of y'_j take k_1, ..., k_j legs of y_m in order, so a bond that remembers how
many legs of y_m are used up, and carries y_m's own bond there, does the sum over all k at once: its rank is the sum of
y_m's ranks. Between bonds a and a + k stands G_k contracted with cores a + 1..a + k; k = 0 is G_0. Sums over m are
stacked, and the result is compressed by QR and singular values (Oseledets 2011, doi 10.1137/090752286).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.carleman.engines.state import LiftedState
from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap
from quprop.errors import QupropError

Train = list[np.ndarray]  # cores (r, n, r')


class TensorTrainTower(LiftedState):
    """Engine "tensor_train": memory about N^2 n r^2 / 2.

    ``tolerance``  relative Frobenius norm that each compression of a level may drop
    ``max_rank``   at most this rank; None: no limit. What is dropped adds up in ``dropped``
    """

    name = "tensor_train"

    def __init__(
        self,
        dynamics: Dynamics | PolynomialMap,
        start: np.ndarray,
        order: int,
        *,
        tolerance: float = 1e-14,
        max_rank: int | None = None,
    ) -> None:
        super().__init__(dynamics, start, order)
        if not 0 <= tolerance < 1 or (max_rank is not None and max_rank < 1):
            raise QupropError(f"tolerance must lie in [0, 1) and max_rank be at least 1, got {tolerance}, {max_rank}")
        self.tolerance, self.max_rank = tolerance, max_rank
        self.trains: list[Train] = [[self.start[None, :, None]] * j for j in range(1, order + 1)]
        self.dropped = 0.0  # sum over steps and levels of the norm that compression left out

    def step(self, t: int | None = None) -> None:
        trains: list[Train] = []
        for grown in moved(self._tick(t), self.trains):
            train, lost = compress(grown, self.tolerance, self.max_rank)
            self.dropped += lost
            trains.append(train)
        self.trains = trains

    def as_trains(self) -> list[Train]:
        """y_1, ..., y_N."""
        return list(self.trains)

    def level(self, j: int) -> np.ndarray:
        self._check_level(j)
        return full(self.trains[j - 1])

    def level_norms(self) -> np.ndarray:
        return np.array([norm(train) for train in self.trains])

    @property
    def memory(self) -> int:
        return sum(core.nbytes for train in self.trains for core in train)

    def ranks(self) -> list[int]:
        """The largest rank of each level."""
        return [max(core.shape[0] for core in train) for train in self.trains]

    def info(self) -> dict[str, Any]:
        return super().info() | {"ranks": self.ranks(), "dropped": self.dropped}


def moved(step: PolynomialMap, trains: list[Train]) -> list[Train]:
    """y'_1..y'_N one step after ``trains`` y_1..y_N, exactly: ranks are the sums of theirs."""
    constant, top = step.constant(), len(trains)
    driven = bool(np.any(constant))
    highest = top if step.degree is None else min(top, step.degree)
    pieces: list[list[dict[int, np.ndarray]]] = [  # of y_m, from bond a: what k more legs give
        [{k: step.contract(k, train[a : a + k]) for k in range(1, min(highest, m - a) + 1)} for a in range(m)]
        for m, train in enumerate(trains, start=1)
    ]
    return [[_core(trains, j, leg, pieces, constant, driven) for leg in range(j)] for j in range(1, top + 1)]


def _core(
    trains: list[Train],
    j: int,
    leg: int,
    pieces: list[list[dict[int, np.ndarray]]],
    constant: np.ndarray,
    driven: bool,
) -> np.ndarray:
    """Core ``leg`` of y'_j: block diagonal over m, blocks from bond a to bond a + k."""
    blocks = []
    for m in range(0 if driven else j, len(trains) + 1):
        ranks = [1] if m == 0 else [core.shape[0] for core in trains[m - 1]] + [1]
        edges = np.concatenate([[0], np.cumsum(ranks)])
        block = np.zeros((edges[-1], len(constant), edges[-1]))
        for a in range(m + 1):
            if driven:
                block[edges[a] : edges[a + 1], :, edges[a] : edges[a + 1]] = np.multiply.outer(
                    np.eye(ranks[a]), constant
                ).transpose(0, 2, 1)
            for k, piece in (pieces[m - 1][a] if a < m else {}).items():
                block[edges[a] : edges[a + 1], :, edges[a + k] : edges[a + k + 1]] = piece
        if leg == 0:
            block = block[:1]
        if leg == j - 1:
            block = block[:, :, -1:]
        blocks.append(block)
    return _stacked(blocks, first=leg == 0, last=leg == j - 1)


def total(trains: list[Train]) -> Train:
    """The sum of trains of the same legs."""
    last = len(trains[0]) - 1
    return [
        _stacked(list(cores), first=leg == 0, last=leg == last) for leg, cores in enumerate(zip(*trains, strict=True))
    ]


def _stacked(blocks: list[np.ndarray], *, first: bool, last: bool) -> np.ndarray:
    """Cores of a sum: side by side at the ends, block diagonal between."""
    if first and last:
        return np.asarray(sum(blocks))
    if first or last:
        return np.concatenate(blocks, axis=2 if first else 0)
    rows, columns = sum(b.shape[0] for b in blocks), sum(b.shape[2] for b in blocks)
    core = np.zeros((rows, blocks[0].shape[1], columns))
    r = c = 0
    for block in blocks:
        core[r : r + block.shape[0], :, c : c + block.shape[2]] = block
        r, c = r + block.shape[0], c + block.shape[2]
    return core


def compress(train: Train, tolerance: float, max_rank: int | None) -> tuple[Train, float]:
    """The train with smaller ranks, and the Frobenius norm of what was dropped (a bound: errors of bonds add up)."""
    cores = _right_orthogonal(train)
    allowed = tolerance * float(np.linalg.norm(cores[0])) / max(1, len(cores) - 1) ** 0.5
    lost = 0.0
    for leg in range(len(cores) - 1):
        r, n, s = cores[leg].shape
        u, values, v = np.linalg.svd(cores[leg].reshape(r * n, s), full_matrices=False)
        tails = np.sqrt(np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0))  # norm of what follows
        rank = max(1, int(np.argmax(tails <= allowed)))
        if max_rank is not None:
            rank = min(rank, max_rank)
        lost += float(tails[rank])
        cores[leg] = u[:, :rank].reshape(r, n, rank)
        cores[leg + 1] = np.tensordot(values[:rank, None] * v[:rank], cores[leg + 1], axes=([1], [0]))
    return cores, lost


def full(train: Train) -> np.ndarray:
    """The tensor that a train stands for."""
    out: Any = train[0]
    for core in train[1:]:
        out = np.tensordot(out, core, axes=([-1], [0]))
    return np.asarray(out[0, ..., 0])


def norm(train: Train) -> float:
    """Frobenius norm; by QR, so that the difference of two nearly equal trains has one too."""
    return float(np.linalg.norm(_right_orthogonal(train)[0]))


def _right_orthogonal(train: Train) -> Train:
    cores = list(train)
    for leg in range(len(cores) - 1, 0, -1):
        r, n, s = cores[leg].shape
        q, rest = np.linalg.qr(cores[leg].reshape(r, n * s).T)
        cores[leg] = q.T.reshape(-1, n, s)
        cores[leg - 1] = np.tensordot(cores[leg - 1], rest, axes=([2], [1]))
    return cores
