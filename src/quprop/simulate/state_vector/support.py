"""The planner of small supports: which basis states a circuit can reach at all, and what its rotations do to them.

Rotations of one x mask that commute and are turned by one driver u (angle_k = c_k u) act as one, G = sum_k c_k P_k:
on the pair of basis states j, j' = j xor x it is

    G|j> = i^kappa f(j)|j'>,   f(j) = sum_k +-c_k (-1)^{|z_k & j|},
    exp(-i u G / 2) = cos(u f / 2) - i sin(u f / 2) G / f,

kappa = |x & z_k| mod 2 (commuting rotations of one x share it). Where f = 0 nothing moves: a fermionic excitation of
8 rotations moves one pair in eight. So the *support*, the states with an amplitude that is not identically zero,
often stays small; an excitation ansatz on a Hartree-Fock state stays in its sector of particle number and spin.

Why the rest of the space may be forgotten, lambda = O psi included: let S_g be the support of psi after group g, S_0
within S_1 within S_2 ... Group g maps span(S_g) to itself, since f(j) = +-f(j') and so both or none of a moving pair
belong to S_g; being unitary it also maps its complement to itself. The derivative of group g is
Im<lambda_g|G_g|psi_g> with G_g psi_g in span(S_g): it reads lambda_g on S_g only, and lambda_{g-1} on S_{g-1}, within
S_g, follows from lambda_g on S_g alone. By induction from the last group, lambda is needed on the last support only,
and there O psi needs O's entries between states of the support; even pairs that lie outside S_g, though inside a
later support, are left alone by step g. A diagonal group with one f on all of S_g multiplies psi by a phase, and its
derivative f Im<psi|O|psi> is zero: it is dropped.

Real arithmetic: kappa = 1 rotates by a real matrix. If moving pairs with kappa = 0 always join the two halves of some
bipartition of the support, the phase -i on one half makes them real too. If then the start is real and no diagonal
group is left, psi is real whatever the angles; the antisymmetric imaginary part iA of O has psi^T A psi = 0
identically in the angles, gradient included, and is dropped.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop.collector import paused
from quprop.model.angle_table import Drivers
from quprop.simulate.state_vector import blocks

MAX_QUBITS = 62  # basis states are int64 here
MAX_STATES = 1 << 20
MAX_BYTES = 256 << 20  # of a plan; positions are 32-bit anyway
LOOK_AHEAD = 64  # rotations among which those of a group are looked for
TABLE_QUBITS = 26  # up to here positions are looked up in a table of 2^n entries, of which few pages are touched
BITS = 44  # multipliers f are told apart to 2^-44 of their largest possible value: they are rounded sums
TINY = 2.0 ** (BITS - 1022)  # coefficients whose multipliers may be no ordinary doubles
LONG_ANGLE = 1024.0  # radians up to which f times a driver is as good as the sum of the group's angles, each rounded

# Nanoseconds of a gradient, measured at double precision with AVX-512, 4 to 20 qubits, supports of 2^n / 4 and less,
# batches too. Blocks take 0.15 (excitations) to 0.8 a rotation and amplitude on one core; from 16 qubits on their
# threads help them.
STEP_NS, PAIR_NS, ENTRY_NS = 20.0, 2.0, 0.6
LARGE_PLAN, LARGE_FACTOR = 16 << 20, 1.5  # a plan that comes from beyond the caches
CALL_NS, ROTATION_NS, AMPLITUDE_NS = 3000.0, 60.0, (0.4, 0.25)  # of the block engine: below 16 qubits, and from there


class Positions:
    """Where a basis state stands in the support."""

    def __init__(self, n_qubits: int, states: np.ndarray) -> None:
        self.states = states
        self.table = np.zeros(1 << n_qubits, np.int32) if n_qubits <= TABLE_QUBITS else None
        if self.table is not None:
            self.table[states] = np.arange(1, len(states) + 1)
        else:
            self.order = np.argsort(states)
            self.sorted = states[self.order]

    def find(self, states: np.ndarray) -> np.ndarray:
        """Positions, -1 for a state that is not there."""
        if self.table is not None:
            return self.table[states] - 1
        at = np.minimum(np.searchsorted(self.sorted, states), len(self.sorted) - 1)
        return np.where(self.sorted[at] == states, self.order[at], -1)


def _start(model: Any, limit: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The basis states of the input state and their amplitudes, if they are few and known."""
    state = model.state
    if state.kind == "basis":
        return np.array([state.index]), np.ones(1, complex)
    if state.kind == "product":
        index, amplitude = np.zeros(1, np.int64), np.ones(1, complex)
        for q, row in enumerate(state.array):
            index = np.concatenate([index + (int(b) << q) for b in np.flatnonzero(row)])
            amplitude = np.concatenate([amplitude * row[b] for b in np.flatnonzero(row)])
            if len(index) > limit:
                return None
        return index, amplitude
    if state.kind == "amplitudes":
        index = np.flatnonzero(state.array)
        return (index, state.array[index]) if len(index) <= limit else None
    return None


