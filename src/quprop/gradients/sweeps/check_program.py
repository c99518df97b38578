"""One threshold check, or one reading, of k copies of the pair state as a circuit that a machine can run.

    1  every copy is prepared: rotations, the controlled term of its observable, rotations undone down to m + 1
    2  its answer to (1 + Y_anc P_m)/2 stands on its ancilla: letters turned to Z, parity by CXs, X for "1 accepts"
    3  the gates of `collective/check_gates.py` on the k ancillas
    4  step 2 is undone: the copies go on in the state that the answer leaves

Toffolis of the count are undone by measurements and CZs under their outcomes; with `reverse` by Toffolis, and each
answer has a qubit of its own that is measured at the end: a circuit for machines that measure only there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from quprop.collective.check import Check, two_sided
from quprop.collective.check_circuit import CheckCost, circuit_cost, reading_cost
from quprop.collective.check_gates import GateList, check_gates, reading_gates, reading_of
from quprop.collective.event import Event
from quprop.cost import Cost
from quprop.errors import QupropError, count_of, generator_of, nearest, shown, whole
from quprop.gradients.sweeps.pair_copies import PairCircuit
from quprop.model.angle import Angle, params
from quprop.model.circuit import Circuit, Operation
from quprop.model.dynamic import DynamicCircuit, MeasureStep, WhenStep
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString
from quprop.sampling.devices.device import DeviceCircuit, Work
from quprop.sampling.plan import Plan
from quprop.sampling.programs import controlled
from quprop.simulate import Call

FORMATS = ("qiskit", "qasm3", "json")
SIDES = ("below", "above")
MOST_GATES = 1 << 22
_NAMES = {"cnot": "cx", "toffoli": "ccx"}


@dataclass(frozen=True, eq=False)
class CopiesCircuit:
    """A collective measurement of k copies of the pair state, and what its bits mean.

    circuit: with measurements in the middle; its parameters are one vector "angle" with an entry for every rotation of
        the model's, copy after copy. values (n_params,): what they are at the point that was asked for.
    reads: the bits that are the answer. Of a check, "below" and "above": is dF/da_m below prediction - threshold, or
        above prediction + threshold? Of a reading, the pointer's bits, lowest first: `reading(outcome)` is y, the
        number of copies that accept up to the pointer's noise.
    copies: the qubits of each copy, its ancilla last; they end in the state that the answer leaves them in, and all
        others in |0>, but those whose bits are reads where nothing is fed forward.
    terms: which term of the observable each copy has. checks: both sides, as asked of E = (1 + Y_anc P_m)/2.
    cost: of one run.
    """

    circuit: DynamicCircuit
    values: np.ndarray
    reads: tuple[str, ...]
    copies: tuple[tuple[int, ...], ...]
    terms: tuple[int, ...]
    event: Event
    checks: tuple[Check, ...]
    noise: float
    cost: Cost
    feeds_forward: bool

    def to(self, form: Literal["qiskit", "qasm3", "json"]) -> Any:
        """As a Qiskit QuantumCircuit with the ParameterVector "angle", as OpenQASM 3 with inputs angle_0, angle_1, ...,
        or as JSON, which has the values too.

        Returns: QuantumCircuit, or str.
        Raises: QupropError for another form, and where Qiskit is missing.
        """
        if form not in FORMATS:
            raise QupropError(f"a circuit is written as qiskit, qasm3 or json, got {form!r}; {nearest(form, FORMATS)}")
        if form == "json":
            return self._json()
        # the outside worlds stand above this room, and are loaded where somebody asks for them
        if form == "qiskit":
            return import_module("quprop.hybrid.qiskit").to_qiskit(self.circuit)
        return import_module("quprop.hybrid.qasm").to_qasm(self.circuit)

    def work(self, shots: int) -> Work:
        """What a `Device` runs: the circuit at its values, read at its end; bit b of an outcome is that of reads[b].

        Raises: QupropError for a circuit that feeds forward, which devices do not take.
        """
        if self.feeds_forward:
            raise QupropError("a device runs circuits that are read at their end; make this one with reverse=True")
        plain = Circuit(self.circuit.n_system, params=params("angle", len(self.values)))
        plain.steps = [step for step in self.circuit.program if isinstance(step, Operation)]
        where = {s.bit: s.qubit for s in self.circuit.program if isinstance(s, MeasureStep)}
        measured = tuple(where[bit] for bit in self.reads)
        device = DeviceCircuit(plain, measured, len(self.values))
        return Work(device, self.values[None], np.array([whole("shots", shots, 1)], np.int64))

    def reading(self, outcome: int) -> float:
        """y, of the pointer's bits as a number."""
        if self.checks:
            raise QupropError("a check reads no number; it has the bits `below` and `above`")
        return reading_of(self.noise, outcome)

    def _json(self) -> str:
        head = {
            "format": "quprop-copies",
            "version": 1,
            "qubits": self.circuit.n_system,
            "copies": self.copies,
            "reads": self.reads,
            "angle": self.values.tolist(),
        }
        lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        steps = ",\n".join("  " + json.dumps(row) for row in _rows(self.circuit.program))
        return "\n".join(["{", *lines, ' "steps": [', steps, " ]", "}"]) + "\n"


