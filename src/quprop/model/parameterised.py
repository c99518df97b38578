"""Observables whose coefficients are angles: polynomials of params and inputs.

    O(theta, x) = sum_j c_j(theta, x) P_j,   d<O>/dv = sum_j (dc_j/dv) <P_j> + sum_j c_j d<P_j>/dv

A `Model` holds them among its observables. What reads coefficients as numbers is refused by the sum itself, so that
nothing takes an angle for a number; `Coefficients` is what the engine of such models reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model.angle import Angle, AngleVector, Variable, as_angle, variable_name
from quprop.model.angle_table import AngleTable, Scatter
from quprop.model.pauli import PauliString, PauliSum

if TYPE_CHECKING:
    pass

_MEND = "take model.bound_observables(theta, x), whose coefficients are numbers, or qpr.value_and_grad, vjp and hvp"


class ParameterisedSum:
    """sum_j c_j P_j of Hermitian Pauli strings P_j with coefficients c_j that are numbers or angles, polynomials of
    params and inputs; immutable, hashable. A dictionary of observables with such a coefficient becomes one.

    terms: a dictionary of Pauli strings (or their texts) and coefficients. Equal strings are merged, a minus sign goes
    into the coefficient, terms that are exactly zero vanish. Two sums are equal when their terms are, in any order.

    Raises: QupropError for texts that are no Pauli strings, and coefficients that are not real and finite.

    >>> theta, x = qpr.params("theta", 1), qpr.inputs("x", 1)
    >>> model = qpr.Model(qpr.Circuit(2).ry(theta[0], 0), {"Z0": theta[0]**2, "X1": 0.5*x[0], "Y1": 1.0})
    >>> model.observables[0]
    ParameterisedSum({'Z0': theta[0]*theta[0], 'X1': 0.5*x[0], 'Y1': 1})
    >>> qpr.expectation(model, [0.5], [0.3]).round(6)  # 0.25 cos(0.5)
    array([0.219396])
    """

    __slots__ = ("_angles", "_hash")
    _angles: dict[PauliString, Angle]

    def __init__(self, terms: Mapping[Any, Any]) -> None:
        if not isinstance(terms, Mapping):
            raise QupropError(
                f"a ParameterisedSum is made from a dictionary such as {{'Z0 Z1': theta[0]}}, got {shown(terms)}"
            )
        merged: dict[PauliString, Angle] = {}
        for key, value in terms.items():
            string = PauliString.parse(key) if isinstance(key, str) else key
            if not isinstance(string, PauliString):
                raise QupropError(f"the keys of a ParameterisedSum are Pauli strings such as 'X0 Y2', got {shown(key)}")
            if not string.is_hermitian:
                raise QupropError(f"the terms of a ParameterisedSum must be Hermitian, got {string}; drop its factor i")
            angle = _coefficient(value, string)
            positive = PauliString(string.x, string.z)
            merged[positive] = merged.get(positive, Angle()) + (angle if string.sign > 0 else -angle)
        object.__setattr__(self, "_angles", {p: a for p, a in merged.items() if a.terms})
        object.__setattr__(self, "_hash", hash(frozenset(self._angles.items())))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a ParameterisedSum cannot be changed; make a new one")

    def __reduce__(self) -> tuple[Any, ...]:
        return ParameterisedSum, (self._angles,)

    @property
    def angles(self) -> tuple[tuple[PauliString, Angle], ...]:
        """The strings, each once and with a plus sign, and their coefficients."""
        return tuple(self._angles.items())

    @property
    def strings(self) -> tuple[PauliString, ...]:
        return tuple(self._angles)

    @property
    def n_qubits(self) -> int:
        """The highest qubit any term acts on, plus one."""
        return max((p.n_qubits for p in self._angles), default=0)

    @property
    def is_constant(self) -> bool:
        """Whether all coefficients are numbers."""
        return all(a.is_constant for a in self._angles.values())

    def items(self) -> NoReturn:
        """Refused: there are no numbers without values of the parameters."""
        raise QupropError(
            f"this takes observables whose coefficients are numbers, and {shown(str(self))} has params or inputs in "
            f"them; {_MEND}"
        )

    @property
    def terms(self) -> NoReturn:
        """Refused as `items` is."""
        self.items()

    def matrix(self, n: int) -> NoReturn:
        """Refused as `items` is."""
        self.items()

    def commuting(self) -> tuple[PauliString, PauliString] | None:
        """None if all terms commute with each other, otherwise the first pair that does not."""
        return PauliSum(dict.fromkeys(self._angles, 1.0)).commuting()

    def mapped(self, change: Callable[[PauliString, Angle], tuple[PauliString, Angle]]) -> ParameterisedSum:
        """The sum with every term replaced by change(string, coefficient)."""
        return ParameterisedSum(dict(change(p, a) for p, a in self._angles.items()))

    def __len__(self) -> int:
        return len(self._angles)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ParameterisedSum):
            return NotImplemented
        return self._angles == other._angles

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]

    def text(self, name: Callable[[Variable], str], most: int | None = None, digits: int | None = None) -> str:
        """`(theta[0] + 1)*Z0 Z1 + ...` of at most so many terms; name(variable) writes a variable."""
        parts = []
        for string, angle in list(self._angles.items())[:most]:
            number = angle.text(name, digits)
            parts.append(f"{f'({number})' if len(angle.terms) > 1 else number}*{string}")
        return " + ".join(parts).replace("+ -", "- ") or "0"

    def __str__(self) -> str:
        return self.text(variable_name)

    def __repr__(self) -> str:
        inner = ", ".join(f"{str(p)!r}: {a.text(variable_name)}" for p, a in self._angles.items())
        return f"ParameterisedSum({{{inner}}})"


Observable = PauliSum | ParameterisedSum


def _coefficient(value: Any, string: PauliString) -> Angle:
    if isinstance(value, AngleVector):
        raise QupropError(
            f"the coefficient of {string} is one entry such as {value.name}[0], got the whole vector {value!r}"
        )
    try:
        return as_angle(value)
    except QupropError:
        raise QupropError(
            f"the coefficient of {string} must be a finite real number or made from params and inputs, got "
            f"{shown(value)}"
        ) from None


def observable_of(given: Any) -> Observable:
    """A sum as it is, or what a user writes for one: with angles for coefficients a `ParameterisedSum`."""
    if isinstance(given, ParameterisedSum):
        found = given
    elif isinstance(given, Mapping) and any(isinstance(c, Angle | AngleVector) for c in given.values()):
        found = ParameterisedSum(given)
    else:
        return given if isinstance(given, PauliSum) else PauliSum(given)
    return PauliSum({p: a.constant for p, a in found.angles}) if found.is_constant else found


def strings_of(total: Observable) -> tuple[PauliString, ...]:
    """The Pauli strings of a sum, whatever their coefficients are."""
    return total.strings if isinstance(total, ParameterisedSum) else tuple(p for p, _ in total.items())


def refuse_parameters(given: Any, what: str) -> None:
    """The guard of whatever takes models, or lists of observables, whose coefficients are numbers; what: the subject of
    the sentence."""
    if any(isinstance(total, ParameterisedSum) for total in getattr(given, "observables", given)):
        raise QupropError(
            f"{what} takes observables whose coefficients are numbers, and these have params or inputs in them; {_MEND}"
        )


class Coefficients(NamedTuple):
    """The coefficients of all terms of a model's observables, E of them, as an `AngleTable`; entry e belongs to
    observable[e] of the K and to string term[e] of the T different ones."""

    table: AngleTable
    strings: tuple[PauliString, ...]
    term: np.ndarray
    observable: np.ndarray
    to_terms: Scatter
    to_observables: Scatter
    n_observables: int

    @classmethod
    def of(cls, observables: Iterable[Observable], n_params: int, n_inputs: int) -> Coefficients:
        index: dict[PauliString, int] = {}
        angles, term, observable = [], [], []
        count = 0
        for k, total in enumerate(observables):
            count += 1
            pairs = total.angles if isinstance(total, ParameterisedSum) else total.items()
            for string, coefficient in pairs:
                term.append(index.setdefault(string, len(index)))
                observable.append(k)
                angles.append(as_angle(coefficient))
        assert all(len(v) == 2 for a in angles for monomial, _ in a.terms for v in monomial), "flat variables"
        table = AngleTable.build(angles, n_params, n_inputs)
        rows, columns = np.array(term, np.intp), np.array(observable, np.intp)
        return cls(table, tuple(index), rows, columns, Scatter.to(rows), Scatter.to(columns), count)


def numbers_at(total: ParameterisedSum, value: Callable[[Variable], float]) -> PauliSum:
    """The sum with numbers for its variables."""
    return PauliSum(
        {p: sum(c * math.prod(value(v) for v in monomial) for monomial, c in a.terms) for p, a in total.angles}
    )
