"""Circuit -> rotations: the Clifford gates are pushed to the end and into the observables.

With C the product of the Clifford gates so far, a rotation R = exp(-i a P / 2) after C is C exp(-i a T(P) / 2), where
T(P) = C† P C. So one tableau T is kept; a new Clifford gate c turns T into T after (c† . c), that is, stim's
`T.prepend(c^-1)`; each rotation is read through T once. The work is linear in the circuit's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import stim

from quprop.angle import Angle, Variable, quarter_turns
from quprop.circuit import Circuit
from quprop.collector import paused
from quprop.gates import GATES, Clifford
from quprop.pauli import PauliString, PauliSum

_CLIFFORD_TOLERANCE = 1e-12  # a constant angle this close to a multiple of pi/2 counts as one
_NAME = {(1, 0): 1, (1, 1): 2, (0, 1): 3}  # stim's numbers for X, Y, Z


class Rotation(NamedTuple):
    """R = exp(-i angle P / 2) with P = i^|x & z| X^x Z^z, the Hermitian string with a plus sign."""

    x: int
    z: int
    angle: Angle


@paused()
def absorb(circuit: Circuit, flat: Callable[[Variable], Variable]) -> tuple[tuple[Rotation, ...], stim.Tableau]:
    """All rotations of the circuit, and the tableau of T(P) = C† P C for its whole Clifford part C.

    flat(variable) gives a variable its place in the flat theta or x.
    """
    n = circuit.n_qubits
    tableau = stim.Tableau(n)
    plain = True  # no Clifford gate so far: T is the identity
    rotations: list[Rotation] = []
    for x, z, angle, clifford, qubits in _steps(circuit):
        if clifford is not None:
            tableau.prepend(clifford, qubits)
            plain = False
            continue
        if x == 0 and z == 0:
            continue  # a global phase
        if angle.is_constant:
            quarters = quarter_turns(angle.constant, _CLIFFORD_TOLERANCE)
            if quarters is not None:
                if quarters:
                    _prepend_turn(tableau, PauliString(x, z), quarters)
                    plain = False
                continue
        sign = 1.0
        if not plain:
            x, z, sign = conjugate(tableau, n, x, z)
        rotations.append(Rotation(x, z, angle.relabel(flat, sign)))
    return tuple(rotations), tableau


def conjugate(tableau: stim.Tableau, n: int, x: int, z: int) -> tuple[int, int, float]:
    """(x', z', sign) of T(P) for the positive Hermitian string with masks x, z."""
    support = x | z
    if support == 0:
        return 0, 0, 1.0
    if support & (support - 1) == 0:  # one qubit: a column of the tableau
        qubit = support.bit_length() - 1
        image = (tableau.z_output if not x else tableau.y_output if z else tableau.x_output)(qubit)
    else:
        size = (n + 7) // 8
        image = tableau(
            stim.PauliString.from_numpy(
                xs=np.frombuffer(x.to_bytes(size, "little"), np.uint8),
                zs=np.frombuffer(z.to_bytes(size, "little"), np.uint8),
                num_qubits=n,
            )
        )
    xs, zs = image.to_numpy(bit_packed=True)
    sign = 1.0 if image.sign == 1 else -1.0
    return int.from_bytes(xs, "little"), int.from_bytes(zs, "little"), sign


def conjugate_sum(tableau: stim.Tableau, n: int, total: PauliSum) -> PauliSum:
    """C† O C, term by term."""
    terms = {}
    for string, coefficient in total.items():
        x, z, sign = conjugate(tableau, n, string.x, string.z)
        terms[PauliString(x, z)] = sign * coefficient
    return PauliSum(terms)


def _steps(circuit: Circuit) -> Iterator[tuple[int, int, Angle, stim.Tableau | None, tuple[int, ...]]]:
    """The circuit as rotations (x, z, angle, None, -) and Clifford gates c (0, 0, -, c^-1, qubits)."""
    nothing = Angle()
    for name, angles, target in circuit.operations:
        if isinstance(target, PauliString):
            yield target.x, target.z, angles[0], None, ()
        elif isinstance(target, PauliSum):
            for string, coefficient in target.items():
                yield string.x, string.z, coefficient * angles[0], None, ()
        else:
            for step in GATES[name].builder(*angles):
                if isinstance(step, Clifford):
                    yield 0, 0, nothing, _inverse(step.name), tuple(map(target.__getitem__, step.qubits))
                else:
                    x, z = _masks(step.pauli, target)
                    yield x, z, step.angle, None, ()


@lru_cache(maxsize=1 << 14)
def _masks(pauli: str, qubits: tuple[int, ...]) -> tuple[int, int]:
    """(x, z) of a dense string on the given qubits."""
    x = z = 0
    for letter, qubit in zip(pauli, qubits, strict=True):
        if letter == "X" or letter == "Y":
            x |= 1 << qubit
        if letter == "Z" or letter == "Y":
            z |= 1 << qubit
    return x, z


def _prepend_turn(tableau: stim.Tableau, pauli: PauliString, quarters: int) -> None:
    """T -> T after (R† . R) for R = exp(-i quarters (pi/4) P)."""
    letters = tuple(_NAME[pauli.x >> q & 1, pauli.z >> q & 1] for q in pauli.qubits)
    tableau.prepend(_turn_back(letters, quarters), pauli.qubits)


@lru_cache(maxsize=1024)
def _turn_back(letters: tuple[int, ...], quarters: int) -> stim.Tableau:
    # SPP is exp(-i pi/4 P) up to a phase, so its dagger is a quarter turn back.
    product: list[stim.GateTarget] = []
    for qubit, letter in enumerate(letters):
        product += [stim.target_pauli(qubit, letter), stim.target_combiner()]
    circuit = stim.Circuit()
    for _ in range(quarters):
        circuit.append("SPP_DAG", product[:-1])
    return circuit.to_tableau()


@cache
def _inverse(name: str) -> stim.Tableau:
    return stim.Tableau.from_named_gate(name).inverse()
