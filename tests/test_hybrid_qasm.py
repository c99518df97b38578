"""OpenQASM in and out: round trips, gates against textbook matrices and Qiskit's readers, and malformed programs."""

import re
import sys

import dense
import numpy as np
import pytest
from cases import CASES, random_circuit
from hypothesis import given, settings
from hypothesis import strategies as st
from qasm_programs import program as random_program
from tolerances import assert_close

import quprop as qpr
from quprop.errors import QupropError
from quprop.hybrid.qasm import from_qasm, to_qasm
from quprop.model import exact
from quprop.model.gates import GATES

pytest.importorskip("openqasm3")
pytest.importorskip("antlr4")

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
FROM_AMPLITUDES = {"amplitude_state", "encoded_state", "encoded_and_rotated"}


def values(circuit, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-3, 3, circuit.n_params), rng.uniform(-3, 3, circuit.n_inputs)


def apart(psi, phi):
    """How far two states are from equal up to a phase: the norm of the difference after the best phase."""
    overlap = np.vdot(phi, psi)
    return np.abs(psi - overlap / abs(overlap) * phi).max()


def unitary(circuit, theta=(), x=()):
    """The circuit's matrix (2^n, 2^n), column by column."""
    n = circuit.n_qubits
    columns = []
    for j in range(2**n):
        twin = qpr.Circuit(n, j)
        twin.vectors.update(circuit.vectors)
        columns.append(dense.final_state(twin.append(circuit), theta, x))
    return np.stack(columns, axis=1)


def same_unitary(a, b, theta=(), x=()):
    left, right = unitary(a, theta, x), unitary(b, theta, x)
    return np.abs(left - np.trace(right.conj().T @ left) / len(left) * right).max()


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_unitary_and_the_names_survive_a_round_trip(seed):
    circuit = random_circuit(seed, 3 + seed % 2, 60)
    back = from_qasm(to_qasm(circuit))
    assert list(back.vectors.items()) == list(circuit.vectors.items())
    assert same_unitary(circuit, back, *values(circuit, seed)) < 1e-12


@pytest.mark.parametrize("name", sorted(set(CASES) - FROM_AMPLITUDES))
def test_all_test_circuits_survive_in_both_versions(name):
    circuit = CASES[name].circuit
    theta, x = values(circuit)
    psi = dense.final_state(circuit, theta, x)
    three, two = from_qasm(to_qasm(circuit)), from_qasm(to_qasm(circuit, 2, theta=theta, x=x))
    assert list(three.vectors.items()) == list(circuit.vectors.items())
    assert apart(psi, dense.final_state(three, theta, x)) < 1e-12
    assert two.n_params == 0 and apart(psi, dense.final_state(two, ())) < 1e-12


@pytest.mark.parametrize("name", ["all_gates", "products_of_angles", "unused_parameters", "inputs", "constant_angles"])
def test_circuits_of_named_gates_come_back_equal(name):
    circuit = CASES[name].circuit
    assert from_qasm(to_qasm(circuit)) == circuit


def evaluated(expression, values):
    """An angle of the reference parser's tree, in numbers."""
    from openqasm3 import ast

    if isinstance(expression, ast.BinaryExpression):
        left, right = evaluated(expression.lhs, values), evaluated(expression.rhs, values)
        return {"+": left + right, "-": left - right, "*": left * right}[expression.op.name]
    if isinstance(expression, ast.UnaryExpression):
        assert expression.op.name == "-"
        return -evaluated(expression.expression, values)
    return values[expression.name] if isinstance(expression, ast.Identifier) else float(expression.value)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["all_gates", "products_of_angles", "inputs", "constant_angles", "random"])
def test_the_reference_parser_and_printer_see_the_gates_that_were_written(name, seed):
    """Names, qubits and angles of the tree that openqasm3 makes, and the state of what its printer writes."""
    import openqasm3
    from openqasm3 import ast

    circuit = random_circuit(seed, 4, 40) if name == "random" else CASES[name].circuit
    theta, x = values(circuit, seed)
    text = to_qasm(circuit, measured=2)
    tree = openqasm3.parse(text)
    flat = {
        f"{vector}_{k}": value
        for kind, given in ((0, theta), (1, x))
        for (vector, k), value in zip(
            [(v, k) for v, size in circuit.layout(kind) for k in range(size)], given, strict=True
        )
    }
    written = [
        ((g.name.name, [q.indices[0][0].value for q in g.qubits]), [evaluated(a, flat) for a in g.arguments])
        for g in tree.statements
        if isinstance(g, ast.QuantumGate)
    ]
    named = [op for op in circuit.bound(theta, x).operations if isinstance(op.target, tuple)]
    rest = iter(written)
    for op in named:  # in their order, with the input state before and rotations about strings between them
        expected = ({"u": "U"}.get(op.name, op.name), list(op.target))
        angles = [a.constant for a in op.angles]
        assert any(g[0] == expected and np.allclose(g[1], angles, rtol=1e-14, atol=1e-14) for g in rest), expected
    assert len(named) > 3 or name != "all_gates"
    assert sum(isinstance(s, ast.QuantumMeasurementStatement) for s in tree.statements) == 2
    printed = from_qasm(openqasm3.dumps(tree))
    assert apart(dense.final_state(printed, theta, x), dense.final_state(circuit, theta, x)) < 1e-12


def test_a_pauli_rotation_comes_back_as_one_and_floats_come_back_exact():
    t = qpr.params("t", 3)
    circuit = qpr.Circuit(4).rotation("X0 Y2 Z3", t[2] / 3 + 1e-17).rotation("Z1 Z2", 0.1 * t[0] * t[1] ** 2 - 1e22)
    back = from_qasm(to_qasm(circuit))
    assert back.operations[0] == circuit.operations[0]
    assert qpr.Model(back, "Z0") == qpr.Model(circuit, "Z0")


