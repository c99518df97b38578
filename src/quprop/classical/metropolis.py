"""Metropolis chains of an Ising model on any graph, all chains at once.

    p(s) ~ exp(-E(s) / T),   E(s) = - sum_{i<j} J_ij s_i s_j - sum_i b_i s_i,   s_i = 2 x_i - 1 in {-1, +1}

A positive J_ij favours equal bits, a positive b_i favours x_i = 1. A sweep proposes to flip each spin once, one after
the other, and does so with probability min(1, exp(-dE / T)), dE = 2 s_i (b_i + sum_j J_ij s_j): each proposal keeps p
(Metropolis et al., J. Chem. Phys. 21, 1087 (1953)). The order of proposals is that of the colours of the graph. Spins
of one colour have no coupling, so that none of them enters the dE of another and proposing them together is proposing
them in turn: the chain is a single-spin one, and costs as many array operations as there are colours.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.arrays import checked
from quprop.errors import QupropError, generator_of, whole


def metropolis(
    couplings: Any,
    bias: Any,
    *,
    samples: int,
    thin: int,
    burn_in: int,
    rng: int | np.random.Generator,
    chains: int = 8,
    temperature: float = 1.0,
) -> np.ndarray:
    """Bits x of shape (chains, samples, n) in uint8: of each chain, the state after burn_in + thin, + 2 thin, ...
    sweeps.

    couplings: J (n, n), symmetric with a zero diagonal, dense or a SciPy sparse matrix. bias: b (n,). Chains start at
    uniformly random bits and share nothing but the generator. Below a transition chains keep to the phase that they
    fell into, however long they are: more of them, not longer ones, sample the phases.
    """
    generator = generator_of(rng)
    for name, number, least in (
        ("samples", samples, 1),
        ("thin", thin, 1),
        ("burn_in", burn_in, 0),
        ("chains", chains, 1),
    ):
        whole(name, number, least)
    if not (isinstance(temperature, int | float | np.number) and math.isfinite(temperature) and temperature > 0):
        raise QupropError(f"temperature must be a positive number, got {temperature!r}")
    matrix, field = _read(couplings, bias)
    n = len(field)
    colour = _colours(matrix)
    order = np.argsort(colour, kind="stable")
    ends = np.cumsum(np.bincount(colour))
    blocks = [
        (slice(a, b), matrix[order[a:b]][:, order] / -temperature * 2, field[order[a:b], None] / -temperature * 2)
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]
    spins = 2.0 * generator.integers(0, 2, size=(n, chains)) - 1.0
    place = np.argsort(order)
    found = np.empty((chains, samples, n), np.uint8)

    def sweep() -> None:
        random = generator.random((n, chains))
        for part, rows, field_part in blocks:
            exponent = rows @ spins
            exponent += field_part
            own = spins[part]
            exponent *= own  # -dE / T
            np.exp(np.minimum(exponent, 0.0, out=exponent), out=exponent)
            own[random[part] < exponent] *= -1.0

    for _ in range(burn_in):
        sweep()
    for k in range(samples):
        for _ in range(thin):
            sweep()
        found[:, k] = (spins[place] > 0).T
    return found


def _read(couplings: Any, bias: Any) -> tuple[sp.csr_array, np.ndarray]:
    dense = checked("couplings", couplings.toarray() if sp.issparse(couplings) else couplings, ("n", "n"))
    if dense.shape[0] != dense.shape[1] or not len(dense) or (dense != dense.T).any() or dense.diagonal().any():
        raise QupropError(
            f"couplings must be a symmetric (n, n) matrix with zeros on its diagonal, got one of shape {dense.shape} "
            "that is not; take (J + J.T) / 2 and put s_i s_i = 1 aside"
        )
    return sp.csr_array(dense), checked("bias", bias, (len(dense),))


def _colours(matrix: sp.csr_array) -> np.ndarray:
    """A colour for each vertex, other than its neighbours': greedily, from the vertex of most neighbours on."""
    colour = np.full(matrix.shape[0], -1)
    for v in np.argsort(-np.diff(matrix.indptr), kind="stable"):
        taken = set(colour[matrix.indices[matrix.indptr[v] : matrix.indptr[v + 1]]].tolist())
        colour[v] = next(c for c in range(len(colour)) if c not in taken)
    return colour
