"""Derivatives between PennyLane's results and numbers and quprop's expectation values, states and parameters.

A tape's derivatives stand in one row of *slopes*: by the numbers of its gates, by its initial amplitudes, by the
numbers of its observables, flat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pennylane.tape import QuantumScript

from quprop import simulate
from quprop.hybrid.pennylane.observables import NESTED, Readout, RefusedError
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
        if self.structure.model.channels:
            raise RefusedError(
                "this circuit has noise, and results that are no expectation values have no gradient there; return "
                'qml.expval, qml.var or qml.probs, or use qml.device("default.mixed")'
            )
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
        if self.x is not None and self.structure.normalizes:  # nothing depends on the length of x
            d_x -= self.x * ((d_x * self.x).sum(axis=1, keepdims=True) / self._square)
        if self.structure.has_parts:
            re, im = np.split(d_x, 2, axis=1)
            return np.concatenate([d_theta, re - 1j * im], axis=1)
        return np.concatenate([d_theta, d_x], axis=1)


class Cotangents(NamedTuple):
    """What the cotangents of a tape's results say, L of them at once, of its B samples."""

    values: np.ndarray  # (L, B, K), of its expectation values
    states: np.ndarray | None  # (L, B, 2^n), of its states
    numbers: np.ndarray  # (L, B, D), of the numbers of its observables, flat
    axes: tuple[int, ...]  # the leading axes, of product L, that the results' cotangents have beside the batch axis
    batch_first: bool  # those axes stand after the batch axis


class Pullback(NamedTuple):
    """The shape of one measurement's result, and what a cotangent (B, *shape) of it is of values (B, K), of states
    (B, 2^n) and of the numbers of its observable (B, D), None where nothing."""

    shape: tuple[int, ...]
    back: Callable[[np.ndarray], tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]]
    is_complex: bool
    n_numbers: int  # D


def pullbacks(circuit: QuantumScript, reading: Reading, forward: Forward, rows: slice) -> list[Pullback]:
    """One of each measurement."""
    structure = reading.structure
    out = []
    measured = zip(circuit.measurements, structure.readouts, _numbers_of(circuit, reading), strict=True)
    for j, (m, r, numbers) in enumerate(measured):
        size = sum(number.size for number in numbers)
        if r is None:
            states = forward.states(phased=True)[rows]
            out.append(Pullback(*state_pullback(structure.numbered(m), states, structure.n, bool(numbers)), size))
        else:
            v = forward.values[rows, structure.columns[j]]
            out.append(Pullback(r.shape, partial(_back, r, reading, j, m, v, bool(numbers)), False, size))
    return out


def _back(r: Readout, reading: Reading, j: int, m: Any, v: np.ndarray, of_numbers: bool, cotangent: np.ndarray) -> Any:
    c, terms = np.real(cotangent).astype(float), reading.terms[j]
    numbers = None if terms is None or not of_numbers else np.stack(terms.pullback(m.obs, c[:, None] * v), axis=1)
    return r.pullback(v, reading.coefficients[j], c), None, numbers


def units(backs: Sequence[Pullback], imaginary: bool = False) -> Any:
    """Cotangents of a tape's results, each with a first axis over all numbers that the tape returns: they pick the
    real part of one of them, or the imaginary part of one of a complex result."""
    sizes = [int(np.prod(b.shape, dtype=int)) for b in backs]
    one = np.eye(sum(sizes))
    parts = [
        (-1j * b.is_complex if imaginary else 1.0) * one[:, end - size : end].reshape(-1, *b.shape)
        for b, size, end in zip(backs, sizes, np.cumsum(sizes), strict=True)
    ]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _stands_after(leads: Sequence[tuple[int, ...]], parts: Sequence[np.ndarray], rows: int) -> bool:
    """Whether the axis of a Jacobian stands after that of jax.vmap's samples, from the axes before those of results.

    It stands before where the function differentiated is the mapped one, and after where the derivative is mapped. JAX
    does not say which it is, and leaves out the samples' axis of cotangents that are the same for all of them.
    """
    refused = RefusedError(
        f"derivatives of jax.vmap over {rows} samples cannot be told apart here from those of as many results; use "
        "jax.lax.map in place of jax.vmap"
    )
    if any(len(lead) > 2 or (len(lead) == 2 and rows not in lead) for lead in leads):
        raise RefusedError(NESTED)
    if rows > 1 and (rows, rows) in leads:
        for lead, part in zip(leads, parts, strict=True):  # a diagonal reads the same both ways
            off = part[~np.eye(rows, dtype=bool)] if lead == (rows, rows) else part
            if off.any():
                raise refused
        return False
    if rows > 1 and all(lead == (rows,) for lead in leads):
        whole = np.concatenate([part.reshape(rows, -1) for part in parts], axis=1)
        if np.array_equal(whole, np.eye(rows)):  # what the Jacobian of one sample starts from
            raise refused
    found = {len(lead) == 1 or lead[0] == rows for lead in leads if lead not in ((), (rows,))}
    if len(found) > 1:
        raise refused
    return found == {True}


