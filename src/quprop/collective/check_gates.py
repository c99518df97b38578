"""The gates of `check_circuit.py`, listed one by one.

Qubits 0..k-1 hold the copies' answers, ancillas from k on start in |0> and end there. Gates are

    x, h, ry(angle)   ry is exp(-i angle Y/2)
    cnot, cz, toffoli the target stands last; if `given` is set, only if the last measurement of that qubit gave 1
    measure           in the Z basis, and back to |0>
    barrier           what follows begins when all before is done: the stages that `CheckCost.depth` adds
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from quprop.collective.check import Check
from quprop.collective.check_circuit import Steps, circuit_cost, pointer_steps, reading_cost, window
from quprop.simulate.vectors import walsh_hadamard


class ListedGate(NamedTuple):
    name: str
    on: tuple[int, ...]
    angle: float = 0.0
    given: int | None = None


class GateList(NamedTuple):
    """The gates in order, and `reads`: the qubits whose measurement is the answer, lowest bit first; the two sides of a
    check have one qubit, measured twice, in the order of the checks."""

    gates: list[ListedGate]
    reads: tuple[int, ...]
    qubits: int


def check_gates(k: int, check: Check, other: Check | None = None, *, reverse: bool = False) -> GateList:
    """A check of the count S, and, on the same count, `other` of k - S, as `two_sided` gives them.

    Gaussian checks have the steps of `circuit_cost(k, noise)`, exponential ones an angle for each value of S.
    """
    circuit_cost(k)  # refuses a wrong k
    out = _List(k, reverse)
    counter = out.tree()
    flag = out.fresh()
    for turned, one in enumerate((check, other)):
        if one is None:
            continue

        def accepts(s: np.ndarray, one: Check = one, turned: int = turned) -> np.ndarray:
            return one.trigger(k - s if turned else s, k)

        steps = window(k, float(one.noise)) if one.kind == "gaussian" else None
        out.barrier()
        if steps is None:
            out.turn(counter, flag, _angles(accepts, np.arange(2 ** len(counter))))
            out.gate("measure", flag)
            continue
        tau = k * (1 - one.threshold if turned else one.threshold)
        first = _first(tau - 7.5 * one.noise, steps, len(counter))
        part, select, start = out.select(counter[steps.size :], steps.bits, first)
        middles = (first + np.arange(2**steps.bits)) * 2.0**steps.size + (2**steps.size - 1) / 2
        out.barrier()
        out.turn(select, flag, _angles(accepts, middles))
        out.gate("measure", flag)
        out.barrier()
        out.undo(part)
        out.free = start
    out.barrier()
    out.undo(out.counted)
    return GateList(out.gates, (flag,), out.highest)


def reading_gates(k: int, noise: float, *, reverse: bool = False) -> GateList:
    """A reading by a Gaussian pointer. Its bits, measured, are a number Y, and the reading is y = `reading_of(Y)`."""
    reading_cost(k, noise)
    out = _List(k, reverse)
    counter = out.tree()
    size, bits = pointer_steps(noise)
    m, fraction = len(counter), max(0, -size)
    whole = max(m, size + bits) + 1
    pointer = [out.fresh() for _ in range(whole + fraction)]
    low, body = max(0, size), 2 ** (bits - 1)
    for q in pointer[:low]:
        out.gate("h", q)
    sign, *rest = reversed(pointer[low : low + bits])
    out.gate("h", sign)
    weights = np.exp(-((np.arange(body) + 0.5) ** 2) * 2.0 ** (2 * size) / (2 * noise**2))
    for level, q in enumerate(rest):  # from the highest bit down, each turned under those above
        split = weights.reshape(2**level, 2, -1).sum(axis=2)
        out.barrier()
        out.turn(rest[:level][::-1], q, 2 * np.arctan2(np.sqrt(split[:, 1]), np.sqrt(split[:, 0])))
    for q in rest:
        out.gate("x", q)
        out.gate("cnot", sign, q)
    out.barrier()
    out.add(counter, pointer[fraction:])
    for q in pointer:
        out.gate("measure", q)
    out.barrier()
    out.undo(out.counted)
    return GateList(out.gates, tuple(pointer), out.highest)


def reading_of(noise: float, measured: int) -> float:
    """The reading y that a pointer's measured number means."""
    size, bits = pointer_steps(noise)
    unit = 2.0 ** min(0, size)
    return unit * (measured - (2 ** (bits + max(0, size)) - 1) / 2)


def _first(low: float, steps: Steps, m: int) -> int:
    """The step that a window begins with: odd, so that subtracting it begins with its lowest bit, or 0."""
    at = math.floor(low / 2**steps.size)
    return min(max(0, at - (at % 2 == 0)), 2 ** (m - steps.size) - 1)


