"""PennyLane's gates as quprop's: which operations are taken as they are, and the global phase each of them has.

A PennyLane tape becomes a quprop circuit whose parameters are all numbers in the tape, in the tape's order, so that one
`Model` serves every tape of the same structure. Everything not in `RULES` is decomposed by PennyLane into gates that
are. PennyLane's wire at position w of n is qubit n-1-w: its first wire is the most significant bit, our last qubit.

quprop's gates are right up to a global phase. `PHASES` says what is missing where a program asks for the state itself:
PennyLane's gate = exp(i (constant + sum_j c_j angle_j)) times the product of rotations that `quprop.model.gates` lists,
with Clifford gates written as rotations (`CLIFFORD_TURNS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pennylane import GlobalPhase, PauliRot
from pennylane.operation import Operation, Operator
from pennylane.pauli import PauliSentence, PauliWord

from quprop.hybrid.transfer import ChannelStep
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum

Qubits = Sequence[int]


class Rule(NamedTuple):
    """How one PennyLane operation is appended: `build(circuit, angles, qubits, extra)`.

    `extra(op)` is whatever fixes the gate besides its name, wires and numbers; None where nothing does.
    """

    n_angles: int
    build: Callable[[Circuit, Sequence[Any], Qubits, Any], None]
    phase: tuple[float, tuple[float, ...]]
    extra: Callable[[Any], Any] | None = None


_PI = math.pi

# Clifford gates of stim as rotations on local qubits, in circuit order, and the phase that makes them exact.
CLIFFORD_TURNS: dict[str, tuple[tuple[tuple[str, float], ...], float]] = {
    "X": ((("X", _PI),), _PI / 2),
    "Y": ((("Y", _PI),), _PI / 2),
    "Z": ((("Z", _PI),), _PI / 2),
    "H": ((("Z", _PI), ("Y", _PI / 2)), _PI / 2),
    "S": ((("Z", _PI / 2),), _PI / 4),
    "S_DAG": ((("Z", -_PI / 2),), -_PI / 4),
    "SQRT_X": ((("X", _PI / 2),), _PI / 4),
    "SQRT_X_DAG": ((("X", -_PI / 2),), -_PI / 4),
    "CX": ((("ZI", _PI / 2), ("IX", _PI / 2), ("ZX", -_PI / 2)), _PI / 4),
    "CY": ((("ZI", _PI / 2), ("IY", _PI / 2), ("ZY", -_PI / 2)), _PI / 4),
    "CZ": ((("ZI", _PI / 2), ("IZ", _PI / 2), ("ZZ", -_PI / 2)), _PI / 4),
    "SWAP": ((("XX", -_PI / 2), ("YY", -_PI / 2), ("ZZ", -_PI / 2)), -_PI / 4),
    "ISWAP": ((("XX", -_PI / 2), ("YY", -_PI / 2)), 0.0),
}


def _named(gate: str, n_angles: int = 0, constant: float = 0.0, coefficients: tuple[float, ...] = ()) -> Rule:
    def build(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
        circuit.gate(gate, *angles, *qubits)

    return Rule(n_angles, build, (constant, coefficients or (0.0,) * n_angles))


def _rot(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    phi, theta, omega = angles
    circuit.u(theta, omega, phi, qubits[0])


def _multi_rz(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    circuit.rotation(PauliString(0, sum(1 << q for q in qubits)), angles[0])


def _pauli_rot(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    circuit.rotation(word(extra, qubits), angles[0])


def _sum(terms: dict[str, float]) -> Callable[[Circuit, Sequence[Any], Qubits, Any], None]:
    """exp(-i angle/2 sum_k c_k P_k) with commuting P_k, written on local qubits."""

    def build(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
        circuit.exp(PauliSum({word(letters, qubits): c for letters, c in terms.items()}), angles[0])

    return build


def _pauli_exp(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    _sum({letters: 2 * c for letters, c in extra})(circuit, angles, qubits, None)


def _noise(channel: str, n_strengths: int = 1) -> Rule:
    def build(circuit: Circuit, strengths: Sequence[Any], qubits: Qubits, extra: Any) -> None:
        circuit.channel(channel, *strengths, *qubits)

    return Rule(n_strengths, build, (0.0, (0.0,) * n_strengths))


def _relaxation(circuit: Circuit, strengths: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    excited, t1, t2, time = strengths
    circuit.thermal_relaxation(t1, t2, time, qubits[0], excited)


def _pauli_error(circuit: Circuit, strengths: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    if extra.strip("I"):
        circuit.pauli_channel({extra: strengths[0]}, *qubits)


def _known_channel(circuit: Circuit, strengths: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    for step in extra:
        step.append_to(circuit, qubits)


def _nothing(circuit: Circuit, angles: Sequence[Any], qubits: Qubits, extra: Any) -> None:
    pass


def word(letters: str, qubits: Qubits) -> PauliString:
    """The Pauli string with `letters[i]` on `qubits[i]`."""
    x = z = 0
    for letter, q in zip(letters, qubits, strict=True):
        x |= (letter in "XY") << q
        z |= (letter in "YZ") << q
    return PauliString(x, z)


# Plane rotations of |01>, |10> and of |0011>, |1100> (Givens rotations; arXiv:2106.13839), as exp(-i angle/2 G).
_SINGLE = {"XY": -0.5, "YX": 0.5}
_DOUBLE = {
    "XXXY": -0.125, "XXYX": -0.125, "XYXX": 0.125, "YXXX": 0.125,
    "YYYX": 0.125, "YYXY": 0.125, "YXYY": -0.125, "XYYY": -0.125,
}  # fmt: skip


def _with_phase(sign: float) -> dict[str, float]:
    """The two-electron rotation that also turns the phases of all states outside its plane by sign * angle/2."""
    # 1 - P, P onto |0011> and |1100>: its Z strings are those of even weight, signed by their part on the last two
    even = [z for z in range(16) if z.bit_count() % 2 == 0]
    plane = {"".join("IZ"[z >> i & 1] for i in range(4)): (-1) ** (z >> 2).bit_count() / 8 for z in even}
    outside = {letters: -sign * ((letters == "IIII") - c) for letters, c in plane.items()}
    return _DOUBLE | outside


class PauliExp(Operation):
    """exp(-i t sum_k c_k P_k) with P_k that commute, exactly: `Circuit.exp` of twice the sum, as one PennyLane gate.

    time: t, a number or a batch (B,), differentiable. terms: (letters of P_k on `wires`, c_k) with constants c_k.
    """

    num_params = 1
    ndim_params = (0,)

    def __init__(self, time: Any, terms: tuple[tuple[str, float], ...], wires: Any, id: str | None = None) -> None:
        super().__init__(time, wires=wires, id=id)
        self.hyperparameters["terms"] = terms

    @property
    def sentence(self) -> PauliSentence:
        """sum_k c_k P_k, with PennyLane's wires."""
        terms = self.hyperparameters["terms"]
        return PauliSentence({PauliWord(dict(zip(self.wires, letters, strict=True))): c for letters, c in terms})

    def adjoint(self) -> PauliExp:
        return PauliExp(-self.data[0], self.hyperparameters["terms"], self.wires)

    def pow(self, z: Any) -> list[Operator]:
        return [PauliExp(z * self.data[0], self.hyperparameters["terms"], self.wires)]

    @staticmethod
    def compute_decomposition(time: Any, wires: Any, terms: Any, **_: Any) -> list[Operator]:
        return [
            PauliRot(2 * c * time, letters, wires) if letters.strip("I") else GlobalPhase(c * time)
            for letters, c in terms
        ]


