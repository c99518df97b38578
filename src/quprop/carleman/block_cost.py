"""What one block of T training steps costs on a quantum computer: condition number, queries, copies, gates, qubits.

Counted exactly where the history system is small enough to be written down, by formula elsewhere; every number says
which. A block starts at its own expansion point, so u(0) = 0 and the gradient drives it: the right-hand side is
G_0, ..., G_0^(tensor N) at all T times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quprop.carleman.engines.monomials import n_moments
from quprop.carleman.system.adiabatic import DiscreteAdiabatic
from quprop.carleman.system.solution import Solver
from quprop.carleman.system.solver import SOLVERS, ChildsKothariSomma, OptimalInverse
from quprop.carleman.transfer.copies import l2_copies, support_copies
from quprop.carleman.transfer.queries import QueryLedger, copies_ledger
from quprop.carleman.transfer.upload import upload_bound, upload_tower
from quprop.errors import QupropError, nearest

CIRCUIT_BELOW = 600  # entries up to which the loading circuit itself is made and its gates counted
HISTORY_BELOW = 2_000  # unknowns of the history system up to which the solver's polynomial itself is applied
KAPPA_BELOW = 5_000.0  # and its condition number


@dataclass(frozen=True)
class BlockCost:
    """``ledger`` of the whole block; the rest says where it comes from.

    kappa, kappa_by     condition number of the history system, and "dense", "lanczos" or "formula"
    queries_per_run     of the solver, to a block encoding of the history matrix
    success             chance that a run ends in level 1 at the last time, before amplitude amplification
    copies              solution states read
    upload_by           "circuit" (made, its gates counted) or "bound"
    """

    ledger: QueryLedger
    kappa: float
    kappa_by: str
    queries_per_run: int
    success: float
    copies: int
    upload_by: str

    def to_json(self) -> dict[str, Any]:
        return {
            "kappa": self.kappa,
            "kappa_by": self.kappa_by,
            "queries_per_run": self.queries_per_run,
            "success": self.success,
            "copies": self.copies,
            "upload_by": self.upload_by,
            **self.ledger.as_dict(),
        }


def solver_of(name: str) -> Solver:
    """A solver by its name in `SOLVERS`."""
    if name not in SOLVERS:
        raise QupropError(f"unknown solver {name!r}: {nearest(name, SOLVERS)}")
    return SOLVERS[name]()


def kappa_formula(growth: float | np.ndarray, order: int, steps: int, idle: int | None = None) -> float:
    """kappa <= (1 + max(1, m)) max(sum_{t<T} m^t + (p + 1) m^T, p + 1) with m = max(g, g^N), g = max |1 - a|.

    ||L^-1|| is at most the row sum of the products of step norms (`HistorySystem.kappa_bound`) with ||M|| replaced by
    that of its diagonal blocks G_1^(tensor j): the blocks off the diagonal, which the unit of u makes small where
    the expansion converges, are left out. So this is an estimate, a bound for linear dynamics only.

    Where steps are not normal, as with momentum, ``growth`` is the norms (steps + 1 or more,) of t = 0, 1, ... of them
    (`Descent.norms`), which stand for g^t.
    """
    idle = steps if idle is None else idle
    if isinstance(growth, np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.maximum(growth, growth**order)[: steps + 1]
            sums = np.concatenate([[0.0], np.cumsum(norms[:-1])]) + (idle + 1) * norms
        return float((1 + max(1.0, norms[min(1, steps)])) * sums.max())
    m = max(growth, growth**order)
    total = worst = float(idle + 1)
    for _ in range(steps):
        total = 1 + m * total
        worst = max(worst, total)
        if not math.isfinite(total):
            break
    return (1 + max(1.0, m)) * worst


def readout_copies(entries: int, precision: float, failure: float = 0.01) -> int:
    """Copies of a whole l2 readout of r entries: support, magnitudes and signs, as `read_out` takes them."""
    seen = support_copies(entries, min(1.0, precision / math.sqrt(entries)), failure)
    return seen + 2 * l2_copies(entries, precision)


def fits(dimension: int, order: int, steps: int) -> bool:
    """Is the history system of so many parameters and steps small enough to be solved by its polynomial?"""
    return (n_moments(dimension, order) - 1) * (2 * steps + 1) <= HISTORY_BELOW


def emulates(solver: Solver, unknowns: int, kappa: float) -> bool:
    """Is the solver's own polynomial (or walk) applied to a history system of so many unknowns?"""
    if isinstance(solver, DiscreteAdiabatic) and not solver.emulated(unknowns, kappa):
        return False
    return unknowns <= HISTORY_BELOW and kappa <= KAPPA_BELOW


def upload_cost(vector: np.ndarray, order: int, scale: float) -> tuple[QueryLedger, str]:
    """One load of the tower of a sparse vector (n,): its circuit's gates, or an upper bound on its CNOTs."""
    entries = int(np.count_nonzero(vector))
    if entries and entries <= CIRCUIT_BELOW:
        return upload_tower(vector, order, scale).ledger(), "circuit"
    return upload_formula(max(1, entries), len(vector), order), "bound"


def upload_formula(entries: int, dimension: int, order: int) -> QueryLedger:
    """N loaders by `upload_bound`; at most one rotation for each merge of each register, and N - 1 for the levels."""
    bits = max(1, (dimension - 1).bit_length())
    cnots = order * upload_bound(entries, bits, clean=True)
    return QueryLedger(
        loads=1, cnots=cnots, rotations=order * (entries - 1) + order - 1, qubits=order - 1 + order * bits
    )


def total(
    copies: int,
    *,
    kappa: float,
    kappa_by: str,
    queries: int,
    loads: int,
    success: float,
    upload: QueryLedger,
    upload_by: str,
    steps: int,
) -> BlockCost:
    """All copies of a block with amplitude amplification; time register and one flag qubit added to those of a load."""
    held = upload.qubits + (2 * steps).bit_length() + 1
    ledger = copies_ledger(copies, queries=queries, loads=loads, success=max(success, 1e-300), upload=upload)
    return BlockCost(
        replace(ledger, qubits=held), float(kappa), kappa_by, int(queries), float(success), int(copies), upload_by
    )


def formula_loads(solver: Solver, queries: int) -> int:
    """Preparations of the right-hand side in one run: one for an inverse polynomial, one a query where the solver
    reflects about it."""
    return 1 if isinstance(solver, OptimalInverse | ChildsKothariSomma) else queries


def formula_success(solver: Solver, kappa: float) -> float:
    """Success of the solver's own flag where nothing is emulated. An inverse polynomial, peak about kappa, has
    (||B^-1 b||/kappa)^2, and ||B^-1 b|| is at least 1: 1/kappa^2 is the worst case. The other two need none."""
    return 1 / kappa**2 if isinstance(solver, OptimalInverse | ChildsKothariSomma) else 1.0
