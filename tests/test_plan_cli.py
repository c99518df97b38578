"""`quprop plan` as a person runs it: tables, files, sentences, and its time."""

import json
import os
import re
import subprocess
import sys

import pytest

import quprop as qpr
from quprop.cost import short
from quprop.gradients import METHODS
from quprop.model import ansatz
from quprop.planning.costs import tidy
from quprop.report.sources import recognise

MODELS = {
    "named problem": ["tfim", "--set", "n=4", "--precision", "0.05", "--steps", "200", "--hardware", "superconducting"],
    "with data": ["breast-cancer", "--precision", "0.1", "--steps", "10", "--batch", "32"],
    "circuit by sizes": ["hardware_efficient:100,50", "--max-error", "0.1", "--steps", "1000"],
    "grown": ["tfim", "--parameters", "1e6", "--precision", "0.1", "--hardware", "trapped_ion"],
    "summary": ["--qubits", "10000", "--parameters", "1e9", "--precision", "1e-6", "--hardware", "fault_tolerant"],
    "blocks and terms": [
        *("--qubits", "50", "--parameters", "5000", "--terms", "80", "--norm", "30"),
        *("--sets", "10", "--blocks", "10", "--precision", "1"),
    ],
    "network": ["mlp", "--parameters", "1e9", "--precision", "0.01", "--steps", "1000"],
    "network, few entries": ["resnet-422-4", "--precision", "0.01", "--steps", "1000", "--entries", "1000"],
    "classical side free": ["--qubits", "100", "--parameters", "1e6", "--precision", "0.1", "--flops", "inf"],
    "figure 2": ["--preset", "figure2"],
    "talk": ["--preset", "talk"],
}


@pytest.mark.parametrize("arguments", MODELS.values(), ids=MODELS)
def test_a_plan_fits_80_columns_and_its_json_holds_what_is_printed(quprop_in_80_columns, tmp_path, arguments):
    stdout, _ = quprop_in_80_columns("plan", *arguments, "--json", "plan.json")
    found = json.loads((tmp_path / "plan.json").read_text())
    assert stdout.strip() and "Traceback" not in stdout
    if "advice" in found:
        assert " ".join(stdout.split()).endswith(" ".join(found["advice"].split()))
        assert found["advice"].endswith(".") and "\n" not in found["advice"]
    for name, row in found.get("methods", {}).items():
        assert re.search(rf"^{name} ", stdout, re.M)
        assert row["basis"] in found["bases"]


def test_a_plan_names_every_method_or_says_why_it_does_not_serve(quprop, tmp_path):
    quprop("plan", "tfim", "--set", "n=4", "--precision", "0.1", "--json", "plan.json", "--quiet")
    found = json.loads((tmp_path / "plan.json").read_text())
    assert {*found["methods"], *found["refused"]} == {*METHODS, "amplitude_estimation"}


def test_a_saved_model_is_planned_like_its_circuit_by_sizes(quprop, tmp_path):
    qpr.Model(ansatz.hardware_efficient(4, 3), "Z0 Z1").save(tmp_path / "model.json")
    only = ("--precision", "0.1", "--method", "parameter_shift,pair_state,gentle_sweep")
    costs = []
    for what in ("model.json", "hardware_efficient:4,3"):
        quprop("plan", what, *only, "--json", "plan.json", "--quiet")
        methods = json.loads((tmp_path / "plan.json").read_text())["methods"]
        costs.append({name: row["cost"] for name, row in methods.items()})
    assert costs[0] == costs[1] and len(costs[0]) == 3
    out, _ = quprop("plan", "hardware_efficient:4,3", *only)
    assert f"Toffolis: gentle_sweep {tidy(short(costs[0]['gentle_sweep']['toffolis']))}." in out
    assert json.loads((tmp_path / "plan.json").read_text())["rivalry"] in " ".join(out.split())


@pytest.mark.parametrize("what", [["hardware_efficient:20,10"], ["mlp"], ["--qubits", "300", "--parameters", "1e12"]])
def test_the_figure_is_a_png(quprop, tmp_path, what):
    quprop("plan", *what, "--precision", "0.1", "--plot", "plan.png", "--quiet")
    data = (tmp_path / "plan.png").read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 20_000


