"""Machines: their seconds, their files, and units that people read."""

import math

import pytest

from quprop.cost import Cost, human_seconds
from quprop.errors import QupropError
from quprop.hardware_models import PRESETS, HardwareModel, hardware


def test_figure_2s_machine_needs_a_day_for_ten_thousand_parameters():
    # The paper's own number: M^2 T_q for M = 10,000 and T_q = 1 ms is 1e5 s, 27.8 h.
    m = 10_000
    seconds = hardware("figure2").seconds(Cost(rotations=m * m, measurements=m))
    assert seconds == pytest.approx(1e5)
    assert human_seconds(seconds) == "27.8 h"


def test_every_preset_has_its_name_and_a_source_and_takes_time():
    for name, machine in PRESETS.items():
        assert machine.name == name and len(machine.source) > 40
        assert any(mark in machine.source for mark in ("arXiv", "IBM", "IonQ")), name
        assert 1e-8 < machine.rotation_seconds < 1 and machine.measurement_seconds >= 0 and machine.parallel == 1


def test_presets_price_toffolis_as_their_sources_do():
    """One factory's 170 us; figure 2's operation of 10 us, ten times; else six two-qubit gates."""
    cost = Cost(toffolis=1000)
    assert PRESETS["fault_tolerant"].seconds(cost) == pytest.approx(0.17)
    assert PRESETS["figure2"].seconds(cost) == pytest.approx(10 * 10e-6 * 1000)
    for name in ("superconducting", "trapped_ion", "neutral_atom"):
        assert PRESETS[name].seconds(cost) == pytest.approx(3000 * PRESETS[name].rotation_seconds)


def test_seconds_are_rotations_and_runs_by_hand():
    machine = HardwareModel("by hand", 2.0, measurement_seconds=3.0, overhead_seconds=5.0, parallel=4)
    assert machine.seconds(Cost(rotations=10, measurements=2)) == (10 * 2 + 2 * 8) / 4


def test_a_machine_may_be_given_or_read(tmp_path):
    machine = HardwareModel("mine", 1e-6)
    assert hardware(machine) is machine
    file = tmp_path / "lab.toml"
    file.write_text('rotation_seconds = 2e-6\noverhead_seconds = 1\nqubits = 5\nsource = "ours"\n')
    read = hardware(file)
    assert read == HardwareModel("lab", 2e-6, overhead_seconds=1, qubits=5, source="ours")
    file.write_text("rotation_seconds = 2e-6\ntoffoli_seconds = 9e-6\n")
    assert hardware(file).seconds(Cost(rotations=10, toffolis=2)) == pytest.approx(38e-6)


BAD = {
    "rotation_secs = 1.0": "unknown key 'rotation_secs'",
    "measurement_seconds = 1.0": "must say rotation_seconds",
    "rotation_seconds = -1.0": "must be a number of seconds, 0 or more, got -1.0",
    "rotation_seconds = 1.0\ntoffoli_seconds = -1": "toffoli_seconds in .* a number of seconds, 0 or more, got -1",
    'rotation_seconds = 1.0\ntoffoli_seconds = "slow"': "must be a number of seconds, 0 or more, got 'slow'",
    "rotation_seconds = nan": "must be a number of seconds",
    "rotation_seconds = true": "must be a number of seconds",
    "rotation_seconds = 1.0\nqubits = 0": "qubits in",
    "rotation_seconds = 1.0\nparallel = 1.5": "must be a whole number",
    "rotation_seconds = 1.0\nname = 3": "must be a text",
    "rotation_seconds = ": "is not valid TOML",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_one_sentence(text, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(QupropError, match=BAD[text]) as caught:
        hardware(file)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_missing_files():
    with pytest.raises(QupropError, match="did you mean 'trapped_ion'"):
        hardware("traped_ion")
    with pytest.raises(QupropError, match=r"there is no file nowhere\.toml"):
        hardware("nowhere.toml")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3e-10, "0.3 ns"),
        (2.5e-6, "2.5 µs"),
        (0.012, "12 ms"),
        (1, "1 s"),
        (59.96, "60 s"),
        (90, "1.5 min"),
        (7200, "2 h"),
        (47 * 3600, "47 h"),
        (3 * 86400, "3 days"),
        (364 * 86400, "364 days"),
        (1e9, "31.7 years"),
        (1e16, "3.2e+08 years"),
    ],
)
def test_human_seconds(seconds, text):
    assert human_seconds(seconds) == text


def test_human_seconds_keeps_three_digits():
    for exponent in range(-8, 12):
        seconds = 1.2345 * 10.0**exponent
        number, unit = human_seconds(seconds).split()
        size = {
            "ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "days": 86400, "years": 365.25 * 86400
        }[unit]  # fmt: skip
        assert math.isclose(float(number.replace(",", "")) * size, seconds, rel_tol=0.02)
