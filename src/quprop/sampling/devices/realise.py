"""A program of a gradient method as a circuit for a machine, in about as many gates as the user's own.

Programs are rotations about canonical strings, the Clifford gates of the user's circuit absorbed: after a ladder of
controlled X they act on every qubit. So a machine is given them in the frames of the user's circuit (`timeline.py`): it
goes to where a string is the user's own gate, forth through the user's Clifford gates or back through their inverses.
Any way is exact; that with the fewest two-qubit gates, the bits of an outcome counted with them, is found by dynamic
programming over the places of each string.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.absorption import conjugate
from quprop.model.angle import Angle, Variable, params
from quprop.model.circuit import Circuit, Operation
from quprop.model.commutation import Columns, after
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.devices.basis import Basis, bell_basis, measured_basis
from quprop.sampling.devices.device import DeviceCircuit
from quprop.sampling.devices.timeline import TWO, Spot, Timeline
from quprop.sampling.programs import controlled

_NEAR = 8  # places of one string that are looked at
_NAMED = {(1, 0): "rx", (1, 1): "ry", (0, 1): "rz"}
_PAIRS = {"rx rx": "rxx", "ry ry": "ryy", "rz rz": "rzz", "rz rx": "rzx", "rx rz": "rzx"}


@dataclass(frozen=True, eq=False)
class Realised:
    """A program's circuit on a machine. values = angles[:, columns] are the settings of its parameters; string l has
    the eigenvalue signs[l] (-1)^popcount(outcome & masks[l])."""

    circuit: DeviceCircuit
    columns: np.ndarray  # indices of the program's angles, all parameters of the circuit unless letters follow
    masks: np.ndarray  # (L,) int64, or whole numbers of Python for 64 measured qubits and more
    signs: np.ndarray  # (L,) of ±1.0


def realise(
    program: Model,
    executed: np.ndarray,
    strings: Sequence[PauliString] | None,
    *,
    timeline: Model | None = None,
    copies: int = 1,
    x: np.ndarray | Sequence[float] = (),
) -> Realised:
    """The circuit that prepares the program's state and reads the strings.

    program: its parameters are the angles of its rotations, as in `quprop.sampling.programs`. executed (n_params,):
    which of them turn; the rotations of the others are left out. strings: they commute, and act right after the
    program's canonical rotations; None: X, Y or Z of every qubit at the program's end, which two more parameters a
    qubit choose, `letter_angles`. timeline: the model whose gates the program is made of, on its qubits 0 ... n-1.
    copies: 1, or 2 side by side, qubit q of the second being n_program + q; both have the same angles, and strings act
    on all qubits of both. x: the inputs that encoded amplitudes are read from, as programs read them.

    Raises: QupropError for noise, strings that do not commute, and arguments that do not fit.
    """
    executed = np.asarray(executed, bool)
    _check(program, executed, strings, timeline, copies)
    n = program.n_qubits
    line = Timeline.of(timeline, n)
    items = _items(program, executed, line.n)
    reading: _Reading | _OpenReading
    if strings is None:
        if items is None or copies > 1:
            raise QupropError("letters are left open for one copy of a program that is written gate by gate")
        reading, more = _OpenReading(n), 2 * n
    else:
        frame = conjugate_all(program, strings, copies) if items is not None else list(strings)
        if items is None:
            items = _canonical(program, executed, line.n)
        if copies == 1:
            items, frame = _controlled_once(items, frame, n)
        reading, more = _Reading(frame, line, n, copies), 0
    places = _places([i for i in items if isinstance(i, _Placed)], line, reading)

    one, columns = _walked(items, places, line, n, more)
    size = len(columns) + more
    circuit = Circuit(n * copies, _state(program, copies, x), params=params("angle", size) if size else ())
    for c in range(copies):
        circuit = circuit.compose(one, range(c * n, (c + 1) * n)) if copies > 1 else _joined(circuit, one)
    basis = reading.basis(places[-1])
    circuit.steps += basis.gates
    for q in range(more // 2):
        angle = params("angle", size)
        circuit.rz(angle[len(columns) + 2 * q], q).ry(angle[len(columns) + 2 * q + 1], q)
    rotations = copies * sum(isinstance(i, _Placed) and not i.controlled and not i.angle.is_constant for i in items)

    union = 0
    for mask in basis.masks:
        union |= mask
    circuit.steps[:] = _read_from(circuit.operations, union)
    measured = tuple(PauliString(0, union).qubits) or (0,)
    bit = {q: b for b, q in enumerate(measured)}
    masks = [sum(1 << bit[q] for q in PauliString(0, mask).qubits) for mask in basis.masks]
    return Realised(
        DeviceCircuit(circuit, measured, rotations, copies),
        np.array(columns, np.int64),
        np.array(masks, np.int64 if len(measured) < 64 else object),
        basis.signs,
    )


def _check(
    program: Model, executed: np.ndarray, strings: Sequence[PauliString] | None, timeline: Model | None, copies: int
) -> None:
    if program.channels:
        raise QupropError("a machine has noise of its own, so that circuits for one have no channels; take noiseless()")
    if executed.shape != (program.n_params,):
        raise QupropError(f"executed has one entry for each of {program.n_params} angles, got {executed.shape}")
    if copies not in (1, 2):
        raise QupropError(f"a circuit has one copy of a program or two, got copies={copies!r}")
    if timeline is not None and timeline.n_qubits > program.n_qubits:
        raise QupropError(
            f"timeline is the model of the program, of {program.n_qubits} qubits at most, got one of "
            f"{timeline.n_qubits}"
        )
    if any(not p.is_hermitian or p.n_qubits > copies * program.n_qubits for p in strings or ()):
        raise QupropError(f"strings are Hermitian Pauli strings on {copies * program.n_qubits} qubits, got others")


class _Placed(NamedTuple):
    """A rotation about the Hermitian string P (x) A, P with masks x, z in the user's frames and A on ancillas; or P
    controlled by the ancilla of the mask `controlled`."""

    x: int
    z: int
    beside: PauliString  # A, at its place in the program
    angle: Angle
    controlled: int = 0

    def cost(self, spot: Spot) -> int:
        weight = (spot.x | spot.z).bit_count()
        if self.controlled:
            return TWO * weight
        return 2 * TWO * max(0, weight + self.beside.weight - 1)


_Item = _Placed | Operation


def _items(program: Model, executed: np.ndarray, n: int) -> list[_Item] | None:
    """The program as it is written; None where it is written otherwise than `programs.py` does: Clifford gates on the
    user's qubits, or steps that are not known."""
    if program.steps is None or len(program.param_names) > 1:
        return None
    found: list[_Item] = []
    for step in program.steps:
        if not isinstance(step, Operation):
            return None
        name, angles, target = step
        if step.is_channel:
            continue
        if isinstance(target, PauliString):
            if _runs(angles[0], executed):
                found.append(_placed(target, angles[0], n))
        elif not isinstance(target, tuple) or angles:
            return None
        elif min(target) >= n:
            found.append(step)
        elif name in ("cx", "cy", "cz") and target[0] >= n:
            control, q = target
            x, z = (name != "cz") << q, (name != "cx") << q
            last = found[-1] if found else None
            if isinstance(last, _Placed) and last.controlled == 1 << control and not (last.x | last.z) >> q & 1:
                found[-1] = last._replace(x=last.x | x, z=last.z | z)
            else:
                found.append(_Placed(x, z, PauliString(0, 0), Angle(), 1 << control))
        else:
            return None
    return found


