"""From how many parameters, or steps, would a quantum block pay against plain descent? Formulas only.

    quantum seconds   = copies(r) * 1.38 / sqrt(P) * queries(kappa(T), eps) * rotations a query * seconds a rotation
    classical seconds = T * 6 n m / flops

r survivors are read in the l2 norm at relative precision delta; 6 n m operations are one gradient of m samples. A query
is taken to cost N s log2 n rotations, as if data access were polylogarithmic in n: an assumption in favour of the
quantum computer, like the missing error correction. What decides is how r grows: at fixed density copies grow as r ln
r, as fast as a classical step does, and nothing is ever gained; at fixed r there is a break-even.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from quprop.carleman.block_cost import formula_success, kappa_formula, readout_copies, solver_of
from quprop.carleman.transfer.queries import amplify
from quprop.cost import short
from quprop.errors import QupropError

MOST = 1e30  # parameters up to which a break-even is looked for


@dataclass(frozen=True)
class BreakEven:
    """Assumptions. ``entries`` r, or None: ``density`` n. ``growth`` max |1 - a| (1: neutral). ``success`` P of level 1
    at the last time. ``rotation_seconds`` of one logical rotation, ``flops`` of the classical machine, ``row_entries``
    s of a step matrix."""

    steps: int = 100
    order: int = 3
    precision: float = 1e-2
    eps: float = 1e-3
    samples: int = 1024
    entries: int | None = None
    density: float = 0.1
    growth: float = 1.0
    success: float = 0.3
    solver: str = "kernel_reflection"
    rotation_seconds: float = 1e-6
    flops: float = 1e13
    row_entries: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1 or (self.entries is not None and self.entries < 1):
            raise QupropError(f"density in (0, 1] or entries >= 1 were expected, got {self.density} and {self.entries}")
        for name in ("steps", "order", "samples", "growth", "rotation_seconds", "flops", "row_entries"):
            if not getattr(self, name) > 0:
                raise QupropError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def kappa(self) -> float:
        return min(1e15, kappa_formula(self.growth, self.order, self.steps))

    def copies(self, n: float) -> float:
        r = self.entries if self.entries is not None else math.ceil(self.density * n)
        return float(readout_copies(max(1, int(min(r, n))), self.precision))

    def copy_seconds(self, n: float) -> float:
        """One copy of the solution state, amplified."""
        solver = solver_of(self.solver)
        success = self.success * formula_success(solver, self.kappa)
        rotations = self.order * self.row_entries * max(1.0, math.log2(n))
        return amplify(success).runs * solver.queries(self.kappa, self.eps) * rotations * self.rotation_seconds

    def quantum_seconds(self, n: float) -> float:
        return self.copies(n) * self.copy_seconds(n)

    def classical_seconds(self, n: float) -> float:
        return self.steps * 6 * n * self.samples / self.flops

    def ratio(self, n: float) -> float:
        """Quantum over classical seconds."""
        return self.quantum_seconds(n) / self.classical_seconds(n)

    def parameters(self) -> float | None:
        """The n from which on the block pays, None if no n up to 10^30 does. Found by doubling and bisection."""
        low, high = 2.0, 4.0
        if self.ratio(low) <= 1:
            return low
        while self.ratio(high) > 1:
            low, high = high, 2 * high
            if high > MOST:
                return None
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.ratio(middle) > 1 else (low, middle)
        return high

    def step_exponent(self) -> float:
        """d ln(quantum/classical) / d ln T: 0 where the advantage does not depend on T, above 0 where it shrinks."""
        longer = replace(self, steps=2 * self.steps)
        return math.log2(longer.copy_seconds(1e6) / self.copy_seconds(1e6)) - 1

    def sentence(self, n: float) -> str:
        ratio, even = self.ratio(n), self.parameters()
        text = (
            f"By formula a block of {self.steps} steps of {short(n)} parameters takes {ratio:.3g} times as long as "
            "plain descent"
        )
        if even is None:
            return text + " and no number of parameters changes that: copies grow as fast as the network"
        return text + f"; from {even:.2g} parameters with no more entries than that it would pay"

    def to_json(self, n: float) -> dict[str, Any]:
        return {
            "by": "formula",
            "assumptions": {name: getattr(self, name) for name in self.__dataclass_fields__},
            "kappa": self.kappa,
            "quantum_seconds": self.quantum_seconds(n),
            "classical_seconds": self.classical_seconds(n),
            "ratio": self.ratio(n),
            "parameters": self.parameters(),
            "parameters_at_fixed_entries": replace(self, entries=self.entries or 1000).parameters(),
            "step_exponent": self.step_exponent(),
            "sentence": self.sentence(n) + ".",
        }
