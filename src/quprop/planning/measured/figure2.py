"""Figure 2 of Abbas et al. (NeurIPS 2023, arXiv:2305.13362): how many parameters a gradient may have in a given time.

The figure's assumptions: n = 100 qubits, 10 us an operation, a primitive of 100 operations T_q = 1 ms, accuracy of
order one, no constants; parameter shift takes M^2 T_q and quantum backpropagation M polylog(M) T_q. Which power of the
logarithm was drawn is not said; three are given here.

With constants (derived, not in the paper), gradient components to `error` with total failure probability `failure`:

    parameter shift               8 M ln(2 M / failure) / error^2 runs of M primitives
    the theorem's worst case      355 n ln(8 M)^2 / error^4 copies of M primitives
    two batches                   2 k copies of at most 2 M primitives each, k ~ sqrt(T) ln(8 M) / (error/4)^2; and the
                                  Toffolis of all checks and readings, a tenth of a primitive each

The first is Hoeffding with a union bound for dF/dtheta in [-2, 2] of rotations exp(-i theta P). The second is the worst
case of online shadow tomography in layer order (theorem 9): (n ln 2 / 2) / (error/8)^2 updates of the hypothesis, and
for each a batch of (1/4) ln(8 M)^2 / (error/8)^2 copies, in which 2 M threshold checks with exponential noise trigger
falsely with probability 1/4. The third is what `QuantumBackprop` plans for (`gradients/sweeps/sweep_design.py`):
batches that are read where they trigger and go on, for T = 26 + n readings each. That two of them are enough is
what simulations of small systems count, not a theorem.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq

from quprop.errors import QupropError
from quprop.gradients import QuantumBackprop
from quprop.gradients.sweeps.sweep_design import SweepDesign, readings_for
from quprop.hardware_models import PRESETS

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
SHIFT, WORST, TWO = "parameter shift", "quantum backpropagation", "quantum backpropagation, two batches"
NAMES = {  # of the laws with constants, for readers
    SHIFT: "parameter shift",
    WORST: "quantum backpropagation, the theorem's worst case",
    TWO: "quantum backpropagation, two batches read where they trigger",
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

    def two_batches(self, m: float) -> float:
        count, qubits = math.ceil(m), self.qubits + 1
        reach = self.error / 4  # of a probability, since dF/dtheta = 2 <Q> = 2 (2 p - 1)
        design = SweepDesign(reach, count, qubits, readings_for(qubits, count), QuantumBackprop.batches, self.failure)
        return PRESETS["figure2"].seconds(design.cost(count, 0)) / T_Q

    def break_even(self, law: str = WORST) -> float:
        """M beyond which quantum backpropagation, by one of its two laws, is cheaper than parameter shift."""
        return _solve(lambda m: self.parameter_shift(m) / self.laws[law](m), 1.0)

    @property
    def laws(self) -> dict[str, Law]:
        return {SHIFT: self.parameter_shift, WORST: self.backpropagation, TWO: self.two_batches}


def reach(seconds: float, law: Law, primitive_seconds: float = T_Q) -> float:
    """The M at which law(M) primitives take that many seconds."""
    if not (seconds > 0 and primitive_seconds > 0):
        raise QupropError(f"times must be positive, got {seconds!r} and {primitive_seconds!r}")
    return _solve(law, seconds / primitive_seconds)


def table(constants: Constants | None = None) -> dict[str, dict[str, float]]:
    """M reachable, by time and law; with constants also the honest laws, below one parameter as 0."""
    laws = LAWS | ({} if constants is None else {f"{k}, with constants": v for k, v in constants.laws.items()})
    return {time: {name: reach(seconds, law) for name, law in laws.items()} for time, seconds in TIMES.items()}


def _solve(law: Law, wanted: float) -> float:
    """M >= 1 with law(M) = wanted, for a law that grows; 0 if it exceeds `wanted` at M = 1 already."""
    low, high = 1.0 + 1e-9, 1e30
    if law(low) >= wanted:
        return 0.0
    return math.exp(brentq(lambda u: math.log(law(math.exp(u)) / wanted), math.log(low), math.log(high), xtol=1e-12))
