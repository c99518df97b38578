"""Qiskit circuits and operators, in and out (extra ``qiskit``). Primitives are in `qiskit_primitives`.

    circuit = from_qiskit(qc)                          # a Circuit; with observables=..., a Model
    qc = to_qiskit(circuit)                            # parameters keep their names
    from_sparse_pauli_op(op), to_sparse_pauli_op(total, n)
    save_qpy(circuit, "ansatz.qpy"), load_qpy("ansatz.qpy")

Qubit k is qubit k on both sides, and bit k of a state's index. Only texts differ: Qiskit writes qubit 0 on the right
("IZ" is Z on qubit 0), quprop on the left ("ZI").

One file because what is written must be what is read: both directions share their tables.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, overload

import numpy as np

from quprop.errors import QupropError, nearest
from quprop.files import write_atomically
from quprop.hybrid.noise import is_full_reset, moved, moved_mask, read_model
from quprop.hybrid.qasm.values import power, times
from quprop.lazy import missing
from quprop.model import Model
from quprop.model.angle import INPUT, PARAM, Angle, AngleVector
from quprop.model.channels import refuse_channels
from quprop.model.circuit import Circuit, Operation
from quprop.model.dynamic import DynamicCircuit, MeasureStep, WhenStep
from quprop.model.gates import GATES
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum

try:
    from qiskit import QuantumCircuit, qpy
    from qiskit.circuit import (
        Barrier,
        BoxOp,
        ClassicalRegister,
        Clbit,
        ControlFlowOp,
        Delay,
        ForLoopOp,
        IfElseOp,
        Measure,
        Parameter,
        ParameterExpression,
        ParameterVector,
        Reset,
    )
    from qiskit.circuit.classical import expr
    from qiskit.circuit.library import (
        GlobalPhaseGate,
        IGate,
        PauliEvolutionGate,
        PauliGate,
        StatePreparation,
        get_standard_gate_name_mapping,
    )
    from qiskit.circuit.parametervector import ParameterVectorElement
    from qiskit.exceptions import QiskitError
    from qiskit.quantum_info import Pauli, SparseObservable, SparsePauliOp
except ImportError:
    raise missing("quprop.hybrid.qiskit needs Qiskit 2", "qiskit") from None

from quprop.hybrid.qiskit_noise import AerNoise

_RENAMED = {"u1": "p", "u3": "u", "cu1": "cp"}
_STANDARD = get_standard_gate_name_mapping()
# Instructions are known by their class: anybody may give any name to a gate of their own.
_GATES = {_STANDARD[name].base_class: _RENAMED.get(name, name) for name in (*GATES, *_RENAMED)}
_LEFT_OUT = frozenset({IGate, Barrier, Delay, GlobalPhaseGate})
_MAX_UNROLLED = 1_000_000  # instructions that loops come to
_MAX_DEPTH = 60  # definitions within definitions
_REAL = 1e-10  # coefficients whose imaginary part is a smaller fraction than this are real up to rounding


class Imported(NamedTuple):
    """A circuit from Qiskit; `columns[i]` is where the value of qc.parameters[i] goes, (kind, index in theta or x);
    `measured` says which qubit each classical bit holds at the end."""

    circuit: Circuit
    columns: tuple[tuple[int, int], ...]
    measured: dict[int, int]
    angle: Callable[[Any], Angle]  # of an expression in the circuit's parameters, and in others


@overload
def from_qiskit(circuit: Any, observables: None = None, *, inputs: Any = (), noise_model: Any = None) -> Circuit: ...
@overload
def from_qiskit(circuit: Any, observables: Any, *, inputs: Any = (), noise_model: Any = None) -> Model: ...
def from_qiskit(circuit: Any, observables: Any = None, *, inputs: Any = (), noise_model: Any = None) -> Circuit | Model:
    """The `Circuit` of a QuantumCircuit, or its `Model` if observables are given.

    A ParameterVector("theta", 8) is params("theta", 8), a Parameter("phi") is params("phi", 1); characters that no
    Python name has become "_". theta holds the vectors in Qiskit's own order, that of `circuit.parameters`: sorted by
    name, not by first use, the entries of a vector by index. So `theta` is what `assign_parameters` takes, wherever
    vectors are used whole; unused entries of a vector have their place too. What `to_qiskit` wrote keeps its order.
    inputs: the names (or Parameters, or ParameterVectors) that are data, x instead of theta.
    Angles must be polynomials of the parameters, and are kept exactly.

    Gates are known by their class, whatever their name; those outside `GATES` are taken apart by their Qiskit
    definitions, loops over numbers and boxes by their bodies. Barriers, delays, global phases and measurements at the
    end are left out; a reset of a qubit that has been used is a channel. With measurements in the middle, or gates
    under `if_test` of measured bits, the circuit is a `DynamicCircuit`, which has a fresh qubit for each measurement.
    Other control flow, and angles that are no polynomials, raise a `QupropError` that names the instruction.
    observables: SparsePauliOp, SparseObservable, Pauli, or what `Model` takes, or a list of those. Coefficients of
        a SparsePauliOp may be polynomials of parameters; those that the circuit does not have follow its own in theta.
        Dense texts are read as Qiskit writes them, one letter for each qubit with qubit 0 on the right: "IZ" is Z on
        qubit 0, as "Z0" is.
    noise_model: a `qiskit_aer.noise.NoiseModel`, such as `NoiseModel.from_backend(backend)`. Its errors become channels
        after the instructions that they are for: mixtures of Pauli strings (depolarising and the like), relaxation,
        amplitude and phase damping and resets of single qubits, and one after the other; others are refused. As on
        the device, gates have the errors that stand under their names, or labels, and no other gates are taken than
        its basis gates: transpile the circuit to them. Errors of readout stand where the circuit measures; with
        observables every qubit is measured, each Pauli string in its own basis.

    Returns: Circuit, or Model if observables are given.
    Raises: QupropError for what it refuses, and where Qiskit is missing.

    >>> from qiskit import QuantumCircuit
    >>> from qiskit.circuit import ParameterVector
    >>> circuit = QuantumCircuit(1)
    >>> _ = circuit.ry(ParameterVector("theta", 1)[0], 0)
    >>> qpr.expectation(qpr.from_qiskit(circuit, "Z"), [np.pi / 3]).round(6)
    array([0.5])
    """
    imported = read_qiskit(circuit, inputs, noise_model, all_measured=observables is not None)
    if observables is None:
        return imported.circuit
    many = isinstance(observables, Sequence) and not isinstance(observables, str)
    given = list(observables) if many else [observables]
    sums = [_observable(o, circuit.num_qubits, imported.angle) for o in given]
    return read_model(imported.circuit, sums) if noise_model is not None else Model(imported.circuit, sums)


def read_qiskit(circuit: Any, inputs: Any = (), noise_model: Any = None, *, all_measured: bool = False) -> Imported:
    """What `from_qiskit` reads, with the places of parameters and measured bits. all_measured: whether errors of
    readout stand at the end of every qubit, and not only where the circuit measures."""
    if not isinstance(circuit, QuantumCircuit):
        raise QupropError(f"from_qiskit takes a qiskit QuantumCircuit, got {type(circuit).__name__}")
    if circuit.num_qubits == 0:
        raise QupropError("the QuantumCircuit has no qubits; a circuit needs one at least")
    reader = _Reader(circuit, inputs, None if noise_model is None else AerNoise(noise_model))
    where = {bit: k for k, bit in enumerate(circuit.qubits)}
    bits = {bit: k for k, bit in enumerate(circuit.clbits)}
    for k, item in enumerate(circuit.data):
        qubits = tuple(where[q] for q in item.qubits)
        reader.place = f"instruction {k}, {item.name} on {_on(qubits)}"
        reader.add(item, qubits, tuple(bits[c] for c in item.clbits), 0)
    reader.misread(range(circuit.num_qubits) if all_measured else sorted(reader.measured))
    reader.place = "an observable"
    return Imported(reader.out, reader.columns, reader.bits, reader.coefficient)


class _Reader:
    def __init__(self, source: Any, inputs: Any, noise: AerNoise | None) -> None:
        self.out: Circuit = Circuit(source.num_qubits)
        self.n_qubits = source.num_qubits
        self.noise = noise
        self.place = ""
        self.bits: dict[int, int] = {}
        self.measured: set[int] = set()  # and not used since
        self.conditional = False  # whether these gates stand under an if
        self.touched: set[int] = set()
        self.known: dict[Any, Angle] = {}  # expressions met before
        self.unrolled = 0
        self.variables, self.columns = self._lay_out(source, inputs)

    def refuse(self, sentence: str) -> NoReturn:
        raise QupropError(f"{self.place}: {sentence}") from None

    # Parameters ------------------------------------------------------------------------------------------------------

    def _lay_out(self, source: Any, inputs: Any) -> tuple[dict[Any, Angle], tuple[tuple[int, int], ...]]:
        owners: dict[str, str] = {}  # our name -> Qiskit's
        sizes: dict[str, int] = {}
        entries = []
        for parameter in source.parameters:
            vector = parameter.vector if isinstance(parameter, ParameterVectorElement) else None
            full = parameter.name if vector is None else vector.name
            name = _identifier(full)
            size, index = (1, 0) if vector is None else (len(vector), parameter.index)
            if index >= size:
                raise QupropError(
                    f"the circuit uses {parameter.name}, beyond the {size} entries that its vector was resized to; "
                    f"make it long enough again: {full}.resize({index + 1})"
                )
            mark = full if vector is None else f"{full}[]"
            if owners.setdefault(name, mark) != mark or sizes.setdefault(name, size) != size:
                raise QupropError(f"two parameters of the circuit would both be called {name!r} here; rename one")
            entries.append((parameter, name, index))
        data = {_identifier(_name_of(i)) for i in ([inputs] if _single(inputs) else inputs)}
        if data - set(sizes):
            name = min(data - set(sizes))
            hint = nearest(name, sizes) if sizes else "it has none"
            raise QupropError(f"inputs={name!r} names no parameter of the circuit; {hint}")
        layout = {name: (INPUT if name in data else PARAM, size) for name, size in sizes.items()}
        self.out.vectors.update(_remembered(source, layout, bool(data)))
        start, flat = {PARAM: 0, INPUT: 0}, {}
        for name, (kind, size) in self.out.vectors.items():
            flat[name] = start[kind]
            start[kind] += size
        variables, columns = {}, []
        for parameter, name, index in entries:
            kind, size = self.out.vectors[name]
            variables[parameter] = AngleVector(kind, name, size)[index]
            columns.append((kind, flat[name] + index))
        return variables, tuple(columns)

    def angle(self, value: Any) -> Angle:
        if not isinstance(value, ParameterExpression):
            return Angle(float(np.real(value)))
        if isinstance(value, Parameter):
            return self.variables[value]
        try:
            known = self.known.get(value)
        except OverflowError:  # Qiskit cannot hash an expression that has become a negative number
            return self._polynomial(value)
        if known is None:
            known = self.known[value] = self._polynomial(value)
        return known

    def coefficient(self, value: Any) -> Angle:
        """Of an observable: its parameters may be none of the circuit's, whose theta they then follow."""
        for parameter in getattr(value, "parameters", ()):
            if parameter not in self.variables:
                vector = parameter.vector if isinstance(parameter, ParameterVectorElement) else None
                name = _identifier(parameter.name if vector is None else vector.name)
                size, index = (1, 0) if vector is None else (len(vector), parameter.index)
                if name in self.out.vectors:
                    self.refuse(f"its parameter {parameter.name} is another than the circuit's of that name; rename it")
                self.variables[parameter] = AngleVector(PARAM, name, size)[index]
        return self.angle(value)

    def _polynomial(self, value: Any) -> Angle:
        parameters = list(value.parameters)
        if not parameters:
            return Angle(float(value.numeric()))
        slopes: list[Any] = []
        try:
            slopes = [value.gradient(p) for p in parameters]
            if all(isinstance(s, int | float) for s in slopes):
                total = Angle(float(value.bind(dict.fromkeys(parameters, 0.0)).numeric()))
                for parameter, slope in zip(parameters, slopes, strict=True):
                    total = total + float(slope) * self.variables[parameter]
                return total
        except (RuntimeError, ZeroDivisionError, TypeError, ValueError):  # gradients that Qiskit does not know
            pass
        by_name = {p.name: self.variables[p] for p in parameters}
        try:
            total = _of_sympy(value.sympify(), by_name)
            return total if isinstance(total, Angle) else Angle(total)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):  # sympify itself fails on some
            self.refuse(
                f"its angle {value} is no polynomial of the parameters; make the non-linear part a parameter of its own"
            )

    # Instructions ----------------------------------------------------------------------------------------------------

    def add(self, item: Any, qubits: tuple[int, ...], clbits: tuple[int, ...], depth: int) -> None:
        try:
            op = item.operation  # made when it is asked for
        except Exception as error:
            self.refuse(f"Qiskit cannot make it ({error}); the file is damaged, write it again")
        kind = getattr(op, "base_class", type(op))
        if kind in _LEFT_OUT:
            if kind is not Barrier and kind is not GlobalPhaseGate:
                self._follow(op, qubits)
            return
        if (op.num_qubits, op.num_clbits) != (len(qubits), len(clbits)):
            self.refuse(
                f"it takes {op.num_qubits} qubits and {op.num_clbits} bits, got {len(qubits)} and {len(clbits)}; the "
                "file is damaged, or the instruction was changed after it was appended"
            )
        if kind is Measure:
            if self.conditional:
                self.refuse("a measurement under a condition cannot be read; measure before it, or after")
            self.measured.update(qubits)
            self.bits[clbits[0]] = qubits[0]
            return
        if depth > _MAX_DEPTH:
            self.refuse(f"its definition is nested more than {_MAX_DEPTH} deep; decompose it before")
        if isinstance(op, IfElseOp):
            self._branch(op, dict(zip(item.clbits, clbits, strict=True)), qubits, clbits, depth)
            return
        if isinstance(op, ControlFlowOp):
            self._known_flow(op, qubits, clbits, depth)
            return
        noise = self.noise
        if noise is not None and noise.takes(op):
            self.noise = None  # what it is made of has no noise of its own
        self._append(kind, op, qubits, clbits, depth)
        self.noise = noise
        self._follow(op, qubits)

    def _append(self, kind: type, op: Any, qubits: tuple[int, ...], clbits: tuple[int, ...], depth: int) -> None:
        ours = _GATES.get(kind)
        if ours is not None and _closed(op):
            if self.noise is not None:
                self.refuse(
                    f"the noise model has no error of this gate and it is none of its basis gates "
                    f"({', '.join(sorted(self.noise.basis_gates))}), so that it would have no noise; transpile the "
                    f"circuit to them, or say that it has none by noise_model.add_basis_gates([{op.name!r}])"
                )
            self._use(qubits)
            self.out.gate(ours, *map(self.angle, op.params), *qubits)
        elif kind is Reset:
            self._use(qubits, fresh=True)
        elif not self._special(kind, op, qubits):
            self._define(op, qubits, clbits, depth)

    def misread(self, qubits: Iterable[int]) -> None:
        """The errors of measuring these qubits."""
        if self.noise is not None:
            for qubit in qubits:
                self.place = f"the measurement of qubit {qubit}"
                self._noisily(self.noise.append_measurement, self.out, qubit)

    def _follow(self, op: Any, qubits: tuple[int, ...]) -> None:
        """What the noise model puts after an instruction."""
        if self.noise is not None and not self.measured.intersection(qubits):  # then the bits are read
            before = len(self.out.operations)
            self._noisily(self.noise.append, self.out, op, qubits)
            if len(self.out.operations) > before:
                self._use(qubits)

    def _noisily(self, append: Any, *arguments: Any) -> None:
        try:
            append(*arguments)
        except QupropError as error:
            self.refuse(str(error))

    def _use(self, qubits: tuple[int, ...], fresh: bool = False) -> None:
        for qubit in qubits:
            if qubit in self.measured:
                self._measure(qubit)
        if not fresh:
            self.touched.update(qubits)
        elif self.touched.intersection(qubits):
            if self.conditional:
                self.refuse("a reset under a condition cannot be read; reset before it, or after")
            Circuit.reset(self.out, qubits[0])

    def _measure(self, qubit: int) -> str:
        """The measurement of a qubit that is used again, or whose bit is read: to a bit of the circuit, whose name this
        is. Until then it may wait, since nothing acts on the qubit."""
        if self.noise is not None:
            self.refuse(
                f"qubit {qubit} was measured before, and with a noise model measurements in the middle of a circuit "
                "cannot be read; move them to the end"
            )
        if self.conditional:
            self.refuse(f"qubit {qubit} was measured before and is used under a condition; use it once before that")
        if not isinstance(self.out, DynamicCircuit):
            self.out = DynamicCircuit.of(self.out)
        name = f"m{len(self.out.bits)}"
        self.out.measure(qubit, name)
        self.measured.discard(qubit)
        for bit, held in self.bits.items():
            if held == qubit:
                self.bits[bit] = self.out.bits[name]
        return name

    def _branch(
        self, op: Any, where: dict[Any, int], qubits: tuple[int, ...], clbits: tuple[int, ...], depth: int
    ) -> None:
        """Gates under the value of one bit or of a register of bits; where: the program's bits."""
        if self.conditional:
            self.refuse("a condition within a condition cannot be read; join them")
        try:
            read = _bits_of(op.condition)
        except ValueError:
            self.refuse(
                "only a bit, a register that equals a number, and bits or negated bits joined by `and` can be a "
                "condition here; write it that way"
            )
        wanted = {where[b]: value for b, value in read if b is not None}
        possible = all(b is not None and wanted[where[b]] == value for b, value in read)
        known = {b: self._known_bit(b) for b in wanted}
        same = {b: v for b, v in wanted.items() if known[b] is not None}
        possible = possible and not any(v for b, v in wanted.items() if known[b] is None)  # other bits are 0
        then, other = (*op.blocks, None)[:2]
        if possible:
            self._when({known[b]: v for b, v in same.items()}, then, qubits, clbits, depth)
        if other is not None:
            # The complement, as conditions of which one holds at most: the first bit that differs.
            names = [known[b] for b in same]
            values = list(same.values())
            if not possible:
                self._when({}, other, qubits, clbits, depth)
            else:
                for k, value_k in enumerate(values):
                    differs = dict(zip(names[:k], values[:k], strict=True)) | {names[k]: 1 - value_k}
                    self._when(differs, other, qubits, clbits, depth)

    def _known_bit(self, bit: int) -> str | None:
        """The name of a measured bit; None of one that holds 0, since nothing was measured into it."""
        if bit not in self.bits:
            return None
        held = self.bits[bit]
        if held < self.n_qubits:
            return self._measure(held)
        assert isinstance(self.out, DynamicCircuit)
        return next(name for name, qubit in self.out.bits.items() if qubit == held)

    def _when(self, condition: dict[Any, int], body: Any, qubits: tuple[int, ...], clbits: Any, depth: int) -> None:
        if not condition:
            self._expand(body, qubits, clbits, depth)
            return
        for qubit in qubits:
            if qubit in self.measured:
                self._measure(qubit)
        whole = self.out
        self.out, self.conditional = Circuit(self.n_qubits), True
        self.out.vectors.update(whole.vectors)
        try:
            self._expand(body, qubits, clbits, depth)
        finally:
            self.out, self.conditional, gates = whole, False, self.out
        assert isinstance(whole, DynamicCircuit)
        whole.when(condition, gates)

    def _known_flow(self, op: Any, qubits: tuple[int, ...], clbits: tuple[int, ...], depth: int) -> None:
        """Control flow that does not depend on measurements: boxes, and loops over numbers."""
        if isinstance(op, BoxOp):
            self._expand(op.blocks[0], qubits, clbits, depth)
            return
        numbers, variable, body = op.params if isinstance(op, ForLoopOp) else (None, None, op)
        if not isinstance(numbers, range | tuple | list) or not isinstance(variable, Parameter | None):
            self.refuse("control flow at run time cannot be read as a circuit; write the gates out")
        for number in numbers:
            self.unrolled += 1 + len(body.data)
            if self.unrolled > _MAX_UNROLLED:
                self.refuse(f"loops come to more than {_MAX_UNROLLED:,} instructions; write a smaller circuit")
            bound = body.assign_parameters({variable: number}) if variable in body.parameters else body
            self._expand(bound, qubits, clbits, depth)

    def _expand(self, body: Any, qubits: tuple[int, ...], clbits: tuple[int, ...], depth: int) -> None:
        where = dict(zip(body.qubits, qubits, strict=True))
        bits = dict(zip(body.clbits, clbits, strict=True))
        for item in body.data:
            self.add(item, tuple(where[q] for q in item.qubits), tuple(bits[c] for c in item.clbits), depth + 1)

    def _special(self, kind: type, op: Any, qubits: tuple[int, ...]) -> bool:
        """Whether it is an instruction that has a better form here than its definition, in which noise would be."""
        if self.noise is not None:
            return False
        if kind is PauliEvolutionGate:
            operator = op.operator
            if not isinstance(operator, SparsePauliOp | SparseObservable | Pauli):
                return False
            try:
                total = _real_sum(operator, qubits)
            except QupropError as error:
                self.refuse(str(error))
            if total.commuting() is not None:
                return False  # a product formula: its definition
            self._use(qubits)
            angle = 2 * self.angle(op.time)
            if len(total) == 1:
                ((string, coefficient),) = total.items()
                self.out.rotation(string, coefficient * angle)
            else:
                self.out.exp(total, angle)
            return True
        if kind is PauliGate:
            self._use(qubits)
            for qubit, letter in zip(qubits, reversed(op.params[0]), strict=True):
                if letter != "I":
                    self.out.gate(letter.lower(), qubit)
            return True
        if kind is StatePreparation and not self.touched and len(qubits) == self.n_qubits and type(self.out) is Circuit:
            amplitudes = op.params
            if len(amplitudes) != 1 << len(qubits) or any(isinstance(a, str) for a in amplitudes):
                return False
            self._use(qubits)
            vector = np.zeros(len(amplitudes), complex)
            index = np.arange(len(amplitudes))
            place = sum((index >> k & 1) << q for k, q in enumerate(qubits))
            vector[place] = amplitudes
            self.out.state = InputState.make(self.out.n_qubits, vector)
            return True
        return False

    def _define(self, op: Any, qubits: tuple[int, ...], clbits: tuple[int, ...], depth: int) -> None:
        try:
            definition = getattr(op, "definition", None)
        except (QiskitError, TypeError, ValueError) as error:
            reason = getattr(error, "message", str(error))
            self.refuse(f"Qiskit does not take it apart ({reason}); bind its parameters, or write it by other gates")
        if definition is None and not clbits and hasattr(op, "num_clbits"):
            definition = _synthesised(op)
        if definition is None:
            self.refuse("it has no definition by gates, so it cannot be read; decompose it before, or define it")
        self._expand(definition, qubits, clbits, depth)


