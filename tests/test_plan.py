"""Plans: formulas against counted runs and compiled plans, laws of growth, advice, published numbers."""

import math

import numpy as np
import pytest
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st

import quprop as qpr
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients import COSTED, FORMULAS, METHODS
from quprop.gradients.facts import ModelFacts
from quprop.gradients.method import GradientMethod
from quprop.hardware_models import PRESETS, HardwareModel
from quprop.model import ansatz
from quprop.planning import classical, plan_training, presets
from quprop.planning.check import check
from quprop.planning.costs import cost_of, people
from quprop.planning.measured.families import find
from quprop.planning.named import (
    commuting_blocks,
    commuting_generator,
    hardware_efficient,
    named_shape,
    pauli_list,
    summary,
    tfim_variational,
)
from quprop.planning.structure import shape_of
from quprop.planning.training import gradient_seconds
from quprop.sampling.shape import Wanted

COUNTED = ("copies", "rotations", "measurements", "depth", "qubits", "classical_ops", "classical_bytes", "toffolis")


def ising(n, layers):
    terms = {f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)} | {f"X{q}": -1.0 for q in range(n)}
    return qpr.Model(ansatz.tfim_variational(n, layers), terms)


def assert_same_cost(formula, claimed, what, within=0.02):
    for name in COUNTED:
        a, b = getattr(claimed, name), getattr(formula, name)
        assert abs(a - b) <= max(1, within * a), f"{what}: {name} is {a:.6g}, the formula says {b:.6g}"


