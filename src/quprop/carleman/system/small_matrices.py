"""Small real matrices as circuits: orthogonal ones by plane rotations, and angles chosen by a register."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quprop.carleman.transfer.controlled import controlled_ry
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString


def append_orthogonal(circuit: Circuit, matrix: np.ndarray, *, inverse: bool = False) -> None:
    """A rotation matrix Q (2^m, 2^m), det Q = +1, on qubits 0..m-1, or its inverse.

    Q is made upper triangular, so diagonal, so 1, by rotations of neighbours in Gray order: each is one Ry with the
    other m - 1 qubits as controls.
    """
    m = len(matrix).bit_length() - 1
    order = [p ^ p >> 1 for p in range(len(matrix))]
    work = matrix[np.ix_(order, order)].copy()
    turns: list[tuple[int, int, float]] = []
    for column in range(len(work) - 1):
        for row in range(len(work) - 1, column, -1):
            angle = np.arctan2(work[row, column], work[row - 1, column])
            if angle:
                c, s = np.cos(angle), np.sin(angle)
                work[[row - 1, row]] = np.array([[c, s], [-s, c]]) @ work[[row - 1, row]]
                turns.append((order[row - 1], order[row], float(angle)))
    # Q is the product of the transposed turns, the first of them leftmost
    for low, high, angle in turns if inverse else reversed(turns):
        target = (low ^ high).bit_length() - 1
        sign = -1 if low >> target & 1 else 1
        controls = [q for q in range(m) if q != target]
        flipped = [q for q in controls if not low >> q & 1]
        for q in flipped:
            circuit.x(q)
        controlled_ry(circuit, (-2 if inverse else 2) * sign * angle, controls, target)
        for q in flipped:
            circuit.x(q)


def append_chosen(circuit: Circuit, pauli: PauliString, angles: np.ndarray, register: Sequence[int]) -> None:
    """exp(-i angles[k] P/2) with k the value of the register: 2^m commuting rotations about P times Z strings.

    Their angles are the Walsh transform of the given ones.
    """
    for z, weight in enumerate(walsh(angles)):
        mask = sum(1 << q for bit, q in enumerate(register) if z >> bit & 1)
        string = pauli * PauliString(0, mask)
        if weight and (string.x or string.z):  # the identity is a global phase
            circuit.rotation(string, float(weight))


def walsh(values: np.ndarray) -> np.ndarray:
    """a with values[k] = sum_z a_z (-1)^|z & k|."""
    k = np.arange(len(values))
    signs = 1 - 2 * (np.bitwise_count(k[:, None] & k[None, :]) & 1).astype(float)
    return signs @ np.asarray(values, float) / len(values)


def proper(left: np.ndarray, values: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """left diag(values) right with both determinants +1: the last value takes the sign."""
    left, values, right = left.copy(), values.copy(), right.copy()
    if np.linalg.det(left) < 0:
        left[:, -1] *= -1
        values[-1] *= -1
    if np.linalg.det(right) < 0:
        right[-1] *= -1
        values[-1] *= -1
    return left, values, right
