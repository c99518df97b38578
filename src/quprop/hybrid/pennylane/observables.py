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
from scipy.sparse import issparse

from quprop.errors import QupropError
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate.vectors import walsh_hadamard

MATRIX_WIRES = 6  # observables without a Pauli form are expanded up to here: 4^6 strings
DIAGONAL_WIRES = 10  # distributions and projectors: 2^10 strings
SQUARE_TERMS = 256  # the variance of more terms comes from the state
_IMAGINARY = 1e-10  # what rounding may leave of the imaginary part of a Hermitian observable's coefficients
OF_OUTCOMES = (
    "has no derivative by the numbers of its observable, whose eigenvectors PennyLane takes for constants; mark them "
    "as not trainable"
)
NESTED = "a jax.vmap inside of another is not taken here; use jax.lax.map in place of one of them"

Place = Mapping[Any, int]  # wire label -> qubit


class RefusedError(QupropError, DeviceError, QuantumFunctionError):
    """What the device cannot do, in one sentence; PennyLane's own kinds of error too, so that its tools understand."""


class Readout(NamedTuple):
    """A measurement as a function of expectation values v (B, K): "expval" v_0; "var" v_0 - v_1^2, the square first;
    "probs" the transform of the Z strings' values; "terms" sum_k c_k v_k, where the coefficients c are numbers of the
    tape (`Monomials`)."""

    kind: str
    sums: tuple[PauliSum, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sums),) if self.kind == "probs" else ()

    def result(self, v: np.ndarray, coefficients: np.ndarray | None) -> np.ndarray:
        """(B,), or (B, 2^k) of a distribution."""
        if self.kind == "terms":
            return (v * coefficients).sum(axis=1)
        if self.kind == "expval":
            return v[:, 0]
        if self.kind == "var":
            return v[:, 0] - v[:, 1] ** 2
        return np.maximum(walsh_hadamard(v) / v.shape[1], 0.0)  # rounding may leave -1e-17

    def pullback(self, v: np.ndarray, coefficients: np.ndarray | None, cotangent: np.ndarray) -> np.ndarray:
        """The cotangents (B, K) of the expectation values from those of the result."""
        if self.kind == "terms":
            return cotangent[:, None] * coefficients
        if self.kind == "expval":
            return cotangent[:, None]
        if self.kind == "var":
            return np.stack([cotangent, -2 * v[:, 1] * cotangent], axis=1)
        return walsh_hadamard(cotangent) / v.shape[1]


def is_batch(m: mp.MeasurementProcess) -> bool:
    """Whether a measurement's observable is one matrix for each sample of a batch."""
    if m.obs is None or m.obs.batch_size is None:
        return False
    if len(m.obs.data) > 1:
        raise RefusedError(
            f"{short(m)} has numbers with a batch of values among others; call the circuit once for each of them"
        )
    return True


def readout(m: mp.MeasurementProcess, place: Place, terms: Monomials | None = None) -> Readout | None:
    """The measurement as a `Readout`, or None where it is to be computed from the state; `terms` has the monomials of
    an observable whose numbers are differentiated."""
    if terms is not None:
        return Readout("terms", tuple(PauliSum(p) for p in terms.strings))
    if type(m) is mp.ProbabilityMP and m.obs is None and m.mv is None:
        wires = m.wires or list(place)
        if len(wires) > DIAGONAL_WIRES or not wires:
            return None
        return Readout("probs", tuple(PauliSum({PauliString(0, z): 1.0}) for z in masks_of(wires, place)))
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


FIXED_FROM = 16  # terms


class _KnownObservable:
    """What is remembered of an observable, for as long as it lives and its numbers stay the same."""

    def __init__(self, obs: Operator) -> None:
        scalars = isinstance(obs, ops.Sum) and all(isinstance(o, ops.SProd) for o in obs.operands)
        self._scalars = scalars and len(obs.data) == len(obs.operands)
        self._numbers = _content(self.numbers(obs))
        self.reference = weakref.ref(obs, partial(_drop, id(obs)))
        self.sums: dict[tuple[tuple[Any, int], ...], PauliSum | None] = {}
        self.twin = FixedObservable(obs) if isinstance(obs, ops.Sum) and obs.pauli_rep is not None else None

    def numbers(self, obs: Operator) -> Sequence[Any]:
        return [o.scalar for o in obs.operands] if self._scalars else obs.data

    def is_of(self, obs: Operator) -> bool:
        return self.reference() is obs and self._numbers == _content(self.numbers(obs))


