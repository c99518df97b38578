"""Symmetries that are Pauli strings: a circuit that keeps to one of their sectors is one of fewer qubits.

Let S = X^m commute with every string of a circuit and of its observables, and let the input state be an eigenstate,
S|phi> = s|phi>. Then the state stays in this sector, and so does O|psi>. With a qubit q of m the isometry
E|j> = (1 + s S)|j, 0_q> / sqrt 2 goes onto the sector, and P E = E P' for the strings that commute with S, where P'
acts on the other qubits: if x_q = 1 P is replaced by s P S, whose x is x xor m; then bit q of both masks is left out
(Z_q is 1 on |0_q>). For S = Z^m the same holds with x and z exchanged: bit q of a basis index is a parity of the
others. The flip of all spins (MaxCut, Sherrington-Kirkpatrick, Ising chains) and parity are of these kinds; each halves
all work.
("Tapering off qubits", Bravyi et al., arXiv:1701.08213.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sector(NamedTuple):
    """Symmetries X^m and Z^m as (m, q, sign): a qubit q that is in no other m, the eigenvalue of the input state."""

    n: int
    flips: list[tuple[int, int, int]]
    parities: list[tuple[int, int, int]]

    @property
    def left_out(self) -> list[int]:
        return sorted(q for _, q, _ in self.flips + self.parities)

    @property
    def qubits(self) -> int:
        """How many are left."""
        return self.n - len(self.flips) - len(self.parities)

    def of(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks on the qubits that are left, and signs, of strings that commute with the symmetries."""
        signs = np.ones(len(x))
        for m, q, sign in self.flips:
            x, signs = _joined(x, z, m, q, sign * signs, signs)
        for m, q, sign in self.parities:
            z, signs = _joined(z, x, m, q, sign * signs, signs)
        return self._rest(x), self._rest(z), signs

    def state(self, rows: np.ndarray) -> np.ndarray:
        """The product state, a row a qubit, without the qubits that are left out."""
        return np.delete(rows, self.left_out, axis=0)

    def _rest(self, masks: np.ndarray) -> np.ndarray:
        for q in reversed(self.left_out):
            low = np.uint64((1 << q) - 1)
            masks = (masks & low) | (masks >> np.uint64(1) & ~low)
        return masks


def _joined(
    of: np.ndarray, other: np.ndarray, m: int, q: int, turned: np.ndarray, signs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """P S where `of`, one of P's masks, has bit q. P = i^|x & z| X^x Z^z: the power of i changes by an even number."""
    has = (of >> np.uint64(q) & np.uint64(1)).astype(bool)
    new = np.where(has, of ^ np.uint64(m), of)
    minus = (np.bitwise_count(of & other).astype(int) - np.bitwise_count(new & other)) % 4 == 2
    return new, np.where(has, turned, signs) * np.where(minus, -1.0, 1.0)


def find(x: np.ndarray, z: np.ndarray, rows: np.ndarray) -> Sector | None:
    """The sector of a circuit: x, z of all its strings and its observables', rows (n, 2): its product input state."""
    n = len(rows)
    flips = _symmetries(z, rows[:, 0] == rows[:, 1], rows[:, 0] == -rows[:, 1], n - 1)
    taken = {q for _, q, _ in flips}
    kept = [q for q in range(n) if q not in taken]
    if flips:  # in what is left a parity must hold too
        x, z, _ = Sector(n, flips, []).of(x, z)
    own = rows[kept]
    parities = _symmetries(x, own[:, 1] == 0, own[:, 0] == 0, len(kept) - 1)
    back = [(sum(1 << kept[i] for i in range(len(kept)) if m >> i & 1), kept[q], s) for m, q, s in parities]
    return Sector(n, flips, back) if flips or back else None


def _symmetries(masks: np.ndarray, plus: np.ndarray, minus: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """(m, q, sign) with m orthogonal to all masks, on qubits whose state is an eigenstate with value 1 or -1."""
    within = sum(1 << q for q in range(len(plus)) if plus[q] or minus[q])
    negative = sum(1 << q for q in range(len(plus)) if minus[q])
    return [(m, q, -1 if (m & negative).bit_count() & 1 else 1) for m, q in orthogonal(masks, within)[:most]]


def orthogonal(masks: np.ndarray, within: int) -> list[tuple[int, int]]:
    """A basis of all m inside `within` with even |m & mask| for every mask; each with a bit that no other m has."""
    reduced: dict[int, int] = {}  # by their pivots, which no other row has
    for first in range(0, len(masks), 4096):
        rows = masks[first : first + 4096] & np.uint64(within)
        for pivot, row in reduced.items():
            rows = np.where(rows >> np.uint64(pivot) & np.uint64(1), rows ^ np.uint64(row), rows)
        rows = rows[rows != 0]
        while len(rows):
            row = int(rows[0])
            pivot = row.bit_length() - 1
            reduced = {p: r ^ row if r >> pivot & 1 else r for p, r in reduced.items()}
            reduced[pivot] = row
            rows = np.where(rows >> np.uint64(pivot) & np.uint64(1), rows ^ np.uint64(row), rows)
            rows = rows[rows != 0]
        if len(reduced) == within.bit_count():
            return []
    free = [q for q in range(within.bit_length()) if within >> q & 1 and q not in reduced]
    return [(1 << f | sum(1 << p for p, row in reduced.items() if row >> f & 1), f) for f in free]