def _canonical(program: Model, executed: np.ndarray, n: int) -> list[_Item]:
    """The program as its canonical rotations."""
    return [_placed(PauliString(r.x, r.z), r.angle, n) for r in program.rotations if _runs(r.angle, executed)]


def _runs(angle: Angle, executed: np.ndarray) -> bool:
    used = {variable[1] for monomial, _ in angle.terms for variable in monomial}
    if len(used) > 1 or angle.degree > 1 or any(v[0] for m, _ in angle.terms for v in m):
        raise QupropError(f"a program's rotations turn by one of its parameters each, got {angle}")
    return all(executed[list(used)])


def _placed(string: PauliString, angle: Angle, n: int) -> _Placed:
    low = (1 << n) - 1
    return _Placed(string.x & low, string.z & low, PauliString(string.x & ~low, string.z & ~low), angle)


def _controlled_once(items: list[_Item], strings: list[PauliString], n: int) -> tuple[list[_Item], list[PauliString]]:
    """A Hadamard test has X_anc (x) P for the rotations after one about Q that anticommute with it. Those are rotations
    about P between two controlled Q, in a basis of the ancilla that a Hadamard turns to; the second of these is taken
    to the strings."""
    turned = [k for k, i in enumerate(items) if isinstance(i, _Placed) and i.beside.weight]
    if not turned or not all(isinstance(i, _Placed) and not i.controlled for i in items):
        return items, strings
    placed = [i for i in items if isinstance(i, _Placed)]
    beside = {i.beside for i in placed if i.beside.weight}
    if len(beside) > 1 or next(iter(beside)).weight > 1 or next(iter(beside)).z:
        return items, strings
    wanted = sum(1 << k for k in turned)
    own = [PauliString(i.x, i.z) for i in placed]
    columns = Columns(own)
    for m in range(turned[0] - 1, -1, -1):
        if after(columns.row(own[m]), m) == wanted:
            break
    else:
        return items, strings
    (ancilla,) = next(iter(beside)).qubits
    plain = [i._replace(beside=PauliString(0, 0)) for i in placed]
    hadamard = Operation("h", (), (ancilla,))
    control = _Placed(own[m].x, own[m].z, PauliString(0, 0), Angle(), 1 << ancilla)
    between = Model(controlled(Circuit(n).h(ancilla), ancilla, own[m]).h(ancilla), [PauliSum("I")])
    return [*plain[: m + 1], hadamard, control, hadamard, *plain[m + 1 :]], conjugate_all(between, strings, 1)


