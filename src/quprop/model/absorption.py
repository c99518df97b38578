"""Circuit -> rotations and channels: the Clifford gates are pushed to the end and into the observables.

With C the product of the Clifford gates so far, a rotation R = exp(-i a P / 2) after C is C exp(-i a T(P) / 2), where
T(P) = C† P C. So one tableau T is kept; a new Clifford gate c turns T into T after (c† . c), that is, stim's
`T.prepend(c^-1)`; each rotation is read through T once, and so is each string of a channel. The work is linear in the
circuit's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import stim

from quprop.collector import paused
from quprop.model.angle import Angle, Variable, quarter_turns
from quprop.model.channels import CHANNELS, PAULI_CHANNEL, Channel
from quprop.model.circuit import Circuit, Operation, XBlock
from quprop.model.gates import GATES, Clifford
from quprop.model.parameterised import Observable, ParameterisedSum
from quprop.model.pauli import PauliString, PauliSum, bits
from quprop.model.x_rotations import Rotation, XRotations

CLIFFORD_TOLERANCE = 1e-12  # a constant angle this close to a multiple of pi/2 counts as one


Factors = tuple[int, ...]  # generators X_q (2q) and Z_q (2q + 1)
Changes = tuple[tuple[int, Factors, int], ...]  # (generator, factors of its image, power of i)


class Images:
    """T of a growing Clifford circuit: the images i^phase X^x Z^z of all X_q (row 2q) and Z_q (row 2q + 1).

    Integers as masks: a rotation is one or two rows, read in a fraction of what a call into a library takes.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.rows = [row for q in range(n) for row in ((1 << q, 0, 0), (0, 1 << q, 0))]
        self.plain = True  # T is the identity

    def of(self, factors: Factors, phase: int = 0) -> tuple[int, int, int]:
        """T(i^phase times the product of these generators)."""
        if len(factors) == 1:
            x, z, turns = self.rows[factors[0]]
            return x, z, phase + turns
        x = z = 0
        for row in factors:
            x_row, z_row, turns = self.rows[row]
            phase += turns + 2 * (z & x_row).bit_count()  # Z^z X^x = (-1)^{|z & x|} X^x Z^z
            x ^= x_row
            z ^= z_row
        return x, z, phase

    def rotated(self, x: int, z: int) -> tuple[int, int, float]:
        """(x', z', sign) of T(P) for the positive Hermitian string with masks x, z."""
        if self.plain:
            return x, z, 1.0
        x_image, z_image, phase = self.of(_factors(x, z), (x & z).bit_count())
        return x_image, z_image, -1.0 if (phase - (x_image & z_image).bit_count()) & 2 else 1.0

    def prepend(self, changes: Changes) -> None:
        """T -> T after the map that sends generator `row` to i^phase times the product of `factors`."""
        images = [(row, self.of(factors, phase)) for row, factors, phase in changes]
        for row, image in images:
            self.rows[row] = image
        self.plain = False

    def turn(self, x: int, z: int, quarters: int) -> None:
        """T -> T after (R† . R) for R = exp(-i quarters (pi/4) P): -i g P, -g or i g P where g anticommutes with P."""
        string = _factors(x, z) if quarters & 1 else ()
        phase = -quarters + ((x & z).bit_count() if quarters & 1 else 0)
        rows = [r for q in range((x | z).bit_length()) for r, mask in ((2 * q, z), (2 * q + 1, x)) if mask >> q & 1]
        self.prepend(tuple((row, (row, *string), phase) for row in rows))

    def tableau(self) -> stim.Tableau:
        if self.plain:
            return stim.Tableau(self.n)
        strings = [stim_string(self.n, *row) for row in self.rows]
        return stim.Tableau.from_conjugated_generators(xs=strings[::2], zs=strings[1::2])


@paused()
def absorb(
    circuit: Circuit, flat: Callable[[Variable], Variable]
) -> tuple[tuple[Rotation, ...] | XRotations, tuple[Channel, ...], stim.Tableau]:
    """All rotations of the circuit, its channels, and the tableau of T(P) = C† P C for its whole Clifford part C.

    flat(variable) gives a variable its place in the flat theta or x. Arrays of rotations stay arrays where no other
    rotation, no channel and no Clifford gate comes before or after them but Clifford gates at the end.
    """
    first, rest = (circuit.steps[0], circuit.steps[1:]) if circuit.steps else (None, [])
    if isinstance(first, XBlock) and not any(isinstance(step, XBlock) for step in rest):
        tail, channels, tableau = _absorbed(circuit.n_qubits, rest, flat)
        if not tail and not channels:
            return first.flattened(flat), (), tableau
    return _absorbed(circuit.n_qubits, circuit.operations, flat)


def _absorbed(
    n: int, operations: Iterable[Any], flat: Callable[[Variable], Variable]
) -> tuple[tuple[Rotation, ...], tuple[Channel, ...], stim.Tableau]:
    images = Images(n)
    rotations: list[Rotation] = []
    channels: list[Channel] = []
    for x, z, angle, other in _steps(operations):
        if other is not None:
            if isinstance(other, Channel):
                channels.append(_moved(other, len(rotations), images, flat))
            else:
                images.prepend(other)
            continue
        if x == 0 and z == 0:
            continue  # a global phase
        if angle.is_constant:
            quarters = quarter_turns(angle.constant, CLIFFORD_TOLERANCE)
            if quarters is not None:
                if quarters:
                    images.turn(x, z, quarters)
                continue
        x, z, sign = images.rotated(x, z)
        rotations.append(Rotation(x, z, angle.relabel(flat, sign)))
    return tuple(rotations), tuple(channels), images.tableau()


