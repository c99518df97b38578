"""LinearPlan: every method whose gradient is a fixed linear function of what its circuits' shots say.

The circuits estimate derivatives by angles, g_m = dF/da_m (or by parameters straight away); dF/dtheta = J^T g with
J = da/dtheta. Shots of different circuits are independent, so variances add with the squares of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.arrays import checked
from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.model.angle_table import AngleTable
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate, variance_of_mean
from quprop.sampling.grouping import Grouping
from quprop.sampling.plan import Plan
from quprop.sampling.programs import read_by_programs
from quprop.sampling.requests import Request, Rounds, RunShots
from quprop.sampling.sampler import Drawn, Runs, Sampler
from quprop.sampling.terms import Terms


class LinearPlan(Plan):
    """Runs, the shots each of them gets, and the sum over what they say.

    groups: in which the runs read the observable; None: they read all its terms.
    linear: the estimate is a fixed linear function of means, `PlanCircuits.linear_map`.
    """

    linear = True

    def __init__(
        self,
        model: Model,
        terms: Terms,
        budget: Budget,
        runs: Sequence[Runs],
        *,
        weights: np.ndarray,
        at: Any = None,
        groups: Grouping | None = None,
        info: dict[str, Any] | None = None,
        unbiased: bool = True,
    ) -> None:
        super().__init__(model, terms, weights)
        self.runs = tuple(runs)
        self.unbiased = unbiased
        if groups is not None:
            self.measured = terms.of_groups(groups)
            info = {"observable": str(groups), **(info or {})}
        slopes = over_identity(slope_bounds(model, at))
        # Which angles depend on which parameters is the same everywhere; `runs` lives as long as the plan.
        self._shares = {id(r): _shares(r, slopes) for r in self.runs if r.each}
        bounds = [_spread(r, self.terms.sizes(weights), slopes.shape[0]) @ slopes for r in runs]
        shots = budget.allot(sp.vstack(bounds).tocsr()) if bounds else np.zeros(0, np.int64)
        self.shots = np.split(shots, np.cumsum([len(r) for r in self.runs])[:-1]) if self.runs else []
        self.cost = sum((_claim(r, s) for r, s in zip(self.runs, self.shots, strict=True)), Cost())
        self.info = {"budget": budget.budget, "circuits": len(shots), "shots": _spectrum(shots), **(info or {})}

    def _slopes(self, theta: np.ndarray, x: np.ndarray) -> sp.csr_matrix:
        """da/dtheta over the identity: (M + P, P)."""
        return over_identity(jacobian(self.model.angle_table, theta, x))

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        value, variance = yield from self._measure(self._runs(theta, x), self.shots, theta, x, weights)
        return Estimate(value, np.sqrt(variance), Cost(), dict(self.info))

    def expected(self, theta: Any, x: Any = None) -> np.ndarray:
        """What estimates at theta (P,), x (D,) are on average, (P,): the exact gradient, and the bias if there is one.
        Not of plans whose runs are read by strings of their own."""
        theta, x = (np.asarray([] if v is None else v, float) for v in (theta, x))
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read, slopes = self.terms.coefficients(self.weights), read_by_programs(self.model, x), self._slopes(theta, x)
        g, sampler = np.zeros(slopes.shape[0]), Sampler(np.random.default_rng(0))
        for runs in self._runs(theta, x):
            y = runs.weights(u) * sampler.means(runs, a, read)
            np.add.at(g, runs.targets, y if runs.each else y.sum(axis=1))
        return np.asarray(slopes.T @ g)

    def _runs(self, theta: np.ndarray, x: np.ndarray) -> Sequence[Runs]:
        """What is run at this point; a plan whose angles are not the model's own shifted makes them here."""
        return self.runs

    def _measure(
        self,
        runs_of: Sequence[Runs],
        shots_of: Sequence[np.ndarray],
        theta: np.ndarray,
        x: np.ndarray,
        weights: np.ndarray,
    ) -> Generator[Sequence[Request], Iterator[Drawn], tuple[np.ndarray, np.ndarray]]:
        """The gradient (P,), and the variance of each component as the shots show it."""
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read = self.terms.coefficients(weights), read_by_programs(self.model, x)
        slopes = self._slopes(theta, x)
        squares = slopes.multiply(slopes).tocsr()
        value, variance = np.zeros(self.model.n_params), np.zeros(self.model.n_params)
        g, spread = np.zeros(slopes.shape[0]), np.zeros(slopes.shape[0])
        requests = []
        for runs, shots in zip(runs_of, shots_of, strict=True):
            known = self._shares.get(id(runs))
            together = runs.each and (_shares(runs, slopes) if known is None else known)
            requests.append(RunShots(runs, a, read, u, shots, together))
        answers = yield requests
        for (runs, *_, shots, together), drawn in zip(requests, answers, strict=True):
            n = shots if not runs.each else shots[:, None]
            w = runs.weights(u)
            farthest = 2 * np.abs(w) if runs.each else 2 * np.abs(w).sum(axis=1)
            of_mean = variance_of_mean(drawn.mean, drawn.square, n, farthest)
            if not together:
                np.add.at(g, runs.targets, drawn.mean)
                np.add.at(spread, runs.targets, of_mean)
                continue
            assert drawn.outcomes is not None
            for r, (outcomes, counts) in enumerate(drawn.outcomes):
                part = slopes[runs.targets[r]]  # (L, P)
                y = (part.T @ (outcomes * w[r]).T).T  # (D, P), components that share a shot
                mean = counts @ y / shots[r]
                second = counts @ (y * y) / shots[r]
                value += mean
                farthest = 2 * (abs(part).T @ np.abs(w[r]))
                variance += variance_of_mean(mean, second, shots[r], farthest)
        value += slopes.T @ g
        variance += squares.T @ spread
        return value, variance


