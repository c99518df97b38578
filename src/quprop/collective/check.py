"""The one-bit threshold check on k copies, its law on undisturbed copies, and how gently a pass treats them.

S counts the accepting copies, X is noise, the check triggers if S + X > tau = k * threshold; the count is never read.
It is the trigger operator f(S), f(s) = Pr[s + X > tau], in its square-root instrument: Kraus operators sqrt(f(S)) for a
trigger and sqrt(1 - f(S)) for a pass.

    exponential noise of mean lambda:  f(s) = min(1, exp(-(tau - s)/lambda))      (Badescu and O'Donnell,
                                                                                    arXiv:2011.10908, section 4)
    Gaussian noise of deviation s0:    f(s) = Phi((s - tau)/s0)

On k undisturbed copies with <E> = p the count is binomial, and the trigger probability has a closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from quprop.collective import binomial
from quprop.collective.event import Event
from quprop.errors import QupropError

KINDS = ("exponential", "gaussian")
_SHORTEST = 1.0  # exponential noise of less than a copy: the closed form is a product of huge and tiny numbers


@dataclass(frozen=True, eq=False)
class Check:
    """Does the fraction of copies that accept `event` exceed `threshold`?

    `noise` is lambda, the mean of the exponential noise, or the standard deviation of the Gaussian one, in copies (not
    in fractions); about sqrt(k)/2 to sqrt(k) keeps a batch intact.
    """

    event: Event
    threshold: float
    noise: float
    kind: str = "exponential"

    def __post_init__(self) -> None:
        if not isinstance(self.event, Event):
            raise QupropError(f"a Check is about an Event, got {self.event!r}; write Check(Event(pauli), ...)")
        if not math.isfinite(self.threshold):
            raise QupropError(f"`threshold` must be a finite fraction of copies, got {self.threshold}")
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise QupropError(f"`noise` must be a positive number of copies, got {self.noise}; try sqrt(k)/2")
        if self.kind not in KINDS:
            raise QupropError(f"`kind` must be 'exponential' or 'gaussian', got {self.kind!r}")

    def trigger(self, counts: np.ndarray, k: int) -> np.ndarray:
        """f(s) for counts s of any shape."""
        above = (np.asarray(counts, float) - k * self.threshold) / self.noise
        if self.kind == "exponential":
            return np.exp(np.minimum(above, 0.0))
        return special.ndtr(above)

    def passing(self, counts: np.ndarray, k: int) -> np.ndarray:
        """1 - f(s), without cancellation."""
        above = (np.asarray(counts, float) - k * self.threshold) / self.noise
        if self.kind == "exponential":
            return -np.expm1(np.minimum(above, 0.0))
        return special.ndtr(-above)

    def probability(self, k: int, mean: float) -> float:
        """Pr[trigger] on k undisturbed copies with <E> = `mean`: :func:`trigger_probability`."""
        return float(trigger_probability(k, mean, self.threshold, self.noise, self.kind))

    def variance(self, k: int, mean: float) -> float:
        """Var f(S) on k undisturbed copies: a pass costs Var(f)/4 in infidelity, to second order in f.

        For exponential noise f^2 is the trigger function of half the noise, so that the closed form serves again.
        """
        if self.kind == "exponential" and self.noise / 2 >= _SHORTEST:
            halved = float(trigger_probability(k, mean, self.threshold, self.noise / 2))
            return max(0.0, halved - self.probability(k, mean) ** 2)
        counts, weights = count_law(k, mean, k * self.threshold)
        f = self.trigger(counts, k)
        return float(weights @ (f - weights @ f) ** 2)

    def pass_distance(self, k: int, mean: float) -> float:
        """The trace distance by which a pass moves k undisturbed copies of a pure state with <E> = `mean`,

            sqrt(Var(sqrt(1 - f(S))) / (1 - P)),    S ~ Binomial(k, mean),

        whose small-P form is sd(f)/2, and P sigma/(2 lambda) for weak exponential noise: too small by a factor of 1.3
        already at lambda = sigma. Counts are summed one by one, or on a lattice that resolves sigma and the noise.
        """
        return self._distance(k, mean, triggered=False)

    def trigger_distance(self, k: int, mean: float) -> float:
        """The trace distance by which a trigger moves k undisturbed copies: sqrt(Var(sqrt(f(S))) / P)."""
        return self._distance(k, mean, triggered=True)

    def information(self, k: int, mean: float, triggered: bool) -> float:
        """Fisher information about the count that this outcome gives, in copies^-2, S ~ Binomial(k, mean):

            E[f'(S)^2/f(S)] / P  for a trigger,    E[f'(S)^2/(1 - f(S))] / (1 - P)  for a pass;

        with g the Kraus function it is 4 E[g'(S)^2]/E[g(S)^2]. Its mean over both outcomes is the information of the
        answer, and four times the variance of the phase by which `back_action` turns the copies. It bounds what one
        outcome does in every direction: a quarter of its root bounds how far the mean fraction of copies that accept
        moves, by Bayes' rule or by the phase.

        The derivative is taken as the difference over one count. Exponential noise has a corner at its threshold, where
        the information of a pass diverges as a logarithm: differences over one count (or over one step of the lattice,
        where this is coarser, beyond noise of 2,000 copies) cut it off.
        """
        s, weights, step = _lattice(k, mean, self.threshold, self.noise, self.kind)
        half = step / 2 if self.kind == "exponential" else 0.5
        outcome = self.trigger if triggered else self.passing
        slope = (np.sqrt(outcome(s + half, k)) - np.sqrt(outcome(s - half, k))) / (2 * half)
        chance = float(weights @ outcome(s, k))
        return 4 * float(weights @ slope**2) / chance if chance else 0.0

    def back_action(self, k: int, mean: float, triggered: bool) -> float:
        """The variance of the momentum conjugate to the count that this outcome adds, in units of copies^-2,

            E[-(ln f)''(S) f(S)] / P  for a trigger,    E[-(ln (1 - f))''(S) (1 - f(S))] / (1 - P)  for a pass:

        that of a random rotation exp(i phi S) of all copies with Var(phi) = back_action/4. Averaged over the outcomes
        it is the Fisher information, in its other form. Gaussian noise only; exponential noise has a corner.
        """
        if self.kind != "gaussian":
            raise QupropError("the back-action of a check needs Gaussian noise, got exponential noise, with its corner")
        s, weights, _ = _lattice(k, mean, self.threshold, self.noise, self.kind)
        u = (s - k * self.threshold) / (self.noise if triggered else -self.noise)
        weights = weights * special.ndtr(u)
        chance = float(weights.sum())
        return -float(weights @ log_ndtr_derivatives(u)[1]) / (chance * self.noise**2) if chance else 0.0

    def _distance(self, k: int, mean: float, triggered: bool) -> float:
        s, weights, _ = _lattice(k, mean, self.threshold, self.noise, self.kind)
        came, other = (self.trigger, self.passing) if triggered else (self.passing, self.trigger)
        kept = np.sqrt(came(s, k))
        chance = float(weights @ kept**2)
        if chance > 0.5:
            kept = other(s, k) / (1 + kept)  # 1 - sqrt(..), which varies as much, without cancellation
        return math.sqrt(min(1.0, float(weights @ (kept - weights @ kept) ** 2) / chance)) if chance else 1.0


def two_sided(
    event: Event, prediction: float, eps: float, noise: float, kind: str = "exponential"
) -> tuple[Check, Check]:
    """Two checks that ask whether <E> is further than eps from `prediction`: of E at prediction + eps, and of 1 - E at
    1 - prediction + eps."""
    if not (math.isfinite(prediction) and math.isfinite(eps) and eps > 0):
        raise QupropError(f"a two-sided check needs a prediction and eps > 0, got {prediction} and {eps}")
    return (
        Check(event, prediction + eps, noise, kind),
        Check(event.complement(), 1 - prediction + eps, noise, kind),
    )


class Design(NamedTuple):
    """Copies `k` of a batch and noise lambda = c sqrt(k), for a sweep of checks with gap `slack`."""

    k: int
    noise: float
    slack: float


def design(eps: float, checks: int, c: float = 0.5, failure: float = 0.25) -> Design:
    """The smallest batch on which `checks` one-sided checks with nothing to find trigger with probability <= `failure`.

    eps is the accuracy of acceptance probabilities: predictions within slack = eps/2 of the truth shall pass, and one
    check at that gap triggers with ln P = -slack sqrt(k)/c + p(1 - p)/(2 c^2), lambda = c sqrt(k), so that

        k = c^2 (ln(checks/failure) + 1/(8 c^2))^2 / slack^2.

    A smaller c takes fewer copies and disturbs them more (`first_order_distance`).
    """
    if not 0 < eps <= 1:
        raise QupropError(f"`eps` is an accuracy of probabilities in (0, 1], got {eps}")
    if isinstance(checks, bool) or not isinstance(checks, int | np.integer) or checks < 1:
        raise QupropError(f"`checks` must be a whole number, 1 or more, got {checks!r}; a two-sided check counts twice")
    if not (math.isfinite(c) and c > 0):
        raise QupropError(f"`c` = lambda/sqrt(k) must be positive, got {c}; 0.5 to 1 works")
    if not 0 < failure < 1:
        raise QupropError(f"`failure` must be a probability between 0 and 1, got {failure}")
    slack = eps / 2
    k = math.ceil((c * (math.log(checks / failure) + 1 / (8 * c**2)) / slack) ** 2)
    return Design(k, c * math.sqrt(k), slack)


def first_order_distance(c: float) -> float:
    """sqrt(e^(1/(4 c^2)) - 1)/2: the trace distance of a pass per trigger probability P, for c = lambda/sqrt(k).

    sd(f)/(2 P) for exponential noise that clips nothing, P small, and <E> = 1/2, where it is largest; about 1/(4c).
    """
    return math.sqrt(math.expm1(min(1 / (4 * c**2), 700.0))) / 2


def trigger_probability(
    k: int, mean: np.ndarray | float, threshold: np.ndarray | float, noise: float, kind: str = "exponential"
) -> np.ndarray:
    """Pr[S + X > k threshold], S ~ Binomial(k, mean); elementwise over means and thresholds.

    Exponential noise: with tau = k threshold, Z = 1 - p + p e^(1/lambda) and the tilted p' = p e^(1/lambda)/Z,

        P = e^(-tau/lambda) Z^k Pr[Bin(k, p') < tau] + Pr[Bin(k, p) >= tau],

    exact; the first factor alone is the form without clipping, `product_probability`. Gaussian noise: the binomial sum.
    """
    mean, threshold = np.broadcast_arrays(np.asarray(mean, float), np.asarray(threshold, float))
    if np.any((mean < 0) | (mean > 1)):
        raise QupropError("the mean of an event is a probability between 0 and 1, got one outside")
    if kind == "gaussian" or noise < _SHORTEST:
        out = np.empty(mean.shape)
        for at in np.ndindex(*mean.shape):
            p, tau = float(mean[at]), k * float(threshold[at])
            if kind == "gaussian":
                counts, weights, _ = _lattice(k, p, float(threshold[at]), noise, kind)
                out[at] = weights @ special.ndtr((counts - tau) / noise)
            else:
                counts, weights = count_law(k, p, tau)
                out[at] = weights @ np.exp(np.minimum((counts - tau) / noise, 0.0))
        return np.minimum(1.0, out)
    below = np.clip(np.ceil(k * threshold) - 1, -1, k)  # the largest count under tau
    log_product, tilted = _tilt(k, mean, threshold, noise)
    with np.errstate(divide="ignore"):
        under = np.exp(np.minimum(log_product + np.log(binomial.cdf(below, k, tilted)), 0.0))
    return np.minimum(1.0, under + binomial.above(below, k, mean))


def product_probability(k: int, mean: float, threshold: float, noise: float) -> float:
    """e^(-tau/lambda) (1 - p + p e^(1/lambda))^k: f as if it went on growing above the threshold (may exceed 1)."""
    return float(np.exp(_tilt(k, np.asarray(mean, float), np.asarray(threshold, float), noise)[0]))


def count_law(k: int, mean: float, also: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Counts s and their binomial weights, where these are not negligible between k mean and `also`."""
    width = 14 * math.sqrt(k * mean * (1 - mean)) + 60
    first = max(0, math.floor(min(k * mean, also) - width))
    last = min(k, math.ceil(max(k * mean, also) + width))
    counts = np.arange(min(first, k), max(last, 0) + 1)
    return counts, binomial.weights(counts, k, mean)


class Gentleness(NamedTuple):
    """What a check does to k undisturbed copies of a pure state, beside the bounds of theory.

    probability          P, that it triggers
    pass_distance        trace distance between the batch before and after a pass
    pass_first_order     P sigma/(2 lambda), its form for small P and weak noise (Gaussian noise: sd(f)/2)
    trigger_distance     trace distance between the batch before and after a trigger
    trigger_bound        sigma/(2 lambda), its form for weak noise and no clipping (Gaussian: sd(f)/(2P))
    alpha                the larger of both distances: the check is alpha-gentle on this state (Abbas et al.,
                         arXiv:2305.13362, Definition 6)
    chi2                 chi^2(S | pass || S) = Var(f)/(1 - P)^2
    chi2_bound           (P sigma/lambda)^2: chi2 is within a constant of it when lambda >= sigma and P < 1/4 (Badescu
                         and O'Donnell, arXiv:2011.10908, chi^2-stable threshold reporting)
    infidelity           1 - |<batch|after a pass>|^2 = Var(sqrt(1 - f)) / (1 - P), exact
    infidelity_estimate  Var(f)/4, its small-P form for any noise
    """

    probability: float
    pass_distance: float
    pass_first_order: float
    trigger_distance: float
    trigger_bound: float
    alpha: float
    chi2: float
    chi2_bound: float
    infidelity: float
    infidelity_estimate: float


def gentleness(check: Check, k: int, mean: float) -> Gentleness:
    """The exact numbers from the binomial law of the count, O(sqrt k) work.

    sqrt(f(S)) is diagonal in the count, so that the fidelity of a pure batch with itself after an outcome of Kraus
    operator g(S) is (E g)^2 / E g^2; its complement is Var(g)/E g^2.
    """
    counts, q = count_law(k, mean, k * check.threshold)
    f, passing = check.trigger(counts, k), check.passing(counts, k)
    p, p_pass = float(q @ f), float(q @ passing)
    sigma = math.sqrt(k * mean * (1 - mean))
    variance = float(q @ (f - p) ** 2)
    exponential = check.kind == "exponential"
    pass_distance, trigger_distance = check.pass_distance(k, mean), check.trigger_distance(k, mean)
    first_order = p * sigma / (2 * check.noise) if exponential else math.sqrt(variance) / 2
    return Gentleness(
        probability=p,
        pass_distance=pass_distance,
        pass_first_order=first_order,
        trigger_distance=trigger_distance,
        trigger_bound=sigma / (2 * check.noise) if exponential else math.sqrt(variance) / (2 * p) if p else math.inf,
        alpha=max(pass_distance, trigger_distance),
        chi2=variance / p_pass**2 if p_pass > 0 else math.inf,
        chi2_bound=(2 * first_order) ** 2,
        infidelity=pass_distance**2,
        infidelity_estimate=variance / 4,
    )


def log_ndtr_derivatives(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The first four derivatives of ln Phi: the hazard h, -h (h + z), and what they differentiate to."""
    first = np.exp(-(z**2) / 2 - special.log_ndtr(z)) / math.sqrt(2 * math.pi)
    second = -first * np.maximum(first + z, 0.0)
    third = -(second * (2 * first + z) + first)
    fourth = -(third * (2 * first + z) + 2 * second * (1 + second))
    return first, second, third, fourth


@lru_cache(maxsize=4)
def _lattice(k: int, mean: float, threshold: float, noise: float, kind: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Counts, their binomial weights (sum 1) and the step between them, where the law before or after matters.

    Every count up to sigma or noise of 2,000; Gaussian noise is smooth, so that sums in steps of a sixteenth of both
    are exact to rounding (the error of the trapezoidal rule is exponentially small).
    """
    sigma = math.sqrt(k * mean * (1 - mean))
    away = min(k, max(0.0, k * threshold)) - k * mean
    # f^2 binomial is largest at most 2 sigma^2/lambda above the mean for exponential noise; a Gaussian check moves the
    # mean towards its threshold by this part of the way at most.
    most = 2 * sigma**2 / noise if kind == "exponential" else abs(away) * sigma**2 / (sigma**2 + noise**2)
    reach = 10 * sigma + 20
    low = math.floor(max(0.0, k * mean - (0.0 if kind == "exponential" else min(most, max(0.0, -away))) - reach))
    high = math.ceil(min(k, k * mean + min(most, max(0.0, away)) + reach))
    step = max(1, math.floor(min(sigma, noise) / (1000 if kind == "exponential" else 16)))
    s = np.arange(low, high + 1, step)
    weights = binomial.weights(s, k, mean)
    return s, weights / weights.sum(), step


def _tilt(k: int, mean: np.ndarray, threshold: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """ln of e^(-tau/lambda) Z^k, and p'."""
    with np.errstate(divide="ignore"):
        log_accept = np.log(mean) + 1 / noise
        log_z = np.logaddexp(np.log1p(-mean), log_accept)
    return k * (log_z - threshold / noise), np.exp(np.minimum(log_accept - log_z, 0.0))
