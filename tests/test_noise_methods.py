"""Where the noise of a machine goes: circuits with its errors, methods that measure them, training and plans."""

import json
from dataclasses import replace

import kraus
import numpy as np
import pytest
from cases import random_circuit
from tolerances import assert_close

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import Adjoint
from quprop.gradients.pair_state import find_frames
from quprop.gradients.random_components import RandomComponents
from quprop.hardware_models import PRESETS, noise_of
from quprop.model.channels import CHANNELS
from quprop.planning.named import named_shape
from quprop.planning.structure import shape_of
from quprop.planning.training import plan_training
from quprop.problems.run import configure, find
from quprop.report import sources
from quprop.report.comparison import section as comparison_section
from quprop.report.plans import section as plan_section
from quprop.report.training import section
from quprop.sampling.shape import Wanted

NOISE = qpr.NoiseModel(one_qubit=0.004, two_qubit=0.03, readout=0.02)


# Circuits with the errors of a machine --------------------------------------------------------------------------------


def test_each_gate_is_followed_by_errors_on_its_qubits():
    theta = qpr.params("t", 2)
    plain = qpr.Circuit(3).h(0).cx(0, 1).ry(theta[0], 2).rzz(theta[1], 2, 0).swap(1, 2).t(1)
    by_hand = qpr.Circuit(3).h(0).depolarising(0.004, 0).cx(0, 1).depolarising2(0.03, 0, 1)
    by_hand.ry(theta[0], 2).depolarising(0.004, 2).rzz(theta[1], 2, 0).depolarising(0.004, 0)
    for gates, pair in ((2, (2, 0)), (3, (1, 2))):
        if gates == 3:
            by_hand.swap(1, 2)
        for _ in range(gates):
            by_hand.depolarising2(0.03, *pair)
    by_hand.t(1).depolarising(0.004, 1)
    for q in range(3):
        by_hand.readout_error(0.02, 0.02, q)
    observables = ["Z0 Z1", "Z2 + 0.5 Z0 Z1 Z2"]
    noisy = plain.with_noise(NOISE)
    assert NOISE.apply(plain) == noisy
    point = [0.4, -1.1]
    assert_close(
        qpr.expectation(qpr.Model(noisy, observables), point),
        kraus.values(by_hand, qpr.Model(by_hand, observables).original_observables, point).real,
        1e3,
    )


def test_a_rotation_of_w_letters_counts_2_w_minus_2_two_qubit_gates_along_its_qubits():
    a = qpr.params("t", 2)
    plain = qpr.Circuit(4).rotation("Y0 X1 Z3", a[0]).exp({"Z0": 0.3, "X1 X2": -0.7}, a[1])
    by_hand = qpr.Circuit(4).rotation("Y0 X1 Z3", a[0]).depolarising(0.004, 3)
    for pair in ((0, 1), (1, 3), (0, 1), (1, 3)):
        by_hand.depolarising2(0.03, *pair)
    by_hand.rotation("Z0", 0.3 * a[1]).depolarising(0.004, 0).rotation("X1 X2", -0.7 * a[1]).depolarising(0.004, 2)
    by_hand.depolarising2(0.03, 1, 2).depolarising2(0.03, 1, 2)
    sums = [{"X0": 1.0, "Z1 Z3": 0.4}, "Y1 Z2 X3"]
    noise = qpr.NoiseModel(0.004, 0.03)
    found = qpr.expectation(qpr.Model(plain.with_noise(noise), sums), [0.8, 0.5])
    observables = qpr.Model(by_hand, sums).original_observables
    assert_close(found, kraus.values(by_hand, observables, [0.8, 0.5]).real, 1e3)


@pytest.mark.parametrize("seed", range(4))
def test_misread_bits_weaken_a_string_by_1_minus_2p_for_each_letter_and_flip_bits(seed):
    rng = np.random.default_rng(seed)
    plain, p = random_circuit(seed, 3, 8), 0.07
    theta, x = rng.uniform(-3, 3, plain.n_params), rng.uniform(0.1, 1, plain.n_inputs)
    strings = ["X0", "Y0 Z2", "X0 Y1 Z2", "Z1"]
    clean, noisy = (qpr.Model(c, strings) for c in (plain, plain.with_noise(qpr.NoiseModel(readout=p))))
    left = (1 - 2 * p) ** np.array([1, 2, 3, 1])
    assert_close(qpr.expectation(noisy, theta, x), left * qpr.expectation(clean, theta, x), 1e3)
    flip = np.array([[1 - p, p], [p, 1 - p]])
    misread = np.kron(flip, np.kron(flip, flip)) @ qpr.probabilities(clean, theta, x)
    assert_close(qpr.probabilities(noisy, theta, x), misread, 1e3)


