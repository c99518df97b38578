"""PennyLane's observables as sums of Pauli strings, and measurements as functions of such sums' expectation values.

Pauli words and their combinations go over term by term. Other observables of few wires (Hermitian, Projector, products
of them) are expanded from their matrix: M = sum_xz c_xz X^x Z^z with c_xz the Walsh-Hadamard transform over j of
M[j^x, j], divided by 2^k. A measured distribution is the same transform of the expectations of all Z strings.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pennylane import math, ops
from pennylane import measurements as mp
from pennylane.exceptions import DeviceError, QuantumFunctionError
from pennylane.operation import Operator

from quprop.errors import QupropError
from quprop.pauli import PauliString, PauliSum

MATRIX_WIRES = 6  # observables without a Pauli form are expanded up to here: 4^6 strings
DIAGONAL_WIRES = 10  # distributions and projectors: 2^10 strings
SQUARE_TERMS = 256  # the variance of more terms comes from the state
_IMAGINARY = 1e-10  # what rounding may leave of the imaginary part of a Hermitian observable's coefficients

Place = Mapping[Any, int]  # wire label -> qubit


class RefusedError(QupropError, DeviceError, QuantumFunctionError):
    """What the device cannot do, in one sentence; PennyLane's own kinds of error too, so that its tools understand."""


class Readout(NamedTuple):
    """A measurement as a function of expectation values v (B, K): "expval" v_0; "var" v_0 - v_1^2, the square first;
    "probs" the transform of the Z strings' values."""

    kind: str
    sums: tuple[PauliSum, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sums),) if self.kind == "probs" else ()

    def result(self, v: np.ndarray) -> np.ndarray:
        """(B,), or (B, 2^k) of a distribution."""
        if self.kind == "expval":
            return v[:, 0]
        if self.kind == "var":
            return v[:, 0] - v[:, 1] ** 2
        return np.maximum(walsh(v) / v.shape[1], 0.0)  # rounding may leave -1e-17

    def pullback(self, v: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """The cotangents (B, K) of the expectation values from those of the result."""
        if self.kind == "expval":
            return cotangent[:, None]
        if self.kind == "var":
            return np.stack([cotangent, -2 * v[:, 1] * cotangent], axis=1)
        return walsh(cotangent) / v.shape[1]


def walsh(v: np.ndarray) -> np.ndarray:
    """sum_j (-1)^|j & z| v_j along the last axis, of length 2^k."""
    size = v.shape[-1]
    out = np.array(v)
    half = 1
    while half < size:
        pairs = out.reshape(*v.shape[:-1], size // (2 * half), 2, half)
        out = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], axis=-2)
        out = out.reshape(v.shape)
        half *= 2
    return out


def readout(m: mp.MeasurementProcess, place: Place) -> Readout | None:
    """The measurement as a `Readout`, or None where it is to be computed from the state."""
    if type(m) is mp.ProbabilityMP and m.obs is None and m.mv is None and 0 < len(m.wires) <= DIAGONAL_WIRES:
        masks = masks_of(m.wires, place)
        return Readout("probs", tuple(PauliSum({PauliString(0, z): 1.0}) for z in masks))
    if type(m) not in (mp.ExpectationMP, mp.VarianceMP):
        return None
    if m.obs is not None:
        total = pauli_sum(m.obs, place)
    elif 0 < len(m.wires) <= DIAGONAL_WIRES:  # of a mid-circuit measurement that was deferred
        total = _diagonal(np.asarray(m.eigvals(), float), m.wires, place)
    else:
        return None
    if total is None:
        return None
    if type(m) is mp.ExpectationMP:
        return Readout("expval", (total,))
    if len(total) > SQUARE_TERMS:
        return None
    return Readout("var", (_square(total), total))


class FixedObservable(Operator):
    """A sum of many terms whose coefficients are plain numbers, without PennyLane's list of them.

    PennyLane goes through all coefficients of an observable at every stage of every call, and copies the observable
    where they are tensors of Autograd or Torch. Where none is trainable, they need not be seen.
    """

    num_params = 0

    def __init__(self, base: Operator) -> None:
        super().__init__(wires=base.wires)
        self.base = base

    def __repr__(self) -> str:
        return repr(self.base)


def _drop(known: dict[Any, Any], key: Any, _: weakref.ref) -> None:
    known.pop(key, None)


FIXED_FROM = 16  # terms
_fixed: dict[int, tuple[weakref.ref, FixedObservable | None]] = {}


def fixed(m: mp.MeasurementProcess) -> mp.MeasurementProcess:
    """The measurement of a `FixedObservable` where that gives the same result, the measurement itself elsewhere."""
    obs = m.obs
    if type(m) is not mp.ExpectationMP or not isinstance(obs, ops.Sum | ops.LinearCombination):
        return m
    found = _fixed.get(id(obs))
    if found is None or found[0]() is not obs:
        twin = None
        if len(obs) >= FIXED_FROM and obs.pauli_rep is not None:
            seen = any(math.requires_grad(d) or math.is_abstract(d) for d in obs.data)
            twin = None if seen else FixedObservable(obs)
        found = _fixed[id(obs)] = (weakref.ref(obs, partial(_drop, _fixed, id(obs))), twin)
    return m if found[1] is None else mp.ExpectationMP(obs=found[1])


