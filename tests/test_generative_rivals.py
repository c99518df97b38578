"""Classical rivals of generative circuits: bit flips and Boltzmann machines, against all states of few bits."""

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chisquare
from tolerances import assert_close

import quprop as qpr
from quprop import QupropError
from quprop.classical import bit_flip
from quprop.classical.bit_flip import BitFlip
from quprop.classical.boltzmann import boltzmann_machine
from quprop.model.ansatz_iqp import all_gates
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.strings import Moments, drawn_subsets
from quprop.training.optimise import Optimiser, adam
from quprop.training.validation import mmd2

MIXED = [(2,), (0, 3), (1, 4, 5), (0,), (5, 2), (0, 1, 2, 3), (3, 4, 1), (4,)]
STANDING = Optimiser(lambda params: None, lambda slope, state, params: (np.zeros_like(slope), state))


def all_bits(n):
    return (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(np.uint8)


def distribution(n, gates, theta, spin_flip=False):
    """Probabilities of all 2^n states, coin after coin: an independent way to the expectations."""
    p, index = np.zeros(1 << n), np.arange(1 << n)
    p[0] = 1
    coins = [(sum(1 << q for q in gate), np.sin(t) ** 2) for gate, t in zip(gates, theta, strict=True)]
    for mask, one in coins + [((1 << n) - 1, 0.5)] * spin_flip:
        p = (1 - one) * p + one * p[index ^ mask]
    return p


def z(strings, states):
    return 1.0 - 2.0 * (np.asarray(strings, int) @ np.asarray(states, int).T % 2)


def everything(n, weight):
    return [subset for size in range(1, weight + 1) for subset in combinations(range(n), size)]


def pairs(n):
    return everything(n, 2)


CASES = [
    (6, MIXED, False),
    (6, MIXED, True),
    (8, 2, False),
    (5, 2, True),
    (1, 2, False),
    (5, 3, False),
    (4, [(0, 1), (2, 0), (1, 0), (3,), (3,)], False),
    (4, [(1, 3)], False),
]


@pytest.mark.parametrize("n, gates, spin_flip", CASES)
def test_expectations_are_those_of_all_states(n, gates, spin_flip):
    model, states = BitFlip(n, gates, spin_flip), all_bits(n)
    theta = np.random.default_rng(n).uniform(-3, 3, model.n_params)
    exact = z(states, states) @ distribution(
        n, gates if isinstance(gates, list) else everything(n, gates), theta, spin_flip
    )
    assert_close(model.expectations(theta, states), exact, 200)
    assert_close(model.expectations(theta, sp.csr_array(states)), exact, 200)


@pytest.mark.parametrize("n, gates, spin_flip", CASES)
def test_the_vjp_is_the_slope_of_the_expectations(n, gates, spin_flip):
    model, rng, states = BitFlip(n, gates, spin_flip), np.random.default_rng(n + 1), all_bits(n)
    theta, cotangent = rng.uniform(-3, 3, model.n_params), rng.normal(size=len(states))
    values, slope = model.vjp(theta, states, cotangent)
    moves = 1e-3 * np.eye(len(theta))
    f = lambda at: cotangent @ model.expectations(at, states)  # noqa: E731
    central = [(8 * (f(theta + d) - f(theta - d)) - f(theta + 2 * d) + f(theta - 2 * d)) / 0.012 for d in moves]
    assert np.array_equal(values, model.expectations(theta, states))
    assert np.max(np.abs(slope - central)) < 1e-8 * max(1, np.max(np.abs(slope)))  # fourth-order differences


def test_a_circuit_of_angles_without_interference_is_its_bit_flips():
    """Gates that no string sees two of: the mean of one cosine."""
    gates = [(0, 1), (2, 3), (4,)]
    theta = np.array([0.3, 1.1, -0.7])
    model = qpr.Model(qpr.ansatz.iqp(5, Subsets.of(gates, 5, "gates")), [f"Z{q}" for q in range(5)])
    assert_close(BitFlip(5, gates).expectations(theta, np.eye(5)), qpr.expectation(model, theta), 50)


def test_a_gate_of_cosine_zero_kills_the_value_and_not_its_slope():
    model = BitFlip(3)  # angles of 0, 1, 2, 01, 02, 12
    theta = np.array([0.1, 0.2, 0.3, np.pi / 4, 0.4, 0.5])
    values, slope = model.vjp(theta, [[1, 0, 0], [1, 1, 0]], [1.0, 1.0])
    assert_close(values, [0, np.prod(np.cos(2 * theta[[0, 1, 4, 5]]))], 20)
    # exp(log 6e-17) has 37 roundings
    assert_close(slope[3], -2 * np.cos(0.2) * np.cos(0.8), 200)  # the overlap of 01 with the second string is even
    theta[4] = np.pi / 4
    values, slope = model.vjp(theta, [[1, 0, 0]], [1.0])
    assert_close(values, [0], 20)
    assert_close(slope, np.zeros(6), 20)


def test_blocks_change_nothing(monkeypatch):
    model, states = BitFlip(6, [*pairs(6), (0, 1, 2), (2, 3, 5)]), all_bits(6)
    theta = np.random.default_rng(0).normal(size=model.n_params)
    whole = model.vjp(theta, states, np.arange(64.0))
    monkeypatch.setattr(bit_flip, "BLOCK", 20)
    for part, expected in zip(model.vjp(theta, states, np.arange(64.0)), whole, strict=True):
        assert_close(part, expected, 50)


@pytest.mark.parametrize("spin_flip", [False, True])
@pytest.mark.parametrize("block", [1 << 22, 500])
def test_samples_have_the_probabilities_of_the_coins(monkeypatch, block, spin_flip):
    """Angles of coins that are rare, common, nearly sure and sure."""
    monkeypatch.setattr(bit_flip, "BLOCK", block)
    gates = [(0,), (1,), (2,), (3,), (4,), (0, 1), (2, 3), (1, 2, 4), (0, 1, 3, 4)]
    theta = np.array([0.2, np.pi / 2 - 0.1, 0.05, np.pi / 2, 0.4, 0.6, np.pi / 2 - 0.5, 0.15, 0.25])
    found = BitFlip(5, gates, spin_flip).samples(theta, 40_000 if block > 500 else 4000, 3)
    assert found.dtype == np.uint8 and found.shape[1] == 5
    counts = np.bincount(found.astype(int) @ (1 << np.arange(5)), minlength=32)
    p = distribution(5, gates, theta, spin_flip)
    assert chisquare(counts, p * counts.sum()).pvalue > 1e-3


def test_samples_of_a_thousand_bits_have_the_exact_expectations():
    model, rng = BitFlip(1000), np.random.default_rng(1)
    theta = rng.normal(size=model.n_params) * 0.01
    subsets = drawn_subsets(1000, 12.0, 50, rng)
    found = Moments(model.samples(theta, 2000, 2)).of(subsets)
    exact = model.expectations(theta, subsets.rows(1000))
    assert np.max(np.abs(found - exact)) < 4.5 / np.sqrt(2000)
    assert np.array_equal(model.samples(theta, 20, 5), model.samples(theta, 20, 5))


def exact_loss(model, theta, data, sigma):
    """The unbiased estimate with all strings, by their probabilities."""
    states, m = all_bits(model.n), len(data)
    p = (1 - np.exp(-1 / (2 * sigma**2))) / 2
    weight = p ** states.sum(1) * (1 - p) ** (model.n - states.sum(1))
    values, target = model.expectations(theta, states), z(states, data).mean(axis=1)
    return weight @ (values**2 - 2 * values * target + (m * target**2 - 1) / (m - 1))


def test_the_loss_of_a_fit_is_an_unbiased_estimate():
    model, rng = BitFlip(5), np.random.default_rng(0)
    data, theta = rng.integers(0, 2, (12, 5)), rng.normal(size=15)
    found = model.fit(data, [0.6, 1.3], steps=400, operators=20, optimiser=STANDING, rng=1, theta=theta)
    exact = np.mean([exact_loss(model, theta, data, sigma) for sigma in (0.6, 1.3)])
    assert np.array_equal(found.theta, theta)
    assert abs(found.losses.mean() - exact) < 4 * found.losses.std() / np.sqrt(400)


def test_a_fit_starts_from_independent_bits_and_learns_correlations():
    rng = np.random.default_rng(4)
    gates = pairs(6)
    truth = np.where([len(g) == 1 for g in gates], 0.3, 0.0)
    truth[gates.index((0, 1))] = truth[gates.index((2, 5))] = 0.7
    model = BitFlip(6)
    data = model.samples(truth, 3000, rng)
    start = model.start(data, scale=0.0)
    assert_close(np.sin(start[:6]) ** 2, data.mean(axis=0), 20)
    assert not start[6:].any()
    fit = model.fit(data, 0.9, steps=300, operators=200, optimiser=adam(0.02), rng=0)
    before, after = (exact_loss(model, theta, data, 0.9) for theta in (model.start(data), fit.theta))
    assert before > 0.01 and after < 0.02 * before
    assert fit.losses.shape == (300,) and fit.losses[-50:].mean() < 0.1 * fit.losses[:5].mean()


def test_means_of_strings_in_data_are_parities():
    rng = np.random.default_rng(2)
    data, rows = rng.integers(0, 2, (77, 9)), rng.integers(0, 2, (40, 9))
    rows[0] = 0
    assert_close(Moments(data.astype(np.uint8)).of(Subsets.of_rows(rows)), z(rows, data).mean(axis=1), 10)


def test_drawn_strings_make_the_kernel():
    rng, sigma = np.random.default_rng(0), 0.9
    drawn = drawn_subsets(6, sigma, 20_000, rng).rows(6).astype(int)
    x = rng.integers(0, 2, (5, 6))
    products = z(drawn, x)
    kernel = products.T @ products / len(drawn)
    exact = np.exp(-((x[:, None] - x) ** 2).sum(-1) / (2 * sigma**2))
    assert np.max(np.abs(kernel - exact)) < 4.5 / np.sqrt(len(drawn))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: BitFlip(0), "n must"),
        (lambda: BitFlip(3, []), "at least one"),
        (lambda: BitFlip(3, 0), "gates"),
        (lambda: BitFlip(3, [(0, 3)]), "qubits 0 to 2"),
        (lambda: BitFlip(3, [(0, 0)]), "twice"),
        (lambda: BitFlip(3, [()]), "at least one"),
        (lambda: BitFlip(3, all_gates(4, 1)), "bits 0 to 2"),
        (lambda: BitFlip(3).expectations(np.zeros(5), np.eye(3)), "theta"),
        (lambda: BitFlip(3).expectations(np.zeros(6), np.eye(4)), "strings"),
        (lambda: BitFlip(3).expectations(np.zeros(6), 2 * np.eye(3)), "zeros and ones"),
        (lambda: BitFlip(3).expectations(np.zeros(6), sp.csr_array(2 * np.eye(3))), "zeros and ones"),
        (lambda: BitFlip(3).vjp(np.zeros(6), np.eye(3), np.zeros(2)), "cotangent"),
        (lambda: BitFlip(3).samples(np.zeros(6), 0, 0), "shots"),
        (lambda: BitFlip(3).samples(np.zeros(6), 5, None), "seed"),
        (lambda: BitFlip(3).start(np.eye(4)), "data"),
        (lambda: BitFlip(3).fit(np.eye(3), -1.0, steps=1, optimiser=adam(), rng=0), "sigma"),
        (lambda: BitFlip(3).fit(np.eye(3), 1.0, steps=0, optimiser=adam(), rng=0), "steps"),
        (lambda: BitFlip(3).fit(np.ones((1, 3)), 1.0, steps=1, optimiser=adam(), rng=0), "two samples"),
        (lambda: boltzmann_machine(np.eye(3), hidden=0, epochs=1, rng=0), "hidden"),
        (lambda: boltzmann_machine(2 * np.eye(3), hidden=2, epochs=1, rng=0), "zeros and ones"),
        (lambda: boltzmann_machine(np.eye(3), hidden=2, epochs=1, rng=0, learning_rate=0.0), "learning_rate"),
        (lambda: boltzmann_machine(np.eye(3), hidden=2, epochs=1, rng=0).samples(1, 0, thin=0), "thin"),
    ],
)
def test_bad_input_is_one_sentence(make, words):
    with pytest.raises(QupropError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


# -- Boltzmann machines -----------------------------------------------------------------------------------------------


def two_modes(m, rng):
    """All zeros or all ones of eight bits, each bit flipped with probability 0.05."""
    return (rng.integers(0, 2, (m, 1)) ^ (rng.random((m, 8)) < 0.05)).astype(np.uint8)


def test_a_boltzmann_machine_learns_two_modes_that_independent_bits_cannot():
    rng = np.random.default_rng(0)
    data, test = two_modes(500, rng), two_modes(1000, rng)
    machine = boltzmann_machine(data, hidden=6, epochs=200, rng=1, learning_rate=0.1, batch_size=50)
    found = machine.samples(1000, 2, burn_in=200, chains=500)
    independent = (rng.random((1000, 8)) < data.mean(axis=0)).astype(np.uint8)
    assert found.shape == (1000, 8) and found.dtype == np.uint8
    assert np.array_equal(found, machine.samples(1000, 2, burn_in=200, chains=500))
    learnt, rival = mmd2(found, test, 1.5), mmd2(independent, test, 1.5)
    assert rival.value > 0.09 and learnt.value + 4 * learnt.error < 0.6 * rival.value


def test_samples_of_a_boltzmann_machine_have_its_probabilities():
    """Weights set by hand; p(v) by the sum over hidden units in closed form. Chains are independent."""
    machine = boltzmann_machine(np.eye(4), hidden=2, epochs=1, rng=0)
    rbm = machine.machine
    rbm.components_ = np.array([[1.0, -1.0, 0.5, 0.0], [0.3, 1.2, -1.5, 0.8]])
    rbm.intercept_visible_, rbm.intercept_hidden_ = np.array([0.2, -0.3, 0.0, 0.4]), np.array([0.1, -0.2])
    states = all_bits(4)
    p = np.exp(states @ rbm.intercept_visible_)
    p *= np.prod(1 + np.exp(states @ rbm.components_.T + rbm.intercept_hidden_), axis=1)
    found = machine.samples(20_000, 3, chains=20_000, burn_in=30, thin=1)
    counts = np.bincount(found.astype(int) @ (1 << np.arange(4)), minlength=16)
    assert chisquare(counts, p / p.sum() * counts.sum()).pvalue > 1e-3
