"""Pauli propagation through noise: equal to the mixed state, bounded where it truncates, shorter for the noise."""

import numpy as np
import pytest
from cases import random_sum
from test_noise import CLIFFORDS, noisy
from tolerances import assert_close

import quprop as qpr
from quprop.model.channels import CHANNELS
from quprop.model.gates import GATES
from quprop.simulate.pauli.engine import PauliEngine
from quprop.simulate.pauli.packed import Packed

TRUNCATIONS = [
    {"tolerance": 1e-1},
    {"tolerance": 1e-2},
    {"cutoff": 0.03},
    {"cutoff": 0.05, "rule": "coefficient"},
    {"cutoff": 0.05, "rule": "branch"},
    {"max_terms": 8},
    {"max_weight": 2},
    {"max_weight": 1, "keep_diagonal": True},
]


def random_case(seed, n, gates, channels):
    """(model, theta, x, weights) with strengths that are numbers."""
    rng = np.random.default_rng(seed)
    state = [None, int(rng.integers(2**n)), rng.normal(size=(n, 2)) + 1j * rng.normal(size=(n, 2))][seed % 3]
    circuit, theta, x = noisy(seed, n, gates=gates, channels=channels, state=state, trained=False)
    return qpr.Model(circuit, [random_sum(rng, n, 3) for _ in range(2)]), theta, x, rng.normal(size=2)


def layers(n, count, rng, channel):
    """A ring of ry, rzz, rx with a channel on each qubit of each layer."""
    t = qpr.params("t", 2 * n * count)
    circuit, angles = qpr.Circuit(n, params=t), iter(t)
    for _ in range(count):
        for q in range(n):
            circuit.ry(next(angles), q)
        for q in range(n):
            circuit.rzz(next(angles), q, (q + 1) % n).rx(0.3 + 0.1 * q, q)
            channel(circuit, q)
    observables = [{"Z0 Z3": 1.0, "X1 Y2 Z4": 0.3, "Z1": -1.0}, {"X0": 0.7, "I0": 2.0}]
    return qpr.Model(circuit, observables), rng.uniform(-2, 2, len(t))


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_without_truncation_values_and_gradients_are_those_of_the_mixed_state(first):
    for seed in range(first, first + 20):
        model, theta, x, weights = random_case(seed, 1 + seed % 5, 1 + seed % 17, 1 + seed % 9)
        engine = qpr.PauliPropagation(0)
        wanted, back = qpr.vjp(model, theta, x, engine="density")
        values, pullback = qpr.vjp(model, theta, x, engine=engine)
        assert_close(values, wanted, 1e4)
        for a, b in zip(pullback(weights), back(weights), strict=True):
            assert_close(a, b, 1e4)
        assert_close(qpr.expectation(model, theta, x, engine=engine), wanted, 1e4)
        value, gradient = qpr.value_and_grad(model, theta, x, weights=weights, engine=engine)
        assert_close(value, weights @ wanted, 1e4)
        assert_close(gradient, back(weights)[0], 1e4)


def test_many_strings_in_many_zones_are_those_of_the_mixed_state():
    def channel(circuit, q):
        circuit.depolarising2(0.02, q, (q + 1) % 8).amplitude_damping(0.05, q)

    model, theta = layers(8, 2, np.random.default_rng(0), channel)
    model = model.with_observables([{"Z0 Z3": 1.0, "X1 Y2 Z4": 0.3, "X5 Y6 Y7": 1.0}, "Y0 Y2 X7"])
    value, gradient = qpr.value_and_grad(model, theta, weights=np.array([1, -1]), engine="density")
    for threads in (1, 2):
        found = qpr.propagate(model, theta, weights=[1, -1], engine=qpr.PauliPropagation(0), threads=threads)
        assert found.peak > 30_000
        assert_close(found.value, value, 1e4)
        assert_close(found.gradient, gradient, 1e4)


@pytest.mark.parametrize("settings", TRUNCATIONS, ids=str)
def test_errors_of_values_and_gradients_are_within_their_bounds(settings):
    dropped = 0
    for seed in range(40):
        model, theta, x, weights = random_case(seed + 200, 2 + seed % 4, 4 + seed % 14, 1 + seed % 9)
        try:
            found = qpr.propagate(model, theta, x, weights=weights, engine=qpr.PauliPropagation(**settings))
        except qpr.QupropError as refusal:
            assert "max_terms" in str(refusal)
            continue
        value, gradient = qpr.value_and_grad(model, theta, x, weights=weights, engine="density")
        dropped += found.ledger[:, 0].sum() > 1e-9
        assert abs(found.value - value) <= found.value_bound + 1e-13
        assert (np.abs(found.gradient - gradient) <= found.gradient_bound + 1e-12).all()
        if "tolerance" in settings:
            assert max(found.value_bound, found.gradient_bound.max(initial=0)) <= settings["tolerance"]
    assert dropped >= 5


