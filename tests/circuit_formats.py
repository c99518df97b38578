"""Grammars of OpenQASM 2, OpenQASM 3 and QPY, for `formats`; what is accepted is what Qiskit reads, where it does."""

from __future__ import annotations

import io
import math
import random
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from changes import SMALL, finite, numbers, random_string
from dense import final_state
from fuzzing import Wrong
from kraus import density
from qasm_programs import program

import quprop as qpr

# -- OpenQASM ----------------------------------------------------------------------------------------------------------

ODD_TOKENS = re.findall(
    r"\S+",
    """( ) [ ] { } ; , @ ctrl inv pow q q[0] q[-1] 1e308 1e999 99999999999999999999 - * ** / % ^ ~ ! && == ++ : 0 int
    float input gate def measure -> += while for in if else " ' // /* */ $0 pi sin #pragma cal opaque uint[4] angle[8]
    bit[3] "01" $1 int[65] <<= %= popcount 7/2 0x 1.5ns true U CX gphase reset let qubit bit bool θ π box delay switch
    end output extern negctrl qreg creg 1.e5 .5 0.1e-3 1_000 0b11 tau cos tan exp ln sqrt barrier id u2 cu3 rzz""",
)
SPACED = re.compile(r'("[^"\n]*"|//[^\n]*|[A-Za-z_π]\w*|\d+\.?\d*(?:e[+-]?\d+)?|\s+|\S)')


