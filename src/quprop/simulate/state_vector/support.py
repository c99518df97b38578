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
from itertools import pairwise
from typing import Any, NamedTuple

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
REAL, IMAGINARY, DIAGONAL = range(3)  # kinds of steps, as in native/state_vector/support.hpp

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
        self._index(0)

    def _index(self, first: int) -> None:
        if self.table is not None:
            self.table[self.states[first:]] = np.arange(first + 1, len(self.states) + 1)
        else:
            self.order = np.argsort(self.states)
            self.sorted = self.states[self.order]

    def extend(self, states: np.ndarray) -> None:
        first = len(self.states)
        self.states = np.concatenate([self.states, states])
        self._index(first)

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


def _phases(x: int, z: np.ndarray) -> np.ndarray:
    """i^{|x & z|} without its i^kappa: +1 or -1."""
    return 1.0 - (np.bitwise_count(x & z) & 2)


class _Move(NamedTuple):
    """What a group of rotations of one driver does: pairs of positions a, b and the factor f of the angle for each."""

    driver: int
    kind: int
    a: np.ndarray
    b: np.ndarray
    f: np.ndarray
    near: np.ndarray  # f, rounded


class _Walk:
    """The basis states that groups of rotations reach, one group after another, and what each does between them."""

    def __init__(self, model: Any, start: tuple[np.ndarray, np.ndarray], limit: int, room: int) -> None:
        self.at = Positions(model.n_qubits, start[0])
        self.turned = np.zeros(len(self.at.states), bool)  # the half of the bipartition
        self.real = not np.any(start[1].imag)
        self.moves: list[_Move] = []
        self.longest = math.inf
        self._drivers, self._limit, self.room = model.drivers, limit, room
        self._done: dict[tuple[int, bytes, bytes], tuple[int, _Move | None]] = {}  # and the number of states then

    def step(self, group: np.ndarray, x: int, z: np.ndarray) -> bool:
        """Whether what is reached by a group of rotations with one x is still few."""
        c = self._drivers.coefficient[group] * _phases(x, z)
        norm = np.abs(c).sum()
        if not 2.0**-BITS * norm:  # a driver that kernels flush to zero
            return True
        which = int(self._drivers.driver[group[0]])
        if len(c) > 1:
            self.longest = min(self.longest, _longest(self._drivers, which, float(norm)))
        key = (x, z.tobytes(), c.tobytes())
        size, move = self._done.get(key, (0, None))
        if size == len(self.at.states):  # a layer that repeats, once no state is new
            if move is not None:
                self.moves.append(move._replace(driver=which))
                self.room -= len(move.a)
            return self.room >= 0
        before = len(self.moves)
        within = self._walk(which, x, z, c, norm)
        self._done[key] = (len(self.at.states), self.moves[-1] if len(self.moves) > before else None)
        return within

    def _walk(self, which: int, x: int, z: np.ndarray, c: np.ndarray, norm: float) -> bool:
        f = c @ _signs(z, self.at.states)
        near = np.round(f / (2.0**-BITS * norm)) if len(c) > 1 else f
        active = np.flatnonzero(np.abs(f) > 1e-12 * norm)
        if not x:
            if len(active) and np.ptp(near):
                self.moves.append(_Move(which, DIAGONAL, active, active, f[active], near[active]))
                self.real = False
                self.room -= len(active)
        elif len(active):
            imaginary = not np.bitwise_count(x & z[0]) & 1
            to = self._partners(active, x, imaginary)
            if to is None:
                return False
            once = active < to
            a, b = active[once], to[once]
            self.real = self.real and bool(np.all(self.turned[a] ^ self.turned[b] == imaginary))
            self.moves.append(_Move(which, IMAGINARY if imaginary else REAL, a, b, f[a], near[a]))
            self.room -= len(a)
        return self.room >= 0

    def _partners(self, active: np.ndarray, x: int, imaginary: bool) -> np.ndarray | None:
        """The positions of j ^ x, states that are new taken up; None if they are too many."""
        partner = self.at.states[active] ^ x
        to = self.at.find(partner)
        new = to < 0
        if new.any():
            to[new] = len(self.at.states) + np.arange(np.count_nonzero(new))
            self.at.extend(partner[new])
            if len(self.at.states) > self._limit:
                return None
            self.turned = np.concatenate([self.turned, self.turned[active[new]] ^ imaginary])
        return to


