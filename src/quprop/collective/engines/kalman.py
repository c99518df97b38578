"""Gaussian readings of counts in the quantum central limit: the Kalman filter with back-action.

A reading of S = k mu + sqrt(k) X with Kraus operators proportional to exp(-(y - S)^2/(4 s^2)) keeps Gaussian states
Gaussian. Two forms of the same filter:

* modes: means m and covariance V of 2r quadratures R = (x_1..x_r, p_1..p_r), x = b + b^dagger, p = i(b^dagger - b),
  [R_a, R_b] = 2i Omega_ab, vacuum V = 1. An observable is a row c, S = k mu + c . R. A reading y:

      y ~ N(k mu + c.m, c V c^T + s^2),   K = V c^T/(c V c^T + s^2),
      m <- m + K (y - k mu - c.m),   V <- V - K c V + (Omega c)(Omega c)^T/s^2;

* observables: means of all S_i and their covariance C, from C = k Re G with G_ij = <v_i|v_j>, v = (E - mu) psi:

      mean <- mean + C_:j (y - mean_j)/(C_jj + s^2),
      C <- C - C_:j C_j:/(C_jj + s^2) + kappa kappa^T,   kappa_i = k Im G_ij/s.

The last term of V and of C is the kick that the reading gives to what does not commute with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.polynomial import hermite_e
from scipy import special

from quprop.collective.event import Event
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate.vectors import rotate

_NODES = 80  # of the Gauss-Hermite rule for a pass


class QuadratureFilter:
    """The form in modes; starts in the vacuum of no modes, `grow` adds empty ones."""

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


class ObservableFilter:
    """The form in observables: predicted means (M,) and covariance (M, M) of the counts of M events.

    `means` are mu_i, `gram` the complex G_ij of `gram_matrix`, k the copies. One reading costs M^2 operations; G never
    changes. Memory 40 M^2 bytes.
    """

    def __init__(self, means: np.ndarray, gram: np.ndarray, k: int) -> None:
        means, gram = np.asarray(means, float), np.asarray(gram, complex)
        if means.ndim != 1 or gram.shape != (len(means),) * 2:
            raise QupropError(
                f"`means` (M,) and `gram` (M, M) belong together, got shapes {means.shape} and {gram.shape}"
            )
        if k < 1:
            raise QupropError(f"`k`, the number of copies, must be 1 or more, got {k}")
        self.k = k
        self.mean = k * means
        self.covariance = k * gram.real
        self._commutator = k * gram.imag

    def predict(self, j: int, noise: float) -> tuple[float, float]:
        """Mean and variance of the next reading of S_j."""
        return float(self.mean[j]), float(self.covariance[j, j]) + noise**2

    def update(self, j: int, y: float, noise: float) -> None:
        """S_j was read as y."""
        column = self.covariance[:, j].copy()
        variance = column[j] + noise**2
        self.mean += column * ((y - self.mean[j]) / variance)
        kick = self._commutator[:, j] / noise
        self.covariance += np.outer(kick, kick) - np.outer(column, column) / variance

    def read(self, j: int, noise: float, rng: np.random.Generator) -> float:
        """Draws a reading of S_j and takes it in."""
        mean, variance = self.predict(j, noise)
        y = mean + math.sqrt(variance) * float(rng.standard_normal())
        self.update(j, y, noise)
        return y


def gram_matrix(
    state: np.ndarray, program: Iterable[Event | tuple[PauliString, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """mu_j (M,) and G_ij = <v_i|v_j> (M, M) of the events of a sweep, each v carried to where the last one stands.

    `program` lists events and rotations (pauli, angle) in the order they happen to the copies; exp(-i angle P/2) as
    everywhere. Holds M vectors and rotates all of them: M^2 2^n operations for M events a rotation apart.
    """
    psi = np.asarray(state, complex)
    means: list[float] = []
    vectors = np.zeros((0, len(psi)), complex)
    for step in program:
        if isinstance(step, Event):
            accepted = step.apply(psi)
            means.append(float(np.vdot(psi, accepted).real))
            vectors = np.concatenate([vectors, (accepted - means[-1] * psi)[None]])
        else:
            pauli, angle = step
            psi = rotate(pauli, angle, psi)
            vectors = rotate(pauli, angle, vectors)
    return np.array(means), vectors.conj() @ vectors.T


def reading_covariance(k: int, gram: np.ndarray, noise: float) -> np.ndarray:
    """Covariance of the readings y_1..y_M of M counts, one after another, none looked at before the end:

    Cov(y_i, y_j) = k Re G_ij + s^2 delta_ij + sum_{l < min(i, j)} (k Im G_il)(k Im G_jl)/s^2.
    """
    kicks = np.triu(k * gram.imag, 1).T / noise  # [i, l], zero unless l < i
    return k * gram.real + noise**2 * np.eye(len(gram)) + kicks @ kicks.T


def _row(c: np.ndarray) -> np.ndarray:
    return np.stack([c.real, c.imag])


def _kick(row: np.ndarray) -> np.ndarray:
    """Omega c: what the quadratures do under exp(i X), [x, p] = 2i."""
    return np.stack([row[1], -row[0]])