def test_arrays_come_back_as_well_and_a_gate_s_name_is_refused_for_one():
    a, b = qpr.params("a", 3), qpr.inputs("data", 2)
    circuit = qpr.Circuit(2).rx(b[1] * a[2], 0).ry(a[0], 1)
    text = to_qasm(circuit, arrays=True)
    assert "input array[float[64], 3] a;" in text and "@quprop.data\ninput array[float[64], 2] data;" in text
    assert from_qasm(text) == circuit
    with pytest.raises(QupropError, match="'x' is the name of a gate"):
        to_qasm(qpr.Circuit(1).rx(qpr.inputs("x", 1)[0], 0), arrays=True)


# Reading --------------------------------------------------------------------------------------------------------------


def test_theta_follows_the_order_of_declaration():
    program = THREE + "input float b; input float[64] a_0; input angle a_1; input float c_0; input float a_2; qubit q;"
    circuit = from_qasm(program + "rx(b) q; ry(a_0 - 2*a_1) q; rz(c_0*a_2) q;")
    assert circuit.layout(0) == (("b", 1), ("a", 2), ("c", 1), ("a_2", 1))
    theta = np.array([0.3, 1.1, -0.4, 0.7, 2.0])
    expected = qpr.Circuit(1).rx(0.3, 0).ry(1.1 + 0.8, 0).rz(1.4, 0)
    assert apart(dense.final_state(circuit, theta), dense.final_state(expected, ())) < 1e-14


def test_inputs_are_data_by_annotation_or_by_name():
    program = "input float w; @quprop.data\ninput array[float[64], 2] pixel; qubit q; U(w, pixel[0], pixel[-1]) q;"
    circuit = from_qasm(program)
    assert (circuit.layout(0), circuit.layout(1)) == ((("w", 1),), (("pixel", 2),))
    assert from_qasm(program.replace("@quprop.data\n", ""), inputs="pixel") == circuit
    with pytest.raises(QupropError, match="inputs='pixels' names no input of the program; did you mean 'pixel'"):
        from_qasm(program, inputs=["pixels"])


def _matrix(gate, n):
    out = np.eye(2**n) * np.exp(1j * gate.phase.constant)
    for string, angle in gate.turns:
        a = angle.constant / 2
        out = (np.cos(a) * np.eye(2**n) - 1j * np.sin(a) * dense.pauli_matrix(string, n)) @ out
    return out


@pytest.mark.parametrize("name", list(GATES))
def test_exact_gates_are_the_textbook_s_with_their_phase_under_controls_too(name):
    spec = GATES[name]
    n = spec.n_qubits
    angles = np.random.default_rng(n).uniform(-3, 3, spec.n_angles)
    book = dense.FIXED[name] if name in dense.FIXED else dense.TURNING[name](*map(np.asarray, angles), xp=np)
    gate = exact.exact(name, tuple(map(qpr.Angle, angles)), tuple(range(n))[::-1])  # the book's order
    assert np.abs(_matrix(gate, n) - book).max() < 1e-14
    assert np.abs(_matrix(exact.inverse(gate), n) - book.conj().T).max() < 1e-14
    for on in (0, 1):
        wide = np.eye(2 ** (n + 1), dtype=complex)
        half = slice(2**n, None) if on else slice(0, 2**n)
        wide[half, half] = book
        assert np.abs(_matrix(exact.controlled(gate, n, on), n + 1) - wide).max() < 1e-14


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("ctrl @ x q[0], q[1];", qpr.Circuit(3).cx(0, 1)),
        ("ctrl(2) @ x q;", None),
        ("ctrl(2) @ x q[2], q[0], q[1];", qpr.Circuit(3).ccx(2, 0, 1)),
        ("negctrl @ x q[0], q[1];", qpr.Circuit(3).x(0).cx(0, 1).x(0)),
        ("inv @ ctrl @ t q[0], q[1];", qpr.Circuit(3).cp(-np.pi / 4, 0, 1)),
        ("ctrl @ inv @ pow(3) @ rz(0.2) q[0], q[1];", qpr.Circuit(3).crz(-0.6, 0, 1)),
        ("pow(0.5) @ x q[0]; pow(2) @ h q[1]; pow(-1) @ s q[2];", qpr.Circuit(3).sx(0).sdg(2)),
        ("ctrl @ gphase(0.7) q[1];", qpr.Circuit(3).p(0.7, 1)),
        ("gate g(a) r, s { rx(2*a) r; gphase(a); cx r, s; } ctrl @ g(0.3) q[2], q[0], q[1];",
         qpr.Circuit(3).crx(0.6, 2, 0).p(0.3, 2).ccx(2, 0, 1)),
        ("h q; cz q[0], q[1:2];", qpr.Circuit(3).h(0).h(1).h(2).cz(0, 1).cz(0, 2)),
        ("let a = q[2] ++ q[0]; cx a[0], a[1];", qpr.Circuit(3).cx(2, 0)),
        ("let a = q[2:-1:0]; cx a[0], a[2]; x q[{0, 1}];", qpr.Circuit(3).cx(2, 0).x(0).x(1)),
        ("for int i in [0:2] { rx(i * pi / 7) q[i]; if (i > 1) { h q[0]; } }",
         qpr.Circuit(3).rx(np.pi / 7, 1).rx(2 * np.pi / 7, 2).h(0)),
        ("const int n = 2; float w = 0.5; w += n; rz(w ** n) q[n]; ry(sin(w) / 3) q[-1];",
         qpr.Circuit(3).rz(6.25, 2).ry(np.sin(2.5) / 3, 2)),
        ("cu3(0.1, 0.2, 0.3) q[0], q[1];", qpr.Circuit(3).rz(0.05, 1).p(0.25, 0).cx(0, 1)
         .u(-0.05, 0, -0.25, 1).cx(0, 1).u(0.05, 0.2, 0, 1)),
        ("bit[3] c; reset q; h q[1]; barrier q; delay[5ns] q[0]; c = measure q; c[0] = measure q[0];",
         qpr.Circuit(3).h(1)),
    ],
)  # fmt: skip
def test_the_language_s_forms_mean_what_they_say(program, expected):
    if expected is None:
        with pytest.raises(QupropError, match=r"^line 3, column \d+: "):
            from_qasm(THREE + "qubit[3] q; " + program)
        return
    found = from_qasm(THREE + "qubit[3] q; " + program)
    assert same_unitary(found, expected) < 1e-13


