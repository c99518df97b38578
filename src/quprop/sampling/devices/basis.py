"""The gates after which commuting Pauli strings are diagonal, few of them on two qubits.

Where all strings that have a letter on a qubit have the same one, a gate on that qubit makes it Z. Where they differ, a
string is made Z on one qubit by controlled X: what commutes with it has I or Z there, and that qubit is settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model.circuit import Operation
from quprop.model.commutation import anticommutation
from quprop.model.pauli import PauliString, bits


class Basis(NamedTuple):
    """After `gates` string l is signs[l] times the product of Z on the qubits of masks[l]."""

    gates: list[Operation]
    masks: list[int]
    signs: np.ndarray  # (L,) of ±1.0
    twos: int  # gates on two qubits among them


def measured_basis(strings: Sequence[PauliString]) -> Basis:
    """For Hermitian strings that commute.

    Raises: QupropError for strings that do not.
    """
    if any(anticommutation(strings, strings)):
        raise QupropError(
            "the Pauli strings of one circuit are read together and must commute, and two of these do not"
        )
    qubits = bits(_union(strings))
    table = _Table(strings, qubits)
    while mixed := table.mixed():
        weights = table.weights(mixed)
        chosen = int(np.argmin(np.where(weights, weights, len(qubits) + 1)))
        letters = [k for k in mixed if table.x[k, chosen] or table.z[k, chosen]]
        for k in letters:
            table.to_z(k, chosen)
        for k in letters[:-1]:
            table.cx(k, letters[-1])
    for k in range(len(qubits)):
        some = np.flatnonzero(table.x[k])
        if len(some):
            table.to_z(k, int(some[0]))
    masks = [sum(1 << qubits[k] for k in np.flatnonzero(column).tolist()) for column in table.z.T]
    signs = np.where(table.minus, -1.0, 1.0) * np.array([p.sign for p in strings], float)
    return Basis(table.gates, masks, signs, sum(len(g.target) == 2 for g in table.gates))  # type: ignore[arg-type]


def bell_basis(strings: Sequence[PauliString], n: int) -> Basis | None:
    """For strings P (x) P of two copies of n qubits each: a controlled X and a Hadamard for each pair of qubits. None
    where others are among them."""
    half = (1 << n) - 1
    if any(p.x >> n != p.x & half or p.z >> n != p.z & half for p in strings):
        return None
    gates = []
    for q in bits(_union(strings) & half):
        gates += [Operation("cx", (), (q, q + n)), Operation("h", (), (q,))]
    masks = [(p.x & half) | (p.z & half) << n for p in strings]  # XX -> Z of the first, ZZ -> Z of the second
    signs = [p.sign * (-1.0) ** (p.x & p.z & half).bit_count() for p in strings]  # YY = -XX ZZ
    return Basis(gates, masks, np.array(signs, float), len(gates) // 2)


def _union(strings: Sequence[PauliString]) -> int:
    found = 0
    for p in strings:
        found |= p.x | p.z
    return found


class _Table:
    """Letters of strings (columns) on qubits (rows) as gates are appended."""

    def __init__(self, strings: Sequence[PauliString], qubits: Sequence[int]) -> None:
        self.qubits = qubits
        self.x = np.array([[p.x >> q & 1 for p in strings] for q in qubits], bool).reshape(len(qubits), len(strings))
        self.z = np.array([[p.z >> q & 1 for p in strings] for q in qubits], bool).reshape(len(qubits), len(strings))
        self.minus = np.zeros(len(strings), bool)
        self.gates: list[Operation] = []

    def mixed(self) -> list[int]:
        """The rows with two letters or more."""
        some = self.x | self.z
        return np.flatnonzero(
            (self.x.any(axis=1) & (self.x != some).any(axis=1)) | (self.z.any(axis=1) & (self.z != some).any(axis=1))
        ).tolist()

    def weights(self, rows: list[int]) -> np.ndarray:
        return np.count_nonzero(self.x[rows] | self.z[rows], axis=0)

    def to_z(self, k: int, string: int) -> None:
        """The letter of a string on a qubit becomes Z."""
        if self.x[k, string]:
            if self.z[k, string]:
                self._append("sdg", k)  # Y -> X, X -> -Y
                self.minus ^= self.x[k] & ~self.z[k]
                self.z[k] ^= self.x[k]
            self._append("h", k)
            self.minus ^= self.x[k] & self.z[k]
            self.x[k], self.z[k] = self.z[k].copy(), self.x[k].copy()

    def cx(self, c: int, t: int) -> None:
        self._append("cx", c, t)
        self.minus ^= self.x[c] & self.z[t] & ~(self.x[t] ^ self.z[c])
        self.x[t] ^= self.x[c]
        self.z[c] ^= self.z[t]

    def _append(self, name: str, *rows: int) -> None:
        self.gates.append(Operation(name, (), tuple(self.qubits[k] for k in rows)))
