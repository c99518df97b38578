"""Central differences in the parameters: the method everybody tries first, and a baseline."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.method import GradientMethod
from quprop.gradients.step_bounds import reaches, third_derivative
from quprop.model import Model
from quprop.sampling.budget import Budget
from quprop.sampling.grouping import group
from quprop.sampling.linear import LinearPlan, active
from quprop.sampling.loads import own_runs
from quprop.sampling.plan import settle
from quprop.sampling.programs import free
from quprop.sampling.rows import Made
from quprop.sampling.sampler import Runs
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms

_FARTHEST = 1e50  # of steps of parameters that turn next to nothing: its powers are within double precision


@dataclass(frozen=True, kw_only=True)
class FiniteDifference(GradientMethod, Budget):
    """dF/dtheta_i ~ (F(theta + h e_i) - F(theta - h e_i)) / (2 h).

    Biased by at most h^2/6 T_i, T_i bounding |d^3F/dtheta_i^3| (`gradients/step_bounds.py`: B W_i^3 for linear angles);
    the plan says so as `plan.bias` (P,), and `stderr` of an estimate is that of the shots alone. Shots add the variance
    V/h^2, V = sum_g b_g^2 / (2 N) for groups of outcomes within ±b_g and N shots each.

    step: h in the units of theta; by default the best one for each parameter, never beyond a quarter period pi/(2 W_i):
    shots, total_shots: (h^2 T/6)^2 + V/h^2 is least at h^6 = 18 V / T^2 (h = (9/N)^(1/6) / W for one group);
    precision e: the root of bias^2 + variance is kept within e; shots ~ 1/(bias (e^2 - bias^2)) are fewest at bias =
    e/sqrt(3); max_error e: bias + noise; shots ~ 1/(bias (e - bias)^2) are fewest at bias = e/3.

    Cost: two runs of the model's circuit for each parameter (not: each rotation), times groups, times shots. The error
    of N shots falls as N^(-1/3) only, which parameter shift's N^(-1/2) beats whenever precision matters.

    grouping: how a sum of Pauli strings is read: "qubit_wise", "commuting" or "sampled", or the best, "auto".
    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.FiniteDifference(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.524 ± 0.03] for 2,000 copies, 2,000 runs, 2,000 rotations, depth 1, 1 qubit, 2,000 classical multiply-adds
    """

    name: ClassVar[str] = "finite_difference"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = False
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.step)

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> FiniteDifferencePlan:
        return FiniteDifferencePlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """h_i = sqrt(6 s e / (B W_i^3)), pi/(2 W_i) at most, s = 1/sqrt(3) of a precision and 1/3 of a largest error;
        then 2 b_g B / (2 h^2 v) shots for each parameter and group, v what the bias leaves."""
        e, precision = wanted.value, wanted.kind == "precision"
        part = 1 / math.sqrt(3) if precision else 1 / 3
        steps = [
            (min(math.sqrt(6 * part * e / (shape.bound * w**3)), math.pi / 2 / w), w, count)
            for w, count in shape.reaches
        ]
        bias = max(h * h / 6 * shape.bound * w**3 for h, w, _ in steps)
        left = e * e - bias * bias if precision else (e - bias) ** 2 / wanted.union(shape.parameters)
        shots = ops = 0.0
        for b, reads in zip(shape.ranges, shape.reads, strict=True):
            for h, _, count in steps:
                each = max(1, math.ceil(b * shape.bound / (2 * h * h * left) * (1 - 1e-12)))
                shots += 2 * count * each
                ops += 2 * count * each * reads
        return own_runs(shape, max(1, round(shots)), ops / shots)


class FiniteDifferencePlan(LinearPlan):
    """`step` (P,) and `bias` (P,): what is moved, and the largest bias of each component."""

    def __init__(self, model: Model, weights: np.ndarray, method: FiniteDifference, at: Any) -> None:
        terms = Terms.of(model)
        groups = group(terms.total(weights), method.grouping, model.clifford)
        u = terms.sizes(weights)
        position = [np.array([terms.position(p) for p, _ in members]) for members in groups.groups]
        ranges = np.array([u[index].sum() for index in position])  # b_g
        self.moved = active(model)
        self.step = _steps(model, method, at, ranges, len(self.moved))
        self.bias = self.step**2 / 6 * third_derivative(model, at, self.step, ranges.sum())
        worst = float(self.bias.max(initial=0.0))
        P, count = len(self.moved), 2 * len(self.moved)
        half = np.repeat([[0.5], [-0.5]], P, axis=0) / np.tile(self.step[self.moved], 2)[:, None]
        program = free(model)
        runs = [
            Runs(
                program,
                Made(count, lambda runs: np.empty((len(runs), model.n_rotations))),  # filled in by `_runs`
                tuple(p for p, _ in members),
                targets=model.n_rotations + np.tile(self.moved, 2),
                factors=np.tile(half, len(members)),
                terms=index,
                lengths=np.full(count, model.n_rotations),
                mixture=groups.scheme == "sampled",
            )
            for members, index in zip(groups.groups, position, strict=True)
        ]
        info = {
            "step": _range(self.step[self.moved]),
            "bias": f"at most {worst:.3g}",
        }
        given: dict[str, Any] = {"weights": weights, "at": at, "groups": groups, "info": info}
        super().__init__(model, terms, _noise(method, worst), runs, **given, unbiased=False)
        self.info["budget"] = method.budget

    def _runs(self, theta: np.ndarray, x: np.ndarray) -> Sequence[Runs]:
        P = len(self.moved)

        def angles(run: np.ndarray) -> np.ndarray:
            points = np.tile(theta, (len(run), 1))
            i = self.moved[run % P]
            points[np.arange(len(run)), i] += np.where(run < P, self.step[i], -self.step[i])
            return self.model.angle_table.evaluate(points, x[None])

        return [r.again(rows=Made(2 * P, angles)) for r in self.runs] if P else self.runs


def check_step(step: Any) -> None:
    if step is not None and (
        isinstance(step, bool) or not isinstance(step, numbers.Real) or not 0 < float(step) < math.inf
    ):
        raise QupropError(
            f"step must be a positive number, in the units of theta, got {step!r}; leave it out for the best"
        )


def _steps(model: Model, method: FiniteDifference, at: Any, ranges: np.ndarray, P: int) -> np.ndarray:
    if method.step is not None:
        return np.full(model.n_params, float(method.step))
    bound, nothing = max(float(ranges.sum()), 1e-300), np.zeros(model.n_params)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        longest = np.pi / 2 / reaches(model, at)
        longest[~np.isfinite(longest)] = 1.0
        longest = np.minimum(longest, _FARTHEST)
        step = nothing
        for _ in range(2):  # the second time with the bound that holds as far as the first step goes
            third = third_derivative(model, at, step, bound)
            wanted = method.precision or method.max_error
            if wanted is not None:
                share = 1 / math.sqrt(3) if method.precision else 1 / 3
                step = np.sqrt(6 * share * float(wanted) / third)
            else:
                circuits = max(1, 2 * P * len(ranges))
                each = method.shots or max(1.0, (method.total_shots or 0) / circuits)
                step = (18 * float(ranges @ ranges) / (2 * each) / third**2) ** (1 / 6)
            step = np.minimum(np.where(np.isfinite(step), step, longest), longest)
    return np.where(step > 0, step, longest)


def _noise(method: FiniteDifference, bias: float) -> Budget:
    """What is left for the shots once the bias is taken off."""
    wanted = method.precision or method.max_error
    if wanted is None:
        return method
    if bias >= wanted:
        name = "precision" if method.precision else "max_error"
        raise QupropError(
            f"a step of {method.step:g} has a bias of up to {bias:.3g}, more than {name}={wanted:g}; "
            "use a shorter step, or leave step= out"
        )
    if method.precision:
        return Budget(precision=math.sqrt(float(wanted) ** 2 - bias**2))
    return Budget(max_error=float(wanted) - bias, failure=method.failure)


def _range(values: np.ndarray) -> str:
    if not len(values):
        return "none"
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if high <= low * (1 + 1e-9) else f"{low:.3g} to {high:.3g}"
