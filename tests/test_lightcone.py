"""Light cones: the numbers of the whole state, at any width; and the engine that is taken if none is named."""

import json
import time

import free_fermions
import numpy as np
import pytest
from cases import CASES, random_model, values_for
from tolerances import assert_close

import quprop as qpr
from quprop.model import ansatz
from quprop.model.commutation import Columns, generators, light_cone
from quprop.planning import plan_training, shape_of
from quprop.simulate import auto, get_engine, lightcone
from quprop.simulate.lightcone import cones_of

SERVED = [name for name, case in CASES.items() if case.model.state.kind in ("basis", "product")]


def assert_as_the_whole_state(model, seed):
    theta, x = values_for(model, 3, seed)
    x = x if model.n_inputs else None
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=model.n_observables), rng.normal(size=theta.shape)
    v_x = None if x is None else rng.normal(size=x.shape)
    ours, theirs = (
        (
            qpr.expectation(model, theta, x, engine=engine),
            *qpr.value_and_grad(model, theta, x, weights=w, engine=engine),
            *qpr.hvp(model, theta, x, v_theta=v, v_x=v_x, weights=w, engine=engine),
            *qpr.vjp(model, theta, x, engine=engine)[1](np.broadcast_to(w, (3, len(w)))),
        )
        for engine in ("lightcone", "reference")
    )
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, 5000)


@pytest.mark.parametrize("name", SERVED)
def test_values_and_derivatives_are_those_of_the_whole_state(name):
    assert_as_the_whole_state(CASES[name].model, 1)


@pytest.mark.parametrize("seed", range(60))
def test_those_of_random_models_too(seed):
    n, rng = 1 + seed % 6, np.random.default_rng(seed)
    states = (None, rng.normal(size=(n, 2, 2)) @ np.array([1, 1j]), int(rng.integers(1 << n)))
    assert_as_the_whole_state(random_model(seed, n, 4 + seed % 9, state=states[seed % 3]), seed)


def test_a_rotation_outside_the_cone_changes_nothing_and_every_one_inside_something():
    theta = qpr.params("theta", 9)
    names = ["X0", "X1", "X2", "Z0 Z1", "Z1 Z2", "X0", "X2", "Z2", "Y2"]
    state = np.random.default_rng(1).normal(size=(3, 2, 2)) @ np.array([1, 1j])
    model = qpr.Model.from_rotations(3, list(zip(names, theta, strict=True)), "Z0", state, params=theta)
    columns, strings = Columns(generators(model)), generators(model)
    cone = light_cone(lambda m: columns.row(strings[m]), columns.row(qpr.PauliString.parse("Z0")))
    slopes = qpr.value_and_grad(model, np.random.default_rng(0).normal(size=9), engine="reference")[1]
    assert [m for m in range(9) if cone >> m & 1] == np.flatnonzero(np.abs(slopes) > 1e-12).tolist() == [0, 1, 3, 5]


def chain(n, layers, seed):
    """Layers of Z Z on all bonds and X on all qubits after |+...+>, an angle each; its rotations for the oracle."""
    count = layers * (2 * n - 1)
    theta = qpr.params("theta", count)
    circuit, rotations = qpr.Circuit(n, np.full((n, 2), np.sqrt(0.5)), params=theta), []
    for _ in range(layers):
        rotations += [("ZZ", q) for q in range(n - 1)] + [("X", q) for q in range(n)]
    for (letter, q), angle in zip(rotations, theta, strict=True):
        circuit.rotation(f"Z{q} Z{q + 1}" if letter == "ZZ" else f"X{q}", angle)
    angles = np.random.default_rng(seed).normal(size=count)
    return circuit, angles, [(*r, a) for r, a in zip(rotations, angles, strict=True)]


