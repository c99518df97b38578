"""Where the noise of a machine goes: circuits with its errors, methods that measure them, training and plans."""

import json

import kraus
import numpy as np
import pytest
from cases import random_circuit
from tolerances import assert_close

import quprop as qpr
from quprop.cost import PRESETS, noise_of
from quprop.errors import QupropError
from quprop.problems.run import configure, find
from quprop.report import sources
from quprop.report.training import section

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


@pytest.mark.parametrize("name", ["digits", "breast-cancer", "h2", "tfim", "ising-2d", "maxcut", "kicked-ising"])
def test_every_problem_takes_noise(name):
    problem = configured(name, "trapped_ion")
    assert problem.model.channels and problem.circuit.channels
    clean = find(name).build(configure(name))
    assert not clean.model.channels and problem.model.noiseless() == clean.model


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("kicked-ising", "--noise", "superconducting"), "mixed state of 127 qubits"),
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
