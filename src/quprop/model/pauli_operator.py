"""Operators as complex sums of Pauli strings: what products and commutators of observables are.

`PauliSum`, an observable, is a real sum. The product of two is Hermitian only where they commute, so it is a
`PauliOperator`; where it is Hermitian, `PauliSum(operator)` takes it as an observable, and otherwise refuses.
"""

from __future__ import annotations

import cmath
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from quprop.errors import QupropError, shown
from quprop.model.pauli_algebra import Masks, Terms, decomposed, matrix, product, sparse_matrix
from quprop.model.pauli_string import PauliString

ROUNDING = 1e-12  # imaginary parts up to this part of the largest coefficient are rounding
MAX_POWER = 1000
CUTOFF = 1e-12  # of the coefficients of a matrix, relative to its largest entry


class PauliTerms:
    """What real and complex sums of Pauli strings share: terms, and the matrices of them."""

    __slots__ = ()
    __array_ufunc__ = None  # a NumPy scalar on the left of an operator leaves the work to us

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a {type(self).__name__} cannot be changed; make a new one")

    def items(self) -> Iterable[tuple[PauliString, Any]]:
        """Its terms, (string with a plus sign, coefficient)."""
        raise NotImplementedError

    def masks(self) -> Terms:
        """Its terms, {(x, z): coefficient}."""
        return {(p.x, p.z): c for p, c in self.items()}

    @property
    def n_qubits(self) -> int:
        """The highest qubit any term acts on, plus one."""
        return max((p.n_qubits for p, _ in self.items()), default=0)

    @property
    def constant(self) -> Any:
        """The coefficient of the identity, tr(A) / 2^n."""
        return self.masks().get((0, 0), 0.0)

    def matrix(self, n: int | None = None) -> np.ndarray:
        """The dense (2^n, 2^n) complex matrix, basis state j = sum_q bit_q 2^q; n: `n_qubits` if it is not given."""
        return matrix(self.masks(), self._width(n))

    def sparse_matrix(self, n: int | None = None) -> sparse.csr_array:
        """The same as a SciPy array in compressed rows: `scipy.sparse.linalg.eigsh(total.sparse_matrix(), 1)`."""
        return sparse_matrix(self.masks(), self._width(n))

    def _width(self, n: int | None) -> int:
        least = self.n_qubits
        if n is None:
            return least
        if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < least:
            raise QupropError(f"a matrix of this sum takes a whole number of qubits from {least}, got {shown(n)}")
        return int(n)