def jacobian(table: AngleTable, theta: np.ndarray, x: np.ndarray) -> sp.csr_matrix:
    """da_m/dtheta_i, (M, P), at theta (P,), x (D,); an entry for all that the monomials couple, also where it is 0."""
    v = np.concatenate([theta, x[: table.n_inputs]])
    rows, columns, data = [], [], []
    for g in table.groups:
        for s in range(len(g.var)):
            others = np.prod([v[g.var[r]] for r in range(len(g.var)) if r != s], axis=0)
            mine = g.var[s] < table.n_params
            rows.append(g.rows[mine])
            columns.append(g.var[s][mine])
            data.append((g.coef * others)[mine])
    shape = (len(table.constant), table.n_params)
    if not rows:
        return sp.csr_matrix(shape)
    return sp.csr_matrix((np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape)


def slope_bounds(model: Model, at: Any = None) -> sp.csr_matrix:
    """|da_m/dtheta_i| at most, (M, P): the largest over the points of `at`, (theta (..., P), x (..., D)); without it,
    that of variables within ±1, whose monomials cannot cancel. Entries as `jacobian` has them."""
    table = model.angle_table
    if at is None:
        sizes = table._replace(groups=tuple(g._replace(coef=np.abs(g.coef)) for g in table.groups))
        return jacobian(sizes, np.ones(table.n_params), np.ones(model.n_inputs))
    thetas, xs = points(model, at)
    if all(len(g.var) == 1 for g in table.groups):  # the same everywhere
        thetas, xs = thetas[:1], xs[:1]
    bounds = abs(jacobian(table, thetas[0], xs[0]))
    for theta, x in zip(thetas[1:], xs[1:], strict=True):
        bounds.data = np.maximum(bounds.data, np.abs(jacobian(table, theta, x).data))
    return bounds


def points(model: Model, at: Any) -> tuple[np.ndarray, np.ndarray]:
    """The points of `at`, different ones once: theta (B, P) and x (B, D)."""
    P, D = model.n_params, model.n_inputs
    try:
        theta, x = at
    except (TypeError, ValueError):
        raise QupropError("at is the pair (theta, x) of where the plan is for; x is None without inputs") from None
    theta = checked("theta of at", theta, (..., P))
    x = np.zeros(0) if not D and x is None else checked("x of at", x, (..., D))
    try:
        lead = np.broadcast_shapes(theta.shape[:-1], x.shape[:-1]) if D else theta.shape[:-1]
    except ValueError:
        lead = (0,)
    if 0 in lead:
        raise QupropError(
            f"theta and x of at must have leading axes that broadcast, of one point or more, got {theta.shape} and "
            f"{x.shape}"
        )
    both = np.concatenate(
        [np.broadcast_to(v, (*lead, n)).reshape(math.prod(lead), n) for v, n in ((theta, P), (x, D))], axis=1
    )
    both = np.unique(both, axis=0) if len(both) > 1 else both
    return both[:, :P], both[:, P:]


def driven(model: Model) -> np.ndarray:
    """The rotations whose angle depends on theta, in order: the components there are to estimate."""
    groups, P = model.angle_table.groups, model.n_params
    found = [g.rows[(g.var < P).any(axis=0)] for g in groups]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def active(model: Model) -> np.ndarray:
    """The parameters that some angle depends on, in order."""
    groups, P = model.angle_table.groups, model.n_params
    found = [g.var[g.var < P] for g in groups]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def over_identity(slopes: sp.csr_matrix) -> sp.csr_matrix:
    """Slopes of angles (M, P) over those of the parameters themselves: (M + P, P)."""
    return sp.vstack([slopes, sp.identity(slopes.shape[1], format="csr")]).tocsr()


def _spread(runs: Runs, u: np.ndarray, targets: int) -> sp.csr_matrix:
    """Half the range of what each run adds to each target, (R, targets)."""
    sizes = np.abs(runs.weights(u))
    count = len(runs)
    if not runs.each:
        return sp.csr_matrix((sizes.sum(axis=1), (np.arange(count), runs.targets)), (count, targets))
    rows = np.repeat(np.arange(count), runs.targets.shape[1])
    return sp.csr_matrix((sizes.ravel(), (rows, runs.targets.ravel())), (count, targets))


def _shares(runs: Runs, slopes: sp.csr_matrix) -> bool:
    """Whether two components read from one shot feed the same parameter: then their covariance counts.

    slopes: what it has entries for, also where they are 0.
    """
    pattern = slopes.copy()
    pattern.data = np.ones_like(pattern.data)
    rows = np.repeat(np.arange(len(runs)), runs.targets.shape[1])
    read = sp.csr_matrix((np.ones(rows.size), (rows, runs.targets.ravel())), (len(runs), slopes.shape[0]))
    touched = read @ pattern
    return bool(touched.nnz) and touched.max() > 1


def _claim(runs: Runs, shots: np.ndarray) -> Cost:
    count = int(shots.sum())
    if not count:
        return Cost()
    return Cost(
        copies=count,
        rotations=int(runs.lengths @ shots),
        measurements=count,
        depth=int(runs.lengths.max(initial=0)),
        qubits=runs.program.n_qubits,
        classical_ops=count * (1 if runs.mixture else len(runs.paulis)),
    )


def _spectrum(shots: np.ndarray) -> str:
    """The allocation in words: how many circuits get how many shots."""
    if len(shots) == 0:
        return "no circuit"
    low, high = int(shots.min()), int(shots.max())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{count_of(high, 'shot', each)} for each of {len(shots):,} circuits, {int(shots.sum()):,} in all"