@pytest.mark.parametrize("n, layers", [(7, 3), (60, 2), (300, 3)])
def test_hundreds_of_qubits_have_the_values_of_free_fermions(n, layers):
    circuit, angles, rotations = chain(n, layers, n)
    read = [("X", n // 2), ("ZZ", n // 3), ("ZZ", 0), ("X", n - 1)]
    model = qpr.Model(circuit, [f"Z{q} Z{q + 1}" if k == "ZZ" else f"X{q}" for k, q in read])
    expected = [free_fermions.expectation(n, rotations, r) for r in read]
    assert_close(qpr.expectation(model, angles), expected, 5000)
    step = 1e-6
    slopes = qpr.value_and_grad(model, angles, weights=[1, 0.5, 0, -2])[1]
    for m in (0, n // 2, len(angles) - n // 2):
        moved = [[(k, q, a + s * step * (i == m)) for i, (k, q, a) in enumerate(rotations)] for s in (1, -1)]
        up, down = ([free_fermions.expectation(n, r, o) for o in read] for r in moved)
        assert slopes[m] == pytest.approx(np.array([1, 0.5, 0, -2]) @ (np.array(up) - down) / (2 * step), abs=1e-8)


def test_cones_that_are_alike_are_one_small_model():
    circuit, _, _ = chain(200, 2, 0)
    energy = {f"Z{q} Z{q + 1}": -1.0 for q in range(199)} | {f"X{q}": -0.5 for q in range(200)}
    cones = cones_of(qpr.Model(circuit, energy))
    assert cones.count == 399 and len(cones.parts) < 20 and cones.qubits <= 10
    # Strings may act on all qubits: what counts is what the state moves in.
    wide = qpr.Model.from_rotations(80, [("Z" * 79 + "Y", 0.3), ("X" * 80, 0.2)], "Z0")
    assert cones_of(wide).qubits <= 2


def test_a_thousand_qubits_in_two_layers_take_less_than_two_seconds():
    n = 1000
    energy = {f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)} | {f"X{q}": -0.7 for q in range(n)}
    model = qpr.Model(ansatz.hardware_efficient(n, 2, entangler="cz"), energy)
    theta = np.random.default_rng(0).normal(size=model.n_params)
    start = time.process_time()
    value, slope = qpr.value_and_grad(model, theta)
    assert time.process_time() - start < 2
    step = 1e-5 * slope / np.linalg.norm(slope)
    rise = qpr.expectation(model, theta + step)[0] - qpr.expectation(model, theta - step)[0]
    assert rise / 2e-5 == pytest.approx(np.linalg.norm(slope), rel=1e-7) and np.isfinite(value)


@pytest.mark.parametrize("seed", range(24))
def test_qubits_that_stay_classical_make_a_mixture(monkeypatch, seed):
    """CX ladders, whose strings are long and diagonal on most of it: from other states, and letters that are not Z."""
    monkeypatch.setattr(lightcone, "NARROW", 1)
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 9))
    theta = qpr.params("theta", 6 * n)
    circuit = qpr.Circuit(n, (None, 3, rng.normal(size=(n, 2, 2)) @ np.array([1, 1j]))[seed % 3], params=theta)
    angle = iter(theta)
    for layer in range(2):
        for q in range(n):
            circuit.ry(next(angle), q).rz(next(angle) * (0.5 if q % 2 else 1.0), q)
        for q in range(n - 1):
            circuit.cx(q, q + 1) if seed % 2 or layer else circuit.cz(q, q + 1)
        if seed % 4 == 1:
            circuit.h(int(rng.integers(n)))
    model = qpr.Model(circuit, [f"Z{q} Z{q + 1}" for q in range(n - 1)] + [f"X{q}" for q in range(n)] + ["Y0 Z1 X2"])
    assert seed % 2 == 0 or cones_of(model).mixtures.cones
    assert_as_the_whole_state(model, seed)


@pytest.mark.slow
def test_a_thousand_qubits_under_cx_ladders_are_mixtures_of_small_cones():
    n = 1000
    energy = {f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)} | {f"X{q}": -0.7 for q in range(n)}
    model = qpr.Model(ansatz.hardware_efficient(n, 2, ring=False), energy)
    theta = np.random.default_rng(0).normal(size=model.n_params)
    start = time.process_time()
    value, slope = qpr.value_and_grad(model, theta)
    assert time.process_time() - start < 6  # 2 on a quiet core
    step = 1e-5 * slope / np.linalg.norm(slope)
    rise = qpr.expectation(model, theta + step)[0] - qpr.expectation(model, theta - step)[0]
    assert rise / 2e-5 == pytest.approx(np.linalg.norm(slope), rel=1e-7) and np.isfinite(value)


def test_the_default_takes_the_whole_state_where_it_fits_and_light_cones_beyond(monkeypatch):
    engine = get_engine()
    small = qpr.Model(ansatz.hardware_efficient(6, 2), "Z0")
    large = qpr.Model(chain(60, 1, 0)[0], "X30")
    assert engine.choose(small).engine.name == "native"
    assert engine.choose(large).engine.name == "lightcone"
    assert engine.choose(large).why == "1 light cone of 3 qubits, since a state of 60 qubits fits no machine"
    middle = chain(22, 1, 0)[0]
    assert engine.choose(qpr.Model(middle, "X3")).engine.name == "native"
    monkeypatch.setattr(auto, "available_bytes", lambda: 1 << 20)
    assert engine.choose(qpr.Model(middle, "X3")).engine.name == "lightcone"
    whole = qpr.expectation(qpr.Model(middle, "X3"), np.ones(43), engine="native")
    assert_close(qpr.expectation(qpr.Model(middle, "X3"), np.ones(43)), whole, 1000)


