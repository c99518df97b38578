"""Gradients from random directions: ghat = scale * mean_j v_j y_j, with y_j an estimate of the slope along v_j.

The entries of v are ±1 on `support` parameters drawn at random (all of them by default) and 0 elsewhere, scale =
P/support, so that E[scale v v^T] = 1. Directions are independent, and their spread is the standard error.

With N shots in all the variance of an entry is A/d + C/N: A, of the directions, is |g|^2 - g_i^2 for dense ones; C is
that of the shots of one. It falls with the number d of directions at the same N, so that one evaluation with one shot
for each direction is best (Coyle et al., arXiv:2606.09734, allot the shots of given directions; here their number is
chosen). Fewer circuits are enough, though: the plans take the fewest directions for which A/d stays below 5 % of C/N,
for the largest A there can be.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.method import PREDICTED, GradientMethod
from quprop.gradients.step_bounds import reaches
from quprop.model import Model
from quprop.sampling.budget import Budget, share
from quprop.sampling.estimate import Estimate, variance_of_mean
from quprop.sampling.grouping import group
from quprop.sampling.linear import active
from quprop.sampling.loads import own_runs
from quprop.sampling.plan import Plan
from quprop.sampling.programs import free, read_by_programs
from quprop.sampling.requests import Request, Rounds, RunShots
from quprop.sampling.rows import Made
from quprop.sampling.sampler import Drawn, Runs
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms

_DIRECTIONS = 10  # if only the shots of a circuit are given
_AT_ONCE = 1 << 20  # numbers held for the angles of directions treated together
_MOST_SHARED = 1 << 40  # shots of a direction that a formula looks at
Slopes = Generator[Sequence[Request], Iterator[Drawn], np.ndarray]
SPARE = 0.05  # of the variance may be due to the number of directions


@dataclass(frozen=True, kw_only=True)
class Directional(GradientMethod, Budget):
    """Settings that methods of random directions share.

    directions: how many; by default 10 if `shots` (of each circuit) are given, otherwise as many as the budget wants.
    support: nonzero entries of a direction. total_shots is an upper limit: what is short of one more direction stays.
    """

    coarser: ClassVar[float] = 3.0  # shots grow like M / error^3 and M^2 / error^2
    exponents: ClassVar[Mapping[str, float | str]] = {"hardware_efficient": PREDICTED}
    directions: int | None = None
    support: int | None = None
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("directions", "support"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1):
                raise QupropError(f"{name} must be a whole number, 1 or more, got {value!r}")


def directional_cost(
    shape: Shape,
    wanted: Wanted,
    error: float,
    *,
    evaluations: int,
    spread: float,
    noise: Callable[[Sequence[float]], float],
    largest: float,
) -> Cost:
    """Of the directions that keep `error`, the part of what is wanted that a bias leaves.

    spread: the largest variance that directions have; noise(shots of each group): that of the shots of one direction;
    largest: what one direction counts at most. The fewest directions whose own spread is `SPARE` of the shot noise.
    """
    G = len(shape.ranges)
    enough = max(G, int(SPARE * noise([1.0] * G) / max(spread, 1e-300) / G) * G)
    shots = [int(s) for s in share(min(enough, _MOST_SHARED), np.asarray(shape.ranges, float))]
    variance, union = spread + noise(shots), wanted.union(shape.active)
    if wanted.kind == "precision":
        directions = max(2, math.ceil(variance / error**2))
    else:
        directions = max(2, math.ceil(union * (variance + 2 * largest * error / 3) / error**2))
    read = sum(s * r for s, r in zip(shots, shape.reads, strict=True)) / sum(shots)
    return own_runs(shape, directions * evaluations * sum(shots), read)


def readers_of(model: Model, terms: Terms, groups: Any) -> list[Runs]:
    """What reads each group of the observable, with no run yet: the angles are drawn when it is asked."""
    program = free(model)
    nothing = Made(0, lambda runs: np.empty((0, model.n_rotations)))
    return [
        Runs(
            program,
            nothing,
            strings := tuple(p for p, _ in members),
            targets=np.zeros(0, np.int64),
            factors=np.zeros((0, len(strings))),
            terms=np.array([terms.position(p) for p in strings]),
            lengths=np.zeros(0, np.int64),
            mixture=groups.scheme == "sampled",
        )
        for members in groups.groups
    ]


class DirectionalPlan(Plan):
    """What both have in common; a subclass says what one direction costs and gives, and how its slope is read.

    directions (d), shots (G,) of each group of the observable in one evaluation, evaluations per direction (1 or 2).
    """

    evaluations: int
    bias: np.ndarray

    def __init__(self, model: Model, weights: np.ndarray, method: Directional, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        groups = group(self.terms.total(weights), method.grouping, model.clifford)
        self.moved = active(model)
        P = len(self.moved)
        self.support = min(P, method.support or P)
        self.scale = P / max(self.support, 1)
        self._readers = readers_of(model, self.terms, groups)
        self.measured = self.terms.of_groups(groups)
        u = self.terms.sizes(weights)
        self.ranges = np.array([u[r.terms].sum() for r in self._readers])  # outcomes of group g are within ±b_g
        self._reaches = reaches(model, at)[self.moved]
        self.bias = np.zeros(model.n_params)
        self._settle(method, at)
        self.directions, self.shots = self._choose(method)
        self.cost = self._claim()
        total = self.directions * self.evaluations * int(self.shots.sum())
        self.info = {
            "budget": method.budget,
            "directions": f"{self.directions:,} with ±1 for {self.support:,} of {P:,} parameters",
            "shots": f"{int(self.shots.sum()):,} for each evaluation, {total:,} in all",
            "observable": str(groups),
            **self._words(),
        }

    # What a subclass says.

    def _settle(self, method: Directional, at: Any) -> None:
        """Bounds at `at`, and the step if there is one."""
        raise NotImplementedError

    def _spread(self) -> float:
        """A: the variance of one direction's contribution that is due to the direction, at most, of any entry."""
        raise NotImplementedError

    def _noise(self, shots: np.ndarray) -> float:
        """C: what the shots add to it, at most."""
        raise NotImplementedError

    def _largest(self, bound: float, reaches: np.ndarray) -> float:
        """The largest contribution of a direction to an entry, for |F| <= bound and W_i = reaches."""
        raise NotImplementedError

    def _wanted(self, method: Directional) -> Budget:
        """precision or max_error, less what the bias takes."""
        return method

    def _slopes(
        self, v: np.ndarray, theta: np.ndarray, x: np.ndarray, read: Callable[..., RunShots], rng: np.random.Generator
    ) -> Slopes:
        """y (d,) along the directions v (d, P); read(angles(runs), count, group, shots (count,)) -> what to ask for."""
        raise NotImplementedError

    def _words(self) -> dict[str, Any]:
        return {}

    # How many directions, with how many shots.

    def _choose(self, method: Directional) -> tuple[int, np.ndarray]:
        G = len(self._readers)
        if not G or not len(self.moved):
            return 0, np.zeros(G, np.int64)
        if method.shots is not None:
            return method.directions or _DIRECTIONS, np.full(G, method.shots)
        enough = max(G, int(SPARE * self._noise(np.ones(G)) / max(self._spread(), 1e-300) / G) * G)
        if method.total_shots is not None:
            total, least = int(method.total_shots), self.evaluations * G
            wanted = method.directions or 1
            if total < least * wanted:
                raise QupropError(
                    f"total_shots={total:,} is too few for {wanted:,} direction{'s' * (wanted > 1)} with one shot in "
                    f"each of {least:,} circuits; the smallest that works is {least * wanted:,}"
                )
            if method.directions:
                return wanted, share(total // (self.evaluations * wanted), self.ranges)
            each = min(enough, max(G, total // (2 * self.evaluations)))  # two directions, so that they show a spread
            return total // (self.evaluations * each), share(each, self.ranges)
        budget = self._wanted(method)
        if method.directions is None:
            shots = share(enough, self.ranges)
            return max(2, math.ceil(self._needed(budget, self._spread() + self._noise(shots)))), shots
        d = method.directions
        for doubling in range(60):
            shots = share(G << doubling, self.ranges)
            if self._needed(budget, self._spread() + self._noise(shots)) <= d:
                return d, shots
        raise QupropError(
            f"{d:,} directions cannot promise {method.budget}, however many shots they have; "
            f"take {math.ceil(self._needed(budget, self._spread())) + 1:,} or more, or leave directions= out"
        )

    def _needed(self, budget: Budget, variance: float) -> float:
        """Directions whose mean is good enough: precision by the variance, max_error by Bernstein's inequality,
        P(|error| > e) <= 2 exp(-d e^2 / (2 (variance + R e / 3))), |contribution - mean| <= R, and a union bound."""
        if budget.precision is not None:
            return variance / float(budget.precision) ** 2
        assert budget.max_error is not None
        e = float(budget.max_error)
        return 2 * math.log(2 * len(self.moved) / budget.failure) * (variance + 2 * self._most() * e / 3) / e**2

    def _most(self) -> float:
        return self._largest(float(self.ranges.sum()), self._reaches)

    def _claim(self) -> Cost:
        shots = self.directions * self.evaluations * self.shots
        runs = int(shots.sum())
        if not runs:
            return Cost()
        strings = np.array([1 if r.mixture else len(r.paulis) for r in self._readers])
        M = self.model.n_rotations
        return Cost(
            copies=runs,
            rotations=runs * M,
            measurements=runs,
            depth=M,
            qubits=self.model.n_qubits,
            classical_ops=int(shots @ strings),
        )

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        P, d = self.model.n_params, self.directions
        value, stderr = np.zeros(P), np.zeros(P)
        if not d:
            return Estimate(value, stderr, Cost(), dict(self.info))
        u, inputs = self.terms.coefficients(weights), read_by_programs(self.model, x)

        def read(angles: Callable[[np.ndarray], np.ndarray], count: int, g: int, shots: np.ndarray) -> RunShots:
            runs = self._readers[g]
            runs = runs.again(
                rows=Made(count, angles),
                targets=np.zeros(count, np.int64),
                factors=np.ones((count, len(runs.paulis))),
                lengths=np.full(count, self.model.n_rotations),
            )
            return RunShots(runs, theta, inputs, u, shots)

        first, second = np.zeros(len(self.moved)), np.zeros(len(self.moved))
        step = max(1, _AT_ONCE // max(self.model.n_rotations, P, int(self.shots.max())))
        for start in range(0, d, step):
            v = self._draw(min(step, d - start), rng)
            full = np.zeros((len(v), P))
            full[:, self.moved] = v
            slopes = yield from self._slopes(full, theta, x, read, rng)
            contributions = self.scale * v * slopes[:, None]
            first += contributions.sum(axis=0)
            second += (contributions**2).sum(axis=0)
        mean = first / d
        value[self.moved] = mean
        farthest = 2 * self._largest(float(np.abs(u).sum()), reaches(self.model, (theta, x))[self.moved])
        stderr[self.moved] = np.sqrt(variance_of_mean(mean, second / d, d, farthest))
        return Estimate(value, stderr, Cost(), dict(self.info))

    @property
    def drawn(self) -> tuple[int, int]:
        return 0, self.directions * self.evaluations * len(self.shots)

    def _draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Directions (count, active parameters)."""
        P = len(self.moved)
        v = 2.0 * rng.integers(0, 2, (count, P)) - 1.0
        if self.support < P:
            chosen = np.argpartition(rng.random((count, P)), self.support - 1, axis=1)[:, : self.support]
            keep = np.zeros((count, P), bool)
            np.put_along_axis(keep, chosen, True, axis=1)
            v *= keep
        return v
