"""A hypothesis held as a matrix-product operator: sigma = X X† / tr, for many qubits and little entanglement."""

from __future__ import annotations

import math
from copy import copy as shallow_copy

import numpy as np

from quprop.collective.hypothesis.protocol import count, number, positive
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory

_PAULI = {
    (1, 0): np.array([[0, 1], [1, 0]], complex),
    (1, 1): np.array([[0, -1j], [1j, 0]]),
    (0, 1): np.diag([1, -1]).astype(complex),
}
QR_OPS = 4 * 2  # real multiply-adds of a complex m x n QR with its Q, in units of m n^2
SVD_OPS = 4 * 7, 4 * 4  # of a complex m x n SVD with vectors, in units of m n^2 and n^3 (Golub and Van Loan, 8.6)


class MatrixProductHypothesis:
    """sigma = X X† / tr(X X†) with X a matrix-product operator of bond dimension at most ``bond_dimension`` = chi.

    X has a physical and an ancilla leg at every site (qubit q is site q) and starts as the identity, of bond dimension
    1. Nothing is Trotterised: a Pauli string of any weight is a product operator, so

    - an update X <- e^{step P/4} X = cosh(step/4) X + sinh(step/4) P X is a sum of two, and
    - a rotation X <- R X R† = c^2 X + i c s (X P - P X) + s^2 P X P a sum of four, c = cos(angle/2), s = sin(angle/2),

    each brought back to chi by one QR sweep and one SVD sweep over the sites between P's first and last qubit, which
    cost O(n chi^3). Rotating the ancilla legs too leaves sigma as it is but keeps the identity an identity: R X alone
    would spend bond dimension on a circuit that sigma does not feel.

    Updates are the product form of :class:`~quprop.collective.hypothesis.typicality.TypicalityHypothesis`, exact
    multiplicative weights where triggers commute. sigma is positive whatever is cut. No bound on mistakes is known once
    something is: report the updates as a function of chi. ``discarded`` adds up, over all cuts, the fraction of |X|^2
    cut off; bond dimension 4^(n/2) never cuts more than rounding (``cutoff``, relative to the largest singular value).
    """

    def __init__(self, n: int, bond_dimension: int = 16, *, cutoff: float = 1e-13) -> None:
        self.n = count(n, "n")
        self.bond_dimension = count(bond_dimension, "bond_dimension")
        if not 0 <= cutoff < 1:
            raise QupropError(f"`cutoff` must be in [0, 1), got {cutoff}; 1e-13 is the default")
        self.cutoff = float(cutoff)
        memory.require(
            self.required_bytes(self.n, self.bond_dimension),
            f"a MatrixProductHypothesis of {n} qubits with bond dimension {bond_dimension}",
            f"take a smaller bond_dimension, or KernelHypothesis({n})",
        )
        self.updates = 0
        self.classical_ops = 0
        self.discarded = 0.0
        self._centre = 0
        # (left bond, physical * 2 + ancilla, right bond); sites left of the centre are isometries from the left, those
        # right of it from the right, the centre has norm 1
        self._sites = [np.eye(2, dtype=complex).reshape(1, 4, 1) / math.sqrt(2) for _ in range(self.n)]

    @staticmethod
    def required_bytes(n: int, bond_dimension: int = 16) -> int:
        """The most it holds: the sites, and those of a sum of four before it is cut, with the workspace of one SVD."""
        largest = min(bond_dimension, 4 ** (n // 2))
        return 16 * 4 * largest**2 * (n + 16 * n + 4 * 16)

    @property
    def classical_bytes(self) -> int:
        return sum(site.nbytes for site in self._sites)

    @property
    def bonds(self) -> tuple[int, ...]:
        """The bond dimensions between neighbouring sites."""
        return tuple(site.shape[2] for site in self._sites[:-1])

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        if not self.updates:
            return 0.0
        first, last = pauli.qubits[0], pauli.qubits[-1]
        self._move_centre(min(max(self._centre, first), last))
        environment = np.eye(self._sites[first].shape[0], dtype=complex)  # (bra, ket)
        for q in range(first, last + 1):
            site = self._sites[q]
            half = np.tensordot(environment, _act(pauli, q, site, True, False), 1)  # (bra, 4, ket)
            environment = np.tensordot(site.conj(), half, ([0, 1], [0, 1]))
            self.classical_ops += 4 * site.size * (site.shape[0] + site.shape[2] + 2)
        return sign * min(1.0, max(-1.0, float(np.trace(environment).real)))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        quarter = sign * number(step, "step") / 4
        self.updates += 1
        if pauli.weight:
            tanh = math.tanh(quarter)
            self._apply(pauli, [(1.0, False, False), (tanh, True, False)])

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        c, s = math.cos(number(angle, "angle") / 2), sign * math.sin(angle / 2)
        if self.updates and pauli.weight:
            cross = 1j * c * s
            self._apply(
                pauli, [(c * c, False, False), (-cross, True, False), (cross, False, True), (s * s, True, True)]
            )

    def copy(self) -> MatrixProductHypothesis:
        twin = shallow_copy(self)
        twin._sites = list(self._sites)  # sites are replaced, never changed in place
        return twin

    def matrix(self) -> np.ndarray:
        """sigma in the current frame, complex (2^n, 2^n) (for small n)."""
        x = np.ones((1, 1, 1), complex)  # (physical, ancilla, bond), later sites are the higher bits
        for site in self._sites:
            x = np.einsum("pab,bstc->sptac", x, site.reshape(site.shape[0], 2, 2, -1))
            x = x.reshape(x.shape[0] * x.shape[1], -1, x.shape[-1])
        factor = x[:, :, 0]
        return factor @ factor.conj().T / np.vdot(factor, factor).real

    def _apply(self, pauli: PauliString, terms: list[tuple[complex, bool, bool]]) -> None:
        """X <- sum of coefficient * (P X, X P, P X P or X), between the first and last qubit of P, then cut."""
        first, last = pauli.qubits[0], pauli.qubits[-1]
        self._move_centre(min(max(self._centre, first), last))
        terms = [t for t in terms if t[0] != 0]
        carried: list[np.ndarray] = []  # for each term, what QR left behind: (new bond, old bond)
        for q in range(first, last + 1):
            site = self._sites[q]
            acted = [_act(pauli, q, site, left, right) for _, left, right in terms]
            if q == first:
                parts = [c * a for (c, _, _), a in zip(terms, acted, strict=True)]
            else:
                parts = [np.tensordot(r, a, 1) for r, a in zip(carried, acted, strict=True)]
                self.classical_ops += sum(4 * r.size * site.shape[1] * site.shape[2] for r in carried)
            if q == last:
                self._sites[q] = np.sum(parts, axis=0)
                break
            stacked = np.concatenate([p.reshape(-1, p.shape[2]) for p in parts], axis=1)  # (bond * 4, terms * bond)
            isometry, rest = np.linalg.qr(stacked)
            self.classical_ops += QR_OPS * stacked.shape[0] * stacked.shape[1] * min(stacked.shape)
            self._sites[q] = isometry.reshape(-1, 4, isometry.shape[1])
            carried = np.split(rest, len(terms), axis=1)
        self._centre = last
        for q in range(last, first, -1):
            self._cut(q)
        centre = self._sites[first]
        self._sites[first] = centre / np.linalg.norm(centre)

    def _cut(self, q: int) -> None:
        """Moves the centre from site q to q - 1, keeping the largest singular values between them."""
        site = self._sites[q]
        rows, columns = site.shape[0], 4 * site.shape[2]
        left, values, right = np.linalg.svd(site.reshape(rows, columns), full_matrices=False)
        keep = min(self.bond_dimension, max(1, int((values > self.cutoff * values[0]).sum())))
        squares = values**2
        self.discarded += float(squares[keep:].sum() / squares.sum())
        self._sites[q] = right[:keep].reshape(keep, 4, -1)
        self._sites[q - 1] = np.tensordot(self._sites[q - 1], left[:, :keep] * values[:keep], 1)
        self._centre = q - 1
        small, large = sorted((rows, columns))
        self.classical_ops += SVD_OPS[0] * large * small**2 + SVD_OPS[1] * small**3
        self.classical_ops += 4 * self._sites[q - 1].size * rows

    def _move_centre(self, target: int) -> None:
        while self._centre < target:
            q = self._centre
            site = self._sites[q]
            isometry, rest = np.linalg.qr(site.reshape(-1, site.shape[2]))
            self._sites[q] = isometry.reshape(site.shape[0], 4, -1)
            self._sites[q + 1] = np.tensordot(rest, self._sites[q + 1], 1)
            self._centre = q + 1
            self.classical_ops += (QR_OPS + 4) * site.size * site.shape[2]
        while self._centre > target:
            q = self._centre
            site = self._sites[q]
            isometry, rest = np.linalg.qr(site.reshape(site.shape[0], -1).conj().T)
            self._sites[q] = isometry.conj().T.reshape(-1, 4, site.shape[2])
            self._sites[q - 1] = np.tensordot(self._sites[q - 1], rest.conj().T, 1)
            self._centre = q - 1
            self.classical_ops += (QR_OPS + 4) * site.size * site.shape[0]


def _act(pauli: PauliString, q: int, site: np.ndarray, left: bool, right: bool) -> np.ndarray:
    """P X, X P, P X P or X at site q."""
    letter = pauli.x >> q & 1, pauli.z >> q & 1
    if letter == (0, 0) or not (left or right):
        return site
    matrix = _PAULI[letter]
    x = site.reshape(len(site), 2, 2, -1)  # (bond, physical, ancilla, bond)
    if left:
        x = np.einsum("ps,ista->ipta", matrix, x)
    if right:
        x = np.einsum("ista,tu->isua", x, matrix)
    return x.reshape(site.shape)
