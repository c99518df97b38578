"""Stretches: which rotations are done between two exchanges, and in which coordinates.

p functionals F are the rank's bits of a stretch. Rotations whose x masks they all vanish on need no other rank, and a
stretch takes each of those that commutes with all before it that stay behind. Diagonal rotations have x = 0: only order
holds them up. The next stretch begins with what stayed behind, in other functionals. Those that a stretch keeps are kept
by all ranks and cost nothing; for d new ones each rank exchanges with 2^d - 1 others.

F is chosen greedily, a functional at a time, by how many of the next rotations a stretch then takes. Candidates are the
functionals that are there, and duals of bases found among the rotations to come: the k-th of those vanishes on all of its
basis but one. What was left behind stands before everything else, so candidates are also sums that vanish on more of it.
One pass over the rotations in view scores all candidates, a bit for each. In a layer of one rotation a qubit, the stretch
that follows one rotation left behind for each functional leaves as few: a layer costs one exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.model.parameterised import strings_of
from quprop.simulate.distributed.coordinates import Coordinates, dual, odd

PIECE_BITS = 2  # of a rank's index: 4 pieces of its part arrive one after the other
LANE_BITS = 4  # low local bits that an exchange leaves alone where it can
MAX_QUBITS = 62
IN_VIEW = 192  # rotations among which a stretch is chosen, or six a qubit


class Exchange(NamedTuple):
    """From the coordinates before to those of a stretch.

    New bit ranks[i] is the parity of functionals[i] and the old index, new bit pivots[i] is old bit ranks[i], and all other
    bits stay. functionals[i] has the bit pivots[i] and none of the other pivots.
    """

    pivots: tuple[int, ...]  # local bits
    ranks: tuple[int, ...]  # rank bits, as many
    functionals: tuple[int, ...]  # masks over the coordinates before


class Stretch(NamedTuple):
    """order: the numbers of its rotations, in the order in which they are done. exchange: before it; None for the first."""

    order: np.ndarray
    coordinates: Coordinates
    exchange: Exchange | None


def least_qubits(rank_bits: int) -> int:
    """The smallest state that 2^rank_bits ranks share: each wants its lanes and room for an exchange."""
    return LANE_BITS + max(2, rank_bits) + rank_bits


def rank_bits_of(ranks: int, n: int) -> int:
    """p for 2^p ranks.

    Raises: QupropError for numbers that are no power of two, and for more ranks than a state of n qubits is shared by.
    """
    if isinstance(ranks, bool) or not isinstance(ranks, int) or ranks < 1 or ranks & (ranks - 1):
        raise QupropError(f"a state is shared by a power of two of ranks, got {shown(ranks)}")
    bits = ranks.bit_length() - 1
    if bits and n < least_qubits(bits):
        raise QupropError(
            f"{ranks} ranks share a state of {least_qubits(bits)} qubits at least, and this model has {n}; take fewer ranks"
        )
    if n > MAX_QUBITS:
        raise QupropError(f"ranks share a state of {MAX_QUBITS} qubits at most, and this model has {n}")
    return bits


def stretches(model: Model, rank_bits: int) -> tuple[Stretch, ...]:
    """A model's stretches on 2^rank_bits ranks: at least one, every rotation in one of them."""
    rank_bits_of(1 << rank_bits, model.n_qubits)
    refuse_channels(model, "a state over ranks")
    masks = [p.x for o in model.observables for p in strings_of(o)]
    return cut(model.x_masks, model.z_masks, model.n_qubits, rank_bits, masks)


def cut(
    x: Sequence[int], z: Sequence[int], n: int, rank_bits: int, strings_x: Iterable[int] = ()
) -> tuple[Stretch, ...]:
    """The stretches of rotations with masks x and z before observables whose strings have the x masks strings_x."""
    if not 0 <= 2 * rank_bits <= n:
        raise QupropError(f"{rank_bits} bits of the rank take {2 * rank_bits} qubits at least, got {n}")
    planner = _Planner(np.array(x, np.uint64), np.array(z, np.uint64), n, rank_bits, sorted(set(strings_x) - {0}))
    return tuple(planner.found)


