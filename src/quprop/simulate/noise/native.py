"""The mixed state of a noisy model by compiled kernels (native/noise/), one module for each instruction set.

As in `reference.py` the state is the real vector of all Pauli strings' expectations. An operation on it flips a mask of
its 2n-bit address, or none, so that the planner (native/noise/plan.hpp) takes operations into runs that act on cosets
of few dimensions, in cache; channels that nothing keeps apart are one product of tables. A gradient is one sweep
forward and one backward. What a channel damps strongly cannot be restored, so there the vector is kept on the way
forward, KEEP_BYTES of them; with more to keep, later runs are computed again from the start of their segment.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from quprop.model import Model
from quprop.simulate import memory
from quprop.simulate.noise.reference import measured_strings, observable_on, pauli_vector
from quprop.simulate.state_vector.native import load_kernels
from quprop.simulate.vectors import walsh_hadamard

Arrays = tuple[np.ndarray, np.ndarray]
BLOCK_BYTES = 128 << 10  # r of a block; with o it fits a second-level cache
KEEP_BYTES = 2 << 30  # of vectors kept for the way back
START_BYTES = 64 << 20  # of starts that are no product states, for samples in one call of the kernels
WHOLE_BYTES = 128 << 10  # a vector up to this size is one block
STAGES = 16  # of damping in a run of a large vector, so that runs can be computed again
WIDEST = 16  # independent strings of a channel whose factors are tabulated
CHEAPER = "take fewer qubits, a smaller batch, or model.noiseless()"
LARGE, SMALL = 2.0**500, 2.0**-500


class _Plan(NamedTuple):
    evaluator: Any
    strings: Arrays  # distinct strings of all observables, x and z
    ptr: np.ndarray  # observable k owns terms ptr[k]:ptr[k+1]: a string and a coefficient each
    term: np.ndarray
    coefficient: np.ndarray
    fixed: np.ndarray | None  # the channels' coefficients (1, C) if no variable moves them


class NativeVector:
    """Values, exact gradients and probabilities by kernels; theta is (T, P), x is (X, D), T and X each 1 or B.

    The result does not depend on `threads`. `block` sets the dimensions of a block, `keep` the bytes of vectors kept
    (for tests).
    """

    def __init__(
        self, threads: int, *, isa: str | None = None, block: int | None = None, keep: int = KEEP_BYTES
    ) -> None:
        self.threads, self._block, self._keep = threads, block, keep
        self.isa, _ = load_kernels(isa)
        self._kernels = importlib.import_module(f"quprop.simulate._noise_{self.isa}")
        self._plans: WeakKeyDictionary[Model, _Plan] = WeakKeyDictionary()
        self._taken: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"NativeVector({self.threads}, isa={self.isa!r})"

    def takes(self, model: Model) -> bool:
        """Whether no channel has more than WIDEST independent strings."""
        taken = self._taken.get(model)
        if taken is None:
            taken = self._taken[model] = all(_rank(c.strings) <= WIDEST for c in model.channels)
        return taken

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        if model.exponents is not None:
            return np.ldexp(self.values(model.unit, theta, x), model.exponents)
        plan = self._plan(model)
        return _summed(plan, self._run(model, theta, x, plan.strings)[0])

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        batch = max(len(theta), len(x))
        if batch == 1 and model.n_observables == 1:  # the cotangent is one number: all at once
            values, slope, slope_x = self._gradient(model, theta, x, np.ones((1, 1)))
            return values, lambda c, sum_theta=False: ((c * slope)[0] if sum_theta else c * slope, c * slope_x)
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            _, d_theta, d_x = self._gradient(model, theta, x, cotangent)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return self.values(model, theta, x), pullback

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        values, d_theta, _ = self._gradient(model, theta, x, weights)
        return (values * weights).sum(axis=1), d_theta

    def probabilities(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of the circuit's final state in the computational basis, (B, 2^n)."""
        sx, sz, signs = measured_strings(model)
        values = self._run(model, theta, x, (sx.astype(np.uint64), sz.astype(np.uint64)))[0]
        p = np.maximum(walsh_hadamard(signs * values), 0.0)  # rounding may leave -1e-17
        return p / p.sum(axis=1, keepdims=True)

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes needed for "values", "value_and_grad", "vjp" or "probabilities" of a batch."""
        gradient = what in ("value_and_grad", "vjp")
        size = max(8 << 2 * model.n_qubits, self._kernels.vector_bytes)
        stages = len(model.channels)
        if size > KEEP_BYTES or not gradient:
            kept = min(stages, 2 * math.isqrt(stages) + STAGES) * gradient
        else:
            kept = self._plan(model).evaluator.kept
        at_once = min(batch, self.threads) if size <= 1 << 19 else 1
        needed = at_once * size * ((2 + kept) if gradient else 1)
        if model.state.kind in ("amplitudes", "encoded"):
            rows = min(max(START_BYTES // size, 1), batch)
            needed += (8 if gradient else 5) * rows * size
        outside = 8 * batch * (model.n_rotations + (1 << model.n_qubits if what == "probabilities" else 0))
        return needed + 4 * outside + 4096 * (model.n_rotations + stages)

    def _require(self, model: Model, batch: int, what: str) -> None:
        if model.n_qubits > 9:
            memory.require(self.memory(model, batch, what), f"a mixed state of {model.n_qubits} qubits", CHEAPER)

    def _plan(self, model: Model) -> _Plan:
        plan = self._plans.get(model)
        if plan is None:
            plan = self._plans[model] = self._planned(model)
        return plan

    def _planned(self, model: Model) -> _Plan:
        self._require(model, 1, "values")
        channels, starts = model.channels, model.channel_table.starts
        upper = max(2 * model.n_qubits - (self._kernels.vector_bytes // 8).bit_length() + 1, 1)
        size = 8 << 2 * model.n_qubits
        dimension = self._block
        if dimension is None:
            lines = BLOCK_BYTES // self._kernels.vector_bytes
            dimension = upper if size <= WHOLE_BYTES else min(lines.bit_length() - 1, upper)
        strings = [s for c in channels for s in c.strings]
        keys: dict[Any, int] = {}
        key = [keys.setdefault(p, len(keys)) for c in channels for p in _polynomials(c)]
        wanted = np.zeros(int(starts[-1]), np.uint8)
        for channel, first, last in zip(channels, starts, starts[1:], strict=False):
            moved = [not s.is_constant for s in channel.strengths]
            wanted[first:last] = moved if channel.kind == "pauli" else any(moved)
        evaluator = self._kernels.evaluator(
            {
                "n": model.n_qubits,
                "dimension": max(dimension, 1),
                "most_diagonals": STAGES if size > WHOLE_BYTES else 16 * STAGES,
                "most_kept": self._keep // size,
                "x": np.array(model.x_masks, np.uint64),
                "z": np.array(model.z_masks, np.uint64),
                "after": np.array([c.place for c in channels], np.int32),
                "affine": np.array([c.kind == "affine" for c in channels], np.uint8),
                "string_ptr": np.cumsum([0, *(len(c.strings) for c in channels)]).astype(np.int32),
                "coefficient": starts[:-1].astype(np.int32),
                "string_x": np.array([x for x, _ in strings], np.uint64),
                "string_z": np.array([z for _, z in strings], np.uint64),
                "key": np.array(key, np.int32),
                "sign": np.array([c.sign for c in channels], np.int8),
                "wanted": wanted,
            }
        )
        found: dict[tuple[int, int], int] = {}
        ptr, term, coefficient = [0], [], []
        for total in model.observables:
            for string, c in total.items():
                term.append(found.setdefault((string.x, string.z), len(found)))
                coefficient.append(c)
            ptr.append(len(term))
        x, z = (np.array([s[i] for s in found], np.uint64) for i in (0, 1))
        fixed = None
        if not wanted.any():
            fixed = model.channel_table.evaluate(np.zeros((1, model.n_params)), np.zeros((1, model.n_inputs)))
        return _Plan(evaluator, (x, z), np.array(ptr), np.array(term, int), np.array(coefficient, float), fixed)

    def _run(
        self, model: Model, theta: np.ndarray, x: np.ndarray, strings: Arrays, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray]:
        """Expectations of strings (B, T); with weights (1 or B, T) of these also derivatives of the weighted sum by
        angles (B, M) and coefficients (B, C), and by the amplitudes that x encodes (B, the size of x)."""
        plan, n, state = self._plan(model), model.n_qubits, model.state
        batch = max(len(theta), len(x))
        self._require(model, batch, "values" if weights is None else "vjp")
        coefficients = plan.fixed
        if coefficients is None:
            coefficients = np.ascontiguousarray(model.channel_table.evaluate(theta, x))
        angles = np.ascontiguousarray(model.angle_table.evaluate(theta, x))
        values = np.empty((batch, len(strings[0])))
        d_angles = d_coefficients = None
        d_x = np.zeros((batch, model.n_inputs))
        if weights is not None:
            d_angles, d_coefficients = np.empty((batch, model.n_rotations)), np.empty((batch, coefficients.shape[1]))
        bloch = _bloch(model)
        rows = batch if bloch is not None else max(START_BYTES >> (2 * n + 3), 1)
        for first in range(0, batch, rows):
            some = slice(first, min(first + rows, batch))
            count = some.stop - first
            start = adjoint = phi = None
            if bloch is None:
                phi = state.vector(n, _rows(x, some)).reshape(-1, 1 << n)
                start = pauli_vector(phi)
                if weights is not None and state.kind == "encoded":
                    adjoint = np.empty((count, 4**n))
            plan.evaluator.run(
                count, _rows(angles, some), _rows(coefficients, some), bloch, start, *strings,
                None if weights is None else _rows(weights, some), self.threads, values[some],
                *(None if a is None else a[some] for a in (d_angles, d_coefficients)), adjoint,
            )  # fmt: skip
            if adjoint is not None and phi is not None:
                phi = np.broadcast_to(phi, (count, 1 << n))
                d_x[some, state.input_slice(n)] += state.pullback(n, _rows(x, some), observable_on(adjoint, phi))
        return values, d_angles, d_coefficients, d_x

    def _gradient(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """Values (B, K), and d_theta (B, P) and d_x (B, D) of weights . values."""
        if model.exponents is not None:
            values, *slopes = self._gradient(model.unit, theta, x, np.ldexp(weights, model.exponents))
            return np.ldexp(values, model.exponents), *slopes
        peak = np.abs(weights).max(axis=1, keepdims=True, initial=0.0)
        if ((peak > LARGE) | (peak < SMALL) & (peak > 0)).any():  # all results are linear in the weights
            shift = np.frexp(np.where(np.isfinite(peak), peak, 1.0))[1]
            values, *slopes = self._gradient(model, theta, x, np.ldexp(weights, -shift))
            return values, *(np.ldexp(s, shift) for s in slopes)
        plan = self._plan(model)
        of_strings = np.zeros((len(weights), len(plan.strings[0])))
        of_terms = np.repeat(weights, np.diff(plan.ptr), axis=1) * plan.coefficient
        for column, term in zip(of_terms.T, plan.term, strict=True):
            of_strings[:, term] += column
        strings, d_angles, d_coefficients, d_x = self._run(model, theta, x, plan.strings, of_strings)
        assert d_angles is not None and d_coefficients is not None
        d_theta, by_x = model.angle_table.pullback(d_angles, theta, x)
        d_x += by_x
        if plan.fixed is None:
            for out, more in zip((d_theta, d_x), model.channel_table.pullback(d_coefficients, theta, x), strict=True):
                out += more
        return _summed(plan, strings), d_theta, d_x


def _summed(plan: _Plan, strings: np.ndarray) -> np.ndarray:
    """Observables (B, K) from the expectations of strings (B, T)."""
    terms = strings[:, plan.term] * plan.coefficient
    return np.stack([terms[:, a:b].sum(axis=1) for a, b in zip(plan.ptr, plan.ptr[1:], strict=False)], axis=1)


def _rows(a: np.ndarray, some: slice) -> np.ndarray:
    return np.ascontiguousarray(a if len(a) == 1 else a[some])


def _polynomials(channel: Any) -> list[Any]:
    """What tells strings of equal probability: one entry a string."""
    return list(channel.strengths) if channel.kind == "pauli" else [None] * len(channel.strings)


def _rank(strings: tuple[tuple[int, int], ...]) -> int:
    echelon: list[int] = []
    width = max((x | z for x, z in strings), default=0).bit_length()
    for x, z in strings:
        mask = x | z << width
        for e in echelon:
            mask = min(mask, mask ^ e)
        if mask:
            echelon.append(mask)
        if len(echelon) > WIDEST:
            break
    return len(echelon)


def _bloch(model: Model) -> np.ndarray | None:
    """<X>, <Y>, <Z> of each qubit (1, n, 3), where the input is a product state."""
    n, state = model.n_qubits, model.state
    if state.kind == "basis":
        out = np.zeros((1, n, 3))
        out[0, :, 2] = [1 - 2 * (state.index >> q & 1) for q in range(n)]
        return out
    if state.kind != "product":
        return None
    a, b = state.array.T
    c = a.conj() * b
    return np.stack([2 * c.real, 2 * c.imag, abs(a) ** 2 - abs(b) ** 2], axis=1)[None]
