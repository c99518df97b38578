"""Threshold checks, or readings, of k copies of the pair state as a circuit that a machine can run.

    1  every copy is prepared: rotations, the controlled term of its observable, rotations undone down to m + 1
    2  its answer to (1 + Y_anc P_m)/2 stands on its ancilla: letters turned to Z, parity by CXs, X for "1 accepts"
    3  the gates of `collective/check_gates.py` on the k ancillas
    4  step 2 is undone: the copies go on in the state that the answer leaves
    5  rotations are undone down to the next component that is asked, and so on from 2

Toffolis of the count are undone by measurements and CZs under their outcomes; with `reverse` by Toffolis, and each
answer has a qubit of its own that is measured at the end: a circuit for machines that measure only there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple

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
    """Collective measurements of k copies of the pair state, and what their bits mean.

    circuit: with measurements in the middle; its parameters are one vector "angle" with an entry for every rotation of
        the model's, copy after copy. values (n_params,): what they are at the point that was asked for.
    reads: the bits that are the answer. Of a check, "below" and "above": is dF/da_m below prediction - threshold, or
        above prediction + threshold? Of a reading, the pointer's bits, lowest first: `reading(outcome)` is y, the
        number of copies that accept up to the pointer's noise. Where several components are asked, "below_7" is that
        of rotation 7, and "pointer_7_0".
    copies: the qubits of each copy, its ancilla last; they end in the state that the answers leave them in, and all
        others in |0>, but those whose bits are reads where nothing is fed forward.
    terms: which term of the observable each copy has. events: what each component is asked about, E = (1 + Y_anc
        P_m)/2. checks: of each of them both sides, (below, above). cost: of one run.
    """

    circuit: DynamicCircuit
    values: np.ndarray
    reads: tuple[str, ...]
    copies: tuple[tuple[int, ...], ...]
    terms: tuple[int, ...]
    events: tuple[Event, ...]
    checks: tuple[tuple[Check, Check], ...]
    noise: float
    cost: Cost
    feeds_forward: bool

    def to(self, form: Literal["qiskit", "qasm3", "json"], *, bound: bool = False) -> Any:
        """As a Qiskit QuantumCircuit with the ParameterVector "angle", as OpenQASM 3 with inputs angle_0, angle_1, ...,
        or as JSON, which has the values too. bound: with `values` in the place of all parameters.

        Returns: QuantumCircuit, or str.
        Raises: QupropError for another form, and where Qiskit is missing.
        """
        if form not in FORMATS:
            raise QupropError(f"a circuit is written as qiskit, qasm3 or json, got {form!r}; {nearest(form, FORMATS)}")
        circuit = self.circuit.bound(self.values) if bound else self.circuit
        if form == "json":
            return self._json(circuit)
        # the outside worlds stand beside this room, and are loaded where somebody asks for them
        if form == "qiskit":
            return import_module("quprop.hybrid.qiskit").to_qiskit(circuit)
        return import_module("quprop.hybrid.qasm").to_qasm(circuit)

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
        device = DeviceCircuit(plain, measured, len(self.values), len(self.copies))
        return Work(device, self.values[None], np.array([whole("shots", shots, 1)], np.int64))

    def reading(self, outcome: int) -> float:
        """y, of the pointer's bits as a number."""
        if self.checks:
            raise QupropError("a check reads no number; it has the bits `below` and `above`")
        return reading_of(self.noise, outcome)

    def _json(self, circuit: DynamicCircuit) -> str:
        head = {
            "format": "quprop-copies",
            "version": 1,
            "qubits": self.circuit.n_system,
            "copies": self.copies,
            "reads": self.reads,
            "angle": self.values.tolist() if circuit.n_params else [],
        }
        lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        steps = ",\n".join("  " + json.dumps(row) for row in _rows(circuit.program))
        return "\n".join(["{", *lines, ' "steps": [', steps, " ]", "}"]) + "\n"


class _Round(NamedTuple):
    """One component: what is asked, by which gates, into which bits, and what these cost."""

    component: int
    event: Event
    gates: GateList
    reads: tuple[str, ...]
    paid: CheckCost


