"""Physical qubits from Microsoft's estimator: what is asked of it, what it answers, and that it stays offline."""

import math
import subprocess
import sys

import pytest

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.planning import physical, plan_training
from quprop.planning.named import hardware_efficient, summary


def plan(shape=None, **options):
    return plan_training(shape or hardware_efficient(20, 10), **{"precision": 0.1, "steps": 5, **options})


def test_one_run_holds_what_a_method_holds_and_runs_make_up_its_copies():
    found = plan()
    for row in found.rows:
        if row.simulated or row.name == "amplitude_estimation":
            continue
        counts, runs = physical.logical_run(row.name, row.cost, found.shape)
        assert counts["numQubits"] == row.cost.qubits and counts["rotationDepth"] == row.cost.depth
        if row.cost.toffolis:  # eight batches, or one, that a few ancillas make look a little larger
            assert runs == {"gentle_sweep": 8, "fully_gentle": 1}.get(row.name, runs)
            for name, spent in (("rotationCount", row.cost.rotations), ("cczCount", row.cost.toffolis)):
                assert counts[name] * runs == pytest.approx(spent, rel=1e-3)
            assert counts["measurementCount"] > counts["cczCount"] > 0
            continue
        copies = counts["rotationCount"] // counts["rotationDepth"]
        assert (runs - 1) * copies < row.cost.copies <= runs * copies
        assert copies == 1 or row.name in ("quantum_backprop", "bell_sampling")


def test_a_failed_run_may_move_a_component_by_a_fifth_of_its_precision():
    pytest.importorskip("qdk")
    shape = summary(10, 100, norm=4.0)
    assert physical.estimate(plan(shape, precision=0.04)).budget == pytest.approx(0.04 / 4 / 10)
    assert physical.estimate(plan(shape, precision=40.0)).budget == physical.LARGEST_BUDGET


def test_estimates_follow_the_surface_codes_formulas():
    # Its published model: 2 d^2 qubits a patch, (4 * 50 + 2 * 100) ns d a cycle, errors 0.03 (p/0.01)^((d+1)/2).
    pytest.importorskip("qdk")
    found = physical.estimate(plan(), budget=1e-3)
    assert found.code == "surface_code"
    row = next(r for r in found.rows if r.name == "parameter_shift")
    n = 20
    layout = 2 * n + math.ceil(math.sqrt(8 * n)) + 1
    patch = 2 * row.distance**2
    assert row.physical_qubits > layout * patch
    assert row.rotations_a_run == 400 and row.runs == 5 * 40_000
    # every rotation is synthesised one after another: at least its T gates, one cycle each
    cycle = 400e-9 * row.distance
    assert 1 < row.seconds_a_run / (row.rotations_a_run * row.t_per_rotation * cycle) < 2
    assert row.seconds == row.runs * row.seconds_a_run
    error = 0.03 * 0.1 ** ((row.distance + 1) / 2)
    assert error * layout * row.seconds_a_run / cycle < 1e-3 / 3


def test_better_qubits_need_fewer_and_a_smaller_budget_more():
    pytest.importorskip("qdk")
    found = plan()

    def qubits(**options):
        return {r.name: r.physical_qubits for r in physical.estimate(found, **options).rows}

    usual, better, strict = qubits(budget=1e-3), qubits(budget=1e-3, qubit="qubit_gate_ns_e4"), qubits(budget=1e-9)
    assert all(better[n] <= usual[n] <= strict[n] for n in usual)
    assert physical.estimate(found, qubit="qubit_maj_ns_e4").code == "floquet_code"


def test_runs_too_large_for_the_estimator_are_said_to_be_and_nothing_wraps():
    pytest.importorskip("qdk")
    found = physical.estimate(plan(summary(10_000, 10**9), precision=1e-6))
    notes = {r.name: r.note for r in found.rows}
    assert notes["gentle_sweep"] == "a run too large for the estimator" and not notes["parameter_shift"]
    long = Cost(copies=1, rotations=10**15, measurements=1, depth=10**15, qubits=101)
    row = physical._one(
        physical._estimator(), "parameter_shift", long, summary(101, 10), 1, physical.USUAL, "surface_code", 1e-3
    )
    # 2^64 ns are 585 years: its own runtime field would have wrapped
    assert row.seconds_a_run > 10**15 * 400e-9


@pytest.mark.parametrize(
    "options, sentence", [({"qubit": "foo"}, "unknown qubit model"), ({"budget": 0.0}, "between 0 and 1")]
)
def test_bad_assumptions_get_one_sentence(options, sentence):
    with pytest.raises(QupropError, match=sentence):
        physical.estimate(plan(), **options)


def test_telemetry_is_off_before_the_import():
    pytest.importorskip("qdk")
    code = (
        "from quprop.planning import physical; physical._estimator();"
        "from qdk import telemetry; import threading;"
        "assert not telemetry.TELEMETRY_ENABLED; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fault_tolerant_plans_print_the_estimate(quprop_in_80_columns):
    pytest.importorskip("qdk")
    stdout, _ = quprop_in_80_columns(
        "plan", "hardware_efficient:20,10", "--precision", "0.1", "--hardware", "fault_tolerant"
    )
    assert (
        "By the estimator " in stdout
        and "phys. qubits" in stdout
        and "qubit_gate_ns_e3" in stdout
        and "surface code" in stdout
    )
