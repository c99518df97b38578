"""A device's circuit gate by gate: input state, named gates and rotations about single Pauli strings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model.angle import Angle, AngleVector, as_angle
from quprop.model.channels import refuse_channels
from quprop.model.circuit import Circuit, Operation
from quprop.model.gates import GATES, Clifford
from quprop.model.pauli import PauliString

BARRIER = "barrier"


class FlatGate(NamedTuple):
    """A gate of `GATES`, "rotation" about the letters of a Pauli string on its qubits, or "barrier"."""

    name: str
    angles: tuple[Angle, ...]
    qubits: tuple[int, ...]
    letters: str = ""


_HALF = math.pi / 2
# Clifford gates as rotations or other gates on local qubits, up to a global phase.
_WRITTEN: dict[str, tuple[tuple[str, float | None, tuple[int, ...]], ...]] = {
    "x": (("X", math.pi, (0,)),),
    "y": (("Y", math.pi, (0,)),),
    "z": (("Z", math.pi, (0,)),),
    "h": (("Z", math.pi, (0,)), ("Y", _HALF, (0,))),
    "s": (("Z", _HALF, (0,)),),
    "sdg": (("Z", -_HALF, (0,)),),
    "sx": (("X", _HALF, (0,)),),
    "sxdg": (("X", -_HALF, (0,)),),
    "cy": (("sdg", None, (1,)), ("cx", None, (0, 1)), ("s", None, (1,))),
    "cz": (("h", None, (1,)), ("cx", None, (0, 1)), ("h", None, (1,))),
    "swap": (("cx", None, (0, 1)), ("cx", None, (1, 0)), ("cx", None, (0, 1))),
    "iswap": (("XX", -_HALF, (0, 1)), ("YY", -_HALF, (0, 1))),
}
_TURNS = {letters.upper(): f"r{letters}" for letters in ("x", "y", "z", "xx", "yy", "zz", "zx")}


def flat_gates(circuit: Circuit, where: str, barriers: Sequence[int] = ()) -> list[FlatGate]:
    """All gates, those that make a basis or product state first. where: the device, for the sentence; barriers: see
    `DeviceCircuit`.

    Raises: QupropError for noise, and for amplitudes, which no gates are known for.
    """
    refuse_channels(circuit, where)
    out, stop = _start(circuit, where), FlatGate(BARRIER, (), tuple(range(circuit.n_qubits)))
    for place, op in enumerate(circuit.operations):
        out += [stop] * (place in barriers) + _parts(op)
    return out + [stop] * (len(circuit) in barriers)


def lowered(gate: FlatGate, known: Set[str], where: str) -> Iterator[FlatGate]:
    """The gate in those of `known`, up to a global phase: itself, or its rotations and Clifford gates. A rotation about
    several letters is one about Z of their parity, which a ladder of CNOT computes.

    Raises: QupropError where that would take a gate that is not known.
    """
    own = _TURNS.get(gate.letters, "") if gate.name == "rotation" else gate.name
    if own in known or own == BARRIER:
        yield gate._replace(name=own, letters="")
    elif gate.name == "rotation" and len(gate.qubits) > 1:
        for part in _ladder(gate):
            yield from lowered(part, known, where)
    elif own in ("cx", "rx", "ry", "rz"):
        raise QupropError(
            f"{where} has no gate {own}, without which this circuit cannot be written; take another device"
        )
    else:
        for part in _written(gate):
            yield from lowered(part, known, where)


def _ladder(gate: FlatGate) -> list[FlatGate]:
    turns = {"X": ("h", "h"), "Y": ("sx", "sxdg"), "Z": ()}  # sqrt(X) takes Y to Z
    places = list(zip(gate.qubits, gate.letters, strict=True))
    first = [FlatGate(turns[letter][0], (), (q,)) for q, letter in places if letter != "Z"]
    last = [FlatGate(turns[letter][1], (), (q,)) for q, letter in places if letter != "Z"]
    up = [FlatGate("cx", (), pair) for pair in zip(gate.qubits, gate.qubits[1:], strict=False)]
    return [*first, *up, FlatGate("rz", gate.angles, gate.qubits[-1:]), *reversed(up), *last]


def _written(gate: FlatGate) -> Iterator[FlatGate]:
    if gate.name in _WRITTEN:
        for what, angle, local in _WRITTEN[gate.name]:
            qubits = tuple(gate.qubits[k] for k in local)
            yield (
                FlatGate(what, (), qubits) if angle is None else FlatGate("rotation", (as_angle(angle),), qubits, what)
            )
        return
    for step in GATES[gate.name].builder(*gate.angles):
        if isinstance(step, Clifford):
            yield FlatGate(step.name.lower(), (), tuple(gate.qubits[k] for k in step.qubits))
        else:
            used = [k for k, letter in enumerate(step.pauli) if letter != "I"]
            letters = "".join(step.pauli[k] for k in used)
            yield FlatGate("rotation", (step.angle,), tuple(gate.qubits[k] for k in used), letters)


def rotation(string: PauliString, angle: Angle) -> FlatGate:
    """exp(-i angle P / 2)."""
    letters = "".join("IXZY"[(string.x >> q & 1) + 2 * (string.z >> q & 1)] for q in string.qubits)
    return FlatGate("rotation", (angle if string.sign > 0 else -angle,), string.qubits, letters)


def angle_numbers(angles: Sequence[Angle], circuit: Circuit, values: np.ndarray) -> np.ndarray:
    """(R, len(angles)) at R settings of the circuit's parameters."""
    flat = circuit.flattened()
    out = np.zeros((len(values), len(angles)))
    for column, angle in zip(out.T, angles, strict=True):
        for monomial, coefficient in angle.terms:
            term = np.full(len(values), coefficient)
            for variable in monomial:
                term *= values[:, flat(variable)[1]]
            column += term
    return out


def _start(circuit: Circuit, where: str) -> list[FlatGate]:
    state = circuit.state
    if isinstance(state, AngleVector) or state.kind not in ("basis", "product"):
        raise QupropError(
            f"{where} starts from |0...0>, and this circuit from amplitudes; prepare them by gates of the circuit"
        )
    if state.kind == "basis":
        return [FlatGate("x", (), (q,)) for q in range(circuit.n_qubits) if state.index >> q & 1]
    out = []
    for q, (zero, one) in enumerate(state.array):
        turn, phase = 2 * math.atan2(abs(one), abs(zero)), float(np.angle(one) - np.angle(zero))
        if turn:
            out.append(FlatGate("ry", (as_angle(turn),), (q,)))
            out += [FlatGate("rz", (as_angle(phase),), (q,))] if phase else []
    return out


def _parts(op: Operation) -> list[FlatGate]:
    if isinstance(op.target, tuple):
        return [FlatGate(op.name, op.angles, op.target)]
    if isinstance(op.target, PauliString):
        return [rotation(op.target, op.angles[0])] if op.target.weight else []
    return [rotation(p, c * op.angles[0]) for p, c in op.target.items() if p.weight]
