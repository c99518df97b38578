"""Trajectories: means without bias of values and derivatives, their standard errors, and what they refuse."""

import numpy as np
import pytest
from cases import random_circuit, random_sum
from test_noise import CLIFFORDS, noisy, random_state
from tolerances import assert_close

import quprop as qpr
from quprop.model.gates import GATES
from quprop.simulate.noise.patterns import Outcomes, PureProblem


def exact(model, theta, x, weights):
    """Values, gradient and d_x of the weighted sum from the whole mixed state."""
    values, pullback = qpr.vjp(model, theta, x, engine="density")
    return (values, *pullback(weights))


def deviations(model, theta, x, weights, engine):
    """How many standard errors off each number is: of values, and of derivatives; exact ones are 0 off, and so are
    those that differ by errors too rare to be drawn."""
    found = qpr.estimate(model, theta, x, weights=weights, engine=engine)
    values, gradient, d_x = exact(model, theta, x, weights)
    out = []
    for a, b, error in (
        (found.values, values, found.values_error),
        (found.value, values @ weights, found.value_error),
        (found.gradient, gradient, found.gradient_error),
        (found.d_x, d_x, found.d_x_error),
    ):
        off = np.atleast_1d(np.abs(a - b))
        none = 1e-12 + (np.atleast_1d(error) == 0) * 10 / engine.samples
        out.append(np.where(off < none, 0.0, off / np.maximum(np.atleast_1d(error), 1e-300)))
    return np.concatenate(out)


def random_case(seed, n, gates, channels):
    rng = np.random.default_rng(seed)
    circuit, theta, x = noisy(seed, n, gates=gates, channels=channels, state=random_state(rng, n))
    return qpr.Model(circuit, [random_sum(rng, n, 3) for _ in range(2)]), theta, x, rng.normal(size=2)


def check_200(samples, gates):
    off = np.concatenate(
        [
            deviations(
                *random_case(seed, 1 + seed % 4, 1 + seed % gates, 1 + seed % 5), qpr.Trajectories(samples, seed + 1000)
            )
            for seed in range(200)
        ]
    )
    off = off[off > 0]
    # about 1300 numbers: 0.3 % are off by more than 3, and 4.8 comes once in 500 times
    assert len(off) > 1000 and off.max() < 4.8
    return off


@pytest.mark.slow
def test_values_and_all_derivatives_of_200_random_models_are_within_their_standard_errors():
    off = check_200(300, 9)
    assert (off < 3).mean() > 0.985  # few samples of rare errors have wider tails
    assert abs(np.sqrt((np.minimum(off, 5) ** 2).mean()) - 1) < 0.12


@pytest.mark.slow
def test_95_percent_intervals_cover_93_to_97_percent():
    off = check_200(10_000, 12)
    assert (off < 3).mean() > 0.99 and 0.93 < (off < 1.96).mean() < 0.97


def test_intervals_of_a_training_step_cover_over_many_seeds():
    t = qpr.params("t", 5)
    circuit = qpr.Circuit(3, params=t)
    for q in range(3):
        circuit.ry(t[q], q).depolarising(t[3], q)
    circuit.cx(0, 1).rzz(t[0], 1, 2).depolarising2(0.1, 1, 2).rx(0.4, 1).amplitude_damping(t[4], 1).ry(t[1], 1)
    model, theta, weights = qpr.Model(circuit, ["Z0 Z1 + X2", "Z1"]), np.array([0.4, 1.0, -0.6, 0.1, 0.15]), np.ones(2)
    off = np.array([deviations(model, theta, None, weights, qpr.Trajectories(200, s)) for s in range(150)])
    cover = (off < 1.96).mean(axis=0)
    # 5 standard errors of a share of 0.95 of 150 are 0.09
    assert (cover > 0.86).all() and 0.93 < cover.mean() < 0.97