def test_qubits_that_wait_relax():
    noise = qpr.NoiseModel(t1=50.0, t2=70.0, one_qubit_seconds=1.0, two_qubit_seconds=3.0)
    plain = qpr.Circuit(3).h(0).h(1).h(2).cx(0, 1).x(2).cz(1, 2)
    by_hand = qpr.Circuit(3).h(0).h(1).h(2).cx(0, 1).x(2).thermal_relaxation(50, 70, 2, 2).cz(1, 2)
    by_hand.thermal_relaxation(50, 70, 3, 0)  # from 4 to 7
    observables = qpr.Model(by_hand, ["X0 Z1", "Z2", "Z0", "X1 X2"]).original_observables
    found = qpr.expectation(qpr.Model(plain.with_noise(noise), observables), [])
    assert_close(found, kraus.values(by_hand, observables, []).real, 1e3)
    assert noise.apply(qpr.Circuit(2).h(0).h(1).cx(0, 1)) == qpr.Circuit(2).h(0).h(1).cx(0, 1)


@pytest.mark.parametrize("name", ["superconducting", "trapped_ion", "neutral_atom"])
def test_the_errors_of_a_preset_have_the_fidelities_of_its_source(name):
    published = {"superconducting": (2.5e-4, 3e-3), "trapped_ion": (5e-4, 4e-3), "neutral_atom": (9.8e-4, 5e-3)}
    noise = qpr.hardware(name).noise
    for d, r, channel, p in zip(
        (2, 4), published[name], ("depolarising", "depolarising2"), (noise.one_qubit, noise.two_qubit), strict=True
    ):
        process = sum(w * abs(np.trace(k)) ** 2 for w, k, _ in kraus.KRAUS[channel](p)) / d**2
        assert 1 - (d * process + 1) / (d + 1) == pytest.approx(r, rel=1e-9)


def test_strengths_may_be_parameters():
    a, p = qpr.params("t", 1), qpr.params("p", 3)
    circuit = qpr.Circuit(2).ry(a[0], 0).rotation("X0 Z1", 0.6).with_noise(qpr.NoiseModel(p[0], p[1], p[2]))
    model = qpr.Model(circuit, "Z0")
    point = np.array([0.7, 0.01, 0.05, 0.03])
    _, gradient = qpr.value_and_grad(model, point)
    steps = 1e-5 * np.eye(4)
    observables = model.original_observables
    slopes = [
        (kraus.values(circuit, observables, point + s) - kraus.values(circuit, observables, point - s)) for s in steps
    ]
    np.testing.assert_allclose(gradient, np.real(slopes)[:, 0] / 2e-5, atol=1e-9)


def test_noise_has_a_name_a_factor_and_a_file(tmp_path):
    whole = noise_of("superconducting")
    assert whole is PRESETS["superconducting"].noise is noise_of(qpr.hardware("superconducting")) and whole.t1 == 150e-6
    tenth = noise_of("superconducting:0.1")
    assert tenth.two_qubit == pytest.approx(whole.two_qubit / 10) and tenth.t2 == pytest.approx(10 * whole.t2)
    assert noise_of("superconducting:0").t1 is None
    file = tmp_path / "ours.toml"
    file.write_text("rotation_seconds = 1e-6\n[noise]\ntwo_qubit = 0.004\nt1 = 1e-4\nt2 = 5e-5\n")
    assert noise_of(str(file)) == qpr.NoiseModel(two_qubit=0.004, t1=1e-4, t2=5e-5)
    circuit = qpr.Circuit(2).h(0).cx(0, 1)
    assert circuit.with_noise("trapped_ion").channels and circuit.with_noise("trapped_ion").noiseless() == circuit
    assert circuit.with_noise("superconducting:0") == circuit


