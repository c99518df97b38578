"""Interference of two checks on one batch: how the pass of one shifts the trigger probability of another.

For checks i before j on k copies of psi, to second order in the trigger probabilities,

    P_j after the pass of i  =  P_j - Re <f_i f_j> + P_i P_j + O(P^3),

minus the symmetrised covariance of the trigger operators. With v = (E - mu) psi and G_ij = <v_i|v_j> (both vectors
carried to one place of the circuit) it is a function of the complex correlation alone; for lambda = c sqrt(k) it does
not vanish for many copies.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from quprop.collective.check import Check
from quprop.collective.engines import counts
from quprop.errors import QupropError

_DEGREE = 60  # of the polynomials of the count
_NODES = 64  # on the path to the complex correlation


def shift(
    first: Check, second: Check, k: int, means: tuple[float, float], gram: complex, law: str = "binomial"
) -> float:
    """P_second's change by the pass of `first`, for any noise, to second order in P.

        f_j |psi^k> = sum_m c_jm |m excitations along v_j>,    shift = - Re sum_{m >= 1} c_1m c_2m rho^m,
        rho = G_12/(|v_1| |v_2|).

    With the binomial law (`counts.basis`) this is exact at any k to second order in f: up to O(P^3) for exponential
    noise of a standard deviation or more, with a rest that falls slower in P for Gaussian noise, whose f is steeper.
    With the law "normal" it is the central limit.
    """
    coefficients = []
    for check, mean in ((first, means[0]), (second, means[1])):
        if not 0 < mean < 1:
            return 0.0  # every copy answers alike, and no pass moves it
        highest = min(_DEGREE, k) if law == "binomial" else _DEGREE
        s, b = counts.basis(k, mean, highest, law, k * check.threshold)
        coefficients.append((b * check.trigger(s, k)) @ b[0])
    rho = gram / math.sqrt(means[0] * (1 - means[0]) * means[1] * (1 - means[1]))
    size = len(coefficients[0])
    return -float((coefficients[0] * coefficients[1] * rho ** np.arange(size))[1:].sum().real)


def coherent_probability(k: int, mean: float, threshold: float, noise: float) -> float:
    """P = exp(-(tau - k mu)/lambda + k mu (1 - mu)/(2 lambda^2)): exponential noise, central limit, no clipping.

    There f|psi^k> = P times the (unnormalised, vacuum part 1) coherent state of amplitude `coherent_amplitude`.
    """
    return math.exp(-k * (threshold - mean) / noise + k * mean * (1 - mean) / (2 * noise**2))


def coherent_amplitude(k: int, v: np.ndarray, noise: float) -> np.ndarray:
    """sqrt(k) v/lambda, for v = (E - mu) psi (..., 2^n) or its components in a basis of modes."""
    return math.sqrt(k) * np.asarray(v) / noise


def shift_exponential(probabilities: tuple[float, float], k: int, gram: complex, noises: tuple[float, float]) -> float:
    """- P_i P_j (Re exp(k G_ij/(lambda_i lambda_j)) - 1): exponential noise, central limit, no clipping.

    The overlap of the coherent states that f_i and f_j make. Best for lambda of two standard deviations or more and
    thresholds beyond several lambda.
    """
    exponent = k * complex(gram) / (noises[0] * noises[1])
    return -probabilities[0] * probabilities[1] * (np.exp(exponent).real - 1)


def standardised(k: int, mean: float, threshold: float, noise: float) -> float:
    """h = (k mu - tau)/sqrt(k mu (1 - mu) + s^2): with Gaussian noise s, undisturbed P = Phi(h)."""
    return k * (mean - threshold) / math.sqrt(k * mean * (1 - mean) + noise**2)


def shift_gaussian(
    k: int, means: tuple[float, float], thresholds: tuple[float, float], gram: complex, noises: tuple[float, float]
) -> float:
    """Gaussian noise, central limit: the bivariate normal law continued to a complex correlation,

        shift = - Re integral_0^rho phi_2(h_i, h_j; r) dr,
        phi_2(x, y; r) = exp(-(x^2 - 2 r x y + y^2)/(2 (1 - r^2))) / (2 pi sqrt(1 - r^2)),
        rho = k G_ij / sqrt((k Delta_i^2 + s_i^2)(k Delta_j^2 + s_j^2)),

    along the straight path (Plackett's identity; |rho| < 1 whenever s > 0).
    """
    spreads = [k * m * (1 - m) + s**2 for m, s in zip(means, noises, strict=True)]
    rho = k * complex(gram) / math.sqrt(spreads[0] * spreads[1])
    if not abs(rho) < 1:
        raise QupropError(f"the correlation of two noisy counts is below 1 in size, got {abs(rho):.3g}; check `gram`")
    x, y = (standardised(k, m, t, s) for m, t, s in zip(means, thresholds, noises, strict=True))
    nodes, weights = special.roots_legendre(_NODES)
    r = rho * (nodes + 1) / 2
    density = np.exp(-(x * x - 2 * r * x * y + y * y) / (2 * (1 - r * r))) / (2 * np.pi * np.sqrt(1 - r * r))
    return -float((rho / 2 * (weights @ density)).real)
