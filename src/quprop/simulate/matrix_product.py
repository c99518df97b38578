"""Matrix products: states and operators of many qubits on a line, one small tensor a site (Vidal,
quant-ph/0301063; Schollwoeck, arXiv:1008.3477).

    X = sum over bonds of A_1[s_1] A_2[s_2] ... A_n[s_n],      A_q (left bond, d, right bond)

A Pauli string of any weight is a product of one factor a site, so that sums of a few strings applied to X are exact
with as many times the bond dimension; they are then cut back to what is allowed. What is cut is added up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy as shallow_copy
from typing import Self

import numpy as np

from quprop.errors import QupropError
from quprop.model.pauli import PauliString

PAULI = {
    (1, 0): np.array([[0, 1], [1, 0]], complex),
    (1, 1): np.array([[0, -1j], [1j, 0]]),
    (0, 1): np.diag([1, -1]).astype(complex),
}
QR_OPS = 4 * 2  # real multiply-adds of a complex m x n QR with its Q, in units of m n^2
SVD_OPS = 4 * 7, 4 * 4  # of a complex m x n SVD with vectors, in units of m n^2 and n^3 (Golub and Van Loan, 8.6)

Factors = Mapping[int, np.ndarray]  # site -> (d, d): a product operator, 1 at all other sites
Term = tuple[complex, Factors]


class MatrixProduct:
    """X of norm 1 with bond dimension at most `bond_dimension`; sites are tensors (left bond, d, right bond).

    order       the qubit at each site, from left to right
    cutoff      singular values below it, relative to the largest of their bond, are dropped whatever is allowed
    ops         real multiply-adds done so far (complex ones are four)
    discarded   over all cuts, the sum of the fractions of |X|^2 cut off
    angle       over all sums, the sum of the angles arccos |<X|X'>| between X before and after it was cut. Angles obey
                the triangle inequality and unitary sums do not change them, so that X is at most this far from what it
                would be without cuts. The cuts of one sum are projections on nested spaces, hence orthogonal:
                |<X|X'>|^2 is the product of the fractions kept
    """

    def __init__(self, sites: Iterable[np.ndarray], bond_dimension: int, cutoff: float, order: Sequence[int]) -> None:
        """`sites` right of the first are isometries from the right, and X has norm 1."""
        self._sites = list(sites)
        self.bond_dimension, self.cutoff = bond_dimension, cutoff
        self.order = tuple(order)
        self._site_of = {qubit: site for site, qubit in enumerate(self.order)}
        self.ops, self.discarded, self.angle = 0, 0.0, 0.0
        # sites left of the centre are isometries from the left, those right of it from the right, the centre has norm 1
        self._centre = 0

    @property
    def sites(self) -> tuple[np.ndarray, ...]:
        return tuple(self._sites)

    @property
    def n(self) -> int:
        return len(self._sites)

    @property
    def nbytes(self) -> int:
        return sum(site.nbytes for site in self._sites)

    @property
    def bonds(self) -> tuple[int, ...]:
        """The bond dimensions between neighbouring sites."""
        return tuple(site.shape[2] for site in self._sites[:-1])

    def copy(self) -> Self:
        twin = shallow_copy(self)
        twin._sites = list(self._sites)  # sites are replaced, never changed in place
        return twin

    def factors(self, pauli: PauliString) -> dict[int, np.ndarray]:
        """The string, its sign left out, as one 2 x 2 matrix a site."""
        return {self._site_of[q]: PAULI[pauli.x >> q & 1, pauli.z >> q & 1] for q in pauli.qubits}

    def expectation(self, factors: Factors) -> complex:
        """<X| product of the factors |X>, over the sites between the first and the last of them."""
        if not factors:
            return 1.0
        first, last = min(factors), max(factors)
        self.move_centre(min(max(self._centre, first), last))
        environment = np.eye(self._sites[first].shape[0], dtype=complex)  # (bra, ket)
        for q in range(first, last + 1):
            site = self._sites[q]
            half = _joined(environment, _act(factors, q, site))  # (bra, d, ket)
            bra = site.reshape(-1, site.shape[2])
            environment = bra.conj().T @ half.reshape(len(bra), -1)
            self.ops += 4 * site.size * (site.shape[0] + site.shape[2] + 2)
        return complex(np.trace(environment))

    def add(self, terms: Sequence[Term]) -> None:
        """X <- sum of coefficient * product of factors X, cut and divided by its norm.

        One QR sweep and one SVD sweep over the sites between the first and the last factor: O(n chi^3).
        """
        terms = [t for t in terms if t[0] != 0]
        touched = [q for _, factors in terms for q in factors]
        if not touched:
            return
        first, last = min(touched), max(touched)
        self.move_centre(min(max(self._centre, first), last))
        carried: list[np.ndarray] = []  # for each term, what QR left behind: (new bond, old bond)
        for q in range(first, last + 1):
            site = self._sites[q]
            acted = [_act(factors, q, site) for _, factors in terms]
            if q == first:
                parts = [c * a for (c, _), a in zip(terms, acted, strict=True)]
            else:
                parts = [_joined(r, a) for r, a in zip(carried, acted, strict=True)]
                self.ops += sum(4 * r.size * site.shape[1] * site.shape[2] for r in carried)
            if q == last:
                self._sites[q] = np.sum(parts, axis=0)
                break
            stacked = np.concatenate([p.reshape(-1, p.shape[2]) for p in parts], axis=1)  # (bond * d, terms * bond)
            isometry, rest = np.linalg.qr(stacked)
            self.ops += QR_OPS * stacked.shape[0] * stacked.shape[1] * min(stacked.shape)
            self._sites[q] = isometry.reshape(-1, site.shape[1], isometry.shape[1])
            carried = np.split(rest, len(terms), axis=1)
        self._centre = last
        kept = sum(self._cut(q) for q in range(last, first, -1))
        self.angle += math.asin(min(1.0, math.sqrt(-math.expm1(kept))))
        centre = self._sites[first]
        self._sites[first] = centre / np.linalg.norm(centre)

    def _cut(self, q: int) -> float:
        """Moves the centre from site q to q - 1, keeping the largest singular values between them; the logarithm of the
        fraction of |X|^2 kept."""
        site = self._sites[q]
        rows, columns = site.shape[0], site.shape[1] * site.shape[2]
        left, values, right = np.linalg.svd(site.reshape(rows, columns), full_matrices=False)
        keep = min(self.bond_dimension, max(1, int((values > self.cutoff * values[0]).sum())))
        squares = values**2
        lost = float(squares[keep:].sum() / squares.sum())
        self.discarded += lost
        self._sites[q] = right[:keep].reshape(keep, site.shape[1], -1)
        self._sites[q - 1] = self._sites[q - 1] @ (left[:, :keep] * values[:keep])
        self._centre = q - 1
        small, large = sorted((rows, columns))
        self.ops += SVD_OPS[0] * large * small**2 + SVD_OPS[1] * small**3
        self.ops += 4 * self._sites[q - 1].size * rows
        return math.log1p(-lost)

    def move_centre(self, target: int) -> None:
        while self._centre < target:
            q = self._centre
            site = self._sites[q]
            isometry, rest = np.linalg.qr(site.reshape(-1, site.shape[2]))
            self._sites[q] = isometry.reshape(site.shape[0], site.shape[1], -1)
            self._sites[q + 1] = _joined(rest, self._sites[q + 1])
            self._centre = q + 1
            self.ops += (QR_OPS + 4) * site.size * site.shape[2]
        while self._centre > target:
            q = self._centre
            site = self._sites[q]
            isometry, rest = np.linalg.qr(site.reshape(site.shape[0], -1).conj().T)
            self._sites[q] = isometry.conj().T.reshape(-1, site.shape[1], site.shape[2])
            self._sites[q - 1] = self._sites[q - 1] @ rest.conj().T
            self._centre = q - 1
            self.ops += (QR_OPS + 4) * site.size * site.shape[0]


class MatrixProductState(MatrixProduct):
    """A pure state of qubits; sites are (left bond, 2, right bond)."""

    @classmethod
    def product(
        cls, qubits: np.ndarray, bond_dimension: int, cutoff: float, order: Sequence[int] | None = None
    ) -> MatrixProductState:
        """From a state (2,) of norm 1 for every qubit, (n, 2)."""
        rows = np.asarray(qubits, complex)
        order = range(len(rows)) if order is None else order
        return cls([rows[q].reshape(1, 2, 1) for q in order], bond_dimension, cutoff, order)

    @property
    def truncation(self) -> float:
        """All expectation values of Pauli strings are within this of those without cuts: 2 sin(angle), as |tr Q (rho -
        rho')| <= ||Q|| ||rho - rho'||_1 and two pure states an angle apart have trace norm 2 sin(angle)."""
        return 2 * math.sin(min(self.angle, math.pi / 2))

    def with_qubit(self, qubit: int, site: int, amplitudes: np.ndarray) -> MatrixProductState:
        """One qubit more, in a state (2,) of norm 1, at `site`."""
        twin = self.copy()
        bond = 1 if site in (0, self.n) else self._sites[site].shape[0]
        twin._sites.insert(site, np.eye(bond)[:, None, :] * np.asarray(amplitudes, complex)[:, None])
        twin.order = (*self.order[:site], qubit, *self.order[site:])
        twin._site_of = {q: s for s, q in enumerate(twin.order)}
        if site <= self._centre:  # the new site is an isometry from either side
            twin._centre += 1
        return twin

    def mean(self, pauli: PauliString) -> float:
        """<P> of a Hermitian string, within [-1, 1]."""
        return pauli.sign * min(1.0, max(-1.0, self.expectation(self.factors(pauli)).real))

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2) X = cos(angle/2) X - i sin(angle/2) P X; nothing, where that is a phase."""
        if pauli.weight:
            sine = pauli.sign * math.sin(angle / 2)
            self.add([(math.cos(angle / 2), {}), (-1j * sine, self.factors(pauli))])

    def control(self, qubit: int, pauli: PauliString) -> None:
        """|0><0| + |1><1| P of a Hermitian string on other qubits."""
        site = self._site_of[qubit]
        if pauli.x >> qubit & 1 or pauli.z >> qubit & 1:
            raise QupropError(f"a qubit does not control itself: {pauli} acts on qubit {qubit}")
        zero, one = np.diag([1, 0]).astype(complex), np.diag([0, 1]).astype(complex)
        self.add([(1.0, {site: zero}), (float(pauli.sign), {site: one, **self.factors(pauli)})])

    def vector(self) -> np.ndarray:
        """The amplitudes (2^n,), bit q of the index being qubit q (for small n)."""
        out = np.ones((1, 1), complex)
        for site in self._sites:
            out = np.tensordot(out, site, 1).reshape(-1, site.shape[2])
        axes = [self._site_of[q] for q in reversed(range(self.n))]
        return out.reshape((2,) * self.n).transpose(axes).ravel()


def _act(factors: Factors, q: int, site: np.ndarray) -> np.ndarray:
    matrix = factors.get(q)
    return site if matrix is None else matrix @ site


def _joined(matrix: np.ndarray, site: np.ndarray) -> np.ndarray:
    """A matrix on the left bond of a site: np.tensordot without its overhead, most of the work on small ones."""
    return (matrix @ site.reshape(len(site), -1)).reshape(len(matrix), *site.shape[1:])
