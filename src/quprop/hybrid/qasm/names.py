"""What the names of an OpenQASM program stand for, and which qubits an operand means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from quprop.errors import nearest
from quprop.hybrid.qasm.parse import Source
from quprop.hybrid.qasm.values import CONSTANTS, Bits, Calculator


class Qubits(NamedTuple):
    indices: Sequence[int]
    scalar: bool


class Names:
    """The scopes of a program, the outermost first; each holds numbers, `Qubits`, `Bits`, or None before a value."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.scopes: list[dict[str, Any]] = [dict(CONSTANTS)]
        self.calculate = Calculator(source, self._value_of)

    def refuse(self, node: Any, sentence: str) -> NoReturn:
        self.source.refuse(node, sentence)

    def _find(self, node: Any, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name.startswith("$"):
            self.refuse(node, f"hardware qubits such as {name} are not read; declare qubit[n] q; and use q[...]")
        known = {key for scope in self.scopes for key in scope if key not in CONSTANTS}
        hint = nearest(name, known) if known else "declare it first"
        self.refuse(node, f"the name {name!r} is declared nowhere; {hint}")

    def _value_of(self, node: Any, name: str) -> Any:
        value = self._find(node, name)
        if isinstance(value, Bits):
            self.refuse(
                node,
                f"{name} holds measured bits: control flow that depends on measurements cannot be read as a circuit; "
                "remove it",
            )
        if isinstance(value, Qubits):
            self.refuse(node, f"{name} is a qubit register, and a number belongs here; use an input or a constant")
        if value is None:
            self.refuse(node, f"{name} has no value yet; give it one where it is declared")
        return value

    def _register(self, node: Any, name: str) -> Qubits:
        found = self._find(node, name)
        if not isinstance(found, Qubits):
            self.refuse(node, f"{name} is no qubit register, and qubits belong here; angles go in (...) before them")
        return found

    def _operand(self, node: Any) -> Qubits:
        if type(node).__name__ == "Identifier":
            return self._register(node, node.name)
        if type(node).__name__ != "IndexedIdentifier":
            self.refuse(node, "a gate acts on qubits such as q or q[0]")
        qubits = self._register(node, node.name.name)
        for index in node.indices:
            qubits = self._indexed(node, qubits, index)
        return qubits

    def _indexed(self, node: Any, qubits: Qubits, index: Any) -> Qubits:
        if qubits.scalar:
            self.refuse(node, "a single qubit has no index; leave [...] out")
        size = len(qubits.indices)
        chosen: list[int] = []
        scalar = False
        if type(index).__name__ == "DiscreteSet":
            chosen = [self.calculate.whole(v, "an index") for v in index.values]
        elif len(index) != 1:
            self.refuse(node, f"a register has one index, got {len(index)}")
        elif type(index[0]).__name__ == "RangeDefinition":
            part = index[0]
            step = 1 if part.step is None else self.calculate.whole(part.step, "a range's step")
            if step == 0:
                self.refuse(node, "a range's step must not be 0")
            ends = [0, size - 1] if step > 0 else [size - 1, 0]
            for k, end in enumerate((part.start, part.end)):
                if end is not None:
                    ends[k] = self.calculate.whole(end, "a range's end")
                    self._within(node, ends[k], size)
                    ends[k] %= size
            chosen = list(range(ends[0], ends[1] + (1 if step > 0 else -1), step))
        else:
            chosen, scalar = [self.calculate.whole(index[0], "an index")], True
        for k in chosen:
            self._within(node, k, size)
        if not chosen:
            self.refuse(node, "this range holds no qubit; check its ends")
        return Qubits(tuple(qubits.indices[k] for k in chosen), scalar)

    def _within(self, node: Any, index: int, size: int) -> None:
        if not -size <= index < size:
            self.refuse(
                node, f"index {index} is beyond the register, which has qubits 0 to {size - 1}; use one of them"
            )
