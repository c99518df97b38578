"""What can be done at all: one rule for plans, comparisons, JSON and pages; times that are those of a training."""

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import quprop as qpr
from quprop.cost import Cost, fidelity_text
from quprop.errors import QupropError
from quprop.hardware_models import KEYS, PRESETS, HardwareModel, NoiseModel
from quprop.planning import classical, named_shape, plan_training, summary, timing
from quprop.planning.advice import MOST_PARAMETERS, resolution
from quprop.planning.costs import people
from quprop.planning.feasible import LEAST_FIDELITY, LONGEST, obstacles
from quprop.planning.structure import shape_of
from quprop.report import sources
from quprop.report.comparison import section as comparison_section
from quprop.report.parts import Table
from quprop.report.plans import section as plan_section
from quprop.sampling.shape import Wanted
from quprop.simulate import measure

YEAR = 365.25 * 86400
ROOT = Path(__file__).parents[1]
INFEASIBLE = {  # model, machine, precision, steps: what stands in the way of the nearest method
    ("hardware_efficient:100,50", "superconducting", 0.1, 1000): {"fidelity"},
    ("hardware_efficient:30,40", "neutral_atom", 0.1, 10): {"fidelity"},
    ("tfim_variational:20,20", "fault_tolerant", 0.01, 100): {"time"},
    ("hardware_efficient:30,2", "trapped_ion", 0.1, 10): {"qubits"},
    ("hardware_efficient:30,40", "trapped_ion", 0.1, 10): {"qubits", "fidelity"},
}


def planned(what, machine, precision, steps, **more):
    return plan_training(named_shape(what), precision=precision, steps=steps, hardware=machine, **more)


# -- the rule ----------------------------------------------------------------------------------------------------------


def test_the_rule_is_the_limits_by_hand():
    noise = NoiseModel(one_qubit=1e-3, two_qubit=1e-2, readout=0.1, t1=3.0, t2=2.0)
    machine = HardwareModel("by hand", 1e-3, measurement_seconds=0.5, qubits=5, noise=noise)
    left = 0.999**100 * 0.99**200 * 0.9 * math.exp(-(100 * 1e-3 + 0.5) / 2)
    cost = Cost(measurements=7, rotations=700, depth=100, qubits=5)
    assert math.exp(machine.log_fidelity(cost)) == pytest.approx(left, rel=1e-12)
    assert obstacles(cost, machine, 1.0) == () and left > LEAST_FIDELITY == 0.01
    assert pytest.approx(100 * YEAR) == LONGEST
    found = obstacles(replace(cost, depth=400, qubits=10, classical_bytes=2**42), machine, 300 * YEAR)
    factors = {o.kind: o.factor for o in found}
    lost = 400 * math.log(0.999) + 800 * math.log(0.99) + math.log(0.9) - 0.9 / 2
    expected = {"qubits": 2.0, "fidelity": lost / math.log(0.01), "time": 3.0, "memory": 4.0}
    assert factors == pytest.approx(expected, rel=1e-9)
    # A simulator has no qubits and no errors; a machine of which nothing is said has none either.
    assert {o.kind for o in obstacles(replace(cost, depth=10**9, qubits=99), machine, 1.0, simulated=True)} == set()
    assert obstacles(replace(cost, depth=10**9), replace(machine, noise=None), 1.0) == ()
    # Depths beyond all floats leave nothing, and nothing overflows.
    assert [o.kind for o in obstacles(replace(cost, depth=10**400), machine, 1.0)] == ["fidelity"]


def test_a_toffoli_of_a_run_is_a_gate_of_the_faster_kind():
    machine = HardwareModel("m", 1.0, toffoli_seconds=0.1, noise=NoiseModel(t1=1e3, t2=1e3))
    assert machine.log_fidelity(Cost(measurements=1, depth=10)) == pytest.approx(-10 / 1e3)
    assert machine.log_fidelity(Cost(measurements=1, depth=10, toffolis=5)) == pytest.approx(-1 / 1e3)