@pytest.mark.parametrize("grouping", ["auto", "sampled"])
def test_the_noise_of_shots_is_that_of_the_whole_state(monkeypatch, grouping):
    """Variances of what a shot reads, from products of strings whose cones meet; 64 qubits have them too."""

    def noise(n, layers):
        circuit, angles, _ = chain(n, layers, 1)
        energy = {f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)} | {f"X{q}": -0.5 - 0.1 * q for q in range(n)}
        protocol = qpr.ParameterShift(shots=100, grouping=grouping)
        return qpr.ShotNoise(protocol=protocol).compile(qpr.Model(circuit, energy)).estimate(angles, rng=2)

    whole, large = noise(9, 1), noise(64, 1)
    monkeypatch.setattr(auto, "ALWAYS_WHOLE", 3)
    monkeypatch.setattr(auto, "available_bytes", lambda: 3000)
    cones = noise(9, 1)
    assert_close(cones.stderr, whole.stderr, 2000)
    assert_close(cones.value, whole.value, 2000)
    assert np.all(large.stderr >= 0) and large.stderr.max() < 1e3


def test_comparisons_and_plans_of_64_qubits_count_and_know_the_exact_gradient():
    circuit, angles, _ = chain(64, 1, 1)
    model = qpr.Model(circuit, {f"Z{q} Z{q + 1}": -1.0 for q in range(63)})
    found = qpr.compare(model, precision=0.5, theta=angles, methods=["adjoint", "parameter_shift"])
    adjoint, shift = found.rows
    assert adjoint.measured == 0 and shift.cost.measurements > 0 and "not run" in shift.not_run
    assert 0 < shift.expected < found.max_error
    costs = {r.name: r.cost for r in plan_training(shape_of(model), precision=0.5).rows}
    assert costs["adjoint"] == adjoint.cost and costs["parameter_shift"] == shift.cost


@pytest.mark.slow
def test_lattices_of_any_size_are_trained_to_a_percent(quprop, tmp_path):
    """Exactly, by light cones: 64 spins of a critical ring against free fermions, a small lattice against Lanczos."""
    quprop("train", "tfim", "--set", "n=64,layers=3", "--set", "steps=40", "--out", "ring")
    quprop("train", "ising-2d", "--set", "rows=3,columns=4", "--out", "square")
    quprop("train", "kicked-ising", "--set", "layers=1,steps=5", "--out", "hex")
    ring, square, hexagons = (
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("ring", "square", "hex")
    )
    for found, within in ((ring, 0.015), (square, 0.01)):
        assert 0 <= found["energy_error"] <= within * abs(found["reference_energy"])
    assert (ring["n_qubits"], hexagons["n_qubits"]) == (64, 127) and hexagons["energy"] < -127 * 0.5


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: qpr.state(m, np.zeros(m.n_params), engine="lightcone"), "not the state of 50 qubits"),
        (lambda m: qpr.state(m, np.zeros(m.n_params)), "state of 50 qubits fits no machine"),
        (lambda m: qpr.expectation(m, np.zeros(m.n_params)), "a term has a light cone of more than 34 qubits"),
        (
            lambda m: qpr.expectation(qpr.Model(qpr.Circuit(3, np.eye(8)[1]).h(0), "Z0"), [], engine="lightcone"),
            "light cones start from basis and product states",
        ),
    ],
)
def test_what_light_cones_cannot_do_is_refused_in_one_sentence(call, sentence):
    with pytest.raises(qpr.QupropError, match=sentence) as caught:
        call(qpr.Model(ansatz.strongly_entangling(50, 3), "X0"))
    assert "\n" not in str(caught.value)


# -- other people's programs ------------------------------------------------------------------------------------------

ENGINE = {"lightcone": "lightcone", "pauli": qpr.PauliPropagation(1e-6), "auto": qpr.AutoEngine(tolerance=1e-6)}


def wide():
    circuit, angles, _ = chain(50, 1, 3)
    model = qpr.Model(circuit, ["X20", "Z7 Z8"])
    return model, angles, qpr.expectation(model, angles), qpr.value_and_grad(model, angles, weights=[1.0, 2.0])[1]


