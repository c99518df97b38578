"""Pauli strings, as bit masks.

A string is i^phase X^x Z^z with integer masks x and z, the X part left of the Z part; qubit q is bit q of a
mask and of a basis-state index. As Y = iXZ, the Hermitian string with a plus sign has phase = |x & z| mod 4.
"""

from __future__ import annotations

import operator
import re
from typing import Any, NoReturn

import numpy as np

from quprop.errors import QupropError, shown

MAX_QUBITS = 10_000  # of strings and circuits: a tableau of that many takes 50 MB, and up to ten seconds to invert
MAX_MATRIX_QUBITS = 14  # of a dense matrix: 4 GiB
_SHOWN = 20  # digits of a qubit's number that a refusal repeats
_LONG = 256  # bits from which on NumPy finds the ones faster than a loop

_LETTER = {(0, 0): "I", (1, 0): "X", (1, 1): "Y", (0, 1): "Z"}
_BITS = {"I": (0, 0), "_": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}
_PREFIX = {"": 0, "+": 0, "i": 1, "+i": 1, "-": 2, "-i": 3}
_SIGN_TEXT = ("", "i", "-", "-i")
_SPARSE = re.compile(r"[IXYZ]\d+(?:[\s*]+[IXYZ]\d+)*")
_DENSE = re.compile(r"[IXYZ_]+")
_STRING = re.compile(r"\s*([+-]?\s*i?)\s*(.*?)\s*", re.DOTALL)


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
        return f"${latex(self)}$"

    def dense(self, n: int) -> str:
        """The letters of qubits 0..n-1 from left to right, with the sign in front."""
        self._fits(n)
        letters = "".join(_LETTER[self.x >> q & 1, self.z >> q & 1] for q in range(n))
        return _SIGN_TEXT[(self.phase - (self.x & self.z).bit_count()) & 3] + letters

    def matrix(self, n: int) -> np.ndarray:
        """The dense (2^n, 2^n) complex matrix, basis state j = sum_q bit_q 2^q (for small n: tests and checks)."""
        self._fits(n)
        check_matrix(n)
        j = np.arange(2**n)
        out = np.zeros((2**n, 2**n), complex)
        out[j ^ self.x, j] = 1j**self.phase * (1 - 2 * (np.bitwise_count(j & self.z) & 1).astype(float))
        return out

    def _fits(self, n: int) -> None:
        if n > MAX_QUBITS:
            _refuse_qubit(n - 1)
        if self.n_qubits > n:
            raise QupropError(f"{self} acts on qubit {self.n_qubits - 1}, beyond the {n} qubits asked for")


def latex(string: PauliString) -> str:
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


def check_matrix(n: int) -> None:
    if n > MAX_MATRIX_QUBITS:
        raise QupropError(f"a dense matrix is made of {MAX_MATRIX_QUBITS} qubits at most, got {shown(n)}")
