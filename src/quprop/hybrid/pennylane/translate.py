"""PennyLane tapes as quprop models: one model for all tapes of one structure, the tape's numbers as its parameters.

A training loop makes a new tape every step. Its structure (names, wires, observables) is read into a key, its numbers
into one array; what depends on the structure alone, the model and everything planned for it, is found by the key.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pennylane import math, ops
from pennylane import measurements as mp
from pennylane.operation import Operator, StatePrepBase
from pennylane.tape import QuantumScript
from scipy.sparse import issparse

from quprop.hybrid.noise import Misreading, misread, on_qubits, read_out
from quprop.hybrid.pennylane.gates import RULES
from quprop.hybrid.pennylane.observables import NESTED, Monomials, Readout, RefusedError, is_batch, masks_of, readout
from quprop.model import Model
from quprop.model.angle import inputs, params
from quprop.model.circuit import Circuit
from quprop.model.noise import applied
from quprop.model.pauli import PauliString, PauliSum

_CONTROLLED = frozenset({"CNOT", "CY", "CZ", "CRX", "CRY", "CRZ", "ControlledPhaseShift", "Toffoli", "CCZ"})
REMEMBERED = 128  # structures a device keeps; the least recently used goes first


class Structure:
    """All that tapes with the same gates, wires and measurements have in common; `place` has the qubit of each wire.

    readouts[i] is None where measurement i is computed from the state; their sums, one after the other, are the model's
    observables, columns[i] those of measurement i. noise: what is put on the circuit, whose qubit k is then the
    device's wire k; its errors of readout are in the observables (`misreadings`).
    """

    gates: tuple[tuple[str, tuple[Any, ...], Any], ...]
    prep: tuple[str, Any] | None

    def __init__(
        self, key: tuple[Any, ...], place: dict[Any, int], readouts: Sequence[Readout | None], noise: Any = None
    ) -> None:
        self.order, self.gates, self.prep = key[:3]
        self.noise = noise
        self.misreadings: dict[int, list[Misreading]] = {}
        self.of_strings: dict[bool, Model] = {}  # made by `state.py` when first asked for
        self.n = max(len(self.order), 1)
        self.place = place
        self.readouts = tuple(readouts)
        self.columns: list[slice] = []
        start = 0
        for r in self.readouts:
            size = 0 if r is None else len(r.sums)
            self.columns.append(slice(start, start + size))
            start += size
        self.n_values = start
        self.phased: Any = None  # states with their phase, made by `state.py` when first asked for
        sums = [s for r in readouts if r is not None for s in r.sums]
        circuit = self.circuit()
        self.model = Model(circuit, [self.of_both(misread(s, self.misreadings)) for s in sums] or "I")

    @property
    def has_parts(self) -> bool:
        """Whether the initial amplitudes are complex. Their real and imaginary parts are the amplitudes of a real state
        |0>|re> + |1>|im> with one more qubit, the highest; S there and <0| + <1| make them re + i im again."""
        return self.prep is not None and self.prep[0] == "complex"

    @property
    def normalizes(self) -> bool:
        """Whether the amplitudes are divided by their norm, which PennyLane leaves out of its derivative where the norm
        is 1, and Autograd gets wrong where they are complex."""
        return self.prep is not None and self.prep[0] != "basis" and self.prep[1]

    def of_both(self, observable: PauliSum) -> PauliSum:
        """(1 + X) O, X on the qubit of the parts: the observable between <0| + <1| and its adjoint."""
        if not self.has_parts:
            return observable
        return PauliSum({PauliString(p.x | x, p.z): c for p, c in observable.items() for x in (0, 1 << self.n)})

    def numbered(self, m: mp.MeasurementProcess) -> mp.MeasurementProcess:
        """A measurement with the wires called 0..n-1."""
        if self.order == tuple(range(len(self.order))):
            return m
        return m.map_wires({w: i for i, w in enumerate(self.order)})

    def final(self, states: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        """(B, 2^n) from the model's final states: both parts, and the norm of the tape's amplitudes."""
        if self.has_parts:
            states = states.reshape(len(states), 2, -1).sum(axis=1)
        return states if x is None else states * np.linalg.norm(x, axis=1, keepdims=True)

    @property
    def n_numbers(self) -> int:
        return sum(RULES[name].n_angles for name, _, _ in self.gates)

    def circuit(self) -> Circuit:
        """The gates as a quprop circuit with one parameter for each number of the tape."""
        theta = params("theta", self.n_numbers)
        n = self.n + self.has_parts
        encoded = self.prep is not None and self.prep[0] != "basis"
        circuit = Circuit(n, self.start(inputs("amplitudes", 1 << n) if encoded else None), params=theta)
        if self.has_parts:
            circuit.s(self.n)
        return self.append_to(circuit, theta) if self.noise is None else circuit.append(self._noisy(theta))

    def _noisy(self, theta: Any) -> Circuit:
        """The gates with the device's noise, without errors of readout at the end, which are `misreadings` now."""
        there = in_order(self.order)
        given = self.append_to(Circuit(self.n, params=theta), theta, there)
        found = applied(self.noise, given)
        if found.vectors != given.vectors or _trained(found) != _trained(given):
            raise RefusedError(
                "noise of a device has strengths that are numbers, since a circuit's parameters are those of its "
                "gates; put channels with trainable strengths into the circuit, or use quprop.hybrid.torch or jax"
            )
        found, misreadings = read_out(found)
        self.misreadings = {self.place[w]: misreadings[q] for w, q in there.items() if q in misreadings}
        where = {q: self.place[w] for w, q in there.items()}
        return on_qubits(found, sorted(where, key=where.__getitem__))

    def start(self, amplitudes: Any) -> Any:
        """The state to start a `Circuit` from, `amplitudes` where the tape gives them."""
        if self.prep is None:
            return None
        kind, index = self.prep
        return index if kind == "basis" else amplitudes

    def append_to(self, circuit: Circuit, numbers: Iterable[Any], place: Mapping[Any, int] | None = None) -> Circuit:
        """Append the gates with these numbers, in the tape's order; place: the qubit of each wire, `self.place`."""
        place = self.place if place is None else place
        following = iter(numbers)
        for name, labels, extra in self.gates:
            rule = RULES[name]
            angles = [next(following) for _ in range(rule.n_angles)]
            rule.build(circuit, angles, [place[w] for w in labels], extra)
        return circuit

    def phase(self, theta: np.ndarray) -> np.ndarray:
        """The phase (B,) of every gate beyond what `gates.CLIFFORD_TURNS` says, added up."""
        total, first = np.zeros(len(theta)), 0
        for name, _, _ in self.gates:
            constant, coefficients = RULES[name].phase
            total += constant
            for c in coefficients:
                total += c * theta[:, first]
                first += 1
        return total


