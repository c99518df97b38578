"""The shots at which a method's measured error equals a given one.

The error of N shots is the mean over repeated gradients of max_i |estimate_i - exact_i|. It is measured at N_0; then at
N_1 = N_0 (e_0 / e)^2, where an error of order N^(-1/2) would have become e; and, if that is further than a factor
`near` from e, again, at the N where the line through the last two points on log-log paper meets e (its slope kept in
[-1, -1/5]). The result is read off the last measured point over that short distance, along N^(-1/2), or along the line
through the first and the last level if they are a factor 4 in N apart and its slope is not within 0.1 of -1/2 (errors
made by thresholds). Each level is drawn anew; none is kept because it looks good.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.special import erfc

NEAR = 1.3
LEVELS = 7


@dataclass(frozen=True)
class Level:
    """shots: where the error is the wanted one (not rounded); spread: relative standard error of `shots` from the
    repeats at the last level; trail: the levels measured, (shots, mean error)."""

    shots: float
    spread: float
    trail: tuple[tuple[int, float], ...]
    reached: bool

    @property
    def slope(self) -> float | None:
        """of log error against log shots, between the first and the last level."""
        (n0, e0), (n1, e1) = self.trail[0], self.trail[-1]
        return math.log(e1 / e0) / math.log(n1 / n0) if n0 != n1 and e0 > 0 and e1 > 0 else None


def shots_at_error(
    measure: Callable[[int], np.ndarray], wanted: float, start: int, least: int = 1, most: float = 1e13
) -> Level:
    """measure(N) gives the max-norm errors of repeated gradients with N shots. `least`: the fewest shots there are;
    where these are already better than wanted, the result is them. Past `most`, or after 7 levels, `reached` is
    false."""
    trail: list[tuple[int, float]] = []
    shots = max(start, least)
    while True:
        errors = np.asarray(measure(shots), float)
        error = float(errors.mean())
        trail.append((shots, error))
        if error == 0:
            return Level(float(shots), 0.0, tuple(trail), True)
        away = error / wanted
        spread = 2 * float(errors.std(ddof=1)) / error / math.sqrt(len(errors)) if len(errors) > 1 else math.nan
        if 1 / NEAR <= away <= NEAR or (shots == least and away < 1):
            found = shots * away ** (1 / _exponent(trail)) if away > 1 / NEAR else float(shots)
            return Level(max(found, float(least)), spread, tuple(trail), True)
        if len(trail) >= LEVELS:
            return Level(shots * away**2, spread, tuple(trail), False)
        exponent = 0.5
        if len(trail) > 1:
            (n0, e0), (n1, e1) = trail[-2], trail[-1]
            if n0 != n1 and e0 > 0:
                exponent = min(1.0, max(0.2, -math.log(e1 / e0) / math.log(n1 / n0)))
        following = shots * away ** (1 / exponent)
        if following > most:
            return Level(following, spread, tuple(trail), False)
        shots = max(least, round(following))


def _exponent(trail: list[tuple[int, float]]) -> float:
    (n0, e0), (n1, e1) = trail[0], trail[-1]
    if abs(math.log(n1 / n0)) < math.log(4) or e0 <= 0:
        return 0.5
    exponent = min(1.0, max(0.2, -math.log(e1 / e0) / math.log(n1 / n0)))
    return 0.5 if abs(exponent - 0.5) < 0.1 else exponent


@lru_cache(maxsize=256)
def largest_of_normals(m: int) -> float:
    """E max_i |Z_i| of m independent standard normal Z_i: the integral over t >= 0 of 1 - erf(t / sqrt 2)^m.

    It grows like sqrt(2 ln 2m). Its square is the factor by which m components of equal variance need more shots than
    one, at equal max-norm error; dividing shots by it takes the logarithm out of a slope.
    """

    def tail(t: float) -> float:
        p = erfc(t / math.sqrt(2))
        return -math.expm1(m * math.log1p(-p)) if p < 1 else 1.0

    top = math.sqrt(2 * math.log(2 * m)) + 9
    middle = math.sqrt(2 * math.log(2 * m))
    return float(quad(tail, 0, top, points=[middle], limit=200)[0])


def describe(level: Level) -> dict[str, Any]:
    return {
        "shots": level.shots,
        "spread": level.spread,
        "reached": level.reached,
        "trail": [list(t) for t in level.trail],
        "error_slope": level.slope,
    }
