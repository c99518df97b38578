"""Where to cut: fragments of at most k qubits with the least sampling overhead.

The overhead is gamma^2, gamma the product of a factor for every cut: `Step.factor` for a gate shared by several
fragments, 4 for a wire (Peng, Harrow, Ozols, Wu, Phys. Rev. Lett. 125, 150504 (2020), arXiv:1904.00102). So the
logarithms add, and cutting is a weighted partition of the wires' pieces with a capacity. Two searches, the better wins:

* `_sweep` walks through the gates in order. At each one whose wires are in different blocks it may merge the blocks,
  cut the gate, or cut a wire and go on in the other block. States that agree on the blocks of the wires and on their
  sizes are one, the cheapest. As long as nothing has to be dropped for width, the result is optimal (for gates of one
  and two qubits).
* `_partition` cuts gates only: blocks grown along heavy edges or sliced from a spectral order, then improved by moves
  and swaps until none helps (Kernighan and Lin, Bell Syst. Tech. J. 49, 291 (1970)). Good for graphs of clusters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.modules.cutting.steps import Step

WIRE = 4.0  # kappa of a cut wire
WORK = 1_500_000  # of `_sweep`, in states looked at times wires: about a second
STARTS = 12  # of `_partition`
READS = 10_000_000  # of gates' wires by `_improve`, all starts together: a second or two
_TINY = 1e-9


class Layout(NamedTuple):
    """breaks[wire]: the steps before which the wire is cut, ascending; home[wire]: the fragment of each piece."""

    breaks: tuple[tuple[int, ...], ...]
    home: tuple[tuple[int, ...], ...]

    def piece(self, wire: int, step: int) -> int:
        """Which piece of the wire a step acts on."""
        return sum(b <= step for b in self.breaks[wire])

    def fragment(self, wire: int, step: int) -> int:
        return self.home[wire][self.piece(wire, step)]

    @property
    def n_fragments(self) -> int:
        return 1 + max(f for row in self.home for f in row)

    @property
    def sizes(self) -> list[int]:
        flat = [f for row in self.home for f in row]
        return [flat.count(f) for f in range(self.n_fragments)]

    def gate_cuts(self, steps: Sequence[Step]) -> list[tuple[int, int]]:
        """(step, number of fragments that share it) for every step shared by several."""
        shared = ((t, len({self.fragment(w, t) for w in s.wires})) for t, s in enumerate(steps) if len(s.wires) > 1)
        return [(t, parts) for t, parts in shared if parts > 1]

    def log_kappa(self, steps: Sequence[Step]) -> float:
        gates = sum(math.log(steps[t].factor(parts)) for t, parts in self.gate_cuts(steps))
        return gates + sum(map(len, self.breaks)) * math.log(WIRE)


def find(n: int, steps: Sequence[Step], most: int | None, wires: bool) -> tuple[Layout, bool]:
    """The best layout found with at most `most` qubits a fragment (None: no limit), and whether it is optimal."""
    groups = components(n, steps)
    breaks: list[tuple[int, ...]] = [()] * n
    home: list[tuple[int, ...]] = [()] * n
    optimal, count = True, 0
    for group in groups:
        if most is None or len(group) <= most:
            found, proved = _whole(group), True
        else:
            found, proved = _split(group, [(t, s) for t, s in enumerate(steps) if s.wires[0] in group], most, wires)
        for w, (cut, homes) in found.items():
            breaks[w], home[w] = cut, tuple(count + f for f in homes)
        count += 1 + max(f for _, homes in found.values() for f in homes)
        optimal &= proved
    return Layout(tuple(breaks), tuple(home)), optimal


def components(n: int, steps: Iterable[Step]) -> list[list[int]]:
    """Wires that gates join, directly or not: what needs no cut."""
    forest = _Forest(n)
    for s in steps:
        for w in s.wires[1:]:
            forest.join(s.wires[0], w)
    return forest.groups()


def by_hand(n: int, steps: Sequence[Step], gates: set[int], wires: Sequence[tuple[int, int]]) -> Layout:
    """The fragments that remain when these steps are shared and these wires are cut before these steps."""
    breaks = tuple(tuple(sorted(t for w, t in wires if w == wire)) for wire in range(n))
    first = list(itertools.accumulate((len(b) + 1 for b in breaks), initial=0))
    forest = _Forest(first[-1])

    def piece(w: int, t: int) -> int:
        return first[w] + sum(b <= t for b in breaks[w])

    for t, s in enumerate(steps):
        if t not in gates:
            for w in s.wires[1:]:
                forest.join(piece(s.wires[0], t), piece(w, t))
    number = {p: k for k, group in enumerate(forest.groups()) for p in group}
    return Layout(breaks, tuple(tuple(number[first[w] + i] for i in range(len(breaks[w]) + 1)) for w in range(n)))


class _Forest:
    """Disjoint sets."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def root(self, a: int) -> int:
        while self.parent[a] != a:
            self.parent[a] = a = self.parent[self.parent[a]]
        return a

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        self.parent[max(a, b)] = min(a, b)

    def groups(self) -> list[list[int]]:
        out: dict[int, list[int]] = {}
        for a in range(len(self.parent)):
            out.setdefault(self.root(a), []).append(a)
        return list(out.values())


