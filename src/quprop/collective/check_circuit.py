"""The circuit of a threshold check: a coherent count of accepting copies, a rotation of a flag, the count undone.

    1  each copy's answer to its own bit (Cliffords: rotate P to Z, parity onto one qubit of the copy)
    2  add each answer into a counter of m = bit length of k bits, by controlled increments
    3  turn the flag by 2 arcsin sqrt(f(s)) if the counter is at s: a uniformly controlled Y rotation
    4  undo 2 and 1, measure the flag: 1 is a trigger, and either outcome leaves the square-root instrument's state

Only the flag is measured, so that the batch learns one bit about itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from quprop.collective.check import Check
from quprop.errors import QupropError

Gate = tuple[str, tuple[int, ...]]


class CheckCost(NamedTuple):
    """Gates of one check on k copies besides the Cliffords inside the copies; both directions of the count.

    counter   qubits of the counter
    carries   ancillas that hold carries, clean before and after
    toffolis  in all
    cnots     in all, those of the flag's rotation included
    rotations of the flag about Y, one for each value the counter could have
    qubits    counter, carries and flag
    """

    counter: int
    carries: int
    toffolis: int
    cnots: int
    rotations: int
    qubits: int


def circuit_cost(k: int) -> CheckCost:
    """The counts in closed form: about 4 k log2 k Toffolis, and at most 2 k rotations.

    Adding the j-th answer takes a carry ladder over the L_j = bit length of j counter bits that can be occupied:
    L_j - 1 carries, each a Toffoli made and unmade, and L_j CNOTs. A rotation controlled by m bits is 2^m rotations and
    2^m CNOTs (Möttönen, Vartiainen, Bergholm and Salomaa, quant-ph/0404089).
    """
    _whole(k)
    m = k.bit_length()
    lengths = k * m + m - 2**m + 1  # sum over j = 1..k of the bit length of j
    values = 2**m
    return CheckCost(m, m - 1, 4 * (lengths - k), 2 * lengths + values, values, 2 * m)


def count_gates(k: int) -> Iterator[Gate]:
    """Step 2, gate by gate: ("toffoli", (a, b, target)) and ("cnot", (control, target)).

    Answers are qubits 0..k-1, the counter k..k+m-1 (lowest bit first), carries k+m..k+2m-2. Step 4 is the reverse.
    """
    _whole(k)
    m = k.bit_length()
    for j in range(1, k + 1):
        answer, length = j - 1, j.bit_length()
        counter = [k + i for i in range(length)]
        controls = [answer, *(k + m + i for i in range(length - 1))]  # carry into bit i
        for i in range(length - 1):
            yield "toffoli", (controls[i], counter[i], controls[i + 1])
        for i in reversed(range(length)):
            yield "cnot", (controls[i], counter[i])
            if i:  # the carry is unmade while the bit below still has its old value
                yield "toffoli", (controls[i - 1], counter[i - 1], controls[i])


def flag_angles(check: Check, k: int) -> np.ndarray:
    """2 arcsin sqrt(f(s)) for every counter value s = 0..2^m - 1; values above k do not occur and get 0."""
    _whole(k)
    angles = np.zeros(2 ** k.bit_length())
    angles[: k + 1] = 2 * np.arcsin(np.sqrt(check.trigger(np.arange(k + 1), k)))
    return angles


def _whole(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise QupropError(f"`k`, the number of copies, must be a whole number, 1 or more, got {k!r}")