def test_what_a_channel_drops_is_in_the_bounds():
    """Nothing is dropped but by channels: one rotation in between, whose strings are all large."""
    t = qpr.params("t", 1)
    for strong in ("depolarising", "amplitude_damping"):
        circuit = qpr.Circuit(2, params=t).ry(t[0], 0)
        getattr(circuit, strong)(0.7, 0)
        getattr(circuit, strong)(0.7, 1)
        model = qpr.Model(circuit, {"X0 Z1": 0.5, "Z0": 1.0, "Y0 X1": 0.3})
        for theta in np.linspace(-3, 3, 7):
            found = qpr.propagate(model, [theta], engine=qpr.PauliPropagation(cutoff=0.2))
            value, gradient = qpr.value_and_grad(model, [theta], engine="density")
            assert found.value_bound > 1e-3
            assert abs(found.value - value) <= found.value_bound
            assert np.abs(found.gradient - gradient) <= found.gradient_bound


def test_kept_strings_serve_at_other_angles():
    def channel(circuit, q):
        circuit.depolarising(0.03, q).amplitude_damping(0.04, q).phase_flip(0.5, q)  # a factor that is zero

    rng = np.random.default_rng(2)
    model, theta = layers(5, 2, rng, channel)
    engine = PauliEngine(qpr.PauliPropagation(cutoff=1e-3))
    frozen = engine.freeze(model, theta[None], np.empty((1, 0)), np.ones((1, 2)))
    thetas = theta + 0.1 * rng.normal(size=(4, len(theta)))
    values, gradients = frozen.value_and_grad(thetas, np.empty((1, 0)), np.ones((1, 2)))
    value_bound, gradient_bound = frozen.bounds(thetas, np.empty((1, 0)), np.ones((1, 2)))
    wanted, slopes = qpr.value_and_grad(model, thetas, weights=np.ones(2), engine="density")
    assert (np.abs(values - wanted) <= value_bound).all() and (np.abs(gradients - slopes) <= gradient_bound).all()
    whole = PauliEngine(qpr.PauliPropagation(0)).freeze(model, theta[None], np.empty((1, 0)), np.ones((1, 2)))
    values, gradients = whole.value_and_grad(thetas, np.empty((1, 0)), np.ones((1, 2)))
    assert_close(values, wanted, 1e4)
    assert_close(gradients, slopes, 1e4)


def test_random_truncation_through_noise_has_no_bias():
    def channel(circuit, q):
        circuit.depolarising(0.05, q).amplitude_damping(0.1, q)

    model, theta = layers(5, 2, np.random.default_rng(3), channel)
    settings = qpr.PauliPropagation(cutoff=0.05, stochastic=True, seed=1, repeats=400)
    found = qpr.propagate(model, theta, weights=[1, 1], engine=settings)
    value, gradient = qpr.value_and_grad(model, theta, weights=np.ones(2), engine="density")
    off = np.append(np.abs(found.gradient - gradient), abs(found.value - value))
    bound = np.append(found.gradient_bound, found.value_bound)
    # half-widths of 95 % intervals: 21 numbers
    assert (off <= 2.2 * bound + 1e-12).all() and (off <= bound + 1e-12).mean() > 0.8 and found.value_bound > 1e-4


