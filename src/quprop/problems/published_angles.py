"""Angles of QAOA that were published once and for all for a kind of cost, to start from.

Convention, as in `quprop.model.ansatz_qaoa`: a cost E is minimised and a layer is exp(+i gamma E), then
exp(-i beta sum_q X_q). `data/qaoa_angles.json` has three tables, beta as it is and gamma for

    regular_3   E = -(edges cut), 3-regular graphs: what is reached on a graph without short cycles is a lower bound of
                what is reached on any (a conjecture, and proved for one and two layers)
    infinite    E = -sum_{j<k} J_jk s_j s_k / sqrt(n), J of mean 0 and variance 1, n without end; the same angles are
                those of MaxCut where all degrees are large
    labs        E / 2 times n, E the energy of low-autocorrelation binary sequences of n spins, trained for the
                probability of the best ones

Signs and multiples of pi/2 are chosen such that all angles are positive and least; nothing that is measured sees that.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model.pauli import PauliSum


class Angles(NamedTuple):
    """gamma and beta of each layer, and who published them."""

    gamma: np.ndarray
    beta: np.ndarray
    source: str


def table(kind: str, layers: int) -> Angles:
    """The angles of `kind` for so many layers, as the table has them."""
    known = _tables()[kind]
    if not layers:
        return Angles(np.zeros(0), np.zeros(0), known["source"])
    if str(layers) not in known["angles"]:
        raise QupropError(
            f"published angles of this cost are known for 1 to {len(known['angles'])} layers, got {layers}: set "
            "start=ramp or fewer layers"
        )
    found = known["angles"][str(layers)]
    return Angles(np.array(found["gamma"]), np.array(found["beta"]), known["source"])


def of_pairs(cost: PauliSum, layers: int) -> Angles:
    """Of a sum of c_ij Z_i Z_j: those of 3-regular graphs where all degrees are 3 and all c_ij equal and positive, as
    those of cuts are; else those of large degree, with

        gamma arctan(1 / sqrt(d - 1)) / rms(c),

    d being the mean degree: gamma is exact for one layer on regular graphs without triangles, and the root mean square
    takes the weights out (Sureshbabu et al., Quantum 8, 1231 (2024), arXiv:2305.15201).
    """
    pairs = [(p.z, c) for p, c in cost.items() if p.z]
    if not pairs or any(z.bit_count() != 2 for z, _ in pairs):
        raise QupropError("published angles are those of pairs of spins, and this cost has other terms: set start=ramp")
    met = np.array([[(z & -z).bit_length(), z.bit_length()] for z, _ in pairs])
    c = np.array([value for _, value in pairs])
    degrees = np.bincount(met.ravel())
    degrees = degrees[degrees > 0]
    if (degrees == 3).all() and (c == c[0]).all() and c[0] > 0:
        found = table("regular_3", layers)
        return found._replace(gamma=found.gamma / (2 * c[0]))  # an edge cut is a half of 1 - Z Z
    found = table("infinite", layers)
    turn = np.arctan2(1.0, np.sqrt(degrees.mean() - 1)) / np.sqrt(np.mean(c**2))
    return found._replace(gamma=found.gamma * turn)


def of_sequences(n: int, layers: int) -> Angles:
    """Of low-autocorrelation binary sequences of n spins."""
    found = table("labs", layers)
    return found._replace(gamma=found.gamma / n)


@cache
def _tables() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(
        files("quprop.problems").joinpath("data/qaoa_angles.json").read_text(encoding="utf-8")
    )
    return read
