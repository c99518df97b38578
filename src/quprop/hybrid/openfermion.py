"""OpenFermion's operators, in and out (extra ``openfermion``).

    hamiltonian = from_openfermion(operator)           # a QubitOperator, or a FermionOperator by Jordan-Wigner
    operator = to_openfermion(hamiltonian)             # a QubitOperator

Qubit k is qubit k. Jordan-Wigner as OpenFermion has it, a_p = (X_p + i Y_p)/2 Z_{p-1} ... Z_0: mode p is qubit p.
"""

from __future__ import annotations

from typing import Any

from quprop.errors import QupropError
from quprop.pauli import PauliString, PauliSum

try:
    import openfermion
except ImportError:
    raise QupropError("OpenFermion is not installed: pip install 'quprop[openfermion]'") from None

_REAL = 1e-10  # coefficients whose imaginary part is a smaller fraction than this are real up to rounding


def from_openfermion(operator: Any) -> PauliSum:
    """The PauliSum of a Hermitian QubitOperator, FermionOperator, InteractionOperator or MajoranaOperator.

    Fermionic operators are transformed by Jordan-Wigner; for another mapping, transform them in OpenFermion first and
    pass the QubitOperator. Coefficients must be real up to rounding (1e-10 of the largest).
    """
    if isinstance(
        operator, openfermion.FermionOperator | openfermion.InteractionOperator | openfermion.MajoranaOperator
    ):
        operator = openfermion.jordan_wigner(operator)
    if not isinstance(operator, openfermion.QubitOperator):
        raise QupropError(
            "an operator from OpenFermion is a QubitOperator, FermionOperator, InteractionOperator or "
            f"MajoranaOperator, got {type(operator).__name__}; transform it to one of these"
        )
    coefficients = {}
    for term, coefficient in operator.terms.items():
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
    """The QubitOperator of a PauliSum, or of what makes one."""
    total = total if isinstance(total, PauliSum) else PauliSum(total)
    out = openfermion.QubitOperator()
    for string, coefficient in total.items():
        letters = string.dense(string.n_qubits)
        out += openfermion.QubitOperator(tuple((q, letters[q]) for q in string.qubits), coefficient)
    return out


__all__ = ["from_openfermion", "to_openfermion"]
