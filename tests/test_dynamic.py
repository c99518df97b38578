"""Measurements in the middle, gates under measured bits, resets, post-selection: against branches that do measure."""

import itertools

import numpy as np
import pytest

import quprop as qpr
from quprop.model.pauli import PauliSum

THETA = qpr.params("theta", 4)


def program():
    """A teleportation-like circuit with every kind of step, in quprop's words."""
    circuit = qpr.DynamicCircuit(3).ry(THETA[0], 0).rx(0.4, 1).cx(0, 1).rzz(THETA[1], 1, 2)
    circuit.measure(0, "a").when("a", qpr.Circuit(3).ry(THETA[2], 2).h(1))
    circuit.ry(0.7, 0).cx(0, 2).measure(2, "b").reset(2).ry(THETA[0] * 2, 2)
    return circuit.when({"a": 0, "b": 1}, qpr.Circuit(3).rotation("X0 Y1", THETA[3]).x(2).s(0))


def branches(theta):
    """[(amplitudes, bits)] of `program` by dense matrices, every measurement projecting: probabilities are the squared
    norms."""
    X = np.array([[0, 1], [1, 0]])
    Y = np.array([[0, -1j], [1j, 0]])
    Z = np.diag([1, -1])
    H = (X + Z) / np.sqrt(2)

    def on(**matrices):  # q0=..., qubit 0 is the lowest bit
        out = np.eye(1)
        for q in range(3):
            out = np.kron(matrices.get(f"q{q}", np.eye(2)), out)
        return out

    def turn(pauli, angle):
        return np.cos(angle / 2) * np.eye(8) - 1j * np.sin(angle / 2) * pauli

    def cx(c, t):
        return on(**{f"q{c}": np.diag([1, 0])}) + on(**{f"q{c}": np.diag([0, 1]), f"q{t}": X})

    def measured(states, q, name):
        return [(on(**{f"q{q}": np.diag([1 - b, b])}) @ s, {**bits, name: b}) for s, bits in states for b in (0, 1)]

    def every(states, matrix, holds=lambda bits: True):
        return [(matrix @ s if holds(bits) else s, bits) for s, bits in states]

    states = [(np.eye(8)[0].astype(complex), {})]
    for m in (turn(on(q0=Y), theta[0]), turn(on(q1=X), 0.4), cx(0, 1), turn(on(q1=Z, q2=Z), theta[1])):
        states = every(states, m)
    states = measured(states, 0, "a")
    states = every(states, on(q1=H) @ turn(on(q2=Y), theta[2]), lambda bits: bits["a"])
    states = every(states, cx(0, 2) @ turn(on(q0=Y), 0.7))
    states = measured(states, 2, "b")
    states = measured(states, 2, "reset")
    states = every(states, on(q2=X), lambda bits: bits["reset"])
    states = every(states, turn(on(q2=Y), 2 * theta[0]))
    last = on(q0=np.diag([1, 1j])) @ on(q2=X) @ turn(on(q0=X, q1=Y), theta[3])
    return every(states, last, lambda bits: not bits["a"] and bits["b"])


OBSERVABLES = ["Z2 + 0.3*X0 Y1", "X1 X2", "Z0"]


def averages(theta, holds=lambda bits: True):
    """Mean of each observable over the branches that are kept, and their probability."""
    kept = [s for s, bits in branches(theta) if holds(bits)]
    p = sum(np.vdot(s, s).real for s in kept)
    return np.array([sum(np.vdot(s, PauliSum(o).matrix(3) @ s).real for s in kept) for o in OBSERVABLES]) / p, p


POINTS = np.random.default_rng(5).normal(size=(3, 4))


@pytest.mark.parametrize("theta", POINTS)
def test_a_deferred_circuit_has_the_averages_of_one_that_measures(theta):
    model = qpr.Model(program(), OBSERVABLES)
    assert model.n_qubits == 6
    np.testing.assert_allclose(qpr.expectation(model, theta), averages(theta)[0], atol=1e-12)


@pytest.mark.parametrize("outcome", [{"a": 1}, {"a": 0, "b": 1}, {"b": 0}])
def test_post_selection_keeps_the_branches_of_its_outcome(outcome):
    selected = qpr.PostSelected(program(), OBSERVABLES, outcome)
    for theta in POINTS:
        values, p = averages(theta, lambda bits: all(bits[k] == v for k, v in outcome.items()))
        np.testing.assert_allclose(qpr.expectation(selected, theta), values, atol=1e-11)
        np.testing.assert_allclose(selected.probability(theta), p, atol=1e-12)


