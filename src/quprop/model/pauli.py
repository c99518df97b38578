"""Real sums of Pauli strings: what is measured, and what generates time evolution."""

from __future__ import annotations

import itertools
import math
import numbers
import re
from collections.abc import ItemsView, Mapping
from typing import Any, overload

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model.pauli_algebra import product
from quprop.model.pauli_operator import (
    CUTOFF,
    PauliOperator,
    PauliTerms,
    operator_product,
    terms_of,
    whole_power,
)
from quprop.model.pauli_string import MAX_QUBITS as MAX_QUBITS
from quprop.model.pauli_string import PauliString, latex
from quprop.model.pauli_string import bits as bits

_TERMS = 12  # of a sum that a notebook shows

_TERM = re.compile(
    r"\s*(?P<sign>[+-])?\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*?\s*)?"
    r"(?P<body>[IXYZ]\d+(?:[ \t*]+[IXYZ]\d+)*|[IXYZ_]+)\s*(?=[+-]|$)"
)


class PauliSum(PauliTerms):
    """A real linear combination of Hermitian Pauli strings; immutable, hashable, in order of first mention.

    `PauliSum({"Z0 Z1": 1.0, "X3": 0.7})`; keys are texts or `PauliString`s. Equal strings are merged, a minus sign
    goes into the coefficient, terms that are exactly zero vanish. Two sums are equal when their terms are, in any
    order. A product of sums, strings or complex numbers is a `PauliOperator`, complex in general, and a power of a sum
    is a sum; `PauliSum(operator)` takes an operator that is Hermitian up to rounding, 1e-12 of its largest coefficient.

    Raises: QupropError for texts that are no Pauli strings, coefficients that are not real and finite, and operators
    that are not Hermitian.

    >>> qpr.PauliSum("Z0 Z1 + 0.7*X3") == qpr.PauliSum({"Z0 Z1": 1.0, "X3": 0.7})
    True
    """

    __slots__ = ("_coefficients", "_hash", "_commuting")
    _coefficients: dict[PauliString, float]

    def __init__(self, terms: Mapping[Any, Any] | str | PauliString | PauliTerms) -> None:
        if isinstance(terms, str):
            terms = PauliSum.parse(terms)
        if isinstance(terms, PauliString):
            terms = {terms: 1.0}
        if isinstance(terms, PauliOperator):
            terms = _hermitian(terms)
        if not isinstance(terms, Mapping | PauliSum):
            raise QupropError(
                f"a PauliSum is made from a dictionary such as {{'Z0 Z1': 1.0, 'X3': 0.7}}, got {type(terms).__name__}"
            )
        merged: dict[PauliString, float] = {}
        for key, value in terms.items():
            string = PauliString.parse(key) if isinstance(key, str) else key
            if not isinstance(string, PauliString):
                raise QupropError(f"the keys of a PauliSum are Pauli strings such as 'X0 Y2', got {shown(key)}")
            if not string.is_hermitian:
                raise QupropError(f"the terms of a PauliSum must be Hermitian, got {string}; drop its factor i")
            coefficient = string.sign * _real(value, string)
            positive = PauliString(string.x, string.z)
            merged[positive] = _finite(merged.get(positive, 0.0) + coefficient, positive)
        for name, content in (
            ("_coefficients", {p: c for p, c in merged.items() if c != 0.0}),
            ("_hash", None),
            ("_commuting", None),
        ):
            object.__setattr__(self, name, content)

    def __reduce__(self) -> tuple[Any, ...]:
        return PauliSum, (self._coefficients,)

    def items(self) -> ItemsView[PauliString, float]:
        return self._coefficients.items()

    @property
    def terms(self) -> tuple[tuple[PauliString, float], ...]:
        return tuple(self._coefficients.items())

    def __len__(self) -> int:
        return len(self._coefficients)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PauliSum):
            return NotImplemented
        return self is other or self._coefficients == other._coefficients

    def __hash__(self) -> int:
        if self._hash is None:  # type: ignore[attr-defined]
            object.__setattr__(self, "_hash", hash(frozenset(self._coefficients.items())))
        return self._hash  # type: ignore[attr-defined]

    def __add__(self, other: PauliSum) -> PauliSum:
        if not isinstance(other, PauliSum):
            return NotImplemented
        merged = dict(self._coefficients)
        for string, coefficient in other.items():
            merged[string] = merged.get(string, 0.0) + coefficient
        return PauliSum(merged)

    def __neg__(self) -> PauliSum:
        return PauliSum({p: -c for p, c in self.items()})

    def __sub__(self, other: PauliSum) -> PauliSum:
        if not isinstance(other, PauliSum):
            return NotImplemented
        return self + (-other)

    @overload
    def __mul__(self, factor: float) -> PauliSum: ...
    @overload
    def __mul__(self, factor: complex | PauliTerms | PauliString) -> PauliOperator: ...
    def __mul__(self, factor: Any) -> Any:
        return operator_product(self.masks(), terms_of(factor) or {}) if _complexes(factor) else self._times(factor)

    @overload
    def __rmul__(self, factor: float) -> PauliSum: ...
    @overload
    def __rmul__(self, factor: complex | PauliString) -> PauliOperator: ...
    def __rmul__(self, factor: Any) -> Any:
        return operator_product(terms_of(factor) or {}, self.masks()) if _complexes(factor) else self._times(factor)

    def _times(self, factor: Any) -> PauliSum:
        if not isinstance(factor, numbers.Number):
            return NotImplemented
        return PauliSum({p: c * factor for p, c in self.items()})  # type: ignore[operator]

    def __pow__(self, exponent: int) -> PauliSum:
        """H^k, as Hermitian as H: (H^(k-1) H + H H^(k-1)) / 2, in which imaginary parts never appear."""
        out, own = PauliSum({"I": 1.0}), self.masks()
        for _ in range(whole_power(exponent)):
            twice = product(out.masks(), own, 0)
            out = PauliSum({PauliString(x, z): c.real / 2 for (x, z), c in twice.items()})
        return out

    def adjoint(self) -> PauliSum:
        """The conjugate transpose: itself, as a real sum of Hermitian strings is Hermitian."""
        return self

    @property
    def is_hermitian(self) -> bool:
        """True, of every real sum."""
        return True

    def __truediv__(self, divisor: float) -> PauliSum:
        if not isinstance(divisor, numbers.Number):
            return NotImplemented
        if not divisor:
            raise QupropError(f"a PauliSum cannot be divided by zero, got {divisor}")
        return PauliSum({p: c / divisor for p, c in self.items()})

    def commuting(self) -> tuple[PauliString, PauliString] | None:
        """None if all terms commute with each other, otherwise the first pair that does not."""
        if self._commuting is None:  # type: ignore[attr-defined]
            object.__setattr__(self, "_commuting", (_clash(list(self._coefficients)),))
        return self._commuting[0]  # type: ignore[attr-defined]

    @classmethod
    def from_matrix(cls, matrix: Any, cutoff: float = CUTOFF) -> PauliSum:
        """The sum that a Hermitian (2^n, 2^n) matrix is, dense or of SciPy's sparse ones, sum_P tr(P M) / 2^n P.

        Basis state j = sum_q bit_q 2^q. The coefficients come from Walsh-Hadamard transforms, n 4^n operations of a
        dense matrix; those of at most cutoff times the largest entry of |M| are left out. A matrix that is not
        Hermitian is refused: `PauliOperator.from_matrix` takes it.
        """
        return cls(PauliOperator.from_matrix(matrix, cutoff))

    @classmethod
    def parse(cls, text: str) -> PauliSum:
        """Read what `str` writes: `"Z0 Z1 - 0.7*X3 + 2*I"`; a lone string is a sum of one term, `"0"` has none."""
        if text.strip() == "0":
            return cls({})
        terms: list[tuple[PauliString, float]] = []
        position = 0
        while position < len(text) or not terms:
            match = _TERM.match(text, position)
            if match is None or (terms and match["sign"] is None):
                raise QupropError(f"a Pauli sum reads like 'Z0 Z1 - 0.7*X3 + 2*I', got {shown(text)}")
            number = float(match["number"] or 1.0)
            terms.append((PauliString.parse(match["body"]), -number if match["sign"] == "-" else number))
            position = match.end()
        total: dict[PauliString, float] = {}
        for string, coefficient in terms:
            total[string] = total.get(string, 0.0) + coefficient
        return cls(total)

    def __str__(self) -> str:
        text = ""
        for string, coefficient in self.items():
            joint = (" - " if coefficient < 0 else " + ") if text else ("-" if coefficient < 0 else "")
            size = abs(coefficient)
            text += joint + ("" if size == 1.0 else f"{size!r}*") + str(string)
        return text or "0"

    def __repr__(self) -> str:
        return f"PauliSum({ {str(p): c for p, c in self.items()} })"

    def _repr_latex_(self) -> str:
        """Its first terms, six digits of their coefficients."""
        text = ""
        for string, coefficient in itertools.islice(self.items(), _TERMS):
            joint = (" - " if coefficient < 0 else " + ") if text else ("-" if coefficient < 0 else "")
            number, e, exponent = f"{abs(coefficient):.6g}".partition("e")
            power = rf" \times 10^{{{int(exponent)}}}" if e else ""
            alone = number == "1" and not e
            text += joint + ("" if alone else f"{number}{power}\\,") + latex(string)
        more = len(self) - _TERMS
        return f"${text or '0'}" + (rf" + \cdots \text{{ ({more:,} more terms)}}$" if more > 0 else "$")


