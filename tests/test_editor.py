"""What an editor, a type checker and `dir` see is what there is."""

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import iter_modules

import dense
import numpy as np
import pytest
import scipy.linalg
from rooms import modules
from tolerances import assert_close

import quprop as qpr
from quprop.model.channels import CHANNELS
from quprop.model.gate_methods import parts
from quprop.model.gates import GATES

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(m for m, p in modules().items() if p.name == "__init__.py")


def _stubs():
    spec = importlib.util.spec_from_file_location("gate_stubs", ROOT / "tools" / "gate_stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.text()


def test_the_stub_of_the_gates_is_what_the_tables_make_of_it():
    written = Path(qpr.__file__).with_name("model") / "gate_methods.pyi"
    assert written.read_text(encoding="utf-8") == _stubs(), "run python tools/gate_stubs.py"


@pytest.mark.parametrize("name", [*GATES, *CHANNELS])
def test_a_gate_method_takes_what_its_stub_says_and_says_what_it_does(name):
    stub = {node.name: node for node in ast.walk(ast.parse(_stubs())) if isinstance(node, ast.FunctionDef)}[name]
    method, given = getattr(qpr.Circuit, name), inspect.signature(getattr(qpr.Circuit, name)).parameters
    assert [a.arg for a in (*stub.args.posonlyargs, *stub.args.args)] == list(given)
    assert ast.get_docstring(stub).split() == method.__doc__.split()
    angles, qubits, optional, what = parts(name)
    circuit = getattr(qpr.Circuit(3), name)(*(0.1 for _ in angles), *range(len(qubits)), **optional)
    assert circuit.operations[-1].name == name and what in method.__doc__ and name in dir(circuit)


def _matrix(text, values):
    """What a formula of `GATES` says, with numbers for its angles."""
    pauli = {a + b: np.kron(dense.PAULI[a], dense.PAULI[b]) for a in "IXYZ" for b in "IXYZ"}
    names = {"i": 1j, "pi": np.pi, "cos": np.cos, "sin": np.sin, "sqrt": np.sqrt, "array": np.array, **pauli, **values}
    names |= {k: m for k, m in dense.PAULI.items() if k != "I"}
    names |= {"diag": lambda *d: np.diag(d), "exp": lambda m: scipy.linalg.expm(m) if np.ndim(m) else np.exp(m)}
    formula = re.sub(r"(?<=[\w)]) +(?=[\w(])", "*", re.sub(r"\[\[.*\]\]", r"array(\g<0>)", text))
    return eval(formula, {}, names)


@pytest.mark.parametrize("name", GATES)
def test_the_formula_in_a_gates_docstring_is_the_gate(name):
    gate = GATES[name]
    values = dict(zip(inspect.signature(gate.builder).parameters, [0.7, -1.1, 2.3], strict=False))
    controls = {"controlled": 1, "doubly controlled": 2}
    words = re.match(r"(doubly )?controlled ", gate.what)
    said = _matrix(gate.what[words.end() if words else 0 :], values)
    for _ in range(controls[words[0].strip()] if words else 0):
        said = scipy.linalg.block_diag(np.eye(len(said)), said)
    right = dense.TURNING[name](*values.values(), np) if values else dense.FIXED[name]
    overlap = np.trace(right.conj().T @ said)  # equal up to a global phase
    assert_close(abs(overlap), len(right), 100)
    assert_close(said, right * overlap / len(right), 100)


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_lists_what_is_public_and_a_static_reader_finds_it(package):
    try:
        module = importlib.import_module(package)
    except qpr.QupropError as missing:
        pytest.skip(str(missing))
    tree = ast.parse(modules()[package].read_text())
    found = {m.name for m in iter_modules(module.__path__)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {a.asname or a.name for a in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    listed = dir(module)
    assert listed == sorted(set(listed)) and set(getattr(module, "__all__", ())) <= set(listed) <= found
    assert not [name for name in listed if name.startswith("_")] and not {"Any", "TYPE_CHECKING", "lazy"} & set(listed)


def test_dir_of_quprop_is_what_a_user_needs():
    listed = set(dir(qpr))
    assert {"Circuit", "Model", "cut", "QuantumLayer", "from_pennylane", "from_qasm", "carleman", "problems"} <= listed
    assert not {"Any", "seeds", "angle_table", "simulate", "arrays"} & listed
    assert set(qpr.hybrid.WHERE) <= listed


def test_listing_names_imports_nothing():
    code = "import sys, quprop; dir(quprop); dir(quprop.hybrid); print(*(n for n in sys.modules if '.' not in n))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "jax", "pennylane", "qiskit"} & set(loaded)


@pytest.mark.parametrize(
    "code, names",
    [
        ("qpr.Circuit(2).r", {"rx", "ry", "rz", "rxx", "rotation", "reset"}),
        ("qpr.Circuit(2).rx(0.3, 0).h(1).d", {"depolarising"}),
        ("qpr.from_", {"from_pennylane", "from_qiskit", "from_qasm", "from_stim", "from_openfermion"}),
        ("qpr.Quantum", {"QuantumLayer", "QuantumBackprop"}),
        ("qpr.carleman.l", {"lift"}),
        ("qpr.params('t', 2)[0].d", {"degree"}),
    ],
)
def test_an_editor_completes(code, names):
    jedi = pytest.importorskip("jedi")
    offered = {c.name for c in jedi.Script(f"import quprop as qpr\n{code}").complete()}
    assert names <= offered, offered


def test_a_notebook_offers_what_dir_lists():
    jedi = pytest.importorskip("jedi")
    offered = {c.name for c in jedi.Interpreter("qpr.", [{"qpr": qpr}]).complete()}
    assert {name for name in offered if not name.startswith("_")} == set(dir(qpr))


PROGRAM = """
import numpy as np
import quprop as qpr
theta = qpr.params("theta", 3)
circuit = qpr.Circuit(2).rx(0.3, 0).ry(2 * theta[1], np.int64(1))
circuit.thermal_relaxation(1, 2, np.float64(0.1), 0, excited=0.1)
reveal_type(circuit)
reveal_type(qpr.from_qasm(""))
reveal_type(qpr.from_qasm("", "Z0"))
reveal_type(qpr.cut(circuit, "Z0"))
layer = qpr.QuantumLayer(circuit, observables="Z0")
reveal_type(layer)
reveal_type(layer.out_features)
reveal_type(layer.cost)
circuit.foo(1)  # wrong
circuit.rx("a", 0)  # wrong
circuit.rx(0.1)  # wrong
qpr.foo  # wrong
qpr.QuantumLayer(circuit, forward_shot=3)  # wrong
"""
REVEALED = [
    "circuit.Circuit",
    "circuit.Circuit",
    "model.Model",
    "plan.CutPlan",
    "torch.QuantumLayer",
    "int",
    "cost.Cost",
]


@pytest.mark.slow
@pytest.mark.parametrize("libraries", ["skip", "normal"], ids=["no torch", "with torch"])
def test_a_type_checker_knows_the_names_and_refuses_others(libraries, tmp_path):
    """follow_imports=skip is what a user without these libraries has: their types are Any."""
    api = pytest.importorskip("mypy.api")
    text, revealed = PROGRAM, list(REVEALED)
    if libraries == "normal":
        pytest.importorskip("torch")
        text = text.replace("layer.cost)\n", "layer.cost)\nreveal_type(layer())\n")
        revealed.append("Tensor")
    (tmp_path / "program.py").write_text(text)
    skipped = "[mypy-torch.*,jax.*,pennylane.*,qiskit.*]\nignore_missing_imports = true\nfollow_imports = skip\n"
    source = Path(qpr.__file__).parent.parent
    found = (
        "" if source.name == "site-packages" else f"mypy_path = {source}\n"
    )  # mypy looks there by itself, or refuses
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n{found}{skipped if libraries == 'skip' else ''}")
    out, problem, _ = api.run([f"--config-file={tmp_path}/mypy.ini", f"--cache-dir={tmp_path}/cache", str(tmp_path)])
    ours = [line for line in out.splitlines() if "program.py:" in line]
    said = [line.split('"')[1] for line in ours if "Revealed type" in line]
    assert not problem and len(said) == len(revealed), out
    assert all(s.endswith(r) for s, r in zip(said, revealed, strict=True)), said
    wrong = {k for k, line in enumerate(text.splitlines(), 1) if line.endswith("# wrong")}
    assert {int(line.split(":")[1]) for line in ours if ": error:" in line} == wrong, ours


def test_types_are_shipped():
    assert Path(qpr.__file__).with_name("py.typed").is_file()
    assert isinstance(qpr.Circuit.rx, Callable)