def test_figure_2_is_drawn(quprop, tmp_path):
    quprop("plan", "--preset", "figure2", "--figure", "figure2.png", "--quiet")
    assert (tmp_path / "figure2.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_three_doors_to_figure_2_hold_the_same_numbers(quprop, tmp_path):
    """And the report knows each, and those that do not name their kind, for what it is."""
    quprop("plan", "--preset", "figure2", "--json", "plan.json", "--plot", "plan.png", "--quiet")
    quprop("scaling", "--figure2", "--constants", "--json", "scaling.json", "--plot", "scaling.png", "--quiet")
    quprop("reproduce", "figure2", "--out", ".", "--quiet")
    plan, scaling, claim = (json.loads((tmp_path / f"{f}.json").read_text()) for f in ("plan", "scaling", "figure2"))
    assert plan == scaling and plan == {k: claim[k] for k in plan} | {k: plan[k] for k in ("kind", "source")}
    pictures = {(tmp_path / f"{f}.png").read_bytes() for f in ("plan", "scaling", "figure2")}
    assert len(pictures) == 1
    for found, kind in ((plan, "figure2"), (claim, "experiment")):
        assert recognise(found) == found["kind"] == kind
    bare = {k: plan[k] for k in ("seconds_per_primitive", "parameters", "constants", "break_even")}
    assert recognise(bare) == "figure2" and recognise({k: v for k, v in plan.items() if k != "kind"}) == "plan"


def test_qubits_of_figure_2_are_refused_where_there_are_none(quprop):
    assert "constants need qubits >= 1" in quprop("plan", "--preset", "figure2", "--qubits", "0", status=2)[1]


def test_check_shows_counted_over_formula(quprop_in_80_columns, tmp_path):
    stdout, _ = quprop_in_80_columns("plan", "--check", "--method", "parameter_shift,pair_state", "--json", "c.json")
    rows = json.loads((tmp_path / "c.json").read_text())
    assert len(rows) == 12 and all(row["ratio"] == 1 for row in rows) and "1.0000" in stdout


def test_quiet_prints_nothing(quprop):
    assert quprop("plan", "tfim", "--precision", "0.1", "--quiet") == ("", "")


BAD = {
    "tfim": "give one of --precision E and --max-error E",
    "tfim --precision 0.1 --max-error 0.1": "give one of --precision E and --max-error E",
    "tfim --precision 0": "precision must be a positive number, got 0.0",
    "tfim --precision -1": "precision must be a positive number",
    "tfim --precision nan": "precision must be a positive number",
    "tfim --precision 0.1 --failure 0": "failure must be a probability",
    "tfim --precision 0.1 --hardware supercondcting": "did you mean 'superconducting'?",
    "tfim --precision 0.1 --method spas": "did you mean 'spsa'?",
    "tfim --precision 0.1 --method carleman": "plan one by its name, as in quprop plan mlp",
    "tfim --precision 0.1 --qubits 4": "leave MODEL out, or them",
    "tfm --precision 0.1": "did you mean 'tfim'?",
    "hardware_eficient:3,4 --precision 0.1": "did you mean 'hardware_efficient'?",
    "hardware_efficient:3,4 --precision 0.1 --set n=3": "this circuit has none",
    "--qubits 3 --precision 0.1": "give a MODEL, or both of --qubits n and --parameters P",
    "--qubits 3 --parameters 2.5 --precision 0.1": "--parameters must be a whole number",
    "--qubits 3 --parameters 2 --precision 0.1 --set n=3": "--set changes the settings of a problem",
    "--preset figure3": "unknown preset 'figure3': did you mean 'figure2'?",
    "--preset talk --plot x.png": "without a figure",
    "--preset talk --check": "stand alone",
    "--check --plot x.png": "without a figure",
    "--machines --plot x.png": "without a figure",
    "tfim --machines": "stand alone",
    "--preset figure2 --precision 0.1": "figure2 takes --max-error",
    "mlp --precision 0.1 --method spsa": "mlp is a network",
    "tfim --precision 0.1 --entries 5": "belong to networks",
    "mlp --max-error 0.1": "planned with --precision E",
    "mlp --precision 0.1 --hardware foo": "unknown hardware 'foo'",
    "tfim --precision 0.1 --plot nowhere/x.png": "there is no folder",
    "tfim --precision 0.1 --json nowhere/x.json": "there is no folder",
    "tfim --precision 0.1 --physical qubit_gate_ns_e5": "did you mean",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_gets_one_sentence_and_status_2(quprop, arguments):
    stdout, stderr = quprop("plan", *arguments.split(), status=2)
    assert stdout == "" and BAD[arguments] in stderr and stderr.count("\n") == 1 and stderr.startswith("quprop: ")


def test_without_qdk_the_sentence_says_how_to_get_it(quprop, monkeypatch):
    monkeypatch.setitem(sys.modules, "qdk.estimator", None)
    _, stderr = quprop("plan", "tfim", "--precision", "0.1", "--physical", "qubit_gate_ns_e3", status=2)
    assert "pip install 'qdk>=" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("what", ["--qubits 10000 --parameters 1e9", "hardware_efficient:10000,50000", "tfim"])
def test_a_plan_of_any_size_takes_less_than_three_seconds_of_this_processor(what):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "quprop.cli", "plan", *what.split(), "--precision", "1e-6", "--steps", "1000"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
