"""`--backend`: what is told of a device before anything is run there, and trainings on it."""

import json
import re

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
