"""Angles, circuits and the gate table; Clifford absorption against dense matrices and against stim."""

import cases
import dense
import numpy as np
import pytest
import stim
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

import quprop as qpr
from quprop import Circuit, Model
from quprop.model.angle import Angle
from quprop.model.gates import GATES, Clifford
from quprop.simulate.state_vector.reference import ReferenceEngine

ENGINE = ReferenceEngine()
theta, x = qpr.params("theta", 6), qpr.inputs("x", 4)
NAN = float("nan")


def test_angles_are_polynomials_with_readable_text():
    assert repr(2 * theta[3] + 0.1) == "2*theta[3] + 0.1"
    assert repr(theta[0] * x[1]) == "theta[0]*x[1]"
    assert repr((1 - x[0]) * (2 - x[1])) == "-2*x[0] - x[1] + x[0]*x[1] + 2"
    assert repr(theta[0] - theta[0]) == "0" and (theta[0] - theta[0]).is_constant
    assert np.float64(2.0) * theta[1] == theta[1] * np.int64(2) == theta[1] + theta[1]
    assert np.pi - x[0] == -(x[0] - np.pi) and theta[2] / 2 == 0.5 * theta[2]
    assert theta[0] ** 2 == theta[0] * theta[0] and (theta[0] * x[0]).degree == 2
    assert hash(theta[0] + 1) == hash(1 + theta[0])


def test_vectors_index_iterate_and_slice():
    assert len(theta) == 6 and list(theta)[2] == theta[2] == theta[-4]
    assert [repr(a) for a in theta[1:5:2]] == ["theta[1]", "theta[3]"] and theta[2:][0] == theta[2]
    with pytest.raises(IndexError, match="0 to 5"):
        theta[6]


angles = st.recursive(
    st.sampled_from([theta[0], theta[1], x[0], Angle(0.5), Angle(-1.0)]),
    lambda a: st.one_of(
        st.tuples(st.just("+"), a, a), st.tuples(st.just("*"), a, a), st.tuples(st.just("-"), a, a)
    ).map(lambda t: t[1] + t[2] if t[0] == "+" else t[1] * t[2] if t[0] == "*" else t[1] - t[2]),
    max_leaves=6,
)


@given(angles, angles, angles)
def test_angles_form_a_commutative_ring(a, b, c):
    assert a + b == b + a and a * b == b * a and a + (-a) == Angle()
    assert a * (b + c) == a * b + a * c  # exact: all coefficients are small dyadic numbers


def test_every_gate_of_the_table_is_its_textbook_matrix():
    """Conjugation by our steps = conjugation by the matrix: equal up to a global phase."""
    rng = np.random.default_rng(0)
    for name, gate in GATES.items():
        values = rng.uniform(-3, 3, gate.n_angles)
        circuit = Circuit(3)
        for q in range(3):
            circuit.u(0.3 + q, 1.0 - q, 0.7, q)  # a state without symmetry
        circuit.gate(name, *values, *[2, 0, 1][: gate.n_qubits])
        model = Model(circuit, "Z0")
        actual = ENGINE.states(model, np.zeros((1, 0)), np.zeros((1, 0)))[0]
        expected = dense.final_state(circuit, ())
        assert_close(abs(np.vdot(expected, actual)), 1.0, 50), name


def test_the_issues_gates_are_all_there():
    wanted = "x y z h s sdg t tdg sx cx cy cz swap iswap ecr rx ry rz p u rxx ryy rzz crx cry crz cp ccx"
    assert not set(wanted.split()) - set(GATES)
    assert all(callable(getattr(Circuit(3), name)) for name in GATES)


