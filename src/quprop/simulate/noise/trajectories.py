"""Noisy models past what a mixed state fits in: means over random patterns of errors, without bias.

In each trajectory every channel has one outcome (`patterns.py`), so that it is the model without noise at angles whose
signs may be turned, its observables' terms too: a batch for the engine of pure states. Outcome e of channel k is drawn
with probability |q_k(e)| / g_k, g_k the sum of sizes, and counts w = prod_k g_k sign q_k(e). So

    F = E[w f],      dF/da_m = E[w df/da_m],

f being what the pattern gives. F is linear in each q_k, and dF/dq_k(e) = E[w' f'], w' without channel k and f' with
outcome e there. Each trajectory estimates this for one coefficient of the channels (p_j, or a, b, c), drawn at random
from the K that are trained, and counts it K times; its few outcomes differ in nothing else. In contrast to the score
d log q this stays bounded where a strength goes to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp

from quprop.arrays import checked
from quprop.errors import QupropError, count_of, shown
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.simulate import memory
from quprop.simulate.auto import AutoEngine
from quprop.simulate.engine import made, no_jet
from quprop.simulate.noise.patterns import Outcomes, PureProblem

Arrays = tuple[np.ndarray, np.ndarray]
_CHUNK = 4096  # trajectories that are drawn and evaluated together, at most
_CHUNK_NUMBERS = 1 << 24  # signs of a chunk, or numbers of its gradients, at most
_PROBLEMS = 256  # patterns of resets whose models are kept for the next call


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Means over random trajectories of a noisy model, `samples` of them from `seed`, instead of its mixed state.

    They are without bias, and `estimate` says their standard errors, of a string w/sqrt(samples) at most, where w is 1
    for Pauli channels, resets and relaxation with t2 <= t1, and sqrt(1-gamma) + gamma for each amplitude damping.
    Errors that are so rare that none was drawn are in no standard error either. The same seed gives the same result,
    for any number of threads, and all points of a batch (and all calls) use the same random numbers: take another seed
    where independent ones are wanted, such as at each step of a training.

    Each reset in a trajectory (and each decay of amplitude damping, of probability gamma) puts one qubit more into it.

    Raises: QupropError for samples below 1 or a seed below 0.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0).depolarising(0.03, 0), "Z0")
    >>> mean = qpr.expectation(model, [0.0], engine=qpr.Trajectories(2000, seed=1))[0]
    >>> bool(abs(mean - 0.96) < 0.03)
    True
    """

    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("seed", 0)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
                raise QupropError(f"{name} is a whole number from {least}, got {shown(number)}")

    def __str__(self) -> str:
        return f"Trajectories(samples={self.samples}, seed={self.seed})"


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Means over trajectories and their standard errors: values (K,) of the observables, value of their weighted sum,
    its gradient (P,) and d_x (D,); infinite errors from one sample.

    overhead: by how much negative shares multiply the variance at most, (prod_k g_k)^2; patterns: different ones that
    were evaluated."""

    values: np.ndarray
    values_error: np.ndarray
    value: float
    value_error: float
    gradient: np.ndarray
    gradient_error: np.ndarray
    d_x: np.ndarray
    d_x_error: np.ndarray
    samples: int
    patterns: int
    overhead: float

    def __str__(self) -> str:
        return f"{self.value:.6g} (+- {self.value_error:.1e}) from {count_of(self.samples, 'trajectory')}"


@lru_cache(maxsize=32, typed=True)  # threads=True is not threads=1
def trajectories_of(settings: Trajectories, precision: str = "double", threads: int | None = None) -> TrajectoryEngine:
    """The one engine of these settings."""
    return TrajectoryEngine(settings, precision, threads)


class _Plan(NamedTuple):
    """What is the same for all points of a model: terms of the observables, coefficients (K, T) of them, outcomes."""

    terms: list[PauliString]
    coefficients: sp.csr_array
    outcomes: Outcomes
    problems: dict[bytes, PureProblem]

    def problem(self, model: Model, resets: np.ndarray) -> PureProblem:
        key = resets.tobytes()
        found = self.problems.pop(key, None)
        if found is None:
            found = PureProblem.of(model, self.outcomes, self.terms, resets)
            while len(self.problems) >= _PROBLEMS:
                del self.problems[next(iter(self.problems))]
        self.problems[key] = found
        return found


class _Rows(NamedTuple):
    """Of trajectories: values (S, K) and in one column more that of the weighted sum, either may be missing; and
    d_angles (S, M) and d_x (S, D) of the sum."""

    values: np.ndarray
    d_angles: np.ndarray | None
    d_x: np.ndarray | None
    patterns: int


class TrajectoryEngine:
    """Values and gradients by random trajectories; see `Trajectories`."""

    name = "trajectories"

    def __init__(
        self, settings: Trajectories | None = None, precision: str = "double", threads: int | None = None
    ) -> None:
        self.settings = Trajectories() if settings is None else settings
        self.precision = precision
        self._pure = made(AutoEngine, precision, threads)
        self.threads = self._pure.threads
        self._plans: WeakKeyDictionary[Model, _Plan] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"TrajectoryEngine({self.settings}, {self.precision!r}, threads={self.threads})"

    # What engines do -------------------------------------------------------------------------------------------------

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        return np.stack([self._means(model, *point, None, values=True)[0] for point in _points(theta, x)])

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        value, d_theta, _ = self._gradients(model, theta, x, weights)
        return value, d_theta

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        one = self._gradients(model, theta, x, np.ones((1, 1))) if model.n_observables == 1 else None

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            if one is None:
                _, d_theta, d_x = self._gradients(model, theta, x, cotangent)
            else:
                d_theta, d_x = cotangent * one[1], cotangent * one[2]
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return (self.values(model, theta, x) if one is None else one[0][:, None]), pullback

    jet = state_jet = no_jet

    def hvp(self, *_: Any) -> NoReturn:
        raise QupropError(
            "trajectories give values and first derivatives, no Hessian-vector products; take differences of gradients "
            "with one seed, or model.noiseless()"
        )

    def states(self, *_: Any) -> NoReturn:
        raise QupropError(
            "a mean over trajectories has no amplitudes, only expectation values and their gradients; take "
            "model.noiseless() for a state"
        )

    state_vjp = tangents = states

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes for the trajectories without resets; those with more qubits are watched when they are drawn."""
        if what == "hvp":
            self.hvp()
        if what not in ("values", "value_and_grad", "vjp"):
            self.states()
        plan = self._plan(model)
        rows = self._chunk(model, plan)
        problem = plan.problem(model, np.zeros(int(plan.outcomes.affine.sum()), np.int8))
        signs = 10 * rows * len(problem.signs)
        return signs + self._pure.memory(problem.model, rows, "values" if what == "values" else "vjp")

    # More than engines do --------------------------------------------------------------------------------------------

    def estimate(self, model: Model, theta: Any, x: Any = None, weights: Any = None) -> Averages:
        """One point, theta (P,), x (D,), weights (K,), all 1 if left out: means and their standard errors."""
        theta = checked("theta", theta, (model.n_params,))[None]
        x = checked("x", np.empty(0) if x is None else x, (model.n_inputs,))[None]
        weights = np.ones(model.n_observables) if weights is None else weights
        weights = checked("weights", weights, (model.n_observables,))
        mean, error, patterns, overhead = self._means(model, theta, x, weights, values=True)
        k, p = model.n_observables, model.n_params
        parts = np.cumsum([k, 1, p])
        (values, value, gradient, d_x), errors = np.split(mean, parts), np.split(error, parts)
        return Averages(
            values=values,
            values_error=errors[0],
            value=float(value[0]),
            value_error=float(errors[1][0]),
            gradient=gradient,
            gradient_error=errors[2],
            d_x=d_x,
            d_x_error=errors[3],
            samples=self.settings.samples,
            patterns=patterns,
            overhead=overhead,
        )

    # Inside ----------------------------------------------------------------------------------------------------------

    def _gradients(
        self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = list(_points(theta, x))
        batch = max(len(points), len(weights))
        rows = np.broadcast_to(weights, (batch, weights.shape[1]))
        found = np.stack(
            [self._means(model, *points[i % len(points)], rows[i], values=False, told=False)[0] for i in range(batch)]
        )
        return found[:, 0], found[:, 1 : 1 + model.n_params], found[:, 1 + model.n_params :]

    def _means(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        weights: np.ndarray | None,
        *,
        values: bool,
        told: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, int, float]:
        """At one point: means and standard errors of values (K,) if asked for, and with weights of their sum, its
        gradient and d_x, one after the other; how many patterns, and what they cost in variance. Without errors
        (`told`) the trajectories of a chunk are added up before they are pulled back."""
        plan, samples = self._plan(model), self.settings.samples
        coefficients = model.channel_table.evaluate(theta, x)[0]
        angles = model.angle_table.evaluate(theta, x)[0]
        shares, slope = plan.outcomes.law(coefficients)
        overall = float(np.prod(plan.outcomes.norms(shares)))
        chunk = self._chunk(model, plan)
        streams = np.random.SeedSequence(int(self.settings.seed)).spawn(-(-samples // chunk))
        shift, total, square = np.empty(0), np.empty(0), np.empty(0)
        patterns = 0
        for first, stream in zip(range(0, samples, chunk), streams, strict=True):
            rng = np.random.default_rng(stream)
            count = min(chunk, samples - first)
            drawn = plan.outcomes.drawn(shares, rng.random((count, len(model.channels))))
            signs = np.sign(shares)[plan.outcomes.starts[:-1] + drawn]
            w = overall * np.prod(signs, axis=1)
            rows = self._rows(model, plan, angles, x, drawn, weights, values, counts=None if told else w)
            patterns += rows.patterns
            each: np.ndarray = w[:, None] if told else np.ones((1, 1))  # a sum has its w already
            columns = [each * rows.values]
            if rows.d_angles is not None and weights is not None:
                d_theta, d_x = model.angle_table.pullback(each * rows.d_angles, theta, x)
                d_x = d_x + (0.0 if rows.d_x is None else each * rows.d_x)
                if len(plan.outcomes.trained):
                    by_theta, by_x = self._by_strengths(
                        model, plan, (theta, x, angles, shares, slope), drawn, signs, weights, rng
                    )
                    if not told:
                        by_theta, by_x = (by.sum(axis=0, keepdims=True) for by in (by_theta, by_x))
                    d_theta, d_x = d_theta + by_theta, d_x + by_x
                columns += [d_theta, d_x]
            found = np.concatenate(columns, axis=1)
            if not told:
                total = found[0] if not first else total + found[0]
                continue
            if not first:  # sums of squares are of differences to one trajectory
                shift = found[0].copy()
                total, square = np.zeros_like(shift), np.zeros_like(shift)
            found -= shift
            total += found.sum(axis=0)
            square += (found**2).sum(axis=0)
        mean = total / samples
        if not told:
            return mean, np.full_like(mean, np.nan), patterns, overall**2
        spread = np.maximum(square / samples - mean**2, 0.0)
        error = np.sqrt(spread / (samples - 1)) if samples > 1 else np.full_like(mean, np.inf)
        return shift + mean, error, patterns, overall**2

    def _by_strengths(
        self,
        model: Model,
        plan: _Plan,
        at: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, sp.csc_array],
        drawn: np.ndarray,
        signs: np.ndarray,
        weights: np.ndarray,
        rng: np.random.Generator,
    ) -> Arrays:
        """What the trained strengths contribute to d_theta (S, P) and d_x (S, D), from one coefficient a trajectory."""
        theta, x, angles, shares, slope = at
        outcomes, table = plan.outcomes, model.channel_table
        chosen = outcomes.trained[rng.integers(len(outcomes.trained), size=len(drawn))]
        channel = np.searchsorted(outcomes.first, chosen, side="right") - 1
        norms = outcomes.norms(shares)
        every = np.arange(len(drawn))
        own = signs.copy()
        own[every, channel] = 1.0
        others = np.prod(own, axis=1) * float(np.prod(norms)) / norms[channel] * len(outcomes.trained)
        found = np.zeros(len(drawn))
        for turn in range(int(np.diff(slope.indptr).max())):
            place = slope.indptr[chosen] + turn
            rows = every[place < slope.indptr[chosen + 1]]
            if not len(rows):
                continue
            outcome, by = slope.indices[place[rows]], slope.data[place[rows]]
            changed = drawn[rows]
            changed[np.arange(len(rows)), channel[rows]] = outcome - outcomes.starts[channel[rows]]
            value = self._rows(model, plan, angles, x, changed, weights, False, slopes=False).values[:, 0]
            found[rows] += by * value
        found *= others
        used, column = np.unique(chosen, return_inverse=True)
        d_theta, d_x = np.empty((len(used), model.n_params)), np.empty((len(used), model.n_inputs))
        step = max(_CHUNK_NUMBERS // (8 * max(int(outcomes.first[-1]), 1)), 1)
        for first in range(0, len(used), step):
            part = slice(first, first + step)
            unit = np.zeros((len(used[part]), int(outcomes.first[-1])))
            unit[np.arange(len(unit)), used[part]] = 1.0
            d_theta[part], d_x[part] = table.pullback(unit, theta, x)
        return found[:, None] * d_theta[column], found[:, None] * d_x[column]

    def _rows(
        self,
        model: Model,
        plan: _Plan,
        angles: np.ndarray,
        x: np.ndarray,
        drawn: np.ndarray,
        weights: np.ndarray | None,
        values: bool,
        slopes: bool = True,
        counts: np.ndarray | None = None,
    ) -> _Rows:
        """What the trajectories with these outcomes (S, channels) give, without their weights w: values (S, K) if
        asked for, and with weights that of the weighted sum in one column more, and with `slopes` its derivatives.
        With counts (S,) their sums, of one row each."""
        m, k = model.n_rotations, model.n_observables
        sums, height = weights is not None, len(drawn) if counts is None else 1
        out = np.zeros((height, (k if values else 0) + sums))
        d_angles = np.zeros((height, m)) if sums and slopes else None
        d_x = np.zeros((height, model.n_inputs)) if sums and slopes and model.state.kind == "encoded" else None
        resets = plan.outcomes.resets(drawn)
        _, at, kind = np.unique(resets, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(kind.ravel(), kind="stable")
        patterns = 0
        for rows, first in zip(np.split(order, np.cumsum(np.bincount(kind.ravel()))[:-1]), at, strict=True):
            problem = plan.problem(model, resets[first])
            turned = self._turned(problem, plan.outcomes, drawn[rows])
            different, same = _grouped(turned)
            patterns += len(different)
            signs = problem.signed(different)
            found = self._evaluate(problem, plan, angles, x, signs[:, :m], signs[:, m:], weights, values, slopes)
            if counts is not None:
                times = np.bincount(same.ravel(), counts[rows], len(different))
                for into, of in zip((out, d_angles, d_x), found[:3], strict=True):
                    if into is not None and of is not None:
                        into += times @ of
                continue
            out[rows] = found.values[same]
            if d_angles is not None and found.d_angles is not None:
                d_angles[rows] = found.d_angles[same]
            if d_x is not None and found.d_x is not None:
                d_x[rows] = found.d_x[same]
        return _Rows(out, d_angles, d_x, patterns)

    @staticmethod
    def _turned(problem: PureProblem, outcomes: Outcomes, drawn: np.ndarray) -> np.ndarray:
        row, channel = np.nonzero(drawn)
        return problem.turned(outcomes.starts[channel] + drawn[row, channel], row, len(drawn))

    def _evaluate(
        self,
        problem: PureProblem,
        plan: _Plan,
        angles: np.ndarray,
        x: np.ndarray,
        signs: np.ndarray,
        term_signs: np.ndarray,
        weights: np.ndarray | None,
        values: bool,
        slopes: bool,
    ) -> _Rows:
        """Of patterns given by signs of angles (U, M) and of terms (U, T)."""
        pure = problem.model
        at = signs * angles
        encoded = pure.state.kind == "encoded"
        inputs = x if encoded else np.empty((1, 0))
        columns, d_angles, d_x = [], None, None
        weighted = None if weights is None else term_signs * (weights @ plan.coefficients)
        what = "value_and_grad" if weights is not None and slopes else "values"
        memory.require(
            self._pure.memory(pure, len(at), what),
            f"a trajectory of {pure.n_qubits} qubits, one for each reset or decay besides the model's,",
            'take fewer qubits, smaller strengths, or engine="density"',
        )
        if weighted is not None and slopes and not (values or encoded):
            value, d_angles = self._pure.value_and_grad(pure, at, inputs, weighted)
            columns.append(value[:, None])
        elif weighted is not None and slopes:
            found, pullback = self._pure.vjp(pure, at, inputs)
            d_angles, d_x = pullback(weighted)
            if values:
                columns.append((term_signs * found) @ plan.coefficients.T)
            columns.append((weighted * found).sum(axis=1, keepdims=True))
        else:
            found = self._pure.values(pure, at, inputs)
            if values:
                columns.append((term_signs * found) @ plan.coefficients.T)
            if weighted is not None:
                columns.append((weighted * found).sum(axis=1, keepdims=True))
        out = np.concatenate(columns, axis=1)
        return _Rows(out, None if d_angles is None else signs * d_angles, d_x if encoded else None, len(at))

    def _plan(self, model: Model) -> _Plan:
        found = self._plans.get(model)
        if found is None:
            index: dict[PauliString, int] = {}
            rows, columns, numbers = [], [], []
            for k, total in enumerate(model.observables):
                for string, c in total.items():
                    rows.append(k)
                    columns.append(index.setdefault(string, len(index)))
                    numbers.append(c)
            made_of = sp.csr_array((numbers, (rows, columns)), shape=(model.n_observables, len(index)))
            found = self._plans[model] = _Plan(list(index), made_of, Outcomes.of_model(model), {})
        return found

    def _chunk(self, model: Model, plan: _Plan) -> int:
        """Trajectories at a time; of the model alone, so that draws are the same everywhere."""
        width = model.n_rotations + len(plan.terms) + len(model.channels) + model.n_params + model.n_inputs
        return int(min(max(_CHUNK_NUMBERS // (width + 1), 16), _CHUNK))


def _points(theta: np.ndarray, x: np.ndarray) -> Iterator[Arrays]:
    """The samples of a batch, (1, P) and (1, D) each."""
    for b in range(max(len(theta), len(x))):
        yield theta[b % len(theta)][None], x[b % len(x)][None]


def _grouped(rows: np.ndarray) -> Arrays:
    """The different rows of uint64 (S, words), and which of them each row is."""
    whole = rows.ravel() if rows.shape[1] == 1 else rows.view(np.dtype((np.void, 8 * rows.shape[1]))).ravel()
    _, first, same = np.unique(whole, return_index=True, return_inverse=True)
    return rows[first], same