def to_qiskit(circuit: Circuit) -> Any:
    """The circuit as a QuantumCircuit with the same parameters: ParameterVector("theta", n), or Parameter("phi") for a
    vector of one entry. `from_qiskit` reads back the same circuit: which vectors are inputs, and their order, are kept
    in `metadata["quprop"]`.

    Rotations about Pauli strings and exponentials become PauliEvolutionGates; a given input state is prepared first.
    A `DynamicCircuit` is written with its measurements in the middle, on the qubits it was made with: each bit is a
    classical register of one bit and of its name, resets are resets, and gates under bits stand in `if_test`. Read
    back, its bits are called m0, m1, ...

    Returns: QuantumCircuit.
    Raises: QupropError for channels that Qiskit's circuits lack, and where Qiskit is missing.

    >>> circuit = qpr.to_qiskit(qpr.Circuit(2).h(0).cx(0, 1))
    >>> [step.operation.name for step in circuit.data]
    ['h', 'cx']
    >>> circuit = qpr.to_qiskit(qpr.DynamicCircuit(2).h(0).measure(0, "m").when("m", qpr.Circuit(2).x(1)))
    >>> [step.operation.name for step in circuit.data], circuit.num_qubits
    (['h', 'measure', 'if_else'], 2)
    """
    if not isinstance(circuit, Circuit):
        raise QupropError(f"to_qiskit takes a quprop Circuit, got {type(circuit).__name__}")
    if not all(is_full_reset(op) for op in circuit.channels):
        refuse_channels(circuit, "to_qiskit")
    n = circuit.size_for_gates
    out = QuantumCircuit(n)
    state = circuit.state
    if isinstance(state, AngleVector):
        raise QupropError(
            f"amplitudes read from the inputs {state.name} have no form in Qiskit; give the circuit fixed amplitudes"
        )
    if state.kind == "basis":
        for k in range(n):
            if state.index >> k & 1:
                out.x(k)
    elif state.kind == "product":
        for k, row in enumerate(state.array[:n]):
            out.prepare_state(list(row), k)
    elif state.kind == "amplitudes":
        out.prepare_state(list(state.array[: 1 << n]), range(n))
    vectors: dict[str, Any] = {}
    for name, (_, size) in circuit.vectors.items():
        vectors[name] = [Parameter(name)] if size == 1 else ParameterVector(name, size)

    def value(angle: Angle) -> Any:
        total: Any = 0.0
        for monomial, coefficient in angle.terms:
            product: Any = coefficient
            for k, variable in enumerate(monomial):
                factor = vectors[variable[2]][variable[1]]
                product = factor if k == 0 and coefficient == 1.0 else product * factor
            total = product if isinstance(total, float) and total == 0.0 else total + product
        return total

    bits: dict[str, Any] = {}
    for step in circuit.program if isinstance(circuit, DynamicCircuit) else circuit.operations:
        if isinstance(step, MeasureStep):
            if step.bit is None:
                out.reset(step.qubit)
                continue
            register = ClassicalRegister(1, step.bit)
            out.add_register(register)
            bits[step.bit] = register[0]
            out.measure(step.qubit, register[0])
        elif isinstance(step, WhenStep):
            with out.if_test(_condition(step.condition, bits)):
                for op in step.body.operations:
                    _write(out, op, value)
        else:
            _write(out, step, value)
    out.metadata = {
        "quprop": {
            "vectors": [[name, kind, size] for name, (kind, size) in circuit.vectors.items()],
            "used": len(out.parameters),
        }
    }
    return out


