"""Gaussian readings of counts in the quantum central limit: the Kalman filter with back-action.

A reading of S = k mu + sqrt(k) X with Kraus operators proportional to exp(-(y - S)^2/(4 s^2)) keeps Gaussian states
Gaussian: means m and covariance V of 2r quadratures R = (x_1..x_r, p_1..p_r), x = b + b^dagger, p = i(b^dagger - b),
[R_a, R_b] = 2i Omega_ab, vacuum V = 1. An observable is a row c, S = k mu + c . R. A reading y:

    y ~ N(k mu + c.m, c V c^T + s^2),   K = V c^T/(c V c^T + s^2),
    m <- m + K (y - k mu - c.m),   V <- V - K c V + (Omega c)(Omega c)^T/s^2.

The last term of V is the kick that the reading gives to what does not commute with it. A check does the same to first
and second moments, and leaves the Gaussian states (`shapes.py`).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas

from quprop.collective.engines.shapes import Neglected, Posterior, Shapes

_ROOM = 8  # modes there is room for at first


class QuadratureFilter:
    """Starts in the vacuum of no modes, `grow` adds empty ones.

    There is room for more modes than there are, in vacuum, so that one more is only counted; the room doubles when it
    is used up. Arrays are flat, (2 room,) and (2 room, 2 room), x first, and changed in place.
    """

    def __init__(self) -> None:
        self.modes = 0
        self._room = _ROOM
        self.mean = np.zeros(2 * _ROOM)
        self.covariance = np.eye(2 * _ROOM)
        self.shapes = Shapes(2 * _ROOM)

    def grow(self) -> None:
        self.modes += 1
        if self.modes <= self._room:
            return
        old, self._room = self._room, 2 * self._room
        places = np.arange(2 * old) + np.repeat([0, self._room - old], old)
        mean, covariance = np.zeros(2 * self._room), np.eye(2 * self._room)
        mean[places] = self.mean
        covariance[np.ix_(places, places)] = self.covariance
        self.mean, self.covariance = mean, covariance
        self.shapes.spread_out(places, 2 * self._room)

    def moments(self, c: np.ndarray) -> tuple[float, float]:
        """Mean and variance of b^dagger(c) + b(c), complex c (r,)."""
        row = self._row(c)
        return float(row @ self.mean), float(row @ (self.covariance @ row))

    def excitations(self) -> float:
        """Mean number of excited copies: sum of (x^2 + p^2 - 2)/4."""
        total = float(np.trace(self.covariance) - 2 * self._room + self.mean @ self.mean)
        return max(0.0, total) / 4

    def wrong(self, c: np.ndarray, width: float) -> Neglected:
        """What earlier outcomes have made, along c of variance `width`, that the moments do not hold."""
        return self.shapes.along(self._row(c), width)

    def read(self, c: np.ndarray, deviation: float, noise: float, extra: float, wrong: Neglected | None = None) -> None:
        """A reading that came out `deviation` above c.m; `extra` is variance of the count outside the modes."""
        row = self._row(c)
        column = self.covariance @ row
        width = float(row @ column) + extra
        self._update(row, column, width, Posterior.reading(deviation, width, noise), noise, wrong)

    def checked(
        self, c: np.ndarray, margin: float, noise: float, extra: float, triggered: bool, wrong: Neglected | None = None
    ) -> None:
        """The state after sqrt(f) or sqrt(1 - f) acted, f = Phi((X - margin)/noise), to first and second moments.

        X is along c. With g the Kraus function, x = X - c.m normal of variance w, and expectations E_g weighted by g^2:
            m <- m + V c E_g[x]/w,
            V <- V - V c (V c)^T (1 - Var_g(x)/w)/w + 2 (Omega c)(Omega c)^T E_g[-(ln g)''],
        exact for the moments; the shape beyond them is forgotten (assumed-density filtering), and kept account of.
        """
        row = self._row(c)
        column = self.covariance @ row
        width = float(row @ column) + extra
        outcome = Posterior.check(float(row @ self.mean) - margin, width, noise, triggered)
        self._update(row, column, width, outcome, noise, wrong)

    def _update(
        self,
        row: np.ndarray,
        column: np.ndarray,
        width: float,
        outcome: Posterior,
        noise: float,
        wrong: Neglected | None,
    ) -> None:
        gain = (1 - outcome.variance / width) / width
        self.mean += (outcome.mean / width) * column
        self.shapes.narrow(row, gain * column)
        kick = _kick(row)
        if wrong is not None:
            self.shapes.add(outcome, wrong, column / width, kick, width, noise)
        pair = np.stack([column, kick])
        # In place: V is symmetric, and BLAS sees its transpose as its own column-major order.
        blas.dgemm(1.0, pair.T, pair * [[-gain], [outcome.kick]], beta=1.0, c=self.covariance.T, overwrite_c=1)

    def _row(self, c: np.ndarray) -> np.ndarray:
        row = np.zeros((2, self._room))
        row[0, : len(c)], row[1, : len(c)] = c.real, c.imag
        return row.ravel()


def _kick(row: np.ndarray) -> np.ndarray:
    """Omega c: what the quadratures do under exp(i X), [x, p] = 2i."""
    x, p = row.reshape(2, -1)
    return np.concatenate([p, -x])
