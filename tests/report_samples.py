"""Results of every kind for tests of the HTML report: real ones where that is quick, else of the same shape."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

import quprop as qpr
from quprop.cli import app
from quprop.gradients import QuantumBackprop
from quprop.planning.compare import compare
from quprop.planning.measured.fit import fit_exponent
from quprop.planning.measured.sweep import Fit
from quprop.problems.run import configure, run
from quprop.runs import write_json
from quprop.training.train import train


def small_model(n=3, layers=2):
    theta, x = qpr.params("theta", 2 * n * layers), qpr.inputs("x", n)
    circuit, angles = qpr.Circuit(n), iter(theta)
    for _ in range(layers):
        for q in range(n):
            circuit.ry(x[q], q).ry(next(angles), q).rz(next(angles), q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    return qpr.Model(circuit, ["Z0"])


def problem_run(folder):
    """As `quprop train` leaves it."""
    run(configure("tfim", {"problem": {"n": 4}, "train": {"steps": 12}}), out=folder)
    return folder


def shots_run(folder):
    """From Python, with a method that measures: copies and rotations in the metrics, no summary."""
    x = np.random.default_rng(0).uniform(-1, 1, (8, 3))
    y = np.sign(x.sum(1))[:, None]
    method = qpr.ParameterShift(shots=20)
    train(
        small_model(), "mean_square", data=(x, y), test=(x, y), method=method, steps=6, rng=1, batch_size=4, out=folder
    )
    return folder


def long_run(folder, steps=10_000):
    """A run of that many lines with one spike and one dip, and its summary; returns the losses."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    loss = 2.0 * np.exp(-np.arange(steps) / (steps / 5)) + 0.01 * rng.normal(size=steps)
    loss[steps // 3], loss[2 * steps // 3] = 25.0, -9.0
    rows = [
        {
            "step": i + 1,
            "epoch": i + 1,
            "loss": v,
            "train_accuracy": float(rng.uniform()),
            "test_loss": 5.0 - 1e-4 * i,
            "test_accuracy": float(rng.uniform()),
            "copies": 37 * (i + 1),
            "rotations": 111 * (i + 1),
            "seconds": 0.01 * i,
        }
        for i, v in enumerate(loss.tolist())
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "run.toml").write_text(
        f'[train]\nloss = "MeanSquare"\ntotal_steps = {steps}\n[versions]\nquprop = "0.1.0"\n'
    )
    return loss


def comparison(path):
    found = compare(small_model(2, 1), precision=0.1, methods=["adjoint", "parameter_shift", "hadamard_test"], rng=0)
    write_json(path, {"what": "small", "seed": 0, **found.as_dict()})
    return path


def scaling(folder):
    folder.mkdir()
    fits, rows = [], []
    for method, power, theory in (("parameter_shift", 2.0, 2.0), ("commuting_blocks", 1.1, 1.0)):
        m = np.array([64, 128, 256, 512])
        y = 7.0 * m**power * np.array([1.02, 0.99, 1.0, 1.01])
        points = tuple((int(a), 0, float(b)) for a, b in zip(m, y, strict=True))
        exponent = fit_exponent(m, y)
        fits.append(
            Fit("commuting_generator", method, 0.1, exponent, exponent, theory, f"M^{theory:g}", points).as_dict()
        )
        rows += [
            {
                "key": f"{method}{a}",
                "settings": {"family": "commuting_generator", "method": method, "m": a},
                "result": {"rotations": b, "reached": True},
            }
            for a, _, b in points
        ]
    rows.append(
        {"key": "no", "settings": {"family": "pauli_list", "method": "spsa", "m": 64}, "result": {"refused": "no"}}
    )
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_json(
        folder / "summary.json",
        {"max_error": 0.1, "seed": 0, "fits": fits, "rows": rows, "versions": {"quprop": "0.1.0"}},
    )
    return folder


def sweep(path):
    theta = qpr.params("theta", 12)
    circuit, angles = qpr.Circuit(2), iter(theta)
    for _ in range(4):
        circuit.rx(next(angles), 0).rx(next(angles), 1).rzz(next(angles), 0, 1)
    model, at = qpr.Model(circuit, "Z0"), 0.4 * np.random.default_rng(0).normal(size=12)
    found = qpr.gradient(model, at, None, method=QuantumBackprop(max_error=0.1, explain=True), rng=0)
    exact = qpr.value_and_grad(model, at)[1]
    write_json(path, found.info["sweep"].as_dict() | {"exact": exact})
    return path


def carleman_analysis(path):
    """The shape of `analysis_report`, whose computation needs PyTorch."""
    steps = list(range(21))
    write_json(
        path,
        {
            "parameters": 9,
            "kept": 6,
            "sparsity": 0.3,
            "learning_rate": 0.1,
            "order": 3,
            "kind": "dissipative",
            "network": "mlp",
            "data": "iris",
            "spectrum": {
                "least": -0.2,
                "greatest": 1.7,
                "nodes": [-0.2, 0.0, 0.4, 1.7],
                "weights": [0.1, 0.5, 0.3, 0.1],
            },
            "proxy": {"steps": steps, "values": [0.9**s for s in steps], "minimum_at": 20},
            "bound": [0.0, 0.5, 3.0, *[10.0**s for s in range(2, 19)], None],
            "bound_by": "proof",
            "truncation": {"length": 6, "errors": [0.0, 0.0, 1e-4, 5e-4, 2e-3, 6e-3, 9e-3, 0.013]},
            "warnings": ["at step 5 orders 3 and 2 differ by 0.02 of the update (tolerance 0.01), 0.03 at most"],
            "block_length": 6,
            "growth": 1.1,
            "radius": {"exists": False},
            "condition_number": 134.5,
            "queries_per_run": 8513,
            "queries": 19958034112457,
            "copies": 759591572,
            "cost": {"kappa": 134.5, "kappa_by": "formula"},
            "hardware": "figure2",
            "seconds": 16465378142777.0,
            "break_even": {"ratio": 4.6e19, "sentence": "It does not pay."},
            "emulated": "nothing is emulated",
            "verdict": "It would not help.",
            "seed": 0,
            "versions": {"quprop": "0.1.0"},
        },
    )
    return path


def carleman_training(path):
    """The shape of `training_report`."""
    blocks = [
        {
            "step": 4 * i,
            "block_length": 4,
            "kept": 6,
            "growth": 1.0,
            "relative_error": 10.0**-i / 100,
            "update_error": 1e-3,
            "drift": 2e-3 * i,
            "loss_before": 1.0 - 0.1 * i,
            "loss": 0.9 - 0.1 * i,
            "pruned_accuracy": 0.5,
            "accuracy": 0.6 + 0.1 * i,
            "twin_accuracy": 0.6,
            "plain_accuracy": 0.7,
            "cost": {"kappa": 30.0 + i, "queries": 10**9, "copies": 10**6},
        }
        for i in range(3)
    ]
    write_json(
        path,
        {
            "network": "mlp",
            "data": "iris",
            "parameters": 9,
            "kept": 6,
            "accuracy": 0.8,
            "plain_accuracy": 0.7,
            "twin_accuracy": 0.6,
            "reuploads": 2,
            "queries": 3 * 10**9,
            "copies": 3 * 10**6,
            "ledger": {"queries": 3 * 10**9, "copies": 3 * 10**6},
            "blocks": blocks,
            "warnings": ["block 2 is short"],
            "settings": {"order": 3},
            "emulation": {"update": "exact", "blocks": ["by formula"]},
            "break_even": {"sentence": "It does not pay."},
            "seed": 0,
            "versions": {"quprop": "0.1.0"},
        },
    )
    return path


def experiment(folder):
    from quprop.plots import panels, picture

    folder.mkdir()
    write_json(
        folder / "damage.json",
        {
            "experiment": "damage",
            "claim": "a batch is moved a little",
            "source": "somebody, 2020",
            "quick": True,
            "seed": 0,
            "seconds": 2.5,
            "findings": ["the distance is at most 0.98 of the bound"],
            "worst_ratio": 0.98,
            "runs": [{"n": 1, "k": 400}, {"n": 2, "k": 60}],
            "versions": {"quprop": "0.1.0"},
        },
    )
    figure, (axes, _) = panels(2)
    axes.plot([1, 2], [3, 4])
    (folder / "damage.png").write_bytes(picture(figure, "damage"))
    return folder


def plan(path):
    result = CliRunner().invoke(app, ["plan", "tfim", "--precision", "0.1", "--steps", "10", "--json", str(path)])
    assert result.exit_code == 0, result.output
    return path


def everything(folder):
    """One of each; the paths."""
    small_model().save(folder / "model.json")
    made = [
        problem_run(folder / "problem"),
        shots_run(folder / "shots"),
        comparison(folder / "compare.json"),
        scaling(folder / "scaling"),
        sweep(folder / "sweep.json"),
        carleman_analysis(folder / "analysis.json"),
        carleman_training(folder / "training.json"),
        experiment(folder / "reproduce"),
        plan(folder / "plan.json"),
        folder / "model.json",
    ]
    claims = {
        "damage": {"statement": "a batch is moved a little", "measured": "0.98", "verdict": "holds", "command": "x"}
    }
    write_json(folder / "claims.json", claims)
    return [*made, folder / "claims.json"]


class Page(HTMLParser):
    """What the tests look at: elements in order with attributes and text."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "hr"})

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", "inside": [e["tag"] for e in self._open], **dict(attrs)}
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self._open and self._open[-1]["tag"] == tag:
            self._open.pop()

    def handle_endtag(self, tag):
        while self._open and self._open.pop()["tag"] != tag:
            pass

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag):
        return [e for e in self.elements if e["tag"] == tag]

    def figures(self):
        """title -> {"data", "layout"} of all charts."""
        titles = [
            e["text"] for e in self.elements if e["tag"] in ("h3", "h4") and e.get("id", "").startswith("figure-")
        ]
        specs = [json.loads(e["text"]) for e in self.all("script") if e.get("type") == "application/json"]
        assert len(titles) == len(specs)
        return dict(zip(titles, specs, strict=True))


def looked_up(source, files={}):  # noqa: B006  (a cache)
    """What stands at FILE#/POINTER, by RFC 6901; with * the list over all lines or entries that have the rest."""
    import tomllib

    file, _, pointer = source.partition("#")
    if file.endswith(".npz"):
        with np.load(file) as arrays:
            files[file] = {"meta": json.loads(arrays["meta"].tobytes())}
    if file not in files:
        text = Path(file).read_text()
        if file.endswith(".jsonl"):
            files[file] = [json.loads(line) for line in text.splitlines()]
        else:
            files[file] = tomllib.loads(text) if file.endswith(".toml") else json.loads(text)

    def walk(data, keys):
        for i, key in enumerate(keys):
            if key == "*":
                entries = list(data.values()) if isinstance(data, dict) else data
                rest = keys[i + 1 :]
                return [walk(e, rest) for e in entries if not rest or isinstance(e, list) or rest[0] in e]
            key = key.replace("~1", "/").replace("~0", "~")
            data = data[int(key)] if isinstance(data, list) else data[key]
        return data

    return walk(files[file], pointer.split("/")[1:])
