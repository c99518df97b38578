"""Generative problems by name: what they build, how they are judged, and the circuits and pictures that they leave."""

import json

import dense
import numpy as np
import pytest
from cases import CASES
from tolerances import assert_close
from typer.testing import CliRunner

import quprop as qpr
from quprop import problems
from quprop.classical.bit_flip import BitFlip
from quprop.cli import app
from quprop.errors import QupropError
from quprop.hybrid.qasm import from_qasm, to_qasm
from quprop.model import ansatz
from quprop.model.ansatz_iqp import all_gates
from quprop.model.x_rotations import Subsets
from quprop.problems import generative_verdict
from quprop.problems.generative_data import generative_data
from quprop.problems.generative_verdict import total_variations
from quprop.report.figure import Figure
from quprop.report.page import collect, render
from quprop.report.parts import Image
from quprop.simulate import measure
from quprop.simulate.measure import measure_loss
from quprop.training.mmd import MMD, mmd2_of_expectations

SMALL = {
    "problem": {"bit_flip_steps": 5, "bit_flip_weight": 1, "boltzmann_epochs": 1, "boltzmann_hidden": 4, "shots": 500},
    "model": {"weight": 2},
    "train": {"steps": 6, "test_every": 2},
}


def some_bits(m, n, seed=0):
    rng = np.random.default_rng(seed)
    bits = (rng.random((m, n)) < rng.uniform(0.2, 0.8, n)).astype(np.uint8)
    bits[:, -1] = bits[:, 0] ^ (rng.random(m) < 0.1)
    return bits


def model_and_theta(n, gates=2, seed=3, **more):
    model = qpr.Model(ansatz.iqp(n, gates, **more), "Z0")
    return model, 0.4 * np.random.default_rng(seed).normal(size=model.n_params)