def check_of_copies(
    plan: Plan,
    circuit: PairCircuit,
    theta: Any,
    x: Any,
    *,
    component: int,
    copies: int,
    prediction: float,
    threshold: float,
    noise: float | None,
    kind: str,
    terms: Sequence[int] | None,
    rng: Any,
    reverse: bool,
) -> CopiesCircuit:
    """See `QuantumBackpropPlan.check_circuit`."""
    u, norm, k = _begin(plan, component, copies)
    noise = math.sqrt(k) / 2 if noise is None else noise
    if not (isinstance(prediction, int | float) and abs(prediction) <= norm):
        raise QupropError(f"`prediction` is a derivative between -{norm:.4g} and {norm:.4g}, got {prediction!r}")
    if not (isinstance(threshold, int | float) and 0 < threshold < math.inf):
        raise QupropError(f"`threshold` is a positive distance from the prediction of dF/da, got {threshold!r}")
    event = Event(circuit.read[component])
    checks = two_sided(event, (1 - prediction / norm) / 2, threshold / (2 * norm), noise, kind)
    gates = check_gates(k, *checks, reverse=reverse)
    paid = circuit_cost(k, float(noise) if kind == "gaussian" else None, reverse=reverse)
    found = _draw(u, k, terms, rng)
    return _built(plan, circuit, theta, x, component, found, u, event, checks, noise, gates, SIDES, paid, reverse)


def reading_of_copies(
    plan: Plan,
    circuit: PairCircuit,
    theta: Any,
    x: Any,
    *,
    component: int,
    copies: int,
    noise: float | None,
    terms: Sequence[int] | None,
    rng: Any,
    reverse: bool,
) -> CopiesCircuit:
    """See `GentlePlan.reading_circuit`."""
    u, _, k = _begin(plan, component, copies)
    noise = math.sqrt(k) if noise is None else noise
    gates, paid = reading_gates(k, noise, reverse=reverse), reading_cost(k, noise, reverse=reverse)
    names = tuple(f"pointer{i}" for i in range(len(gates.reads)))
    event, found = Event(circuit.read[component]), _draw(u, k, terms, rng)
    return _built(plan, circuit, theta, x, component, found, u, event, (), noise, gates, names, paid, reverse)


def _begin(plan: Any, component: int, copies: int) -> tuple[np.ndarray, float, int]:
    """The observable's coefficients, their norm, and the number of copies."""
    if plan.weights.ndim != 1:
        raise QupropError("a circuit is of one sum of observables; compile the plan with one row of weights")
    driven = plan.components.tolist()
    if isinstance(component, bool) or component not in driven:
        raise QupropError(
            f"`component` is the number of a rotation that theta drives, one of {shown(driven)}, got {shown(component)}"
        )
    u: np.ndarray = plan.terms.coefficients(plan.weights)
    norm = float(np.abs(u).sum())
    if not norm:
        raise QupropError("weights . <O> = 0 has no copies to ask; compile the plan with weights that are not all zero")
    k, n, M = whole("copies", copies, 1), plan.model.n_qubits, plan.model.n_rotations
    gates = k * (2 * M + 4 * n + 16)
    if gates > MOST_GATES:
        raise QupropError(f"{count_of(k, 'copy')} would take about {gates:.2g} gates, more than {MOST_GATES:,}")
    if plan.model.state.kind not in ("basis", "product"):
        raise QupropError(
            f"copies are prepared from a basis or product state, not from one of kind {plan.model.state.kind!r}; write "
            "its preparation as gates of the circuit"
        )
    return u, norm, k