def test_what_comes_after_the_end_is_not_part_of_the_circuit():
    assert from_qasm(THREE + "qubit q; h q; end; x q;") == qpr.Circuit(1).h(0)


def test_version_2_has_its_power_its_built_ins_and_its_measurements():
    program = TWO + "qreg q[2]; creg c[2]; rx(2^3/7) q[0]; ry(-ln(2)) q[1]; measure q -> c;"
    assert from_qasm(program) == qpr.Circuit(2).rx(8 / 7, 0).ry(-np.log(2), 1)
    plain = "OPENQASM 2.0; qreg q[2]; gate a(x) p, r { U(x,0,0) p; CX p, r; } a(0.3) q[1], q[0];"
    assert from_qasm(plain) == qpr.Circuit(2).u(0.3, 0, 0, 1).cx(1, 0)


@pytest.mark.parametrize("seed", range(3))
def test_qiskit_reads_what_is_written_and_agrees(seed):
    qasm2, qasm3 = pytest.importorskip("qiskit.qasm2"), pytest.importorskip("qiskit.qasm3")
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit.quantum_info import Statevector

    circuit = random_circuit(seed, 4, 80)
    theta, x = values(circuit, seed)
    psi = dense.final_state(circuit, theta, x)
    program = qasm3.loads(to_qasm(circuit))
    named = {f"theta_{k}": v for k, v in enumerate(theta)} | {f"x_{k}": v for k, v in enumerate(x)}
    bound = program.assign_parameters({p: named[p.name] for p in program.parameters})
    assert apart(psi, Statevector(bound).data) < 1e-12
    assert apart(psi, Statevector(qasm2.loads(to_qasm(circuit, 2, theta=theta, x=x))).data) < 1e-12


LONG = (
    "rccx q[0],q[1],q[2]; c3x q[0],q[1],q[2],q[3]; c4x q[0],q[1],q[2],q[3],q[4]; c3sqrtx q[0],q[1],q[2],q[3];"
    "cswap q[0],q[1],q[2]; ch q[0],q[2]; csx q[0],q[1]; cu(0.1,0.2,0.3,0.4) q[0],q[1]; cu3(0.1,0.2,0.3) q[1],q[0];"
    "cu1(0.2) q[1],q[2]; u2(0.1,0.2) q[0]; u0(1) q[1]; rxx(0.2) q[0],q[1]; rzz(0.3) q[1],q[2]; sxdg q[0]; id q[2];"
)