def check_of_copies(
    plan: Plan,
    circuit: PairCircuit,
    point: tuple[Any, Any],
    component: int | Sequence[int],
    copies: int,
    prediction: float | Sequence[float],
    threshold: float,
    noise: float | None,
    kind: str,
    terms: Sequence[int] | None,
    rng: Any,
    reverse: bool,
) -> CopiesCircuit:
    """See `QuantumBackpropPlan.check_circuit`."""
    asked, u, norm, k = _begin(plan, component, copies)
    noise = math.sqrt(k) / 2 if noise is None else noise
    try:
        predictions = np.ravel(np.asarray(prediction, float))
    except (TypeError, ValueError):
        predictions = np.zeros(0)
    if len(predictions) == 1:
        predictions = np.repeat(predictions, len(asked))
    if len(predictions) != len(asked) or not np.all(np.abs(predictions) <= norm):
        raise QupropError(
            f"`prediction` is a derivative between -{norm:.4g} and {norm:.4g}, or one for each of "
            f"{count_of(len(asked), 'component')}, got {shown(prediction)}"
        )
    if not (isinstance(threshold, int | float) and 0 < threshold < math.inf):
        raise QupropError(f"`threshold` is a positive distance from the prediction of dF/da, got {threshold!r}")
    rounds, every = [], []
    for m, d in zip(asked, predictions.tolist(), strict=True):
        event = Event(circuit.read[m])
        checks = two_sided(event, (1 - d / norm) / 2, threshold / (2 * norm), noise, kind)
        names = tuple(side if _alone(component) else f"{side}_{m}" for side in SIDES)
        paid = circuit_cost(k, float(noise) if kind == "gaussian" else None, reverse=reverse)
        rounds.append(_Round(m, event, check_gates(k, *checks, reverse=reverse), names, paid))
        every.append(checks)
    return _built(plan, circuit, point, _draw(u, k, terms, rng), u, rounds, tuple(every), noise, reverse)


def reading_of_copies(
    plan: Plan,
    circuit: PairCircuit,
    point: tuple[Any, Any],
    component: int | Sequence[int],
    copies: int,
    noise: float | None,
    terms: Sequence[int] | None,
    rng: Any,
    reverse: bool,
) -> CopiesCircuit:
    """See `GentlePlan.reading_circuit`."""
    asked, u, _, k = _begin(plan, component, copies)
    noise = math.sqrt(k) if noise is None else noise
    gates, paid = reading_gates(k, noise, reverse=reverse), reading_cost(k, noise, reverse=reverse)
    rounds = []
    for m in asked:
        start = "pointer" if _alone(component) else f"pointer_{m}_"
        names = tuple(f"{start}{i}" for i in range(len(gates.reads)))
        rounds.append(_Round(m, Event(circuit.read[m]), gates, names, paid))
    return _built(plan, circuit, point, _draw(u, k, terms, rng), u, rounds, (), noise, reverse)


def _begin(plan: Any, component: Any, copies: int) -> tuple[list[int], np.ndarray, float, int]:
    """The components, the observable's coefficients, their norm, and the number of copies."""
    if plan.weights.ndim != 1:
        raise QupropError("a circuit is of one sum of observables; compile the plan with one row of weights")
    driven = plan.components.tolist()
    asked = [component] if _alone(component) else list(component)
    if not asked or any(isinstance(m, bool) or m not in driven for m in asked) or asked != sorted(set(asked))[::-1]:
        raise QupropError(
            f"`component` is the number of a rotation that theta drives, one of {shown(driven)}, or several, the last "
            f"rotation first, got {shown(component)}"
        )
    u: np.ndarray = plan.terms.coefficients(plan.weights)
    norm = float(np.abs(u).sum())
    if not norm:
        raise QupropError("weights . <O> = 0 has no copies to ask; compile the plan with weights that are not all zero")
    k, n, M = whole("copies", copies, 1), plan.model.n_qubits, plan.model.n_rotations
    gates = k * (2 * M + len(asked) * (4 * n + 16))
    if gates > MOST_GATES:
        raise QupropError(f"{count_of(k, 'copy')} would take about {gates:.2g} gates, more than {MOST_GATES:,}")
    if plan.model.state.kind not in ("basis", "product"):
        raise QupropError(
            f"copies are prepared from a basis or product state, not from one of kind {plan.model.state.kind!r}; write "
            "its preparation as gates of the circuit"
        )
    return [int(m) for m in asked], u, norm, k