def mean_over_outcomes(model, theta, x):
    """The exact mean over all patterns, each with its share: what trajectories are drawn from."""
    outcomes = Outcomes.of_model(model)
    shares, _ = outcomes.law(model.channel_table.evaluate(theta[None], x[None])[0])
    angles = model.angle_table.evaluate(theta[None], x[None])
    terms = [p for o in model.observables for p, _ in o.items()]
    total = np.zeros(len(terms))
    for drawn in np.ndindex(*np.diff(outcomes.starts)):
        row = np.array([drawn])
        share = np.prod(shares[outcomes.starts[:-1] + row[0]])
        if share == 0:
            continue
        problem = PureProblem.of(model, outcomes, terms, outcomes.resets(row)[0])
        channel = np.flatnonzero(row[0])
        turned = problem.turned(outcomes.starts[channel] + row[0, channel], np.zeros(len(channel), int), 1)
        signs = problem.signed(turned)
        m = model.n_rotations
        values = qpr.expectation(problem.model, signs[:, :m] * angles, engine="reference")
        total += share * (signs[:, m:] * values)[0]
    return total


@pytest.mark.parametrize("seed", range(8))
def test_the_mean_over_all_patterns_is_the_mixed_state(seed):
    rng = np.random.default_rng(seed)
    n = 1 + seed % 3
    state = [None, rng.normal(size=(n, 2)) + 1j * rng.normal(size=(n, 2)), rng.normal(size=2**n) + 0j][seed % 3]
    plain = random_circuit(seed, n, 5, state, n_params=3, n_inputs=2)
    circuit = plain.copy()
    circuit.steps = []
    kinds = ["amplitude_damping", "reset", "depolarising", "phase_damping"]
    for k, operation in enumerate(plain.steps):
        circuit.steps.append(operation)
        if k < 4:
            name, q = kinds[(k + seed) % 4], int(rng.integers(n))
            if name == "reset":
                circuit.reset(q, 0.4)
            else:
                getattr(circuit, name)(0.3, q)
    circuit.thermal_relaxation(1.0, 0.7, 0.5, 0, excited=0.8)
    strings = [random_sum(rng, n, 1) for _ in range(3)]
    model = qpr.Model(circuit, strings)
    theta, x = rng.uniform(-3, 3, model.n_params), rng.uniform(-1, 1, model.n_inputs)
    scales = np.array([c for o in model.observables for _, c in o.items()])
    found = mean_over_outcomes(model, theta, x) * scales
    assert_close(found, qpr.expectation(model, theta, x, engine="density"), 1e5)


def test_shares_sum_to_one_and_only_damping_has_negative_ones():
    gamma = 0.3
    cases = [
        (qpr.Circuit(1).amplitude_damping(gamma, 0), np.sqrt(1 - gamma) + gamma),
        (qpr.Circuit(1).generalised_amplitude_damping(gamma, 0.5, 0), 1.0),
        (qpr.Circuit(1).phase_damping(gamma, 0), 1.0),
        (qpr.Circuit(1).reset(0), 1.0),
        (qpr.Circuit(1).reset_error(0.1, 0.2, 0), 1.0),
        (qpr.Circuit(1).thermal_relaxation(50.0, 30.0, 10.0, 0), 1.0),
        (qpr.Circuit(1).readout_error(0.1, 0.2, 0), 1.0),
        (qpr.Circuit(2).pauli_channel({"XZ": 0.3, "YI": 0.5}, 0, 1), 1.0),
    ]
    for circuit, norm in cases:
        model = qpr.Model(circuit, "Z0")
        outcomes = Outcomes.of_model(model)
        shares, _ = outcomes.law(model.channel_table.evaluate(np.empty((1, 0)), np.empty((1, 0)))[0])
        assert_close(shares.sum(), 1.0, 100)
        assert_close(outcomes.norms(shares), np.array([norm]), 100)
        assert_close(qpr.estimate(model, []).overhead, norm**2, 100)


