"""iCANS and Rosalin: gradient descent that allots every component of the gradient its shots, by what they gain.

A step of -rate g_i, with g_i measured with s shots of variance S each, lowers a function whose gradient has the
Lipschitz constant L by

    gain(s) = (rate - L rate^2 / 2) g_i^2 - L rate^2 / (2 s) S

on average at least, and gain(s)/s is largest at s = 2 L rate / (2 - L rate) S / g_i^2. g_i and S are not known; running
means of what outcomes showed stand for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from quprop.errors import QupropError, whole
from quprop.gradients.parameter_shift import shifted_runs
from quprop.gradients.shift_rules import shifts_of
from quprop.gradients.step_bounds import is_affine, reaches
from quprop.model import Model
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate
from quprop.sampling.grouping import group
from quprop.sampling.linear import LinearPlan, driven
from quprop.sampling.plan import settle
from quprop.sampling.requests import Rounds
from quprop.sampling.sampler import Runs
from quprop.sampling.terms import Terms
from quprop.training.optimise import Tree

MOST = 1_000_000  # shots of a circuit, where nothing else is said


class ShotsState(NamedTuple):
    """step; running means of gradient and of the variance of one shot, not yet divided by 1 - mu^step; shots of the
    next step."""

    step: np.ndarray
    mean: np.ndarray  # (P,)
    variance: np.ndarray  # (P,)
    shots: np.ndarray  # (P,)


@dataclass(frozen=True, kw_only=True)
class ICANS:
    """iCANS: gradient descent by parameter shift in which each component has shots of its own, adapted at every step.

    With chi_i and xi_i the running means (decay mu, corrected for their start as Adam's are) of component i and of the
    measured variance of one of its shots, the next step gives component i

        s_i = ceil( 2 L rate / (2 - L rate)  xi_i / (chi_i^2 + b mu^k) )

    shots, `least` to `most` of them. variant=1 is iCANS1: no component gets more than the one whose expected gain for
    each shot, [(rate - L rate^2/2) chi_i^2 - L rate^2 xi_i / (2 s_i)] / s_i, is largest. variant=2 has no such limit,
    and shortens steps that are not worth their length instead: component i moves by min(rate, rate_i) g_i, rate_i =
    chi_i^2 / (L (chi_i^2 + xi_i / s_i)) being where the gain is largest (b mu^k is added to chi_i^2 here too).

    A shot of a component is one shot of each circuit that serves it: two where one rotation has the parameter, in every
    group in which the observable is read; gains are divided by their number too. A circuit that serves several
    components runs for the one that wants most. L is sum |c_i| of the observable, times max_i W_i^2 where a parameter
    turns more than one rotation or by another slope than 1 (W_i = sum_m |da_m/dtheta_i|).

    An optimiser of `train`, for one expectation value; `Trained.cost` has the shots that were executed.

    rate: the length of a step, below 2/L; None: 1/L. least: shots of the first step, 2 or more. mu, b: as above.
    lipschitz: L, if another is known. grouping: how a sum of Pauli strings is read ("auto", "qubit_wise", "commuting",
    "sampled").
    Raises: QupropError for settings out of range and, in `train`, for rate at or above 2/L, data, other losses.

    Source: Kübler, Arrasmith, Cincio, Coles, Quantum 4, 263 (2020), arXiv:1909.09083.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.train(model, optimiser=qpr.ICANS(rate=0.3, least=10), params=[1.0], steps=30)
    >>> result.loss < -0.99, result.cost.copies == result.history[-1]["copies"]
    (True, True)
    """

    name: ClassVar[str] = "icans"
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    rate: float | None = None
    variant: Literal[1, 2] = 1
    least: int = 10
    most: int = MOST
    mu: float = 0.99
    b: float = 1e-6
    lipschitz: float | None = None
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"

    def __post_init__(self) -> None:
        check_controller(self.rate, self.mu, self.b, self.lipschitz)
        whole("most", self.most, whole("least", self.least, 2))  # one shot shows no spread
        if self.variant not in (1, 2):
            raise QupropError(f"variant is 1 (iCANS1) or 2 (iCANS2), got {self.variant!r}")

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> ShotFrugalPlan:
        return ShotFrugalPlan(model, settle(model, weights, self, rows=False), self, at)

    def init(self, params: Tree) -> ShotsState:
        P = np.size(theta_of(params))
        return ShotsState(np.zeros((), np.int64), np.zeros(P), np.zeros(P), np.full(P, self.least, np.int64))

    def update(self, gradients: Tree, state: ShotsState, params: Tree, estimate: Estimate) -> tuple[Tree, ShotsState]:
        rate, L = estimate.info["rate"], estimate.info["lipschitz"]
        g, k = theta_of(gradients), int(state.step)
        mean = self.mu * state.mean + (1 - self.mu) * g
        variance = self.mu * state.variance + (1 - self.mu) * state.shots * estimate.stderr**2
        chi, xi = mean / (1 - self.mu ** (k + 1)), variance / (1 - self.mu ** (k + 1))
        bias = self.b * self.mu**k
        best = best_rate(chi, xi, state.shots, lipschitz=L, bias=bias) if self.variant == 2 else np.inf
        move = -np.minimum(rate, best) * g
        shots = allotted(chi, xi, rate=rate, lipschitz=L, bias=bias, least=self.least, most=self.most)
        if self.variant == 1:
            shots = capped(shots, chi, xi, rate=rate, lipschitz=L, circuits=estimate.info["circuits_of"])
        updates = {"theta": move} if isinstance(gradients, dict) else move
        return updates, ShotsState(state.step + 1, mean, variance, shots)


@dataclass(frozen=True, kw_only=True)
class Rosalin(ICANS):
    """Rosalin: iCANS1 whose every shot draws the term of the observable that it reads, with probability |c_i|/sum|c|.

    A shot of a circuit counts sum|c| sign(c_i) o_i for the outcome o_i = ±1 of the term that it drew, so that its mean
    is <O> for any number of shots, fewer than there are terms included; measuring all terms would need a shot of each.
    Settings (rate, variant, least, most, mu, b, lipschitz) and formulas are those of `ICANS`; grouping is "sampled".

    Source: Arrasmith, Cincio, Somma, Coles, arXiv:2004.06252 (weighted random sampling).
    Raises: as `ICANS`; QupropError for another grouping than "sampled".

    >>> model = qpr.Model(qpr.Circuit(2).ry(qpr.params("theta", 2)[0], 0).ry(qpr.params("theta", 2)[1], 1), "Z0 + Z1")
    >>> result = qpr.train(model, optimiser=qpr.Rosalin(rate=0.2), params=[1.0, 2.0], steps=40)
    >>> result.loss < -1.98
    True
    """

    name: ClassVar[str] = "rosalin"
    least: int = 2
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "sampled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grouping != "sampled":
            raise QupropError(f"Rosalin samples the terms, got grouping={self.grouping!r}: take ICANS for groups")


class ShotFrugalPlan(LinearPlan):
    """Parameter shift whose components have shots of their own: `prepare(state)` says how many.

    lipschitz, rate: L and the length of a step; circuits_of (P,): the circuits of one shot of each component.
    """

    def __init__(self, model: Model, weights: np.ndarray, method: ICANS, at: Any) -> None:
        terms = Terms.of(model)
        groups = group(terms.total(weights), method.grouping, model.clifford)
        runs = shifted_runs(model, terms, groups, shifts_of(model, driven(model).tolist(), "auto"))
        super().__init__(model, terms, Budget(shots=method.least), runs, weights=weights, at=at, groups=groups)
        self.lipschitz, self.rate = constants_of(model, terms, weights, method.lipschitz, method.rate, 1.0, method)
        shape = (model.n_rotations + model.n_params, model.n_params)
        self._served = [_served(r, self._slopes_anywhere(), shape) for r in runs]
        self.circuits_of = sum((np.asarray(s.sum(axis=0)).ravel() for s in self._served), np.zeros(model.n_params))

    def _slopes_anywhere(self) -> sp.csr_matrix:
        return self._slopes(np.ones(self.model.n_params), np.ones(self.model.n_inputs))

    def prepare(self, state: ShotsState) -> None:
        """Give the circuits the shots of the next step."""
        self.shots = [
            np.asarray(s.multiply(state.shots[None, :]).tocsr().max(axis=1).todense()).ravel().astype(np.int64)
            for s in self._served
        ]

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        found = yield from super()._rounds(theta, x, weights, rng)
        found.info.update(rate=self.rate, lipschitz=self.lipschitz, circuits_of=self.circuits_of)
        return found


def _served(runs: Runs, slopes: sp.csr_matrix, shape: tuple[int, int]) -> sp.csr_matrix:
    """(R, P), 1 where a run serves a component."""
    pattern = sp.csr_matrix((np.ones(slopes.nnz), slopes.indices, slopes.indptr), shape)
    return pattern[runs.targets]


def allotted(
    chi: np.ndarray, xi: np.ndarray, *, rate: float, lipschitz: float, bias: float, least: int, most: int
) -> np.ndarray:
    """Shots of each component (P,): 2 L rate / (2 - L rate) xi / (chi^2 + bias), rounded up, from least to most.

    chi, xi: gradient and variance of a shot, as they are taken to be.
    """
    ideal = 2 * lipschitz * rate / (2 - lipschitz * rate) * xi / (chi**2 + bias)
    return np.clip(np.ceil(ideal * (1 - 1e-12)), least, most).astype(np.int64)


def capped(
    shots: np.ndarray, chi: np.ndarray, xi: np.ndarray, *, rate: float, lipschitz: float, circuits: np.ndarray
) -> np.ndarray:
    """No component has more shots than the one whose gain for each executed shot is largest."""
    gain = (rate - lipschitz * rate**2 / 2) * chi**2 - lipschitz * rate**2 / (2 * shots) * xi
    each = np.where(circuits > 0, gain / (shots * np.maximum(circuits, 1)), -np.inf)
    return np.minimum(shots, shots[int(np.argmax(each))]) if len(shots) else shots


def best_rate(chi: np.ndarray, xi: np.ndarray, shots: np.ndarray, *, lipschitz: float, bias: float) -> np.ndarray:
    """The step length of each component whose expected gain is largest: chi^2 / (L (chi^2 + xi / s))."""
    size = chi**2 + bias
    return size / (lipschitz * (size + xi / shots))


def constants_of(
    model: Model,
    terms: Terms,
    weights: np.ndarray,
    lipschitz: float | None,
    rate: float | None,
    default: float,
    method: Any,
) -> tuple[float, float]:
    """L and the step length (default/L if none is given), refused where the loss could grow."""
    if lipschitz is None:
        if not is_affine(model):
            raise QupropError(
                f"{type(method).__name__} knows the Lipschitz constant of the gradient only where angles are affine in "
                "theta, and this model multiplies parameters; pass lipschitz="
            )
        lipschitz = float(terms.sizes(weights).sum()) * float(reaches(model, None).max(initial=0.0)) ** 2
        if not lipschitz > 0:
            raise QupropError(
                f"{type(method).__name__} has nothing to minimise: no parameter turns a circuit whose observable is "
                "more than a constant"
            )
    if rate is None:
        return lipschitz, default / lipschitz
    if not rate < 2 / lipschitz:
        raise QupropError(
            f"rate must be below 2/L = {2 / lipschitz:.4g} (L = {lipschitz:.4g}, the Lipschitz constant of the "
            f"gradient), beyond which steps may raise the loss, got {rate:g}"
        )
    return lipschitz, float(rate)


def check_controller(rate: float | None, mu: float, b: float, lipschitz: float | None) -> None:
    """Refuse settings that no controller can use."""
    for name, value in (("rate", rate), ("lipschitz", lipschitz), ("b", b)):
        if value is not None and (isinstance(value, bool) or not (math.isfinite(value) and value > 0)):
            raise QupropError(f"{name} must be a positive number, got {value!r}")
    if not 0 <= mu < 1:
        raise QupropError(f"mu is the decay of running means, in [0, 1), got {mu!r}")


def theta_of(tree: Tree) -> np.ndarray:
    return np.asarray(tree["theta"] if isinstance(tree, dict) else tree)
