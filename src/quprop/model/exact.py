"""Gates with their global phase, as e^{i phase} times Pauli rotations: what controls, inverses and powers act on.

`quprop.model.gates` leaves global phases out, which no expectation value sees; under a control they are relative
phases, so here they are kept. With C a control, and turns exp(-i a P / 2) in circuit order,

    controlled:  e^{i phase} -> e^{i phase/2} exp(-i (phase) Z_C / 2),   R_P(a) -> R_P(a/2) R_{Z_C P}(-a/2)
    inverse:     all signs turned, in reverse order
    power k:     k copies, or all angles times k where the turns commute
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from quprop.model.angle import Angle, as_angle
from quprop.model.gates import GATES, Clifford
from quprop.model.pauli import PauliString

_PI = math.pi


class Exact(NamedTuple):
    """e^{i phase} R_m ... R_1, with R = exp(-i angle P / 2) for every (P, angle) of `turns`, first one first."""

    phase: Angle
    turns: tuple[tuple[PauliString, Angle], ...]


_ROUNDING = 1e-12  # eigenphases this near to -pi, in half turns, are pi
_PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]]),
}
_MAX_STRINGS = 1000  # of one gate that is looked at for commuting

# stim's gates as (phase, ((letters on the local qubits, angle), ...)).
_CLIFFORDS: dict[str, tuple[float, tuple[tuple[str, float], ...]]] = {
    "X": (_PI / 2, (("X", _PI),)),
    "Y": (_PI / 2, (("Y", _PI),)),
    "Z": (_PI / 2, (("Z", _PI),)),
    "H": (_PI / 2, (("Z", _PI / 2), ("X", _PI / 2), ("Z", _PI / 2))),
    "S": (_PI / 4, (("Z", _PI / 2),)),
    "S_DAG": (-_PI / 4, (("Z", -_PI / 2),)),
    "SQRT_X": (_PI / 4, (("X", _PI / 2),)),
    "SQRT_X_DAG": (-_PI / 4, (("X", -_PI / 2),)),
    "CX": (_PI / 4, (("IX", _PI / 2), ("ZX", -_PI / 2), ("ZI", _PI / 2))),
    "CY": (_PI / 4, (("IY", _PI / 2), ("ZY", -_PI / 2), ("ZI", _PI / 2))),
    "CZ": (_PI / 4, (("IZ", _PI / 2), ("ZZ", -_PI / 2), ("ZI", _PI / 2))),
    "SWAP": (-_PI / 4, (("XX", -_PI / 2), ("YY", -_PI / 2), ("ZZ", -_PI / 2))),
    "ISWAP": (0.0, (("XX", -_PI / 2), ("YY", -_PI / 2))),
}

# Gates of `GATES` by what their inverses are, and what they are under one more control that is 1.
INVERSES = {"s": "sdg", "sdg": "s", "t": "tdg", "tdg": "t", "sx": "sxdg", "sxdg": "sx"}
OWN_INVERSES = frozenset({"x", "y", "z", "h", "cx", "cy", "cz", "swap", "ecr", "ccx", "ccz"})
TURNED_BACK = frozenset({"rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz", "cp"})
CONTROLLED = {
    "x": "cx", "y": "cy", "z": "cz", "rx": "crx", "ry": "cry", "rz": "crz", "p": "cp", "cx": "ccx", "cz": "ccz",
}  # fmt: skip


def _own_phase(name: str, angles: tuple[Angle, ...]) -> Angle:
    """The phase a gate's steps in `GATES` leave out, Cliffords being counted with theirs."""
    if name in ("t", "tdg"):
        return as_angle(_PI / 8 if name == "t" else -_PI / 8)
    if name in ("ccx", "ccz"):
        return as_angle(_PI / 8)
    if name == "p":
        return angles[0] / 2
    if name == "cp":
        return angles[0] / 4
    return (angles[1] + angles[2]) / 2 if name == "u" else Angle()


