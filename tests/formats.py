"""What `fuzzing` feeds to quprop: every format that is read, a grammar of it, and what an accepted input must do.

`from formats import FORMATS`; those whose libraries are not installed are left out.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import math
import random
import re
import shutil
import struct
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import stim
import tomli_w
from dense import final_state, pauli_matrix, sum_matrix
from faults import stopped
from fuzzing import CORPUS, Format, Wrong, known, one_sentence
from qasm_programs import program

import quprop as qpr
from quprop.ansatz import data_reuploading
from quprop.cli.train import _given
from quprop.cost import Cost
from quprop.hardware import hardware
from quprop.optimise import LBFGS, adam
from quprop.problems.run import configure, definition_of
from quprop.problems.run import find as find_problem
from quprop.problems.table import PROBLEMS
from quprop.runs import RunFolder
from quprop.train import TrainingFailed, train

ODD: list[Any] = [None, True, False, 0, 1, -1, 2, 3, 1.5, -0.0, 1e308, 1e-320, math.nan, math.inf, 2**63, 10**30]
ODD += ["", " ", "X0", "Z9999999999", "theta[0]", "x[1]*x[1]", '<b id="zz">&\'', "\0", "é\n", "1", "x" * 100]
ODD += [[], {}, [[]], [0] * 5]
MARKUP = '<b id="zz">'
SMALL = 6  # qubits up to which values are compared

# -- changes of texts, trees and bytes --------------------------------------------------------------------------------


def changed_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(out) + 1)
        to = min(len(out), at + rng.choice([1, 1, 2, 4, 8, 64]))
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:to] = rng.randbytes(to - at)
        elif kind == 2:
            del out[at : to if rng.random() < 0.8 else None]
        elif kind == 3:
            out[at:at] = out[at:to]
        else:
            start = rng.randrange(len(other) + 1)
            out[at:to] = other[start : start + to - at]
    return bytes(out)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree."""
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            todo.append(node[key])
    return found


def odd(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(ODD))


def nudged(rng: random.Random, value: Any) -> Any:
    """Something of the same type, mostly."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, -value, 2 * value, float(value)])
    if isinstance(value, float):
        return rng.choice([-value, value * rng.uniform(0.5, 2), value + 1, value * 1e9, 0.0])
    if isinstance(value, str) and value:
        k = rng.randrange(len(value))
        return value[:k] + rng.choice(["", value[k] * 2, rng.choice("XYZ019 []*-+é<"), value[::-1]]) + value[k + 1 :]
    if isinstance(value, list) and value:
        return rng.choice([value[::-1], value[1:], value + value[:1], rng.sample(value, len(value))])
    return odd(rng)


def change_tree(rng: random.Random, tree: Any, other: Any) -> None:
    """A few places of a tree of dictionaries and lists get other content, in place."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        spots = places(tree)
        if not spots:
            return
        container, key = rng.choice(spots)
        kind = rng.randrange(10)
        if kind < 5:
            container[key] = nudged(rng, container[key])
        elif kind < 7:
            container[key] = odd(rng)
        elif kind == 7:
            del container[key]
        elif kind == 8 and (donors := places(other)):
            donor, name = rng.choice(donors)
            container[key] = json.loads(json.dumps(donor[name]))
        elif isinstance(container, dict):
            container[nudged(rng, key) if rng.random() < 0.5 else str(odd(rng))] = container.pop(key)


