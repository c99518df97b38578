"""One reflection about a kernel turns a known basis state into the solution (Dalzell 2024, arXiv:2406.12086)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.carleman.system.inverse_polynomial import optimal_inverse
from quprop.carleman.system.kernel_filter import apply_filter, filter_terms
from quprop.carleman.system.linear_system import LinearSystem, check_precision, relative_error
from quprop.carleman.system.solution import Solution, refuse_growth, unit
from quprop.errors import QupropError


@dataclass(frozen=True)
class KernelReflection:
    """Dalzell's shortcut.

    With B = A/alpha, b of norm 1 and t = ||B^-1 b||, the matrix G = (1 - |c><c|) diag(B, 1/t), c = (b, 1)/sqrt(2), has
    the kernel k = (B^-1 b/t, 1)/sqrt(2), and nothing else below 1/kappa. The last basis state e overlaps it by
    1/sqrt(2), so 2|k><k| - 1 takes e to (B^-1 b/t, 0): the solution, without amplification. The reflection is 2 R_l - 1
    with the filter R_l, degree 2 l ~ kappa ln(2 sqrt(2)/eps).

    solution_norm: ||A^-1 b||, if it is known. A value wrong by a factor r lowers the success probability to
        4 r^2/(1 + r^2)^2 and widens the error by sqrt((1 + r^-2)/2), r = given/true.
        None: the norm is estimated first, and a run is charged the published bound for that,
        56 kappa + 1.05 kappa ln(1/eps) in all; the emulation finds it from the optimal inverse polynomial.
    """

    solution_norm: float | None = None
    name: ClassVar[str] = "kernel_reflection"

    def queries(self, kappa: float, eps: float) -> int:
        check_precision(kappa, eps)
        if self.solution_norm is None:
            return math.ceil(56 * kappa + 1.05 * kappa * math.log(1 / eps))
        return 2 * filter_terms(kappa, relative_error(eps) / math.sqrt(2))

    def solve(self, system: LinearSystem, eps: float) -> Solution:
        check_precision(system.kappa, eps)
        system.check_adjoint()
        b = unit(system.rhs)
        t = self._scaled_norm(system, b)
        leak = relative_error(eps) / math.sqrt(2)
        if self.solution_norm is None:
            leak *= 0.99  # the estimate is good to 1e-3
        terms = filter_terms(system.kappa, leak)
        encoding, n = system.scaled(), system.n
        c = np.append(b, 1.0) / math.sqrt(2)

        def project(w: np.ndarray) -> np.ndarray:
            return w - c * np.vdot(c, w)

        def apply(v: np.ndarray) -> np.ndarray:
            return project(np.append(encoding.apply(v[:n]), v[n] / t))

        def adjoint(w: np.ndarray) -> np.ndarray:
            w = project(w)
            return np.append(encoding.adjoint(w[:n]), w[n] / t)

        e = np.zeros(n + 1, b.dtype)
        e[n] = 1
        with np.errstate(over="ignore", invalid="ignore"):
            reflected = 2 * apply_filter(apply, adjoint, e, system.kappa, terms) - e
        refuse_growth(system, float(np.linalg.norm(reflected)), 1 + 2 * leak)
        kept = reflected[:n]
        return Solution(
            state=unit(kept),
            norm=t * float(np.linalg.norm(system.rhs)) / system.norm,
            queries=self.queries(system.kappa, eps),
            # 1 - |c><c| is a preparation, a flip of phase and its inverse; G†G has one such projection
            loads=self.queries(system.kappa, eps),
            # |2 R_l - 1| reaches 1 + 2 leak, by which a block encoding must divide
            success=min(1.0, float(np.linalg.norm(kept) / (1 + 2 * leak)) ** 2),
            eps=eps,
            solver=self.name,
            info={"degree": encoding.queries},
        )

    def _scaled_norm(self, system: LinearSystem, b: np.ndarray) -> float:
        """t = ||B^-1 b||, between 1 and kappa."""
        if self.solution_norm is None:
            precision = optimal_inverse(system.kappa, 1e-3)
            t = float(np.linalg.norm(precision.apply(system.scaled(), b)))
            return min(max(t, 1.0), system.kappa)
        t = self.solution_norm * system.norm / float(np.linalg.norm(system.rhs))
        if not 1 - 1e-9 <= t <= system.kappa * (1 + 1e-9):
            low = float(np.linalg.norm(system.rhs)) / system.norm
            raise QupropError(
                f"`solution_norm` must lie between ||b||/norm = {low:.4g} and kappa times that, "
                f"{low * system.kappa:.4g}, got {self.solution_norm:.4g}"
            )
        return t
