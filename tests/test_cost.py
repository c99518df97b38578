"""Costs add, scale and print; seconds come from a machine."""

import re

import numpy as np
import pytest

import quprop as qpr
from quprop.cost import Cost, short, short_bytes
from quprop.errors import QupropError, count_of
from quprop.hardware_models import HardwareModel

A = Cost(copies=1, rotations=10, measurements=2, depth=5, qubits=3, classical_ops=7, classical_bytes=100, toffolis=20)
B = Cost(copies=4, rotations=1, measurements=1, depth=9, qubits=2, classical_ops=1, classical_bytes=50, toffolis=3)


def test_what_is_spent_adds_and_what_is_held_stays():
    total = A + B
    assert total == Cost(
        copies=5,
        rotations=11,
        measurements=3,
        depth=9,
        qubits=3,
        classical_ops=8,
        classical_bytes=100,
        toffolis=23,
    )
    assert A + B == B + A and (A + B) + A == A + (B + A)
    assert A + Cost() == A == sum([A]) and sum([A, B, A]) == A + B + A


def test_repeating_is_adding_to_itself():
    assert 3 * A == A * 3 == A + A + A
    nothing = A * 0
    assert nothing == Cost()
    for wrong in (-1, 1.5, True):
        with pytest.raises(QupropError, match="a whole number of times"):
            A * wrong
    with pytest.raises(TypeError):
        A + 1


def test_seconds_are_the_machines():
    machine = HardwareModel("slow", rotation_seconds=1e-3, measurement_seconds=1e-2, overhead_seconds=2e-2, parallel=2)
    assert machine.seconds(Cost(rotations=1000, measurements=10)) == pytest.approx((1.0 + 0.3) / 2)
    figure = HardwareModel("figure 2", rotation_seconds=1e-3)
    assert figure.seconds(Cost(rotations=10_000**2)) / 3600 == pytest.approx(27.8, abs=0.1)  # the paper's day


def test_a_toffoli_takes_three_rotations_unless_the_machine_says_otherwise():
    """Six two-qubit gates, where a rotation is two."""
    plain, own = HardwareModel("plain", 2e-3, parallel=2), HardwareModel("own", 2e-3, parallel=2, toffoli_seconds=5e-4)
    assert plain.seconds(Cost(toffolis=100)) == plain.seconds(Cost(rotations=300)) == pytest.approx(0.3)
    assert own.seconds(Cost(toffolis=100)) == pytest.approx(0.025)
    assert own.seconds(Cost(rotations=10, toffolis=100)) == pytest.approx(0.035)
    assert HardwareModel("free", 1.0, toffoli_seconds=0.0).seconds(Cost(toffolis=10**9)) == 0
    with pytest.raises(QupropError, match="on plain is beyond any number"):
        plain.seconds(Cost(toffolis=10**400))


@pytest.mark.parametrize("count", [10**6, 10**400])
def test_a_time_beyond_all_numbers_is_refused(count):
    machine = HardwareModel("never", rotation_seconds=1e308)
    with pytest.raises(QupropError, match="on never is beyond any number"):
        machine.seconds(Cost(rotations=count))
    assert machine.seconds(Cost(rotations=1)) == 1e308


def test_counts_saved_before_there_were_toffolis_still_load():
    saved = A.as_dict()
    assert Cost(**saved) == A and saved.pop("toffolis") == 20
    assert Cost(**saved).toffolis == 0 and Cost(**saved).rotations == A.rotations


def test_costs_are_read_by_people():
    assert str(A) == (
        "1 copy, 2 runs, 10 rotations, 20 Toffolis, depth 5, 3 qubits, 7 classical multiply-adds, 100 B of classical "
        "memory"
    )
    assert "Toffoli" not in str(Cost(copies=1, rotations=3))
    assert (short(9999), short(123456)) == ("9,999", "1.23e+05")
    assert (short_bytes(0), short_bytes(1024), short_bytes(5 * 2**30)) == ("0 B", "1 KiB", "5 GiB")
    assert A.as_dict()["rotations"] == 10 and next(iter(A.as_dict())) == "copies"


def test_a_count_has_its_noun_in_the_number():
    words = {(1, "step"): "1 step", (0, "step"): "0 steps", (2000, "step"): "2,000 steps", (1, "copy"): "1 copy"}
    words |= {(3, "copy"): "3 copies", (2, "batch"): "2 batches", (2, "ray"): "2 rays", (1.0, "sample"): "1.0 sample"}
    words |= {(np.int64(1), "entry"): "1 entry", (np.int64(12345), "entry"): "12,345 entries"}
    for given, text in words.items():
        assert count_of(*given) == text
    assert count_of(123456, "run", "1.23e+05") == "1.23e+05 runs"


def test_what_is_shown_of_one_thing_is_singular():
    model = qpr.Model(qpr.Circuit(1).rx(qpr.params("t", 1)[0], 0), "Z0")
    assert str(Cost(1, 1, 1, 1, 1)) == "1 copy, 1 run, 1 rotation, depth 1, 1 qubit"
    assert repr(model) == "<Model: 1 qubit, 1 rotation, 1 param, 0 inputs, 1 observable>"
    assert str(model).splitlines()[0] == "Model: 1 qubit, 1 rotation, params t[1], 1 observable, from |0>"
    shown = [str(model), repr(model), repr(qpr.Circuit(1).h(0))]
    shown += [str(qpr.gradient(model, [0.1], method=qpr.ParameterShift(shots=1), rng=0))]
    assert not re.search(r"(?<![\d.,])1 [a-z]+s\b", " ".join(shown))
