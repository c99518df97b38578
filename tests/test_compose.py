"""Modules in series and side by side against circuits written in one piece, dense linear algebra and products."""

import json

import dense
import numpy as np
import pytest
from cases import random_circuit, random_sum
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

import quprop as qpr
from quprop.model import ansatz
from quprop.modules.compose import Module, compose, parallel
from quprop.modules.cutting import cut

X = np.array([0.3, -1.1, 0.7])  # random_circuit's inputs


def _pieces(seed, n=3, count=2, state=None):
    """Random circuits with parameters of their own each, theta for each, and observables."""
    rng = np.random.default_rng(seed)
    circuits = [random_circuit(seed + k, n, 12, state if k == 0 else None) for k in range(count)]
    return circuits, [rng.uniform(-np.pi, np.pi, 5) for _ in circuits], random_sum(rng, n, 4)


@pytest.mark.parametrize("seed", range(6))
def test_series_is_the_product_of_the_unitaries(seed):
    circuits, thetas, total = _pieces(10 * seed)
    whole = compose(*(qpr.Model(c, total) for c in circuits))
    unitary = np.eye(8)
    for circuit, theta in zip(circuits, thetas, strict=True):
        columns = []
        for j in range(8):
            start = circuit.copy()
            start.state = qpr.InputState("basis", j)
            columns.append(dense.final_state(start, theta, X))
        unitary = np.array(columns).T @ unitary
    psi = unitary[:, 0]
    expected = np.real(np.vdot(psi, dense.sum_matrix(total, 3) @ psi))
    assert_close(qpr.expectation(whole.model, np.concatenate(thetas), X), np.array([expected]), 500)
    overlap = abs(np.vdot(qpr.state(whole.model, np.concatenate(thetas), X), psi))
    assert abs(overlap - 1) < 1e-12


def test_series_is_associative():
    circuits, thetas, total = _pieces(3, count=3)
    a, b, c = (Module(qpr.Model(circuit, total), name=name) for circuit, name in zip(circuits, "abc", strict=True))
    theta = np.concatenate(thetas)
    left = compose(Module(compose(a, b).model, name="ab"), c).model
    right = compose(a, Module(compose(b, c).model, name="bc")).model
    flat = compose(a, b, c).model
    for nested in (left, right):
        assert nested.rotations == flat.rotations and nested.observables == flat.observables
    assert_close(qpr.expectation(left, theta, X), qpr.expectation(flat, theta, X), 10)


def test_a_later_part_may_have_fewer_qubits():
    circuits, thetas, _ = _pieces(4)
    small, angle = random_circuit(9, 2, 10), np.linspace(0, 1, 5)
    whole = compose(qpr.Model(circuits[0], "Z0"), qpr.Model(small, "X0 Z1"), observables=["X0 Z1", "Z2"])
    wide = qpr.Circuit(3).append(small)
    wide.state = circuits[0].state
    same = compose(qpr.Model(circuits[0], "Z0"), qpr.Model(wide, ["X0 Z1", "Z2"]))
    theta = np.concatenate([thetas[0], angle])
    assert_close(qpr.expectation(whole.model, theta, X), qpr.expectation(same.model, theta, X), 10)


@pytest.mark.parametrize("states", [(None, None), ("101", 1), ("product", None), ("amplitudes", "product")])
def test_side_by_side_is_the_tensor_product(states):
    rng = np.random.default_rng(5)
    made = {"product": lambda n: rng.normal(size=(n, 2)) + 1j, "amplitudes": lambda n: rng.normal(size=2**n) + 0j}
    sizes = (3, 2)
    states = [made[s](n) if s in made else s for s, n in zip(states, sizes, strict=True)]
    circuits = [random_circuit(20 + k, n, 12, s) for k, (n, s) in enumerate(zip(sizes, states, strict=True))]
    thetas = [rng.uniform(-3, 3, 5) for _ in sizes]
    totals = [random_sum(rng, n, 3) for n in sizes]
    models = [qpr.Model(c, o) for c, o in zip(circuits, totals, strict=True)]
    values = [dense.values(c, [o], t, X)[0] for c, o, t in zip(circuits, totals, thetas, strict=True)]
    both = parallel(*models)
    assert both.model.n_qubits == 5
    assert_close(qpr.expectation(both.model, np.concatenate(thetas), X), np.array(values), 500)
    product = {}
    for p, a in totals[0].items():
        for q, b in totals[1].items():
            product[qpr.PauliString(p.x | q.x << 3, p.z | q.z << 3)] = a * b
    joint = parallel(*models, observables=product)
    value = qpr.expectation(joint.model, np.concatenate(thetas), X)
    assert_close(value, np.array([values[0] * values[1]]), 500)


