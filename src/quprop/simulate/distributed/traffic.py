"""What one state over ranks sends, by the formula of its stretches and without a state.

A rank holds V = 2^(n - p) amplitudes. An exchange of d functionals sends (1 - 2^-d) V, once with psi on the way
forward and once with psi and lambda, in one message, on the way back. A class of observables whose strings lead to
another rank sends V, and so does the way back from the last class.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import stim

from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.angle import as_angle
from quprop.model.circuit import Operation, XBlock
from quprop.model.gates import GATES, Clifford
from quprop.model.parameterised import strings_of
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate.distributed.exchange import message_bytes
from quprop.simulate.distributed.stretches import observed, rank_bits_of, stretches
from quprop.simulate.state_vector.blocks import ROTATION_BYTES

AMPLITUDE = {"double": 16, "single": 8}  # bytes
BUFFERS = 4  # two that are sent and two that are received, by turns
WHOLE = 48  # bytes for each amplitude of an input state that every rank reads


class Traffic(NamedTuple):
    """What each rank sends for values and for a gradient, and what it holds.

    exchanges: of a sweep forward, stretches - 1. swaps: of whole parts of the vector, for observables.
    lower_bound_value, lower_bound_gradient: of as many exchanges that leave 1/ranks of the vector where it is.
    memory: bytes of a rank for a gradient. gate_exchanges: exchanges of the whole local vector if the user's gates are
    done one by one, each that is not diagonal on one of the upper log2(ranks) qubits; None of a model that does not
    know its gates.
    """

    ranks: int
    local_qubits: int
    stretches: int
    exchanges: int
    swaps: int
    bytes_value: int
    bytes_gradient: int
    lower_bound_value: int
    lower_bound_gradient: int
    messages_gradient: int
    memory: int
    gate_exchanges: int | None


def traffic(model: Model, ranks: int, precision: str = "double", chunk: int = 4 << 20) -> Traffic:
    """The traffic of a model over `ranks` ranks, a power of two, in messages of `chunk` bytes at most.

    Raises: QupropError for other numbers, for more ranks than a state of that size is shared by, and for noise.
    """
    p = rank_bits_of(ranks, model.n_qubits)
    if precision not in AMPLITUDE:
        raise QupropError(f"precision is one of {', '.join(AMPLITUDE)}, got {shown(precision)}")
    local = model.n_qubits - p
    part = AMPLITUDE[precision] << local
    found = stretches(model, p)
    new = [len(s.exchange.ranks) for s in found if s.exchange is not None]
    masks = np.array(sorted({s.x for o in model.observables for s in strings_of(o)}), np.uint64)
    classes = set(observed(found, masks, p)[1].tolist()) - {0}
    swaps = len(classes) + 1 if classes else 0
    moved = sum(part - (part >> d) for d in new)
    bound = len(new) * (part - part // ranks)
    sent = sum(_messages(part, d, chunk, states, local) for d in new for states in (1, 2))
    return Traffic(
        ranks=ranks,
        local_qubits=local,
        stretches=len(found),
        exchanges=len(new),
        swaps=swaps,
        bytes_value=moved + swaps * part,
        bytes_gradient=3 * moved + swaps * part,
        lower_bound_value=bound,
        lower_bound_gradient=3 * bound,
        messages_gradient=sent + swaps * -(-part // chunk),
        memory=rank_memory(model, ranks, AMPLITUDE[precision], chunk),
        gate_exchanges=_gate_exchanges(model, p),
    )


def rank_memory(model: Model, ranks: int, amplitude: int, chunk: int, states: int = 2) -> int:
    """Bytes of a rank that holds its part of so many states, of `amplitude` bytes each."""
    part = amplitude << model.n_qubits >> (ranks.bit_length() - 1)
    whole = WHOLE << model.n_qubits if model.state.kind in ("amplitudes", "encoded") else 0
    return states * part + (BUFFERS * chunk if ranks > 1 else 0) + ROTATION_BYTES * model.n_rotations + whole


def _messages(part: int, new: int, chunk: int, states: int, local: int) -> int:
    """Of an exchange of so many functionals in which `states` states travel."""
    each = part >> new
    return ((1 << new) - 1) * (each // message_bytes(each, 1 << new, states, chunk, local))


def _gate_exchanges(model: Model, rank_bits: int) -> int | None:
    if model.steps is None:
        return None
    upper = (1 << model.n_qubits) - (1 << (model.n_qubits - rank_bits))
    return sum(_off_diagonal(step, upper) for step in model.steps)


def _off_diagonal(step: Operation | XBlock, upper: int) -> int:
    """The gates of a step that are not diagonal on some qubit of the mask `upper`."""
    if isinstance(step, XBlock):
        return sum(bool(step.subsets.mask(k) & upper) for k in range(len(step.subsets)))
    if isinstance(step.target, PauliString):
        return int(bool(step.target.x & upper))
    if isinstance(step.target, PauliSum):
        return sum(bool(string.x & upper) for string in strings_of(step.target))
    return int(any(upper >> step.target[k] & 1 for k in _turned(step.name)))


@lru_cache
def _turned(name: str) -> tuple[int, ...]:
    """The qubits of a named gate on which it is not diagonal: where one of its steps does not commute with Z."""
    gate = GATES[name]
    found: set[int] = set()
    for step in gate.builder(*[as_angle(1.0)] * gate.n_angles):
        if isinstance(step, Clifford):
            images = stim.Tableau.from_named_gate(step.name)
            units = [stim.PauliString("_" * k + "Z" + "_" * (len(images) - 1 - k)) for k in range(len(images))]
            found |= {q for k, q in enumerate(step.qubits) if images(units[k]) != units[k]}
        else:
            found |= {q for q, letter in enumerate(step.pauli) if letter in "XY"}
    return tuple(sorted(found))
