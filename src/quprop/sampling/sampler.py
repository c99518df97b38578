"""The metering engine: draws shots of circuits from their exact distributions, and counts what it executes.

Estimators see shots alone. A circuit is a `Program`, a model whose parameters are the angles of its rotations; `Runs`
are many runs of one program at different angles, each shot of a run reading a set of commuting Pauli strings at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import stim

from quprop.cost import Cost
from quprop.model import Model
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.joint import diagonalise
from quprop.sampling.rows import Prefixes
from quprop.simulate import get_engine, vectors

_SWEPT_AMPLITUDES = 1 << 14  # of all runs, from which on one sweep through their prefixes in NumPy is the faster
_CHUNK_AMPLITUDES = 1 << 22  # of all states simulated at once
_FEW_AMPLITUDES = 64  # of a state: then all outcomes of many runs are counted at once
_REMEMBERED = 1 << 23  # probabilities kept from one estimate to the next at the same angles


class Rows(Protocol):
    """The angles of R runs of one program, given those of the model that is differentiated."""

    def __len__(self) -> int: ...

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        """(stop - start, rotations of the program), from the model's angles a (M,); NaN where a run has no such
        rotation."""
        ...


@dataclass(frozen=True, eq=False)
class Runs:
    """R runs of one program, all read by the same L Pauli strings, and what each shot is worth.

    paulis act on the program's state right after its rotations (see `absorbed` in `programs.py`); they
    commute unless `mixture`. Outcome o_l = ±1 of run r weighs w = factors[r, l] u_l, u_l = u[terms[l]] being the
    coefficient of the observable's term that string l stands for (terms[l] = -1: u_l = 1):
    each=False: a shot gives y = sum_l w_l o_l, which estimates targets[r];
    each=True:  it gives y_l = w_l o_l for every l, which estimate targets[r, l];
    mixture=True (with each=False): one l is drawn per shot with probability |w_l| / sum |w|, y = sum |w| sign(w_l) o_l.
    A target is the index of an angle, or M + the index of a parameter.
    lengths[r] is the number of rotations the method says run r executes; the sampler counts for itself.
    own[r], where given, are the L strings of run r alone; `paulis` then only says how many there are.
    """

    program: Model
    rows: Rows
    paulis: tuple[PauliString, ...]
    targets: np.ndarray
    factors: np.ndarray
    terms: np.ndarray
    lengths: np.ndarray
    each: bool = False
    mixture: bool = False
    own: tuple[tuple[PauliString, ...], ...] | None = None

    def weights(self, u: np.ndarray) -> np.ndarray:
        """(R, L), from the coefficients u (T,) of the observable's terms."""
        return self.factors * np.append(u, 1.0)[self.terms]  # -1 takes the last

    def __len__(self) -> int:
        return len(self.rows)

    def known(self, a: np.ndarray, x: np.ndarray, live: np.ndarray) -> _Known:
        """What is remembered of these runs at these angles; another point starts anew."""
        point = (a.tobytes(), x.tobytes(), live.tobytes())
        if self.__dict__.get("_point") != point:
            self.__dict__.update(_point=point, _known=_Known())
        return self.__dict__["_known"]

    @property
    def joint(self) -> bool:
        """Whether a shot reads several strings at once, in the basis where they are diagonal."""
        return len(self.paulis) > 1 and not self.mixture

    def again(self, **fields: Any) -> Runs:
        """Other rows, targets, factors or lengths on the same program and strings; what was made of those is kept."""
        made = "diagonal" if self.joint else "measured"
        getattr(self, made)
        other = replace(self, **fields)
        other.__dict__[made] = self.__dict__[made]
        return other

    @cached_property
    def measured(self) -> Model:
        """The program with the strings as its observables."""
        return self.program._replace(observables=tuple(PauliSum(p) for p in self.paulis))

    @cached_property
    def diagonal(self) -> tuple[Model, np.ndarray, np.ndarray]:
        """The program turned to where the strings are diagonal, and their masks and signs there."""
        return _in_basis(self.program, self.paulis)

    @cached_property
    def bare(self) -> Model:
        """The program without its residual Clifford: its states are those right after the rotations."""
        return self.program._replace(clifford=stim.Tableau(self.program.n_qubits))

    @cached_property
    def _bases(self) -> dict[int, tuple[list[tuple[str, int, int]], np.ndarray, np.ndarray]]:
        return {}

    def own_diagonal(self, r: int) -> tuple[list[tuple[str, int, int]], np.ndarray, np.ndarray]:
        """The gates after which the strings of run r alone are diagonal, their masks and signs."""
        assert self.own is not None
        if r not in self._bases:
            tableau, masks, signs = diagonalise(self.own[r], self.program.n_qubits)
            self._bases[r] = vectors.clifford_gates(tableau), masks, signs
        return self._bases[r]


