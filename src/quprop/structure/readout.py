"""The circuits that read all derivatives of a commuting block from the same shots.

Let H be a Pauli term, G_j the generators of a block, |b> the state after the block and W the rotations that follow. As
all G_j meet every later rotation alike, W† G_j G_k W = G_j G_k for two of the block, and

    dF/da_j = <b| (i/2) [G_j, W† H W] |b> = -Im <b| G_j W† H W |b> = -Im <W G b| D_j H |W b>,   D_j = G_j G,

for one fixed member G of the block. So an ancilla in |+> controls G right after the block, the state becomes
(|0> W|b> + |1> W G|b>)/sqrt(2), and with Y and X on the ancilla

    dF/da_j = <Y D_j H>      where D_j commutes with H,
    dF/da_j = <X (i D_j H)>  where it anticommutes.

It is the Hadamard test for G, which turns out to hold the other derivatives too. All these strings commute: two of one
kind because the D_j and D_k do; D_j H and i D_k H of different kinds anticommute, but so do Y and X. So one circuit
reads a block, where Bowles, Wierichs and Park (arXiv:2306.14962) run one for each kind, 2B - 1 in all. Where
the block commutes with everything that follows, as the last one does, no ancilla is needed: dF/da_j = <i G_j H>.

Rotations that <H> does not depend on are left out. Blocks that differ only there read from one circuit, see
`term_programs`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.commutation import after, bits
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.programs import blank, controlled
from quprop.structure.blocks import Blocks, check_observable, find_blocks


class Read(NamedTuple):
    """factor * <pauli>, measured after a program's circuit, is a derivative with respect to the angle of a rotation."""

    pauli: PauliString  # with a plus sign
    rotation: int  # index into the source model's rotations
    factor: float  # the sign, and the term's coefficient where a function says so


