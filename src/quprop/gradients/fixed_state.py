"""Where all gradient components are Pauli strings on one fixed state, and which ones.

A string read after rotation m is R P R† after the next rotation: P itself where they commute, +-P, +-iP_k P where the
angle is a multiple of pi/2, and no longer one string otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quprop.model import Model, angle
from quprop.model.commutation import after, anticommutation, bits, generators
from quprop.model.pauli import PauliString
from quprop.sampling.linear import driven
from quprop.sampling.terms import Terms

_TOLERANCE = 1e-9  # an angle this close to a multiple of pi/2 is one


class Summand(NamedTuple):
    """dF/da_target has the summand factor * u_term <pauli>."""

    pauli: PauliString  # with a plus sign
    target: int
    factor: float
    term: int


class Fixed(NamedTuple):
    """A state, and what is read on it.

    term: None for the output state U|phi> itself; t for the pair state of term t (`pair_state.py`) with `place`
    rotations left. reads: their strings act right after the rotations, on the pair state before Cliffords are absorbed.
    """

    term: int | None
    place: int
    reads: tuple[Summand, ...]


def quarter_turns(angles: np.ndarray | None, count: int) -> list[int | None]:
    """Each angle in quarter turns modulo 4, None where it is no multiple of pi/2 (or not known).

    angles (M,), or (..., M): None where they differ, too.
    """
    if angles is None:
        return [None] * count
    found: list[int | None] = []
    for column in angles.reshape(math.prod(angles.shape[:-1]), count).T.tolist():
        turns = {angle.quarter_turns(a, _TOLERANCE) for a in column}
        found.append(turns.pop() if len(turns) == 1 else None)
    return found


def output_state(model: Model, terms: Terms, turns: Sequence[int | None]) -> Fixed | int:
    """All components on U|phi>: dF/da_m = sum_t u_t <i P'_m O_t> over the terms that anticommute with P'_m = W_m P_m
    W_m†. Or the first rotation, as an index, that keeps a component from getting there."""
    reads: list[Summand] = []
    for m, pauli, place in _pushed(model, turns):
        if place < model.n_rotations:
            return place
        for t, term in enumerate(terms.strings):
            if not pauli.commutes(term):
                reads.append(_read(_times_i(pauli * term), m, t))
    return Fixed(None, model.n_rotations, tuple(reads))


def pair_states(model: Model, terms: Terms, turns: Sequence[int | None]) -> list[Fixed]:
    """The fewest places along the undoing of the pair state that give all components, for every term.

    As `pair_state.find_frames`, but members need not commute, and Clifford angles are passed.
    """
    left = sorted(_pushed(model, turns), key=lambda found: -found[0])
    ancilla = PauliString(1 << model.n_qubits, 1 << model.n_qubits)
    out = []
    while left:
        first = left[0][0] + 1
        members = [f for f in left if f[2] >= first]
        left = [f for f in left if f[2] < first]
        place = min(f[2] for f in members)
        strings = {m: p for m, p, _ in _pushed(model, turns, [f[0] for f in members], place)}
        for t in range(len(terms.strings)):
            reads = tuple(_read(-(ancilla * p), m, t) for m, p in strings.items())
            out.append(Fixed(t, place, reads))
    return out


def _pushed(
    model: Model, turns: Sequence[int | None], components: Sequence[int] | None = None, stop: int | None = None
) -> list[tuple[int, PauliString, int]]:
    """(m, the string that P_m has become, the number of rotations before the first it cannot pass, or `stop`)."""
    strings = generators(model)
    end = model.n_rotations if stop is None else stop
    idle = sum(1 << k for k, q in enumerate(turns) if q == 0)  # turns by 0 change nothing
    chosen = driven(model).tolist() if components is None else list(components)
    rows = anticommutation([strings[m] for m in chosen], strings)
    out = []
    for m, row in zip(chosen, rows, strict=True):
        pauli, place = strings[m], m + 1
        while True:
            ahead = after(row & ~idle, place - 1) & ((1 << end) - 1)
            if not ahead:
                place = end
                break
            k = bits(ahead & -ahead)[0]
            if turns[k] is None:
                place = k
                break
            pauli, place = _turned(pauli, strings[k], turns[k] or 0), k + 1
            row = anticommutation([pauli], strings)[0]
        out.append((m, pauli, place))
    return out


def _turned(pauli: PauliString, about: PauliString, quarters: int) -> PauliString:
    """R P R† for anticommuting strings, R a rotation by quarters * pi/2: (cos - i sin P_k) P."""
    if quarters == 2:
        return -pauli
    product = _times_i(about * pauli)
    return -product if quarters == 1 else product


def _times_i(pauli: PauliString) -> PauliString:
    return PauliString(pauli.x, pauli.z, pauli.phase + 1)


def _read(pauli: PauliString, target: int, term: int) -> Summand:
    return Summand(PauliString(pauli.x, pauli.z), target, float(pauli.sign), term)
