"""Sums of commuting strings of one driver as tables: a QAOA layer of hundreds of terms is one multiplication.

A *sum* is a set of rotations that follow each other, have one driver u and act on every qubit with one letter only:
G = sum_k c_k P_k. Where these letters are Z, G is diagonal, C(j) = sum_k c_k (-1)^{|z_k & j|} is tabulated once
(native/state_vector/diagonal.hpp) and exp(-i u G / 2) multiplies amplitude j by exp(-i u C(j) / 2); the derivative by u
is sum_j C(j) Im(conj(lambda_j) psi_j). An observable's diagonal part is a table too, often the same one.

Other letters are made Z in two ways. The whole state may be kept in a *frame*: V on some qubits, V = (P + Z) / sqrt 2
with P = X (Hadamard) or Y, which swaps P and Z and negates the third letter; then the circuit's other rotations, its
input state and the observables are turned too, at no cost. Or the sum's qubits are turned by pi/2 about Y (letter X) or
X (letter Y) before the table and back after it, rotations like any others; so mixers of many terms are tables between
two changes of basis.

Which of these are done is chosen by counting, in units of one rotation that mixes amplitudes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from quprop.model.angle_table import Drivers
from quprop.model.input_state import InputState
from quprop.simulate.state_vector import sectors
from quprop.simulate.state_vector.blocks import Tables

# What one takes of a gradient's time, a rotation that mixes amplitudes being 1: measured with AVX-512 at 18 qubits.
DIAGONAL, CODES, DOUBLES = 0.35, 1.5, 4.0  # a diagonal rotation among others; a table of codes, or of doubles
FEWEST = 4  # terms of a sum that is worth looking at
FRAMES = 4  # looked at beside that of the model
FEW_VALUES = 4  # so many sizes of coefficients: the table has codes, most likely
NEW_OBSERVABLES = 4  # tables made for observables alone
LONG_ANGLE = 2.0**15  # radians up to which u C(j) is as good as the sum of the terms' angles, each rounded
MOST_ATOMS = 50_000  # stretches of one driver; of more, each is looked at by itself
MOST_TABLES, MOST_TABLES_LARGE, LARGE = 8, 2, 20  # distinct ones; of more than LARGE qubits


class LocalFrame(NamedTuple):
    """V = (P + Z) / sqrt 2 with P = X on the qubits of `x` and P = Y on those of `y`."""

    x: int = 0
    y: int = 0

    def turned(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks and signs of V P V^dagger, for Hermitian strings P."""
        h, k = np.uint64(self.x), np.uint64(self.y)
        signs = 1.0 - 2.0 * ((np.bitwise_count(x & z & h) + np.bitwise_count(x & ~z & k)) & 1)
        swapped = (x ^ z) & h
        x, z = x ^ swapped, z ^ swapped
        return x ^ (z & k), z, signs

    def start(self, state: InputState, n: int) -> np.ndarray | None:
        """The input state turned, a product of qubit states (n, 2); None if it is no product."""
        if state.kind == "basis":
            rows = np.zeros((n, 2), complex)
            rows[np.arange(n), [state.index >> q & 1 for q in range(n)]] = 1
        elif state.kind == "product":
            rows = np.array(state.array)
        else:
            return None
        for q in range(n):
            if (self.x | self.y) >> q & 1:
                phase = 1 if self.x >> q & 1 else -1j
                rows[q] = (rows[q, 0] + phase * rows[q, 1], np.conj(phase) * rows[q, 0] - rows[q, 1])
                rows[q] /= math.sqrt(2)
        return rows


