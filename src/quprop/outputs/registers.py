"""Registers: some qubits of a state, in the order given; the first is the lowest bit of an index of the register."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError


def register(qubits: Any) -> tuple[int, ...]:
    """Distinct whole numbers from 0, at least one; or one sentence."""
    if isinstance(qubits, str | bytes) or not isinstance(qubits, Iterable):
        raise QupropError(f"qubits is a list of qubits of the register, such as [0, 2], got {qubits!r}")
    given = list(qubits)
    for q in given:
        if isinstance(q, bool | np.bool_) or not isinstance(q, int | np.integer):
            raise QupropError(f"qubits are whole numbers, got {q!r}; pass a list such as [0, 2]")
    found = tuple(int(q) for q in given)
    if not found:
        raise QupropError("the register is empty; name at least one qubit")
    if min(found) < 0:
        raise QupropError(f"qubits count from 0, got {min(found)}")
    if len(set(found)) < len(found):
        twice = next(q for q in found if found.count(q) > 1)
        raise QupropError(f"a register has each qubit once, got {twice} twice; leave one out")
    return found


def check_inside(qubits: tuple[int, ...], n: int) -> None:
    if max(qubits) >= n:
        raise QupropError(f"the model has qubits 0..{n - 1}, got {max(qubits)} in the register")


class RegisterSplit(NamedTuple):
    """How the amplitudes (B, 2^n) fall apart into those of a register and the rest.

    dims: lengths of runs of qubits, from the highest, that stay together; inner: the axes of those of the register, in
    its order, highest bit first; outer: the others.
    """

    dims: tuple[int, ...]
    inner: tuple[int, ...]
    outer: tuple[int, ...]
    size: int

    def matrix(self, states: np.ndarray) -> np.ndarray:
        """(B, 2^k, 2^(n - k)); a view where the register's qubits are neighbours in order."""
        cut = states.reshape(-1, *self.dims).transpose(0, *(1 + a for a in (*self.inner, *self.outer)))
        return cut.reshape(len(states), self.size, -1)

    def states(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `matrix`."""
        order = (*self.inner, *self.outer)
        cut = matrix.reshape(len(matrix), *(self.dims[a] for a in order))
        return cut.transpose(0, *(1 + int(a) for a in np.argsort(order))).reshape(len(matrix), -1)

    def marginal(self, weights: np.ndarray) -> np.ndarray:
        """Sums (B, 2^k) over the rest of numbers (B, 2^n)."""
        cut = weights.reshape(len(weights), *self.dims).sum(axis=tuple(1 + a for a in self.outer), keepdims=True)
        return cut.transpose(0, *(1 + a for a in (*self.inner, *self.outer))).reshape(len(weights), self.size)

    def spread(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers (B, 2^k) of the register beside states cut into runs, (B, *dims) after broadcasting."""
        order = (*self.inner, *self.outer)
        shape = [self.dims[a] for a in self.inner] + [1] * len(self.outer)
        return numbers.reshape(len(numbers), *shape).transpose(0, *(1 + int(a) for a in np.argsort(order)))


@lru_cache(maxsize=256)
def split(n: int, qubits: tuple[int, ...]) -> RegisterSplit:
    place = {q: i for i, q in enumerate(qubits)}
    runs: list[list[int]] = []  # of qubits, from the highest
    for q in range(n - 1, -1, -1):
        before = runs[-1][-1] if runs else None
        together = before is not None and (
            (before not in place and q not in place)
            or (before in place and q in place and place[before] == place[q] + 1)
        )
        if together:
            runs[-1].append(q)
        else:
            runs.append([q])
    inner = [a for a, run in enumerate(runs) if run[0] in place]
    inner.sort(key=lambda a: -place[runs[a][0]])
    outer = [a for a, run in enumerate(runs) if run[0] not in place]
    return RegisterSplit(tuple(1 << len(run) for run in runs), tuple(inner), tuple(outer), 1 << len(qubits))
