"""The binomial law of the count of accepting copies, to rounding at any size; SciPy's, without its second of import."""

from __future__ import annotations

import math

import numpy as np
from scipy import special


def cdf(counts: np.ndarray, k: int, p: np.ndarray | float) -> np.ndarray:
    """Pr[Bin(k, p) <= counts], elementwise, for counts from -1 to k."""
    inside = special.betaincc(np.maximum(counts, 0) + 1, np.maximum(k - counts, 1), p)
    return np.where(counts < 0, 0.0, np.where(counts >= k, 1.0, inside))


def above(counts: np.ndarray, k: int, p: np.ndarray | float) -> np.ndarray:
    """Pr[Bin(k, p) > counts], elementwise, without cancellation."""
    inside = special.betainc(np.maximum(counts, 0) + 1, np.maximum(k - counts, 1), p)
    return np.where(counts < 0, 1.0, np.where(counts >= k, 0.0, inside))


def weights(counts: np.ndarray, k: int, p: float) -> np.ndarray:
    """Pr[Bin(k, p) = counts] for whole counts from 0 to k, float64.

    ln = e(k) - e(s) - e(k - s) - D(s, kp) - D(k - s, k(1 - p)) + ln sqrt(k/(2 pi s (k - s))), where e is the error of
    Stirling's formula and D(x, m) = x ln(x/m) - x + m: no large numbers cancel (Loader 2000, "Fast and accurate
    computation of binomial probabilities").
    """
    counts = np.asarray(counts, float)
    if p in (0.0, 1.0):
        return (counts == k * p).astype(float)
    out = np.where(counts == 0, math.exp(k * math.log1p(-p)), math.exp(k * math.log(p)))
    inner = (counts > 0) & (counts < k)
    s, rest = counts[inner], k - counts[inner]
    exponent = _stirling_error(np.array([float(k)])) - _stirling_error(s) - _stirling_error(rest)
    exponent -= _deviance(s, k * p) + _deviance(rest, k * (1 - p))
    out[inner] = np.exp(exponent) * np.sqrt(k / (2 * math.pi * s * rest))
    return out


def _deviance(x: np.ndarray, m: float) -> np.ndarray:
    v = (x - m) / m
    return m * ((1 + v) * np.log1p(v) - v)


def _stirling_error(n: np.ndarray) -> np.ndarray:
    """ln n! - (n + 1/2) ln n + n - ln sqrt(2 pi), n >= 1."""
    r = 1 / n**2
    series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / n
    small = np.minimum(n, 20.0)
    direct = special.gammaln(small + 1) - (small + 0.5) * np.log(small) + small - 0.5 * math.log(2 * math.pi)
    return np.where(n < 20, direct, series)
