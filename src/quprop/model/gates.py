"""The table of gates: each is a short sequence of Clifford gates (stim's names) and Pauli rotations.

A builder receives the gate's angles and returns its steps in circuit order, on local qubits 0, 1, ...: the first qubit
the user names is local qubit 0, controls come before targets. Gates are right up to a global phase, which no
expectation value sees. A new gate is one line of `GATES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from quprop.model.angle import Angle, as_angle


class Clifford(NamedTuple):
    """A Clifford gate under stim's name, on local qubits."""

    name: str
    qubits: tuple[int, ...]


class LocalRotation(NamedTuple):
    """exp(-i angle P / 2) with P written densely on the local qubits, local qubit 0 on the left."""

    pauli: str
    angle: Angle


Steps = tuple[Clifford | LocalRotation, ...]


class Gate(NamedTuple):
    n_angles: int
    n_qubits: int
    builder: Callable[..., Steps]


def _fixed(name: str, n_qubits: int = 1) -> Gate:
    steps = (Clifford(name, tuple(range(n_qubits))),)
    return Gate(0, n_qubits, lambda: steps)


def _turn(pauli: str) -> Gate:
    return Gate(1, len(pauli), lambda a: (LocalRotation(pauli, a),))


def _constant(pauli: str, angle: float) -> Gate:
    steps = (LocalRotation(pauli, as_angle(angle)),)
    return Gate(0, len(pauli), lambda: steps)


def _controlled(pauli: str) -> Gate:
    # exp(-i a/2 (1-Z)/2 P) = exp(-i a/4 P) exp(+i a/4 Z P)
    return Gate(1, 2, lambda a: (LocalRotation("I" + pauli, a / 2), LocalRotation("Z" + pauli, a / -2)))


def _ecr() -> Steps:
    # (X0 - Y0 X1)/sqrt(2) = X0 exp(-i pi/4 Z0 X1)
    return LocalRotation("ZX", as_angle(math.pi / 2)), Clifford("X", (0,))


def _doubly_controlled(last: str) -> Gate:
    # exp(i pi (1-Z0)(1-Z1)(1-P2)/8), multiplied out: odd products turn by pi/4, even ones by -pi/4
    strings = ["ZII", "IZI", "II" + last, "ZZI", "ZI" + last, "IZ" + last, "ZZ" + last]
    steps = tuple(LocalRotation(p, as_angle(math.pi / 4 * (1 if (3 - p.count("I")) % 2 else -1))) for p in strings)
    return Gate(0, 3, lambda: steps)


GATES: dict[str, Gate] = {
    "x": _fixed("X"),
    "y": _fixed("Y"),
    "z": _fixed("Z"),
    "h": _fixed("H"),
    "s": _fixed("S"),
    "sdg": _fixed("S_DAG"),
    "sx": _fixed("SQRT_X"),
    "sxdg": _fixed("SQRT_X_DAG"),
    "t": _constant("Z", math.pi / 4),
    "tdg": _constant("Z", -math.pi / 4),
    "cx": _fixed("CX", 2),
    "cy": _fixed("CY", 2),
    "cz": _fixed("CZ", 2),
    "swap": _fixed("SWAP", 2),
    "iswap": _fixed("ISWAP", 2),
    "ecr": Gate(0, 2, _ecr),
    "rx": _turn("X"),
    "ry": _turn("Y"),
    "rz": _turn("Z"),
    "p": _turn("Z"),  # diag(1, e^{i a}) is RZ up to a global phase
    "u": Gate(3, 1, lambda a, phi, lam: (LocalRotation("Z", lam), LocalRotation("Y", a), LocalRotation("Z", phi))),
    "rxx": _turn("XX"),
    "ryy": _turn("YY"),
    "rzz": _turn("ZZ"),
    "rzx": _turn("ZX"),
    "crx": _controlled("X"),
    "cry": _controlled("Y"),
    "crz": _controlled("Z"),
    "cp": Gate(1, 2, lambda a: (LocalRotation("ZI", a / 2), LocalRotation("IZ", a / 2), LocalRotation("ZZ", a / -2))),
    "ccx": _doubly_controlled("X"),
    "ccz": _doubly_controlled("Z"),
}
