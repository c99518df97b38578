"""One gradient by every method at equal precision: the counts, the errors, and what the command prints."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, values_for

import quprop as qpr
from quprop.cli.methods import listing, summary
from quprop.cost import Cost, short
from quprop.errors import QupropError
from quprop.gradients import FORMULAS, METHODS
from quprop.hardware_models import HardwareModel
from quprop.model import ansatz
from quprop.planning.compare import compare, median_of_max, simulation_seconds, value_cost
from quprop.planning.costs import rivalry, tidy
from quprop.problems import PROBLEMS
from quprop.runs.executor import Workers
from quprop.sampling.budget import Budget

BOTH = ["adjoint", "parameter_shift"]


@pytest.fixture(scope="module")
def model():
    return qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1")


@pytest.fixture
def quprop(quprop_in_80_columns):
    return quprop_in_80_columns


def row(found, name):
    (one,) = [r for r in found.rows if r.name == name]
    return one


def test_a_simulator_that_was_not_timed_is_advised_without_a_ratio():
    model = qpr.Model(qpr.ansatz.hardware_efficient(2, 1), "Z0")
    found = compare(model, precision=0.1, methods=["adjoint"], run_seconds=0.0)
    assert found.advice == "On a simulator use adjoint: exact."


def test_the_value_of_one_string_costs_one_over_the_precision_squared():
    model = qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1")
    cost = value_cost(model, Budget(precision=0.1))
    assert cost.measurements == cost.copies == 100 and cost.rotations == 100 * 12 and cost.qubits == 3


def test_the_value_of_a_sum_costs_its_groups_shots_by_hand():
    # Z0 and X0 anticommute: two circuits, with bounds b = (2, 3) and N_r = b_r (b_1 + b_2) / precision^2.
    model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), {"Z0": 2.0, "X0": 3.0})
    assert value_cost(model, Budget(precision=0.5)).measurements == (2 * 5 + 3 * 5) / 0.25
    assert value_cost(qpr.Model(qpr.Circuit(1).ry(0.3, 0), "I"), Budget(precision=0.5)).rotations == 0


def test_a_toffoli_is_three_rotations_of_omega_and_of_a_machines_time():
    model = qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1")
    found = compare(model, precision=0.2, methods=["gentle_sweep"], run_seconds=0.0, hardware=HardwareModel("m", 1e-6))
    cost = row(found, "gentle_sweep").cost
    spent = cost.rotations + 3 * cost.toffolis
    assert cost.toffolis > 0.2 * cost.rotations
    assert row(found, "gentle_sweep").omega_time == pytest.approx(spent / found.value.rotations)
    assert row(found, "gentle_sweep").seconds == pytest.approx(spent * 1e-6)
    assert found.value == Cost(**{k: v for k, v in found.value.as_dict().items() if k != "toffolis"})


def test_held_copies_are_set_beside_the_cheapest_of_single_copies(model, quprop, tmp_path):
    """In rotations and Toffolis together, whatever else costs less or is a formula only."""
    names = ["adjoint", "parameter_shift", "pair_state", "gentle_sweep", "quantum_backprop", "amplitude_estimation"]
    found = compare(model, precision=0.05, methods=names, run_seconds=0.0)
    gates = {r.name: r.cost.rotations + r.cost.toffolis for r in found.rows}
    best = min(("parameter_shift", "pair_state"), key=lambda name: gates[name])
    assert f"cheapest with single copies is {best}, " in found.rivalry and found.rivalry in " ".join(str(found).split())
    for name in ("gentle_sweep", "quantum_backprop"):
        assert f"{name} {gates[name] / gates[best]:.3g} times" in found.rivalry
    assert found.as_dict()["rivalry"] == found.rivalry and "amplitude" not in found.rivalry
    assert compare(model, precision=0.05, methods=names[:3], run_seconds=0.0).rivalry == ""
    assert compare(model, precision=0.05, methods=names[3:], run_seconds=0.0).rivalry == ""


def test_a_tie_of_single_copies_goes_to_the_method_that_everybody_has():
    cost, more = Cost(rotations=100), Cost(rotations=60, toffolis=60)
    said = rivalry({"hadamard_test": cost, "parameter_shift": cost, "gentle_sweep": more, "bell_sampling": Cost(1, 1)})
    assert said == (
        "In rotations and Toffolis the cheapest with single copies is parameter_shift, 100; on copies held together "
        "gentle_sweep 1.2 times as many."
    )


def test_omega_of_parameter_shift_is_the_number_of_components(model):
    """Two circuits a component, each with half the shots a value needs: omega = M for one string at equal precision."""
    found = compare(model, precision=0.05, methods=BOTH)
    assert row(found, "parameter_shift").omega_time == pytest.approx(model.n_params, rel=0.01)
    # At equal maximal error and failure the union bound over M components comes on top.
    found = compare(model, max_error=0.2, failure=0.01, methods=BOTH)
    union = math.log(2 * model.n_params / 0.01) / math.log(2 / 0.01)
    assert row(found, "parameter_shift").omega_time == pytest.approx(model.n_params * union, rel=0.02)
    assert row(found, "parameter_shift").omega_memory == 1.0


def test_claimed_counts_are_those_of_the_methods_own_plan(model):
    found = compare(model, precision=0.05, methods=BOTH)
    plan = METHODS["parameter_shift"](precision=0.05).compile(model)
    assert row(found, "parameter_shift").cost == plan.cost


def test_errors_are_those_of_the_budget(model):
    """The measured error stays below the bound, and scatters about the median that the standard errors predict."""
    measured, expected = [], []
    for seed in range(60):
        one = row(
            compare(model, precision=0.1, methods=["parameter_shift"], theta=np.ones(12), rng=seed), "parameter_shift"
        )
        assert one.measured < one.bound
        measured.append(one.measured)
        expected.append(one.expected)
    above = np.mean(np.array(measured) > np.array(expected))
    assert abs(above - 0.5) < 5 * 0.5 / math.sqrt(60)


def test_the_median_of_the_largest_is_that_of_draws():
    s = np.array([1.0, 0.5, 0.2, 0.0])
    draws = np.abs(np.random.default_rng(0).normal(size=(20_000, 4)) * s).max(axis=1)
    assert median_of_max(s) == pytest.approx(np.median(draws), rel=0.02)
    assert median_of_max(np.zeros(3)) == 0.0


def test_precision_and_maximal_error_are_two_sides_of_one_number(model):
    a = compare(model, precision=0.05, methods=["parameter_shift"])
    b = compare(model, max_error=a.max_error, methods=["parameter_shift"])
    assert b.precision == pytest.approx(0.05)
    assert row(b, "parameter_shift").cost.measurements == pytest.approx(
        row(a, "parameter_shift").cost.measurements, rel=0.01
    )


def test_adjoint_is_exact_and_measured_in_seconds_and_bytes(model):
    one = row(compare(model, precision=0.1, methods=["adjoint"]), "adjoint")
    assert one.exact and one.measured == 0.0 and one.cost.measurements == 0
    assert one.omega_time > 0 and one.omega_memory >= 1 and one.seconds > 0


def test_time_is_that_of_the_machine(model):
    machine = HardwareModel("slow", 2.0, measurement_seconds=1.0, qubits=2)
    one = row(compare(model, precision=0.1, methods=["parameter_shift"], hardware=machine), "parameter_shift")
    assert one.seconds == 2 * one.cost.rotations + one.cost.measurements
    assert one.too_large == "needs 3 qubits, slow has 2"


def test_what_would_take_long_is_costed_but_not_run(model):
    found = compare(model, precision=0.01, methods=BOTH, run_seconds=0.0)
    one = row(found, "parameter_shift")
    assert one.measured is None and one.not_run.startswith("not run: ") and one.cost.rotations > 0
    assert simulation_seconds(METHODS["parameter_shift"](precision=0.01).compile(model)) > 0


@pytest.mark.slow
def test_workers_change_nothing(model):
    alone = compare(model, precision=0.1, rng=4, methods=BOTH)
    with Workers(2) as pool:
        together = compare(model, precision=0.1, rng=4, methods=BOTH, executor=pool)
    for a, b in zip(alone.rows, together.rows, strict=True):
        assert (a.cost, a.measured, a.expected) == (b.cost, b.measured, b.expected)


@pytest.mark.parametrize("name", ["several_observables", "inputs", "commuting_sums", "encoded_state", "clifford_only"])
def test_every_method_gives_a_row_or_a_sentence(name):
    """All registered methods, on models of every kind: none is left out, and what ran is right within its bound."""
    model = CASES[name].model
    theta, x = values_for(model)
    found = compare(model, max_error=0.5, theta=theta, x=x, run_seconds=0.5)
    assert {r.name for r in found.rows} | set(found.refused) == set(METHODS) | set(FORMULAS)
    assert {"adjoint", "parameter_shift"} <= {r.name for r in found.rows}
    for one in found.rows:
        assert one.measured is not None or one.not_run, one.name
        assert one.measured is None or not one.unbiased or one.measured <= 0.5 * 1.05, one
    assert all(why and "\n" not in why for why in found.refused.values())
    json.dumps(found.as_dict())
    assert " ".join(str(found).split()).endswith(found.advice) and found.advice.endswith(".")


def test_a_row_says_the_damage_of_copies_that_its_claim_takes_for_undisturbed(quprop, model, tmp_path):
    found = compare(model, max_error=0.5, methods=["quantum_backprop", "parameter_shift"])
    one = row(found, "quantum_backprop")
    assert one.damage.startswith("damage ") and one.damage in str(found)
    assert row(found, "parameter_shift").damage == ""
    model.save(tmp_path / "m.json")
    out, _ = quprop("compare", tmp_path / "m.json", "--max-error", 0.5, "--methods", "quantum_backprop")
    assert "quantum_backprop: damage " in out


@pytest.mark.parametrize("step", ["compile", "estimate"])
def test_a_method_that_fails_is_a_line_and_the_others_are_compared(model, monkeypatch, step):
    def fails(*_, **__):
        raise ZeroDivisionError("of its own")

    kind = METHODS["spsa"]
    monkeypatch.setattr(kind if step == "compile" else type(kind(precision=0.1).compile(model)), step, fails)
    found = compare(model, precision=0.1, methods=["spsa", "parameter_shift"], run_seconds=10.0)
    said = found.refused.get("spsa") or row(found, "spsa").not_run
    assert said == "failed with ZeroDivisionError: of its own" and said in str(found).replace("\n", " ")
    assert row(found, "parameter_shift").measured is not None


def test_costs_beyond_all_floats_are_lines(quprop):
    """Bell sampling of few strings asks for powers of two beyond the largest float."""
    found = compare(qpr.Model(qpr.Circuit(2).ry(qpr.params("t", 2)[0], 0).cx(0, 1), "Z1 + 0.5*X0 X1"), precision=0.05)
    assert {r.name for r in found.rows} | set(found.refused) == set(METHODS) | set(FORMULAS)
    said = found.refused | {r.name: r.not_run or "" for r in found.rows}
    assert not [name for name, why in said.items() if "failed" in why]
    out, _ = quprop("compare", "h2", "--precision", 0.1, "--run-limit", 0.1, "--methods", "adjoint,bell_sampling")
    assert "bell_sampling" in out and "failed" not in out


BAD_CALLS = {
    "neither": ({}, "one of precision= and max_error=, got neither"),
    "both": ({"precision": 0.1, "max_error": 0.1}, "got both"),
    "negative": ({"precision": -1.0}, "precision must be a positive number"),
    "failure": ({"precision": 0.1, "failure": 2}, "failure must be a probability"),
    "method": ({"precision": 0.1, "methods": ["adjont"]}, "did you mean 'adjoint'"),
    "no method": ({"precision": 0.1, "methods": []}, "must name one method at least"),
    "theta": ({"precision": 0.1, "theta": [1.0]}, "theta must have shape (12,), got (1,)"),
    "rng": ({"precision": 0.1, "rng": "x"}, "rng is a seed"),
    "hardware": ({"precision": 0.1, "hardware": "figure3"}, "did you mean 'figure2'"),
    "weights": ({"precision": 0.1, "weights": [1.0, 2.0]}, "weights must have shape (1,), got (2,)"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_arguments_are_one_sentence(name, model):
    arguments, words = BAD_CALLS[name]
    with pytest.raises(QupropError, match=re.escape(words)) as caught:
        compare(model, **arguments)
    assert "\n" not in str(caught.value)


# -- the commands -----------------------------------------------------------------------------------------------------


def test_a_built_in_problem_is_compared(quprop, tmp_path):
    out, _ = quprop("compare", "tfim", "--set", "n=4", "--set", "layers=1", "--precision", 0.2, "--json", "c.json",
                    "--plot", "c.png", "--run-limit", 0.5)  # fmt: skip
    for word in ("the value F", "ω time", "parameter_shift", "adjoint", "on figure2", "On a simulator use"):
        assert word in out, word
    result = json.loads((tmp_path / "c.json").read_text())
    spent = result["methods"]["gentle_sweep"]["cost"]["toffolis"]
    assert spent > 0 and result["methods"]["parameter_shift"]["cost"]["toffolis"] == 0
    assert f"Toffolis: gentle_sweep {tidy(short(spent))}" in out
    assert "gentle_sweep" in result["rivalry"] and result["rivalry"] in " ".join(out.split())
    assert set(result["methods"]) | set(result["refused"]) == set(METHODS) | set(FORMULAS)
    assert result["methods"]["parameter_shift"]["cost"]["rotations"] > result["value"]["rotations"]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_saved_model_and_a_toml_file_are_compared(quprop, tmp_path, model):
    model.save(tmp_path / "model.json")
    out, _ = quprop("compare", "model.json", "--max-error", 0.3, "--methods", "adjoint,parameter_shift", "--seed", 3)
    assert "3 qubits, 12 rotations" in out
    (tmp_path / "my.toml").write_text('[problem]\nname = "tfim"\nn = 3\n[model]\nlayers = 1\n')
    assert "my.toml: 3 qubits" in quprop("compare", "my.toml", "--precision", 0.3, "--methods", "adjoint")[0]
    assert quprop("compare", "my.toml", "--precision", 0.3, "--methods", "adjoint", "--quiet") == ("", "")


def test_a_loss_is_differentiated_where_training_starts(monkeypatch):
    """digits: ten observables and a head; the weights are the loss's derivative for the first sample."""
    from quprop.cli import models as command
    from quprop.problems.run import configure
    from quprop.training.objective import Objective

    problem = PROBLEMS["digits"].build(configure("digits", {"model": {"layers": 1}}))
    spec = replace(PROBLEMS["digits"], build=lambda config: problem)
    monkeypatch.setattr(command, "find", lambda name: spec)
    model, point = command.load("digits", ["layers=1"], 5)
    start = problem.start(np.random.default_rng(5))
    objective = Objective(model, problem.loss, head=True, engine=None, precision="double", threads=None)
    _, gradient, _ = objective.loss_and_grad(start, problem.data[0][:1], problem.data[1][:1])
    ours = qpr.value_and_grad(model, point["theta"], point["x"], weights=point["weights"])[1]
    np.testing.assert_allclose(ours, gradient["theta"], atol=1e-12)


