"""Closed formulas that methods share: the cost of a `Load`, and the loads of circuits that are read or described.

A circuit r that adds up to b_rp to component p in either direction needs b_rp sum_r' b_r'p / v shots for a variance v,
and the most that any component asks for (`Budget.allot`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.sampling.shape import Load, Shape

AMPLITUDE_BYTES = 16
MOST_LETTERS = 600  # of a string that shadows read: 3^w beyond is no floating-point number
LARGEST_STATE = 300  # qubits: beyond, 8^n is no floating-point number, and no number of seconds either


class Set(NamedTuple):
    """Rotations that one circuit reads: `size` of them, for `need` shots times variance / norm^2, once `undone`
    rotations of the repetition that they stand in are undone. largest: what one shot can count, over the
    norm; 0 where nobody asks."""

    size: float
    need: float
    undone: float
    largest: float = 0.0


@dataclass(frozen=True)
class Sets:
    """`members` in the order of the undoing, so many times one after another. bound: these are the most there can be,
    of the longest strings."""

    times: float
    members: tuple[Set, ...]
    bound: bool = False

    def load(self, rotations: int, terms: int, norm: float) -> Load:
        """A state for each term and set, prepared by M rotations and undone down to the set."""
        each = sum(s.size for s in self.members)
        average, most = rotations + each * (self.times - 1) / 2, rotations + each * (self.times - 1)
        shots = norm**2 * self.times
        return Load(
            self.times * len(self.members) * terms,
            shots * sum(s.need for s in self.members),
            shots * sum(s.need * (average + s.undone) for s in self.members),
            most + max(s.undone for s in self.members),
            shots * sum(s.need * s.size for s in self.members),
            bound=self.bound,
            in_sets=True,
            largest=max(s.largest / s.need for s in self.members) / norm,
        )


@dataclass(frozen=True, kw_only=True)
class Described:
    """A circuit that is described, not built. n qubits, M rotations, all trained; terms T of norm sum |u_t|, read in
    groups of outcomes within ±b_g (ranges) with so many strings each (reads).

    needs: the sum over parameters of (sum_m |da_m/dtheta|)^2. sets: of commuting rotations, for pair states;
    shadow_sets: those that a random measurement serves, which need not commute, and whose need counts 3^w for strings
    of w letters; letters: of the longest, the ancilla's included. blocks: commuting blocks, 0 if none are known.
    one_state: whether all components are Pauli strings on one state.
    """

    qubits: int
    rotations: int
    terms: int
    norm: float
    ranges: tuple[float, ...]
    reads: tuple[float, ...]
    needs: float
    sets: Sets
    shadow_sets: Sets
    letters: int
    blocks: int = 0
    one_state: bool = False

    def own_circuits(self, runs: float) -> Load:
        return own_circuits(self.rotations, runs, self.needs, self.ranges, self.reads)


def own_circuits(rotations: int, runs: float, total: float, ranges: Sequence[float], reads: Sequence[float]) -> Load:
    """Circuits of M rotations for every group g, with b_g B total shots times the variance."""
    B = sum(ranges)
    shots = B * B * total
    ops = B * total * sum(b * r for b, r in zip(ranges, reads, strict=True))
    return Load(runs * len(ranges), shots, shots * rotations, rotations, ops)


def gathered(parts: Sequence[Sequence[int]], rotations: int) -> sp.csr_matrix:
    """1 where rotation m is in part r, (parts, M)."""
    ends = np.cumsum([0, *map(len, parts)])
    members = np.concatenate([np.asarray(p, np.int64) for p in parts])
    return sp.csr_matrix((np.ones(len(members)), members, ends), (len(parts), rotations))


def needed(bounds: sp.csr_matrix) -> np.ndarray:
    """max_p b_rp sum_r' b_r'p, (R,)."""
    columns = np.asarray(bounds.sum(axis=0)).ravel()
    return np.asarray(bounds.multiply(columns[None, :]).tocsr().max(axis=1).todense()).ravel()


def cost_of_load(shape: Shape, load: Load, variance: float, ancillas: int = 0) -> Cost:
    """shots = load / variance in all, one at least for each circuit."""
    if not load.circuits or not load.shots:
        return Cost()
    each = max(1, math.ceil(load.shots / load.circuits / variance * (1 - 1e-12)))
    shots = round(load.circuits) * each
    return Cost(
        copies=shots,
        rotations=round(shots * (load.rotations / load.shots)),
        measurements=shots,
        depth=round(load.depth),
        qubits=shape.qubits + ancillas,
        classical_ops=round(shots * (load.ops / load.shots)),
    )


def own_runs(shape: Shape, shots: int, reads: float) -> Cost:
    """Runs of the model's own circuit, each read as so many strings."""
    return Cost(
        copies=shots,
        rotations=shots * shape.rotations,
        measurements=shots,
        depth=shape.rotations,
        qubits=shape.qubits,
        classical_ops=round(shots * reads),
    )


def amplitudes(shape: Shape) -> int:
    """2^n."""
    if shape.qubits > LARGEST_STATE:
        raise QupropError(
            f"a state of {shape.qubits:,} qubits has 2^{shape.qubits:,} amplitudes; no machine holds them"
        )
    return 1 << shape.qubits
