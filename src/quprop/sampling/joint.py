"""The Clifford circuit after which a set of commuting Pauli strings is diagonal, so that one shot reads them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import stim

from quprop.model.absorption import conjugate
from quprop.model.pauli import PauliString


def independent(paulis: Sequence[PauliString]) -> list[PauliString]:
    """A subset whose products give all the others up to sign, the first ones first (Gaussian elimination on masks)."""
    pivots: dict[int, int] = {}
    chosen = []
    for p in paulis:
        shift = max((q.n_qubits for q in paulis), default=0)
        row = p.x << shift | p.z
        while row:
            top = row.bit_length()
            if top not in pivots:
                pivots[top] = row
                chosen.append(p)
                break
            row ^= pivots[top]
    return chosen


def diagonalise(paulis: Sequence[PauliString], n: int) -> tuple[stim.Tableau, np.ndarray, np.ndarray]:
    """D with D P_l D† = signs[l] Z^masks[l] for every string: the tableau, masks (L,) and ±1 signs (L,).

    The masks are int64, and whole numbers of Python for more qubits than an int64 has bits, of which there is no state
    that they could be read from.
    """
    generators = [stim.PauliString(p.dense(n)) for p in independent(paulis)]
    if generators:
        tableau = stim.Tableau.from_stabilizers(generators, allow_underconstrained=True).inverse()
    else:
        tableau = stim.Tableau(n)
    images = [conjugate(tableau, n, p.x, p.z) for p in paulis]
    assert all(x == 0 for x, _, _ in images), "the strings do not commute"
    masks = np.array([z for _, z, _ in images], np.int64 if n < 64 else object)
    return tableau, masks, np.array([sign * p.sign for (_, _, sign), p in zip(images, paulis, strict=True)])
