"""Noise in models: channels against Kraus operators, derivatives in strengths, and what takes no noise."""

import copy
import json
import pickle

import kraus
import numpy as np
import pytest
from cases import random_circuit, random_sum
from tolerances import assert_close

import quprop as qpr
from quprop.hybrid.qasm import to_qasm
from quprop.model.channels import CHANNELS
from quprop.model.drawing import circuit_svg, model_svg
from quprop.model.gates import GATES
from quprop.model.text import versioned
from quprop.simulate import ENGINES
from quprop.structure import dynamical_lie_algebra, find_blocks

CLIFFORDS = ["x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "iswap"]
ONE_STRENGTH = [name for name, noise in CHANNELS.items() if len(noise.strengths) == 1]


def strengths_of(name, rng, size=0.3):
    """Numbers a channel of the table may have."""
    if name == "thermal_relaxation":
        t1 = rng.uniform(1, 3)
        return [t1, t1 * rng.uniform(0.3, 2), rng.uniform(0, 2), rng.uniform(0, 1)]
    return rng.uniform(0.02, size, len(CHANNELS[name].strengths)).tolist()


def append(circuit, name, strengths, qubits):
    """A channel by the method of its name; optional strengths after the qubits."""
    noise = CHANNELS[name]
    first = len(noise.strengths) - len(noise.defaults)
    return getattr(circuit, name)(*strengths[:first], *qubits, *strengths[first:])


def noisy(seed, n, gates=8, channels=5, state=None, trained=True):
    """(circuit, theta, x): a random circuit with channels of the table among its gates, and Pauli channels; strengths
    are constants, parameters, inputs, and products of them. Readout errors come last."""
    rng = np.random.default_rng([seed, 7])
    plain = random_circuit(seed, n, gates, state, n_params=3, n_inputs=2)
    p = qpr.params("p", 6)
    point = rng.uniform(0.02, 0.3, 6)
    circuit = plain.copy()
    circuit.steps = []
    names = [c for c, noise in CHANNELS.items() if noise.n_qubits <= n and c != "readout_error"] + ["pauli_channel"]

    def strength(value):
        if not trained or rng.random() < 0.4:
            return value
        i, j = rng.integers(6, size=2)
        return [p[i], 0.5 * p[i] + 0.1, p[i] * p[j], (1 - p[i]) * p[j]][rng.integers(4)]

    def add():
        name = names[rng.integers(len(names))]
        if name == "pauli_channel":
            size = int(rng.integers(1, min(n, 3) + 1))
            texts = {"".join(rng.choice(list("IXYZ"), size)) for _ in range(4)} - {"I" * size} or {"Z" * size}
            share = {t: strength(rng.uniform(0, 1)) / len(texts) for t in sorted(texts)}
            circuit.pauli_channel(share, *map(int, rng.permutation(n)[:size]))
            return
        values = strengths_of(name, rng)
        if name != "thermal_relaxation":
            values = [strength(v) for v in values]
        append(circuit, name, values, map(int, rng.permutation(n)[: CHANNELS[name].n_qubits]))

    places = np.sort(rng.integers(0, gates + 1, channels))
    for k in range(len(plain.steps) + 1):
        for _ in range(np.count_nonzero(places == k)):
            add()
        circuit.steps += plain.steps[k : k + 1]
    for name, (kind, size) in (("p", (0, 6)),):
        circuit.vectors.setdefault(name, (kind, size))
    theta = np.concatenate([rng.uniform(-np.pi, np.pi, plain.n_params), point])
    return circuit, theta, rng.uniform(0.1, 1, circuit.n_inputs)


def random_state(rng, n):
    kinds = [None, int(rng.integers(2**n)), rng.normal(size=(n, 2)) + 1j * rng.normal(size=(n, 2))]
    kinds += [rng.normal(size=2**n) + 1j * rng.normal(size=2**n)]
    return kinds[rng.integers(len(kinds))]


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_values_and_probabilities_are_those_of_kraus_operators(first):
    for seed in range(first, first + 20):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 5))
        circuit, theta, x = noisy(seed, n, gates=int(rng.integers(1, 12)), state=random_state(rng, n))
        observables = [random_sum(rng, n, 3) for _ in range(2)]
        model = qpr.Model(circuit, observables)
        assert len(model.channels) == 5
        rho = kraus.density(circuit, theta, x)
        assert_close(qpr.expectation(model, theta, x), kraus.values(circuit, observables, theta, x).real, 4e5)
        assert_close(qpr.probabilities(model, theta, x), np.diag(rho).real, 4e5)
        assert_close(np.trace(rho), 1.0 + 0j, 4e5)


