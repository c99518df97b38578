"""Stochastic choice of components: every shot draws which run it belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.gradients.method import GradientMethod
from quprop.gradients.parameter_shift import ParameterShift, shifted_runs
from quprop.gradients.shift_rules import Rule, shifts_of
from quprop.model import Model
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate, of_the_unseen
from quprop.sampling.grouping import group
from quprop.sampling.linear import LinearPlan, driven, over_identity, slope_bounds
from quprop.sampling.loads import own_runs
from quprop.sampling.plan import settle
from quprop.sampling.programs import read_by_programs
from quprop.sampling.requests import Rounds, RunShots
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms

_ROUNDING = 1e-9  # relative; what is left of a moment by rounding


@dataclass(frozen=True, kw_only=True)
class RandomComponents(GradientMethod, Budget):
    """Parameter shift with its runs drawn: each of N shots takes run r with probability p_r and counts y_r / p_r.

    Unbiased, since sum_r p_r E[y_r] / p_r is the parameter-shift gradient; works with any number of shots, also fewer
    than there are components. Variance of entry i: (sum_r E[y_r^2] J_ri^2 / p_r - g_i^2) / N, which is parameter
    shift's with as many shots, plus that of which runs were drawn: it counts second moments where parameter shift
    counts variances. So it is for small budgets, and a baseline. `stderr` is the root of this with b_r^2 for E[y_r^2]
    of runs that were not drawn, and for g_i^2 the unbiased estimate, between 0 and the largest that g_i^2 can be.

    p_r: in proportion to sqrt(sum_i b_r^2 J_ri^2), b_r the largest outcome, which makes the sum of variances least;
    under precision and max_error in proportion to max_i b_r |J_ri| sum_r' b_r' |J_r'i|, as parameter shift allots.
    `shots` are those of each circuit on average. max_error by Bernstein's inequality and a union bound.

    Cost: one run of the model's circuit for each shot (`classical_ops`: at most). Source: Harrow and Napp, PRL
    126, 140502 (2021), arXiv:1901.05374; Sweke et al., Quantum 4, 314 (2020),
    arXiv:1910.01155 (doubly stochastic gradients).

    grouping: how a sum of Pauli strings is read: "qubit_wise", "commuting" or "sampled", or the best, "auto".
    rule: as in `ParameterShift`.
    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.RandomComponents(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.494 ± 0.02] for 2,000 copies, 2,000 runs, 2,000 rotations, depth 1, 1 qubit, 2,000 classical multiply-adds
    """

    name: ClassVar[str] = "random_components"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"
    rule: Rule = "auto"

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> RandomComponentsPlan:
        return RandomComponentsPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Parameter shift's load for the variance; Bernstein's inequality for the largest error, a shot counting up to
        load/(B min W)."""
        load = shape.loads[ParameterShift.name]
        if not load.shots:
            return Cost()
        if wanted.kind == "precision":
            total = max(1, math.ceil(load.shots / wanted.value**2 * (1 - 1e-12)))
        else:
            e = wanted.value
            largest = load.shots / (shape.bound * min(w for w, _ in shape.reaches))
            total = math.ceil(wanted.union(shape.parameters) * (load.shots + 2 * largest * e / 3) / e**2)
        return own_runs(shape, total, max(shape.reads))


class RandomComponentsPlan(LinearPlan):
    """`chances` (R,) of the runs, `total` shots."""

    linear = False

    def __init__(self, model: Model, weights: np.ndarray, method: RandomComponents, at: Any) -> None:
        terms = Terms.of(model)
        groups = group(terms.total(weights), method.grouping, model.clifford)
        runs = shifted_runs(model, terms, groups, shifts_of(model, driven(model).tolist(), method.rule))
        super().__init__(model, terms, Budget(shots=1), runs, weights=weights, at=at, groups=groups)
        slopes, u = over_identity(slope_bounds(model, at)), terms.sizes(weights)
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
        self.info["shots"] = f"{self.total:,}, each of one of {count_of(len(self.chances), 'circuit')} drawn at random"

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        first, second, moment, most, farthest = np.zeros((5, self.model.n_params))
        if not self.total:
            return Estimate(first, second, Cost(), dict(self.info))
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read = self.terms.coefficients(weights), read_by_programs(self.model, x)
        slopes = self._slopes(theta, x)
        squares = slopes.multiply(slopes).tocsr()
        counts = rng.multinomial(self.total, self.chances)
        ends = np.cumsum([len(r) for r in self.runs])
        parts_of = zip(self.runs, np.split(counts, ends[:-1]), strict=True)
        requests = [RunShots(runs, a, read, u, n) for runs, n in parts_of]
        answers = yield requests
        for (runs, *_, n, _), p, drawn in zip(requests, np.split(self.chances, ends[:-1]), answers, strict=True):
            inverse = np.divide(1.0, p, out=np.zeros(len(p)), where=p > 0)
            largest = np.abs(runs.weights(u)).sum(axis=1)
            never = runs.targets[p == 0]
            if len(never) and np.any(largest[p == 0] * abs(slopes[never]).max(axis=1).toarray().ravel()):
                raise QupropError(
                    "this plan never draws circuits that count here, because the slopes of their angles are 0 at the "
                    "point it was compiled for; compile it with at=(theta, x) of the points to be estimated, or without"
                )
            share = n * inverse / self.total
            of_runs = np.where(n > 0, drawn.square, largest**2) * inverse
            sums = np.zeros((4, slopes.shape[0]))
            parts = (share * drawn.mean, share * inverse * drawn.square, of_runs, largest)
            for row, part in zip(sums, parts, strict=True):
                np.add.at(row, runs.targets, part)
            first += slopes.T @ sums[0]
            second += squares.T @ sums[1]
            moment += squares.T @ sums[2]
            most += abs(slopes).T @ sums[3]
            reach = abs(slopes[runs.targets]).multiply((largest * inverse)[:, None]).tocsr()
            farthest = np.maximum(farthest, reach.max(axis=0).toarray().ravel() if len(p) else 0.0)
        N = self.total
        of_first = (N * first**2 - second) / max(N - 1, 1) if N > 1 else 0.0
        variance = (moment - np.clip(of_first, 0.0, most**2)) / N
        same = variance * N <= _ROUNDING * moment  # every shot gave the largest value: what did none of them show?
        variance = np.where(same, (2 * farthest) ** 2 * of_the_unseen(N), variance)
        return Estimate(first, np.sqrt(variance), Cost(), dict(self.info))


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