class Rewritten(NamedTuple):
    """A circuit's rotations and strings in another frame and sector, with some sums as tables, for `blocks.plan_of`.

    n: its qubits. start: its input state, a product, (n, 2); None: that of the model. x, z: masks; those of a sum are
    0. sums: the masks and coefficients of each distinct table. table, support: of every rotation, the number of its
    table or -1, and the qubits the table acts on. strings: as `blocks.observables` gives them, the last ones tables,
    whose numbers are obs_table. cost: in rotations.
    """

    n: int
    start: np.ndarray | None
    cost: float
    x: np.ndarray
    z: np.ndarray
    drivers: Drivers
    sums: list[tuple[np.ndarray, np.ndarray]]
    table: np.ndarray
    support: np.ndarray
    strings: dict[str, np.ndarray]
    obs_table: np.ndarray

    def tables(self, make: Callable[[np.ndarray, np.ndarray], Any]) -> Tables:
        """make(z, coefficients): the kernels' object."""
        return Tables([make(*one) for one in self.sums], self.table, self.support, self.obs_table)

    def longest(self, tables: Tables) -> float:
        """So large may the entries of theta and x be."""
        uses = np.flatnonzero(self.table >= 0)
        size = np.zeros(len(self.drivers.mono_ptr) - 1)  # of u C(j) by u
        angle = [abs(self.drivers.coefficient[i]) * tables.diagonals[self.table[i]].largest for i in uses]
        np.maximum.at(size, self.drivers.driver[uses], angle)
        longest = np.inf
        for k in np.flatnonzero(size):
            own = slice(self.drivers.mono_ptr[k], self.drivers.mono_ptr[k + 1])
            degree = np.diff(self.drivers.var_ptr)[own].max(initial=0)
            bound = LONG_ANGLE / size[k] / np.abs(self.drivers.mono[own]).sum()
            longest = min(longest, bound ** (1 / max(degree, 1)) if bound >= 1 else bound)
        return longest


class _Sum(NamedTuple):
    members: np.ndarray  # rotations
    letters: tuple[int, int, int]  # qubits on which they have X, Y, Z

    def in_frame(self, frame: LocalFrame) -> tuple[int, int, int]:
        a, b, c = self.letters
        x, y = frame
        a, c = (a & ~x) | (c & x), (c & ~x) | (a & x)
        return a, (b & ~y) | (c & y), (c & ~y) | (b & y)

    @classmethod
    def of(cls, members: np.ndarray, x: np.ndarray, z: np.ndarray) -> _Sum | None:
        """With the masks of all rotations; None if a qubit has two letters, or none has one."""
        a, b = x[members], z[members]
        xs, ys, zs = (int(np.bitwise_or.reduce(m)) for m in (a & ~b, a & b, b & ~a))
        return None if _clash(xs, ys, zs) or not xs | ys | zs else cls(members, (xs, ys, zs))


def rewrite(
    x: np.ndarray,
    z: np.ndarray,
    drivers: Drivers,
    strings: dict[str, np.ndarray],
    n: int,
    state: InputState | None,
    tables: bool | None = None,
    symmetries: bool = True,
) -> Rewritten | None:
    """What becomes a table, and in which frame and sector; None: all stays as it is.

    state: the input state, if values and gradients are all that is wanted: frame and sector may be others then. tables:
    True, whatever can be one is a table (for tests); False, nothing is.
    """
    forced = bool(tables)
    fewest = 1 if forced else FEWEST
    sums = [] if tables is False else _sums(x, z, drivers.driver, fewest)
    frames = [LocalFrame()]
    if state is not None and state.kind in ("basis", "product"):
        weight: dict[LocalFrame, int] = {}
        for s in sums:
            frame = LocalFrame(s.letters[0], s.letters[1])
            weight[frame] = weight.get(frame, 0) + len(s.members)
        frames += sorted((f for f in weight if f != LocalFrame()), key=lambda f: -weight[f])[:FRAMES]
    ways = [(*_cost(frame, x, z, drivers, sums, forced), frame) for frame in frames]
    cost, sums, frame = min((way for way in ways if way[1]), key=lambda way: way[0], default=ways[0])
    x, z, signs = frame.turned(x, z)
    obs_x, obs_z, obs_signs = frame.turned(strings["obs_x"], strings["obs_z"])
    start = None if state is None else frame.start(state, n)
    sector = None
    if start is not None and symmetries:
        sector = sectors.find(np.append(x, obs_x), np.append(z, obs_z), start)
    if sector is not None and start is not None:
        n, start = sector.qubits, sector.state(start)
        x, z, more = sector.of(x, z)
        obs_x, obs_z, obs_more = sector.of(obs_x, obs_z)
        signs, obs_signs = signs * more, obs_signs * obs_more
    drivers = drivers._replace(coefficient=signs * drivers.coefficient)
    coefficient = strings["obs_coefficient"] * obs_signs[strings["obs_term"]]
    strings = {**strings, "obs_x": obs_x, "obs_z": obs_z, "obs_coefficient": coefficient}
    distinct = _Distinct()
    most = None if forced else MOST_TABLES if n <= LARGE else MOST_TABLES_LARGE
    written = _written([t for s in sums if (t := _Sum.of(s.members, x, z))], distinct, x, z, drivers, n, most)
    if tables is False:
        obs_table = np.empty(0, np.int32)
    else:
        strings, obs_table = _strings(distinct, strings, 1 if forced else 2 * FEWEST, most)
    if not distinct.sums and sector is None:
        return None
    if not (any(frame) or sector is not None):
        start = None
    return Rewritten(n, start, cost, *written[:3], distinct.sums, *written[3:], strings, obs_table)