def conjugate_all(program: Model, strings: Sequence[PauliString], copies: int) -> list[PauliString]:
    """The strings at the end of the program, C P C† on each copy."""
    n, out = program.n_qubits, []
    low = (1 << n) - 1
    for p in strings:
        x = z = 0
        sign: float = p.sign
        for c in range(copies):
            own_x, own_z, turned = conjugate(program.clifford, n, p.x >> c * n & low, p.z >> c * n & low)
            x, z, sign = x | own_x << c * n, z | own_z << c * n, sign * turned
        out.append(PauliString(x, z) if sign > 0 else -PauliString(x, z))
    return out


class _Reading:
    """Strings at the end of a program, and how they are read from each position of the timeline."""

    def __init__(self, strings: Sequence[PauliString], line: Timeline, n: int, copies: int) -> None:
        self.strings, self.line, self.n, self.copies = strings, line, n, copies
        self._low = (1 << line.n) - 1
        self._known: dict[int, Basis] = {}

    def basis(self, s: int) -> Basis:
        if s not in self._known:
            here = [self._at(s, p) for p in self.strings]
            found = bell_basis(here, self.n) if self.copies == 2 else None
            self._known[s] = found or measured_basis(here)
        return self._known[s]

    def _at(self, s: int, p: PauliString) -> PauliString:
        x, z, sign = p.x, p.z, p.sign
        for c in range(self.copies):
            shift = c * self.n
            own = (p.x >> shift & self._low, p.z >> shift & self._low)
            if any(own):
                spot = self.line.at(s, *own)
                x ^= (own[0] ^ spot.x) << shift
                z ^= (own[1] ^ spot.z) << shift
                sign *= spot.sign
        return PauliString(x, z) if sign > 0 else -PauliString(x, z)

    def places(self, best: int) -> dict[int, int]:
        """Positions worth a look from the best one before, and what reading there costs: that one, the beginning, the
        end, and where the circuit has a rotation about one of the strings.

        A bit is misread about as often as a two-qubit gate fails, and a string is as many bits as it has letters.
        """
        line = self.line
        found = [best, 0, line.end]
        for p in self.strings[:_NEAR]:
            native = line.native.get((p.x & self._low, p.z & self._low), {})
            found += _nearest(native, line, best, 1)
        costs: dict[int, int] = {}
        least: float = np.inf
        for s in _nearest(set(found), line, best, len(found)):
            way = abs(line.spent[s] - line.spent[best])
            if way < least:
                basis = self.basis(s)
                letters = sum(mask.bit_count() for mask in basis.masks) / max(1, len(basis.masks))
                costs[s] = int(TWO * (basis.twos + letters)) + len(basis.gates) - basis.twos
                least = min(least, way + costs[s])
        return costs


class _OpenReading:
    """Every qubit as it stands where the user's frames begin, after gates that are appended."""

    def __init__(self, n: int) -> None:
        self._basis = Basis([], [1 << q for q in range(n)], np.ones(n), 0)

    def basis(self, s: int) -> Basis:
        return self._basis

    def places(self, best: int) -> dict[int, int]:
        return {0: 0}


def letter_angles(letters: np.ndarray) -> np.ndarray:
    """(S, 2n): what makes Z of the letters (S, n), 0, 1, 2 for X, Y, Z: a turn about Z of 0, -pi/2, 0, then one about Y
    of -pi/2, -pi/2, 0."""
    turns = np.array([[0.0, -np.pi / 2], [-np.pi / 2, -np.pi / 2], [0.0, 0.0]])[letters]
    return turns.reshape(len(letters), -1)


def _nearest(places: Iterable[int], line: Timeline, best: int, count: int) -> list[int]:
    return sorted(places, key=lambda s: (abs(line.spent[s] - line.spent[best]), s))[:count]


def _places(items: Sequence[_Placed], line: Timeline, reading: _Reading | _OpenReading) -> list[int]:
    """The position of each item and, last, of the reading: those of least cost, found by dynamic programming."""
    spent = line.spent
    trail: list[tuple[list[int], list[int]]] = []  # positions of an item, and which position of the one before is best
    positions, costs = [0], [0]
    for item in (*items, None):
        best = positions[int(np.argmin(costs))] if len(costs) > 1 else positions[0]
        if item is None:
            here = reading.places(best)
        elif not item.x | item.z:
            here = dict.fromkeys(positions, 0)
        else:
            here = _costs(item, line, best)
        backs, totals = [], []
        for s, own in here.items():
            ways = [cost + abs(spent[s] - spent[before]) for cost, before in zip(costs, positions, strict=True)]
            least = min(ways)
            backs.append(ways.index(least))
            totals.append(least + own)
        positions, costs = list(here), totals
        trail.append((positions, backs))
    at, out = costs.index(min(costs)), []
    for positions, backs in reversed(trail):
        out.append(positions[at])
        at = backs[at]
    return out[::-1]


