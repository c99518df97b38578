"""Rotations and flips with many controls, in CNOTs, one-qubit rotations and Toffolis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model.angle import Angle
from quprop.model.circuit import Circuit

_PLAIN_CONTROLS = 6  # up to here 2^k CNOTs are fewer than what two flips with k-1 controls take
_PLAIN_BESIDE_CLEAN = 4  # and up to here fewer than the 6k - 4 of a ladder on clean qubits


class GateCount(NamedTuple):
    """What a circuit of uploads is made of: CNOTs, one-qubit rotations, Toffolis (flips of one qubit are free)."""

    cnots: int
    rotations: int
    toffolis: int

    @property
    def all_cnots(self) -> int:
        """CNOTs with six for each Toffoli."""
        return self.cnots + 6 * self.toffolis


_COUNTS = {
    "x": GateCount(0, 0, 0),
    "cx": GateCount(1, 0, 0),
    "ry": GateCount(0, 1, 0),
    "cry": GateCount(2, 2, 0),
    "ccx": GateCount(0, 0, 1),
}


def count_gates(circuit: Circuit) -> GateCount:
    """The sum over a circuit made of x, cx, ry, cry and ccx."""
    total = np.zeros(3, int)
    for operation in circuit.operations:
        if operation.name not in _COUNTS:
            raise QupropError(f"gates are counted in circuits of {', '.join(_COUNTS)}, got {operation.name}")
        total += _COUNTS[operation.name]
    return GateCount(*map(int, total))


def controlled_ry(
    circuit: Circuit, angle: float | Angle, controls: Sequence[int], target: int, clean: Sequence[int] = ()
) -> None:
    """exp(-i angle Y/2) on `target` where all controls are 1.

    k <= 6 controls: 2^k rotations between 2^k CNOTs in Gray order (Mottonen, Vartiainen, Bergholm and Salomaa,
    quant-ph/0404089). More: with P the flip of the target on k-1 controls and c the last control,
    C_c Ry(angle/2) P C_c Ry(-angle/2) P (Barenco et al., quant-ph/9503016, lemma 7.9), where P may borrow c: O(k).
    With k - 1 `clean` qubits in |0>, 6k - 4 CNOTs: the controls are multiplied up a ladder of them, and down again.
    """
    k = len(controls)
    if k == 0:
        circuit.ry(angle, target)
    elif k == 1:
        circuit.cry(angle, controls[0], target)
    elif k > _PLAIN_BESIDE_CLEAN and len(clean) >= k - 1:
        steps = [(controls[0], controls[1], clean[0])]
        steps += [(controls[i + 1], clean[i - 1], clean[i]) for i in range(1, k - 1)]
        for a, b, c in steps:
            _signed_toffoli(circuit, a, b, c)
        circuit.cry(angle, clean[k - 2], target)
        for a, b, c in reversed(steps):
            _signed_toffoli(circuit, a, b, c)
    elif k <= _PLAIN_CONTROLS:
        for i in range(1 << k):
            sign = 1 - 2 * ((i ^ i >> 1).bit_count() & 1)
            circuit.ry(angle * (sign / 2**k), target)
            circuit.cx(controls[min((~i & i + 1).bit_length() - 1, k - 1)], target)
    else:
        *rest, last = controls
        flip(circuit, rest, target)
        circuit.cry(angle * -0.5, last, target)
        flip(circuit, rest, target)
        circuit.cry(angle * 0.5, last, target)


def flip(circuit: Circuit, controls: Sequence[int], target: int) -> None:
    """X on `target` where all controls are 1, with any qubits of the circuit borrowed and given back as they were.

    With k-2 qubits to borrow, a ladder of 4(k-2) Toffolis, of which all but two are right up to signs that cancel
    (three CNOTs each; Barenco et al., lemma 7.2; Maslov, arXiv:1508.03273); with fewer, but one, four such ladders for
    half of the controls each (lemma 7.3).
    """
    k = len(controls)
    if k == 0:
        circuit.x(target)
    elif k == 1:
        circuit.cx(controls[0], target)
    elif k == 2:
        circuit.ccx(controls[0], controls[1], target)
    else:
        used = {*controls, target}
        idle = [q for q in range(circuit.n_qubits) if q not in used]
        if len(idle) >= k - 2:
            _ladder(circuit, controls, idle[: k - 2], target)
        elif idle:
            half = (k + 1) // 2
            first, second = list(controls[:half]), [*controls[half:], idle[0]]
            for _ in range(2):
                flip(circuit, first, idle[0])
                flip(circuit, second, target)
        else:
            raise QupropError(f"a flip on {k} controls borrows one qubit more; make a Circuit of {k + 2} qubits")


def _ladder(circuit: Circuit, controls: Sequence[int], borrowed: Sequence[int], target: int) -> None:
    steps = [(controls[0], controls[1], borrowed[0])]
    steps += [(controls[i + 1], borrowed[i - 1], borrowed[i]) for i in range(1, len(borrowed))]
    for _ in range(2):
        circuit.ccx(controls[-1], borrowed[-1], target)
        for a, b, c in [*reversed(steps), *steps[1:]]:
            _signed_toffoli(circuit, a, b, c)


def _signed_toffoli(circuit: Circuit, a: int, b: int, target: int) -> None:
    """A Toffoli times -1 on one basis state (Margolus): its own inverse, three CNOTs."""
    quarter = np.pi / 4
    circuit.ry(quarter, target).cx(b, target).ry(quarter, target).cx(a, target)
    circuit.ry(-quarter, target).cx(b, target).ry(-quarter, target)
