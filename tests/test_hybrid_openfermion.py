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
        (lambda: 3, "got int"),
        (lambda: of.QubitOperator("X0", float("nan")), "real and finite"),
    ],
)
def test_what_is_no_observable_is_refused(make, sentence):
    with pytest.raises(QupropError) as caught:
        from_openfermion(make())
    assert sentence in str(caught.value)
