"""Simultaneous perturbation: all parameters are moved at once, at random (Spall, IEEE Trans. Autom. Control 37, 332,
1992)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.directional import Directional, DirectionalPlan, Slopes, directional_cost
from quprop.gradients.finite_difference import check_step
from quprop.gradients.step_bounds import is_affine, reaches
from quprop.model import Model
from quprop.sampling.budget import Budget
from quprop.sampling.plan import settle
from quprop.sampling.requests import RunShots
from quprop.sampling.shape import Shape, Wanted


@dataclass(frozen=True, kw_only=True)
class SPSA(Directional):
    """ghat = mean_j v_j [F(theta + c v_j) - F(theta - c v_j)] / (2 c), v_j of independent ±1.

    Unbiased for the gradient of a smoothed function: E ghat_i is dF/dtheta_i averaged over theta_i uniform in ±c and
    every other parameter moved by ±c with equal chances. So with W_i = sum_m |da_m/dtheta_i|, angles affine in theta
    and |F| <= B its bias is at most

        B c^2 (W_i^3 / 6 + W_i sum_{k != i} W_k^2 / 2)        (`plan.bias`),

    the telescoped second-order errors of the averages. `stderr` is that of shots and directions alone.

    Variance of one entry, to leading order in c: (|g|^2 - g_i^2 + s^2 / (2 n c^2)) / d for d directions, n shots for
    each of the two circuits and the variance s^2 of a shot (`predicted_variance`, `plan.predicted_variance`).
    For M parameters of unit reach the bias wants c^2 ~ e/M, hence N ~ M/e^3 shots in all and M^2/e^3 rotations for a
    largest error e: the exponent of parameter shift, at a worse power of e.

    step: c; by default the one that balances bias and shots under `shots` and `total_shots`, (bias/c^2)^2 c^4 + V/c^2;
    under precision bias^2 takes a third of the squared error, under max_error the bias takes a third of the error.
    Cost: two runs of the model's circuit for each direction and group, however many parameters.

    support: parameters that a direction moves; None: all.
    grouping: how a sum of Pauli strings is read: "qubit_wise", "commuting" or "sampled", or the best, "auto".
    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.SPSA(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.4634 ± 0.01] for 2e+04 copies, 2e+04 runs, 2e+04 rotations, depth 1, 1 qubit, 2e+04 classical multiply-adds
    """

    name: ClassVar[str] = "spsa"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = False
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    checked_at: ClassVar[float] = 1.0
    swept_to: ClassVar[Mapping[str, int]] = {"hardware_efficient": 128}
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_step(self.step)
        if self.support is not None:
            raise QupropError(
                "SPSA moves all parameters at once; for sparse directions use ForwardGradient(support=...)"
            )

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> SPSAPlan:
        return SPSAPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Step c with bias c^2 B (W^3/6 + W (sum_k W_k^2 - W^2)/2), and directions of two evaluations."""
        if not shape.affine:
            raise QupropError("SPSA knows its bias only where angles are affine in theta; use parameter_shift")
        B, squares, e = shape.bound, shape.power(2), wanted.value
        worst = max(B * (w**3 / 6 + w * max(0.0, squares - w * w) / 2) for w, _ in shape.reaches)
        precision = wanted.kind == "precision"
        step = min(math.sqrt(e * (1 / math.sqrt(3) if precision else 1 / 3) / worst), math.pi / 2 / shape.reach)
        bias = step * step * worst

        def noise(shots: Sequence[float]) -> float:
            return sum(b * b / s for b, s in zip(shape.ranges, shots, strict=True)) / (2 * step * step)

        return directional_cost(
            shape,
            wanted,
            math.sqrt(e * e - bias * bias) if precision else e - bias,
            evaluations=2,
            spread=B * B * squares,
            noise=noise,
            largest=B / step,
        )


def predicted_variance(
    gradient: np.ndarray, *, directions: int, shots: float, step: float, shot_variance: float = 1.0
) -> np.ndarray:
    """(|g|^2 - g_i^2 + s^2 / (2 n c^2)) / d, (P,): what SPSA's entries vary by, to leading order in the step.

    gradient: the exact one, or what it is assumed to be; shots n for each circuit; shot_variance s^2: of one shot's
    value of F (at most 1 for a Pauli string).
    """
    g = np.asarray(gradient, float)
    return (g @ g - g**2 + shot_variance / (2 * shots * step**2)) / directions