@pytest.mark.parametrize("seed", range(20))
def test_absorbed_model_is_the_circuit(seed):
    """State (residual Clifford included) up to a phase, and expectation values, against dense matrices."""
    n = 1 + seed % 5
    rng = np.random.default_rng(seed)
    circuit = cases.random_circuit(seed, n, 40, state=None if seed % 3 else int(rng.integers(2**n)))
    observables = [cases.random_sum(rng, n, 4) for _ in range(3)]
    model = Model(circuit, observables)
    t, u = cases.values_for(model, seed=seed)
    actual = ENGINE.states(model, t[None], u[None])[0]
    assert_close(abs(np.vdot(dense.final_state(circuit, t, u), actual)), 1.0, 500)
    assert_close(ENGINE.values(model, t[None], u[None])[0], dense.values(circuit, observables, t, u), 500)


@pytest.mark.parametrize("seed", range(6))
def test_a_clifford_circuit_is_stims_tableau(seed):
    """No rotations are left, the residual is stim's own tableau, and observables are stim's conjugation."""
    rng, n = np.random.default_rng(seed), 70  # masks longer than a machine word
    fixed = {k: g for k, g in GATES.items() if g.n_angles == 0 and all(isinstance(s, Clifford) for s in g.builder())}
    circuit, theirs = Circuit(n), stim.Circuit()
    for name in rng.choice(sorted(fixed), 300):
        qubits = [int(q) for q in rng.permutation(n)[: fixed[name].n_qubits]]
        circuit.gate(name, *qubits)
        theirs.append(fixed[name].builder()[0].name, qubits)
    theirs.append("I", [n - 1])
    letters = "".join(rng.choice(list("IXYZ"), n))
    model = Model(circuit, letters)
    assert model.n_rotations == 0 and model.clifford == theirs.to_tableau()
    (pauli, sign), pulled = model.observables[0].terms[0], stim.PauliString(letters).before(theirs)
    assert ("+" if sign > 0 else "-") + pauli.dense(n).replace("I", "_") == str(pulled)


def test_fixed_quarter_turns_are_cliffords():
    circuit = (
        Circuit(3).rx(np.pi / 2, 0).rotation("XYZ", -np.pi).rzz(1.5 * np.pi, 0, 2).u(np.pi, 0, np.pi / 2, 1).rx(0, 2)
    )
    circuit.rx(np.pi / 2 + 1e-13, 1).ry(2 * np.pi, 0).exp({"XX": 1, "ZZ": -2}, np.pi / 2)
    model = Model(circuit, "X0 Z1")
    assert model.n_rotations == 0
    assert Model(Circuit(1).rx(np.pi / 2 + 1e-11, 0), "Z0").n_rotations == 1
    assert Model(Circuit(1).rx(0.0 * theta[0], 0), "Z0").n_rotations == 0
    state = ENGINE.states(model, np.zeros((1, 0)), np.zeros((1, 0)))[0]
    assert_close(abs(np.vdot(state, dense.final_state(circuit, ()))), 1.0, 100)


def test_vectors_are_laid_out_in_order_of_first_use():
    a, b = qpr.params("a", 2), qpr.params("b", 3)
    circuit = Circuit(1).rx(b[1], 0).ry(a[0], 0)
    model = Model(circuit, "Z0")
    assert model.param_names == ("b", "a") and model.param_sizes == (3, 2) and model.n_params == 5
    assert [m for r in model.rotations for m, _ in r.angle.terms] == [((0, 1),), ((0, 3),)]
    declared = Circuit(1, params=[a, b]).rx(b[1], 0).ry(a[0], 0)
    assert declared.layout(0) == (("a", 2), ("b", 3)) and declared.n_params == 5 and declared.n_inputs == 0


def test_circuits_chain_append_add_and_print():
    one, two = Circuit(3, "100").ry(theta[0], 0).cx(0, 1), Circuit(2).rz(x[0], 1)
    both = one + two
    assert (len(one), len(two), len(both)) == (2, 1, 3) and both.layout(1) == (("x", 4),) and not one.n_inputs
    assert one.append(two) is one and one == both and one != two
    assert str(both) == (
        "Circuit: 3 qubits, 3 gates, params theta[6], inputs x[4], from |100>\n  ry(theta[0]) 0\n  cx 0 1\n  rz(x[0]) 1"
    )
    long = Circuit(1)
    for _ in range(100):
        long.h(0)
    assert str(long).endswith("... 60 more")


