"""The planner of coset blocks: which rotations are done together, on which piece of the state.

A rotation with mask x mixes amplitude j only with j xor x. A *run* of rotations whose x masks span a space V therefore
acts on every coset of V by itself, in cache. Inside a run, a *pass* visits tiles of four vectors (two dimensions of V)
and applies there, in registers, every rotation whose x lies in the tile. Rotations move past those they commute with,
so that runs and passes fill up. Rotations with a common x that commute become one *group*: one rotation by a summed
angle, looked up by the parities of their z masks (the pattern). Diagonal rotations are groups with x = 0.

The low `lane_bits` address bits are the lanes of a vector and never count: x modulo the lanes is what must be spanned.
In a batch plan the lanes are samples, and `lane_bits` is 0.

The plan is flat arrays for the kernels (native/plan.hpp, struct Description, gives their meaning).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

MAX_BLOCK_BYTES = 1 << 20  # psi and lambda of a block: a common second-level cache
SHARED_BYTES = 64 << 10  # a smaller state is not worth sharing between threads
WINDOW = 192  # how far ahead a rotation may be looked for
MAX_GROUP = 4  # terms of a group whose angles are independent: its table has 2^terms entries ...
MAX_GROUP_LARGE = 6  # ... which are soon paid for in a large state; kMaxGroup in the kernels
LARGE = 11  # upper address bits of a large state
MAX_RANK = 5  # of the z masks of a group or bucket that shares one coefficient table
SIGNATURE_BITS = 60  # pattern bits of a pass; 64 in the kernels
SMALLEST_RATIO = 2.0**-960  # of an angle's coefficients that its driver keeps apart from its size
MAX_BUCKETS = 32  # of a group of observable terms, as in the kernels


class Span:
    """A subspace over GF(2), given by masks; knows what would enlarge it."""

    def __init__(self, masks: Iterable[int] = ()) -> None:
        self.by_pivot: dict[int, int] = {}
        for mask in masks:
            self.add(mask)

    def __len__(self) -> int:
        return len(self.by_pivot)

    def reduce(self, mask: int) -> int:
        while mask:
            row = self.by_pivot.get(mask.bit_length())
            if row is None:
                return mask
            mask ^= row
        return 0

    def add(self, mask: int) -> bool:
        rest = self.reduce(mask)
        if rest:
            self.by_pivot[rest.bit_length()] = rest
        return rest != 0


class Rotations:
    """What the planner needs to know of the rotations: masks, and which earlier ones each does not commute with."""

    def __init__(self, x: Sequence[int], z: Sequence[int], lane_bits: int) -> None:
        self.x, self.z = list(x), list(z)
        self.up = [mask >> lane_bits for mask in self.x]
        self.blocked_by = _anticommuting(np.array(self.x, np.uint64), np.array(self.z, np.uint64))

    def commute(self, i: int, j: int) -> bool:
        return not ((self.x[i] & self.z[j]).bit_count() + (self.z[i] & self.x[j]).bit_count()) & 1


def _anticommuting(x: np.ndarray, z: np.ndarray) -> list[int]:
    """For every rotation i a bit mask: bit t tells that it anticommutes with rotation i - WINDOW + t."""
    size = len(x)
    bits = np.zeros((size, WINDOW), np.uint8)
    for back in range(1, min(WINDOW, size - 1) + 1):
        odd = np.bitwise_count(x[back:] & z[:-back]) ^ np.bitwise_count(z[back:] & x[:-back])
        bits[back:, WINDOW - back] = odd & 1
    packed = np.packbits(bits, axis=1, bitorder="little").tobytes()
    width = WINDOW // 8
    return [int.from_bytes(packed[i * width : (i + 1) * width], "little") for i in range(size)]


class Deferred:
    """The rotations passed over so far, as bits; later ones may be taken only if they commute with all of them."""

    def __init__(self, rotations: Rotations, base: int) -> None:
        self.blocked_by, self.base, self.bits = rotations.blocked_by, base, 0

    def add(self, i: int) -> None:
        self.bits |= 1 << (i - self.base)

    def allows(self, i: int) -> bool:
        if not self.bits:
            return True
        shift = i - WINDOW - self.base
        if shift > 0:
            if self.bits & ((1 << shift) - 1):
                return False  # something older than the window was passed over
            return not self.blocked_by[i] & (self.bits >> shift)
        return not self.blocked_by[i] & (self.bits << -shift)


def _take(rotations: Rotations, pending: list[int], accept: Any) -> tuple[list[int], list[int]]:
    """The rotations of `pending` that `accept` wants and that may be done now; and the others, in order."""
    deferred = Deferred(rotations, pending[0])
    taken: list[int] = []
    left: list[int] = []
    for position, i in enumerate(pending):
        if i - pending[0] > 4 * WINDOW or len(left) > WINDOW:
            return taken, left + pending[position:]
        if deferred.allows(i) and accept(i):
            taken.append(i)
        else:
            deferred.add(i)
            left.append(i)
    return taken, left


def _runs(rotations: Rotations, n_up: int, dimension: int, relabel: bool) -> Iterable[tuple[list[int], list[int]]]:
    """Cuts the list into runs: (x masks that span V, rotations in the order they are done)."""
    whole = dimension == n_up
    pending = list(range(len(rotations.x)))
    while pending:
        # Low address bits belong to every run of a large state, so that memory is read in pieces of several lines.
        span = Span() if whole else Span([1, 2])
        full = Span()  # of the chosen whole masks: tells a remainder within the lanes
        chosen_up = Span()
        chosen: list[int] = []

        def accept(i: int) -> bool:
            up = rotations.up[i]
            if not up:
                return True
            if not chosen_up.reduce(up):
                # A dependent x costs lane permutations at every visit; in a run of its own it would be a basis vector.
                return not (relabel and full.reduce(rotations.x[i]))
            if span.reduce(up):
                if len(span) == dimension:
                    return False
                span.add(up)
            chosen_up.add(up)
            full.add(rotations.x[i])
            chosen.append(rotations.x[i])
            return True

        head, tail = pending[: 4 * WINDOW], pending[4 * WINDOW :]
        taken, left = _take(rotations, head, accept)
        pending = left + tail
        yield chosen, taken


def _passes(rotations: Rotations, run: list[int], excitations: bool) -> Iterable[tuple[list[int], list[int]]]:
    """Cuts a run into passes, (upper masks of the tile, rotations in order), of the kinds the kernels are fastest at.

    A pass is two rotations along the two dimensions of a tile, or any number that mix lanes only; diagonal ones wait
    until nothing else can be done, so that they gather in large groups, and then join that pass. With `excitations` it
    is all rotations of one x mask, whose tiles are then few.
    """
    pending = run
    while pending:
        span: list[int] = []
        room = SIGNATURE_BITS

        def along(i: int) -> bool:
            up = rotations.up[i]
            if not up or up in span or len(span) == 2:
                return False
            span.append(up)
            return True

        def excitation(i: int) -> bool:
            nonlocal room
            if not rotations.x[i] or not room or (span and rotations.x[i] != span[0]):
                return False
            if not span:
                span.append(rotations.x[i])
            room -= 1
            return True

        def lanes(i: int) -> bool:
            nonlocal room
            if not rotations.x[i] or rotations.up[i] or not room:
                return False
            room -= 1
            return True

        def diagonal(i: int) -> bool:
            nonlocal room
            if rotations.x[i] or not room:
                return False
            room -= 1
            return True

        for accept in (excitation,) if excitations else (along, lanes):
            taken, left = _take(rotations, pending, accept)
            if taken:
                break
        if not taken or (accept is along and left and not any(rotations.x[i] for i in _ready(rotations, left))):
            more, left = _take(rotations, left, diagonal)
            taken = taken + more
        if excitations and span:
            span = [m for m in [rotations.up[taken[0]]] if m]
        pending = left
        yield span, taken


def _ready(rotations: Rotations, pending: list[int]) -> Iterable[int]:
    """The rotations that commute with all before them."""
    deferred = Deferred(rotations, pending[0])
    for i in pending:
        if deferred.allows(i):
            yield i
        deferred.add(i)


def _groups(rotations: Rotations, order: list[int], driver: np.ndarray, max_group: int) -> list[list[int]]:
    """Merges rotations of a pass that have the same x and commute into groups."""
    ops: list[list[int]] = []
    spans: list[Span] = []
    for i in order:
        target = None
        for k in range(len(ops) - 1, max(len(ops) - 9, -1), -1):
            op = ops[k]
            if rotations.x[op[0]] == rotations.x[i] and rotations.commute(op[0], i):
                if all(driver[j] == driver[i] for j in op):
                    fits = len(spans[k]) < MAX_RANK or not spans[k].reduce(rotations.z[i])
                else:
                    shared = len(op) > 1 and all(driver[j] == driver[op[0]] for j in op)
                    fits = len(op) < max_group and not shared
                if fits:
                    target = k
                    break
            if not all(rotations.commute(j, i) for j in op):
                break
        if target is None:
            ops.append([i])
            spans.append(Span([rotations.z[i]]))
        else:
            ops[target].append(i)
            spans[target].add(rotations.z[i])
    return ops


def _complete(vectors: list[int], size: int, n_up: int, lane_bits: int) -> list[int]:
    """A basis of `size` whole masks that contains `vectors`, filled up with the lowest unit vectors, those first."""
    span = Span(v >> lane_bits for v in vectors)
    fill: list[int] = []
    for q in range(n_up):
        if len(vectors) + len(fill) == size:
            break
        if span.add(1 << q):
            fill.append(1 << (q + lane_bits))
    return fill + vectors


class Coordinates:
    """Upper masks as combinations of a basis."""

    def __init__(self, basis: list[int], lane_bits: int) -> None:
        self.rows: dict[int, tuple[int, int]] = {}
        for k, vector in enumerate(basis):
            mask, how = vector >> lane_bits, 1 << k
            while mask.bit_length() in self.rows:
                row = self.rows[mask.bit_length()]
                mask, how = mask ^ row[0], how ^ row[1]
            self.rows[mask.bit_length()] = (mask, how)

    def __call__(self, up: int) -> int:
        result = 0
        while up:
            row = self.rows[up.bit_length()]
            up, result = up ^ row[0], result ^ row[1]
        return result


def _tile(local: list[int], dimension: int) -> list[int]:
    """Two dimensions of the block: those of the pass, or any others if it mixes fewer."""
    for k in range(dimension - 1, -1, -1):
        if len(local) < 2 and 1 << k not in local:
            local = [*local, 1 << k]
    return local


def _buckets(terms: list[tuple[int, int]]) -> list[list[int]]:
    """Terms (z, index) of one x, in lists whose z masks span at most MAX_RANK dimensions."""
    buckets: list[list[int]] = []
    while terms:
        span, members, later = Span(), [], []
        for z, index in terms:
            if len(span) < MAX_RANK or not span.reduce(z):
                span.add(z)
                members.append(index)
            else:
                later.append((z, index))
        buckets.append(members)
        terms = later
    return buckets


def _plan_observables(listing: Any, n_up: int, lane_bits: int, dimension: int) -> dict[str, Any]:
    strings: dict[tuple[int, int], int] = {}
    obs_ptr, obs_term, obs_coefficient = [0], [], []
    for observable in listing.observables:
        for pauli, coefficient in observable.terms:
            obs_term.append(strings.setdefault((pauli.x, pauli.z), len(strings)))
            obs_coefficient.append(coefficient)
        obs_ptr.append(len(obs_term))
    by_x: dict[int, list[tuple[int, int]]] = {}
    for (x, z), index in strings.items():
        by_x.setdefault(x, []).append((z, index))
    pending = sorted(by_x)
    whole = dimension == n_up
    basis_ptr, basis, group_ptr, bucket_ptr, term_ptr, terms = [0], [], [0], [0], [0], []
    while pending:
        span, vectors, inside, outside = Span() if whole else Span([1, 2]), [], [], []
        for x in pending:
            rest = span.reduce(x >> lane_bits)
            if rest and len(span) == dimension:
                outside.append(x)
                continue
            if rest and not whole:
                span.add(rest)
                vectors.append(x)
            inside.append(x)
        basis += _complete(vectors, dimension, n_up, lane_bits)
        basis_ptr.append(len(basis))
        for x in inside:
            even = [(z, i) for z, i in by_x[x] if not (x & z).bit_count() & 1]
            odd = [(z, i) for z, i in by_x[x] if (x & z).bit_count() & 1]
            buckets = _buckets(even) + _buckets(odd)
            for first in range(0, len(buckets), MAX_BUCKETS):
                for members in buckets[first : first + MAX_BUCKETS]:
                    terms += members
                    term_ptr.append(len(terms))
                bucket_ptr.append(len(term_ptr) - 1)
        group_ptr.append(len(bucket_ptr) - 1)
        pending = outside
    return {
        "obs_x": np.array([x for x, _ in strings], np.uint64),
        "obs_z": np.array([z for _, z in strings], np.uint64),
        "obs_basis_ptr": np.array(basis_ptr, np.int32),
        "obs_basis": np.array(basis, np.uint64),
        "obs_group_ptr": np.array(group_ptr, np.int32),
        "group_bucket_ptr": np.array(bucket_ptr, np.int32),
        "bucket_term_ptr": np.array(term_ptr, np.int32),
        "bucket_term": np.array(terms, np.int32),
        "obs_ptr": np.array(obs_ptr, np.int32),
        "obs_term": np.array(obs_term, np.int32),
        "obs_coefficient": np.array(obs_coefficient, float),
    }


def _drivers(listing: Any) -> dict[str, Any]:
    """Angles that are multiples of each other are turned by one driver: angle = coefficient * driver."""
    index: dict[Any, int] = {}
    driver, coefficient = [], []
    for rotation in listing.rotations:
        terms = rotation.angle.terms  # none: an angle that is zero
        lead = max((c for _, c in terms), key=abs, default=1.0)
        key = tuple((m, c / lead) for m, c in terms)
        if any(abs(c) < SMALLEST_RATIO for _, c in key):  # a quotient that has lost digits
            lead, key = 1.0, terms
        driver.append(index.setdefault(key, len(index)))
        coefficient.append(lead)
    mono_ptr, mono, var_ptr, var = [0], [], [0], []
    for key in index:
        for monomial, c in key:
            mono.append(c)
            var += [i if kind == 0 else listing.n_params + i for kind, i in monomial]
            var_ptr.append(len(var))
        mono_ptr.append(len(mono))
    return {
        "driver": np.array(driver, np.int32),
        "coefficient": np.array(coefficient, float),
        "mono_ptr": np.array(mono_ptr, np.int32),
        "mono": np.array(mono, float),
        "var_ptr": np.array(var_ptr, np.int32),
        "var": np.array(var, np.int32),
    }


def upper_bits(n_qubits: int, lane_bits: int) -> int:
    """Address bits above the lanes; at least two, the dimensions of a tile."""
    return max(n_qubits - lane_bits, 2)


def block_dimension(n_up: int, vector_bytes: int) -> int:
    """How many dimensions a run spans.

    A small state is one block; a larger one at least two, so that two threads share the work; blocks stay within the
    cache.
    """
    largest = (MAX_BLOCK_BYTES // (4 * vector_bytes)).bit_length() - 1
    if (4 * vector_bytes) << n_up < SHARED_BYTES:
        return n_up
    return min(largest, n_up - 1)


def plan(listing: Any, lane_bits: int, vector_bytes: int, dimension: int | None = None) -> dict[str, Any]:
    """The plan of a model (or of anything with its rotations and observables) for kernels of 2^lane_bits address lanes.

    `dimension` overrides how many dimensions a block has (tests want to meet every branch with small models).
    """
    n_up = upper_bits(listing.n_qubits, lane_bits)
    if dimension is None:
        dimension = block_dimension(n_up, vector_bytes)
    dimension = max(2, min(dimension, n_up))
    if dimension < n_up:
        dimension = max(dimension, 3)  # two address bits and at least one mask
    rotations = Rotations(listing.x_masks, listing.z_masks, lane_bits)
    drivers = _drivers(listing)
    driver = drivers["driver"]
    # Excitations (same x, one driver) touch few tiles: relabelling a whole state for them costs more than it saves.
    same = sum(a == b and u == v for (a, b), (u, v) in zip(pairwise(rotations.x), pairwise(driver), strict=True))
    excitations = 2 * same >= len(rotations.x) > 1 and any(rotations.x)
    relabel = not excitations
    max_group = MAX_GROUP_LARGE if n_up >= LARGE else min(MAX_GROUP, max(2, n_up - 1))

    basis_ptr, run_basis, pass_ptr, tiles, op_ptr, term_ptr, terms = [0], [], [0], [], [0], [0], []
    for vectors, run in _runs(rotations, n_up, dimension, relabel):
        if dimension == n_up and (not relabel or all(v.bit_count() == 1 for v in vectors)):
            vectors = []
        basis = _complete(vectors, dimension, n_up, lane_bits)
        run_basis += basis
        basis_ptr.append(len(run_basis))
        locate = Coordinates(basis, lane_bits)
        for span, order in _passes(rotations, run, excitations):
            tiles += _tile([locate(up) for up in span], dimension)
            for op in _groups(rotations, order, driver, max_group):
                terms += op
                term_ptr.append(len(terms))
            op_ptr.append(len(term_ptr) - 1)
        pass_ptr.append(len(op_ptr) - 1)
    return {
        "n_up": n_up,
        "lane_bits": lane_bits,
        "n_params": listing.n_params,
        "n_inputs": listing.n_inputs,
        "x": np.array(rotations.x, np.uint64),
        "z": np.array(rotations.z, np.uint64),
        **drivers,
        "run_basis_ptr": np.array(basis_ptr, np.int32),
        "run_basis": np.array(run_basis, np.uint64),
        "run_pass_ptr": np.array(pass_ptr, np.int32),
        "pass_tile": np.array(tiles, np.uint32),
        "pass_op_ptr": np.array(op_ptr, np.int32),
        "op_term_ptr": np.array(term_ptr, np.int32),
        "term": np.array(terms, np.int32),
        **_plan_observables(listing, n_up, lane_bits, dimension),
    }