_known: dict[int, _KnownObservable] = {}


def _drop(key: int, _: weakref.ref) -> None:
    _known.pop(key, None)


def _know(obs: Operator) -> _KnownObservable:
    found = _known.get(id(obs))
    if found is None or not found.is_of(obs):
        found = _known[id(obs)] = _KnownObservable(obs)
    return found


def _content(numbers: Sequence[Any]) -> Any:
    """What tells changed numbers from unchanged ones."""
    try:
        return np.array(numbers, complex).tobytes()
    except (TypeError, ValueError):
        return tuple(
            _content([d.data, d.indices, d.indptr]) if issparse(d) else np.asarray(d).tobytes() for d in numbers
        )


def fixed(m: mp.MeasurementProcess) -> mp.MeasurementProcess:
    """The measurement of a `FixedObservable` where that gives the same result, the measurement itself elsewhere."""
    obs = m.obs
    if type(m) is not mp.ExpectationMP or not isinstance(obs, ops.Sum) or len(obs) < FIXED_FROM:
        return m
    numbers = [o.scalar if isinstance(o, ops.SProd) else 0.0 for o in obs.operands]
    if any(_is_seen(d) for d in numbers) or any(_is_seen(d) for d in obs.data):
        return m
    twin = _know(obs).twin
    return m if twin is None else mp.ExpectationMP(obs=twin)


def _is_seen(number: Any) -> bool:
    """Whether an interface follows a number."""
    return not isinstance(number, float | int) and (math.requires_grad(number) or math.is_abstract(number))


def pauli_sum(obs: Operator, place: Place) -> PauliSum | None:
    """The observable's Pauli form, None if it has none of moderate size."""
    if isinstance(obs, ops.PauliZ | ops.PauliX | ops.PauliY):
        q = 1 << place[obs.wires.labels[0]]
        return PauliSum(PauliString(q * (obs.name != "PauliZ"), q * (obs.name != "PauliX")))
    if isinstance(obs, FixedObservable):
        obs = obs.base
    if len(obs.wires) > MATRIX_WIRES and obs.pauli_rep is None and not isinstance(obs, ops.Sum | ops.SProd | ops.Prod):
        return None
    sums = _know(obs).sums
    key = tuple((w, place[w]) for w in obs.wires.labels)
    if key not in sums:
        found = Monomials.of(obs, place)
        sums[key] = None if found is None else found.sum(obs)
    return sums[key]


class Monomials(NamedTuple):
    """An observable as sum_k c_k P_k, c_k = Re sum_t factor_t prod_j d_j over the t with string[t] = k and the j in
    numbers[t]: a function of the numbers d in `obs.data`, linear in each of them."""

    strings: tuple[PauliString, ...]  # Hermitian, each once
    string: tuple[int, ...]
    factor: tuple[complex, ...]
    numbers: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, obs: Operator, place: Place, constants: bool = True) -> Monomials | None:
        """None if the observable has no Pauli form of moderate size, or none that is linear in its numbers; with
        `constants` the matrices of Hermitian operators and the like count as fixed."""
        found = _expand(obs, place, 0, constants)
        if found is None:
            return None
        index: dict[PauliString, int] = {}
        factors = []
        for factor, _, p in found:
            positive = PauliString(p.x, p.z)
            index.setdefault(positive, len(index))
            factors.append(factor * 1j ** (p.phase - positive.phase))
        where = tuple(index[PauliString(p.x, p.z)] for _, _, p in found)
        return cls(tuple(index), where, tuple(factors), tuple(numbers for _, numbers, _ in found))

    def coefficients(self, obs: Operator) -> np.ndarray:
        """(K,), or (B, K) where a number has a value for each sample."""
        data = [np.asarray(d) for d in obs.data]
        rows = {len(data[j]) for j in {j for numbers in self.numbers for j in numbers} if data[j].ndim}
        if len(rows) > 1:
            raise RefusedError(f"all numbers of an observable need the same batch size, got {sorted(rows)}")
        out = np.zeros((len(self.strings), *rows), complex)
        for k, factor, numbers in zip(self.string, self.factor, self.numbers, strict=True):
            out[k] += factor * _product(data, numbers)
        if np.any(np.abs(out.imag) > _IMAGINARY * np.maximum(1.0, np.abs(out.real))):
            value = out.flat[int(np.argmax(np.abs(out.imag)))]
            raise RefusedError(f"an observable must be Hermitian, got the coefficient {value} in {short(obs)}")
        return out.real.T

    def pullback(self, obs: Operator, cotangent: np.ndarray) -> list[np.ndarray]:
        """The cotangents (..., ) of the numbers from those (..., K) of the coefficients."""
        data = [np.asarray(d) for d in obs.data]
        out = [np.zeros(cotangent.shape[:-1], complex) for _ in data]
        for k, factor, numbers in zip(self.string, self.factor, self.numbers, strict=True):
            for i, j in enumerate(numbers):
                out[j] += cotangent[..., k] * factor * _product(data, numbers[:i] + numbers[i + 1 :])
        return [o if np.iscomplexobj(d) else o.real for o, d in zip(out, data, strict=True)]

    def sum(self, obs: Operator) -> PauliSum:
        return PauliSum(dict(zip(self.strings, self.coefficients(obs), strict=True)))