def test_names_are_kept_apart_and_inputs_are_shared():
    layer = qpr.Model(ansatz.data_reuploading(2, 1, 3), "Z0")
    whole = parallel(Module(layer, name="left"), Module(layer, name="right"))
    assert whole.model.param_names == tuple(f"{side}_{p}" for side in ("left", "right") for p in layer.param_names)
    assert whole.model.input_names == layer.input_names
    assert whole.model.n_inputs == layer.n_inputs
    assert set(whole.parts) == {"left", "right"}


def test_renamed_inputs_are_kept_apart():
    layer = qpr.Model(ansatz.data_reuploading(2, 1, 3), "Z0")
    whole = parallel(Module(layer, name="a").reading(x="left"), Module(layer, name="b").reading(x="right")).model
    assert whole.input_names == ("left", "right") and whole.n_inputs == 6
    rng = np.random.default_rng(0)
    theta, x = rng.normal(size=(2, layer.n_params)), rng.normal(size=(2, 3))
    alone = np.concatenate([qpr.expectation(layer, t, r) for t, r in zip(theta, x, strict=True)])
    assert_close(qpr.expectation(whole, theta.ravel(), x.ravel()), alone, 100)


def test_encoded_amplitudes_move_with_their_vector():
    pixels = qpr.inputs("pixel", 4)
    circuit = qpr.Circuit(2, pixels).ry(qpr.params("t", 1)[0], 0).cx(0, 1)
    before, after = qpr.Model(qpr.Circuit(2).h(0), "Z0"), qpr.Model(circuit, "Z1")
    whole = compose(after, qpr.Model(qpr.Circuit(2).rx(qpr.inputs("angle", 1)[0], 1), "Z1"))
    x = np.array([0.1, 0.5, -0.4, 0.9, 0.6])
    expected = qpr.Model(qpr.Circuit(2, pixels).append(_unstated(circuit)).rx(qpr.inputs("angle", 1)[0], 1), "Z1")
    assert_close(qpr.expectation(whole.model, [0.7], x), qpr.expectation(expected, [0.7], x), 20)
    with pytest.raises(qpr.QupropError, match="only the first part has an input state"):
        compose(before, after)


def _unstated(circuit):
    twin = circuit.copy()
    twin.state = qpr.InputState()
    return twin


@pytest.mark.parametrize("build", [compose, parallel])
def test_frozen_parameters_are_numbers(build):
    circuits, thetas, total = _pieces(6)
    models = [qpr.Model(c, total) for c in circuits]
    free = build(*models).model
    held = build(Module(models[0], thetas[0], name="held").freeze(), Module(models[1], name="trained")).model
    assert held.n_params == 5 and held.param_names == ("trained_theta",)
    weights = np.ones(free.n_observables)
    value, grad = qpr.value_and_grad(free, np.concatenate(thetas), X, weights=weights)
    frozen_value, frozen_grad = qpr.value_and_grad(held, thetas[1], X, weights=weights)
    assert_close(frozen_value, value, 50)
    assert_close(frozen_grad, grad[5:], 50)


def test_pretrained_parts_are_where_training_begins():
    circuits, thetas, total = _pieces(7)
    models = [qpr.Model(c, total) for c in circuits]
    a = Module(models[0], thetas[0], name="a")
    whole = compose(a, Module(models[1], name="b"))
    start = whole.start(rng=3)
    assert np.array_equal(start[:5], thetas[0]) and whole.theta is None
    assert np.array_equal(whole.start(rng=3), start)
    assert np.array_equal(compose(a, Module(models[1], thetas[1], name="b")).theta, np.concatenate(thetas))
    moved = whole.part("b", start + 1.0)
    assert moved.name == "b" and moved.model == models[1] and np.array_equal(moved.theta, start[5:] + 1.0)
    assert a.freeze().frozen and not a.freeze().thaw().frozen


