"""QUIVER: gradient descent along random directions, whose number and shots follow from measured variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from quprop.cost import Cost
from quprop.errors import whole
from quprop.gradients.directional import readers_of
from quprop.gradients.finite_difference import check_step
from quprop.gradients.shot_frugal import MOST, check_controller, constants_of, theta_of
from quprop.model import Model
from quprop.sampling.estimate import Estimate, variance_of_mean
from quprop.sampling.grouping import group
from quprop.sampling.linear import active
from quprop.sampling.plan import Plan, settle
from quprop.sampling.programs import read_by_programs
from quprop.sampling.requests import Rounds, RunShots
from quprop.sampling.rows import Made
from quprop.sampling.terms import Terms
from quprop.training.optimise import Tree


class QuiverState(NamedTuple):
    """step; running means of the gradient and of the variance of one shot of a slope, not yet divided by 1 - mu^step;
    directions and shots of the next step."""

    step: np.ndarray
    mean: np.ndarray  # (P,)
    variance: np.ndarray
    directions: np.ndarray
    shots: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Quiver:
    """QUIVER: descent by forward gradients, with V directions of M shots that are adapted at every step.

        ghat = (1/V) sum_l v_l y_l,   y_l = [F(theta + c v_l) - F(theta - c v_l)] / (2 c),   v_l of independent ±1,

    each of the two F from M shots in each group of the observable. With l = L rate and N parameters E|ghat|^2 is
    [(N + V - 1) |g|^2 + N sigma^2 / M] / V, sigma^2 being the variance of one shot of y. From chi and xi, the running
    means (decay mu) of ghat and of the measured sigma^2, and G = |chi|^2 + b mu^k:

        M = ceil( 2 xi / (C G - G) ),   C = 2 V / (l (N + V - 1)),
        V = ceil( 2 l / (2 - l)  [(N - 1) G + N xi / M] / G ),   of M so far.

    M is the allocation of the source, 2 sigma_l^2 / (C |g|^2 - (v_l . grad F)^2), in which the mean |g|^2 stands for
    the squared slope and the mean variance for sigma_l^2, so that no direction has to be measured before its shots are
    known. The rule for V is chosen here: directions are independent samples of the gradient, whose number with the
    largest expected gain a shot is, as in CANS, 2 l / (2 - l) times (variance of a sample) / |g|^2. V begins at the
    smallest that gains anything without shot noise, l (N - 1) / (2 - l) + 1, M at `least`.

    Bias: of the differences, of second order in c (that of `SPSA`). Parameters are those that some angle depends on.
    Cost: 2 V M shots in each group. An optimiser of `train`, for one expectation value.

    rate: the length of a step, below 2/L; None: 1/(2 L). L: as in `ICANS`, or lipschitz=. difference: c. least, most:
    shots of an evaluation; most_directions: None means 4 N. grouping: how a sum of Pauli strings is read.
    Raises: QupropError for settings out of range and, in `train`, for rate at or above 2/L, data, other losses.

    Source: Coyle, Raj, Umathe, Cherrat, Kashefi, arXiv:2606.09734.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.train(model, optimiser=qpr.Quiver(rate=0.5), params=[1.0], steps=40)
    >>> result.loss < -0.98, result.cost.copies == result.history[-1]["copies"]
    (True, True)
    """

    name: ClassVar[str] = "quiver"
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    rate: float | None = None
    difference: float = 0.1
    least: int = 10
    most: int = MOST
    most_directions: int | None = None
    mu: float = 0.99
    b: float = 1e-6
    lipschitz: float | None = None
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"

    def __post_init__(self) -> None:
        check_controller(self.rate, self.mu, self.b, self.lipschitz)
        check_step(self.difference)
        whole("most", self.most, whole("least", self.least, 2))  # one shot shows no spread
        if self.most_directions is not None:
            whole("most_directions", self.most_directions, 1)

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> QuiverPlan:
        return QuiverPlan(model, settle(model, weights, self, rows=False), self)

    def init(self, params: Tree) -> QuiverState:
        zero = np.zeros((), np.int64)  # directions 0: the plan knows where to begin
        return QuiverState(
            zero, np.zeros(np.size(theta_of(params))), np.zeros(()), zero, np.array(self.least, np.int64)
        )

    def update(self, gradients: Tree, state: QuiverState, params: Tree, estimate: Estimate) -> tuple[Tree, QuiverState]:
        told, k = estimate.info, int(state.step)
        g = theta_of(gradients)
        mean = self.mu * state.mean + (1 - self.mu) * g
        variance = self.mu * state.variance + (1 - self.mu) * told["shot_variance"]
        known = 1 - self.mu ** (k + 1)
        V, M = choose(
            float(mean @ mean) / known**2 + self.b * self.mu**k,
            float(variance) / known,
            shots=int(state.shots),
            parameters=told["parameters"],
            step=told["lipschitz"] * told["rate"],
            least=self.least,
            most=self.most,
            most_directions=self.most_directions or 4 * told["parameters"],
        )
        move = -told["rate"] * g
        updates = {"theta": move} if isinstance(gradients, dict) else move
        return updates, QuiverState(
            state.step + 1, mean, np.asarray(variance), np.array(V, np.int64), np.array(M, np.int64)
        )


def choose(
    squared: float,
    variance: float,
    *,
    shots: int,
    parameters: int,
    step: float,
    least: int,
    most: int,
    most_directions: int,
) -> tuple[int, int]:
    """V and M: the numbers of directions and of shots in each evaluation, as in `Quiver`.

    squared: |g|^2; variance: of one shot of a slope; shots: M so far; step: l = L rate, below 2.
    """
    N = parameters
    noisy = ((N - 1) * squared + N * variance / shots) / squared
    V = int(np.clip(np.ceil(2 * step / (2 - step) * noisy * (1 - 1e-12)), 1, most_directions))
    gains = 2 * V / (step * (N + V - 1)) - 1  # C - 1; V directions gain nothing, whatever their shots, where it is <= 0
    M = most if gains <= 0 else np.ceil(min(2 * variance / (gains * squared), most) * (1 - 1e-12))
    return V, int(np.clip(M, least, most))


class QuiverPlan(Plan):
    """Central differences along random directions; `prepare(state)` says how many directions and shots.

    lipschitz, rate: L and the length of a step.
    """

    def __init__(self, model: Model, weights: np.ndarray, method: Quiver) -> None:
        super().__init__(model, Terms.of(model), weights)
        groups = group(self.terms.total(weights), method.grouping, model.clifford)
        self.measured = self.terms.of_groups(groups)
        self.moved = active(model)
        self.lipschitz, self.rate = constants_of(model, self.terms, weights, method.lipschitz, method.rate, 0.5, method)
        N, step = len(self.moved), self.lipschitz * self.rate
        most = method.most_directions or 4 * N
        self.first = max(1, min(int(step * (N - 1) / (2 - step)) + 1, most))
        self.directions, self.shots, self.difference = self.first, method.least, float(method.difference)
        self._readers = readers_of(model, self.terms, groups)
        runs, M = 2 * self.directions * self.shots * len(self._readers), model.n_rotations
        read = sum(1 if r.mixture else len(r.paulis) for r in self._readers)
        self.cost = Cost(
            copies=runs,
            rotations=runs * M,
            measurements=runs,
            depth=M,
            qubits=model.n_qubits,
            classical_ops=2 * self.directions * self.shots * read,
        )
        self.info = {"observable": str(groups), "first_step": f"{self.directions:,} directions"}

    def prepare(self, state: QuiverState) -> None:
        """Take the directions and shots of the next step."""
        self.directions, self.shots = int(state.directions) or self.first, int(state.shots)

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        P, V, M, c = self.model.n_params, self.directions, self.shots, self.difference
        u, inputs = self.terms.coefficients(weights), read_by_programs(self.model, x)
        v = np.zeros((V, P))
        v[:, self.moved] = 2.0 * rng.integers(0, 2, (V, len(self.moved))) - 1.0

        def angles(run: np.ndarray) -> np.ndarray:
            sign = 1 - 2 * (run % 2)
            return self.model.angle_table.evaluate(theta + c * sign[:, None] * v[run // 2], x[None])

        slope, noise = np.zeros(V), np.zeros(V)
        runs_of = [
            reader.again(
                rows=Made(2 * V, angles),
                targets=np.zeros(2 * V, np.int64),
                factors=np.ones((2 * V, len(reader.paulis))),
                lengths=np.full(2 * V, self.model.n_rotations),
            )
            for reader in self._readers
        ]
        answers = yield [RunShots(runs, theta, inputs, u, np.full(2 * V, M)) for runs in runs_of]
        for runs, drawn in zip(runs_of, answers, strict=True):
            farthest = 2 * np.abs(runs.weights(u)).sum(axis=1)
            of_mean = variance_of_mean(drawn.mean, drawn.square, M, farthest)
            slope += (drawn.mean[0::2] - drawn.mean[1::2]) / (2 * c)
            noise += (of_mean[0::2] + of_mean[1::2]) / (4 * c * c)  # of slope
        parts = v * slope[:, None]
        value = parts.mean(axis=0)
        spread = parts.var(axis=0, ddof=1) if V > 1 else v[0] ** 2 * noise[0]  # one direction: its shots alone
        told = {
            "rate": self.rate,
            "lipschitz": self.lipschitz,
            "parameters": len(self.moved),
            "shot_variance": float(M * noise.mean()),
        }
        return Estimate(value, np.sqrt(spread / V), Cost(), {**self.info, **told})