def test_a_derivative_in_a_strength_that_is_zero_is_found():
    p = qpr.params("p", 2)
    circuit = qpr.Circuit(2, params=p).ry(0.7, 0).depolarising(p[0], 0).cx(0, 1).rx(0.3, 1).amplitude_damping(p[1], 1)
    model = qpr.Model(circuit, "Z0 + Z1")
    for theta in (np.zeros(2), np.array([0.0, 0.2]), np.array([1e-9, 1e-9])):
        wanted = qpr.value_and_grad(model, theta, engine="density")[1]
        found = qpr.estimate(model, theta, engine=qpr.Trajectories(4000, 1))
        assert np.abs(wanted).min() > 0.05
        assert (np.abs(found.gradient - wanted) < 5 * found.gradient_error + 1e-12).all()
        assert (found.gradient_error < 0.05).all()


def test_a_derivative_in_a_strength_of_negative_shares_is_found():
    p = qpr.params("p", 1)
    model, theta = qpr.Model(qpr.Circuit(1, params=p).ry(1.1, 0).amplitude_damping(p[0], 0), "X0"), np.array([0.8])
    found = qpr.estimate(model, theta, engine=qpr.Trajectories(60_000, 3))
    wanted = -np.sin(1.1) / (2 * np.sqrt(0.2))  # of sqrt(1 - gamma) sin 1.1
    assert abs(found.gradient[0] - wanted) < 4 * found.gradient_error[0] < 0.08


@pytest.mark.parametrize("seed", range(12))
def test_resets_without_chance_are_exact_in_one_trajectory(seed):
    """Clifford gates in between: what is reset is a string of many qubits and either sign."""
    rng = np.random.default_rng(seed)
    circuit = qpr.Circuit(3, rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2)))
    for _ in range(4):
        for _ in range(6):
            gate = CLIFFORDS[rng.integers(len(CLIFFORDS))]
            circuit.gate(gate, *map(int, rng.permutation(3)[: GATES[gate].n_qubits]))
        circuit.rotation("X0 Y1 Z2", 0.7).rotation("Z0 X1", 0.4)
        circuit.reset_error(*[(1.0, 0.0), (0.0, 1.0)][rng.integers(2)], int(rng.integers(3)))
    circuit.rotation("Y0 X2", 0.9).rotation("Z1 X2", -0.6)
    model = qpr.Model(circuit, [random_sum(rng, 3, 6) for _ in range(3)])
    found = qpr.expectation(model, [], engine=qpr.Trajectories(1, seed))
    assert_close(found, qpr.expectation(model, [], engine="density"), 1e4)


def test_the_same_seed_gives_the_same_numbers_for_any_number_of_threads_and_other_seeds_others():
    model, theta, x, weights = random_case(3, 3, 8, 5)
    one, two = (
        qpr.estimate(model, theta, x, weights=weights, engine=qpr.Trajectories(500, 4), threads=t) for t in (1, 2)
    )
    assert one.value == two.value and np.array_equal(one.gradient, two.gradient) and np.array_equal(one.d_x, two.d_x)
    other = qpr.estimate(model, theta, x, weights=weights, engine=qpr.Trajectories(500, 5))
    assert other.value != one.value


def test_a_batch_is_its_samples_and_all_ways_in_agree():
    model, theta, x, weights = random_case(5, 3, 8, 4)
    rng = np.random.default_rng(0)
    thetas, engine = theta + 0.01 * rng.uniform(0, 1, (3, len(theta))), qpr.Trajectories(200, 2)
    values, pullback = qpr.vjp(model, thetas, x, engine=engine)
    value, gradient = qpr.value_and_grad(model, thetas, x, weights=weights, engine=engine)
    d_theta, d_x = pullback(np.broadcast_to(weights, (3, 2)))
    summed, _ = pullback(np.broadcast_to(weights, (3, 2)), sum_theta=True)
    assert_close(qpr.expectation(model, thetas, x, engine=engine), values, 1e3)
    for i in range(3):
        told = qpr.estimate(model, thetas[i], x, weights=weights, engine=engine)
        for a, b in (
            (values[i], told.values),
            (value[i], told.value),
            (gradient[i], told.gradient),
            (d_theta[i], told.gradient),
            (d_x[i], told.d_x),
        ):
            assert_close(a, np.asarray(b), 1e4)
    assert_close(summed, d_theta.sum(axis=0), 1e3)


