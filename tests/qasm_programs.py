"""Random programs in OpenQASM 2 and 3, of what people write: registers, definitions, broadcasts, constants."""

import re

import numpy as np

ONE = ["x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "id"]
TURNS = ["rx", "ry", "rz", "p"]
TWO_QUBITS = ["cx", "cy", "cz", "ch", "swap"]
CONTROLLED_TURNS = ["cp", "crx", "cry", "crz"]
TYPES = ("int", "float[64]", "uint[16]")
NAMES_OF_2 = re.findall(r"\w+", "in input let bit angle pow ctrl box delay tau int end def im stretch a_b q0")


def expression(rng, version, names, depth=2):
    """A number: of version 3 with whole numbers that divide as such, all of them positive."""
    if version == 3 and names and names[0][0] == "a":  # inside a gate: what Qiskit allows there
        return f"{rng.choice(names)}{rng.choice(['*', '/'])}{rng.integers(1, 9)}"
    kind = rng.integers(0, 5 if depth else 2)
    if kind == 0:
        return str(rng.choice([f"{rng.integers(1, 9)}", f"{rng.uniform(0.1, 3):.3f}", "pi"]))
    if kind == 1:
        return str(rng.choice(names)) if names else "pi"
    if kind == 2 and version == 2:
        return f"{rng.choice(['sin', 'cos', 'exp', 'sqrt'])}({rng.uniform(0.1, 2):.3f})"
    left, right = (expression(rng, version, names, depth - 1) for _ in range(2))
    if kind == 3 and version == 2:
        return f"({left})^{rng.integers(0, 3)}/{rng.integers(1, 9)}"
    if rng.integers(2):
        return f"({left}){rng.choice(['+', '*'])}({right})"
    return f"{left}{rng.choice(['+', '*', '/'])}{rng.integers(1, 9)}"


def call(rng, version, names, defined, qubits):
    """One gate on some of the qubits, with modifiers in version 3."""
    kind = rng.integers(0, 6)
    angle = f"({expression(rng, version, names)})"
    if kind == 5 and defined:
        name, n, angles = defined[rng.integers(len(defined))]
        text = f"{name}({', '.join(expression(rng, version, names) for _ in range(angles))})" if angles else name
    elif kind >= 4:  # Qiskit's controlled u3 has another phase than the standard's
        name, n, count = ("u3", 1, 3) if version == 2 else ("cu", 2, 4)
        text = f"{name}({', '.join(expression(rng, version, names) for _ in range(count))})"
    else:
        lists = ((ONE, 1, ""), (TURNS, 1, angle), (TWO_QUBITS, 2, ""), (CONTROLLED_TURNS, 2, angle))
        choices, n, suffix = lists[kind]
        text = rng.choice(choices) + suffix
    if text.startswith("cu("):
        pass  # Qiskit's inverse of a controlled cu is none
    elif version == 3 and n < len(qubits) and rng.integers(3) == 0:
        text, n = f"{rng.choice(['ctrl', 'negctrl'])} @ {'inv @ ' * int(rng.integers(2))}{text}", n + 1
    elif version == 3 and rng.integers(8) == 0:
        text = f"inv @ {text}"
    if n > len(qubits):
        return call(rng, version, names, defined, qubits)
    return f"{text} {', '.join(rng.permutation(qubits)[:n])};"


def program(seed, version, inline=False):
    """The text of a random program without measurements in the middle; inline writes its constants' values."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, 2)
    registers = [str(n) for n in rng.choice(NAMES_OF_2, 2, replace=False)] if version == 2 else ["q", "anc"]
    out = [f"OPENQASM {version}.0;", f'include "{"qelib1" if version == 2 else "stdgates"}.inc";', "// a comment"]
    values = {}
    if version == 3:
        values = {"n": str(rng.integers(1, 9)), "w": f"(pi/{rng.integers(1, 9)})", "k": str(rng.integers(1, 99))}
        declared = [f"const {t} {name} = {v};" for t, (name, v) in zip(TYPES, values.items(), strict=True)]
        out += [] if inline else declared
    constants = [v if inline else name for name, v in values.items()]
    defined = []
    for i in range(int(rng.integers(0, 3))):
        angles, inner = [f"a{i}_{j}" for j in range(rng.integers(0, 3))], [f"b{j}" for j in range(rng.integers(1, 4))]
        body = [call(rng, version, angles, defined, inner) for _ in range(rng.integers(1, 5))]
        if version == 3 and rng.integers(2):
            body.append(f"gphase({expression(rng, 3, angles)});")
        given = f"({', '.join(angles)})" if angles else ""
        out.append(f"gate my{i}{given} {', '.join(inner)} {{\n  {' '.join(body)}\n}}")
        defined.append((f"my{i}", len(inner), len(angles)))
    for name, size in zip(registers, sizes, strict=True):
        out.append(f"qreg {name}[{size}];" if version == 2 else f"qubit[{size}] {name};")
    out.append(f"creg c[{sizes[0]}];" if version == 2 else f"bit[{sizes[0]}] c;")
    qubits = [f"{name}[{k}]" for name, size in zip(registers, sizes, strict=True) for k in range(size)]
    out.append(f"h {registers[0]};")
    for _ in range(int(rng.integers(5, 20))):
        out.append(call(rng, version, constants, defined, qubits))
        if rng.integers(6) == 0:
            out.append(f"barrier {registers[1]};")
        if rng.integers(6) == 0:
            out.append(f"{rng.choice(ONE)} {rng.choice(registers)};")
    return "\n".join(out) + "\n"
