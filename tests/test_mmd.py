"""The MMD loss against its kernel, its dense definition, central differences and itself sampled."""

from __future__ import annotations

import numpy as np
import pytest

import quprop as qpr
from quprop.errors import QupropError
from quprop.model import ansatz
from quprop.model.ansatz_iqp import covariance_gates, graph_gates
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.strings import Moments, drawn_subsets, probability
from quprop.training.mmd import MMD, initial_theta, subsets_to


def some_bits(m, n, seed=0):
    rng = np.random.default_rng(seed)
    bits = (rng.random((m, n)) < rng.uniform(0.2, 0.8, n)).astype(np.uint8)
    bits[:, -1] = bits[:, 0] ^ (rng.random(m) < 0.1)
    return bits


def circuits(n):
    rng = np.random.default_rng(1)
    general = qpr.Circuit(n)
    theta = qpr.params("theta", 3 * n)
    for k in range(3 * n):
        general.gate(str(rng.choice(["rx", "ry", "rz"])), theta[k], k % n)
        general.cx(k % n, (k + 1) % n).s(k % n).y(k % n).h((k + 2) % n)
    return {
        "pairs": ansatz.iqp(n),
        "threes": ansatz.iqp(n, 3),
        "coin": ansatz.iqp(n, 2, spin_flip=True),
        "trained coin": ansatz.iqp(n, 2, spin_flip="trained"),
        "hidden": ansatz.iqp(n, 2, hidden=2),
        "hidden and coin": ansatz.iqp(n, 2, hidden=1, spin_flip=True),
        "any circuit": general,
    }


def kernel(a, b, sigma):
    return np.exp(-(a[:, None] != b[None]).sum(axis=-1) / (2 * sigma**2))


@pytest.mark.parametrize("name", list(circuits(4)))
def test_exact_loss_is_the_kernel_mean_and_its_gradient_that_of_differences(name):
    n, sigma = 4, (0.7, 1.9)
    model = qpr.Model(circuits(n)[name], "Z0")
    data, rng = some_bits(37, n), np.random.default_rng(2)
    theta = rng.normal(size=model.n_params)
    p = qpr.probabilities(model, theta).reshape(-1, 1 << n).sum(axis=0)
    points = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    expected = 0.0
    for s in sigma:
        own = kernel(data, data, s)
        own = (own.sum() - len(data)) / (len(data) * (len(data) - 1))
        expected += (p @ kernel(points, points, s) @ p - 2 * p @ kernel(points, data, s).mean(axis=1) + own) / 2
    over = MMD(data, sigma).over(model)
    value, gradient = over.loss_and_grad(theta)
    np.testing.assert_allclose(value, expected, atol=1e-13)
    for k in rng.choice(model.n_params, 4, replace=False):
        step = np.zeros_like(theta)
        step[k] = 1e-5
        slope = (over.evaluate(theta + step).value - over.evaluate(theta - step).value) / 2e-5
        np.testing.assert_allclose(gradient[k], slope, atol=2e-10)


@pytest.mark.parametrize("name", ["pairs", "coin", "trained coin", "hidden", "hidden and coin"])
def test_all_products_up_to_every_weight_are_the_whole_loss(name):
    n = 4
    model = qpr.Model(circuits(n)[name], "Z0")
    data = some_bits(50, n)
    theta = np.random.default_rng(3).normal(size=model.n_params)
    whole = MMD(data, [0.8, 1.5]).over(model).loss_and_grad(theta)
    for weight in (4, 2):
        loss = MMD(data, [0.8, 1.5], exact=True, weight=weight)
        value, gradient = loss.over(model).loss_and_grad(theta)
        if weight == n:
            np.testing.assert_allclose(value, whole[0], atol=1e-13)
            np.testing.assert_allclose(gradient, whole[1], atol=1e-13)
        assert abs(value - whole[0]) <= loss.tail(n) + 1e-13


def dense(theta, gates, subsets, moments, bits, count):
    """The estimate as the paper writes it: operators x gates x samples, and its gradient gate by gate."""
    n, S = bits.shape
    signs = 1.0 - 2.0 * bits
    chi = np.array([signs[gates.subset(g)].prod(axis=0) for g in range(len(gates))])
    odd = (subsets.rows(n).astype(int) @ gates.rows(n).astype(int).T) % 2
    phi = odd @ (2 * theta[:, None] * chi)
    c, t = np.cos(phi), moments
    e, q = c.mean(axis=1), (c * c).mean(axis=1)
    value = ((S * e**2 - q) / (S - 1) - 2 * t * e + (count * t**2 - 1) / (count - 1)).mean()
    slope = (2 * (S * e[:, None] - c) / (S - 1) - 2 * t[:, None]) / (S * len(t)) * -np.sin(phi)
    return value, 2 * ((odd.T @ slope) * chi).sum(axis=1)


