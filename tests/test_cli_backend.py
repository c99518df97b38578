"""`--backend`: what is told of a device before anything is run there, and trainings on it."""

import json
import re
import sys

import numpy as np
import pytest

import quprop as qpr
from quprop.cli.models import load
from quprop.gradients import METHODS
from quprop.planning.on_device import plan_on_device
from quprop.sampling.devices.device import Limits
from quprop.sampling.devices.own import OwnDevice

SMALL = ["tfim", "--set", "n=3,layers=1"]


def planned(quprop, tmp_path, *arguments):
    quprop("plan", *arguments, "--json", "plan.json", "--quiet")
    return json.loads((tmp_path / "plan.json").read_text())


def test_a_plan_on_a_device_has_the_shots_and_rotations_of_the_methods_own_plans(quprop, tmp_path):
    found = planned(quprop, tmp_path, *SMALL, "--backend", "quprop", "--precision", "0.3")
    model, point = load("tfim", ["n=3,layers=1"], 0)
    assert {"parameter_shift", "hadamard_test", "pair_state"} <= found["methods"].keys()
    assert {*found["methods"], *found["refused"]} == {*METHODS, "amplitude_estimation"}
    for name, row in found["methods"].items():
        cost = METHODS[name](precision=0.3).compile(model, at=(point["theta"], np.zeros(0))).cost
        assert (row["shots"], row["rotations"]) == (cost.measurements, cost.rotations), name
        assert row["cost"] == cost.as_dict()


def test_every_method_with_circuits_is_counted_on_a_model_that_all_serve():
    """Strings on one state: shadows, Bell sampling and commuting blocks too."""
    theta = qpr.params("theta", 3)
    circuit = qpr.Circuit(2).h(0).h(1).rzz(theta[0], 0, 1).rz(theta[1], 0).rz(theta[2], 1)
    model = qpr.Model(circuit, "X0 X1 + Y0")
    found = plan_on_device(model, "quprop", shots=40)
    for row in found.rows:
        cost = METHODS[row.name](shots=40).compile(model).cost
        assert (row.gradient.shots, row.gradient.rotations) == (cost.measurements, cost.rotations), row.name
    assert {"classical_shadows", "commuting_blocks", "pair_state"} <= {row.name for row in found.rows}
    assert "rounds" in found.refused["bell_sampling"] and "many copies" in found.refused["gentle_sweep"]


def test_methods_that_draw_too_many_circuits_say_so():
    model = qpr.Model(qpr.ansatz.hardware_efficient(3, 1), "Z0 Z1")
    found = plan_on_device(model, "quprop", precision=0.01, methods=["forward_gradient", "clifford_shadows"])
    assert not found.rows and all("not made to be counted" in why for why in found.refused.values())


def test_the_jobs_of_a_plan_are_those_that_a_training_executes(tmp_path):
    """Of a device whose jobs are small; outputs are read beside the gradients and once at the end."""
    model = qpr.Model(qpr.ansatz.hardware_efficient(2, 1), "Z0 Z1 + 0.5 * X0")
    device = OwnDevice(limits=Limits(circuits=7, executions=300))
    found = plan_on_device(model, device, shots=20, methods=["parameter_shift"], steps=3, value_shots=50)
    told = found.rows[0].training
    theta = np.linspace(0.1, 1.3, model.n_params)
    run = qpr.train(model, method=qpr.ParameterShift(shots=20), backend=device, value_shots=50, steps=3, params=theta)
    executed = {k: run.device[k] for k in ("jobs", "circuits", "shots", "rotations")}
    assert executed == {k: getattr(told, k) for k in executed}
    assert told.jobs > 3 * 2


def test_two_qubit_gates_are_those_of_every_shot():
    """RY and RZ are no two-qubit gates, each entangling pair is: counted by hand on quprop's own gates."""
    circuit = qpr.Circuit(2).ry(qpr.params("theta", 1)[0], 0).rzz(0.3, 0, 1).ry(0.2, 1)
    row = plan_on_device(qpr.Model(circuit, "Z0 Z1"), "quprop", shots=11, methods=["parameter_shift"]).rows[0]
    assert (row.gates.two_qubit_gates, row.gates.executed_two_qubit_gates, row.gradient.shots) == (2, 2 * 22, 22)


def test_a_batch_takes_as_many_circuits_as_it_has_samples(quprop, tmp_path):
    one, many = (
        planned(
            quprop, tmp_path, "breast-cancer", "--set", "layers=1", "--backend", "quprop", "--shots", "10", "--steps",
            "4", "--batch", batch, "--method", "parameter_shift",
        )["methods"]["parameter_shift"]
        for batch in ("1", "5")
    )  # fmt: skip
    assert many["shots"] == one["shots"] and many["training"]["shots"] == 5 * one["training"]["shots"]
    assert many["training"]["jobs"] == one["training"]["jobs"] == 5