def _costs(item: _Placed, line: Timeline, best: int) -> dict[int, int]:
    spots = line.native.get((item.x, item.z), {})
    if not spots or item.controlled:
        spots = {**line.anywhere(item.x, item.z), **spots}
    if len(spots) == 1:
        return {s: item.cost(spot) for s, spot in spots.items()}
    far = {s: item.cost(spot) + abs(line.spent[s] - line.spent[best]) for s, spot in spots.items()}
    return {s: item.cost(spots[s]) for s in sorted(far, key=lambda s: (far[s], s))[:_NEAR]}


def _walked(
    items: Sequence[_Item], places: Sequence[int], line: Timeline, n: int, more: int
) -> tuple[Circuit, list[int]]:
    """The gates of one copy, and the program's angles that are its first parameters; `more` follow."""
    columns: dict[int, int] = {}
    for item in items:
        for monomial, _ in item.angle.terms if isinstance(item, _Placed) else ():
            for variable in monomial:
                columns.setdefault(variable[1], len(columns))

    def name(variable: Variable) -> Variable:
        return (0, columns[variable[1]], "angle", size)

    size = len(columns) + more
    circuit = Circuit(n, params=params("angle", size) if size else ())
    steps, at, following = circuit.steps, 0, iter(places)
    for item in items:
        if isinstance(item, Operation):
            steps.append(item)
            continue
        to = next(following)
        steps += line.between(at, to)
        at = to
        spot = line.at(at, item.x, item.z)
        if item.controlled:
            steps += _controlled(item.controlled.bit_length() - 1, spot)
        else:
            string = PauliString(spot.x | item.beside.x, spot.z | item.beside.z)
            steps.append(turn(string, item.angle.relabel(name, spot.sign)))
    steps += line.between(at, places[-1])
    return circuit, list(columns)


def turn(string: PauliString, angle: Angle) -> Operation:
    """exp(-i angle P / 2) as the gate that has a name, if there is one."""
    if string.weight > 2:
        return Operation("rotation", (angle,), string)
    qubits = string.qubits
    names = [_NAMED[string.x >> q & 1, string.z >> q & 1] for q in qubits]
    if len(names) == 2:
        pair = _PAIRS.get(" ".join(names))
        if pair is None:
            return Operation("rotation", (angle,), string)
        return Operation(pair, (angle,), qubits[::-1] if names == ["rx", "rz"] else qubits)
    return Operation(names[0], (angle,), qubits)


def _read_from(operations: Sequence[Operation], measured: int) -> list[Operation]:
    """Without the Clifford gates that no measured qubit depends on. Rotations stay: they are what runs cost."""
    kept = []
    for operation in reversed(operations):
        target = operation.target
        qubits = target.x | target.z if isinstance(target, PauliString) else sum(1 << q for q in target)
        if qubits & measured:
            measured |= qubits
        elif all(angle.is_constant for angle in operation.angles):
            continue
        kept.append(operation)
    return kept[::-1]


def _controlled(control: int, spot: Spot) -> Iterator[Operation]:
    for q in PauliString(spot.x, spot.z).qubits:
        name = "cz" if not spot.x >> q & 1 else "cy" if spot.z >> q & 1 else "cx"
        yield Operation(name, (), (control, q))
    if spot.sign < 0:
        yield Operation("z", (), (control,))


def _state(program: Model, copies: int, x: np.ndarray | Sequence[float]) -> np.ndarray | int:
    """The input state of all copies."""
    state, n = program.state, program.n_qubits
    if state.kind == "basis":
        return sum(state.index << c * n for c in range(copies))
    if state.kind == "product":
        return np.concatenate([state.array] * copies)
    given = np.asarray(x, float)
    if state.kind == "encoded" and not 0 < len(given) <= program.n_inputs:
        raise QupropError(
            f"the circuit's amplitudes are read from x, which has 1 to {program.n_inputs} entries, got {len(given)}"
        )
    padded = np.zeros((1, program.n_inputs))  # ancillas are the high bits, in |0>: zeros follow the amplitudes
    padded[0, : len(given)] = given[: program.n_inputs]
    one = state.vector(n, padded).reshape(-1)
    return np.kron(one, one) if copies == 2 else one


def _joined(circuit: Circuit, one: Circuit) -> Circuit:
    circuit.steps = one.steps
    return circuit