@pytest.mark.parametrize(
    "make",
    [
        lambda: qpr.NoiseModel(one_qubit=0.8),
        lambda: qpr.NoiseModel(two_qubit=-1e-3),
        lambda: qpr.NoiseModel(readout=0.6),
        lambda: qpr.NoiseModel(two_qubit=float("nan")),
        lambda: qpr.NoiseModel(one_qubit=True),
        lambda: qpr.NoiseModel(t1=1.0),
        lambda: qpr.NoiseModel(t1=1.0, t2=2.5),
        lambda: qpr.NoiseModel(one_qubit_seconds=-1),
        lambda: qpr.Circuit(1).h(0).with_noise("figure2"),
        lambda: qpr.Circuit(1).h(0).with_noise("superconducting:much"),
        lambda: qpr.Circuit(1).h(0).with_noise("superconducting:1000"),
        lambda: qpr.Circuit(1).h(0).with_noise("supercondacting"),
        lambda: qpr.Circuit(1).h(0).with_noise(0.01),
        lambda: qpr.Circuit(1).h(0).with_noise(qpr.NoiseModel(one_qubit=object())),
    ],
)
def test_noise_that_is_none_is_refused_in_one_sentence(make):
    with pytest.raises(QupropError) as refusal:
        make()
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) > 30


@pytest.mark.parametrize(
    "text", ["noise = 3\n", "[noise]\ntwo_qbit = 0.1\n", "[noise]\ntwo_qubit = '1'\n", "[noise]\ntwo_qubit = 2\n"]
)
def test_a_file_with_other_noise_is_refused(tmp_path, text):
    file = tmp_path / "ours.toml"
    file.write_text("rotation_seconds = 1e-6\n" + text)
    with pytest.raises(QupropError, match="noise"):
        qpr.hardware(file)


# Training -------------------------------------------------------------------------------------------------------------


def configured(name, noise, **sections):
    return find(name).build(configure(name, {**sections, "train": {"noise": noise}}))


def test_training_on_a_noisy_machine_gives_the_energy_of_its_mixed_state(quprop, tmp_path):
    out = tmp_path / "run"
    told, _ = quprop(
        "train", "tfim", "--set", "n=3,layers=2,steps=8", "--noise", "superconducting:3", "--out", str(out)
    )
    summary = json.loads((out / "summary.json").read_text())
    with np.load(out / "checkpoint.npz") as saved:
        theta = saved["params/theta"]
    problem = configured("tfim", "superconducting:3", problem={"n": 3}, model={"layers": 2})
    assert summary["noise"] == "superconducting:3" and summary["channels"] == len(problem.model.channels) > 0
    exact = kraus.values(problem.circuit, problem.model.original_observables, theta).real[0]
    assert summary["energy"] == pytest.approx(exact, abs=1e-10)
    clean = kraus.values(problem.circuit.noiseless(), problem.model.original_observables, theta).real[0]
    assert summary["noiseless_loss"] == pytest.approx(clean, abs=1e-10)
    assert summary["energy"] > summary["noiseless_loss"] >= summary["reference_energy"] - 1e-9
    assert "superconducting:3" in told and "without it the same parameters have energy" in " ".join(told.split())
    assert {"noise of the machine", "channels", "loss without noise"} <= set(report_rows(out))
    refused = quprop("train", "tfim", "--resume", "--out", str(out), "--noise", "superconducting", status=2)[1]
    assert "started with train.noise = 'superconducting:3'" in refused


def report_rows(out):
    (source,), _ = sources.find(out)
    (table,) = [b for b in section(source).blocks if getattr(b, "caption", "") == "Result"]
    return [row[0] for row in table.rows]


def test_test_metrics_are_those_of_the_noisy_machine(quprop, tmp_path):
    out, noise = tmp_path / "run", tmp_path / "bad.toml"
    noise.write_text("rotation_seconds = 1e-6\n[noise]\none_qubit = 0.2\ntwo_qubit = 0.3\nreadout = 0.1\n")
    changes = "qubits=2,layers=1,epochs=1,batch_size=200"
    quprop("train", "breast-cancer", "--set", changes, "--noise", str(noise), "--out", str(out))
    summary = json.loads((out / "summary.json").read_text())
    problem = configured("breast-cancer", str(noise), model={"qubits": 2, "layers": 1})
    with np.load(out / "checkpoint.npz") as saved:
        theta, scale, bias = (saved[f"params/{k}"] for k in ("theta", "scale", "bias"))
    x, y = problem.test
    for model, key in ((problem.model, "test_loss"), (problem.model.noiseless(), "noiseless_test_loss")):
        logits = scale * qpr.expectation(model, theta, x) + bias
        loss = np.mean(np.logaddexp(0, np.where(y == 1, -1, 1) * logits[:, 0]))
        assert summary[key] == pytest.approx(loss, rel=1e-9)
    assert summary["test_loss"] != pytest.approx(summary["noiseless_test_loss"], rel=1e-3)