class SPSAPlan(DirectionalPlan):
    """`step` c and `bias` (P,), the bias of each component at most (inf where angles are not affine in theta)."""

    evaluations = 2

    def _settle(self, method: Directional, at: Any) -> None:
        assert isinstance(method, SPSA)
        W, bound = reaches(self.model, at), float(self.ranges.sum())
        curvature = bound * (W**3 / 6 + W * (W @ W - W**2) / 2)  # bias / c^2
        affine = is_affine(self.model)
        wanted = method.precision or method.max_error
        if wanted and not affine:
            raise QupropError(
                "SPSA knows its bias only where angles are affine in theta, and this model multiplies parameters; "
                "pass shots= or total_shots=, or use parameter_shift"
            )
        worst = max(float(curvature.max(initial=0.0)), 1e-100)
        longest = np.pi / 2 / max(float(W.max(initial=0.0)), 1e-300)
        if method.step is not None:
            step = float(method.step)
        elif wanted:
            step = math.sqrt(float(wanted) * (1 / math.sqrt(3) if method.precision else 1 / 3) / worst)
        else:
            if method.shots is not None:
                pairs = method.shots * (method.directions or 10)
            else:
                pairs = max(1, (method.total_shots or 0) // (2 * max(1, len(self.ranges))))
            noise = float(self.ranges @ self.ranges) / (2 * pairs)
            step = (noise / (2 * worst**2)) ** (1 / 6)
        self.step = step if method.step is not None else min(step, longest)
        self.bias = self.step**2 * curvature if affine else np.where(W > 0, np.inf, 0.0)
        self._reach = float(W @ W)
        self._bound = bound

    def _wanted(self, method: Directional) -> Budget:
        wanted, bias = method.precision or method.max_error, float(self.bias.max(initial=0.0))
        assert wanted is not None
        if bias >= wanted:
            raise QupropError(
                f"a step of {self.step:g} has a bias of up to {bias:.3g}, more than {method.budget}; "
                "use a shorter step, or leave step= out"
            )
        if method.precision:
            return Budget(precision=math.sqrt(float(wanted) ** 2 - bias**2))
        return Budget(max_error=float(wanted) - bias, failure=method.failure)

    def _spread(self) -> float:
        return self._bound**2 * self._reach

    def _noise(self, shots: np.ndarray) -> float:
        return float((self.ranges**2 / shots).sum()) / (2 * self.step**2)

    def _largest(self, bound: float, reaches: np.ndarray) -> float:
        return bound / self.step

    def predicted_variance(self, gradient: Any, shot_variance: Any = None) -> np.ndarray:
        """(P,), given the gradient; shot_variance (G,): of one shot of each group (at most b_g^2, the default)."""
        s = self.ranges**2 if shot_variance is None else np.asarray(shot_variance, float)
        full = predicted_variance(
            np.asarray(gradient, float),
            directions=self.directions,
            shots=1.0,
            step=self.step,
            shot_variance=float((s / self.shots).sum()),
        )
        out = np.zeros_like(full)
        out[self.moved] = full[self.moved]
        return out

    def _slopes(
        self, v: np.ndarray, theta: np.ndarray, x: np.ndarray, read: Callable[..., RunShots], rng: np.random.Generator
    ) -> Slopes:
        def angles(run: np.ndarray) -> np.ndarray:
            sign = 1 - 2 * (run % 2)
            return self.model.angle_table.evaluate(theta + self.step * sign[:, None] * v[run // 2], x[None])

        y = np.zeros(len(v))
        count = 2 * len(v)
        for drawn in (yield [read(angles, count, g, np.full(count, shots)) for g, shots in enumerate(self.shots)]):
            y += (drawn.mean[0::2] - drawn.mean[1::2]) / (2 * self.step)
        return y

    def _words(self) -> dict[str, Any]:
        return {"step": f"{self.step:.3g}", "bias": f"at most {self.bias.max(initial=0.0):.3g}"}
