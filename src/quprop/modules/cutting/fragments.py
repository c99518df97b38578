"""Fragments: the pieces of a cut circuit as quprop models, with one axis of Paulis for every cut end.

A gate exp(-i a P/2), P = P_1 ... P_F shared by F fragments, acts as the channel

    cos^2(a/2) rho + sin^2(a/2) P rho P - (i/2) sin(a) [P, rho].

On one fragment only rho, P_f rho P_f, M = {P_f, rho}/2 and C = -i [P_f, rho]/2 occur (P_f rho is M + iC). All four are
read from one circuit: an ancilla in (|0>+|1>)/sqrt 2 controls P_f, a Clifford that `Model` absorbs, and with O measured
on the fragment <(I+Z) O>, <(I-Z) O>, <X O>, <Y O> with I, X, Y, Z on the ancilla are their expectations. Hence a tensor
T_f[p, ...] = <p_ancilla ... O> with an index p in (I, X, Y, Z) per cut, joined by the coefficients `coupling(F, a)`.

A cut wire is the identity channel, rho = 1/2 sum_p Tr[p rho] p: upstream p is measured on the wire's end, downstream
the wire starts as half of a Bell pair, on whose other half p^T is measured (p/2 appears on the wire; Y^T is -Y).

So every setting of a fragment is an observable of one model: one forward sweep gives all of them, and one backward
sweep the gradient of any combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from quprop.cost import short
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.absorption import conjugate
from quprop.model.angle import Angle, AngleVector
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum
from quprop.modules.cutting.find import WIRE, Layout
from quprop.modules.cutting.steps import Step, listed, local
from quprop.sampling.programs import controlled

MAX_SETTINGS = 1 << 18  # observables of one fragment; beyond, building them takes minutes


@dataclass(frozen=True)
class Cut:
    """A gate (kind "gate") or wire ("wire") that is cut; `angle` and `parts` of a gate; `place` its circuit operation.

    text: the gate or wire in words.
    """

    kind: str
    parts: int
    angle: Angle
    kappa: float
    place: int
    text: str


@dataclass(frozen=True)
class Axis:
    """An end of a cut on a fragment: the local qubit that its Pauli acts on, and which side of the cut this is.

    side: for a gate the number of the fragment among those that share it; for a wire 0 upstream and 1 downstream.
    """

    cut: int
    kind: str
    side: int
    qubit: int


@dataclass(frozen=True)
class Fragment:
    """A part of a cut circuit, to be simulated as a model or run anywhere as a circuit.

    circuit: its gates, with an ancilla for each end of a cut gate and each wire that starts at a cut; parameters and
    inputs are those of the uncut circuit. settings: the Pauli strings that are measured on it, axes major and `locals`
    minor; what they give goes to `CutPlan.combine`. model: the circuit with its settings as observables.

    wires: (wire, piece) of each local qubit that a device would hold; ancillas follow them. locals: the distinct
    factors of the observables' terms on these qubits.
    """

    circuit: Circuit = field(repr=False)
    model: Model = field(repr=False)
    wires: tuple[tuple[int, int], ...]
    axes: tuple[Axis, ...]
    locals: tuple[PauliString, ...] = field(repr=False)

    @property
    def n_qubits(self) -> int:
        """Qubits that a device needs for it (ancillas are the simulator's)."""
        return len(self.wires)

    @property
    def idle(self) -> bool:
        """Whether nothing is measured on it."""
        return not self.axes and not any(p.weight for p in self.locals)

    @cached_property
    def settings(self) -> tuple[PauliString, ...]:
        strings = [PauliString(0, 0)]
        for axis in self.axes:
            bit = 1 << axis.qubit
            strings = [s * PauliString(x, z) for s in strings for x, z in ((0, 0), (bit, 0), (bit, bit), (0, bit))]
        return tuple(s * o for s in strings for o in self.locals)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*(4,) * len(self.axes), len(self.locals))


