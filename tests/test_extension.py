"""What is promised to cost one file and one line costs that."""

import importlib.util
import json
import sys

import numpy as np
import pytest

import quprop as qpr
from quprop.gradients import METHODS

METHOD = '''
"""Parameter shift, every run made twice."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.gradients.method import GradientMethod
from quprop.gradients.parameter_shift import shifted_runs
from quprop.gradients.shift_rules import Shift, shifts_of
from quprop.sampling.budget import Budget
from quprop.sampling.grouping import group
from quprop.sampling.linear import LinearPlan, driven
from quprop.sampling.loads import cost_of_load
from quprop.sampling.plan import Terms, settle


@dataclass(frozen=True, kw_only=True)
class TwiceShifted(GradientMethod, Budget):
    """The parameter-shift rule with every run in two halves."""

    name: ClassVar[str] = "twice_shifted"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True

    def compile(self, model, weights=None, *, at=None):
        w, terms = settle(model, weights), Terms.of(model)
        groups = group(terms.total(w), clifford=model.clifford)
        twice = [
            Shift(s.rotations, s.scales, np.tile(s.shifts, 2), np.tile(s.coefficients, 2) / 2)
            for s in shifts_of(model, driven(model).tolist(), "two_term")
        ]
        runs = shifted_runs(model, terms, groups, twice)
        return LinearPlan(model, terms, self, runs, weights=w, at=at, groups=groups)

    @classmethod
    def load(cls, facts):
        needs = float(np.asarray(facts.slopes.multiply(facts.reach[None, :]).max(axis=1).todense()).sum())
        return facts.own_circuits(4 * len(facts.trained), needs)

    @classmethod
    def described_load(cls, circuit):
        return circuit.own_circuits(4 * circuit.rotations)

    @classmethod
    def formula(cls, shape, wanted):
        return cost_of_load(shape, shape.loads[cls.name], wanted.variance(shape.parameters))
'''


@pytest.fixture
def twice_shifted(tmp_path, monkeypatch):
    """The file, and the line in `METHODS`."""
    (tmp_path / "twice_shifted.py").write_text(METHOD)
    spec = importlib.util.spec_from_file_location("twice_shifted", tmp_path / "twice_shifted.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "twice_shifted", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(METHODS, "twice_shifted", module.TwiceShifted)
    return module.TwiceShifted


def test_a_method_is_one_file_and_one_line(twice_shifted, quprop, tmp_path):
    assert "twice_shifted" in quprop("methods")[0]

    quprop("compare", "tfim", "--set", "n=3", "--set", "layers=1", "--precision", 0.2, "--json", "c.json")
    found = json.loads((tmp_path / "c.json").read_text())["methods"]
    ours = found["twice_shifted"]
    assert ours["cost"]["rotations"] >= found["parameter_shift"]["cost"]["rotations"]
    assert 0 < ours["measured"] < ours["bound"] and ours["unbiased"]

    quprop("plan", "--check", "--methods", "twice_shifted", "--json", "k.json")
    rows = json.loads((tmp_path / "k.json").read_text())
    assert len(rows) == 6 and {r["ratio"] for r in rows} == {1.0}

    quprop("plan", "hardware_efficient:10,4", "--precision", 0.1, "--json", "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["methods"]["twice_shifted"]["basis"] == "counted"


def test_a_method_without_a_formula_is_costed_by_its_plan_alone(twice_shifted, quprop, tmp_path, monkeypatch):
    for name in ("formula", "load", "described_load"):
        monkeypatch.delattr(twice_shifted, name)
    model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    found = qpr.compare(model, precision=0.1, theta=np.array([0.3]), methods=["twice_shifted"])
    assert not found.refused, found.refused
    assert found.rows[0].cost.measurements == 4 * 25
    out, _ = quprop("plan", "hardware_efficient:10,4", "--precision", 0.1, "--methods", "twice_shifted")
    assert "twice_shifted has no closed formula" in " ".join(out.split())
