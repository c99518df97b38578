"""k bosons in d modes: the symmetric subspace of k copies of C^d, and single-copy rotations on it.

The d = 2^n modes are paired by an x mask: pair i is (first_i, first_i ^ x). Amplitudes are ordered by the number N_1 of
bosons in the first pair, then by how many of these are in its first mode, then likewise for the pairs that follow. So
fixed N_1 is one contiguous matrix (N_1 + 1, dimension of what is left), and a rotation about a Pauli string with this x
mask, which is a beam splitter on every pair, is a product of small matrices with parts of the vector. A different x
mask takes one permutation.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special

from quprop.collective.engines.beam_splitter import mixed
from quprop.model.pauli import PauliString

MOST_TABLES = 16  # index tables kept, one for each change from one pairing to another

Matrices = dict[tuple[int, int], np.ndarray]


def dimension(k: int, d: int) -> int:
    """C(k + d - 1, k)."""
    return math.comb(k + d - 1, k)


def modes(n: int, x: int) -> list[int]:
    """The basis states of a copy in the order of the layout of mask x (not 0): first_1, first_1 ^ x, first_2, ...

    The first mode of a pair is the one whose bit at x's lowest one is 0.
    """
    low = x & -x
    return [mode for j in range(2**n) if not j & low for mode in (j, j ^ x)]


class Space:
    """The tables that all batches of k copies of n qubits share; vectors are complex (size,)."""

    def __init__(self, n: int, k: int) -> None:
        self.n, self.k, self.d = n, k, 2**n
        self.size = dimension(k, self.d)
        self.occupations = _occupations(k, self.d)  # (d, size), of the modes in the order of the layout
        # Bosons in the first modes of all pairs: the count of an event that was turned diagonal.
        self.firsts = self.occupations[::2].sum(axis=0, dtype=np.int32)  # (size,)
        self._tables: dict[tuple[int, int], np.ndarray] = {}

    def relabelled(self, vector: np.ndarray, old: int, new: int) -> np.ndarray:
        """The vector in the layout of mask `new`, from that of mask `old`."""
        order, target = modes(self.n, old), modes(self.n, new)
        if order == target:
            return vector
        if (old, new) not in self._tables:
            if len(self._tables) >= MOST_TABLES:
                self._tables.pop(next(iter(self._tables)))
            place = {mode: at for at, mode in enumerate(target)}
            self._tables[old, new] = self._rank([place[mode] for mode in order])
        return vector[self._tables[old, new]]

    def accepted(self, x: int, pauli: PauliString) -> np.ndarray:
        """The count S of (1 + P)/2 for a diagonal P, entry by entry of the layout of x: int32 (size,)."""
        count: np.ndarray = np.zeros(self.size, np.int32)
        for mode, occupation in zip(modes(self.n, x), self.occupations, strict=True):
            if (pauli.sign < 0) == ((mode & pauli.z).bit_count() & 1):
                count += occupation
        return count

    def product(self, state: np.ndarray, x: int) -> np.ndarray:
        """state^(tensor k): amplitudes sqrt(k!/prod n_j!) prod psi_j^n_j, complex (size,)."""
        n = np.arange(self.k + 1)
        logs = np.full(self.size, 0.5 * special.gammaln(self.k + 1), complex)
        for mode, occupation in zip(modes(self.n, x), self.occupations, strict=True):
            amplitude = complex(state[mode])
            table = -0.5 * special.gammaln(n + 1) + 0j
            table[1:] += n[1:] * np.log(amplitude) if amplitude else -np.inf
            logs += table[occupation]
        out = np.exp(logs, out=logs)
        out /= np.linalg.norm(out)
        return out

    def rotate(self, vector: np.ndarray, x: int, pauli: PauliString, angle: float) -> None:
        """exp(-i angle/2 sum_jl P_jl a_j† a_l), in place on a contiguous vector in the layout of x, which is the x mask
        of P unless P is diagonal."""
        if pauli.x:
            # P|first> = i^c |second> for each pair
            couplings = [(pauli.phase + 2 * (first & pauli.z).bit_count()) & 3 for first in modes(self.n, x)[::2]]
            _split(vector.reshape(1, -1), self.k, couplings, angle, {})
        else:
            vector *= np.exp(-0.5j * angle * (2 * np.arange(self.k + 1) - self.k))[self.accepted(x, pauli)]

    def _rank(self, places: list[int]) -> np.ndarray:
        """Where each configuration lies in the old layout, whose i-th mode is the places[i]-th of the new one."""
        rank: np.ndarray = np.zeros(self.size, np.int32 if self.size < 2**31 else np.int64)
        left = np.full(self.size, self.k, np.int32)
        for i in range(0, self.d, 2):
            first, second = self.occupations[places[i]], self.occupations[places[i + 1]]
            pair = first.astype(np.int32) + second
            starts, sizes = (table.astype(rank.dtype) for table in _pair_table(self.k, self.d - i))
            rank += starts[left, pair]
            left -= pair
            rank += first * sizes[left]
        return rank


@lru_cache(maxsize=1)
def space(n: int, k: int) -> Space:
    """Kept for the next batch of the same size."""
    return Space(n, k)


@lru_cache(maxsize=256)
def _pair_table(k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """starts[K, N]: where N bosons in the first pair of d modes start, K in all; sizes[K]: dimension of K in d - 2."""
    sizes = np.array([dimension(total, d - 2) if d > 2 else int(total == 0) for total in range(k + 1)], np.int64)
    starts = np.zeros((k + 1, k + 1), np.int64)
    if d == 2:
        return starts, sizes
    for total in range(k + 1):
        starts[total, 1 : total + 1] = np.cumsum(np.arange(1, total + 1) * sizes[total:0:-1])
    return starts, sizes


@lru_cache(maxsize=1 << 14)
def _pair_row(total: int, d: int) -> tuple[list[int], list[int]]:
    """For `total` bosons in d modes, each N in the first pair: where it starts, and the dimension of the rest."""
    sizes = [dimension(total - pair, d - 2) if d > 2 else int(pair == total) for pair in range(total + 1)]
    starts = [0]
    for pair, size in enumerate(sizes):
        starts.append(starts[-1] + (pair + 1) * size)
    return starts, sizes


def _occupations(k: int, d: int) -> np.ndarray:
    """(d, size) small integers: every configuration of k bosons, in the order of the layouts."""
    kind = np.min_scalar_type(-k)
    parts = [np.zeros((0, int(total == 0)), kind) for total in range(k + 1)]
    for width in range(2, d + 1, 2):
        totals = range(k + 1) if width < d else [k]
        parts = [np.hstack(list(_blocks(parts, total, kind))) for total in totals]
    return parts[0]


def _blocks(parts: list[np.ndarray], total: int, kind: np.dtype) -> list[np.ndarray]:
    blocks = []
    for pair in range(total + 1):
        rest = parts[total - pair]
        if rest.shape[1]:
            first = np.repeat(np.arange(pair + 1, dtype=kind), rest.shape[1])
            blocks.append(np.vstack([first, pair - first, np.tile(rest, pair + 1)]).astype(kind, copy=False))
    return blocks


def _split(block: np.ndarray, total: int, couplings: list[int], angle: float, matrices: Matrices) -> None:
    """The beam splitters of these pairs on `total` bosons, in place on a (batch, dimension) array."""
    starts, sizes = _pair_row(total, 2 * len(couplings))
    for pair, inner in enumerate(sizes):
        if not inner:
            continue
        here = slice(starts[pair], starts[pair + 1])
        part: np.ndarray = block[:, here].reshape(len(block), pair + 1, inner)
        if pair:
            part = mixed(part, pair, couplings[0], angle, matrices)
        if len(couplings) > 1 and total > pair:
            part = np.ascontiguousarray(part).reshape(-1, inner)
            _split(part, total - pair, couplings[1:], angle, matrices)
        block[:, here] = part.reshape(len(block), -1)
