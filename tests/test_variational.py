"""Variational time evolution: McLachlan's equations and what they do, against dense linear algebra."""

import numpy as np
import pytest
from scipy.linalg import expm

import quprop as qpr
from quprop.errors import QupropError
from quprop.model import ansatz
from quprop.training.variational import RULES

H2 = qpr.PauliSum({"Z0 Z1": -1.0, "X0": -0.7, "X1": -0.5, "Y0 Z1": 0.3, "I": 0.4})
TFIM = qpr.PauliSum({"Z0 Z1": -1.0, "Z1 Z2": -1.0, "X0": -0.8, "X1": -0.8, "X2": -0.8})


def tangents(model, theta, x=None, h=1e-5):
    """The state and its derivatives, by central differences of fourth order: columns of (2^n, P)."""
    psi = qpr.state(model, theta, x)

    def at(i, step):
        moved = np.array(theta, float)
        moved[i] += step
        return qpr.state(model, moved, x)

    parts = [(8 * (at(i, h) - at(i, -h)) - (at(i, 2 * h) - at(i, -2 * h))) / (12 * h) for i in range(model.n_params)]
    return psi, np.array(parts).T


@pytest.fixture(scope="module")
def full():
    """Two qubits that reach every state."""
    model = qpr.Model(ansatz.hardware_efficient(2, 3), H2)
    return model, np.random.default_rng(0).uniform(-1, 1, model.n_params)


def with_inputs_and_cliffords():
    t, x = qpr.params("t", 4), qpr.inputs("x", 1)
    circuit = qpr.Circuit(3).h(0).cx(0, 1).s(1).ry(t[0], 0).rx(t[1] * x[0], 2).cz(1, 2).h(2)
    return qpr.Model(circuit.rzz(t[2], 0, 2).cx(2, 0).ry(t[3] + t[0], 1).s(0).h(1), "Z0"), [0.7]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_vector_is_that_of_dense_states(engine):
    """Cliffords at the end, shared parameters, inputs, and a Hamiltonian with an identity."""
    model, x = with_inputs_and_cliffords()
    hamiltonian = qpr.PauliSum({**dict(TFIM.items()), **dict(qpr.PauliSum({"Y0 Y2": 0.6, "I": 1.7}).items())})
    theta = np.array([0.3, -1.2, 0.8, 2.0])
    psi, d = tangents(model, theta, x)
    dense = hamiltonian.matrix(3)
    energy = np.vdot(psi, dense @ psi).real
    wanted = d.conj().T @ dense @ psi - (d.conj().T @ psi) * energy
    found = qpr.evolution_vector(model, hamiltonian, theta, x, engine=engine)
    assert np.abs(found - wanted).max() < 1e-9 and np.abs(wanted.imag).max() > 0.1
    gradient = np.ravel(qpr.value_and_grad(model.with_observables(hamiltonian), theta, x)[1])
    assert np.abs(2 * found.real - gradient).max() < 1e-12


@pytest.mark.parametrize("kind", ["real", "imaginary"])
def test_the_velocity_is_the_least_squares_one_and_the_distance_what_it_leaves(kind):
    """McLachlan's principle itself: min_v | sum_i v_i t_i + (i or 1)(H - E) psi | over the real v, by dense lstsq."""
    model, x = with_inputs_and_cliffords()
    theta, dt = np.array([0.3, -1.2, 0.8, 2.0]), 1e-3
    evolved = qpr.variational_evolution(model, TFIM, theta, dt, 1, kind=kind, x=x, rule="euler")
    psi, d = tangents(model, theta, x)
    dense = TFIM.matrix(3)
    energy = np.vdot(psi, dense @ psi).real
    wanted = (dense @ psi - energy * psi) * (-1j if kind == "real" else -1.0)
    d = d - np.outer(psi, psi.conj() @ d)
    split = np.vstack([d.real, d.imag])
    v = np.linalg.lstsq(split, np.concatenate([wanted.real, wanted.imag]), rcond=1e-8)[0]
    left = np.linalg.norm(d @ v - wanted)
    assert np.abs((evolved.thetas[1] - theta) / dt - v).max() < 1e-6
    assert evolved.distances[0] == pytest.approx(left, abs=1e-8) and left > 0.1
    assert evolved.energies[0] == pytest.approx(energy, abs=1e-12)