def test_the_table_fits_80_columns_and_names_every_method(quprop_in_80_columns):
    stdout, _ = quprop_in_80_columns("plan", *SMALL, "--backend", "quprop", "--shots", "100", "--steps", "20")
    assert all(re.search(rf"\b{name}\b", stdout) for name in METHODS)


def test_a_plan_on_a_fake_backend_tells_its_gates_depth_and_seconds(quprop, tmp_path):
    pytest.importorskip("qiskit_aer")
    pytest.importorskip("qiskit_ibm_runtime")
    only = ("--shots", "100", "--method", "parameter_shift")
    fake = planned(quprop, tmp_path, *SMALL, "--backend", "fake_manila", *only)
    own = planned(quprop, tmp_path, *SMALL, "--backend", "quprop", *only)
    fake, own = (found["methods"]["parameter_shift"] for found in (fake, own))
    assert fake["shots"] == own["shots"] and fake["circuits"] == own["circuits"]
    assert fake["two_qubit_gates"] > own["two_qubit_gates"]  # a ring on a chain of qubits
    assert "seconds" not in own and fake["seconds"] > 100e-6 * fake["shots"]  # a pause after each shot


REFUSED = {
    "unknown": (["plan", *SMALL, "--backend", "qupropp", "--shots", "10"], "did you mean 'quprop'?"),
    "unknown method": (
        ["plan", *SMALL, "--backend", "quprop", "--shots", "10", "--method", "pair"],
        "did you mean 'pair_state'?",
    ),
    "described": (["plan", "pauli_list:4,9", "--backend", "quprop", "--shots", "10"], "a model that is built"),
    "network": (["plan", "mlp", "--backend", "quprop", "--shots", "10"], "a model that is built"),
    "no model": (["plan", "--backend", "quprop", "--shots", "10"], "got no model"),
    "formulas": (
        ["plan", *SMALL, "--backend", "quprop", "--shots", "10", "--hardware", "ours.toml"],
        "--hardware belongs to formulas",
    ),
    "two budgets": (["plan", *SMALL, "--backend", "quprop", "--shots", "10", "--precision", "1"], "give one of"),
    "shots alone": (["plan", *SMALL, "--shots", "10"], "--backend"),
    "noise": (["plan", *SMALL, "--set", "noise=superconducting", "--backend", "quprop", "--shots", "9"], "noiseless"),
    "no function": (["plan", *SMALL, "--backend", "nowhere:device", "--shots", "9"], "names no function of yours"),
}