def differences(circuit, observables, theta, x, weights, step=1e-5):
    """The gradient of weights . values by theta and x, from Kraus operators."""
    point, out = np.concatenate([theta, x]), []
    for k in range(len(point)):
        moved = [point + s * step * (np.arange(len(point)) == k) for s in (1, -1)]
        plus, minus = (kraus.values(circuit, observables, m[: len(theta)], m[len(theta) :]).real for m in moved)
        out.append(weights @ (plus - minus) / (2 * step))
    return np.array(out)


@pytest.mark.parametrize("seed", range(12))
def test_gradients_in_angles_strengths_and_inputs_are_the_slopes_of_kraus_operators(seed):
    rng = np.random.default_rng(seed)
    n = 1 + seed % 3
    circuit, theta, x = noisy(seed, n, gates=6, state=random_state(rng, n))
    observables = [random_sum(rng, n, 3) for _ in range(2)]
    model = qpr.Model(circuit, observables)
    weights = rng.normal(size=2)
    values, pullback = qpr.vjp(model, theta, x)
    found = np.concatenate(pullback(weights))
    slopes = differences(circuit, observables, theta, x, weights)
    assert np.abs(slopes[-len(x) - 6 :]).max() > 1e-4 and np.abs(found - slopes).max() < 1e-8
    value, gradient = qpr.value_and_grad(model, theta, x, weights=weights)
    assert_close(value, weights @ values, 1e3)
    assert_close(gradient, found[: len(theta)], 1e3)


def cauchy(f, point, i, radius=0.05):
    """df/dp_i from values on a circle around the point: exact to rounding for what is analytic within it."""
    turns = np.exp(2j * np.pi * np.arange(16) / 16)
    found = [f(point + radius * w * (np.arange(len(point)) == i)) for w in turns]
    return np.mean(np.array(found) / turns).real / radius


@pytest.mark.parametrize("name", [*CHANNELS, "pauli_channel"])
def test_a_derivative_in_a_strength_is_that_of_its_kraus_operators_by_cauchys_formula(name):
    rng = np.random.default_rng(3)
    if name == "pauli_channel":
        size, count, qubits = 3, 4, (2, 0, 1)
    else:
        count, size = len(CHANNELS[name].strengths), CHANNELS[name].n_qubits
        qubits = (2, 0, 1)[:size]
    p = qpr.params("p", count)
    circuit = (
        qpr.Circuit(3, params=p).ry(0.4, 0).cx(0, 1).rx(1.1, 2).rzz(0.7, 1, 2).ry(0.9, 1).h(0).cz(2, 0).ry(-0.8, 2)
    )
    if name == "pauli_channel":
        circuit.pauli_channel({"XIZ": p[0], "ZZI": p[1], "IIY": p[2], "YXX": p[3] / 3}, *qubits)
    else:
        append(circuit, name, list(p), qubits)
    if name != "readout_error":
        circuit.rx(0.3, 0).cx(2, 1).ry(0.5, 2)
    observables = [qpr.PauliSum("Z0 Z2 + 0.3*Z1 - 0.7*Z2")]
    if name != "readout_error":
        observables.append(qpr.PauliSum("X0 Y2 + 0.3*Z1 - X2 + Y1 Z2"))
    theta = np.array([0.1, 0.2, 0.15, 0.3]) if name == "pauli_channel" else np.array(strengths_of(name, rng))
    _, pullback = qpr.vjp(qpr.Model(circuit, observables), theta)
    for k, o in enumerate(observables):
        slopes = np.array([cauchy(lambda p, o=o: kraus.values(circuit, [o], p)[0], theta, i) for i in range(count)])
        assert np.abs(slopes).max() > 1e-3
        assert_close(pullback(np.eye(len(observables))[k])[0], slopes, 1e4)