def _moved(channel: Channel, place: int, images: Images, flat: Callable[[Variable], Variable]) -> Channel:
    """The channel before the Clifford gates C so far, C† . C: of strings T(P)."""
    strings = [images.rotated(x, z) for x, z in channel.strings]
    return channel._replace(
        place=place,
        strings=tuple((x, z) for x, z, _ in strings),
        sign=1 if channel.kind == "pauli" else channel.sign * int(strings[1][2]),
        strengths=tuple(s.relabel(flat) for s in channel.strengths),
    )


def _channel(operation: Operation) -> Channel:
    """As the circuit has it."""
    name, strengths, target = operation
    if isinstance(target, Channel):  # one of another model's, in a program made of it
        return target
    if name == PAULI_CHANNEL:
        return Channel(0, "pauli", tuple((p.x, p.z) for p in target), 1, strengths)  # type: ignore[union-attr]
    noise = CHANNELS[name]
    if noise.kind == "pauli":
        law = noise.law(*strengths)
        return Channel(0, "pauli", tuple(_masks(text, target) for text in law), 1, tuple(law.values()))
    return Channel(0, "affine", (_masks("X", target), _masks("Z", target)), 1, strengths, name)


def conjugate(tableau: stim.Tableau, n: int, x: int, z: int) -> tuple[int, int, float]:
    """(x', z', sign) of T(P) for the positive Hermitian string with masks x, z."""
    support = x | z
    if support == 0:
        return 0, 0, 1.0
    if support & (support - 1) == 0:  # one qubit: a column of the tableau
        qubit = support.bit_length() - 1
        image = (tableau.z_output if not x else tableau.y_output if z else tableau.x_output)(qubit)
    else:
        image = tableau(stim_string(n, x, z, (x & z).bit_count()))
    xs, zs = image.to_numpy(bit_packed=True)
    sign = 1.0 if image.sign == 1 else -1.0
    return int.from_bytes(xs, "little"), int.from_bytes(zs, "little"), sign


def conjugate_sum(tableau: stim.Tableau, n: int, total: Observable) -> Observable:
    """C† O C, term by term."""
    terms = {}
    if isinstance(total, ParameterisedSum):

        def turned(string: PauliString, angle: Angle) -> tuple[PauliString, Angle]:
            x, z, sign = conjugate(tableau, n, string.x, string.z)
            return PauliString(x, z), sign * angle

        return total.mapped(turned)
    for string, coefficient in total.items():
        x, z, sign = conjugate(tableau, n, string.x, string.z)
        terms[PauliString(x, z)] = sign * coefficient
    return PauliSum(terms)


def _steps(operations: Iterable[Operation]) -> Iterator[tuple[int, int, Angle, Changes | Channel | None]]:
    """A circuit as rotations (x, z, angle, None), Clifford gates c (0, 0, -, what c^-1 does to generators) and channels
    (0, 0, -, channel)."""
    nothing = Angle()
    for operation in operations:
        name, angles, target = operation
        gate = GATES.get(name)
        if gate is not None:
            for step in gate.builder(*angles):
                if isinstance(step, Clifford):
                    yield 0, 0, nothing, changes_of(step.name, step.qubits, target)
                else:
                    x, z = _masks(step.pauli, target)
                    yield x, z, step.angle, None
        elif operation.is_channel:
            yield 0, 0, nothing, _channel(operation)
        elif isinstance(target, PauliString):
            yield target.x, target.z, angles[0], None
        elif isinstance(target, PauliSum):
            for string, coefficient in target.items():
                yield string.x, string.z, coefficient * angles[0], None


@lru_cache(maxsize=1 << 14)
def _masks(pauli: str, qubits: tuple[int, ...]) -> tuple[int, int]:
    """(x, z) of a dense string on the given qubits."""
    x = z = 0
    for letter, qubit in zip(pauli, qubits, strict=True):
        if letter == "X" or letter == "Y":
            x |= 1 << qubit
        if letter == "Z" or letter == "Y":
            z |= 1 << qubit
    return x, z


@lru_cache(maxsize=1 << 14)
def _factors(x: int, z: int) -> Factors:
    """The generators whose product is X^x Z^z, up to a phase i^|x & z| that a Hermitian string has."""
    return (*(2 * q for q in bits(x)), *(2 * q + 1 for q in bits(z)))


@lru_cache(maxsize=1 << 14)
def changes_of(name: str, qubits: tuple[int, ...], target: tuple[int, ...]) -> Changes:
    """The generators that the inverse of a Clifford gate changes, as products of generators."""
    inverse = stim.Tableau.from_named_gate(name).inverse()
    changes = []
    for k, (local, is_z) in enumerate((q, w) for q in range(len(inverse)) for w in (0, 1)):
        image = (inverse.z_output if is_z else inverse.x_output)(local)
        xs, zs = (int.from_bytes(a, "little") for a in image.to_numpy(bit_packed=True))
        phase = (xs & zs).bit_count() + (0 if image.sign == 1 else 2)
        factors = _factors(xs, zs)
        if factors != (k,) or phase:
            rows = tuple(2 * target[qubits[f // 2]] + f % 2 for f in factors)
            changes.append((2 * target[qubits[local]] + is_z, rows, phase))
    return tuple(changes)


def stim_string(n: int, x: int, z: int, phase: int) -> stim.PauliString:
    """i^phase X^x Z^z, Hermitian."""
    size = (n + 7) // 8
    xs, zs = (np.frombuffer(mask.to_bytes(size, "little"), np.uint8) for mask in (x, z))
    sign = -1 if (phase - (x & z).bit_count()) & 2 else 1
    return stim.PauliString.from_numpy(xs=xs, zs=zs, num_qubits=n, sign=sign)
