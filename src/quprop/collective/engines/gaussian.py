"""k copies as a Gaussian state of fluctuation modes: readings of counts by Gaussian pointers, any number of copies.

In the quantum central limit a Gaussian reading keeps Gaussian states Gaussian, so that means and covariances of 2r
quadratures say all (`kalman.py`); the modes are those of `modes.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from quprop.collective.check import Check
from quprop.collective.engines.kalman import QuadratureFilter
from quprop.collective.engines.modes import Direction, Modes
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, check_tolerance, copy_state
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory

_NEW = 1e-12  # squared part of a direction outside the modes that is worth a mode
_CDF_PER_SKEWNESS = 0.0665  # max |x^2 - 1| phi(x)/6, the first Edgeworth term


@dataclass(frozen=True)
class GaussianEngine:
    """Means and covariance of the quadratures of at most `modes` fluctuation modes.

    No answer is given of which the error exceeds `tolerance`, as the engine estimates.

    `read` is exact for k to infinity. Threshold checks with Gaussian noise are taken too: their trigger probability is
    that of the Gaussian state, and the state after a pass is kept to its first and second moments, exact to second
    order in the trigger probability. Exponential noise is refused: its square-root instrument has a corner at the
    threshold, where momentum variances diverge.

    A reading costs (r + 1) 2^n + 4 r^2 operations. Note that a *value* costs disturbance k Delta^2/(4 s^2) at every
    reading; only the one-bit check has the saving that quantum backpropagation (Abbas et al., arXiv:2305.13362) needs.
    """

    modes: int = 1024
    tolerance: float = 0.1

    name: ClassVar[str] = "gaussian"
    exact_for: ClassVar[str] = "Gaussian readings of counts, as k goes to infinity; the error is of order 1/sqrt(k)"

    def __post_init__(self) -> None:
        if self.modes < 1:
            raise QupropError(f"`modes` must be 1 or more, got {self.modes}")
        check_tolerance(self.tolerance)

    def prepare(self, state: np.ndarray, k: int) -> GaussianCopies:
        """k copies of the normalised state (2^n,)."""
        vector, n, k = copy_state(state, k)
        memory.require(
            self.required_bytes(n, k),
            f"the gaussian engine with {self._most_modes(n)} modes of {n} qubits",
            "allow fewer modes (GaussianEngine(modes=32)) or take the mean_field engine",
        )
        return GaussianCopies(self, vector, n, k)

    def required_bytes(self, n: int, k: int) -> int:
        r = self._most_modes(n)
        return 4 * 16 * (r + 1) * 2**n + 4 * 8 * 4 * r**2

    def _most_modes(self, n: int) -> int:
        return self.modes if n > 30 else min(self.modes, 2**n - 1)


class GaussianCopies(Batch):
    """What `GaussianEngine` prepares; `ledger.error` estimates the error in distribution functions of readings."""

    name = "gaussian"

    def __init__(self, engine: GaussianEngine, state: np.ndarray, n: int, k: int) -> None:
        super().__init__(n, k, engine.tolerance)
        self.engine = engine
        self.modes = Modes(state)
        self.filter = QuadratureFilter()

    def predict(self, event: Event, noise: float) -> tuple[float, float]:
        """Mean and variance of a reading of the count of `event` now; nothing is done."""
        self._unspent()
        event.check_fits(self.n)
        d = self.modes.direction(event)
        mean, variance = self._moments(d)
        return self.k * d.mean + mean, variance + noise**2

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        self.modes.rotate(pauli, angle)

    def _mean(self, event: Event) -> float:
        return self.modes.direction(event).mean

    def _read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        d = self._grown(self.modes.direction(event))
        mean, variance = self._moments(d)
        deviation = math.sqrt(variance + noise**2) * float(rng.standard_normal())
        self._trust(error := self._error(d, variance + noise**2))
        self.ledger.off(error)
        if d.spread:
            self.filter.read(self._row(d), deviation, noise, self._outside(d))
        return self.k * d.mean + mean + deviation

    def _trigger(self, check: Check) -> tuple[float, float]:
        if check.kind != "gaussian":
            raise QupropError(
                "the gaussian engine takes checks with Gaussian noise, got exponential noise; use the bosonic engine"
            )
        d = self.modes.direction(check.event)
        mean, variance = self._moments(d)
        z = (self.k * (d.mean - check.threshold) + mean) / math.sqrt(variance + check.noise**2)
        return float(special.ndtr(z)), self._error(d, variance + check.noise**2)

    def _pass(self, check: Check, probability: float) -> None:
        d = self._grown(self.modes.direction(check.event))
        if not d.spread:
            return
        margin = self.k * (check.threshold - d.mean)
        self.filter.passed(self._row(d), margin, check.noise, self._outside(d))

    def _grown(self, d: Direction) -> Direction:
        if d.spread and d.rest_size**2 > _NEW and len(self.modes) < self.engine.modes:
            d = self.modes.add(d)
            self.filter.grow()
        return d

    def _row(self, d: Direction) -> np.ndarray:
        return math.sqrt(self.k) * d.spread * d.components

    def _outside(self, d: Direction) -> float:
        """Variance of the count in directions that are no mode: an empty mode's, afresh at every reading."""
        return self.k * (d.spread * d.rest_size) ** 2

    def _moments(self, d: Direction) -> tuple[float, float]:
        mean, variance = self.filter.moments(self._row(d))
        return mean, variance + self._outside(d)

    def _error(self, d: Direction, variance: float) -> float:
        """Skewness of the binomial law, excited copies out of k, and correlations lost outside the modes."""
        third = self.k * d.mean * (1 - d.mean) * abs(1 - 2 * d.mean)
        error = _CDF_PER_SKEWNESS * third / variance**1.5 + self.filter.excitations() / self.k
        if len(self.modes) == self.engine.modes:
            error += self._outside(d) / variance
        return min(1.0, error)
