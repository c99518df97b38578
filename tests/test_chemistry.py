"""Molecules, curves along a bond and circuits that grow: against PySCF, OpenFermion's data and dense linear algebra."""

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse.linalg
from tolerances import assert_close

import quprop as qpr
from quprop import problems
from quprop.lazy import install
from quprop.model import ansatz
from quprop.problems import chem
from quprop.problems.energies import sparse_matrix
from quprop.problems.molecules import CHEMICAL_ACCURACY
from quprop.problems.scan import draw, over, scan
from quprop.training import adapt as growth
from quprop.training.curves import draw_curves

H2 = "H 0 0 0; H 0 0 0.74"
LIH = "Li 0 0 0; H 0 0 1.6"


def sector(n, up, down):
    """The basis states of n qubits with so many electrons of either spin, up on even qubits."""
    index = np.arange(2**n)
    even = sum(1 << q for q in range(0, n, 2))
    return index[(np.bitwise_count(index & even) == up) & (np.bitwise_count(index & ~even) == down)]


def lowest(molecule):
    """The lowest eigenvalue of the Hamiltonian where the molecule's electrons are."""
    up, down = (molecule.n_electrons + molecule.spin) // 2, (molecule.n_electrons - molecule.spin) // 2
    states = sector(molecule.n_qubits, up, down)
    matrix = sparse_matrix(molecule.hamiltonian, molecule.n_qubits)[states][:, states]
    if len(states) < 400:
        return np.linalg.eigvalsh(matrix.toarray())[0]
    return scipy.sparse.linalg.eigsh(matrix, k=1, which="SA", v0=np.ones(len(states)))[0][0]


# -- Hamiltonians ------------------------------------------------------------------------------------------------------

MOLECULES = {
    "h2": (H2, {}),
    "h2 far apart in a larger basis": ("H 0 0 0; H 0 0 2.5", {"basis": "6-31g"}),
    "active space": (LIH, {"active": (2, 5)}),
    "cation": ("H 0 0 0; H 0.9 0 0; H 0.45 0.78 0", {"charge": 1}),
    "anion": ("H 0 0 0", {"charge": -1, "basis": "6-31g"}),
    "doublet": ("H 0 0 0; H 0 0 0.9; H 0 0 1.9", {"spin": 1}),
    "triplet with a core": ("O 0 0 0; O 0 0 1.2", {"spin": 2, "active": (6, 5)}),
    "broken triple bond": ("N 0 0 0; N 0 0 2.2", {"active": (6, 6)}),
    "lowest state of another symmetry than its field's": ("C 0 0 0; C 0 0 1.6", {"active": (6, 6)}),
    "one electron": ("H 0 0 0", {"spin": 1}),
}


@pytest.mark.parametrize("name", MOLECULES)
def test_the_lowest_eigenvalue_among_its_electrons_is_pyscfs(name):
    """And the Hartree-Fock state, electrons on `occupied`, has PySCF's Hartree-Fock energy."""
    pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    atoms, options = MOLECULES[name]
    molecule = chem.molecule(atoms, **options)
    assert lowest(molecule) == pytest.approx(molecule.fci_energy, abs=1e-8)
    filled = sum(1 << q for q in molecule.occupied)
    field = sum(c * (1 - 2 * ((p.z & filled).bit_count() & 1)) for p, c in molecule.hamiltonian.items() if p.x == 0)
    assert field == pytest.approx(molecule.hartree_fock_energy, abs=1e-8)
    start = ansatz.hartree_fock(molecule.n_qubits, molecule.n_electrons, spin=molecule.spin)
    model = qpr.Model(start, molecule.hamiltonian)
    assert qpr.expectation(model, [])[0] == pytest.approx(molecule.hartree_fock_energy, abs=1e-8)


def test_casci_energies_are_pyscfs_own():
    """PySCF's CASCI by its usual call, and the whole space as an active one."""
    pyscf = pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    from pyscf import gto, mcscf, scf

    assert pyscf
    field = scf.RHF(gto.M(atom=LIH, basis="6-31g", verbose=0)).run()
    expected = mcscf.CASCI(field, 4, 2).run().e_tot
    assert chem.molecule(LIH, basis="6-31g", active=(2, 4)).fci_energy == pytest.approx(expected, abs=1e-7)
    small = chem.molecule(H2), chem.molecule(H2, active=(2, 2))
    assert small[0].fci_energy == pytest.approx(small[1].fci_energy, abs=1e-12)