@pytest.mark.parametrize("engine", ["density", "pauli", "trajectories"])
def test_noisy_training_runs_on_every_engine_that_carries_noise(quprop, tmp_path, engine):
    changes = f"n=2,layers=1,optimiser=sgd,learning_rate=1e-9,steps=1,engine={engine}"
    quprop("train", "tfim", "--set", changes, "--noise", "neutral_atom", "--out", tmp_path / "run", "--quiet")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    with np.load(tmp_path / "run" / "checkpoint.npz") as saved:
        theta = saved["params/theta"]
    problem = configured("tfim", "neutral_atom", problem={"n": 2}, model={"layers": 1})
    exact = qpr.expectation(problem.model, theta)[0]
    assert summary["engine"].startswith(engine)
    assert summary["energy"] == pytest.approx(exact, abs=0.05 if engine == "trajectories" else 1e-6)
    clean = qpr.expectation(problem.model.noiseless(), theta)[0]
    assert summary["noiseless_loss"] == pytest.approx(clean, abs=1e-6)


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "h2", "tfim", "ising-2d", "maxcut", "kicked-ising"])
def test_every_problem_takes_noise(name):
    problem = configured(name, "trapped_ion")
    assert problem.model.channels and problem.circuit.channels
    clean = find(name).build(configure(name))
    assert not clean.model.channels and problem.model.noiseless() == clean.model


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("kicked-ising", "--noise", "superconducting"), 'engine="trajectories" or "pauli"'),
        (("tfim", "--noise", "figure2"), "nothing is known of the errors of figure2"),
        (("tfim", "--noise", "supercondacting"), "did you mean 'superconducting'"),
        (("tfim", "--set", "n=4,engine=native", "--noise", "superconducting"), "takes no noise"),
        (("tfim", "--set", "n=4,optimiser=natural_gradient", "--noise", "superconducting"), "takes no noise"),
    ],
)
def test_noise_that_nothing_serves_is_refused_before_a_run_folder_is_made(quprop, tmp_path, arguments, why):
    out = tmp_path / "run"
    refused = quprop("train", *arguments, "--out", str(out), status=2)[1]
    assert why in refused and refused.count("\n") == 1 and not out.exists()


# Methods that measure -------------------------------------------------------------------------------------------------

UNBIASED = {
    "adjoint": qpr.Adjoint(),
    "parameter_shift": qpr.ParameterShift(shots=60),
    "parameter_shift, general": qpr.ParameterShift(shots=60, rule="general"),
    "parameter_shift, sampled": qpr.ParameterShift(shots=60, grouping="sampled"),
    "parameter_shift, adaptive": qpr.ParameterShift(shots=60, adaptive=True),
    "hadamard_test": qpr.HadamardTest(shots=60),
    "random_components": RandomComponents(total_shots=900),
    "forward_gradient": qpr.ForwardGradient(shots=4, directions=20),
    "spsa": qpr.SPSA(shots=4, directions=20, step=0.05),
    "finite_difference": qpr.FiniteDifference(shots=60, step=0.3),
    "shot_noise": qpr.ShotNoise(shots=60),
    "shot_noise of a test": qpr.ShotNoise(protocol=qpr.FiniteDifference(shots=60, step=0.3)),
}
BIASED = {
    "pair_state": qpr.PairState(shots=60),
    "hadamard_test, reversed": qpr.HadamardTest(shots=60, mode="reversed"),
    "commuting_blocks": qpr.CommutingBlocks(shots=60),
}
NAMES = ["X0", "Y1", "Z0 Z1", "X1 Y2", "Z2", "Y0 X2"]


