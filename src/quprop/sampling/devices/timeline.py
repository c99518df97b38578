"""The frames of a user's circuit: where on the way through its Clifford gates a Pauli string is small.

With F_s the product of the first s Clifford gates, a rotation about the canonical string P is, anywhere on the way, one
about F_s P F_s†. At the places where the user wrote it, it is the user's own gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import stim

from quprop.collector import paused
from quprop.model import Model
from quprop.model.absorption import CLIFFORD_TOLERANCE, Images, changes_of, stim_string
from quprop.model.angle import Angle, as_angle, quarter_turns
from quprop.model.circuit import Operation, XBlock
from quprop.model.circuit_algebra import inverted
from quprop.model.gates import GATES, Clifford
from quprop.model.noise import two_qubit_gates
from quprop.model.pauli import PauliString, PauliSum, bits

TWO = 1000  # what a two-qubit gate costs, in one-qubit gates: these only decide between ways that are else equal
_KEPT = 64  # beginnings of the circuit
_LOOKED = 2000  # gates from either end of the circuit, among which a place for a new string is looked for


class Spot(NamedTuple):
    """sign times the Hermitian Pauli string of masks x and z: a canonical string in one of the frames."""

    x: int
    z: int
    sign: int


class _Part(NamedTuple):
    """Of a gate: a Clifford gate under stim's name, or exp(-i angle P / 2)."""

    name: str
    qubits: tuple[int, ...]
    string: PauliString
    angle: Angle

    @property
    def quarters(self) -> int | None:
        """Of a rotation that is a Clifford gate; None of others."""
        return quarter_turns(self.angle.constant, CLIFFORD_TOLERANCE) if self.angle.is_constant else None


class Timeline:
    """Positions 0 ... S among the Clifford gates of a circuit on n qubits; position s is right after the first s.

    spent[s] is the cost of the gates up to s, TWO for one of two qubits. native[x, z]: the places where the circuit has
    a rotation that is canonically about the string of these masks, and what it is there.
    """

    def __init__(self, n: int, steps: Iterable[Operation | XBlock] = ()) -> None:
        self.n = n
        self.spent = [0]
        self.native: dict[tuple[int, int], dict[int, Spot]] = {}
        self._gates: list[tuple[Operation, ...]] = []
        self._whole, self._starts = stim.Circuit(), [0]
        self._found: dict[tuple[int, int], dict[int, Spot]] = {}
        self._before: dict[int, stim.Circuit] = {}
        with paused():
            self._read(steps)

    @classmethod
    def of(cls, model: Model | None, n: int) -> Timeline:
        """That of the circuit a model was made from; no gates where it was made from none. It is kept by the model."""
        if model is None or model.steps is None:
            return cls(n if model is None else model.n_qubits)
        found: Timeline | None = model.__dict__.get("_timeline")
        if found is None:
            found = model.__dict__["_timeline"] = cls(model.n_qubits, model.steps)
        return found

    @property
    def end(self) -> int:
        """S."""
        return len(self._gates)

    def between(self, start: int, stop: int) -> Iterator[Operation]:
        """The gates that lead from one position to another."""
        for s in range(start, stop):
            yield from self._gates[s]
        for s in range(start - 1, stop - 1, -1):
            for operation in reversed(self._gates[s]):
                if operation.name == "iswap":  # its square is ZZ
                    yield operation
                    yield from (Operation("z", (), (q,)) for q in operation.target)
                else:
                    yield inverted(operation)

    def at(self, s: int, x: int, z: int) -> Spot:
        """F_s P F_s† of the Hermitian string with these masks."""
        known = self.native.get((x, z), {}).get(s)
        if known is not None or s == 0:
            return known or Spot(x, z, 1)
        if s not in self._before:
            if len(self._before) == _KEPT:
                self._before.clear()
            self._before[s] = self._whole[: self._starts[s]]
        return _spot(stim_string(self.n, x, z, (x & z).bit_count()).after(self._before[s]))

    def anywhere(self, x: int, z: int) -> dict[int, Spot]:
        """The places that are worth a walk for a string that the circuit may not have: those where it has a letter less
        than the gates from any other place would save."""
        if (x, z) not in self._found:
            string, S = stim_string(self.n, x, z, (x & z).bit_count()), self.end
            walked = [(0, string)]
            for s in range(min(S, _LOOKED)):
                walked.append((s + 1, walked[-1][1].after(self._step(s))))
            if S > _LOOKED:
                back = [(S, string.after(self._whole))]
                for s in range(S - 1, max(_LOOKED, S - _LOOKED), -1):
                    back.append((s, back[-1][1].before(self._step(s))))
                walked += back[::-1]
            cost = TWO * np.array([string.weight for _, string in walked])
            spent = np.array([self.spent[s] for s, _ in walked])
            forward = np.minimum.accumulate(cost - spent) + spent
            backward = np.minimum.accumulate((cost + spent)[::-1])[::-1] - spent
            worth = np.flatnonzero(cost <= np.minimum(forward, backward))
            self._found[x, z] = {walked[i][0]: _spot(walked[i][1]) for i in worth.tolist()}
        return self._found[x, z]

    def _step(self, s: int) -> stim.Circuit:
        return self._whole[self._starts[s] : self._starts[s + 1]]

    def _read(self, steps: Iterable[Operation | XBlock]) -> None:
        images = Images(self.n)
        for step in steps:
            for operation in step.operations() if isinstance(step, XBlock) else (step,):
                if operation.is_channel:
                    continue
                parts = list(_parts(operation))
                if isinstance(operation.target, tuple) and all(p.name or p.quarters is not None for p in parts):
                    if any(p.name or p.quarters for p in parts):
                        self._pass((operation,), parts, images)
                    continue
                for part in parts:
                    x, z = part.string.x, part.string.z
                    if not part.name and part.quarters is None:
                        key_x, key_z, sign = images.rotated(x, z)
                        self.native.setdefault((key_x, key_z), {})[self.end] = Spot(x, z, int(sign))
                    elif part.name or part.quarters:
                        # no gate of the table has both rotations and Clifford gates
                        self._pass((Operation("rotation", (part.angle,), part.string),), [part], images)

    def _pass(self, gates: tuple[Operation, ...], parts: Sequence[_Part], images: Images) -> None:
        """One more position."""
        act = stim.Circuit()
        for part in parts:
            if part.name:
                images.prepend(changes_of(part.name, tuple(range(len(part.qubits))), part.qubits))
                act.append(part.name, part.qubits)
            elif part.quarters:
                x, z = part.string.x, part.string.z
                images.turn(x, z, part.quarters)
                _turn(act, part.string, part.quarters)
        self._whole += act
        self._whole.append("TICK")  # so that gates of two positions stay two instructions
        self._starts.append(len(self._whole))
        self._gates.append(gates)
        self.spent.append(self.spent[-1] + sum(TWO * two_qubit_gates(g) or 1 for g in gates))