def _cost(
    frame: LocalFrame, x: np.ndarray, z: np.ndarray, drivers: Drivers, sums: list[_Sum], forced: bool
) -> tuple[float, list[_Sum]]:
    """What all rotations take in a frame, and the sums that are tables there."""
    turned, _, _ = frame.turned(x, z)
    alone = np.where(turned == 0, DIAGONAL, 1.0)
    total = float(alone.sum())
    chosen: list[_Sum] = []
    for s in sums:
        a, b, _ = s.in_frame(frame)
        sizes = len(np.unique(np.abs(drivers.coefficient[s.members])))
        cost = (CODES if sizes <= FEW_VALUES else DOUBLES) + 2.0 * (a | b).bit_count()
        gain = float(alone[s.members].sum()) - cost
        if gain > 0 or forced:
            total -= gain
            chosen.append(s)
    return total, chosen


def _sums(x: np.ndarray, z: np.ndarray, driver: np.ndarray, fewest: int) -> list[_Sum]:
    """The sums of at least `fewest` rotations, of stretches in which each qubit has one letter."""
    if not len(x) or np.bincount(driver).max() < fewest:
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(driver)) + 1, [len(x)]])
    only = [x & ~z, x & z, z & ~x]
    stretches: list[list[int]] = []  # of atoms: first and last rotation and letters
    atoms: list[tuple[int, int, int, int, int]] = []
    edges = starts[:-1]
    ors = [np.bitwise_or.reduceat(letter, edges) for letter in only]
    mixed = (ors[0] & ors[1]) | (ors[0] & ors[2]) | (ors[1] & ors[2])
    for k, first in enumerate(edges):
        last = int(starts[k + 1])
        if not mixed[k]:
            atoms.append((int(first), last, int(ors[0][k]), int(ors[1][k]), int(ors[2][k])))
            continue
        at = int(first)
        a = b = c = 0
        for i in range(at, last):
            xi, yi, zi = int(only[0][i]), int(only[1][i]), int(only[2][i])
            if _clash(a | xi, b | yi, c | zi):
                atoms.append((at, i, a, b, c))
                at, a, b, c = i, 0, 0, 0
            a, b, c = a | xi, b | yi, c | zi
        atoms.append((at, last, a, b, c))
    a = b = c = 0
    for k, (_, _, xa, ya, za) in enumerate(atoms):
        if not stretches or len(atoms) > MOST_ATOMS or _clash(a | xa, b | ya, c | za):
            stretches.append([])
            a = b = c = 0
        stretches[-1].append(k)
        a, b, c = a | xa, b | ya, c | za
    found: list[_Sum] = []
    for stretch in stretches:
        by_driver: dict[int, list[int]] = {}
        for k in stretch:
            by_driver.setdefault(int(driver[atoms[k][0]]), []).append(k)
        for of in by_driver.values():
            members = np.concatenate([np.arange(atoms[k][0], atoms[k][1]) for k in of])
            members = members[(x[members] | z[members]) != 0]
            if len(members) >= fewest and (one := _Sum.of(members, x, z)):
                found.append(one)
    return found


def _clash(a: int, b: int, c: int) -> int:
    return (a & b) | (a & c) | (b & c)


class _Distinct:
    """The distinct sums of diagonal strings, each up to a factor."""

    def __init__(self) -> None:
        self.sums: list[tuple[np.ndarray, np.ndarray]] = []
        self._known: dict[tuple[bytes, bytes], int] = {}

    def find(self, z: np.ndarray, c: np.ndarray, most: int | None = None) -> tuple[int, float] | None:
        """Its number and its factor; None if it is new and there are `most` already."""
        masks, place = np.unique(z, return_inverse=True)
        together = np.zeros(len(masks))
        np.add.at(together, place, c)
        lead = float(together[np.argmax(np.abs(together))])
        if lead == 0:
            lead = 1.0
        together = together / lead
        key = masks.tobytes(), together.tobytes()
        number = self._known.get(key)
        if number is None:
            if most is not None and len(self.sums) >= most:
                return None
            number = self._known[key] = len(self.sums)
            self.sums.append((masks, together))
        return number, lead


