"""The metering engine: draws shots of circuits from their exact distributions, and counts what it executes.

Estimators see shots alone. A circuit is a `Program`, a model whose parameters are the angles of its rotations; `Runs`
are many runs of one program at different angles, each shot of a run reading a set of commuting Pauli strings at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import repeat
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


class _Part(NamedTuple):
    """Runs that are drawn together: `rows` of those from `start` on that are simulated together."""

    runs: Runs
    start: int
    made: Callable[[], np.ndarray]  # angles of all runs simulated together, called where nothing is remembered of them
    inputs: np.ndarray
    rows: np.ndarray  # (r,)
    weights: np.ndarray  # (r, L)
    shots: np.ndarray  # (r,)
    known: _Known

    def angles(self) -> np.ndarray:
        """(r, rotations of the program), 0 where a run has no such rotation."""
        return np.nan_to_num(self.made()[self.rows - self.start])


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
        drawn = Drawn(np.zeros(shape), np.zeros(shape), [] if keep else None)
        step = at_once(runs.program)
        known, inputs = runs.known(a, x, shots > 0), self._inputs(runs.program, x)
        for start in range(0, len(runs), step):
            stop = min(start + step, len(runs))
            made = lru_cache(maxsize=1)(functools.partial(runs.rows.angles, a, start, stop))
            executed = known.once(("executed", start), lambda: np.count_nonzero(~np.isnan(made()), axis=1))
            self._meter(runs, executed, shots[start:stop])
            rows = np.arange(start, stop)
            if not keep:
                rows = rows[shots[start:stop] > 0]
            if not len(rows):
                continue
            part = _Part(runs, start, made, inputs, rows, weights[rows], shots[rows], known)
            found = self._bits(part, keep) if runs.joint or keep else self._strings(part)
            drawn.mean[rows], drawn.square[rows] = found.mean, found.square
            if drawn.outcomes is not None:
                drawn.outcomes.extend(found.outcomes or ())
        return drawn

    def means(self, runs: Runs, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<P_l> of every run, exactly, (R, L): nothing is drawn or counted. Not for runs with strings of their own."""
        assert runs.own is None
        step, inputs = at_once(runs.program), self._inputs(runs.program, x)
        parts = [
            self.engine.values(runs.measured, np.nan_to_num(runs.rows.angles(a, i, min(i + step, len(runs)))), inputs)
            for i in range(0, len(runs), step)
        ]
        return np.clip(np.concatenate(parts), -1.0, 1.0)

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

    def _strings(self, part: _Part) -> Drawn:
        """One string, or a mixture of them: binomial draws from the exact expectations."""
        runs, weights, shots = part.runs, part.weights, part.shots
        expected = np.clip(self._expected(part), -1.0, 1.0)
        sizes = np.abs(weights)
        total = sizes.sum(axis=1)
        if len(runs.paulis) == 1:
            counts = shots[:, None]
        else:
            with np.errstate(invalid="ignore"):
                odds = np.where(total[:, None] > 0, sizes / total[:, None], 1 / sizes.shape[1])
            counts = self.rng.multinomial(shots, odds)
        ups = self.rng.binomial(counts, (1 + expected) / 2)
        y = (total[:, None] * np.sign(weights) * (2 * ups - counts)).sum(axis=1) / shots
        return Drawn(y[:, None], (total**2)[:, None]) if runs.each else Drawn(y, total**2)

    def _expected(self, part: _Part) -> np.ndarray:
        """<P_l> of each of the runs: (r, L)."""
        runs, own, key = part.runs, part.runs.own, ("expected", part.start)
        if own is None:
            return part.known.once(key, lambda: self.engine.values(runs.measured, part.angles(), part.inputs))
        of_all = part.known.once(
            key, lambda: np.array([[vectors.expectation(p, s) for p in own[r]] for r, s in self._states(part)])
        )
        return of_all[part.rows - part.start]

    def _bits(self, part: _Part, keep: bool) -> Drawn:
        """Commuting strings: the state is rotated to where they are all diagonal, and bit strings are drawn."""
        runs, key = part.runs, ("p", part.start)
        bases: Iterable[tuple[np.ndarray, np.ndarray]]  # masks and signs
        if runs.own is None:
            turned, *basis = runs.diagonal
            p = part.known.once(key, lambda: chances(self.engine, turned, part.angles(), part.inputs))  # (r, 2^n)
            if not keep and p.shape[1] <= _FEW_AMPLITUDES:
                return self._few_bits(part, p, *basis)
            bases = repeat((basis[0], basis[1]))
        else:
            of_all = part.known.once(
                key,
                lambda: np.array(
                    [_probabilities(vectors.apply_gates(runs.own_diagonal(r)[0], s)) for r, s in self._states(part)]
                ),
            )
            p = of_all if len(part.rows) == len(of_all) else of_all[part.rows - part.start]
            bases = (runs.own_diagonal(r)[1:] for r in part.rows)
        mean, square, kept = [], [], []
        for of_run, (masks, signs), weights, shots in zip(p, bases, part.weights, part.shots, strict=False):
            index, counts = _draw(self.rng, of_run, int(shots))
            outcomes = eigenvalues(index, masks, signs)  # (D, L)
            of_mean, of_square = tallied(outcomes, counts, weights, shots, runs.each)
            mean.append(of_mean)
            square.append(of_square)
            if keep:
                kept.append((outcomes, counts))
        return Drawn(np.array(mean), np.array(square), kept if keep else None)

    def _few_bits(self, part: _Part, p: np.ndarray, masks: np.ndarray, signs: np.ndarray) -> Drawn:
        """The same where there are few outcomes: all of them are counted, of all runs at once."""
        counts = self.rng.multinomial(part.shots, p / p.sum(axis=1, keepdims=True))  # (r, 2^n)
        outcomes, n = eigenvalues(np.arange(p.shape[1]), masks, signs), part.shots[:, None]  # (2^n, L), (r, 1)
        if part.runs.each:
            return Drawn(counts @ outcomes * part.weights / n, part.weights**2)
        y = part.weights @ outcomes.T  # (r, 2^n)
        return Drawn((counts * y / n).sum(axis=1), (counts * y**2 / n).sum(axis=1))

    def _states(self, part: _Part) -> Iterator[tuple[int, np.ndarray]]:
        """Of all runs from `part.start` on that are simulated together, for strings of their own: run and state."""
        runs, angles = part.runs, part.made()
        if isinstance(runs.rows, Prefixes) and len(angles) << runs.program.n_qubits > _SWEPT_AMPLITUDES:
            return enumerate(vectors.prefix_states(runs.bare, angles, part.inputs), part.start)
        return enumerate(self.engine.states(runs.bare, np.nan_to_num(angles), part.inputs), part.start)

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


def at_once(program: Model) -> int:
    """How many runs of a program are simulated together."""
    return max(1, _CHUNK_AMPLITUDES >> program.n_qubits * (2 if program.channels else 1))


def chances(engine: Any, program: Model, angles: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The probabilities of all bit strings at the end of a program, (R, 2^n)."""
    if program.channels:
        found: np.ndarray = engine.probabilities(program, angles, inputs)
        return found
    return _probabilities(engine.states(program, angles, inputs))


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
    return vectors.drawn_states(p, rng.random(shots)), np.ones(shots, np.int64)


def tallied(outcomes: np.ndarray, counts: np.ndarray, weights: np.ndarray, shots: int, each: bool) -> tuple[Any, Any]:
    """Sums over shots of y and y^2, divided by their number: of sum_l w_l o_l, or with `each` of every w_l o_l, from
    distinct outcomes (D, L) and how often each came (D,)."""
    y = outcomes * weights if each else outcomes @ weights
    return counts @ y / shots, counts @ (y * y) / shots


def eigenvalues(index: np.ndarray, masks: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """sign_l (-1)^{|index & mask_l|}: (D, L) of ±1.0."""
    return signs * (1.0 - 2.0 * (np.bitwise_count(index[:, None] & masks) & 1))