@pytest.mark.parametrize("case", INFEASIBLE)
def test_what_no_method_can_do_is_said_with_why_and_what_would_have_to_change(case):
    plan = planned(*case)
    assert not plan.feasible and not plan.as_dict()["feasible"]
    assert "nfeasible" in plan.advice and " use " not in plan.advice.split("Nearest")[1]
    name = re.search(r"Nearest is (\w+):", plan.advice)[1]
    nearest = next(r for r in plan.rows if r.name == name)
    assert {o.kind for o in nearest.obstacles} == INFEASIBLE[case]
    for obstacle in nearest.obstacles:
        assert obstacle.why in plan.advice and obstacle.mend in plan.advice and obstacle.factor > 1
    assert plan.machines[case[1]].keys() == {r.name for r in plan.rows if not r.simulated}
    assert set(plan.infeasible[case[1]][name]) == INFEASIBLE[case]


@pytest.mark.parametrize(
    "case",
    [("hardware_efficient:10,5", "superconducting", 0.1, 10), ("hardware_efficient:4,3", "trapped_ion", 0.1, 10)],
)
def test_what_can_be_done_is_recommended_with_its_fidelity_and_reach(case):
    plan = planned(*case)
    best = next(r for r in plan.rows if f"use {r.name}:" in plan.advice)
    assert plan.feasible and best.feasible and f"a fidelity of {fidelity_text(best.fidelity)}" in plan.advice
    assert f"feasible up to P = {plan.reaches:,}" in plan.advice


@pytest.mark.parametrize("machine", ["superconducting", "fault_tolerant"])
def test_a_plan_is_feasible_up_to_its_reach_and_not_beyond(machine):
    shape = named_shape("hardware_efficient:10,5")
    plan = plan_training(shape, precision=0.1, steps=100, hardware=machine)
    assert 0 < plan.reaches < MOST_PARAMETERS

    def feasible(parameters):
        return plan_training(shape.at(parameters), precision=0.1, steps=100, hardware=machine).feasible

    assert feasible(plan.reaches) and not feasible(math.ceil(1.003 * plan.reaches) + 10)
    free = plan_training(summary(4, 10), precision=1.0, hardware=HardwareModel("free", 0.0), flops=math.inf)
    assert free.reaches == MOST_PARAMETERS and "no P up to 1e15" in free.advice


def test_what_would_have_to_change_is_enough():
    case = ("hardware_efficient:100,50", "superconducting", 0.1, 1000)
    plan = planned(*case)
    (obstacle,) = next(r for r in plan.rows if r.name == "parameter_shift").obstacles
    machine, names = PRESETS["superconducting"], ["parameter_shift"]
    # Rates are small, so that a machine of errors so many times smaller keeps the least fidelity.
    better = replace(machine, noise=machine.noise.scaled(1 / (1.01 * obstacle.factor)))
    worse = replace(machine, noise=machine.noise.scaled(1 / (0.98 * obstacle.factor)))
    assert planned(case[0], better, 0.1, 1000, methods=names).feasible
    assert not planned(case[0], worse, 0.1, 1000, methods=names).feasible
    plan = planned("tfim_variational:10,10", "trapped_ion", 0.03, 200)
    looser = float(re.search(r"such as ([\d.e-]+)", plan.advice)[1])
    assert not plan.feasible and planned("tfim_variational:10,10", "trapped_ion", looser, 200).feasible
    assert not planned("tfim_variational:10,10", "trapped_ion", 0.9 * looser, 200).feasible


def test_the_carleman_loop_is_judged_by_the_same_rule():
    plan = classical.plan_network("mlp", 2410, precision=0.01, steps=10_000, hardware="superconducting")
    assert {o.kind for o in plan.obstacles} == {"fidelity", "time"} and "infeasible" in plan.advice
    assert plan.as_dict()["carleman_feasible"] is False
    fine = classical.plan_network("mlp", 2410, precision=0.5, steps=100, hardware=HardwareModel("fast", 1e-18))
    assert fine.obstacles == () and "infeasible" not in fine.advice


# -- one source of numbers ---------------------------------------------------------------------------------------------

