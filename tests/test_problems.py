"""Built-in problems: their data against independent sources, their known bests, and what bad settings get."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse.linalg

import quprop as qpr
from quprop import problems
from quprop.problems import chem, maxcut, tfim
from quprop.problems.config import override
from quprop.problems.energies import ground_energy, sparse_matrix
from quprop.problems.gate_list import circuit_from_gates
from quprop.problems.table import PROBLEMS


def solve(name, out=None, **sections):
    return problems.run(problems.configure(name, sections), out=out)


# -- molecules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, qubits, electrons, terms", [("h2", 4, 2, 15), ("lih", 12, 4, 631), ("h2o", 14, 10, 1086)]
)
def test_shipped_hamiltonian_has_pyscfs_energies(name, qubits, electrons, terms):
    """Exact diagonalisation of the Pauli sum gives PySCF's FCI energy, and its Hartree-Fock state PySCF's Hartree-Fock
    energy."""
    molecule = chem.shipped(name)
    assert (molecule.n_qubits, molecule.n_electrons, len(molecule.hamiltonian)) == (qubits, electrons, terms)
    assert ground_energy(molecule.hamiltonian, qubits) == pytest.approx(molecule.fci_energy, abs=1e-8)
    filled = 2**electrons - 1
    field = sum(c * (1 - 2 * ((p.z & filled).bit_count() & 1)) for p, c in molecule.hamiltonian.items() if p.x == 0)
    assert field == pytest.approx(molecule.hartree_fock_energy, abs=1e-8)
    assert molecule.made_with.startswith("PySCF") and molecule.atoms and molecule.source


def test_ground_state_of_lih_is_neutral():
    """The exact energy belongs to four electrons with no net spin, not to an ion."""
    molecule = chem.shipped("lih")
    matrix = sparse_matrix(molecule.hamiltonian, 12)
    _, vectors = scipy.sparse.linalg.eigsh(matrix, k=1, which="SA", v0=np.ones(2**12))
    weight = np.abs(vectors[:, 0]) ** 2
    index = np.arange(2**12)
    assert weight @ np.bitwise_count(index) == pytest.approx(4, abs=1e-6)
    assert weight @ (np.bitwise_count(index & 0x555).astype(int) - np.bitwise_count(index & 0xAAA)) == pytest.approx(
        0, abs=1e-6
    )


def test_jordan_wigner_against_the_operators_themselves():
    """Random integrals with the symmetries of real orbitals, against dense matrices of a_p built by Kronecker
    products."""
    pytest.importorskip("openfermion")
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2, 2))
    one = one + one.T
    two = rng.normal(size=(2, 2, 2, 2))
    for axes in ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)):
        two = two + two.transpose(axes)
    lower, z, eye = np.array([[0, 1], [0, 0]]), np.diag([1, -1]), np.eye(2)
    a = []
    for q in range(4):  # qubit 0 is the rightmost factor
        matrix = np.eye(1)
        for k in range(4):
            matrix = np.kron(z if k < q else lower if k == q else eye, matrix)
        a.append(matrix)
    dense = 0.3 * np.eye(16)
    for p, q in np.ndindex(2, 2):
        for s in range(2):
            dense = dense + one[p, q] * a[2 * p + s].T @ a[2 * q + s]
    for p, q, r, t in np.ndindex(2, 2, 2, 2):
        for s1, s2 in np.ndindex(2, 2):
            dense = dense + 0.5 * two[p, q, r, t] * a[2 * p + s1].T @ a[2 * r + s2].T @ a[2 * t + s2] @ a[2 * q + s1]
    np.testing.assert_allclose(chem.jordan_wigner(0.3, one, two).matrix(4), dense, atol=1e-12)


def test_h2_trains_to_the_exact_energy():
    summary = solve("h2")
    assert summary["energy_error"] < 1e-9 and summary["chemical_accuracy"]
    assert summary["energy"] >= summary["reference_energy"] - 1e-9
    assert summary["hartree_fock_energy"] == pytest.approx(-1.1167, abs=1e-4)


@pytest.mark.slow
def test_lih_reaches_chemical_accuracy_within_a_minute():
    summary = solve("lih")
    assert 0 < summary["energy_error"] < 1.6e-3 and summary["seconds"] < 60


@pytest.mark.parametrize("name", ["h2", "lih", "h2o"])
def test_shipped_data_is_what_pyscf_computes(name):
    pytest.importorskip("pyscf")
    ours, fresh = chem.shipped(name), chem.compute(name)
    assert fresh.fci_energy == pytest.approx(ours.fci_energy, abs=1e-8)
    difference = fresh.hamiltonian - ours.hamiltonian
    assert max((abs(c) for _, c in difference.items()), default=0.0) < 1e-6  # orbitals are fixed up to sign


@pytest.mark.slow
def test_h2o_reaches_chemical_accuracy():
    summary = solve("h2o")
    assert summary["n_qubits"] == 14 and 0 < summary["energy_error"] < 1.6e-3


# -- spins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize(
    "n, coupling, field", [(2, 1.0, 1.0), (3, 1.0, 0.4), (5, 0.5, 1.3), (6, 1.0, 1.0), (6, -1.0, 0.7), (7, 1.0, -0.6)]
)
def test_free_fermions_give_the_energy_of_the_matrix(n, coupling, field, ring):
    if ring and coupling < 0 and n % 2:
        pytest.skip("refused")
    dense = np.linalg.eigvalsh(tfim.hamiltonian(n, coupling, field, ring).matrix(n))[0]
    assert tfim.exact_energy(n, coupling, field, ring) == pytest.approx(dense, abs=1e-10)


def test_tfim_reaches_its_ground_state():
    for ring in (True, False):
        summary = solve("tfim", problem={"n": 6, "ring": ring}, model={"layers": 3 if ring else 6})
        assert 0 <= summary["energy_error"] + 1e-9 < (1e-7 if ring else 1e-4)


@pytest.mark.parametrize("optimiser, rate", [("adam", 0.05), ("sgd", 0.01), ("natural_gradient", 0.05)])
def test_every_optimiser_lowers_the_energy_of_the_chain(optimiser, rate):
    train = {"optimiser": optimiser, "learning_rate": rate, "steps": 60}
    summary = solve("tfim", problem={"n": 4}, model={"layers": 2}, train=train)
    assert summary["energy_error"] < 0.02 and summary["status"] == "finished"


# -- graphs -----------------------------------------------------------------------------------------------------------


def test_best_cut_against_the_definition():
    rng = np.random.default_rng(0)
    edges = [(a, b, float(rng.normal())) for a in range(6) for b in range(a)]
    cuts = [sum(w for a, b, w in edges if (side >> a ^ side >> b) & 1) for side in range(64)]
    assert maxcut.best_cut(6, edges) == pytest.approx(max(cuts))


def test_florentine_families():
    names, edges = maxcut.read_edges(None)
    assert len(names) == 15 and len(edges) == 20 and "Medici" in names
    assert maxcut.best_cut(15, edges) == 17
    assert sum(names[a] == "Medici" or names[b] == "Medici" for a, b, _ in edges) == 6  # the best connected family


def test_a_triangle_with_a_tail_is_cut(tmp_path):
    file = tmp_path / "graph.txt"
    file.write_text("# weighted\na b 1.0\nb c 2\na c 0.5   # light\n\nc d\n")
    summary = solve("maxcut", problem={"file": str(file)}, model={"layers": 3})
    assert summary["best_cut"] == pytest.approx(4.0) and summary["sampled_cut"] == pytest.approx(4.0)
    assert summary["energy"] == pytest.approx(-summary["expected_cut"])
    assert summary["approximation_ratio"] > 0.9
    assert set(summary["one_side"]) in ({"a", "c"}, {"b", "d"})


BAD_GRAPHS = {
    "one word": ("a\n", "line 1: an edge is"),
    "weight": ("a b x\n", "finite number, got 'x'"),
    "NaN": ("a b nan\n", "finite number"),
    "loop": ("a b\nc c\n", "line 2: .*'c' twice"),
    "twice": ("a b\nb a 2\n", "listed twice"),
    "empty": ("# nothing\n", "holds no edge"),
    "one long word": ("0" * 10**6, "line 1: an edge is .{0,40}, got '0{27}[.]{3}0{27}'$"),
    "long name": ("a" * 10**6 + " " + "a" * 10**6, "got 'a{27}[.]{3}a{27}' twice"),
    "many vertices": ("\n".join(f"{i} {i + 1}" for i in range(10**5)), "from 0 to 9999 at most"),
}


def test_settings_come_one_by_one_or_with_commas_between():
    schema = PROBLEMS["hamiltonian"].schema
    for texts in (["n=3,layers=2", 'gates=["h(0)", "ry(theta[0], 1)"]'], ["problem.n=3", 'layers=2, gates=["h(0)"]']):
        given = {}
        for text in texts:
            override(given, text, schema)
        assert given["problem"]["n"] == 3 and given["model"]["layers"] == 2 and given["model"]["gates"][0] == "h(0)"
    given = {}
    override(given, "optimiser=adam,n=4", schema)
    assert given == {"train": {"optimiser": "adam"}, "problem": {"n": 4}}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_a_bad_edge_list_is_one_sentence(name, tmp_path):
    text, words = BAD_GRAPHS[name]
    (tmp_path / "g.txt").write_text(text)
    with pytest.raises(qpr.QupropError, match=words):
        solve("maxcut", problem={"file": str(tmp_path / "g.txt")})
    with pytest.raises(qpr.QupropError, match="cannot be read"):
        solve("maxcut", problem={"file": str(tmp_path / "none.txt")})


def test_a_graph_of_endless_zeros_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "zeros", "wb") as file:
        file.truncate(1 << 36)
    for endless in (tmp_path / "zeros", "/dev/zero"):
        with pytest.raises(qpr.QupropError, match="larger than the 16 MiB"):
            solve("maxcut", problem={"file": str(endless)})


# -- data -------------------------------------------------------------------------------------------------------------


def test_digits_are_the_digits():
    config = problems.configure("digits", {"model": {"layers": 2}})
    problem = problems.PROBLEMS["digits"].build(config)
    assert len(problem.data[0]) + len(problem.test[0]) == 1797 and len(problem.test[0]) == 450
    assert problem.model.n_qubits == 6 and problem.model.n_observables == 10 and problem.model.n_params == 24
    assert np.bincount(problem.test[1]).min() >= 43  # stratified
    assert (problem.data[0][:, 0] == 2.0).all() and abs(problem.data[0][:, 1:].mean(axis=0)).max() < 1e-12
    assert problem.reference["reference_accuracy"] > 0.95
    plain = problems.PROBLEMS["digits"].build(
        problems.configure("digits", {"model": {"layers": 2, "encoding": "pixels"}})
    )
    assert plain.data[0].min() == 0.0 and plain.data[0].max() == 1.0


def test_a_short_digits_run_writes_its_folder(tmp_path):
    summary = solve("digits", tmp_path / "run", model={"layers": 3}, train={"epochs": 1, "batch_size": 256})
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "run.toml",
        "metrics.jsonl",
        "checkpoint.npz",
        "summary.json",
        "curves.png",
    }
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {
        "test_accuracy",
        "reference_accuracy",
        "omega_time",
        "rotations",
        "parameter_shift_rotations",
        "seconds",
    } <= set(summary)
    m, samples = summary["n_rotations"], 1347
    assert m == 36 and summary["gradient_evaluations"] == samples
    assert summary["rotations"] == 3 * m * samples + m * summary["value_evaluations"]
    assert summary["parameter_shift_rotations"] == 2 * m * m * samples + m * summary["value_evaluations"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_digits_reaches_094(seed):
    assert solve("digits", train={"seed": seed})["test_accuracy"] >= 0.94


@pytest.mark.slow
def test_breast_cancer_comes_near_logistic_regression():
    summary = solve("breast-cancer")
    assert summary["test_accuracy"] >= 0.93


# -- settings and hamiltonians from a file ----------------------------------------------------------------------------


def test_a_hamiltonian_of_ones_own_with_gates():
    terms = {"Z0 Z1": 1.0, "X0": 0.5, "X1": 0.5}
    gates = [
        "ry(theta[0], 0)",
        "ry(-theta[1] + pi/2, 1)",
        "cx(0, 1)",
        "rotation('X0 Y1', 2*theta[2] - 0.1)",
        "rz(theta[3], 1)",
        "ry(theta[4], 0)",
    ]
    summary = solve("hamiltonian", problem={"terms": terms}, model={"gates": gates})
    assert summary["reference_energy"] == pytest.approx(np.linalg.eigvalsh(qpr.PauliSum(terms).matrix(2))[0])
    assert summary["energy_error"] < 1e-6


def test_gate_list_is_the_python_circuit():
    theta = qpr.params("theta", 3)
    written = circuit_from_gates(2, ["h(0)", "crx(theta[2]/2, 0, 1)", "u(theta[0], -0.5, 2*(theta[1] + 1), 1)"])
    built = qpr.Circuit(2, params=theta).h(0).crx(theta[2] / 2, 0, 1).u(theta[0], -0.5, 2 * (theta[1] + 1), 1)
    assert qpr.Model(written, "Z0") == qpr.Model(built, "Z0")


BAD_SETTINGS = {
    "problem": (lambda: problems.configure("tfin"), "did you mean 'tfim'"),
    "section": (lambda: problems.configure("tfim", {"trian": {}}), "did you mean 'train'"),
    "key": (lambda: problems.configure("tfim", {"model": {"layer": 3}}), "did you mean 'layers'"),
    "wrong section": (lambda: problems.configure("tfim", {"model": {"n": 3}}), r"it belongs in \[problem\]"),
    "kind": (lambda: problems.configure("tfim", {"problem": {"n": 3.5}}), "problem.n must be a whole number, got 3.5"),
    "bool": (lambda: problems.configure("tfim", {"problem": {"n": True}}), "whole number"),
    "least": (lambda: problems.configure("tfim", {"problem": {"n": 1}}), "at least 2"),
    "choice": (lambda: problems.configure("tfim", {"train": {"optimiser": "adan"}}), "did you mean 'adam'"),
    "infinite": (lambda: problems.configure("tfim", {"problem": {"h": float("inf")}}), "finite"),
    "rate": (lambda: solve("tfim", train={"optimiser": "adam", "learning_rate": 0.0}), "positive"),
    "too large": (
        lambda: solve("tfim", problem={"n": 200}, model={"ansatz": "strongly_entangling"}),
        "a state of 200 qubits fits no machine, and a term has a light cone of more than 34 qubits",
    ),
    "frustrated": (lambda: solve("tfim", problem={"n": 5, "J": -1.0}), "frustrated"),
    "no terms": (lambda: solve("hamiltonian"), r"\[problem.terms\]"),
    "Pauli": (lambda: solve("hamiltonian", problem={"terms": {"Q0": 1.0}}), "Pauli"),
    "coefficient": (lambda: solve("hamiltonian", problem={"terms": {"Z0": "big"}}), "coefficient"),
    "gate": (
        lambda: solve("hamiltonian", problem={"terms": {"Z0": 1.0}}, model={"gates": ["rj(theta[0], 0)"]}),
        "unknown gate 'rj'.*'r[xyz]'",
    ),
    "gate nested": (lambda: circuit_from_gates(1, [f"rx({'-' * 2000}1, 0)"]), "nested too deeply|reads like"),
    "gate sum": (lambda: circuit_from_gates(1, [f"rx({'1+' * 3000}1, 0)"]), "nested too deeply|reads like"),
    "gate form": (lambda: circuit_from_gates(1, ["import os"]), "reads like"),
    "gate number": (lambda: circuit_from_gates(1, [3]), "reads like"),
    "angle": (lambda: circuit_from_gates(1, ["rx(__import__('os'), 0)"]), "angles are made of"),
    "variable": (lambda: circuit_from_gates(1, ["rx(phi[0], 0)"]), r"theta\[i\] and x\[j\]"),
    "negative": (lambda: circuit_from_gates(1, ["rx(theta[-1], 0)"]), "whole numbers"),
    "division": (lambda: circuit_from_gates(1, ["rx(theta[0]/0, 0)"]), "gate|angle"),
    "qubit": (lambda: circuit_from_gates(2, ["cx(0, 2)"]), "2"),
    "twice": (lambda: circuit_from_gates(2, ["cx(1, 1)"]), "1"),
    "arguments": (lambda: circuit_from_gates(2, ["cx(1)"]), "cx"),
    "inputs": (
        lambda: solve("hamiltonian", problem={"terms": {"Z0": 1.0}}, model={"gates": ["rx(x[0], 0)"]}),
        "no inputs",
    ),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_are_one_sentence(name):
    call, words = BAD_SETTINGS[name]
    with pytest.raises(qpr.QupropError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_nothing_is_written_when_the_input_is_bad(tmp_path):
    with pytest.raises(qpr.QupropError):
        solve("hamiltonian", tmp_path / "run", problem={"terms": {"Z0": 1.0}}, model={"gates": ["nogate(0)"]})
    assert not (tmp_path / "run").exists()


def test_package_data_lies_beside_the_code():
    folder = Path(problems.__file__).parent / "data"
    energies = {"h2.json", "lih.json", "h2o.json", "florentine.txt", "heavy_hex_127.json", "qaoa_angles.json"}
    assert {p.name for p in folder.iterdir()} == energies | {"binary_samples.npz", "scale_free_1000.adjlist"}