def _write(out: Any, operation: Operation, value: Callable[[Angle], Any]) -> None:
    """Append one gate; value: its angles in Qiskit's parameters."""
    name, angles, target = operation
    if isinstance(target, tuple):
        getattr(out, name)(*([] if name == "reset" else map(value, angles)), *target)
        return
    total = PauliSum(target) if isinstance(target, PauliString) else target
    support = sorted({q for string, _ in total.items() for q in string.qubits}) or [0]
    if any(string.weight for string, _ in total.items()):
        local = moved(total, {q: k for k, q in enumerate(support)})
        out.append(PauliEvolutionGate(to_sparse_pauli_op(local, len(support)), time=value(angles[0] / 2)), support)


def _condition(wanted: Mapping[str, int], bits: Mapping[str, Any]) -> Any:
    """That all of these bits have these values, as `if_test` takes it."""
    if len(wanted) == 1:
        ((name, one),) = wanted.items()
        return bits[name], one
    parts = [expr.lift(bits[name]) if one else expr.logic_not(bits[name]) for name, one in wanted.items()]
    return functools.reduce(expr.logic_and, parts)


def _bits_of(condition: Any) -> list[tuple[Any, int]]:
    """The bits of a condition and what they must be; ValueError where it is not that all of some bits have values."""
    if isinstance(condition, tuple):
        read, value = condition
        bits = [read] if isinstance(read, Clbit) else list(read)
        found = [(b, int(value) >> k & 1) for k, b in enumerate(bits)]
        return found if not int(value) >> len(bits) else [*found, (None, 1)]
    if isinstance(condition, expr.Var) and isinstance(condition.var, Clbit):
        return [(condition.var, 1)]
    if isinstance(condition, expr.Unary) and condition.op == expr.Unary.Op.LOGIC_NOT:
        (inner,) = _bits_of(condition.operand)
        return [(inner[0], 1 - inner[1])]
    if isinstance(condition, expr.Binary) and condition.op == expr.Binary.Op.LOGIC_AND:
        return _bits_of(condition.left) + _bits_of(condition.right)
    raise ValueError