class PauliOperator(PauliTerms):
    """A complex linear combination of Pauli strings; immutable, hashable, in order of first mention.

    What sums, products and powers make of `PauliSum`s, `PauliString`s, numbers and other operators. Nothing is
    dropped: an operator becomes an observable by `PauliSum(operator)`, or where an observable is asked for, and that is
    refused unless all imaginary parts are below 1e-12 of its largest coefficient.

    terms: {text or PauliString: complex number}, a `PauliSum`, a `PauliString`, or another operator.

    Raises: QupropError for texts that are no Pauli strings, numbers that are not finite, and products of more than
    2^28 pairs of terms.

    >>> a, b = qpr.PauliSum("X0 + Z0 Z1"), qpr.PauliSum("Z0")
    >>> print(a * b)
    -1j*Y0 + Z1
    >>> qpr.PauliSum(-1j * (a * b - b * a))
    PauliSum({'Y0': -2.0})
    """

    __slots__ = ("_terms", "_hash")
    _terms: Terms

    def __init__(self, terms: Mapping[Any, Any] | PauliTerms | PauliString | str) -> None:
        merged: Terms = {}
        if isinstance(terms, str | PauliString):
            terms = {terms: 1.0}
        if not isinstance(terms, Mapping | PauliTerms):
            raise QupropError(
                "a PauliOperator is made from a dictionary such as {'X0': 1, 'Y0': 1j}, a PauliSum or a PauliString, "
                f"got {shown(terms)}"
            )
        for key, value in terms.items():
            string = PauliString.parse(key) if isinstance(key, str) else key
            if not isinstance(string, PauliString):
                raise QupropError(f"the keys of a PauliOperator are Pauli strings such as 'X0 Y2', got {shown(key)}")
            place = string.x, string.z
            turns = string.phase - (string.x & string.z).bit_count() & 3
            merged[place] = merged.get(place, 0j) + (1, 1j, -1, -1j)[turns] * _complex(value, string)
        self._fill(merged)

    @classmethod
    def _of(cls, terms: Terms) -> Self:
        made = object.__new__(cls)
        made._fill(terms)
        return made

    def _fill(self, terms: Terms) -> None:
        kept = {key: c for key, c in terms.items() if c}
        if not all(map(cmath.isfinite, kept.values())):
            wrong = next(c for c in kept.values() if not cmath.isfinite(c))
            raise QupropError(f"the coefficients of a PauliOperator must be finite, got {wrong}")
        object.__setattr__(self, "_terms", kept)
        object.__setattr__(self, "_hash", None)

    def __reduce__(self) -> tuple[Any, ...]:
        return PauliOperator, (dict(self.items()),)

    def items(self) -> list[tuple[PauliString, complex]]:
        return [(PauliString(x, z), c) for (x, z), c in self._terms.items()]

    def masks(self) -> Terms:
        return dict(self._terms)

    @property
    def terms(self) -> tuple[tuple[PauliString, complex], ...]:
        return tuple(self.items())

    @property
    def n_qubits(self) -> int:
        """The highest qubit any term acts on, plus one."""
        return max(((x | z).bit_length() for x, z in self._terms), default=0)

    def adjoint(self) -> PauliOperator:
        """The conjugate transpose."""
        return PauliOperator._of({key: c.conjugate() for key, c in self._terms.items()})

    @property
    def is_hermitian(self) -> bool:
        """Whether imaginary parts are at most 1e-12 of the largest coefficient, which is rounding."""
        return self.imaginary() is None

    def imaginary(self) -> PauliString | None:
        """The term of the largest imaginary part, None where that is rounding."""
        key = max(self._terms, key=lambda k: abs(self._terms[k].imag), default=None)
        if key is None or abs(self._terms[key].imag) <= ROUNDING * max(map(abs, self._terms.values())):
            return None
        return PauliString(*key)

    @classmethod
    def from_matrix(cls, matrix: Any, cutoff: float = CUTOFF) -> Self:
        """The operator of a (2^n, 2^n) matrix, dense or of SciPy's sparse ones, basis state j = sum_q bit_q 2^q.

        Its coefficients tr(P M) / 2^n come from Walsh-Hadamard transforms, n 4^n operations of a dense matrix. Those of
        at most cutoff times the largest entry of |M| are left out.
        """
        return cls._of(decomposed(matrix, checked_cutoff(cutoff)))

    def __len__(self) -> int:
        return len(self._terms)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PauliTerms):
            return NotImplemented
        return self is other or self._terms == other.masks()

    def __hash__(self) -> int:
        if self._hash is None:  # type: ignore[attr-defined]
            object.__setattr__(self, "_hash", hash(frozenset(self.items())))
        return self._hash  # type: ignore[attr-defined]

    def __add__(self, other: Any) -> PauliOperator:
        right = terms_of(other)
        if right is None:
            return NotImplemented
        merged = dict(self._terms)
        for key, c in right.items():
            merged[key] = merged.get(key, 0j) + c
        return PauliOperator._of(merged)

    __radd__ = __add__

    def __neg__(self) -> PauliOperator:
        return PauliOperator._of({key: -c for key, c in self._terms.items()})

    def __sub__(self, other: Any) -> PauliOperator:
        right = terms_of(other)
        return NotImplemented if right is None else self + PauliOperator._of({key: -c for key, c in right.items()})

    def __rsub__(self, other: Any) -> PauliOperator:
        return -self + other

    def __mul__(self, other: Any) -> PauliOperator:
        right = terms_of(other)
        return NotImplemented if right is None else operator_product(self._terms, right)

    def __rmul__(self, other: Any) -> PauliOperator:
        left = terms_of(other)
        return NotImplemented if left is None else operator_product(left, self._terms)

    def __truediv__(self, divisor: Any) -> PauliOperator:
        if not isinstance(divisor, numbers.Number):
            return NotImplemented
        if not divisor:
            raise QupropError(f"a PauliOperator cannot be divided by zero, got {divisor}")
        return PauliOperator._of({key: c / divisor for key, c in self._terms.items()})

    def __pow__(self, exponent: int) -> PauliOperator:
        out = PauliOperator({"I": 1.0})
        for _ in range(whole_power(exponent)):
            out = out * self
        return out

    def __str__(self) -> str:
        return " + ".join(f"{_factor(c)}{p}" for p, c in self.items()) or "0"

    def __repr__(self) -> str:
        return f"PauliOperator({ {str(p): c for p, c in self.items()} })"