@pytest.mark.parametrize("name", [c for c in CHANNELS if c != "readout_error"])
def test_clifford_gates_around_a_channel_are_absorbed(name):
    rng = np.random.default_rng(5)
    noise = CHANNELS[name]
    for seed in range(12):
        circuit = qpr.Circuit(3).ry(0.4, 0).rx(1.1, 1).u(0.3, 0.5, 0.7, 2)
        for stage in range(3):
            for _ in range(6):
                gate = CLIFFORDS[rng.integers(len(CLIFFORDS))]
                circuit.gate(gate, *map(int, rng.permutation(3)[: GATES[gate].n_qubits]))
            if stage < 2:
                append(circuit, name, strengths_of(name, rng), map(int, rng.permutation(3)[: noise.n_qubits]))
                circuit.rotation("X0 Y1 Z2", 0.3)
        observables = [random_sum(rng, 3, 4)]
        found = qpr.expectation(qpr.Model(circuit, observables), np.empty(0))
        assert_close(found, kraus.values(circuit, observables, ()).real, 1e4), seed


def value(circuit, observable="Z0"):
    return qpr.expectation(qpr.Model(circuit, observable), np.empty(0))[0]


def test_a_channel_does_what_its_name_says():
    one = qpr.Circuit(1, "1")
    plus = qpr.Circuit(1).h(0)
    p = 0.23
    assert_close(value(one.copy().amplitude_damping(p, 0)), 2 * p - 1, 100)
    assert_close(value(plus.copy().amplitude_damping(p, 0), "X0"), np.sqrt(1 - p), 100)
    assert_close(value(one.copy().reset(0)), 1.0, 100)
    assert_close(value(one.copy().reset(0, p)), 2 * p - 1, 100)
    assert_close(value(one.copy().reset(0, probability=p)), 2 * p - 1, 100)
    assert_close(value(plus.copy().depolarising(p, 0), "X0"), 1 - 4 * p / 3, 100)
    assert_close(value(plus.copy().bit_flip(p, 0), "X0"), 1.0, 100)
    assert_close(value(one.copy().bit_flip(p, 0)), 2 * p - 1, 100)
    assert_close(value(plus.copy().phase_flip(p, 0), "X0"), 1 - 2 * p, 100)
    assert_close(value(plus.copy().bit_phase_flip(p, 0), "X0"), 1 - 2 * p, 100)
    assert_close(value(plus.copy().phase_damping(p, 0), "X0"), np.sqrt(1 - p), 100)
    assert_close(value(one.copy().generalised_amplitude_damping(1, 0.3, 0)), 0.4, 100)
    assert_close(value(plus.copy().thermal_relaxation(50.0, 70.0, 10.0, 0), "X0"), np.exp(-1 / 7), 100)
    assert_close(value(one.copy().thermal_relaxation(50.0, 70.0, 10.0, 0, excited=0.1)), 0.8 - 1.8 * np.exp(-0.2), 100)
    for bit, read in (("0", [0.9, 0.1]), ("1", [0.3, 0.7])):  # p(1|0) = 0.1, p(0|1) = 0.3
        model = qpr.Model(qpr.Circuit(1, bit).readout_error(0.1, 0.3, 0), "Z0")
        assert_close(qpr.probabilities(model, np.empty(0)), np.array(read), 100)
    bell = qpr.Circuit(2).h(0).cx(0, 1).depolarising2(p, 1, 0)
    assert_close(value(bell, "X0 X1"), 1 - 16 * p / 15, 100)
    assert_close(value(qpr.Circuit(2).pauli_channel({"XZ": 0.1, "IX": 0.2}, 1, 0), "Z0"), 0.6, 100)
    assert_close(value(qpr.Circuit(2).pauli_channel({"Z0 X1": 0.1, "X0": 0.2}), "Z1"), 0.8, 100)


