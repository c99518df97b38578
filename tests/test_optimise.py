"""Optimisers: closed forms, optax as an independent witness, and the natural gradient's metric."""

import numpy as np
import pytest
from tolerances import assert_close

import quprop as qpr
from quprop.model.ansatz import data_reuploading, hardware_efficient
from quprop.simulate.state_vector.metric import metric, metric_products
from quprop.simulate.state_vector.reference import ReferenceEngine
from quprop.training.optimise import LBFGS, adam, apply_updates, cosine, natural_gradient, sgd, tree_fill, tree_leaves


def descend(optimiser, params, gradients):
    state = optimiser.init(params)
    for gradient in gradients:
        updates, state = optimiser.update(gradient, state, params)
        params = apply_updates(params, updates)
    return params


def draw(seed=0, steps=7):
    rng = np.random.default_rng(seed)
    params = {"theta": rng.normal(size=4), "scale": rng.normal(size=2), "bias": np.zeros(2)}
    return params, [{k: rng.normal(size=v.shape) for k, v in params.items()} for _ in range(steps)]


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (adam(0.05), lambda o: o.adam(0.05)),
        (adam(cosine(0.05, 5)), lambda o: o.adam(o.cosine_decay_schedule(0.05, 5))),
        (sgd(0.1), lambda o: o.sgd(0.1)),
        (sgd(0.1, momentum=0.9), lambda o: o.sgd(0.1, momentum=0.9)),
    ],
    ids=["adam", "adam cosine", "sgd", "momentum"],
)
def test_pairs_move_as_optax_does(ours, theirs):
    optax = pytest.importorskip("optax")
    params, gradients = draw()
    mine, other = descend(ours, params, gradients), descend(theirs(optax), params, gradients)
    for key in params:  # optax computes in single precision unless JAX is told otherwise
        assert_close(mine[key], other[key], 200, np.float32)


def test_pairs_take_a_bare_array():
    params, gradients = draw()
    moved = descend(adam(0.05), params["theta"], [g["theta"] for g in gradients])
    assert np.array_equal(moved, descend(adam(0.05), params, gradients)["theta"])


def test_first_adam_step_is_the_learning_rate():
    # With bias correction the first step is rate * sign(g), up to eps.
    moved = descend(adam(0.05), np.zeros(3), [np.array([2.0, -0.3, 1e3])])
    np.testing.assert_allclose(moved, [-0.05, 0.05, -0.05], rtol=1e-6)


def test_cosine_begins_at_the_peak_and_ends_at_the_end():
    rate = cosine(0.2, 10, final=0.01)
    assert (
        rate(0) == pytest.approx(0.2)
        and rate(5) == pytest.approx(0.105)
        and rate(10) == rate(99) == pytest.approx(0.01)
    )


def test_a_state_survives_being_taken_apart_and_filled():
    params, gradients = draw()
    optimiser = adam(0.05)
    _, state = optimiser.update(gradients[0], optimiser.init(params), params)
    again = tree_fill(optimiser.init(params), tree_leaves(state))
    assert type(again) is type(state)
    assert all(np.array_equal(a, b) for a, b in zip(tree_leaves(again), tree_leaves(state), strict=True))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: adam(-1.0), "learning_rate"),
        (lambda: adam(np.nan), "learning_rate"),
        (lambda: adam(b1=1.0), "b1"),
        (lambda: sgd(momentum=1.0), "momentum"),
        (lambda: natural_gradient(np.eye, damping=0.0), "damping"),
        (lambda: LBFGS(memory=0), "memory"),
        (lambda: natural_gradient(np.eye).update(np.zeros(2), natural_gradient(np.eye).init(None)), "parameters"),
    ],
)
def test_bad_settings_are_one_sentence(make, words):
    with pytest.raises(qpr.QupropError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


# -- the metric -------------------------------------------------------------------------------------------------------


def metric_by_differences(model, theta, x=None):
    """G from the definition, with derivative states by fourth-order central differences of the rotations' own
    states."""
    engine, step = ReferenceEngine(), 1e-3
    moves = step * np.eye(len(theta))
    points = np.concatenate([theta + k * moves for k in (-2, -1, 1, 2, 0)])
    inputs = np.zeros((1, 0)) if x is None else np.broadcast_to(x, (len(points), len(x)))
    states = engine.states(model, points, inputs)
    psi = states[-1]
    f = states.reshape(5, len(theta), -1)
    d = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
    return (d.conj() @ d.T - np.outer(d.conj() @ psi, psi.conj() @ d.T)).real


def test_metric_of_one_rotation_is_a_quarter():
    theta = qpr.params("theta", 2)
    model = qpr.Model(qpr.Circuit(1).ry(theta[0], 0).rz(theta[1], 0), "Z0")
    for angle in (0.0, 0.3, 2.0):  # |psi> on the Bloch sphere: ds^2 = (d polar^2 + sin^2(polar) d azimuth^2) / 4
        assert_close(metric(model, [angle, 0.7]), np.diag([0.25, np.sin(angle) ** 2 / 4]), 50)


def test_metric_is_that_of_the_definition():
    circuit = hardware_efficient(3, 2)
    model = qpr.Model(circuit, "Z0")
    theta = np.random.default_rng(1).normal(size=model.n_params)
    np.testing.assert_allclose(metric(model, theta), metric_by_differences(model, theta), atol=1e-9)


def test_metric_with_inputs_and_products_is_averaged_over_samples():
    model = qpr.Model(data_reuploading(2, 2, 3), "Z0")
    rng = np.random.default_rng(2)
    theta, x = rng.normal(size=model.n_params), rng.normal(size=(3, 3))
    expected = np.mean([metric_by_differences(model, theta, sample) for sample in x], axis=0)
    np.testing.assert_allclose(metric(model, theta, x), expected, atol=1e-8)


def test_metric_is_positive_and_products_match_it():
    model = qpr.Model(hardware_efficient(4, 2), "Z0")
    rng = np.random.default_rng(3)
    theta, vectors = rng.normal(size=model.n_params), rng.normal(size=(3, model.n_params))
    full = metric(model, theta)
    assert np.linalg.eigvalsh(full).min() > -1e-12
    assert_close(metric_products(model, theta, vectors), vectors @ full, 2000)


def test_natural_gradient_goes_straight_where_the_gradient_does_not():
    # For <Z> of RY on one qubit, G = 1/4: the step is 4 times the gradient's, for every parametrisation.
    theta = qpr.params("theta", 1)
    for factor in (1.0, 3.0):
        model = qpr.Model(qpr.Circuit(1).ry(factor * theta[0], 0), "Z0")
        optimiser = natural_gradient(lambda t, m=model: metric(m, t), 0.01, damping=1e-9)
        start = np.array([0.5 / factor])
        slope = np.array([-factor * np.sin(0.5)])
        updates, _ = optimiser.update(slope, optimiser.init(start), start)
        np.testing.assert_allclose(factor * updates, 0.04 * np.sin(0.5), rtol=1e-6)
