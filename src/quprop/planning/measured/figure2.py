"""Figure 2 of Abbas et al. (NeurIPS 2023, arXiv:2305.13362): how many parameters a gradient may have in a given time.

The figure's assumptions: n = 100 qubits, 10 us an operation, a primitive of 100 operations T_q = 1 ms, accuracy of
order one, no constants; parameter shift takes M^2 T_q and quantum backpropagation M polylog(M) T_q. Which power of the
logarithm was drawn is not said; three are given here.

With constants (derived, not in the paper), gradient components to `error` with total failure probability `failure`:

    parameter shift           8 M ln(2 M / failure) / error^2 runs of M primitives
    quantum backpropagation   355 n ln(8 M)^2 / error^4 copies of M primitives

The first is Hoeffding with a union bound for dF/dtheta in [-2, 2] of rotations exp(-i theta P). The second is the worst
case of online shadow tomography in layer order (theorem 9): (n ln 2 / 2) / (error/8)^2 updates of the hypothesis, and
for each a batch of (1/4) ln(8 M)^2 / (error/8)^2 copies, in which 2 M threshold checks with exponential noise trigger
falsely with probability 1/4. The updates seen in simulations are an order of magnitude fewer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq

from quprop.errors import QupropError

T_Q = 1e-3  # seconds a primitive: 100 operations of 10 us
TIMES: dict[str, float] = {
    "1 s": 1.0,
    "1 min": 60.0,
    "1 h": 3600.0,
    "1 day": 86400.0,
    "1 week": 604800.0,
    "30 days": 30 * 86400.0,
    "1 year": 365.25 * 86400.0,
}
Law = Callable[[float], float]  # primitives for M parameters

LAWS: dict[str, Law] = {
    "M²": lambda m: m * m,
    "M ln M": lambda m: m * math.log(m),
    "M ln² M": lambda m: m * math.log(m) ** 2,
    "M log2² M": lambda m: m * math.log2(m) ** 2,
}


@dataclass(frozen=True)
class Constants:
    """The constants in front, and the accuracy they are for."""

    qubits: int = 100
    error: float = 0.1
    failure: float = 0.01

    def __post_init__(self) -> None:
        if not (isinstance(self.qubits, int) and self.qubits >= 1 and self.error > 0 and 0 < self.failure < 1):
            raise QupropError(
                f"constants need qubits >= 1, error > 0 and 0 < failure < 1, got {self.qubits!r}, {self.error!r} and "
                f"{self.failure!r}"
            )

    def parameter_shift(self, m: float) -> float:
        return m * 8 * m * math.log(2 * m / self.failure) / self.error**2

    def backpropagation(self, m: float) -> float:
        return m * 355 * self.qubits * math.log(8 * m) ** 2 / self.error**4

    def break_even(self) -> float:
        """M beyond which quantum backpropagation is the cheaper of the two."""
        return _solve(lambda m: self.parameter_shift(m) / self.backpropagation(m), 1.0)

    @property
    def laws(self) -> dict[str, Law]:
        return {"parameter shift": self.parameter_shift, "quantum backpropagation": self.backpropagation}


def reach(seconds: float, law: Law, primitive_seconds: float = T_Q) -> float:
    """The M at which law(M) primitives take that many seconds."""
    if not (seconds > 0 and primitive_seconds > 0):
        raise QupropError(f"times must be positive, got {seconds!r} and {primitive_seconds!r}")
    return _solve(law, seconds / primitive_seconds)


def table(constants: Constants | None = None) -> dict[str, dict[str, float]]:
    """M reachable, by time and law; with constants also the two honest laws, below one parameter as 0."""
    laws = LAWS | ({} if constants is None else {f"{k}, with constants": v for k, v in constants.laws.items()})
    return {time: {name: reach(seconds, law) for name, law in laws.items()} for time, seconds in TIMES.items()}


def _solve(law: Law, wanted: float) -> float:
    """M >= 1 with law(M) = wanted, for a law that grows; 0 if it exceeds `wanted` at M = 1 already."""
    low, high = 1.0 + 1e-9, 1e30
    if law(low) >= wanted:
        return 0.0
    return math.exp(brentq(lambda u: math.log(law(math.exp(u)) / wanted), math.log(low), math.log(high), xtol=1e-12))
