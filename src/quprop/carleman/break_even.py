"""From how many parameters, or steps, would a quantum block pay against plain descent? Formulas only.

    quantum seconds   = copies(r) * 1.38 / sqrt(P) * queries(kappa_eff(T), eps) * rotations a query * seconds a rotation
    classical seconds = T * 6 n m / flops

r survivors are read in the l2 norm at relative precision delta; 6 n m operations are one gradient of m samples. Sparse
access to a step matrix of s entries a row has normalisation alpha, so that kappa_eff = alpha(L)/sigma_min(L). One
query is taken to cost N log2(n s) rotations for each different step map, an address in a table of n s entries, as if
data access were polylogarithmic: an assumption in favour of the quantum computer, like the missing error correction.
What decides is how r grows: at fixed density copies grow as r ln r, as fast as a classical step does, and nothing is
ever gained; at fixed r, s and alpha there is a break-even.
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
    at the last time. ``rotation_seconds`` of one logical rotation, ``flops`` of the classical machine. ``row_entries``
    s of a step matrix and ``alpha`` of its block encoding, by default s times the largest entry 1: assumed, unless
    ``measured`` says where they are from. ``maps`` that differ within a block (mini-batches)."""

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
    row_entries: float = 10
    alpha: float | None = None
    measured: str = ""
    maps: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1 or (self.entries is not None and self.entries < 1):
            raise QupropError(f"density in (0, 1] or entries >= 1 were expected, got {self.density} and {self.entries}")
        for name in ("steps", "order", "samples", "growth", "rotation_seconds", "flops", "row_entries", "maps"):
            if not getattr(self, name) > 0:
                raise QupropError(f"{name} must be positive, got {getattr(self, name)}")

        if self.alpha is not None and not self.alpha > 0:
            raise QupropError(f"alpha must be positive, got {self.alpha}")

    @property
    def normalisation(self) -> float:
        """alpha/||G_1||, at least 1."""
        alpha = self.row_entries if self.alpha is None else self.alpha
        return max(1.0, alpha / max(1.0, self.growth))

    @property
    def kappa(self) -> float:
        """kappa_eff = alpha(L)/sigma_min(L)."""
        return min(1e15, kappa_formula(self.growth, self.order, self.steps, normalisation=self.normalisation))

    def rotations_a_query(self, n: float) -> int:
        return math.ceil(self.maps * self.order * max(1.0, math.log2(n * self.row_entries)))

    def copies(self, n: float) -> float:
        r = self.entries if self.entries is not None else math.ceil(self.density * n)
        return float(readout_copies(max(1, int(min(r, n))), self.precision))

    def copy_seconds(self, n: float) -> float:
        """One copy of the solution state, amplified."""
        solver = solver_of(self.solver)
        success = self.success * formula_success(solver, self.kappa, self.eps)
        runs, queries = amplify(success).runs, solver.queries(self.kappa, self.eps)
        return runs * queries * self.rotations_a_query(n) * self.rotation_seconds

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

    def access(self) -> str:
        """What was taken for the entries of a step matrix, and whether it was measured."""
        alpha = self.row_entries if self.alpha is None else self.alpha
        where = self.measured or "assumed, not measured"
        return f"{self.row_entries:.4g} entries a row of the step matrix, normalisation {alpha:.3g}: {where}"

    def sentence(self, n: float) -> str:
        ratio, even = self.ratio(n), self.parameters()
        text = (
            f"By formula a block of {self.steps} steps of {short(n)} parameters takes {ratio:.3g} times as long as "
            f"plain descent ({self.access()})"
        )
        if even is None:
            return text + " and no number of parameters changes that: copies grow as fast as the network"
        return text + f"; from {even:.2g} parameters with no more entries than that it would pay"

    def to_json(self, n: float) -> dict[str, Any]:
        return {
            "by": "formula",
            "assumptions": {name: getattr(self, name) for name in self.__dataclass_fields__},
            "kappa": self.kappa,
            "normalisation": self.normalisation,
            "access": self.access(),
            "quantum_seconds": self.quantum_seconds(n),
            "classical_seconds": self.classical_seconds(n),
            "ratio": self.ratio(n),
            "parameters": self.parameters(),
            "parameters_at_fixed_entries": replace(self, entries=self.entries or 1000).parameters(),
            "step_exponent": self.step_exponent(),
            "sentence": self.sentence(n) + ".",
        }
