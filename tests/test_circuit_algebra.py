"""Inverses, powers, controls and placed circuits against dense matrices, global phases included, and against Qiskit."""

import dense
import numpy as np
import pytest

import quprop as qpr
from quprop import Circuit, Model
from quprop.model.gates import GATES

t = qpr.params("t", 3)
x = qpr.inputs("x", 2)


def unitary(circuit, theta=(), data=()):
    """The dense matrix of a circuit's gates, phases included, by textbook matrices."""
    columns = []
    for k in range(2**circuit.n_qubits):
        start = Circuit(circuit.n_qubits, k, params=t, inputs=x)
        columns.append(dense.final_state(start.append(circuit), np.asarray(theta), np.asarray(data)))
    return np.array(columns).T


def random_circuit(rng, n, gates):
    """Gates of the whole table, rotations and exponentials, a global phase among them."""
    circuit = Circuit(n, params=t, inputs=x)
    angle = lambda: [t[0], 2 * t[1] - 0.3, x[0] * t[2], float(rng.uniform(-3, 3))][rng.integers(4)]  # noqa: E731
    for name in rng.choice([*GATES, "rotation", "exp"], gates):
        if name == "rotation":
            circuit.rotation("".join(rng.choice(list("IXYZ"), n)), angle())
        elif name == "exp":
            circuit.exp({"I": 0.7, "X0 X1": 1.0, "Z0 Z1": -0.4}, angle())
        else:
            spec = GATES[name]
            qubits = rng.permutation(n)[: spec.n_qubits].tolist()
            circuit.gate(str(name), *(angle() for _ in range(spec.n_angles)), *qubits)
    return circuit


THETA, DATA = np.array([0.3, -1.1, 0.8]), np.array([0.9, -0.2])


def single(name):
    spec = GATES[name]
    angles = np.random.default_rng(spec.n_angles).uniform(-3, 3, spec.n_angles)
    return Circuit(3).gate(name, *angles, *[2, 0, 1][: spec.n_qubits])


def controlled_matrix(u, n, controls, bits):
    """u on the low n qubits where the bits of the controls, above or among them, are right."""
    total = max(n, *(q + 1 for q in controls))
    right = np.all([(np.arange(2**total) >> q & 1) == b for q, b in zip(controls, bits, strict=True)], axis=0)
    wide = np.kron(np.eye(2 ** (total - n)), u)
    return np.where(right[:, None], wide, np.eye(2**total))


@pytest.mark.parametrize("name", list(GATES))
def test_every_gate_s_inverse_and_controlled_versions_are_those_of_its_textbook_matrix(name):
    circuit = single(name)
    u = unitary(circuit)
    assert np.abs(unitary(circuit.inverse()) - u.conj().T).max() < 1e-14
    for controls, state in (((3,), "1"), ((3,), "0"), ((4, 3), "10"), ((3, 4), None)):
        bits = [int(b) for b in state or "1" * len(controls)]
        made = circuit.control(controls, state)
        assert np.abs(unitary(made) - controlled_matrix(u, 3, controls, bits)).max() < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whole_circuits_invert_repeat_and_are_controlled_with_their_phase(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, 3, 12)
    u = unitary(circuit, THETA, DATA)
    assert np.abs(unitary(circuit.inverse(), THETA, DATA) @ u - np.eye(8)).max() < 1e-13
    for k in (-2, 0, 1, 3):
        assert np.abs(unitary(circuit.power(k), THETA, DATA) - np.linalg.matrix_power(u, k)).max() < 1e-13
        assert circuit.power(k).vectors == circuit.vectors
    once = circuit.control([4, 3], "01")
    assert np.abs(unitary(once, THETA, DATA) - controlled_matrix(u, 3, (4, 3), (0, 1))).max() < 1e-13
    twice = circuit.control(3).control([4], [0])
    assert np.abs(unitary(twice, THETA, DATA) - unitary(once, THETA, DATA)).max() < 1e-13


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_a_controlled_circuit_has_its_values(seed):
    """Through absorption and the engines: the phase of U is seen between |0> and |1> of the control."""
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, 2, 8) if seed else Circuit(2, params=t, inputs=x).t(0).h(0).p(t[0], 1).iswap(0, 1)
    test = Circuit(3, params=t, inputs=x).h(2).append(circuit.control(2))
    u = unitary(circuit, THETA, DATA)
    value = qpr.expectation(Model(test, ["X2", "Y2"]), THETA, DATA)
    np.testing.assert_allclose(value, [u[0, 0].real, u[0, 0].imag], atol=1e-12)


def test_arrays_of_rotations_invert_as_arrays_and_move_as_gates():
    circuit = Circuit(3, params=t).x_rotations([[0], [0, 2], [1, 2]], t, factor=0.7).h(0)
    u = unitary(circuit, THETA)
    assert np.abs(unitary(circuit.inverse(), THETA) - u.conj().T).max() < 1e-14
    placed = Circuit(4).compose(circuit, [3, 0, 2])
    assert np.abs(unitary(placed, THETA) - moved_matrix(u, [3, 0, 2], 4)).max() < 1e-14
    assert np.abs(unitary(circuit.control(3), THETA) - controlled_matrix(u, 3, (3,), (1,))).max() < 1e-13


