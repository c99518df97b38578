"""The count of accepting copies as an operator on one fluctuation mode.

In the Dicke states |m>, m copies in the direction v = (E - mu) psi and k - m in psi, symmetrised, functions of the
count S have the matrix elements

    <m|f(S)|n> = sum_s Bin(s; k, mu) f(s) K_m(s) K_n(s)            (exact for any k)

with K_m the orthonormal Krawtchouk polynomials: S|m> = b_m|m-1> + (k mu + m (1 - 2 mu))|m> + b_{m+1}|m+1>,
b_m = sqrt(m (k - m + 1) mu (1 - mu)). For k to infinity S = k mu + sigma (b + b^dagger), sigma^2 = k mu (1 - mu), the
law becomes normal and the K_m Hermite polynomials: the quantum central limit (Goderis, Verbeure and Vets, 1989).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special

LAWS = ("binomial", "normal")
_LARGEST_SIGMA = 4000.0  # beyond, the binomial sum has 10^5 terms and the central limit's error is below 10^-4
_REACH = 8.0  # standard deviations beyond the turning point of the highest state
_NODES = 160  # on each side of the threshold, and 5 more a degree: Hermite functions to 1e-12


def basis(k: int, mean: float, highest: int, law: str, split: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts s (G,) and B (highest + 1, G) with <m|f(S)|n> = sum_g f(s_g) B[m, g] B[n, g].

    `law` is "binomial" or "normal"; `split` is a count where f or its derivative may jump, which the quadrature of the
    normal law respects. 0 < mean < 1; highest <= k for the binomial law.
    """
    sigma = math.sqrt(k * mean * (1 - mean))
    reach = 2 * math.sqrt(highest + 1) + _REACH
    if law == "binomial" and sigma <= _LARGEST_SIGMA:
        return _krawtchouk(k, mean, highest, reach * sigma + 2 * highest + 30)
    x, weights = _nodes((split - k * mean) / sigma, reach, _NODES + 5 * highest)
    out = np.empty((highest + 1, len(x)))
    out[0] = np.exp(-(x**2) / 4) * np.sqrt(weights / math.sqrt(2 * math.pi))
    if highest:
        out[1] = x * out[0]
    for m in range(1, highest):
        out[m + 1] = (x * out[m] - math.sqrt(m) * out[m - 1]) / math.sqrt(m + 1)
    return k * mean + sigma * x, out


def _krawtchouk(k: int, mean: float, highest: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    s = np.arange(max(0, math.floor(k * mean - reach)), min(k, math.ceil(k * mean + reach)) + 1, dtype=float)
    log_law = special.gammaln(k + 1) - special.gammaln(s + 1) - special.gammaln(k - s + 1)
    log_law += special.xlogy(s, mean) + special.xlog1py(k - s, -mean)
    out = np.empty((highest + 1, len(s)))
    out[0] = np.exp(log_law / 2)
    if len(s) < k + 1 or k > 1000:
        out[0] /= np.linalg.norm(out[0])  # gammaln of large k is off by k eps log k
    middle = k * mean + np.arange(highest + 1) * (1 - 2 * mean)
    bond = np.sqrt(np.arange(highest + 2) * np.maximum(k + 1 - np.arange(highest + 2), 0) * mean * (1 - mean))
    for m in range(highest):
        out[m + 1] = (s - middle[m]) * out[m] - bond[m] * (out[m - 1] if m else 0.0)
        out[m + 1] /= bond[m + 1]
    _decay(k, mean, s, out)
    return s, out


def _decay(k: int, mean: float, s: np.ndarray, out: np.ndarray) -> None:
    """Rows past m_+(s), where K_m(s) only decays and the upward recurrence explodes, from the downward one (Miller).

    m_+ = k (sqrt(mu (1 - s/k)) + sqrt((1 - mu) s/k))^2 is the classical turning point.
    """
    highest = len(out) - 1
    turn = k * (np.sqrt(mean * (1 - s / k)) + np.sqrt((1 - mean) * s / k)) ** 2
    late = np.flatnonzero(turn < highest)
    if not len(late):
        return
    s, at = s[late], turn[late].astype(int)
    top = min(k, highest + 40)
    down = np.zeros((top + 2, len(late)))
    down[top] = 1.0
    for m in range(top, 0, -1):
        middle = k * mean + m * (1 - 2 * mean)
        bonds = [math.sqrt(j * (k - j + 1) * mean * (1 - mean)) for j in (m, m + 1)]
        down[m - 1] = ((s - middle) * down[m] - bonds[1] * down[m + 1]) / bonds[0]
        down[m - 1 :] /= np.maximum(1.0, np.abs(down[m - 1]))
    columns = np.arange(len(late))
    down *= out[at, late] / down[at, columns]
    past = np.arange(highest + 1)[:, None] > at
    out[:, late] = np.where(past, down[: highest + 1], out[:, late])


def _nodes(split: float, reach: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [-reach, reach], crowded at `split` where square roots may begin."""
    t, w = _legendre(count)
    split = min(reach, max(-reach, split))
    xs, weights = [], []
    for sign, length in ((-1.0, split + reach), (1.0, reach - split)):
        if length > 0:
            xs.append(split + sign * length * t**2)
            weights.append(2 * length * t * w)
    return np.concatenate(xs), np.concatenate(weights)


@lru_cache(maxsize=16)
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    t, w = special.roots_legendre(count)
    return (t + 1) / 2, w / 2