_Pieces = dict[int, tuple[tuple[int, ...], tuple[int, ...]]]  # wire -> its breaks and homes


def _whole(group: list[int]) -> _Pieces:
    return dict.fromkeys(group, ((), (0,)))


def _split(group: list[int], steps: list[tuple[int, Step]], most: int, wires: bool) -> tuple[_Pieces, bool]:
    joint = [(t, s) for t, s in steps if len(s.wires) > 1]
    block, upper = _partition(group, [s for _, s in joint], most)
    found: _Pieces = {w: ((), (block[w],)) for w in group}
    better, proved = _sweep(group, joint, most, wires, upper)
    return (found if better is None else better), proved


# --- walking through the gates


class _Node(NamedTuple):
    cost: float
    blocks: tuple[int, ...]  # of each wire, numbered by first appearance
    sizes: tuple[int, ...]  # of each block that still holds a wire
    before: tuple[Any, ...] | None  # (node, step, merged wire pairs, wires cut)


def _sweep(
    group: list[int], joint: list[tuple[int, Step]], most: int, wires: bool, upper: float
) -> tuple[_Pieces | None, bool]:
    """A layout cheaper than `upper` (None if none is found), and whether the search has seen everything."""
    place = {w: i for i, w in enumerate(group)}
    width = max(20, WORK // (4 * max(len(joint), 1) * len(group)))
    proved = all(len(s.wires) == 2 for _, s in joint)
    beam = [_Node(0.0, tuple(range(len(group))), (1,) * len(group), None)]
    for t, step in joint:
        legs = [place[w] for w in step.wires]
        kept: dict[tuple[tuple[int, ...], tuple[int, ...]], _Node] = {}
        for node in beam:
            for following in _choices(node, t, step, legs, most, wires):
                key = following.blocks, following.sizes
                if following.cost < upper - _TINY and (key not in kept or following.cost < kept[key].cost - _TINY):
                    kept[key] = following
        beam = sorted(kept.values(), key=lambda node: (node.cost, len(node.sizes)))
        if len(beam) > width:
            beam, proved = beam[:width], False
    return (_replay(min(beam, key=lambda node: node.cost), group, place) if beam else None), proved


def _choices(node: _Node, t: int, step: Step, legs: list[int], most: int, wires: bool) -> Iterable[_Node]:
    blocks, sizes = node.blocks, node.sizes
    met = list(dict.fromkeys(blocks[i] for i in legs))
    if len(met) == 1:
        yield node
        return
    for joined in [met] + [list(pair) for pair in itertools.combinations(met, 2) if 2 < len(met) <= 4]:
        if sum(sizes[b] for b in joined) <= most:
            parts = len(met) - len(joined) + 1
            merged = [joined[0] if b in joined else b for b in blocks]
            total = {joined[0]: sum(sizes[b] for b in joined)}
            wire_of = {blocks[i]: i for i in legs}
            pairs = [(wire_of[joined[0]], wire_of[b]) for b in joined[1:]]
            yield _node(node, t, math.log(step.factor(parts)), merged, total, pairs, [])
    yield node._replace(cost=node.cost + math.log(step.factor(len(met))), before=(node, t, [], []))
    if wires and len(legs) == 2:
        u, v = legs
        for moved, stays in ((u, v), (v, u)):
            target = blocks[stays]
            if sizes[target] + 1 <= most:
                after = [target if i == moved else b for i, b in enumerate(blocks)]
                yield _node(node, t, math.log(WIRE), after, {target: sizes[target] + 1}, [(stays, moved)], [moved])
        if most >= 2:
            new = len(sizes)
            after = [new if i in legs else b for i, b in enumerate(blocks)]
            yield _node(node, t, 2 * math.log(WIRE), after, {new: 2}, [(u, v)], [u, v])


def _node(
    node: _Node,
    t: int,
    cost: float,
    blocks: list[int],
    changed: dict[int, int],
    pairs: list[tuple[int, int]],
    cut: list[int],
) -> _Node:
    number: dict[int, int] = {}
    renamed = tuple([number.setdefault(b, len(number)) for b in blocks])
    sizes = tuple([changed[b] if b in changed else node.sizes[b] for b in number])
    return _Node(node.cost + cost, renamed, sizes, (node, t, pairs, cut))


def _replay(node: _Node, group: list[int], place: dict[int, int]) -> _Pieces:
    actions = []
    while node.before is not None:
        node, t, pairs, cut = node.before
        actions.append((t, pairs, cut))
    now = list(range(len(group)))  # the piece each wire is at
    owner = list(range(len(group)))
    breaks: list[list[int]] = [[] for _ in group]
    joins = []
    for t, pairs, cut in reversed(actions):
        for i in cut:
            breaks[i].append(t)
            now[i] = len(owner)
            owner.append(i)
        joins += [(now[a], now[b]) for a, b in pairs]
    forest = _Forest(len(owner))
    for a, b in joins:
        forest.join(a, b)
    number = {p: k for k, pieces in enumerate(forest.groups()) for p in pieces}
    homes = [tuple(number[p] for p, wire in enumerate(owner) if wire == i) for i in range(len(group))]
    return {w: (tuple(breaks[place[w]]), homes[place[w]]) for w in group}


# --- partition of the wires, gates cut only


def _partition(group: list[int], joint: list[Step], most: int) -> tuple[dict[int, int], float]:
    """Blocks of at most `most` wires, and the log of gamma of the gates that they share."""
    gathered: dict[tuple[int, ...], list[float]] = {}
    for s in joint:
        table = gathered.setdefault(tuple(sorted(s.wires)), [0.0] * (len(s.wires) + 1))
        for parts in range(1, len(s.wires) + 1):
            table[parts] += math.log(s.factor(parts))
    place = {w: i for i, w in enumerate(group)}
    edges = [(tuple(place[w] for w in ws), table) for ws, table in gathered.items()]
    n = len(group)
    weight = np.zeros((n, n))
    for legs, table in edges:
        for a, b in itertools.combinations(legs, 2):
            weight[a, b] += table[-1] / (len(legs) - 1)
            weight[b, a] = weight[a, b]
    rng = np.random.default_rng(0)  # the search is part of no estimate: any fixed seed will do
    best, least, left = [0] * n, math.inf, READS
    for start in range(STARTS):
        block = _sliced(weight, most, start) if start < 2 else _grown(weight, most, rng, start > 2)
        cost, left = _improve(block, edges, most, left)
        if cost < least - _TINY:
            best, least = block, cost
    number: dict[int, int] = {}
    return {w: number.setdefault(b, len(number)) for w, b in zip(group, best, strict=True)}, least


def _sliced(weight: np.ndarray, most: int, vector: int) -> list[int]:
    """Slices of the order that an eigenvector of the Laplacian puts the wires in (Fiedler's, then the next)."""
    n = len(weight)
    values, vectors = np.linalg.eigh(np.diag(weight.sum(axis=0)) - weight)
    del values
    order = np.argsort(vectors[:, min(vector + 1, n - 1)], kind="stable")
    count = -(-n // most)
    block = [0] * n
    for rank, w in enumerate(order):
        block[int(w)] = rank * count // n
    return block


def _grown(weight: np.ndarray, most: int, rng: np.random.Generator, noisy: bool) -> list[int]:
    """Blocks merged along the heaviest connection that fits, per wire of the smaller; with noise for other starts."""
    joined = weight * (rng.uniform(0.5, 1.5, weight.shape) if noisy else 1.0)
    joined = joined + joined.T
    members = [[w] for w in range(len(weight))]
    while True:
        sizes = np.array([len(m) for m in members])
        fits = sizes[:, None] + sizes[None, :] <= most
        score = np.where(fits & (joined > 0), joined / np.minimum(sizes[:, None], sizes[None, :]), -1.0)
        np.fill_diagonal(score, -1.0)
        a, b = sorted(divmod(int(np.argmax(score)), len(members)))
        if score[a, b] <= 0:
            return [next(k for k, m in enumerate(members) if w in m) for w in range(len(weight))]
        members[a] += members.pop(b)
        joined[a] += joined[b]
        joined[:, a] = joined[a]
        joined = np.delete(np.delete(joined, b, 0), b, 1)
        joined[a, a] = 0.0


def _improve(
    block: list[int], edges: list[tuple[tuple[int, ...], list[float]]], most: int, left: int
) -> tuple[float, int]:
    """Moves and swaps of wires, the best of each round, while they make it cheaper; `block` is changed in place.

    left: how much may still be read; a round that needs more is not begun. Returns the cost, and what is left.
    """
    n = len(block)
    touching: list[list[tuple[tuple[int, ...], list[float]]]] = [[] for _ in range(n)]
    for edge in edges:
        for w in edge[0]:
            touching[w].append(edge)

    reads = [2 * sum(len(legs) for legs, _ in around) for around in touching]

    def cost(some: Iterable[tuple[tuple[int, ...], list[float]]]) -> float:
        return sum(table[len({block[w] for w in legs})] for legs, table in some)

    def gain(changes: list[tuple[int, int]]) -> float:
        around = {id(e): e for w, _ in changes for e in touching[w]}.values()
        before, old = cost(around), [(w, block[w]) for w, _ in changes]
        for w, b in changes:
            block[w] = b
        after = cost(around)
        for w, b in old:
            block[w] = b
        return before - after

    while True:
        sizes = {b: block.count(b) for b in block}
        near = [{block[v] for legs, _ in touching[w] for v in legs} - {block[w]} for w in range(n)]
        options = [[(w, b)] for w in range(n) for b in near[w] if sizes[b] < most]
        options += [
            [(w, block[v]), (v, block[w])]
            for w in range(n)
            for v in range(n)
            if block[v] in near[w] and (v > w or block[w] not in near[v]) and sizes[block[v]] == most
        ]
        left -= (work := sum(reads[w] for o in options for w, _ in o))
        gains = [gain(o) for o in options] if left >= 0 else []
        if not gains or max(gains) <= _TINY:
            return cost(edges), left if gains else left + work
        for w, b in options[int(np.argmax(gains))]:
            block[w] = b
