"""Rotation angles: polynomials in trainable parameters and data inputs.

`theta = params("theta", 8)` and `x = inputs("x", 4)` are vectors whose entries are `Angle`s; arithmetic with numbers
and with each other gives further `Angle`s: `2*theta[3] + 0.1`, `theta[0]*x[1]`, `(np.pi - x[0])*(np.pi - x[1])`.

A variable is a tuple (kind, index, vector name, vector size) with kind 0 for parameters and 1 for inputs; inside a
`Model`, where all vectors of a kind have been laid out one after the other, it is just (kind, flat index).
A monomial is a sorted tuple of variables; () is the constant.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex, overload

from quprop.errors import QupropError, shown

PARAM, INPUT = 0, 1
MAX_DEGREE = 100  # of an angle's polynomial
MAX_PRODUCTS = 1 << 20  # of the terms of two angles that are multiplied
MAX_VARIABLES = 2**31 - 1  # of all vectors of a circuit: the kernels count them in 32 bits
Variable = tuple[Any, ...]
Monomial = tuple[Variable, ...]
Terms = tuple[tuple[Monomial, float], ...]


class Angle:
    """An immutable, hashable polynomial; `terms` holds (monomial, coefficient) pairs in a fixed order, none zero.

    value: a real number or an `Angle`; else made of entries of `params` and `inputs` with +, -, *, / by a number, and
    powers. In radians where a gate turns by it.
    Raises: QupropError for numbers that are not finite, and beyond degree 100.

    >>> theta = qpr.params("theta", 2)
    >>> angle = theta[0]*theta[1] - 0.5
    >>> angle.degree, angle.constant
    (2, -0.5)
    """

    __slots__ = ("terms",)
    terms: Terms
    __array_ufunc__ = None  # a NumPy scalar on the left of an operator leaves the work to us

    def __init__(self, value: float | Angle = 0.0) -> None:
        object.__setattr__(self, "terms", as_angle(value).terms)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an Angle cannot be changed; make a new one")

    def __reduce__(self) -> tuple[Any, ...]:
        return from_terms, (self.terms,)

    @property
    def is_constant(self) -> bool:
        """Whether it has no parameter and no input."""
        terms = self.terms
        return not terms or (len(terms) == 1 and not terms[0][0])

    @property
    def constant(self) -> float:
        """The part without variables."""
        return next((c for m, c in self.terms if not m), 0.0)

    @property
    def degree(self) -> int:
        """Of the polynomial; 0 of a constant."""
        return max((len(m) for m, _ in self.terms), default=0)

    def relabel(self, name: Callable[[Variable], Variable], factor: float = 1.0) -> Angle:
        """factor times this angle with each variable replaced by name(variable)."""
        terms = self.terms
        if len(terms) == 1 and len(terms[0][0]) == 1:  # by far the most common: nothing to merge or sort
            return from_terms((((name(terms[0][0][0]),), factor * terms[0][1]),))
        merged: dict[Monomial, float] = {}
        for monomial, coefficient in terms:
            key = tuple(sorted(name(v) for v in monomial))
            merged[key] = merged.get(key, 0.0) + factor * coefficient
        return collected(merged)

    def __add__(self, other: Any) -> Angle:
        right = _operand(other)
        if right is None:
            return NotImplemented
        merged = dict(self.terms)
        for monomial, coefficient in right.terms:
            merged[monomial] = merged.get(monomial, 0.0) + coefficient
        return collected(merged)

    __radd__ = __add__

    def __neg__(self) -> Angle:
        return from_terms(tuple((m, -c) for m, c in self.terms))

    def __pos__(self) -> Angle:
        return self

    def __sub__(self, other: Any) -> Angle:
        right = _operand(other)
        return NotImplemented if right is None else self + (-right)

    def __rsub__(self, other: Any) -> Angle:
        return (-self) + other

    def __mul__(self, other: Any) -> Angle:
        right = _operand(other)
        if right is None:
            return NotImplemented
        _check_size(self.degree + right.degree, len(self.terms) * len(right.terms))
        merged: dict[Monomial, float] = {}
        for m1, c1 in self.terms:
            for m2, c2 in right.terms:
                key = tuple(sorted(m1 + m2)) if m1 and m2 else m1 or m2
                merged[key] = merged.get(key, 0.0) + c1 * c2
        return collected(merged)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Angle:
        if isinstance(other, Angle):
            raise QupropError(f"an angle is a polynomial: it can be divided by a number only, got {self} / ({other})")
        if not isinstance(other, numbers.Real):
            return NotImplemented
        if other == 0:
            raise QupropError(f"an angle cannot be divided by zero, got ({self}) / {other}")
        return collected({m: c / _float(other) for m, c in self.terms})

    def __pow__(self, exponent: int) -> Angle:
        if not isinstance(exponent, int) or exponent < 0:
            raise QupropError(f"an angle is a polynomial: its powers are 0, 1, 2, ..., got {shown(exponent)}")
        if not self.degree:
            return Angle(_power(self.constant, exponent))
        _check_size(self.degree * exponent, len(self.terms))
        product = Angle(1.0)
        for _ in range(exponent):
            product = product * self
        return product

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Angle):
            return NotImplemented
        return self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def text(self, name: Callable[[Variable], str], digits: int | None = None) -> str:
        """Readable form `2*theta[3] + 0.1`; name(variable) writes a variable, `digits` shortens numbers."""
        parts = ""
        for monomial, coefficient in sorted(self.terms, key=lambda t: not t[0]):  # the constant comes last
            number = _number(abs(coefficient), digits)
            factors = [name(v) for v in monomial]
            if number != "1" or not factors:
                factors.insert(0, number)
            minus = coefficient < 0
            parts += (" - " if minus else " + ") if parts else ("-" if minus else "")
            parts += "*".join(factors)
        return parts or "0"

    def __repr__(self) -> str:
        return self.text(variable_name)


class AngleVector:
    """A named vector of parameters or inputs; index, iterate or slice it for its `Angle`s.

    kind: 0 for params, 1 for inputs. indices: the entries of a slice.
    Raises: QupropError for a name that is no identifier or a size that is no whole number from 0.

    >>> theta = qpr.params("theta", 8)
    >>> theta[-1], theta[2:4], len(theta[2:4])
    (theta[7], params('theta', 8)[2:4:1], 2)
    """

    __slots__ = ("kind", "name", "size", "indices")
    kind: int
    name: str
    size: int
    indices: range

    def __init__(self, kind: int, name: str, size: int, indices: range | None = None) -> None:
        what = "inputs" if kind == INPUT else "params"
        if not isinstance(name, str) or not name.isidentifier():
            raise QupropError(f"{what} need a name such as {'x' if kind else 'theta'!r}, got {name!r}")
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 0:
            raise QupropError(f"{what}({name!r}, n) needs a whole number n >= 0 of entries, got {shown(size)}")
        if size > MAX_VARIABLES:
            raise QupropError(f"{what}({name!r}, n) has at most {MAX_VARIABLES} entries, got {shown(size)}")
        self.kind, self.name, self.size = kind, name, int(size)
        self.indices = range(self.size) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Angle]:
        return (self._entry(i) for i in self.indices)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Angle: ...
    @overload
    def __getitem__(self, index: slice) -> AngleVector: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return AngleVector(self.kind, self.name, self.size, self.indices[index])
        try:
            return self._entry(self.indices[index])
        except IndexError:
            raise IndexError(
                f"{self.name} has {len(self)} entries, indices 0 to {len(self) - 1}, got {index}"
            ) from None
        except TypeError:
            raise TypeError(f"{self.name} is indexed by a whole number or a slice, got {index!r}") from None

    def _entry(self, index: int) -> Angle:
        return from_terms(((((self.kind, index, self.name, self.size),), 1.0),))

    def __repr__(self) -> str:
        return f"{'inputs' if self.kind else 'params'}({self.name!r}, {self.size})" + (
            "" if len(self) == self.size else f"[{self.indices.start}:{self.indices.stop}:{self.indices.step}]"
        )


def params(name: str, n: int) -> AngleVector:
    """`n` trainable parameters called `name`: `theta = params("theta", 8)`, then `2*theta[3] + 0.1`.

    Returns: AngleVector of n entries, each an `Angle` in radians.
    Raises: QupropError for a name that is no identifier or n that is no whole number from 0.

    >>> theta = qpr.params("theta", 8)
    >>> 2*theta[3] + 0.1
    2*theta[3] + 0.1
    """
    return AngleVector(PARAM, name, n)


def inputs(name: str, n: int) -> AngleVector:
    """`n` data inputs called `name`: `x = inputs("x", 4)`, then `np.pi*x[0]`.

    Returns: AngleVector of n entries, each an `Angle`.
    Raises: QupropError for a name that is no identifier or n that is no whole number from 0.

    >>> x = qpr.inputs("x", 4)
    >>> (1 - x[0])*(1 - x[1])
    -x[0] - x[1] + x[0]*x[1] + 1
    """
    return AngleVector(INPUT, name, n)


def as_angle(value: Any) -> Angle:
    """The value itself if it is an `Angle`, a finite real number as a constant one; anything else is refused."""
    if isinstance(value, Angle):
        return value
    if isinstance(value, AngleVector):
        raise QupropError(f"an angle is one entry such as {value.name}[0], got the whole vector {value!r}")
    angle = _operand(value)
    if angle is None:
        raise QupropError(f"an angle must be a real number or made from params and inputs, got {value!r}")
    return angle


def quarter_turns(angle: float, tolerance: float) -> int | None:
    """k = 0, 1, 2, 3 if the angle is within tolerance of k pi/2 modulo 2 pi, else None.

    Read off cosine and sine, which the C library reduces exactly: a quotient by pi/2 is whole for every large number.
    """
    c, s = math.cos(angle), math.sin(angle)
    if min(abs(c), abs(s)) > tolerance:
        return None
    return (0 if c > 0 else 2) if abs(c) > abs(s) else (1 if s > 0 else 3)


def from_terms(terms: Terms) -> Angle:
    """An angle from terms known to be canonical (sorted, merged, finite, no zeros)."""
    angle = object.__new__(Angle)
    object.__setattr__(angle, "terms", terms)
    return angle


def variable_name(variable: Variable) -> str:
    """`theta[3]` for a user's variable; flat ones are called theta and x."""
    name = variable[2] if len(variable) > 2 else "x" if variable[0] else "theta"
    return f"{name}[{variable[1]}]"