def from_sparse_pauli_op(operator: Any) -> PauliSum:
    """The PauliSum of a SparsePauliOp, SparseObservable or Pauli: the same operator, orders translated."""
    if not isinstance(operator, SparsePauliOp | SparseObservable | Pauli):
        raise QupropError(
            f"an observable from Qiskit is a SparsePauliOp, SparseObservable or Pauli, got {type(operator).__name__}"
        )
    return _real_sum(operator)


def to_sparse_pauli_op(total: Any, n_qubits: int | None = None) -> Any:
    """The SparsePauliOp of a PauliSum on n_qubits qubits, or as many as it acts on."""
    total = total if isinstance(total, PauliSum) else PauliSum(total)
    n = max(total.n_qubits, 1) if n_qubits is None else n_qubits
    if total.n_qubits > n:
        raise QupropError(f"the sum acts on qubit {total.n_qubits - 1}, beyond the {n} qubits asked for; ask for more")
    terms = [(string.dense(n)[::-1], coefficient) for string, coefficient in total.items()]
    return SparsePauliOp.from_list(terms or [("I" * n, 0.0)], num_qubits=n)


def save_qpy(circuit: Circuit, path: str | Path) -> None:
    """Write a circuit as Qiskit's own binary file, which keeps the parameters.

    path: the file, overwritten if it is there.
    Raises: QupropError as `to_qiskit`, and `FileError` where the file cannot be written.

    >>> qpr.save_qpy(qpr.Circuit(2).h(0).cx(0, 1), "bell.qpy")
    >>> print(qpr.load_qpy("bell.qpy"))
    Circuit: 2 qubits, 2 gates, from |00>
      h 0
      cx 0 1
    """
    content = io.BytesIO()
    qpy.dump(to_qiskit(circuit), content)
    write_atomically(path, content.getvalue())