def _trained(circuit: Circuit) -> list[Any]:
    return [op.angles for op in circuit.channels if not all(s.is_constant for s in op.angles)]


class Reading(NamedTuple):
    """One tape: its structure, its numbers theta (B, P), amplitudes x (B or 1, 2^n) or None, complex ones as real parts
    and then imaginary ones, and how its numbers are shaped: `batch` is None without a batch axis, `spread` says of
    each number whether it has one."""

    structure: Structure
    theta: np.ndarray
    x: np.ndarray | None
    batch: int | None
    spread: np.ndarray
    n_prep: int  # numbers of the tape that belong to the state preparation
    amplitudes: list[int] | None  # where each entry of its vector is among those of the whole state
    prep_batch: bool
    seen: list[bool]  # of each measurement whether numbers of its observable are differentiated
    terms: tuple[
        Monomials | None, ...
    ]  # of each measurement whose observable's coefficients are differentiated or a batch
    coefficients: tuple[np.ndarray | None, ...]  # their values, (K,) or (B, K)

    @property
    def rows(self) -> int:
        return self.batch or 1


def places(order: Sequence[Any]) -> dict[Any, int]:
    """The qubit of each wire on the device: the first wire is the most significant bit of a state's index."""
    return {w: len(order) - 1 - i for i, w in enumerate(order)}


def in_order(order: Sequence[Any]) -> dict[Any, int]:
    """The qubit of each wire in an imported circuit: the first is qubit 0."""
    return {w: i for i, w in enumerate(order)}


