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
from quprop.collective.engines.shapes import Neglected
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, check_tolerance, copy_state
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory

_NEW = 1e-12  # squared part of a direction outside the modes that is worth a mode
_NO_NEWS = 1e-12  # probability of the other outcome below which one moves nothing
# What cumulants in units of the standard deviation do to a distribution function at most (Edgeworth):
_CDF_PER_MEAN = 0.4  # max phi(x)
_CDF_PER_VARIANCE = 0.121  # max |x| phi(x)/2
_CDF_PER_SKEWNESS = 0.0665  # max |x^2 - 1| phi(x)/6
_CDF_PER_SQUARED_SKEWNESS = 0.0323  # max |x^5 - 10 x^3 + 15 x| phi(x)/72
_CDF_PER_KURTOSIS = 0.023  # max |x^3 - 3 x| phi(x)/24


@dataclass(frozen=True)
class GaussianEngine:
    """Means and covariance of the quadratures of at most `modes` fluctuation modes.

    No answer is given of which the error exceeds `tolerance`, as the engine estimates.

    `read` is exact for k to infinity. Threshold checks with Gaussian noise are taken too: their trigger probability is
    that of the Gaussian state, and the state after a pass or a trigger is kept to its first and second moments, which
    are exact if it was Gaussian before. What is forgotten beyond them is part of the error, and large where one answer
    says much about a count: noise well below the standard deviation of the count, and a rare trigger. A check of which
    one outcome has a probability below 1e-12 moves nothing by the other. Exponential noise is refused: its square-root
    instrument has a corner at the threshold, where momentum variances diverge.

    A reading or a check costs 4 (r + 1) 2^n + 8 r^2 operations. Note that a *value* costs disturbance
    k Delta^2/(4 s^2) at every reading; only the one-bit check has the saving that quantum backpropagation (Abbas et
    al., arXiv:2305.13362) needs.
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
        return 5 * 16 * (r + 2) * 2**n + 8 * (5 * (2 * r) ** 2 + 2 * 4 * r * 64)

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
        self._trust(error := self._error(d, variance, noise))
        self.ledger.off(error)
        if d.spread:
            self.filter.read(self._row(d), deviation, noise, self._outside(d), self._wrong(d, variance))
        return self.k * d.mean + mean + deviation

    def _trigger(self, check: Check) -> tuple[float, float]:
        if check.kind != "gaussian":
            raise QupropError(
                "the gaussian engine takes checks with Gaussian noise, got exponential noise; use the bosonic engine"
            )
        d = self.modes.direction(check.event)
        mean, variance = self._moments(d)
        z = (self.k * (d.mean - check.threshold) + mean) / math.sqrt(variance + check.noise**2)
        return float(special.ndtr(z)), self._error(d, variance, check.noise)

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        if (1 - probability if triggered else probability) < _NO_NEWS:
            return
        d = self._grown(self.modes.direction(check.event))
        if not d.spread:
            return
        margin = self.k * (check.threshold - d.mean)
        wrong = self._wrong(d, self._moments(d)[1])
        self.filter.checked(self._row(d), margin, check.noise, self._outside(d), triggered, wrong)

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

    def _wrong(self, d: Direction, width: float) -> Neglected:
        """What the Gaussian state neglects of a count of variance `width`.

        The cumulants of the binomial law, of which the variance changes as its mean moves; an excited copy does not
        answer as the others do, which moves the mean by one count at most; what earlier outcomes made.
        """
        out, skew, spread = self.filter.wrong(self._row(d), width), abs(1 - 2 * d.mean), self.k * d.spread**2
        moved = abs(self.filter.moments(self._row(d))[0])
        excited = self.filter.excitations()
        return Neglected(
            out.mean + excited * max(d.mean, 1 - d.mean),
            out.variance + skew * moved + 2 * excited / self.k * width,
            out.third + spread * skew,
            out.fourth + spread * abs(1 - 6 * d.spread**2),
        )

    def _error(self, d: Direction, width: float, noise: float) -> float:
        """How far the distribution function of a count of variance `width` plus noise is off: what is neglected, in the
        terms of the Edgeworth series, and correlations lost outside the modes."""
        wrong, deviation = self._wrong(d, width), math.sqrt(width + noise**2)
        skewness = wrong.third / deviation**3
        error = _CDF_PER_MEAN * wrong.mean / deviation + _CDF_PER_VARIANCE * wrong.variance / deviation**2
        error += _CDF_PER_SKEWNESS * skewness + _CDF_PER_SQUARED_SKEWNESS * skewness**2
        error += _CDF_PER_KURTOSIS * wrong.fourth / deviation**4
        if len(self.modes) == self.engine.modes:
            error += self._outside(d) / deviation**2
        return min(1.0, error)
