"""Quantum linear-system solvers, emulated by the very polynomial that each applies to the matrix.

A solver sees A through products only (`LinearSystem`) and returns the state that the quantum computer would output,
with the uses of A that the polynomial takes. `SOLVERS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.carleman.system.adiabatic import DiscreteAdiabatic
from quprop.carleman.system.inverse_polynomial import (
    InversePolynomial,
    cks_inverse,
    cks_sizes,
    optimal_inverse,
    optimal_terms,
)
from quprop.carleman.system.kernel_reflection import KernelReflection
from quprop.carleman.system.linear_system import LinearSystem, check_precision, relative_error
from quprop.carleman.system.solution import Solution, Solver, refuse_growth, unit
from quprop.errors import QupropError

__all__ = [
    "SOLVERS",
    "ChildsKothariSomma",
    "DiscreteAdiabatic",
    "KernelReflection",
    "LinearSystem",
    "OptimalInverse",
    "Solution",
    "Solver",
]


@dataclass(frozen=True)
class OptimalInverse:
    """Quantum singular-value transformation by the inverse polynomial of least degree, about kappa ln(2/eps).

    Applies p/max|p| (`inverse_polynomial.optimal_inverse`), so a run succeeds with probability
    ||p(B) b||^2 / max|p|^2, which amplitude amplification raises (Gilyen, Su, Low and Wiebe, arXiv:1806.01838).
    """

    name: ClassVar[str] = "optimal"

    def queries(self, kappa: float, eps: float) -> int:
        check_precision(kappa, eps)
        return 2 * optimal_terms(kappa, relative_error(eps)) - 1

    def solve(self, system: LinearSystem, eps: float) -> Solution:
        return _transformed(self.name, system, eps, lambda: optimal_inverse(system.kappa, relative_error(eps)), "peak")


@dataclass(frozen=True)
class ChildsKothariSomma:
    """Childs, Kothari and Somma's linear combination of Chebyshev walks (arXiv:1511.02306).

    One walk T_{2j+1} of the combination takes 2j+1 queries; the select operator of all takes the longest's. Applies
    p/sum|c_j| (`inverse_polynomial.cks_inverse`).
    """

    name: ClassVar[str] = "cks"

    def queries(self, kappa: float, eps: float) -> int:
        return 2 * cks_sizes(kappa, eps)[1] + 1

    def solve(self, system: LinearSystem, eps: float) -> Solution:
        return _transformed(self.name, system, eps, lambda: cks_inverse(system.kappa, eps), "weight")


def _transformed(
    name: str, system: LinearSystem, eps: float, make: Callable[[], InversePolynomial], scale: str
) -> Solution:
    check_precision(system.kappa, eps)
    system.check_adjoint()
    polynomial = make()
    encoding = system.scaled()
    with np.errstate(over="ignore", invalid="ignore"):
        x = polynomial.apply(encoding, unit(system.rhs))
        length = float(np.linalg.norm(x))
    refuse_growth(system, length, polynomial.peak)
    # |x p(x) - 1| <= eps bounds the residual too, if no singular value lies below 1/kappa
    residual = float(np.linalg.norm(system.matvec(x) / system.norm - unit(system.rhs)))
    if residual > 1.01 * eps + 1e-10:
        raise QupropError(
            f"`kappa` must be at least norm / sigma_min(A), but kappa = {system.kappa:.4g} leaves a residual of "
            f"{residual:.2g} where eps = {eps:.2g} was asked for; take a larger one"
        )
    return Solution(
        state=x / length,
        norm=length * float(np.linalg.norm(system.rhs)) / system.norm,
        queries=encoding.queries,
        loads=1,
        success=min(1.0, (length / getattr(polynomial, scale)) ** 2),
        eps=eps,
        solver=name,
        info={"degree": polynomial.degree, "scale": getattr(polynomial, scale), "error": polynomial.error},
    )


SOLVERS: dict[str, type[OptimalInverse] | type[ChildsKothariSomma] | type[DiscreteAdiabatic] | type[KernelReflection]]
SOLVERS = {
    "optimal": OptimalInverse,
    "cks": ChildsKothariSomma,
    "adiabatic": DiscreteAdiabatic,
    "kernel_reflection": KernelReflection,
}
