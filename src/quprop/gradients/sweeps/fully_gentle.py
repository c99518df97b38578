"""The purely gentle strategy, which Theorem 13 of Abbas et al., arXiv:2305.13362, says must fail: the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from quprop.gradients.sweeps.gentle_sweep import GentleBudget, Readings


@dataclass(frozen=True, kw_only=True)
class FullyGentle(GentleBudget):
    """A sweep of readings each of which must leave the copies alpha-close to where they were, alpha ~ 1/M.

    As `GentleSweep`, but what later readings may be off by is bounded as one does with the trace distance alone: D
    readings that each move k copies by alpha move every mean <Q> by 2 D alpha at most. So alpha = eps/(4 D) for half of
    the error, and a reading of k copies with pointer s, which moves them by sqrt(k)/(4 s) at most, has s = sqrt(k)/(4
    alpha): its pointer noise 2 s/k = 1/(2 alpha sqrt(k)) is half of the error only with

        k = (1 + 1/(4 alpha^2)) (2 z/eps)^2 = (1 + 4 D^2/eps^2) (2 z/eps)^2 copies,   z^2 = 2 ln(2 D/failure),

    about M^2 log M/eps^4 copies and M^3 rotations: worse than measuring every component by itself. It is no fault of
    the pointer: alpha-gentle tests of any efficient observable with polylog(1/alpha) copies would break Grover's bound
    (Theorem 13), and k ~ 1/(eps^2 alpha^2) is what is known to suffice. The way out is either to count kicks as the
    random walk they are (`GentleSweep`, sqrt(M)) or not to read values at all (`QuantumBackprop`, log^2 M).

    batches, engine, bond_dimension: as in `GentleSweep`. `precision` puts z = 1. The estimate is as good as
    claimed, and far better than it had to be: the true drift is a random walk.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.FullyGentle(max_error=0.2), rng=0))  # -sin(theta) = -0.5
    [-0.5014 ± 0.03] for 1.07e+05 copies, 1 run, 1.07e+05 rotations, 1.07e+05 Toffolis, depth 289, 3.21e+05 qubits
    """

    name: ClassVar[str] = "fully_gentle"
    copies: ClassVar[str] = "many"
    unbiased: ClassVar[bool] = False
    checked_at: ClassVar[float] = 1.0
    batches: int = 1
    engine: Any = "auto"
    bond_dimension: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sweep()

    def readings(self, components: int, scale: float) -> Readings:
        D, b = components, self.batches
        z = 1.0
        if self.precision is not None:
            eps = float(self.precision) / scale
        elif self.max_error is not None:
            eps, z = self.max_error / scale, math.sqrt(2 * math.log(2 * D / self.failure))
        else:  # k b = 4/eps^2 + 16 D^2/eps^4, a quadratic in 1/eps^2
            given = self.shots if self.shots is not None else self.total_shots
            assert given is not None
            eps = math.sqrt(8 * D**2 / (math.sqrt(1 + 4 * D**2 * given) - 1))
        k = math.ceil((1 + 4 * (D / eps) ** 2) * (2 * z / eps) ** 2 * (1 - 1e-12))
        noise = math.sqrt(k / b) * D / eps
        return Readings(k, noise, eps / 2 / z, eps / 2)