class Drawn(NamedTuple):
    """What the shots of R runs gave. Second moments as sums over the shots of a run divided by their number."""

    mean: np.ndarray  # (R,) of y, or (R, L)
    square: np.ndarray  # (R,) of y^2, or (R, L)
    outcomes: list[tuple[np.ndarray, np.ndarray]] | None = None  # per run: distinct (D, L) outcomes and their counts


class Sampler:
    """Draws shots with one generator, and meters: `sampler.cost` is what has been executed so far."""

    def __init__(self, rng: np.random.Generator, engine: object = None) -> None:
        self.rng = rng
        self.engine = get_engine(engine)
        self.cost = Cost()

    def draw(
        self, runs: Runs, a: np.ndarray, x: np.ndarray, u: np.ndarray, shots: np.ndarray, *, keep: bool = False
    ) -> Drawn:
        """Run r is repeated shots[r] times (0: left out, its mean and square are 0). a (M,): the model's angles; x: the
        inputs that programs read; u (T,): see `Runs`.

        With `keep` the outcomes themselves come back too (each shot's, or their distinct values with counts).
        """
        weights = runs.weights(u)
        shape = (len(runs), len(runs.paulis)) if runs.each else (len(runs),)
        mean, square = np.zeros(shape), np.zeros(shape)
        outcomes: list[tuple[np.ndarray, np.ndarray]] | None = [] if keep else None
        step = max(1, _CHUNK_AMPLITUDES >> runs.program.n_qubits)
        known = runs.known(a, x, shots > 0)
        for start in range(0, len(runs), step):
            rows = slice(start, min(start + step, len(runs)))
            made = lru_cache(maxsize=1)(functools.partial(runs.rows.angles, a, rows.start, rows.stop))
            executed = known.once(("executed", start), lambda: np.count_nonzero(~np.isnan(made()), axis=1))
            self._meter(runs, executed, shots[rows])
            if runs.own is not None:
                self._own(runs, made, x, weights, shots, rows, mean, square, outcomes, known)
                continue
            live = np.arange(rows.start, rows.stop)
            if not keep and not shots[rows].all():
                live = live[shots[rows] > 0]
                if not len(live):
                    continue
            angles = functools.partial(_of_live, made, live - rows.start)
            if runs.joint or keep:
                self._joint(runs, angles, x, weights, shots, live, mean, square, outcomes, known)
            else:
                self._single(runs, angles, x, weights[live], shots[live], live, mean, square, known)
        return Drawn(mean, square, outcomes)

    def _meter(self, runs: Runs, executed: np.ndarray, shots: np.ndarray) -> None:
        count = int(shots.sum())
        if not count:
            return
        self.cost += Cost(
            copies=count,
            rotations=int(executed @ shots),
            measurements=count,
            depth=int(executed[shots > 0].max(initial=0)),
            qubits=runs.program.n_qubits,
            classical_ops=count * (1 if runs.mixture else len(runs.paulis)),
        )

    def _single(
        self,
        runs: Runs,
        angles: Callable[[], np.ndarray],
        x: np.ndarray,
        weights: np.ndarray,
        shots: np.ndarray,
        rows: np.ndarray,
        mean: np.ndarray,
        square: np.ndarray,
        known: _Known,
    ) -> None:
        """One string, or a mixture of them: binomial draws from the exact expectations."""
        expected = known.once(
            ("expected", rows[0]),
            lambda: self.engine.values(runs.measured, angles(), self._inputs(runs.program, x)),
        )  # (r, L)
        self._count(runs, np.clip(expected, -1.0, 1.0), weights, shots, rows, mean, square)

    def _count(
        self,
        runs: Runs,
        expected: np.ndarray,
        weights: np.ndarray,
        shots: np.ndarray,
        rows: slice | np.ndarray,
        mean: np.ndarray,
        square: np.ndarray,
    ) -> None:
        sizes = np.abs(weights)
        total = sizes.sum(axis=1)
        if len(runs.paulis) == 1:
            counts = shots[:, None]
        else:
            with np.errstate(invalid="ignore"):
                chances = np.where(total[:, None] > 0, sizes / total[:, None], 1 / sizes.shape[1])
            counts = self.rng.multinomial(shots, chances)
        ups = self.rng.binomial(counts, (1 + expected) / 2)
        y = (total[:, None] * np.sign(weights) * (2 * ups - counts)).sum(axis=1) / shots
        mean[rows] = y[:, None] if runs.each else y
        square[rows] = (total**2)[:, None] if runs.each else total**2

    def _joint(
        self,
        runs: Runs,
        angles: Callable[[], np.ndarray],
        x: np.ndarray,
        weights: np.ndarray,
        shots: np.ndarray,
        rows: np.ndarray,
        mean: np.ndarray,
        square: np.ndarray,
        kept: list[tuple[np.ndarray, np.ndarray]] | None,
        known: _Known,
    ) -> None:
        """Commuting strings: the state is rotated to where they are all diagonal, and bit strings are drawn."""
        basis, masks, signs = runs.diagonal
        p = known.once(
            ("p", rows[0]),
            lambda: _probabilities(self.engine.states(basis, angles(), self._inputs(runs.program, x))),
        )
        if kept is None and p.shape[1] <= _FEW_AMPLITUDES:
            counts = self.rng.multinomial(shots[rows], p / p.sum(axis=1, keepdims=True))  # (r, 2^n)
            outcomes, n = eigenvalues(np.arange(p.shape[1]), masks, signs), shots[rows, None]  # (2^n, L), (r, 1)
            if runs.each:
                mean[rows], square[rows] = counts @ outcomes * weights[rows] / n, weights[rows] ** 2
            else:
                y = weights[rows] @ outcomes.T  # (r, 2^n)
                mean[rows], square[rows] = (counts * y / n).sum(axis=1), (counts * y**2 / n).sum(axis=1)
            return
        for row, chances in zip(rows, p, strict=True):
            self._read(runs, chances, masks, signs, weights, shots, row, mean, square, kept)

    def _own(
        self,
        runs: Runs,
        made: Callable[[], np.ndarray],
        x: np.ndarray,
        weights: np.ndarray,
        shots: np.ndarray,
        rows: slice,
        mean: np.ndarray,
        square: np.ndarray,
        kept: list[tuple[np.ndarray, np.ndarray]] | None,
        known: _Known,
    ) -> None:
        """Runs with strings of their own: the same two ways, on the state vector of each run."""
        assert runs.own is not None
        own = runs.own

        def states() -> Iterator[tuple[int, np.ndarray]]:
            angles, inputs = made(), self._inputs(runs.program, x)
            if isinstance(runs.rows, Prefixes) and len(angles) << runs.program.n_qubits > _SWEPT_AMPLITUDES:
                return enumerate(vectors.prefix_states(runs.bare, angles, inputs), rows.start)
            return enumerate(self.engine.states(runs.bare, np.nan_to_num(angles), inputs), rows.start)

        if kept is None and (runs.mixture or len(runs.paulis) == 1):
            expected = known.once(
                ("expected", rows.start),
                lambda: np.array([[vectors.expectation(p, s) for p in own[r]] for r, s in states()]),
            )
            live = rows.start + np.flatnonzero(shots[rows])
            expected = np.clip(expected[live - rows.start], -1.0, 1.0)
            self._count(runs, expected, weights[live], shots[live], live, mean, square)
            return

        def chances() -> np.ndarray:
            return np.array([_probabilities(vectors.apply_gates(runs.own_diagonal(r)[0], s)) for r, s in states()])

        for r, p in enumerate(known.once(("p", rows.start), chances), rows.start):
            if shots[r] or kept is not None:
                _, masks, signs = runs.own_diagonal(r)
                self._read(runs, p, masks, signs, weights, shots, r, mean, square, kept)

    def _read(
        self,
        runs: Runs,
        p: np.ndarray,
        masks: np.ndarray,
        signs: np.ndarray,
        weights: np.ndarray,
        shots: np.ndarray,
        row: int,
        mean: np.ndarray,
        square: np.ndarray,
        kept: list[tuple[np.ndarray, np.ndarray]] | None,
    ) -> None:
        index, counts = _draw(self.rng, p, int(shots[row]))
        outcomes = eigenvalues(index, masks, signs)  # (D, L)
        if kept is not None:
            kept.append((outcomes, counts))
        y = outcomes * weights[row] if runs.each else outcomes @ weights[row]
        mean[row] = counts @ y / shots[row]
        square[row] = counts @ (y * y) / shots[row]

    def _inputs(self, program: Model, x: np.ndarray) -> np.ndarray:
        if not program.n_inputs:
            return np.empty((1, 0))
        padded = np.zeros((1, program.n_inputs))  # ancillas are the high bits, in |0>: zeros follow the amplitudes
        padded[0, : len(x)] = x
        return padded


