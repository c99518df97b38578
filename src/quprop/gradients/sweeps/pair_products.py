"""The pair state as matrix products: more qubits than a vector has room for, where circuits entangle little.

Nothing acts on the register of terms: given the term, a copy is a state of n + 1 qubits of its own, and expectation
values are the means over terms. So each term has a matrix product, entangled as far as its light cone goes, with the
ancilla in the middle of what the term acts on: strings Y_anc P_m are then short where they matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import reverse_cuthill_mckee

from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.simulate.matrix_product import MatrixProductState

BOND_DIMENSION = 64
CUTOFF = 1e-9  # of singular values: a thousand cuts of states this far apart are 1e-6


class PairProducts:
    """A `RotatingState`: the mixture of `states` of n + 1 qubits each, with `weights` that add up to 1."""

    def __init__(self, weights: Sequence[float], states: Sequence[MatrixProductState]) -> None:
        self.weights, self.states = tuple(weights), tuple(states)

    @staticmethod
    def required_bytes(n: int, terms: int, bond_dimension: int) -> int:
        """Of all terms' states of n qubits, twice (a batch is another), with the workspace of one sum before it is
        cut."""
        largest = min(bond_dimension, 2 ** (n // 2))
        return 16 * largest**2 * (2 * 2 * n * terms + 8 * n + 64)

    @classmethod
    def at_the_end(
        cls,
        model: Model,
        rotations: Sequence[PauliString],
        a: np.ndarray,
        terms: Sequence[PauliString],
        u: np.ndarray,
        line: Sequence[int],
        bond_dimension: int,
    ) -> PairProducts:
        """(|0> U|phi> + |1> O_t U|phi>)/sqrt(2) for the terms with u_t not 0, weighted by |u_t|, their signs in O_t.

        rotations (M,) with angles a (M,) on a basis or product state; line: the order of qubits, that of the ancilla,
        the last, disregarded.
        """
        n = model.n_qubits
        system = [q for q in line if q < n]
        if model.state.kind == "product":
            rows = model.state.array
        else:
            rows = np.eye(2)[[model.state.index >> q & 1 for q in range(n)]]
        state = MatrixProductState.product(rows, bond_dimension, CUTOFF, system)
        for pauli, angle in zip(rotations, a, strict=True):
            state.rotate(pauli, float(angle))
        used = np.flatnonzero(u).tolist()
        found = []
        for t in used:
            term = terms[t] if u[t] > 0 else -terms[t]
            one = state.with_qubit(n, _middle(system, [term]), np.sqrt([0.5, 0.5]))
            one.control(n, term)
            found.append(one)
        sizes = np.abs(u[used])
        return cls((sizes / sizes.sum()).tolist(), found)

    @property
    def n(self) -> int:
        return self.states[0].n

    @property
    def bond_dimension(self) -> int:
        return self.states[0].bond_dimension

    @property
    def bonds(self) -> int:
        """The largest bond dimension there is."""
        return max(max(s.bonds) for s in self.states)

    @property
    def truncation(self) -> float:
        """No expectation value of a string is further from that without cuts."""
        return sum(w * s.truncation for w, s in zip(self.weights, self.states, strict=True))

    def rotate(self, pauli: PauliString, angle: float) -> None:
        for state in self.states:
            state.rotate(pauli, angle)

    def mean(self, pauli: PauliString) -> float:
        return sum(w * s.mean(pauli) for w, s in zip(self.weights, self.states, strict=True))

    def copy(self) -> PairProducts:
        return PairProducts(self.weights, [s.copy() for s in self.states])


def line_of(rotations: Sequence[PauliString], terms: Sequence[PauliString], n: int) -> tuple[int, ...]:
    """Qubits 0...n-1 in an order in which rotations are short, and the ancilla, qubit n, in the middle of the terms.

    As they are numbered, or by reverse Cuthill-McKee on the graph of qubits that share a rotation: the shorter in all.
    """
    supports = {p.x | p.z: p.qubits for p in rotations}.values()
    pairs = [(s[0], q) for s in supports for q in s[1:]]
    i, j = np.array(pairs or [(0, 0)]).T
    graph = sp.csr_array((np.ones(len(i)), (i, j)), (n, n))
    moved = reverse_cuthill_mckee(sp.csr_array(graph + graph.T), symmetric_mode=True)
    position = np.argsort(moved)
    plain = sum(s[-1] - s[0] for s in supports if s)
    short = sum(int(np.ptp(position[list(s)])) for s in supports if s)
    line = moved.tolist() if short < plain else list(range(n))
    line.insert(_middle(line, terms), n)
    return tuple(line)


def _middle(line: Sequence[int], terms: Sequence[PauliString]) -> int:
    """The site next to which as much of the terms is on the left as on the right."""
    site_of = {qubit: site for site, qubit in enumerate(line)}
    sites = sorted(site_of[q] for p in terms for q in p.qubits)
    return sites[len(sites) // 2] if sites else 0
