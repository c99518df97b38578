"""Geometry of states: the quantum geometric tensor and overlaps against dense algebra, on all engines."""

import cases
import numpy as np
import pytest
from native_models import segmented_model, start
from test_native import DTYPES, engine
from tolerances import assert_close

import quprop as qpr
from quprop.model.ansatz import data_reuploading, hardware_efficient, qaoa
from quprop.outputs import StateOverlap
from quprop.simulate.state_vector import metric as geometry
from quprop.simulate.state_vector.metric import metric_products
from quprop.simulate.state_vector.reference import ReferenceEngine

ENGINES = {"reference": ReferenceEngine(), "native": engine(), "blocks": engine(block=3), "threads": engine(threads=2)}
MODELS = {
    "segmented": segmented_model(1, 5, 5, start(1, 5, "amplitudes")),
    "large_angles": segmented_model(7, 4, 6, n_inputs=0),
    "shared": qpr.Model(qaoa(4, [(0, 1), (1, 2), (2, 3)], 2), "Z0 Z1"),
    "clifford": qpr.Model(hardware_efficient(3, 2).cx(0, 2).s(1).h(0), "Z0"),
    "inputs": qpr.Model(data_reuploading(2, 2, 3), "Z0"),
    "one_qubit": qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), "Z0"),
}


def dense_derivatives(model, theta, x):
    """psi and d psi/d theta_i from matrices of the rotations, exp(-i a P/2), one after the other."""
    n, table = model.n_qubits, model.angle_table
    a = table.evaluate(theta[None], x[None])[0]
    slopes = np.concatenate([table.pushforward(theta[None], x[None], v[None], 0 * x[None]) for v in np.eye(len(theta))])
    psi = np.atleast_2d(model.state.vector(n, x[None]))[0]
    d = np.zeros((len(theta), 2**n), complex)
    for r, angle, slope in zip(model.rotations, a, slopes.T, strict=True):
        p = qpr.PauliString(r.x, r.z).matrix(n)
        turn = np.cos(angle / 2) * np.eye(2**n) - 1j * np.sin(angle / 2) * p
        psi = turn @ psi
        d = d @ turn.T - 0.5j * np.outer(slope, p @ psi)
    return psi, d


def dense_tensor(model, theta, x):
    psi, d = dense_derivatives(model, theta, x)
    return d.conj() @ d.T - np.outer(d.conj() @ psi, psi.conj() @ d.T)


def unitary(tableau):
    """Stim's matrix of a Clifford in double precision: its entries are equal in size and differ by powers of i."""
    u = tableau.to_unitary_matrix(endian="little").astype(complex)
    u = np.round(u / u[u != 0][0])
    return u / np.linalg.norm(u[0])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("which", ENGINES)
def test_geometric_tensor_is_that_of_dense_derivatives(which, name):
    model = MODELS[name]
    theta, x = cases.values_for(model, 3)
    theta = theta[0]
    expected = np.mean([dense_tensor(model, theta, row) for row in x], axis=0)
    given = {"x": x if model.n_inputs else None, "engine": ENGINES[which]}
    found = qpr.geometric_tensor(model, theta, **given)
    assert_close(found, expected, 1000 + 100 * model.n_rotations)
    assert_close(qpr.metric(model, theta, **given), expected.real, 1000 + 100 * model.n_rotations)
    vectors = np.random.default_rng(0).normal(size=(3, model.n_params))
    products = metric_products(model, theta, vectors, **given)
    assert_close(products, vectors @ expected.real, 1000 + 100 * model.n_rotations)


def test_two_generators_that_do_not_commute_have_a_berry_curvature():
    """RZ(b) RY(a) |0>: Q = [[1, i sin a], [-i sin a, sin^2 a]]/4 up to the sign of orientation."""
    t = qpr.params("t", 2)
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0).rz(t[1], 0), "Z0")
    for a in (0.0, 0.4, 2.0):
        expected = np.array([[1, 1j * np.sin(a)], [-1j * np.sin(a), np.sin(a) ** 2]]) / 4
        assert_close(qpr.geometric_tensor(model, [a, 0.7]), expected, 50)


