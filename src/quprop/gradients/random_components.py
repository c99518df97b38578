"""Stochastic choice of components: every shot draws which run it belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.gradients.budget import Budget
from quprop.gradients.estimate import Estimate
from quprop.gradients.grouping import group
from quprop.gradients.linear import LinearPlan, driven
from quprop.gradients.parameter_shift import shifted_runs
from quprop.gradients.plan import Terms, settle
from quprop.gradients.sampler import Sampler
from quprop.gradients.shift_rules import Rule, shifts_of
from quprop.model import Model
from quprop.programs import read_by_programs


@dataclass(frozen=True, kw_only=True)
class RandomComponents(Budget):
    """Parameter shift with its runs drawn: each of N shots takes run r with probability p_r and counts y_r / p_r.

    Unbiased, since sum_r p_r E[y_r] / p_r is the parameter-shift gradient; works with any number of shots, also fewer
    than there are components. Variance of entry i: (sum_r E[y_r^2] J_ri^2 / p_r - g_i^2) / N, which is parameter
    shift's with as many shots, plus that of which runs were drawn: it counts second moments where parameter shift
    counts variances. So it is for small budgets, and a baseline.

    p_r: in proportion to sqrt(sum_i b_r^2 J_ri^2), b_r the largest outcome, which makes the sum of variances least;
    under precision and max_error in proportion to max_i b_r |J_ri| sum_r' b_r' |J_r'i|, as parameter shift allots.
    `shots` are those of each circuit on average. max_error by Bernstein's inequality and a union bound.

    Cost: one run of the model's circuit for each shot (`classical_ops`: at most). Source: Harrow and Napp, PRL
    126, 140502 (2021), arXiv:1901.05374; Sweke et al., Quantum 4, 314 (2020),
    arXiv:1910.01155 (doubly stochastic gradients).
    """

    name: ClassVar[str] = "random_components"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"
    rule: Rule = "auto"

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> RandomComponentsPlan:
        return RandomComponentsPlan(model, settle(model, weights), self, at)


class RandomComponentsPlan(LinearPlan):
    """`chances` (R,) of the runs, `total` shots."""

    def __init__(self, model: Model, weights: np.ndarray, method: RandomComponents, at: Any) -> None:
        terms = Terms.of(model)
        groups = group(terms.total(weights), method.grouping, model.clifford)
        runs = shifted_runs(model, terms, groups, shifts_of(model, driven(model).tolist(), method.rule))
        super().__init__(model, terms, Budget(shots=1), runs, weights=weights, at=at, info={"observable": str(groups)})
        theta, x = at or (np.ones(model.n_params), np.ones(model.n_inputs))
        slopes, u = abs(self._slopes(theta, x)), terms.coefficients(weights)
        parts = []
        for r in runs:
            largest = np.abs(r.weights(u)).sum(axis=1)
            parts.append(sp.csr_matrix((largest, (np.arange(len(r)), r.targets)), (len(r), slopes.shape[0])) @ slopes)
        bounds = sp.vstack(parts).tocsr() if parts else sp.csr_matrix((0, model.n_params))
        self.chances, self.total = _settle(method, bounds)
        strings = max((1 if r.mixture else len(r.paulis) for r in runs), default=0)
        if self.total:
            self.cost = Cost(
                copies=self.total,
                rotations=self.total * model.n_rotations,
                measurements=self.total,
                depth=model.n_rotations,
                qubits=model.n_qubits,
                classical_ops=self.total * strings,
            )
        else:
            self.cost = Cost()
        self.info["budget"] = method.budget
        self.info["shots"] = f"{self.total:,}, each of one of {len(self.chances):,} circuits drawn at random"

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        sampler = Sampler(rng)
        first, second = np.zeros(self.model.n_params), np.zeros(self.model.n_params)
        if not self.total:
            return Estimate(first, second, Cost(), dict(self.info))
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read = self.terms.coefficients(weights), read_by_programs(self.model, x)
        slopes = self._slopes(theta, x)
        squares = slopes.multiply(slopes).tocsr()
        counts = rng.multinomial(self.total, self.chances)
        ends = np.cumsum([len(r) for r in self.runs])
        for runs, n, p in zip(self.runs, np.split(counts, ends[:-1]), np.split(self.chances, ends[:-1]), strict=True):
            drawn = sampler.draw(runs, a, read, u, n)
            share = np.divide(n, p, out=np.zeros(len(p)), where=p > 0) / self.total
            g, spread = np.zeros(slopes.shape[0]), np.zeros(slopes.shape[0])
            np.add.at(g, runs.targets, share * drawn.mean)
            np.add.at(spread, runs.targets, np.divide(share, p, out=np.zeros(len(p)), where=p > 0) * drawn.square)
            first += slopes.T @ g
            second += squares.T @ spread
        # One shot says nothing of its spread: there the square, an upper bound, stands for the variance.
        variance = second if self.total == 1 else np.maximum(second - first**2, 0.0) / (self.total - 1)
        return Estimate(first, np.sqrt(variance), sampler.cost, dict(self.info))


def _settle(method: Budget, bounds: sp.csr_matrix) -> tuple[np.ndarray, int]:
    """The chances of the circuits, and how many shots there are."""
    circuits = bounds.shape[0]
    if not circuits:
        return np.zeros(0), 0
    squares = bounds.multiply(bounds).tocsr()
    if method.shots is not None or method.total_shots is not None:
        weight = np.sqrt(np.asarray(squares.sum(axis=1)).ravel())
    else:
        columns = np.asarray(bounds.sum(axis=0)).ravel()
        weight = np.asarray(bounds.multiply(columns[None, :]).tocsr().max(axis=1).todense()).ravel()
    size = weight.sum()
    chances = weight / size if size > 0 else np.full(circuits, 1 / circuits)
    if method.total_shots is not None:
        return chances, int(method.total_shots)
    if method.shots is not None:
        return chances, int(method.shots) * circuits
    inverse = np.divide(1.0, chances, out=np.zeros(circuits), where=chances > 0)
    variance = float((squares.T @ inverse).max(initial=0.0))
    if method.precision is not None:
        return chances, max(1, math.ceil(variance / float(method.precision) ** 2 * (1 - 1e-12)))
    assert method.max_error is not None
    e, P = float(method.max_error), bounds.shape[1]
    largest = float((bounds.multiply(inverse[:, None])).max())
    return chances, math.ceil(2 * math.log(2 * P / method.failure) * (variance + 2 * largest * e / 3) / e**2)