@pytest.mark.parametrize(
    "atoms, basis, file",
    [
        ("H 0 0 0; H 0 0 0.7414", "sto-3g", "H2_sto-3g_singlet_0.7414"),
        ("H 0 0 0; H 0 0 0.75", "6-31g", "H2_6-31g_singlet_0.75"),
        ("Li 0 0 0; H 0 0 1.45", "sto-3g", "H1-Li1_sto-3g_singlet_1.45"),
    ],
)
def test_openfermions_molecules_are_ours(atoms, basis, file):
    """Their integrals, made years ago by another program, have the same spectrum among the neutral states."""
    pytest.importorskip("pyscf")
    openfermion = pytest.importorskip("openfermion")
    theirs = openfermion.MolecularData(filename=f"{openfermion.config.DATA_DIRECTORY}/{file}")
    theirs.load()
    ours = chem.molecule(atoms, basis)
    assert ours.fci_energy == pytest.approx(float(theirs.fci_energy), abs=2e-6)
    assert ours.hartree_fock_energy == pytest.approx(float(theirs.hf_energy), abs=2e-6)
    total = qpr.from_openfermion(theirs.get_molecular_hamiltonian())
    assert {str(p) for p, c in total.items() if abs(c) > 1e-6} == {
        str(p) for p, c in ours.hamiltonian.items() if abs(c) > 1e-6
    }
    for up, down in ((1, 1), (2, 0)):
        states = sector(ours.n_qubits, up, down)
        spectra = [
            np.linalg.eigvalsh(sparse_matrix(h, ours.n_qubits)[states][:, states].toarray())
            for h in (total, ours.hamiltonian)
        ]
        np.testing.assert_allclose(*spectra, atol=1e-4)


def test_known_energies():
    pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    assert chem.molecule(H2).fci_energy == pytest.approx(-1.1372838, abs=1e-7)
    assert chem.molecule([("H", (0, 0, 0)), ("H", (0, 0, 0.735))]).fci_energy == pytest.approx(-1.1373060, abs=1e-7)
    assert chem.molecule("H 0 0 0", spin=1).fci_energy == pytest.approx(-0.46658185, abs=1e-7)


def test_a_molecule_as_json_is_the_same_and_older_files_are_read():
    molecule = chem.shipped("h2")
    assert (molecule.charge, molecule.spin, molecule.active) == (0, 0, None)
    assert chem.Molecule.from_json(molecule.to_json()) == molecule
    small = chem.Molecule(**{**molecule.__dict__, "active": (2, 2), "spin": 0})
    assert chem.Molecule.from_json(small.to_json()).active == (2, 2)