PLANS = {
    "a model, feasible": ("tfim", "--precision", "0.05", "--steps", "200", "--hardware", "superconducting"),
    "described, infeasible": ("hardware_efficient:100,50", "--precision", "0.1", "--hardware", "superconducting"),
    "any size": ("--qubits", "300", "--parameters", "1e9", "--precision", "1e-4", "--steps", "1000"),
    "with data": ("breast-cancer", "--precision", "0.1", "--batch", "32", "--hardware", "trapped_ion"),
}
RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def plain(text):
    """A time of a page as the terminal writes it."""
    text = re.sub("×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "e" + m[1].translate(RAISED), text)
    return text.replace(" years", " y").replace(" days", " d")


def page_rows(section, file, caption):
    (source,), _ = sources.find(file)
    table = next(b for b in section(source).blocks if isinstance(b, Table) and b.caption.startswith(caption))
    return {row[0].replace(" ", "_"): dict(zip(table.columns, row, strict=True)) for row in table.rows}


@pytest.mark.parametrize("arguments", PLANS.values(), ids=PLANS)
def test_terminal_json_and_page_show_the_same_times(quprop_in_80_columns, tmp_path, arguments):
    out, _ = quprop_in_80_columns("plan", *arguments, "--json", tmp_path / "p.json")
    found = json.loads((tmp_path / "p.json").read_text())
    times = out.split("time on ")[1].split("\n\n")[0].splitlines()
    page = page_rows(plan_section, tmp_path / "p.json", "What it costs")
    marks = {o["kind"][0] for m in found["methods"].values() for o in m["obstacles"]}
    for name, method in found["methods"].items():
        assert method["gradient"] == method["seconds"] + method["classical_seconds"]
        training = method["gradient"] * found["steps"] * found["samples"]
        assert method["training"] == pytest.approx(training, rel=1e-12)
        gradient, training = (plain(people(method[k])) for k in ("gradient", "training"))
        line = next(row for row in times if row.startswith(f"{name} "))
        mark = " !" + "".join(o["kind"][0] for o in method["obstacles"]) if method["obstacles"] else ""
        assert re.match(rf"{name} +{re.escape(gradient)} +{re.escape(training + mark)} ", line)
        assert method["feasible"] == (mark == "")
        row = page[name]
        cells = [next(c for k, c in row.items() if k.startswith("a gradient on")), row["the training"]]
        assert [c.raw for c in cells] == [method["gradient"], method["training"]]
        assert [plain(c.text) for c in cells] == [gradient, training + mark[:2]]
        if "fidelity" in method:
            assert row["fidelity"].raw == method["fidelity"] and fidelity_text(method["fidelity"]) in line
    assert found["advice"] in " ".join(out.split()) and all(f" {m} " in out.split("!: infeasible")[1] for m in marks)
    (source,), _ = sources.find(tmp_path / "p.json")
    assert found["advice"] in str(plan_section(source).blocks)


def test_a_page_of_an_older_file_adds_the_classical_side():
    file = ROOT / "tests/corpus/report/plan.json"
    old = json.loads(file.read_text())["methods"]
    assert "gradient" not in old["adjoint"]
    for name, row in page_rows(plan_section, file, "What it costs").items():
        cell = row["a gradient on figure2"]
        assert cell.raw == old[name]["seconds"] + old[name]["classical_seconds"] > 0


def test_a_comparison_says_what_is_infeasible_everywhere(quprop_in_80_columns, tmp_path):
    names = "adjoint,parameter_shift,gentle_sweep"
    asked = ("compare", "tfim", "--set", "n=4", "--precision", "0.2", "--methods", names, "--run-limit", "0")
    out, _ = quprop_in_80_columns(*asked, "--hardware", "superconducting", "--json", tmp_path / "c.json")
    found = json.loads((tmp_path / "c.json").read_text())["methods"]
    assert [n for n in found if not found[n]["feasible"]] == ["gentle_sweep"]
    assert {o["kind"] for o in found["gentle_sweep"]["obstacles"]} == {"qubits", "fidelity"}
    page = page_rows(comparison_section, tmp_path / "c.json", "What comes out")
    for name in ("parameter_shift", "gentle_sweep"):
        assert page[name]["fidelity"].raw == found[name]["fidelity"]
        assert fidelity_text(found[name]["fidelity"]) in out
    assert "gentle_sweep: infeasible, needs" in " ".join(out.split())
    slow = qpr.compare(
        qpr.Model(qpr.ansatz.hardware_efficient(2, 1), "Z0 Z1"),
        precision=0.1,
        methods=["parameter_shift"],
        hardware=HardwareModel("slow", 1e9),
    )
    assert "A gradient is infeasible on slow. Nearest is parameter_shift: it takes" in slow.advice


# -- the precision against the gradient --------------------------------------------------------------------------------


def test_the_largest_component_is_told_whatever_is_run(quprop_in_80_columns, tmp_path):
    out, _ = quprop_in_80_columns(
        "compare", "tfim", "--precision", "0.1", "--run-limit", "0", "--json", tmp_path / "c.json"
    )
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["true"] == pytest.approx(8.97, abs=0.01) and "largest component 8.97" in " ".join(out.split())
    model = qpr.Model(qpr.ansatz.hardware_efficient(3, 2), "Z0 Z1")
    theta = np.linspace(-1, 1, model.n_params)
    exact = np.abs(qpr.gradient(model, theta).value).max()
    for methods in (["pair_state"], ["adjoint", "spsa"]):
        for limit in (0.0, 60.0):
            got = qpr.compare(model, precision=0.3, theta=theta, methods=methods, run_seconds=limit)
            assert got.true == pytest.approx(exact, rel=1e-12)


def test_a_gradient_that_takes_too_long_has_no_scale_rather_than_none(monkeypatch, quprop):
    from quprop.planning import compare as module

    monkeypatch.setattr(module, "simulation_seconds", lambda plan: 1e9)
    found = qpr.compare(qpr.Model(qpr.ansatz.hardware_efficient(2, 1), "Z0"), precision=0.1, methods=["spsa"])
    assert found.true is None and found.as_dict()["true"] is None and "noise" not in found.advice


@pytest.mark.parametrize(
    ("what", "precision", "noise"),
    [("breast-cancer", 0.01, True), ("breast-cancer", 0.0001, False), ("maxcut", 100.0, True), ("h2", 0.5, True)],
)
def test_a_precision_above_the_gradient_is_said_to_give_noise(quprop, tmp_path, what, precision, noise):
    only = ("--precision", str(precision), "--methods", "adjoint,parameter_shift", "--run-limit", "0")
    for command, extra in (("compare", ()), ("plan", ())):
        quprop(command, what, *only[:4], *(only[4:] if command == "compare" else ()), *extra, "--json", "f.json")
        found = json.loads((tmp_path / "f.json").read_text())
        largest = found["true"] if command == "compare" else found["shape"]["largest_component"]
        assert ("all estimates are noise" in found["advice"]) == noise == (0 < largest <= precision) or largest == 0
        if noise and largest:
            needed = float(re.search(r"takes a precision of ([\d.e-]+)\.", found["advice"])[1])
            assert 0.05 * largest < needed < 0.2 * largest


def test_what_is_resolved_is_what_is_larger_than_the_standard_error():
    assert resolution(0.1, 0.100001) == "" == resolution(0.1, None)
    assert "all estimates are noise" in resolution(0.1, 0.1)
    assert "nothing to estimate" in resolution(0.1, 0.0)


# -- the simulator's time ----------------------------------------------------------------------------------------------


def test_a_model_at_hand_is_timed_in_steps_of_its_batch(monkeypatch):
    """By a clock that goes 3 s a call: a step of 4 samples is a step, a sample a quarter of it."""
    now = iter(range(0, 10**6, 3))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(now))
    model, wanted = qpr.Model(qpr.ansatz.hardware_efficient(3, 2), "Z0 Z1"), Wanted("precision", 0.1)
    at = (np.zeros(model.n_params), np.zeros(0))
    shape = timing.timed(shape_of(model), model, wanted, at=at, samples=4)
    assert shape.timed == {"adjoint": 3.0}  # without inputs every sample is the same gradient
    x = qpr.inputs("x", 1)
    fed = qpr.Model(qpr.Circuit(1).ry(x[0], 0).rx(qpr.params("t", 1)[0], 0), "Z0")
    fed_shape = timing.timed(shape_of(fed), fed, wanted, at=(np.ones(1), np.ones(1)), samples=4)
    assert fed_shape.timed == {"adjoint": 0.75}
    assert fed_shape.largest == pytest.approx(math.cos(1) * math.sin(1))
    plan = plan_training(fed_shape, precision=0.1, samples=4, steps=5)
    rows = {r.name: r for r in plan.rows}
    assert (rows["adjoint"].gradient, rows["adjoint"].training, rows["adjoint"].basis) == (0.75, 15.0, "measured")
    assert plan_training(fed_shape, precision=0.1, flops=math.inf).rows[0].gradient == 0.0
    grown = plan_training(fed_shape.at(5), precision=0.1).rows[0]
    assert (grown.gradient, grown.basis) == (5 * 0.75, "model")


