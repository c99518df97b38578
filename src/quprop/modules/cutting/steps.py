"""A circuit as the cutter sees it: one-qubit Cliffords, CX, CY, CZ and Pauli rotations on wires, in order.

Cutting works on the circuit as written, before a `Model` moves the Clifford gates to the end: there gates touch few
qubits, while absorbed Pauli strings spread over many. Swaps cost nothing, they only rename wires; an iSWAP is a swap, a
CZ and two S. Each of CX, CY, CZ is local rotations and one about a two-qubit string P by -pi/2:

    CP = exp(-i pi/4 Z_c) exp(-i pi/4 P_t) exp(+i pi/4 Z_c P_t)    up to a phase,

so that every gate that is cut is a Pauli rotation. A conjugation that undoes itself, such as CX RZ CX for a rotation
about ZZ, is contracted first: one cut where there would be two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import stim

from quprop.model import Model
from quprop.model.absorption import conjugate
from quprop.model.angle import INPUT, PARAM, Angle, AngleVector, as_angle, params
from quprop.model.channels import refuse_channels
from quprop.model.circuit import Circuit
from quprop.model.commutation import Columns, bits, generators, light_cone
from quprop.model.gates import GATES, Clifford
from quprop.model.parameterised import refuse_parameters
from quprop.model.pauli import PauliString, PauliSum

QUARTER = math.pi / 2
TARGET = {"CX": "X", "CY": "Y", "CZ": "Z"}
_NAMES = {"S_DAG": "sdg", "SQRT_X": "sx", "SQRT_X_DAG": "sxdg"}


class Step(NamedTuple):
    """gate: a name of `GATES` on `wires`, or "" for exp(-i angle pauli / 2); place: the circuit operation it is of."""

    gate: str
    wires: tuple[int, ...]
    pauli: PauliString
    angle: Angle
    place: int

    @property
    def size(self) -> float:
        """|sin angle|, the largest it can be where it depends on parameters: what cutting this gate costs."""
        return abs(math.sin(self.angle.constant)) if self.angle.is_constant else 1.0

    def factor(self, parts: int) -> float:
        """kappa = 1 + 2^(parts-1) |sin a|: the one-norm of the decomposition when `parts` fragments share the gate.

        For two parts: Mitarai and Fujii, New J. Phys. 23, 023021 (2021), arXiv:1909.07534 and Quantum 5, 388 (2021).
        """
        return 1.0 if parts == 1 else 1.0 + 2.0 ** (parts - 1) * self.size


def unfold(circuit: Circuit) -> tuple[list[Step], list[int]]:
    """The steps, and for each qubit the wire that holds it at the end."""
    refuse_channels(circuit, "cutting")
    where = list(range(circuit.n_qubits))
    steps: list[Step] = []
    for place, (name, angles, target) in enumerate(circuit.operations):
        if isinstance(target, PauliString):
            _turn(steps, _moved(target, where), angles[0], place)
        elif isinstance(target, PauliSum):
            for string, coefficient in target.items():
                _turn(steps, _moved(string, where), coefficient * angles[0], place)
        else:
            for step in GATES[name].builder(*angles):
                if isinstance(step, Clifford):
                    _clifford(steps, step.name, [target[q] for q in step.qubits], where, place)
                else:
                    text = zip(step.pauli, target, strict=True)
                    string = PauliString.parse(" ".join(f"{p}{q}" for p, q in text if p != "I") or "I")
                    _turn(steps, _moved(string, where), step.angle, place)
    return _contract(steps), where


def felt(steps: Sequence[Step], strings: Sequence[PauliString]) -> list[Step]:
    """The steps in the light cone of observables on the wires: all others cancel with their inverses. A rotation is in
    it if it anticommutes with what it meets, a Clifford gate if it shares a wire."""
    meets = _cones(steps, strings)
    cone, kept = 0, []
    for string in strings:
        cone |= string.x | string.z
    for t, step in reversed(list(enumerate(steps))):
        mask = sum(1 << w for w in step.wires)
        if mask & cone and (step.gate or t in meets):
            cone |= mask
            kept.append(step)
    return kept[::-1]


def _cones(steps: Sequence[Step], strings: Sequence[PauliString]) -> set[int]:
    """The rotations among the steps that some string depends on, in the canonical list."""
    turned = [t for t, step in enumerate(steps) if not step.gate]
    n = 1 + max((w for step in steps for w in step.wires), default=0)
    n = max(n, *(p.qubits[-1] + 1 for p in strings if p.qubits), 1)
    angle = iter(vector := params("angle", len(turned)))
    circuit = Circuit(n, params=vector)
    for step in steps:
        if step.gate:
            circuit.gate(step.gate, *step.wires)
        else:
            circuit.rotation(step.pauli, next(angle))
    model = Model(circuit, list(strings))
    rotations = generators(model)
    columns = Columns(rotations)
    cone = 0
    for observable in model.observables:
        for p, _ in observable.items():
            cone |= light_cone(lambda m: columns.row(rotations[m]), columns.row(p))
    return {turned[m] for m in bits(cone)}


def listed(wires: tuple[int, ...]) -> str:
    """The qubits in words, the first few of many."""
    return " ".join(map(str, wires[:6])) + (f" ... ({len(wires)} in all)" if len(wires) > 6 else "")


def wire_of(circuit: Circuit, qubit: int, place: int) -> int:
    """The wire that holds a qubit just before an operation."""
    where = list(range(circuit.n_qubits))
    for name, _, target in circuit.operations[:place]:
        if name in ("swap", "iswap") and isinstance(target, tuple):
            a, b = target
            where[a], where[b] = where[b], where[a]
    return where[qubit]


def circuit_of(model: Model) -> Circuit:
    """The model's list of rotations as a circuit, for a model that is cut as it is (its observables go with it)."""
    refuse_channels(model, "cutting")
    refuse_parameters(model, "cutting")
    state = None if model.state.kind == "encoded" else model.state
    vectors = [
        [AngleVector(kind, name, size) for name, size in zip(names, sizes, strict=True)]
        for kind, names, sizes in (
            (PARAM, model.param_names, model.param_sizes),
            (INPUT, model.input_names, model.input_sizes),
        )
    ]
    named = [[(kind, i, v.name, v.size) for v in row for i in range(v.size)] for kind, row in enumerate(vectors)]
    circuit = Circuit(model.n_qubits, state, params=vectors[0], inputs=vectors[1])
    if model.state.kind == "encoded":
        kind, start, name, size = named[INPUT][int(model.state.data)]
        circuit.state = AngleVector(kind, name, size, range(start, start + (1 << model.n_qubits)))
    for r in model.rotations:
        circuit.rotation(PauliString(r.x, r.z), r.angle.relabel(lambda v: named[v[0]][v[1]]))
    return circuit


