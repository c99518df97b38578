"""Jets by the compiled kernels: derivatives along a direction, and what pulls them back (the mathematics is in
`ReferenceEngine.state_jet`). Directions are scaled by powers of two: none is too long or too short for the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from quprop.model import Model
from quprop.simulate.state_vector.reference import QUIET, JetPullback
from quprop.simulate.state_vector.rows import KEEP_BYTES, as_complex, as_real, check_rows, ldexp, paired, peak, shift

Arrays = tuple[np.ndarray, ...]
FACTORIALS = np.array([1.0, 1.0, 2.0])[:, None, None]


def keeps(batch: int, state_bytes: int) -> bool:
    """Whether the states of a jet wait for its pullback."""
    return batch == 1 or 3 * batch * state_bytes <= KEEP_BYTES


class Along:
    """A model on the line (theta + t v_theta, x + t v_x), as the kernels of an engine are told: v without its size."""

    @QUIET
    def __init__(
        self,
        engine: Any,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
        order: int,
    ) -> None:
        self.engine, self.model, self.order, n = engine, model, order, model.n_qubits
        self.batch = max(map(len, (theta, x, v_theta, v_x)))
        for name, rows, size in (
            ("theta", theta, model.n_params),
            ("x", x, model.n_inputs),
            ("v_theta", v_theta, model.n_params),
            ("v_x", v_x, model.n_inputs),
        ):
            check_rows(name, rows, size, self.batch)
        self.plan, _ = engine._plan(model, theta, x, self.batch, "dual" if order == 1 else "jet")
        encoded = model.state.kind == "encoded"
        along = shift(self._speed(theta, x, v_theta, v_x, encoded), *(e ** (1 / order) for e in engine._ordinary))
        self.exponents = along  # of two, that v is multiplied by
        if along is not None:
            v_theta, v_x = ldexp(v_theta, -along), ldexp(v_x, -along)
        self.theta, self.v_theta = paired(theta, v_theta)
        self.x, self.v_x = paired(x, v_x)
        start = model.state.jet(n, self.x, self.v_x, order).astype(complex) if encoded else None
        first = engine._start(model, self.x)
        moved = None if start is None else as_real(start[1:])
        at = (self.theta, self.x, first, n, self.batch, engine.threads)
        self.arguments = (*at, self.v_theta, self.v_x, moved)

    def _speed(
        self, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, encoded: bool
    ) -> np.ndarray:
        """How fast the state moves at most, (rows, 1): the kernels hold numbers of this size, and of its square."""
        if self.order == 1 and self.engine.precision == "double" and not encoded:
            return np.maximum(peak(v_theta), peak(v_x))
        moved = [self.model.angle_table.jet(theta, x, v_theta, v_x, self.order)[1:]]
        if encoded:
            moved.append(self.model.state.jet(self.model.n_qubits, *paired(x, v_x), self.order)[1:])
        first = [np.abs(m[0]).sum(axis=-1, keepdims=True) for m in moved]
        second = [np.sqrt(np.abs(m[1]).sum(axis=-1, keepdims=True)) for m in moved if self.order > 1]
        return np.maximum.reduce(np.broadcast_arrays(*first, *second))

    def run(self, values: np.ndarray | None, states: np.ndarray | None) -> Any:
        """Fills in the coefficients of t^k, and returns the final states if they may be kept."""
        engine = self.engine
        kept = engine._kept() if keeps(self.batch, 2 * engine._real_bytes << max(self.model.n_qubits, 5)) else None
        self.plan.jet(*self.arguments, values, states, kept)
        return kept

    def derivatives(self, coefficients: np.ndarray) -> np.ndarray:
        """From coefficients of t^k (order + 1, B, size), v being scaled, to derivatives."""
        out = coefficients * FACTORIALS[: self.order + 1]
        return out if self.exponents is None else ldexp(out, self._powers())

    def _powers(self) -> np.ndarray:
        assert self.exponents is not None
        return np.arange(self.order + 1)[:, None, None] * self.exponents

    def pull(self, cotangents: np.ndarray, sum_theta: bool, kept: Any, costates: bool) -> Arrays:
        """d_theta, d_x, d_v_theta, d_v_x from cotangents of the derivatives (order + 1, 1 or B, size)."""
        rows = (cotangents * FACTORIALS[: self.order + 1])[::-1]
        sizes = peak(rows)  # (order + 1, rows, 1)
        out = shift(sizes, *self.engine._ordinary)
        if out is None and self.exponents is None:
            return self._pull(rows, sum_theta, kept, costates)
        # One order at a time, without its size: all results are linear in the cotangents.
        exponents = np.zeros_like(sizes, int) if out is None else out
        powers = None if self.exponents is None else self._powers()[::-1]
        along = 0 if self.exponents is None else self.exponents
        found: list[np.ndarray] | None = None
        for k in np.flatnonzero(sizes.any(axis=(1, 2))) if sizes.any() else [0]:
            one = np.zeros_like(rows)
            one[k] = ldexp(rows[k], -exponents[k])
            after = exponents[k] + (0 if powers is None else powers[k])
            parts = [
                ldexp(part, after - lost)
                for part, lost in zip(self._pull(one, False, kept, costates), (0, 0, along, along), strict=True)
            ]
            found = parts if found is None else [a + b for a, b in zip(found, parts, strict=True)]
        assert found is not None
        d_theta, d_x, d_v_theta, d_v_x = found
        if sum_theta:
            d_theta, d_v_theta = d_theta.sum(axis=0), d_v_theta.sum(axis=0)
        return d_theta, d_x, d_v_theta, d_v_x

    def _pull(self, rows: np.ndarray, sum_theta: bool, kept: Any, costates: bool) -> Arrays:
        """From the cotangent of the coefficient of t^order down, derivatives by theta, x, and v as it is scaled."""
        model, n = self.model, self.model.n_qubits
        shape = (model.n_params,) if sum_theta else (self.batch, model.n_params)
        d_theta, d_v_theta = np.empty((2, *shape))
        d_x, d_v_x = np.empty((2, self.batch, model.n_inputs))
        adjoint = np.empty((self.order + 1, self.batch, 1 << n, 2)) if model.state.kind == "encoded" else None
        rows = np.ascontiguousarray(np.broadcast_to(rows, (len(rows), self.batch, rows.shape[2])) if costates else rows)
        weights, costate = (None, rows.reshape(len(rows), self.batch, -1, 2)) if costates else (rows, None)
        self.plan.pull_jet(*self.arguments, weights, costate, sum_theta, d_v_theta, d_v_x, d_theta, d_x, adjoint, kept)
        if adjoint is not None:
            columns = model.state.input_slice(n)
            at, along = model.state.jet_pullback(n, self.x, self.v_x, as_complex(adjoint))
            d_x[:, columns] += at
            d_v_x[:, columns] += along
        return d_theta, d_x, d_v_theta, d_v_x

    def hvp(self, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """d_theta, d_x of cotangent . values and their derivatives along v. Of the derivative along v of these values,
        the gradients by v and by (theta, x): one pullback."""
        h_theta, h_x, d_theta, d_x = self._pull(cotangent[None], False, None, False)
        if self.exponents is not None:
            h_theta, h_x = ldexp(h_theta, self.exponents), ldexp(h_x, self.exponents)
        return d_theta, d_x, h_theta, h_x


def jet(
    engine: Any, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
) -> tuple[np.ndarray, JetPullback]:
    """As `ReferenceEngine.jet`."""
    exponents = model.exponents
    if exponents is not None:
        values, inner = jet(engine, model.unit, theta, x, v_theta, v_x, order)
        return ldexp(values, exponents), lambda c, sum_theta=False: inner(ldexp(c, exponents), sum_theta)
    if order == 0:
        return _still(engine.vjp, model, theta, x, v_theta, v_x)
    theta, x, v_theta, v_x = (a.copy() for a in (theta, x, v_theta, v_x))
    line = Along(engine, model, theta, x, v_theta, v_x, order)
    values = np.empty((order + 1, line.batch, model.n_observables))
    kept = line.run(values, None)

    def pullback(cotangents: np.ndarray, sum_theta: bool = False) -> Arrays:
        _check(cotangents, "cotangents", model.n_observables, line)
        return line.pull(cotangents, sum_theta, kept, False)

    return line.derivatives(values), pullback


def state_jet(
    engine: Any, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
) -> tuple[np.ndarray, JetPullback]:
    """As `ReferenceEngine.state_jet`, up to one global phase."""
    if order == 0:
        return _still(engine.state_vjp, model, theta, x, v_theta, v_x)
    theta, x, v_theta, v_x = (a.copy() for a in (theta, x, v_theta, v_x))
    line = Along(engine, model, theta, x, v_theta, v_x, order)
    states = np.empty((order + 1, line.batch, 2 << model.n_qubits))
    kept = line.run(None, states.reshape(*states.shape[:2], -1, 2))

    def pullback(costates: np.ndarray, sum_theta: bool = False) -> Arrays:
        _check(costates, "costates", 1 << model.n_qubits, line)
        rows = np.ascontiguousarray(costates, complex).view(float)
        return line.pull(rows, sum_theta, kept, True)

    return line.derivatives(states).view(complex), pullback


def _check(rows: np.ndarray, name: str, size: int, line: Along) -> None:
    for k in range(line.order + 1):
        check_rows(f"{name}[{k}]", rows[k] if k < len(rows) else rows[:0], size, line.batch)


def _still(
    function: Callable[..., Any], model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray
) -> tuple[np.ndarray, JetPullback]:
    """Order 0: nothing moves, but there are as many rows as directions."""
    theta, v_theta = paired(theta, v_theta)
    x, v_x = paired(x, v_x)
    found, inner = function(model, theta, x)

    def pullback(cotangents: np.ndarray, sum_theta: bool = False) -> Arrays:
        d_theta, d_x = inner(np.ascontiguousarray(cotangents[0]), sum_theta)
        return d_theta, d_x, np.zeros_like(d_theta), np.zeros_like(d_x)

    return found[None], pullback
