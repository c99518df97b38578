"""Models: frozen, comparable, hashable, readable; text keeps them exactly; angle tables differentiate exactly."""

import copy
import json
import pickle
import time

import cases
import numpy as np
import pytest
from tolerances import assert_close

import quprop as qpr
from quprop import Model
from quprop.simulate.state_vector.reference import ReferenceEngine

NAMES = list(cases.CASES)
theta, x = qpr.params("theta", 3), qpr.inputs("x", 2)
ENGINE = ReferenceEngine()


def simple(observables="Z0"):
    return Model(qpr.Circuit(2).ry(theta[0] * x[1], 0).cx(0, 1).rz(theta[2] + 0.1, 1), observables)


@pytest.mark.parametrize("name", NAMES)
def test_text_round_trip_is_exact(name):
    model = cases.CASES[name].model
    again = Model.from_text(model.to_text())
    assert again == model and hash(again) == hash(model) and again.to_text() == model.to_text()
    assert pickle.loads(pickle.dumps(model)) == model == copy.deepcopy(model)


@pytest.mark.parametrize("name", NAMES)
def test_observables_can_be_replaced_in_the_users_frame(name):
    case = cases.CASES[name]
    bare = Model(case.circuit, "Z0")
    assert bare.with_observables(case.observables) == case.model
    assert case.model.original_observables == case.observables


def test_equal_models_are_built_from_equal_circuits():
    assert simple() == simple() and hash(simple()) == hash(simple()) and len({simple(), simple()}) == 1
    assert simple() != simple("Z1") and simple() != 3
    other = Model(qpr.Circuit(2).ry(theta[0] * x[1], 0).cx(0, 1).rz(theta[2] + 0.1, 1).s(0), "Z0")
    assert simple() != other  # the same rotations and observable, another residual Clifford


def test_models_are_frozen():
    with pytest.raises(AttributeError, match="cannot be changed"):
        simple().n_qubits = 3


def test_observables_come_in_all_forms():
    forms = [qpr.PauliSum({"Z0": 1.0}), {"Z0": 1.0}, "Z0", qpr.PauliString.parse("ZI")]
    assert all(simple(f) == simple([f]) == simple() for f in forms) and simple(forms).n_observables == 4


def test_print_shows_summary_rotations_and_observables():
    assert str(simple("Z0 - 0.5*X1")) == (
        "Model: 2 qubits, 2 rotations, params theta[3], inputs x[2], 1 observable, from |00>\n"
        "     0  exp(-i/2 (theta[0]*x[1]) Y0)\n"
        "     1  exp(-i/2 (theta[2] + 0.1) Z0 Z1)\n"
        "  O[0] = Z0 - 0.5*X1\n"
        "  (the observables have absorbed the circuit's Clifford gates)"
    )
    assert "... 14 more" in str(cases.CASES["random_paulis"].model)


def test_save_and_load(tmp_path):
    model = cases.CASES["encoded_and_rotated"].model
    model.save(tmp_path / "model.json")
    assert Model.load(tmp_path / "model.json") == model and [p.name for p in tmp_path.iterdir()] == ["model.json"]