BAD = {
    "model": (["compare", "tfmi", "--precision", "0.1"], "unknown model 'tfmi': did you mean 'tfim'?"),
    "neither": (["compare", "tfim"], "one of --precision E and --max-error E"),
    "hardware": (["compare", "tfim", "--precision", "1", "--hardware", "x"], "unknown hardware 'x'"),
    "method": (["compare", "tfim", "--precision", "1", "--methods", "x"], "unknown method 'x'"),
    "folder": (["compare", "tfim", "--precision", "1", "--json", "a/b"], "there is no folder"),
    "limit": (["compare", "tfim", "--precision", "1", "--run-limit", "-1"], "--run-limit must be 0 seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_one_sentence_and_status_2(name, quprop):
    arguments, words = BAD[name]
    _, stderr = quprop(*arguments, status=2)
    assert stderr.startswith("quprop: ") and words in stderr and stderr.count("\n") == 1


def test_set_needs_a_problem(quprop, tmp_path, model):
    model.save(tmp_path / "model.json")
    assert (
        "--set changes the settings of a problem"
        in quprop("compare", "model.json", "--precision", "1", "--set", "n=3", status=2)[1]
    )


def test_methods_are_listed_with_one_line_each(quprop, tmp_path):
    out, _ = quprop("methods", "--json", "m.json")
    for name in (*METHODS, *FORMULAS):
        assert name in out
    found = json.loads((tmp_path / "m.json").read_text())
    assert [m["name"] for m in found] == [*METHODS, *FORMULAS] and all(10 < len(m["summary"]) <= 125 for m in found)
    assert {m["name"]: m["bias"] for m in listing()}["adjoint"] == "exact"
    assert {m["name"]: m["bias"] for m in listing()}["parameter_shift"] == "unbiased"


def test_a_summary_is_the_first_sentence():
    class One:
        """This is the first sentence, in two
        lines. And a second."""

    assert summary(One) == "This is the first sentence, in two lines"
    assert all(not summary(kind).endswith((":", ",")) for kind in METHODS.values())
