"""Derivatives between PennyLane's results and numbers and quprop's expectation values and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from pennylane.tape import QuantumScript

from quprop.hybrid.pennylane.observables import Readout, RefusedError
from quprop.hybrid.pennylane.translate import Reading, Structure


class Forward(NamedTuple):
    """A batch of one structure after its forward sweep."""

    structure: Structure
    theta: np.ndarray
    x: np.ndarray | None
    values: np.ndarray
    pullback: Callable[..., tuple[np.ndarray, np.ndarray]]


def measured(structure: Structure) -> Iterator[tuple[Readout, slice]]:
    for r, columns in zip(structure.readouts, structure.columns, strict=True):
        assert r is not None  # `_forward` refused the others
        yield r, columns


def jacobian(r: Readout, columns: slice, forward: Forward) -> np.ndarray:
    """The derivatives (outputs, B, P + inputs) of one measurement's numbers."""
    v = forward.values[:, columns]
    slopes = []
    for unit in np.eye(int(np.prod(r.shape, dtype=int))).reshape(-1, *r.shape):
        cotangent = np.zeros_like(forward.values)
        cotangent[:, columns] = r.pullback(v, np.broadcast_to(unit, (len(v), *r.shape)))
        slopes.append(slopes_of(forward, cotangent))
    return np.stack(slopes)


def slopes_of(forward: Forward, cotangent: np.ndarray) -> np.ndarray:
    """One backward sweep: the derivatives (B, P + inputs) by the tape's numbers, then by its initial amplitudes."""
    return np.concatenate(forward.pullback(cotangent), axis=1)


def cotangents_of(reading: Reading, given: Any, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """The cotangents (L, B, K) of a tape's expectation values from those of its results; L > 1, and True, where the
    results' own have one leading axis more, as whole Jacobians are asked for."""
    structure = reading.structure
    parts = [given] if len(structure.readouts) == 1 else list(given)
    arrays = [np.real(np.asarray(c)).astype(float) for c in parts]
    batch = () if reading.batch is None else (reading.rows,)
    shapes = [batch + r.shape for r, _ in measured(structure)]
    extra = [a.ndim > len(s) for a, s in zip(arrays, shapes, strict=True)]
    copies = next((len(a) for a, e in zip(arrays, extra, strict=True) if e), 1)
    out = np.zeros((copies, *values.shape))
    for a, s, (r, columns) in zip(arrays, shapes, measured(structure), strict=True):
        whole = np.broadcast_to(a, (copies, *s)).reshape(copies, len(values), *r.shape)
        for k in range(copies):
            out[k][:, columns] += r.pullback(values[:, columns], whole[k])
    return out, any(extra)


class Position(NamedTuple):
    """Where the derivatives by one trainable number, or by one vector of amplitudes, stand among a sweep's."""

    columns: Any  # an index, a list of them for amplitudes, None for a number of an observable
    spread: bool  # it has a value for each sample


def gate_numbers(circuit: QuantumScript, reading: Reading) -> np.ndarray | None:
    """The columns of a tape's trainable numbers where all of them are angles of gates, else None."""
    columns = np.array(circuit.trainable_params, dtype=np.intp) - reading.n_prep
    inside = len(columns) and columns.min() >= 0 and columns.max() < reading.theta.shape[1]
    return columns if inside else None


def positions(circuit: QuantumScript, reading: Reading) -> list[Position]:
    """For every trainable number of the tape its place."""
    n_numbers = reading.theta.shape[1]
    out = []
    for trainable in circuit.trainable_params:
        i = trainable - reading.n_prep
        if i >= n_numbers:
            out.append(Position(None, False))
        elif i >= 0:
            out.append(Position(i, bool(reading.spread[i])))
        elif reading.amplitudes is not None:
            out.append(Position([n_numbers + a for a in reading.amplitudes], reading.prep_batch))
        else:
            raise RefusedError(
                "complex amplitudes and basis states have no adjoint gradient on this device; mark those of operation "
                "0 as not trainable (requires_grad=False)"
            )
    return out


def by_number(circuit: QuantumScript, reading: Reading, slopes: np.ndarray) -> tuple[Any, ...]:
    """One array for each trainable number, shaped like it; slopes is (B, P + inputs), or (L, B, ...)."""
    out = []
    summed = slopes.sum(axis=-2)
    for columns, spread in positions(circuit, reading):
        if columns is None:
            out.append(np.zeros(slopes.shape[:-2]))
        else:
            out.append((slopes if spread else summed)[..., columns])
    return tuple(out)


class Slopes(tuple):
    """Arrays of different shapes: PennyLane's Torch interface asks for the shape of the squeezed whole to find empty
    ones, and NumPy has none for scalars beside batches."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self),)

    def squeeze(self, axis: Any = None) -> Slopes:
        return self
