"""How many copies of a state are proved to be enough for a readout."""

from __future__ import annotations

import math

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


def _check(entries: int, delta: float = 0.5) -> None:
    if isinstance(entries, bool) or int(entries) != entries or entries < 1:
        raise QupropError(f"a number of entries is whole, 1 or more, got {entries!r}")
    if not 0 < delta < math.inf:
        raise QupropError(f"a precision is a positive number, got {delta}")