class _View:
    """Rotations that are looked at together, in order."""

    def __init__(self, x: np.ndarray, z: np.ndarray) -> None:
        self.x = x
        clash = odd((x[:, None] & z) ^ (z[:, None] & x))
        self.before: list[list[int]] = []  # whom a rotation waits for; those that one of these waits for are left out
        waits: list[int] = []
        for i, row in enumerate(np.packbits(clash, axis=1, bitorder="little")):
            open_, found, all_ = int.from_bytes(row.tobytes(), "little") & ((1 << i) - 1), [], 0
            while open_:
                j = open_.bit_length() - 1
                found.append(j)
                all_ |= waits[j] | 1 << j
                open_ &= ~all_
            self.before.append(found)
            waits.append(all_)

    def left(self, functionals: np.ndarray, held: np.ndarray | None = None) -> np.ndarray:
        """Which rotations stay behind for each functional, (rotations, functionals); those of `held` do for all."""
        outside = odd(self.x[:, None] & functionals)
        if held is not None:
            outside |= held[:, None]
        rows: list[int] = []
        for row, before in zip(np.packbits(outside, axis=1), self.before, strict=True):
            stay = int.from_bytes(row.tobytes())
            for j in before:
                stay |= rows[j]
            rows.append(stay)
        width = (len(functionals) + 7) // 8
        packed = np.frombuffer(b"".join(row.to_bytes(width) for row in rows), np.uint8).reshape(len(rows), width)
        return np.unpackbits(packed, axis=1, count=len(functionals)).astype(bool)


class _Planner:
    def __init__(self, x: np.ndarray, z: np.ndarray, n: int, rank_bits: int, strings: list[int]) -> None:
        self.x, self.z, self.n, self.rank_bits = x, z, n, rank_bits
        self.strings = np.array(strings, np.uint64)
        self.in_view = max(IN_VIEW, 6 * n)
        self.pending: list[int] = []  # rotations that are left from before, and the next ones
        self.read = 0
        self.found: list[Stretch] = []
        behind = 0
        while not self.found or self._fill():
            self._fill()
            ranks = self._ranks()
            chosen = self._choose(ranks, behind) if rank_bits else []
            order = self._take(np.array(chosen, np.uint64))
            assert order or not len(x), "every stretch takes a rotation"
            behind = len(self.pending)
            self.found.append(Stretch(np.array(order, np.int64), *self._coordinates(chosen)))

    def _fill(self) -> bool:
        """Whether rotations are left, after as many as are looked at were read."""
        more = min(max(self.in_view - len(self.pending), 0), len(self.x) - self.read)
        self.pending += range(self.read, self.read + more)
        self.read += more
        return bool(self.pending)

    def _take(self, functionals: np.ndarray) -> list[int]:
        """The rotations of a stretch, taken out of those that are left, as far as nothing stays in the way."""
        order: list[int] = []
        while self._fill():
            at = np.array(self.pending)
            view = _View(self.x[at], self.z[at])
            stay = view.left(np.zeros(1, np.uint64), odd(view.x[:, None] & functionals).any(axis=1))[:, 0]
            order += at[~stay].tolist()
            self.pending = at[stay].tolist()
            if stay[-1] or stay.all() or len(self.pending) >= self.in_view:
                break
        return order

    def _ranks(self) -> tuple[int, ...]:
        """The functionals that are the rank's bits now; none before the first stretch."""
        return self.found[-1].coordinates.rows[self.n - self.rank_bits :] if self.found else ()

    # Choosing functionals ---------------------------------------------------------------------------------------------

    def _choose(self, ranks: tuple[int, ...], behind: int) -> list[int]:
        at = np.array(self.pending, np.int64)
        view = _View(self.x[at], self.z[at])
        pool = self._pool(view.x, ranks, behind)
        chosen: list[int] = []
        held = np.zeros(len(at), bool)
        for _ in range(self.rank_bits):
            pool = _independent(pool, chosen, ranks)
            left = view.left(pool, held)
            best = int(np.argmax(self._score(left, pool, ranks)))
            chosen.append(int(pool[best]))
            held |= odd(view.x & pool[best])
        if len(at) and view.left(np.zeros(1, np.uint64), held).all():
            chosen = self._for_first(int(view.x[0]), ranks)
        return chosen

    def _score(self, left: np.ndarray, pool: np.ndarray, ranks: tuple[int, ...]) -> np.ndarray:
        """Rotations taken; among equals the functionals of the rank now, then those for which observables are local."""
        score = (~left).sum(axis=0).astype(float)
        score += 0.5 * np.isin(pool, np.array(ranks, np.uint64))
        if len(self.strings) and self.read == len(self.x):
            inside = 1 - odd(self.strings[:, None] & pool).mean(axis=0)
            score += 0.4 * inside * ~left.any(axis=0)
        return score

    def _pool(self, x: np.ndarray, ranks: tuple[int, ...], behind: int) -> np.ndarray:
        """Candidates, the rank's functionals first."""
        masks = x.tolist()
        front = masks[:behind]
        found = list(ranks)
        for first in sorted({0, behind, behind + self.n, behind + 2 * self.n}):
            if first and first >= len(masks):
                continue
            duals = dual(_completed(masks[first:] + self.strings.tolist(), self.n))
            found += duals
            on_front = [sum(((f & v).bit_count() & 1) << k for k, v in enumerate(front)) for f in duals]
            found += [f ^ g for (f, a), (g, b) in combinations(zip(duals, on_front, strict=True), 2) if a == b != 0]
        if masks and ranks:  # any of the rank's functionals may be added to another
            for r in ranks:
                if (r & masks[0]).bit_count() & 1:
                    found += [f ^ r for f in found[len(ranks) :] if (f & masks[0]).bit_count() & 1]
                    break
        return np.array(list(dict.fromkeys(found)), np.uint64)

    def _for_first(self, x: int, ranks: tuple[int, ...]) -> list[int]:
        """Functionals that vanish on one mask, which stretches can always go on with."""
        if not ranks:
            return [f for f in dual(_completed([x], self.n)) if not (f & x).bit_count() & 1][: self.rank_bits]
        kept = [r for r in ranks if not (r & x).bit_count() & 1]
        odd_one = next(r for r in ranks if r not in kept)
        rows = self.found[-1].coordinates.rows[: self.n - self.rank_bits]
        new = [f ^ odd_one if (f & x).bit_count() & 1 else f for f in rows[::-1]]
        return kept + new[: self.rank_bits - len(kept)]

    # Coordinates ------------------------------------------------------------------------------------------------------

    def _coordinates(self, chosen: list[int]) -> tuple[Coordinates, Exchange | None]:
        """With these functionals as the rank's bits, and how they come about."""
        local = self.n - self.rank_bits
        if not self.found:
            units = Coordinates.of([1 << q for q in range(self.n)])
            pivots, reduced = _reduced(chosen, self.n)
            return Coordinates.of([1 << q for q in range(self.n) if q not in pivots] + reduced) if chosen else units, None
        before = self.found[-1].coordinates
        rows = list(before.rows)
        new = [before.functional(f) for f in chosen if f not in rows[local:]]
        ranks = [k for k in range(local, self.n) if rows[k] not in chosen]
        pivots, functionals = _reduced(new, local)
        for pivot, rank, f in zip(pivots, ranks, functionals, strict=True):
            rows[pivot] = before.rows[rank]
            rows[rank] = 0
            for k in range(self.n):
                if f >> k & 1:
                    rows[rank] ^= before.rows[k]
        return Coordinates.of(rows), Exchange(tuple(pivots), tuple(ranks), tuple(functionals))


