"""One way to say how much a gradient may cost, or how good it must be, and the shots that follow from it."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.errors import QupropError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Exactly one of four, the same for every method that measures:

    shots        runs of each circuit
    total_shots  runs of all circuits together, allotted to them by the sum of the worst variances they may have
    precision    the standard error wanted of every component (as Qiskit's EstimatorV2 means it), kept in the worst case
    max_error    with `failure`: all components within max_error at once, except with probability `failure`
                 (the max norm of Definition 1 of Abbas et al., arXiv:2305.13362; by Hoeffding and a union bound)

    The last two are kept for every state: the allocation knows the observables' norms and nothing else.
    """

    shots: int | None = None
    total_shots: int | None = None
    precision: float | None = None
    max_error: float | None = None
    failure: float = 0.01

    def __post_init__(self) -> None:
        self._check_budget()

    def _check_budget(self) -> None:
        given = {k: getattr(self, k) for k in ("shots", "total_shots", "precision", "max_error")}
        named = [k for k, v in given.items() if v is not None]
        if len(named) != 1:
            came = " and ".join(f"{k}={given[k]}" for k in named) or "none of them"
            raise QupropError(
                f"{type(self).__name__} takes one of shots=, total_shots=, precision= and max_error=, got {came}"
            )
        for name in ("shots", "total_shots"):
            value = given[name]
            if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1):
                raise QupropError(f"{name} must be a whole number, 1 or more, got {value!r}")
        for name in ("precision", "max_error"):
            value = given[name]
            if value is not None and not (_number(value) and 0 < value < math.inf):
                raise QupropError(f"{name} must be a positive number, got {value!r}")
        if not (_number(self.failure) and 0 < self.failure < 1):
            raise QupropError(f"failure must be a probability between 0 and 1, got {self.failure!r}")

    @property
    def budget(self) -> str:
        """The budget in words, as it was given."""
        for name in ("shots", "total_shots", "precision"):
            value = getattr(self, name)
            if value is not None:
                return f"{name}={value:,}" if name != "precision" else f"precision={value:g}"
        return f"max_error={self.max_error:g}, failure={self.failure:g}"

    def variance_wanted(self, components: int) -> float:
        """The largest variance bound a component's estimate may have, under `precision` or `max_error`.

        A mean of shots in [-b, b] errs by e with probability at most 2 exp(-e^2 / (2 b^2/N)) (Hoeffding), so that all
        of P components keep max_error if b^2/N <= max_error^2 / (2 ln(2 P / failure)).
        """
        if self.precision is not None:
            return float(self.precision) ** 2
        assert self.max_error is not None
        return float(self.max_error) ** 2 / (2 * math.log(2 * max(components, 1) / self.failure))

    def allot(self, bounds: sp.csr_matrix) -> np.ndarray:
        """Shots of each circuit, int64 (R,), from bounds[r, p]: half the range of what circuit r adds to component p.

        total_shots: in proportion to sqrt(sum_p bounds[r, p]^2), which minimises the sum of all variance bounds.
        precision, max_error: n[r] = max_p bounds[r, p] * sum_r' bounds[r', p] / variance, the fewest shots where each
        circuit serves one component.
        """
        circuits = bounds.shape[0]
        if self.shots is not None:
            return np.full(circuits, self.shots, np.int64)
        if self.total_shots is not None:
            weight = np.sqrt(np.asarray(bounds.multiply(bounds).sum(axis=1)).ravel())
            return share(int(self.total_shots), weight)
        if not circuits:
            return np.zeros(0, np.int64)
        variance = self.variance_wanted(bounds.shape[1])
        columns = np.asarray(bounds.sum(axis=0)).ravel()
        needed = np.asarray(bounds.multiply(columns[None, :]).tocsr().max(axis=1).todense()).ravel() / variance
        return np.maximum(1, np.ceil(needed * (1 - 1e-12))).astype(np.int64)


def share(total: int, weight: np.ndarray) -> np.ndarray:
    """`total` shots in proportion to `weight`, whole numbers, one at least for each; the sum is exact."""
    circuits = len(weight)
    if total < circuits:
        raise QupropError(
            f"total_shots={total:,} is less than one shot for each of the {circuits:,} circuits this method runs; "
            f"the smallest that works is {circuits:,}"
        )
    if circuits == 0:
        return np.zeros(0, np.int64)
    size = weight.sum()
    ideal = (total - circuits) * (weight / size if size > 0 else np.full(circuits, 1 / circuits))
    shots = np.floor(ideal).astype(np.int64)
    left = total - circuits - int(shots.sum())
    shots[np.argsort(shots - ideal, kind="stable")[:left]] += 1  # the largest remainders first
    return shots + 1


def _number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