def test_the_libraries_gates_are_qiskit_s():
    qasm2 = pytest.importorskip("qiskit.qasm2")
    from qiskit.quantum_info import Statevector

    program = TWO + "qreg q[5]; h q; t q; rx(0.3) q;" + LONG + "h q; t q; ry(0.4) q;"
    theirs = qasm2.loads(program, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    assert apart(dense.final_state(from_qasm(program), ()), Statevector(theirs).data) < 1e-12


# The rules of each version -------------------------------------------------------------------------------------------


def u_of_3(theta, phi, lam):
    """U as the specification of version 3 writes it, with period 2 pi in theta."""
    e = np.exp(1j * np.array([theta, phi, lam]))
    return np.array([[1 + e[0], -1j * e[2] * (1 - e[0])], [1j * e[1] * (1 - e[0]), e[1] * e[2] * (1 + e[0])]]) / 2


def with_control(u, on=1):
    """The (4, 4) matrix with qubit 0 the control and qubit 1 the target, qubit 0 the lowest bit of an index."""
    out = np.eye(4, dtype=complex)
    out[on::2, on::2] = u
    return out


def same_up_to_phase(a, b):
    return np.abs(a - np.trace(b.conj().T @ a) / len(a) * b).max()


@pytest.mark.parametrize("angles", [(np.pi / 2, 0.0, 0.0), (0.4, -1.1, 2.3), (5.9, 3.0, -0.2)])
@pytest.mark.parametrize(
    ("modifiers", "matrix"),
    [
        ("ctrl", with_control),
        ("negctrl", lambda u: with_control(u, 0)),
        ("ctrl @ inv", lambda u: with_control(u.conj().T)),
        ("pow(3) @ ctrl", lambda u: with_control(u @ u @ u)),
        ("ctrl @ pow(-2)", lambda u: with_control(np.linalg.inv(u @ u))),
    ],
)
def test_the_phase_of_U_in_version_3_is_the_specification_s_under_modifiers(angles, modifiers, matrix):
    found = from_qasm(f"qubit[2] q; {modifiers} @ U({', '.join(map(repr, angles))}) q[0], q[1];")
    assert same_up_to_phase(unitary(found), matrix(u_of_3(*angles))) < 1e-13


# The gates of stdgates.inc by the two that are built in, as the specification 3.1 has them.
STANDARD_FILE = """OPENQASM 3.1;
gate p(l) a { ctrl @ gphase(l) a; } gate x a { U(π, 0, π) a; gphase(-π/2); }
gate y a { U(π, π/2, π/2) a; gphase(-π/2); } gate z a { p(π) a; } gate h a { U(π/2, 0, π) a; gphase(-π/4); }
gate s a { pow(0.5) @ z a; } gate sdg a { inv @ pow(0.5) @ z a; } gate t a { pow(0.5) @ s a; }
gate tdg a { inv @ pow(0.5) @ s a; } gate sx a { pow(0.5) @ x a; }
gate rx(t) a { U(t, -π/2, π/2) a; gphase(-t/2); } gate ry(t) a { U(t, 0, 0) a; gphase(-t/2); }
gate rz(l) a { gphase(-l/2); U(0, 0, l) a; } gate cx a, b { ctrl @ x a, b; } gate cy a, b { ctrl @ y a, b; }
gate cz a, b { ctrl @ z a, b; } gate cp(l) a, b { ctrl @ p(l) a, b; } gate crx(t) a, b { ctrl @ rx(t) a, b; }
gate cry(t) a, b { ctrl @ ry(t) a, b; } gate crz(t) a, b { ctrl @ rz(t) a, b; } gate ch a, b { ctrl @ h a, b; }
gate swap a, b { cx a, b; cx b, a; cx a, b; } gate ccx a, b, c { ctrl @ ctrl @ x a, b, c; }
gate cswap a, b, c { ctrl @ swap a, b, c; } gate cu(t, f, l, g) a, b { p(g - t/2) a; ctrl @ U(t, f, l) a, b; }
gate phase(l) q { U(0, 0, l) q; } gate cphase(l) a, b { ctrl @ phase(l) a, b; } gate id a { U(0, 0, 0) a; }
gate u1(l) q { U(0, 0, l) q; } gate u2(f, l) q { gphase(-(f + l + π/2)/2); U(π/2, f, l) q; }
gate u3(t, f, l) q { gphase(-(f + l + t)/2); U(t, f, l) q; }
"""


@pytest.mark.parametrize("gate", re.findall(r"gate (\w+(?:\([\w, ]*\))? [\w, ]+) {", STANDARD_FILE))
def test_the_standard_file_pasted_is_the_standard_file_included_under_controls_too(gate):
    name, angles, operands = re.fullmatch(r"(\w+)(\(.*\))? (.*)", gate).groups()
    count = (angles or "").count(",") + bool(angles)
    values = f"({', '.join(['0.3', '-1.2', '2.9', '0.7'][:count])})" if count else ""
    n = operands.count(",") + 1
    for modifier, size in (("", n), ("ctrl @ ", n + 1), ("ctrl @ inv @ ", n + 1)):
        call = f"qubit[{size}] q; {modifier}{name}{values} {', '.join(f'q[{k}]' for k in range(size))};"
        assert same_unitary(from_qasm(STANDARD_FILE + call), from_qasm(THREE + call)) < 1e-13, call


def test_the_specification_s_own_controlled_not_leaves_plus_plus_alone():
    program = """OPENQASM 3.0;
    gate X q { U(pi, 0, pi) q; gphase(-pi/2); } gate H q { U(pi/2, 0, pi) q; gphase(-pi/4); }
    gate CX c, t { ctrl @ X c, t; } qubit[2] r; H r[0]; H r[1]; CX r[0], r[1];"""
    assert_close(qpr.expectation(from_qasm(program, ["X0", "Y0"]), []), [1.0, 0.0], 100)
    direct = THREE + "qubit[2] r; h r[0]; ctrl @ U(pi/2, 0, 0) r[0], r[1];"
    assert_close(qpr.expectation(from_qasm(direct, ["X0", "Y0"]), []), [0.5, 0.5], 100)


@pytest.mark.parametrize(
    "gate", ["x", "y", "z", "h", "s", "t", "sx", "U(0.3, 0.2, -0.4)", "u3(3.1, 0.2, 2.0)", "rx(3)", "id"]
)
@pytest.mark.parametrize("k", [0.5, -0.25, 1.5])
def test_a_fractional_power_is_the_principal_one(gate, k):
    scipy_linalg = pytest.importorskip("scipy.linalg")
    wide = unitary(from_qasm(THREE + f"qubit[2] q; ctrl @ {gate} q[0], q[1];"))
    wide = wide / wide[0, 0]  # the identity where the control is 0
    # eigenvalues -1 are e^{i pi}: a hair turned back before the root, and forth after it
    u = scipy_linalg.fractional_matrix_power(wide[1::2, 1::2] * np.exp(-1e-9j), k) * np.exp(1e-9j * k)
    found = unitary(from_qasm(THREE + f"qubit[2] q; ctrl @ pow({k}) @ {gate} q[0], q[1];"))
    assert same_up_to_phase(found, with_control(u)) < 1e-12


def angle_of(text):
    """The angle of the last gate of a program of one qubit."""
    return from_qasm(text).operations[-1].angles[0].constant


@pytest.mark.parametrize(
    ("declarations", "expression", "value"),
    [
        ("", "pi*(1/2)", 0.0),
        ("", "2 + 3 - 1/5", 5.0),
        ("", "7/2", 3.0),
        ("", "7/2.0", 3.5),
        ("", "-8/2", -4.0),
        ("const int n = 7; const float w = n/2;", "w", 3.0),
        ("int i = 9; i /= 2; float x = 9; x /= 2;", "i + x", 8.5),
        ("", "7 % 4 + mod(7.5, 2)", 4.5),
        ("", "2**3**2 - 2.0**-1", 511.5),
        ("int[32] a = 2; int[32] b = 3;", "1000*(a*b) + 100*(b/a) + 10*(b%a) + a**b", 6118.0),
        ("uint[6] b = 37;", "rotl(b, 3) + popcount(b)", 47.0),
        ("uint[4] a = 9;", "100*(~a) + 10*(a << 1) + (a >> 1)", 624.0),
        ('const bit[8] b = "0010_1010";', "uint[8](b) + uint[8](rotr(b, 1))", 42.0 + 21.0),
        ("uint[4] a = 6;", "a[1] + a[3] + uint[2](a[1:2])", 4.0),
        ("uint[8] u = 255;", "int[8](u)", -1.0),
        ("float[32] w = 0.1;", "w", float(np.float32(0.1))),
        ("array[int[8], 3] a = {5, 6, 7};", "a[-1]/2", 3.0),
        # the specification's examples of the type angle
        ("angle[4] a = 9 * (pi / 8);", "a << 2", np.pi / 2),
        ("angle[4] a = 9 * (pi / 8);", "a >> 2", np.pi / 4),
        ("angle[4] a = 7 * (pi / 8); angle[4] b = pi / 8;", "a + b", np.pi),
        ("angle[4] a = 7 * (pi / 8); angle[4] b = pi / 8;", "b - a", 5 * np.pi / 4),
        ("angle[4] a = 7 * (pi / 8); uint[4] two = 2;", "a / two", 3 * np.pi / 8),
        ("angle[4] c = 5 * (pi / 4); uint[4] two = 2;", "two * c", np.pi / 2),
        ("angle[4] c = 5 * (pi / 4); angle[4] b = pi / 8;", "c / b", 10.0),
        ("angle[4] a = pi / 4;", "-a", 7 * np.pi / 4),
        ("angle[8] a = 6.283185307179586 * (127. / 512.);", "a", np.pi / 2),
        ("angle a = -pi / 2;", "a / 2", 3 * np.pi / 4),
    ],
)
def test_numbers_of_version_3_follow_their_types(declarations, expression, value):
    assert angle_of(f"{THREE}{declarations} qubit q; rx({expression}) q;") == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("declarations", "expression", "sentence"),
    [
        ("", "-7/2", "does not say to which side"),
        ("", "-7 % 4", "does not say to which side"),
        ("", "2**-1", "no whole number"),
        ("", "2**63", "int holds 64 bits"),
        ("", "~1", "takes bits"),
        ("", "7.5 % 2", "takes whole numbers"),
        ("uint[4] a = 1;", "a - 2", "no sign, got -1"),
        ("uint[4] a = 15;", "a + a", "holds 0 to 15, got 30"),
        ("int[4] a = 8;", "a", "holds -8 to 7, got 8"),
        ("uint a = 3;", "-a", "no sign"),
        ("int a = 2.7;", "a", "whole numbers, got 2.7"),
        ("const int n = 2; n = 3;", "n", "cannot be assigned"),
        ("int n = 2; gate g a { rx(n) a; }", "n", ""),
        ('bit[2] b = "01";', "b + 1", "bit register is none"),
        ('bit[2] b = "01";', "uint[3](b)", "2 bits are a uint[2]"),
        ("angle[4] a = pi;", "a + 0.1", "cast the float"),
        ("angle a = 0.3;", "a - 0.5", "leaves 0 to 2 pi"),
        ("angle[8] a = pi;", "a ** 2", "not defined"),
        ("complex[float[64]] z = 1.0;", "z", "complex variables are not read"),
        ("", "ln(2)", "no function 'ln'"),
        ("array[float[64], 2] a = {1.0};", "a[0]", "array of 2 entries"),
        ("input float a; angle[8] b = a;", "b", "depends on the inputs"),
        ("uint i = 3;", "i < -1", "compares a uint with a negative number"),
    ],
)
def test_what_the_specification_leaves_open_or_forbids_is_refused(declarations, expression, sentence):
    if not sentence:  # variables that are not constant are unknown inside gates
        declarations, expression, sentence = declarations + " qubit r; g r;", "1", "make n const"
    with pytest.raises(QupropError, match=r"^line \d+, column \d+: ") as caught:
        from_qasm(f"{THREE}{declarations} qubit q; rx({expression}) q;")
    assert sentence in str(caught.value)