@paused()
def plan(model: Any, force: bool = False) -> dict[str, Any] | None:
    """The plan of a model for native/state_vector/support.hpp, or None if its support is not small or does not pay.

    `force` asks for one whatever it costs, as far as it fits.
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
    budget = math.inf if force else blocks_ns(model)
    room = int(min(MAX_BYTES / 8, budget / PAIR_NS))  # pairs or so
    # What such groups move is counted before anything is walked. Coefficients below TINY may move nothing.
    least = blocks.planner.least_moves(*masks, drivers.coefficient, TINY, group_ptr, members)
    if least > room or support_ns(0, least, 0) > budget:
        return None
    walk = _Walk(model, start, limit, room)
    for first, last in pairwise(group_ptr.tolist()):
        group = members[first:last]
        if not walk.step(group, int(x_masks[group[0]]), z_masks[group]):
            return None
    return _written(model, walk, start, budget)


def _written(model: Any, walk: _Walk, start: tuple[np.ndarray, np.ndarray], budget: float) -> dict[str, Any] | None:
    """The arrays for the kernels, if they take less time than `budget`, in ns."""
    observables = _observables(model, walk.at, walk.turned if walk.real else None, walk.room)
    if observables is None:
        return None
    # Positions by ascending basis state: neighbours in number are neighbours in memory.
    order = np.argsort(walk.at.states)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    steps, pairs = _steps(walk.moves, rank, walk.turned, walk.real)
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
        "longest": walk.longest,
        "start": _numbers(initial),
        "n_params": model.n_params,
        "n_inputs": model.n_inputs,
        **{k: getattr(model.drivers, k) for k in ("mono_ptr", "mono", "var_ptr", "var")},
        **steps,
        "pair": pairs,
        **_rows(observables, rank),
    }


def _longest(drivers: Drivers, which: int, norm: float) -> float:
    """Up to this size of theta's and x's entries the angles of a group, together, are no longer than LONG_ANGLE."""
    own = range(drivers.mono_ptr[which], drivers.mono_ptr[which + 1])
    size = math.inf
    for m in own:
        degree = int(drivers.var_ptr[m + 1] - drivers.var_ptr[m])
        largest = LONG_ANGLE / (norm * len(own)) / abs(float(drivers.mono[m]))
        size = min(size, largest ** (1 / degree) if degree else math.inf if largest >= 1 else 0.0)
    return size


def _steps(
    moves: list[_Move], rank: np.ndarray, turned: np.ndarray, real: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pairs (a, b) in steps of one driver, kind and f; kind REAL has f > 0, the order of the pair giving the sign."""
    step_driver, step_kind, step_f, step_ptr, pairs = [], [], [], [0], [np.empty((0, 2), np.int32)]
    done: dict[int, _Pairs] = {}  # of a move that repeats, whose arrays are the same
    for move in moves:
        own = done.get(id(move.near))
        if own is None:
            own = done[id(move.near)] = _pairs(move, rank, turned, real)
        pairs.append(own.pairs)
        step_ptr += (step_ptr[-1] + own.ends).tolist()
        step_driver += [move.driver] * len(own.values)
        step_kind += [own.kind] * len(own.values)
        step_f += own.values
    steps = {
        "step_driver": np.array(step_driver, np.int32),
        "step_kind": np.array(step_kind, np.int32),
        "step_f": np.array(step_f, float),
        "step_ptr": np.array(step_ptr, np.int64),
    }
    return steps, np.ascontiguousarray(np.concatenate(pairs))


class _Pairs(NamedTuple):
    """The pairs of a move, those of one f after another, and where each f's end."""

    kind: int
    values: list[float]
    ends: np.ndarray
    pairs: np.ndarray


def _pairs(move: _Move, rank: np.ndarray, turned: np.ndarray, real: bool) -> _Pairs:
    _, kind, a, b, f, near = move
    if kind == IMAGINARY and real:
        a, b = np.where(turned[a], b, a), np.where(turned[a], a, b)
        kind = REAL
    a, b = rank[a], rank[b]
    if kind == REAL:
        a, b, f, near = np.where(f > 0, a, b), np.where(f > 0, b, a), np.abs(f), np.abs(near)
    if np.all(near == near[0]):
        values, counts, order = f[:1], np.array([len(f)]), np.argsort(a)
    else:
        _, first, which_value, counts = np.unique(near, return_index=True, return_inverse=True, return_counts=True)
        values = f[first]
        order = np.lexsort((a, which_value))
    pairs = np.stack([a[order], b[order]], axis=1).astype(np.int32)
    return _Pairs(kind, values.tolist(), np.cumsum(counts), pairs)


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


def blocks_ns(model: Any) -> float:
    """About what a gradient costs the block engine."""
    n = model.n_qubits
    return CALL_NS + (model.n_rotations + 1) * (ROTATION_NS + AMPLITUDE_NS[n >= 16] * 2.0**n)


def support_ns(n_steps: int, n_pairs: int, n_entries: int) -> float:
    """About what it costs here."""
    moved = n_pairs * PAIR_NS + n_entries * ENTRY_NS
    return n_steps * STEP_NS + moved * (LARGE_FACTOR if 8 * n_pairs + 12 * n_entries > LARGE_PLAN else 1.0)


def plan_bytes(flat: dict[str, Any]) -> int:
    """Memory that a plan takes."""
    return sum(a.nbytes for a in flat.values() if isinstance(a, np.ndarray))