@overload
def load_qpy(path: str | Path, observables: None = None, *, inputs: Any = (), index: int | None = None) -> Circuit: ...
@overload
def load_qpy(path: str | Path, observables: Any, *, inputs: Any = (), index: int | None = None) -> Model: ...
def load_qpy(
    path: str | Path, observables: Any = None, *, inputs: Any = (), index: int | None = None
) -> Circuit | Model:
    """Read a QPY file: `from_qiskit` of its circuit, or of circuit `index` if it holds several.

    path: the file. observables, inputs: as in `from_qiskit`.
    Returns: Circuit, or Model if observables are given.
    Raises: QupropError for files that cannot be read, and as `from_qiskit`.

    >>> qpr.save_qpy(qpr.Circuit(2).h(0).cx(0, 1), "bell.qpy")
    >>> qpr.expectation(qpr.load_qpy("bell.qpy", "ZZ"), []).round(6)
    array([1.])
    """
    try:
        with open(path, "rb") as file:
            programs = qpy.load(file)
    except OSError as error:
        raise QupropError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except BaseException as error:  # malformed files make the decoder fail in many ways
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # that of its Rust part
            raise
        raise QupropError(
            f"{path} is no QPY file that this Qiskit reads ({type(error).__name__}); write it again with qpy.dump"
        ) from None
    if index is None and len(programs) != 1:
        raise QupropError(f"{path} holds {len(programs)} circuits; say which one with index=0 to {len(programs) - 1}")
    if index is not None and not 0 <= index < len(programs):
        raise QupropError(f"{path} holds {len(programs)} circuits; index is from 0 to {len(programs) - 1}, got {index}")
    return from_qiskit(programs[index or 0], observables, inputs=inputs)