def test_probabilities_of_all_outcomes_add_up_to_one():
    total = sum(
        qpr.PostSelected(program(), "Z0", dict(zip("ab", bits, strict=True))).probability(POINTS)
        for bits in itertools.product((0, 1), repeat=2)
    )
    np.testing.assert_allclose(total, 1, atol=1e-12)


def test_derivatives_of_post_selected_values_are_those_of_the_ratio():
    selected = qpr.PostSelected(program(), OBSERVABLES, {"a": 0, "b": 1})
    weights, h = np.array([0.3, -1.2, 0.7]), 1e-6

    def value(theta):
        return averages(theta, lambda bits: not bits["a"] and bits["b"])[0] @ weights

    for theta in POINTS:
        _, grad = qpr.value_and_grad(selected, theta, weights=weights)
        steps = [(value(theta + h * e) - value(theta - h * e)) / (2 * h) for e in np.eye(4)]
        np.testing.assert_allclose(grad, steps, atol=1e-8)
        # the Hessian, against differences of exact gradients
        for v in np.eye(4):
            near = [qpr.value_and_grad(selected, theta + s * h * v, weights=weights)[1] for s in (1, -1)]
            found = qpr.hvp(selected, theta, v_theta=v, weights=weights)
            np.testing.assert_allclose(found[0], grad, atol=1e-12)
            np.testing.assert_allclose(found[2], (near[0] - near[1]) / (2 * h), atol=1e-7)


def test_teleportation_brings_any_state_to_the_other_side():
    circuit = qpr.DynamicCircuit(3).u(*THETA[:3], 0).h(1).cx(1, 2).cx(0, 1).h(0).measure(0, "z").measure(1, "x")
    circuit.when("x", qpr.Circuit(3).x(2)).when("z", qpr.Circuit(3).z(2))
    sent = qpr.Model(qpr.Circuit(3, params=THETA).u(*THETA[:3], 2), ["X2", "Y2", "Z2"])
    arrived = qpr.Model(circuit, ["X2", "Y2", "Z2"])
    theta = np.concatenate([POINTS[:, :3], np.zeros((3, 1))], axis=1)
    np.testing.assert_allclose(qpr.expectation(arrived, theta), qpr.expectation(sent, theta), atol=1e-12)


@pytest.mark.parametrize("theta", POINTS[:1])
def test_qiskit_measures_in_the_middle_where_the_program_does(theta):
    """The circuit itself, followed branch by branch, and read back."""
    pytest.importorskip("qiskit")
    from qiskit_branches import branches as followed

    circuit = qpr.to_qiskit(program())
    assert circuit.num_qubits == 3 and [register.name for register in circuit.cregs] == ["a", "b"]
    assert {"measure", "if_else", "reset"} <= set(circuit.count_ops())
    bound = circuit.assign_parameters({p: theta[p.index] for p in circuit.parameters})
    names = {register[0]: register.name for register in bound.cregs}
    right, seen = branches(theta), {}
    for vector, known in followed(bound):
        key = tuple(sorted((names[b], v) for b, v in known.items()))
        found = [np.vdot(vector.data, PauliSum(o).matrix(3) @ vector.data).real for o in ["I", *OBSERVABLES]]
        seen[key] = seen.get(key, 0) + np.array(found)
    for key, found in seen.items():
        kept = [s for s, bits in right if all(bits[name] == v for name, v in key)]
        expected = [sum(np.vdot(s, PauliSum(o).matrix(3) @ s).real for s in kept) for o in ["I", *OBSERVABLES]]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert len(seen) == 4
    back = qpr.from_qiskit(circuit)
    values = qpr.expectation(qpr.Model(back, OBSERVABLES), theta)
    np.testing.assert_allclose(values, averages(theta)[0], atol=1e-12)
    assert list(back.bits) == ["m0", "m1"] and qpr.to_qiskit(back).count_ops() == circuit.count_ops()


