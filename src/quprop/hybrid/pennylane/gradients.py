"""Derivatives between PennyLane's results and numbers and quprop's expectation values, states and parameters.

A tape's derivatives stand in one row of *slopes*: by the numbers of its gates, by its initial amplitudes, by the
numbers of its observables, flat.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pennylane.tape import QuantumScript

from quprop import simulate
from quprop.hybrid.pennylane.observables import Readout
from quprop.hybrid.pennylane.state import PhasedStates, state_pullback
from quprop.hybrid.pennylane.translate import Reading, Structure


class Forward:
    """A batch of one structure after its forward sweep, with what it takes to go back.

    Amplitudes need no norm: values and states are those of the vector x itself, |x|^2 and |x| times what the engine
    computes from x/|x|.
    """

    def __init__(
        self, structure: Structure, theta: np.ndarray, x: np.ndarray | None, options: dict[str, Any], keep: bool = True
    ) -> None:
        self.structure, self.theta, self.x, self._options = structure, theta, x, options
        self._square: Any = 1.0 if x is None else np.sum(x * x, axis=1, keepdims=True)
        self._pullback: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
        values = np.empty((len(theta), 0))
        if structure.n_values and keep:
            values, self._pullback = simulate.vjp(structure.model, theta, x, **options)
        elif structure.n_values:
            values = simulate.expectation(structure.model, theta, x, **options)
        self.values: np.ndarray = values * self._square
        self._plain: np.ndarray | None = None
        self._phased: np.ndarray | None = None

    def is_of(self, structure: Structure, theta: np.ndarray, x: np.ndarray | None) -> bool:
        same = self.x is x or (self.x is not None and x is not None and np.array_equal(self.x, x))
        return self.structure is structure and same and np.array_equal(self.theta, theta)

    def states(self, phased: bool) -> np.ndarray:
        """(B, 2^n), with PennyLane's global phase or with any."""
        if phased and self._phased is None:
            if self.structure.phased is None:
                self.structure.phased = PhasedStates(self.structure)
            self._phased = self.structure.phased(self.theta, self.x, self._options)
        if self._phased is not None:
            return self._phased
        if self._plain is None:
            states = simulate.state(self.structure.model, self.theta, self.x, **self._options)
            self._plain = self.structure.final(states, self.x)
        return self._plain

    def slopes(self, of_values: np.ndarray, of_states: np.ndarray | None) -> np.ndarray:
        """The derivatives (B, P + amplitudes) by the tape's numbers, then by its initial amplitudes, from cotangents
        (B, K) of the values and (B, 2^n) of the states: one backward sweep for each of the two."""
        rows, n_inputs = len(self.theta), self.structure.model.n_inputs
        d_theta, d_x = np.zeros((rows, self.theta.shape[1])), np.zeros((rows, n_inputs))
        if of_values.any():
            if self._pullback is None:
                _, self._pullback = simulate.vjp(self.structure.model, self.theta, self.x, **self._options)
            by_theta, by_x = self._pullback(of_values)
            d_theta += self._square * by_theta
            if self.x is not None:  # F = |x|^2 f(x/|x|)
                weighted = (of_values * self.values).sum(axis=1, keepdims=True)
                d_x += self._square * by_x + 2 * self.x * (weighted / self._square)
        if of_states is not None and of_states.any():
            states = self.states(phased=True)
            by_theta, by_x = self.structure.phased.pullback(self.theta, self.x, self._options, states, of_states)
            d_theta += by_theta
            if self.x is not None:
                d_x += by_x
        if self.structure.has_parts:
            re, im = np.split(d_x, 2, axis=1)
            return np.concatenate([d_theta, re - 1j * im], axis=1)
        return np.concatenate([d_theta, d_x], axis=1)


class Cotangents(NamedTuple):
    """What the cotangents of a tape's results say, L of them at once, of its B samples."""

    values: np.ndarray  # (L, B, K), of its expectation values
    states: np.ndarray | None  # (L, B, 2^n), of its states
    numbers: np.ndarray  # (L, B, D), of the numbers of its observables, flat
    has_axis: bool  # the results' cotangents have one leading axis more, as whole Jacobians are asked for


class Pullback(NamedTuple):
    """The shape of one measurement's result, and what a cotangent (B, *shape) of it is of values (B, K), of states
    (B, 2^n) and of the numbers of its observable (B, D), None where nothing."""

    shape: tuple[int, ...]
    back: Callable[[np.ndarray], tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]]
    is_complex: bool = False


def pullbacks(circuit: QuantumScript, reading: Reading, forward: Forward, rows: slice) -> list[Pullback]:
    """One of each measurement."""
    structure = reading.structure
    out = []
    for j, (m, r) in enumerate(zip(circuit.measurements, structure.readouts, strict=True)):
        if r is None:
            seen = bool(_numbers_of(circuit, reading)[j])
            out.append(Pullback(*state_pullback(structure.numbered(m), forward.states(True)[rows], structure.n, seen)))
        else:
            v = forward.values[rows, structure.columns[j]]
            out.append(Pullback(r.shape, partial(_back, r, reading, j, m, v)))
    return out