def _alone(component: Any) -> bool:
    return isinstance(component, str) or not isinstance(component, Sequence | np.ndarray)


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
    point: tuple[Any, Any],
    terms: tuple[int, ...],
    u: np.ndarray,
    rounds: list[_Round],
    checks: tuple[tuple[Check, Check], ...],
    noise: float,
    reverse: bool,
) -> CopiesCircuit:
    model, k, width = plan.model, len(terms), circuit.n_qubits
    call = Call(model, *point, None, "double", None, "values")
    if call.shape:
        raise QupropError(f"a circuit is for one point, got theta and x of batch shape {call.shape}")
    a = model.angle_table.evaluate(call.theta.reshape(1, -1), call.x.reshape(1, -1))[0]
    one = np.concatenate([a, -a[rounds[-1].component + 1 :][::-1]])  # of one copy
    places = tuple(tuple(range(c * width, (c + 1) * width)) for c in range(k))
    reads = tuple(name for r in rounds for name in r.reads)
    most = max(r.gates.qubits - len(r.gates.reads) for r in rounds) - k  # ancillas that are clean again
    paid = max(r.paid.qubits for r in rounds) + (len(reads) - len(rounds[0].gates.reads) if reverse else 0)
    beside = most + len(reads if reverse else rounds[0].gates.reads)
    angle = params("angle", k * len(one))
    out = DynamicCircuit(k * width + beside, params=angle)
    blank = Circuit(out.n_system)
    entries = [iter(angle[c * len(one) : (c + 1) * len(one)]) for c in range(k)]
    for c, t in enumerate(terms):
        copy = Circuit(width, params=angle)
        _prepare(copy, model.state, circuit, math.copysign(1.0, u[t]), plan.terms.strings[t], entries[c])
        out.append(blank.compose(copy, places[c]))
    place, ends = model.n_rotations, list[int]()
    for r in rounds:
        assert r.event.pauli is not None
        answer = _answer(r.event.pauli, width)
        for qubits, rest in zip(places, entries, strict=True):
            copy = Circuit(width, params=angle)
            for m in reversed(range(r.component + 1, place)):
                copy.rotation(circuit.undo[m], next(rest))
            out.append(blank.compose(copy.append(answer), qubits))
        place = r.component + 1
        _ask(out, r, [q[-1] for q in places], k * width, k * width + most, ends if reverse else None)
        for qubits in places:
            out.append(blank.compose(answer.inverse(), qubits))
    for name, qubit in zip(reads, ends, strict=False):
        out.measure(qubit, name)
    cost = Cost(
        copies=k,
        rotations=k * len(one) + sum(r.paid.rotations for r in rounds),
        toffolis=sum(r.paid.toffolis for r in rounds),
        measurements=max(2 * len(checks), len(rounds)),
        depth=len(one) + sum(r.paid.depth for r in rounds),
        qubits=k * width + paid,
    )
    events = tuple(r.event for r in rounds)
    return CopiesCircuit(
        out, np.tile(one, k), reads, places, terms, events, checks, float(noise), cost, feeds_forward=not reverse
    )


def _prepare(
    out: Circuit, state: InputState, circuit: PairCircuit, sign: float, term: PauliString, entries: Iterator[Angle]
) -> None:
    """One copy from |0...0>, everything still done: |Phi_M>."""
    n, M = circuit.model.n_qubits, circuit.model.n_rotations
    if state.kind == "basis":
        for q in range(n):
            if state.index >> q & 1:
                out.x(q)
    else:
        for q, (zero, one) in enumerate(state.array):
            out.ry(2 * math.atan2(abs(one), abs(zero)), q).rz(float(np.angle(one) - np.angle(zero)), q)
    out.h(n)
    for m in range(M):
        out.rotation(circuit.undo[m], next(entries))
    controlled(out, n, term)
    if sign < 0:
        out.z(n)


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


def _ask(out: DynamicCircuit, asked: _Round, answers: list[int], clean: int, own: int, ends: list[int] | None) -> None:
    """The listed gates: ancillas that end in |0> from `clean` on, those of reads from `own` on. ends: where nothing is
    fed forward, the qubits that hold reads until the end, to which this adds its own."""
    gates, k, names = asked.gates, len(answers), list(asked.reads)
    ancillas = [q for q in range(k, gates.qubits) if q not in gates.reads]
    where = dict(enumerate(answers)) | {q: clean + i for i, q in enumerate(ancillas)}
    where |= {q: own + len(ends or ()) + i for i, q in enumerate(gates.reads)}
    held: dict[int, str] = {}  # the last bit of a measured qubit
    waiting = list(reversed([gate for gate in gates.gates if gate.name != "barrier"]))
    while waiting:
        name, on, turn, given = waiting.pop()
        qubits = [where[q] for q in on]
        if name != "measure":
            name, turns = _NAMES.get(name, name), [turn] if name == "ry" else []
            if given is None:
                out.gate(name, *turns, *qubits)
            else:
                out.when(held[given], Circuit(out.n_system).gate(name, *turns, *qubits))
            continue
        read = on[0] in gates.reads
        if read and ends is not None:
            ends.append(qubits[0])
            if len(gates.reads) == 1:  # the other side's flag is a qubit that is clean
                where[on[0]] = qubits[0] + 1
            continue
        bit = held[on[0]] = names.pop(0) if read else f"carry{sum(b.startswith('carry') for b in out.bits)}"
        body = Circuit(out.n_system).x(qubits[0])
        while waiting and waiting[-1].given == on[0]:  # all that one outcome asks for under one condition
            more = waiting.pop()
            body.gate(_NAMES.get(more.name, more.name), *(where[q] for q in more.on))
        out.measure(qubits[0], bit).when(bit, body)


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