def test_a_program_has_the_steps_as_they_were_asked_for():
    circuit = program()
    kinds = [type(step).__name__ for step in circuit.program]
    assert kinds.count("MeasureStep") == 3 and kinds.count("WhenStep") == 2
    assert sum(step.name == "ry" for step in circuit.program if hasattr(step, "name")) == 3
    noisy = program().depolarising(0.1, 0).measure(1, "c").depolarising(0.1, 1)
    assert qpr.to_qasm(noisy.noiseless()) == qpr.to_qasm(circuit.copy().measure(1, "c"))
    early = qpr.DynamicCircuit(2).depolarising(0.1, 0).x_rotations([[0], [1]], qpr.params("w", 2)).measure(0, "m")
    assert [type(step).__name__ for step in early.noiseless().program] == ["Operation", "Operation", "MeasureStep"]
    blocks = qpr.DynamicCircuit(2).x_rotations([[0], [1]], qpr.params("w", 2)).measure(0, "m").depolarising(0.1, 1)
    blocks.x_rotations([[0], [0, 1]], qpr.params("v", 2)).measure(1, "n")
    for made in (blocks.noiseless(), blocks.bound(np.arange(4.0)).noiseless()):  # before arrays are written out
        kinds = [getattr(step, "name", getattr(step, "bit", "")) for step in made.program]
        assert kinds == ["rotation", "rotation", "m", "rotation", "rotation", "n"]
    assert len(list(blocks.program)) == 7
    twin = circuit.copy().x(0)
    assert len(list(twin.program)) == len(list(circuit.program)) + 1
    twin.steps.pop(0)
    with pytest.raises(qpr.QupropError, match="changed from outside"):
        qpr.to_qasm(twin)


def test_a_bound_circuit_measures_where_it_did():
    point = POINTS[0]
    bound = program().bound(point)
    assert bound.n_params == 0 and bound.bits == program().bits
    steps = zip(bound.program, program().program, strict=True)
    assert all(type(one) is type(other) for one, other in steps)
    for circuit in (bound, qpr.DynamicCircuit(1).ry(0.4, 0).measure(0, "m").bound([])):
        assert not any(angle.terms and angle.terms[0][0] for op in circuit.operations for angle in op.angles)
    found = qpr.expectation(qpr.Model(bound, OBSERVABLES), [])
    np.testing.assert_allclose(found, averages(point)[0], atol=1e-12)
    bodies = [step.body for step in bound.program if hasattr(step, "body")]
    assert [body.n_params for body in bodies] == [0, 0]
    assert bodies[0] == qpr.Circuit(3).ry(point[2], 2).h(1)


def test_openqasm_has_the_program_that_qiskit_reads():
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit import qasm3

    circuit = qpr.DynamicCircuit(3).h(0).cx(0, 1).measure(0, "a").when("a", qpr.Circuit(3).ry(THETA[1], 2).x(1))
    circuit.reset(0).rx(0.4, 0).when({"a": 0}, qpr.Circuit(3).rotation("X0 Y1", 0.7)).measure(1, "b")
    back = qpr.from_qiskit(qasm3.loads(qpr.to_qasm(circuit)))
    observables = ["Z0 Z1", "Z2", "Y0 X1"]
    theta = {f"theta_{k}": 0.3 + k for k in range(4)}
    flat = np.concatenate([[theta[name]] * size for name, size in back.layout(0)])
    right = qpr.expectation(qpr.Model(circuit, observables), list(theta.values()))
    np.testing.assert_allclose(qpr.expectation(qpr.Model(back, observables), flat), right, atol=1e-12)


def test_a_reset_is_the_channel_of_that_name():
    def with_reset(kind):
        return kind(2, "10").ry(0.4, 0).ry(THETA[0], 1).cx(1, 0).reset(0).rxx(THETA[1], 0, 1)

    observables = ["Z0", "X0 X1", "Y1"]
    channel = qpr.Model(with_reset(qpr.Circuit), observables)
    theta = POINTS[:, :2]
    theta = np.concatenate([theta, theta], axis=1)
    deferred = qpr.Model(with_reset(qpr.DynamicCircuit), observables)
    np.testing.assert_allclose(qpr.expectation(deferred, theta), qpr.expectation(channel, theta), atol=1e-12)


