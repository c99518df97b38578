"""Who anticommutes with whom: rows of bits over the rotations of a model, from masks alone.

The commutator of Pauli strings is a bilinear form of their masks, so a whole row of the anticommutation matrix is the
exclusive or of as many columns as the string has mask bits: linear in the number of strings, a word of bits at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from quprop.model import Model
from quprop.model.angle import PARAM
from quprop.model.channels import refuse_channels
from quprop.model.pauli import PauliString
from quprop.model.pauli import bits as bits


class Columns:
    """The anticommutation matrix with a list of strings, a row at a time."""

    def __init__(self, strings: Sequence[PauliString]) -> None:
        self._size = len(strings)
        self._with_x = self._by_qubit(p.x for p in strings)  # the strings with an X or Y on a qubit, as bits
        self._with_z = self._by_qubit(p.z for p in strings)

    def _by_qubit(self, masks: Iterable[int]) -> dict[int, int]:
        where: dict[int, list[int]] = {}
        for m, mask in enumerate(masks):
            for q in bits(mask):
                where.setdefault(q, []).append(m)
        flags, found = np.zeros(self._size, np.uint8), {}
        for q, members in where.items():
            flags[members] = 1
            found[q] = int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
            flags[members] = 0
        return found

    def row(self, p: PauliString) -> int:
        """Bit m is set where p anticommutes with string m."""
        row = 0
        for q in bits(p.x):
            row ^= self._with_z.get(q, 0)
        for q in bits(p.z):
            row ^= self._with_x.get(q, 0)
        return row


def anticommutation(left: Sequence[PauliString], right: Sequence[PauliString]) -> list[int]:
    """One integer for each string of `left`: bit m is set when it anticommutes with right[m]."""
    columns = Columns(right)
    return [columns.row(p) for p in left]


def after(row: int, m: int) -> int:
    """The part of a row that belongs to rotations after m."""
    return row >> (m + 1) << (m + 1)


def generators(model: Model) -> list[PauliString]:
    """The strings the model rotates about, in circuit order; of a model without noise, which moves between them."""
    refuse_channels(model, "the structure of a list of rotations")
    return [PauliString(r.x, r.z) for r in model.rotations]


def driven(model: Model) -> int:
    """The rotations whose angle depends on a trained parameter, as bits."""
    mask = 0
    for m, rotation in enumerate(model.rotations):
        if any(variable[0] == PARAM for monomial, _ in rotation.angle.terms for variable in monomial):
            mask |= 1 << m
    return mask


def preparation(rows: Sequence[int], trained: int) -> int:
    """The rotations that can be moved in front of every trained one: data encoding and fixed gates, as bits.

    rows: the anticommutation matrix of the rotations; trained: as from `driven`.
    """
    kept = 0  # what must stay behind a trained rotation, or is one
    for m, row in enumerate(rows):
        if trained >> m & 1 or row & kept:
            kept |= 1 << m
    return ~kept & ((1 << len(rows)) - 1)


def light_cone(row: Callable[[int], int], touched: int) -> int:
    """The rotations a measured string depends on, as bits; the others cancel, U† H U does not contain them.

    row(m): the rotations that anticommute with rotation m; touched: those that anticommute with the string. A rotation
    is in the cone when it is touched, or when it anticommutes with a later one in the cone.
    """
    cone, left = 0, touched
    while left:
        m = left.bit_length() - 1
        cone |= 1 << m
        left = (left | row(m)) & ((1 << m) - 1)
    return cone