@pytest.mark.parametrize("arguments, said", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(quprop, arguments, said):
    _, stderr = quprop(*arguments, status=2)
    assert stderr.startswith("quprop: ") and stderr.count("\n") == 1 and said in stderr


def test_a_backend_that_is_too_small_is_refused(quprop):
    pytest.importorskip("qiskit_aer")
    pytest.importorskip("qiskit_ibm_runtime")
    _, stderr = quprop("plan", "tfim", "--set", "n=8", "--backend", "fake_manila", "--shots", "9", status=2)
    assert "5 qubits" in stderr and "8" in stderr and stderr.count("\n") == 1


TINY = ["tfim", "--set", "n=3,layers=1,steps=6", "--method", "parameter_shift", "--shots", "50", "--out", "run"]
ON_QUPROP = [*TINY, "--backend", "quprop", "--set", "value_shots=300"]


def trained(quprop, tmp_path, *arguments, status=0):
    stdout, stderr = quprop("train", *arguments, "--json", "result.json", status=status)
    return json.loads((tmp_path / "result.json").read_text()), stdout + stderr


def test_a_training_on_a_device_descends_and_tells_what_it_planned_executed_and_paid(quprop, tmp_path):
    found, text = trained(quprop, tmp_path, *ON_QUPROP)
    model, point = load("tfim", ["n=3,layers=1"], 0)
    start = float(qpr.expectation(model, point["theta"])[0])
    theta = np.load(tmp_path / "run" / "checkpoint.npz")["params/theta"]
    assert found["exact_loss"] == pytest.approx(float(qpr.expectation(model, theta)[0]), abs=1e-12)
    assert found["exact_loss"] < start - 0.2 and found["status"] == "finished" and "engine" not in found
    device, shift = found["device"], qpr.ParameterShift(shots=50).compile(model).cost.measurements
    groups = 2  # ZZ together, X together
    assert device["shots"] == 6 * (shift + groups * 300) + groups * 300
    assert device["planned"] == device["paid"] == {k: device[k] for k in ("jobs", "circuits", "shots", "rotations")}
    assert abs(found["loss"] - found["exact_loss"]) < 5 * device["loss_stderr"]
    assert found["config"]["train"]["optimiser"] == "adam"
    for word in ("planned", "executed", "paid", "exact at these parameters", f"{device['shots']:,}"):
        assert word in text, word


def test_methods_train_without_a_device_from_simulated_shots(quprop, tmp_path):
    found, text = trained(quprop, tmp_path, *SMALL, "--set", "method=pair_state", "--set", "shots=100,steps=5")
    model, _ = load("tfim", ["n=3,layers=1"], 0)
    assert found["cost"]["measurements"] == 5 * qpr.PairState(shots=100).compile(model).cost.measurements
    assert "device" not in found and "executed" in text and "by parameter shift" not in text


def test_a_budget_stops_a_run_which_a_larger_one_continues_to_the_same_parameters(quprop, tmp_path):
    whole, _ = trained(quprop, tmp_path, *ON_QUPROP[:-4], "--out", "whole", *ON_QUPROP[-4:])
    budget = 3 * whole["device"]["shots"] // 6
    part, text = trained(quprop, tmp_path, *ON_QUPROP, "--budget-shots", str(budget))
    assert part["status"] == "stopped" and 0 < part["steps"] < 6 and part["device"]["paid"]["shots"] <= budget
    assert "Stopped after step" in text and "--resume" in text and "exact loss" in text
    rest, _ = trained(quprop, tmp_path, "tfim", "--out", "run", "--resume", "--budget-shots", "1000000")
    assert rest["status"] == "finished" and rest["device"]["paid"] == whole["device"]["paid"]
    first, second = (np.load(tmp_path / name / "checkpoint.npz")["params/theta"] for name in ("whole", "run"))
    assert np.array_equal(first, second) and rest["loss"] == whole["loss"]


def test_a_training_that_is_resumed_pays_for_nothing_twice(quprop, tmp_path):
    """An earlier checkpoint is put back, as where a process was killed before it wrote the last ones."""
    trained(quprop, tmp_path, *ON_QUPROP, "--budget-shots", "3000")
    folder = tmp_path / "run"
    early, paid = (folder / "checkpoint.npz").read_bytes(), (folder / "jobs.jsonl").read_bytes()
    whole, _ = trained(quprop, tmp_path, "tfim", "--out", "run", "--resume", "--budget-shots", "1000000")
    (folder / "checkpoint.npz").write_bytes(early)
    lines = (folder / "jobs.jsonl").read_bytes()
    again, _ = trained(quprop, tmp_path, "tfim", "--out", "run", "--resume", "--budget-shots", "1000000")
    assert len(lines) > len(paid) and (folder / "jobs.jsonl").read_bytes() == lines
    assert again["device"]["paid"] == whole["device"]["paid"] and again["loss"] == whole["loss"]


def test_settings_of_a_method_and_a_backend_may_stand_in_a_file(quprop, tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[problem]\nname = "tfim"\nn = 3\n[model]\nlayers = 1\n'
        '[train]\nmethod = "parameter_shift"\nshots = 20\nbackend = "quprop"\nvalue_shots = 30\nsteps = 2\n'
    )
    found, _ = trained(quprop, tmp_path, "mine.toml")
    assert (found["method"], found["backend"], found["steps"]) == ("parameter_shift", "quprop", 2)


def test_a_training_on_a_fake_backend_shows_the_bias_that_noise_leaves(quprop, tmp_path):
    pytest.importorskip("qiskit_aer")
    pytest.importorskip("qiskit_ibm_runtime")
    small = [*SMALL, "--set", "steps=2,value_shots=4000", "--method", "parameter_shift", "--shots", "50"]
    small += ["--backend", "fake_manila"]
    found, text = trained(quprop, tmp_path, *small)
    device = found["device"]
    assert device["seconds"] > 100e-6 * device["shots"] and "time of the machine" in text
    assert found["loss"] - found["exact_loss"] > 3 * device["loss_stderr"]  # the noise lifts the energy
    mended, _ = trained(quprop, tmp_path, *small, "--mitigation", "both", "--out", "mended")
    left = mended["loss"] - mended["exact_loss"]
    assert abs(left) < max(0.5 * (found["loss"] - found["exact_loss"]), 4 * mended["device"]["loss_stderr"])
    assert mended["device"]["shots"] > found["device"]["shots"]


PRICED = """
from quprop.sampling.devices.own import OwnDevice

class Priced(OwnDevice):
    def price(self, work):
        return sum(0.3 * len(w.shots) + 0.001 * int(w.shots.sum()) for w in work)

def device():
    return Priced(name="paid")
"""


def test_a_device_of_ones_own_has_a_price_which_is_told_and_kept(quprop, tmp_path):
    (tmp_path / "priced_device.py").write_text(PRICED)
    here = ["--backend", "priced_device:device"]
    only = ["--method", "parameter_shift", "--shots", "50", "--value-shots", "300", "--steps", "6"]
    told = planned(quprop, tmp_path, *SMALL, *here, *only)["methods"]["parameter_shift"]
    assert told["dollars"] == pytest.approx(0.3 * told["circuits"] + 0.001 * told["shots"])
    found, text = trained(quprop, tmp_path, *TINY, *here, "--set", "value_shots=300")
    spent = found["device"]["dollars"]
    assert spent == pytest.approx(0.3 * found["device"]["circuits"] + 0.001 * found["device"]["shots"])
    assert spent == pytest.approx(told["training"]["dollars"]) and f"{spent:,.2f}" in text
    assert {k: found["device"][k] for k in ("jobs", "circuits", "shots")} == {
        k: told["training"][k] for k in ("jobs", "circuits", "shots")
    }
    budget = ["--budget-dollars", str(spent / 2), "--out", "cheap"]
    part, _ = trained(quprop, tmp_path, *TINY[:-2], *budget, *here, "--set", "value_shots=300")
    assert part["status"] == "stopped" and spent / 3 < part["device"]["paid"]["dollars"] <= spent / 2


NOT_TRAINED = {
    "unknown": ([*TINY, "--backend", "qupro"], "did you mean 'quprop'?"),
    "no method": ([*SMALL, "--backend", "quprop"], "method=parameter_shift"),
    "no shots": ([*SMALL, "--backend", "quprop", "--method", "pair_state"], "set shots=1000"),
    "unknown method": ([*SMALL, "--method", "pair", "--shots", "3"], "did you mean 'pair_state'?"),
    "less than a gradient": ([*ON_QUPROP, "--budget-shots", "700"], "more than the budget holds"),
    "no price": ([*ON_QUPROP, "--budget-dollars", "1"], "dollars"),
    "mitigation of nothing": ([*TINY, "--mitigation", "both"], "name a backend"),
    "no backend": ([*TINY, "--budget-shots", "10000"], "name a backend"),
    "L-BFGS": ([*TINY, "--set", "optimiser=lbfgs"], "L-BFGS"),
    "metric": ([*ON_QUPROP, "--set", "optimiser=natural_gradient"], "optimiser=adam"),
    "two noises": ([*ON_QUPROP, "--noise", "superconducting"], "leave out one"),
    "not a list of circuits": ([*SMALL, "--method", "gentle_sweep", "--shots", "9", "--backend", "quprop"], "circuits"),
    "samples": (["blobs", "--method", "pair_state", "--shots", "9"], "unknown key 'method'"),
}


@pytest.mark.parametrize("arguments, said", NOT_TRAINED.values(), ids=NOT_TRAINED)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(quprop, tmp_path, arguments, said):
    _, stderr = quprop("train", *arguments, status=2)
    assert stderr.startswith("quprop: ") and stderr.count("\n") == 1 and said in stderr
    assert not (tmp_path / "run").exists() and not (tmp_path / "runs").exists()


def test_a_machine_that_is_too_small_trains_nothing(quprop, tmp_path):
    pytest.importorskip("qiskit_aer")
    pytest.importorskip("qiskit_ibm_runtime")
    _, stderr = quprop("train", *TINY, "--set", "n=8", "--backend", "fake_manila", status=2)
    assert "5 qubits" in stderr and stderr.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name, package", [("aer", "qiskit"), ("braket", "braket"), ("pennylane:default.qubit", "pennylane")]
)
def test_a_library_that_is_missing_is_named_with_what_installs_it(quprop, monkeypatch, name, package):
    for module in [m for m in sys.modules if m.split(".")[0] == package or m.startswith("quprop.hybrid.devices.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    _, stderr = quprop("plan", *SMALL, "--backend", name, "--shots", "9", status=2)
    assert "pip install" in stderr and stderr.count("\n") == 1


def test_a_scan_refuses_a_method_that_it_would_not_use(quprop):
    _, stderr = quprop("scan", "tfim", "--over", "h=0.5,1", "--set", "method=pair_state,shots=10", status=2)
    assert "exact gradients" in stderr


def test_the_page_of_a_run_on_a_device_has_what_was_planned_executed_and_paid(quprop, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    found, _ = trained(quprop, tmp_path, *ON_QUPROP[:2], "n=3,layers=1,steps=1", *ON_QUPROP[3:])
    quprop("report", "run", "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    for word in ("What the device was asked for", "paid", "exact loss of the parameters found"):
        assert word in page
    assert f"{found['device']['shots']:,}" in page