def test_an_exponent_that_older_standard_files_write_as_a_fraction_is_refused():
    with pytest.raises(QupropError, match=r"line 1, column 12: .* such as pow\(0\.5\)"):
        from_qasm("gate g a { pow(1/2) @ U(pi, 0, 0) a; } qubit q; g q;")


def test_bits_of_a_constant_are_known_and_loops_run_over_them():
    program = THREE + "uint[4] a = 1; qubit[4] q; for uint i in [0:3] { if (bool(a[i])) x q[i]; }"
    assert from_qasm(program) == qpr.Circuit(4).x(0)
    program = THREE + 'const bit[3] s = "110"; int k = 0; qubit[3] q; for bit b in s { if (b) x q[k]; k += 1; }'
    assert from_qasm(program) == qpr.Circuit(3).x(1).x(2)
    program = THREE + "qubit[2] q; for int[8] i in {1, 0} { box { rx(i + 1) q[i]; } }"
    assert from_qasm(program) == qpr.Circuit(2).rx(2, 1).rx(1, 0)


def test_version_2_reserves_its_own_words_only():
    words = re.findall(
        r"\w+",
        """input output in let bit def angle int uint float bool end array box for while inv pow ctrl negctrl const
        return extern delay duration stretch case switch default cal defcal qubit gphase im mutable readonly complex tau
        euler durationof continue break true false else void pragma defcalgrammar""",
    )
    for word in words:
        program = f"{TWO}gate g_{word}(a) {word} {{ rx(a) {word}; }}\nqreg {word}[2];\n"
        program += f"g_{word}(1/2) {word}[1]; cx {word}[0],{word}[1];"
        assert from_qasm(program) == qpr.Circuit(2).rx(0.5, 1).cx(0, 1), word
        as_gate = f"{TWO}gate {word}(pow) a {{ rz(pow/3) a; }}\nqreg q[1];\n{word}(2) q[0];"
        assert from_qasm(as_gate) == qpr.Circuit(1).rz(2 / 3, 0), word
    with pytest.raises(QupropError, match=r"line 4, column 7: there is no gate 'hh'"):
        from_qasm(TWO + "qreg in[5];\nx in; hh in[0];")
    with pytest.raises(QupropError, match="line 3"):  # what only version 3 has is no statement of version 2
        from_qasm(TWO + "qubit[2] q;")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3/2", 1.5),
        ("2^3^2", 512),
        ("-2^2", -4),
        ("2^-1", 0.5),
        ("-7/2", -3.5),
        ("1/2*3", 1.5),
        ("ln(exp(2))", 2),
        ("10^20/10^19", 10),
    ],
)
def test_every_number_of_version_2_is_real(expression, value):
    assert angle_of(f"{TWO}qreg q[1]; rx({expression}) q[0];") == pytest.approx(value, rel=1e-15)


