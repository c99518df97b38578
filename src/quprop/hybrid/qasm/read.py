"""OpenQASM programs -> circuits: the statements, worked out one by one.

One file because the reader is one class, whose statements share the program's scopes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from quprop.errors import QupropError, nearest
from quprop.hybrid.qasm.definitions import DATA, recognised
from quprop.hybrid.qasm.library import BUILT_IN, LIBRARY_NAMES, STANDARD, library
from quprop.hybrid.qasm.names import Names, Qubits
from quprop.hybrid.qasm.parse import Parsed, ProgramText
from quprop.hybrid.qasm.values import MAX_REGISTER, Bits, Variable, Whole
from quprop.model import exact as exactly
from quprop.model.angle import INPUT, PARAM, Angle, AngleVector
from quprop.model.circuit import Circuit
from quprop.model.exact import CONTROLLED, INVERSES, OWN_INVERSES, TURNED_BACK, Exact
from quprop.model.gates import GATES
from quprop.model.pauli import PauliString

MAX_QUBITS = MAX_REGISTER  # of a program
MAX_INPUTS = 1 << 18
_MAX_DEPTH = 60  # gates that call gates


class Reader(Names):
    """One program. `operations` grows to (gate name, angles, qubits), ("reset", (), qubits) or ("rotation", (angle,),
    Pauli string)."""

    def __init__(self, parsed: Parsed, source: ProgramText, data: Sequence[str], max_gates: int) -> None:
        self.statements, version, self.opaque = parsed
        super().__init__(source, version, self._count)
        self.data, self.max_gates = set(data), max_gates
        self.gates: dict[str, Any] = {}
        self.order: dict[str, int] = {}  # which of them was defined when, from 1
        self.visible: int | None = None  # inside a gate: how many of the gates were defined before it
        self.sizes: dict[str, int] = {}  # how many statements each of them comes to
        self.paulis: dict[str, str] = {}  # those of them that are rotations about a Pauli string
        self.standard = False  # whether the standard gates have been included
        self.steps = 0
        self.vectors: dict[str, tuple[int, int]] = {}
        self.n_inputs = 0
        self.touched: set[int] = set()
        self.measured: dict[int, int] = {}  # qubit -> line
        self.operations: list[tuple[str, tuple[Angle, ...], Any]] = []
        self.grouped = _grouped([s for s in self.statements if type(s).__name__ == "IODeclaration"])

    def read(self) -> Circuit:
        for statement in self.statements:
            if type(statement).__name__ == "EndStatement":
                break
            self.run(statement)
        if not self.n_qubits:
            raise QupropError("line 1, column 1: the program declares no qubits; declare some, such as qubit[2] q;")
        missing = self.data - set(self.vectors)
        if missing:
            name = min(missing)
            known = nearest(name, self.vectors) if self.vectors else "it has none"
            raise QupropError(f"inputs={name!r} names no input of the program; {known}")
        circuit = Circuit(self.n_qubits)
        circuit.vectors.update(self.vectors)
        for name, angles, target in self.operations:
            if name == "rotation":
                circuit.rotation(target, angles[0])
            elif name == "reset":
                circuit.reset(*target)
            else:
                circuit.gate(name, *angles, *target)
        return circuit

    # Statements ------------------------------------------------------------------------------------------------------

    def run(self, node: Any) -> None:
        kind = type(node).__name__
        visit = getattr(self, f"_{kind}", None)
        if visit is not None:
            visit(node)
        elif kind not in _IGNORED:
            self.refuse(node, _REFUSED.get(kind, f"a statement of this kind ({kind}) cannot be read as a circuit"))

    def _count(self, node: Any, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > self.max_gates:
            self.refuse(
                node, f"the program comes to more than {self.max_gates:,} gates and steps; raise max_gates= if meant"
            )

    def _Include(self, node: Any) -> None:
        if node.filename not in ("stdgates.inc", "qelib1.inc"):
            self.refuse(
                node,
                f"only stdgates.inc and qelib1.inc are included by name, got {node.filename!r}; paste the file's text",
            )
        defined = next((name for name in self.gates if name in STANDARD), None)
        if defined is not None and self.version == 3:
            self.refuse(node, f"the gate {defined} of this file is defined already; include the file before it")
        self.standard = True

    def _QubitDeclaration(self, node: Any) -> None:
        size = 1 if node.size is None else self.calculate.whole(node.size, "a register's size")
        if self.hardware:
            self.refuse(node, "this program uses hardware qubits such as $0, so it cannot declare others; use one kind")
        if not 1 <= size <= MAX_QUBITS - self.n_qubits:
            self.refuse(
                node, f"a register has 1 qubit or more and a program {MAX_QUBITS:,} at most, got size {size} here"
            )
        self._declare(node, node.qubit.name, Qubits(range(self.n_qubits, self.n_qubits + size), node.size is None))
        self.n_qubits += size

    def _IODeclaration(self, node: Any) -> None:
        name, kind = node.identifier.name, type(node.type).__name__
        if node.io_identifier.name == "output":
            self._declare(node, name, Variable(self._undefined(node), node.type, False))
            return
        base = node.type.base_type if kind == "ArrayType" else node.type
        if type(base).__name__ not in ("FloatType", "AngleType"):
            self.refuse(node, f"the input {name} must be of type float or angle, to drive rotations; change its type")
        data = any(a.keyword == DATA for a in node.annotations)
        if kind == "ArrayType":
            if len(node.type.dimensions) != 1:
                self.refuse(node, f"the input array {name} must have one dimension, got {len(node.type.dimensions)}")
            size = self.calculate.whole(node.type.dimensions[0], "an array's size")
            if not 0 <= size <= MAX_INPUTS - self.n_inputs:
                self.refuse(node, f"inputs come to 0 to {MAX_INPUTS:,} numbers in all, got an array of {size}")
            self._declare(node, name, list(self._vector(node, name, size, data)))
        else:
            vector, index, size = self.grouped.get(name, (name, 0, 1))
            self._declare(node, name, self._vector(node, vector, size, data)[index])

    def _vector(self, node: Any, name: str, size: int, data: bool) -> AngleVector:
        kind = INPUT if data or name in self.data else PARAM
        if self.vectors.setdefault(name, (kind, size)) != (kind, size):
            self.refuse(node, f"the entries of {name} must be annotated @{DATA} all or none; annotate them alike")
        self.n_inputs += size
        return AngleVector(kind, name, size)

    def _ConstantDeclaration(self, node: Any) -> None:
        value = self.calculate.converted(node, self.calculate.value(node.init_expression), node.type)
        self._declare(node, node.identifier.name, Variable(value, node.type, True))

    def _ClassicalDeclaration(self, node: Any) -> None:
        given = node.init_expression
        if given is None or type(given).__name__ == "QuantumMeasurement":
            variable = Variable(self._undefined(node), node.type, False)
            if given is not None:
                self._measure(node, given.qubit, variable, None)
        else:
            variable = Variable(
                self.calculate.converted(node, self.calculate.value(given), node.type), node.type, False
            )
        self._declare(node, node.identifier.name, variable)

    def _undefined(self, node: Any) -> Any:
        """What a variable without a value holds."""
        if type(node.type).__name__ != "BitType":
            return None
        size = self.calculate.width(node, node.type, MAX_REGISTER)
        return Bits(size or 1, size is None)

    def _declare(self, node: Any, name: str, value: Any) -> None:
        if name in self.scopes[-1]:
            what = "is a constant of the language" if name in self.constants else "is declared twice"
            self.refuse(node, f"the name {name!r} {what}; rename it")
        self.scopes[-1][name] = value

    def _ClassicalAssignment(self, node: Any) -> None:
        target = node.lvalue
        plain = type(target).__name__ == "Identifier"
        name = target.name if plain else target.name.name
        variable = self._find(node, name)
        if not isinstance(variable, Variable) or variable.constant:
            self.refuse(node, f"{name} is no variable, so it cannot be assigned; declare one, such as float {name};")
        if type(node.rvalue).__name__ == "QuantumMeasurement":
            self._measure(node, node.rvalue.qubit, variable, None if plain else target.indices)
            return
        if not plain:
            self.refuse(node, "single entries of arrays and registers cannot be assigned here; use variables")
        value, sign = self.calculate.value(node.rvalue), node.op.name
        if sign != "=":
            value = self.calculate.combine(node, sign[:-1], self._value_of(node, name), value)
        variable.value = self.calculate.converted(node, value, variable.type)

    def _AliasStatement(self, node: Any) -> None:
        self._declare(node, node.target.name, Qubits(self._alias(node.value), False))

    def _alias(self, node: Any) -> Sequence[int]:
        if type(node).__name__ == "Concatenation":
            left, right = self._alias(node.lhs), self._alias(node.rhs)
            self._count(node, len(left) + len(right))
            return (*left, *right)
        if type(node).__name__ == "IndexExpression" and type(node.collection).__name__ == "Identifier":
            return self._indexed(node, self._register(node, node.collection.name), node.index).indices
        if type(node).__name__ != "Identifier":
            self.refuse(node, "an alias names registers, slices and their concatenation such as q[0:2] ++ r")
        return self._register(node, node.name).indices

    def _CompoundStatement(self, node: Any) -> None:
        self._block(node.statements)

    def _Box(self, node: Any) -> None:
        self._block(node.body)

    def _block(self, statements: list[Any], **names: Any) -> None:
        self.scopes.append(names)
        for statement in statements:
            self.run(statement)
        self.scopes.pop()

    def _ForInLoop(self, node: Any) -> None:
        chosen = node.set_declaration
        kind = type(chosen).__name__
        values: Any
        if kind == "RangeDefinition":
            if chosen.start is None or chosen.end is None:
                self.refuse(node, "a loop's range has a start and an end, such as [0:3]")
            start, end = (self.calculate.whole(e, "a range's end") for e in (chosen.start, chosen.end))
            step = 1 if chosen.step is None else self.calculate.whole(chosen.step, "a range's step")
            if step == 0:
                self.refuse(node, "a range's step must not be 0")
            values = range(start, end + (1 if step > 0 else -1), step)
        elif kind == "DiscreteSet":
            values = [self.calculate.value(v) for v in chosen.values]
        else:
            values = self.calculate.value(chosen)
            if isinstance(values, Whole) and values.kind == "bit":
                values = [bool(values >> k & 1) for k in range(values.width or 0)]
            if not isinstance(values, list):
                self.refuse(node, "a loop runs over a range [a:b], a set {a, b}, an array or a bit register")
        for value in values:
            self._count(node)
            item = self.calculate.converted(node, value, node.type)
            self._block(node.block, **{node.identifier.name: Variable(item, node.type, False)})

    def _BranchingStatement(self, node: Any) -> None:
        chosen = self.calculate.number(node.condition, "the condition of an if")
        self._block(node.if_block if chosen else node.else_block)

    def _QuantumGateDefinition(self, node: Any) -> None:
        name = node.name.name
        if (
            name in self.gates
            or name == "U"
            or (name == "CX" and self.version == 2)
            or (self.standard and self.version == 3 and name in STANDARD)
        ):
            self.refuse(node, f"the gate {name} is defined already; rename this one")
        known = recognised(name, self.source.text_of(node)) if self.standard else None
        if known in GATES:
            return  # the same gate, which needs no definition here
        if known is not None:
            self.paulis[name] = known
        inner = [_name(g) for g in node.body if type(g).__name__ == "QuantumGate"]
        self.sizes[name] = len(node.body) + sum(self.sizes.get(g or "", 0) for g in inner)
        self.gates[name], self.order[name] = node, len(self.order) + 1

    def _QuantumMeasurementStatement(self, node: Any) -> None:
        variable, indices = None, None
        if node.target is not None:
            plain = type(node.target).__name__ == "Identifier"
            name = node.target.name if plain else node.target.name.name
            indices = None if plain else node.target.indices
            variable = self._find(node, name)
            if not isinstance(variable, Variable) or type(variable.type).__name__ != "BitType":
                self.refuse(node, f"{name} is not a bit register; declare it, such as bit[2] {name};")
        self._measure(node, node.measure.qubit, variable, indices)

    def _measure(self, node: Any, operand: Any, variable: Variable | None, indices: Any) -> None:
        """Measure qubits into a bit variable, or into those of its bits that the indices mean."""
        qubits = self._operand(operand)
        if variable is not None:
            bits = self._undefined(variable)
            if not isinstance(bits, Bits) or variable.constant:
                self.refuse(node, "a measurement gives bits; declare a bit[n] for them")
            size = bits.size
            for index in indices or ():
                size = len(self.calculate.select(node, index, size, "bits")[0])
            if size != len(qubits.indices):
                self.refuse(
                    node,
                    f"{_some(len(qubits.indices), 'qubit')} go into {_some(size, 'bit')}; make them equal",
                )
            variable.value = bits
        self._count(node, len(qubits.indices))
        for qubit in qubits.indices:
            self.measured[qubit] = self.source.place(node)[0]

    def _QuantumBarrier(self, node: Any) -> None:
        for operand in node.qubits:
            self._operand(operand)

    _DelayInstruction = _QuantumBarrier

    def _QuantumReset(self, node: Any) -> None:
        for qubit in self._operand(node.qubits).indices:
            if qubit in self.measured:
                self.refuse(
                    node,
                    f"qubit {qubit} was measured in line {self.measured[qubit]}, and a qubit that is measured cannot "
                    "be used again here; use another qubit instead",
                )
            if qubit in self.touched:
                self._count(node)
                self.operations.append(("reset", (), (qubit,)))

    def _ExpressionStatement(self, node: Any) -> None:
        self.refuse(node, "an expression by itself does nothing, and subroutines are not read; write the gates out")

    # Gates -----------------------------------------------------------------------------------------------------------

    def _QuantumGate(self, node: Any) -> None:
        if node.duration is not None:
            self.refuse(node, "gates with a duration are not read; remove the [duration]")
        angles = tuple(self.calculate.angle(a) for a in node.arguments)
        rows = self._broadcast(node)
        self._limit(node, len(rows) * self.sizes.get(node.name.name, 0))
        for qubits in rows:
            self._apply(node, node.name.name, angles, qubits, node.modifiers, 0)

    def _QuantumPhase(self, node: Any) -> None:
        if not node.modifiers:
            self.calculate.angle(node.argument)  # a global phase: checked, and left out
            return
        for qubits in self._broadcast(node):
            self._apply(node, None, (self.calculate.angle(node.argument),), qubits, node.modifiers, 0)

    def _broadcast(self, node: Any) -> list[tuple[int, ...]]:
        operands = [self._operand(q) for q in node.qubits]
        sizes = {len(o.indices) for o in operands if not o.scalar}
        if len(sizes) > 1:
            shown = " and ".join(map(str, sorted(sizes)))
            self.refuse(node, f"registers of one gate must be equally long, got {shown} qubits; index them")
        count = sizes.pop() if sizes else 1
        self._count(node, count)
        columns = [itertools.repeat(o.indices[0], count) if o.scalar else o.indices for o in operands]
        rows = list(zip(*columns, strict=True))
        for row in rows:
            if len(set(row)) < len(row):
                self.refuse(node, "a gate needs different qubits, and here one is named twice; name another")
            self._use(node, row)
        return rows

    def _use(self, node: Any, qubits: tuple[int, ...]) -> None:
        for qubit in qubits:
            if qubit in self.measured:
                self.refuse(
                    node,
                    f"this acts on qubit {qubit}, measured in line {self.measured[qubit]}: measurements in the middle "
                    "of a circuit cannot be read; move them to the end",
                )
        self.touched.update(qubits)

    def _apply(
        self, node: Any, name: str | None, angles: Any, qubits: tuple[int, ...], modifiers: list[Any], depth: int
    ) -> None:
        """One gate on single qubits; None is gphase."""
        if modifiers:
            plain = None if name is None or self._defined(name) else self._simplified(name, angles, modifiers)
            if plain is None or GATES[plain[0]].n_qubits != len(qubits):
                self._emit(node, self._modified(node, name, angles, qubits, modifiers, depth))
                return
            name, angles = plain
        if name is not None:  # a global phase by itself is left out
            self._call(node, name, angles, qubits, depth)

    def _simplified(self, name: str, angles: tuple[Angle, ...], modifiers: list[Any]) -> tuple[str, Any] | None:
        """The gate of the table that a modified one is, where there is one: `ctrl @ x` is cx."""
        if name not in GATES or len(angles) != GATES[name].n_angles or not self.standard:
            return None
        for modifier in reversed(modifiers):
            if modifier.modifier.name == "inv":
                if name in INVERSES:
                    name = INVERSES[name]
                elif name in TURNED_BACK:
                    angles = (-angles[0],)
                elif name == "u":
                    angles = (-angles[0], -angles[2], -angles[1])
                elif name not in OWN_INVERSES:
                    return None
            elif modifier.modifier.name == "ctrl" and modifier.argument is None and name in CONTROLLED:
                name = CONTROLLED[name]
            else:
                return None
        return name, angles

    def _call(self, node: Any, name: str, angles: tuple[Angle, ...], qubits: tuple[int, ...], depth: int) -> None:
        definition = self._definition(node, name, angles, qubits)
        if definition is None:
            self.operations.append((BUILT_IN.get(name, name), angles, qubits))
            return
        if name in self.paulis and self._defined(name):
            pauli = PauliString.parse(" ".join(f"{p}{q}" for p, q in zip(self.paulis[name], qubits, strict=True)))
            self.operations.append(("rotation", angles, pauli))
            return
        for inner, inner_angles, inner_qubits in self._body(node, definition, angles, qubits, depth):
            self._apply(inner, _name(inner), inner_angles, inner_qubits, inner.modifiers, depth + 1)

    def _exact(self, node: Any, name: str | None, angles: Any, qubits: tuple[int, ...], depth: int) -> Exact:
        """The gate with its phase."""
        if name is None:
            if qubits:
                self.refuse(node, "gphase acts on its controls only; give as many qubits as there are controls")
            return Exact(angles[0], ())
        definition = self._definition(node, name, angles, qubits)
        if definition is None:
            gate = exactly.exact(BUILT_IN.get(name, name), angles, qubits)
            if name == "U":  # modifiers are of version 3, whose U has no real top left entry: it has period 2 pi
                gate = gate._replace(phase=gate.phase + angles[0] / 2)
            return gate
        phase = Angle()
        turns: list[tuple[PauliString, Angle]] = []
        for inner, inner_angles, inner_qubits in self._body(node, definition, angles, qubits, depth):
            part = self._modified(inner, _name(inner), inner_angles, inner_qubits, inner.modifiers, depth + 1)
            phase = phase + part.phase
            turns += part.turns
            self._limit(node, len(turns))
        return Exact(phase, tuple(turns))

    def _modified(
        self, node: Any, name: str | None, angles: Any, qubits: tuple[int, ...], modifiers: list[Any], depth: int
    ) -> Exact:
        steps: list[tuple[str, Any]] = []
        taken = 0
        for modifier in modifiers:
            kind, argument = modifier.modifier.name, modifier.argument
            if kind in ("ctrl", "negctrl"):
                count = 1 if argument is None else self.calculate.whole(argument, "the number of controls")
                if not 1 <= count <= len(qubits) - taken:
                    self.refuse(
                        modifier,
                        f"{kind}({count}) takes {_some(count, 'qubit')} before the gate's own, and "
                        f"{len(qubits) - taken} are left here; list each as q[k]",
                    )
                for control in qubits[taken : taken + count]:
                    steps.append((kind, control))
                taken += count
            elif kind == "pow":
                self.calculate.rounded = False
                steps.append((kind, self.calculate.number(argument, "the exponent of pow")))
                if self.calculate.rounded:
                    self.refuse(
                        modifier,
                        "whole numbers divide without a remainder in OpenQASM 3, so this exponent is not the fraction "
                        "that older standard files mean by it; write it as a float, such as pow(0.5)",
                    )
            else:
                steps.append((kind, None))
        gate = self._exact(node, name, angles, qubits[taken:], depth)
        self._limit(node, len(gate.turns) << taken)  # what its controls make of it
        for kind, value in reversed(steps):
            if kind == "inv":
                gate = exactly.inverse(gate)
            elif kind == "pow":
                gate = self._power(node, gate, value)
            else:
                self._limit(node, 2 * len(gate.turns))
                gate = exactly.controlled(gate, value, 1 if kind == "ctrl" else 0)
        return gate

    def _power(self, node: Any, gate: Exact, k: Any) -> Exact:
        try:
            scaled = exactly.scaled(gate, k)
        except QupropError as error:
            self.refuse(node, str(error))
        if scaled is not None:
            return scaled
        if k != int(k):
            self.refuse(
                node,
                f"pow({k}) is read for a gate whose turns commute and are known; write the gate's root out",
            )
        base = gate if k >= 0 else exactly.inverse(gate)
        self._limit(node, abs(int(k)) * len(gate.turns))
        return Exact(base.phase * abs(int(k)), base.turns * abs(int(k)))

    def _limit(self, node: Any, turns: int) -> None:
        if self.steps + turns > self.max_gates:
            self._count(node, turns)

    def _emit(self, node: Any, gate: Exact) -> None:
        self._count(node, len(gate.turns))
        self.operations += [("rotation", (angle,), string) for string, angle in gate.turns if string.weight]

    def _body(self, node: Any, definition: Any, angles: Any, qubits: tuple[int, ...], depth: int) -> Any:
        """The statements of a gate's definition with the values of their angles and qubits."""
        if depth > _MAX_DEPTH:
            self.refuse(node, f"gates call gates more than {_MAX_DEPTH} deep here, or themselves; write them out")
        places = dict(zip((q.name for q in definition.qubits), qubits, strict=True))
        names = dict(zip((a.name for a in definition.arguments), angles, strict=True))
        outer = self.scopes, self.visible, self.inside_gate
        inner_names = [self.scopes[0], names], self._number(definition), True
        self.scopes, self.visible, self.inside_gate = inner_names
        try:
            for inner in definition.body:
                self._count(node)
                kind = type(inner).__name__
                if kind in ("QuantumBarrier", "DelayInstruction"):
                    continue
                if kind not in ("QuantumGate", "QuantumPhase"):
                    self.refuse(inner, "the body of a gate has gates only; move other statements out of it")
                given = inner.arguments if kind == "QuantumGate" else [inner.argument]
                found = []
                for operand in inner.qubits:
                    if type(operand).__name__ != "Identifier" or operand.name not in places:
                        self.refuse(
                            operand, "inside a gate only its own qubits can be named; add it to the gate's list"
                        )
                    found.append(places[operand.name])
                if len(set(found)) < len(found):
                    self.refuse(inner, "a gate needs different qubits, and here one is named twice; name another")
                self.scopes, self.visible, self.inside_gate = inner_names
                yield inner, tuple(self.calculate.angle(a) for a in given), tuple(found)
        finally:
            self.scopes, self.visible, self.inside_gate = outer

    def _definition(self, node: Any, name: str, angles: Any, qubits: tuple[int, ...]) -> Any:
        """The program's or the library's definition of a gate; None for one of `GATES` or U. Checks the call."""
        definition = self._defined(name)
        if definition is None:
            known = self.standard or name == "U" or (name == "CX" and self.version == 2)
            if known and name in LIBRARY_NAMES:
                definition = library()[name]
            elif name in self.gates and (not known or name not in GATES):
                self.refuse(node, f"gates call gates defined before them, not {name}, nor themselves; move it up")
            elif not known or BUILT_IN.get(name, name) not in GATES:
                self._unknown(node, name)
        elif name in self.opaque and name != "delay":
            self.refuse(node, f"{name} is opaque: the program does not say what it does; define it, gate {name} ...")
        if definition is None:
            n_angles, n_qubits, *_ = GATES[BUILT_IN.get(name, name)]
        else:
            n_angles, n_qubits = len(definition.arguments), len(definition.qubits)
        if (len(angles), len(qubits)) != (n_angles, n_qubits):
            self.refuse(
                node,
                f"{name} takes {_some(n_angles, 'angle')} and {_some(n_qubits, 'qubit')}, "
                f"got {len(angles)} and {len(qubits)}; check the call",
            )
        return definition

    def _defined(self, name: str) -> Any:
        """The program's definition of a gate, as it is known at this place."""
        return self.gates.get(name) if self.visible is None or self.order.get(name, 0) < self.visible else None

    def _number(self, definition: Any) -> int:
        """How many of the program's gates a definition may call, plus 1; the library's calls none."""
        name = definition.name.name
        return self.order[name] if self.gates.get(name) is definition else 0

    def _unknown(self, node: Any, name: str) -> NoReturn:
        known = {*self.gates, *GATES, *LIBRARY_NAMES, *BUILT_IN}
        if name in known and not self.standard:
            file = "qelib1.inc" if self.version == 2 else "stdgates.inc"
            self.refuse(node, f'the gate {name} is defined nowhere; add include "{file}"; or define it')
        self.refuse(node, f"there is no gate {name!r}; {nearest(name, known)}")