def cotangents_of(reading: Reading, given: Any, backs: Sequence[Pullback], mapped: bool) -> Cotangents:
    """The cotangents of a tape's expectation values, states and observables' numbers from those of its results.
    `mapped` says that the batch axis is one of jax.vmap's."""
    structure, rows = reading.structure, reading.rows
    parts = [np.asarray(c) for c in ([given] if len(backs) == 1 else given)]
    batch = () if reading.batch is None else (rows,)
    leads = [a.shape[: a.ndim - len(b.shape)] for a, b in zip(parts, backs, strict=True)]
    batch_first = mapped and bool(batch) and _stands_after(leads, parts, rows)
    if batch_first:
        parts = [
            a.swapaxes(0, 1) if len(lead) == 2 else a[:, None] if lead not in ((), batch) else a
            for a, lead in zip(parts, leads, strict=True)
        ]
    beside = {a.shape[: a.ndim - len(batch + b.shape)] for a, b in zip(parts, backs, strict=True)} - {()}
    if len(beside) > 1:
        raise RefusedError(NESTED)
    axes = beside.pop() if beside else ()
    copies = int(np.prod(axes, dtype=int))
    values, states = np.zeros((copies, rows, structure.n_values)), None
    starts = np.cumsum([0, *(b.n_numbers for b in backs)])
    numbers = np.zeros((copies, rows, starts[-1]), complex)
    for j, (a, b) in enumerate(zip(parts, backs, strict=True)):
        whole = np.broadcast_to(a, (*axes, *batch, *b.shape)).reshape(copies, rows, *b.shape)
        for k in np.flatnonzero(whole.reshape(copies, -1).any(axis=1)):
            of_values, of_states, of_numbers = b.back(whole[k])
            if of_values is not None:
                values[k][:, structure.columns[j]] += of_values
            if of_states is not None:
                states = np.zeros((copies, *of_states.shape), complex) if states is None else states
                states[k] += of_states
            if of_numbers is not None:
                numbers[k][:, starts[j] : starts[j + 1]] = of_numbers
    return Cotangents(values, states, numbers, axes, batch_first)


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
        part = slopes if spread or sample_by_sample else slopes.sum(axis=-2)
        if columns is None:
            out.append(np.zeros(part.shape[:-1] + np.shape(number), np.asarray(number).dtype))
        else:
            out.append(_real_unless(np.iscomplexobj(number), part[..., columns]))
    return tuple(out)


def by_result(circuit: QuantumScript, reading: Reading, table: np.ndarray, backs: Sequence[Pullback]) -> Any:
    """A Jacobian as PennyLane has it: for each result, for each trainable number, from a table (outputs, columns)."""
    numbers = circuit.get_parameters()
    is_complex = [np.iscomplexobj(number) for number in numbers]
    if any(is_complex) and any(b.is_complex for b in backs):
        raise RefusedError(
            "complex results by complex numbers have no Jacobian of the same shape; ask for vector-Jacobian products "
            "instead (device_vjp=True)"
        )
    angles = gate_numbers(circuit, reading)
    places = positions(circuit, reading) if angles is None or any(b.shape for b in backs) else []
    rows, end = [], 0
    for back in backs:
        part = table[end : end + int(np.prod(back.shape, dtype=int))]
        end += len(part)
        if angles is not None and back.shape == ():  # the usual case in one step: hundreds of numbers
            entries = tuple(part[0, angles].real)
        else:
            entries = tuple(
                np.zeros(back.shape + np.shape(number))
                if where.columns is None
                else _real_unless(back.is_complex or c, part[:, where.columns]).reshape(back.shape + np.shape(number))
                for where, number, c in zip(places, numbers, is_complex, strict=True)
            )
        rows.append(entries[0] if len(entries) == 1 else entries)
    return rows[0] if len(rows) == 1 else tuple(rows)


def _real_unless(is_complex: bool, slopes: np.ndarray) -> np.ndarray:
    return slopes if is_complex else slopes.real


class Slopes(tuple):
    """Arrays of different shapes: PennyLane's Torch interface asks for the shape of the squeezed whole to find empty
    ones, and NumPy has none for scalars beside batches."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self),)

    def squeeze(self, axis: Any = None) -> Slopes:
        return self
