"""Odd polynomials close to 1/x on [1/kappa, 1]: what a quantum linear-system solver applies to singular values.

Both are kept as coefficients of the odd Chebyshev polynomials, p(x) = sum_j c_j T_{2j+1}(x); degree = queries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.fft import dct
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from quprop.carleman.system.linear_system import Encoding, check_precision
from quprop.errors import QupropError

_LARGEST_DEGREE = 20_000_000  # coefficients of more would not fit where the vectors are to fit too
_OVERSAMPLED = 8  # points per zero of the polynomial on which its extremes are read


@dataclass(frozen=True, eq=False)
class InversePolynomial:
    """p(x) = sum_j c_j T_{2j+1}(x), made for |x p(x) - 1| <= eps on [1/kappa, 1]."""

    coefficients: np.ndarray
    kappa: float
    eps: float

    @property
    def degree(self) -> int:
        return 2 * len(self.coefficients) - 1

    def __call__(self, x: np.ndarray) -> np.ndarray:
        full = np.zeros(self.degree + 1)
        full[1::2] = self.coefficients
        return np.polynomial.chebyshev.chebval(x, full)

    @cached_property
    def _sampled(self) -> tuple[np.ndarray, np.ndarray]:
        """Points cos(pi (k+1/2)/n) in (0, 1) and the values there, through one cosine transform."""
        n = _OVERSAMPLED * (self.degree + 1)
        padded = np.zeros(n)
        padded[1 : self.degree + 1 : 2] = self.coefficients
        half = n // 2
        return np.cos(np.pi * (np.arange(half) + 0.5) / n), dct(padded, type=3)[:half] / 2

    @cached_property
    def peak(self) -> float:
        """max |p| on [-1, 1], rounded upwards: quantum singular-value transformation applies p/peak, never above 1.

        Between samples |p| exceeds the largest by a factor 1/cos(pi degree/(2n)) at most (Ehlich and Zeller, Math. Z.
        86, 41 (1964)), so only samples that large can stand beside the maximum; a search between its neighbours ends
        it. p(1) is a sample of its own.
        """
        x, p = self._sampled
        grid, height = np.append(1.0, x), np.abs(np.append(self.coefficients.sum(), p))
        angle = np.arccos(grid)
        least = height.max() * math.cos(np.pi * self.degree / (4 * len(x)))
        higher = (height >= np.append(height[1:2], height[:-1])) & (height >= np.append(height[1:], 0.0))
        best = height.max()
        for k in np.flatnonzero(higher & (height >= least)):
            around = angle[max(k - 1, 0)], angle[min(k + 1, len(angle) - 1)]
            found = minimize_scalar(lambda a: -abs(self(np.cos(a))), bounds=around, options={"xatol": 1e-9 / len(x)})
            best = max(best, -found.fun)
        return float(best * (1 + 1e-12))

    @cached_property
    def weight(self) -> float:
        """sum_j |c_j|: a linear combination of Chebyshev walks applies p/weight."""
        return float(np.abs(self.coefficients).sum())

    @cached_property
    def error(self) -> float:
        """max |x p(x) - 1| on [1/kappa, 1], measured."""
        x, p = self._sampled
        inside = np.append(x[x >= 1 / self.kappa], [1 / self.kappa, 1.0])
        values = np.append(p[x >= 1 / self.kappa], self(np.array([1 / self.kappa, 1.0])))
        return float(np.abs(inside * values - 1).max())

    def apply(self, encoding: Encoding, vector: np.ndarray) -> np.ndarray:
        """p of the singular values of B = A/alpha: sum_i p(s_i) |right_i><left_i| applied to a vector.

        The recursion T_{k+1} = 2x T_k - T_{k-1} on the Hermitian dilation [[0, B], [B†, 0]], which alternates between
        the two halves: `degree` products, three vectors.
        """
        even = vector
        odd = encoding.adjoint(vector)
        total = self.coefficients[0] * odd
        for c in self.coefficients[1:]:
            even = 2 * encoding.apply(odd) - even
            odd = 2 * encoding.adjoint(even) - odd
            total += c * odd
        return total


def optimal_terms(kappa: float, eps: float) -> int:
    """t = ceil(arccosh(1/eps) / arccosh((kappa^2+1)/(kappa^2-1))) odd terms, degree 2t - 1."""
    check_precision(kappa, eps)
    if kappa == 1:
        return 1  # A/alpha is unitary: p(x) = x inverts it
    # arccosh((k^2+1)/(k^2-1)) = 2 artanh(1/k)
    return max(1, math.ceil(math.acosh(1 / eps) / (2 * math.atanh(1 / kappa))))


@lru_cache(maxsize=8)
def optimal_inverse(kappa: float, eps: float) -> InversePolynomial:
    """The polynomial of least degree with |x p(x) - 1| <= eps on [1/kappa, 1].

        p(x) = (1 - T_t(y(x)) / T_t(y(0))) / x,   y(x) = (1 + kappa^-2 - 2 x^2) / (1 - kappa^-2)

    Chebyshev's semi-iteration on the normal equations (Golub and Varga, Numer. Math. 3, 147 (1961)); as a polynomial
    for quantum solvers, Gribling, Kerenidis and Szilagyi, arXiv:2109.04248.
    """
    t = optimal_terms(kappa, eps)
    if kappa == 1:
        return InversePolynomial(np.ones(1), kappa, eps)
    _check_degree(2 * t - 1)
    n = 2 * t
    x = np.cos(np.pi * (np.arange(t) + 0.5) / n)  # the other half mirrors it, with the other sign
    values = _optimal_values(x, kappa, t)
    coefficients = 2 * dct(np.concatenate([values, -values[::-1]]), type=2)[1::2] / (2 * n)
    return InversePolynomial(coefficients, kappa, eps)


def _optimal_values(x: np.ndarray, kappa: float, t: int) -> np.ndarray:
    """p at points of (0, 1], without cancellation near 0.

    Below 1/kappa, y = cosh(2 artanh u) with u^2 = (kappa^-2 - x^2)/(1 - x^2); differences of artanh are taken exactly.
    """
    u0 = 1 / kappa
    largest = 2 * t * math.atanh(u0)  # T_t(y(0)) = cosh(largest)
    out = np.empty_like(x)
    low = x < u0
    s = x[low] ** 2
    u = np.sqrt((u0**2 - s) / (1 - s))
    difference = s * (1 - u0**2) / ((1 - s) * (u0 + u))  # u0 - u
    lag = 2 * t * np.arctanh(difference / (1 - u * u0))
    tails = np.log1p(np.exp(-2 * (largest - lag))) - math.log1p(math.exp(-2 * largest))
    out[low] = -np.expm1(tails - lag) / x[low]
    y = (1 + u0**2 - 2 * x[~low] ** 2) / (1 - u0**2)
    log_top = largest + math.log1p(math.exp(-2 * largest)) - math.log(2)
    out[~low] = (1 - np.cos(t * np.arccos(np.clip(y, -1, 1))) * math.exp(-log_top)) / x[~low]
    return out


def cks_sizes(kappa: float, eps: float) -> tuple[int, int]:
    """b = ceil(kappa^2 ln(kappa/eps)) and j0 = ceil(sqrt(b ln(4b/eps))); the degree is 2 j0 + 1."""
    check_precision(kappa, eps)
    b = max(1, math.ceil(kappa**2 * math.log(kappa / eps)))
    return b, min(math.ceil(math.sqrt(b * math.log(4 * b / eps))), b - 1) if b > 1 else 0


@lru_cache(maxsize=8)
def cks_inverse(kappa: float, eps: float) -> InversePolynomial:
    """(1 - (1 - x^2)^b)/x in Chebyshev polynomials, cut after j0.

        p(x) = 4 sum_{j=0}^{j0} (-1)^j Pr[Bin(2b, 1/2) >= b+j+1] T_{2j+1}(x)

    Childs, Kothari and Somma, SIAM J. Comput. 46, 1920 (2017), section 4, who bound |p - 1/x| by 2 eps. On
    [1/kappa, 1] the first step costs eps/kappa and the second far less than its bound, so `error` stays below eps.
    """
    b, j0 = cks_sizes(kappa, eps)
    _check_degree(2 * j0 + 1)
    j = np.arange(j0 + 1)
    return InversePolynomial(4 * (1 - 2.0 * (j % 2)) * binom.sf(b + j, 2 * b, 0.5), kappa, eps)


def _check_degree(degree: int) -> None:
    if degree > _LARGEST_DEGREE:
        raise QupropError(
            f"the polynomial would have degree {degree:.3g}, more than the {_LARGEST_DEGREE:.0e} that are computed; "
            "`queries` gives the count alone"
        )
