"""Rotations about products of X as arrays: what makes a model of a million commuting rotations small.

The rotations of an IQP circuit, R_g = exp(-i a_g X_g / 2) with X_g the product of X over the qubits of g and
a_g = coefficient_g theta[param_g]. As a sequence of `Rotation` they are made one at a time, when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np

from quprop.errors import QupropError
from quprop.model.angle import Angle, from_terms
from quprop.model.angle_table import AngleTable, Drivers
from quprop.model.pauli import bits


class Rotation(NamedTuple):
    """R = exp(-i angle P / 2) with P = i^|x & z| X^x Z^z, the Hermitian string with a plus sign.

    x, z: bit masks, qubit q is bit q. angle: an `Angle` in radians, whose variables are flat, (0, i) for theta[i].

    >>> qpr.Model(qpr.Circuit(2).rzz(qpr.params("theta", 1)[0], 0, 1), "X0").rotations[0]
    Rotation(x=0, z=3, angle=theta[0])
    """

    x: int
    z: int
    angle: Angle


class Subsets(NamedTuple):
    """Subsets of qubits: subset k is qubits[ptr[k]:ptr[k + 1]], sorted (int32; ptr int64)."""

    ptr: np.ndarray
    qubits: np.ndarray

    @classmethod
    def of(cls, subsets: Sequence[Sequence[int]], n: int, what: str) -> Subsets:
        """Checked: whole numbers from 0 to n - 1, each once."""
        lengths = np.fromiter(map(len, subsets), np.int64, len(subsets))
        ptr = np.zeros(len(subsets) + 1, np.int64)
        np.cumsum(lengths, out=ptr[1:])
        given = np.array([q for subset in subsets for q in subset])
        if len(given) and given.dtype.kind not in "iu":
            raise QupropError(f"{what} holds lists of whole-number qubits, got {given.dtype} entries")
        owner = np.repeat(np.arange(len(subsets)), lengths)
        order = np.lexsort((given, owner))
        qubits = given[order].astype(np.int64)
        if len(qubits) and not 0 <= qubits.min() <= qubits.max() < n:
            wrong = qubits[(qubits < 0) | (qubits >= n)][0]
            raise QupropError(f"{what} names qubit {wrong}, but there are qubits 0 to {n - 1}")
        twice = (qubits[1:] == qubits[:-1]) & (owner[1:] == owner[:-1])
        if twice.any():
            raise QupropError(f"{what} names qubit {qubits[1:][twice][0]} twice in one subset; name it once")
        return cls(ptr, qubits.astype(np.int32))

    @classmethod
    def of_masks(cls, masks: Sequence[int]) -> Subsets:
        """The set bits of integers."""
        return cls.of([bits(mask) for mask in masks], max((m.bit_length() for m in masks), default=0), "the masks")

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Subsets:
        """The ones of a table (subsets, n) of 0 and 1."""
        ptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(np.count_nonzero(rows, axis=1), out=ptr[1:])
        return cls(ptr, np.nonzero(rows)[1].astype(np.int32))

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.ptr)

    def subset(self, k: int | np.integer) -> np.ndarray:
        return self.qubits[self.ptr[k] : self.ptr[k + 1]]

    def take(self, chosen: np.ndarray) -> Subsets:
        sizes = self.sizes[chosen]
        ptr = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(sizes, out=ptr[1:])
        places = np.repeat(self.ptr[:-1][chosen] - ptr[:-1], sizes) + np.arange(ptr[-1])
        return Subsets(ptr, self.qubits[places])

    def rows(self, n: int) -> np.ndarray:
        """A table (subsets, n) of 0 and 1."""
        out = np.zeros((len(self), n), np.uint8)
        out[np.repeat(np.arange(len(self)), self.sizes), self.qubits] = 1
        return out

    def mask(self, k: int) -> int:
        return sum(1 << q for q in self.subset(k).tolist())


class XRotations(Sequence[Rotation]):
    """Rotations about the products of X over `subsets`, by coefficient (M,) times theta[param (M,)]; frozen."""

    def __init__(self, subsets: Subsets, param: np.ndarray, coefficient: np.ndarray) -> None:
        self.subsets, self.param, self.coefficient = subsets, param, coefficient
        for array in (*subsets, param, coefficient):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.subsets)

    @overload
    def __getitem__(self, k: int) -> Rotation: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Rotation]: ...
    def __getitem__(self, k: int | slice) -> Any:
        if isinstance(k, slice):
            return tuple(self[i] for i in range(*k.indices(len(self))))
        if not -len(self) <= k < len(self):
            raise IndexError(k)
        k %= len(self)
        angle = from_terms(((((0, int(self.param[k])),), float(self.coefficient[k])),))
        return Rotation(self.subsets.mask(k), 0, angle)

    def __iter__(self) -> Iterator[Rotation]:
        return (self[k] for k in range(len(self)))

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(array.tobytes() for array in self._arrays()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, XRotations):
            pairs = zip(self._arrays(), other._arrays(), strict=True)
            return self is other or all(np.array_equal(a, b) for a, b in pairs)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return (*self.subsets, self.param, self.coefficient)

    def __getstate__(self) -> dict[str, Any]:
        return {"arrays": self._arrays()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ptr, qubits, param, coefficient = state["arrays"]
        self.__init__(Subsets(ptr, qubits), param, coefficient)  # type: ignore[misc]

    def table(self, n_params: int, n_inputs: int) -> AngleTable:
        return AngleTable.of_one(self.coefficient, self.param, n_params, n_inputs)

    def drivers(self) -> Drivers:
        return Drivers.of_one(self.coefficient, self.param)