def all_bits(n):
    return ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of ising-16 from the command line, with small comparisons: its folder, and what was printed."""
    out = tmp_path_factory.mktemp("run") / "ising"
    settings = [f"{key}={value}" for part in SMALL.values() for key, value in part.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generative_verdict, "COMPARED", 500)
        patch.setattr(measure, "MEASURE_SECONDS", 0.05)
        result = CliRunner().invoke(app, ["train", "ising-16", "--set", ",".join(settings), "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.fixture
def folder(run):
    return run[0]


# -- the loss over a model --------------------------------------------------------------------------------------------

WAYS = {
    "all probabilities": {},
    "up to a weight": {"exact": True, "weight": 2},
    "sampled": {"exact": False, "operators": 60, "samples": 50},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_that_of_the_gradient_with_the_same_draws(way, monkeypatch):
    monkeypatch.setattr(measure, "MEASURE_SECONDS", 0.01)
    model, theta = model_and_theta(6)
    over = MMD(some_bits(40, 6), [0.7, 1.5], **WAYS[way]).over(model)
    expected, gradient = over.loss_and_grad(theta, np.random.default_rng(4))
    assert over.value(theta, np.random.default_rng(4)) == pytest.approx(expected, rel=1e-12)
    cost = measure_loss(over, theta)
    assert {f"{a}_{b}" for a in ("value", "gradient") for b in ("seconds", "bytes")} <= set(cost)
    assert cost["omega_time"] > 0 and cost["omega_memory"] > 1
    assert gradient.shape == theta.shape and np.abs(gradient).max() > 1e-3


def test_a_loss_is_measured_by_its_value_and_its_gradient_with_the_same_draws(monkeypatch):
    monkeypatch.setattr(measure, "MEASURE_SECONDS", 0.0)

    class Told:
        def __init__(self):
            self.drawn = {"value": set(), "gradient": set()}

        def value(self, theta, rng):
            self.drawn["value"].add(rng.random())

        def loss_and_grad(self, theta, rng):
            self.drawn["gradient"].add(rng.random())

        def memory(self, gradient=True):
            return 30 if gradient else 10

    told = Told()
    assert measure_loss(told, np.zeros(1))["omega_memory"] == 3
    assert told.drawn["value"] == told.drawn["gradient"] and len(told.drawn["value"]) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [{}, {"spin_flip": True}, {"hidden": 2}], ids=["plain", "coin", "hidden"])
def test_expectations_of_a_loss_are_those_of_all_probabilities(way, more):
    n = 5
    model, theta = model_and_theta(n, **more)
    over = MMD(some_bits(40, n), 1.0, **WAYS[way]).over(model)
    subsets = Subsets.of([[], [0], [1, 3], [], [0, 2, 4], [0, 1, 2, 3, 4], []], n, "some")
    p = qpr.probabilities(model, theta).reshape(-1, 1 << n).sum(axis=0)
    parities = 1.0 - 2.0 * (all_bits(n).astype(int) @ subsets.rows(n).astype(int).T % 2)
    assert_close(over.expectations(theta, subsets), p @ parities, 1000)


def test_expectations_of_larger_gates_are_means_over_signs():
    n = 6
    model, theta = model_and_theta(n, 3)
    subsets = all_gates(n, 2)
    whole = MMD(some_bits(40, n), 1.0).over(model).expectations(theta, subsets)
    over = MMD(some_bits(40, n), 1.0, exact=False, samples=20_000).over(model)
    drawn = over.expectations(theta, subsets, np.random.default_rng(1))
    assert 1e-6 < np.abs(drawn - whole).max() < 5 / np.sqrt(20_000)


def test_kernel_means_are_sums_over_all_probabilities():
    n, sigma = 5, (0.8, 1.7)
    model, theta = model_and_theta(n)
    over = MMD(some_bits(40, n), 1.0, test=some_bits(20, n, 1), test_sigma=sigma).over(model)
    p, witnesses = over.probabilities(theta), some_bits(7, n, 2)
    apart = (all_bits(n)[:, None] != witnesses[None]).sum(axis=-1)
    expected = np.mean([p @ np.exp(-apart / (2 * s * s)) for s in sigma], axis=0)
    assert_close(over.kernel_means(p, witnesses), expected, 1000)


def test_the_mmd_of_known_expectations_is_unbiased_and_its_error_right():
    n, sigma = 5, (0.8, 1.7)
    data = some_bits(60, n)
    coins = BitFlip(n, 2)
    theta = 0.3 * np.random.default_rng(2).normal(size=coins.n_params)
    strings = all_bits(n)
    e = coins.expectations(theta, strings)
    p = (1.0 - 2.0 * (strings.astype(int) @ strings.astype(int).T % 2)) @ e / 2**n
    over = MMD(data, sigma).over(qpr.Model(ansatz.iqp(n, 2), "Z0"))
    exact = over._data.mmd2(p)[0]
    rng = np.random.default_rng(3)
    told = lambda subsets: coins.expectations(theta, subsets.rows(n).astype(np.uint8))  # noqa: E731
    found = [mmd2_of_expectations(told, data, sigma, rng, 200) for _ in range(300)]
    values = np.array([f.value for f in found])
    assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(300)
    assert np.mean([f.error for f in found]) == pytest.approx(values.std(), rel=0.15)


# -- total variation --------------------------------------------------------------------------------------------------


def test_total_variations_against_their_definition():
    n, rng = 3, np.random.default_rng(5)
    p = rng.dirichlet(np.ones(8))
    index = rng.choice(8, 40, p=p)
    train, test, samples = (all_bits(n)[i] for i in (index[:10], index[10:20], index))
    found = total_variations(p, train, test, samples)
    q = np.array([np.mean(index[10:20] == k) for k in range(8)])
    assert found["test_total_variation"] == pytest.approx(np.abs(p - q).sum() / 2)
    drawn = rng.multinomial(40, p, size=20_000) / 40
    mean = np.abs(drawn - p).sum(axis=1) / 2
    assert found["samples_total_variation_expected"] == pytest.approx(mean.mean(), abs=4 * mean.std() / np.sqrt(20_000))
    assert found["samples_total_variation"] == pytest.approx(np.abs(np.bincount(index, minlength=8) / 40 - p).sum() / 2)


# -- circuits with numbers, exported ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [k for k, c in CASES.items() if c.circuit is not None and c.circuit.n_qubits <= 6])
def test_a_bound_circuit_is_the_same_unitary_without_parameters(name):
    circuit = CASES[name].circuit
    rng = np.random.default_rng(1)
    theta, x = rng.normal(size=circuit.n_params), rng.normal(size=circuit.n_inputs)
    bound = circuit.bound(theta, x)
    assert bound.n_params == bound.n_inputs == 0 and len(bound) == len(circuit)
    assert abs(np.vdot(dense.final_state(bound, []), dense.final_state(circuit, theta, x))) == pytest.approx(1)


def test_a_circuit_is_bound_to_as_many_numbers_as_it_has():
    circuit = qpr.Circuit(2).ry(qpr.params("theta", 3)[1], 0)
    with pytest.raises(QupropError, match="theta"):
        circuit.bound()
    with pytest.raises(QupropError, match="theta"):
        circuit.bound([1.0, 2.0])


@pytest.mark.parametrize("version", [2, 3])
def test_a_program_measures_the_first_qubits_and_is_read_back(version):
    pytest.importorskip("openqasm3")
    circuit = qpr.Circuit(3).h(0).cx(0, 1).rx(0.3, 2)
    text = to_qasm(circuit, version, measured=2)
    assert text.count("measure") == 2 and from_qasm(text) == from_qasm(to_qasm(circuit, version))
    with pytest.raises(QupropError, match="measured is at most the circuit's 3 qubits, got 4"):
        to_qasm(circuit, version, measured=4)


@pytest.mark.slow
def test_an_exported_circuit_has_the_probabilities_of_the_trained_one(folder):
    pytest.importorskip("openqasm3")
    summary = json.loads((folder / "summary.json").read_text())
    problem = problems.PROBLEMS["ising-16"].build(problems.configure("ising-16", SMALL))
    with np.load(folder / "checkpoint.npz") as saved:
        theta = saved["params/theta"]
    read = from_qasm((folder / "circuit.qasm").read_text(), "Z0")
    p = qpr.probabilities(read, []).reshape(2, 1 << 16).sum(axis=0)
    over = problem.loss.over(problem.model)
    assert_close(p, over.probabilities(theta), 1000)
    assert over.evaluate(theta, test=True).value == pytest.approx(summary["test_mmd2"], abs=1e-15)


def test_qiskit_samples_an_exported_circuit_with_its_probabilities():
    pytest.importorskip("qiskit")
    from qiskit.primitives import StatevectorSampler
    from qiskit.quantum_info import Statevector

    from quprop.hybrid.qiskit import to_qiskit

    n, shots = 4, 20_000
    model, theta = model_and_theta(n, 3, hidden=1, spin_flip=True)
    circuit = to_qiskit(ansatz.iqp(n, 3, hidden=1, spin_flip=True).bound(theta)).decompose(reps=3)
    p = qpr.probabilities(model, theta)
    assert_close(Statevector(circuit).probabilities(), p, 1000)
    circuit.measure_all()
    counts = StatevectorSampler(seed=7).run([circuit], shots=shots).result()[0].data.meas.get_int_counts()
    drawn = np.zeros(len(p))
    drawn[list(counts)] = list(counts.values())
    z = (drawn - shots * p) / np.sqrt(shots * p * (1 - p))
    assert np.abs(z).max() < 5


def test_qiskit_reads_the_program_with_its_measurement():
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit import qasm3
    from qiskit.quantum_info import Statevector

    model, theta = model_and_theta(3, 3)
    read = qasm3.loads(to_qasm(ansatz.iqp(3, 3).bound(theta), measured=3))
    assert read.num_clbits == 3
    assert_close(
        Statevector(read.remove_final_measurements(inplace=False)).probabilities(),
        qpr.probabilities(model, theta),
        1000,
    )


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_is_judged_beside_rivals_and_leaves_samples_and_pictures(folder):
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("test_mmd2", "uniform_test_mmd2", "bit_flip_test_mmd2", "boltzmann_test_mmd2", "samples_mmd2"):
        assert np.isfinite(summary[key]) and np.isfinite(summary[f"{key}_error"]), key
    for key in ("kgel", "covariance_error", "test_total_variation", "omega_time", "omega_memory"):
        assert summary[key] > 0, key
    assert "rotations" not in summary and summary["engine"] == "loss from all 131,072 probabilities"
    assert summary["test_mmd2"] < summary["uniform_test_mmd2"] / 5
    samples = np.load(folder / "samples.npy")
    assert samples.shape == (500, 16) and samples.dtype == np.uint8 and set(np.unique(samples)) == {0, 1}
    for name in ("samples.png", "covariance.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history if "test_mmd2" in line] == [2, 4, 6]


def test_uniform_bits_are_as_far_from_the_data_as_their_kernel_means_say(folder):
    summary = json.loads((folder / "summary.json").read_text())
    problem = problems.PROBLEMS["ising-16"].build(problems.configure("ising-16", SMALL))
    exact = problem.loss.over(problem.model)._test.mmd2(np.full(1 << 16, 2.0**-16))[0]
    assert abs(summary["uniform_test_mmd2"] - exact) < 4 * summary["uniform_test_mmd2_error"]


def test_a_report_shows_levels_bands_and_pictures_and_no_error_as_a_curve(folder, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "test_mmd2" in line:
            line["test_mmd2_error"] = 0.1 * line["test_mmd2"]
    twin = tmp_path / "run"
    twin.mkdir()
    for file in folder.iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    (twin / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    section = collect([twin]).sections[0]
    assert not section.notes
    first, second = [b for b in section.blocks if isinstance(b, Figure)][:2]
    curves = {c.name: c for c in first.curves}
    assert first.log == second.log == "y" and [c.name for c in second.curves] == ["variance"]
    assert list(curves) == [
        "training", "test, standard error", "test", "uniform bits, test", "bit-flip model, test",
        "Boltzmann machine, test",
    ]  # fmt: skip
    band, test = curves["test, standard error"], curves["test"]
    np.testing.assert_allclose(band.y, 0.9 * np.array(test.y))
    np.testing.assert_allclose(band.high, 1.1 * np.array(test.y))
    assert curves["uniform bits, test"].y[0] == json.loads((folder / "summary.json").read_text())["uniform_test_mmd2"]
    assert {b.title for b in section.blocks if isinstance(b, Image)} >= {"Samples", "Covariances"}
    page = render(collect([twin]))
    assert "test MMD² of the bit-flip model" in page and "rotations executed" not in page


def test_a_sampled_run_of_more_qubits_than_a_state_has_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "MEASURE_SECONDS", 0.01)
    pytest.importorskip("sklearn")
    given = {
        "problem": {"rivals": False},
        "model": {"gates": "covariance", "pairs": 20},
        "train": {"steps": 2, "operators": 50, "samples": 50, "test_every": 1},
    }
    summary = problems.run(problems.configure("digits-binary", given), out=tmp_path / "run")
    assert summary["n_params"] == 64 + 20 and summary["test_mmd2_error"] > 0
    assert "beyond the state vector" in summary["no_samples"] and "no_kgel" in summary
    assert not (tmp_path / "run" / "samples.npy").exists() and (tmp_path / "run" / "samples.png").exists()
    assert summary["engine"] == "loss from 50 products of Z and 50 signs a step and width"


@pytest.mark.parametrize("name", ["scale-free", "scale-free-sparse"])
def test_scale_free_problems_take_the_edges_of_their_graph(name, monkeypatch):
    from quprop.problems import generative
    from quprop.problems.generative_data import BinaryData, scale_free_couplings

    drawn = BinaryData(some_bits(30, 1000), some_bits(20, 1000, 1))
    monkeypatch.setattr(generative, "generative_data", lambda name, **options: drawn)
    problem = problems.PROBLEMS[name].build(problems.configure(name, {"model": {"gates": "graph"}}))
    edges = np.argwhere(np.triu(scale_free_couplings(name, 0)[0].toarray()))
    assert problem.model.n_params == 1000 + len(edges) + 1 and problem.measured == 1000
    gates = problem.model.rotations.subsets
    assert set(map(tuple, gates.qubits[gates.ptr[1000] : -1].reshape(-1, 2))) == set(map(tuple, edges))
    assert problem.loss.test_sigma == (3.856,) and problem.loss.exact is False
    everything = problems.PROBLEMS[name].build(problems.configure(name))
    assert everything.model.n_params == 500_500 + 1


BAD = {
    "lbfgs of a sampled loss": (("blobs", {"train": {"exact": False}}), "needs exact ones"),
    "hidden qubits without gates": (("blobs", {"model": {"gates": "covariance", "hidden": 1}}), "set gates=all"),
    "weight of a sampled loss": (
        ("digits-binary", {"train": {"exact_weight": 2}}),
        "train.exact_weight is of an exact loss",
    ),
    "too many pairs": (("blobs", {"model": {"gates": "covariance", "pairs": 200}}), "at most 120"),
    "sigma": (("blobs", {"train": {"sigma": [0.6, -1.0]}}), "sigma must be a positive number"),
    "no sigma": (("blobs", {"train": {"sigma": []}}), "sigma must be a positive number"),
    "sigma of words": (("blobs", {"train": {"sigma": ["wide"]}}), "sigma"),
    "coin": (("blobs", {"model": {"spin_flip": "sometimes"}}), "unknown model.spin_flip"),
    "graph of no graph": (("blobs", {"model": {"gates": "graph"}}), "unknown model.gates 'graph'"),
    "engine": (("blobs", {"train": {"engine": "auto"}}), "unknown key 'engine'"),
    "natural gradient": (("blobs", {"train": {"optimiser": "natural_gradient"}}), "unknown train.optimiser"),
    "file of shipped data": (("ising-16", {"problem": {"file": "x.npz"}}), "unknown key 'file'"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_fit_nothing_are_one_sentence(name, tmp_path):
    (problem, given), words = BAD[name]
    with pytest.raises(QupropError, match=words) as caught:
        problems.run(problems.configure(problem, given), out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [["plan", "blobs"], ["compare", "scale-free"]])
def test_methods_that_estimate_expectations_refuse_a_distance_of_samples(command, quprop):
    _, error = quprop(*command, "--precision", "0.1", status=2)
    assert "is trained on a distance between samples" in error and error.count("\n") == 1


def test_the_command_prints_the_verdict_and_names_its_files(run):
    folder, out = run
    for words in (
        "MMD² on test data",
        "uniform bits",
        "bit-flip model",
        "Boltzmann machine",
        "KGEL",
        "covariances",
        "500 samples",
        "expected",
        "simulated by   loss from all 131,072 probabilities",
        "circuit.qasm",
    ):
        assert words in out, words
    assert "rotations executed" not in out
    verdict = out[out.index("MMD² on") :].splitlines()
    assert max(len(line) for line in verdict if str(folder) not in line) <= 80
    assert (folder / "circuit.qasm").read_text().count("measure") == 16


@pytest.mark.slow
def test_ising_16_is_nearer_to_its_test_data_than_published(tmp_path):
    summary = problems.run(problems.configure("ising-16", {"problem": {"rivals": False}}))
    assert summary["test_mmd2"] < 2.0e-4 / 2
    assert summary["covariance_error"] < 2 * summary["train_covariance_error"]


def test_samples_are_drawn_bit_by_bit_as_the_data_are():
    """Column q of samples is qubit q, column q of the data: means of both agree, site by site."""
    model = problems.PROBLEMS["blobs"].build(problems.configure("blobs", {"model": {"weight": 2, "start_scale": 0.0}}))
    theta = model.start(np.random.default_rng(0))["theta"]  # which has the data's means
    over = model.loss.over(model.model)
    means = (1 - over.expectations(theta, all_gates(16, 1))) / 2
    data = generative_data("blobs").train.mean(axis=0)
    assert np.abs(means - data).max() < 1e-6 and np.ptp(data) > 0.2
    samples = qpr.samples(model.model, theta, shots=4000, rng=1)
    assert np.abs(samples.mean(axis=0) - means).max() < 5 * 0.5 / np.sqrt(4000)