_known: dict[tuple[int, tuple[tuple[Any, int], ...]], tuple[weakref.ref, PauliSum | None]] = {}


def pauli_sum(obs: Operator, place: Place) -> PauliSum | None:
    """The observable's Pauli form, None if it has none of moderate size; remembered as long as the object lives."""
    if isinstance(obs, ops.PauliZ | ops.PauliX | ops.PauliY):
        q = 1 << place[obs.wires.labels[0]]
        return PauliSum(PauliString(q * (obs.name != "PauliZ"), q * (obs.name != "PauliX")))
    key = (id(obs), tuple((w, place[w]) for w in obs.wires.labels))
    found = _known.get(key)
    if found is not None and found[0]() is obs:
        return found[1]
    total = _convert(obs, place)
    _known[key] = (weakref.ref(obs, partial(_drop, _known, key)), total)
    return total


def _convert(obs: Operator, place: Place) -> PauliSum | None:
    if isinstance(obs, FixedObservable):
        return pauli_sum(obs.base, place)
    if obs.pauli_rep is not None:
        merged: dict[PauliString, float] = {}
        for word, coefficient in obs.pauli_rep.items():
            x = z = 0
            for wire, letter in word.items():
                x |= (letter in "XY") << place[wire]
                z |= (letter in "YZ") << place[wire]
            string = PauliString(x, z)
            merged[string] = merged.get(string, 0.0) + _real(coefficient, obs)
        return PauliSum(merged)
    if isinstance(obs, ops.SProd):
        inner = pauli_sum(obs.base, place)
        return None if inner is None else inner * _real(obs.scalar, obs)
    if isinstance(obs, ops.Sum):
        total = PauliSum({})
        for operand in obs.operands:
            inner = pauli_sum(operand, place)
            if inner is None:
                return None
            total = total + inner
        return total
    if isinstance(obs, ops.Projector) and len(obs.parameters[0]) == len(obs.wires) <= DIAGONAL_WIRES:
        diagonal = np.zeros(1 << len(obs.wires))
        diagonal[int("".join(str(int(b)) for b in obs.parameters[0]), 2)] = 1.0
        return _diagonal(diagonal, obs.wires, place)
    if len(obs.wires) > MATRIX_WIRES or not (obs.has_matrix or obs.has_sparse_matrix):
        return None
    matrix = obs.matrix() if obs.has_matrix else obs.sparse_matrix().toarray()
    return from_matrix(np.asarray(matrix), obs.wires, place)


def from_matrix(matrix: np.ndarray, wires: Sequence[Any], place: Place) -> PauliSum:
    """The Pauli form of a Hermitian (2^k, 2^k) matrix, first wire the most significant bit."""
    size = len(matrix)
    if size != 1 << len(wires):
        raise RefusedError(
            f"an observable acts on qubits here, got a matrix of {size} rows on {len(wires)} wires; qutrits need "
            '"default.qutrit"'
        )
    if not np.allclose(matrix, matrix.conj().T, atol=1e-8):
        raise RefusedError(f"an observable must be Hermitian, got a matrix on wires {list(wires)} that is not")
    masks, j = masks_of(wires, place), np.arange(size)
    terms = {}
    for x in range(size):
        for z, c in enumerate(walsh(matrix[j ^ x, j][None])[0] / size):
            value = (c * (-1j) ** (x & z).bit_count()).real  # i^|x & z| X^x Z^z is the Hermitian string
            if abs(value) > 1e-15:
                terms[PauliString(masks[x], masks[z])] = value
    return PauliSum(terms)


def _diagonal(values: np.ndarray, wires: Sequence[Any], place: Place) -> PauliSum:
    coefficients = walsh(values[None])[0] / len(values)
    masks = masks_of(wires, place)
    return PauliSum({PauliString(0, z): c for z, c in zip(masks, coefficients, strict=True) if c != 0.0})


def masks_of(wires: Sequence[Any], place: Place) -> list[int]:
    """For every index over the wires (first wire most significant) the mask of its set bits among the qubits."""
    masks = [0]
    for wire in reversed(list(wires)):
        masks += [m | 1 << place[wire] for m in masks]
    return masks


def _square(total: PauliSum) -> PauliSum:
    merged: dict[PauliString, float] = {}
    items = list(total.items())
    for i, (p, a) in enumerate(items):
        merged[PauliString(0, 0)] = merged.get(PauliString(0, 0), 0.0) + a * a
        for q, b in items[:i]:
            if p.commutes(q):  # the others cancel with their mirror image
                product = p * q
                positive = PauliString(product.x, product.z)
                merged[positive] = merged.get(positive, 0.0) + 2 * a * b * product.sign
    return PauliSum(merged)


def _real(coefficient: Any, obs: Operator) -> float:
    value = complex(np.asarray(coefficient))
    if abs(value.imag) > _IMAGINARY * max(1.0, abs(value.real)):
        raise RefusedError(f"an observable must be Hermitian, got the coefficient {value} in {_short(obs)}")
    return value.real


def _short(obs: Any, size: int = 60) -> str:
    text = repr(obs)
    return text if len(text) <= size else text[: size - 3] + "..."