@pytest.mark.parametrize("kind", ["real", "imaginary"])
@pytest.mark.parametrize("rule, order", [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_an_ansatz_that_reaches_every_state_follows_the_exact_one_to_the_order_of_the_rule(full, kind, rule, order):
    model, theta = full
    dense, start = H2.matrix(2), qpr.state(model, theta)
    exact = expm((-1j if kind == "real" else -1.0) * dense) @ start
    exact /= np.linalg.norm(exact)
    errors = []
    for steps in (8, 16):
        evolved = qpr.variational_evolution(model, H2, theta, 1.0, steps, kind=kind, rule=rule)
        found = qpr.state(model, evolved.theta)
        phase = np.vdot(found, exact)
        errors.append(np.linalg.norm(found * phase / abs(phase) - exact))
        assert evolved.distances.max() < 1e-7
        assert evolved.times[-1] == 1.0 and len(evolved.thetas) == len(evolved.energies) == steps + 1
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.5 and errors[1] < {1: 0.1, 2: 5e-3, 4: 2e-5}[order]


def test_real_time_keeps_the_energy_of_an_ansatz_that_can_follow(full):
    model, theta = full
    assert np.ptp(qpr.variational_evolution(model, None, theta, 1.0, 40).energies) < 1e-6


def test_the_bound_of_the_error_holds():
    """Of an ansatz that cannot follow: the distance to the exact state stays below the integral of the distances."""
    t = qpr.params("t", 5)
    circuit = qpr.Circuit(3).rx(t[0], 0).rx(t[1], 1).rx(t[2], 2).rzz(t[3], 0, 1).rzz(t[4], 1, 2)
    model, theta = qpr.Model(circuit, TFIM), np.array([0.4, 0.5, 0.6, 0.1, 0.2])
    start, dense = qpr.state(model, theta), TFIM.matrix(3)
    evolved = qpr.variational_evolution(model, None, theta, 0.8, 40)
    states = [qpr.state(model, p) for p in evolved.thetas]
    for k in (10, 20, 40):
        overlap = abs(np.vdot(states[k], expm(-1j * dense * evolved.times[k]) @ start))
        far = np.sqrt(2 - 2 * min(overlap, 1.0))
        bound = np.trapezoid(evolved.distances[: k + 1], evolved.times[: k + 1])
        assert 0.02 * k / 40 < far < bound
    assert bound == pytest.approx(evolved.error_bound)
    with pytest.raises(QupropError, match="in real time only"):
        _ = qpr.variational_evolution(model, None, theta, 0.1, 1, kind="imaginary").error_bound


def test_imaginary_time_lowers_the_energy_to_the_ground_state(full):
    model, theta = full
    evolved = qpr.variational_evolution(model, None, theta, 12.0, 240, kind="imaginary")
    assert np.diff(evolved.energies).max() < 1e-12
    assert evolved.energies[-1] == pytest.approx(np.linalg.eigvalsh(H2.matrix(2))[0], abs=1e-6)


def test_the_optimiser_takes_the_steps_of_the_evolution(full):
    model, theta = full
    evolved = qpr.variational_evolution(model, None, theta, 1.0, 10, kind="imaginary")
    optimiser = qpr.imaginary_time(lambda p: qpr.metric(model, p), 0.1)
    trained = qpr.train(model, optimiser=optimiser, params=theta, steps=10)
    assert np.abs(trained.theta - evolved.theta).max() < 1e-9
    assert trained.loss == pytest.approx(evolved.energies[-1], abs=1e-10)


def test_parameters_that_move_no_state_stay(full):
    t = qpr.params("t", 3)
    model = qpr.Model(qpr.Circuit(1).rz(t[0], 0).ry(t[1], 0).ry(t[2], 0), "Z0")  # of |0>: t0 is a phase, t1 + t2 count
    evolved = qpr.variational_evolution(model, "Y0", [0.5, 0.1, 0.2], 1.0, 4)
    assert np.allclose(evolved.thetas[:, 0], 0.5) and np.allclose(evolved.theta[1:], [1.1, 1.2])  # exp(-iY) is ry(2)
    damped = qpr.variational_evolution(model, "Y0", [0.5, 0.1, 0.2], 1.0, 4, damping=0.5)
    assert np.allclose(damped.theta[1:], [0.6, 0.7])  # eigenvalue 1/2 of G, and as much added to it


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kind": "complex"}, "kind is"),
        ({"rule": "rk5"}, "rule is one of"),
        ({"time": 0.0}, "time must be"),
        ({"steps": 0}, "steps must be"),
        ({"cutoff": 1.0}, "cutoff"),
        ({"damping": -1.0}, "damping"),
        ({"theta": np.zeros((2, 5))}, "theta"),
        ({"hamiltonian": ["Z0", "Z1"]}, "one Hamiltonian, got 2 observables"),
        ({"hamiltonian": "Z5"}, "acts on qubit 5"),
        ({"engine": "lightcone"}, "not the state"),
    ],
)
def test_what_makes_no_evolution_is_refused(full, options, words):
    model, theta = full
    given = {"hamiltonian": H2, "theta": theta, "time": 1.0, "steps": 2, **options}
    with pytest.raises(QupropError, match=words):
        qpr.variational_evolution(model, given.pop("hamiltonian"), given.pop("theta"), **given)


def test_noise_and_batches_are_refused():
    noisy = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0).depolarising(0.1, 0), "Z0")
    with pytest.raises(QupropError, match="a mixed state has no amplitudes"):
        qpr.evolution_vector(noisy, None, [0.1])
    model, _ = with_inputs_and_cliffords()
    with pytest.raises(QupropError, match="batch axes"):
        qpr.evolution_vector(model, TFIM, np.zeros(4), [[0.1], [0.2]])


def test_the_rules_are_consistent():
    """Weights add up to 1, and a row to its node, so that a constant velocity is integrated exactly."""
    for rows, weights in RULES.values():
        assert sum(weights) == pytest.approx(1.0) and [len(r) for r in rows] == list(range(len(weights)))