def test_opaque_gates_are_declared_and_refused_when_called():
    head = TWO + "opaque magic(a,b) q,r;\nopaque delay(t) q;\nopaque plain q;\nqreg q[1];\n"
    assert from_qasm(head + "x q[0]; delay(10.0) q[0];") == qpr.Circuit(1).x(0)
    with pytest.raises(QupropError, match="line 7, column 1: plain is opaque"):
        from_qasm(head + "plain q[0];")
    with pytest.raises(QupropError, match="line 7, column 1: delay takes 1 angle and 1 qubit, got 0"):
        from_qasm(head + "delay q[0];")


def test_a_byte_order_mark_is_no_text():
    assert from_qasm("\ufeff" + TWO + "qreg q[1];\nx q[0];") == qpr.Circuit(1).x(0)


def test_a_gate_s_body_means_the_gates_that_were_defined_before_it():
    program = TWO + "gate before a { sx a; } gate sx a { y a; } gate p(l) a { x a; } qreg q[1];"
    assert from_qasm(program + "before q[0]; u1(0.3) q[0]; sx q[0];") == qpr.Circuit(1).sx(0).p(0.3, 0).y(0)


def test_hardware_qubits_are_numbered_as_their_names_say():
    qasm3, qiskit = pytest.importorskip("qiskit.qasm3"), pytest.importorskip("qiskit")
    from qiskit.quantum_info import Statevector

    assert from_qasm(THREE + "bit[2] c; x $2; cx $2, $0; barrier $3; c[0] = measure $0;") == qpr.Circuit(4).x(2).cx(
        2, 0
    )
    circuit = qiskit.QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.ry(0.3, 2)
    circuit.cx(0, 2)
    line = qiskit.transpile(circuit, basis_gates=["rz", "sx", "cx"], coupling_map=[[0, 1], [1, 2]], seed_transpiler=1)
    text = qasm3.dumps(line)
    assert "$1" in text
    assert apart(dense.final_state(from_qasm(text), ()), Statevector(line).data) < 1e-12


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("seed", range(15))
def test_random_programs_are_what_qiskit_reads(version, seed):
    qasm2, qasm3 = pytest.importorskip("qiskit.qasm2"), pytest.importorskip("qiskit.qasm3")
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit.quantum_info import Statevector

    if version == 2:
        text = random_program(seed, 2)
        theirs = qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    else:
        text, theirs = random_program(seed, 3), qasm3.loads(random_program(seed, 3, inline=True))
    ours = from_qasm(text)
    psi = Statevector(theirs).data
    assert apart(dense.final_state(ours, ()), psi) < 1e-11, text
    for written in (to_qasm(ours), to_qasm(ours, 2)):
        assert apart(dense.final_state(from_qasm(written), ()), psi) < 1e-11


DOUBLING = "".join(f"gate g{k} a {{ g{k - 1} a; g{k - 1} a; }}\n" for k in range(1, 50))


@pytest.mark.parametrize(
    "program",
    [
        "gate g0 a { x a; }\n" + DOUBLING + "qubit q; g49 q;",
        "gate g0 a { }\n" + DOUBLING + "qubit[2] q; ctrl @ g49 q[0], q[1];",
        f"qubit[30] q; ctrl(29) @ x {', '.join(f'q[{k}]' for k in range(30))};",
        "qubit[65536] q; for int i in [0:100000] { let a = q[0:-1]; }",
        "qubit[50000] q; let a = q ++ q; let b = a ++ a ++ a ++ a; let c = b ++ b ++ b ++ b ++ b; let d = c ++ c ++ c;",
        "input array[float[64], 200000] a; qubit q; float s = 0; for int i in [0:199999] { s = s + a[i]; }",
    ],
)
def test_programs_that_grow_without_bound_are_refused_where_they_are_called_not_when_they_have_grown(program):
    few = "a[i]" in program
    with pytest.raises(QupropError, match=r"more than (50,000|1,000,000) gates and steps") as caught:
        from_qasm(THREE + program, max_gates=50_000 if few else 1_000_000)
    assert str(caught.value).startswith(f"line {len((THREE + program).splitlines())}, ")


