"""How far estimates are from the exact gradient beyond their standard errors, where that gradient can be known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, count_of
from quprop.sampling.estimate import Estimate

_ROUNDING = 1e-9  # of errors of components that are known without shots


@dataclass(frozen=True, eq=False)
class Bias:
    """How far an estimate is from the exact gradient beyond its standard errors.

    deviations: (estimate - exact) / stderr of each component; infinite where a component without error is wrong.
    mean_square: mean of (estimate - exact)^2 - stderr^2, unbiased for the mean square of the bias, so it may come out
        below 0; mean_square_error: its standard error, of normal and independent components.
    chi2: mean of deviations^2 over the components with an error; about 1 ± sqrt(2/P) without bias.
    cosine: of the angle between estimate and exact gradient.
    """

    deviations: np.ndarray
    mean_square: float
    mean_square_error: float
    chi2: float
    cosine: float

    @property
    def rms(self) -> float:
        """The root of the mean square, 0 where that is below."""
        return math.sqrt(max(self.mean_square, 0.0))

    @property
    def rms_error(self) -> float:
        """The standard error of `rms`, to first order: s / (2 rms), and sqrt(s) at most, where rms is near 0."""
        s, rms = self.mean_square_error, self.rms
        return min(math.sqrt(s), s / (2 * rms)) if rms else math.sqrt(s)

    def __str__(self) -> str:
        return (
            f"bias {self.rms:.2g} ± {self.rms_error:.1g} (rms of {count_of(self.deviations.size, 'component')}), "
            f"chi^2 per component {self.chi2:.3g}, cosine {self.cosine:.4f}"
        )


def bias(estimate: Estimate, exact: Any) -> Bias:
    """The bias of an estimate, against the exact gradient of a model that can be simulated.

    Raises: QupropError for a gradient of another shape.
    """
    exact = checked("exact", exact, estimate.value.shape).ravel()
    value, sigma = estimate.value.ravel(), estimate.stderr.ravel()
    if not value.size:
        raise QupropError("the bias is that of one component or more, got an estimate of none")
    error = value - exact
    known = np.abs(error) <= _ROUNDING * np.maximum(1.0, np.abs(exact))
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(sigma > 0, error / sigma, np.where(known, 0.0, np.copysign(np.inf, error)))
    square, v = error**2 - sigma**2, sigma**2
    # var(e^2) = 2 v^2 + 4 v beta^2 of e normal with mean beta, and square is unbiased for beta^2; without bias 2 v^2
    spread = 2 * (v @ v) + max(4 * float(v @ square), 0.0)
    sizes = float(np.linalg.norm(value) * np.linalg.norm(exact))
    shot = deviations[sigma > 0]
    return Bias(
        deviations.reshape(estimate.value.shape),
        float(square.mean()),
        math.sqrt(spread) / len(value),
        float((shot**2).mean()) if shot.size else math.nan,
        float(value @ exact) / sizes if sizes else math.nan,
    )
