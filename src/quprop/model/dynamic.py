"""Circuits that measure in the middle, as unitary circuits: every measurement is deferred to a fresh qubit.

Measuring qubit q copies its value to a fresh qubit by a CX. That qubit is only ever read, as a control or at the end,
so its measurement may wait until then (the principle of deferred measurement, Nielsen and Chuang, section 4.4), and
exact derivatives are those of any other circuit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from quprop.errors import QupropError, count_of, nearest, shown
from quprop.model.angle import INPUT, PARAM
from quprop.model.circuit import Circuit, Operation, XBlock
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum


class MeasureStep(NamedTuple):
    """A qubit is measured into a bit; without a name it is reset."""

    qubit: int
    bit: str | None


class WhenStep(NamedTuple):
    """Gates that are executed if all of {bit: value} hold."""

    condition: dict[str, int]
    body: Circuit


class _Deferred(NamedTuple):
    """A step that was appended as other gates: steps[start], steps[start + 1], ... of its circuit."""

    start: int
    gates: tuple[Operation, ...]
    step: MeasureStep | WhenStep


class DynamicCircuit(Circuit):
    """A circuit with measurements in the middle, gates that depend on measured bits, and resets.

    It is a `Circuit` that grows by one qubit, beyond those it was made with, for every measurement and reset; gates act
    on the first n_system qubits, observables on all. `bits` has the qubit of each measured bit. `program` has the steps
    as a machine executes them that measures in the middle: `to_qiskit` and `to_qasm` write those.

        circuit = DynamicCircuit(3).h(0).cx(0, 1)
        circuit.measure(1, "m").when("m", Circuit(3).x(2)).reset(1)

    n_system, state, params, inputs: as of `Circuit`; amplitudes that are encoded from inputs are refused.
    Raises: QupropError as `Circuit`, and for bits that were not measured or are measured twice.

    >>> theta = qpr.params("theta", 1)
    >>> circuit = qpr.DynamicCircuit(2).ry(theta[0], 0).measure(0, "m").when("m", qpr.Circuit(2).x(1))
    >>> qpr.expectation(qpr.Model(circuit, "Z1"), [0.6]).round(6), circuit.bits  # cos(theta)
    (array([0.825336]), {'m': 2})
    """

    bits: dict[str, int]
    _deferred: list[_Deferred]

    def __init__(self, n_system: int, state: Any = None, *, params: Any = (), inputs: Any = ()) -> None:
        super().__init__(n_system, state, params=params, inputs=inputs)
        if not isinstance(self.state, InputState) or self.state.kind == "encoded":
            raise QupropError(
                "a DynamicCircuit starts from a basis, product or amplitude state, got amplitudes encoded from inputs; "
                "prepare them in a Circuit of all qubits"
            )
        self.n_system = self.n_qubits
        self.bits = {}
        self._deferred = []

    @classmethod
    def of(cls, circuit: Circuit) -> DynamicCircuit:
        """The gates and channels of a circuit, to go on with."""
        twin = cls(circuit.n_qubits, circuit.state)
        twin.vectors, twin.steps = dict(circuit.vectors), list(circuit.steps)
        return twin

    def measure(self, qubit: int, bit: str) -> Self:
        """Measure a qubit in the Z basis, into a bit of a new name."""
        if not isinstance(bit, str) or not bit:
            raise QupropError(f"a measured bit has a name, such as 'm', got {shown(bit)}")
        if bit in self.bits:
            raise QupropError(f"bit {bit!r} holds a measurement already; give this one another name")
        (measured,) = self._qubits([qubit], "measure")
        fresh = self._fresh()
        self._defer(MeasureStep(measured, bit), _copied(measured, fresh))
        self.bits[bit] = fresh
        return self

    def reset(self, qubit: int) -> Self:  # type: ignore[override]
        """Put a qubit into |0>, whatever it was entangled with: it is measured, and flipped if it was 1."""
        (measured,) = self._qubits([qubit], "reset")
        fresh = self._fresh()
        self._defer(MeasureStep(measured, None), _copied(measured, fresh), _copied(fresh, measured))
        return self

    def when(self, condition: str | Mapping[str, int], body: Circuit) -> Self:
        """Append the gates of `body`, executed only if a measured bit is 1, or if all of {bit: value} hold."""
        wanted = {condition: 1} if isinstance(condition, str) else condition
        if not isinstance(wanted, Mapping) or not wanted:
            raise QupropError(f"a condition is a bit's name, or a dictionary {{bit: 0 or 1}}, got {shown(condition)}")
        controls = [self.bit(name) for name in wanted]
        for name, value in wanted.items():
            if isinstance(value, bool) or value not in (0, 1):
                raise QupropError(f"bit {name!r} is compared with 0 or 1, got {shown(value)}")
        if not isinstance(body, Circuit) or isinstance(body, DynamicCircuit):
            raise QupropError(f"the body of a condition is a Circuit of gates, got {type(body).__name__}")
        if body.n_qubits > self.n_system:
            raise QupropError(f"a circuit on {body.n_qubits} qubits does not fit on {self.n_system}")
        controlled = body.control(controls, state=list(wanted.values()))
        for name, (kind, size) in controlled.vectors.items():
            self._declare(kind, name, size)
        self._defer(WhenStep(dict(wanted), body.copy()), *controlled.operations)
        return self

    @property
    def operations(self) -> list[Operation]:
        if any(isinstance(step, XBlock) for step in self.steps):
            sizes = [len(step.subsets) if isinstance(step, XBlock) else 1 for step in self.steps]
            place = np.cumsum([0, *sizes])
            self._deferred = [d._replace(start=int(place[d.start])) for d in self._deferred]
        return super().operations

    @property
    def program(self) -> Iterator[Operation | MeasureStep | WhenStep]:
        """The steps on the first n_system qubits, with measurements where they were asked for."""
        operations, at = self.operations, 0
        for start, gates, step in self._deferred:
            yield from operations[at:start]
            at = start + len(gates)
            if tuple(operations[start:at]) != gates:
                raise QupropError(
                    "the steps of this DynamicCircuit were changed from outside, so that its measurements cannot be "
                    "told from its gates; append to the circuit by its methods only"
                )
            yield step
        yield from operations[at:]

    def bit(self, name: str) -> int:
        """The qubit that holds a measured bit."""
        if name not in self.bits:
            hint = nearest(str(name), self.bits) if self.bits else "measure one first"
            raise QupropError(f"no bit {name!r} was measured in this circuit; {hint}")
        return self.bits[name]

    def check_unmeasured(self, verb: str) -> None:
        """A hook of what would move or turn back the gates, with qubits that only measured bits may have."""
        raise QupropError(
            f"a DynamicCircuit cannot {verb}, since its measured bits have qubits of their own; take the circuits "
            "it is made of"
        )

    @property
    def size_for_gates(self) -> int:
        return self.n_system

    def append(self, other: Circuit) -> Self:
        """Append all gates of `other`, a Circuit on n_system qubits or fewer that starts from |0...0>."""
        if isinstance(other, Circuit) and other.n_qubits > self.n_system:
            raise QupropError(f"a circuit on {other.n_qubits} qubits does not fit on {self.n_system}")
        return super().append(other)

    def with_noise(self, noise: Any) -> Circuit:
        self.check_unmeasured("have a machine's noise put on")
        return self

    def bound(self, theta: Any = None, x: Any = None) -> DynamicCircuit:
        plain, twin, values = super().bound(theta, x), self.copy(), {}
        _ = self.operations  # so that steps are numbered as those of the bound circuit
        for kind, given in ((PARAM, theta), (INPUT, x)):
            flat, start = np.asarray([] if given is None else given, float), 0
            for name, size in self.layout(kind):
                values[name] = flat[start : start + size]
                start += size
        twin.vectors, twin.steps, twin._deferred = {}, plain.steps, []
        for start, gates, step in self._deferred:
            if isinstance(step, WhenStep):
                own = (np.array([v for name, _ in step.body.layout(k) for v in values[name]]) for k in (PARAM, INPUT))
                step = step._replace(body=step.body.bound(*own))
            twin._deferred.append(_Deferred(start, tuple(plain.operations[start : start + len(gates)]), step))
        return twin

    def noiseless(self) -> Self:
        twin = super().noiseless()
        before = np.cumsum([0, *(isinstance(step, Operation) and step.is_channel for step in self.steps)])
        twin._deferred = [d._replace(start=d.start - int(before[d.start])) for d in self._deferred]
        return twin

    def copy(self) -> Self:
        twin = super().copy()
        twin.bits = dict(self.bits)
        twin._deferred = list(self._deferred)
        return twin

    def __repr__(self) -> str:
        extra = count_of(self.n_qubits - self.n_system, "measurement")
        return f"<DynamicCircuit: {count_of(self.n_system, 'qubit')}, {extra}, {count_of(len(self), 'step')}>"

    def _qubit(self, qubit: Any, gate: str) -> int:
        found = super()._qubit(qubit, gate)
        if found >= self.n_system:
            raise QupropError(
                f"{gate} acts on qubit {found}, but this circuit has qubits 0 to {self.n_system - 1}, and behind them "
                "those of measured bits"
            )
        return found

    def _check_support(self, pauli: PauliString | PauliSum, what: str) -> None:
        super()._check_support(pauli, what)
        if pauli.n_qubits > self.n_system:
            raise QupropError(
                f"{what} acts on qubit {pauli.n_qubits - 1}, which holds a measured bit; use 0 to {self.n_system - 1}"
            )

    def _fresh(self) -> int:
        state = self.state
        assert isinstance(state, InputState)
        if state.kind == "product":
            self.state = InputState("product", np.vstack([state.array, [[1.0, 0.0]]]).tobytes())
        elif state.kind == "amplitudes":
            self.state = InputState("amplitudes", np.concatenate([state.array, 0 * state.array]).tobytes())
        self.n_qubits += 1
        return self.n_qubits - 1

    def _defer(self, step: MeasureStep | WhenStep, *gates: Operation) -> None:
        self._deferred.append(_Deferred(len(self.steps), gates, step))
        self.steps.extend(gates)


def _copied(control: int, target: int) -> Operation:
    return Operation("cx", (), (control, target))