_IGNORED = frozenset({"Pragma"})
_FEEDBACK = "control flow at run time cannot be read as a circuit; write the gates out"
_REFUSED = {
    "WhileLoop": _FEEDBACK,
    "SwitchStatement": _FEEDBACK,
    "EndStatement": _FEEDBACK,
    "BreakStatement": _FEEDBACK,
    "ContinueStatement": _FEEDBACK,
    "SubroutineDefinition": "subroutines (def) are not read; define a gate instead",
    "ExternDeclaration": "extern functions are not read; compute the value beforehand and make it an input",
    "CalibrationGrammarDeclaration": "pulse calibrations are not read; remove them",
    "CalibrationStatement": "pulse calibrations are not read; remove them",
    "CalibrationDefinition": "pulse calibrations are not read; remove them",
}


def _grouped(declarations: list[Any]) -> dict[str, tuple[str, int, int]]:
    """Scalar inputs a_0, a_1, ..., a_(k-1) declared one after the other are the vector a: name -> (a, index, k).
    So are _a_0_, _a_1_, ...: what Qiskit's exporter makes of a ParameterVector."""
    names = [d.identifier.name if type(d.type).__name__ != "ArrayType" else "" for d in declarations]
    taken = {d.identifier.name for d in declarations}
    found: dict[str, tuple[str, int, int]] = {}
    k = 0
    while k < len(names):
        match = re.fullmatch(r"(?P<mark>_?)(?P<name>.+)_0(?P=mark)", names[k])
        end = k + 1
        if match and match["name"].isidentifier() and match["name"] not in taken:
            name, mark = match["name"], match["mark"]
            while end < len(names) and names[end] == f"{mark}{name}_{end - k}{mark}":
                end += 1
            taken.add(name)
            found.update({names[i]: (name, i - k, end - k) for i in range(k, end)})
        k = end
    return found


def _name(gate: Any) -> str | None:
    return None if type(gate).__name__ == "QuantumPhase" else gate.name.name


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