@pytest.mark.parametrize("n, gates", [(10, 2), (10, 3), (40, 2), (40, "ring")])
def test_sampled_loss_is_the_dense_definition(n, gates):
    if gates == "ring":
        gates = graph_gates(n, [(q, (q + 1) % n) for q in range(n)], 3)
    model = qpr.Model(ansatz.iqp(n, gates), "Z0")
    data, rng = some_bits(64, n), np.random.default_rng(5)
    theta = rng.normal(size=model.n_params)
    over = MMD(data, 1.5, exact=False).over(model)
    subsets = drawn_subsets(n, 1.5, 80, rng)
    bits = over._gates.bits(77, rng)
    t = np.array([np.mean((-1.0) ** data[:, subsets.subset(k)].sum(axis=1)) for k in range(80)])
    np.testing.assert_allclose(Moments(data).of(subsets), t, atol=1e-15)
    expected = dense(theta, model.rotations.subsets, subsets, t, bits, len(data))
    value, gradient = over.estimate(theta, subsets, bits, summed=False)
    np.testing.assert_allclose(value, expected[0], atol=1e-12)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairs", "threes", "coin", "trained coin"])
def test_sampled_losses_and_gradients_are_unbiased(name):
    n, sigma = 5, 0.9
    model = qpr.Model(circuits(n)[name], "Z0")
    data = some_bits(30, n)
    theta = 0.7 * np.random.default_rng(6).normal(size=model.n_params)
    value, gradient = MMD(data, sigma).over(model).loss_and_grad(theta)
    over = MMD(data, sigma, operators=40, samples=7, exact=False).over(model)
    rng = np.random.default_rng(7)
    drawn = [over.loss_and_grad(theta, rng) for _ in range(3000)]
    values, gradients = np.array([v for v, _ in drawn]), np.array([g for _, g in drawn])
    assert abs(values.mean() - value) < 4 * values.std() / np.sqrt(3000)
    z = (gradients.mean(axis=0) - gradient) / (gradients.std(axis=0) / np.sqrt(3000) + 1e-12)
    assert np.abs(z).max() < 4.5
    told = over.evaluate(theta)
    assert abs(told.value - value) < 4 * told.error
    assert 0.6 < told.error * 4 / values.std() < 1.5  # the mean of 16 estimates


def test_subsets_are_drawn_bit_by_bit():
    n, sigma, count = 12, 0.8, 40_000
    rows = drawn_subsets(n, sigma, count, np.random.default_rng(0)).rows(n).astype(float)
    p = probability(sigma)
    np.testing.assert_allclose(rows.mean(axis=0), p, atol=5 * np.sqrt(p * (1 - p) / count))
    covariance = np.cov(rows.T) - p * (1 - p) * np.eye(n)
    assert np.abs(covariance).max() < 5 * p / np.sqrt(count)
    assert len(subsets_to(5, 2)) == 1 + 5 + 10


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_losses_do_not_depend_on_threads(threads):
    n = 70
    model = qpr.Model(ansatz.iqp(n), "Z0")
    theta = 0.2 * np.random.default_rng(8).normal(size=model.n_params)
    found = [
        MMD(some_bits(100, n), [2.0, 6.0], exact=False, operators=300).over(model, threads=t).loss_and_grad(theta, rng)
        for t, rng in ((1, np.random.default_rng(1)), (threads, np.random.default_rng(1)))
    ]
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_single_precision_is_near_double():
    n = 70
    model = qpr.Model(ansatz.iqp(n), "Z0")
    theta = 0.1 * np.random.default_rng(8).normal(size=model.n_params)
    loss = MMD(some_bits(100, n), [2.0, 6.0], exact=False, operators=300)
    double, single = (
        loss.over(model, precision=p).loss_and_grad(theta, np.random.default_rng(1)) for p in ("double", "single")
    )
    np.testing.assert_allclose(single[0], double[0], atol=1e-6)
    np.testing.assert_allclose(single[1], double[1], atol=1e-6)