def test_trajectories_of_a_model_without_noise_are_the_model():
    circuit = random_circuit(2, 3, 10)
    model = qpr.Model(circuit, ["Z0 + X1 Y2", "Z2"])
    rng = np.random.default_rng(1)
    theta, x, w = rng.normal(size=model.n_params), rng.normal(size=model.n_inputs), np.array([1.0, 2.0])
    found = qpr.estimate(model, theta, x, weights=w, engine=qpr.Trajectories(50))
    values, pullback = qpr.vjp(model, theta, x, engine="reference")
    for a, b in zip((found.values, found.gradient, found.d_x), (values, *pullback(w)), strict=True):
        assert_close(a, b, 1e4)
    assert found.patterns == 1 and found.overhead == 1.0
    for error in (found.values_error, found.gradient_error, found.d_x_error):
        assert (error == 0).all()


def test_more_qubits_than_a_mixed_state_has_room_for():
    """A chain of 18 qubits, of which one term's light cone is small enough for the mixed state."""

    def chain(n, at):
        circuit = qpr.Circuit(n)
        for q in range(n):
            circuit.ry(0.4, q).depolarising(0.1, q)
        for q in range(n - 1):
            circuit.rzz(0.7, q, q + 1).depolarising2(0.1, q, q + 1)
        for q in range(n):
            circuit.rx(0.5, q).amplitude_damping(0.02, q)
        return qpr.Model(circuit, f"Z{at} Z{at + 1}")

    found = qpr.estimate(chain(14, 6), [], engine=qpr.Trajectories(200, 1))
    wanted = qpr.expectation(chain(6, 2), [], engine="density")
    assert abs(found.value - wanted[0]) < 4 * found.value_error < 0.3


def test_settings_and_engines_are_named_and_wrong_ones_refused():
    model, theta, x, weights = random_case(1, 2, 4, 2)
    assert np.array_equal(
        qpr.expectation(model, theta, x, engine="trajectories"),
        qpr.expectation(model, theta, x, engine=qpr.Trajectories(1000, 0)),
    )
    assert str(qpr.Trajectories(5)) == "Trajectories(samples=5, seed=0)"
    for arguments in ({"samples": 0}, {"samples": 2.5}, {"seed": -1}, {"samples": True}):
        with pytest.raises(qpr.QupropError, match="whole number"):
            qpr.Trajectories(**arguments)
    with pytest.raises(qpr.QupropError, match="Trajectories"):
        qpr.estimate(model, theta, x, engine="density")
    with pytest.raises(qpr.QupropError, match="Hessian"):
        qpr.hvp(model, theta, x, v_theta=theta, weights=weights, engine="trajectories")
    with pytest.raises(qpr.QupropError, match="amplitudes"):
        qpr.state(model, theta, x, engine="trajectories")
    with pytest.raises(qpr.QupropError, match="no amplitudes"):
        qpr.probabilities(model, theta, x, engine="trajectories")
    with pytest.raises(qpr.QupropError, match="one point"):
        qpr.estimate(model, np.stack([theta, theta]), x)
    assert not np.isfinite(qpr.estimate(model, theta, x, weights=weights, engine=qpr.Trajectories(1)).value_error)


def test_amplitudes_from_inputs_take_pauli_noise_and_refuse_resets():
    x, t = qpr.inputs("x", 4), qpr.params("t", 2)
    circuit = qpr.Circuit(2, x).ry(t[0], 0).depolarising(t[1], 0).cx(0, 1).rx(0.3, 1)
    model = qpr.Model(circuit, "Z0 + X0 Y1 - 0.4*Z1")
    theta, at = np.array([0.7, 0.2]), np.array([0.3, -1.1, 0.4, 0.8])
    assert (deviations(model, theta, at, np.ones(1), qpr.Trajectories(2000, 1)) < 4.5).all()
    with pytest.raises(qpr.QupropError, match="fresh qubit"):
        qpr.expectation(qpr.Model(circuit.copy().reset(0), "Z0"), theta, at, engine="trajectories")
