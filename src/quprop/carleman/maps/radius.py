"""Where truncated Carleman linearisation of a map provably converges, and how wrong it can be.

The map is delta' = sum_k G_k delta^(tensor k) with norms g_k = |G_k| (spectral norm of the n x n^k matrix) and
g(x) = sum_k g_k x^k. The exact discrete lift cut at order N then obeys, at level 1,

    |delta(t) - y_1(t)| <= rho (rho/Gamma)^N    if g(Gamma) <= Gamma for all steps and |delta(t)| <= rho <= Gamma
    (4.4)

because the errors of levels j, divided by Gamma^j, are carried by non-negative weights of sum at most 1. As
g is convex with non-negative coefficients the radii Gamma allowed are an interval [inner, outer]; deviations that begin
in it are drawn to `inner`. For g of degree two with 1 - g_1 = eta mu the allowed ones are those with R <= 1,

    R(rho) = (g_0/rho + g_2 rho)/(1 - g_1) = (|F_0|/rho + |F_2| rho)/mu,

the R of Liu et al. (PNAS 118, e2026805118, 2021); here with every degree. R < 1 is sufficient, not necessary. Without
such a radius (1 - g_1 <= 0, as for every network with a negative Hessian eigenvalue) the same argument with radii that
move, Gamma(t+1) = g_t(Gamma(t)), bounds the error of a finite number of steps: :func:`finite_time_bound`.

Both bounds are geometric in the level, which is more than level 1, the observable that is read, needs. Level by level
the same argument gives the least bound that norms alone can give (:func:`level_bound`), with w^j_m = [x^m] g(x)^j:

    v_j(t+1) = sum_{m <= N} w^j_m v_m(t) + sum_{m > N} w^j_m rho(t)^m,    |delta^(tensor j) - y_j| <= v_j,  v(0) = 0.

Proof: the exact tower is delta^(tensor j)(t+1) = sum_m M^j_m delta^(tensor m)(t) with |M^j_m| <= w^j_m (triangle
inequality over k_1 + ... + k_j = m), and the lift leaves out the terms with m > N. The jets' weighted truncation is
another one: along s -> s G_0 the path of descent is a power series c_k(t) s^k whose norms the scalar series r(t+1) = s
g_0 + sum_k g_k r(t)^k dominates, jets keep c_1..c_N exactly, so their error is at most what r has beyond s^N at s = 1
(:func:`jet_bound`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from quprop.arrays import checked
from quprop.errors import QupropError

GRID = 400  # starting radii tried
WIDEST = 1e9  # largest starting radius tried, over the movement of the whole block


@dataclass(frozen=True)
class Radius:
    """The interval of trapping radii, empty as (nan, nan); ``outer`` is the convergence radius (inf for a linear
    map)."""

    inner: float
    outer: float

    def __bool__(self) -> bool:
        return self.inner <= self.outer

    def holds(self, deviation: float) -> bool:
        """Does (4.4) apply with |delta(0)| = deviation? Then rho is max(deviation, inner)."""
        return bool(self) and deviation <= self.outer

    def bound(self, deviation: float, order: int) -> float:
        """rho (rho/outer)^order, the level-1 error of the lift cut at `order` at any time; inf where it does not
        apply."""
        if not self.holds(deviation):
            return float("inf")
        rho = max(deviation, self.inner)
        return float(rho * (rho / self.outer) ** order) if np.isfinite(self.outer) else 0.0

    def order_for(self, deviation: float, tolerance: float) -> int | None:
        """The least order N with bound <= tolerance, N >= ln(rho/tolerance)/ln(outer/rho); None where no order has
        it."""
        if not tolerance > 0:
            raise QupropError(f"tolerance must be positive, got {tolerance}")
        rho = max(deviation, self.inner) if self.holds(deviation) else float("nan")
        if not rho < self.outer:
            return 1 if rho <= tolerance else None
        if rho <= tolerance or not np.isfinite(self.outer):
            return 1
        return max(1, int(np.ceil(np.log(rho / tolerance) / np.log(self.outer / rho) - 1e-12)))


def convergence_radius(gains: np.ndarray) -> Radius:
    """The radii Gamma with g_t(Gamma) <= Gamma for all t, from gains (q + 1,) or (steps, q + 1), gains[..., k] =
    |G_k|."""
    radii = [_radius(row) for row in np.atleast_2d(_gains(gains))]
    inner, outer = max(r.inner for r in radii), min(r.outer for r in radii)
    if all(radii) and inner <= outer:
        return Radius(inner, outer)
    return Radius(float("nan"), float("nan"))


def nonlinearity_ratio(gains: np.ndarray, deviation: float) -> float:
    """R(deviation) = sum over k != 1 of g_k deviation^(k-1) / (1 - g_1); inf where g_1 >= 1. Of several steps the
    largest."""
    if not deviation > 0:
        raise QupropError(f"deviation must be positive, got {deviation}")
    table = np.atleast_2d(_gains(gains))
    powers = deviation ** (np.arange(table.shape[1]) - 1.0)
    powers[1] = 0.0
    contraction = 1 - table[:, 1]
    if np.any(contraction <= 0):
        return float("inf")
    return float(np.max(table @ powers / contraction))


def finite_time_bound(gains: np.ndarray, deviation: float, order: int, steps: int | None = None) -> np.ndarray:
    """Bounds (steps + 1,) on the level-1 error after 0, 1, ... steps of the lift cut at `order`:

        min over Gamma(0) of Gamma(t) max_{s<t} (rho(s)/Gamma(s))^(order+1),   Gamma(s+1) = g_s(Gamma(s)), rho likewise

    with rho(0) = deviation. ``gains`` (q + 1,) for `steps` equal steps, or (steps, q + 1). inf where no radius serves.
    """
    table = _gains(gains)
    if table.ndim == 1:
        if steps is None:
            raise QupropError("steps must be given where the gains are those of one step")
        table = np.broadcast_to(table, (steps, len(table)))
    if order < 1 or deviation < 0:
        raise QupropError(f"order must be at least 1 and deviation at least 0, got {order} and {deviation}")
    with np.errstate(over="ignore", invalid="ignore"):
        moved = [deviation]
        for row in table:
            moved.append(float(np.polynomial.polynomial.polyval(moved[-1], row)))
        known = [r for r in moved if 0 < r < np.inf]
        if not known:
            return np.where(np.isfinite(moved), 0.0, np.inf)
        radii = np.geomspace(min(known), max(known) * WIDEST, GRID)
        worst = np.zeros(GRID)
        bounds = [0.0]
        for row, rho in zip(table, moved, strict=False):
            ratio = np.where(rho <= radii, rho / radii, np.inf)
            worst = np.maximum(worst, ratio ** (order + 1))
            radii = np.polynomial.polynomial.polyval(radii, row)
            bounds.append(float(np.nanmin(np.where(np.isfinite(worst) & np.isfinite(radii), worst * radii, np.inf))))
    return np.array(bounds)


def level_bound(gains: np.ndarray, deviation: float, order: int, steps: int) -> np.ndarray:
    """Bounds (steps + 1,) on the level-1 error of the tower cut at `order`, level by level (see the top of this file),
    from gains (q + 1,) of every step; |delta(0)| = `deviation`. Never above `finite_time_bound`."""
    row = _row(gains, order, deviation)
    powers, power = [], np.ones(1)
    for _ in range(order):
        power = np.convolve(power, row)
        powers.append(np.pad(power, (0, max(0, order + 1 - len(power)))))
    carry = np.array([p[1 : order + 1] for p in powers])  # w^j_m, m <= N
    errors, rho, bounds = np.zeros(order), np.float64(deviation), [0.0]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            lost = [rho ** (order + 1) * np.polynomial.polynomial.polyval(rho, [*p[order + 1 :], 0.0]) for p in powers]
            errors = carry @ errors + np.array(lost)
            errors[~np.isfinite(errors)] = np.inf
            rho = np.float64(np.polynomial.polynomial.polyval(rho, row))
            bounds.append(float(errors[0]))
    return np.array(bounds)


def jet_bound(gains: np.ndarray, order: int, steps: int) -> np.ndarray:
    """Bounds (steps + 1,) on the error of jets of `order` (engine "jets") from u(0) = 0; see the top of this file."""
    row = _row(gains, order, 0.0)
    series, rest, bounds = np.zeros(order + 1), np.float64(0), [0.0]  # r_0..r_N, and what r has beyond at s = 1
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            kept = float(series.sum())
            moved, beyond = np.zeros(order + 1), np.float64(0)
            moved[min(1, order)] = row[0]
            power, difference = np.ones(1), np.float64(0)
            for k in range(1, len(row)):
                difference = difference * (kept + rest) + rest * kept ** (k - 1)  # (kept + rest)^k - kept^k
                power = np.convolve(power, series)
                moved += row[k] * np.pad(power[: order + 1], (0, max(0, order + 1 - len(power))))
                beyond += row[k] * (power[order + 1 :].sum() + difference)
            series, rest = moved, beyond
            bounds.append(float(rest) if np.isfinite(rest) else float("inf"))
    return np.array(bounds)


def _row(gains: np.ndarray, order: int, deviation: float) -> np.ndarray:
    if order < 1 or deviation < 0:
        raise QupropError(f"order must be at least 1 and deviation at least 0, got {order} and {deviation}")
    table = _gains(gains)
    if table.ndim != 1:
        raise QupropError("level by level the gains are those of one step, |G_0|, |G_1|, ..., for all steps alike")
    return table


def bound_block_length(
    gains: np.ndarray,
    deviation: float,
    order: int,
    tolerance: float,
    limit: int = 10_000,
    bound: Callable[[np.ndarray, float, int, int], np.ndarray] = finite_time_bound,
) -> int:
    """The last step up to which the error that ``bound`` (`finite_time_bound`, `level_bound`) allows stays within
    `tolerance` (absolute), at most `limit`; steps all have the same gains. 0 if the first step breaks it. The radius
    answers for all times where it can."""
    if not tolerance > 0:
        raise QupropError(f"tolerance must be positive, got {tolerance}")
    if convergence_radius(gains).bound(deviation, order) <= tolerance:
        return limit
    length = 16
    while True:
        bounds = bound(gains, deviation, order, min(length, limit))
        broken = np.nonzero(bounds > tolerance)[0]
        if len(broken):
            return int(broken[0]) - 1
        if length >= limit:
            return limit
        length *= 4


def _gains(gains: np.ndarray) -> np.ndarray:
    table = checked("gains", gains)
    if table.ndim not in (1, 2) or table.shape[-1] < 2 or np.any(table < 0):
        raise QupropError("gains are norms |G_0|, |G_1|, ... (at least two, not negative), one row a step")
    return table


def _radius(gains: np.ndarray) -> Radius:
    """Roots of g(x) = x for one step; g(x) - x is convex."""
    polynomial = np.polynomial.Polynomial(gains)
    rest = polynomial - np.polynomial.Polynomial([0.0, 1.0])
    slope = rest.deriv()
    if not np.any(gains[2:] > 0):
        if gains[1] < 1:
            return Radius(float(gains[0] / (1 - gains[1])), float("inf"))
        return Radius(0.0, float("inf")) if gains[0] == 0 and gains[1] == 1 else Radius(float("nan"), float("nan"))
    if gains[1] >= 1:
        return Radius(float("nan"), float("nan"))
    # The minimum of g(x) - x lies where g' = 1; one term of g' alone reaches 1 before `far`.
    degrees = np.nonzero(gains[2:] > 0)[0] + 2
    far = float(np.min((1.0 / (degrees * gains[degrees])) ** (1.0 / (degrees - 1))))
    lowest = brentq(slope, 0.0, far, xtol=1e-300, rtol=1e-15)
    if rest(lowest) > 0:
        return Radius(float("nan"), float("nan"))
    # x beyond which one term of g alone exceeds x
    beyond = float(np.min((1.0 / gains[degrees]) ** (1.0 / (degrees - 1)))) * (1 + 1e-12)
    inner = brentq(rest, 0.0, lowest, xtol=1e-300, rtol=1e-15) if gains[0] > 0 else 0.0
    outer = brentq(rest, lowest, max(beyond, lowest), xtol=1e-300, rtol=1e-15)
    return Radius(float(inner), float(outer))