def _observable(given: Any, n: int, angle: Callable[[Any], Angle]) -> Any:
    if isinstance(given, SparsePauliOp | SparseObservable | Pauli):
        if given.num_qubits > n:
            raise QupropError(f"an observable has {given.num_qubits} qubits, but the circuit {n}; make them equal")
        if isinstance(given, SparsePauliOp) and given.coeffs.dtype == object:
            terms: dict[PauliString, Any] = {}
            for pauli, c in zip(given.paulis, given.coeffs, strict=True):
                ((string, sign),) = _real_sum(pauli).items()
                terms[string] = terms.get(string, Angle(0.0)) + sign * angle(c)
            return terms
        return from_sparse_pauli_op(given)
    if isinstance(given, str):
        return _turned_labels(given, n)
    if isinstance(given, Mapping):
        return {_turned_labels(key, n) if isinstance(key, str) else key: c for key, c in given.items()}
    return given


def _turned_labels(text: str, n: int) -> str:
    """The text with its dense labels in quprop's order, qubit 0 on the left."""

    def turned(label: re.Match[str]) -> str:
        if len(label[0]) != n:
            raise QupropError(
                f"a dense label has one letter for each of the circuit's {n} qubits, qubit 0 on the right, got "
                f"{label[0]!r}; name the qubits, such as 'Z0 X1'"
            )
        return label[0][::-1]

    return re.sub(r"(?<![A-Za-z0-9_])[IXYZ]{2,}(?![A-Za-z0-9_])", turned, text)