def test_twice_the_circuit_is_appended_once():
    circuit = Circuit(1).h(0).s(0)
    assert len(circuit.append(circuit)) == 4


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Circuit(2).h(2), "qubits 0 to 1"),
        (lambda: Circuit(2).h(-1), "qubits 0 to 1"),
        (lambda: Circuit(2).cx(1, 1), "different qubits"),
        (lambda: Circuit(2).rx(0, 0.5), "whole-number"),
        (lambda: Circuit(2).h(True), "whole-number"),
        (lambda: Circuit(2).rx(0), "1 angle and then 1 qubit"),
        (lambda: Circuit(2).rxy(0.1, 0), "did you mean 'r"),
        (lambda: Circuit(2).gate("cnot", 0, 1), "no gate 'cnot'"),
        (lambda: Circuit(2).rx(NAN, 0), "finite"),
        (lambda: Circuit(2).rx(np.inf, 0), "finite"),
        (lambda: Circuit(2).rx("a", 0), "real number"),
        (lambda: Circuit(2).rx(1j, 0), "real number"),
        (lambda: Circuit(2).rx(theta, 0), "one entry"),
        (lambda: theta[0] * NAN, "finite"),
        (lambda: theta[0] / theta[1], "divided by a number"),
        (lambda: theta[0] ** -1, "powers"),
        (lambda: Circuit(2).rx(theta[0], 0).ry(qpr.params("theta", 3)[0], 0), "is taken"),
        (lambda: Circuit(2).rx(theta[0], 0).ry(qpr.inputs("theta", 6)[0], 0), "is taken"),
        (lambda: Circuit(2).rotation("X5", 0.1), "acts on qubit 5"),
        (lambda: Circuit(2).rotation("iX0", 0.1), "Hermitian"),
        (lambda: Circuit(2).rotation(3, 0.1), "Pauli string"),
        (lambda: Circuit(2).exp({"X0": 1, "Z0": 1}, theta[0]), "anticommute"),
        (lambda: Circuit(2).exp({"X0": NAN}, theta[0]), "finite"),
        (lambda: Circuit(2).exp({"X2": 1.0}, theta[0]), "acts on qubit 2"),
        (lambda: Circuit(0), "1 or more"),
        (lambda: Circuit(2.5), "whole number"),
        (lambda: Circuit(2, "012"), "2 characters"),
        (lambda: Circuit(2, 4), "from 0 to 3"),
        (lambda: Circuit(2, [0, 0, 0, 0]), "not all zero"),
        (lambda: Circuit(2, [NAN, 0, 0, 0]), "finite"),
        (lambda: Circuit(2, np.ones(5)), "shape"),
        (lambda: Circuit(2, [[1, 0], [0, 0]]), "not all zero"),
        (lambda: Circuit(2, qpr.inputs("x", 3)), "takes inputs"),
        (lambda: Circuit(2, qpr.params("x", 4)), "takes inputs"),
        (lambda: Circuit(2, params=x), "params"),
        (lambda: Circuit(2).append(Circuit(3)), "does not fit"),
        (lambda: Circuit(2).append(Circuit(2, "11")), "come first"),
        (lambda: Circuit(2).append("h"), "only a Circuit"),
        (lambda: qpr.params("a b", 3), "name"),
        (lambda: qpr.params("a", -1), "whole number"),
    ],
)
def test_bad_circuits_get_one_sentence(make, word):
    with pytest.raises(qpr.QupropError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_refused_gate_leaves_the_circuit_as_it_was():
    circuit = Circuit(2).h(0)
    with pytest.raises(qpr.QupropError):
        circuit.cx(0, 0)
    assert len(circuit) == 1
    assert not hasattr(circuit, "rxy")
