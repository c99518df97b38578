"""The circuit of a threshold check: a coherent count of accepting copies, a rotation of a flag, the count undone.

    1  each copy's answer to its own bit (Cliffords: rotate P to Z, parity onto one qubit of the copy)
    2  add each answer into a counter of m = bit length of k bits, by controlled increments
    3  turn the flag by 2 arcsin sqrt(f(s)) if the counter is at s: a uniformly controlled Y rotation
    4  undo 2 and 1, measure the flag: 1 is a trigger, and either outcome leaves the square-root instrument's state

Only the flag is measured, so that the batch learns one bit about itself.
"""

from __future__ import annotations

from typing import NamedTuple

from quprop.errors import QupropError


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
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise QupropError(f"`k`, the number of copies, must be a whole number, 1 or more, got {k!r}")
    m = k.bit_length()
    lengths = k * m + m - 2**m + 1  # sum over j = 1..k of the bit length of j
    values = 2**m
    return CheckCost(m, m - 1, 4 * (lengths - k), 2 * lengths + values, values, 2 * m)
