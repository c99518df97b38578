"""LinearPlan: every method whose gradient is a fixed linear function of what its circuits' shots say.

The circuits estimate derivatives by angles, g_m = dF/da_m (or by parameters straight away); dF/dtheta = J^T g with
J = da/dtheta. Shots of different circuits are independent, so variances add with the squares of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.angle_table import AngleTable
from quprop.cost import Cost
from quprop.gradients.budget import Budget
from quprop.gradients.estimate import Estimate
from quprop.gradients.plan import Plan, Terms
from quprop.gradients.sampler import Runs, Sampler
from quprop.model import Model
from quprop.programs import read_by_programs


class LinearPlan(Plan):
    """Runs, the shots each of them gets, and the sum over what they say."""

    def __init__(
        self,
        model: Model,
        terms: Terms,
        budget: Budget,
        runs: Sequence[Runs],
        *,
        weights: np.ndarray,
        at: tuple[np.ndarray, np.ndarray] | None = None,
        info: dict[str, Any] | None = None,
        unbiased: bool = True,
    ) -> None:
        super().__init__(model, terms, weights)
        self.runs = tuple(runs)
        self.unbiased = unbiased
        theta, x = at or (np.ones(model.n_params), np.ones(model.n_inputs))
        slopes = abs(self._slopes(theta, x))
        # Which angles depend on which parameters is the same everywhere; `runs` lives as long as the plan.
        self._shares = {id(r): _shares(r, slopes) for r in self.runs if r.each}
        bounds = [abs(_spread(r, self.terms.coefficients(weights), len(slopes.indptr) - 1)) @ slopes for r in runs]
        shots = budget.allot(sp.vstack(bounds).tocsr()) if bounds else np.zeros(0, np.int64)
        self.shots = np.split(shots, np.cumsum([len(r) for r in self.runs])[:-1]) if self.runs else []
        self.cost = sum((_claim(r, s) for r, s in zip(self.runs, self.shots, strict=True)), Cost())
        self.info = {"budget": budget.budget, "circuits": len(shots), "shots": _spectrum(shots), **(info or {})}

    def _slopes(self, theta: np.ndarray, x: np.ndarray) -> sp.csr_matrix:
        """da/dtheta over the identity: (M + P, P)."""
        table = self.model.angle_table
        return sp.vstack([jacobian(table, theta, x), sp.identity(table.n_params, format="csr")]).tocsr()

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        sampler = Sampler(rng)
        value, variance = self._measure(sampler, self._runs(theta, x), self.shots, theta, x, weights)
        return Estimate(value, np.sqrt(variance), sampler.cost, dict(self.info))

    def _runs(self, theta: np.ndarray, x: np.ndarray) -> Sequence[Runs]:
        """What is run at this point; a plan whose angles are not the model's own shifted makes them here."""
        return self.runs

    def _measure(
        self,
        sampler: Sampler,
        runs_of: Sequence[Runs],
        shots_of: Sequence[np.ndarray],
        theta: np.ndarray,
        x: np.ndarray,
        weights: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The gradient (P,), and the variance of each component as the shots show it."""
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read = self.terms.coefficients(weights), read_by_programs(self.model, x)
        slopes = self._slopes(theta, x)
        squares = slopes.multiply(slopes).tocsr()
        value, variance = np.zeros(self.model.n_params), np.zeros(self.model.n_params)
        g, spread = np.zeros(slopes.shape[0]), np.zeros(slopes.shape[0])
        for runs, shots in zip(runs_of, shots_of, strict=True):
            known = self._shares.get(id(runs))
            together = runs.each and (_shares(runs, slopes) if known is None else known)
            drawn = sampler.draw(runs, a, read, u, shots, keep=together)
            n = shots if not runs.each else shots[:, None]
            # One shot says nothing of its spread: there the square itself, an upper bound, stands for the variance.
            of_mean = np.where(n > 1, (drawn.square - drawn.mean**2) / np.maximum(n - 1, 1), drawn.square)
            if not together:
                np.add.at(g, runs.targets, drawn.mean)
                np.add.at(spread, runs.targets, np.maximum(of_mean, 0.0))
                continue
            assert drawn.outcomes is not None
            w = runs.weights(u)
            for r, (outcomes, counts) in enumerate(drawn.outcomes):
                y = (slopes[runs.targets[r]].T @ (outcomes * w[r]).T).T  # (D, P), components that share a shot
                mean = counts @ y / shots[r]
                second = counts @ (y * y) / shots[r]
                value += mean
                variance += np.maximum((second - mean**2) / (shots[r] - 1), 0.0) if shots[r] > 1 else second
        value += slopes.T @ g
        variance += squares.T @ spread
        return value, variance


def jacobian(table: AngleTable, theta: np.ndarray, x: np.ndarray) -> sp.csr_matrix:
    """da_m/dtheta_i, (M, P), at theta (P,), x (D,)."""
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


def driven(model: Model) -> np.ndarray:
    """The rotations whose angle depends on theta, in order: the components there are to estimate."""
    return np.flatnonzero(np.diff(jacobian(model.angle_table, np.ones(model.n_params), np.ones(model.n_inputs)).indptr))


def _spread(runs: Runs, u: np.ndarray, targets: int) -> sp.csr_matrix:
    """Half the range of what each run adds to each target, (R, targets)."""
    sizes = np.abs(runs.weights(u))
    count = len(runs)
    if not runs.each:
        return sp.csr_matrix((sizes.sum(axis=1), (np.arange(count), runs.targets)), (count, targets))
    rows = np.repeat(np.arange(count), runs.targets.shape[1])
    return sp.csr_matrix((sizes.ravel(), (rows, runs.targets.ravel())), (count, targets))


def _shares(runs: Runs, slopes: sp.csr_matrix) -> bool:
    """Whether two components read from one shot feed the same parameter: then their covariance counts."""
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
    return f"{each} shots for each of {len(shots):,} circuits, {int(shots.sum()):,} in all"