def changed_json(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.1:
        return changed_bytes(rng, data, other)
    try:
        tree, donor = [json.loads(data)], json.loads(other)
        change_tree(rng, tree, donor)
        return json.dumps(tree[0] if tree else None).encode()
    except (ValueError, RecursionError):
        return changed_bytes(rng, data, other)


def finite(what: str, *arrays: Any) -> None:
    for array in arrays:
        if not np.isfinite(array).all():
            raise Wrong(f"{what} is not finite", array)


def numbers(count: int) -> np.ndarray:
    return np.cos(1.0 + np.arange(count))


# -- models as JSON ----------------------------------------------------------------------------------------------------


def random_string(rng: random.Random, n: int) -> str:
    qubits = rng.sample(range(n), rng.randint(1, min(n, 3)))
    return " ".join(f"{rng.choice('XYZ')}{q}" for q in sorted(qubits))


def random_images(rng: random.Random, n: int) -> list[list[str]]:
    tableau = stim.Tableau(n)
    for _ in range(rng.choice([0, 2, 6])):
        name = rng.choice(["H", "S", "CX"] if n > 1 else ["H", "S"])
        tableau.append(stim.Tableau.from_named_gate(name), rng.sample(range(n), 2 if name == "CX" else 1))
    return [[str(f(q)) for q in range(n)] for f in (tableau.x_output, tableau.z_output)]


def random_model(rng: random.Random) -> dict[str, Any]:
    n, n_params, n_inputs = rng.randint(1, 4), rng.randint(0, 4), rng.randint(0, 3)

    def angle() -> dict[str, float]:
        names = [f"theta[{k}]" for k in range(n_params)] + [f"x[{k}]" for k in range(n_inputs)] + ["1"]
        out = {}
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            factors = [rng.choice(names) for _ in range(rng.choice([1, 1, 1, 2]))]
            name = "1" if "1" in factors else "*".join(sorted(factors))
            out[name] = rng.choice([1.0, -1.0, 0.5, math.pi, rng.gauss(0, 1), 0, 2])
        return out

    state: list[Any] = ["basis", rng.randrange(1 << n)]
    if n_inputs == 1 << n:
        state = ["encoded", 0]
    return {
        "format": "quprop-model",
        "version": 1,
        "n_qubits": n,
        "params": [["theta", n_params]] if n_params else [],
        "inputs": [["x", n_inputs]] if n_inputs else [],
        "state": state,
        "observables": [
            {random_string(rng, n) if rng.random() < 0.9 else "I": rng.gauss(0, 2) for _ in range(rng.randint(1, 3))}
            for _ in range(rng.choice([1, 1, 2]))
        ],
        "clifford": random_images(rng, n),
        "rotations": [[random_string(rng, n), angle()] for _ in range(rng.randint(0, 8))],
    }


def make_model(rng: random.Random) -> bytes:
    tree = random_model(rng)
    if rng.random() < 0.2:
        size = sum(k for _, k in tree["params"])
        theta = [rng.gauss(0, 1) for _ in range(size)] if rng.random() < 0.7 else None
        tree = {"format": "quprop-module", "version": 1, "name": rng.choice(["", "a", "<b>"]), "theta": theta,
                "frozen": theta is not None and rng.random() < 0.5, "model": tree}  # fmt: skip
    return json.dumps(tree).encode()


def read_model(data: bytes, folder: Path, dear: bool) -> bool:
    path = folder / "model.json"
    path.write_bytes(data)
    kind = qpr.Module if b"quprop-module" in data[:60] else qpr.Model
    made = kind.load(path)
    if dear:
        if kind.from_text(made.to_text()).to_text() != made.to_text():
            raise Wrong("what is written is not what was read")
        str(made)
        tree = json.loads(data)
        works(made.model if isinstance(made, qpr.Module) else made, tree.get("model", tree))
    return True


def dense_value(tree: dict[str, Any], theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> float:
    """Of the file's own numbers, by matrices; nothing of the model that was read takes part."""
    n = tree["n_qubits"]
    psi = np.zeros(1 << n, complex)
    psi[tree["state"][1]] = 1
    for string, angle in tree["rotations"]:
        turn = 0.0
        for monomial, coefficient in angle.items():
            factors = [] if monomial == "1" else monomial.split("*")
            chosen = [{"theta": theta, "x": x}[f.split("[")[0]][int(f.split("[")[1][:-1])] for f in factors]
            turn += coefficient * math.prod(chosen)
        matrix = pauli_matrix(qpr.PauliString.parse(string), n)
        psi = math.cos(turn / 2) * psi - 1j * math.sin(turn / 2) * (matrix @ psi)
    total = sum(w * sum_matrix(qpr.PauliSum(o), n) for w, o in zip(weights, tree["observables"], strict=True))
    return float(np.vdot(psi, total @ psi).real)


def works(model: qpr.Model, tree: dict[str, Any]) -> None:
    """Values and gradients are finite, or refused, and those of the reference and of dense matrices."""
    if model.n_qubits > SMALL or model.n_rotations > 500 or model.n_params + model.n_inputs > 2000:
        return
    theta, x = numbers(model.n_params), numbers(model.n_inputs) if model.n_inputs else None
    weights = numbers(model.n_observables)
    value, gradient = qpr.value_and_grad(model, theta, x, weights=weights)
    finite("a value or gradient", value, gradient)
    sizes = [sum(abs(c) for _, c in r.angle.terms) for r in model.rotations]
    scale = sum(abs(c) for o in model.observables for _, c in o.items())
    if max(sizes, default=0) > 1e4 or not np.isfinite(scale):
        return
    slope = 1 + sum(len(m) * abs(c) for r in model.rotations for m, c in r.angle.terms)
    value_2, gradient_2 = qpr.value_and_grad(model, theta, x, weights=weights, engine="reference")
    # Relative to what is added up; subnormal numbers have no digits left to compare.
    if abs(value - value_2) > 1e-10 * slope * scale + 1e-300:
        raise Wrong("the value is not the reference's", value, value_2)
    if model.state.kind == "basis" and model.n_qubits <= 4:
        value_3 = dense_value(tree, theta, numbers(model.n_inputs), weights)
        if abs(value - value_3) > 1e-10 * slope * scale + 1e-300:
            raise Wrong("the value is not that of the file's numbers", value, value_3)
    if np.abs(gradient - gradient_2).max(initial=0) > 1e-10 * slope**2 * scale + 1e-300:
        raise Wrong("the gradient is not the reference's", gradient, gradient_2)


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


# -- TOML --------------------------------------------------------------------------------------------------------------

CALLS = ["h(0)", "ry(theta[0], 1)", "cx(0, 1)", "rx(2*theta[1] + pi/4, 0)", "rotation('X0 Y1', theta[0]*theta[2])",
         "rzz(0.3, 0, 1)", "p(-theta[3], 1)", "rotation('Z0', 1e3)", "x(1)", "cz(1, 0)"]  # fmt: skip
BUILT = ("tfim", "hamiltonian", "maxcut", "h2")  # what is quickly made


def toml_tree(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.3:
        tree: dict[str, Any] = {"rotation_seconds": rng.choice([1e-6, 2e-3, 1, 0])}
        extra = {"name": "ours", "measurement_seconds": 5e-6, "overhead_seconds": 0.1, "parallel": 3, "qubits": 20,
                 "source": "our lab"}  # fmt: skip
        return tree | {k: v for k, v in extra.items() if rng.random() < 0.5}
    name = rng.choice([*PROBLEMS, *BUILT, *BUILT])
    tree = {"problem": {"name": name}, "model": {}, "train": {}}
    for section, settings in find_problem(name).schema.items():
        for key, setting in settings.items():
            if key in ("name", "file") or rng.random() < 0.6:
                continue
            value = setting.default
            if setting.choices:
                value = rng.choice(setting.choices)
            elif key == "gates":
                value = rng.sample(CALLS, rng.randint(1, 5))
            elif key == "terms":
                continue
            elif isinstance(value, bool):
                value = rng.random() < 0.5
            elif isinstance(value, int):
                value = rng.randint(int(setting.least or 0), 5)
            elif isinstance(value, float):
                value = rng.choice([value, 0.5, 1, abs(rng.gauss(0, 1))])
            if value is not None:
                tree[section][key] = value
    if name == "hamiltonian":
        tree["problem"]["terms"] = {random_string(rng, 3): rng.gauss(0, 1) for _ in range(rng.randint(1, 4))}
    return tree


def make_toml(rng: random.Random) -> bytes:
    return tomli_w.dumps(toml_tree(rng)).encode()


def changed_toml(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.2:
        return changed_bytes(rng, data, other)
    try:
        tree, donor = (tomllib.loads(d.decode()) for d in (data, other))
        change_tree(rng, tree, donor)
        return tomli_w.dumps(tree).encode()
    except (ValueError, TypeError, RecursionError):  # what was no TOML, or JSON's null, which TOML lacks
        return changed_bytes(rng, data, other)


def read_toml(data: bytes, folder: Path, dear: bool) -> bool:
    path = folder / "given.toml"
    path.write_bytes(data)
    if b"rotation_seconds" in data:
        finite("a time", hardware(path).seconds(Cost(copies=3, rotations=100, measurements=7, depth=50, qubits=2)))
        return True
    name, given = _given(str(path))
    config = configure(name, given)
    sizes = (config["problem"].get("n") or 0, config["model"].get("layers", 0), len(config["model"].get("gates", ())))
    if dear and name in BUILT and max(sizes) <= SMALL and len(config["problem"].get("terms", "")) < 20:
        if name == "hamiltonian" and any(len(re.findall(r"\d\d", k)) for k in config["problem"]["terms"]):
            return True  # of many qubits
        problem = find_problem(name).build(config)
        if problem.model.n_qubits <= SMALL:
            theta = problem.start(np.random.default_rng(0))["theta"]
            finite("an energy", qpr.expectation(problem.model, theta))
            finite("a reference", problem.reference.get("reference_energy", 0.0))
    return True


# -- runs --------------------------------------------------------------------------------------------------------------


def _samples() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(4, 3))
    return x, (x[:, 0] > 0).astype(int)


def _resume(kind: str, out: Path, begin: bool = False) -> Any:
    model = qpr.Model(data_reuploading(2, 1, 3), ["Z0", "Z1"])
    common = {"data": _samples(), "head": True, "rng": 3, "threads": 1, "out": out, "checkpoint_seconds": 0.0}
    if kind == "lbfgs":
        alone = qpr.Model(qpr.ansatz.hardware_efficient(2, 1), {"Z0 Z1": 1.0, "X0": -0.7})
        steps = {"steps": 3}
        return train(alone, optimiser=LBFGS(), resume=not begin, **steps, **{k: common[k] for k in list(common)[2:]})
    optimiser = stopped(adam(0.05), 2) if begin else adam(0.05)
    return train(model, "cross_entropy", optimiser=optimiser, batch_size=2, epochs=2, resume=not begin, **common)


@cache
def _begun(kind: str) -> dict[str, bytes]:
    """A run folder of two optimiser steps, or of L-BFGS, file -> content: that of the corpus, whose checkpoints belong
    to it, or where it has none a new one."""
    path = CORPUS / "run" / f"{kind}.json"
    if path.exists():
        return unpacked(path.read_bytes())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        with suppress(KeyboardInterrupt):
            _resume(kind, folder, begin=True)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_checkpoint(rng: random.Random) -> bytes:
    """As it was written, or with other numbers of the right kind and the sums that go with them."""
    data = _begun(rng.choice(["pairs", "lbfgs"]))["checkpoint.npz"]
    return rebuilt(rng, data, valid=True)


def rebuilt(rng: random.Random, data: bytes, valid: bool = False) -> bytes:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    key = rng.choice(list(arrays))
    array = arrays[key]
    if valid:
        if array.dtype == float and not key.startswith(("points", "losses", "slopes")):
            arrays[key] = array + rng.gauss(0, 0.1)
    elif key == "meta":
        tree = json.loads(array.tobytes())
        change_tree(rng, tree, tree)
        arrays[key] = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    else:
        kind = rng.randrange(9)
        if kind < 4 and array.size:
            odd = [np.nan, np.inf, 1e308, -1, 0, 7, 2**40]
            arrays[key] = array.copy()
            arrays[key].flat[rng.randrange(array.size)] = rng.choice(odd if array.dtype == float else odd[3:])
        elif kind == 4:
            arrays[key] = array.astype(rng.choice([np.float32, np.int32, complex, bool, "S4", "U2"]), casting="unsafe")
        elif kind == 5:
            arrays[key] = rng.choice([array[None], array.ravel()[:-1], array.ravel()[:0], np.zeros((2, 2))])
        elif kind == 6:
            del arrays[key]
        elif kind == 7:
            arrays[key] = arrays[rng.choice(list(arrays))]
        else:
            arrays[rng.choice(["params/x", "state/9", "../up", "meta2", "file"])] = array
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def changed_checkpoint(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.2:
        return changed_bytes(rng, data, other)
    try:
        return rebuilt(rng, data)
    except Exception:  # it is damaged already
        return changed_bytes(rng, data, other)


def read_checkpoint(data: bytes, folder: Path, dear: bool) -> bool:
    kind = "lbfgs" if b"slopes.npy" in data else "pairs"
    run = _written(folder, {**_begun(kind), "checkpoint.npz": data})
    return _goes_on(kind, run)


def _goes_on(kind: str, run: Path) -> bool:
    try:
        result = _resume(kind, run)
    except TrainingFailed as failed:  # the state was of the right form, and led nowhere
        one_sentence(str(failed))
        return False
    finite("a resumed run", result.loss, *result.params.values())
    return True


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for name, content in files.items():
        (run / name).write_bytes(content)
    return run


RUN_FILES = ("run.toml", "model.json", "metrics.jsonl", "checkpoint.npz", "summary.json", "rows.jsonl")


def packed(files: dict[str, bytes]) -> bytes:
    """A folder as JSON: texts with bytes as letters of Latin-1, archives in base64."""
    kept = {name: files[name] for name in RUN_FILES if name in files}
    return json.dumps(
        {k: base64.b64encode(v).decode() if k.endswith(".npz") else v.decode("latin-1") for k, v in kept.items()}
    ).encode()


def unpacked(data: bytes) -> dict[str, bytes]:
    files = json.loads(data)
    return {k: base64.b64decode(v) if k.endswith(".npz") else v.encode("latin-1") for k, v in files.items()}


def make_run(rng: random.Random) -> bytes:
    files = dict(_begun(rng.choice(["pairs", "lbfgs"])))
    for name in ("checkpoint.npz", "model.json", "metrics.jsonl"):
        if rng.random() < 0.1:
            del files[name]
    return packed(files)


def changed_run(rng: random.Random, data: bytes, other: bytes) -> bytes:
    try:
        files, donor = unpacked(data), unpacked(other)
        name = rng.choice(list(files))
    except IndexError:  # nothing is left in it
        return data
    content, theirs = files[name], donor.get(name, b"")
    if rng.random() < 0.1:
        files[rng.choice(RUN_FILES)] = files.pop(name)
    elif name == "run.toml":
        files[name] = changed_toml(rng, content, theirs)
    elif name.endswith(".json"):
        files[name] = changed_json(rng, content, theirs)
    elif name.endswith(".jsonl"):
        lines = content.split(b"\n")
        k = rng.randrange(len(lines))
        lines[k] = changed_json(rng, lines[k], rng.choice(lines))
        files[name] = b"\n".join(lines)
    else:
        files[name] = changed_checkpoint(rng, content, theirs)
    return packed(files)


def read_run(data: bytes, folder: Path, dear: bool) -> bool:
    """The report shows it or says why not, and it goes on or is refused."""
    files = unpacked(data)
    run = _written(folder, files)
    if find_spec("jinja2") and dear:
        _shown(run)
    with suppress(qpr.QupropError):
        definition_of(RunFolder.open(run))
    kind = "lbfgs" if "LBFGS" in files.get("run.toml", b"").decode("latin-1") else "pairs"
    return _goes_on(kind, run)


# -- reports -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _results() -> list[bytes]:
    return [path.read_bytes() for path in known("report") if not path.name.startswith(("found-", "bad-"))]


def make_report(rng: random.Random) -> bytes:
    """A result with other numbers."""
    tree = [json.loads(rng.choice(_results()))]
    spots = [(c, k) for c, k in places(tree) if isinstance(c[k], float)]
    for container, key in rng.sample(spots, min(len(spots), 3)):
        container[key] *= rng.uniform(0.5, 2)
    return json.dumps(tree[0]).encode()


def read_report(data: bytes, folder: Path, dear: bool) -> bool:
    path = folder / "result.json"
    path.write_bytes(data)
    return _shown(path)


def _shown(path: Path) -> bool:
    """Whether a report of it has sections; every note is one line and no text becomes markup."""
    from quprop.report.html import collect, render

    report = collect([path])
    for note in report.all_notes():
        one_sentence(note)
    if MARKUP in render(report):
        raise Wrong("a text of the file is markup in the report")
    return bool(report.sections)


# -- all ---------------------------------------------------------------------------------------------------------------

FORMATS = {
    "model": Format(".json", make_model, changed_json, read_model),
    "toml": Format(".toml", make_toml, changed_toml, read_toml),
    "checkpoint": Format(".npz", make_checkpoint, changed_checkpoint, read_checkpoint),
    "run": Format(".json", make_run, changed_run, read_run),
}
if find_spec("jinja2") and find_spec("plotly"):
    from quprop.report.html.bundle import plotly_gzip

    plotly_gzip()  # once, before any process is forked
    FORMATS["report"] = Format(".json", make_report, changed_json, read_report)
if find_spec("openqasm3") and find_spec("qiskit"):
    import qiskit.qasm2
    import qiskit.qasm3
    import qiskit.quantum_info

    for _version, _make in ((2, make_qasm2), (3, make_qasm3)):
        FORMATS[f"qasm{_version}"] = Format(".qasm", _make, changed_program, read_qasm(_version))
if find_spec("qiskit"):
    import qiskit.qpy  # noqa: F401

    FORMATS["qpy"] = Format(".qpy", make_qpy, changed_qpy, read_qpy)