def noisy_model(seed, n=3, rotations=7):
    """(model, theta): rotations, Clifford gates and channels with numbers for strengths, a parameter used twice."""
    rng = np.random.default_rng([seed, 3])
    theta = qpr.params("t", 4)
    circuit = qpr.Circuit(n, state=rng.normal(size=(n, 2)), params=theta)
    channels = [c for c, noise in CHANNELS.items() if noise.n_qubits == 1 and c not in ("readout_error", "reset")]
    for k in range(rotations):
        string = NAMES[rng.integers(len(NAMES))]
        circuit.rotation(string, float(rng.choice([1.0, -0.5, 2.0])) * theta[k % 4] + float(rng.normal()))
        a, b = map(int, rng.permutation(n)[:2])
        circuit.gate(*[("h", a), ("cx", a, b), ("s", b)][rng.integers(3)])
        name = channels[rng.integers(len(channels))]
        times = name == "thermal_relaxation"
        given = [2.0, 3.0, 0.4] if times else rng.uniform(0.05, 0.2, len(CHANNELS[name].strengths))
        circuit.channel(name, *map(float, given), a).depolarising2(0.06, a, b)
    circuit = circuit.with_noise(qpr.NoiseModel(readout=0.03))
    model = qpr.Model(circuit, ["X0 Z1 + 0.7 Z2", "0.5 Y0 - Z0 Z1"])
    return model, rng.uniform(-np.pi, np.pi, 4)


WEIGHTS = np.array([1.0, -0.6])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "method",
    [qpr.ParameterShift(shots=1), qpr.ParameterShift(shots=1, rule="general"), qpr.HadamardTest(shots=1)],
    ids=["shift", "general shift", "hadamard"],
)
def test_shifts_and_hadamard_tests_are_the_exact_gradient_of_the_noisy_model_on_average(method, seed):
    model, theta = noisy_model(seed)
    _, exact = qpr.value_and_grad(model, theta, weights=WEIGHTS)
    plan = method.compile(model, WEIGHTS, at=(theta, None))
    assert plan.unbiased
    assert_close(plan.expected(theta), exact, 1e4)
    _, other = qpr.value_and_grad(model.noiseless(), theta, weights=WEIGHTS)
    assert np.abs(other - exact).max() > 0.02


def test_the_general_rule_moves_rotations_together_between_channels_and_never_across_them():
    t = qpr.params("t", 1)
    strings = ["X0 X1", "Y0 Y1", "Z0 Z1"]  # dependent: XX YY = -ZZ
    together, apart = qpr.Circuit(2, "01").ry(0.4, 0), qpr.Circuit(2, "01").ry(0.4, 0)
    for string in strings:
        together.rotation(string, t[0])
        apart.rotation(string, t[0]).amplitude_damping(0.2, 0)
    together.amplitude_damping(0.2, 0)
    for circuit, runs in ((together, 2), (apart, 6)):
        model = qpr.Model(circuit, "Z0")
        plan = qpr.ParameterShift(shots=1, rule="general").compile(model)
        assert plan.info["circuits"] == runs
        assert_close(plan.expected([0.3]), qpr.value_and_grad(model, [0.3])[1], 1e4)


@pytest.mark.parametrize("name", UNBIASED)
def test_estimates_of_noisy_gradients_scatter_about_them_as_they_say_and_cost_what_is_planned(name):
    model, theta = noisy_model(1)
    plan = UNBIASED[name].compile(model, WEIGHTS, at=(theta, None))
    _, exact = qpr.value_and_grad(model, theta, weights=WEIGHTS)
    rng, repeats = np.random.default_rng(5), 60
    found = [plan.estimate(theta, rng=rng) for _ in range(repeats)]
    values, errors = np.array([e.value for e in found]), np.array([e.stderr for e in found])
    if name == "adjoint":
        assert_close(values[0], exact, 1e4)
        return
    of_mean = np.sqrt((errors**2).mean(axis=0) / repeats)
    bias = np.broadcast_to(getattr(plan, "bias", 0.0), exact.shape)
    if hasattr(plan, "expected"):
        off = plan.expected(theta) - exact
        assert np.all(np.abs(off) <= bias + 1e-9)
        exact, bias = exact + off, np.zeros(4)
    assert np.all(np.abs(values.mean(axis=0) - exact) <= bias + 5 * of_mean)
    if np.all(bias < 0.1 * of_mean):
        chi2 = (((values - exact) / np.sqrt((errors**2).mean(axis=0))) ** 2).sum()
        count = values.size
        assert abs(chi2 - count) < 6 * np.sqrt(2 * count)
    for e in found[:5]:
        assert replace(e.cost, classical_ops=0) == replace(plan.cost, classical_ops=0)


