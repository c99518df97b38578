"""IQP circuits: rotations about products of X on |0...0>, measured in the computational basis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, whole
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.x_rotations import Subsets

_MOST_GATES = 10**8


def iqp(
    n: int, gates: int | Sequence[Sequence[int]] | Subsets = 2, *, spin_flip: bool = False, hidden: int = 0
) -> Circuit:
    """An IQP circuit: exp(-i theta_g X_g) for every subset g of qubits in `gates`, X_g the product of X over g.

    Its expectation values of Z_a = product of Z over a are <Z_a> = E_s cos(2 sum_{g: |g & a| odd} theta_g prod_{i in g}
    s_i), the mean over uniform signs s, so it is trained on a classical computer, while its samples are hard to draw.

    n: qubits that are measured, 0 to n - 1. hidden: further qubits, n to n + hidden - 1, that gates act on too.
    gates: a weight w for all subsets of at most w qubits in order of size (2: n(n + 1)/2 parameters), or the subsets
        themselves, such as those of `graph_gates` and `covariance_gates`.
    spin_flip: one more qubit, the last, is a coin that flips all measured bits, so that the distribution is that of the
        circuit made symmetric: <Z_a> is 0 for odd |a|, and as before for even |a|.
    Parameters: theta[gate].

    >>> circuit = iqp(4, gates=2)

    Reference: Recio-Armengol, Ahmed, Bowles, arXiv:2503.02934 (2025); Shepherd, Bremner, Proc. R. Soc. A 465, 1413
    (2009), arXiv:0809.0847.
    """
    n, hidden = whole("n", n, 1), whole("hidden", hidden, 0)
    total = n + hidden
    if isinstance(gates, Subsets):
        subsets = gates
    elif isinstance(gates, Iterable):
        subsets = Subsets.of(list(gates), total, "gates")
    else:
        subsets = all_gates(total, whole("gates", gates, 1))
    if len(subsets.qubits) and subsets.qubits.max() >= total:
        raise QupropError(f"gates name qubit {subsets.qubits.max()}, but there are qubits 0 to {total - 1}")
    theta = params("theta", len(subsets))
    circuit = Circuit(total + bool(spin_flip), params=theta).x_rotations(subsets, theta, 2.0)
    if spin_flip:
        circuit.h(total)
        for q in range(n):
            circuit.cx(total, q)
    return circuit


def all_gates(n: int, weight: int) -> Subsets:
    """All subsets of 1, ..., weight of n qubits, by size and then in lexicographic order."""
    count = sum(math.comb(n, k) for k in range(1, min(weight, n) + 1))
    if count > _MOST_GATES:
        raise QupropError(f"there are {count:.3g} subsets of up to {weight} of {n} qubits; take a smaller weight")
    sizes, parts = [], []
    for k in range(1, min(weight, n) + 1):
        if k == 1:
            block = np.arange(n)[:, None]
        elif k == 2:
            block = np.stack(np.triu_indices(n, 1), axis=1)
        else:
            block = np.fromiter(itertools.chain.from_iterable(itertools.combinations(range(n), k)), np.int32)
            block = block.reshape(-1, k)
        sizes.append(np.full(len(block), k, np.int64))
        parts.append(block.astype(np.int32).ravel())
    ptr = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    return Subsets(ptr, np.concatenate(parts))


def graph_gates(n: int, edges: Iterable[Sequence[int]], weight: int = 2) -> Subsets:
    """All connected subsets of at most `weight` vertices of a graph on n qubits: its vertices, its edges, and so on."""
    neighbours: list[set[int]] = [set() for _ in range(whole("n", n, 1))]
    pairs = Subsets.of([list(edge) for edge in edges], n, "edges")
    if len(pairs) and (pairs.sizes != 2).any():
        raise QupropError("an edge joins two qubits; give pairs")
    for a, b in pairs.qubits.reshape(-1, 2).tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    level: set[tuple[int, ...]] = {(q,) for q in range(n)}
    found = sorted(level)
    for _ in range(1, whole("weight", weight, 1)):
        level = {tuple(sorted({*s, q})) for s in level for v in s for q in neighbours[v] if q not in s}
        found += sorted(level)
    return Subsets.of(found, n, "the graph")


def covariance_gates(data: Any, pairs: int) -> Subsets:
    """All single qubits, and the `pairs` pairs whose bits have the largest absolute covariance in data (m, n)."""
    table = checked("data", data, ("samples", "n")).astype(float)
    n = table.shape[1]
    first, second = np.triu_indices(n, 1)
    size = np.abs(np.cov(table, rowvar=False, bias=True).reshape(n, n)[first, second])
    chosen = np.sort(np.argsort(-size, kind="stable")[: whole("pairs", pairs, 0)])
    edges = np.stack([first[chosen], second[chosen]], axis=1).tolist()
    return Subsets.of([[q] for q in range(n)] + edges, n, "data")