def _draw(u: np.ndarray, k: int, terms: Sequence[int] | None, rng: Any) -> tuple[int, ...]:
    """A term for each copy, t with probability |u_t|/norm, unless they are given."""
    used = np.flatnonzero(u)
    if terms is not None:
        found = tuple(terms)
        if len(found) != k or any(isinstance(t, bool) or t not in used for t in found):
            raise QupropError(
                f"`terms` has one of the observable's terms {used.tolist()} for each of {count_of(k, 'copy')}, "
                f"got {list(found)}"
            )
        return tuple(map(int, found))
    if len(used) == 1:
        return (int(used[0]),) * k
    sizes = np.abs(u[used])
    return tuple(map(int, generator_of(rng).choice(used, k, p=sizes / sizes.sum())))


def _built(
    plan: Plan,
    circuit: PairCircuit,
    theta: Any,
    x: Any,
    component: int,
    terms: tuple[int, ...],
    u: np.ndarray,
    event: Event,
    checks: tuple[Check, ...],
    noise: float,
    gates: GateList,
    reads: tuple[str, ...],
    paid: CheckCost,
    reverse: bool,
) -> CopiesCircuit:
    model, k, width = plan.model, len(terms), circuit.n_qubits
    call = Call(model, theta, x, None, "double", None, "values")
    if call.shape:
        raise QupropError(f"a circuit is for one point, got theta and x of batch shape {call.shape}")
    a = model.angle_table.evaluate(call.theta.reshape(1, -1), call.x.reshape(1, -1))[0]
    place = component + 1
    one = np.concatenate([a, -a[place:][::-1]])  # of one copy
    places = tuple(tuple(range(c * width, (c + 1) * width)) for c in range(k))
    spare = len(reads) - len(set(gates.reads)) if reverse else 0  # a flag of its own for each side
    out = DynamicCircuit(k * width + gates.qubits - k + spare, params=params("angle", k * len(one)))
    angle, blank = params("angle", k * len(one)), Circuit(out.n_system)
    for c, t in enumerate(terms):
        copy = _prepared(model.state, circuit, math.copysign(1.0, u[t]), plan.terms.strings[t], place)
        copy = _renamed(copy, angle[c * len(one) : (c + 1) * len(one)], len(angle))
        out.append(blank.compose(copy, places[c]))
    assert event.pauli is not None
    answer = _answer(event.pauli, width)
    for qubits in places:
        out.append(blank.compose(answer, qubits))
    _measure(out, gates, [q[-1] for q in places], k * width, reads, reverse)
    back = answer.inverse()
    for qubits in places:
        out.append(blank.compose(back, qubits))
    if reverse:
        for name, qubit in zip(reads, _ends(gates, k, k * width, len(reads)), strict=True):
            out.measure(qubit, name)
    cost = Cost(
        copies=k,
        rotations=k * len(one) + paid.rotations,
        toffolis=paid.toffolis,
        measurements=max(1, len(checks)),
        depth=len(one) + paid.depth,
        qubits=k * width + paid.qubits + spare,
    )
    return CopiesCircuit(
        out, np.tile(one, k), reads, places, terms, event, checks, float(noise), cost, feeds_forward=not reverse
    )


