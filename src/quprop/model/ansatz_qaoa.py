"""Circuits of the quantum approximate optimisation algorithm: a diagonal cost and a mixer, one angle each a layer.

The convention of all of them: a cost E is minimised, C = -E is maximised, and a layer is exp(-i gamma C) and then
exp(-i beta B), so gamma and beta are those of Farhi et al., both positive where they are good. All rotations of the
cost in a layer share gamma, those of the mixer beta.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from quprop.errors import QupropError, nearest, whole
from quprop.model.angle import params
from quprop.model.ansatz_room import require_room
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum

MIXERS = ("complete", "ring")


def qaoa(n: int, edges: Iterable[Sequence[float]] | PauliSum, layers: int) -> Circuit:
    """QAOA: from |+>^n, layers of exp(-i gamma C) and exp(-i beta sum_q X_q).

    edges: those of MaxCut, pairs (i, j) or triples (i, j, weight), C = sum w_ij (1 - Z_i Z_j) / 2 being the weight cut;
        or any sum E of products of Z that is to be minimised, C = -E.
    Parameters: two vectors, gamma[layer] and then beta[layer].

    Reference: Farhi, Goldstone, Gutmann, arXiv:1411.4028 (2014).
    """
    n, layers = whole("n", n, 1), whole("layers", layers, 0)
    total, turn = (_diagonal(n, edges), -2) if isinstance(edges, PauliSum) else (_cut(n, edges), -1)
    mixer = PauliSum({PauliString(1 << q, 0): 1.0 for q in range(n)})
    require_room("layers", layers, len(total) + n)
    gamma, beta = params("gamma", layers), params("beta", layers)
    circuit = Circuit(n, np.full((n, 2), math.sqrt(0.5)), params=[gamma, beta])
    for layer in range(layers):
        circuit.exp(total, turn * gamma[layer]).exp(mixer, 2 * beta[layer])
    return circuit


def qaoa_xy(n: int, cost: PauliSum, layers: int, ones: int, mixer: str = "complete") -> Circuit:
    """QAOA among the bit strings with so many ones: from the Dicke state, layers of exp(-i gamma C) and XY mixers.

    The mixer is the product of exp(-i beta (X_p X_q + Y_p Y_q) / 2) over pairs, which moves a one from p to q and keeps
    their number: "ring": (0, 1), (2, 3), ..., then (1, 2), (3, 4), ..., and (n-1, 0), which comes alone where n is odd;
    "complete": all pairs, in rounds of disjoint ones.
    cost: a sum E of products of Z that is to be minimised, C = -E.
    Parameters: two vectors, gamma[layer] and then beta[layer].

    Reference: Hadfield et al., Algorithms 12, 34 (2019), arXiv:1709.03489; Cook, Eidenbenz, Bärtschi, IEEE QCE 2020,
    arXiv:1910.13483.
    """
    n, layers = whole("n", n, 1), whole("layers", layers, 0)
    if mixer not in MIXERS:
        raise QupropError(f"there is no XY mixer {mixer!r}; {nearest(str(mixer), MIXERS)}")
    total = _diagonal(n, cost)
    rounds = [_hopping(pairs) for pairs in (_ring_rounds(n) if mixer == "ring" else _all_rounds(n)) if pairs]
    require_room("layers", layers, len(total) + sum(map(len, rounds)))
    gamma, beta = params("gamma", layers), params("beta", layers)
    circuit = Circuit(n, params=[gamma, beta]).append(dicke_state(n, ones))
    for layer in range(layers):
        circuit.exp(total, -2 * gamma[layer])
        for pairs in rounds:
            circuit.exp(pairs, beta[layer])
    return circuit


def dicke_state(n: int, ones: int) -> Circuit:
    """The equal superposition of all bit strings of n bits with so many ones, by rotations that keep their number.

    From 0...01...1, blocks on the first m = n, n-1, ..., 2 qubits split off qubit m-1, which is one with probability
    l/m where l ones are left: one rotation of two qubits and ones - 1 of two qubits under a control. No parameters.

    Reference: Bärtschi, Eidenbenz, FCT 2019, arXiv:1904.07358.
    """
    n, ones = whole("n", n, 1), whole("ones", ones, 0)
    if ones > n:
        raise QupropError(f"a Dicke state of {n} qubits has from 0 to {n} ones, got {ones}")
    require_room("ones", max(ones, 1), 4 * n)
    circuit = Circuit(n)
    for q in range(n - ones, n):
        circuit.x(q)
    for m in range(n, 1, -1):
        last = m - 1
        for left in range(1, min(ones, m - 1) + 1):
            # |0 at `low`, 1 at `last`> to sqrt(left/m) of itself and the rest with the two exchanged, if `low + 1` is 1
            low, angle = last - left, math.acos(math.sqrt(left / m))
            circuit.exp(_exchange(low, last, None if left == 1 else low + 1), -2 * angle)
    return circuit


def _exchange(a: int, b: int, control: int | None) -> PauliSum:
    """(X_a Y_b - Y_a X_b) / 2, times the projector on one of the control."""
    x = 1 << a | 1 << b
    signs = {1 << b: 0.5, 1 << a: -0.5}
    if control is not None:
        signs = {z | c: w * s / 2 for z, w in signs.items() for c, s in ((0, 1), (1 << control, -1))}
    return PauliSum({PauliString(x, z): w for z, w in signs.items()})


def _hopping(pairs: Iterable[tuple[int, int]]) -> PauliSum:
    """sum X_p X_q + Y_p Y_q."""
    masks = [1 << p | 1 << q for p, q in pairs]
    return PauliSum({PauliString(x, z): 1.0 for x in masks for z in (0, x)})


def _ring_rounds(n: int) -> Iterator[list[tuple[int, int]]]:
    """The pairs of a ring in rounds of disjoint ones; of two qubits there is one pair."""
    ring = [(q, (q + 1) % n) for q in range(n if n > 2 else n - 1)]
    alone = [ring.pop()] if n % 2 and n > 2 else []
    yield from (ring[::2], ring[1::2], alone)


def _all_rounds(n: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs in rounds of disjoint ones: qubits on a circle that turns about the last."""
    even = n + n % 2
    for turn in range(even - 1):
        circle = [(turn + k) % (even - 1) for k in range(even - 1)]
        pairs = [(circle[0], even - 1), *((circle[k], circle[-k]) for k in range(1, even // 2))]
        yield [(min(p), max(p)) for p in pairs if max(p) < n]


def _cut(n: int, edges: Iterable[Sequence[float]]) -> PauliSum:
    """sum w_ij Z_i Z_j: minus twice the weight cut, up to a constant."""
    cost: dict[PauliString, float] = {}
    for edge in edges:
        if len(edge) not in (2, 3):
            raise QupropError(f"an edge is (i, j) or (i, j, weight), got {edge!r}")
        i, j = (whole("a vertex", v, 0) for v in edge[:2])
        if i == j or max(i, j) >= n:
            raise QupropError(f"an edge joins two different vertices from 0 to {n - 1}, got {tuple(edge)!r}")
        string = PauliString(0, 1 << i | 1 << j)
        cost[string] = cost.get(string, 0.0) + (edge[2] if len(edge) == 3 else 1.0)
    return PauliSum(cost)


def _diagonal(n: int, cost: PauliSum) -> PauliSum:
    """The cost without its constant, a global phase; refused where it is no function of n bits."""
    if not isinstance(cost, PauliSum) or any(p.x for p, _ in cost.items()) or cost.n_qubits > n:
        raise QupropError(f"a cost of QAOA is a PauliSum of products of Z on qubits 0 to {n - 1}, got {str(cost)[:60]}")
    return PauliSum({p: c for p, c in cost.items() if p.z})