@pytest.mark.parametrize("precision", DTYPES)
def test_precision_and_threads_reach_the_kernels(precision):
    model = qpr.Model(hardware_efficient(9, 2), "Z0")
    theta, _ = cases.values_for(model)
    exact = qpr.geometric_tensor(model, theta, engine="reference")
    one, two = (qpr.geometric_tensor(model, theta, precision=precision, threads=t) for t in (1, 2))
    assert np.array_equal(one, two)
    assert_close(one, exact, 2000, DTYPES[precision])
    assert (np.abs(one - exact).max() > 1e-9) == (precision == "single")


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_derivatives_in_several_blocks_give_the_same_tensor(at_once, monkeypatch):
    model = MODELS["clifford"]
    theta, _ = cases.values_for(model)
    whole = qpr.geometric_tensor(model, theta)
    monkeypatch.setattr(geometry, "BLOCK_BYTES", at_once * (16 << model.n_qubits))
    monkeypatch.setattr(geometry.memory, "available_bytes", lambda: 0)
    monkeypatch.setattr(geometry.memory, "ALWAYS_FINE", 1 << 40)
    assert_close(qpr.geometric_tensor(model, theta), whole, 100)
    assert_close(qpr.metric(model, theta), whole.real, 100)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("which", ENGINES)
def test_overlap_and_its_gradient_are_those_of_dense_algebra(which, name):
    model = MODELS[name]
    rng = np.random.default_rng(5)
    target = rng.normal(size=2**model.n_qubits) + 1j * rng.normal(size=2**model.n_qubits)
    target /= np.linalg.norm(target)
    theta, x = cases.values_for(model, 9)
    at = (theta, x if model.n_inputs else None)
    values, pullback = qpr.output_vjp(model, StateOverlap(target), *at, engine=ENGINES[which])
    cotangent = rng.normal(size=9)
    d_theta, d_x = pullback(cotangent)
    moved = unitary(model.pull) @ target
    for k in range(9):
        psi, d = dense_derivatives(model, theta[k], x[k])
        overlap = np.vdot(moved, psi)
        factor = 1000 + 100 * model.n_rotations
        assert_close(values[k], abs(overlap) ** 2, factor)
        assert_close(d_theta[k], 2 * cotangent[k] * (overlap.conj() * (d @ moved.conj())).real, factor)
    assert d_x.shape == x.shape
    assert_close(pullback(cotangent, sum_theta=True)[0], d_theta.sum(axis=0), 100)


@pytest.mark.parametrize("options", [{}, {"engine": "reference"}, {"precision": "single"}, {"threads": 2}], ids=str)
def test_overlap_gradient_by_inputs_is_that_of_differences(options):
    """Inputs in angles, and inputs that are the amplitudes."""
    tolerance = 2e-3 if options.get("precision") else 1e-7
    step = 1e-2 if options.get("precision") else 1e-5
    pixels = qpr.inputs("x", 4)
    encoded = qpr.Model(qpr.Circuit(2, state=pixels).append(hardware_efficient(2, 1)).h(1), "Z0")
    for model in (encoded, MODELS["inputs"]):
        theta, x = cases.values_for(model, 2, seed=4)
        target = StateOverlap([0.5, 0.5j, -0.5, 0.5])
        d_x = qpr.output_vjp(model, target, theta[0], x, **options)[1](np.ones(2))[1]
        for index in np.ndindex(x.shape):
            move = np.zeros_like(x)
            move[index] = step
            up, down = (qpr.output_vjp(model, target, theta[0], x + s, **options)[0].sum() for s in (move, -move))
            assert (up - down) / (2 * step) == pytest.approx(d_x[index], abs=tolerance)


def test_fidelity_trains_with_the_engine_asked_for():
    """Its loss in single precision is that of single precision: the options are heard."""
    model = MODELS["clifford"]
    theta, _ = cases.values_for(model)
    target = np.arange(1.0, 9.0)
    losses = [
        qpr.train(model, qpr.Fidelity(target), params=theta, steps=1, **options).loss
        for options in ({"engine": "reference"}, {}, {"precision": "single"})
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-14)
    assert 1e-10 < abs(losses[2] - losses[0]) < 1e-5


REFUSED = {
    "complex theta": (lambda m: qpr.metric(m, [0.1 + 1j]), "theta must be an array of real numbers"),
    "NaN": (lambda m: qpr.metric(m, [np.nan]), "theta must be finite"),
    "size": (lambda m: qpr.metric(m, [0.1, 0.2]), r"theta must have shape \(..., 1\), got \(2,\)"),
    "many thetas": (lambda m: qpr.metric(m, [[0.1], [0.2]]), "the metric is that of one theta"),
    "engine": (lambda m: qpr.geometric_tensor(m, [0.1], engine="tensor"), "engine is one of"),
    "threads": (lambda m: qpr.metric(m, [0.1], threads=0), "threads is a positive integer"),
    "no states": (lambda m: qpr.metric(m, [0.1], engine=type("E", (), {"values": 1})()), "holds states"),
    "target": (lambda m: qpr.output_vjp(m, StateOverlap(np.ones(4)), [0.1]), r"must have shape \(2,\), got \(4,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_metric_is_refused_in_a_sentence(name):
    call, words = REFUSED[name]
    with pytest.raises(qpr.QupropError, match=words):
        call(MODELS["one_qubit"])
