"""The table of gates: each is a short sequence of Clifford gates (stim's names) and Pauli rotations.

A builder receives the gate's angles and returns its steps in circuit order, on local qubits 0, 1, ...: the first qubit
the user names is local qubit 0, controls come before targets. Steps are right up to a global phase, which no
expectation value sees; the gate is the matrix of its formula, phase included, and `quprop.model.exact` has that phase
for controls, under which it counts. A new gate is one line of `GATES`; `python tools/gate_stubs.py` then tells editors
of it.
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
    """An entry of `GATES`; what: the gate as a formula, of its angles as the builder calls them. XY is X on the first
    qubit and Y on the second."""

    n_angles: int
    n_qubits: int
    what: str
    builder: Callable[..., Steps]


def _fixed(name: str, what: str, n_qubits: int = 1) -> Gate:
    steps = (Clifford(name, tuple(range(n_qubits))),)
    return Gate(0, n_qubits, what, lambda: steps)


def _turn(pauli: str) -> Gate:
    return Gate(1, len(pauli), f"exp(-i angle {pauli} / 2)", lambda angle: (LocalRotation(pauli, angle),))


def _constant(pauli: str, what: str, angle: float) -> Gate:
    steps = (LocalRotation(pauli, as_angle(angle)),)
    return Gate(0, len(pauli), what, lambda: steps)


def _controlled(pauli: str) -> Gate:
    # exp(-i a/2 (1-Z)/2 P) = exp(-i a/4 P) exp(+i a/4 Z P)
    def steps(angle: Angle) -> Steps:
        return LocalRotation("I" + pauli, angle / 2), LocalRotation("Z" + pauli, angle / -2)

    return Gate(1, 2, f"controlled exp(-i angle {pauli} / 2)", steps)


def _phase(angle: Angle) -> Steps:
    return (LocalRotation("Z", angle),)


def _controlled_phase(angle: Angle) -> Steps:
    return LocalRotation("ZI", angle / 2), LocalRotation("IZ", angle / 2), LocalRotation("ZZ", angle / -2)


def _u(theta: Angle, phi: Angle, lam: Angle) -> Steps:
    return LocalRotation("Z", lam), LocalRotation("Y", theta), LocalRotation("Z", phi)


def _ecr() -> Steps:
    # (X0 - Y0 X1)/sqrt(2) = X0 exp(-i pi/4 Z0 X1)
    return LocalRotation("ZX", as_angle(math.pi / 2)), Clifford("X", (0,))


def _doubly_controlled(last: str) -> Gate:
    # exp(i pi (1-Z0)(1-Z1)(1-P2)/8), multiplied out: odd products turn by pi/4, even ones by -pi/4
    strings = ["ZII", "IZI", "II" + last, "ZZI", "ZI" + last, "IZ" + last, "ZZ" + last]
    steps = tuple(LocalRotation(p, as_angle(math.pi / 4 * (1 if (3 - p.count("I")) % 2 else -1))) for p in strings)
    return Gate(0, 3, f"doubly controlled {last}", lambda: steps)


_U = "[[cos(theta/2), -exp(i lam) sin(theta/2)], [exp(i phi) sin(theta/2), exp(i (phi + lam)) cos(theta/2)]]"

GATES: dict[str, Gate] = {
    "x": _fixed("X", "[[0, 1], [1, 0]]"),
    "y": _fixed("Y", "[[0, -i], [i, 0]]"),
    "z": _fixed("Z", "diag(1, -1)"),
    "h": _fixed("H", "(X + Z) / sqrt(2)"),
    "s": _fixed("S", "diag(1, i)"),
    "sdg": _fixed("S_DAG", "diag(1, -i)"),
    "sx": _fixed("SQRT_X", "[[1 + i, 1 - i], [1 - i, 1 + i]] / 2"),
    "sxdg": _fixed("SQRT_X_DAG", "[[1 - i, 1 + i], [1 + i, 1 - i]] / 2"),
    "t": _constant("Z", "diag(1, exp(i pi/4))", math.pi / 4),
    "tdg": _constant("Z", "diag(1, exp(-i pi/4))", -math.pi / 4),
    "cx": _fixed("CX", "controlled X", 2),
    "cy": _fixed("CY", "controlled Y", 2),
    "cz": _fixed("CZ", "controlled Z", 2),
    "swap": _fixed("SWAP", "(II + XX + YY + ZZ) / 2", 2),
    "iswap": _fixed("ISWAP", "exp(i pi/4 (XX + YY))", 2),
    "ecr": Gate(0, 2, "(XI - YX) / sqrt(2)", _ecr),
    "rx": _turn("X"),
    "ry": _turn("Y"),
    "rz": _turn("Z"),
    "p": Gate(1, 1, "diag(1, exp(i angle))", _phase),  # RZ up to a global phase
    "u": Gate(3, 1, _U, _u),
    "rxx": _turn("XX"),
    "ryy": _turn("YY"),
    "rzz": _turn("ZZ"),
    "rzx": _turn("ZX"),
    "crx": _controlled("X"),
    "cry": _controlled("Y"),
    "crz": _controlled("Z"),
    "cp": Gate(1, 2, "controlled diag(1, exp(i angle))", _controlled_phase),
    "ccx": _doubly_controlled("X"),
    "ccz": _doubly_controlled("Z"),
}
