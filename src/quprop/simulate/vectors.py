"""State vectors by hand, where an engine would start anew: all prefixes of one circuit, Cliffords, single strings.

States are complex (2^n,) arrays, bit q of an index being qubit q, as in `quprop.simulate.state_vector.reference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import stim

from quprop.model import Model
from quprop.model.pauli import PauliString


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


@lru_cache(maxsize=4)
def _index(size: int) -> np.ndarray:
    return np.arange(size)


def apply(pauli: PauliString, state: np.ndarray) -> np.ndarray:
    """P|psi> for the last axis: (P psi)[j] = i^phase (-1)^{|z & (j ^ x)|} psi[j ^ x]."""
    index = _index(state.shape[-1])
    source = index ^ pauli.x if pauli.x else index
    out = state[..., source] if pauli.x else state.copy()
    if pauli.z:
        out *= 1.0 - 2.0 * (np.bitwise_count(source & pauli.z) & 1)
    if pauli.phase:
        out *= 1j**pauli.phase
    return out


def rotate(pauli: PauliString, angle: float, state: np.ndarray) -> np.ndarray:
    """exp(-i angle P / 2)|psi>."""
    turned = apply(pauli, state)
    turned *= -1j * np.sin(angle / 2)
    turned += np.cos(angle / 2) * state
    return turned


def expectation(pauli: PauliString, state: np.ndarray) -> np.ndarray:
    """<psi|P|psi> for each vector along the last axis."""
    return np.einsum("...j,...j->...", state.conj(), apply(pauli, state)).real


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
