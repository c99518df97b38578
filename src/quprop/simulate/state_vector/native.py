"""The fast CPU engine: the plans of blocks.py and support.py run by compiled kernels (native/state_vector/), one module
for each instruction set."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from quprop.arrays import square
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import DENSITY, refuse_channels
from quprop.simulate import memory
from quprop.simulate.engine import threads_of
from quprop.simulate.state_vector import blocks, diagonals, jets, support
from quprop.simulate.state_vector.reference import STATE_VECTOR, JetPullback
from quprop.simulate.state_vector.rows import KEEP_BYTES, as_complex, as_real, check_rows, ldexp, peak, shift

Arrays = tuple[np.ndarray, np.ndarray]
ISAS = ("avx512", "avx2", "base")  # best first
PRECISIONS = {
    "double": ("Double", "SupportDouble", "TangentDouble", "KeptDouble", 8),
    "single": ("Single", "SupportSingle", "TangentSingle", "KeptSingle", 4),
}
# Sizes of weights and directions that neither overflow nor vanish beside amplitudes, which are 1 at most.
ORDINARY = {"double": (2.0**-500, 2.0**500), "single": (2.0**-20, 2.0**40)}
KINDS = {
    "hvp": "dual",
    "jet": "jet",
    "state_jet": "jet",
    "states": "state",
    "state_vjp": "state",
    "tangents": "tangents",
}
ORDERS = {"dual": 1, "jet": 2}  # of the Taylor polynomials that an evaluator propagates
TABLE_QUBITS = 9  # from here on tables are looked for
LANE_QUBITS = 10  # up to here a batch runs with one sample a lane, its state still in cache


def load_kernels(isa: str | None = None) -> tuple[str, ModuleType]:
    """The kernels of `isa`, or of the best instruction set that was built and that this processor runs.

    The environment variable QUPROP_ISA overrides the rewritten (for tests and for measuring one set against another).
    """
    isa = isa or os.environ.get("QUPROP_ISA") or None
    if isa is not None and isa not in ISAS:
        raise QupropError(f"isa is one of {', '.join(ISAS)}, got {isa!r}")
    supports = importlib.import_module("quprop.simulate._cpu").supports
    for name in (isa,) if isa else ISAS:
        if supports(name):
            try:
                return name, importlib.import_module(f"quprop.simulate._kernels_{name}")
            except ModuleNotFoundError:
                continue
    raise QupropError(f"the kernels for {isa} were not built or do not run on this processor; leave isa out")


class _Support(NamedTuple):
    """The evaluator of a model on the basis states it reaches."""

    evaluator: Any
    plan_bytes: int
    state_bytes: int
    longest: float  # entry of theta and x


class _Plan(NamedTuple):
    """A model's evaluator, and what it wants to know of theta, x and the start."""

    evaluator: Any
    longest: float = math.inf  # entry of theta and x
    start: Any = None  # in the evaluator's frame, where it has one
    table_bytes: int = 0