def _back(r: Readout, reading: Reading, j: int, m: Any, v: np.ndarray, cotangent: np.ndarray) -> Any:
    c, terms = np.real(cotangent).astype(float), reading.terms[j]
    numbers = None if terms is None else np.stack(terms.pullback(m.obs, c[:, None] * v), axis=1)
    return r.pullback(v, reading.coefficients[j], c), None, numbers


def cotangents_of(circuit: QuantumScript, reading: Reading, given: Any, forward: Forward, rows: slice) -> Cotangents:
    structure = reading.structure
    parts = [np.asarray(c) for c in ([given] if len(structure.readouts) == 1 else given)]
    batch = () if reading.batch is None else (reading.rows,)
    backs = pullbacks(circuit, reading, forward, rows)
    extra = [a.ndim > len(batch + p.shape) for a, p in zip(parts, backs, strict=True)]
    copies = next((len(a) for a, e in zip(parts, extra, strict=True) if e), 1)
    values, states = np.zeros((copies, *forward.values[rows].shape)), None
    widths = [sum(number.size for number in group) for group in _numbers_of(circuit, reading)]
    starts = np.cumsum([0, *widths])
    numbers = np.zeros((copies, reading.rows, starts[-1]), complex)
    for j, (a, p) in enumerate(zip(parts, backs, strict=True)):
        whole = np.broadcast_to(a, (copies, *batch, *p.shape)).reshape(copies, reading.rows, *p.shape)
        for k in range(copies):
            of_values, of_states, of_numbers = p.back(whole[k])
            if of_values is not None:
                values[k][:, structure.columns[j]] += of_values
            if of_states is not None:
                states = np.zeros((copies, *of_states.shape), complex) if states is None else states
                states[k] += of_states
            if of_numbers is not None:
                numbers[k][:, starts[j] : starts[j + 1]] = of_numbers
    return Cotangents(values, states, numbers, any(extra))


class Number(NamedTuple):
    """A trainable number, or an array of them: its shape, and whether it has one for each sample."""

    shape: tuple[int, ...]
    spread: bool

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))


def _numbers_of(circuit: QuantumScript, reading: Reading) -> list[list[Number]]:
    """The numbers of each measurement's observable where any of them is differentiated."""
    out: list[list[Number]] = []
    for m, seen, terms in zip(circuit.measurements, reading.seen, reading.terms, strict=True):
        if not seen:
            out.append([])
        elif terms is not None:
            out.append([Number((), np.ndim(d) == 1) for d in m.obs.data])
        else:
            spread = m.obs.batch_size is not None
            out.append([Number(np.shape(d)[spread:], spread) for d in m.obs.data])
    return out


class Position(NamedTuple):
    """Where the derivatives by one trainable number, or by one array of them, stand among the slopes."""

    columns: Any  # an index, an array of them, None for a number without a derivative
    spread: bool  # it has a value for each sample


def gate_numbers(circuit: QuantumScript, reading: Reading) -> np.ndarray | None:
    """The columns of a tape's trainable numbers where all of them are angles of gates, else None."""
    columns = np.array(circuit.trainable_params, dtype=np.intp) - reading.n_prep
    inside = len(columns) and columns.min() >= 0 and columns.max() < reading.theta.shape[1]
    return columns if inside else None


def positions(circuit: QuantumScript, reading: Reading) -> list[Position]:
    """For every trainable number of the tape its place."""
    n_numbers = reading.theta.shape[1]
    places = []
    if reading.n_prep:
        if reading.amplitudes is None:  # a basis state is given by integers
            places.append(Position(None, False))
        else:
            places.append(Position(n_numbers + np.array(reading.amplitudes), reading.prep_batch))
    places += [Position(i, bool(s)) for i, s in enumerate(reading.spread)]
    first = n_numbers + (0 if reading.x is None else 1 << reading.structure.n)
    for m, group in zip(circuit.measurements, _numbers_of(circuit, reading), strict=True):
        for number in group:
            columns = np.arange(first, first + number.size).reshape(number.shape)
            places.append(Position(columns if number.shape else first, number.spread))
            first += number.size
        if not group and m.obs is not None:
            places += [Position(None, False)] * len(m.obs.data)
    return [places[t] for t in circuit.trainable_params]


def by_number(circuit: QuantumScript, reading: Reading, slopes: np.ndarray, sample_by_sample: bool) -> tuple[Any, ...]:
    """One array for each trainable number, shaped like it; slopes is (B, columns), or (L, B, columns). With
    `sample_by_sample` all of them have the batch axis."""
    out = []
    numbers = circuit.get_parameters()
    for (columns, spread), number in zip(positions(circuit, reading), numbers, strict=True):
        if columns is None:
            out.append(np.zeros(slopes.shape[:-2] + np.shape(number)))
            continue
        part = slopes[..., columns]
        if not (spread or sample_by_sample):
            part = part.sum(axis=slopes.ndim - 2)
        out.append(part if np.iscomplexobj(number) else part.real)
    return tuple(out)


class Slopes(tuple):
    """Arrays of different shapes: PennyLane's Torch interface asks for the shape of the squeezed whole to find empty
    ones, and NumPy has none for scalars beside batches."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self),)

    def squeeze(self, axis: Any = None) -> Slopes:
        return self
