"""How many copies of a state a readout needs: what is proved, and what repeats come out with."""

from __future__ import annotations

import math

from scipy.stats import norm

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


def expected_l2(entries: int, copies: int) -> float:
    """sqrt((r - 1)/(4 C)): the root mean square of ||x - x'||_2 when the r entries are each seen many times.

    The square root of a frequency of p has variance (1 - p)/(4 C), whatever p; it falls sqrt(7 * 36 ln d * 4) = 32
    sqrt(ln d) times below the proved bound.
    """
    _check(entries)
    return math.sqrt((entries - 1) / (4 * copies))


def expected_linf(entries: int, copies: int) -> float:
    """The median of ||x - x'||_inf, that of the largest of r normal errors of standard deviation 1/(2 sqrt(C))."""
    _check(entries)
    return 0.0 if entries == 1 else _largest(entries) / (2 * math.sqrt(copies))


def expected_copies(entries: int, error: float, kind: str = "linf") -> int:
    """The copies with which a readout comes out at `error`, half of the time, by the two formulas above.

    For each of magnitudes and signs; far fewer than are proved to be enough.
    """
    _check(entries, error)
    if kind not in ("l2", "linf"):
        raise QupropError(f"`kind` is 'l2' or 'linf', got {kind!r}")
    if entries == 1:
        return 1
    size = (entries - 1) if kind == "l2" else _largest(entries) ** 2
    return max(1, math.ceil(size / (4 * error**2)))


def shadow_copies(observables: int, error: float, failure: float, trace_of_square: float = 1.0) -> int:
    """Random-Clifford shadows: 2 ln(2 M/f) groups of 34 * 3 tr(O^2)/error^2 snapshots for M expectation values.

    Huang, Kueng and Preskill, arXiv:2002.08953, theorem S1. Magnitudes are |i><i| (tr O^2 = 1), relative signs
    |i><j| + |j><i| (tr O^2 = 2).
    """
    _check(observables, error)
    if not 0 < failure < 1 or not trace_of_square > 0:
        raise QupropError(f"`failure` is in (0, 1) and `trace_of_square` positive, got {failure} and {trace_of_square}")
    return math.ceil(2 * math.log(2 * observables / failure)) * math.ceil(34 * 3 * trace_of_square / error**2)


def _largest(entries: int) -> float:
    """z with (Pr |g| <= z)^r = 1/2."""
    return float(norm.isf(-math.expm1(-math.log(2) / entries) / 2))


def _check(entries: int, delta: float = 0.5) -> None:
    if isinstance(entries, bool) or int(entries) != entries or entries < 1:
        raise QupropError(f"a number of entries is whole, 1 or more, got {entries!r}")
    if not 0 < delta < math.inf:
        raise QupropError(f"a precision is a positive number, got {delta}")
