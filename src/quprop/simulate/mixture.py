"""Qubits of a light cone that stay classical: cones that are too wide for a state become mixtures of small ones.

Say a qubit is turned by rotations of its own first, and all strings of the cone after these meet it as I or as one and
the same letter. Then only the outcomes of that letter count, ±1 with a mean from the Bloch vector; and of qubits that
are in the same strings only the outcomes' product, whose mean is the product of the means. So a cone with G such groups
is a mixture of 2^G cones without these qubits, with signs b in front of strings:

    F = sum_b F_b prod_g (1 + b_g m_g) / 2,      m_g = prod_q m_q.

The rotations of a CX ladder are of this kind: their strings are as long as the ladder, and all Z on most of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quprop.model.commutation import bits
from quprop.model.pauli import PauliString

MOST_GROUPS = 6  # 64 small cones each


class Reduced(NamedTuple):
    """A cone without its classical qubits. members: the rotations that stay; strings: theirs and then the term's, on
    the qubits that stay; groups: the factors of each, and which of the strings it is in, as bits."""

    members: list[int]
    strings: list[PauliString]
    groups: list[tuple[np.ndarray, int]]


class Mixed(NamedTuple):
    """Weights (B, count), means of the groups (groups, B) and factors (3 n, B), and the slopes of the factors that are
    in a group."""

    weights: np.ndarray
    products: np.ndarray
    means: np.ndarray
    slopes: dict[int, list[np.ndarray]]


class Mixtures:
    """All mixtures of a model, whose input is |start>. Factor 3 q + letter (0, 1, 2 for X, Y, Z) is the mean of that
    letter on qubit q after the qubit's first rotations. groups: the factors of each. cones: the groups of each. Weight
    0 is 1; then come 2^G for each cone."""

    def __init__(self, strings: Sequence[PauliString], start: int) -> None:
        self._strings, self._start = strings, start
        self.late = 0  # rotations that are not among the first of a qubit, as bits
        self._first: dict[int, list[tuple[int, int]]] = {}  # of each qubit: those before all others, and their letters
        touched = 0
        for m, p in enumerate(strings):
            mask = p.x | p.z
            if mask & (mask - 1) or mask & touched:
                touched |= mask
                self.late |= 1 << m
            else:
                self._first.setdefault(mask.bit_length() - 1, []).append((m, 2 if not p.x else 1 if p.z else 0))
        self.groups: list[np.ndarray] = []
        self.cones: list[list[int]] = []
        self.count = 1

    def reduced(self, late: list[int], term: PauliString) -> Reduced | None:
        """The cone of a term without its classical qubits, late being its rotations among `self.late`; None if there
        are too many groups of them."""
        met = [*(self._strings[m] for m in late), term]
        x_any = y_any = z_any = 0
        for p in met:
            x_any, y_any, z_any = x_any | (p.x & ~p.z), y_any | (p.x & p.z), z_any | (p.z & ~p.x)
        several = (x_any & y_any) | (x_any & z_any) | (y_any & z_any)
        patterns = {0: (x_any | y_any | z_any) & ~several}  # strings, as bits: the qubits that are in just these
        for s, p in enumerate(met):
            split: dict[int, int] = {}
            for where, qubits in patterns.items():
                inside = qubits & (p.x | p.z)
                if inside:
                    split[where | 1 << s] = inside
                if qubits & ~inside:
                    split[where] = qubits & ~inside
            patterns = split
            if len(patterns) > MOST_GROUPS:
                return None
        members = sorted(m for q in bits(several) for m, _ in self._first.get(q, ()))
        strings = [self._strings[m] for m in members] + [PauliString(p.x & several, p.z & several) for p in met]
        groups = []
        for where, qubits in patterns.items():
            q = np.array(bits(qubits))
            letter = np.where(_flags(x_any, q), 0, np.where(_flags(y_any, q), 1, 2))
            groups.append((3 * q + letter, where << len(members)))
        return Reduced(members + late, strings, groups)

    def add(self, groups: Sequence[np.ndarray]) -> list[tuple[int, tuple[int, ...]]]:
        """A cone of these groups: its weights, and the outcomes b as 0 (for +1) and 1 of each."""
        self.cones.append(list(range(len(self.groups), len(self.groups) + len(groups))))
        self.groups += groups
        outcomes = list(itertools.product((0, 1), repeat=len(groups)))
        self.count += len(outcomes)
        return list(zip(range(self.count - len(outcomes), self.count), outcomes, strict=True))

    def pullback(self, mixed: Mixed, angles: np.ndarray, d_weights: np.ndarray) -> np.ndarray:
        """Derivatives by the angles (B, M) from those by the weights (B, count); mixed: `at` the angles."""
        _, products, means, slopes = mixed
        d_means = np.zeros_like(means)
        at = 1
        for cone in self.cones:
            parts = _halves(products[cone])  # (G, 2, B)
            outcomes = list(itertools.product((0, 1), repeat=len(cone)))
            for g, group in enumerate(cone):
                total = np.zeros(len(angles))
                for k, b in enumerate(outcomes):
                    others = np.prod([parts[h, b[h]] for h in range(len(cone)) if h != g], axis=0)
                    total += d_weights[:, at + k] * (0.5 - b[g]) * others
                ids = self.groups[group]
                np.add.at(d_means, ids, total * _without_each(means[ids]))
            at += len(outcomes)
        out = np.zeros_like(angles)
        for factor, by_angle in slopes.items():
            for (m, _), slope in zip(self._first.get(factor // 3, ()), by_angle, strict=True):
                out[:, m] += d_means[factor] * slope
        return out

    def at(self, angles: np.ndarray) -> Mixed:
        """From all angles (B, M)."""
        batch = len(angles)
        used = np.unique(np.concatenate(self.groups)).tolist() if self.groups else []
        means, slopes = np.zeros((max(used, default=0) + 1, batch)), {}
        for factor in used:
            q, letter = divmod(factor, 3)
            start = -1 if self._start >> q & 1 else 1
            means[factor], slopes[factor] = _bloch(start, letter, self._first.get(q, ()), angles)
        products = np.array([np.prod(means[ids], axis=0) for ids in self.groups]).reshape(-1, batch)
        weights = np.ones((batch, self.count))
        at = 1
        for cone in self.cones:
            parts = _halves(products[cone])
            for b in itertools.product((0, 1), repeat=len(cone)):
                weights[:, at] = np.prod([parts[g, b[g]] for g in range(len(cone))], axis=0)
                at += 1
        return Mixed(weights, products, means, slopes)


def _halves(products: np.ndarray) -> np.ndarray:
    """(1 + m)/2 and (1 - m)/2, (G, 2, B)."""
    return np.stack([1 + products, 1 - products], axis=1) / 2


def _without_each(values: np.ndarray) -> np.ndarray:
    """The product of all rows but one, for each (k, B); no division, so zeros are harmless."""
    ones = np.ones((1, values.shape[1]))
    before = np.cumprod(np.concatenate([ones, values[:-1]]), axis=0)
    after = np.cumprod(np.concatenate([ones, values[:0:-1]]), axis=0)[::-1]
    return before * after


def _flags(mask: int, qubits: np.ndarray) -> np.ndarray:
    raw = np.frombuffer(mask.to_bytes(int(qubits.max()) // 8 + 1 + (mask.bit_length() + 7) // 8, "little"), np.uint8)
    return np.unpackbits(raw, bitorder="little")[qubits].astype(bool)


def _bloch(
    start: int, letter: int, turns: Sequence[tuple[int, int]], angles: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """<letter> after the rotations (B,), and its slopes by their angles."""
    vector = np.zeros((3, len(angles)))
    vector[2] = start
    after = []
    for m, axis in turns:
        vector = _turned(vector, axis, angles[:, m])
        after.append(vector)
    dual = np.zeros_like(vector)
    dual[letter] = 1.0
    slopes: list[np.ndarray] = []
    for (m, axis), reached in zip(reversed(turns), reversed(after), strict=True):
        j, k = (axis + 1) % 3, (axis + 2) % 3
        slopes.append(dual[k] * reached[j] - dual[j] * reached[k])  # dual . (axis x reached)
        dual = _turned(dual, axis, -angles[:, m])
    return vector[letter], slopes[::-1]


def _turned(vector: np.ndarray, axis: int, angle: np.ndarray) -> np.ndarray:
    """exp(-i angle A / 2) turns a Bloch vector by the angle about A."""
    j, k = (axis + 1) % 3, (axis + 2) % 3
    c, s = np.cos(angle), np.sin(angle)
    out = vector.copy()
    out[j], out[k] = c * vector[j] - s * vector[k], s * vector[j] + c * vector[k]
    return out