@dataclass(frozen=True, eq=False)
class Program:
    """A circuit, and the mutually commuting Pauli strings to measure after it.

    circuit: on the model's n qubits, and the ancilla as qubit n where there is one. Its parameters are the angles of
        the model, "angle" of size M, one for each rotation of the model (those left out are unused). Otherwise there
        are Clifford gates only.
    reads: what to measure, and which derivative each string is.
    executed: the rotations of the model that the circuit has, in its order: one run costs len(executed) rotations.
    source, term: the model and the Pauli string H whose expectation is differentiated.
    """

    source: Model
    term: PauliString
    circuit: Circuit
    reads: tuple[Read, ...]
    executed: tuple[int, ...]

    @property
    def has_ancilla(self) -> bool:
        return self.circuit.n_qubits > self.source.n_qubits

    @cached_property
    def model(self) -> Model:
        """The program as a model, one observable for each read."""
        return Model(self.circuit, [PauliSum(r.pauli) for r in self.reads])

    def arguments(self, theta: Any, x: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
        """theta and x of the program for those of the source model: the angles (..., M), and its inputs or None.

        Only amplitude encoding leaves the program inputs: the amplitudes, zero where the ancilla is 1.
        theta is (..., n_params) and x (..., n_inputs); their leading axes broadcast.
        """
        model = self.source
        theta = checked("theta", theta, (..., model.n_params))
        x = checked("x", np.zeros(0) if x is None and not model.n_inputs else x, (..., model.n_inputs))
        try:
            lead = np.broadcast_shapes(theta.shape[:-1], x.shape[:-1])
        except ValueError:
            raise QupropError(
                f"the batch axes of theta {theta.shape[:-1]} and x {x.shape[:-1]} must be equal or broadcast"
            ) from None
        rows = [np.broadcast_to(a, (*lead, a.shape[-1])).reshape(math.prod(lead), a.shape[-1]) for a in (theta, x)]
        angles = model.angle_table.evaluate(*rows).reshape(*lead, model.n_rotations)
        if not self.model.n_inputs:
            return angles, None
        columns = model.state.input_slice(model.n_qubits)
        padded = np.zeros((*x.shape[:-1], self.model.n_inputs))
        padded[..., columns] = x[..., columns]
        return angles, padded

    def __str__(self) -> str:
        last = ", the last an ancilla" if self.has_ancilla else ""
        lines = [
            f"Program for the derivatives of <{self.term}>: {count_of(self.circuit.n_qubits, 'qubit')}{last}, "
            f"{count_of(len(self.executed), 'rotation')}"
        ]
        return "\n".join(lines + [f"  d/da[{r.rotation}] = {r.factor:+g} <{r.pauli}>" for r in self.reads])


def readout_programs(model: Model, blocks: Blocks, term: PauliString | str, b: int) -> list[Program]:
    """The program that reads the derivatives of <term> with respect to the angles of block b.

    term: a Hermitian Pauli string as in `model.observables` (after absorption). The list has one program; or none, when
    the block's derivatives vanish for all angles. Rotations of the block that no read names have derivative zero.
    """
    string = _term(model, blocks, term)
    if isinstance(b, bool) or not isinstance(b, int | np.integer) or not 0 <= b < blocks.n_blocks:
        raise QupropError(f"b must be the index of one of the {blocks.n_blocks} blocks, got {b!r}")
    cone = blocks.cone(string)
    members = [j for j in blocks.blocks[b] if cone >> j & 1]
    return [_program(model, blocks, string, 1.0, members, cone)] if members else []


def term_programs(
    model: Model, term: PauliString | str, *, blocks: Blocks | None = None, coefficient: float = 1.0
) -> list[Program]:
    """The fewest programs of this kind that read all derivatives of coefficient * <term>; factors include it.

    Two rotations in the light cone of the term are read together when they anticommute with the same of its later
    rotations. This is coarser than blocks: it asks nothing about earlier rotations, nor about those outside the cone.
    So there is one program at most for each block, and for other models as few as their rotations allow.
    """
    blocks = find_blocks(model) if blocks is None else blocks
    string = _term(model, blocks, term)
    cone = blocks.cone(string)
    together: dict[int, list[int]] = {}
    for j in bits(cone & blocks.trained):
        together.setdefault(after(blocks.rows[j], j) & cone, []).append(j)
    groups = sorted(together.values(), key=lambda members: members[-1])
    return [_program(model, blocks, string, coefficient, members, cone) for members in groups]


def observable_programs(model: Model, observable: int = 0, *, blocks: Blocks | None = None) -> list[Program]:
    """`term_programs` of all terms of one of the model's observables; factors include the terms' coefficients.

    The derivative with respect to the angle a_j of rotation j is the sum of factor * <pauli> over all reads with
    rotation = j, and `model.angle_table.pullback` makes of it that with respect to theta.
    """
    blocks = find_blocks(model) if blocks is None else blocks
    terms = model.observables[check_observable(model, observable)].items()
    return [
        program
        for string, coefficient in terms
        if string.weight
        for program in term_programs(model, string, blocks=blocks, coefficient=coefficient)
    ]


def _program(
    model: Model, blocks: Blocks, term: PauliString, coefficient: float, members: list[int], cone: int
) -> Program:
    """members: trained rotations in the cone that meet everything after them, within the cone, alike."""
    n, strings = model.n_qubits, blocks.strings
    executed = tuple(bits(cone))
    last = members[-1]
    ancilla = 1 if after(blocks.rows[last], last) & cone else 0
    circuit = blank(model, ancilla)
    angle = params("angle", model.n_rotations)
    if ancilla:
        circuit.h(n)
    for m in executed:
        circuit.rotation(strings[m], angle[m])
        if ancilla and m == last:
            controlled(circuit, n, strings[last])
    reads = []
    for j in members:
        if ancilla:
            step = strings[j] * strings[last]
            if step.commutes(term):
                measured = step * term * PauliString(1 << n, 1 << n)
            else:
                measured = _times_i(step * term) * PauliString(1 << n, 0)
        else:
            measured = _times_i(strings[j] * term)
        reads.append(Read(PauliString(measured.x, measured.z), j, coefficient * measured.sign))
    return Program(model, term, circuit, tuple(reads), executed)


def _times_i(pauli: PauliString) -> PauliString:
    return PauliString(pauli.x, pauli.z, pauli.phase + 1)


def _term(model: Model, blocks: Blocks, term: Any) -> PauliString:
    if not isinstance(blocks, Blocks) or blocks.model != model:
        raise QupropError("blocks must be those of this model, got others; call find_blocks(model)")
    string = PauliString.parse(term) if isinstance(term, str) else term
    if not isinstance(string, PauliString) or not string.is_hermitian or string.n_qubits > model.n_qubits:
        raise QupropError(
            f"term must be a Hermitian Pauli string on the model's {model.n_qubits} qubits, such as a key of "
            f"model.observables[0], got {term!r}"
        )
    return string