def test_all_gates_of_qiskit_s_version_2_file_are_known():
    qasm2 = pytest.importorskip("qiskit.qasm2")
    from qiskit.quantum_info import Statevector

    program = TWO + "qreg q[4]; h q; t q; rx(0.3) q; rc3x q[0],q[1],q[2],q[3]; h q; t q; ry(0.4) q;"
    theirs = qasm2.loads(program, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    assert apart(dense.final_state(from_qasm(program), ()), Statevector(theirs).data) < 1e-12


@pytest.fixture
def depth_of_python():
    """Python's own limit of recursion: compilers of other libraries raise it for the rest of the process."""
    found = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(found)


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "place", "sentence"),
    [
        ("qubit[2] q;\nh q[0]\ncx q[0], q[1];", (5, 1), "';' is missing before 'cx'"),
        ("qubit[2] q;\n  hh q[0];", (4, 3), "there is no gate 'hh'"),
        ("qubit[2] q;\nx q[2];", (4, 3), "index 2 is beyond the register, which has qubits 0 to 1"),
        ("qubit[2] q;\ncx q[0], q[0];", (4, 1), "different qubits"),
        ("qubit[2] q; qubit[3] r;\ncx q, r;", (4, 1), "equally long, got 2 and 3"),
        ("qubit q;\nrx(0.1, 0.2) q;", (4, 1), "rx takes 1 angle and 1 qubit, got 2 and 1"),
        ("input float a; qubit q;\nrx(sin(a)) q;", (4, 4), "polynomials of the inputs"),
        ("input float a; qubit q;\nrx(1 / a) q;", (4, 4), "polynomials of the inputs"),
        ("input int a; qubit q;", (3, 1), "type float or angle"),
        ("qubit[2] q; bit c;\nc = measure q;", (4, 1), "2 qubits go into 1 bit"),
        ("qubit q; bit[2] c;\nc[2] = measure q;", (4, 1), "index 2 is beyond the register, which has bits 0 to 1"),
        ("qubit q;\nbarrier r;", (4, 9), "'r' is declared nowhere"),
        ("qubit q; bit c;\nc = measure q;\nx q;", (5, 1), "measured in line 4"),
        ("qubit[2] q; bit c;\nc = measure q[0];\nif (c == 1) { x q[1]; }", (5, 5), "measured bits"),
        ("qubit q;\nbit c = measure q;\nreset q;", (5, 1), "was measured in line 4"),
        ("qubit q;\nwhile (true) { x q; }", (4, 1), "control flow"),
        ("def f(qubit a) { x a; }\nqubit q;", (3, 1), "define a gate instead"),
        ('include "mine.inc";\nqubit q;', (3, 1), "paste the file's text"),
        ("qubit q;\nx $0;", (4, 3), "hardware qubit"),
        ("x $0;\nqubit q;", (4, 1), "hardware qubits"),
        ("x $65536;", (3, 3), "$0 to $65535"),
        ("qubit q;\nrx(0.1 + w) q;", (4, 10), "'w' is declared nowhere"),
        ("qubit q;\nrx(1e308 * 10.0) q;", (4, 4), "too large"),
        ("qubit q;\nrx(1 / 0) q;", (4, 4), "no value"),
        ("qubit[1000000000] q;", (3, 1), "65,536"),
        ("qubit q;\nfor int i in [0:1000000000] { x q; }", (4, 1), "more than 10,000 gates"),
        ("qubit q;\npow(1000000000000) @ h q;", (4, 1), "more than 10,000 gates"),
        ("gate g a { g a; }\nqubit q;\ng q;", (3, 12), "themselves"),
        ("gate h a { x a; }", (3, 1), "defined already"),
        ("qubit q; qubit q;", (3, 10), "is declared twice; rename it"),
        ("bit c;", (1, 1), "declares no qubits"),
        ("qubit q;\nrx(" + "(" * 200 + "1" + ")" * 200 + ") q;", (4, 103), "nested more than 100 deep"),
        ("qubit q;\nrx(" + "-" * 1500 + "1) q;", None, "nested too deeply"),
        ("qubit q;\nrx(" + "1+" * 1500 + "1) q;", None, "nested too deeply"),
        ("input array[float[64], 1000000000000] a; qubit q;", (3, 1), "262,144"),
        ("input float a; qubit q;\nrx((a + 1) ** 1000000) q;", (4, 4), "degree 32"),
        ("input array[float[64], 100] a; qubit q; "
         "rx((" + "+".join(f"a[{k}]" for k in range(100)) + ") ** 8) q;", None, "10,000 terms"),
        ("@quprop.data\ninput float a_0; input float a_1; qubit q;", (4, 18), "annotate them alike"),
        ("qubit q;\n\x00", (4, 1), "not OpenQASM"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_line_and_column(program, place, sentence, depth_of_python):
    with pytest.raises(QupropError) as caught:
        from_qasm(THREE + program, max_gates=10_000)
    text = str(caught.value)
    assert sentence in text, text
    found = re.match(r"line (\d+), column (\d+): ", text)
    assert found and "\n" not in text, text
    assert place is None or (int(found[1]), int(found[2])) == place, text


def test_a_program_without_its_include_is_told_so():
    with pytest.raises(QupropError, match=r'line 1, column 10: the gate h is defined nowhere; add include "stdgates'):
        from_qasm("qubit q; h q;")
    with pytest.raises(QupropError, match=r"OpenQASM 2 and 3 are read, got version 1\.0"):
        from_qasm("OPENQASM 1.0;")
    with pytest.raises(QupropError, match="takes the program's text, got int"):
        from_qasm(3)


def test_what_cannot_be_written_is_refused():
    with pytest.raises(QupropError, match="pass theta=, 2 numbers"):
        to_qasm(qpr.Circuit(1).rx(qpr.params("a", 2)[0], 0), 2)
    with pytest.raises(QupropError, match="this circuit from amplitudes"):
        to_qasm(CASES["encoded_state"].circuit)
    with pytest.raises(QupropError, match="version is 2 or 3, got 4"):
        to_qasm(qpr.Circuit(1), 4)
    with pytest.raises(QupropError, match="leave theta and x out"):
        to_qasm(qpr.Circuit(1), theta=[1.0])


SEEDS = [
    THREE
    + """@quprop.data
input float[64] x_0;
input array[float[64], 4] theta;
gate foo(a, b) c, d { rz(a*2) c; cx c, d; gphase(b); ctrl @ ry(b-a) d, c; }
const int n = 3; const float w = pi/2;
qubit[3] q; qubit r; bit[3] c;
let z = q[0:1] ++ q[2:2];
h q; foo(theta[0]*x_0, 0.3) q[0], r;
ctrl(2) @ negctrl @ x q[0], q[1], q[2], r;
for int i in [0:2] { rx(theta[i]**2 + w*i) q[i]; pow(2) @ inv @ t z[i]; }
if (n == 3) { u3(1,2,3) q[0]; } else { x r; }
barrier q; c = measure q;
""",
    TWO
    + """qreg q[5];
creg c[2];
gate a(x,y) p,r { U(x,0,y) p; CX p,r; barrier p,r; }
h q; cu3(0.1,0.2,0.3) q[0],q[1]; c4x q[0],q[1],q[2],q[3],q[4];
a(2^3/7, -sin(0.3)) q[0],q[1];
measure q[0] -> c[0];
""",
    THREE
    + """uint[4] a = 9; angle[8] t = pi/4; bit[3] s = "101"; array[int[8], 2] v = {3, -4}; float[32] w = 7/2;
const int n = 5; x $3; a <<= 1; t += pi/8; s = ~s; w /= n;
for bit b in s { if (b && a[1]) rx(t * 2) $0; }
for uint[8] i in [1:3] { rz(v[0] / i + int(w) % 2 + rotl(a, i)) $1; ctrl @ U(t, 2**i, -w) $0, $2; }
gate g(l) p, q { pow(0.5) @ h p; negctrl @ g2(l/2) p, q; } let z = $0; pow(n/2) @ x $1;
""",
]
PIECES = ["\n", "\0"]
PIECES += re.findall(
    r"\S+",
    """( ) [ ] { } ; , @ ctrl inv pow( negctrl q q[0] q[-1] 1e308 1e999 99999999999999999999 - * ** / % ^ ~ ! && == ++
    : [0: int float input gate def measure -> = += while for in if else " ' // /* */ $0 pi sin( array[ #pragma @x cal
    opaque uint[4] angle[ bit[3] "01" $1 int[65]( <<= %= rotl( popcount( bool( float[32]( 7/2 {1,2} \ufeff
    0x 1.5ns true U gphase( reset let qubit bit bool theta x_0 π é 🙂 box delay[ switch case durationof( sizeof( return
    end; complex[float] 3im "0101" output extern **1000 << defcalgrammar OPENQASM 2.0""",
)


@st.composite
def mutations(draw):
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 12)))
        kind = draw(st.integers(0, 3))
        piece = draw(st.sampled_from(PIECES)) if kind < 2 else text[start:stop] * draw(st.integers(0, 3))
        text = text[:start] + piece + text[start if kind == 0 else stop :]
    return text