def test_batches_of_theta_and_x_give_what_each_sample_gives():
    circuit, theta, _ = noisy(11, 2)
    model = qpr.Model(circuit, ["Z0", "X1 + 0.5*Z0 Z1"])
    rng = np.random.default_rng(0)
    thetas, xs = theta + 0.01 * rng.normal(size=(3, 1, len(theta))), rng.uniform(0, 1, (2, model.n_inputs))
    values, pullback = qpr.vjp(model, thetas, xs)
    cotangent = rng.normal(size=(3, 2, 2))
    d_theta, d_x = pullback(cotangent)
    summed, _ = pullback(cotangent, sum_theta=True)
    shares = qpr.probabilities(model, thetas, xs)
    for i in range(3):
        for j in range(2):
            one, back = qpr.vjp(model, thetas[i, 0], xs[j])
            assert_close(values[i, j], one, 100)
            assert_close(shares[i, j], qpr.probabilities(model, thetas[i, 0], xs[j]), 100)
            for whole, part in zip((d_theta, d_x), back(cotangent[i, j]), strict=True):
                assert_close(whole[i, j], part, 100)
    assert_close(summed, d_theta.sum(axis=(0, 1)), 100)


def test_amplitudes_from_inputs_have_their_gradient_under_noise():
    x, t = qpr.inputs("x", 4), qpr.params("t", 2)
    circuit = qpr.Circuit(2, x).ry(t[0], 0).amplitude_damping(t[1], 0).cx(0, 1).rx(0.3, 1).depolarising(0.1, 1)
    observables = [qpr.PauliSum("Z0 + X0 Y1 - 0.4*Z1")]
    theta, at = np.array([0.7, 0.2]), np.array([0.3, -1.1, 0.4, 0.8])
    _, pullback = qpr.vjp(qpr.Model(circuit, observables), theta, at)
    slopes = differences(circuit, observables, theta, at, np.ones(1))
    assert np.abs(np.concatenate(pullback(np.ones(1))) - slopes).max() < 1e-8


def test_a_model_without_channels_is_the_same_for_the_engine_of_noise():
    rng = np.random.default_rng(2)
    circuit = random_circuit(4, 3, 12)
    model = qpr.Model(circuit, [random_sum(rng, 3, 4) for _ in range(2)])
    theta, x = rng.normal(size=model.n_params), rng.normal(size=model.n_inputs)
    (a, back), (b, other) = (qpr.vjp(model, theta, x, engine=e) for e in ("density", "reference"))
    assert_close(a, b, 1e4)
    for found, wanted in zip(back(np.array([1.0, -0.3])), other(np.array([1.0, -0.3])), strict=True):
        assert_close(found, wanted, 1e4)


def test_samples_follow_the_probabilities_of_a_noisy_model():
    model = qpr.Model(qpr.Circuit(2, "10").bit_flip(0.2, 0).readout_error(0.0, 0.1, 0), "Z0")
    bits = qpr.samples(model, np.empty(0), shots=4000, rng=1)
    mean = 0.8 * 0.9
    assert abs(bits[:, 0].mean() - mean) < 5 * np.sqrt(mean * (1 - mean) / 4000) and not bits[:, 1].any()
    assert np.array_equal(bits, qpr.samples(model, np.empty(0), shots=4000, rng=1))


