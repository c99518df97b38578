"""The engine that propagates Pauli strings, and one propagation told in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np
from scipy import stats

from quprop.errors import QupropError
from quprop.machine import usable_processors
from quprop.model import Model
from quprop.simulate.pauli.average import average_bounds
from quprop.simulate.pauli.certificate import Bounds, pulled_back
from quprop.simulate.pauli.packed import Packed, factors
from quprop.simulate.pauli.propagation import OutOfMemoryError, Rows, Support, support, value
from quprop.simulate.pauli.settings import PauliPropagation

Arrays = tuple[np.ndarray, np.ndarray]
CONFIDENCE = 0.95
_SHARE = 0.25  # of a tolerance that is spent on strings that are to serve at other angles too


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """value and gradient (P,) of the weighted sum of observables, d_x (D,), and how wrong they can be.

    value_bound, gradient_bound and x_bound are what `note` says: bounds, half-widths of 95 % intervals, or bounds in the
    mean square over the angles; infinite where none was asked for. terms: strings left at the end, peak: the most there
    were. ledger (M, 2): what was dropped after each rotation, in sums of |O(Q)| and of t(Q).
    """

    value: float
    gradient: np.ndarray
    d_x: np.ndarray
    value_bound: float
    gradient_bound: np.ndarray
    x_bound: np.ndarray
    terms: int
    peak: int
    bytes: int
    ledger: np.ndarray
    note: str

    def __str__(self) -> str:
        return f"{self.value:.8g} (+- {self.value_bound:.1e}), {self.terms} strings; {self.note}"


class PauliEngine:
    """Values and gradients by Pauli propagation; see `PauliPropagation` for what is dropped.

    With a tolerance the strings found at one point serve at others for as long as the bounds, computed anew at each,
    stay within it; with other limits every point has its own.
    """

    name = "pauli"

    def __init__(
        self, settings: PauliPropagation | None = None, precision: str = "double", threads: int | None = None
    ) -> None:
        if precision != "double":
            raise QupropError(f'Pauli propagation computes in "double" only, got precision={precision!r}')
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise QupropError(f"threads is a whole number from 1, got {threads!r}")
        self.settings = PauliPropagation() if settings is None else settings
        self.threads = threads or usable_processors()
        self._supports: WeakKeyDictionary[Model, Support] = WeakKeyDictionary()

    # What engines do -------------------------------------------------------------------------------------------------

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K), one propagation each."""
        s, packed = self.settings, Packed.of_model(model)
        made = factors(model.angle_table.evaluate(theta, x))
        out = np.empty((len(made), model.n_observables))
        for k in range(model.n_observables):
            row = packed.combined(np.eye(model.n_observables)[k : k + 1])
            used = packed.only(np.flatnonzero(row[0]))
            row = row[:, row[0] != 0]
            for i, f in enumerate(made):
                if s.stochastic:
                    out[i, k] = self._drawn(used, row[0], f, 0)[0].mean()
                    continue
                try:
                    out[i, k], error = value(used, row[0], f, s, self.threads, -1.0 if s.limit is None else s.limit)
                except OutOfMemoryError as ended:
                    self._refuse(used, row[0], f, model, theta[min(i, len(theta) - 1)], x[min(i, len(x) - 1)], ended)
                assert not s.limit or error <= s.limit * 1.01
        return out

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P), one propagation of the sum."""
        rows = self._rows(model, theta, x, weights)
        return rows.values, model.angle_table.pullback(rows.d_angles, theta, x)[0]

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        table = model.angle_table
        one = self._rows(model, theta, x, np.ones((1, 1))) if model.n_observables == 1 else None

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            if one is not None:
                d_angles = cotangent * one.d_angles
            else:
                d_angles = self._rows(model, theta, x, cotangent).d_angles
            d_theta, d_x = table.pullback(d_angles, theta, x)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return (self.values(model, theta, x) if one is None else one.values[:, None]), pullback

    def hvp(self, *_: Any) -> NoReturn:
        raise QupropError(
            "Pauli propagation bounds values and first derivatives, so it has no Hessian-vector products; "
            "use the engine of the state vector, or differences of gradients"
        )

    def states(self, *_: Any) -> NoReturn:
        raise QupropError(
            "Pauli propagation has no states, only expectation values and their gradients; "
            "use the engine of the state vector"
        )

    state_vjp = tangents = states

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes that are known beforehand: of max_terms. What else a propagation takes it watches itself."""
        return (self.settings.max_terms or 0) * (16 * max(model.n_qubits // 64, 1) + 16)

    # More than engines do --------------------------------------------------------------------------------------------

    def propagate(
        self, model: Model, theta: np.ndarray, x: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> Propagated:
        """One point, theta (P,), x (D,), weights (K,): value, gradient, and bounds of their errors, told in full."""
        s = self.settings
        theta, x = np.asarray(theta, float)[None], np.empty((1, 0)) if x is None else np.asarray(x, float)[None]
        weights = np.ones((1, model.n_observables)) if weights is None else np.asarray(weights, float)[None]
        table, packed = model.angle_table, Packed.of_model(model)
        made = factors(table.evaluate(theta, x))
        coefficients = packed.combined(weights)
        if s.stochastic:
            return self._told_stochastic(model, packed, coefficients[0], made[0], theta, x)
        keep = self._support(model, packed, coefficients[0], made[0], theta, x, 1.0)
        whole = s.bounds and s.max_terms is None
        rows = keep.at(coefficients, made, bounded=s.bounds, posterior=whole)
        gradient, d_x = table.pullback(rows.d_angles, theta, x)
        size = float(np.abs(coefficients).sum())
        ledger = np.full((model.n_rotations, 2), np.nan) if rows.ledger is None else rows.ledger[0, :, :2]
        if s.angles == "uniform":
            found: Bounds | None = average_bounds(packed, coefficients[0], s, CONFIDENCE)
            note = (
                "bounds of the root mean square error over independent angles uniform on the circle, with confidence "
                f"{CONFIDENCE:.0%}, by {s.paths} random paths; at one set of angles the error can be larger"
            )
        else:
            found, note = rows.bounds, _note(s, rows.bounds, size)
        if found is None:
            found = Bounds(np.array([np.inf]), np.full((1, model.n_rotations), np.inf))
        gradient_bound, x_bound = _pulled_back(model, found.angles, theta, x)
        return Propagated(
            value=float(rows.values[0]),
            gradient=gradient[0],
            d_x=d_x[0],
            value_bound=float(found.value[0]),
            gradient_bound=gradient_bound[0],
            x_bound=x_bound[0],
            terms=keep.terms,
            peak=keep.peak,
            bytes=keep.bytes + keep.graph_bytes,
            ledger=ledger,
            note=note,
        )

    def freeze(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Frozen:
        """The strings kept at theta (1, P), x (1, D), weights (1, K), to evaluate at other points."""
        packed = Packed.of_model(model)
        made = factors(model.angle_table.evaluate(theta, x))[0]
        keep = self._support(model, packed, packed.combined(weights)[0], made, theta, x, _SHARE)
        return Frozen(model, keep)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _rows(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Rows:
        """Values and derivatives by the angles of the weighted sums, sample by sample."""
        s, packed, table = self.settings, Packed.of_model(model), model.angle_table
        angles = table.evaluate(theta, x)
        batch = max(len(angles), len(weights))
        made = factors(np.broadcast_to(angles, (batch, angles.shape[1])))
        coefficients = packed.combined(np.broadcast_to(weights, (batch, weights.shape[1])))
        thetas, xs = np.broadcast_to(theta, (batch, theta.shape[1])), np.broadcast_to(x, (batch, x.shape[1]))
        out = Rows(np.empty(batch), np.empty((batch, angles.shape[1])), None, None)
        keep = self._supports.get(model) if s.limit is not None else None
        left = np.arange(batch)
        together = True  # whether one sample's strings are likely to serve others
        while len(left):
            if keep is not None:
                tried = left if together else left[:1]
                rows = keep.at(coefficients[tried], made[tried], bounded=s.limit is not None)
                good = self._within(model, rows.bounds, thetas[tried], xs[tried])
                out.values[tried[good]], out.d_angles[tried[good]] = rows.values[good], rows.d_angles[good]
                together = len(tried) == 1 or 2 * int(good.sum()) > len(tried)
                left = np.setdiff1d(left, tried[good])
                if not len(left):
                    break
            i = left[0]
            if s.stochastic:
                values, gradients, _ = self._drawn(packed, coefficients[i], made[i], s.repeats)
                out.values[i], out.d_angles[i] = values.mean(), gradients.mean(axis=0)
                left = left[1:]
                continue
            keep = self._support(model, packed, coefficients[i], made[i], thetas[i : i + 1], xs[i : i + 1], _SHARE)
            if s.limit is None:  # a truncation of its own for every sample
                rows = keep.at(coefficients[i : i + 1], made[i : i + 1], bounded=False)
                out.values[i], out.d_angles[i] = rows.values[0], rows.d_angles[0]
                left, keep = left[1:], None
            else:
                self._supports[model] = keep
        return out

    def _within(self, model: Model, found: Bounds | None, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Which samples have all bounds within the tolerance (B,); with tolerance 0 only rounding is let through."""
        if found is None:
            return np.ones(len(theta), bool)
        d_theta, d_x = _pulled_back(model, found.angles, theta, x)
        largest = np.max([found.value, d_theta.max(axis=1, initial=0.0), d_x.max(axis=1, initial=0.0)], axis=0)
        limit = self.settings.limit or 1e-10 * max(1.0, _slope(model, theta[:1], x[:1]))
        return largest <= limit

    def _support(
        self, model: Model, packed: Packed, c: np.ndarray, f: np.ndarray, theta: np.ndarray, x: np.ndarray, share: float
    ) -> Support:
        limit = self.settings.limit
        if limit is None:
            return support(packed, c, f, self.settings, self.threads)
        try:
            budget = share * limit / _slope(model, theta, x)
            return support(packed, c, f, self.settings, self.threads, budget=budget)
        except OutOfMemoryError as ended:
            self._refuse(packed, c, f, model, theta, x, ended)

    def _refuse(
        self,
        packed: Packed,
        c: np.ndarray,
        f: np.ndarray,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        ended: OutOfMemoryError,
    ) -> NoReturn:
        """A tolerance out of reach: what could be reached in this memory."""
        s = replace(self.settings, tolerance=None, max_terms=max(ended.terms, packed.n_terms))
        rows = support(packed, c, f, s, self.threads).at(c[None], f[None], bounded=True)
        assert rows.bounds is not None
        d_theta, d_x = _pulled_back(model, rows.bounds.angles, theta.reshape(1, -1), x.reshape(1, -1))
        reached = max(float(rows.bounds.value[0]), d_theta.max(initial=0.0), d_x.max(initial=0.0))
        raise QupropError(
            f"a tolerance of {self.settings.limit:g} needs more memory than there is: with the {s.max_terms} largest "
            f"strings the value is within {rows.bounds.value[0]:.1e} and all derivatives within {reached:.1e}; raise "
            "tolerance= or memory=, or use stochastic=True"
        )

    def _drawn(self, packed: Packed, c: np.ndarray, f: np.ndarray, repeats: int) -> tuple[np.ndarray, np.ndarray, Support]:
        """Independent unbiased values (R,) and derivatives (R, M), and the strings of the last run."""
        s = self.settings
        seeds = np.random.SeedSequence(s.seed).generate_state(repeats or s.repeats, np.uint64)
        rows = []
        for seed in seeds:
            keep = support(packed, c, f, s, self.threads, seed=int(seed))
            rows.append(keep.at(c[None], f[None], bounded=False))
        return np.concatenate([r.values for r in rows]), np.concatenate([r.d_angles for r in rows]), keep

    def _told_stochastic(
        self, model: Model, packed: Packed, c: np.ndarray, f: np.ndarray, theta: np.ndarray, x: np.ndarray
    ) -> Propagated:
        repeats = self.settings.repeats
        values, d_angles, keep = self._drawn(packed, c, f, repeats)
        gradients, d_x = model.angle_table.pullback(
            d_angles, np.broadcast_to(theta, (repeats, theta.shape[1])), np.broadcast_to(x, (repeats, x.shape[1]))
        )
        width = stats.t.ppf(0.5 + CONFIDENCE / 2, repeats - 1) / np.sqrt(repeats)
        half = [width * a.std(axis=0, ddof=1) for a in (values, gradients, d_x)]
        return Propagated(
            value=float(values.mean()),
            gradient=gradients.mean(axis=0),
            d_x=d_x.mean(axis=0),
            value_bound=float(half[0]),
            gradient_bound=half[1],
            x_bound=half[2],
            terms=keep.terms,
            peak=keep.peak,
            bytes=keep.bytes + keep.graph_bytes,
            ledger=np.full((model.n_rotations, 2), np.nan),
            note=f"unbiased; {CONFIDENCE:.0%} confidence intervals, each for itself, from {repeats} independent runs",
        )


@dataclass(frozen=True, slots=True)
class Frozen:
    """The strings that `PauliEngine.freeze` kept. Their function is differentiable and cheap, and bounded anew anywhere."""

    model: Model
    support: Support

    def value_and_grad(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """Values (B,) and gradients (B, P)."""
        rows = self._at(theta, x, weights, False)
        return rows.values, self.model.angle_table.pullback(rows.d_angles, theta, x)[0]

    def bounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """How wrong these can be: (B,) and (B, P)."""
        found = self._at(theta, x, weights, True).bounds
        assert found is not None
        return found.value, _pulled_back(self.model, found.angles, theta, x)[0]

    def _at(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, bounded: bool) -> Rows:
        angles = self.model.angle_table.evaluate(theta, x)
        batch = max(len(angles), len(weights))
        made = factors(np.broadcast_to(angles, (batch, angles.shape[1])))
        coefficients = self.support.packed.combined(np.broadcast_to(weights, (batch, weights.shape[1])))
        return self.support.at(coefficients, made, bounded=bounded)


def _pulled_back(model: Model, angles: np.ndarray, theta: np.ndarray, x: np.ndarray) -> Arrays:
    return pulled_back(model.angle_table, angles, theta, x)


def _slope(model: Model, theta: np.ndarray, x: np.ndarray) -> float:
    """The largest sum over the rotations of |da_m/dv|, v a parameter or an input, and 1 at least."""
    d_theta, d_x = _pulled_back(model, np.ones((1, model.n_rotations)), theta, x)
    return float(max(1.0, d_theta.max(initial=0.0), d_x.max(initial=0.0)))


def _note(s: PauliPropagation, found: Bounds | None, size: float) -> str:
    if found is None:
        return "no bound was asked for"
    if s.limit is not None:
        return f"value and all derivatives are within {s.limit:g}" if s.limit else "nothing was dropped"
    if found.value[0] > size or found.angles.max(initial=0.0) > size:
        return (
            f"no useful bound: what was dropped could change values or derivatives by more than the observables' own size, "
            f"{size:.3g}, as in deep random circuits; stochastic=True gives unbiased values and gradients with intervals, "
            'angles="uniform" bounds in the mean square'
        )
    return "bounds hold for what was dropped, at these angles"