def coupling(parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, B, C), each (4,)*parts, such that a shared gate joins its fragments by A cos^2(a/2) + B sin^2(a/2) + C sin a.

    For two parts this is II + ZZ + cos a (IZ + ZI) + sin a (XY + YX).
    """

    def outer(row: Sequence[complex]) -> np.ndarray:
        out = np.ones((), complex)
        for _ in range(parts):
            out = np.multiply.outer(out, np.array(row))
        return out

    return outer([1, 0, 0, 1]).real, outer([1, 0, 0, -1]).real, outer([0, 1, 1j, 0]).imag


TRANSPOSE = np.diag([1.0, 1.0, -1.0, 1.0])  # joins the ends of a wire


def build(
    circuit: Circuit, steps: Sequence[Step], layout: Layout, terms: Sequence[PauliString]
) -> tuple[tuple[Cut, ...], tuple[Fragment, ...], np.ndarray]:
    """The cuts, the fragments, and for each the index of every term's factor among its `locals`: (F, J).

    terms: the observables' Pauli strings on wires.
    """
    n, last = circuit.n_qubits, [len(b) for b in layout.breaks]
    held: list[list[tuple[int, int]]] = [[] for _ in range(layout.n_fragments)]
    for w in range(n):
        for i, f in enumerate(layout.home[w]):
            held[f].append((w, i))
    starts = _starts(circuit)
    cuts: list[Cut] = []
    gates = {}
    for t, parts in layout.gate_cuts(steps):
        gates[t] = len(cuts)
        s = steps[t]
        text = f"{s.gate} on qubits {listed(s.wires)}" if s.gate else _shown(s.pauli)
        cuts.append(Cut("gate", parts, s.angle, s.factor(parts), s.place, text))
    ends: dict[tuple[int, int], int] = {}  # (wire, piece) -> the cut that ends it
    for w in range(n):
        for i, t in enumerate(layout.breaks[w]):
            ends[w, i] = len(cuts)
            place = steps[t].place if t < len(steps) else len(circuit.operations)
            cuts.append(Cut("wire", 2, Angle(), WIRE, place, f"wire of qubit {w}"))

    ancillas: list[dict[int, int]] = []
    axes: list[list[Axis]] = []
    unique: list[dict[PauliString, int]] = []
    factors = []
    for f, wires in enumerate(held):
        found: list[Axis] = []
        for t, c in gates.items():
            sharing = list(dict.fromkeys(layout.fragment(w, t) for w in steps[t].wires))
            if f in sharing:
                found.append(Axis(c, "gate", sharing.index(f), len(wires) + len(found)))
        for w, i in wires:
            if i:
                found.append(Axis(ends[w, i - 1], "wire", 1, len(wires) + len(found)))
        ancillas.append({a.cut: a.qubit for a in found})
        found += [Axis(ends[piece], "wire", 0, q) for q, piece in enumerate(wires) if piece in ends]
        axes.append(found)
        places = {w: q for q, (w, i) in enumerate(wires) if i == last[w]}
        unique.append({})
        factors.append([unique[-1].setdefault(_placed(term, places), len(unique[-1])) for term in terms])
        _check_settings(len(found), len(unique[-1]), f, cuts, found)

    fragments = []
    for f, wires in enumerate(held):
        body = _circuit(circuit, steps, layout, f, wires, ancillas[f], ends, starts)
        model = _with_settings(Model(body, "I"), axes[f], list(unique[f]))
        fragments.append(Fragment(body, model, tuple(wires), tuple(axes[f]), tuple(unique[f])))
    return tuple(cuts), tuple(fragments), np.array(factors, dtype=np.intp).reshape(len(held), len(terms))


def _with_settings(model: Model, axes: Sequence[Axis], unique: Sequence[PauliString]) -> Model:
    """The model with every setting as an observable: images under the Clifford part multiply, so few are looked up."""

    def image(x: int, z: int) -> PauliString:
        x, z, sign = conjugate(model.pull, model.n_qubits, x, z)
        return PauliString(x, z) if sign > 0 else -PauliString(x, z)

    strings = [PauliString(0, 0)]
    for axis in axes:
        bit = 1 << axis.qubit
        letters = [image(0, 0), image(bit, 0), image(bit, bit), image(0, bit)]
        strings = [s * letter for s in strings for letter in letters]
    ends = [image(o.x, o.z) for o in unique]
    return model._replace(observables=tuple([PauliSum({s * o: 1.0}) for s in strings for o in ends]))


def _circuit(
    circuit: Circuit,
    steps: Sequence[Step],
    layout: Layout,
    f: int,
    wires: Sequence[tuple[int, int]],
    ancilla: dict[int, int],
    ends: dict[tuple[int, int], int],
    starts: np.ndarray | None,
) -> Circuit:
    inside = {piece: q for q, piece in enumerate(wires)}
    size = len(wires) + len(ancilla)
    vectors = [AngleVector(kind, name, length) for name, (kind, length) in circuit.vectors.items()]
    named = {"params": [v for v in vectors if v.kind == 0], "inputs": [v for v in vectors if v.kind == 1]}
    rows = np.tile([1.0 + 0j, 0.0], (size, 1))
    if starts is None:  # one fragment holds the whole state
        out = Circuit(size, circuit.state, **named)
    else:
        for q, (w, i) in enumerate(wires):
            if i == 0:
                rows[q] = starts[w]
        basis = np.all((rows == 0) | (rows == 1))
        state = "".join(str(int(b.real)) for b in rows[:, 1]) if basis else rows
        out = Circuit(size, state, **named)
    for w, i in wires:
        if i:
            out.h(ancilla[ends[w, i - 1]]).cx(ancilla[ends[w, i - 1]], inside[w, i])
    shared = {t: c for c, (t, _) in enumerate(layout.gate_cuts(steps))}
    for t, step in enumerate(steps):
        mine = [w for w in step.wires if layout.fragment(w, t) == f]
        if not mine:
            continue
        place = {w: inside[w, layout.piece(w, t)] for w in mine}
        if t in shared:
            for rest in local(step):
                if rest.wires[0] in place:
                    out.rotation(_placed(rest.pauli, place), rest.angle)
            a = ancilla[shared[t]]
            out.h(a)
            controlled(out, a, _placed(step.pauli, place))
        elif step.gate:
            out.gate(step.gate, *(place[w] for w in step.wires))
        else:
            out.rotation(_placed(step.pauli, place), step.angle)
    return out


def _placed(string: PauliString, place: dict[int, int]) -> PauliString:
    x = z = 0
    for w, q in place.items():
        x, z = x | (string.x >> w & 1) << q, z | (string.z >> w & 1) << q
    return PauliString(x, z)


def _starts(circuit: Circuit) -> np.ndarray | None:
    """The qubits' states (n, 2), or None for an entangled or encoded state."""
    state = circuit.state
    kind = getattr(state, "kind", None)
    if isinstance(state, AngleVector) or kind in ("amplitudes", "encoded"):
        return None
    if kind == "product":
        return state.array
    bits = [state.index >> q & 1 for q in range(circuit.n_qubits)]
    return np.array([[1 - b, b] for b in bits], complex)