def test_a_simulated_method_that_was_not_timed_goes_with_what_was():
    shape, wanted = named_shape("hardware_efficient:4,3"), Wanted("precision", 0.1)
    law = timing.modelled("adjoint", shape, wanted)
    assert law == pytest.approx(timing.SWEEP + 24 * timing.ROTATION + 12 * 24 * 2**4 / (timing.BLOCKED * timing.FLOPS))
    seconds, basis = timing.seconds_of("shot_noise", replace(shape, timed={"adjoint": 3 * law}), wanted)
    assert basis == "model" and seconds == pytest.approx(3 * timing.modelled("shot_noise", shape, wanted))


def test_plans_were_measured_within_a_factor_of_two_of_training_steps():
    found = json.loads((ROOT / "benchmarks/results/plan.json").read_text())
    assert {r["problem"] for r in found["problems"]} >= {"h2", "lih", "h2o", "digits", "breast-cancer", "kicked-ising"}
    assert all(0.5 < row["ratio"] < 2 for row in found["problems"])
    assert all(0.5 < row["ratio"] < 2 for row in found["law"])


def test_a_model_wider_than_any_state_is_planned(quprop, tmp_path):
    quprop("plan", "kicked-ising", "--precision", "0.1", "--json", "k.json", "--quiet")
    found = json.loads((tmp_path / "k.json").read_text())
    assert found["methods"]["adjoint"]["basis"] == "measured" and found["shape"]["qubits"] == 127


