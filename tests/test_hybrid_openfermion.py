"""OpenFermion's operators: against its own sparse matrices."""

import numpy as np
import pytest
from cases import random_sum

import quprop as qpr
from quprop.errors import QupropError
from quprop.problems import chem

of = pytest.importorskip("openfermion")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

from quprop.hybrid.openfermion import from_openfermion, to_openfermion  # noqa: E402


def matrix(operator, n):
    """OpenFermion's matrix with qubit k on bit k; it has qubit 0 as the highest bit."""
    big = of.get_sparse_operator(operator, n).toarray()
    order = [int(format(j, f"0{n}b")[::-1], 2) for j in range(2**n)]
    return big[np.ix_(order, order)]


def test_qubit_operators_keep_their_matrices_and_come_back_equal():
    total = random_sum(np.random.default_rng(2), 4, 9)
    operator = to_openfermion(total)
    assert np.abs(matrix(operator, 4) - total.matrix(4)).max() < 1e-14
    assert from_openfermion(operator) == total
    assert from_openfermion(to_openfermion("0")) == qpr.PauliSum("0")


def test_fermion_operators_are_jordan_wigner_transformed():
    half = of.FermionOperator("2^ 0", 1 + 2j) + of.FermionOperator("1^ 3^ 0 2", 0.3) + of.FermionOperator("3^ 3", 0.2)
    operator = half + of.hermitian_conjugated(half)
    assert np.abs(from_openfermion(operator).matrix(4) - matrix(operator, 4)).max() < 1e-14


def hermitian_tensors(n, seed=0):
    """One-body (n, n) and two-body (n, n, n, n) complex tensors of a Hermitian operator p^ q^ r s."""
    rng = np.random.default_rng(seed)
    one, two = (rng.normal(size=(2, *(n,) * k)) for k in (2, 4))
    one, two = one[0] + 1j * one[1], two[0] + 1j * two[1]
    return one + one.conj().T, two + two.conj().transpose(3, 2, 1, 0)


def diagonal_coulomb():
    one, two = hermitian_tensors(3, 1)
    return of.DiagonalCoulombHamiltonian(one, np.abs(two[:, :, 0, 0]) + np.abs(two[:, :, 0, 0]).T, 0.4)


def quadratic():
    one, two = hermitian_tensors(3, 2)
    return of.QuadraticHamiltonian(one, two[0, 0] - two[0, 0].T, 0.7, 0.3)


FERMIONIC = {
    "jellium": lambda: of.get_diagonal_coulomb_hamiltonian(of.jellium_model(of.Grid(1, 3, 1.0), spinless=True)),
    "diagonal Coulomb": diagonal_coulomb,
    "d-wave": lambda: of.get_quadratic_hamiltonian(of.mean_field_dwave(2, 1, 1.0, 1.0)),
    "quadratic": quadratic,
    "interaction": lambda: of.InteractionOperator(0.3, *hermitian_tensors(3)),
    "tensor": lambda: of.PolynomialTensor({(): 0.1, (1, 0): hermitian_tensors(3, 3)[0]}),
    "Majorana": lambda: of.get_majorana_operator(of.FermionOperator("1^ 0", 1j) + of.FermionOperator("0^ 1", -1j)),
}


@pytest.mark.parametrize("name", FERMIONIC)
def test_every_type_of_fermionic_operator_has_the_matrix_of_its_fermion_operator(name):
    operator = FERMIONIC[name]()
    fermions = of.get_fermion_operator(operator)
    n = of.count_qubits(fermions)
    assert np.abs(from_openfermion(operator).matrix(n) - matrix(fermions, n)).max() < 1e-13


def test_quadratic_hamiltonians_have_the_ground_energy_of_their_bogoliubov_modes():
    operator = quadratic()
    energy = np.linalg.eigvalsh(from_openfermion(operator).matrix(3))[0]
    assert energy == pytest.approx(operator.ground_energy(), abs=1e-12)


def test_operators_on_qubits_are_taken_as_they_are():
    doci = of.DOCIHamiltonian.from_integrals(0.2, *(np.abs(a.real) for a in hermitian_tensors(3, 4)))
    assert np.abs(from_openfermion(doci).matrix(3) - matrix(doci.qubit_operator, 3)).max() < 1e-13
    assert from_openfermion(of.IsingOperator("Z0 Z2", 0.5)) == qpr.PauliSum({"Z0 Z2": 0.5})


def test_a_molecule_by_openfermion_is_the_one_that_comes_with_the_package():
    molecule = chem.shipped("h2")
    energies = np.linalg.eigvalsh(from_openfermion(to_openfermion(molecule.hamiltonian)).matrix(4))
    assert energies[0] == pytest.approx(molecule.fci_energy, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: of.FermionOperator("1^ 0"), "coefficients are real and finite, got 0.25j for Y0 X1"),
        (lambda: of.QubitOperator("X0", 1j), "got 1j for X0; add the Hermitian conjugate"),
        (lambda: of.BosonOperator("0^"), "got BosonOperator"),
        (lambda: of.InteractionRDM(np.eye(2), np.zeros((2,) * 4)), "got InteractionRDM"),
        (lambda: of.InteractionOperator(0.0, np.eye(2, k=1), np.zeros((2,) * 4)), "add the Hermitian conjugate"),
        (lambda: 3, "got int"),
        (lambda: of.QubitOperator("X0", float("nan")), "real and finite"),
    ],
)
def test_what_is_no_observable_is_refused(make, sentence):
    with pytest.raises(QupropError) as caught:
        from_openfermion(make())
    assert sentence in str(caught.value)