def test_noiseless_gives_the_circuit_and_the_model_without_channels():
    circuit, theta, x = noisy(4, 3)
    model = qpr.Model(circuit, "Z0 + X1")
    assert circuit.noiseless() == circuit.noiseless().noiseless() and not circuit.noiseless().channels
    assert model.noiseless() == qpr.Model(circuit.noiseless(), "Z0 + X1") and model.noiseless() != model
    assert model.n_params == model.noiseless().n_params and len(circuit.channels) == 5
    assert_close(
        qpr.expectation(model.noiseless(), theta, x),
        qpr.expectation(model.noiseless(), theta, x, engine="density"),
        1e4,
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_noisy_model_survives_text_files_pickles_and_copies(seed, tmp_path):
    circuit, theta, x = noisy(seed, 3, channels=8)
    if seed % 2:
        circuit.h(2).readout_error(0.1, 0.02, 2)
    model = qpr.Model(circuit, "Z2")
    model.save(tmp_path / "model.json")
    for other in (
        qpr.Model.from_text(model.to_text()),
        qpr.Model.load(tmp_path / "model.json"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        qpr.Model(circuit.copy(), "Z2"),
    ):
        assert other == model and hash(other) == hash(model) and other.to_text() == model.to_text()
        assert np.array_equal(qpr.expectation(other, theta, x), qpr.expectation(model, theta, x))
    assert model != model.noiseless() and str(len(model.channels)) in repr(model)
    for line in ("pauli_channel", "channels"):
        assert line in str(model)


def test_a_reader_of_models_without_noise_refuses_noise():
    model = qpr.Model(qpr.Circuit(1).bit_flip(0.1, 0), "Z0")
    with pytest.raises(qpr.QupropError, match="version 3"):
        versioned(model.to_text(), "model", "quprop-model", 1, "save it again")
    assert json.loads(model.noiseless().to_text())["version"] == 1 and "channels" not in model.noiseless().to_text()
    assert b"channels" not in pickle.dumps(qpr.Model, 4) and b"_noisy" in pickle.dumps(model)
    state = model.noiseless().__getstate__()
    del state["channels"]  # what a pickle of before has
    old = copy.copy(qpr.Model._of(**state))
    assert old == model.noiseless() and hash(old) == hash(model.noiseless())


def _damaged(change):
    circuit = qpr.Circuit(2).ry(0.3, 0).amplitude_damping(0.1, 0).pauli_channel({"XZ": 0.1}, 0, 1).ry(0.2, 1)
    data = json.loads(qpr.Model(circuit, "Z0").to_text())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("channels"),
        lambda d: d.update(version=1),
        lambda d: d.update(version=2),
        lambda d: d.update(channels=[]),
        lambda d: d["channels"].reverse() or d["channels"][0].__setitem__(0, 2),
        lambda d: d["channels"][0].__setitem__(0, -1),
        lambda d: d["channels"][1].__setitem__(0, 3),
        lambda d: d["channels"][0].__setitem__(1, "decay"),
        lambda d: d["channels"][0].__setitem__(1, "bit_flip"),
        lambda d: d["channels"][0].__setitem__(2, ["X0", "X0"]),
        lambda d: d["channels"][0].__setitem__(2, ["X0", "Z0", "Y0"]),
        lambda d: d["channels"][0].__setitem__(2, ["X0", "iZ0"]),
        lambda d: d["channels"][0].__setitem__(3, [{"1": 0.1}, {"1": 0.1}]),
        lambda d: d["channels"][0].__setitem__(3, [{"theta[0]": 0.1}]),
        lambda d: d["channels"][1].__setitem__(2, ["X2"]),
        lambda d: d["channels"][1].__setitem__(2, ["I"]),
        lambda d: d["channels"][1].__setitem__(2, ["-X0"]),
    ],
)
def test_a_damaged_text_of_channels_is_refused(change):
    with pytest.raises(qpr.QupropError, match=r"damaged|a Pauli string"):
        qpr.Model.from_text(_damaged(change))