def only_our_errors(text):
    try:
        from_qasm(text, max_gates=2000)
    except QupropError as error:
        assert re.match(r"line \d+, column \d+: ", str(error)), str(error)


@settings(max_examples=150)
@given(mutations())
def test_mutated_programs_never_crash(text):
    only_our_errors(text)


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)))
def test_random_text_never_crashes(text):
    only_our_errors(text)


@pytest.mark.slow
@settings(max_examples=4000)
@given(mutations())
def test_many_mutated_programs_never_crash(text):
    only_our_errors(text)


RESET = """OPENQASM 3.0;
include "stdgates.inc";
qubit[3] q;
reset q;
ry(0.4) q[0];
cx q[0], q[1];
reset q[0:1];
h q[0];
"""


def test_a_reset_of_a_used_qubit_is_a_channel_and_of_a_fresh_one_nothing():
    circuit = from_qasm(RESET)
    assert circuit == qpr.Circuit(3).ry(0.4, 0).cx(0, 1).reset(0).reset(1).h(0)
    values = qpr.expectation(qpr.Model(from_qasm(RESET.replace("q[0:1]", "q[0]")), ["X0", "Z1"]), [])
    assert_close(values, [1.0, np.cos(0.4)], 100)


@pytest.mark.parametrize("version", [2, 3])
def test_a_full_reset_is_written_and_read_and_other_channels_are_refused(version):
    circuit = qpr.Circuit(2).h(0).cx(0, 1).reset(0).h(0).reset(1)
    assert from_qasm(to_qasm(circuit, version)) == circuit
    for noisy in (circuit.copy().reset(0, 0.5), circuit.copy().bit_flip(0.1, 0)):
        with pytest.raises(QupropError, match="OpenQASM takes no noise"):
            to_qasm(noisy, version)