def _angles(accepts: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> np.ndarray:
    return 2 * np.arcsin(np.sqrt(np.clip(accepts(counts), 0.0, 1.0)))


class _List:
    def __init__(self, k: int, reverse: bool) -> None:
        self.k, self.reverse = k, reverse
        self.gates: list[ListedGate] = []
        self.counted: list[ListedGate] = []
        self.free = self.highest = k

    def fresh(self) -> int:
        self.free += 1
        self.highest = max(self.highest, self.free)
        return self.free - 1

    def gate(self, name: str, *on: int, angle: float = 0.0, given: int | None = None) -> None:
        self.gates.append(ListedGate(name, on, angle, given))

    def barrier(self) -> None:
        self.gate("barrier")

    def tree(self) -> list[int]:
        """The count, lowest bit first."""
        counter, bits = [], deque(range(self.k))
        while bits:
            carried: deque[int] = deque()
            while len(bits) > 1:
                a, b = bits.popleft(), bits.popleft()
                t = self.fresh()
                carried.append(t)
                if not bits:
                    self.gate("toffoli", a, b, t)
                    self.gate("cnot", a, b)
                    bits.append(b)
                    continue
                c = bits.popleft()
                for control, target in ((c, a), (c, b), (c, t), (a, c), (b, c)):
                    self.gate("cnot", control, target)
                self.gate("toffoli", a, b, t)
                bits.append(c)
            counter.append(bits[0])
            bits = carried
        self.counted = list(self.gates)
        return counter

    def undo(self, done: Sequence[ListedGate]) -> None:
        """Those gates backwards; a Toffoli's target is measured once all else is taken from it."""
        waiting: ListedGate | None = None
        for gate in reversed(done):
            if waiting is not None and gate.on[-1] in waiting.on[:2]:
                self._unmake(*waiting.on)
                waiting = None
            if gate.name == "toffoli" and not self.reverse:
                if waiting is not None:
                    self._unmake(*waiting.on)
                waiting = gate
            else:
                self.gates.append(gate)
        if waiting is not None:
            self._unmake(*waiting.on)

    def _unmake(self, a: int, b: int, t: int) -> None:
        """t = a b back to 0."""
        if self.reverse:
            self.gate("toffoli", a, b, t)
            return
        self.gate("h", t)
        self.gate("measure", t)
        self.gate("cz", a, b, given=t)

    def turn(self, select: Sequence[int], target: int, angles: np.ndarray) -> None:
        """ry of the target by angles[value of select], lowest bit first: Walsh transformed angles in Gray order."""
        n = len(select)
        index = np.arange(2**n)
        gray = index ^ index >> 1
        turns = walsh_hadamard(np.asarray(angles, float))[gray] / 2**n if n else angles
        for i in range(2**n):
            self.gate("ry", target, angle=float(turns[i]))
            if n:
                bit = min(n - 1, ((i + 1) & -(i + 1)).bit_length() - 1)
                self.gate("cnot", select[bit], target)

    def select(self, x: Sequence[int], w: int, first: int) -> tuple[list[ListedGate], list[int], int]:
        """x - first, kept within 0..2^w - 1: the gates, the qubits that hold it, the first ancilla taken."""
        start, b, begin = self.free, len(x), len(self.gates)
        above = None  # 1 if x >= first
        if first:
            constant = 2**b - first
            carry = [x[0]]  # into bit 1, of an odd constant
            for i in range(1, b):
                t = self.fresh()
                either = constant >> i & 1  # x or carry = not (not x and not carry)
                if either:
                    self.gate("x", x[i])
                    self.gate("x", carry[-1])
                self.gate("toffoli", x[i], carry[-1], t)
                if either:
                    self.gate("x", x[i])
                    self.gate("x", carry[-1])
                    self.gate("x", t)
                carry.append(t)
            above = carry[-1]
            for i in reversed(range(1, b)):
                self.gate("cnot", carry[i - 1], x[i])
                if constant >> i & 1:
                    self.gate("x", x[i])
            self.gate("x", x[0])
        for q in x[w:]:
            self.gate("x", q)
        inside = x[w]
        for q in [*x[w + 1 :], *([] if above is None else [above])]:
            t = self.fresh()
            self.gate("toffoli", inside, q, t)
            inside = t
        if above is None:
            above = self.fresh()
            self.gate("x", above)
        kept = []
        for q in x[:w]:
            t = self.fresh()
            self.gate("toffoli", inside, q, t)
            kept.append(t)
        self.gate("cnot", inside, above)
        for t in kept:
            self.gate("cnot", above, t)
        return self.gates[begin:], kept, start

    def add(self, x: Sequence[int], p: Sequence[int]) -> None:
        """p + x in the place of p, which is longer: Gidney's adder, a Toffoli for the carry into each bit but one."""
        m = len(x)
        carry = [-1]  # there is none into bit 0
        for i in range(len(p) - 1):
            t, c = self.fresh(), carry[-1]
            if 0 < i < m:
                self.gate("cnot", c, x[i])
                self.gate("cnot", c, p[i])
            self.gate("toffoli", x[i] if i < m else c, p[i], t)
            if 0 < i < m:
                self.gate("cnot", c, t)
            carry.append(t)
        self.gate("cnot", carry[-1], p[-1])
        for i in reversed(range(len(p) - 1)):
            t, c = carry[i + 1], carry[i]
            if 0 < i < m:
                self.gate("cnot", c, t)
            self._unmake(x[i] if i < m else c, p[i], t)
            if 0 < i < m:
                self.gate("cnot", c, x[i])
            self.gate("cnot", x[i] if i < m else c, p[i])