T = qpr.params("t", 2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda c: c.depolarising(1.1, 0), "from 0 whose sum is 1 at most, got a sum 1.1"),
        (lambda c: c.depolarising(-0.1, 0), "got a probability -0.0333333"),
        (lambda c: c.depolarising(float("nan"), 0), "finite real numbers"),
        (lambda c: c.depolarising(np.inf, 0), "finite real numbers"),
        (lambda c: c.depolarising(0.1j, 0), "finite real numbers"),
        (lambda c: c.depolarising("0.1", 0), "finite real numbers"),
        (lambda c: c.depolarising(T, 0), "finite real numbers"),
        (lambda c: c.depolarising(0.1), "takes p, 1 qubit, got 1 argument"),
        (lambda c: c.depolarising(0.1, 0, 1), "takes p, 1 qubit, got 3 arguments"),
        (lambda c: c.depolarising(0.1, 5), "qubit 5, but this circuit has qubits 0 to 1"),
        (lambda c: c.depolarising(0.1, 0.5), "whole-number qubits"),
        (lambda c: c.depolarising2(0.1, 1, 1), "2 different qubits"),
        (lambda c: c.depolarizing(0.1, 0), "did you mean 'depolarising'"),
        (lambda c: c.amplitude_dampening(0.1, 0), "did you mean 'amplitude_damping'"),
        (lambda c: c.channel("fade", 0.1, 0), "there is no channel 'fade'"),
        (lambda c: c.gate("bit_flip", 0.1, 0), "there is no gate 'bit_flip'"),
        (lambda c: c.amplitude_damping(1.2, 0), "takes gamma from 0 to 1, got gamma=1.2"),
        (lambda c: c.generalised_amplitude_damping(0.2, -0.5, 0), "takes excited from 0 to 1"),
        (lambda c: c.phase_damping(2, 0), "takes lam from 0 to 1"),
        (lambda c: c.reset(0, 1.5), "takes probability from 0 to 1"),
        (lambda c: c.reset(0, chance=0.5), "takes 1 qubit, probability=..., got 1 argument, chance"),
        (lambda c: c.reset(0, 0.5, probability=0.5), "probability=..."),
        (lambda c: c.thermal_relaxation(0, 1, 1, 0), "t1 above 0"),
        (lambda c: c.thermal_relaxation(1, 2.1, 1, 0), "t2 above 0 and at most 2 t1"),
        (lambda c: c.thermal_relaxation(1, 0, 1, 0), "t2 above 0"),
        (lambda c: c.thermal_relaxation(1, 1, -1, 0), "time of 0 or more"),
        (lambda c: c.thermal_relaxation(1, 1, 1, 0, 1.5), "excited from 0 to 1"),
        (lambda c: c.readout_error(0.6, 0.6, 0), r"p10 \+ p01 of 1 at most"),
        (lambda c: c.pauli_channel({}, 0), "takes a dictionary"),
        (lambda c: c.pauli_channel("X", 0), "takes a dictionary"),
        (lambda c: c.pauli_channel({"X": 0.6, "Y": 0.6}, 0), "got a sum 1.2"),
        (lambda c: c.pauli_channel({"X": T[0], "Y": -0.6}, 0), "got a probability -0.6"),
        (lambda c: c.pauli_channel({"XX": 0.1}, 0), "as many letters"),
        (lambda c: c.pauli_channel({"A": 0.1}, 0), "as many letters"),
        (lambda c: c.pauli_channel({"II": 0.1}, 0, 1), "the identity left out"),
        (lambda c: c.pauli_channel({"-X0": 0.1}), "without a sign"),
        (lambda c: c.pauli_channel({"X0": 0.1, "XI": 0.1}), "each string once"),
        (lambda c: c.pauli_channel({"X7": 0.1}), "qubit 7"),
        (lambda c: c.pauli_channel({3: 0.1}), "takes Pauli strings"),
        (lambda c: c.pauli_channel({"XX": 0.1}, 0, 0), "different qubits"),
        (lambda c: qpr.Circuit(9).pauli_channel({"X" * 9: 0.1}), "8 qubits at most"),
        (lambda c: qpr.Model(c.readout_error(0.1, 0.1, 0), "X0"), "not diagonal on its qubit"),
        (lambda c: qpr.Model(c.readout_error(0.1, 0.1, 0).h(0), "Z0"), "not diagonal on its qubit"),
        (lambda c: qpr.Model(c.readout_error(0.1, 0.1, 0).ry(T[0], 0), "Z1"), "not diagonal on its qubit"),
        (lambda c: qpr.Model(c.readout_error(0.1, 0.1, 0), "Z0").with_observables("Y0"), "not diagonal on its qubit"),
    ],
)
def test_a_channel_that_is_none_is_refused_and_leaves_the_circuit_as_it_was(wrong, says):
    circuit = qpr.Circuit(2)
    with pytest.raises(qpr.QupropError, match=says) as refused:
        wrong(circuit)
    assert "\n" not in str(refused.value)
    assert circuit.noiseless() == circuit or "diagonal" in says
    assert not circuit.vectors or "diagonal" in says