def test_foreign_and_damaged_files_are_refused_with_a_sentence(tmp_path):
    good = json.loads(simple().to_text())
    bad = {
        "not a quprop model": ["", "hello", "[]", "{}", "3"],
        "version 7": [json.dumps(good | {"version": 7})],
        "'other'": [json.dumps(good | {"format": "other"})],
        "damaged": [
            json.dumps(good | change)
            for change in (
                {"n_qubits": 1},
                {"n_qubits": "2"},
                {"rotations": [["X0"]]},
                {"rotations": [["X9", {"1": 1.0}]]},
                {"rotations": [["X0", {"theta[5]": 1.0}]]},
                {"rotations": [["X0", {"sin(x)": 1.0}]]},
                {"state": ["basis", 9]},
                {"state": ["amplitudes", "AAAA"]},
                {"state": ["encoded", 0]},
                {"observables": []},
                {"observables": [{"Z7": 1.0}]},
                {"clifford": [["+X_"], ["+Z_"]]},
            )
        ],
    }
    for word, texts in bad.items():
        for text in texts:
            with pytest.raises(qpr.QupropError, match=word) as caught:
                Model.from_text(text)
            assert "\n" not in str(caught.value)
    (tmp_path / "x.json").write_bytes(b"\xff\x00\x01")
    with pytest.raises(qpr.QupropError, match=r"x\.json.*not text"):
        Model.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Model("h 0", "Z0"), "takes a Circuit"),
        (lambda: simple([]), "one observable at least"),
        (lambda: simple(3), "observables are"),
        (lambda: simple("Z5"), "acts on qubit 5"),
        (lambda: simple({"Z0": 1j}), "real"),
        (lambda: simple({"iZ0": 1.0}), "Hermitian"),
        (lambda: simple({"Z0": float("nan")}), "finite"),
        (lambda: simple().with_observables("Z9"), "acts on qubit 9"),
        (lambda: Model(qpr.Circuit(1, params=[qpr.params(k, 2**30) for k in "ab"]), "Z0"), "at most, got 2147483648"),
    ],
)
def test_bad_models_get_one_sentence(make, word):
    with pytest.raises(qpr.QupropError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_encoded_sample_of_zeros_is_refused():
    model = cases.CASES["encoded_state"].model
    data = np.ones((3, 8))
    data[1] = 0
    with pytest.raises(qpr.QupropError, match="sample 1"):
        ENGINE.values(model, np.zeros((1, model.n_params)), data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shared_theta", [False, True])
def test_angle_table_values_and_derivatives(name, shared_theta):
    """evaluate = polynomial; pushforward, pullback and the second-order term = complex steps, all exact to rounding."""
    model = cases.CASES[name].model
    table, b = model.angle_table, 3
    t, u = cases.values_for(model, b, 1)
    vt, vu = cases.values_for(model, b, 2)
    t = t[:1] if shared_theta else t
    u = u[:1] if model.n_inputs == 0 and not shared_theta else u
    batch = max(len(t), len(u)) if model.n_inputs else len(t)
    vt, vu = vt[:batch], vu[: batch if model.n_inputs else 1]
    u = u[: batch if model.n_inputs else 1]

    def angles(t, u):
        t, u = np.broadcast_to(t, (batch, t.shape[1])), np.broadcast_to(u, (batch, u.shape[1]))
        rows = [
            [
                sum((c * np.prod([(tt, uu)[v[0]][v[1]] for v in m]) for m, c in r.angle.terms), start=0.0)
                for r in model.rotations
            ]
            for tt, uu in zip(t, u, strict=True)
        ]
        return np.array(rows).reshape(batch, model.n_rotations)

    h = 1e-30
    assert_close(table.evaluate(t, u), angles(t, u), 50)
    along = angles(t + 1j * h * vt, u + 1j * h * vu).imag / h
    assert_close(table.pushforward(t, u, vt, vu), along, 100)
    weights = np.random.default_rng(3).normal(size=(batch, model.n_rotations))
    d_t, d_u = table.pullback(weights, t, u)
    assert d_t.shape == (batch, model.n_params) and d_u.shape == (batch, model.n_inputs)
    assert_close((d_t * vt).sum(1) + (d_u * vu).sum(1), (weights * along).sum(1), 1000)
    # Second order: the pullback is a polynomial too, so its central difference is exact up to third-order terms.
    step = 1e-4
    ahead, behind = (table.pullback(weights, t + s * vt, u + s * vu) for s in (step, -step))
    for exact, a, c in zip(table.pullback_tangent(weights, t, u, vt, vu), ahead, behind, strict=True):
        assert_close(exact, (a - c) / (2 * step), 1e3 / step)


def test_flat_arrays_of_the_angle_table():
    table = simple().angle_table
    assert (
        table.constant.tolist() == [0.0, 0.1] and table.mono_ptr.tolist() == [0, 1, 2] and table.coef.tolist() == [1, 1]
    )
    assert table.var_ptr.tolist() == [0, 2, 3] and table.var.tolist() == [0, 3 + 1, 2]


def test_a_large_model_is_built_in_linear_time():
    """100,000 rotations take about 3 s; a quarter of that here, with room for a busy machine."""
    started = time.process_time()
    model = Model(qpr.ansatz.hardware_efficient(16, 780), {f"Z{q}": 1.0 for q in range(16)})
    assert model.n_rotations == 24960 and len(model.angle_table.coef) == 24960 and isinstance(hash(model), int)
    assert time.process_time() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize("made", ["one vector", "a vector for each gate", "no parameter"])
def test_making_a_model_and_its_first_gradient_are_linear_in_the_gates(made):
    """Ten times the gates take about ten times as long: of processor time, which busy machines hardly change."""
    seconds = []
    for size in (2_000, 20_000):
        began = time.process_time()
        circuit = qpr.Circuit(5)
        theta = qpr.params("theta", size)
        for k in range(size):
            angle = {"one vector": theta[k], "no parameter": 0.5}.get(made) or qpr.params(f"t{k}", 1)[0]
            circuit.ry(angle, k % 5).cx(k % 5, (k + 1) % 5)
        model = Model(circuit, "Z0 Z1")
        qpr.value_and_grad(model, np.full(model.n_params, 0.1), threads=1)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 30 * seconds[0] + 0.1, seconds
