"""How many copies of a state are proved to be enough for a readout, and how many are enough on average."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy import stats

from quprop.errors import QupropError

L2_BOUND = math.sqrt(7)  # times delta
LINF_BOUND = 1 + math.sqrt(2)


def support_copies(entries: int, threshold: float, failure: float) -> int:
    """ceil(ln(r/f)/tau^2) measurements see every one of r amplitudes of size tau or more, except with probability f.

    One is missed with probability (1 - tau^2)^C <= e^{-C tau^2} = f/r.
    """
    _check(entries)
    for name, value in (("threshold", threshold), ("failure", failure)):
        if not 0 < value <= 1:
            raise QupropError(f"`{name}` is between 0 (excluded) and 1, got {value}")
    return max(1, math.ceil(math.log(entries / failure) / threshold**2))


def l2_copies(entries: int, delta: float) -> int:
    """36 d ln d / delta^2 copies for the magnitudes, and as many for the signs: ||x - x'||_2 <= sqrt(7) delta.

    Except with probability 1/poly(d) (Kerenidis and Prakash, arXiv:1808.09266); ln 2 stands in for ln 1.
    """
    _check(entries, delta)
    return math.ceil(36 * entries * math.log(max(entries, 2)) / delta**2)


def linf_copies(entries: int, delta: float) -> int:
    """36 ln d / delta^2 copies for the magnitudes, and as many for the signs: ||x - x'||_inf <= (1 + sqrt(2)) delta.

    Kerenidis, Landman and Prakash, arXiv:1911.01117.
    """
    _check(entries, delta)
    return math.ceil(36 * math.log(max(entries, 2)) / delta**2)


def expected_error(entries: int, copies: float) -> float:
    """sqrt(E ||x - x'||_2^2) of magnitudes from so many copies of a unit vector of r entries: sqrt((r - 1)/(4 C)).

    A frequency of multinomial counts has variance p (1 - p)/C, so its square root, where C p is large, (1 - p)/(4 C),
    whatever p; the sum over r entries is (r - 1)/(4 C). Entries so small that they are rarely seen or get the wrong
    sign are left out: `expected_error_of` a known vector has them.
    """
    _check(entries)
    if not copies > 0:
        raise QupropError(f"copies are a positive number, got {copies}")
    return math.sqrt((entries - 1) / (4 * copies))


def expected_error_of(vector: np.ndarray, copies: float, support: float) -> float:
    """sqrt(E ||x - x'||_2^2) of `read_out` of a known vector (n,), over its norm: magnitudes and signs from so many
    copies each, entries that are not among ``support`` further copies taken for 0.

    Counts are taken as Poisson: with l = p C an entry errs by f(l)/C, see `_scaled_error`, if it is seen.
    """
    p = np.square(vector / np.abs(vector).max())
    p = p[p > 0] / p.sum()
    if len(p) == 1:
        return 0.0
    missed = np.exp(support * np.log1p(-p))
    grid, values = _scaled_error()
    seen = np.interp(np.log(p * copies), grid, values) * (1 - p) / copies
    return float(np.sqrt(np.sum((1 - missed) * seen + missed * p)))


@cache
def _scaled_error() -> tuple[np.ndarray, np.ndarray]:
    """f(l) = E (s sqrt(B) - sqrt(l))^2 on a grid of ln l; 1/4 beyond. B is Poisson(l); the sign s is wrong if the flag
    of rate (sqrt(l) - sqrt(B))^2/4 is seen more often than that of rate (sqrt(l) + sqrt(B))^2/4, ties half the time."""
    grid = np.linspace(math.log(1e-4), math.log(300), 160)
    values = []
    for rate in np.exp(grid):
        counts = np.arange(0, math.ceil(rate + 12 * math.sqrt(rate) + 12))
        root = np.sqrt(counts)
        low, high = (math.sqrt(rate) - root) ** 2 / 4, (math.sqrt(rate) + root) ** 2 / 4
        flags = np.arange(160)[:, None]
        at = stats.poisson.pmf(flags, np.minimum(high, 60))
        wrong = (at * (stats.poisson.sf(flags, low) + 0.5 * stats.poisson.pmf(flags, low))).sum(axis=0) * (high < 60)
        error = (root - math.sqrt(rate)) ** 2 + 4 * math.sqrt(rate) * root * wrong
        values.append(float(stats.poisson.pmf(counts, rate) @ error))
    return grid, np.array(values)


def expected_copies_of(vector: np.ndarray, delta: float) -> int:
    """Copies C, of each of support, magnitudes and signs, from which on `expected_error_of` is at most delta."""
    _check(max(1, int(np.count_nonzero(vector))), delta)
    low, high = 0, 1
    while expected_error_of(vector, high, high) > delta:
        low, high = high, 2 * high
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (middle, high) if expected_error_of(vector, middle, middle) > delta else (low, middle)
    return high


def expected_copies(entries: int, delta: float) -> int:
    """Copies for the magnitudes from which on `expected_error` is at most delta: ceil((r - 1)/(4 delta^2)).

    A readout takes as many again for signs, and for the support. 144 ln r times fewer than `l2_copies`, whose promise
    holds for every vector and every run but 1/poly(r).
    """
    _check(entries, delta)
    return max(1, math.ceil((entries - 1) / (4 * delta**2)))


def _check(entries: int, delta: float = 0.5) -> None:
    if isinstance(entries, bool) or int(entries) != entries or entries < 1:
        raise QupropError(f"a number of entries is whole, 1 or more, got {entries!r}")
    if not 0 < delta < math.inf:
        raise QupropError(f"a precision is a positive number, got {delta}")