def is_product(circuit: Circuit) -> bool:
    """Whether the starting state can be divided among fragments."""
    return _starts(circuit) is not None


def check_state(circuit: Circuit, layout: Layout) -> None:
    """Amplitudes of many qubits cannot be divided among fragments."""
    if layout.n_fragments > 1 and not is_product(circuit):
        raise QupropError(
            f"a circuit that is cut starts from a basis or product state, but this one starts from amplitudes of all "
            f"{circuit.n_qubits} qubits; prepare them by gates, or encode the data in angles"
        )


def _check_settings(ends: int, factors: int, f: int, cuts: Sequence[Cut], axes: Sequence[Axis]) -> None:
    if 4**ends * max(factors, 1) > MAX_SETTINGS:
        first = cuts[min(axes, key=lambda a: cuts[a.cut].place).cut]
        raise QupropError(
            f"fragment {f} has {ends} cut ends, which makes 4^{ends} x {factors} = {short(4**ends * factors)} settings "
            f"(limit {MAX_SETTINGS:,}), the first cut being {first.text} (operation {first.place}); allow more "
            "qubits per fragment, or take gates out that join the parts"
        )


def _shown(string: PauliString) -> str:
    text = str(string)
    return "rotation about " + (text if len(text) <= 16 else text[:13].rsplit(" ", 1)[0] + " ...")
