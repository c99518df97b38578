"""The reference engine: values against dense matrices, gradients four independent ways, and proof they can fail."""

import cases
import checks
import dense
import numpy as np
import pytest
import stim
from tolerances import assert_close

import quprop as qpr
from quprop.model.angle_table import AngleTable
from quprop.simulate.state_vector.reference import ReferenceEngine, apply_clifford

ENGINE = ReferenceEngine()
NAMES = list(cases.CASES)


def weights_for(model, batch=None):
    return np.random.default_rng(9).normal(
        size=(model.n_observables,) if batch is None else (batch, model.n_observables)
    )


@pytest.mark.parametrize("name", NAMES)
def test_values_and_states_are_those_of_dense_matrices(name):
    circuit, observables, model = cases.CASES[name]
    theta, x = cases.values_for(model, 2)
    x_given = x if model.n_inputs else x[:1]
    values, states = (f(model, theta, x_given) for f in (ENGINE.values, ENGINE.states))
    for b in range(2):
        assert_close(values[b], dense.values(circuit, observables, theta[b], x[b]), 500)
        assert_close(abs(np.vdot(states[b], dense.final_state(circuit, theta[b], x[b]))), 1.0, 500)
    assert_close(np.linalg.norm(states, axis=1), np.ones(2), 200)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_parameter_shift(name):
    model = cases.CASES[name].model
    checks.check_parameter_shift(ENGINE, model, *cases.values_for(model), weights_for(model))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_central_difference(name):
    model = cases.CASES[name].model
    checks.check_differences(ENGINE, model, *cases.values_for(model), weights_for(model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["one_qubit", "products_of_angles", "encoded_and_rotated", "product_state", "random_gates"]
)
def test_gradient_is_that_of_jax_through_dense_matrices(name):
    jax = pytest.importorskip("jax")
    circuit, observables, model = cases.CASES[name]
    theta, x = cases.values_for(model)
    weights = weights_for(model)
    with jax.enable_x64(True):

        def function(t, u):
            return jax.numpy.dot(weights, dense.values(circuit, observables, t, u, jax.numpy))

        gradient = jax.jit(jax.grad(function, argnums=(0, 1)))
        expected = gradient(jax.numpy.asarray(theta), jax.numpy.asarray(x))
        expected = [np.asarray(e) for e in expected]
    _, pullback = ENGINE.vjp(model, theta[None], x[None])
    for actual, wanted in zip(pullback(weights[None]), expected, strict=True):
        assert_close(actual[0], wanted, 2000)


@pytest.mark.parametrize("name", NAMES)
def test_hessian_vector_product_is_the_difference_of_gradients(name):
    model = cases.CASES[name].model
    theta, x = cases.values_for(model, 2, 1)
    v_theta, v_x = cases.values_for(model, 2, 2)
    x, v_x = (x, v_x) if model.n_inputs else (x[:1], v_x[:1])
    checks.check_hvp(ENGINE, model, theta, x, weights_for(model, 2), v_theta / 3, v_x / 3)


@pytest.mark.parametrize("seed", range(5))
def test_hessian_is_symmetric(seed):
    model = cases.random_model(seed, 3, 12)
    theta, x = cases.values_for(model)
    p = model.n_params
    tile = lambda a: np.broadcast_to(a, (p, *a.shape))  # noqa: E731
    hessian = ENGINE.hvp(model, tile(theta), x[None], tile(weights_for(model)), np.eye(p), x[None])[2]
    assert_close(hessian, hessian.T, 500)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_samples(name):
    model = cases.CASES[name].model
    theta, x = cases.values_for(model, 3)
    x_given = x if model.n_inputs else x[:1]
    weights = weights_for(model, 3)
    values, pullback = ENGINE.vjp(model, theta, x_given)
    d_theta, d_x = pullback(weights)
    for b in range(3):
        one, pull_one = ENGINE.vjp(model, theta[b : b + 1], x[b : b + 1])
        assert_close(values[b : b + 1], one, 100)
        for batched, single in zip((d_theta, d_x), pull_one(weights[b : b + 1]), strict=True):
            assert_close(batched[b : b + 1], single, 1000)


def test_gradients_add_over_observables():
    model = cases.CASES["several_observables"].model
    theta, x = (a[None] for a in cases.values_for(model))
    weights = weights_for(model)
    _, pullback = ENGINE.vjp(model, theta, x)
    each = [pullback(row[None])[0] for row in np.eye(len(weights))]
    assert_close(pullback(weights[None])[0], sum(w * g for w, g in zip(weights, each, strict=True)), 200)


@pytest.mark.parametrize("pauli", ["X", "ZY", "XIYZ"])
def test_laws_of_rotations(pauli):
    """R(a) R(-a) = 1, commuting rotations swap, a and a + 2 pi differ by a sign, Z rotations by 2 pi are absorbed."""
    n, rng = 4, np.random.default_rng(2)
    start = rng.normal(size=16) + 1j * rng.normal(size=16)
    start /= np.linalg.norm(start)
    partner = pauli.replace("Y", "I").ljust(n, "Z")  # shares letters with pauli where both act: they commute

    def run(*rows):
        angles = qpr.params("a", len(rows))
        model = qpr.Model.from_rotations(n, [(p, a) for (p, _), a in zip(rows, angles, strict=True)], "Z0", start)
        return ENGINE.states(model, np.array([[a for _, a in rows]]), np.zeros((1, 0)))[0]

    assert qpr.PauliString.parse(pauli).commutes(qpr.PauliString.parse(partner))
    assert_close(run((pauli, 0.7), (pauli, -0.7)), start, 50)
    assert_close(run((pauli, 0.7), (partner, 1.1)), run((partner, 1.1), (pauli, 0.7)), 50)
    assert_close(run((pauli, 0.7 + 2 * np.pi)), -run((pauli, 0.7)), 50)


def test_closed_form_of_one_rotation():
    """RX(a)|0>: <Z> = cos a, gradient -sin a, second derivative -cos a; <Y> = -sin a."""
    model = qpr.Model(qpr.Circuit(1).rx(qpr.params("a", 1)[0], 0), ["Z0", "Y0"])
    a, none, w = np.array([[0.3]]), np.zeros((1, 0)), np.array([[1.0, 0.0]])
    assert_close(ENGINE.values(model, a, none), [[np.cos(0.3), -np.sin(0.3)]], 10)
    d, _, h, _ = ENGINE.hvp(model, a, none, w, np.ones((1, 1)), none)
    assert_close(d, [[-np.sin(0.3)]], 10)
    assert_close(h, [[-np.cos(0.3)]], 10)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_clifford_is_applied_as_its_unitary_matrix(n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        tableau = stim.Tableau.random(n)
        states = rng.normal(size=(2, 2**n)) + 1j * rng.normal(size=(2, 2**n))
        expected = states @ tableau.to_unitary_matrix(endian="little").T
        actual = apply_clifford(tableau, states)
        phase = np.vdot(expected[0], actual[0]) / np.vdot(expected[0], expected[0])
        assert_close(abs(phase), 1.0, 1e9)  # stim's matrix is single precision
        assert_close(actual / phase, expected, 1e10)


# The tests above can fail: three wrong engines, each off in one small way, must be caught by both checks.


class FlippedSign(ReferenceEngine):
    def vjp(self, model, theta, x):
        values, pullback = super().vjp(model, theta, x)

        def wrong(cotangent):
            d_theta, d_x = pullback(cotangent)
            d_theta[:, 1] *= -1
            return d_theta, d_x

        return values, wrong


class SlightlyOff(ReferenceEngine):
    """A gradient 0.05 % too large."""

    def vjp(self, model, theta, x):
        values, pullback = super().vjp(model, theta, x)
        return values, lambda cotangent: tuple(1.0005 * d for d in pullback(cotangent))


class DroppedFactor(ReferenceEngine):
    """Forgets the factor 2 of a shared parameter's second use in the chain rule, not in the value."""

    def vjp(self, model, theta, x):
        angles = [r.angle for r in model.rotations]
        place = next(m for m, a in enumerate(angles) if any(abs(c) == 2 and k for k, c in a.terms))
        angles[place] = angles[place] * 0.5
        table = AngleTable.build(angles, model.n_params, model.n_inputs)
        values, d_angles = super().vjp(checks.rotation_level(model), model.angle_table.evaluate(theta, x), x)
        return values, lambda cotangent: table.pullback(d_angles(cotangent)[0], theta, x)


@pytest.mark.parametrize("engine", [FlippedSign(), SlightlyOff(), DroppedFactor()], ids=lambda e: type(e).__name__)
def test_the_gradient_checks_catch_a_wrong_gradient(engine):
    model = cases.CASES["shared_parameters"].model
    arguments = (model, *cases.values_for(model), weights_for(model))
    for check in (checks.check_parameter_shift, checks.check_differences):
        check(ENGINE, *arguments)
        with pytest.raises(AssertionError, match="error"):
            check(engine, *arguments)


def test_the_hessian_check_catches_a_missing_second_order_term():
    class NoCurvature(ReferenceEngine):
        """Leaves out what products of angles add."""

        def hvp(self, model, theta, x, cotangent, v_theta, v_x):
            d_theta, d_x, h_theta, h_x = super().hvp(model, theta, x, cotangent, v_theta, v_x)
            flat = checks.rotation_level(model)
            d_angles = ENGINE.vjp(flat, model.angle_table.evaluate(theta, x), x)[1](cotangent)[0]
            lost = model.angle_table.pullback_tangent(d_angles, theta, x, v_theta, v_x)
            return d_theta, d_x, h_theta - lost[0], h_x - lost[1]

    model = cases.CASES["products_of_angles"].model
    (theta, x), (v_theta, v_x) = cases.values_for(model, 1), cases.values_for(model, 1, 4)
    arguments = (model, theta, x, weights_for(model, 1), v_theta / 3, v_x / 3)
    checks.check_hvp(ENGINE, *arguments)
    with pytest.raises(AssertionError, match="error"):
        checks.check_hvp(NoCurvature(), *arguments)


def test_memory_counts_state_vectors():
    model = cases.CASES["ising"].model
    assert ENGINE.memory(model, 10, "vjp") >= 10 * ENGINE.memory(model, 1, "values")
    assert ENGINE.memory(model, 1, "vjp") >= 3 * 16 * 2**6