@pytest.mark.parametrize("name", BIASED)
def test_methods_that_noise_biases_say_so_and_scatter_about_what_they_expect(name):
    model, theta = blocks_model() if name == "commuting_blocks" else noisy_model(2)
    w = WEIGHTS[: model.n_observables]
    plan = BIASED[name].compile(model, w, at=(theta, None))
    assert not plan.unbiased and "biased" in plan.info["noise"]
    clean = BIASED[name].compile(model.noiseless(), w, at=(theta, None))
    assert clean.unbiased and "noise" not in clean.info and clean.cost == plan.cost
    rng, repeats = np.random.default_rng(6), 60
    found = [plan.estimate(theta, rng=rng) for _ in range(repeats)]
    values, errors = np.array([e.value for e in found]), np.array([e.stderr for e in found])
    expected, (_, exact) = plan.expected(theta), qpr.value_and_grad(model, theta, weights=w)
    assert np.abs(expected - exact).max() > 0.01
    assert np.all(np.abs(values.mean(axis=0) - expected) <= 5 * np.sqrt((errors**2).mean(axis=0) / repeats) + 1e-12)
    assert all(e.cost == plan.cost for e in found)


def blocks_model(noise=0.05):
    t = qpr.params("t", 6)
    circuit = qpr.Circuit(3).ry(0.5, 0).ry(0.9, 1).ry(-0.4, 2)
    for k, string in enumerate(["Z0", "Z1", "Z0 Z2", "X0 X1", "X1 X2", "X0 X2"]):
        circuit.rotation(string, t[k])
        if noise:
            circuit.depolarising(noise, k % 3).amplitude_damping(noise, (k + 1) % 3)
    return qpr.Model(circuit, "Z0 Z1"), np.array([0.3, -0.5, 0.7, 1.1, -0.2, 0.6])


@pytest.mark.parametrize("name", BIASED)
def test_noise_before_all_rotations_biases_no_method(name):
    t = qpr.params("t", 6)
    circuit = qpr.Circuit(3).h(0).cx(0, 2).h(1).amplitude_damping(0.3, 1).depolarising(0.1, 0).bit_flip(0.2, 2)
    for k, string in enumerate(["Z0", "Z1", "Z0 Z2", "X0 X1", "X1 X2", "X0 X2"]):
        circuit.rotation(string, t[k])
    model = qpr.Model(circuit, "Z0 Z1 + 0.4 Y1")
    theta = [0.3, -0.5, 0.7, 1.1, -0.2, 0.6]
    assert {c.place for c in model.channels} == {0}
    _, exact = qpr.value_and_grad(model, theta)
    assert np.abs(exact).max() > 0.05
    assert_close(BIASED[name].compile(model).expected(theta), exact, 1e4)


@pytest.mark.parametrize("name", ["pair_state", "hadamard_test, reversed"])
def test_what_is_undone_suffers_its_noise_again(name):
    t, term = qpr.params("t", 5), "Z0 X1"
    strings = ["X0", "Y0 Z1", "Z1", "X0 X1", "Y1"]
    channels = [
        ("depolarising", 0.1, 0),
        ("amplitude_damping", 0.2, 1),
        ("bit_flip", 0.1, 1),
        (),
        ("phase_flip", 0.2, 0),
    ]
    plain, theta = qpr.Circuit(2).depolarising(0.05, 1), np.array([0.4, 1.0, -0.6, 0.8, 0.3])

    def add(circuit, m, angle):
        circuit.rotation(strings[m], angle)
        if channels[m]:
            circuit.channel(*channels[m])

    for m in range(5):
        add(plain, m, t[m])
    model = qpr.Model(plain, term)
    places = {m: m + 1 for m in range(5)}
    if name == "pair_state":
        places = {m: f.place for f in find_frames(model) for m in f.members}
        assert len(set(places.values())) < 5
    exact = []
    for m in range(5):
        program = qpr.Circuit(3).depolarising(0.05, 1).h(2)
        for k in range(5):
            add(program, k, t[k])
        program.cz(2, 0).cx(2, 1)
        for k in reversed(range(places[m], 5)):
            add(program, k, -t[k])
        read = qpr.PauliSum(f"{strings[m]} Y2")
        exact.append(-kraus.values(program, [read], theta).real[0])
    assert_close(BIASED[name].compile(model).expected(theta), np.array(exact), 1e4)