class NativeEngine:
    """Exact values, gradients and Hessian-vector products; see simulate/__init__.py for the public functions.

    `precision` is "double" or "single" (sums over amplitudes are always in double). `threads` is 1 ... the number of
    cores (the default); the result does not depend on it. Values and gradients of models that reach few basis states
    are computed on those alone; `support=False` never does, `support=True` whenever it can (by default, where it pays).
    Rotations of one angle that commute are one multiplication by a table of their sum: `tables=False` never,
    `tables=True` whenever they can be (by default, where counting says that it pays). Qubits that Pauli symmetries of
    the circuit and its observables fix are left out of values and gradients, unless `symmetries=False`. `block` sets
    the dimensions of a block, `isa` the instruction set (for tests).

    Raises: QupropError for another precision, or a number of threads below 1.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.expectation(model, [np.pi / 3], engine=qpr.NativeEngine("single")).round(3)
    array([0.5])
    """

    name = "native"

    def __init__(
        self,
        precision: str = "double",
        threads: int | None = None,
        *,
        isa: str | None = None,
        block: int | None = None,
        support: bool | None = None,
        tables: bool | None = None,
        symmetries: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise QupropError(f'precision is "double" or "single", got {precision!r}')
        self.precision = precision
        self.threads = threads_of(threads)
        self.isa, self._kernels = load_kernels(isa)
        self._ordinary = ORDINARY[precision]
        *classes, self._real_bytes = PRECISIONS[precision]
        self._evaluator, self._support_evaluator, self._tangent_evaluator, self._kept = (
            getattr(self._kernels, c) for c in classes
        )
        self.lanes: int = self._kernels.vector_bytes // self._real_bytes
        self._block, self._use_support = block, support
        self._use_tables, self._use_symmetries = tables, symmetries
        self._plans: WeakKeyDictionary[Model, dict[tuple[bool, str, bool], _Plan]] = WeakKeyDictionary()
        self._rewritings: WeakKeyDictionary[Model, dict[tuple[bool | None, bool], diagonals.Rewritten | None]] = (
            WeakKeyDictionary()
        )
        self._supports: WeakKeyDictionary[Model, _Support | None] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"NativeEngine({self.precision!r}, threads={self.threads}, isa={self.isa!r})"

    def _plan(self, model: Model, theta: np.ndarray, x: np.ndarray, batch: int, kind: str = "") -> tuple[Any, Any]:
        """The evaluator of a model, and the start it is given."""
        plan = self._plan_at(model, theta, x, batch, kind)
        return plan.evaluator, self._start(model, x) if plan.start is None else plan.start

    def _plan_at(self, model: Model, theta: np.ndarray, x: np.ndarray, batch: int, kind: str) -> _Plan:
        """Of kind "" (values and gradients), "state" (states without the residual Clifford, and their pullbacks),
        "states" (with it), "dual" (Hessian-vector products, and jets of the first order), "jet" (of the second) or
        "tangents"."""
        as_lanes = batch > 1 and model.n_qubits <= LANE_QUBITS and 2 * batch >= self.lanes
        plan = self._made(model, as_lanes, kind, True)
        if plan.longest < math.inf and not (_within(theta, plan.longest) and _within(x, plan.longest)):
            plan = self._made(model, as_lanes, kind, False)
        return plan

    def _made(self, model: Model, as_lanes: bool, kind: str, with_tables: bool) -> _Plan:
        known = self._plans.get(model)
        if known is None:
            refuse_channels(model, STATE_VECTOR, DENSITY)
            known = self._plans[model] = {}
        found = known.get((as_lanes, kind, with_tables))
        if found is None:
            lane_bits = 0 if as_lanes else self.lanes.bit_length() - 1
            planned = blocks.with_clifford(model) if kind == "states" else model
            if kind == "states":
                rewritten = self._rewrite(planned, False, self._tables_for(model, as_lanes, kind, with_tables))
            else:
                rewritten = self._rewritten(model, as_lanes, kind, with_tables)
            tables = None
            if rewritten is not None:
                bits = blocks.upper_bits(rewritten.n, lane_bits) + lane_bits
                tables = rewritten.tables(lambda z, c: self._kernels.Diagonal(z, c, bits, self.threads))
            flat = blocks.plan(planned, lane_bits, self._kernels.vector_bytes, self._block, rewritten, tables)
            tangents = kind == "tangents"
            made = self._tangent_evaluator(flat) if tangents else self._evaluator(flat, ORDERS.get(kind, 0))
            if rewritten is None or tables is None:
                found = _Plan(made)
            else:
                start = None if rewritten.start is None else (as_real(rewritten.start[None])[0],)
                found = _Plan(made, rewritten.longest(tables), start, sum(one.bytes for one in tables.diagonals))
            known[as_lanes, kind, with_tables] = found
        return found

    def _tables_for(self, model: Model, as_lanes: bool, kind: str, with_tables: bool) -> bool | None:
        small = self._use_tables is None and model.n_qubits < TABLE_QUBITS
        return False if not with_tables or as_lanes or kind == "tangents" or small else self._use_tables

    def _rewritten(self, model: Model, as_lanes: bool, kind: str, with_tables: bool) -> diagonals.Rewritten | None:
        """Which rotations become tables, in which frame and sector: only values and gradients may be had in others."""
        tables, framed = self._tables_for(model, as_lanes, kind, with_tables), kind == ""
        known = self._rewritings.setdefault(model, {})
        if (tables, framed) not in known:
            known[tables, framed] = self._rewrite(model, framed, tables)
        return known[tables, framed]

    def _rewrite(self, model: Model, framed: bool, tables: bool | None) -> diagonals.Rewritten | None:
        if (tables is False and not (framed and self._use_symmetries)) or model.n_qubits > support.MAX_QUBITS:
            return None
        x, z = np.array(model.x_masks, np.uint64), np.array(model.z_masks, np.uint64)
        strings, state = blocks.observables(model), model.state if framed else None
        return diagonals.rewrite(x, z, model.drivers, strings, model.n_qubits, state, tables, self._use_symmetries)

    def _support(self, model: Model) -> _Support | None:
        """The evaluator on the basis states a model reaches, if it has one."""
        try:
            return self._supports[model]
        except KeyError:
            refuse_channels(model, STATE_VECTOR, DENSITY)
            flat = None
            if self._use_support is not False:
                rewritten = None if self._use_support else self._rewritten(model, False, "", True)
                cost = (model.n_rotations, model.n_qubits) if rewritten is None else (rewritten.cost, rewritten.n)
                flat = support.plan(model, bool(self._use_support), cost)
            found = None
            if flat is not None:
                longest = flat.pop("longest")
                state = self._real_bytes * flat["n_states"] * (1 if flat["real"] else 2)
                found = _Support(self._support_evaluator(flat), support.plan_bytes(flat), state, longest)
            self._supports[model] = found
            return found

    def _choose(self, model: Model, theta: np.ndarray, x: np.ndarray, batch: int) -> tuple[Any, Any, int]:
        """What evaluates values and gradients, the start it is given, and the bytes of one state."""
        small = self._support(model)
        size = 2 * self._real_bytes << max(model.n_qubits, 5)
        if small is not None:
            if _within(theta, small.longest) and _within(x, small.longest):
                return small.evaluator, 0, small.state_bytes  # it knows its start
            memory.require(
                4 * size,
                f"the whole state of {model.n_qubits} qubits, whose angles are beyond {support.LONG_ANGLE:.0f} rad,",
                "take multiples of 2 pi out of the angles",
            )
        return *self._plan(model, theta, x, batch), size

    def _start(self, model: Model, x: np.ndarray) -> Any:
        state = model.state
        if state.kind == "basis":
            return state.index
        if state.kind == "product":
            return (as_real(state.array[None])[0],)
        return as_real(np.atleast_2d(state.vector(model.n_qubits, x)))

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        if model.exponents is not None:
            return ldexp(self.values(model.unit, theta, x), model.exponents)
        batch = _batch(model, theta, x)
        out = np.empty((batch, model.n_observables))
        plan, start, _ = self._choose(model, theta, x, batch)
        plan.values(theta, x, start, model.n_qubits, batch, self.threads, out, None)
        return out

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        exponents = model.exponents
        if exponents is not None:
            values, inner = self.vjp(model.unit, theta, x)
            return ldexp(values, exponents), lambda c, sum_theta=False: inner(ldexp(c, exponents), sum_theta)
        batch = _batch(model, theta, x)
        plan, start, size = self._choose(model, theta, x, batch)
        if batch == 1 and model.n_observables == 1:
            # The cotangent is one number: the gradient can be had at once, and lambda gives the value on the way.
            value, slope, slope_x = self._gradient(model, plan, theta, x, start, np.ones((1, 1)), False, None)
            return value[:, None], lambda c, sum_theta=False: ((c * slope)[0] if sum_theta else c * slope, c * slope_x)
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        kept = self._kept() if batch == 1 or batch * size <= KEEP_BYTES else None
        values = np.empty((batch, model.n_observables))
        plan.values(theta, x, start, model.n_qubits, batch, self.threads, values, kept)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            check_rows("cotangent", cotangent, model.n_observables, batch)
            _, d_theta, d_x = self._gradient(model, plan, theta, x, start, cotangent, sum_theta, kept)
            return d_theta, d_x

        return values, pullback

    def value_and_grad(
        self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """weights . values (B,) and its gradient (B, P), without computing the observables one by one."""
        if model.exponents is not None:
            return self.value_and_grad(model.unit, theta, x, ldexp(weights, model.exponents))
        batch = _batch(model, theta, x)
        check_rows("weights", weights, model.n_observables, batch)
        plan, start, _ = self._choose(model, theta, x, batch)
        value, d_theta, _ = self._gradient(model, plan, theta, x, start, weights, False, None, False)
        return value, d_theta

    def _gradient(
        self,
        model: Model,
        plan: Any,
        theta: np.ndarray,
        x: np.ndarray,
        start: Any,
        weights: np.ndarray,
        sum_theta: bool,
        kept: Any,
        want_x: bool = True,
        costates: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value, d_theta and d_x of weights . values, or (no value) those of L where dL = Re<costates|d psi>."""
        out = self._shift_of(weights) if costates is None else None
        if out is not None:  # all results are linear in the weights
            together = sum_theta and len(out) == 1
            value, d_theta, d_x = self._gradient(
                model, plan, theta, x, start, ldexp(weights, -out), together, kept, want_x
            )
            d_theta = ldexp(d_theta, out[0] if together else out)
            if sum_theta and not together:
                d_theta = d_theta.sum(axis=0)
            return ldexp(value, out[:, 0]), d_theta, ldexp(d_x, out)
        batch, n = max(len(theta), len(x)), model.n_qubits
        value = np.empty(batch)
        d_theta = np.empty(model.n_params if sum_theta else (batch, model.n_params))
        d_x = np.empty((batch, model.n_inputs if want_x else 0))
        encoded = want_x and model.state.kind == "encoded"
        adjoint = np.empty((batch, 1 << n, 2)) if encoded else None
        wanted = d_x if want_x else None
        if costates is None:
            plan.gradient(
                theta, x, start, n, batch, self.threads, weights, value, d_theta, sum_theta, wanted, adjoint, kept
            )
        else:
            plan.pull_states(
                theta, x, start, n, batch, self.threads, costates, d_theta, sum_theta, wanted, adjoint, kept
            )
        if adjoint is not None:
            d_x[:, model.state.input_slice(n)] += model.state.pullback(n, x, as_complex(adjoint))
        return value, d_theta, d_x

    def _shift_of(self, rows: np.ndarray) -> np.ndarray | None:
        low, high = self._ordinary
        if rows.size == 1:
            if low <= abs(rows[0, 0]) <= high:
                return None
        elif len(rows) == 1 and rows.size * low * low <= square(rows) <= high * high:
            return None
        return shift(peak(rows), low, high)

    def state_jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, JetPullback]:
        """As `ReferenceEngine.state_jet`."""
        refuse_channels(model, "a derivative along a direction")
        return jets.state_jet(self, model, theta, x, v_theta, v_x, order)

    def jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, JetPullback]:
        """As `ReferenceEngine.jet`."""
        refuse_channels(model, "a derivative along a direction")
        return jets.jet(self, model, theta, x, v_theta, v_x, order)

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """d_theta, d_x of cotangent . values, and their derivatives h_theta, h_x along (v_theta, v_x)."""
        batch = _batch(model, theta, x)
        check_rows("cotangent", cotangent, model.n_observables, batch)
        check_rows("v_theta", v_theta, model.n_params, batch)
        check_rows("v_x", v_x, model.n_inputs, batch)
        if model.exponents is not None:
            return self.hvp(model.unit, theta, x, ldexp(cotangent, model.exponents), v_theta, v_x)
        out = self._shift_of(cotangent)
        if out is not None:  # all results are linear in the cotangent
            found = self.hvp(model, theta, x, ldexp(cotangent, -out), v_theta, v_x)
            return tuple(ldexp(a, out) for a in found)  # type: ignore[return-value]
        return jets.Along(self, model, theta, x, v_theta, v_x, 1).hvp(cotangent)

    def state_vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """States psi (B, 2^n) after the rotations, the residual Clifford left out, up to a global phase; and
        pullback(costates c (B, 2^n), sum_theta=False) -> d_theta, d_x of any L with dL = Re<c|d psi>."""
        batch, n = _batch(model, theta, x), model.n_qubits
        plan, start = self._plan(model, theta, x, batch, "state")
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        kept = self._kept() if batch == 1 or batch * (2 * self._real_bytes << max(n, 5)) <= KEEP_BYTES else None
        states = np.empty((batch, 1 << n, 2))
        plan.states(theta, x, start, n, batch, self.threads, states, kept)

        def pullback(costates: np.ndarray, sum_theta: bool = False) -> Arrays:
            check_rows("costates", costates, 1 << n, batch)
            _, d_theta, d_x = self._gradient(
                model, plan, theta, x, start, np.empty((1, 0)), sum_theta, kept, costates=as_real(costates)
            )
            return d_theta, d_x

        return as_complex(states), pullback

    def tangents(self, model: Model, theta: np.ndarray, x: np.ndarray, directions: np.ndarray) -> Arrays:
        """The state (2^n,) after the rotations, at one theta and x, and its derivatives (C, 2^n) along each row of
        `directions` (C, P); the residual Clifford left out, all up to one global phase."""
        n = model.n_qubits
        if _batch(model, theta, x) != 1:
            raise QupropError("tangents are those of one theta and x")
        check_rows("directions", directions, model.n_params, len(directions))
        state, tangents = np.empty((1 << n, 2)), np.empty((len(directions), 1 << n, 2))
        plan, start = self._plan(model, theta, x, 1, "tangents")
        plan.tangents(theta, x, start, n, self.threads, np.ascontiguousarray(directions), state, tangents)
        return as_complex(state), as_complex(tangents)

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The circuit's final states, residual Clifford included, up to a global phase: (B, 2^n)."""
        batch = _batch(model, theta, x)
        out = np.empty((batch, 1 << model.n_qubits, 2))
        plan, start = self._plan(model, theta, x, batch, "states")
        plan.states(theta, x, start, model.n_qubits, batch, self.threads, out, None)
        return as_complex(out)

    def evolve(self, model: Model, theta: np.ndarray, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """The circuit, residual Clifford included, on each of `vectors` (B, 2^n), whatever its norm, in place of the
        model's own input state; one global phase for all. theta and x have one row, or B."""
        check_rows("vectors", vectors, 1 << model.n_qubits, batch := len(vectors))
        check_rows("theta", theta, model.n_params, batch)
        check_rows("x", x, model.n_inputs, batch)
        out = np.empty((batch, 1 << model.n_qubits, 2))
        plan = self._plan_at(model, theta, x, batch, "states").evaluator
        plan.states(theta, x, as_real(vectors), model.n_qubits, batch, self.threads, out, None)
        return as_complex(out)

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes needed for "values", "value_and_grad", "vjp", "hvp", "states", "state_vjp", "jet" or "state_jet" of a
        batch, or for "tangents", their own array left out."""
        n = model.n_qubits
        small = self._support(model) if what in ("values", "value_and_grad", "vjp") else None
        if small is not None:
            at_once = min(batch, self.threads)
            held = 4 * at_once + (batch if batch == 1 or batch * small.state_bytes <= KEEP_BYTES else 0)
            return held * small.state_bytes + 2 * small.plan_bytes
        as_lanes = batch > 1 and n <= LANE_QUBITS and 2 * batch >= self.lanes
        outside = {"states": 16, "state_vjp": 64, "tangents": 16, "state_jet": 192}.get(what, 0) * batch << n
        outside += 16 * batch << n if model.state.kind not in ("basis", "product") else 0
        kind = KINDS.get(what, "")
        rewritten = self._rewritten(model, as_lanes, kind, True)
        if rewritten is not None:
            n = rewritten.n
            made = self._plans.get(model, {}).get((as_lanes, kind, True))
            if made is not None:
                outside += made.table_bytes
            elif rewritten.sums:
                outside += 8 * (len(rewritten.sums) + 1) << n  # doubles at most, and one while it is made
        state = 2 * self._real_bytes << max(n, 5)
        at_once = 1 if batch == 1 else min(batch, self.threads if n <= 17 else 1)
        states = {"values": 1, "states": 1, "hvp": 4, "jet": 6, "state_jet": 6}.get(what, 2)
        held = states * at_once * (self.lanes if as_lanes else 1)
        if what == "tangents" and n <= 17:
            held = 9 * self.threads  # eight share the sweep of psi
        if what in ("vjp", "state_vjp") and (batch == 1 or batch * state <= KEEP_BYTES):  # kept for the pullback
            held += batch
        if what in ("jet", "state_jet") and jets.keeps(batch, state):
            held += 3 * batch
        return held * state + outside + blocks.ROTATION_BYTES * model.n_rotations


def _batch(model: Model, theta: np.ndarray, x: np.ndarray) -> int:
    """The number of samples, of theta (1 or B, P) and x (1 or B, D)."""
    batch = max(len(theta), len(x))
    check_rows("theta", theta, model.n_params, batch)
    check_rows("x", x, model.n_inputs, batch)
    return batch


def _within(rows: np.ndarray, limit: float) -> bool:
    """Whether no entry is larger; one multiplication an entry where that is enough."""
    return bool(square(rows) <= limit * limit or np.abs(rows).max(initial=0.0) <= limit)
