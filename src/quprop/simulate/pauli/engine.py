"""The engine that propagates Pauli strings, and one propagation told in full."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.simulate.engine import no_jet, threads_of
from quprop.simulate.pauli.average import average_bounds
from quprop.simulate.pauli.certificate import Bounds, pulled_back
from quprop.simulate.pauli.damping import refuse_trained
from quprop.simulate.pauli.packed import Packed, factors
from quprop.simulate.pauli.propagation import Evaluated, OutOfMemoryError, Support, support, value
from quprop.simulate.pauli.settings import PauliPropagation

Arrays = tuple[np.ndarray, np.ndarray]
CONFIDENCE = 0.95
_NOTHING = 1e-12  # of what is rotated: dropped by rounding alone
_TRIES, _POWER, _CLOSE, _LARGEST_STEP, _COARSER = 60, 0.5, 0.8, 1 / 16, 64  # of the search for a cutoff
_SHARE = 0.5  # of a tolerance that is spent on strings that are to serve at other angles too


@dataclass(frozen=True, slots=True, eq=False)
class Propagated:
    """value and gradient (P,) of the weighted sum of observables, d_x (D,), and how wrong they can be.

    value_bound, gradient_bound and x_bound are what `note` says: bounds, half-widths of 95 % intervals, or bounds in
    the mean square over the angles; infinite where none was asked for. terms: strings left at the end, peak: the most
    that there were. ledger (M, 2): what was dropped after each rotation, by it and the channels that follow it there (a
    propagation goes backwards), in sums of |O(Q)| and of t(Q).
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
        return f"{self.value:.8g} (+- {self.value_bound:.1e}), {count_of(self.terms, 'string')}; {self.note}"