def _signs(z: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(-1)^{|z & j|}, (len(z), len(states))."""
    return 1.0 - 2.0 * (np.bitwise_count(z[:, None] & states) & 1)


def _phases(x: int | np.ndarray, z: np.ndarray) -> np.ndarray:
    """i^{|x & z|} without its i^kappa: +1 or -1."""
    return 1.0 - (np.bitwise_count(x & z) & 2)


@paused()
def plan(model: Any, force: bool = False, blocks_take: tuple[float, int] | None = None) -> dict[str, Any] | None:
    """The plan of a model for native/state_vector/support.hpp, or None if its support is not small or does not pay.

    `force` asks for one whatever it costs, as far as it fits. blocks_take: the rotations and qubits that the block
    engine would have (by default those of the model).
    """
    n = model.n_qubits
    if n > MAX_QUBITS or model.state.kind == "encoded":
        return None
    limit = min(1 << n if force else 1 << max(n - 2, 0), MAX_STATES)
    start = _start(model, limit)
    if start is None:
        return None
    drivers = model.drivers
    x_masks, z_masks = np.array(model.x_masks, np.int64), np.array(model.z_masks, np.int64)
    masks = x_masks.astype(np.uint64), z_masks.astype(np.uint64)
    # A rotation that is alone in its group moves every pair: the states reached are at least a coset of these x.
    if 1 << blocks.planner.rank_alone(masks[0], drivers.driver) > limit:
        return None
    group_ptr, members = blocks.planner.groups(*masks, drivers.driver, LOOK_AHEAD)
    budget = math.inf if force else blocks_ns(*(blocks_take or (model.n_rotations, n)))
    room = int(min(MAX_BYTES / 8, budget / PAIR_NS))  # pairs or so
    # What such groups move is counted before anything is walked. Coefficients below TINY may move nothing.
    least = blocks.planner.least_moves(*masks, drivers.coefficient, TINY, group_ptr, members)
    if least > room or support_ns(0, least, 0) > budget:
        return None
    table_bits = n if n <= TABLE_QUBITS else 0
    walk = blocks.planner.Walk(start[0], not np.any(start[1].imag), limit, room, table_bits, BITS)
    signed = drivers.coefficient * _phases(x_masks, z_masks)
    if not walk.groups(group_ptr, members, drivers.driver, *masks, signed):
        return None
    longest = _longest_of(drivers, group_ptr, members)
    return _written(model, walk, start, longest, budget)


def _written(
    model: Any, walk: Any, start: tuple[np.ndarray, np.ndarray], longest: float, budget: float
) -> dict[str, Any] | None:
    """The arrays for the kernels, if they take less time than `budget`, in ns."""
    states = walk.states
    turned = walk.turned.astype(bool) if walk.real else None
    observables = _observables(model, Positions(model.n_qubits, states), turned, walk.room)
    if observables is None:
        return None
    # Positions by ascending basis state: neighbours in number are neighbours in memory.
    order = np.argsort(states)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    steps = walk.steps(rank)
    pairs = steps.pop("pair").reshape(-1, 2)
    entries = sum(len(rows) for rows, _, _ in observables)
    if support_ns(len(steps["step_f"]), len(pairs), entries) > budget:
        return None
    initial = np.zeros(len(order), complex)
    initial[rank[: len(start[0])]] = start[1]
    if walk.real:
        initial = initial.real
    return {
        "n_states": len(order),
        "real": walk.real,
        "longest": longest,
        "start": _numbers(initial),
        "n_params": model.n_params,
        "n_inputs": model.n_inputs,
        **{k: getattr(model.drivers, k) for k in ("mono_ptr", "mono", "var_ptr", "var")},
        **steps,
        "pair": pairs,
        **_rows(observables, rank),
    }


def _longest_of(drivers: Drivers, group_ptr: np.ndarray, members: np.ndarray) -> float:
    """The shortest of `_longest` of all groups of more than one rotation."""
    norm = np.add.reduceat(np.abs(drivers.coefficient[members]), group_ptr[:-1]) if len(members) else np.empty(0)
    summed = (np.diff(group_ptr) > 1) & (2.0**-BITS * norm > 0)
    largest = np.zeros(len(drivers.mono_ptr) - 1)
    np.maximum.at(largest, drivers.driver[members[group_ptr[:-1][summed]]], norm[summed])
    used = np.flatnonzero(largest).tolist()
    return min((_longest(drivers, which, float(largest[which])) for which in used), default=math.inf)


def _longest(drivers: Drivers, which: int, norm: float) -> float:
    """Up to this size of theta's and x's entries the angles of a group, together, are no longer than LONG_ANGLE."""
    own = range(drivers.mono_ptr[which], drivers.mono_ptr[which + 1])
    size = math.inf
    for m in own:
        degree = int(drivers.var_ptr[m + 1] - drivers.var_ptr[m])
        largest = LONG_ANGLE / (norm * len(own)) / abs(float(drivers.mono[m]))
        size = min(size, largest ** (1 / degree) if degree else math.inf if largest >= 1 else 0.0)
    return size


def _observables(model: Any, at: Positions, turned: np.ndarray | None, room: int) -> list[Any] | None:
    """Every observable as (rows, columns, entries) between states of the support.

    With `turned` given the entries are real: those of D O D*, D = (-i)^turned inverted, without their imaginary part.
    """
    result = []
    for observable in model.observables:
        strings: dict[int, list[tuple[int, float]]] = {}
        for pauli, coefficient in observable.terms:
            strings.setdefault(pauli.x, []).append((pauli.z, coefficient))
        rows, columns, entries = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
        for x, terms in strings.items():
            to = at.find(at.states ^ x)
            inside = np.flatnonzero(to >= 0)
            if not len(inside):
                continue
            to = to[inside]
            room -= len(inside)
            if room < 0:
                return None
            z = np.array([z for z, _ in terms], np.int64)
            c = np.array([c for _, c in terms]) * _phases(x, z)
            odd = np.bitwise_count(x & z) & 1 == 1
            even = _signed_sum(z[~odd], c[~odd], at.states[inside])
            imaginary = _signed_sum(z[odd], c[odd], at.states[inside])
            if turned is None:
                h = even + 1j * imaginary
            else:
                h = np.where(turned[to] == turned[inside], even, np.where(turned[to], -imaginary, imaginary))
            kept = np.abs(h) > 1e-15 * np.abs(c).sum()
            rows.append(to[kept])
            columns.append(inside[kept])
            entries.append(h[kept])
        result.append((np.concatenate(rows), np.concatenate(columns), np.concatenate(entries)))
    return result


def _signed_sum(z: np.ndarray, c: np.ndarray, states: np.ndarray) -> np.ndarray:
    """sum_k c_k (-1)^{|z_k & j|} for all states j, not too many signs at a time."""
    total = np.zeros(len(states))
    for first in range(0, len(z), 256):
        total += c[first : first + 256] @ _signs(z[first : first + 256], states)
    return total


def _rows(observables: list[Any], rank: np.ndarray) -> dict[str, np.ndarray]:
    """The observables in compressed rows, one after the other."""
    n = len(rank)
    row_ptr, columns, entries, total = [], [], [], 0
    for r, c, h in observables:
        r, c = rank[r], rank[c]
        order = np.argsort(r * n + c)
        row_ptr.append(total + np.concatenate([[0], np.cumsum(np.bincount(r, minlength=n))]))
        columns.append(c[order].astype(np.int32))
        entries.append(h[order])
        total += len(r)
    return {
        "row_ptr": np.stack(row_ptr).astype(np.int64),
        "column": np.concatenate(columns),
        "entry": _numbers(np.concatenate(entries)),
    }


def _numbers(a: np.ndarray) -> np.ndarray:
    """Real numbers as they are, complex ones as two."""
    return np.ascontiguousarray(a).view(float)


def blocks_ns(rotations: float, n: int) -> float:
    """About what a gradient of so many rotations costs the block engine."""
    return CALL_NS + (rotations + 1) * (ROTATION_NS + AMPLITUDE_NS[n >= 16] * 2.0**n)


def support_ns(n_steps: int, n_pairs: int, n_entries: int) -> float:
    """About what it costs here."""
    moved = n_pairs * PAIR_NS + n_entries * ENTRY_NS
    return n_steps * STEP_NS + moved * (LARGE_FACTOR if 8 * n_pairs + 12 * n_entries > LARGE_PLAN else 1.0)


def plan_bytes(flat: dict[str, Any]) -> int:
    """Memory that a plan takes."""
    return sum(a.nbytes for a in flat.values() if isinstance(a, np.ndarray))