class TapeReader:
    """Reads tapes for a device with these wires (None: whatever a tape uses), and remembers their structures."""

    def __init__(
        self,
        wires: Sequence[Any] | None,
        place: Callable[[Sequence[Any]], dict[Any, int]] = places,
        noise: Any = None,
    ) -> None:
        self._place, self._noise = place, noise
        self._wires = None if wires is None else tuple(wires)
        self._known: OrderedDict[tuple[Hashable, ...], Structure] = OrderedDict()

    def __call__(self, tape: QuantumScript) -> Reading:
        operations, measurements = tape.operations, tape.measurements
        prep: StatePrepBase | None = None
        if operations and isinstance(operations[0], StatePrepBase):
            prep, operations = operations[0], operations[1:]
        gates: list[tuple[str, tuple[Any, ...], Any]] = []
        numbers: list[Any] = []
        touched: dict[tuple[Any, ...], None] = {} if prep is None else {prep.wires.labels: None}
        rules = RULES
        for op in operations:
            name = op.name
            if name in _CONTROLLED:  # whose `wires` joins two `Wires` at every look
                labels = op.control_wires.labels + op.base.wires.labels
            else:
                labels = op.wires.labels
            rule = rules.get(name)
            if rule is None:
                raise RefusedError(_no_gate(op, tape))
            n_angles, _, _, extra = rule
            gates.append((name, labels, extra and extra(op)))
            if n_angles:
                numbers += op.data
            touched[labels] = None
        for m in measurements:
            touched[m.wires.labels] = None
        used = dict.fromkeys(label for labels in touched for label in labels)
        every = self._noise is not None  # whose qubits are all wires of the device
        order = tuple(used) if self._wires is None else tuple(w for w in self._wires if every or w in used)
        place = self._place(order)
        theta, batch, spread = _array(numbers)
        start, x = (None, None) if prep is None else _start(prep, order, place, 0 in tape.trainable_params)
        amplitudes, prep_batch = None, False
        if prep is not None and x is not None:
            amplitudes, prep_batch = masks_of(prep.wires.labels, place), x.ndim == 2
            x = np.atleast_2d(x)
            batch = len(x) if prep_batch else batch
        rows = batch or 1
        if len(theta) != rows:
            theta = np.broadcast_to(theta, (rows, theta.shape[1]))
        seen = _seen(tape, len(numbers) + (0 if prep is None else len(prep.data)))
        terms = tuple(
            Monomials.of(m.obs, place, constants=False)
            if type(m) is mp.ExpectationMP and (s or (m.obs is not None and m.obs.batch_size and not tape.shots))
            else None
            for s, m in zip(seen, measurements, strict=True)
        )
        readouts = [
            None if tape.shots or (t is None and (s or is_batch(m))) else readout(m, place, t)
            for s, t, m in zip(seen, terms, measurements, strict=True)
        ]
        coefficients = tuple(
            None if t is None else t.coefficients(m.obs) for t, m in zip(terms, measurements, strict=True)
        )
        sizes = {len(c) for c in coefficients if c is not None and c.ndim == 2}
        sizes |= {len(m.obs.data[0]) for m, t in zip(measurements, terms, strict=True) if t is None and is_batch(m)}
        if sizes:
            if len(sizes | {rows} - {1}) > 1:
                raise RefusedError(
                    f"all numbers of a broadcast circuit need one batch size, got {sorted(sizes | {rows})}"
                )
            batch = sizes.pop()
            theta = np.broadcast_to(theta, (batch, theta.shape[1]))
        key = (order, tuple(gates), start, tuple(readouts))
        structure = self._known.get(key)
        if structure is None:
            structure = self._known[key] = Structure(key, place, readouts, self._noise)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        n_prep = 0 if prep is None else len(prep.data)
        return Reading(structure, theta, x, batch, spread, n_prep, amplitudes, prep_batch, seen, terms, coefficients)


def _seen(tape: QuantumScript, first: int) -> list[bool]:
    """Of each measurement whether numbers of its observable, which follow the `first` of the gates, are trainable."""
    trainable = tape.trainable_params
    if not trainable or max(trainable) < first or tape.shots:
        return [False] * len(tape.measurements)
    out = []
    for m in tape.measurements:
        end = first if m.obs is None else first + len(m.obs.data)
        out.append(any(first <= t < end for t in trainable))
        first = end
    return out