@lru_cache(maxsize=32, typed=True)  # threads=True is not threads=1
def engine_of(settings: PauliPropagation, precision: str = "double", threads: int | None = None) -> PauliEngine:
    """The one engine of these settings, which keeps strings from call to call."""
    return PauliEngine(settings, precision, threads)


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
        self.settings = PauliPropagation() if settings is None else settings
        self.threads = threads_of(threads)
        self._supports: WeakKeyDictionary[Model, Support] = WeakKeyDictionary()
        self._cutoffs: WeakKeyDictionary[Model, float] = WeakKeyDictionary()  # that met the tolerance last

    # What engines do -------------------------------------------------------------------------------------------------

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K), one propagation each."""
        s, packed = self.settings, Packed.of_model(model)
        made = factors(model.angle_table.evaluate(theta, x))
        noise = packed.damping
        strengths = model.channel_table.evaluate(theta, x) if noise.trained else None
        batch = max(len(theta), len(x))
        made = np.broadcast_to(made, (batch, *made.shape[1:]))
        out = np.empty((batch, model.n_observables))
        for k in range(model.n_observables):
            row = packed.combined(np.eye(model.n_observables)[k : k + 1])
            used = packed.only(np.flatnonzero(row[0]))
            row = row[:, row[0] != 0]
            for i, f in enumerate(made):
                if strengths is not None:
                    used = used._replace(damping=noise.at(strengths[i % len(strengths)]))
                if s.stochastic:
                    out[i, k] = self._drawn(used, row[0], f, s.repeats)[0].mean()
                elif s.limit is None:
                    out[i, k] = value(used, row[0], f, s, self.threads)[0]
                else:
                    out[i, k] = self._value(used, row[0], f, s.limit)
        return out

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P), one propagation of the sum."""
        rows = self._rows(model, theta, x, weights)
        return rows.values, model.angle_table.pullback(rows.d_angles, theta, x)[0]

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D).

        A tolerance is that of each value, and times the sum of |cotangent| that of what is pulled back.
        """
        refuse_trained(Packed.of_model(model).damping)
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        table = model.angle_table
        one = self._rows(model, theta, x, np.ones((1, 1))) if model.n_observables == 1 else None

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            if one is not None:
                d_angles = cotangent * one.d_angles
            else:
                size = np.abs(cotangent).sum(axis=1, keepdims=True)
                size[size == 0] = 1.0
                d_angles = size * self._rows(model, theta, x, cotangent / size).d_angles
            d_theta, d_x = table.pullback(d_angles, theta, x)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return (self.values(model, theta, x) if one is None else one.values[:, None]), pullback

    jet = state_jet = no_jet

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
        """Bytes that are known beforehand: of max_terms, and of angles. What else a propagation takes it watches
        itself."""
        return (self.settings.max_terms or 0) * (
            16 * max(model.n_qubits // 64, 1) + 16
        ) + 64 * batch * model.n_rotations

    # More than engines do --------------------------------------------------------------------------------------------

    def propagate(self, model: Model, theta: Any, x: Any = None, weights: Any = None) -> Propagated:
        """One point, theta (P,), x (D,), weights (K,): value, gradient, and bounds of their errors, told in full."""
        s = self.settings
        theta = checked("theta", theta, (model.n_params,))[None]
        x = checked("x", np.empty(0) if x is None else x, (model.n_inputs,))[None]
        weights = np.ones(model.n_observables) if weights is None else weights
        weights = checked("weights", weights, (model.n_observables,))[None]
        table, packed = model.angle_table, Packed.of_model(model)
        refuse_trained(packed.damping)
        made = factors(table.evaluate(theta, x))
        coefficients = packed.combined(weights)
        if s.stochastic:
            return self._told_stochastic(model, packed, coefficients[0], made[0], theta, x)
        keep, rows = self._support(model, packed, coefficients[0], made[0], theta, x, 1.0, s.bounds)
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
        if self.settings.stochastic:
            raise QupropError("stochastic=True draws other strings at every point; keep those of a cutoff")
        packed = Packed.of_model(model)
        refuse_trained(packed.damping)
        made = factors(model.angle_table.evaluate(theta, x))[0]
        return Frozen(model, self._support(model, packed, packed.combined(weights)[0], made, theta, x, _SHARE, True)[0])

    # Inside ----------------------------------------------------------------------------------------------------------

    def _rows(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Evaluated:
        """Values and derivatives by the angles of the weighted sums, sample by sample."""
        s, packed, table = self.settings, Packed.of_model(model), model.angle_table
        refuse_trained(packed.damping)
        angles = table.evaluate(theta, x)
        batch = max(len(angles), len(weights))
        made = factors(np.broadcast_to(angles, (batch, angles.shape[1])))
        coefficients = packed.combined(np.broadcast_to(weights, (batch, weights.shape[1])))
        thetas, xs = np.broadcast_to(theta, (batch, theta.shape[1])), np.broadcast_to(x, (batch, x.shape[1]))
        out = Evaluated(np.empty(batch), np.empty((batch, angles.shape[1])), None, None)
        keep = self._supports.get(model) if s.limit is not None else None
        left = np.arange(batch)
        together = True  # whether one sample's strings are likely to serve others
        while len(left):
            if keep is not None:
                tried = left if together else left[:1]
                rows = keep.at(coefficients[tried], made[tried], bounded=True, posterior=True)
                good = self._within(model, rows, thetas[tried], xs[tried])
                out.values[tried[good]], out.d_angles[tried[good]] = rows.values[good], rows.d_angles[good]
                together = 2 * int(good.sum()) > len(tried)
                left = np.setdiff1d(left, tried[good])
                keep = None
                continue
            i = int(left[0])
            if s.stochastic:
                values, gradients, _ = self._drawn(packed, coefficients[i], made[i], s.repeats)
                out.values[i], out.d_angles[i] = values.mean(), gradients.mean(axis=0)
                left = left[1:]
                continue
            point = thetas[i : i + 1], xs[i : i + 1]
            own, rows = self._support(model, packed, coefficients[i], made[i], *point, _SHARE, s.limit is not None)
            out.values[i], out.d_angles[i] = rows.values[0], rows.d_angles[0]
            left = left[1:]
            if s.limit is not None:  # with other limits every sample has a truncation of its own
                self._supports[model] = keep = own
        return out

    def _within(self, model: Model, rows: Evaluated, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Which samples have all bounds within the tolerance (B,); with 0 nothing but rounding may be lost."""
        assert rows.bounds is not None and rows.ledger is not None
        if not self.settings.limit:
            return rows.ledger[:, :, :2].sum(axis=(1, 2)) <= _NOTHING * rows.ledger[:, :, 2:].sum(axis=(1, 2))
        return _largest(model, rows.bounds, theta, x) <= self.settings.limit

    def _support(
        self,
        model: Model,
        packed: Packed,
        c: np.ndarray,
        f: np.ndarray,
        theta: np.ndarray,
        x: np.ndarray,
        share: float,
        bounded: bool,
    ) -> tuple[Support, Evaluated]:
        """The strings to keep at one point, and what they give there. A tolerance may be spent up to `share`."""
        s = self.settings

        def run(cutoff: float | None) -> tuple[tuple[Support, Evaluated], float]:
            keep = support(packed, c, f, s, self.threads, cutoff=cutoff)
            rows = keep.at(c[None], f[None], bounded=bounded, posterior=s.max_terms is None)
            return (keep, rows), float(_largest(model, rows.bounds, theta, x)[0]) if rows.bounds else np.inf

        if not s.limit:
            return run(s.limit)[0]
        start = 1.5 * self._cutoffs[model] if model in self._cutoffs else s.limit / 4
        found, self._cutoffs[model] = _search(run, share * s.limit, start, s.limit)
        return found

    def _value(self, packed: Packed, c: np.ndarray, f: np.ndarray, limit: float) -> float:
        """The value alone, within the tolerance."""
        if not limit:
            return value(packed, c, f, self.settings, self.threads, 0.0)[0]
        found, _ = _search(lambda cutoff: value(packed, c, f, self.settings, self.threads, cutoff), limit, limit)
        return found

    def _drawn(
        self, packed: Packed, c: np.ndarray, f: np.ndarray, repeats: int
    ) -> tuple[np.ndarray, np.ndarray, Support]:
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
        from scipy.special import stdtrit

        repeats = self.settings.repeats
        values, d_angles, keep = self._drawn(packed, c, f, repeats)
        gradients, d_x = model.angle_table.pullback(
            d_angles, np.broadcast_to(theta, (repeats, theta.shape[1])), np.broadcast_to(x, (repeats, x.shape[1]))
        )
        width = stdtrit(repeats - 1, 0.5 + CONFIDENCE / 2) / np.sqrt(repeats)
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
    """The strings that `PauliEngine.freeze` kept: a cheap function, whose error is bounded anew anywhere."""

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

    def _at(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, bounded: bool) -> Evaluated:
        angles = self.model.angle_table.evaluate(theta, x)
        batch = max(len(angles), len(weights))
        made = factors(np.broadcast_to(angles, (batch, angles.shape[1])))
        coefficients = self.support.packed.combined(np.broadcast_to(weights, (batch, weights.shape[1])))
        return self.support.at(coefficients, made, bounded=bounded)