@pytest.mark.parametrize("name", ONE_STRENGTH)
@pytest.mark.parametrize("p", [-0.01, 1.01, 1e200])
def test_a_strength_at_a_point_that_is_no_probability_is_refused(name, p):
    circuit = qpr.Circuit(2, params=T).ry(T[0], 0)
    append(circuit, name, [T[1] * T[1] / T[1].terms[0][1]] if p > 1e100 else [T[1]], range(CHANNELS[name].n_qubits))
    model = qpr.Model(circuit, "Z0")
    theta = np.array([[0.3, 0.1], [0.3, p]])
    for ask in (qpr.expectation, qpr.value_and_grad, qpr.vjp, qpr.probabilities):
        with pytest.raises(qpr.QupropError, match=r"after rotation 1 of the model.* for sample 1"):
            ask(model, theta)
        ask(model, theta[0])


def test_strengths_at_their_limits_have_values_and_finite_derivatives_or_a_sentence():
    for p in (0.0, 1.0):
        for name in ONE_STRENGTH:
            circuit = append(qpr.Circuit(2, params=T).ry(0.4, 0), name, [T[0]], range(CHANNELS[name].n_qubits))
            model = qpr.Model(circuit, "Z0 + X0")
            assert_close(
                qpr.expectation(model, np.array([p, 0.0])),
                kraus.values(circuit, model.original_observables, [p, 0]).real,
                100,
            )
            if p == 1.0 and "damping" in name:
                with pytest.raises(qpr.QupropError, match="no derivative in"):
                    qpr.value_and_grad(model, np.array([p, 0.0]))
            else:
                assert np.isfinite(qpr.value_and_grad(model, np.array([p, 0.0]))[1]).all()
    fixed = qpr.Circuit(1, params=T).ry(T[0], 0).amplitude_damping(1.0, 0).reset(0, T[1])
    assert_close(qpr.value_and_grad(qpr.Model(fixed, "Z0"), np.array([0.3, 0.2]))[1], np.zeros(2), 100)


# What takes no noise ------------------------------------------------------------------------------------------------

NOISY = qpr.Circuit(2, params=T).ry(T[0], 0).cx(0, 1).depolarising(0.1, 0).rx(T[1], 1).amplitude_damping(0.2, 1)
MODEL = qpr.Model(NOISY, "Z0 Z1")
POINT = np.array([0.3, 0.4])
CAPABLE = ("auto", "density", "pauli", "trajectories")  # of values and gradients
WHOLE = ("auto", "density")  # of probabilities


def _method(name):
    for budget in ({}, {"precision": 0.1}, {"max_error": 0.1}):
        try:
            return qpr.METHODS[name](**budget)
        except (TypeError, qpr.QupropError):
            continue
    raise AssertionError(name)


REFUSING = {
    **{f"values of {e}": lambda e=e: qpr.expectation(MODEL, POINT, engine=e) for e in ENGINES if e not in CAPABLE},
    **{f"gradient of {e}": lambda e=e: qpr.value_and_grad(MODEL, POINT, engine=e) for e in ENGINES if e not in CAPABLE},
    **{f"vjp of {e}": lambda e=e: qpr.vjp(MODEL, POINT, engine=e)[1](np.ones(1)) for e in ENGINES if e not in CAPABLE},
    **{f"shares of {e}": lambda e=e: qpr.probabilities(MODEL, POINT, engine=e) for e in ENGINES if e not in WHOLE},
    **{f"state of {e}": lambda e=e: qpr.state(MODEL, POINT, engine=e) for e in ENGINES},
    **{f"hvp of {e}": lambda e=e: qpr.hvp(MODEL, POINT, v_theta=POINT, engine=e) for e in ENGINES},
    **{f"metric of {e}": lambda e=e: qpr.metric(MODEL, POINT, engine=e) for e in ENGINES},
    **{f"tensor of {e}": lambda e=e: qpr.geometric_tensor(MODEL, POINT, engine=e) for e in ENGINES},
    **{f"method {m}": lambda m=m: _method(m).compile(MODEL) for m in qpr.METHODS if qpr.METHODS[m].noise == "none"},
    **{f"cost of {m}": lambda m=m: qpr.FORMULAS[m](max_error=0.1).compile(MODEL) for m in qpr.FORMULAS},
    "states that are reached": lambda: qpr.expectation(MODEL, POINT, engine=qpr.NativeEngine(support=True)),
    "find_blocks": lambda: find_blocks(MODEL),
    "algebra": lambda: dynamical_lie_algebra(MODEL),
    "cut model": lambda: qpr.modules.cutting.cut(MODEL, max_qubits=1),
    "cut circuit": lambda: qpr.modules.cutting.cut(NOISY, "Z0 Z1", max_qubits=1),
    "compose": lambda: qpr.compose(MODEL, MODEL),
    "parallel": lambda: qpr.parallel(MODEL, MODEL.noiseless()),
    "qasm 3": lambda: to_qasm(NOISY),
    "qasm 2": lambda: to_qasm(NOISY, version=2, theta=POINT),
    "fidelity": lambda: qpr.train(MODEL, qpr.Fidelity(np.eye(4)[0]), steps=1, rng=0),
}