def _written(
    chosen: list[_Sum],
    distinct: _Distinct,
    x: np.ndarray,
    z: np.ndarray,
    drivers: Drivers,
    n: int,
    most: int | None,
) -> tuple[np.ndarray, np.ndarray, Drivers, np.ndarray, np.ndarray]:
    """The rotations with the chosen sums in place of their members: x, z, drivers, table, support."""
    constant = len(drivers.mono_ptr) - 1  # a driver that is 1
    pieces: list[tuple[np.ndarray, ...]] = []  # x, z, driver, coefficient, table, support
    done = 0

    def write(rows: np.ndarray) -> None:
        none = np.full(len(rows), -1, np.int32)
        of = drivers.driver[rows], drivers.coefficient[rows]
        pieces.append((x[rows], z[rows], *of, none, np.zeros(len(rows), np.uint64)))

    def turn(qubits_x: int, qubits_y: int, direction: float) -> None:
        """X to Z and Y to Z (direction 1), or back."""
        for mask, about_y, angle in ((qubits_x, True, -math.pi / 2), (qubits_y, False, math.pi / 2)):
            bits = [1 << q for q in range(n) if mask >> q & 1]
            if not bits:
                continue
            rows = np.array(bits, np.uint64)
            of = np.full(len(rows), constant, np.int32), np.full(len(rows), direction * angle)
            none = np.full(len(rows), -1, np.int32)
            pieces.append((rows, rows if about_y else 0 * rows, *of, none, np.zeros(len(rows), np.uint64)))

    taken = np.zeros(len(x), bool)
    found: list[tuple[_Sum, int, float]] = []
    for s in chosen:
        one = distinct.find(x[s.members] | z[s.members], drivers.coefficient[s.members], most)
        if one is not None:
            found.append((s, *one))
            taken[s.members] = True
    for s, number, factor in found:
        first = int(s.members[0])
        before = np.arange(done, first)
        write(before[~taken[before]])
        done = max(done, first)
        a, b, c = s.letters
        turn(a, b, 1.0)
        of = np.array([drivers.driver[first]], np.int32), np.array([factor])
        zero = np.zeros(1, np.uint64)
        pieces.append((zero, zero, *of, np.array([number], np.int32), np.array([a | b | c], np.uint64)))
        turn(a, b, -1.0)
    rest = np.arange(done, len(x))
    write(rest[~taken[rest]])
    new_x, new_z, driver, factors, table, support = (np.concatenate(p) for p in zip(*pieces, strict=True))
    drivers = Drivers(
        driver.astype(np.int32),
        factors,
        np.append(drivers.mono_ptr, drivers.mono_ptr[-1] + 1).astype(np.int32),
        np.append(drivers.mono, 1.0),
        np.append(drivers.var_ptr, drivers.var_ptr[-1]).astype(np.int32),
        drivers.var,
    )
    return new_x, new_z, drivers, table, support


def _strings(
    distinct: _Distinct, strings: dict[str, np.ndarray], fewest: int, most: int | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The strings, each observable's diagonal part a table where it has many terms."""
    x, z, ptr, term, coefficient = (strings[f"obs_{k}"] for k in ("x", "z", "ptr", "term", "coefficient"))
    room = len(distinct.sums) + (NEW_OBSERVABLES if most is not None else len(ptr))
    if most is not None:
        room = min(room, max(most, len(distinct.sums)))
    kept, kept_coefficient, sizes = [], [], []
    tables: dict[int, int] = {}
    for k in range(len(ptr) - 1):
        own = slice(ptr[k], ptr[k + 1])
        of, c = term[own], coefficient[own]
        diagonal = (x[of] == 0) & (z[of] != 0)
        found = None
        if np.count_nonzero(diagonal) >= fewest:
            found = distinct.find(z[of[diagonal]], c[diagonal], room)
        if found is not None:
            number, factor = found
            place = len(x) + tables.setdefault(number, len(tables))
            of, c = np.append(of[~diagonal], place), np.append(c[~diagonal], factor)
        kept.append(of)
        kept_coefficient.append(c)
        sizes.append(len(of))
    all_terms = np.concatenate(kept) if kept else np.empty(0, np.int64)
    used, places = np.unique(all_terms, return_inverse=True)  # tables come last
    real = used[used < len(x)].astype(np.int64)
    return {
        "obs_x": np.append(x[real], np.zeros(len(tables), np.uint64)),
        "obs_z": np.append(z[real], np.zeros(len(tables), np.uint64)),
        "obs_ptr": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        "obs_term": places.astype(np.int32).reshape(-1),
        "obs_coefficient": np.concatenate(kept_coefficient) if kept else np.empty(0),
    }, np.array(list(tables), np.int32)