def _real_sum(operator: Any, places: Sequence[int] | None = None) -> PauliSum:
    """The sum, with its qubit k on qubit places[k]."""
    if isinstance(operator, SparseObservable):
        operator = SparsePauliOp.from_sparse_observable(operator)
    elif isinstance(operator, Pauli):
        operator = SparsePauliOp(operator)
    coefficients = np.asarray(operator.coeffs)
    if coefficients.dtype == object:
        raise QupropError("the operator's coefficients hold parameters; bind them to numbers")
    size = np.abs(coefficients).max(initial=0.0)
    if not np.isfinite(coefficients).all() or np.abs(coefficients.imag).max(initial=0.0) > _REAL * size:
        worst = coefficients[int(np.argmax(np.abs(coefficients.imag)))]
        raise QupropError(f"an observable is Hermitian: its coefficients are real and finite, got {worst}; make it so")
    x, z = (np.packbits(a, axis=1, bitorder="little") for a in (operator.paulis.x, operator.paulis.z))
    total: dict[PauliString, float] = {}
    for xs, zs, c in zip(x, z, coefficients.real, strict=True):
        masks = (int.from_bytes(m.tobytes(), "little") for m in (xs, zs))
        string = PauliString(*(masks if places is None else (moved_mask(m, places) for m in masks)))
        total[string] = total.get(string, 0.0) + float(c)
    return PauliSum(total)