def test_training_lowers_the_loss_and_resumes_to_the_same_bits(tmp_path):
    n = 24
    bits = some_bits(400, n)
    model = qpr.Model(ansatz.iqp(n, covariance_gates(bits, 40)), "Z0")
    loss = MMD(bits[:200], [1.5, 3.0], operators=200, samples=100, test=bits[200:], test_every=10)
    start = initial_theta(model, bits, np.random.default_rng(0), 0.1)
    options = {"optimiser": qpr.adam(0.02), "params": start, "rng": 3}
    whole = qpr.train(model, loss, steps=40, **options)
    assert whole.metrics["test_mmd2"] < 0.5 * loss.over(model).evaluate(0 * start, test=True).value
    assert {"gradient_variance", "test_mmd2", "test_mmd2_error"} <= set(whole.history[9])
    qpr.train(model, loss, steps=40, out=tmp_path / "run", **options)
    np.testing.assert_array_equal(
        qpr.train(model, loss, steps=40, out=tmp_path / "run", resume=True, **options).theta, whole.theta
    )


def test_the_start_has_the_means_of_the_data():
    bits = some_bits(500, 6)
    model = qpr.Model(ansatz.iqp(6), [f"Z{q}" for q in range(6)])
    theta = initial_theta(model, bits, np.random.default_rng(0), scale=0.0)
    np.testing.assert_allclose(qpr.expectation(model, theta), 1 - 2 * bits.mean(axis=0), atol=1e-12)
    covariance = np.cov(bits.T, bias=True)
    theta = initial_theta(model, bits, np.random.default_rng(0), scale=0.3)
    pairs = covariance[np.triu_indices(6, 1)]
    np.testing.assert_allclose(theta[6:], 0.3 * pairs / np.abs(pairs).max(), atol=1e-6)


def test_a_trained_coin_starts_as_the_data_fall_into_two_phases():
    rng = np.random.default_rng(0)
    p = np.array([0.1, 0.2, 0.15, 0.05, 0.1])
    bits = (rng.random((4000, 5)) < p).astype(np.uint8)
    bits[:1000] ^= 1
    model = qpr.Model(ansatz.iqp(5, spin_flip="trained"), [f"Z{q}" for q in range(5)] + ["Z0 Z3"])
    theta = initial_theta(model, bits, rng, scale=0.0)
    values = qpr.expectation(model, theta, engine="commuting")
    np.testing.assert_allclose(values[:5], 1 - 2 * bits.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(values[5], (1 - 2 * p[0]) * (1 - 2 * p[3]), atol=0.05)


def test_bad_input_gets_one_sentence():
    bits = some_bits(20, 6)
    model = qpr.Model(ansatz.iqp(6), "Z0")
    for message, given in {
        "must be zeros and ones": lambda: MMD(bits / 2.0, 1.0),
        "a positive number, or a list": lambda: MMD(bits, [1.0, 0.0]),
        "test must be|`test` must have": lambda: MMD(bits, 1.0, test=bits[:, :3]),
        "two samples at least": lambda: MMD(bits[:1], 1.0),
        "operators": lambda: MMD(bits, 1.0, operators=1),
        "7 bits a sample, but the model has 6 qubits": lambda: MMD(some_bits(9, 7), 1.0).over(model),
        "anticommute": lambda: MMD(some_bits(9, 30), 1.0).over(qpr.Model(ansatz.hardware_efficient(30, 1), "Z0")),
        "stops at a weight": lambda: MMD(some_bits(9, 30), 1.0, exact=True).over(qpr.Model(ansatz.iqp(30), "Z0")),
        "2,000,000 at most": lambda: MMD(some_bits(9, 30), 1.0, exact=True, weight=9).over(
            qpr.Model(ansatz.iqp(30), "Z0")
        ),
        "one and two": lambda: MMD(some_bits(9, 30), 1.0, exact=True, weight=1).over(
            qpr.Model(ansatz.iqp(30, [[0, 1, 2]]), "Z0")
        ),
        "L-BFGS": lambda: qpr.train(model, MMD(bits, 1.0, exact=False), optimiser=qpr.LBFGS(), steps=1),
        "leave out data=": lambda: qpr.train(model, MMD(bits, 1.0), data=np.empty((3, 0)), steps=1),
        "gradient methods": lambda: qpr.train(model, MMD(bits, 1.0), method=qpr.ParameterShift(shots=10), steps=1),
    }.items():
        with pytest.raises(QupropError, match=message):
            given()


def test_lists_of_subsets_survive_every_form():
    rng = np.random.default_rng(0)
    rows = (rng.random((30, 9)) < 0.3).astype(np.uint8)
    subsets = Subsets.of_rows(rows)
    np.testing.assert_array_equal(subsets.rows(9), rows)
    chosen = rng.choice(30, 11, replace=False)
    np.testing.assert_array_equal(subsets.take(chosen).rows(9), rows[chosen])
    np.testing.assert_array_equal(Subsets.of_masks([subsets.mask(k) for k in range(30)]).rows(9), rows)
