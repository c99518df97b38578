"""Pauli strings and real sums of them, as bit masks.

A string is i^phase X^x Z^z with integer masks x and z, the X part left of the Z part; qubit q is bit q of a
mask and of a basis-state index. As Y = iXZ, the Hermitian string with a plus sign has phase = |x & z| mod 4.
"""

from __future__ import annotations

import itertools
import math
import numbers
import operator
import re
from collections.abc import ItemsView, Mapping
from typing import Any, NoReturn

import numpy as np

from quprop.errors import QupropError, shown

MAX_QUBITS = 10_000  # of strings and circuits: a tableau of that many takes 50 MB, and up to ten seconds to invert
MAX_MATRIX_QUBITS = 14  # of a dense matrix: 4 GiB
_SHOWN = 20  # digits of a qubit's number that a refusal repeats
_TERMS = 12  # of a sum that a notebook shows
_LONG = 256  # bits from which on NumPy finds the ones faster than a loop

_LETTER = {(0, 0): "I", (1, 0): "X", (1, 1): "Y", (0, 1): "Z"}
_BITS = {"I": (0, 0), "_": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
_PREFIX = {"": 0, "+": 0, "i": 1, "+i": 1, "-": 2, "-i": 3}
_SIGN_TEXT = ("", "i", "-", "-i")
_SPARSE = re.compile(r"[IXYZ]\d+(?:[\s*]+[IXYZ]\d+)*")
_DENSE = re.compile(r"[IXYZ_]+")
_STRING = re.compile(r"\s*([+-]?\s*i?)\s*(.*?)\s*", re.DOTALL)
_TERM = re.compile(
    r"\s*(?P<sign>[+-])?\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*?\s*)?"
    r"(?P<body>[IXYZ]\d+(?:[ \t*]+[IXYZ]\d+)*|[IXYZ_]+)\s*(?=[+-]|$)"
)


def bits(mask: int) -> list[int]:
    """The positions of the ones of a mask, lowest first."""
    if mask.bit_length() > _LONG:
        raw = np.frombuffer(mask.to_bytes((mask.bit_length() + 7) // 8, "little"), np.uint8)
        return np.flatnonzero(np.unpackbits(raw, bitorder="little")).tolist()
    found = []
    while mask:
        found.append((mask & -mask).bit_length() - 1)
        mask &= mask - 1
    return found


class PauliString:
    """The operator i^phase X^x Z^z on as many qubits as you like; immutable and hashable.

    `phase` may be left out: then the string is the Hermitian one with a plus sign. Products, commutation and
    adjoints are exact integer arithmetic.

    Raises: QupropError for masks that are no whole numbers from 0, or beyond the most qubits.

    >>> string = qpr.PauliString.parse("X0 Y2")
    >>> string.x, string.z, string.weight, string * qpr.PauliString.parse("Z0")
    (5, 4, 2, PauliString.parse('-iY0 Y2'))
    """

    __slots__ = ("x", "z", "phase")
    x: int
    z: int
    phase: int

    def __init__(self, x: int, z: int, phase: int | None = None) -> None:
        if type(x) is not int or type(z) is not int or (phase is not None and type(phase) is not int):
            x, z = _whole("mask x", x), _whole("mask z", z)
            phase = None if phase is None else _whole("phase", phase)
        if x < 0 or z < 0:
            raise QupropError(f"a Pauli string's masks must be non-negative integers, got x={shown(x)}, z={shown(z)}")
        if (x | z) >> MAX_QUBITS:
            _refuse_qubit((x | z).bit_length() - 1)
        set_ = object.__setattr__
        set_(self, "x", x)
        set_(self, "z", z)
        set_(self, "phase", ((x & z).bit_count() if phase is None else phase) & 3)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a PauliString cannot be changed; make a new one")

    def __reduce__(self) -> tuple[Any, ...]:
        return PauliString, (self.x, self.z, self.phase)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PauliString):
            return NotImplemented
        return self.x == other.x and self.z == other.z and self.phase == other.phase

    def __hash__(self) -> int:
        return hash((self.x, self.z, self.phase))

    @property
    def is_hermitian(self) -> bool:
        """Whether its factor is 1 or -1, not i or -i."""
        return (self.phase - (self.x & self.z).bit_count()) & 1 == 0

    @property
    def sign(self) -> int:
        """+1 or -1 of a Hermitian string."""
        if not self.is_hermitian:
            raise QupropError(f"only a Hermitian Pauli string has a sign, got {self}; multiply it by i first")
        return 1 - ((self.phase - (self.x & self.z).bit_count()) & 2)

    @property
    def weight(self) -> int:
        """The number of qubits it acts on."""
        return (self.x | self.z).bit_count()

    @property
    def qubits(self) -> tuple[int, ...]:
        """The qubits it acts on, in order."""
        return tuple(bits(self.x | self.z))

    @property
    def n_qubits(self) -> int:
        """The highest qubit it acts on, plus one."""
        return (self.x | self.z).bit_length()

    def commutes(self, other: PauliString) -> bool:
        """Whether the two commute; otherwise they anticommute."""
        return ((self.x & other.z).bit_count() + (self.z & other.x).bit_count()) & 1 == 0

    def __mul__(self, other: PauliString) -> PauliString:
        if not isinstance(other, PauliString):
            return NotImplemented
        # Z^z X^x' = (-1)^{|z & x'|} X^x' Z^z
        phase = self.phase + other.phase + 2 * (self.z & other.x).bit_count()
        return PauliString(self.x ^ other.x, self.z ^ other.z, phase)

    def __neg__(self) -> PauliString:
        return PauliString(self.x, self.z, self.phase + 2)

    def adjoint(self) -> PauliString:
        """The conjugate transpose."""
        return PauliString(self.x, self.z, 2 * (self.x & self.z).bit_count() - self.phase)

    @classmethod
    def parse(cls, text: str) -> PauliString:
        """Read `"X0 Y2"` (sparse), `"XIY"` (dense, qubit 0 on the left) or `"I"`, with a sign `-`, `i`, `-i` if any."""
        match = _STRING.fullmatch(text) if isinstance(text, str) else None
        body = match[2] if match else ""
        x = z = 0
        if _SPARSE.fullmatch(body):
            seen: set[int] = set()
            for token in re.split(r"[\s*]+", body):
                qubit = _index(token[1:])
                if qubit in seen:
                    raise QupropError(f"a Pauli string names each qubit once, got qubit {qubit} twice in {shown(text)}")
                seen.add(qubit)
                x |= _BITS[token[0]][0] << qubit
                z |= _BITS[token[0]][1] << qubit
        elif _DENSE.fullmatch(body):
            if len(body) > MAX_QUBITS:
                _refuse_qubit(len(body) - 1)
            for qubit, letter in enumerate(body):
                x |= _BITS[letter][0] << qubit
                z |= _BITS[letter][1] << qubit
        else:
            raise QupropError(f"a Pauli string reads like 'X0 Y2', 'XIY', '-Z3' or 'I', got {shown(text)}")
        assert match is not None
        return cls(x, z, (x & z).bit_count() + _PREFIX[match[1].replace(" ", "")])

    def __str__(self) -> str:
        letters = (f"{_LETTER[self.x >> q & 1, self.z >> q & 1]}{q}" for q in self.qubits)
        return _SIGN_TEXT[(self.phase - (self.x & self.z).bit_count()) & 3] + (" ".join(letters) or "I")

    def __repr__(self) -> str:
        return f"PauliString.parse({str(self)!r})"

    def _repr_latex_(self) -> str:
        return f"${_latex(self)}$"

    def dense(self, n: int) -> str:
        """The letters of qubits 0..n-1 from left to right, with the sign in front."""
        self._fits(n)
        letters = "".join(_LETTER[self.x >> q & 1, self.z >> q & 1] for q in range(n))
        return _SIGN_TEXT[(self.phase - (self.x & self.z).bit_count()) & 3] + letters

    def matrix(self, n: int) -> np.ndarray:
        """The dense (2^n, 2^n) complex matrix, basis state j = sum_q bit_q 2^q (for small n: tests and checks)."""
        self._fits(n)
        _check_matrix(n)
        j = np.arange(2**n)
        out = np.zeros((2**n, 2**n), complex)
        out[j ^ self.x, j] = 1j**self.phase * (1 - 2 * (np.bitwise_count(j & self.z) & 1).astype(float))
        return out

    def _fits(self, n: int) -> None:
        if n > MAX_QUBITS:
            _refuse_qubit(n - 1)
        if self.n_qubits > n:
            raise QupropError(f"{self} acts on qubit {self.n_qubits - 1}, beyond the {n} qubits asked for")


class PauliSum:
    """A real linear combination of Hermitian Pauli strings; immutable, hashable, in order of first mention.

    `PauliSum({"Z0 Z1": 1.0, "X3": 0.7})`; keys are texts or `PauliString`s. Equal strings are merged, a minus sign
    goes into the coefficient, terms that are exactly zero vanish. Two sums are equal when their terms are, in any
    order.

    Raises: QupropError for texts that are no Pauli strings, and coefficients that are not real and finite.

    >>> qpr.PauliSum("Z0 Z1 + 0.7*X3") == qpr.PauliSum({"Z0 Z1": 1.0, "X3": 0.7})
    True
    """

    __slots__ = ("_coefficients", "_hash", "_commuting")
    _coefficients: dict[PauliString, float]

    def __init__(self, terms: Mapping[Any, Any] | str | PauliString | PauliSum) -> None:
        if isinstance(terms, str):
            terms = PauliSum.parse(terms)
        if isinstance(terms, PauliString):
            terms = {terms: 1.0}
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

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a PauliSum cannot be changed; make a new one")

    def __reduce__(self) -> tuple[Any, ...]:
        return PauliSum, (self._coefficients,)

    def items(self) -> ItemsView[PauliString, float]:
        return self._coefficients.items()

    @property
    def terms(self) -> tuple[tuple[PauliString, float], ...]:
        return tuple(self._coefficients.items())

    @property
    def n_qubits(self) -> int:
        """The highest qubit any term acts on, plus one."""
        return max((p.n_qubits for p in self._coefficients), default=0)

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

    def __mul__(self, factor: float) -> PauliSum:
        if not isinstance(factor, numbers.Number):
            return NotImplemented
        return PauliSum({p: c * factor for p, c in self.items()})

    __rmul__ = __mul__
    __array_ufunc__ = None  # a NumPy scalar on the left of * leaves the product to us

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

    def matrix(self, n: int) -> np.ndarray:
        """The dense (2^n, 2^n) complex matrix (for small n: tests and checks)."""
        _check_matrix(n)
        out = np.zeros((2**n, 2**n), complex)
        for string, coefficient in self.items():
            out += coefficient * string.matrix(n)
        return out

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
            text += joint + ("" if alone else f"{number}{power}\\,") + _latex(string)
        more = len(self) - _TERMS
        return f"${text or '0'}" + (rf" + \cdots \text{{ ({more:,} more terms)}}$" if more > 0 else "$")


def _latex(string: PauliString) -> str:
    return re.sub(r"([XYZ])(\d+)", r"\1_{\2}", str(string))


def _whole(what: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise QupropError(f"a Pauli string's {what} must be a whole number, got {shown(value)}") from None


def _index(digits: str) -> int:
    """A qubit's number; one that is beyond any circuit is refused before a mask is made of it."""
    significant = digits.lstrip("0")
    if len(significant) > len(str(MAX_QUBITS)) or int(significant or "0") >= MAX_QUBITS:
        _refuse_qubit(significant if len(significant) <= _SHOWN else f"{significant[:_SHOWN]}...")
    return int(significant or "0")


def _refuse_qubit(qubit: int | str) -> NoReturn:
    raise QupropError(f"qubits are numbered from 0 to {MAX_QUBITS - 1} at most, got qubit {qubit}")


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


def _check_matrix(n: int) -> None:
    if n > MAX_MATRIX_QUBITS:
        raise QupropError(f"a dense matrix is made of {MAX_MATRIX_QUBITS} qubits at most, got {shown(n)}")


def _clash(strings: list[PauliString]) -> tuple[PauliString, PauliString] | None:
    if not any(p.x for p in strings) or not any(p.z for p in strings):
        return None  # all diagonal, or all X type
    for i, first in enumerate(strings):
        for second in strings[:i]:
            if not first.commutes(second):
                return second, first
    return None
