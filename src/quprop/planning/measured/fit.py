"""Exponents: ordinary least squares on log-log paper, with Student's interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from quprop.errors import QupropError


@dataclass(frozen=True)
class Exponent:
    """y = scale * x^value over `points` points; [low, high] holds the exponent with probability `confidence`, if the
    logarithms scatter normally and evenly about the line."""

    value: float
    low: float
    high: float
    scale: float
    points: int
    confidence: float = 0.95

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def __contains__(self, exponent: float) -> bool:
        return self.low <= exponent <= self.high

    def __call__(self, x: float) -> float:
        return self.scale * x**self.value

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.half_width:.3f}"


def fit_exponent(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Exponent:
    """The slope of log y against log x with its t interval of n - 2 degrees of freedom; three points at least."""
    u, v = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    if u.shape != v.shape or u.ndim != 1 or len(u) < 3 or len(np.unique(u)) < 2 or not np.isfinite([u, v]).all():
        raise QupropError(
            f"an exponent needs three points or more, positive and at two sizes or more, got {len(np.atleast_1d(x))}"
        )
    centred = u - u.mean()
    square = centred @ centred
    slope = float(centred @ v / square)
    offset = float(v.mean() - slope * u.mean())
    rest = v - offset - slope * u
    error = math.sqrt(float(rest @ rest) / (len(u) - 2) / square)
    half = float(student.ppf((1 + confidence) / 2, len(u) - 2)) * error
    return Exponent(slope, slope - half, slope + half, math.exp(offset), len(u), confidence)