def _product(data: Sequence[np.ndarray], numbers: Sequence[int]) -> Any:
    out: Any = 1.0
    for j in numbers:
        out = out * data[j]
    return out


_Expansion = list[tuple[complex, tuple[int, ...], PauliString]]


def _expand(obs: Operator, place: Place, first: int, constants: bool) -> _Expansion | None:
    """The terms of an observable whose numbers are those from `first` on: factor, numbers, string."""
    if isinstance(obs, ops.SProd):
        inner = _expand(obs.base, place, first + 1, constants)
        return None if inner is None else [(c, (first, *numbers), p) for c, numbers, p in inner]
    if isinstance(obs, ops.Sum) and obs.num_params:
        total: _Expansion = []
        for operand in obs.operands:
            inner = _expand(operand, place, first, constants)
            if inner is None:
                return None
            total += inner
            first += operand.num_params
        return total
    if isinstance(obs, ops.Prod) and (obs.num_params or obs.pauli_rep is None):
        total = [(1.0, (), PauliString(0, 0))]
        for operand in obs.operands:
            inner = _expand(operand, place, first, constants)
            if inner is None or len(total) * len(inner) > 4**MATRIX_WIRES:
                return None
            total = [(a * b, m + k, p * q) for a, m, p in total for b, k, q in inner]
            first += operand.num_params
        return total
    if obs.num_params and not constants:
        return None
    if obs.pauli_rep is not None:
        return [(c, (), _word(word, place)) for word, c in obs.pauli_rep.items()]
    if isinstance(obs, ops.Projector) and len(obs.parameters[0]) == len(obs.wires) <= DIAGONAL_WIRES:
        diagonal = np.zeros(1 << len(obs.wires))
        diagonal[int("".join(str(int(b)) for b in obs.parameters[0]), 2)] = 1.0
        total_sum = _diagonal(diagonal, obs.wires, place)
    elif len(obs.wires) > MATRIX_WIRES or not (obs.has_matrix or obs.has_sparse_matrix):
        return None
    else:
        matrix = obs.matrix() if obs.has_matrix else obs.sparse_matrix().toarray()
        total_sum = from_matrix(np.asarray(matrix), obs.wires, place)
    return [(c, (), p) for p, c in total_sum.items()]


def _word(word: Mapping[Any, str], place: Place) -> PauliString:
    x = z = 0
    for wire, letter in word.items():
        x |= (letter in "XY") << place[wire]
        z |= (letter in "YZ") << place[wire]
    return PauliString(x, z)


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
        for z, c in enumerate(walsh_hadamard(matrix[j ^ x, j]) / size):
            value = (c * (-1j) ** (x & z).bit_count()).real  # i^|x & z| X^x Z^z is the Hermitian string
            if abs(value) > 1e-15:
                terms[PauliString(masks[x], masks[z])] = value
    return PauliSum(terms)


def _diagonal(values: np.ndarray, wires: Sequence[Any], place: Place) -> PauliSum:
    coefficients = walsh_hadamard(values) / len(values)
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


def short(obs: Any, size: int = 60) -> str:
    text = repr(obs)
    return text if len(text) <= size else text[: size - 3] + "..."
