"""State vectors by hand, where an engine would start anew: single strings, Cliffords, all prefixes of one circuit.

States are complex arrays (..., 2^n), bit q of the last index being qubit q, as in
`quprop.simulate.state_vector.reference`, which shares no code with this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import stim

from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.model.pauli_algebra import walsh_hadamard as walsh_hadamard


def drawn_states(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The indices at which the cumulative sum of weights, of any norm, passes the shares `uniform` of its end."""
    steps = np.cumsum(weights)
    return np.minimum(np.searchsorted(steps, uniform * steps[-1], side="right"), len(steps) - 1)


def prefix_states(program: Model, angles: np.ndarray, x: np.ndarray) -> Iterator[np.ndarray]:
    """The states of runs that execute a prefix of the program each, rotations beyond it being NaN in angles (R, M).

    Neighbours that agree on the shorter prefix go on from one another, so that runs sorted by length cost one sweep.
    """
    lengths = np.count_nonzero(~np.isnan(angles), axis=1)
    full = angles[int(np.argmax(lengths))] if len(angles) else np.zeros(0)
    turns = program.angle_table.evaluate(np.nan_to_num(full)[None], x)[0]
    start = program.state.vector(program.n_qubits, x).reshape(-1)
    order = np.argsort(lengths, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):  # the caller sorts where memory matters
        kept = dict(zip(order.tolist(), (s.copy() for s in _sweep(program, turns, start, lengths[order])), strict=True))
        yield from (kept[r] for r in range(len(lengths)))
        return
    yield from _sweep(program, turns, start, lengths)


def _sweep(program: Model, turns: np.ndarray, start: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    state, done = start.astype(complex), 0
    for length in lengths:
        for m in range(done, int(length)):
            r = program.rotations[m]
            state = rotate(PauliString(r.x, r.z), float(turns[m]), state)
        done = int(length)
        yield state


_LOW_BITS = 9  # an index is (high, low): high bits move rows of amplitudes, low bits permute within a row

Scratch = tuple[np.ndarray, np.ndarray, np.ndarray]  # two arrays like the states, and one of 2^n floats


@lru_cache(maxsize=1024)
def _order(d: int, x: int) -> np.ndarray:
    return np.arange(d) ^ x


@lru_cache(maxsize=1024)
def _short_signs(d: int, z: int) -> np.ndarray:
    return 1.0 - 2.0 * (np.bitwise_count(np.arange(d) & z) & 1)


def _row(d: int) -> int:
    return min(d, 1 << max(_LOW_BITS, d.bit_length() // 2))


def signs(d: int, z: int, out: np.ndarray | None = None) -> np.ndarray:
    """(-1)^{|z & j|} for j = 0..d-1, float64 (d,)."""
    low = _row(d)
    grid = None if out is None else out.reshape(d // low, low)
    return np.multiply(_short_signs(d // low, z // low)[:, None], _short_signs(low, z % low), grid).reshape(d)


def apply(pauli: PauliString, states: np.ndarray, scratch: Scratch | None = None) -> np.ndarray:
    """P v for every vector (..., 2^n): (P v)[j] = i^phase (-1)^{|z & (j ^ x)|} v[j ^ x].

    A new complex array; or, with `scratch`, its first, made without taking memory.
    """
    if states.dtype.kind != "c":
        states = states.astype(complex)
    d = states.shape[-1]
    low = _row(d)
    rows = states.reshape(-1, d // low, low)
    out, spare, factors = (None, None, None) if scratch is None else scratch
    for axis, size, x, into in ((1, d // low, pauli.x // low, out), (2, low, pauli.x % low, spare)):
        if x:
            rows = rows.take(_order(size, x), axis, None if into is None else into.reshape(rows.shape), mode="clip")
    if out is None:
        out = rows if pauli.x else np.empty_like(rows)
    moved = np.multiply(rows.reshape(-1, d), signs(d, pauli.z, factors), out.reshape(-1, d))
    factor = 1j ** ((pauli.phase + 2 * (pauli.z & pauli.x).bit_count()) & 3)  # |z & (j ^ x)| = |z & j| + |z & x|
    if factor != 1:
        moved *= factor
    return moved.reshape(states.shape)


def rotate(pauli: PauliString, angle: float, states: np.ndarray) -> np.ndarray:
    """exp(-i angle P/2) v = cos(angle/2) v - i sin(angle/2) P v for every vector (..., 2^n), as a new array."""
    turned = apply(pauli, states)
    turned *= -1j * math.sin(angle / 2)
    turned += math.cos(angle / 2) * states
    return turned


def expectation(pauli: PauliString, states: np.ndarray) -> np.ndarray:
    """<v|P|v> for every vector (..., 2^n): real (...). P is Hermitian."""
    if not pauli.x:
        return pauli.sign * ((states.real**2 + states.imag**2) @ signs(states.shape[-1], pauli.z))
    return np.sum((states.conj() * apply(pauli, states)).real, axis=-1)


def clifford_gates(tableau: stim.Tableau) -> list[tuple[str, int, int]]:
    """C as gates (name, qubit, second qubit or -1), in order; worth keeping where C is applied more than once."""
    out: list[tuple[str, int, int]] = []
    if tableau == stim.Tableau(len(tableau)):
        return out
    for instruction in tableau.to_circuit("elimination"):
        targets = [t.value for t in instruction.targets_copy()]
        if instruction.name in ("CX", "CZ", "SWAP"):
            out += [(instruction.name, a, b) for a, b in zip(targets[::2], targets[1::2], strict=True)]
        else:
            out += [(instruction.name, q, -1) for q in targets]
    return out


def apply_gates(gates: Sequence[tuple[str, int, int]], state: np.ndarray) -> np.ndarray:
    """C|psi> up to a global phase."""
    out = np.array(state, complex)
    for name, a, b in gates:
        if b < 0:
            _one(name, a, out)
        else:
            _two(name, a, b, out)
    return out


def apply_clifford(tableau: stim.Tableau, state: np.ndarray) -> np.ndarray:
    """C|psi> up to a global phase."""
    return apply_gates(clifford_gates(tableau), state)


def _one(name: str, q: int, state: np.ndarray) -> None:
    v = state.reshape(-1, 2, 1 << q)
    if name == "H":
        zero = v[:, 0].copy()
        v[:, 0] += v[:, 1]
        np.subtract(zero, v[:, 1], out=v[:, 1])
        v *= np.sqrt(0.5)
    elif name in ("S", "S_DAG", "Z"):
        v[:, 1] *= {"S": 1j, "S_DAG": -1j, "Z": -1}[name]
    elif name in ("X", "Y"):
        v[:] = v[:, ::-1].copy()
        if name == "Y":
            v[:, 0] *= -1  # Y = iXZ, the phase i dropped
    else:  # pragma: no cover - stim's elimination uses H, S, CX and Paulis
        raise NotImplementedError(f"stim wrote a Clifford with the gate {name}")


def _two(name: str, a: int, b: int, state: np.ndarray) -> None:
    low, high = sorted((a, b))
    v = state.reshape(-1, 2, 1 << (high - low - 1), 2, 1 << low)  # axes 1 and 3 are the bits high and low
    if name == "CZ":
        v[:, 1, :, 1] *= -1
    elif name == "SWAP":
        v[:, 0, :, 1], v[:, 1, :, 0] = v[:, 1, :, 0].copy(), v[:, 0, :, 1].copy()
    elif a == high:
        v[:, 1] = v[:, 1, :, ::-1].copy()
    else:
        v[:, :, :, 1] = v[:, ::-1, :, 1].copy()
