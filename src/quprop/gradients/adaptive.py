"""A linear plan in two parts: a pilot measures the variances, and the rest of the shots goes where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.sampling.budget import Budget, share
from quprop.sampling.estimate import Estimate
from quprop.sampling.grouping import Grouping
from quprop.sampling.linear import LinearPlan
from quprop.sampling.programs import read_by_programs
from quprop.sampling.requests import Rounds, RunShots
from quprop.sampling.sampler import Runs
from quprop.sampling.terms import Terms

_LEAST = 2  # shots of a circuit in either part: fewer show no spread


class AdaptivePlan(LinearPlan):
    """Neyman's allocation from measured variances. The pilot's outcomes are not part of the estimate: given any
    allocation the second part is unbiased, whatever the pilot said, so the estimate is.

    shots, total_shots: the pilot takes a fraction of each circuit's shots, and the others are shared in proportion to
    sqrt(sum_p s_r^2 J_rp^2), which minimises the sum of the variances.
    The cost is known beforehand, except that the number of strings read (`classical_ops`) is a bound.
    precision: the pilot is a fraction of the worst case's shots, and the others are what the measured variances ask
    for, never more than the worst case; `cost` is that bound, and an estimate's own cost is smaller. The precision is
    then kept as far as the pilot's variances are right.

    s_r^2 = ((n - 1) v_r + t_r) / n, from the pilot's n shots with spread v_r and the mean variance t_r over all states:
    where the pilot saw the same outcome throughout, the spread is still not believed to be zero.
    """

    linear = False

    def __init__(
        self,
        model: Model,
        terms: Terms,
        budget: Budget,
        runs: Sequence[Runs],
        *,
        weights: np.ndarray,
        at: Any,
        groups: Grouping,
        info: dict[str, Any],
        pilot: float,
    ) -> None:
        super().__init__(model, terms, budget, runs, weights=weights, at=at, groups=groups, info=info)
        assert not any(r.each for r in runs), "a run of an adaptive plan serves one component"
        self.budget = budget
        circuits = sum(map(len, self.shots))
        total = sum(int(s.sum()) for s in self.shots)
        if budget.precision is None:
            name = "shots" if budget.shots is not None else "total_shots"
            if total < 2 * _LEAST * circuits:
                least = 2 * _LEAST * (1 if name == "shots" else circuits)
                raise QupropError(
                    f"{name}={budget.shots or total:,} is too few for a pilot and an estimate of {_LEAST} shots each "
                    f"on {circuits:,} circuits; the smallest that works is {least:,}"
                )
        self.pilot = [np.maximum(_LEAST, (pilot * s).astype(np.int64)) for s in self.shots]
        spent = sum(int(p.sum()) for p in self.pilot)
        if budget.precision is None:
            if total - spent < _LEAST * circuits:  # a large `pilot` on few shots, or shots that are very uneven
                self.pilot = [np.full(len(s), _LEAST) for s in self.shots]
                spent = _LEAST * circuits
            self.left = total - spent
            shots = total
        else:
            shots = total + spent
            self.info["shots"] = f"at most {shots:,} in all, as the measured variances ask"
        self.info["adaptive"] = f"{count_of(spent, 'shot')} measure the variances, the others make the estimate"
        lengths = {int(n) for r in runs for n in r.lengths}
        assert len(lengths) <= 1, "runs of different length: the cost would depend on the allocation"
        if shots:
            ops = max(1 if r.mixture else len(r.paulis) for r in runs)
            self.cost = replace(
                self.cost,
                copies=shots,
                measurements=shots,
                rotations=shots * next(iter(lengths)),
                classical_ops=shots * ops,
            )

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read = self.terms.coefficients(weights), read_by_programs(self.model, x)
        slopes = abs(self._slopes(theta, x))
        spreads = []
        pilot = [RunShots(runs, a, read, u, shots) for runs, shots in zip(self.runs, self.pilot, strict=True)]
        if not pilot:
            return (yield from super()._rounds(theta, x, weights, rng))
        for (runs, *_, shots, _), drawn in zip(pilot, (yield pilot), strict=True):
            variance = np.maximum(drawn.square - drawn.mean**2, 0.0)  # (n - 1) / n times the unbiased one
            w = np.abs(runs.weights(u))
            usual = w.sum(axis=1) ** 2 if runs.mixture else (w**2).sum(axis=1)
            deviation = np.sqrt(variance + usual / shots)
            place = (np.arange(len(runs)), runs.targets)
            spreads.append(sp.csr_matrix((deviation, place), (len(runs), slopes.shape[0])) @ slopes)
        shots = self._allot(sp.vstack(spreads).tocsr())
        parts = np.split(shots, np.cumsum([len(r) for r in self.runs])[:-1])
        value, variance = yield from self._measure(self.runs, parts, theta, x, weights)
        return Estimate(value, np.sqrt(variance), Cost(), {**self.info, "allotted": shots})

    def _allot(self, spreads: sp.csr_matrix) -> np.ndarray:
        if self.budget.precision is not None:
            return np.clip(self.budget.allot(spreads), _LEAST, np.maximum(np.concatenate(self.shots), _LEAST))
        weight = np.sqrt(np.asarray(spreads.multiply(spreads).sum(axis=1)).ravel())
        spare = self.left - (_LEAST - 1) * len(weight)
        return share(spare, weight) + (_LEAST - 1)