class KnownChannel(Operation):
    """Channels of quprop with constant strengths, which is what Kraus operators are taken apart into."""

    num_params = 0

    def __init__(self, steps: tuple[ChannelStep, ...], wires: Any, id: str | None = None) -> None:
        super().__init__(wires=wires, id=id)
        self.hyperparameters["steps"] = steps


RULES: dict[str, Rule] = {
    "Identity": Rule(0, _nothing, (0.0, ())),
    "GlobalPhase": Rule(1, _nothing, (0.0, (-1.0,))),
    "PauliX": _named("x"),
    "PauliY": _named("y"),
    "PauliZ": _named("z"),
    "Hadamard": _named("h"),
    "S": _named("s"),
    "Adjoint(S)": _named("sdg"),
    "SX": _named("sx"),
    "Adjoint(SX)": _named("sxdg"),
    "T": _named("t", 0, _PI / 8),
    "Adjoint(T)": _named("tdg", 0, -_PI / 8),
    "CNOT": _named("cx"),
    "CY": _named("cy"),
    "CZ": _named("cz"),
    "SWAP": _named("swap"),
    "ISWAP": _named("iswap"),
    "ECR": _named("ecr"),
    "Toffoli": _named("ccx", 0, _PI / 8),
    "CCZ": _named("ccz", 0, _PI / 8),
    "RX": _named("rx", 1),
    "RY": _named("ry", 1),
    "RZ": _named("rz", 1),
    "PhaseShift": _named("p", 1, 0.0, (0.5,)),
    "U1": _named("p", 1, 0.0, (0.5,)),
    "U3": _named("u", 3, 0.0, (0.0, 0.5, 0.5)),
    "Rot": Rule(3, _rot, (0.0, (0.0, 0.0, 0.0))),
    "IsingXX": _named("rxx", 1),
    "IsingYY": _named("ryy", 1),
    "IsingZZ": _named("rzz", 1),
    "IsingXY": Rule(1, _sum({"XX": -0.5, "YY": -0.5}), (0.0, (0.0,))),
    "CRX": _named("crx", 1),
    "CRY": _named("cry", 1),
    "CRZ": _named("crz", 1),
    "ControlledPhaseShift": _named("cp", 1, 0.0, (0.25,)),
    "MultiRZ": Rule(1, _multi_rz, (0.0, (0.0,))),
    "PauliRot": Rule(1, _pauli_rot, (0.0, (0.0,)), lambda op: op.hyperparameters["pauli_word"]),
    "PauliExp": Rule(1, _pauli_exp, (0.0, (0.0,)), lambda op: op.hyperparameters["terms"]),
    "SingleExcitation": Rule(1, _sum(_SINGLE), (0.0, (0.0,))),
    "DoubleExcitation": Rule(1, _sum(_DOUBLE), (0.0, (0.0,))),
    "DoubleExcitationPlus": Rule(1, _sum(_with_phase(1.0)), (0.0, (0.0,))),
    "DoubleExcitationMinus": Rule(1, _sum(_with_phase(-1.0)), (0.0, (0.0,))),
    "DepolarizingChannel": _noise("depolarising"),
    "BitFlip": _noise("bit_flip"),
    "PhaseFlip": _noise("phase_flip"),
    "AmplitudeDamping": _noise("amplitude_damping"),
    "PhaseDamping": _noise("phase_damping"),
    "GeneralizedAmplitudeDamping": _noise("generalised_amplitude_damping", 2),
    "ResetError": _noise("reset_error", 2),
    "ThermalRelaxationError": Rule(4, _relaxation, (0.0, (0.0,) * 4)),
    "PauliError": Rule(1, _pauli_error, (0.0, (0.0,)), lambda op: op.hyperparameters["operators"]),
    "KnownChannel": Rule(0, _known_channel, (0.0, ()), lambda op: op.hyperparameters["steps"]),
}
