"""Stretches: which rotations are done between two exchanges, and in which coordinates.

p functionals F are the rank's bits of a stretch. Rotations whose x masks they all vanish on need no other rank, and a
stretch takes each of those that commutes with all before it that stay behind. Diagonal rotations have x = 0: only
order holds them up. The next stretch begins with what stayed behind, in other functionals. Those that it keeps cost
nothing; for d new ones each rank exchanges with 2^d - 1 others.

F is chosen greedily, a functional at a time, by how many of the next rotations a stretch then takes. Candidates are
the functionals that are there, the dual basis of the first independent x masks to come, of which each vanishes on all
but one of these, and sums of two of it: those that vanish on any given mask span all that do, so that a stretch always
takes a rotation. One pass over the rotations in view scores all candidates, a bit for each. In a layer of one rotation
a qubit, a stretch leaves one behind for each functional, and the next may take those with all but as many of the layer
that follows: a layer costs one exchange at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import combinations
from operator import xor
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.model.parameterised import strings_of
from quprop.model.pauli import bits
from quprop.simulate.distributed.coordinates import Coordinates, dual, odd

PIECE = 16  # bits of the index within a piece of a rank's part, which is worth some calls
MOST_PIECES = 4  # bits of their number: of 16 the first alone is waited for
LANE_BITS = 4  # low local bits that an exchange leaves alone where it can
MAX_QUBITS = 62
IN_VIEW = 640  # rotations among which a stretch is chosen, or 24 a qubit: what it leaves behind, and enough beyond
MOST_FOR_STRINGS = 6  # stretches for observables alone
SAMPLE = 256  # x masks of observables that are looked at for a choice


class Exchange(NamedTuple):
    """From the coordinates before to those of a stretch.

    New bit ranks[i] is the parity of functionals[i] and the old index; then new bit pivots[i] is old bit ranks[i] plus
    the parity of functionals[i] without pivots[i] and the new index; all other bits stay. So what stays with its rank
    stays in its place, and what arrives takes the place of what leaves. functionals[i] has the bit pivots[i] and none
    of the other pivots.
    """

    pivots: tuple[int, ...]  # local bits
    ranks: tuple[int, ...]  # rank bits, as many
    functionals: tuple[int, ...]  # masks over the coordinates before


class Stretch(NamedTuple):
    """order: the numbers of its rotations, in the order in which they are done; the last ones may have none, for
    observables. exchange: before it; None for the first, and where the ranks' functionals stay."""

    order: np.ndarray
    coordinates: Coordinates
    exchange: Exchange | None


def piece_bits(local: int) -> int:
    """By how many of its highest local bits a rank's part is cut into pieces, which are exchanged one after another."""
    return min(max(local - PIECE, 2), MOST_PIECES)


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
            f"{ranks} ranks share a state of {least_qubits(bits)} qubits at least, and this model has {n}; "
            "take fewer ranks"
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
    if not rank_bits:
        return (Stretch(np.arange(len(x)), Coordinates.of([1 << q for q in range(n)]), None),)
    strings = np.array(sorted(set(strings_x) - {0}), np.uint64)
    return _Search(np.array(x, np.uint64), np.array(z, np.uint64), n, rank_bits, strings).run()