@pytest.mark.parametrize("name", [m for m in qpr.METHODS if qpr.METHODS[m].noise != "any"])
def test_a_method_that_cannot_carry_a_model_s_noise_says_so_before_it_starts(name):
    t = qpr.params("t", 2)
    method = qpr.METHODS[name].wanting(Wanted("max_error", 0.1, 0.01), 2)
    wide = qpr.Model(qpr.Circuit(30).ry(t[0], 0).bit_flip(0.1, 29), "Z0")
    trained = qpr.Model(qpr.Circuit(2).ry(t[0], 0).bit_flip(t[1], 0), "Z0")
    for model, says in ((trained, f"{name} (moves angles|takes no noise)"), (wide, "of 30 qubits|takes no noise")):
        with pytest.raises(QupropError, match=says) as refusal:
            method.compile(model)
        assert "\n" not in str(refusal.value)


def test_a_bit_that_is_misread_in_the_middle_of_a_derived_circuit_is_refused():
    t = qpr.params("t", 2)
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0).rx(t[1], 0).readout_error(0.1, 0.02, 0), "Z0")
    for method in (qpr.PairState(shots=9), qpr.HadamardTest(shots=9, mode="reversed")):
        with pytest.raises(QupropError, match="readout_error"):
            method.compile(model)
    plan = qpr.ParameterShift(shots=9).compile(model)
    assert_close(plan.expected([0.3, 0.4]), qpr.value_and_grad(model, [0.3, 0.4])[1], 1e4)


# Comparisons ----------------------------------------------------------------------------------------------------------


def test_a_comparison_shows_the_bias_against_the_noisy_gradient_and_against_the_one_without_noise():
    model, theta = blocks_model()
    names = ["adjoint", "parameter_shift", "pair_state", "commuting_blocks", "finite_difference", "spsa"]
    found = qpr.compare(model, precision=0.03, methods=[*names, "bell_sampling"], theta=theta, run_seconds=20)
    rows = {row.name: row for row in found.rows}
    _, noisy = qpr.value_and_grad(model, theta)
    _, clean = qpr.value_and_grad(model.noiseless(), theta)
    assert found.true == pytest.approx(np.abs(noisy).max(), rel=1e-9)
    for name in ("adjoint", "parameter_shift"):
        assert rows[name].bias == 0 and rows[name].unbiased
        assert rows[name].noise_bias == pytest.approx(np.abs(noisy - clean).max(), rel=1e-9)
    for name, method in (("pair_state", qpr.PairState(shots=1)), ("commuting_blocks", qpr.CommutingBlocks(shots=1))):
        mean = method.compile(model).expected(theta)
        assert rows[name].bias == pytest.approx(np.abs(mean - noisy).max(), rel=1e-9) and not rows[name].unbiased
        assert rows[name].noise_bias == pytest.approx(np.abs(mean - clean).max(), rel=1e-9)
        assert rows[name].bias > found.precision and name not in found.advice
    assert 0 < rows["finite_difference"].bias < 0.05
    assert rows["spsa"].bias is None and "takes no noise" in found.refused["bell_sampling"]
    assert "bias" in str(rows["pair_state"]) and found.as_dict()["methods"]["pair_state"]["bias"] > 0
    plain = qpr.compare(model.noiseless(), precision=0.1, methods=["parameter_shift"], theta=theta)
    assert plain.rows[0].bias is None and "bias" not in str(plain.rows[0])


def test_the_printed_comparison_of_a_noisy_problem_tells_both_biases(quprop_in_80_columns, tmp_path):
    methods = ("--methods", "adjoint,parameter_shift,pair_state", "--precision", "0.2")
    noise, file = ("--set", "n=2,layers=1,noise=superconducting"), tmp_path / "c.json"
    out, _ = quprop_in_80_columns("compare", "tfim", *noise, *methods, "--json", file)
    for words in (
        "what noise does to it",
        "from noiseless",
        "the mean estimate against the exact gradient of the noisy",
    ):
        assert words in " ".join(out.split())
    (source,), _ = sources.find(file)
    assert any(getattr(b, "caption", "") == "What noise does to it" for b in comparison_section(source).blocks)
    out, _ = quprop_in_80_columns("compare", "tfim", "--set", "n=2,layers=1", *methods)
    assert "noiseless" not in out


# Plans ----------------------------------------------------------------------------------------------------------------


