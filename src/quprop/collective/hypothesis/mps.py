"""A hypothesis held as a matrix-product operator: sigma = X X† / tr, for many qubits and little entanglement."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy as shallow_copy

import numpy as np

from quprop.collective.hypothesis.protocol import count, learn_by_steps, number, positive
from quprop.errors import QupropError, shown
from quprop.model.pauli import PauliString
from quprop.simulate import memory
from quprop.simulate.matrix_product import Factors, MatrixProduct


class MatrixProductHypothesis:
    """sigma = X X† / tr(X X†) with X a matrix-product operator of bond dimension at most ``bond_dimension`` = chi.

    X has a physical and an ancilla leg at every site (qubit q is site q, or as ``order`` lists the qubits from left to
    right) and starts as the identity, of bond dimension 1. Nothing is Trotterised: a Pauli string of any weight is a
    product operator, so

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

    def __init__(
        self, n: int, bond_dimension: int = 16, *, cutoff: float = 1e-13, order: Iterable[int] | None = None
    ) -> None:
        self.n = count(n, "n")
        self.bond_dimension = count(bond_dimension, "bond_dimension")
        if not 0 <= cutoff < 1:
            raise QupropError(f"`cutoff` must be in [0, 1), got {cutoff}; 1e-13 is the default")
        self.cutoff = float(cutoff)
        line = tuple(range(self.n)) if order is None else tuple(order)
        if sorted(line) != list(range(self.n)):
            raise QupropError(f"`order` names each of the {n} qubits once, from left to right, got {shown(line)}")
        memory.require(
            self.required_bytes(self.n, self.bond_dimension),
            f"a MatrixProductHypothesis of {n} qubits with bond dimension {bond_dimension}",
            f"take a smaller bond_dimension, or KernelHypothesis({n})",
        )
        self.updates = 0
        self.classical_ops = 0
        # a site is (left bond, physical * 2 + ancilla, right bond)
        identity = np.eye(2, dtype=complex).reshape(1, 4, 1) / math.sqrt(2)
        self._x = MatrixProduct([identity] * self.n, self.bond_dimension, self.cutoff, line)

    @staticmethod
    def required_bytes(n: int, bond_dimension: int = 16) -> int:
        """The most it holds: the sites, and those of a sum of four before it is cut, with the workspace of one SVD."""
        largest = min(bond_dimension, 4 ** (n // 2))
        return 16 * 4 * largest**2 * (n + 16 * n + 4 * 16)

    @property
    def classical_bytes(self) -> int:
        return self._x.nbytes

    @property
    def discarded(self) -> float:
        return self._x.discarded

    @property
    def order(self) -> tuple[int, ...]:
        """The qubit at each site."""
        return self._x.order

    @property
    def bonds(self) -> tuple[int, ...]:
        """The bond dimensions between neighbouring sites."""
        return self._x.bonds

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        if not self.updates:
            return 0.0
        mean = self._x.expectation(_acting(self._x.factors(pauli), True, False)).real
        self.classical_ops = self._x.ops
        return sign * min(1.0, max(-1.0, mean))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        quarter = sign * number(step, "step") / 4
        self.updates += 1
        if pauli.weight:
            self._add(pauli, [(1.0, False, False), (math.tanh(quarter), True, False)])

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        learn_by_steps(self, pauli, value, error)

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        c, s = math.cos(number(angle, "angle") / 2), sign * math.sin(angle / 2)
        if self.updates and pauli.weight:
            cross = 1j * c * s
            self._add(pauli, [(c * c, False, False), (-cross, True, False), (cross, False, True), (s * s, True, True)])

    def copy(self) -> MatrixProductHypothesis:
        twin = shallow_copy(self)
        twin._x = self._x.copy()
        return twin

    def matrix(self) -> np.ndarray:
        """sigma in the current frame, complex (2^n, 2^n) (for small n)."""
        x: np.ndarray = np.ones((1, 1), complex)  # sites from left to right, each with its physical and its ancilla leg
        for site in self._x.sites:
            x = np.tensordot(x, site, 1).reshape(-1, site.shape[2])
        site_of = {qubit: site for site, qubit in enumerate(self.order)}
        line = [site_of[q] for q in reversed(range(self.n))]  # a later qubit is a higher bit
        x = x.reshape((2,) * (2 * self.n)).transpose([2 * s for s in line] + [2 * s + 1 for s in line])
        factor = x.reshape(2**self.n, 2**self.n)
        return factor @ factor.conj().T / np.vdot(factor, factor).real

    def _add(self, pauli: PauliString, terms: list[tuple[complex, bool, bool]]) -> None:
        """X <- sum of coefficient * (P X, X P, P X P or X)."""
        letters = self._x.factors(pauli)
        self._x.add([(c, _acting(letters, left, right)) for c, left, right in terms])
        self.classical_ops = self._x.ops


def _acting(letters: Factors, left: bool, right: bool) -> dict[int, np.ndarray]:
    """P X, X P, P X P or X, as matrices (4, 4) on the physical and the ancilla leg."""
    if not (left or right):
        return {}
    one = np.eye(2)
    return {q: np.kron(p if left else one, p.T if right else one) for q, p in letters.items()}
