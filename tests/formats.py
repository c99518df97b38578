"""What `fuzzing` feeds to quprop: every format that is read, a grammar of it, and what an accepted input must do.

`from formats import FORMATS`; those whose libraries are not installed are left out.
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import re
import shutil
import tempfile
import tomllib
from contextlib import suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import stim
import tomli_w
from changes import MARKUP, SMALL, change_tree, changed_bytes, changed_json, finite, numbers, places, random_string
from circuit_formats import changed_program, changed_qpy, make_qasm2, make_qasm3, make_qpy, read_qasm, read_qpy
from dense import pauli_matrix, sum_matrix
from faults import stopped
from fuzzing import CORPUS, Format, Wrong, known, one_sentence

import quprop as qpr
from quprop.cli.models import named
from quprop.cost import Cost
from quprop.hardware_models import hardware
from quprop.model.ansatz import data_reuploading
from quprop.problems.run import configure, definition_of
from quprop.problems.run import find as find_problem
from quprop.problems.table import PROBLEMS
from quprop.runs import RunFolder
from quprop.training.optimise import LBFGS, adam
from quprop.training.train import TrainingFailed, train

# -- models as JSON ----------------------------------------------------------------------------------------------------


def random_images(rng: random.Random, n: int) -> list[list[str]]:
    tableau = stim.Tableau(n)
    for _ in range(rng.choice([0, 2, 6])):
        name = rng.choice(["H", "S", "CX"] if n > 1 else ["H", "S"])
        tableau.append(stim.Tableau.from_named_gate(name), rng.sample(range(n), 2 if name == "CX" else 1))
    return [[str(f(q)) for q in range(n)] for f in (tableau.x_output, tableau.z_output)]


def random_model(rng: random.Random) -> dict[str, Any]:
    n, n_params, n_inputs = rng.randint(1, 4), rng.randint(0, 4), rng.randint(0, 3)

    def angle() -> dict[str, float]:
        names = [f"theta[{k}]" for k in range(n_params)] + [f"x[{k}]" for k in range(n_inputs)] + ["1"]
        out = {}
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            factors = [rng.choice(names) for _ in range(rng.choice([1, 1, 1, 2]))]
            name = "1" if "1" in factors else "*".join(sorted(factors))
            out[name] = rng.choice([1.0, -1.0, 0.5, math.pi, rng.gauss(0, 1), 0, 2])
        return out

    state: list[Any] = ["basis", rng.randrange(1 << n)]
    if n_inputs == 1 << n:
        state = ["encoded", 0]
    return {
        "format": "quprop-model",
        "version": 1,
        "n_qubits": n,
        "params": [["theta", n_params]] if n_params else [],
        "inputs": [["x", n_inputs]] if n_inputs else [],
        "state": state,
        "observables": [
            {random_string(rng, n) if rng.random() < 0.9 else "I": rng.gauss(0, 2) for _ in range(rng.randint(1, 3))}
            for _ in range(rng.choice([1, 1, 2]))
        ],
        "clifford": random_images(rng, n),
        "rotations": [[random_string(rng, n), angle()] for _ in range(rng.randint(0, 8))],
    }


def make_model(rng: random.Random) -> bytes:
    tree = random_model(rng)
    if rng.random() < 0.2:
        size = sum(k for _, k in tree["params"])
        theta = [rng.gauss(0, 1) for _ in range(size)] if rng.random() < 0.7 else None
        tree = {"format": "quprop-module", "version": 1, "name": rng.choice(["", "a", "<b>"]), "theta": theta,
                "frozen": theta is not None and rng.random() < 0.5, "model": tree}  # fmt: skip
    return json.dumps(tree).encode()


def read_model(data: bytes, folder: Path, dear: bool) -> bool:
    path = folder / "model.json"
    path.write_bytes(data)
    kind = qpr.Module if b"quprop-module" in data[:60] else qpr.Model
    made = kind.load(path)
    if dear:
        if kind.from_text(made.to_text()).to_text() != made.to_text():
            raise Wrong("what is written is not what was read")
        str(made)
        tree = json.loads(data)
        works(made.model if isinstance(made, qpr.Module) else made, tree.get("model", tree))
    return True


def dense_value(tree: dict[str, Any], theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> float:
    """Of the file's own numbers, by matrices; nothing of the model that was read takes part."""
    n = tree["n_qubits"]
    psi = np.zeros(1 << n, complex)
    psi[tree["state"][1]] = 1
    for string, angle in tree["rotations"]:
        turn = 0.0
        for monomial, coefficient in angle.items():
            factors = [] if monomial == "1" else monomial.split("*")
            chosen = [{"theta": theta, "x": x}[f.split("[")[0]][int(f.split("[")[1][:-1])] for f in factors]
            turn += coefficient * math.prod(chosen)
        matrix = pauli_matrix(qpr.PauliString.parse(string), n)
        psi = math.cos(turn / 2) * psi - 1j * math.sin(turn / 2) * (matrix @ psi)
    total = sum(w * sum_matrix(qpr.PauliSum(o), n) for w, o in zip(weights, tree["observables"], strict=True))
    return float(np.vdot(psi, total @ psi).real)


