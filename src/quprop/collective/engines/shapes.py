"""What the outcome of a check makes of a normal count, and what a filter of two moments forgets of it.

The count's deviation x is normal of variance w. The outcome weighs it by g(x)^2 = Phi(+-(x + m)/s), m the mean minus
the threshold, so that its cumulant generating function gains ln Phi(+-(m + w t)/sqrt(v)), v = w + s^2: the n-th
cumulant is

    (+-w/sqrt(v))^n (ln Phi)^(n)(+-m/sqrt(v))         (and w, for n = 2).

At fixed x the momentum, [x, p] = 2i, gains the cumulants 2 E[-(ln g)''] and 2 E[(ln g)''''] of the kick, no odd ones.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial import hermite_e
from scipy import special

from quprop.collective.check import log_ndtr_derivatives

_NODES = 80  # of the Gauss-Hermite rule for the kicks
_KEPT = 1e-5  # skewness along a check from which its direction is remembered


_rule = lru_cache(maxsize=1)(hermite_e.hermegauss)


class Posterior(NamedTuple):
    """Moments of what an outcome leaves of a normal count of variance w and of the momentum conjugate to it:

    mean, variance, third, fourth   cumulants of x
    kick        variance of the momentum it adds, E_g[2 (-(ln g)'')]
    tilted      Cov_g(x, kick at x)
    bent        Cov_g((x - mean)^2, kick at x)
    kick_fourth the fourth cumulant of the momentum
    slope, bend, explained   G'/G, G''/G and -w (ln G)'', G the probability of the outcome as a function of the mean:
                Bayes' rule with a third cumulant kappa moves the posterior mean by kappa G''/(2G) and its variance by
                kappa G'/G, to first order in it; a variance wrong by u makes the mean wrong by u G'/G, and wrong
                moments count on by the part that was explained of them
    """

    mean: float
    variance: float
    third: float
    fourth: float
    kick: float
    tilted: float
    bent: float
    kick_fourth: float
    slope: float
    bend: float
    explained: float

    @classmethod
    def reading(cls, deviation: float, width: float, noise: float) -> Posterior:
        """A Gaussian reading that came out `deviation` above the mean."""
        total = width + noise**2
        left, slope = width * noise**2 / total, deviation / total
        bend = slope**2 - 1 / total
        return cls(width * slope, left, 0.0, 0.0, 1 / noise**2, 0.0, 0.0, 0.0, slope, bend, width / total)

    @classmethod
    def check(cls, above: float, width: float, noise: float, triggered: bool) -> Posterior:
        """`above` is the mean minus the threshold."""
        sign = 1.0 if triggered else -1.0
        total = width + noise**2
        first, second, third, fourth = log_ndtr_derivatives(np.array(sign * above / math.sqrt(total)))
        unit = sign * width / math.sqrt(total)
        mean, variance = unit * float(first), width + unit**2 * float(second)
        nodes, weights = _rule(_NODES)
        spread = math.sqrt(variance)
        x = mean + spread * nodes
        u = sign * (x + above) / noise
        log_weight = special.log_ndtr(u) - x**2 / (2 * width) + nodes**2 / 2
        weights = weights * np.exp(log_weight - log_weight.max())
        weights /= weights.sum()
        _, curvature, _, quartic = log_ndtr_derivatives(u)
        kicks = -curvature / noise**2
        kick = float(weights @ kicks)
        return cls(
            mean,
            variance,
            unit**3 * float(third),
            unit**4 * float(fourth),
            kick,
            float(weights @ ((x - mean) * (kicks - kick))),
            float(weights @ ((x - mean) ** 2 * (kicks - kick))),
            float(weights @ quartic) / noise**4 + 3 * float(weights @ (kicks - kick) ** 2),
            sign * float(first) / math.sqrt(total),
            float(second + first**2) / total,
            -width * float(second) / total,
        )


class Neglected(NamedTuple):
    """Bounds of what the filter neglects of a count: of its mean, variance, third and fourth cumulant."""

    mean: float = 0.0
    variance: float = 0.0
    third: float = 0.0
    fourth: float = 0.0


class Shapes:
    """What the two moments do not hold: third and fourth cumulants, and how far these have made the moments wrong.

    A third cumulant lies along a (count) thrice, or along a once and along b (kick) twice; a wrong mean along a, a
    wrong variance along a twice. Those above 1e-5 of a standard deviation are kept with their directions, which narrow
    as later measurements explain part of them; of smaller ones, and of the fourth order, only the sum of sizes is kept,
    as if all lay along whatever is asked about next. Neglected moments are added up as if all had one sign.
    """

    def __init__(self, size: int) -> None:
        self._directions = np.zeros((0, 2, size))  # a and b
        self._sizes = np.zeros((0, 4))  # wrong mean and variance, kappa_aaa, kappa_abb
        self._small = np.zeros(3)  # wrong mean and variance, skewness, in units of the standard deviation
        self._fourth = np.zeros(3)  # all count, mixed, all kick; in units of variance or |c|^2

    def add(
        self, outcome: Posterior, wrong: Neglected, a: np.ndarray, b: np.ndarray, width: float, noise: float
    ) -> None:
        size = float(b @ b)
        mean = (
            wrong.third / 2 * abs(outcome.bend) + wrong.variance * abs(outcome.slope) + wrong.mean * outcome.explained
        )
        variance = wrong.third * abs(outcome.slope) + wrong.variance * outcome.explained
        deviation = math.sqrt(width)
        small = np.array([mean / deviation, variance / width, abs(outcome.third) / width**1.5])
        small[2] += 3 * abs(outcome.tilted) * size / deviation
        seen = math.sqrt(width / (width + noise**2))
        if np.max(small * [seen, seen**2, seen**3]) > _KEPT:
            self._directions = np.concatenate([self._directions, np.stack([a, b])[None]])
            self._sizes = np.concatenate([self._sizes, [[mean, variance, outcome.third, outcome.tilted]]])
        else:
            self._small += small
        self._fourth[0] += abs(outcome.fourth) / width**2
        self._fourth[1] += abs(outcome.bent) * size / width
        self._fourth[2] += abs(outcome.kick_fourth) * size**2

    def narrow(self, row: np.ndarray, column: np.ndarray) -> None:
        """A measurement along `row` explains `column` of it: R - column (row . R) is left."""
        if len(self._directions):
            self._directions -= np.multiply.outer(self._directions @ row, column)

    def along(self, row: np.ndarray, width: float) -> Neglected:
        """For row . R, of variance `width`; the third cumulant is a value, the others are bounds."""
        size = float(row @ row)
        out = self._small * [width**0.5, width, width**1.5]
        if len(self._directions):
            a, b = (self._directions @ row).T
            means, variances, thirds, mixed = self._sizes.T
            out += means @ np.abs(a), variances @ a**2, abs(float(thirds @ a**3) + 3 * float(mixed @ (a * b**2)))
        fourth = self._fourth @ [width**2, 6 * width * size, size**2]
        return Neglected(float(out[0]), float(out[1]), float(out[2]), float(fourth))

    def spread_out(self, places: np.ndarray, size: int) -> None:
        """Room for more quadratures; those there are go to `places`."""
        directions = np.zeros((len(self._directions), 2, size))
        directions[:, :, places] = self._directions
        self._directions = directions