def local(step: Step) -> tuple[Step, ...]:
    """The one-qubit rotations that stay behind when a CX, CY or CZ is cut; nothing for a rotation."""
    if not step.gate:
        return ()
    control, target = step.wires
    letter = TARGET[step.gate.upper()]
    return tuple(
        step._replace(gate="", wires=(w,), pauli=PauliString.parse(f"{p}{w}"), angle=as_angle(QUARTER))
        for w, p in ((control, "Z"), (target, letter))
    )


def _moved(string: PauliString, where: list[int]) -> PauliString:
    x = z = 0
    for q in string.qubits:
        x |= (string.x >> q & 1) << where[q]
        z |= (string.z >> q & 1) << where[q]
    return PauliString(x, z)


def _turn(steps: list[Step], string: PauliString, angle: Angle, place: int) -> None:
    if not string.weight:
        return  # a global phase
    if angle.is_constant:
        turns = angle.constant / math.pi
        if abs(turns - round(turns)) < 1e-13:
            for q in string.qubits if round(turns) % 2 else ():  # the string itself: a product, nothing to cut
                name = "z" if not string.x >> q & 1 else "y" if string.z >> q & 1 else "x"
                steps.append(Step(name, (q,), PauliString(0, 0), Angle(), place))
            return
    steps.append(Step("", string.qubits, string, angle, place))


def _clifford(steps: list[Step], name: str, qubits: list[int], where: list[int], place: int) -> None:
    wires = tuple(where[q] for q in qubits)
    wires = tuple(sorted(wires)) if name == "CZ" else wires
    if name in ("SWAP", "ISWAP"):
        a, b = qubits
        where[a], where[b] = where[b], where[a]
        if name == "ISWAP":
            _clifford(steps, "CZ", qubits, where, place)
            for q in qubits:
                _clifford(steps, "S", [q], where, place)
    elif len(wires) == 2:
        c, t = wires
        string = PauliString.parse(f"Z{c} {TARGET[name]}{t}")
        steps.append(Step(name.lower(), wires, string, as_angle(-QUARTER), place))
    else:
        steps.append(Step(_NAMES.get(name, name.lower()), wires, PauliString(0, 0), Angle(), place))


def _contract(steps: list[Step]) -> list[Step]:
    """C R ... R C -> R' ... R', R' = C R C, for a CX, CY or CZ with nothing but rotations R between on its wires.

    Done where one rotation at most grows by it, so that cuts never become more; ladders contract from the inside out.
    """
    out: list[Step | None] = []
    on: dict[int, list[int]] = {}  # wire -> places in `out` of the steps on it

    def since_gate(wire: int) -> tuple[int, list[int]]:
        """The last gate on the wire (-1: none), and the rotations after it."""
        rotations: list[int] = []
        for k in reversed(on.get(wire, [])):
            step = out[k]
            assert step is not None
            if step.gate:
                return k, rotations
            rotations.append(k)
        return -1, rotations

    for step in steps:
        if step.gate.upper() in TARGET:
            (first, mine), (other, theirs) = (since_gate(w) for w in step.wires)
            opening = out[first] if first == other >= 0 else None
            if opening is not None and (opening.gate, opening.wires) == (step.gate, step.wires):
                between = {k: r for k in sorted({*mine, *theirs}) if (r := out[k]) is not None}
                turned = {k: _through(step, r) for k, r in between.items()}
                if sum(len(r.wires) > len(between[k].wires) for k, r in turned.items()) <= 1:
                    out[first] = None
                    for k, r in turned.items():
                        out[k] = r
                    for w in step.wires:
                        on[w] = [k for k in on[w] if k < first] + [k for k, r in turned.items() if w in r.wires]
                    continue
        for w in step.wires:
            on.setdefault(w, []).append(len(out))
        out.append(step)
    return [step for step in out if step is not None]


def _through(clifford: Step, step: Step) -> Step:
    size = max(max(clifford.wires), max(step.wires)) + 1
    tableau = stim.Tableau(size)
    tableau.prepend(stim.Tableau.from_named_gate(clifford.gate.upper()), clifford.wires)
    x, z, sign = conjugate(tableau, size, step.pauli.x, step.pauli.z)
    string = PauliString(x, z)
    return step._replace(pauli=string, wires=string.qubits, angle=sign * step.angle)