def moved_matrix(u, places, n):
    """u's qubit k on places[k], the identity elsewhere."""
    size = 2**n
    kept = [q for q in range(n) if q not in places]
    low = lambda j: sum((j >> q & 1) << k for k, q in enumerate(places))  # noqa: E731
    rest = lambda j: [j >> q & 1 for q in kept]  # noqa: E731
    return np.array([[u[low(i), low(j)] if rest(i) == rest(j) else 0 for j in range(size)] for i in range(size)])


@pytest.mark.parametrize("seed", range(3))
def test_a_circuit_composed_on_qubits_is_its_matrix_on_them(seed):
    rng = np.random.default_rng(seed)
    first, then = random_circuit(rng, 4, 5), random_circuit(rng, 3, 8)
    places = rng.permutation(4)[:3].tolist()
    before = len(first)
    u = moved_matrix(unitary(then, THETA, DATA), places, 4) @ unitary(first, THETA, DATA)
    made = first.compose(then, places)
    assert np.abs(unitary(made, THETA, DATA) - u).max() < 1e-13
    assert len(first) == before and first.compose(then) == first + then


def test_channels_move_and_repeat_with_their_circuit():
    noisy = Circuit(2).rx(0.4, 0).amplitude_damping(0.1, 0).pauli_channel({"XZ": 0.2}, 0, 1)
    placed = Circuit(3).compose(noisy, [2, 1])
    same = Circuit(3).rx(0.4, 2).amplitude_damping(0.1, 2).pauli_channel({"XZ": 0.2}, 2, 1)
    assert placed == same
    assert noisy.power(2) == noisy + noisy


def test_named_gates_stay_named_under_controls():
    circuit = Circuit(1).x(0).y(0).z(0).rz(t[0], 0).p(0.3, 0).s(0).control(1)
    assert [op.name for op in circuit.operations] == ["cx", "cy", "cz", "crz", "cp", "cp"]
    assert [op.name for op in Circuit(2).cx(0, 1).x(0).control([3, 2]).control(4).operations[:1]] == ["exp"]
    assert [op.name for op in Circuit(2).cx(0, 1).cz(0, 1).control(2).operations] == ["ccx", "ccz"]


@pytest.mark.parametrize("state", [0, 1, 2, 3])
def test_qiskit_controls_inverts_and_composes_alike(state):
    qiskit = pytest.importorskip("qiskit")
    from qiskit.quantum_info import Operator

    book = qiskit.QuantumCircuit(3)
    ours = Circuit(3)
    for name, *rest in (("h", 0), ("t", 1), ("cx", 0, 2), ("ry", 0.3, 1), ("swap", 1, 2), ("sx", 2), ("cp", 0.7, 2, 0)):
        getattr(book, name)(*rest)
        getattr(ours, name)(*rest)
    wide = qiskit.QuantumCircuit(5)
    wide.append(book.to_gate().control(2, ctrl_state=state), [3, 4, 0, 1, 2])
    # Qiskit's number has the first control as its lowest bit
    made = ours.control([3, 4], f"{state:02b}"[::-1])
    assert np.abs(unitary(made) - Operator(wide).data).max() < 1e-12
    assert np.abs(unitary(ours.inverse()) - Operator(book.inverse()).data).max() < 1e-13
    larger = qiskit.QuantumCircuit(4).compose(book, [3, 1, 0])
    assert np.abs(unitary(Circuit(4).compose(ours, [3, 1, 0])) - Operator(larger).data).max() < 1e-13


NOISY = Circuit(2).rx(0.1, 0).depolarising(0.1, 0)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: NOISY.inverse(), "an inverse takes no noise"),
        (lambda: NOISY.power(-1), "an inverse takes no noise"),
        (lambda: NOISY.control(2), "a controlled circuit takes no noise"),
        (lambda: Circuit(2, "01").inverse(), "input state of its own"),
        (lambda: Circuit(2, "01").power(2), "input state of its own"),
        (lambda: Circuit(2, "01").control(2), "input state of its own"),
        (lambda: Circuit(2).compose(Circuit(1, "1"), [1]), "input state of its own"),
        (lambda: Circuit(2).power(0.5), "whole number"),
        (lambda: Circuit(2).h(0).power(10**9), "4194304 gates at most"),
        (lambda: Circuit(2).h(0).control(0), "no gate of the circuit acts on, got qubit 0"),
        (lambda: Circuit(2).h(0).control([]), "one qubit or more"),
        (lambda: Circuit(2).h(0).control([2, 2]), "each qubit once"),
        (lambda: Circuit(2).h(0).control([-1]), "whole-number qubits"),
        (lambda: Circuit(2).h(0).control("2"), "whole-number qubits"),
        (lambda: Circuit(2).h(0).control([2, 3], "1"), "2 controls is as many bits"),
        (lambda: Circuit(2).h(0).control([2], "2"), "as many bits"),
        (lambda: Circuit(2).ecr(0, 1).control(range(2, 40)), "1048576 rotations at most"),
        (lambda: Circuit(2).compose("x"), "only a Circuit"),
        (lambda: Circuit(2).compose(Circuit(2), [0]), "a place from 0 to 1"),
        (lambda: Circuit(2).compose(Circuit(2), [0, 2]), "a place from 0 to 1"),
        (lambda: Circuit(2).compose(Circuit(2), [1, 1]), "each qubit once"),
        (lambda: Circuit(2).rx(t[0], 0).compose(Circuit(1).rx(qpr.params("t", 4)[0], 0), [0]), "is taken"),
    ],
)
def test_what_has_no_inverse_control_or_place_is_refused(make, word):
    with pytest.raises(qpr.QupropError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)