def _remembered(source: Any, layout: dict[str, tuple[int, int]], chosen: bool) -> dict[str, tuple[int, int]]:
    """The layout in the order and kinds that `to_qiskit` left in the metadata, where the circuit still has them."""
    note: Any = (source.metadata or {}).get("quprop")
    try:
        rows = {str(name): (int(kind), int(size)) for name, kind, size in note["vectors"]}
        whole = note["used"] == len(source.parameters)
    except (TypeError, KeyError, ValueError):
        return layout
    if any(name not in rows or rows[name][1] != size for name, (_, size) in layout.items()):
        return layout
    if any(kind not in (PARAM, INPUT) or size < 0 or not name.isidentifier() for name, (kind, size) in rows.items()):
        return layout
    kept = {name: row for name, row in rows.items() if whole or name in layout}
    return {name: (layout[name][0] if chosen and name in layout else kind, n) for name, (kind, n) in kept.items()}


def _synthesised(op: Any) -> Any:
    """An instruction without a definition, such as one with control or inverse modifiers, by Qiskit's synthesis."""
    from qiskit.exceptions import QiskitError
    from qiskit.transpiler import PassManager
    from qiskit.transpiler.passes import HighLevelSynthesis

    single = QuantumCircuit(op.num_qubits)
    single.append(op, range(op.num_qubits))
    try:
        made = PassManager([HighLevelSynthesis()]).run(single)
    except QiskitError:
        return None
    return None if any(item.operation.name == op.name for item in made.data) else made


def _of_sympy(expression: Any, by_name: Mapping[str, Angle]) -> Any:
    """A number, or the polynomial that an expression is; ValueError and its kind where it is none."""
    if expression.is_number:
        return float(expression)
    if expression.is_Symbol:
        return by_name[str(expression)]
    parts = [_of_sympy(part, by_name) for part in expression.args]
    if expression.is_Add:
        return sum(parts)
    if expression.is_Mul:
        return functools.reduce(times, parts)
    if expression.is_Pow:
        return power(*parts)
    raise ValueError


def _closed(op: Any) -> bool:
    """Whether a controlled gate acts where all its controls are 1, as those without a mark do."""
    controls = getattr(op, "num_ctrl_qubits", 0)
    return getattr(op, "ctrl_state", (1 << controls) - 1) == (1 << controls) - 1


def _identifier(name: str) -> str:
    if name.isidentifier():
        return name
    plain = re.sub(r"\W+", "_", name).strip("_")
    return plain if plain.isidentifier() else f"p_{plain}"


def _single(inputs: Any) -> bool:
    return isinstance(inputs, str | Parameter | ParameterVector) or not isinstance(inputs, Iterable)


def _name_of(given: Any) -> str:
    name = given if isinstance(given, str) else getattr(given, "name", None)
    if not isinstance(name, str):
        raise QupropError(f"inputs are names, Parameters or ParameterVectors, got {given!r}")
    return given.vector.name if isinstance(given, ParameterVectorElement) else name


def _on(qubits: tuple[int, ...]) -> str:
    return f"qubit{'s' * (len(qubits) > 1)} {', '.join(map(str, qubits))}"


__all__ = [
    "Imported",
    "from_qiskit",
    "from_sparse_pauli_op",
    "load_qpy",
    "read_qiskit",
    "save_qpy",
    "to_qiskit",
    "to_sparse_pauli_op",
]