class _Known(dict[Any, np.ndarray]):
    """What the circuits at one set of angles were found to do, for estimates that are repeated there."""

    size = 0

    def once(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        found = self.get(key)
        if found is None:
            found = make()
            if self.size + found.size <= _REMEMBERED:
                self.size += found.size
                self[key] = found
        return found


def _of_live(made: Callable[[], np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.nan_to_num(made()[rows])


def _probabilities(states: np.ndarray) -> np.ndarray:
    return states.real**2 + states.imag**2


def _in_basis(program: Model, paulis: Sequence[PauliString]) -> tuple[Model, np.ndarray, np.ndarray]:
    tableau, masks, signs = diagonalise(paulis, program.n_qubits)
    return program._replace(clifford=tableau), masks, signs


def draw_bits(rng: np.random.Generator, amplitudes: np.ndarray, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """`shots` basis states drawn from |amplitude|^2: indices (D,) and how often each came (D,)."""
    return _draw(rng, _probabilities(amplitudes), shots)


def _draw(rng: np.random.Generator, p: np.ndarray, shots: int) -> tuple[np.ndarray, np.ndarray]:
    if shots > len(p):
        counts = rng.multinomial(shots, p / p.sum())
        index = np.flatnonzero(counts)
        return index, counts[index]
    steps = np.cumsum(p)
    index = np.searchsorted(steps, rng.random(shots) * steps[-1], side="right")
    return np.minimum(index, len(p) - 1), np.ones(shots, np.int64)


def eigenvalues(index: np.ndarray, masks: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """sign_l (-1)^{|index & mask_l|}: (D, L) of ±1.0."""
    return signs * (1.0 - 2.0 * (np.bitwise_count(index[:, None] & masks) & 1))