def test_the_fidelity_of_a_plan_is_that_of_the_gates_readout_and_wait_of_the_longest_run():
    machine = qpr.hardware("superconducting")
    shape = shape_of(qpr.Model(qpr.ansatz.hardware_efficient(4, 3), "Z0 Z1"))
    plan = plan_training(shape, precision=0.05, hardware=machine)
    rows = {row.name: row for row in plan.rows}
    M, (p1, p2, readout, t2) = shape.rotations, (1.5 * 2.5e-4, 1.25 * 3e-3, 1e-2, 100e-6)
    for name, depth in (("parameter_shift", M), ("pair_state", rows["pair_state"].cost.depth)):
        gates = ((1 - p1) * (1 - p2) ** 2) ** depth
        waits = np.exp(-(depth * (2 * 68e-9 + 32e-9) + 1.5e-6) / t2)
        assert rows[name].fidelity == pytest.approx(gates * (1 - readout) * waits, rel=1e-12)
    assert rows["pair_state"].cost.depth > M and rows["adjoint"].fidelity is None
    # An average run of pair_state is shorter than its longest, of which the fidelity is told.
    average = rows["pair_state"].cost.rotations / rows["pair_state"].cost.measurements
    assert average < rows["pair_state"].cost.depth
    assert plan.noise == (
        "The errors of superconducting leave 0.64 of the signal in the longest run of pair_state, which more shots do "
        "not mend."
    )
    assert plan.as_dict()["methods"]["pair_state"]["fidelity"] == rows["pair_state"].fidelity
    quiet = plan_training(shape, precision=0.05, hardware="figure2")
    assert quiet.noise == "" and "noise" not in quiet.as_dict() and quiet.rows[-1].fidelity is None


def test_the_fidelity_of_a_noisy_model_is_that_no_channel_of_its_own_errs():
    t = qpr.params("t", 2)
    circuit = qpr.Circuit(2).ry(t[0], 0).depolarising(0.1, 0).rotation("X0 Z1", t[1]).amplitude_damping(0.3, 1)
    circuit.depolarising2(0.2, 0, 1)
    kept = np.prod(
        [
            sum(w * abs(np.trace(k)) ** 2 for w, k, _ in kraus.KRAUS[name](p)) / 4**q
            for name, p, q in (("depolarising", 0.1, 1), ("amplitude_damping", 0.3, 1), ("depolarising2", 0.2, 2))
        ]
    )
    model = qpr.Model(circuit, "Z0")
    shape = shape_of(model)
    for machine in ("figure2", "superconducting"):  # its own, not the machine's besides
        plan = plan_training(shape, precision=0.05, hardware=machine)
        rows = {row.name: row for row in plan.rows}
        assert rows["parameter_shift"].fidelity == pytest.approx(kept, rel=1e-9)
        assert plan.noise.startswith("The model's noise leaves") and "takes no noise" in plan.refused["gentle_sweep"]
    assert Adjoint.formula(shape, Wanted("precision", 0.1)) == Adjoint().compile(model).cost
    trained = qpr.Model(qpr.Circuit(1).ry(t[0], 0).bit_flip(t[1], 0), "Z0")
    with pytest.raises(QupropError, match="say at="):
        shape_of(trained)
    assert shape_of(trained, at=([0.3, 0.2], None)).survival == pytest.approx(0.8)


def test_a_plan_says_where_noise_swamps_the_gradient(quprop_in_80_columns, tmp_path):
    deep = named_shape("hardware_efficient:20,50")
    plan = plan_training(deep, precision=0.1, hardware="trapped_ion")
    largest = max(row.fidelity for row in plan.rows if row.fidelity is not None)
    assert largest < 0.1 and "noise swamps the gradient" in plan.noise and "\n" not in plan.noise
    asked, file = ("plan", "hardware_efficient:20,50", "--precision", "0.1"), tmp_path / "p.json"
    out, _ = quprop_in_80_columns(*asked, "--hardware", "trapped_ion", "--json", file)
    assert "noise swamps the gradient" in " ".join(out.split()) and "fidelity" in out
    (source,), _ = sources.find(file)
    assert "noise swamps the gradient" in str(plan_section(source).blocks)
    out, _ = quprop_in_80_columns("plan", "tfim", "--set", "n=3,noise=superconducting", "--precision", "0.1")
    assert "The model's noise leaves" in " ".join(out.split())
    out, _ = quprop_in_80_columns(*asked)
    assert "fidelity" not in out