def exact(name: str, angles: tuple[Angle, ...], qubits: tuple[int, ...]) -> Exact:
    """A gate of `GATES`, with the phase that its textbook matrix has (u as in OpenQASM 2: real top left entry)."""
    phase = _own_phase(name, angles)
    turns: list[tuple[PauliString, Angle]] = []
    for step in GATES[name].builder(*angles):
        if isinstance(step, Clifford):
            extra, parts = _CLIFFORDS[step.name]
            phase = phase + extra
            here = tuple(qubits[q] for q in step.qubits)
            turns += [(_string(letters, here), as_angle(a)) for letters, a in parts]
        else:
            turns.append((_string(step.pauli, qubits), step.angle))
    return Exact(phase, tuple(turns))


def controlled(gate: Exact, control: int, on: int = 1) -> Exact:
    """The gate where qubit `control` is `on`, the identity where it is not."""
    z = PauliString(0, 1 << control)
    sign = 1.0 if on else -1.0
    turns: list[tuple[PauliString, Angle]] = []
    for string, angle in gate.turns:
        turns += [(string, angle / 2), (z * string, -sign / 2 * angle)]
    if gate.phase.terms:
        turns.append((z, sign * gate.phase))
    return Exact(gate.phase / 2, tuple(turns))


def inverse(gate: Exact) -> Exact:
    return Exact(-gate.phase, tuple((p, -a) for p, a in reversed(gate.turns)))


def scaled(gate: Exact, k: float) -> Exact | None:
    """The k-th power by scaling, None where the turns do not commute.

    With k no integer this is the principal power, of eigenphases within (-pi, pi]: found for constant gates on one
    qubit, and by scaling where the eigenphases are known to lie there; None elsewhere.
    """
    if k != int(k) and (single := _principal_power(gate, k)) is not None:
        return single
    strings = {p for p, _ in gate.turns}
    if len(strings) > _MAX_STRINGS or any(not p.commutes(q) for p, q in combinations(strings, 2)):
        return None
    if k != int(k):
        sizes = [gate.phase, *(a / 2 for _, a in gate.turns)]
        if not all(a.is_constant for a in sizes) or sum(abs(a.constant) for a in sizes) > _PI * (1 + 1e-12):
            return None
    return Exact(gate.phase * k, tuple((p, a * k) for p, a in gate.turns))


def _principal_power(gate: Exact, k: float) -> Exact | None:
    """U^k = e^{i phase} RZ(a) RY(b) RZ(c), for a constant U on one qubit."""
    qubits = {q for p, _ in gate.turns for q in p.qubits}
    if len(qubits) != 1 or not all(a.is_constant for a in (gate.phase, *(a for _, a in gate.turns))):
        return None
    (qubit,) = qubits
    u = np.exp(1j * gate.phase.constant) * np.eye(2)
    for string, angle in gate.turns:
        letter = string.dense(qubit + 1)[-1]
        u = (np.cos(angle.constant / 2) * np.eye(2) - 1j * np.sin(angle.constant / 2) * _PAULI[letter]) @ u
    half = np.angle(np.linalg.det(u)) / 2  # U = e^{i half} (cos - i sin n.P), so its eigenphases are half -+ turn
    axis = np.array([-np.trace(u @ p).imag / 2 for p in (np.exp(-1j * half) * _PAULI[c] for c in "XYZ")])
    size = float(np.linalg.norm(axis))
    turn = math.atan2(size, (np.trace(u) * np.exp(-1j * half)).real / 2)
    axis = axis / size if size > _ROUNDING else np.array([0.0, 0.0, 1.0])
    low, high = (k * _PI * (1 - (1 - e / _PI + _ROUNDING) % 2 + _ROUNDING) for e in (half - turn, half + turn))
    phase, turn = (low + high) / 2, (high - low) / 2
    x, y, z = math.sin(turn) * axis
    between, across = math.atan2(z, math.cos(turn)), math.atan2(-x, y)  # (a + c) / 2 and (a - c) / 2
    tilt = 2 * math.atan2(math.hypot(x, y), math.hypot(math.cos(turn), z))
    turns = (("Z", between - across), ("Y", tilt), ("Z", between + across))
    return Exact(as_angle(phase), tuple((_string(c, (qubit,)), as_angle(a)) for c, a in turns))


def _string(letters: str, qubits: tuple[int, ...]) -> PauliString:
    x = z = 0
    for letter, qubit in zip(letters, qubits, strict=True):
        x |= (letter in "XY") << qubit
        z |= (letter in "YZ") << qubit
    return PauliString(x, z)