def commutator(a: PauliTerms | PauliString, b: PauliTerms | PauliString) -> PauliOperator:
    """[A, B] = A B - B A. Of observables it is anti-Hermitian: `PauliSum(-1j * commutator(a, b))` is an observable.

    a, b: `PauliSum`, `PauliOperator` or `PauliString`. Only pairs of strings that anticommute are multiplied, so what
    cancels in A B - B A leaves no rounding here.

    Returns: PauliOperator, all of whose coefficients are exactly imaginary where a and b are `PauliSum`s.
    Raises: QupropError for what is no sum of Pauli strings, and beyond 2^28 pairs of terms.

    >>> print(qpr.commutator(qpr.PauliSum("X0"), qpr.PauliSum("Y0 + X1")))
    2j*Z0
    """
    return PauliOperator._of(product(_operand("commutator", a), _operand("commutator", b), 1))


def anticommutator(a: PauliTerms | PauliString, b: PauliTerms | PauliString) -> PauliOperator:
    """{A, B} = A B + B A, which is Hermitian for observables: `PauliSum(anticommutator(a, b))` is an observable.

    a, b: `PauliSum`, `PauliOperator` or `PauliString`.

    Returns: PauliOperator, all of whose coefficients are exactly real where a and b are `PauliSum`s.
    Raises: QupropError for what is no sum of Pauli strings, and beyond 2^28 pairs of terms.

    >>> qpr.PauliSum(qpr.anticommutator(qpr.PauliSum("X0"), qpr.PauliSum("Y0 + X1")))
    PauliSum({'X0 X1': 2.0})
    """
    return PauliOperator._of(product(_operand("anticommutator", a), _operand("anticommutator", b), 0))


def terms_of(given: Any) -> Terms | None:
    """A factor or summand: sums, strings, and numbers as multiples of the identity; None of anything else."""
    if isinstance(given, PauliTerms):
        return given.masks()
    if isinstance(given, PauliString):
        return PauliOperator(given).masks()
    if isinstance(given, bool) or not isinstance(given, numbers.Number):
        return None
    return {(0, 0): _complex(given, PauliString(0, 0))}


def operator_product(left: Terms, right: Terms) -> PauliOperator:
    """A B; a number on either side scales."""
    for number, other in ((left, right), (right, left)):
        if list(number) == [(0, 0)]:
            return PauliOperator._of({key: c * number[0, 0] for key, c in other.items()})
    return PauliOperator._of(product(left, right))


def whole_power(exponent: Any) -> int:
    """An exponent of sums, checked."""
    if isinstance(exponent, bool) or not isinstance(exponent, numbers.Integral) or not 0 <= int(exponent) <= MAX_POWER:
        raise QupropError(
            f"the power of a sum of Pauli strings is a whole number from 0 to {MAX_POWER}, got {shown(exponent)}"
        )
    return int(exponent)


def checked_cutoff(cutoff: Any) -> float:
    if isinstance(cutoff, bool) or not isinstance(cutoff, numbers.Real) or not 0 <= float(cutoff) < 1:
        raise QupropError(f"cutoff is a part of the largest entry, from 0 to below 1, got {shown(cutoff)}")
    return float(cutoff)


def _operand(what: str, given: Any) -> dict[Masks, Any]:
    if not isinstance(given, PauliTerms | PauliString):
        raise QupropError(f"{what} takes PauliSum, PauliOperator or PauliString, got {shown(given)}; make it one first")
    return terms_of(given) or {}


def _complex(value: Any, string: PauliString) -> complex:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Number):
        raise QupropError(f"the coefficients of a PauliOperator are numbers, got {shown(value)} for {string}")
    try:
        return complex(value)  # type: ignore[call-overload]
    except OverflowError:  # a whole number beyond every double
        return complex(float("inf"))


def _factor(c: complex) -> str:
    if c == 1:
        return ""
    return f"{c.real!r}*" if c.imag == 0 else f"{c.imag!r}j*".replace(".0j", "j") if c.real == 0 else f"{c}*"
