"""Amplitudes of a few excitations in the fluctuation modes, and functions of one quadrature acting on them.

A check acts along one direction v = sum_a c_a u_a of the modes, through a one-mode matrix F (`counts.py`). Its
normally ordered form

    F = sum_pq h_pq (b_v^dagger)^p b_v^q,   h_pq = sum_j (-1)^j / j! F_{p-j,q-j} / sqrt((p-j)! (q-j)!),
    b_v = sum_a conj(c_a) b_a

needs no change of basis in Fock space: lowering first and raising afterwards, it is exact on states with at most N
excitations, up to the excitations beyond N that it makes. Where c is shorter than 1, the missing part of v is a mode
that is empty before and is projected on empty afterwards; the formula already says so.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import sparse, special

MOST_EXCITATIONS = 12  # the alternating sum for h loses about 3^N eps


class OneMode:
    """Amplitudes (cut + 1,) of 0..cut excitations of a single mode."""

    modes = 1

    def __init__(self, amplitudes: np.ndarray) -> None:
        self.amplitudes = amplitudes

    @property
    def highest(self) -> int:
        return len(self.amplitudes) - 1

    def marginal(self, c: np.ndarray) -> np.ndarray:
        """The density matrix (N+1, N+1) of the mode along v = c u + (an empty mode), |c| <= 1."""
        turned = self._turned(c)
        out = np.zeros((self.highest + 1,) * 2, complex)
        for j, row in enumerate(_losses(self.highest, float(abs(c[0])))):
            part = row[: self.highest + 1 - j] * turned[j:]
            out[: len(part), : len(part)] += np.outer(part, part.conj())
        return out

    def apply(self, c: np.ndarray, matrix: np.ndarray) -> float:
        """psi <- F psi with F along v, empty mode projected on empty; normalises, returns the norm squared it had."""
        turned, out = self._turned(c), np.zeros_like(self.amplitudes)
        for j, row in enumerate(_losses(self.highest, float(abs(c[0])))):
            size = self.highest + 1 - j
            out[j:] += row[:size] * (matrix[:size, :size] @ (row[:size] * turned[j:]))
        norm = float(np.linalg.norm(out))
        phase = c[0] / abs(c[0]) if abs(c[0]) else 1.0
        self.amplitudes = out / norm * phase ** np.arange(self.highest + 1)
        return norm**2

    def excitations(self) -> float:
        return float(np.arange(self.highest + 1) @ np.abs(self.amplitudes) ** 2)

    def _turned(self, c: np.ndarray) -> np.ndarray:
        phase = np.conj(c[0]) / abs(c[0]) if abs(c[0]) else 1.0
        return self.amplitudes * phase ** np.arange(self.highest + 1)


class ManyModes:
    """Amplitudes of all states of r modes with at most `highest` excitations."""

    def __init__(self, modes: int, highest: int) -> None:
        if highest > MOST_EXCITATIONS:
            raise AssertionError("beyond MOST_EXCITATIONS normal ordering loses its digits")
        self.modes, self.highest = modes, highest
        self.amplitudes = np.zeros(math.comb(modes + highest, highest), complex)
        self.amplitudes[0] = 1.0

    @classmethod
    def grown(cls, old: OneMode | ManyModes, modes: int, highest: int) -> tuple[ManyModes, float]:
        """`old` with empty modes added and excitations beyond `highest` cut off; and the probability cut off.

        Sectors of m excitations are ordered by their largest mode, so that the old states are the first of each.
        """
        new = cls(modes, highest)
        for m in range(min(highest, old.highest) + 1):
            a, b = math.comb(old.modes + m - 1, m), math.comb(new.modes + m - 1, m)
            start_old, start_new = (math.comb(s.modes + m - 1, m - 1) if m else 0 for s in (old, new))
            new.amplitudes[start_new : start_new + min(a, b)] = old.amplitudes[start_old : start_old + a]
        kept = float(np.linalg.norm(new.amplitudes) ** 2)
        new.amplitudes /= math.sqrt(kept)
        return new, max(0.0, 1.0 - kept)

    def marginal(self, c: np.ndarray) -> np.ndarray:
        """The density matrix (N+1, N+1) of the mode along v: <n|rho|m> = <|m><n|>, normally ordered."""
        lowered = self._lowered(_lowering(self.modes, self.highest, c))
        gram = lowered.conj() @ lowered.T  # [p, q] = <b^dagger^p b^q>
        size = self.highest + 1
        out = np.zeros((size, size), complex)
        for j in range(size):
            out[: size - j, : size - j] += (-1) ** j / math.factorial(j) * gram[j:, j:]
        root = np.sqrt(special.factorial(np.arange(size)))
        return (out / np.outer(root, root)).T

    def apply(self, c: np.ndarray, matrix: np.ndarray) -> float:
        """psi <- F psi along v; normalises and returns the norm squared it had."""
        lower = _lowering(self.modes, self.highest, c)
        lowered = self._lowered(lower)
        terms = normal_order(matrix[: self.highest + 1, : self.highest + 1]) @ lowered  # [p] = sum_q h_pq b^q psi
        raise_ = lower.conj().T
        out = terms[-1]
        for term in terms[-2::-1]:
            out = term + raise_ @ out
        norm = float(np.linalg.norm(out))
        self.amplitudes = out / norm
        return norm**2

    def excitations(self) -> float:
        weights = np.abs(self.amplitudes) ** 2
        total, start = 0.0, 0
        for m in range(self.highest + 1):
            stop = start + math.comb(self.modes + m - 1, m)
            total += m * float(weights[start:stop].sum())
            start = stop
        return total

    def _lowered(self, lower: sparse.csr_matrix) -> np.ndarray:
        """b_v^q psi, q = 0..N, as rows."""
        out = np.empty((self.highest + 1, len(self.amplitudes)), complex)
        out[0] = self.amplitudes
        for q in range(self.highest):
            out[q + 1] = lower @ out[q]
        return out


def normal_order(matrix: np.ndarray) -> np.ndarray:
    """h (N+1, N+1) of sum_mn F_mn |m><n| = sum_pq h_pq b^dagger^p b^q, on at most N excitations."""
    size = len(matrix)
    root = np.sqrt(special.factorial(np.arange(size)))
    scaled = matrix / np.outer(root, root)
    out = np.zeros_like(scaled)
    for j in range(size):
        out[j:, j:] += (-1) ** j / math.factorial(j) * scaled[: size - j, : size - j]
    return out


@lru_cache(maxsize=64)
def _losses(highest: int, c: float) -> list[np.ndarray]:
    """Row j, entry m: amplitude for m of m + j excitations to be found in a mode of overlap c; for j = 0..N."""
    if c >= 1.0 - 1e-15:
        return [np.ones(highest + 1)]
    m = np.arange(highest + 1)
    s = math.sqrt(1 - c**2)
    return [np.sqrt(special.comb(m + j, j)) * c**m * s**j for j in m]


def _lowering(modes: int, highest: int, c: np.ndarray) -> sparse.csr_matrix:
    """b_v = sum_a conj(c_a) b_a as a sparse matrix on at most `highest` excitations."""
    columns, roots, starts = _ladder(modes, highest)
    size = len(starts) - 1
    return sparse.csr_matrix(((roots * c.conj()).ravel(), columns, starts), shape=(size, size))


@lru_cache(maxsize=32)
def _ladder(modes: int, highest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """b_a |state + one in a> = sqrt(n_a + 1) |state>: for each state below the top its r partners, and the roots.

    A state of m excitations is its sorted list of modes a_1 <= ... <= a_m, of rank sum_i C(a_i + i - 1, i).
    """
    columns, roots = [], []
    lists = np.zeros((1, 0), np.int64)
    offset = 1  # where the sector above starts
    for m in range(highest):
        extra = np.broadcast_to(np.arange(modes)[None, :, None], (len(lists), modes, 1))
        above = np.concatenate([np.broadcast_to(lists[:, None], (len(lists), modes, m)), extra], axis=2)
        roots.append(np.sqrt((above == extra).sum(axis=2)))
        above = np.sort(above, axis=2)
        table = np.array([[math.comb(a + i, i + 1) for i in range(m + 1)] for a in range(modes)])
        rank = table[above, np.arange(m + 1)].sum(axis=2)
        columns.append(offset + rank)
        lists = np.zeros((math.comb(modes + m, m + 1), m + 1), np.int64)
        lists[rank.ravel()] = above.reshape(-1, m + 1)
        offset += len(lists)
    rows = sum(len(c) for c in columns)
    starts = np.minimum(np.arange(offset + 1), rows) * modes
    flat = np.concatenate(columns).ravel() if columns else np.zeros(0, np.int64)
    root = np.concatenate(roots) if roots else np.zeros((0, modes))
    return flat.astype(np.int32), root, starts.astype(np.int32)