# -- machines ----------------------------------------------------------------------------------------------------------


def test_every_key_of_a_machines_file_is_described():
    keys = [f.name for f in fields(HardwareModel) if f.name != "noise"]
    assert set(KEYS) == {*keys, *(f"noise.{f.name}" for f in fields(NoiseModel))}
    assert "KEYS" in (ROOT / "docs/plan.md").read_text(), "the page's table is made of them"


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: HardwareModel("m", -1.0), "rotation_seconds in machine 'm' must be a number of seconds, 0 or more"),
        (lambda: HardwareModel("m", 1.0, parallel=0), "parallel in machine 'm' must be a whole number, 1 or more"),
        (lambda: HardwareModel("m", 1.0, qubits=2.5), "qubits in machine 'm' must be a whole number, 1 or more"),
        (lambda: HardwareModel("m", 1.0, noise=0.1), "noise of machine 'm' is a NoiseModel of numbers or None"),
        (lambda: HardwareModel("m", 1.0, noise=NoiseModel(qpr.params("p", 1)[0])), "NoiseModel of numbers"),
    ],
)
def test_a_machine_that_is_none_is_refused(made, sentence):
    with pytest.raises(QupropError, match=re.escape(sentence)):
        made()


def test_machines_are_listed_with_times_errors_and_sources(quprop_in_80_columns, tmp_path):
    out, _ = quprop_in_80_columns("plan", "--machines", "--json", tmp_path / "m.json")
    text, found = " ".join(out.split()), json.loads((tmp_path / "m.json").read_text())
    for name, machine in PRESETS.items():
        assert f"{name}: {machine.summary}" in text and machine.source in text
        assert found[name]["rotation_seconds"] == machine.rotation_seconds
    for command in (("plan", "tfim"), ("compare", "tfim", "--methods", "adjoint")):
        out, _ = quprop_in_80_columns(*command, "--set", "n=3", "--precision", "0.1")
        assert "Machine figure2: 1 ms a rotation" in out and "no device" in " ".join(out.split())
