"""What a chain's gradient costs beside its value: omega as guaranteed and as measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quprop.errors import QupropError, generator_of

if TYPE_CHECKING:
    from quprop.classical.chain import MarkovChain


def hoeffding(bound: float, numbers: int, max_error: float, failure: float) -> int:
    """Samples after which all ``numbers`` means of variables in [-bound, bound] are within max_error, except with
    probability failure: ceil(2 bound^2 ln(2 numbers / failure) / max_error^2), at least 1."""
    if not (math.isfinite(max_error) and max_error > 0):
        raise QupropError(f"max_error must be a positive number, got {max_error!r}")
    if not 0 < failure < 1:
        raise QupropError(f"failure must be a probability between 0 and 1, got {failure!r}")
    if numbers < 1:
        raise QupropError(f"the number of layers must be at least 1, got {numbers!r}")
    return max(1, math.ceil(2 * bound**2 * math.log(2 * numbers / failure) / max_error**2))


def omega(layers: int, max_error: float, failure: float) -> float:
    """COST(gradient) / COST(value) for |o| <= 1, both to max_error with the same probability of failure, as guaranteed.

    M layers a trajectory for both, so it is the ratio of the trajectories: ln(2 M / failure) / ln(2 / failure), up to
    rounding to whole ones: O(log M), whatever the error.
    """
    return hoeffding(1.0, layers, max_error, failure) / hoeffding(1.0, 1, max_error, failure)


@dataclass(frozen=True)
class ChainOmega:
    """What :func:`measure_omega` found; errors are the (1 - failure) quantiles over ``repeats``."""

    layers: int
    trajectories: int
    repeats: int
    failure: float
    value_error: float
    gradient_error: float  # max norm
    mean_max_error: float
    layers_per_trajectory: float  # of the gradient, in units of those of the value
    estimator: str

    @property
    def omega(self) -> float:
        """Errors fall as 1 / sqrt(trajectories): equal errors take (gradient_error / value_error)^2 as many."""
        return (self.gradient_error / self.value_error) ** 2 * self.layers_per_trajectory

    def __str__(self) -> str:
        return (
            f"M = {self.layers}: omega = {self.omega:.2f} ({self.estimator}, {self.trajectories} trajectories, "
            f"{self.repeats} repeats): value to {self.value_error:.3g}, gradient to {self.gradient_error:.3g} in the "
            f"max norm, with probability {1 - self.failure:g}"
        )


def measure_omega(
    chain: MarkovChain,
    theta: Any,
    *,
    trajectories: int,
    repeats: int,
    rng: Any,
    failure: float = 0.1,
    estimator: str = "score",
) -> ChainOmega:
    """omega as it turns out: errors against the exact value and gradient (so n is small) in repeated estimates."""
    generator, repeats = generator_of(rng), at_least(repeats, 2)
    if not 0 < failure < 1:
        raise QupropError(f"failure must be a probability between 0 and 1, got {failure!r}")
    value, gradient = chain.value_exact(theta), chain.gradient_exact(theta)
    found = [
        chain.gradient(theta, trajectories=trajectories, rng=generator, estimator=estimator) for _ in range(repeats)
    ]
    value_errors = [abs(f.value - value) for f in found]
    gradient_errors = [float(np.max(np.abs(f.grad - gradient))) for f in found]
    return ChainOmega(
        chain.n_layers,
        trajectories,
        repeats,
        failure,
        float(np.quantile(value_errors, 1 - failure)),
        float(np.quantile(gradient_errors, 1 - failure)),
        float(np.mean(gradient_errors)),
        chain.layers_executed(1, estimator) / chain.n_layers,
        estimator,
    )


# -- checks -----------------------------------------------------------------------------------------------------------


def at_least(number: Any, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
        raise QupropError(f"the number of trajectories or repeats must be a whole number from {least}, got {number!r}")
    return int(number)