def works(model: qpr.Model, tree: dict[str, Any]) -> None:
    """Values and gradients are finite, or refused, and those of the reference and of dense matrices."""
    if model.n_qubits > SMALL or model.n_rotations > 500 or model.n_params + model.n_inputs > 2000:
        return
    theta, x = numbers(model.n_params), numbers(model.n_inputs) if model.n_inputs else None
    weights = numbers(model.n_observables)
    value, gradient = qpr.value_and_grad(model, theta, x, weights=weights)
    finite("a value or gradient", value, gradient)
    sizes = [sum(abs(c) for _, c in r.angle.terms) for r in model.rotations]
    scale = sum(abs(c) for o in model.observables for _, c in o.items())
    if max(sizes, default=0) > 1e4 or not np.isfinite(scale):
        return
    slope = 1 + sum(len(m) * abs(c) for r in model.rotations for m, c in r.angle.terms)
    value_2, gradient_2 = qpr.value_and_grad(model, theta, x, weights=weights, engine="reference")
    # Relative to what is added up; subnormal numbers have no digits left to compare.
    if abs(value - value_2) > 1e-10 * slope * scale + 1e-300:
        raise Wrong("the value is not the reference's", value, value_2)
    if model.state.kind == "basis" and model.n_qubits <= 4:
        value_3 = dense_value(tree, theta, numbers(model.n_inputs), weights)
        if abs(value - value_3) > 1e-10 * slope * scale + 1e-300:
            raise Wrong("the value is not that of the file's numbers", value, value_3)
    if np.abs(gradient - gradient_2).max(initial=0) > 1e-10 * slope**2 * scale + 1e-300:
        raise Wrong("the gradient is not the reference's", gradient, gradient_2)


# -- TOML --------------------------------------------------------------------------------------------------------------

CALLS = ["h(0)", "ry(theta[0], 1)", "cx(0, 1)", "rx(2*theta[1] + pi/4, 0)", "rotation('X0 Y1', theta[0]*theta[2])",
         "rzz(0.3, 0, 1)", "p(-theta[3], 1)", "rotation('Z0', 1e3)", "x(1)", "cz(1, 0)"]  # fmt: skip
BUILT = ("tfim", "hamiltonian", "maxcut", "h2")  # what is quickly made