@pytest.mark.parametrize("start", [None, "011", 5, np.ones((3, 2)), np.arange(1.0, 9.0)])
def test_a_state_of_the_system_is_kept_while_bits_are_added(start):
    plain = qpr.Model(qpr.Circuit(3, start).rx(0.3, 1), ["Z1", "X0 Z2"])
    measured = qpr.Model(qpr.DynamicCircuit(3, start).rx(0.3, 1).measure(1, "m"), ["Z1", "X0 Z2", "Z1 Z3"])
    np.testing.assert_allclose(qpr.expectation(measured, [])[:2], qpr.expectation(plain, []), atol=1e-12)
    np.testing.assert_allclose(qpr.expectation(measured, [])[2], 1, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: qpr.DynamicCircuit(1).measure(0, "m").measure(0, "m"), "bit 'm' holds a measurement already"),
        (lambda: qpr.DynamicCircuit(1).measure(0, "m").x(1), "behind them those of measured bits"),
        (lambda: qpr.DynamicCircuit(1).measure(0, "m").rotation("X1", 0.1), "holds a measured bit"),
        (lambda: qpr.DynamicCircuit(1).measure(1, "m"), "this circuit has qubits 0 to 0"),
        (lambda: qpr.DynamicCircuit(1).when("m", qpr.Circuit(1).x(0)), "no bit 'm' was measured"),
        (lambda: qpr.DynamicCircuit(1).measure(0, "m").when({"m": 2}, qpr.Circuit(1).x(0)), "compared with 0 or 1"),
        (lambda: qpr.DynamicCircuit(1).measure(0, "m").when({}, qpr.Circuit(1)), "a condition is a bit's name"),
        (lambda: qpr.DynamicCircuit(1).measure(0, "m").when("m", qpr.Circuit(2).x(1)), "does not fit on 1"),
        (lambda: qpr.DynamicCircuit(1, qpr.inputs("x", 2)), "amplitudes encoded from inputs"),
        (lambda: qpr.DynamicCircuit(1).append(qpr.DynamicCircuit(1)), "cannot be appended"),
        (lambda: qpr.Circuit(5).append(qpr.DynamicCircuit(2).measure(0, "m")), "cannot be appended"),
        (lambda: qpr.Circuit(5).compose(qpr.DynamicCircuit(2).measure(0, "m"), [3, 4, 0]), "cannot be composed"),
        (lambda: qpr.DynamicCircuit(2).measure(0, "m").compose(qpr.Circuit(1).x(0), [2]), "a place from 0 to 1"),
        (lambda: qpr.DynamicCircuit(2).measure(0, "m").inverse(), "cannot be turned back"),
        (lambda: qpr.DynamicCircuit(2).measure(0, "m").power(2), "cannot have a power"),
        (lambda: qpr.DynamicCircuit(2).measure(0, "m").control(7), "cannot be controlled"),
        (lambda: qpr.DynamicCircuit(2).measure(0, "m").with_noise("superconducting"), "noise put on"),
        (lambda: qpr.DynamicCircuit(2).measure(0, "m").when("m", qpr.DynamicCircuit(1)), "is a Circuit of gates"),
        (lambda: qpr.to_qasm(qpr.DynamicCircuit(2).measure(0, "m"), measured=3), "at most the circuit's 2 qubits"),
        (lambda: qpr.PostSelected(qpr.Circuit(1), "Z0", {}), "the outcome is a dictionary"),
        (lambda: qpr.PostSelected(qpr.Circuit(1), "Z0", {3: 0}), "an outcome is of qubits 0 to 0"),
        (lambda: qpr.PostSelected(qpr.Circuit(1), "Z0", {0: 0.5}), "the outcome of qubit 0 is 0 or 1"),
        (lambda: qpr.PostSelected(qpr.Circuit(13), "Z0", dict.fromkeys(range(13), 0)), "12 qubits can be selected"),
        (lambda: qpr.expectation(qpr.PostSelected(qpr.Circuit(1), "Z0", {0: 1}), []), "probability 0, below"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(qpr.QupropError, match=sentence):
        make()


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("angle", [1.0, 0.1, 0.0065])
def test_rare_outcomes_are_right_to_rounding_over_powers_of_their_probability_or_refused(angle, engine):
    """Given that qubit 0 is found in |1>, qubit 1 has cos(2 a) whatever the probability sin(a/2)^2 of that."""
    circuit = qpr.Circuit(2).ry(THETA[0], 0).ry(2 * THETA[0], 1)
    selected = qpr.PostSelected(circuit, "Z1", {0: 1})
    point, p = [angle], np.sin(angle / 2) ** 2
    value, gradient = qpr.value_and_grad(selected, point * 4, engine=engine)
    bent = qpr.hvp(selected, point * 4, v_theta=[1.0, 0, 0, 0], engine=engine)[2]
    assert abs(value - np.cos(2 * angle)) < 1e-14 / p
    assert abs(gradient[0] + 2 * np.sin(2 * angle)) < 1e-14 / p**1.5
    assert abs(bent[0] + 4 * np.cos(2 * angle)) < 1e-14 / p**2
    with pytest.raises(qpr.QupropError, match="rounding would show"):
        qpr.value_and_grad(selected, [1e-3] * 4, engine=engine)