def test_every_method_has_a_formula_of_its_own():
    assert set(COSTED) == {*METHODS, *FORMULAS}
    assert all(kind.formula.__func__ is not GradientMethod.formula.__func__ for kind in COSTED.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_formula_equals_counted_runs_at_three_sizes(name):
    rows = check([name], seed=3)
    assert len({r.parameters for r in rows}) == 3
    for r in rows:
        assert abs(r.ratio - 1) < 0.05, f"{name} on {r.family} with {r.parameters} parameters: {r.ratio}"
        if name != "quantum_backprop":  # its checks end at the first of two that triggers
            assert r.counted == r.formula


@pytest.mark.parametrize("kind, value", [("precision", 0.02), ("max_error", 0.1)])
@pytest.mark.parametrize("case", ["ising", "shared_parameters", "several_observables", "commuting_sums", "iqp", "qaoa"])
def test_formula_of_a_model_equals_the_cost_its_plan_claims(case, kind, value):
    # Shared parameters, sums of terms in groups, several observables: compiled plans count circuits one by one.
    model = CASES[case].model
    rng = np.random.default_rng(5)
    weights, at = rng.uniform(0.5, 1.5, model.n_observables), (rng.uniform(-3, 3, model.n_params), np.zeros(0))
    shape, wanted = shape_of(model, weights, at=at), Wanted(kind, value)
    P = model.n_params
    served = 0
    for name in COSTED:
        try:
            claimed = COSTED[name].wanting(wanted, P).compile(model, weights, at=at).cost
        except QupropError as error:
            # engines refuse more copies than they can simulate; formulas do not
            if "no engine simulates" not in str(error):
                with pytest.raises(QupropError):
                    cost_of(name, shape, wanted)
            continue
        assert_same_cost(cost_of(name, shape, wanted), claimed, f"{name} on {case}", 0.05)
        served += 1
    assert served >= 11


def test_classical_work_is_that_of_the_readings_that_batches_are_designed_for():
    """Beyond as many components as there can be such readings it grows with M alone."""
    wanted, work = Wanted("max_error", 0.25), {}
    for m in (256, 1024):
        ((model, theta),) = find("random_pauli").build(m, 0)
        plan = COSTED["quantum_backprop"].wanting(wanted, m).compile(model, at=(theta, np.zeros(0)))
        work[m] = cost_of("quantum_backprop", shape_of(model), wanted).classical_ops
        assert plan.cost.classical_ops == work[m] and plan.design.promised < m / 2
    assert work[1024] < 4 * work[256]


def _built(name, *sizes):
    if name == "hardware_efficient":
        return hardware_efficient(*sizes), qpr.Model(ansatz.hardware_efficient(*sizes), "Z0 Z1")
    if name == "tfim_variational":
        return tfim_variational(*sizes), ising(*sizes)
    n, m = sizes
    make = {"commuting_generator": commuting_generator, "commuting_blocks": commuting_blocks}[name]
    return make(n, m), find(name).build(m, 0)[0][0]


@pytest.mark.parametrize(
    "name, sizes",
    [("hardware_efficient", s) for s in ((3, 4), (4, 8), (6, 5))]
    + [("tfim_variational", s) for s in ((4, 2), (5, 3), (7, 6))]
    + [("commuting_generator", s) for s in ((5, 16), (6, 32), (8, 128))]
    + [("commuting_blocks", s) for s in ((3, 16), (4, 32), (6, 128))],
)
def test_closed_shape_equals_the_shape_of_the_circuit(name, sizes):
    closed, model = _built(name, *sizes)
    read = shape_of(model)
    for field in ("qubits", "rotations", "trained", "parameters", "first", "terms", "reaches", "strings", "affine"):
        assert getattr(closed, field) == getattr(read, field), field
    assert (closed.norm, closed.ranges) == (pytest.approx(read.norm), pytest.approx(read.ranges))
    assert set(closed.loads) == set(read.loads)
    for method, load in read.loads.items():
        if method in closed.bounds:
            assert closed.loads[method].shots >= load.shots
        else:
            assert tuple(closed.loads[method]) == pytest.approx(tuple(load)), method


def test_beyond_where_commuting_is_looked_for_the_worst_is_assumed(monkeypatch):
    model = ising(5, 3)
    full = shape_of(model)
    monkeypatch.setattr(ModelFacts, "most_rotations", 10)
    bounded = shape_of(model)
    assert bounded.bounds == {"pair_state", "classical_shadows"} and "commuting_blocks" in bounded.missing
    for method, load in full.loads.items():
        assert bounded.loads[method].rotations >= load.rotations
        assert method in bounded.bounds or bounded.loads[method] == load
    assert {r.basis for r in plan_training(bounded, precision=0.1).rows if r.name == "pair_state"} == {"bound"}


def test_grown_shapes_are_those_of_larger_circuits():
    assert hardware_efficient(4, 2).at(128).loads == hardware_efficient(4, 16).loads
    assert tfim_variational(5, 2).at(20).loads == tfim_variational(5, 10).loads
    # A model that was read is repeated: its layers' lengths are known up to one layer.
    short, long = (shape_of(ising(4, k)) for k in (8, 64))
    repeated = short.at(long.parameters)
    assert (repeated.rotations, repeated.parameters) == (long.rotations, long.parameters)
    for method, load in long.loads.items():
        assert repeated.loads[method].shots == pytest.approx(load.shots)
        assert repeated.loads[method].rotations == pytest.approx(load.rotations, rel=0.05)
    # One set of commuting rotations stays one.
    assert shape_of(find("commuting_generator").build(16, 0)[0][0]).at(160).loads["pair_state"].circuits == 1


@pytest.mark.parametrize(
    "name, exponent",
    [
        ("parameter_shift", 2),
        ("hadamard_test", 2),
        ("finite_difference", 2),
        ("spsa", 2),
        ("forward_gradient", 3),
        ("gentle_sweep", 1.5),
        ("fully_gentle", 3),
        ("commuting_blocks", 1),
        ("amplitude_estimation", 1.5),
        ("quantum_backprop", 1),
        ("bell_sampling", 1),
        ("clifford_shadows", 1),
    ],
)
def test_rotations_grow_with_the_exponent_of_the_theorem(name, exponent):
    # At one standard error, or at one largest error where a method is told that: logarithms add up to 0.1.
    kind = commuting_generator(20, 10**9)
    many = name in ("bell_sampling", "quantum_backprop", "amplitude_estimation")
    wanted = Wanted("max_error" if many else "precision", 0.01)
    costs = [cost_of(name, kind.at(m), wanted).rotations for m in (10**12, 10**15)]
    slope = math.log(costs[1] / costs[0]) / math.log(1000)
    assert exponent - 0.02 <= slope <= exponent + 0.12


@given(
    name=st.sampled_from(sorted(COSTED)),
    m=st.integers(2, 10**9),
    precision=st.floats(1e-6, 1.0),
    kind=st.sampled_from(["precision", "max_error"]),
)
def test_more_parameters_and_more_precision_never_cost_less(name, m, precision, kind):
    shape = commuting_generator(12, m)
    cost = cost_of(name, shape, Wanted(kind, precision))
    finer = cost_of(name, shape, Wanted(kind, precision / 2))
    larger = cost_of(name, shape.at(2 * m), Wanted(kind, precision))
    assert finer.rotations >= cost.rotations and larger.rotations >= cost.rotations
    assert min(cost.as_dict().values()) >= 0 and cost.depth >= shape.rotations


def test_a_plan_of_any_size_is_made_of_finite_numbers_at_once():
    shape = summary(10_000, 10**9)
    plan = plan_training(shape, precision=1e-6, steps=10**6, hardware="fault_tolerant")
    by_name = {r.name: r for r in plan.rows}
    # parameter shift by hand: M/e^2 shots of M rotations, 6.8 ms each
    assert by_name["parameter_shift"].cost.rotations == pytest.approx(10**30)
    assert by_name["parameter_shift"].seconds == pytest.approx(10**30 * 40 * 170e-6 + 10**21 * 1e-6)
    assert {"adjoint", "quantum_backprop", "classical_shadows"} <= set(plan.refused)
    assert all(math.isfinite(r.training) for r in plan.rows)


def test_times_are_rotations_runs_and_classical_work_by_hand():
    machine = HardwareModel("by hand", 2.0, measurement_seconds=3.0, qubits=4)
    plan = plan_training(
        summary(4, 10), precision=0.5, steps=7, samples=3, hardware=machine, methods=["parameter_shift"], flops=8.0
    )
    (row,) = plan.rows  # 20 circuits with ceil(0.5 / 0.25) shots each
    assert row.cost == Cost(copies=40, rotations=400, measurements=40, depth=10, qubits=4, classical_ops=40)
    assert (row.seconds, row.classical_seconds, row.training) == (800 + 120, 5.0, 21 * 925)
    assert plan.machines["by hand"]["parameter_shift"] == row.training
    assert plan.machines["trapped_ion"]["parameter_shift"] == 21 * (PRESETS["trapped_ion"].seconds(row.cost) + 5)


def test_a_machine_with_few_qubits_is_not_recommended_what_it_cannot_hold():
    plan = plan_training(summary(24, 300), precision=0.1, hardware="trapped_ion")
    assert plan.machines["trapped_ion"]["gentle_sweep"] is None
    assert "use parameter_shift" in plan.advice
    full = plan_training(summary(100, 10), precision=0.1, hardware="trapped_ion")
    assert "No method fits the 25 qubits" in full.advice


@pytest.mark.parametrize("shape", [hardware_efficient(100, 50), summary(4, 100), commuting_generator(10, 64)])
def test_advice_changes_where_the_cheapest_method_does(shape):
    wanted, machine = Wanted("precision", 0.1), PRESETS["figure2"]
    plan = plan_training(shape, precision=0.1)
    able = [n for n in METHODS if METHODS[n].copies != 0]

    def cheapest(m):
        times = {n: gradient_seconds(n, shape.at(m), wanted, machine) for n in able}
        return min((t, n) for n, t in times.items() if t is not None)

    for change, after in zip(plan.changes, [*plan.changes[1:], None], strict=True):
        if change.parameters > 100:  # below, whole shots make steps
            m = change.parameters
            best, old = cheapest(m)[0], gradient_seconds(change.method, shape.at(m), wanted, machine)
            assert old <= 1.01 * best
            assert gradient_seconds(change.method, shape.at(int(0.9 * m)), wanted, machine) > cheapest(int(0.9 * m))[0]
        if after is not None:
            assert after.method != change.method and after.parameters > change.parameters
    assert plan.advice.count(".") >= 1 and "use " in plan.advice


def test_advice_and_order_count_toffolis_at_the_machines_price():
    """Fewer rotations are not fewer gates: where a Toffoli is dear, held copies are not recommended."""
    shape, names = hardware_efficient(6, 40), ["pair_state", "gentle_sweep", "quantum_backprop"]
    spent = {n: cost_of(n, shape, Wanted("precision", 0.05)) for n in names}
    assert spent["gentle_sweep"].rotations < spent["pair_state"].rotations < spent["gentle_sweep"].gates
    for toffoli, best in ((None, "pair_state"), (1e-6, "pair_state"), (0.0, "gentle_sweep")):
        machine = HardwareModel("m", 1e-6, toffoli_seconds=toffoli)
        plan = plan_training(shape, precision=0.05, hardware=machine, methods=names, flops=math.inf)
        assert plan.rows[0].name == best and f"use {best}:" in plan.advice
        assert "single copies is pair_state" in plan.rivalry


def test_precision_and_largest_error_follow_from_each_other():
    wanted = Wanted("precision", 0.01, 0.05)
    other = Wanted("max_error", wanted.max_error(300), 0.05)
    assert other.precision(300) == pytest.approx(0.01)
    assert wanted.max_error(300) == pytest.approx(0.01 * math.sqrt(2 * math.log(2 * 300 / 0.05)))


def test_published_plans_have_the_published_numbers():
    talk = presets.talk()
    assert talk["years"] == pytest.approx(31.7, abs=0.05) and talk["minutes"] == 5
    assert people(talk["rows"][1]["seconds"]) == "31.7 years" and people(talk["rows"][0]["seconds"]) == "5 min"
    found = presets.figure2()
    assert found["ten_thousand_parameters"]["M²"] == pytest.approx(1e5)  # "up to about a day"
    assert found["parameters"]["1 year"]["M²"] == pytest.approx(1.8e5, rel=0.02)
    assert found["parameters"]["1 day"]["M ln² M"] == pytest.approx(5.0e5, rel=0.02)
    constants = found["with_constants"]
    assert constants["break_even"] == pytest.approx(6.7e6, rel=0.01)
    # Slope 1 in place of 2 changes both sides alike.
    assert constants["break_even_of_quprop"] == pytest.approx(constants["break_even_of_two_batches"], rel=0.1)
    assert constants["break_even_of_two_batches"] < 1e-3 * constants["break_even"]


def test_a_network_is_planned_by_the_laws_of_the_carleman_loop():
    plan = classical.plan_network("mlp", 10**6, precision=0.01, steps=1000, entries=1000, hardware="superconducting")
    assert plan.blocks == 10
    assert plan.loop_seconds == 10 * plan.even.quantum_seconds(10**6)
    assert plan.descent_seconds == pytest.approx(1000 * 6 * 10**6 * 1024 / 1e13)
    # time is copies * runs a copy * queries * rotations a query: the ledger's queries times a query's time
    seconds = plan.ledger.queries * math.ceil(3 * math.log2(10 * 10**6)) * PRESETS["superconducting"].rotation_seconds
    assert plan.even.quantum_seconds(10**6) == pytest.approx(seconds, rel=1e-6)
    even = plan.even.parameters()
    assert even is not None and f"from {even:.2g}".replace("e+", "e") in plan.advice
    dense = classical.plan_network("mlp", 10**6, precision=0.01, steps=1000)
    assert "every number of parameters" in dense.advice


def test_networks_have_the_parameters_that_are_listed():
    pytest.importorskip("torch")
    from quprop.carleman.networks.networks import make

    for name, size in (("logistic", (64,)), ("deep-linear", (64,)), ("quadratic", (64,)), ("mlp", (64,))):
        assert make(name, size, 10, seed=0).n_parameters == classical.NETWORKS[name]
    assert make("resnet", (1, 8, 8), 10, seed=0).n_parameters == classical.NETWORKS["resnet"]


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: named_shape("hardware_efficent:3,4"), "did you mean 'hardware_efficient'"),
        (lambda: named_shape("hardware_efficient:3"), "followed by n,layers"),
        (lambda: named_shape("pauli_list:3,0"), "whole numbers from 1"),
        (lambda: summary(0, 3), "qubits must be a whole number"),
        (lambda: summary(3, 3, norm=-1.0), "norm must be a positive number"),
        (lambda: summary(3, 3, sets=4), "from 1 to M = 3"),
        (lambda: summary(3, 3, blocks=4), "from 0 to M = 3"),
        (lambda: summary(3, 3, weight=5), "from 1 to n + 1 = 4"),
        (lambda: summary(3, 3).at(0), "whole, 1 or more"),
        (lambda: tfim_variational(1, 2), "2 qubits or more"),
        (lambda: plan_training(summary(3, 3)), "one of precision= and max_error=, got neither"),
        (lambda: plan_training(summary(3, 3), precision=1.0, max_error=1.0), "got both"),
        (lambda: plan_training(summary(3, 3), precision=0.0), "precision must be a positive number"),
        (lambda: plan_training(summary(3, 3), max_error=math.inf), "max_error must be a positive number"),
        (lambda: plan_training(summary(3, 3), precision=1.0, failure=1.0), "between 0 and 1"),
        (lambda: plan_training(summary(3, 3), precision=1.0, steps=0), "steps must be a whole number"),
        (lambda: plan_training(summary(3, 3), precision=1.0, flops=0.0), "flops is a positive number"),
        (lambda: plan_training(summary(3, 3), precision=1.0, methods=["spas"]), "did you mean 'spsa'"),
        (lambda: plan_training(summary(3, 3), precision=1.0, methods=[]), "one method at least"),
        (lambda: plan_training(summary(3, 3), precision=1.0, hardware="foo"), "unknown hardware"),
        (lambda: classical.network_parameters("mpl"), "did you mean 'mlp'"),
        (lambda: classical.plan_network("mlp", 10, precision=1.0, steps=1), "between 0 and 1"),
        (lambda: classical.plan_network("mlp", 10, precision=0.1, steps=0), "steps must be a whole number"),
        (lambda: check(["amplitude_estimation"]), "unknown method"),
    ],
)
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises(QupropError) as caught:
        call()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_without_trained_rotations_costs_nothing():
    shape = shape_of(CASES["clifford_only"].model, np.ones(3))
    plan = plan_training(shape, precision=0.1)
    assert all(r.cost == Cost() for r in plan.rows)


def test_a_list_of_strings_on_one_state_is_planned_by_bell_sampling():
    assert "use bell_sampling" in plan_training(pauli_list(20, 10**6), max_error=0.5).advice
