"""What the names of an OpenQASM program stand for, and which qubits an operand means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from quprop.errors import nearest
from quprop.hybrid.qasm.parse import ProgramText
from quprop.hybrid.qasm.values import CONSTANTS, MAX_REGISTER, Bits, Calculator, Variable


class Qubits(NamedTuple):
    indices: Sequence[int]
    scalar: bool


class Names:
    """The scopes of a program, the outermost first; each holds numbers, inputs, `Qubits` and `Variable`s."""

    def __init__(self, source: ProgramText, version: int, count: Callable[[Any, int], None]) -> None:
        self.source, self.version = source, version
        self.constants = CONSTANTS[version]
        self.scopes: list[dict[str, Any]] = [dict(self.constants)]
        self.calculate = Calculator(source, version, self._value_of, count)
        self.n_qubits = 0
        self.hardware = False  # whether qubits are $0, $1, ...
        self.inside_gate = False

    def refuse(self, node: Any, sentence: str) -> NoReturn:
        self.source.refuse(node, sentence)

    def _find(self, node: Any, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name.startswith("$"):
            return self._hardware_qubit(node, name)
        known = {key for scope in self.scopes for key in scope if key not in self.constants}
        hint = nearest(name, known) if known else "declare it first"
        self.refuse(node, f"the name {name!r} is declared nowhere; {hint}")

    def _hardware_qubit(self, node: Any, name: str) -> Qubits:
        """$k is qubit k."""
        if self.n_qubits and not self.hardware:
            self.refuse(node, f"{name} is a hardware qubit, and the program declares its own; use one kind")
        index = int(name[1:]) if len(name) < 12 else MAX_REGISTER
        if index >= MAX_REGISTER:
            self.refuse(node, f"hardware qubits are $0 to ${MAX_REGISTER - 1} here, got {name}")
        self.hardware, self.n_qubits = True, max(self.n_qubits, index + 1)
        return Qubits((index,), True)

    def _value_of(self, node: Any, name: str) -> Any:
        value = self._find(node, name)
        if isinstance(value, Variable):
            if self.inside_gate and not value.constant:
                self.refuse(node, f"inside a gate only its own angles and constants are known; make {name} const")
            value = value.value
            if value is None:
                self.refuse(node, f"{name} has no value yet; give it one where it is declared")
        if isinstance(value, Bits):
            self.refuse(
                node,
                f"{name} holds measured bits: control flow that depends on measurements cannot be read as a circuit; "
                "remove it",
            )
        if isinstance(value, Qubits):
            self.refuse(node, f"{name} is a qubit register, and a number belongs here; use an input or a constant")
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
        chosen, scalar = self.calculate.select(node, index, len(qubits.indices), "qubits")
        return Qubits(tuple(qubits.indices[k] for k in chosen), scalar)