def _operand(value: Any) -> Angle | None:
    if isinstance(value, Angle):
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # NumPy scalars and zero-dimensional arrays
    if not isinstance(value, numbers.Real):
        return None
    return collected({(): _float(value)})


def _float(number: numbers.Real) -> float:
    try:
        return float(number)
    except OverflowError:  # a whole number or fraction beyond every double
        return math.inf


def _power(number: float, exponent: int) -> float:
    try:
        return number**exponent
    except OverflowError:
        return math.inf


def _check_size(degree: int, products: int) -> None:
    if degree > MAX_DEGREE or products > MAX_PRODUCTS:
        raise QupropError(
            f"an angle is a polynomial of degree {MAX_DEGREE} at most, multiplied out in {MAX_PRODUCTS} products at "
            f"most, got degree {shown(degree)} and {products} products; compute it outside and pass it as an input"
        )


def collected(merged: dict[Monomial, float]) -> Angle:
    """The angle of these coefficients: zeros left out, monomials in their fixed order."""
    for coefficient in merged.values():
        if not math.isfinite(coefficient):
            raise QupropError(f"the numbers in an angle must be finite, got {coefficient}")
    terms = [(m, c) for m, c in merged.items() if c != 0.0]
    if len(terms) > 1:
        terms.sort(key=lambda t: (len(t[0]), t[0]))
    return from_terms(tuple(terms))


def _number(value: float, digits: int | None) -> str:
    text = repr(value) if digits is None else f"{value:.{digits}g}"
    return text.removesuffix(".0")
