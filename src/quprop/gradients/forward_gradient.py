"""Forward gradients: v (v . grad F) for random v, the slope along v read without bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.gradients.directional import Directional, DirectionalPlan, Slopes, directional_cost
from quprop.model import Model
from quprop.sampling.linear import jacobian
from quprop.sampling.plan import settle
from quprop.sampling.requests import RunShots
from quprop.sampling.shape import Shape, Wanted

_SINGLE = 4 * np.pi  # a rotation's period


@dataclass(frozen=True, kw_only=True)
class ForwardGradient(Directional):
    """ghat = (P/s) mean_j v_j y_j, E y_j = v_j . grad F, with v_j of ±1 on s of the P parameters (all by default).

    Along v the angles are a + t w, w = J v, and F is a function of t of exponential type W = sum_m |w_m|, whatever
    frequencies it has. M. Riesz' interpolation formula then differentiates it exactly,

        dF/dt = (4 W / pi^2) sum_{k in Z} (-1)^k / (2k+1)^2 F((2k+1) pi / (2 W)),

    and the weights' sum of moduli is W, the least there can be. So each shot draws k with probability 4/pi^2 / (2k+1)^2
    (81 % of them k = 0 and -1, a move of pi/(2W)), runs the circuit once at these angles and counts (-1)^k W times its
    outcome: unbiased, and SPSA with its step drawn at random. (Forward gradients for circuits: Coyle et al.,
    arXiv:2606.09734, who use central differences along v; Riesz's formula: Boas, Entire Functions, 1954,
    chapter 11.)

    Variance of an entry, for d directions of n shots each, dense ±1 and one group with outcomes ±b:

        (|g|^2 - g_i^2)/d + (W^2 b^2 - |g|^2)/(d n)        (`predicted_variance`; `plan.predicted_variance` in general).

    For M rotations with a parameter each W = M: no direction spares shots. Any unbiased reading of a slope pays W^2 in
    the worst case, so that an error e in all entries costs M^2/e^2 shots and M^3/e^2 rotations, where parameter shift
    pays M^2/e^2. Sparse directions pay M s: `support=1` is random components. What dense directions buy is a usable
    (if noisy) gradient from fewer than 2 M circuits.

    Cost: one run of the model's circuit for each shot.

    grouping: how a sum of Pauli strings is read: "qubit_wise", "commuting" or "sampled", or the best, "auto".
    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.ForwardGradient(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.4996 ± 0.008] for 1e+04 copies, 1e+04 runs, 1e+04 rotations, depth 1, 1 qubit, 1e+04 classical multiply-adds
    """

    name: ClassVar[str] = "forward_gradient"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    checked_at: ClassVar[float] = 2.0  # each of many shots is a circuit of its own
    swept_to: ClassVar[Mapping[str, int]] = {"hardware_efficient": 64}

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> ForwardGradientPlan:
        return ForwardGradientPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Directions of ±1 in all parameters, each read by shots that count up to (sum_i W_i) B."""
        total = shape.power(1)

        def noise(shots: Sequence[float]) -> float:
            return total * total * sum(b * b / s for b, s in zip(shape.ranges, shots, strict=True))

        return directional_cost(
            shape,
            wanted,
            wanted.value,
            evaluations=1,
            spread=shape.bound**2 * shape.power(2),
            noise=noise,
            largest=shape.bound * total,
        )


def predicted_variance(
    gradient: np.ndarray, *, directions: int, shots: float, reach: float, second_moment: float = 1.0
) -> np.ndarray:
    """(|g|^2 - g_i^2)/d + (W^2 b^2 - |g|^2)/(d n), (P,), for directions of ±1 in all parameters.

    gradient: the exact one, or what it is assumed to be; shots n for each direction; reach W; second_moment b^2 of the
    outcome of a shot (1 for a Pauli string).
    """
    g = np.asarray(gradient, float)
    return (g @ g - g**2) / directions + (reach**2 * second_moment - g @ g) / (directions * shots)


