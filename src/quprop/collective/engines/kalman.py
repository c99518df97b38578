"""Gaussian readings of counts in the quantum central limit: the Kalman filter with back-action.

A reading of S = k mu + sqrt(k) X with Kraus operators proportional to exp(-(y - S)^2/(4 s^2)) keeps Gaussian states
Gaussian: means m and covariance V of 2r quadratures R = (x_1..x_r, p_1..p_r), x = b + b^dagger, p = i(b^dagger - b),
[R_a, R_b] = 2i Omega_ab, vacuum V = 1. An observable is a row c, S = k mu + c . R. A reading y:

    y ~ N(k mu + c.m, c V c^T + s^2),   K = V c^T/(c V c^T + s^2),
    m <- m + K (y - k mu - c.m),   V <- V - K c V + (Omega c)(Omega c)^T/s^2.

The last term of V is the kick that the reading gives to what does not commute with it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import hermite_e
from scipy import special

_NODES = 80  # of the Gauss-Hermite rule for a pass


class QuadratureFilter:
    """Starts in the vacuum of no modes, `grow` adds empty ones."""

    def __init__(self) -> None:
        self.mean = np.zeros((2, 0))  # (x and p, mode)
        self.covariance = np.zeros((2, 0, 2, 0))

    @property
    def modes(self) -> int:
        return self.mean.shape[1]

    def grow(self) -> None:
        r = self.modes
        mean, covariance = np.zeros((2, r + 1)), np.zeros((2, r + 1, 2, r + 1))
        mean[:, :r] = self.mean
        covariance[:, :r, :, :r] = self.covariance
        covariance[0, r, 0, r] = covariance[1, r, 1, r] = 1.0
        self.mean, self.covariance = mean, covariance

    def moments(self, c: np.ndarray) -> tuple[float, float]:
        """Mean and variance of b^dagger(c) + b(c), complex c (r,)."""
        row = _row(c)
        return float(np.sum(row * self.mean)), float(np.einsum("ab,abcd,cd", row, self.covariance, row))

    def excitations(self) -> float:
        """Mean number of excited copies: sum of (x^2 + p^2 - 2)/4."""
        total = np.einsum("abab->", self.covariance) + np.sum(self.mean**2)
        return float(max(0.0, total - 2 * self.modes) / 4)

    def read(self, c: np.ndarray, deviation: float, noise: float, extra: float) -> None:
        """A reading that came out `deviation` above c.m; `extra` is variance of the count outside the modes."""
        row = _row(c)
        column = np.einsum("abcd,cd->ab", self.covariance, row)
        variance = float(np.sum(row * column)) + extra + noise**2
        self.mean = self.mean + column * (deviation / variance)
        kick = _kick(row)
        self.covariance = (
            self.covariance - np.multiply.outer(column, column) / variance + np.multiply.outer(kick, kick) / noise**2
        )

    def passed(self, c: np.ndarray, margin: float, noise: float, extra: float) -> None:
        """The state after sqrt(1 - Phi((X - margin)/noise)) acted, X along c, kept to first and second moments.

        With g the Kraus function, x = X - c.m normal of variance w, and expectations E_g weighted by g^2:
            m <- m + V c E_g[x]/w,
            V <- V - V c (V c)^T (1 - Var_g(x)/w)/w + 2 (Omega c)(Omega c)^T E_g[-(ln g)''],
        exact for the moments; the shape beyond them is forgotten (assumed-density filtering).
        """
        row = _row(c)
        column = np.einsum("abcd,cd->ab", self.covariance, row)
        width = float(np.sum(row * column)) + extra
        mean = float(np.sum(row * self.mean))
        nodes, weights = hermite_e.hermegauss(_NODES)
        x = math.sqrt(width) * nodes
        z = (x + mean - margin) / noise
        log_pass = special.log_ndtr(-z)
        weights = weights * np.exp(log_pass)
        weights /= weights.sum()
        hazard = np.exp(-(z**2) / 2 - log_pass) / math.sqrt(2 * math.pi)  # -d ln(1 - f)/dz
        # ln g = ln(1 - f)/2, and the derivative of the hazard is hazard (hazard - z)
        kick_size = float(weights @ (hazard * (hazard - z))) / noise**2
        first = float(weights @ x)
        second = float(weights @ (x - first) ** 2)
        kick = _kick(row)
        self.mean = self.mean + column * (first / width)
        self.covariance = (
            self.covariance
            - np.multiply.outer(column, column) * ((1 - second / width) / width)
            + np.multiply.outer(kick, kick) * kick_size
        )


def _row(c: np.ndarray) -> np.ndarray:
    return np.stack([c.real, c.imag])


def _kick(row: np.ndarray) -> np.ndarray:
    """Omega c: what the quadratures do under exp(i X), [x, p] = 2i."""
    return np.stack([row[1], -row[0]])