def is_traced(value: Any) -> bool:
    """Whether a tensor is being differentiated by Autograd, Torch or JAX, or stands for values not known yet."""
    interface = math.get_interface(value)
    if interface == "torch":
        return bool(value.requires_grad) and sys.modules["torch"].is_grad_enabled()
    if interface == "autograd":
        return type(value).__name__ == "ArrayBox"
    return interface == "jax" and bool(math.requires_grad(value) or math.is_abstract(value))


def _array(numbers: list[Any]) -> tuple[np.ndarray, int | None, np.ndarray]:
    """The numbers as (B, P), the batch size if there is a batch axis, and which numbers have it."""
    try:
        flat = np.array(numbers, float)
    except (ValueError, TypeError, RuntimeError):  # scalars beside batches, complex dtypes, or tensors with a gradient
        flat = np.empty((0, 0, 0))
    if flat.ndim == 1:
        return flat[None], None, np.zeros(len(flat), bool)
    if flat.ndim == 2:
        return np.ascontiguousarray(flat.T), flat.shape[1], np.ones(len(flat), bool)
    if any(map(is_traced, numbers)):
        raise RefusedError(
            "a number of this circuit's gates is trainable or traced where PennyLane does not look for it, such as a "
            "coefficient inside qml.evolve; use qml.exp(H, -1j * t), or name the interface, as in "
            'qml.QNode(..., interface="jax")'
        )
    given = [np.asarray(v) for v in numbers]
    if any(np.iscomplexobj(v) and np.any(v.imag) for v in given):
        raise RefusedError("the numbers of gates must be real, got complex ones; take qml.math.real of them")
    arrays = [np.real(v).astype(float) for v in given]
    spread = np.array([a.ndim > 0 for a in arrays], bool)
    sizes = {len(a) for a in arrays if a.ndim}
    if any(a.ndim > 1 for a in arrays):
        shape = next(a.shape for a in arrays if a.ndim > 1)
        raise RefusedError(f"a number of a gate has at most one batch axis, got shape {shape}; {NESTED}")
    if len(sizes) > 1:
        raise RefusedError(f"all gates of a broadcast circuit need the same number of values, got {sorted(sizes)}")
    rows = sizes.pop() if sizes else 1
    theta = np.empty((rows, len(arrays)))
    for i, a in enumerate(arrays):
        theta[:, i] = a
    return theta, (rows if spread.any() else None), spread


def _start(prep: StatePrepBase, order: tuple[Any, ...], place: dict[Any, int], is_trained: bool) -> tuple[Any, Any]:
    """What a state preparation adds to the key, and the amplitudes where they are inputs of the model: complex ones as
    real and imaginary parts. Complex by type are those with a derivative, by value all others."""
    if isinstance(prep, ops.BasisState) and np.ndim(prep.data[0]) == 1:
        bits = np.asarray(prep.data[0], int)
        return ("basis", sum(int(b) << place[w] for b, w in zip(bits, prep.wires.labels, strict=True))), None
    by_bit = sorted(order, key=place.__getitem__, reverse=True)  # PennyLane's first wire is the highest bit
    vector = prep.state_vector(wire_order=by_bit)
    vector = vector.toarray().reshape(-1) if issparse(vector) else np.asarray(vector)
    vector = vector.reshape(-1, 1 << len(order)) if vector.ndim > len(order) else vector.reshape(-1)
    options = prep.hyperparameters
    normalizes = bool(options.get("normalize")) or options.get("pad_with") is not None
    if np.iscomplexobj(vector) and (is_trained or np.any(vector.imag)):
        return ("complex", normalizes), np.concatenate([vector.real, vector.imag], axis=-1, dtype=float)
    return ("real", normalizes), np.ascontiguousarray(vector.real, float)


def _no_gate(op: Operator, tape: QuantumScript) -> str:
    place = next((i for i, other in enumerate(tape.operations) if other is op), 0)
    if isinstance(op, ops.MidMeasure):
        return (
            f"operation {place} measures wire {op.wires[0]} in the middle of the circuit, which this device defers to "
            'its end; leave mcm_method out or set it to "deferred", and give the device a spare wire for each of them'
        )
    if isinstance(op, StatePrepBase):
        return f"operation {place}, {op.name}, prepares a state in the middle of the circuit; make it the first one"
    return (
        f"operation {place}, {op.name} on wires {op.wires.tolist()}, has no decomposition into gates of this device; "
        "give it one, or replace it by qml.QubitUnitary of its matrix"
    )