@pytest.mark.parametrize("what", REFUSING)
def test_what_takes_no_noise_refuses_it_in_one_sentence(what):
    with pytest.raises(qpr.QupropError, match=r"noise|mixed state|density engine|states?\b") as refused:
        REFUSING[what]()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("to", ["to_qiskit", "method", "forward_shots"])
def test_libraries_that_are_given_noise_without_a_form_for_it_say_so(to):
    pytest.importorskip("qiskit" if to == "to_qiskit" else "torch")
    with pytest.raises(qpr.QupropError, match="takes no noise"):
        if to == "to_qiskit":
            qpr.to_qiskit(NOISY)
        else:
            qpr.QuantumLayer(MODEL, **{to: qpr.ParameterShift(shots=10) if to == "method" else 10})


def test_a_drawing_of_a_circuit_shows_its_noise_and_one_of_a_list_says_that_it_does_not():
    circuit = NOISY.copy().pauli_channel({"XZ": 0.1, "IY": 0.2}, 0, 1)
    drawn = circuit_svg(circuit)
    for part in ("depolarising(0.1) 0", "amplitude_damping(0.2) 1", "pauli_channel(0.1, 0.2) X0 Z1, Y1"):
        assert part in drawn
    assert "3 channels of noise left out" in model_svg(qpr.Model(circuit, "Z0"))
    assert "channels" not in model_svg(MODEL.noiseless())


def test_a_training_run_of_a_noisy_model_descends():
    t = qpr.params("t", 2)
    model = qpr.Model(qpr.Circuit(2).ry(t[0], 0).cx(0, 1).depolarising(0.1, 1).ry(t[1], 1), "Z1")
    found = qpr.train(model, optimiser=qpr.LBFGS(), steps=60, rng=0)
    assert_close(found.loss, -(1 - 4 * 0.1 / 3), 1e8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_of_torch_differentiates_a_noisy_model(dtype):
    torch = pytest.importorskip("torch")
    layer = qpr.QuantumLayer(MODEL).to(getattr(torch, dtype))
    layer().sum().backward()
    theta = next(layer.parameters())
    value, gradient = qpr.value_and_grad(MODEL, theta.detach().numpy().astype(float).ravel())
    factor = 100 if dtype == "float64" else 1e9
    assert_close(layer().item(), value, factor)
    assert_close(theta.grad.numpy().astype(float).ravel(), gradient, factor)


def test_the_default_engine_takes_the_mixed_state_and_says_how_large_it_is():
    chosen = qpr.AutoEngine().choose(MODEL)
    assert chosen.engine.name == "density" and chosen.qubits == 4 and "mixed state" in chosen.why
    wide = qpr.Circuit(30, params=T).ry(T[0], 0).depolarising(0.1, 0)
    for ask in (qpr.expectation, qpr.value_and_grad, qpr.vjp, qpr.probabilities):
        for engine in WHOLE:
            with pytest.raises(qpr.QupropError, match=r"needs .* this machine has"):
                ask(qpr.Model(wide, "Z0"), POINT, engine=engine)
    with pytest.raises(qpr.QupropError, match='"double" only'):
        qpr.expectation(MODEL, POINT, engine="density", precision="single")