def changed_program(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Tokens give way to others of their kind, mostly; statements come and go."""
    text = data.decode("utf-8", "replace")
    if rng.random() < 0.5:
        tokens = SPACED.findall(text)
        spots = [k for k, t in enumerate(tokens) if not t.isspace() and k > 3]
        for k in rng.sample(spots, min(len(spots), rng.choice([1, 1, 2]))):
            alike = [t for t in tokens if _class(t) == _class(tokens[k])]
            tokens[k] = rng.choice(alike) if rng.random() < 0.75 else rng.choice(["", *ODD_TOKENS])
        return "".join(tokens).encode()
    lines, donors = text.split("\n"), other.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice([1, 1, 2])):
        k = rng.randrange(min(2, len(lines) - 1), len(lines))
        kind = rng.randrange(4)
        if kind == 0:
            lines.insert(k, lines[k])
        elif kind == 1 and len(lines) > 3:
            del lines[k]
        elif kind == 2:
            lines.insert(k, rng.choice(donors))
        else:
            j = rng.randrange(min(2, len(lines) - 1), len(lines))
            lines[j], lines[k] = lines[k], lines[j]
    return "\n".join(lines).encode()


def _class(token: str) -> str:
    return "name" if token[:1].isalpha() else "number" if token[:1].isdigit() else token


def make_qasm2(rng: random.Random) -> bytes:
    return program(rng.randrange(1 << 40), 2).encode()


def make_qasm3(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.4:
        return program(rng.randrange(1 << 40), 3, inline=kind < 0.25).encode()
    return Program3(rng).text().encode()


class Program3:
    """What version 3 has beyond gates: typed variables and constants, inputs, loops, conditions, aliases, boxes."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.reals: list[str] = []  # names that may stand in an angle, by kind
        self.wholes: list[str] = []
        self.inputs: list[str] = []
        self.variables: list[tuple[str, str]] = []  # that may be assigned, with their type
        self.count = 0

    def text(self) -> str:
        rng = self.rng
        out = ["OPENQASM 3.0;", 'include "stdgates.inc";']
        for k in range(rng.choice([0, 0, 1, 3])):
            out += ["@quprop.data"] if rng.random() < 0.2 else []
            out.append(f"input {rng.choice(['float[64]', 'float', 'angle'])} p_{k};")
            self.inputs.append(f"p_{k}")
        if rng.random() < 0.2:
            out.append("input array[float[64], 3] w;")
            self.inputs += ["w[0]", "w[1]", "w[2]"]
        for _ in range(rng.randint(0, 4)):
            out.append(self.declaration())
        n, self.n = rng.randint(1, 3), 0
        out.append(f"qubit[{n}] q;")
        self.qubits = [f"q[{k}]" for k in range(n)]
        if rng.random() < 0.4:
            out.append("qubit a;")
            self.qubits.append("a")
        if n > 1 and rng.random() < 0.4:
            out.append(f"let z = {rng.choice(['q[0:1]', 'q[{1, 0}]', 'q[-2:-1]', 'q[1:1] ++ q[0:0]'])};")
            self.qubits += ["z[0]", "z[1]"] if "q[0:1]" in out[-1] else []
        out += [f"reset {rng.choice(self.qubits)};"] if rng.random() < 0.2 else []
        out += [self.statement(2) for _ in range(rng.randint(2, 10))]
        if rng.random() < 0.4:
            out += [f"bit[{n}] c;", rng.choice(["c = measure q;", "c[0] = measure q[0];", "measure q -> c;"])]
        return "\n".join(out) + "\n"

    def declaration(self) -> str:
        rng, name = self.rng, f"v{self.count}"
        self.count += 1
        kind = rng.choice(
            ["int", "uint[16]", "int[32]", "float", "float[64]", "float[32]", "bool", "bit[4]", "angle[8]"]
        )
        const = "const " if rng.random() < 0.4 else ""
        if kind == "bool":
            value = rng.choice(["true", "false", f"{rng.randint(0, 5)} < {rng.randint(0, 5)}"])
        elif kind == "bit[4]":
            value = f'"{rng.randrange(16):04b}"'
        elif kind == "angle[8]":
            value = f"pi / {rng.choice([1, 2, 4, 8])}"
        elif "int" in kind:
            value = self.whole(2)
            self.wholes.append(name)
        else:
            value = self.real(2, False)
            self.reals.append(name)
        if not const and (kind in ("int", "float", "float[64]") or "int[" in kind):
            self.variables.append((name, kind))
        return f"{const}{kind} {name} = {value};"

    def whole(self, depth: int) -> str:
        rng = self.rng
        if not depth or rng.random() < 0.4:
            return rng.choice([str(rng.randint(0, 7)), *self.wholes])
        left, right = self.whole(depth - 1), self.whole(depth - 1)
        if rng.random() < 0.3:
            return f"{left} {rng.choice(['/', '%', '<<', '>>'])} {rng.randint(1, 4)}"
        return f"({left} {rng.choice(['+', '*', '|', '&', '^', '+'])} {right})"

    def real(self, depth: int, symbolic: bool = True) -> str:
        rng = self.rng
        if not depth or rng.random() < 0.3:
            named = [*self.reals, *self.wholes, *(2 * self.inputs if symbolic else [])]
            return rng.choice([f"{rng.uniform(0, 4):.3f}", "pi", "tau", f"{rng.randint(1, 9)}", *named])
        if rng.random() < 0.2:
            return f"{rng.choice(['sin', 'cos', 'exp', 'sqrt', 'arctan', 'floor'])}({self.real(0, False)})"
        left = self.real(depth - 1, symbolic)
        if rng.random() < 0.3:
            return rng.choice([f"{left} / {rng.randint(1, 9)}", f"-({left})", f"{left} ** 2", f"float({left})"
                               if not symbolic else f"{left} * 2"])  # fmt: skip
        return f"({left} {rng.choice('+-*')} {self.real(depth - 1, symbolic)})"

    def call(self) -> str:
        rng = self.rng
        name, angles, n = rng.choice(
            [("h", 0, 1), ("x", 0, 1), ("s", 0, 1), ("tdg", 0, 1), ("sx", 0, 1), ("rx", 1, 1), ("ry", 1, 1),
             ("rz", 1, 1), ("p", 1, 1), ("U", 3, 1), ("u3", 3, 1), ("u2", 2, 1), ("cx", 0, 2), ("cz", 0, 2),
             ("swap", 0, 2), ("crz", 1, 2), ("cp", 1, 2), ("rzz", 1, 2), ("ccx", 0, 3), ("cswap", 0, 3),
             ("gphase", 1, 0)]
        )  # fmt: skip
        if n > len(self.qubits):
            return self.call()
        modifiers = ""
        while len(self.qubits) > n and rng.random() < 0.25:
            modifiers, n = modifiers + rng.choice(["ctrl @ ", "negctrl @ "]), n + 1
        if rng.random() < 0.15:
            modifiers += rng.choice(["inv @ ", f"pow({rng.choice(['2', '-1', '0', '0.5', '3'])}) @ "])
        given = f"({', '.join(self.real(2) for _ in range(angles))})" if angles else ""
        return f"{modifiers}{name}{given} {', '.join(rng.sample(self.qubits, n))};"

    def statement(self, depth: int) -> str:
        rng = self.rng
        kind = rng.randrange(12) if depth else 0
        if kind == 11:
            return f"{rng.choice(['barrier q', 'h q', 'x q', 'delay[10ns] q[0]'])};"
        if kind == 10:
            return f"box {{ {self.call()} {self.call()} }}"
        if kind == 9 and self.variables:
            name, of = rng.choice(self.variables)
            value = self.whole(1) if "int" in of else self.real(1, False)
            return f"{name} {rng.choice(['=', '+=', '*='])} {value};"
        if kind in (7, 8):
            name = f"i{self.count}"
            self.count += 1
            over = rng.choice(["[0:2]", "[3:-1:1]", "{1, 4}", "[0:1]", "[2:1]"])
            self.wholes.append(name)
            body = " ".join(self.statement(depth - 1) for _ in range(rng.randint(1, 2)))
            self.wholes.remove(name)
            return f"for {rng.choice(['int', 'uint', 'int[8]'])} {name} in {over} {{ {body} }}"
        if kind == 6:
            then, other = self.statement(depth - 1), self.statement(depth - 1)
            compared = f"{self.whole(1)} {rng.choice(['<', '==', '>=', '!='])} {self.whole(1)}"
            return f"if ({compared}) {{ {then} }}" + (f" else {{ {other} }}" if rng.random() < 0.5 else "")
        return self.call()


def apart(psi: np.ndarray, phi: np.ndarray) -> float:
    overlap = np.vdot(phi, psi)
    return float(np.abs(psi - overlap / max(abs(overlap), 1e-9) * phi).max())


def read_qasm(version: int) -> Callable[[bytes, Path, bool], bool]:
    def read(data: bytes, folder: Path, dear: bool) -> bool:
        text = data.decode("utf-8", "replace")
        circuit = qpr.from_qasm(text, max_gates=3000)
        if circuit.n_qubits > SMALL or circuit.n_params + circuit.n_inputs > 100:
            return True
        theta, x = numbers(circuit.n_params), numbers(circuit.n_inputs)
        if circuit.channels:
            return _mixed(circuit, theta, x, _of_qiskit(text, version))
        psi = final_state(circuit, theta, x)
        model = qpr.Model(circuit, [{random_string(random.Random(k), circuit.n_qubits): 1.0} for k in range(3)])
        values = qpr.expectation(model, theta, x if circuit.n_inputs else None)
        finite("a value", values, psi)
        steady = all(abs(c) < 1e3 for op in circuit.operations for a in op.angles for _, c in a.terms)
        if not steady:
            return True  # two ways to reduce such an angle differ in their last digits
        if dear:
            again = qpr.from_qasm(qpr.to_qasm(circuit))
            if apart(final_state(again, theta, x), psi) > 1e-9:
                raise Wrong("what is written is not what was read")
        theirs = _of_qiskit(text, version)
        if theirs is not None and not circuit.vectors:
            phi = _state(theirs)
            if phi is not None and (phi.shape != psi.shape or apart(psi, phi) > 1e-9):
                raise Wrong("the state is not the one that Qiskit reads", psi, phi)
        return True

    return read


def _mixed(circuit: qpr.Circuit, theta: np.ndarray, x: np.ndarray, theirs: Any) -> bool:
    """A circuit with resets: values are those of Kraus operators, the mixed state is Qiskit's where it has one."""
    from qiskit.quantum_info import DensityMatrix

    if circuit.n_qubits > 4:
        return True
    rho = density(circuit, theta, x)
    finite("a mixed state", rho)
    p = qpr.probabilities(qpr.Model(circuit, "Z0"), theta, x if circuit.n_inputs else None)
    if all(abs(c) < 1e3 for op in circuit.operations for a in op.angles for _, c in a.terms):
        if np.abs(p - np.diag(rho).real).max() > 1e-9:
            raise Wrong("probabilities are not those of Kraus operators", p, np.diag(rho).real)
        if theirs is not None and not circuit.vectors and not theirs.parameters:
            try:
                sigma = DensityMatrix(theirs.remove_final_measurements(inplace=False)).data
            except Exception:
                return True  # of what Qiskit cannot evolve, or names otherwise
            if sigma.shape == rho.shape and np.abs(sigma - rho).max() > 1e-8:
                raise Wrong("the mixed state is not the one that Qiskit reads", rho, sigma)
    return True


def _of_qiskit(text: str, version: int) -> Any:
    """Qiskit's reading of the program, None where it has none or is known to read it otherwise."""
    from qiskit import qasm2, qasm3

    try:
        if version == 2:
            return qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
        if TYPED.search(text) or ("@" in text and PHASES.search(text)):
            return None
        return qasm3.loads(text)
    except Exception:
        return None


# In version 3 Qiskit knows no types of numbers, and takes the phases of these gates, which modifiers show, for others.
TYPED = re.compile(r"\b(const|int|uint|angle|bit|bool|float|array)\b")
PHASES = re.compile(r"\b(U|u[23]|pow)\b")


def _state(circuit: Any) -> np.ndarray | None:
    """The state before the final measurements, if that is all besides gates."""
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import Statevector

    plain, measured = QuantumCircuit(circuit.num_qubits), set()
    for item in circuit.data:
        places = [circuit.find_bit(q).index for q in item.qubits]
        name = type(item.operation).__name__
        if name == "Measure":
            measured |= set(places)
        elif name in ("Barrier", "Delay"):
            continue
        elif item.clbits or name in ("Reset", "Initialize", "Store") or getattr(item.operation, "blocks", ()):
            return None
        elif measured & set(places):
            raise Wrong("a gate after a measurement was left out")
        else:
            plain.append(item.operation, places)
    try:
        return np.asarray(Statevector(plain).data)
    except Exception:
        return None  # an opaque gate, say


# -- QPY ---------------------------------------------------------------------------------------------------------------


def make_qpy(rng: random.Random) -> bytes:
    from qiskit import qpy

    file = io.BytesIO()
    qpy.dump(random_qiskit(rng, 2), file, version=rng.choice([13, 14, 15, 16, 17]))
    return file.getvalue()


def random_qiskit(rng: random.Random, depth: int, n: int = 0) -> Any:
    from qiskit import QuantumCircuit
    from qiskit.circuit import ControlFlowOp, Gate, Parameter, ParameterVector
    from qiskit.circuit.library import HGate, PauliEvolutionGate, PhaseGate, RYGate, SGate, UnitaryGate, XGate
    from qiskit.exceptions import QiskitError
    from qiskit.quantum_info import SparsePauliOp

    top = not n
    n = n or rng.randint(1, 4)
    circuit = QuantumCircuit(n, name=rng.choice(["c", "id", "measure", "delay", "x", "h"]))
    vector, single = ParameterVector("v", 3), Parameter("φ")
    names = [*vector, single] if top else []

    def angle() -> Any:
        number = rng.choice([rng.uniform(-3, 3), math.pi / 2, 0.0, 1])
        if not names or rng.random() < 0.5:
            return number
        a, b = rng.choice(names), rng.choice(names)
        return rng.choice([a, 2 * a, a + b, a * b, a - 0.3, a**2, a / 3])

    for _ in range(rng.randint(1, 7)):
        kind = rng.randrange(12)
        qubits = rng.sample(range(n), n)
        if kind < 3:
            getattr(circuit, rng.choice(["h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg", "id"]))(qubits[0])
        elif kind < 6:
            getattr(circuit, rng.choice(["rx", "ry", "rz", "p"]))(angle(), qubits[0])
        elif kind == 6 and n > 1:
            getattr(circuit, rng.choice(["cx", "cy", "cz", "ch", "swap", "iswap", "ecr", "dcx", "csx"]))(*qubits[:2])
        elif kind == 7 and n > 1:
            if rng.random() < 0.3:
                gate = rng.choice([HGate(), XGate(), SGate(), RYGate(0.3), PhaseGate(0.7)])
                circuit.append(gate.control(1, ctrl_state=rng.randrange(2)), qubits[:2])
            else:
                name = rng.choice(["crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "rzx"])
                getattr(circuit, name)(angle(), *qubits[:2])
        elif kind == 8 and depth:
            k = rng.randint(1, n)
            inner = random_qiskit(rng, depth - 1, k)
            plain = all(isinstance(item.operation, Gate) for item in inner.data)
            if plain or not any(isinstance(item.operation, ControlFlowOp) for item in inner.data):
                gate = inner.to_gate() if plain and rng.random() < 0.7 else inner.to_instruction()
                with suppress(QiskitError):  # Qiskit cannot control all that it takes for gates
                    if hasattr(gate, "control") and k < n and rng.random() < 0.4:
                        gate, k = gate.control(1, ctrl_state=rng.randrange(2)), k + 1
                    elif plain and rng.random() < 0.4:
                        gate = gate.inverse()
                if rng.random() < 0.7:
                    circuit.append(gate, qubits[:k])
                else:
                    circuit.for_loop(range(rng.randrange(3)), None, inner, qubits[: inner.num_qubits], [])
        elif kind == 9:
            letters = "".join(rng.choice("IXYZ") for _ in range(min(n, 2)))
            operator = SparsePauliOp([letters, letters[:-1] + "I"], [0.5, -0.25])  # they commute: no product formula
            circuit.append(PauliEvolutionGate(operator, time=angle()), qubits[: len(letters)])
        elif kind == 10:
            c, s = math.cos(0.7), math.sin(0.7)
            circuit.append(UnitaryGate([[c, -s], [s, c]]), [qubits[0]])
        else:
            circuit.barrier()
            circuit.global_phase += 0.5
    return circuit


def changed_qpy(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Other names, other numbers in angles, and less. Qiskit's decoder makes as many qubits, bits and bytes as a file
    says, before anybody can look at them, and dies where there is no room: counts stay as they are."""
    pairs = [(b"rx", b"ry"), (b"RXGate", b"RZGate"), (b"HGate", b"XGate"), (b"CXGate", b"CZGate"), (b"v[0]", b"v[1]"),
             (b"SGate", b"TGate"), (b"RZZGate", b"RXXGate"), (b"Barrier", b"Measure"), (b"XGate", b"IGate"),
             (b"UGate", b"HGate"), (b"SwapGate", b"ECRGate\0"), (b"HGate", b"Reset"), (b"id", b"zz")]  # fmt: skip
    here = [(a, b) for pair in pairs for a, b in (pair, pair[::-1]) if a in data]
    spots = [m.end() for m in re.finditer(rb"f\0{7}\x08", data)]  # of numbers, in eight bytes
    kind = rng.random()
    if here and kind < 0.5:
        a, b = rng.choice(here)
        return data.replace(a, b, rng.choice([1, -1]))
    if spots and kind < 0.9:
        at = rng.choice(spots)
        odd = struct.pack("<d", rng.choice([math.nan, math.inf, 1e308, 1e16, 5e-324, -0.0, rng.gauss(0, 9)]))
        return data[:at] + odd + data[at + 8 :]
    return data[: rng.randrange(len(data) + 1)]


def read_qpy(data: bytes, folder: Path, dear: bool) -> bool:
    from qiskit import qpy

    path = folder / "circuit.qpy"
    path.write_bytes(data)
    circuit = qpr.load_qpy(path)
    if circuit.n_qubits > SMALL or circuit.n_params > 100:
        return True
    theta = numbers(circuit.n_params)
    if circuit.channels:
        (theirs,) = qpy.load(io.BytesIO(data))
        return _mixed(circuit, theta, numbers(0), theirs)
    psi = final_state(circuit, theta)
    finite("a state", psi)
    (theirs,) = qpy.load(io.BytesIO(data))
    named, start = {}, 0
    for name, (_, size) in circuit.vectors.items():
        for k in range(size):
            named[f"{name}[{k}]" if size > 1 else name] = theta[start + k]
        start += size
    try:
        bound = theirs.assign_parameters({p: named[p.name] for p in theirs.parameters})
    except KeyError:
        return True  # other names than those that can be Python's
    phi = _state(bound)
    if phi is not None and np.isfinite(phi).all() and abs(np.linalg.norm(phi) - 1) < 1e-9 and apart(psi, phi) > 1e-8:
        raise Wrong("the state is not the one that Qiskit reads", psi, phi)
    return True