def _complexes(factor: Any) -> bool:
    """Whether a factor makes an operator of a sum: complex numbers, and whatever has strings."""
    return isinstance(factor, complex | np.complexfloating | PauliTerms | PauliString)


def _hermitian(operator: PauliOperator) -> dict[PauliString, float]:
    string = operator.imaginary()
    if string is not None:
        raise QupropError(
            f"an observable is a Hermitian operator, got one with the term {dict(operator.items())[string]} {string}; "
            "multiply an anti-Hermitian one, such as a commutator, by -1j, or take (A + A.adjoint())/2"
        )
    return {p: c.real for p, c in operator.items()}


def _real(value: Any, string: PauliString) -> float:
    if isinstance(value, complex | np.complexfloating):
        raise QupropError(
            f"the coefficients of a PauliSum must be real, got {value} for {string}; "
            "if its imaginary part is only rounding, pass .real"
        )
    if not isinstance(value, numbers.Real) and not (isinstance(value, np.ndarray) and value.ndim == 0):
        raise QupropError(f"the coefficients of a PauliSum must be real numbers, got {shown(value)} for {string}")
    try:
        return _finite(float(value), string)
    except OverflowError:  # a whole number beyond every double
        return _finite(math.inf, string)


def _finite(number: float, string: PauliString) -> float:
    if not math.isfinite(number):
        raise QupropError(f"the coefficients of a PauliSum must be finite, got {number} for {string}")
    return number


def _clash(strings: list[PauliString]) -> tuple[PauliString, PauliString] | None:
    if not any(p.x for p in strings) or not any(p.z for p in strings):
        return None  # all diagonal, or all X type
    for i, first in enumerate(strings):
        for second in strings[:i]:
            if not first.commutes(second):
                return second, first
    return None
