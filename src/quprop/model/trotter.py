"""Time evolution exp(-i t H) as rotations: exactly where all terms commute, else by a product formula.

H = sum_g H_g in groups of terms that commute, each of which evolves exactly. With U_g(s) = exp(-i s H_g), U_1 first,

    S_1(s) = U_m(s) ... U_1(s)
    S_2(s) = U_1(s/2) ... U_m(s) ... U_1(s/2)
    S_p(s) = S_{p-2}(u s)^2 S_{p-2}((1 - 4u) s) S_{p-2}(u s)^2,  u = 1/(4 - 4^{1/(p-1)})

and exp(-i t H) = S_p(t/r)^r + O(t^{p+1}/r^p) (Suzuki, J. Math. Phys. 32, 400 (1991)). Neighbours of one group
are merged.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from quprop.errors import QupropError, nearest, shown
from quprop.model.angle import Angle, as_angle
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.pauli_operator import PauliTerms

GROUPINGS = ("commuting", "given")
MAX_ROTATIONS = 1 << 22  # of one evolution
Term = tuple[PauliString, Angle]


def evolution(
    hamiltonian: Any, time: Any, order: Any, steps: Any, grouping: str, n_qubits: int
) -> Iterator[tuple[PauliString, Angle]]:
    """The rotations exp(-i angle P/2) of exp(-i time H), in circuit order; everything is checked before the first."""
    check_formula(order, steps)
    try:
        t = as_angle(time)
    except QupropError:
        raise QupropError(
            f"the time of an evolution is a finite real number or made from params and inputs, got {shown(time)}"
        ) from None
    parts = grouped(terms_of(hamiltonian, n_qubits), grouping)
    stages = formula(len(parts), order, steps, max(map(len, parts), default=0))
    turns = [[(string, 2.0 * (t * c)) for string, c in part] for part in parts]
    return (
        (string, weight * angle) for g, weight in stages for string, angle in turns[g] if angle.terms
    )  # no rotation by zero


def check_formula(order: Any, steps: Any) -> None:
    if not _whole(order) or order < 1 or (order > 1 and order % 2):
        raise QupropError(f"the order of a product formula is 1 or an even number, 2, 4, 6, ..., got {shown(order)}")
    if not _whole(steps) or steps < 1:
        raise QupropError(f"steps is a whole number from 1, got {shown(steps)}")


def _whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def terms_of(hamiltonian: Any, n_qubits: int) -> list[Term]:
    """The terms of H but the identity, a global phase; coefficients are numbers or made from params and inputs."""
    if isinstance(hamiltonian, str | PauliString | PauliTerms):
        hamiltonian = PauliSum(hamiltonian)
    if not isinstance(hamiltonian, Mapping | PauliSum):
        raise QupropError(
            f"a Hamiltonian is a PauliSum or a dictionary such as {{'Z0 Z1': 1.0, 'X0': theta[0]}}, "
            f"got {shown(hamiltonian)}"
        )
    merged: dict[PauliString, Angle] = {}
    for key, value in hamiltonian.items():
        if isinstance(value, Angle):
            ((string, sign),) = PauliSum({key: 1.0}).items()
            coefficient = sign * value
        else:
            read = PauliSum({key: value}).terms  # which refuses what is not real
            if not read:  # zero
                continue
            string, coefficient = read[0][0], Angle(read[0][1])
        merged[string] = merged.get(string, Angle(0.0)) + coefficient
    if not merged:
        raise QupropError("a Hamiltonian has at least one term that is not zero, got none")
    for string in merged:
        if string.n_qubits > n_qubits:
            raise QupropError(
                f"the Hamiltonian acts on qubit {string.n_qubits - 1}, but there are qubits 0 to {n_qubits - 1} only"
            )
    return [(string, c) for string, c in merged.items() if string.weight and c.terms]


def grouped(terms: Sequence[Term], grouping: str) -> list[list[Term]]:
    """One group where all commute; else each term in the first group that it commutes with, or alone as given."""
    if grouping not in GROUPINGS:
        raise QupropError(f"grouping is commuting or given, got {shown(grouping)}; {nearest(str(grouping), GROUPINGS)}")
    if not terms:
        return []
    if PauliSum({string: 1.0 for string, _ in terms}).commuting() is None:
        return [list(terms)]
    if grouping == "given":
        return [[term] for term in terms]
    groups: list[list[Term]] = []
    for term in terms:
        home = next((g for g in groups if all(term[0].commutes(other) for other, _ in g)), None)
        if home is None:
            groups.append(home := [])
        home.append(term)
    return groups


def formula(n_groups: int, order: int, steps: int, width: int = 1) -> list[tuple[int, float]]:
    """(group, share of the time) of S_order(t/steps)^steps in circuit order, neighbours of one group merged."""
    if n_groups < 2:
        return [(g, 1.0) for g in range(n_groups)]
    # compared in logarithms: an order of thousands has no number of rotations that could be written down
    level = np.log(2.0 * n_groups * max(width, 1)) + np.log(float(steps)) + np.log(5.0) * max(order // 2 - 1, 0)
    if level > np.log(2.0 * MAX_ROTATIONS):
        raise QupropError(
            f"an evolution has at most {MAX_ROTATIONS:,} rotations, got more with order {shown(order)} and "
            f"{shown(steps)} steps; take fewer steps or a lower order"
        )
    shares = [1.0]  # of the S_1 or S_2 that one step is made of
    for p in range(4, order + 1, 2):
        u = 1 / (4 - 4 ** (1 / (p - 1)))
        shares = [f * s for f in (u, u, 1 - 4 * u, u, u) for s in shares]
    forth = list(range(n_groups))
    sweep = [(g, 1.0) for g in forth] if order == 1 else [(g, 0.5) for g in (*forth, *reversed(forth))]
    merged: list[tuple[int, float]] = []
    for _ in range(steps):
        for share in shares:
            for g, part in sweep:
                weight = part * share / steps
                if merged and merged[-1][0] == g:
                    merged[-1] = (g, merged[-1][1] + weight)
                else:
                    merged.append((g, weight))
    return merged


__all__ = ["GROUPINGS", "check_formula", "evolution", "formula", "grouped", "terms_of"]