def _search(
    run: Callable[[float], tuple[Any, float]], aim: float, start: float, limit: float | None = None
) -> tuple[Any, float]:
    """What run(cutoff) -> (result, bound) gives at a cutoff whose bound is within `aim`, or at last within `limit`;
    and that cutoff. Coming from above, where a propagation costs little, the last costs about what all others do."""
    limit, cutoff, before, reached = limit or aim, start, (0.0, np.inf), np.inf
    result: Any = None
    try:
        for _ in range(_TRIES):
            result = None  # its memory is for the next
            result, reached = run(cutoff)
            if reached <= aim or (reached <= limit and cutoff == 0):
                return result, cutoff
            if cutoff == 0:
                break
            # the bound falls about as a power of the cutoff
            slope = np.log(before[1] / reached) / np.log(before[0] / cutoff) if before[0] else _POWER
            before = cutoff, reached
            step = (_CLOSE * aim / reached) ** (1 / np.clip(slope, _POWER / 2, 1.0))
            cutoff *= max(float(step), _LARGEST_STEP)
            if cutoff < _NOTHING * start:
                cutoff = 0.0
    except OutOfMemoryError as ended:
        result = None
        while not np.isfinite(reached):
            cutoff *= _COARSER
            with suppress(OutOfMemoryError):
                reached = run(cutoff)[1]
        raise QupropError(
            f"the value and all derivatives within {limit:g} would take more memory than there is: {ended}; "
            f"what fits bounds them by {reached:.1e}; raise tolerance= or memory=, or use stochastic=True"
        ) from None
    raise QupropError(
        f"rounding alone, times how fast the angles move with theta and x, bounds this gradient by {reached:.1e}, "
        f"above the tolerance of {limit:g}; raise tolerance= or scale the circuit's angles"
    )


def _largest(model: Model, found: Bounds, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The largest bound of each sample (B,), of its value and of all its derivatives."""
    d_theta, d_x = _pulled_back(model, found.angles, theta, x)
    return np.max([found.value, d_theta.max(axis=1, initial=0.0), d_x.max(axis=1, initial=0.0)], axis=0)


def _pulled_back(model: Model, angles: np.ndarray, theta: np.ndarray, x: np.ndarray) -> Arrays:
    return pulled_back(model.angle_table, angles, theta, x)


def _note(s: PauliPropagation, found: Bounds | None, size: float) -> str:
    if found is None:
        return "no bound was asked for"
    if s.limit is not None:
        return f"value and all derivatives are within {s.limit:g}" if s.limit else "nothing was dropped"
    if found.value[0] > size or found.angles.max(initial=0.0) > size:
        return (
            "no useful bound: what was dropped could change values or derivatives by more than the observables' own "
            f"size, {size:.3g}, as in deep random circuits; stochastic=True gives unbiased values and gradients with "
            'intervals, angles="uniform" bounds in the mean square'
        )
    return "bounds hold for what was dropped, at these angles"