def _prepared(state: InputState, circuit: PairCircuit, sign: float, term: PauliString, place: int) -> Circuit:
    """One copy at a place, from |0...0>, with angles of its own."""
    n, M = circuit.model.n_qubits, circuit.model.n_rotations
    out, angle = Circuit(n + 1), params("angle", 2 * M - place)
    if state.kind == "basis":
        for q in range(n):
            if state.index >> q & 1:
                out.x(q)
    else:
        for q, (zero, one) in enumerate(state.array):
            out.ry(2 * math.atan2(abs(one), abs(zero)), q).rz(float(np.angle(one) - np.angle(zero)), q)
    out.h(n)
    for m in range(M):
        out.rotation(circuit.undo[m], angle[m])
    controlled(out, n, term)
    if sign < 0:
        out.z(n)
    for i, m in enumerate(reversed(range(place, M))):
        out.rotation(circuit.undo[m], angle[M + i])
    return out


def _renamed(copy: Circuit, angles: Iterable[Angle], size: int) -> Circuit:
    """The copy's circuit, its k-th rotation by the k-th of these angles."""
    twin, following = Circuit(copy.n_qubits, params=params("angle", size)), iter(angles)
    for op in copy.operations:
        twin.steps.append(op._replace(angles=(next(following),)) if isinstance(op.target, PauliString) else op)
    return twin


def _answer(pauli: PauliString, width: int) -> Circuit:
    """1 on the last qubit of a copy if it accepts (1 + P)/2."""
    out, last = Circuit(width), width - 1
    for q in pauli.qubits:
        if pauli.x >> q & 1:
            if pauli.z >> q & 1:
                out.sdg(q)
            out.h(q)
    for q in pauli.qubits:
        if q != last:
            out.cx(q, last)
    return out.x(last) if pauli.sign > 0 else out


def _measure(
    out: DynamicCircuit, gates: GateList, answers: list[int], first: int, reads: tuple[str, ...], reverse: bool
) -> None:
    """The listed gates, their ancillas from `first` on. With `reverse` reads are measured by who calls this."""
    k, names = len(answers), list(reads)
    where = {q: answers[q] if q < k else first + q - k for q in range(gates.qubits)}
    held: dict[int, str] = {}  # the last bit of a measured qubit
    waiting = list(reversed([gate for gate in gates.gates if gate.name != "barrier"]))
    carries = 0
    while waiting:
        name, on, turn, given = waiting.pop()
        qubits = [where[q] for q in on]
        if name != "measure":
            gate = _NAMES.get(name, name), *([turn] if name == "ry" else []), *qubits
            if given is None:
                out.gate(*gate)
            else:
                out.when(held[given], Circuit(out.n_system).gate(*gate))
            continue
        read = on[0] in gates.reads
        if read and reverse:
            names.pop(0)
            if names and len(gates.reads) == 1:  # the other side's flag, a qubit that is clean
                where[on[0]] = first + gates.qubits - k
            continue
        bit = held[on[0]] = names.pop(0) if read else f"carry{carries}"
        carries += not read
        body = Circuit(out.n_system).x(qubits[0])
        while waiting and waiting[-1].given == on[0]:  # all that one outcome asks for under one condition
            more = waiting.pop()
            body.gate(_NAMES.get(more.name, more.name), *(where[q] for q in more.on))
        out.measure(qubits[0], bit).when(bit, body)


def _ends(gates: GateList, k: int, first: int, reads: int) -> list[int]:
    """The qubits of the reads of a circuit that measures at its end."""
    own = [first + q - k for q in gates.reads]
    return own if len(own) == reads else [own[0], first + gates.qubits - k]


def _rows(program: Iterable[Operation | MeasureStep | WhenStep]) -> Iterator[dict[str, Any]]:
    for step in program:
        if isinstance(step, MeasureStep):
            yield {"measure": step.qubit, "bit": step.bit}
        elif isinstance(step, WhenStep):
            yield {"when": step.condition, "do": list(_rows(step.body.operations))}
        elif isinstance(step.target, tuple):
            angles = {"angle": _json_angle(step.angles[0])} if step.angles else {}
            yield {"gate": step.name, **angles, "qubits": step.target}
        else:
            yield {"gate": "rotation", "angle": _json_angle(step.angles[0]), "pauli": str(step.target)}


def _json_angle(angle: Angle) -> Any:
    """A number, or the entry of `angle`."""
    ((monomial, coefficient),) = angle.terms or (((), 0.0),)
    return {"entry": monomial[0][1]} if monomial else coefficient