BAD = {
    "element": (("Hx 0 0 0",), "there is no element 'Hx'"),
    "element of another word": (("Sodium 0 0 0",), "there is no element 'Sodium'"),
    "coordinates": (("H 0 0",), "a symbol and x, y, z in Angstrom each, got 'H 0 0'"),
    "a word for a coordinate": (("H 0 0 z",), "got 'H 0 0 z'"),
    "infinite": (("H 0 0 inf",), "not finite"),
    "nothing": ((" ; ",), "got none"),
    "number": ((7,), "got 7"),
    "basis": ((H2, "sto-99g"), "there is no basis set 'sto-99g' for H"),
    "no basis": ((H2, ""), "there is no basis set '' for H"),
    "basis without uranium": (("U 0 0 0", "sto-3g"), "there is no basis set 'sto-3g' for U"),
    "together": (("H 0 0 0; H 0 0 0.001",), "two atoms, H and H, are 0.001 Angstrom apart"),
    "odd": (("H 0 0 0",), "an odd number of electrons (1) has an odd spin"),
    "multiplicity": ((H2, {"spin": 1}), "an even number of electrons (2) has an even spin"),
    "too much spin": ((H2, {"spin": 4}), "from 0 to 2, got 4"),
    "half a charge": ((H2, {"charge": 0.5}), "charge is a whole number, got 0.5"),
    "no electrons": ((H2, {"charge": 2}), "0 electrons left"),
    "orbitals": ((H2, {"active": (2, 3)}), "it can have 2 at most, got 3"),
    "electrons": ((H2, {"active": (4, 2)}), "or an even number fewer, got 4"),
    "odd active": ((LIH, {"active": (3, 5)}), "or an even number fewer, got 3"),
    "crowded": ((LIH, {"active": (4, 1)}), "1 orbitals cannot hold 4 electrons"),
    "active text": ((H2, {"active": "2,2"}), "such as (2, 5), got '2,2'"),
    "active three": ((H2, {"active": (1, 2, 3)}), "such as (2, 5)"),
    "memory": (("N 0 0 0; N 0 0 1.1", "cc-pvtz"), "take a smaller active space"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_molecules_are_refused_in_one_sentence_before_any_work(name, monkeypatch):
    pytest.importorskip("pyscf")
    (atoms, *more), words = BAD[name]
    options = more[0] if more and isinstance(more[0], dict) else dict(zip(("basis",), more, strict=False))
    monkeypatch.setattr(chem, "_hartree_fock", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(qpr.QupropError) as caught:
        chem.molecule(atoms, **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_field_that_does_not_converge_is_refused(monkeypatch):
    pytest.importorskip("pyscf")
    from pyscf import scf

    monkeypatch.setattr(scf.hf.SCF, "max_cycle", 0)
    with pytest.raises(qpr.QupropError, match="did not converge"):
        chem.molecule("N 0 0 0; N 0 0 1.1", active=(2, 2))


@pytest.mark.parametrize("call", [chem.compute, chem.load])
def test_an_unknown_name_of_a_molecule_is_told_the_known_ones(call):
    with pytest.raises(qpr.QupropError, match="no molecule is named 'n2': did you mean 'h2'"):
        call("n2")


@pytest.mark.parametrize("library", ["pyscf", "openfermion"])
def test_a_missing_library_is_one_sentence_with_its_extra(library, monkeypatch):
    pytest.importorskip("pyscf")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(qpr.QupropError, match=re.escape(f"which is not installed: {install('chem')}")):
        chem.molecule(H2)


def test_qpr_chem_is_a_name_of_the_package():
    code = "import quprop as qpr; print(qpr.chem.shipped('h2').n_qubits)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "4\n"


# -- the problem `molecule` --------------------------------------------------------------------------------------------


def settled(**sections):
    return problems.PROBLEMS["molecule"].build(problems.configure("molecule", sections))


def test_the_problem_takes_atoms_a_bond_length_or_a_file(tmp_path):
    pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    expected = chem.molecule(LIH, active=(2, 5)).hamiltonian
    (tmp_path / "lih.xyz").write_text("2\nlithium hydride\nLi 0 0 0\nH   0.0 0.0 1.6\n")
    for place in (
        {"atoms": LIH},
        {"atoms": "Li 0 0 0; H 0 0 {r}", "r": 1.6},
        {"file": str(tmp_path / "lih.xyz")},
    ):
        problem = settled(problem={**place, "active": "2,5"})
        difference = (
            problem.model.observables[0] - settled(problem={"atoms": LIH, "active": "(2, 5)"}).model.observables[0]
        )
        assert max((abs(c) for _, c in difference.items()), default=0.0) < 1e-9
        assert problem.reference["terms"] == len(expected)


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "needs its atoms"),
        ({"atoms": H2, "file": "a.xyz"}, "give one of the two"),
        ({"atoms": "H 0 0 0; H 0 0 {r}"}, "such as r=0.74"),
        ({"atoms": H2, "r": 1.0}, "leave r out"),
        ({"atoms": H2, "active": "2"}, "such as active=2,5, got '2'"),
        ({"atoms": H2, "active": "two,two"}, "got 'two,two'"),
        ({"atoms": H2, "r": -1.0}, "problem.r must be at least 0"),
        ({"file": "none.xyz"}, "there is no file"),
    ],
)
def test_bad_settings_of_a_molecule_are_one_sentence(given, words):
    pytest.importorskip("pyscf")
    with pytest.raises(qpr.QupropError, match=words):
        settled(problem=given)


@pytest.mark.parametrize("content", ["", "H 0 0 0\nH 0 0 1\n", "3\n\nH 0 0 0\nH 0 0 1\n", "2\n\nH 0 0 0\nH 0 0\n"])
def test_what_is_no_xyz_file_is_refused(content, tmp_path):
    pytest.importorskip("pyscf")
    (tmp_path / "a.xyz").write_text(content)
    with pytest.raises(qpr.QupropError, match=r"no XYZ file|a symbol and x, y, z"):
        settled(problem={"file": str(tmp_path / "a.xyz")})


OPEN_SHELLS = {
    "doublet": {"atoms": "H 0 0 0; H 0 0 0.9; H 0 0 1.9", "spin": 1},
    "triplet": {"atoms": "O 0 0 0; O 0 0 1.2", "spin": 2, "active": "6,5"},
}


@pytest.mark.parametrize("name", OPEN_SHELLS)
@pytest.mark.parametrize("circuit", ["uccsd", "adapt"])
def test_an_open_shell_starts_at_its_field_and_ends_above_the_exact_energy(name, circuit):
    pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    asked = {"problem": OPEN_SHELLS[name], "model": {"ansatz": circuit, "pool": "singles_doubles"}}
    built = settled(**asked)
    start = built.start(np.random.default_rng(0))["theta"]
    field = built.reference["hartree_fock_energy"]
    if circuit == "adapt":
        spin, electrons = OPEN_SHELLS[name]["spin"], {"doublet": 3, "triplet": 6}[name]
        pool = ansatz.excitation_pool(built.model.n_qubits, electrons, generalised=False, spin=spin)
        assert built.model.n_params == len(pool)
    assert qpr.expectation(built.model, start)[0] == pytest.approx(field, abs=1e-9)
    summary = problems.run(problems.configure("molecule", asked))
    assert -1e-9 < summary["energy_error"] < CHEMICAL_ACCURACY and summary["chemical_accuracy"]
    assert summary["energy"] < field - 1e-3


def test_the_command_tells_all_energies_in_their_units(quprop_in_80_columns):
    quprop = quprop_in_80_columns
    out, _ = quprop("train", "h2")
    for words in (
        "hydrogen molecule, STO-3G: 2 electrons in 2 orbitals",
        "qubits 4, terms 15, parameters 3",
        "Hartree-Fock   -1.11668439 Hartree",
        "exact          -1.13727017 Hartree",
        " mHa (chemical accuracy, 1.6 mHa, reached)",
    ):
        assert words in out, words
    out, _ = quprop("train", "h2", "--set", "steps=0", "--out", "none")
    assert "error          20.6 mHa (chemical accuracy, 1.6 mHa, not reached)" in out
    out, _ = quprop("train", "h2", "--set", "ansatz=adapt", "--out", "grown")
    assert "operators 0a 0b -> 1a 1b" in out and "parameters 1" in out


def test_the_command_computes_a_molecule(quprop_in_80_columns, tmp_path):
    pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    quprop = quprop_in_80_columns
    out, _ = quprop("train", "molecule", "--set", f"atoms={LIH}", "--set", "active=2,5", "--json", "found.json")
    summary = json.loads((tmp_path / "found.json").read_text())
    assert "LiH, STO-3G: 2 electrons in 5 orbitals" in out and summary["n_qubits"] == 10
    assert summary["reference_energy"] == pytest.approx(chem.molecule(LIH, active=(2, 5)).fci_energy, abs=1e-9)
    (tmp_path / "own.toml").write_text(f'[problem]\nname = "molecule"\natoms = "{LIH}"\nactive = "2,5"\n')
    quprop("train", "own.toml", "--json", "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["energy"] == pytest.approx(summary["energy"], abs=1e-9)
    _, error = quprop("train", "molecule", "--set", "atoms=H 0 0 0", "--out", "x", status=2)
    assert error.count("\n") == 1 and "odd spin" in error and not (tmp_path / "x").exists()


# -- pools and the ansatz that grows -----------------------------------------------------------------------------------


def flip(n):
    """The permutation of basis states that exchanges the spins, with the signs of reordering electrons."""
    index = np.arange(2**n)
    even = sum(1 << q for q in range(0, n, 2))
    turned = (index & even) << 1 | (index & ~even) >> 1
    both = sum(((index >> q & 1) & (index >> q + 1 & 1)) for q in range(0, n, 2))
    matrix = np.zeros((2**n, 2**n))
    matrix[turned, index] = (-1.0) ** both
    return matrix


@pytest.mark.parametrize("generalised", [True, False])
def test_the_pools_generators_are_openfermions(generalised):
    """T - T†, and the same with all spins flipped, by OpenFermion's ladder operators."""
    openfermion = pytest.importorskip("openfermion")
    pool = ansatz.excitation_pool(6, 2, generalised=generalised)
    assert len(pool) == len({frozenset(map(str, sums)) for sums in pool.values()})
    for name, sums in pool.items():
        sources, targets = ([2 * int(w[0]) + (w[1] == "b") for w in part.split()] for part in name.split(" -> "))
        for turn, total in enumerate(sums):
            occupied, virtual = ([q ^ turn for q in part] for part in (sources, targets))
            t = openfermion.FermionOperator([*((v, 1) for v in reversed(virtual)), *((o, 0) for o in occupied)])
            t = openfermion.FermionOperator(tuple(next(iter(t.terms)))) if t.terms else t
            expected = 2j * openfermion.jordan_wigner(t - openfermion.hermitian_conjugated(t))
            difference = qpr.from_openfermion(expected) - total
            assert not [c for _, c in difference.items() if abs(c) > 1e-12], name


@pytest.mark.parametrize("generalised", [True, False])
def test_an_element_of_a_closed_shells_pool_keeps_the_spins_alike(generalised):
    """Its generator commutes with the exchange of the spins; with an open shell's it need not."""
    exchange = flip(6)
    for sums in ansatz.excitation_pool(6, 2, generalised=generalised).values():
        total = sum(s.matrix(6) for s in sums)
        np.testing.assert_allclose(exchange @ total, total @ exchange, atol=1e-12)
    singles = list(ansatz.excitation_pool(6, 3, generalised=generalised, spin=1).values())
    assert all(len(s) == 1 for s in singles) and not np.allclose(
        exchange @ singles[0][0].matrix(6), singles[0][0].matrix(6) @ exchange
    )


def test_a_generalised_pool_has_every_pair_of_orbitals():
    """Singles p < q, and all pairs of pairs of spin orbitals of one spin projection, one of each couple of mirror
    images."""
    pool = ansatz.excitation_pool(6, 2)
    pairs = list(itertools.combinations(range(6), 2))
    moves = [
        (a, b) for i, a in enumerate(pairs) for b in pairs[i + 1 :] if sum(q % 2 for q in a) == sum(q % 2 for q in b)
    ]
    mirrored = {frozenset([frozenset(m), frozenset((tuple(sorted(q ^ 1 for q in a))) for a in m)]) for m in moves}
    vanishing = [m for m in moves if {tuple(sorted(q ^ 1 for q in m[0])), m[1]} == {m[1]}]
    assert len(pool) == math.comb(3, 2) + len(mirrored) - len(vanishing)


@pytest.mark.parametrize("seed", range(3))
def test_the_pools_gradient_is_the_expectation_of_commutators(seed):
    """i/2 <psi| [G, H] |psi> for every element, by dense matrices, at a state of random angles."""
    rng = np.random.default_rng(seed)
    n = 6
    strings = ["".join(rng.choice(list("IXYZ"), n)) for _ in range(40)]
    hamiltonian = qpr.PauliSum({s: float(rng.normal()) for s in strings})
    pool = ansatz.excitation_pool(n, 2)
    circuit = ansatz.uccsd(n, 2)
    theta = rng.normal(size=circuit.n_params)
    found = growth.pool_gradient(hamiltonian, pool, circuit, theta)
    psi = qpr.state(qpr.Model(circuit, hamiltonian), theta)
    h = hamiltonian.matrix(n)
    expected = []
    for sums in pool.values():
        g = sum(s.matrix(n) for s in sums)
        expected.append((0.5j * psi.conj() @ (g @ h - h @ g) @ psi).real)
    assert_close(found, np.array(expected), 2000)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("pool", ["generalised", "singles_doubles"])
def test_h2_grows_by_its_double_excitation_to_the_exact_energy(pool):
    summary = problems.run(problems.configure("h2", {"model": {"ansatz": "adapt", "pool": pool}}))
    assert summary["operators"] == ["0a 0b -> 1a 1b"] and summary["status"] == "converged"
    assert summary["n_params"] == 1 and abs(summary["energy_error"]) < 1e-9
    assert summary["reference_energy"] == pytest.approx(-1.13727017, abs=1e-8)


def grown(molecule, **options):
    pool = ansatz.excitation_pool(molecule.n_qubits, molecule.n_electrons, generalised=False)
    start = ansatz.hartree_fock(molecule.n_qubits, molecule.n_electrons)
    return pool, qpr.adapt(molecule.hamiltonian, pool, start, **options)


def test_lih_grows_to_chemical_accuracy_with_few_operators():
    """The energy falls with every operator and stays above the exact one; the first is the steepest at Hartree-Fock."""
    molecule = chem.shipped("lih")
    pool, found = grown(molecule, operators=5)
    assert found.trained.status == "finished" and len(found.operators) == 5
    errors = found.energies - molecule.fci_energy
    assert errors[0] == pytest.approx(molecule.hartree_fock_energy - molecule.fci_energy, abs=1e-9)
    assert (np.diff(errors) < 0).all() and 0 < errors[-1] < CHEMICAL_ACCURACY < errors[2]
    start = ansatz.hartree_fock(12, 4)
    slopes = np.abs(growth.pool_gradient(molecule.hamiltonian, pool, start))
    assert list(pool)[int(slopes.argmax())] == found.operators[0] and "a" in found.operators[0].split()[0]
    value = qpr.expectation(found.model, found.theta)[0]
    assert value == pytest.approx(found.energies[-1], abs=1e-12) and found.circuit.n_params == 5
    assert [line["step"] for line in found.trained.history] == list(range(6))


@pytest.mark.slow
def test_lih_grows_until_no_slope_is_left():
    molecule = chem.shipped("lih")
    summary = problems.run(problems.configure("lih", {"model": {"ansatz": "adapt"}}))
    assert summary["status"] == "converged" and 0 < summary["energy_error"] < 1e-4
    assert summary["n_params"] < ansatz.uccsd(12, 4).n_params and summary["reference_energy"] == molecule.fci_energy


def test_a_grown_circuit_that_was_cut_resumes_bit_for_bit(tmp_path, monkeypatch):
    molecule = chem.shipped("lih")
    _, whole = grown(molecule, operators=4)
    trained, calls = growth.train, []

    def cut(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trained(*arguments, **options)

    monkeypatch.setattr(growth, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        grown(molecule, operators=4, out=tmp_path / "run")
    monkeypatch.setattr(growth, "train", trained)
    _, again = grown(molecule, operators=4, out=tmp_path / "run", resume=True)
    assert again.operators == whole.operators and again.theta.tobytes() == whole.theta.tobytes()
    assert again.counts == whole.counts
    told = [[{k: v for k, v in line.items() if k != "seconds"} for line in f.trained.history] for f in (whole, again)]
    assert told[0] == told[1]
    with pytest.raises(qpr.QupropError, match="was started with operators = 4, got 5"):
        grown(molecule, operators=5, out=tmp_path / "run", resume=True)


def test_what_an_ansatz_cannot_grow_from_is_refused():
    h, start = qpr.PauliSum({"Z0": 1.0}), qpr.Circuit(2)
    pool = ansatz.excitation_pool(4, 2)
    for call, words in (
        (lambda: qpr.adapt(h, {}, start), "the pool is empty"),
        (lambda: qpr.adapt(h, pool, ansatz.uccsd(4, 2)), "a circuit without parameters"),
        (lambda: qpr.adapt(h, pool, qpr.Circuit(4), tolerance=0), "above 0, got 0"),
        (lambda: qpr.adapt(h, pool, qpr.Circuit(4), steps=0), "steps must be a whole number from 1"),
        (lambda: ansatz.uccsd(4, 2, spin=1), "is even and from -2 to 2, got 1"),
        (lambda: ansatz.excitation_pool(5, 2), "even number of qubits, got 5"),
    ):
        with pytest.raises(qpr.QupropError, match=words):
            call()


# -- scans -------------------------------------------------------------------------------------------------------------

CHAIN = {"problem": {"n": 4}, "model": {"layers": 4}}


@pytest.mark.parametrize(
    "text, values",
    [
        ("r=0.5:2.5:0.5", [0.5, 1.0, 1.5, 2.0, 2.5]),
        ("r=0.1:0.35:0.1", [0.1, 0.2, 0.3]),
        ("r=1:0:-0.5", [1.0, 0.5, 0.0]),
        ("r = 0.7, 0.74,0.8", [0.7, 0.74, 0.8]),
        ("r=2", [2.0]),
    ],
)
def test_the_values_of_a_scan(text, values):
    assert over(text) == ("r", values)


@pytest.mark.parametrize("text", ["r", "r=", "=1", "r=a", "r=1:2", "r=1:2:0", "r=2:1:0.1", "r=1:2:inf", "r=0:1:1e-9"])
def test_values_that_are_none_are_refused(text):
    with pytest.raises(qpr.QupropError):
        over(text)


def test_a_scan_follows_a_chain_through_its_transition():
    fields = [0.2, 0.7, 1.2, 1.7]
    found = scan("tfim", "h", fields, CHAIN)
    assert [p["value"] for p in found["points"]] == fields and found["status"] == "finished"
    for point in found["points"]:
        matrix = problems.PROBLEMS["tfim"].build(
            problems.configure("tfim", {**CHAIN, "problem": {"n": 4, "h": point["value"]}})
        )
        dense = np.linalg.eigvalsh(matrix.model.observables[0].matrix(4))[0]
        assert point["reference_energy"] == pytest.approx(dense, abs=1e-9)
        assert point["energy"] == pytest.approx(dense, abs=1e-6)
    assert any(p["warm"] for p in found["points"]) and found["axis"] == "transverse field (h)"


def test_a_curve_along_a_bond_is_openfermions(tmp_path):
    """Hartree-Fock and exact energies against those that OpenFermion ships, and the trained ones on the exact curve."""
    pytest.importorskip("pyscf")
    openfermion = pytest.importorskip("openfermion")
    lengths = [0.5, 0.9, 1.5, 2.3]
    found = scan("molecule", "r", lengths, {"problem": {"atoms": "H 0 0 0; H 0 0 {r}"}}, out=tmp_path / "scan")
    for point in found["points"]:
        name = f"{openfermion.config.DATA_DIRECTORY}/H2_sto-3g_singlet_{point['value']}"
        theirs = openfermion.MolecularData(filename=name)
        theirs.load()
        assert point["reference_energy"] == pytest.approx(float(theirs.fci_energy), abs=2e-6)
        assert point["hartree_fock_energy"] == pytest.approx(float(theirs.hf_energy), abs=2e-6)
        assert abs(point["energy_error"]) < 1e-7 and point["chemical_accuracy"]
    assert [p["warm"] for p in found["points"]] == [False, True, True, True]
    assert (tmp_path / "scan" / "scan.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "scan" / "summary.json").read_text())
    assert kept["points"] == found["points"] and kept["axis"] == "bond length in Angstrom (r)"


def test_a_scan_that_was_cut_resumes_bit_for_bit(tmp_path, monkeypatch):
    module = sys.modules["quprop.problems.scan"]
    fields = [0.3, 0.8, 1.3, 1.8]
    whole = scan("tfim", "h", fields, CHAIN)
    trained, calls = module.train, []

    def cut(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trained(*arguments, **options)

    monkeypatch.setattr(module, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        scan("tfim", "h", fields, CHAIN, out=tmp_path / "s")
    monkeypatch.setattr(module, "train", trained)
    again = scan("tfim", "h", fields, CHAIN, out=tmp_path / "s", resume=True)
    told = [[{k: v for k, v in p.items() if k != "seconds"} for p in f["points"]] for f in (whole, again)]
    assert told[0] == told[1]
    for changed, words in (
        (lambda: scan("tfim", "h", fields[:3], CHAIN, out=tmp_path / "s", resume=True), "was started with values"),
        (lambda: scan("tfim", "h", fields, {**CHAIN, "train": {"steps": 3}}, out=tmp_path / "s", resume=True), "steps"),
        (lambda: scan("tfim", "h", fields, CHAIN, out=tmp_path / "s"), "already holds a run"),
    ):
        with pytest.raises(qpr.QupropError, match=words):
            changed()


@pytest.mark.parametrize(
    "name, key, values, given, words",
    [
        ("digits", "n", [1], {}, "a scan goes over a number of"),
        ("tfim", "field", [1], {}, "got 'field': known names are J, h, n"),
        ("tfim", "layers", [1], {}, r"it is a setting of \[model\]"),
        ("tfim", "ring", [1], {}, "a scan goes over a number"),
        ("tfim", "h", [], {}, "from 1 to 10,000 points"),
        ("tfim", "h", [math.nan], {}, "problem.h must be finite"),
        ("tfim", "n", [4, 4.5], {}, "problem.n must be a whole number, got 4.5"),
        ("tfim", "h", [1], {"problem": {"h": 2.0}}, "leave it out"),
        ("maxcut", "vertices", [4], {}, "a scan goes over a number"),
    ],
)
def test_scans_that_make_no_sense_are_refused(name, key, values, given, words):
    with pytest.raises(qpr.QupropError, match=words):
        scan(name, key, values, given)


def test_the_command_scans_and_the_report_shows_it(quprop_in_80_columns, tmp_path):
    quprop = quprop_in_80_columns
    options = ["--over", "h=0.5:1.5:0.5", "--set", "n=4", "--set", "layers=2"]
    out, _ = quprop("scan", "tfim", *options, "--json", "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["kind"] == "scan" and "lowest energy" in out and "scan.png in runs/tfim-scan" in out
    assert all(f"{p['energy']:.8f}" in out for p in found["points"])
    quprop("scan", "tfim", *options, "--resume")
    assert "holds a scan" in quprop("train", "tfim", "--out", "runs/tfim-scan", "--resume", status=2)[1]
    assert "start:stop:step" in quprop("scan", "tfim", "--over", "h", status=2)[1]
    pytest.importorskip("plotly")
    for place in ("runs/tfim-scan", "found.json"):
        assert "Scan of tfim" in quprop("report", place, "--out", "page.html")[0]
        page = (tmp_path / "page.html").read_text()
        assert "transverse field (h)" in page and "cannot be shown" not in page


# -- figures -----------------------------------------------------------------------------------------------------------


def named(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_an_energys_figure_has_its_unit_the_energies_beside_it_and_whole_steps():
    history = [{"step": k, "epoch": k, "loss": e} for k, e in ((1, -1.12), (2, -1.136), (3, -1.1372))]
    summary = problems.PROBLEMS["h2"].build(problems.configure("h2")).reference
    left, right = draw_curves(history, "h2", summary).figure.axes
    assert left.get_ylabel() == "energy, Hartree" and "Hartree" in right.get_ylabel()
    assert named(left, "Hartree-Fock").get_ydata()[0] == pytest.approx(-1.11668439, abs=1e-7)
    assert named(left, "exact").get_ydata()[0] == pytest.approx(-1.13727017, abs=1e-7)
    np.testing.assert_allclose(named(left, "training").get_ydata(), [-1.12, -1.136, -1.1372])
    band = next(p for p in right.patches if p.get_label() == "chemical accuracy, 1.6 mHa")
    assert band.get_extents().transformed(right.transData.inverted()).y1 == pytest.approx(CHEMICAL_ACCURACY)
    assert all(tick == int(tick) for axes in (left, right) for tick in axes.get_xticks())


def test_a_scans_figure_has_its_three_curves():
    points = [
        {"value": r, "energy": e, "reference_energy": e - 1e-3, "hartree_fock_energy": e + 0.05}
        for r, e in ((0.5, -1.0), (1.0, -1.1), (1.5, -0.9))
    ]
    summary = {"points": points, "axis": "bond length in Angstrom (r)", "problem": "molecule", "system": "H2"}
    summary |= {"energy_unit": "Hartree", "energy_accuracy": 1.6e-3, "energy_accuracy_name": "chemical accuracy"}
    left, right = draw(summary).figure.axes
    assert left.get_xlabel() == right.get_xlabel() == "bond length in Angstrom (r)"
    for label, key in (("VQE", "energy"), ("exact", "reference_energy"), ("Hartree-Fock", "hartree_fock_energy")):
        np.testing.assert_allclose(named(left, label).get_ydata(), [p[key] for p in points])
    np.testing.assert_allclose(named(right, "VQE").get_ydata(), [1e-3] * 3)
    np.testing.assert_allclose(named(right, "Hartree-Fock").get_ydata(), [0.051] * 3)


def test_a_report_has_the_energies_in_their_unit_and_steps_that_are_whole(quprop, tmp_path):
    pytest.importorskip("plotly")
    from quprop.report.page import collect

    quprop("train", "h2", "--set", "ansatz=adapt", "--out", "run")
    (section,) = collect([tmp_path / "run"]).sections
    result = next(block for block in section.blocks if block.kind == "table")
    rows = {name: cell.text for name, cell in result.rows}
    assert rows["energy"].endswith(" Hartree") and rows["Hartree-Fock energy"] == "-1.11668439 Hartree"
    assert rows["exact energy"] == "-1.13727017 Hartree" and rows["energy error"].endswith(" mHa")
    assert rows["within chemical accuracy (1.6 mHa)"] == "yes"
    energies, near = [b for b in section.blocks if b.kind == "figure"][:2]
    assert (energies.x, energies.y) == ("operators in the circuit", "energy, Hartree")
    levels = {c.name: c.y[0] for c in energies.curves if c.reference}
    assert levels == pytest.approx({"Hartree-Fock": -1.11668439, "exact": -1.13727017}, abs=1e-7)
    band = next(c for c in near.curves if c.style == "band")
    assert band.name == "chemical accuracy, 1.6 mHa" and band.high[0] == CHEMICAL_ACCURACY
    assert energies.plotly()["layout"]["xaxis"]["dtick"] == 1
    many = dataclasses.replace(energies, curves=(dataclasses.replace(energies.curves[0], x=range(40), y=[0.0] * 40),))
    assert "dtick" not in many.plotly()["layout"]["xaxis"]


def test_a_scan_without_exact_energies_has_one_panel():
    points = [{"value": h, "energy": -h} for h in (1.0, 2.0)]
    summary = {"points": points, "axis": "transverse field (h)", "problem": "ising-2d"}
    (axes,) = draw(summary).figure.axes
    np.testing.assert_allclose(named(axes, "VQE").get_ydata(), [-1.0, -2.0])


def test_a_circuit_that_takes_on_an_electron_is_no_good_answer(quprop):
    """The exact energy is that of the ion; a circuit that leaves its electrons falls below, to the neutral molecule."""
    pytest.importorskip("pyscf")
    pytest.importorskip("openfermion")
    ion = ["--set", "atoms=H 0 0 0; H 0 0 0.8", "--set", "charge=1", "--set", "spin=1"]
    out, _ = quprop("train", "molecule", *ion, "--set", "ansatz=hardware_efficient", "--json", "found.json")
    with open("found.json") as file:
        found = json.load(file)
    assert found["energy_error"] < -0.1 and not found["chemical_accuracy"]
    assert "not reached" in out and "does not keep electrons and spin" in out


@pytest.mark.parametrize("given", [{"noise": "superconducting"}, {"optimiser": "natural_gradient"}])
def test_what_a_growing_ansatz_cannot_be_trained_with_is_refused(given):
    with pytest.raises(qpr.QupropError, match="the ansatz adapt"):
        problems.run(problems.configure("h2", {"model": {"ansatz": "adapt"}, "train": given}))