def _parts(operation: Operation) -> Iterator[_Part]:
    """A gate as Clifford gates and rotations, phases left out."""
    name, angles, target = operation
    if isinstance(target, PauliString):
        target = PauliSum(target)
    if isinstance(target, PauliSum):
        for string, coefficient in target.items():
            if string.weight:
                yield _Part("", (), string, coefficient * angles[0])
        return
    for step in GATES[name].builder(*angles):
        if isinstance(step, Clifford):
            yield _Part(step.name, tuple(target[q] for q in step.qubits), PauliString(0, 0), as_angle(0))
        else:
            letters = list(zip(target, step.pauli, strict=True))
            x = sum(1 << q for q, letter in letters if letter in "XY")
            z = sum(1 << q for q, letter in letters if letter in "YZ")
            yield _Part("", (), PauliString(x, z), step.angle)


def _turn(circuit: stim.Circuit, string: PauliString, quarters: int) -> None:
    """Append exp(-i quarters (pi/4) P)."""
    letters = [(q, string.x >> q & 1, string.z >> q & 1) for q in bits(string.x | string.z)]
    if quarters == 2:
        for q, x, z in letters:
            circuit.append("Y" if x and z else "X" if x else "Z", [q])
        return
    targets = stim.target_combined_paulis([stim.target_pauli(q, "IXZY"[x + 2 * z]) for q, x, z in letters])
    circuit.append("SPP" if quarters == 1 else "SPP_DAG", targets)


def _spot(string: stim.PauliString) -> Spot:
    xs, zs = string.to_numpy(bit_packed=True)
    sign = 1 if string.sign == 1 else -1
    return Spot(int.from_bytes(xs, "little"), int.from_bytes(zs, "little"), sign)
