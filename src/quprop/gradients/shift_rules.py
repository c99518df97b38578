"""Shift rules: the derivative of a trigonometric polynomial from its values at a few shifted points.

Rotations that one parameter drives in fixed proportion, a_m = c_m d + ..., and that commute with each other and with
whatever stands between them, are exp(-i d G) with G = 1/2 sum_m c_m P_m. As a function of d the expectation value then
has the frequencies |l - l'| of the eigenvalues l of G and no other, and with R of them

    dF/dd = sum_k y_k [F(d + x_k) - F(d - x_k)],   2 sum_k y_k sin(W x_k) = W for every frequency W,

R pairs of runs (Wierichs, Izaac, Wang, Lin, Quantum 6, 677 (2022), arXiv:2107.12390). Two runs for each rotation is the
rule of R = 1 applied to the rotations one by one. The general rule needs fewer runs only where the strings P_m are
dependent: for independent ones the frequencies are all sums of {-|c_m|, 0, |c_m|}, and |A + B| >= |A| + |B| - 1 for
sets of numbers makes R at least the number of rotations. So it is tried on connected sets of dependent strings.

The rule's price in shots is (2 sum |y|)^2, and 2 sum |y| is never less than the largest frequency (sin(W x) attains
it), which both rules below reach; shifting the rotations one by one pays sum |c_m|, which is no less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quprop.errors import QupropError, nearest
from quprop.model import Model
from quprop.model.angle import PARAM
from quprop.model.pauli import PauliString
from quprop.sampling.joint import diagonalise

Rule = Literal["auto", "two_term", "general"]
RULES: tuple[Rule, ...] = ("auto", "two_term", "general")
_SAME = 1e-9  # frequencies closer than this, relative to the largest, are one
_LARGEST_RANK = 14  # of dependent strings whose 2^rank joint eigenvalues are listed; above, a superset serves
_MOST_SOLVED = 40  # frequencies of a linear program that takes a second; it grows with their fourth power
_GRID = 192  # points per oscillation of the largest frequency among which shifts are chosen


@dataclass(frozen=True, eq=False)
class Shift:
    """Rotations moved together: run k adds shifts[k] scales[m] to the angle of rotations[m].

    With the angle of rotations[0] as d (scales[0] = 1), dF/dd = sum_k coefficients[k] F(run k).
    """

    rotations: tuple[int, ...]
    scales: np.ndarray
    shifts: np.ndarray
    coefficients: np.ndarray


def shifts_of(model: Model, driven: Sequence[int], rule: Rule = "auto") -> list[Shift]:
    """The runs that give every derivative dF/da_m as far as theta drives it, by the rule with the fewest runs.

    "two_term": two runs for each rotation; "general": the general rule wherever rotations can be moved together;
    "auto": the general rule where it needs fewer runs. A set of rotations that moves nothing gets no run.
    """
    if rule not in RULES:
        raise QupropError(f"rule is {', '.join(RULES)}, got {rule!r}; {nearest(str(rule), RULES)}")
    if rule == "two_term":
        return [_one(m) for m in driven]
    found: list[Shift] = []
    for members, scales in _movable(model, driven):
        found += _best(model, members, scales, rule)
    return sorted(found, key=lambda s: s.rotations)


def rule_of(frequencies: Sequence[float]) -> tuple[np.ndarray, np.ndarray] | None:
    """Shifts x_k and coefficients y_k, (R,), of the pairs y_k [F(x_k) - F(-x_k)] for the positive frequencies given.

    Multiples 1 ... R of one frequency: the closed form x_k = (2k - 1) pi / (2 R W), y_k = (-1)^(k-1) W / (4 R
    sin^2(W x_k / 2)) (Wierichs et al., section 3). Otherwise the shifts on a fine grid with the least sum |y|: a linear
    program, whose corner solutions have R pairs at most. Many frequencies of which few multiples are missing, such as
    those of integer costs, take the closed form of all multiples. None: the frequencies are too close to be told apart.
    """
    w = np.sort(np.asarray(frequencies, float))
    R = len(w)
    if R == 0:
        return np.zeros(0), np.zeros(0)
    if np.allclose(w, w[0] * np.arange(1, R + 1), rtol=_SAME):
        return _equidistant(w[0], R)
    step = min(w[0], float(np.diff(w).min()))
    multiples = np.round(w / step)
    if R > _MOST_SOLVED and multiples[-1] <= 2 * R and np.allclose(w, step * multiples, rtol=_SAME):
        return _equidistant(w[-1] / multiples[-1], int(multiples[-1]))
    from scipy.optimize import linprog  # slow to import, and rarely needed

    unit = w / w[-1]
    gap = min(unit[0], float(np.diff(unit).min()))
    span = np.pi * min(1 / gap, 64.0)
    for reach in (1, 4):  # close frequencies need distant shifts, and a longer grid
        grid = np.linspace(0, reach * span, 1 + int(reach * span / (2 * np.pi) * _GRID))[1:]
        sines = 2 * np.sin(unit[:, None] * grid)
        solved = linprog(
            np.ones(2 * len(grid)), A_eq=np.hstack([sines, -sines]), b_eq=unit, bounds=(0, None), method="highs-ds"
        )
        if solved.status != 0:
            continue
        y = solved.x[: len(grid)] - solved.x[len(grid) :]
        used = np.flatnonzero(np.abs(y) > 1e-12)
        exact = np.linalg.lstsq(sines[:, used], unit, rcond=None)[0]  # the solver stops at 1e-7
        if np.abs(sines[:, used] @ exact - unit).max() < 1e-10:
            return grid[used] / w[-1], exact * w[-1]
    return None


def _equidistant(step: float, R: int) -> tuple[np.ndarray, np.ndarray]:
    """The rule of all multiples 1 ... R of a frequency."""
    k = np.arange(1, R + 1)
    x = (2 * k - 1) * np.pi / (2 * R * step)
    return x, (-1.0) ** (k - 1) * step / (4 * R * np.sin(step * x / 2) ** 2)


def frequencies(strings: Sequence[PauliString], scales: np.ndarray, n: int, limit: int) -> np.ndarray | None:
    """The positive differences of the eigenvalues of 1/2 sum_m scales[m] P_m for commuting strings; None if there are
    more than `limit` of them (or more than `limit` of a superset, for strings of a large rank)."""
    _, masks, signs = diagonalise(strings, n)
    basis, inside = _coordinates([int(m) for m in masks])
    tolerance = _SAME * float(np.abs(scales).sum())
    if len(basis) > _LARGEST_RANK:
        sums = np.zeros(1)
        for c in np.abs(scales):
            sums = _distinct(np.concatenate([sums, sums + c, np.abs(sums - c)]), tolerance)
            if np.count_nonzero(sums > tolerance) > limit:
                return None
        return sums[sums > tolerance]
    patterns = np.arange(1 << len(basis))
    values = np.zeros(len(patterns))
    for coordinates, c in zip(inside, signs * scales / 2, strict=True):
        values += c * (1.0 - 2.0 * (np.bitwise_count(patterns & coordinates) & 1))
    values = _distinct(values, tolerance)
    if len(values) - 1 > limit:
        return None
    differences = _distinct(np.abs(values[:, None] - values).ravel(), tolerance)
    differences = differences[differences > tolerance]
    return differences if len(differences) <= limit else None


def _movable(model: Model, driven: Sequence[int]) -> Iterable[tuple[list[int], np.ndarray]]:
    """The driven rotations in sets that one variable drives in proportion and that can be brought together."""
    drivers: dict[object, list[tuple[int, float]]] = {}
    for m in driven:
        terms = [(mono, c) for mono, c in model.rotations[m].angle.terms if any(v[0] == PARAM for v in mono)]
        first = terms[0][1]
        key = tuple((mono, round(c / first, 12)) for mono, c in terms)
        drivers.setdefault(key, []).append((m, first))
    strings = [PauliString(r.x, r.z) for r in model.rotations]
    for rotations in drivers.values():
        sets: list[tuple[list[int], list[float]]] = []
        for m, c in rotations:
            for members, scales in reversed(sets):
                # m is moved back to the set: past rotations that are not of the set it must commute too, and past no
                # channel, whose errors would turn strings the other way.
                noisy = any(members[0] < c.place <= m for c in model.channels)
                if not noisy and all(strings[m].commutes(strings[k]) for k in range(members[0], m)):
                    members.append(m)
                    scales.append(c)
                    break
            else:
                sets.append(([m], [c]))
        for members, scales in sets:
            yield members, np.array(scales)


def _best(model: Model, members: list[int], scales: np.ndarray, rule: Rule) -> list[Shift]:
    if len(members) == 1:
        return [_one(members[0])]
    strings = [PauliString(model.rotations[m].x, model.rotations[m].z) for m in members]
    if rule == "general":
        return _general(model, members, strings, scales, limit=1 << 12)
    found = []
    for part in _connected(strings, model.n_qubits):
        # An excitation is the strings of one x mask: a parameter that drives several may do better one by one.
        masks = sorted({strings[i].x for i in part})
        ways = [[part], [[i for i in part if strings[i].x == x] for x in masks]]
        options = []
        for way in ways if len(masks) > 1 else ways[:1]:
            option: list[Shift] = []
            for piece in way:
                chosen = [members[i] for i in piece]
                option += _general(model, chosen, [strings[i] for i in piece], scales[piece], limit=len(piece) - 1)
            options.append(option)
        found += min(options, key=lambda shifts: sum(len(s.shifts) for s in shifts))
    return found


def _general(
    model: Model, members: list[int], strings: list[PauliString], scales: np.ndarray, limit: int
) -> list[Shift]:
    """The general rule, or two runs for each rotation where it would need more than `limit` pairs."""
    scales = scales / scales[0]
    found = frequencies(strings, scales, model.n_qubits, limit) if len(members) > 1 else None
    pairs = None if found is None else rule_of(found.tolist())
    if pairs is None or len(pairs[0]) > limit:
        return [_one(m) for m in members]
    x, y = pairs
    if not len(x):
        return []
    return [Shift(tuple(members), scales, np.concatenate([x, -x]), np.concatenate([y, -y]))]


def _one(m: int) -> Shift:
    return Shift((m,), np.ones(1), np.array([np.pi / 2, -np.pi / 2]), np.array([0.5, -0.5]))


def _connected(strings: Sequence[PauliString], n: int) -> list[list[int]]:
    """The strings in sets such that those of different sets are independent (the components of their matroid)."""
    home = list(range(len(strings)))

    def root(i: int) -> int:
        while home[i] != i:
            i = home[i]
        return i

    basis, inside = _coordinates([p.x << n | p.z for p in strings])
    for i, coordinates in enumerate(inside):
        for k, member in enumerate(basis):
            if coordinates >> k & 1 and member != i:
                home[root(i)] = root(member)
    parts: dict[int, list[int]] = {}
    for i in range(len(strings)):
        parts.setdefault(root(i), []).append(i)
    return list(parts.values())


def _coordinates(rows: Sequence[int]) -> tuple[list[int], list[int]]:
    """Which rows (bit masks) are a basis over GF(2), the first ones first, and every row in that basis."""
    pivots: dict[int, tuple[int, int]] = {}
    basis: list[int] = []
    inside: list[int] = []
    for i, row in enumerate(rows):
        made = 0
        while row and row.bit_length() in pivots:
            other, how = pivots[row.bit_length()]
            row, made = row ^ other, made ^ how
        if row:
            made ^= 1 << len(basis)
            pivots[row.bit_length()] = row, made
            basis.append(i)
            inside.append(1 << (len(basis) - 1))
        else:
            inside.append(made)
    return basis, inside


def _distinct(values: np.ndarray, tolerance: float) -> np.ndarray:
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], np.diff(ordered) > tolerance])]