@pytest.mark.parametrize("engine", ENGINE)
def test_every_function_takes_every_engine(engine):
    model, angles, values, slope = wide()
    given = {"engine": ENGINE[engine]}
    np.testing.assert_allclose(qpr.expectation(model, angles, **given), values, atol=3e-6)
    np.testing.assert_allclose(qpr.value_and_grad(model, angles, weights=[1.0, 2.0], **given)[1], slope, atol=3e-6)
    np.testing.assert_allclose(qpr.vjp(model, angles, **given)[1]([1.0, 2.0])[0], slope, atol=9e-6)
    trained = qpr.train(model.with_observables("X20"), steps=2, params=angles, optimiser=qpr.sgd(0.1), **given)
    exact = qpr.train(model.with_observables("X20"), steps=2, params=angles, optimiser=qpr.sgd(0.1))
    np.testing.assert_allclose(trained.theta, exact.theta, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINE)
def test_a_torch_layer_takes_every_engine(engine):
    torch = pytest.importorskip("torch")
    model, angles, values, slope = wide()
    layer = qpr.QuantumLayer(model, angles, dtype=torch.float64, engine=ENGINE[engine])
    out = layer()
    np.testing.assert_allclose(out.detach().numpy(), values, atol=3e-6)
    (out @ torch.tensor([1.0, 2.0], dtype=torch.float64)).backward()
    np.testing.assert_allclose(layer.weights.grad.numpy(), slope, atol=9e-6)


@pytest.mark.parametrize("engine", ENGINE)
def test_a_jax_function_takes_every_engine(engine):
    jax = pytest.importorskip("jax")
    from quprop.hybrid.jax import function

    model, angles, values, slope = wide()
    f = function(model, precision="double", engine=ENGINE[engine])
    np.testing.assert_allclose(f(jax.numpy.asarray(angles)), values, atol=1e-5)
    gradient = jax.grad(lambda t: f(t) @ jax.numpy.array([1.0, 2.0]))(jax.numpy.asarray(angles))
    np.testing.assert_allclose(gradient, slope, atol=2e-5)


@pytest.mark.parametrize("engine", ENGINE)
def test_a_pennylane_device_takes_every_engine(engine):
    qml = pytest.importorskip("pennylane")
    from pennylane import numpy as pnp

    @qml.qnode(qml.device("quprop", wires=50, engine=ENGINE[engine]))
    def energy(t):
        for q in range(50):
            qml.RY(t[0] + 0.01 * q, wires=q)
        for q in range(49):
            qml.IsingZZ(t[1], wires=[q, q + 1])
        return qml.expval(qml.Hamiltonian([1.0] * 49, [qml.X(q) @ qml.Z(q + 1) for q in range(49)]))

    @qml.qnode(qml.device("default.qubit", wires=5))
    def local(t, q):
        for k in range(5):
            qml.RY(t[0] + 0.01 * (q - 1 + k), wires=k)
        for k in range(4):
            if 0 <= q - 1 + k < 49:
                qml.IsingZZ(t[1], wires=[k, k + 1])
        return qml.expval(qml.X(1) @ qml.Z(2))

    def whole(t):  # what X_q Z_q+1 sees lies within the qubits q - 1 to q + 3
        total = 0.0
        for q in range(49):
            total = total + local(t, q)
        return total

    t = pnp.array([0.4, 0.3], requires_grad=True)
    assert float(energy(t)) == pytest.approx(float(whole(t)), abs=1e-4)
    np.testing.assert_allclose(qml.grad(energy)(t), qml.grad(whole)(t), atol=1e-3)


def test_a_qiskit_estimator_takes_wide_circuits():
    qiskit = pytest.importorskip("qiskit")
    from qiskit.quantum_info import SparsePauliOp

    from quprop.hybrid.qiskit_primitives import QupropEstimator

    def circuit(n):
        made = qiskit.QuantumCircuit(n)
        for q in range(n):
            made.ry(0.1 + 0.01 * q, q)
        for q in range(n - 1):
            made.rzz(0.3, q, q + 1)
        return made

    read = SparsePauliOp.from_sparse_list([("XZ", [3, 4], 1.0)], num_qubits=60)
    small = SparsePauliOp.from_sparse_list([("XZ", [3, 4], 1.0)], num_qubits=8)
    exact = QupropEstimator().run([(circuit(8), small)]).result()[0].data.evs
    for engine in (None, *ENGINE.values()):
        found = QupropEstimator(engine=engine).run([(circuit(60), read)]).result()[0].data.evs
        assert float(found) == pytest.approx(float(exact), abs=1e-6)
