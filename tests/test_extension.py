"""What is promised to cost one file and one line costs that."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
from quprop.sampling.plan import settle
from quprop.sampling.terms import Terms


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


@pytest.mark.slow
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


ANSATZ = '''def ladder(n: int, layers: int) -> Circuit:
    """Layers of RX on all qubits and a chain of CX. Parameters: theta[layer, qubit]. Reference: none."""
    theta = params("theta", n * layers)
    circuit = Circuit(n, params=theta)
    for k, angle in enumerate(theta):
        circuit.rx(angle, k % n)
        if k % n == n - 1:
            _entangle(circuit, "cx", ring=False)
    return circuit


'''
PROBLEM = '''"""Minus X on one qubit."""

from quprop.model import Model
from quprop.problems.config import Setting
from quprop.problems.energies import circuit, exact_reference, judge_energy, model_settings
from quprop.problems.spec import Problem, Spec, train_settings
from quprop.training.losses import Expectation


def build(config):
    wanted = circuit(config, 1, {})
    model = Model(wanted, {"X0": -1.0})
    reference = exact_reference(model.observables[0], 1)
    start = lambda rng: {"theta": 0.1 * rng.normal(size=model.n_params)}
    return Problem(model, Expectation(), start, reference=reference, judge=judge_energy(reference), circuit=wanted)


SPEC = Spec(
    "minus X",
    {
        "problem": {"name": Setting("minus-x", "this problem")},
        "model": model_settings("hardware_efficient", 1),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=50),
    },
    build,
)
'''
COMMAND = '''"""``quprop hello``: says so."""

from quprop.cli.common import Json, reported
from quprop.runs import write_json

EPILOG = "An example."


@reported
def hello_command(json_file: Json = None) -> None:
    """Say hello."""
    if json_file is not None:
        write_json(json_file, {"kind": "hello"})
    print("hello")
'''
EDITS = [  # a file of the package, after what, and what is added
    ("model/ansatz.py", '_ENTANGLERS = ("cx", "cz")\n', "\n\n" + ANSATZ),
    ("model/ansatz.py", "ANSATZE: dict[str, Ansatz] = {\n", '    "ladder": Ansatz(ladder, "n,layers"),\n'),
    ("problems/table.py", "from quprop.problems import ", "minus_x, "),
    ("problems/table.py", "PROBLEMS: dict[str, Spec] = {\n", '    "minus-x": minus_x.SPEC,\n'),
    ("cli/app.py", "COMMANDS = (", '"hello", '),
]
RUN = """
import sys
from quprop.cli import app
for line in sys.stdin.read().splitlines():
    try:
        app(line.split())
    except SystemExit as end:
        assert not end.code, line
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with an ansatz, a problem and a command more, and what runs its commands."""
    package = tmp_path_factory.mktemp("extended") / "quprop"
    shutil.copytree(Path(qpr.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, after, added in EDITS:
        text = (package / name).read_text()
        assert text.count(after) == 1, name
        (package / name).write_text(text.replace(after, after + added))
    (package / "problems" / "minus_x.py").write_text(PROBLEM)
    (package / "cli" / "hello.py").write_text(COMMAND)

    def run(folder, *commands):
        options = {"cwd": folder, "input": "\n".join(commands), "capture_output": True, "text": True, "check": False}
        done = subprocess.run(
            [sys.executable, "-c", RUN], env=os.environ | {"PYTHONPATH": str(package.parent)}, timeout=120, **options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_an_ansatz_is_one_function_and_one_line(extended, tmp_path):
    """Python, train, plan and scaling take its name."""
    out = extended(
        tmp_path,
        "train tfim --set n=3 --set ansatz=ladder --set layers=2 --set steps=3 --out run --json t.json",
        "plan ladder:3,2 --precision 0.1 --json p.json",
        "scaling --family ladder --methods parameter_shift --m-min 16 --m-max 64 --instances 1 --out s --json s.json",
    )
    read = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in "tps"}
    assert read["t"]["n_params"] == 6 and read["p"]["shape"]["rotations"] == 6
    assert {row["settings"]["m"] for row in read["s"]["rows"]} == {16, 32, 64} and "ladder" in out


@pytest.mark.slow
def test_a_problem_is_one_file_and_one_line(extended, tmp_path):
    """train, compare and plan take its name, and the list of problems has it."""
    out = extended(
        tmp_path,
        "train minus-x --out run --json t.json",
        "compare minus-x --precision 0.3 --methods adjoint,parameter_shift",
        "plan minus-x --precision 0.1",
        "train --help",
    )
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["energy"] == pytest.approx(-1, abs=1e-9) == found["reference_energy"]
    assert out.count("minus-x") >= 4 and "minus X" in out


def test_a_command_is_one_file_and_one_line(extended, tmp_path):
    out = extended(tmp_path, "hello --json h.json", "--help")
    assert out.startswith("hello\n") and "Say hello." in out
    assert json.loads((tmp_path / "h.json").read_text()) == {"kind": "hello"}