def test_channels_of_many_qubits_multiply_by_their_own_factors():
    """Q -> (1 - 2 sum of p_j over the strings that anticommute) Q, string by string."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        n = int(rng.integers(1, 7))
        strings = sorted({"".join(rng.choice(list("IXYZ"), n)) for _ in range(int(rng.integers(1, 30)))} - {"I" * n})
        shares = rng.dirichlet(np.ones(len(strings) + 1))[: len(strings)] if strings else []
        circuit = qpr.Circuit(n, rng.normal(size=(n, 2)) + 1j * rng.normal(size=(n, 2)))
        plain = qpr.Model(circuit, [random_sum(rng, n, 1) for _ in range(4)])
        if not strings:
            continue
        noisy_one = qpr.Model(
            circuit.copy().pauli_channel(dict(zip(strings, shares.tolist(), strict=True)), *range(n)),
            list(plain.original_observables),
        )
        factors = []
        for o in plain.original_observables:
            ((q, _),) = o.items()
            against = [not next(iter(dict(qpr.PauliSum(s).items()))).commutes(q) for s in strings]
            factors.append(1 - 2 * shares[np.array(against)].sum())
        values = qpr.expectation(plain, [])
        assert_close(qpr.expectation(noisy_one, [], engine=qpr.PauliPropagation(0)), factors * values, 1e4)


@pytest.mark.parametrize("name", [c for c in CHANNELS if c != "readout_error"])
def test_signs_that_clifford_gates_leave_in_channels_are_kept(name):
    rng = np.random.default_rng(6)
    noise = CHANNELS[name]
    strengths = {"thermal_relaxation": [1.5, 2.0, 0.4, 0.2]}.get(name, [0.2, 0.3][: len(noise.strengths)])
    first = len(noise.strengths) - len(noise.defaults)
    for _ in range(10):
        circuit = qpr.Circuit(3).ry(0.4, 0).rx(1.1, 1).u(0.3, 0.5, 0.7, 2)
        for stage in range(3):
            for _ in range(5):
                gate = CLIFFORDS[rng.integers(len(CLIFFORDS))]
                circuit.gate(gate, *map(int, rng.permutation(3)[: GATES[gate].n_qubits]))
            if stage < 2:
                qubits = map(int, rng.permutation(3)[: noise.n_qubits])
                getattr(circuit, name)(*strengths[:first], *qubits, *strengths[first:])
                circuit.rotation("X0 Y1 Z2", 0.3)
        model = qpr.Model(circuit, [random_sum(rng, 3, 4)])
        assert_close(
            qpr.expectation(model, [], engine=qpr.PauliPropagation(0)),
            qpr.expectation(model, [], engine="density"),
            1e4,
        )


def test_strings_become_the_identity_under_damping():
    model = qpr.Model(qpr.Circuit(1, "1").amplitude_damping(0.3, 0).reset(0), {"Z0": 1.0, "I0": 0.5})
    found = qpr.propagate(model, [], engine=qpr.PauliPropagation(0))
    assert_close(found.value, 1.5, 100)
    assert Packed.of_model(model).bloch.shape == (2, 3) and Packed.of_model(model.noiseless()).bloch.shape == (1, 3)
    wide = qpr.Circuit(1024).amplitude_damping(0.3, 1023)
    with pytest.raises(qpr.QupropError, match="1023 qubits"):
        qpr.expectation(qpr.Model(wide, "Z1023"), [], engine=qpr.PauliPropagation(0))


def test_values_follow_strengths_that_are_parameters_and_derivatives_refuse_them():
    t = qpr.params("t", 3)
    circuit = qpr.Circuit(2, params=t).ry(t[0], 0).depolarising(t[1], 0).cx(0, 1).rx(0.3, 1).amplitude_damping(t[2], 1)
    model, thetas = qpr.Model(circuit, ["Z0 Z1", "X1"]), np.array([[0.3, 0.1, 0.2], [0.3, 0.0, 0.5], [1.0, 0.3, 0.0]])
    engine = qpr.PauliPropagation(0)
    found = qpr.expectation(model, thetas, engine=engine)
    assert_close(found, qpr.expectation(model, thetas, engine="density"), 1e4)
    for call in (
        lambda: qpr.value_and_grad(model, thetas, weights=np.ones(2), engine=engine),
        lambda: qpr.vjp(model, thetas, engine=engine),
        lambda: qpr.propagate(model, thetas[0], engine=engine),
    ):
        with pytest.raises(qpr.QupropError, match="strengths depend on"):
            call()
    with pytest.raises(qpr.QupropError, match="probabilities"):
        qpr.expectation(model, [0.1, 1.4, 0.1], engine=engine)


def test_averages_over_angles_refuse_noise():
    model = qpr.Model(qpr.Circuit(2).ry(0.3, 0).rzz(0.2, 0, 1).bit_flip(0.1, 0), "Z0")
    with pytest.raises(qpr.QupropError, match="takes no noise"):
        qpr.propagate(model, [], engine=qpr.PauliPropagation(max_weight=1, angles="uniform", seed=0))


def test_noise_leaves_fewer_strings():
    def depolarised(p):
        return lambda circuit, q: circuit.depolarising(p, q) if p else circuit

    peaks = []
    for p in (0.0, 0.02, 0.1):
        model, theta = layers(7, 4, np.random.default_rng(5), depolarised(p))
        found = qpr.propagate(
            model, theta, weights=[1, 1], engine=qpr.PauliPropagation(cutoff=1e-2, rule="coefficient")
        )
        peaks.append(found.peak)
    assert peaks[0] > 1.2 * peaks[1] > 1.5 * peaks[2]
