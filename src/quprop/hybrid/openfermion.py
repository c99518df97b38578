"""OpenFermion's operators, in and out (extra ``openfermion``).

    hamiltonian = from_openfermion(operator)           # any of its types; fermions by Jordan-Wigner
    operator = to_openfermion(hamiltonian)             # a QubitOperator

Qubit k is qubit k. Jordan-Wigner as OpenFermion has it, a_p = (X_p + i Y_p)/2 Z_{p-1} ... Z_0: mode p is qubit p.
"""

from __future__ import annotations

from typing import Any

from quprop.errors import QupropError
from quprop.lazy import missing
from quprop.model.pauli import PauliString, PauliSum

try:
    import openfermion
except ImportError:
    raise missing("quprop.hybrid.openfermion needs OpenFermion", "openfermion") from None

_REAL = 1e-10  # coefficients whose imaginary part is a smaller fraction than this are real up to rounding


def from_openfermion(operator: Any) -> PauliSum:
    """The PauliSum of a Hermitian operator, whichever of OpenFermion's types it has.

    QubitOperator, IsingOperator and DOCIHamiltonian (one qubit for each pair of modes) are what they are. Fermionic
    ones (FermionOperator, MajoranaOperator, DiagonalCoulombHamiltonian, and the tensors InteractionOperator,
    QuadraticHamiltonian and PolynomialTensor) are transformed by Jordan-Wigner; for another mapping, transform them in
    OpenFermion first and pass the QubitOperator. Coefficients must be real up to rounding (1e-10 of the largest).

    Returns: PauliSum.
    Raises: QupropError for other types and complex coefficients, and where OpenFermion is not installed.

    >>> from openfermion import QubitOperator
    >>> qpr.from_openfermion(QubitOperator("X0 Y2", 0.5))
    PauliSum({'X0 Y2': 0.5})
    """
    return _of_terms(_qubit_terms(operator))


def _qubit_terms(operator: Any) -> dict[Any, Any]:
    """{((qubit, letter), ...): coefficient}"""
    if isinstance(operator, openfermion.DOCIHamiltonian):
        operator = operator.qubit_operator
    tensors = openfermion.PolynomialTensor | openfermion.DiagonalCoulombHamiltonian
    if isinstance(operator, tensors) and not isinstance(operator, openfermion.InteractionRDM):
        # Term by term: jordan_wigner of an InteractionOperator takes its Hermitian part, and says nothing.
        operator = openfermion.normal_ordered(openfermion.get_fermion_operator(operator))
    if isinstance(operator, openfermion.FermionOperator | openfermion.MajoranaOperator):
        operator = openfermion.jordan_wigner(operator)
    if not isinstance(operator, openfermion.QubitOperator | openfermion.IsingOperator):
        raise QupropError(
            "an operator from OpenFermion acts on qubits (QubitOperator, IsingOperator, DOCIHamiltonian) or fermions "
            "(FermionOperator, MajoranaOperator, InteractionOperator, QuadraticHamiltonian, "
            f"DiagonalCoulombHamiltonian, PolynomialTensor), got {type(operator).__name__}; turn it into one of these"
        )
    return dict(operator.terms)


def _of_terms(terms: dict[Any, Any]) -> PauliSum:
    coefficients = {}
    for term, coefficient in terms.items():
        x = z = 0
        for qubit, letter in term:
            x |= (letter in "XY") << qubit
            z |= (letter in "YZ") << qubit
        try:
            coefficients[PauliString(x, z)] = complex(coefficient)
        except TypeError:
            raise QupropError(f"the coefficient {coefficient} is no number; substitute its symbols first") from None
    size = max(map(abs, coefficients.values()), default=0.0)
    for string, c in coefficients.items():
        if not abs(c.imag) <= _REAL * size < float("inf"):
            raise QupropError(
                f"an observable is Hermitian: its coefficients are real and finite, got {c} for {string}; add the "
                "Hermitian conjugate"
            )
    return PauliSum({string: c.real for string, c in coefficients.items()})


def to_openfermion(total: Any) -> Any:
    """The QubitOperator of a PauliSum, `total`, or of what makes one.

    Returns: QubitOperator.
    Raises: QupropError for what makes no PauliSum, and where OpenFermion is not installed.

    >>> print(qpr.to_openfermion("Z0 Z1 + 0.7*X3"))
    1.0 [Z0 Z1] +
    0.7 [X3]
    """
    total = total if isinstance(total, PauliSum) else PauliSum(total)
    out = openfermion.QubitOperator()
    for string, coefficient in total.items():
        letters = string.dense(string.n_qubits)
        out += openfermion.QubitOperator(tuple((q, letters[q]) for q in string.qubits), coefficient)
    return out


__all__ = ["from_openfermion", "to_openfermion"]