def _completed(masks: Iterable[int], n: int) -> list[int]:
    """The first independent ones of these masks, and as many unit vectors as make a basis of them."""
    span: dict[int, int] = {}  # by their highest bits
    basis: list[int] = []
    for mask in (*masks, *(1 << q for q in range(n))):
        rest = mask
        while rest and (top := rest.bit_length()) in span:
            rest ^= span[top]
        if rest:
            span[rest.bit_length()] = rest
            basis.append(mask)
            if len(basis) == n:
                break
    return basis


def _independent(pool: np.ndarray, chosen: list[int], ranks: tuple[int, ...]) -> np.ndarray:
    """Candidates that may join those chosen: of the rank's functionals, or independent of those and the chosen ones."""
    rest, span = pool.copy(), np.array([*ranks, *chosen], np.uint64)
    for k in range(len(span)):
        if span[k]:
            top = np.uint64(1 << (int(span[k]).bit_length() - 1))
            has = (rest & top) != 0
            rest[has] ^= span[k]
            later = span[k + 1 :]
            later[(later & top) != 0] ^= span[k]
    kept = [f for f in ranks if f not in chosen]
    return np.concatenate([np.array(kept, np.uint64), pool[rest != 0]])


def _reduced(functionals: list[int], local: int) -> tuple[list[int], list[int]]:
    """Pivots among the local bits, and combinations that have one each. The best pivots are high bits under the highest
    `PIECE_BITS`, by which a rank's part is cut into pieces; lanes are the last choice."""
    rest, pivots = list(functionals), []
    for i in range(len(rest)):
        here = rest[i] & ((1 << local) - 1)
        assert here, "a new functional is independent of the rank's"
        under = here & ((1 << max(local - PIECE_BITS, 0)) - 1)
        pivot = (under if under >> LANE_BITS else here).bit_length() - 1
        pivots.append(pivot)
        for k in range(len(rest)):
            if k != i and rest[k] >> pivot & 1:
                rest[k] ^= rest[i]
    return pivots, rest