def riesz_nodes(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Odd numbers 2k+1, k in Z, with probability 4/pi^2 / (2k+1)^2, and the signs (-1)^k."""
    q = rng.zipf(2.0, count)  # 6/pi^2 / q^2 on 1, 2, 3, ...
    while (even := q % 2 == 0).any():
        q[even] = rng.zipf(2.0, int(even.sum()))
    side = 2 * rng.integers(0, 2, count) - 1
    return side * q, side * np.where(q % 4 == 1, 1, -1)  # (-1)^k: odd in 2k+1


class ForwardGradientPlan(DirectionalPlan):
    evaluations = 1

    def _settle(self, method: Directional, at: Any) -> None:
        self._bound = float(self.ranges.sum())

    def _reach_squared(self) -> np.ndarray:
        """E[W^2 | entry i is in the support], (active P,), W = sum of the reaches of the support."""
        W, P, s = self._reaches, len(self._reaches), self.support
        if P <= 1:
            return W**2
        others, squares = W.sum() - W, W @ W - W**2
        mean = (s - 1) / (P - 1)
        pairs = (s - 1) * (s - 2) / ((P - 1) * (P - 2)) if P > 2 else 0.0
        return W**2 + 2 * W * mean * others + mean * squares + pairs * (others**2 - squares)

    def _slope_squared(self, g: np.ndarray) -> np.ndarray:
        """E[(v . g)^2 | entry i is in the support]."""
        P = len(g)
        return g**2 + (self.support - 1) / max(P - 1, 1) * (g @ g - g**2)

    def _spread(self) -> float:
        largest = self._bound * self._reaches
        return float((self.scale * self._slope_squared(largest)).max(initial=0.0))

    def _noise(self, shots: np.ndarray) -> float:
        worst = float(self._reach_squared().max(initial=0.0))
        return self.scale * worst * float((self.ranges**2 / shots).sum())

    def _largest(self, bound: float, reaches: np.ndarray) -> float:
        return self.scale * bound * float(np.sort(reaches)[::-1][: self.support].sum())

    def predicted_variance(self, gradient: Any, second_moment: Any = None) -> np.ndarray:
        """(P,), given the gradient; second_moment (G,) of one shot of each group (at most b_g^2, the default).

        Exact for one group and parameters that share no rotation, an upper bound otherwise.
        """
        g = np.asarray(gradient, float)[self.moved]
        b = self.ranges**2 if second_moment is None else np.asarray(second_moment, float)
        slope = self._slope_squared(g)
        noise = self._reach_squared() * float((b / self.shots).sum())
        if len(self.shots) == 1:
            noise = noise - slope / self.shots[0]
        out = np.zeros(self.model.n_params)
        out[self.moved] = (self.scale * (slope + noise) - g**2) / self.directions
        return out

    def _slopes(
        self, v: np.ndarray, theta: np.ndarray, x: np.ndarray, read: Callable[..., RunShots], rng: np.random.Generator
    ) -> Slopes:
        table = self.model.angle_table
        a = table.evaluate(theta[None], x[None])
        w = (jacobian(table, theta, x) @ v.T).T  # (d, M)
        W = np.abs(w).sum(axis=1)
        y = np.zeros(len(v))
        requests, factors = [], []
        for g, shots in enumerate(self.shots):
            nodes, signs = riesz_nodes(len(v) * int(shots), rng)
            # Shots of one direction that drew one node are shots of one circuit.
            keys, counts = np.unique(
                np.stack([np.repeat(np.arange(len(v)), shots), nodes, signs]), axis=1, return_counts=True
            )
            owner, node, sign = keys
            with np.errstate(divide="ignore"):
                quarter = np.where(W > 0, np.pi / 2 / W, 0.0)

            def angles(run: np.ndarray, owner: Any = owner, node: Any = node, quarter: Any = quarter) -> np.ndarray:
                return a + np.remainder((node[run] * quarter[owner[run]])[:, None] * w[owner[run]], _SINGLE)

            requests.append(read(angles, len(owner), g, counts))
            factors.append((owner, W[owner] * sign * counts / int(shots)))
        for (owner, factor), drawn in zip(factors, (yield requests), strict=True):
            np.add.at(y, owner, factor * drawn.mean)
        return y

    def _words(self) -> dict[str, Any]:
        return {"reach": f"a shot counts up to {self._most():.3g}"}
