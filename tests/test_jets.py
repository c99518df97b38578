"""`quprop.jet`: derivatives along directions against closed forms, parameter shift and scaling laws; and refusals."""

import cases
import numpy as np
import pytest
from random_programs import program

import quprop as qpr
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.state_vector.reference import ReferenceEngine

A, X = qpr.params("a", 1), qpr.inputs("x", 1)
COSINE = qpr.Model(qpr.Circuit(1).ry(A[0] * X[0], 0), "Z0")


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_cosine_its_derivatives_and_their_gradients(engine):
    a, x = 1.7, np.linspace(-2, 2, 11)
    u = qpr.jet(COSINE, [a], x[:, None], [1.0], engine=engine)
    c, s = np.cos(a * x), np.sin(a * x)
    for found, exact in zip(u.values, (c, -a * s, -(a**2) * c), strict=True):
        np.testing.assert_allclose(found[:, 0], exact, atol=1e-13)
    d_a, d_x = u.pullback([None, None, np.ones((11, 1))])
    np.testing.assert_allclose(d_a[:, 0], -2 * a * c + a**2 * x * s, atol=1e-12)
    np.testing.assert_allclose(d_x[:, 0], a**3 * s, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_mixed_derivatives_are_nested_parameter_shifts(seed):
    """Of a model whose angles are its parameters: H_ij by two shifts each, d^2<O>/da^2 included."""
    model = cases.random_model(seed, 4, 8)
    rows = [(qpr.PauliString(r.x, r.z), p) for r, p in zip(model.rotations, qpr.params("b", 8), strict=True)]
    model = qpr.Model.from_rotations(4, rows, model.observables, params=qpr.params("b", 8))
    theta = np.random.default_rng(seed).normal(size=8)
    e = np.pi / 2 * np.eye(8)
    f = lambda t: ReferenceEngine().values(model, t[None], np.empty((1, 0)))[0]  # noqa: E731
    hessian = np.array(
        [[(f(theta + p + q) - f(theta + p - q) - f(theta - p + q) + f(theta - p - q)) / 4 for p in e] for q in e]
    )
    found = qpr.jet(model, theta, None, np.eye(8), wrt="theta", mixed=True)
    np.testing.assert_allclose(found.values[2], hessian, atol=1e-9)
    weights = np.random.default_rng(1).normal(size=found.values[2].shape)
    d_theta, _ = found.pullback([None, None, weights])
    step = 1e-4 * np.random.default_rng(2).normal(size=8)
    up, down = (qpr.jet(model, theta + d, None, np.eye(8), wrt="theta", mixed=True).values[2] for d in (step, -step))
    assert abs(np.sum(weights * (up - down)) / 2 - d_theta @ step) < 1e-9


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9, 1e30])
def test_directions_of_any_size_scale_the_derivatives(size, precision):
    v, options = np.array([1.0]), {"precision": precision}
    one, other = (qpr.jet(COSINE, [1.7], [0.4], s * v, **options) for s in (1.0, size))
    for k in range(3):
        np.testing.assert_allclose(
            other.values[k], one.values[k] * size**k, rtol=1e-5 if precision == "single" else 1e-13
        )
        c = [None] * 3
        c[k] = [1.0]
        for a, b in zip(one.pullback(c), other.pullback(c), strict=True):
            np.testing.assert_allclose(b, a * size**k, rtol=1e-4 if precision == "single" else 1e-12)


def test_threads_and_batches_give_the_same_numbers():
    model = qpr.Model(qpr.ansatz.data_reuploading(3, 3, 2), ["Z0", "Z1"])
    theta, x = cases.values_for(model, 37, 0)
    directions = np.random.default_rng(0).normal(size=(2, model.n_inputs))
    one, two = (qpr.jet(model, theta[0], x, directions, engine=NativeEngine(threads=t)) for t in (1, 2))
    c = [np.random.default_rng(k).normal(size=v.shape) for k, v in enumerate(one.values)]
    for a, b in zip((*one.values, *one.pullback(c)), (*two.values, *two.pullback(c)), strict=True):
        assert np.array_equal(a, b)
    alone = qpr.jet(model, theta[0], x[5], directions)
    for a, b in zip(one.values, alone.values, strict=True):
        np.testing.assert_allclose(a[5], b, atol=1e-11)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [1.0], 3), "exact up to the second order"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [1.0, 2.0]), "directions must have shape"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [np.inf]), "finite"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], np.empty((0, 1))), "directions must have shape"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [1.0], wrt="y"), "wrt is"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [1.0], 1, mixed=True), "pass order=2"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [1.0], engine="density"), "no derivatives along a direction"),
        (lambda: qpr.jet(COSINE, [1.0], [1.0], [1.0]).pullback([[1.0]]), "one array for each order"),
        (
            lambda: qpr.jet(qpr.Model(qpr.Circuit(1).ry(A[0] * X[0], 0).depolarising(0.1, 0), "Z0"), [1], [1], [1.0]),
            "no noise",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_refused_in_a_sentence(call, says):
    with pytest.raises(qpr.QupropError, match=says):
        call()


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("block", [None, 3])
def test_kernels_and_reference_agree_on_programs_of_every_kind(seed, block):
    """Values and states along a direction, and their pullbacks; a state's global phase is its engine's own."""
    model, rng = program(seed).model(), np.random.default_rng(seed)
    if model.channels:
        pytest.skip("a program with noise")
    batch = int(rng.choice([1, 3, 9]))
    theta, x = rng.normal(size=(batch, model.n_params)), rng.normal(size=(batch, model.n_inputs))
    v_theta, v_x = rng.normal(size=theta.shape), rng.normal(size=x.shape)
    engine, reference = qpr.NativeEngine(threads=1, block=block), qpr.ReferenceEngine()
    for order in (1, 2):
        at = (model, theta, x, v_theta, v_x, order)
        (found, back), (expected, pull) = engine.jet(*at), reference.jet(*at)
        c = rng.normal(size=expected.shape)
        (states, back_states), (psi, pull_states) = engine.state_jet(*at), reference.state_jet(*at)
        largest, rows = np.abs(psi[0]).argmax(axis=1), np.arange(batch)
        phase = (states[0][rows, largest] / psi[0][rows, largest])[None, :, None]
        costates = rng.normal(size=psi.shape) + 1j * rng.normal(size=psi.shape)
        pairs = [(found, expected), (states, phase * psi)]
        pairs += zip(back(c), pull(c), strict=True)
        pairs += zip(back_states(costates * phase), pull_states(costates), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * max(1.0, np.abs(other).max(initial=0.0)))