def test_what_is_saved_is_what_is_loaded(tmp_path):
    circuits, thetas, total = _pieces(8)
    for module in (
        Module(qpr.Model(circuits[0], total), thetas[0], frozen=True, name="encoder"),
        Module(qpr.Model(circuits[1], [total, "Z0"])),
        compose(*(qpr.Model(c, total) for c in circuits)),
    ):
        module.save(tmp_path / "m.json")
        again = Module.load(tmp_path / "m.json")
        assert again.model == module.model and (again.frozen, again.name) == (module.frozen, module.name)
        assert (again.theta is None) == (module.theta is None)
        assert module.theta is None or np.array_equal(again.theta, module.theta)
        assert list(tmp_path.iterdir()) == [tmp_path / "m.json"]


_TEXT = Module(qpr.Model(qpr.Circuit(1).rx(qpr.params("t", 1)[0], 0), "Z0"), [0.5]).to_text()


@given(st.integers(0, len(_TEXT)), st.text(max_size=3), st.integers(0, 30))
def test_damaged_files_are_refused_in_one_sentence(at, put, cut_out):
    text = _TEXT[:at] + put + _TEXT[at + cut_out :]
    try:
        Module.from_text(text)
    except qpr.QupropError as error:
        assert "\n" not in str(error)


def test_modules_side_by_side_cost_their_sum():
    # 60 qubits in all: no state vector of these is ever made.
    part = qpr.Model(ansatz.tfim_variational(6, 2), {f"Z{q} Z{q + 1}": 1.0 for q in range(5)})
    whole = parallel(*(Module(part, name=f"m{k}") for k in range(10)))
    theta = np.random.default_rng(0).uniform(-1, 1, whole.model.n_params)
    plan = cut(whole.model)
    assert len(plan.fragments) == 10 and plan.overhead == 1.0
    weights = np.ones(10)
    value, grad = plan.value_and_grad(theta, weights=weights)
    single = [qpr.value_and_grad(part, t) for t in theta.reshape(10, -1)]
    assert_close(value, np.array(sum(v for v, _ in single)), 200)
    assert_close(grad, np.concatenate([g for _, g in single]), 200)


_ONE = qpr.Model(qpr.Circuit(1).rx(qpr.params("t", 1)[0], 0), "Z0")
_TWO = qpr.Model(qpr.Circuit(2).rx(qpr.params("t", 1)[0], 0), "Z0")
_READS_2 = qpr.Model(qpr.Circuit(1).rx(qpr.inputs("x", 2)[0], 0), "Z0")
_READS_3 = qpr.Model(qpr.Circuit(1).rx(qpr.inputs("x", 3)[0], 0), "Z0")
_ENCODED = qpr.Model(qpr.Circuit(1, qpr.inputs("x", 2)), "Z0")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: compose(), "nothing to put together"),
        (lambda: compose("Z0"), "a Module holds a quprop Model, got str"),
        (lambda: compose(_ONE, _TWO), "the first part has the most qubits, but 'part1' has 2"),
        (lambda: compose(Module(_ONE, name="a"), Module(_ONE, name="a")), "got 'a' twice"),
        (lambda: parallel(_READS_2, _READS_3), "'x' has 2 entries in one part and 3 in 'part1'"),
        (lambda: parallel(_ENCODED, _ONE), "amplitudes read from x"),
        (lambda: Module(_ONE, name="my part"), "identifier, got 'my part'"),
        (lambda: Module(_ONE, [1.0, 2.0]), r"shape \(1,\), got \(2,\)"),
        (lambda: Module(_ONE, [np.nan]), "must be finite, got nan"),
        (lambda: Module(_ONE, "half"), "array of real numbers, got str"),
        (lambda: Module(_ONE).freeze(), "a frozen module needs its theta"),
        (lambda: Module(_ONE).start(), "pass rng"),
        (lambda: compose(_ONE).part("head", [0.0]), "no part 'head'.* its parts are part0"),
        (lambda: compose(_ONE).part("part0", [0.0, 1.0]), r"shape \(1,\), got \(2,\)"),
        (lambda: Module(_ONE).reading(x="y"), "reads no inputs, got the name 'x'"),
        (lambda: Module(_READS_2).reading(x="1"), "inputs need a name"),
        (lambda: compose(_ONE, observables="Z3"), "acts on qubit 3"),
        (lambda: Module.from_text(_ONE.to_text()), "Model.load reads that file"),
        (lambda: Module.from_text("[]"), "not a quprop module"),
        (lambda: Module.from_text(json.dumps(json.loads(_TEXT) | {"model": 3})), "damaged"),
    ],
)
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises(qpr.QupropError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
