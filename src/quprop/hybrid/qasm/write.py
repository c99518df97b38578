"""Circuits -> OpenQASM 2 and 3.

Text is written line by line. The language's own tree and printer (`openqasm3.ast`, `openqasm3.printer`) print version 3
only, would make writing need what only reading needs, and take five times as long for more code: a tree of expressions
for every angle. They check what is written instead (tests/test_hybrid_qasm.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.hybrid.noise import is_full_reset
from quprop.hybrid.qasm.definitions import DATA, DEFINED, definition, ladder, letters_of, pauli_name
from quprop.model.angle import INPUT, Angle, AngleVector, Variable
from quprop.model.channels import refuse_channels
from quprop.model.circuit import Circuit, Operation
from quprop.model.dynamic import DynamicCircuit, MeasureStep, WhenStep
from quprop.model.gates import GATES
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum

# Gates that the first edition of qelib1.inc lacks (later ones have more): what to write for them.
_PLAIN = {
    "sx": ["rx({half}) {0};"],
    "sxdg": ["rx(-{half}) {0};"],
    "swap": ["cx {0}, {1};", "cx {1}, {0};", "cx {0}, {1};"],
    "iswap": ["s {0};", "s {1};", "h {0};", "cx {0}, {1};", "cx {1}, {0};", "h {1};"],
    "ecr": ["rz({half}) {0};", "rx({half}) {1};", "cx {0}, {1};", "x {0};"],
    "ccz": ["h {2};", "ccx {0}, {1}, {2};", "h {2};"],
}
_FIRST_EDITION = frozenset(re.findall(r"\w+", "x y z h s sdg t tdg rx ry rz cx cy cz ccx crz"))
_RENAMED = {"p": "u1", "u": "u3", "cp": "cu1"}
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """OPENQASM include defcalgrammar def cal defcal gate extern box let break continue if else end return for while
        in switch case default input output const readonly mutable qreg qubit creg bool bit int uint float angle
        complex array void duration stretch gphase inv pow ctrl negctrl dim durationof delay reset measure barrier true
        false pi tau euler sin cos tan arcsin arccos arctan exp log sqrt ceiling floor mod popcount rotl rotr sizeof
        real imag q U CX ch cswap cu phase cphase id u1 u2 u3""",
    )
)


def write_3(circuit: Circuit, arrays: bool, measured: int) -> str:
    """The program with its parameters; see `to_qasm`."""
    start = _start(circuit)
    out = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    gates = list(_gates(circuit))
    used = {op.name for op in gates}
    out += [text for name, text in DEFINED.items() if name in used]
    words = {letters_of(p): None for op in gates for p in _ladders(op)}
    out += [definition(word) for word in words]
    for name, (kind, size) in circuit.vectors.items():
        annotation = [f"@{DATA}"] if kind == INPUT else []
        if arrays:
            if name in _KEYWORDS or name in GATES or name in map(pauli_name, words):
                raise QupropError(
                    f"{name!r} is the name of a gate or a word of OpenQASM, so no array can be called so; "
                    "leave arrays=False, or rename it"
                )
            out += [*annotation, f"input array[float[64], {size}] {name};"]
        else:
            for k in range(size):
                out += [*annotation, f"input float[64] {name}_{k};"]
    n = circuit.size_for_gates
    out.append(f"qubit[{n}] q;")
    out += start

    def variable(v: Variable) -> str:
        return f"{v[2]}[{v[1]}]" if arrays else f"{v[2]}_{v[1]}"

    def call(op: Operation) -> list[str]:
        calls = []
        for name, angles, qubits in _named(op):
            called = "U" if name == "u" else name
            values = f"({', '.join(a.text(variable) for a in angles)})" if angles else ""
            calls.append(f"{called}{values} {', '.join(f'q[{k}]' for k in qubits)};")
        return calls

    if isinstance(circuit, DynamicCircuit):
        if arrays and "m" in circuit.vectors:
            raise QupropError("an array called 'm' and the measured bits m would be one; leave arrays=False")
        places = {name: k for k, name in enumerate(circuit.bits)}
        out += [f"// m[{k}] is {name!r}" for name, k in places.items()]
        out += [f"bit[{len(places)}] m;"] * bool(places)
        for step in circuit.program:
            if isinstance(step, MeasureStep):
                q = f"q[{step.qubit}];"
                out.append(f"reset {q}" if step.bit is None else f"m[{places[step.bit]}] = measure {q}")
            elif isinstance(step, WhenStep):
                bits = [
                    f"m[{places[name]}] == {'true' if value else 'false'}" for name, value in step.condition.items()
                ]
                body = [f"  {line}" for op in step.body.operations for line in call(op)]
                out += [f"if ({' && '.join(bits)}) {{", *body, "}"]
            else:
                out += call(step)
    else:
        out += [line for op in gates for line in call(op)]
    out += [f"bit[{measured}] c;"] * bool(measured) + [f"c[{k}] = measure q[{k}];" for k in range(measured)]
    return "\n".join(out) + "\n"


def write_2(circuit: Circuit, theta: Any, x: Any, measured: int) -> str:
    """The program with all angles as numbers; see `to_qasm`."""
    start = _start(circuit)
    circuit = _bound(circuit, theta, x)
    out = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{circuit.n_qubits}];", *start]

    def write(name: str, angles: tuple[float, ...], qubits: tuple[int, ...]) -> None:
        names = [f"q[{k}]" for k in qubits]
        if name in _PLAIN:
            out.extend(line.format(*names, half=repr(math.pi / 2)) for line in _PLAIN[name])
        elif name in _FIRST_EDITION or name in _RENAMED:
            values = f"({', '.join(map(_float, angles))})" if angles else ""
            out.append(f"{_RENAMED.get(name, name)}{values} {', '.join(names)};")
        elif name == "reset":
            out.append(f"reset {names[0]};")
        elif name in ("crx", "cry"):
            string = PauliString.parse(f"{name[-1].upper()}{qubits[1]}")
            rotation(string, angles[0] / 2)
            rotation(PauliString.parse(f"Z{qubits[0]}") * string, -angles[0] / 2)
        else:  # rxx, ryy, rzz, rzx and Pauli strings
            word = name[1:].upper() if name in GATES else name.removeprefix("pauli_").upper()
            out.extend(ladder(word, _float(angles[0]), names))

    def rotation(string: PauliString, angle: float) -> None:
        word = letters_of(string)
        write(f"r{word.lower()}" if len(word) == 1 else pauli_name(word), (angle,), string.qubits)

    for op in circuit.operations:
        for name, angles, qubits in _named(op):
            write(name, tuple(sum(c for _, c in a.terms) for a in angles), qubits)
    out += [f"creg c[{measured}];"] * bool(measured) + [f"measure q[{k}] -> c[{k}];" for k in range(measured)]
    return "\n".join(out) + "\n"


def _gates(circuit: Circuit) -> Iterator[Operation]:
    """All that are written, those under measured bits too."""
    for step in circuit.program if isinstance(circuit, DynamicCircuit) else circuit.operations:
        if isinstance(step, WhenStep):
            yield from step.body.operations
        elif not isinstance(step, MeasureStep):
            yield step


def _named(op: Operation) -> list[tuple[str, tuple[Angle, ...], tuple[int, ...]]]:
    """The gate calls of one operation; a rotation about several qubits is called pauli_xyz."""
    if isinstance(op.target, tuple):
        return [(op.name, () if op.name == "reset" else op.angles, op.target)]
    parts = [(op.target, 1.0)] if isinstance(op.target, PauliString) else list(op.target.items())
    calls: list[tuple[str, tuple[Angle, ...], tuple[int, ...]]] = []
    for string, coefficient in parts:
        word = letters_of(string)
        if word:
            name = f"r{word.lower()}" if len(word) == 1 else pauli_name(word)
            calls.append((name, (op.angles[0] * coefficient,), string.qubits))
    return calls


def _ladders(op: Operation) -> list[PauliString]:
    """The Pauli strings of several qubits that an operation turns about."""
    if isinstance(op.target, PauliString):
        found = [op.target]
    elif isinstance(op.target, PauliSum):
        found = [p for p, _ in op.target.items()]
    elif op.name in ("rxx", "ryy", "rzz", "rzx"):
        return [PauliString.parse(op.name[1:].upper())]
    else:
        return []
    return [p for p in found if p.weight > 1]


def _start(circuit: Any) -> list[str]:
    """Gates that make the circuit's input state from |0...0>."""
    if not isinstance(circuit, Circuit):
        raise QupropError(f"to_qasm takes a Circuit, got {type(circuit).__name__}; a Model's circuit is the one it had")
    if not all(is_full_reset(op) for op in circuit.channels):
        refuse_channels(circuit, "OpenQASM")
    state = circuit.state
    if isinstance(state, AngleVector) or state.kind in ("encoded", "amplitudes"):
        raise QupropError(
            "OpenQASM starts from |0...0>, and this circuit from amplitudes; prepare them by gates, or write with "
            "to_qiskit, whose state preparation does"
        )
    assert isinstance(state, InputState)
    if state.kind == "basis":
        return [f"x q[{k}];" for k in range(circuit.n_qubits) if state.index >> k & 1]
    lines = []
    for k, (zero, one) in enumerate(state.array):
        turn, phase = 2 * math.atan2(abs(one), abs(zero)), float(np.angle(one) - np.angle(zero))
        if turn:
            lines.append(f"ry({_float(turn)}) q[{k}];")
            lines += [f"rz({_float(phase)}) q[{k}];"] if phase else []
    return lines


def _bound(circuit: Circuit, theta: Any, x: Any) -> Circuit:
    for given, count, what in ((theta, circuit.n_params, "theta"), (x, circuit.n_inputs, "x")):
        if given is None and count:
            raise QupropError(
                f"OpenQASM 2 has no parameters: pass {what}=, {count} number{'s' * (count > 1)}, or write version=3"
            )
    return circuit.bound(theta, x)


def _float(value: float) -> str:
    """A literal that both versions read: with a point or an exponent."""
    text = repr(float(value))
    mantissa, e, exponent = text.partition("e")
    return (mantissa if "." in mantissa else f"{mantissa}.0") + e + exponent
