"""What a notebook shows of results, what `print` says, and rows for data frames."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

import quprop as qpr
from quprop import tables
from quprop.modules.cutting import cut
from quprop.planning import plan_training, shape_of
from quprop.planning.classical import plan_network
from quprop.planning.compare_table import parts
from quprop.planning.measured.sweep import fits, tasks
from quprop.runs.executor import run_tasks

THETA = qpr.params("theta", 6)
EVIL = "<script>&\"'[bold]"


def model(observables="Z0 Z1 + 0.5*X2"):
    return qpr.Model(qpr.ansatz.hardware_efficient(3, 2), observables)


def estimated(size=12):
    return qpr.ParameterShift(shots=50).compile(model()).estimate(np.linspace(0, 1, size), rng=1)


def compared():
    names = ["adjoint", "parameter_shift", "pair_state", "commuting_blocks", "amplitude_estimation", "gentle_sweep"]
    return qpr.compare(model(), precision=0.1, methods=names, run_seconds=0.2)


SHOWN = {
    "circuit": lambda: qpr.Circuit(2, "01").ry(THETA[0], 0).cx(0, 1),
    "long circuit": lambda: qpr.ansatz.hardware_efficient(4, 100),
    "wide circuit": lambda: qpr.ansatz.hardware_efficient(100, 1),
    "model": model,
    "noisy model": lambda: qpr.Model(qpr.Circuit(2).ry(THETA[0], 0).depolarising(0.1, 0), ["Z0", "Z1"]),
    "cost": lambda: estimated().cost,
    "estimate": estimated,
    "batch": lambda: qpr.ParameterShift(shots=5).compile(model()).estimate(np.zeros((3, 12)), rng=1),
    "plan": lambda: qpr.ParameterShift(shots=50).compile(model()),
    "adjoint plan": lambda: qpr.Adjoint().compile(model()),
    "training plan": lambda: plan_training(shape_of(model()), precision=0.1, steps=10),
    "network plan": lambda: plan_network("mlp", 2410, precision=0.1, steps=100),
    "cut plan": lambda: cut(qpr.Model(qpr.ansatz.hardware_efficient(4, 1, ring=False), "Z0 Z3"), max_qubits=2),
    "comparison": compared,
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_notebook_shows_is_well_formed_and_has_no_black_and_no_white(name):
    html = SHOWN[name]()._repr_html_()
    ET.fromstring(html)
    assert not re.search(r"black|white|#000|#fff|background", html, re.IGNORECASE)
    assert "\n\n" not in html and len(html) < 60_000


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_notebook_shows_is_short_however_large_the_thing(name):
    root = ET.fromstring(SHOWN[name]()._repr_html_())
    assert all(len(table.findall("./tbody/tr")) <= 20 for table in root.iter("table"))


def test_what_is_shown_is_escaped():
    table = tables.narrow_table(EVIL, "value", first=tables.literal(EVIL))
    table.add_row(tables.literal(EVIL), "1")
    root = ET.fromstring(tables.html([tables.Sentence(EVIL), table]))
    assert [e.text for e in root.iter() if e.text == EVIL] == [EVIL] * 4 and not list(root.iter("script"))
    assert tables.text([table]).count(EVIL) == 3
    machine = qpr.hardware("figure2")
    found = compared()
    object.__setattr__(found, "hardware", type(machine)(**{**vars_of(machine), "name": EVIL}))
    assert "<script" not in found._repr_html_()


def vars_of(machine):
    return {name: getattr(machine, name) for name in type(machine).__dataclass_fields__}


def test_long_tables_are_folded_and_say_how_much_is_left_out():
    found = estimated()
    big = type(found)(np.arange(212.0), np.ones(212), found.cost)
    rows = [[cell.text for cell in row] for row in ET.fromstring(big._repr_html_()).iter("tr")]
    assert len(rows) == 1 + 12 + 1 and rows[1:4] == [["0", "0", "1"], ["1", "1", "1"], ["2", "2", "1"]]
    assert rows[-1][0] == "... 200 more"


@pytest.mark.parametrize(("rows", "shown"), [(11, 11), (12, 12), (13, 13), (400, 13)])
def test_a_folded_table_has_twelve_rows_and_one_for_the_rest(rows, shown):
    table = tables.folded(tables.narrow_table("", "n"), [(f"row {k}", str(k)) for k in range(rows)])
    lines = tables.text([table]).splitlines()[1:]
    assert len(lines) == shown and (rows <= 12 or lines[-1] == f"... {rows - 12} more")


def test_an_estimate_is_shown_with_its_values_errors_and_cost():
    found = estimated()
    rows = [[cell.text for cell in row] for row in ET.fromstring(found._repr_html_()).iter("tr")][1:]
    for k, (place, value, error) in enumerate(rows):
        assert int(place) == k and float(value) == pytest.approx(found.value[k], rel=1e-5, abs=1e-12)
        assert float(error) == pytest.approx(found.stderr[k], rel=0.05, abs=1e-12)
    assert len(rows) == 12 and str(found.cost) in found._repr_html_()
    counts = [[cell.text for cell in row] for row in ET.fromstring(found.cost._repr_html_()).iter("tr")][1:]
    assert ["rotations", f"{found.cost.rotations:,}"] in counts


LATEX = {
    "-Z0 Z1 + 0.5*X2": r"$-Z_{0} Z_{1} + 0.5\,X_{2}$",
    "1e-7*Y12 - 2.5*I": r"$1 \times 10^{-7}\,Y_{12} - 2.5\,I$",
    "0": "$0$",
}


@pytest.mark.parametrize("text", LATEX)
def test_a_sum_is_written_as_in_a_paper(text):
    assert qpr.PauliSum(text)._repr_latex_() == LATEX[text]


def test_a_long_sum_is_folded_and_a_string_has_its_sign():
    total = qpr.PauliSum({f"X{k}": 1.0 for k in range(212)})
    assert total._repr_latex_().endswith(r" + X_{11} + \cdots \text{ (200 more terms)}$")
    assert qpr.PauliString.parse("-i X0 Z11")._repr_latex_() == "$-iX_{0} Z_{11}$"


# -- print ------------------------------------------------------------------------------------------------------------


def test_a_printed_comparison_is_the_table_of_the_command_line(quprop):
    found = qpr.compare(model(), precision=0.1, methods=["parameter_shift", "pair_state"], run_seconds=0, **point())
    model().save("m.json")
    asked = ["--precision", "0.1", "--methods", "parameter_shift,pair_state", "--run-limit", "0"]
    printed, _ = quprop("compare", "m.json", *asked)
    here, there = ([line.rstrip() for line in text.splitlines()] for text in (str(found), printed))
    begins = [lines.index(next(x for x in lines if x.startswith("Standard error"))) for lines in (here, there)]
    assert there[begins[1] :] == here[begins[0] :]  # after the name and the largest component
    assert max(map(len, here)) <= 80


def point():
    return {"theta": np.linspace(0, 1, 12)}


def test_the_columns_of_a_printed_table_are_aligned():
    table = tables.narrow_table("title", "copies", "omega")
    table.add_row("adjoint", "1", "ω=2")
    table.add_row("parameter_shift", "1,000", "3")
    assert tables.text([table]).splitlines() == [
        "title",
        "                copies omega",
        "adjoint              1   ω=2",
        "parameter_shift  1,000     3",
    ]


def test_a_table_is_printed_whole_on_a_narrow_terminal():
    text = tables.text(parts(compared()))
    assert "parameter_shift" in text and "…" not in text


# -- data frames ------------------------------------------------------------------------------------------------------


def scaling_rows():
    return run_tasks(tasks(["hardware_efficient"], ["parameter_shift"], m_max=64, m_min=16, instances=1, max_error=0.5))


def scaling_fits():
    return [f.as_dict() for f in fits(scaling_rows())]


ROWS = {
    "comparison": lambda: compared().table(),
    "training plan": lambda: SHOWN["training plan"]().table(),
    "scaling": lambda: tables.flat_rows(scaling_rows()),
    "fits": lambda: tables.flat_rows(scaling_fits()),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_have_one_set_of_columns_of_numbers_and_texts(name):
    rows = ROWS[name]()
    assert rows and len({tuple(row) for row in rows}) == 1
    for row in rows:
        assert all(v is None or isinstance(v, bool | int | float | str) for v in row.values()), row


def test_rows_make_a_data_frame_with_numbers_as_numbers():
    pandas = pytest.importorskip("pandas")
    found = compared()
    frame = pandas.DataFrame(found.table()).set_index("name")
    assert not (frame.map(type).isin([dict, list, tuple])).any(axis=None)
    assert frame.loc["parameter_shift", "cost_rotations"] == next(
        r.cost.rotations for r in found.rows if r.name == "parameter_shift"
    )
    assert frame["cost_rotations"].dtype.kind == "i" and frame["omega_time"].dtype.kind == "f"


def test_flat_joins_names_and_keeps_lists_as_text():
    assert tables.flat({"a": 1, "cost": {"copies": 2, "of": {"x": None}}, "points": [[1, 2]]}) == {
        "a": 1, "cost_copies": 2, "cost_of_x": None, "points": "[[1, 2]]",
    }  # fmt: skip


def test_importing_quprop_does_not_import_what_prints():
    import subprocess
    import sys

    code = "import sys, quprop; quprop.Circuit(1).h(0).draw(); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Console  # it is there for the others