def observed(found: Sequence[Stretch], strings_x: np.ndarray, rank_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """For strings with these x masks, the stretch after whose rotations each is looked at, and the rank bits across
    which it reads psi there: from the last stretch with rotations on, the first where it is local, else the last."""
    local = np.uint64(len(found[0].coordinates.rows) - rank_bits)
    first = max((k for k, stretch in enumerate(found) if len(stretch.order)), default=0)
    at, across = np.full(len(strings_x), -1), np.zeros(len(strings_x), np.uint64)
    for k in range(first, len(found)):
        across = np.where(at < 0, found[k].coordinates.xs(strings_x) >> local, across)
        at[(at < 0) & (across == 0)] = k
    at[at < 0] = len(found) - 1
    return at, across


class _View:
    """Rotations that are looked at together, in order."""

    def __init__(self, x: np.ndarray, z: np.ndarray) -> None:
        self.x = x
        clash = odd((x[:, None] & z) ^ (z[:, None] & x))
        self.before: list[list[int]] = []  # whom a rotation waits for, but for those that one of these waits for
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

    def left(self, outside: np.ndarray) -> np.ndarray:
        """Which rotations stay behind where those `outside` do, (rotations, cases): whoever waits for one stays too."""
        rows: list[int] = []
        for row, before in zip(np.packbits(outside, axis=1), self.before, strict=True):
            stay = int.from_bytes(row.tobytes())
            for j in before:
                stay |= rows[j]
            rows.append(stay)
        width = (outside.shape[1] + 7) // 8
        packed = np.frombuffer(b"".join(row.to_bytes(width) for row in rows), np.uint8).reshape(len(rows), width)
        return np.unpackbits(packed, axis=1, count=outside.shape[1]).astype(bool)


class _Search:
    """The search for stretches, one after another."""

    def __init__(self, x: np.ndarray, z: np.ndarray, n: int, rank_bits: int, strings: np.ndarray) -> None:
        self.x, self.z, self.n, self.local, self.rank_bits = x, z, n, n - rank_bits, rank_bits
        self.strings, self.sample = strings, strings[:: len(strings) // SAMPLE + 1]
        self.in_view = max(IN_VIEW, 24 * n)
        self.pending: list[int] = []  # rotations that are left from before, and the next ones
        self.read = 0
        self.found: list[Stretch] = []

    def run(self) -> tuple[Stretch, ...]:
        while not self.found or self.pending or self.read < len(self.x):
            view = self._look()
            chosen = self._choose(view)
            order = self._take(view, np.array(chosen, np.uint64))
            self.found.append(Stretch(np.array(order, np.int64), *self._coordinates(chosen)))
        self._for_strings()
        self._lay_out()
        return tuple(self.found)

    def _look(self) -> _View:
        more = min(max(self.in_view - len(self.pending), 0), len(self.x) - self.read)
        self.pending += range(self.read, self.read + more)
        self.read += more
        return _View(self.x[self.pending], self.z[self.pending])

    def _take(self, view: _View, functionals: np.ndarray) -> list[int]:
        """The rotations of a stretch, taken out of those that are left.

        It ends in view where the last one there stays behind. To go on for single ones would leave more behind than are
        looked at next.
        """
        order: list[int] = []
        while self.pending:
            stay = view.left(_met(view.x, functionals))[:, 0]
            at = np.array(self.pending)
            order += at[~stay].tolist()
            self.pending = at[stay].tolist()
            if stay[-1] or self.read == len(self.x):
                break
            view = self._look()
        return order

    # Choosing functionals ---------------------------------------------------------------------------------------------

    def _choose(self, view: _View) -> list[int]:
        """Functionals for the rotations in view, and for the observables once no others follow."""
        ranks = self._ranks()
        duals = dual(_completed([*view.x.tolist(), *self.sample.tolist()], self.n))
        every = np.array([*duals, *(f ^ g for f, g in combinations(duals, 2))], np.uint64)
        chosen: list[int] = []
        for _ in range(self.rank_bits):
            pool = _independent(every, chosen, ranks)
            score = self._score(view, pool, chosen)
            chosen.append(int(pool[np.argmax(score)]))  # among equals the rank's own, which come first
            assert score.max() >= 1 or not len(view.x), "candidates span what vanishes on any mask"
        return chosen

    def _score(self, view: _View, pool: np.ndarray, chosen: list[int]) -> np.ndarray:
        """Rotations taken, and where those are all there are, half the share of observables' strings that are local."""

        def outside(masks: np.ndarray) -> np.ndarray:
            return odd(masks[:, None] & pool) | _met(masks, np.array(chosen, np.uint64))

        score, fits = np.zeros(len(pool)), np.full(len(pool), self.read == len(self.x))
        if len(view.x):
            left = view.left(outside(view.x))
            score += len(left) - left.sum(axis=0)
            fits &= ~left.any(axis=0)
        if fits.any() and len(self.sample):
            score += 0.5 * fits * (1 - outside(self.sample).mean(axis=0))
        return score

    def _for_strings(self) -> None:
        """Stretches of no rotations at the end, for observables that are not local before: as many as cost least, each
        an exchange of psi forwards, and of psi and lambda backwards."""
        rest, begun = self._rest(self.strings), len(self.found)
        paid, best, kept = 0.0, float(self._swaps(rest)), begun
        while len(rest) and len(self.found) < begun + MOST_FOR_STRINGS:
            self.sample = rest[:: len(rest) // SAMPLE + 1]
            self.found.append(Stretch(np.zeros(0, np.int64), *self._coordinates(self._choose(self._look()))))
            exchange = self.found[-1].exchange
            if exchange is None:
                break
            paid += 3 * (1 - 2.0 ** -len(exchange.ranks))
            rest = self._rest(rest)
            if paid + self._swaps(rest) < best:
                best, kept = paid + self._swaps(rest), len(self.found)
        del self.found[kept:]

    def _rest(self, strings: np.ndarray) -> np.ndarray:
        """Those that are not local in the last stretch."""
        return strings[self.found[-1].coordinates.xs(strings) >> np.uint64(self.local) != 0]

    def _swaps(self, rest: np.ndarray) -> int:
        """Vectors that are moved for observables: for each other rank that strings lead to, and back from the last."""
        classes = len(np.unique(self.found[-1].coordinates.xs(rest) >> np.uint64(self.local)))
        return classes + (classes > 0)

    def _lay_out(self) -> None:
        """The same stretches in local coordinates of which functionals to come are bits, as far as there are bits for
        them: an exchange then moves whole blocks."""
        found, bits_left = self.found, list(range(LANE_BITS, self.local - piece_bits(self.local)))
        wanted: dict[int, int] = {}  # by bits
        basis = list(found[0].coordinates.rows[self.local :])
        for f in (f for s in found[1:] for f in s.coordinates.rows[self.local :]):
            if bits_left and len(_independent_ones([*basis, f])) > len(basis):
                basis.append(f)
                wanted[bits_left.pop()] = f
        units = iter(_completed(basis, self.n)[len(basis) :])
        rows = [wanted[q] if q in wanted else next(units) for q in range(self.local)]
        rows += found[0].coordinates.rows[self.local :]
        self.found = [found[0]._replace(coordinates=Coordinates.of(rows))]
        for stretch in found[1:]:
            chosen = stretch.coordinates.rows[self.local :]
            coordinates, exchange = self._coordinates(list(chosen))
            if set(coordinates.rows[self.local :]) != set(chosen):  # combined, which later ones do not know of
                self.found = found
                return
            self.found.append(Stretch(stretch.order, coordinates, exchange))

    # Coordinates ------------------------------------------------------------------------------------------------------

    def _ranks(self) -> tuple[int, ...]:
        """The functionals that are the rank's bits now; none before the first stretch."""
        return self.found[-1].coordinates.rows[self.local :] if self.found else ()

    def _coordinates(self, chosen: list[int]) -> tuple[Coordinates, Exchange | None]:
        """With these functionals as the rank's bits, and how they come about."""
        if not self.found:
            pivots, _ = _reduced(chosen, self.n)
            return Coordinates.of([1 << q for q in range(self.n) if q not in pivots] + chosen), None
        before = self.found[-1].coordinates
        rows = list(before.rows)
        new = [before.functional(f) for f in chosen if f not in rows[self.local :]]
        ranks = [k for k in range(self.local, self.n) if rows[k] not in chosen]
        pivots, functionals = _reduced(new, self.local)
        for rank, functional in zip(ranks, functionals, strict=True):
            rows[rank] = reduce(xor, (before.rows[k] for k in bits(functional)))
        for pivot, rank, functional in zip(pivots, ranks, functionals, strict=True):  # now of the new ranks
            rows[pivot] = reduce(xor, (rows[k] for k in bits(functional) if k != pivot), before.rows[rank])
        return Coordinates.of(rows), Exchange(tuple(pivots), tuple(ranks), tuple(functionals)) if ranks else None


def _met(masks: np.ndarray, functionals: np.ndarray) -> np.ndarray:
    """Whether one of the functionals does not vanish on each mask, as a column."""
    return np.logical_or.reduce(odd(masks[:, None] & functionals), axis=1)[:, None]


def _completed(masks: Iterable[int], n: int) -> list[int]:
    """The first independent ones of these masks, and as many unit vectors as make a basis of them."""
    return _independent_ones((*masks, *(1 << q for q in range(n))), n)


def _independent_ones(masks: Iterable[int], most: int = MAX_QUBITS) -> list[int]:
    """Those that are no sums of others before them."""
    span: dict[int, int] = {}  # by their highest bits
    basis: list[int] = []
    for mask in masks:
        rest = mask
        while rest and (top := rest.bit_length()) in span:
            rest ^= span[top]
        if rest:
            span[rest.bit_length()] = rest
            basis.append(mask)
            if len(basis) == most:
                break
    return basis


def _independent(pool: np.ndarray, chosen: list[int], ranks: tuple[int, ...]) -> np.ndarray:
    """What may join those chosen: first the rank's functionals, then candidates independent of those and the chosen."""
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
    ones, by which a rank's part is cut into pieces; lanes are the last choice."""
    rest, pivots = list(functionals), []
    for i in range(len(rest)):
        here = rest[i] & ((1 << local) - 1)
        assert here, "a new functional is independent of the rank's"
        under = here & ((1 << max(local - piece_bits(local), 0)) - 1)
        pivot = (under if under >> LANE_BITS else here).bit_length() - 1
        pivots.append(pivot)
        for k in range(len(rest)):
            if k != i and rest[k] >> pivot & 1:
                rest[k] ^= rest[i]
    return pivots, rest