def toml_tree(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.3:
        tree: dict[str, Any] = {"rotation_seconds": rng.choice([1e-6, 2e-3, 1, 0])}
        extra = {"name": "ours", "measurement_seconds": 5e-6, "overhead_seconds": 0.1, "parallel": 3, "qubits": 20,
                 "source": "our lab"}  # fmt: skip
        return tree | {k: v for k, v in extra.items() if rng.random() < 0.5}
    name = rng.choice([*PROBLEMS, *BUILT, *BUILT])
    tree = {"problem": {"name": name}, "model": {}, "train": {}}
    for section, settings in find_problem(name).schema.items():
        for key, setting in settings.items():
            if key in ("name", "file") or rng.random() < 0.6:
                continue
            value = setting.default
            if setting.choices:
                value = rng.choice(setting.choices)
            elif key == "gates":
                value = rng.sample(CALLS, rng.randint(1, 5))
            elif key == "terms":
                continue
            elif isinstance(value, bool):
                value = rng.random() < 0.5
            elif isinstance(value, int):
                value = rng.randint(int(setting.least or 0), 5)
            elif isinstance(value, float):
                value = rng.choice([value, 0.5, 1, abs(rng.gauss(0, 1))])
            if value is not None:
                tree[section][key] = value
    if name == "hamiltonian":
        tree["problem"]["terms"] = {random_string(rng, 3): rng.gauss(0, 1) for _ in range(rng.randint(1, 4))}
    return tree


def make_toml(rng: random.Random) -> bytes:
    return tomli_w.dumps(toml_tree(rng)).encode()


def changed_toml(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.2:
        return changed_bytes(rng, data, other)
    try:
        tree, donor = (tomllib.loads(d.decode()) for d in (data, other))
        change_tree(rng, tree, donor)
        return tomli_w.dumps(tree).encode()
    except (ValueError, TypeError, RecursionError):  # what was no TOML, or JSON's null, which TOML lacks
        return changed_bytes(rng, data, other)


def read_toml(data: bytes, folder: Path, dear: bool) -> bool:
    path = folder / "given.toml"
    path.write_bytes(data)
    if b"rotation_seconds" in data:
        finite("a time", hardware(path).seconds(Cost(copies=3, rotations=100, measurements=7, depth=50, qubits=2)))
        return True
    name, given = named(str(path))
    config = configure(name, given)
    sizes = (config["problem"].get("n") or 0, config["model"].get("layers", 0), len(config["model"].get("gates", ())))
    if dear and name in BUILT and max(sizes) <= SMALL and len(config["problem"].get("terms", "")) < 20:
        if name == "hamiltonian" and any(len(re.findall(r"\d\d", k)) for k in config["problem"]["terms"]):
            return True  # of many qubits
        problem = find_problem(name).build(config)
        if problem.model.n_qubits <= SMALL:
            theta = problem.start(np.random.default_rng(0))["theta"]
            finite("an energy", qpr.expectation(problem.model, theta))
            finite("a reference", problem.reference.get("reference_energy", 0.0))
    return True


# -- runs --------------------------------------------------------------------------------------------------------------


def _samples() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(4, 3))
    return x, (x[:, 0] > 0).astype(int)


def _resume(kind: str, out: Path, begin: bool = False) -> Any:
    model = qpr.Model(data_reuploading(2, 1, 3), ["Z0", "Z1"])
    common = {"data": _samples(), "head": True, "rng": 3, "threads": 1, "out": out, "checkpoint_seconds": 0.0}
    if kind == "lbfgs":
        alone = qpr.Model(qpr.ansatz.hardware_efficient(2, 1), {"Z0 Z1": 1.0, "X0": -0.7})
        steps = {"steps": 3}
        return train(alone, optimiser=LBFGS(), resume=not begin, **steps, **{k: common[k] for k in list(common)[2:]})
    optimiser = stopped(adam(0.05), 2) if begin else adam(0.05)
    return train(model, "cross_entropy", optimiser=optimiser, batch_size=2, epochs=2, resume=not begin, **common)


@cache
def _begun(kind: str) -> dict[str, bytes]:
    """A run folder of two optimiser steps, or of L-BFGS, file -> content: that of the corpus, whose checkpoints belong
    to it, or where it has none a new one."""
    path = CORPUS / "run" / f"{kind}.json"
    if path.exists():
        return unpacked(path.read_bytes())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        with suppress(KeyboardInterrupt):
            _resume(kind, folder, begin=True)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_checkpoint(rng: random.Random) -> bytes:
    """As it was written, or with other numbers of the right kind and the sums that go with them."""
    data = _begun(rng.choice(["pairs", "lbfgs"]))["checkpoint.npz"]
    return rebuilt(rng, data, valid=True)


def rebuilt(rng: random.Random, data: bytes, valid: bool = False) -> bytes:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    key = rng.choice(list(arrays))
    array = arrays[key]
    if valid:
        if array.dtype == float and not key.startswith(("points", "losses", "slopes")):
            arrays[key] = array + rng.gauss(0, 0.1)
    elif key == "meta":
        tree = json.loads(array.tobytes())
        change_tree(rng, tree, tree)
        arrays[key] = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    else:
        kind = rng.randrange(9)
        if kind < 4 and array.size:
            odd = [np.nan, np.inf, 1e308, -1, 0, 7, 2**40]
            arrays[key] = array.copy()
            arrays[key].flat[rng.randrange(array.size)] = rng.choice(odd if array.dtype == float else odd[3:])
        elif kind == 4:
            with np.errstate(all="ignore"):
                other = rng.choice([np.float32, np.int32, complex, bool, "S4", "U2"])
                arrays[key] = array.astype(other, casting="unsafe")
        elif kind == 5:
            arrays[key] = rng.choice([array[None], array.ravel()[:-1], array.ravel()[:0], np.zeros((2, 2))])
        elif kind == 6:
            del arrays[key]
        elif kind == 7:
            arrays[key] = arrays[rng.choice(list(arrays))]
        else:
            arrays[rng.choice(["params/x", "state/9", "../up", "meta2", "file"])] = array
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def changed_checkpoint(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.2:
        return changed_bytes(rng, data, other)
    try:
        return rebuilt(rng, data)
    except Exception:  # it is damaged already
        return changed_bytes(rng, data, other)


def read_checkpoint(data: bytes, folder: Path, dear: bool) -> bool:
    kind = "lbfgs" if b"slopes.npy" in data else "pairs"
    run = _written(folder, {**_begun(kind), "checkpoint.npz": data})
    return _goes_on(kind, run)


def _goes_on(kind: str, run: Path) -> bool:
    try:
        result = _resume(kind, run)
    except TrainingFailed as failed:  # the state was of the right form, and led nowhere
        one_sentence(str(failed))
        return False
    finite("a resumed run", result.loss, *result.params.values())
    return True


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for name, content in files.items():
        (run / name).write_bytes(content)
    return run


RUN_FILES = ("run.toml", "model.json", "metrics.jsonl", "checkpoint.npz", "summary.json", "rows.jsonl")


def packed(files: dict[str, bytes]) -> bytes:
    """A folder as JSON: texts with bytes as letters of Latin-1, archives in base64."""
    kept = {name: files[name] for name in RUN_FILES if name in files}
    return json.dumps(
        {k: base64.b64encode(v).decode() if k.endswith(".npz") else v.decode("latin-1") for k, v in kept.items()}
    ).encode()


def unpacked(data: bytes) -> dict[str, bytes]:
    files = json.loads(data)
    return {k: base64.b64decode(v) if k.endswith(".npz") else v.encode("latin-1") for k, v in files.items()}


def make_run(rng: random.Random) -> bytes:
    files = dict(_begun(rng.choice(["pairs", "lbfgs"])))
    for name in ("checkpoint.npz", "model.json", "metrics.jsonl"):
        if rng.random() < 0.1:
            del files[name]
    return packed(files)


def changed_run(rng: random.Random, data: bytes, other: bytes) -> bytes:
    try:
        files, donor = unpacked(data), unpacked(other)
        name = rng.choice(list(files))
    except IndexError:  # nothing is left in it
        return data
    content, theirs = files[name], donor.get(name, b"")
    if rng.random() < 0.1:
        files[rng.choice(RUN_FILES)] = files.pop(name)
    elif name == "run.toml":
        files[name] = changed_toml(rng, content, theirs)
    elif name.endswith(".json"):
        files[name] = changed_json(rng, content, theirs)
    elif name.endswith(".jsonl"):
        lines = content.split(b"\n")
        k = rng.randrange(len(lines))
        lines[k] = changed_json(rng, lines[k], rng.choice(lines))
        files[name] = b"\n".join(lines)
    else:
        files[name] = changed_checkpoint(rng, content, theirs)
    return packed(files)


def read_run(data: bytes, folder: Path, dear: bool) -> bool:
    """The report shows it or says why not, and it goes on or is refused."""
    files = unpacked(data)
    run = _written(folder, files)
    if find_spec("jinja2") and dear:
        _shown(run)
    with suppress(qpr.QupropError):
        definition_of(RunFolder.open(run))
    kind = "lbfgs" if "LBFGS" in files.get("run.toml", b"").decode("latin-1") else "pairs"
    return _goes_on(kind, run)


# -- reports -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _results() -> list[bytes]:
    return [path.read_bytes() for path in known("report") if not path.name.startswith(("found-", "bad-"))]


def make_report(rng: random.Random) -> bytes:
    """A result with other numbers."""
    tree = [json.loads(rng.choice(_results()))]
    spots = [(c, k) for c, k in places(tree) if isinstance(c[k], float)]
    for container, key in rng.sample(spots, min(len(spots), 3)):
        container[key] *= rng.uniform(0.5, 2)
    return json.dumps(tree[0]).encode()


def read_report(data: bytes, folder: Path, dear: bool) -> bool:
    path = folder / "result.json"
    path.write_bytes(data)
    return _shown(path)


def _shown(path: Path) -> bool:
    """Whether a report of it has sections; every note is one line and no text becomes markup."""
    from quprop.report import collect, render

    report = collect([path])
    for note in report.all_notes():
        one_sentence(note)
    if MARKUP in render(report):
        raise Wrong("a text of the file is markup in the report")
    return bool(report.sections)


# -- all ---------------------------------------------------------------------------------------------------------------

FORMATS = {
    "model": Format(".json", make_model, changed_json, read_model),
    "toml": Format(".toml", make_toml, changed_toml, read_toml),
    "checkpoint": Format(".npz", make_checkpoint, changed_checkpoint, read_checkpoint),
    "run": Format(".json", make_run, changed_run, read_run),
}
if find_spec("jinja2") and find_spec("plotly"):
    from quprop.report.bundle import plotly_gzip

    plotly_gzip()  # once, before any process is forked
    FORMATS["report"] = Format(".json", make_report, changed_json, read_report)
if find_spec("openqasm3") and find_spec("qiskit"):
    import qiskit.qasm2
    import qiskit.qasm3
    import qiskit.quantum_info

    for _version, _make in ((2, make_qasm2), (3, make_qasm3)):
        FORMATS[f"qasm{_version}"] = Format(".qasm", _make, changed_program, read_qasm(_version))
if find_spec("qiskit"):
    import qiskit.qpy  # noqa: F401

    FORMATS["qpy"] = Format(".qpy", make_qpy, changed_qpy, read_qpy)
