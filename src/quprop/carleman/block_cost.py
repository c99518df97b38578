"""What one block of T training steps costs on a quantum computer: condition number, queries, copies, gates, qubits.

Counted exactly where the history system is small enough to be written down, by formula elsewhere; every number says
which. A block starts at its own expansion point, so u(0) = 0 and the gradient drives it: the right-hand side is
G_0, ..., G_0^(tensor N) at all T times. With mini-batches there are B different maps: B gradients are computed and
loaded, each where the time register says so, and a query of the history matrix is one to each of B step oracles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quprop.carleman.engines.monomials import n_moments
from quprop.carleman.maps.dynamics import Dynamics
from quprop.carleman.system.adiabatic import DiscreteAdiabatic
from quprop.carleman.system.linear_system import relative_error
from quprop.carleman.system.solution import Solver
from quprop.carleman.system.solver import SOLVERS, ChildsKothariSomma, OptimalInverse
from quprop.carleman.transfer.copies import (
    expected_copies,
    expected_copies_of,
    expected_error,
    expected_error_of,
    l2_copies,
    support_copies,
)
from quprop.carleman.transfer.queries import QueryLedger, copies_ledger
from quprop.carleman.transfer.upload import upload_history, upload_tower
from quprop.errors import QupropError, nearest

CIRCUIT_BELOW = 600  # entries up to which the loading circuit itself is made and its gates counted
FAILURE = 0.01  # chance that the support misses an entry
HISTORY_BELOW = 40_000  # unknowns of the history system up to which the solver's polynomial itself is applied,
KAPPA_BELOW = 5_000.0  # its condition number,
WORK_BELOW = 1e9  # and what that times the multiplications of a product may come to: some 10 s on one core


@dataclass(frozen=True)
class BlockCost:
    """``ledger`` of the whole block; the rest says where it comes from.

    kappa, kappa_by     condition number of the history system, and "dense", "lanczos" or "formula"
    queries_per_run     of the solver, to a block encoding of the history matrix
    success             chance that a run ends in level 1 at the last time, before amplitude amplification
    copies              solution states read
    upload_by           "circuit" (made, its gates counted) or "bound"
    maps                B, step maps that differ: gradients computed and loaded, step oracles behind a query
    expected_error      of the readout relative to the update, root mean square; proved is sqrt(7) times the precision
    copies_expected     copies whose expected error is the precision, against those that the proof asks for
    """

    ledger: QueryLedger
    kappa: float
    kappa_by: str
    queries_per_run: int
    success: float
    copies: int
    upload_by: str
    maps: int = 1
    expected_error: float | None = None
    copies_expected: int | None = None

    @property
    def step_queries(self) -> int:
        """Queries to oracles of single step maps: B for each of the history matrix."""
        return self.maps * self.ledger.queries

    def to_json(self) -> dict[str, Any]:
        return {
            "kappa": self.kappa,
            "kappa_by": self.kappa_by,
            "queries_per_run": self.queries_per_run,
            "success": self.success,
            "copies": self.copies,
            "upload_by": self.upload_by,
            "maps": self.maps,
            "step_queries": self.step_queries,
            "expected_error": self.expected_error,
            "copies_expected": self.copies_expected,
            **self.ledger.as_dict(),
        }


def solver_of(name: str) -> Solver:
    """A solver by its name in `SOLVERS`."""
    if name not in SOLVERS:
        raise QupropError(f"unknown solver {name!r}: {nearest(name, SOLVERS)}")
    return SOLVERS[name]()


def kappa_formula(
    growth: float | np.ndarray, order: int, steps: int, idle: int | None = None, normalisation: float = 1.0
) -> float:
    """kappa <= (1 + max(1, m)) max(sum_{t<T} m^t + (p + 1) m^T, p + 1) with m = max(g, g^N), g = max |1 - a|.

    ||L^-1|| is at most the row sum of the products of step norms (`HistorySystem.kappa_bound`) with ||M|| replaced by
    that of its diagonal blocks G_1^(tensor j): the blocks off the diagonal, which the unit of u makes small where
    the expansion converges, are left out. So this is an estimate, a bound for linear dynamics only.

    ``normalisation`` a = alpha/||G_1|| of a block encoding of G_1 (`spectra.sparsity`) gives what a solver is charged
    for, kappa_eff = alpha(L)/sigma_min(L) = (1 + a max(1, m)) ...: tensor powers are taken as brought back to their
    norm factor by factor (singular-value amplification, Gilyen et al., arXiv:1806.01838, theorem 30), whose logarithms
    are left out in favour of the quantum computer; without it a would be a^N.

    Where steps are not normal, as with momentum, ``growth`` is the norms (steps + 1 or more,) of t = 0, 1, ... of them
    (`Descent.norms`), which stand for g^t.
    """
    idle = steps if idle is None else idle
    if isinstance(growth, np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.maximum(growth, growth**order)[: steps + 1]
            sums = np.concatenate([[0.0], np.cumsum(norms[:-1])]) + (idle + 1) * norms
        return float((1 + max(1.0, normalisation) * max(1.0, norms[min(1, steps)])) * sums.max())
    m = max(growth, growth**order)
    total = worst = float(idle + 1)
    for _ in range(steps):
        total = 1 + m * total
        worst = max(worst, total)
        if not math.isfinite(total):
            break
    return (1 + max(1.0, normalisation) * max(1.0, m)) * worst


def readout_copies(entries: int, precision: float, failure: float = FAILURE) -> int:
    """Copies of a whole l2 readout of r entries: support, magnitudes and signs, as `read_out` takes them."""
    seen = support_copies(entries, min(1.0, precision / math.sqrt(entries)), failure)
    return seen + 2 * l2_copies(entries, precision)


def readout_copies_expected(entries: int, precision: float) -> int:
    """Copies of a readout whose expected l2 error is the precision: as many for support, magnitudes and signs, as
    `read_out` takes of ``copies``."""
    return 3 * expected_copies(entries, precision)


def readout_error(entries: int, precision: float) -> float:
    """The l2 error expected of `readout_copies`, relative, root mean square."""
    return expected_error(entries, l2_copies(entries, precision))


def fits(dimension: int, order: int, steps: int) -> bool:
    """Is the history system of so many parameters and steps small enough to be solved by its polynomial?"""
    return (n_moments(dimension, order) - 1) * (2 * steps + 1) <= HISTORY_BELOW


def emulates(solver: Solver, unknowns: int, kappa: float, entries: int = 0) -> bool:
    """Is the solver's own polynomial (or walk) applied to a history system of so many unknowns and entries?"""
    if isinstance(solver, DiscreteAdiabatic) and not solver.emulated(unknowns, kappa):
        return False
    work = kappa * (entries + 10 * unknowns)  # a product, and the vectors of the recursion
    return unknowns <= HISTORY_BELOW and kappa <= KAPPA_BELOW and work <= WORK_BELOW


def upload_cost(
    dynamics: Dynamics,
    kept: np.ndarray,
    n: int,
    order: int,
    scale: float,
    steps: int,
    start: np.ndarray | None = None,
) -> tuple[QueryLedger, str]:
    """One load of the right-hand side of ``steps`` steps on the numbers ``kept`` of n, which the gradients of the
    different maps drive in turn, beside the tower of a ``start`` that is not zero: its circuit's gates, or an upper
    bound on them."""
    load, by = _forces_cost(dynamics, kept, n, order, scale, steps)
    if start is None or not start.any():
        return load, by
    entries = int(np.count_nonzero(start))
    if entries <= CIRCUIT_BELOW:
        whole = np.zeros(n)
        whole[kept] = start
        first = upload_tower(whole, order, scale).ledger()
    else:
        first, by = upload_formula(entries, n, order, 1), "bound"
    return replace(load + first, loads=1), by


def _forces_cost(
    dynamics: Dynamics, kept: np.ndarray, n: int, order: int, scale: float, steps: int
) -> tuple[QueryLedger, str]:
    maps = min(len(dynamics), steps)
    some = dynamics.maps[: maps if maps * len(kept) + steps <= CIRCUIT_BELOW else 1]
    forces = np.array([step.constant() for step in some])
    entries = int(np.count_nonzero(forces))
    if len(some) == maps and entries and entries + steps <= CIRCUIT_BELOW:
        table = np.zeros((maps, n))
        table[:, kept] = forces
        return upload_history(table, order, scale, steps).ledger(), "circuit"
    return upload_formula(max(1, entries) if maps == 1 else len(kept), n, order, steps, maps), "bound"


def upload_formula(entries: int, dimension: int, order: int, steps: int, maps: int = 1) -> QueryLedger:
    """An upper bound on what `upload_history` takes for ``maps`` vectors of so many entries, with clean qubits.

    For each vector N loaders of r - 1 merges and N - 1 rotations for the levels. A merge is m - 1 CNOTs and a rotation
    with log2 r controls; one more in all registers but the first, and one in all of them and on every CNOT where
    vectors differ. Flips become CNOTs under a control, log2 r + 2 a merge at most. Besides the superposition of T times
    and, where vectors differ, two flips a time on the time register, of 4 Toffolis a qubit.
    """
    bits, clock, several = max(1, (dimension - 1).bit_length()), (2 * steps).bit_length(), int(maps > 1)
    depth = entries.bit_length() - 1
    cnots = rotations = ancillas = 0
    for register in range(order):
        k, held = depth + several + (register > 0), bool(several or register)
        merge = (1 + 5 * several) * (bits - 1) + _controlled(k)[0] + held * (depth + 2)
        cnots += (entries - 1) * merge + held * bits + (register > 0) * (_controlled(1 + several)[0] + 12 * several)
        rotations += (entries - 1) * _controlled(k)[1] + (register > 0) * _controlled(1 + several)[1]
        ancillas = max(ancillas, k - 1 if k > 4 else 0)
    merged = _controlled(steps.bit_length() - 1)
    cnots = maps * cnots + (steps - 1) * (clock - 1 + merged[0]) + several * 2 * steps * 24 * clock
    rotations = maps * rotations + (steps - 1) * merged[1] + several * 2 * steps * 16 * clock
    held_qubits = order - 1 + order * bits + clock + 2 * several + ancillas
    return QueryLedger(loads=1, cnots=cnots, rotations=rotations, qubits=held_qubits)


def _controlled(k: int) -> tuple[int, int]:
    """CNOTs and rotations of a rotation with k controls (`controlled_ry` with clean qubits)."""
    return (2**k, 2**k) if k <= 4 else (6 * k - 4, 8 * k - 6)


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
    entries: int,
    precision: float,
    maps: int = 1,
    gradient_ops: int = 0,
    update: np.ndarray | None = None,
) -> BlockCost:
    """All copies of a block with amplitude amplification; one flag qubit of the solver is added to those of a load.

    ``entries`` and ``precision`` of the readout, for its expected error: that of ``update`` where it is known, small
    entries included; ``gradient_ops`` multiply-adds of the gradients that are loaded, computed once.
    """
    expected = readout_error(entries, precision), readout_copies_expected(entries, precision)
    if update is not None and np.isfinite(update).all() and np.count_nonzero(update) > 1:
        support = support_copies(entries, min(1.0, precision / math.sqrt(entries)), FAILURE)
        expected = (
            expected_error_of(update, l2_copies(entries, precision), support),
            3 * expected_copies_of(update, precision),
        )
    ledger = copies_ledger(copies, queries=queries, loads=loads, success=max(success, 1e-300), upload=upload)
    return BlockCost(
        replace(ledger, qubits=upload.qubits + 1, classical_ops=ledger.classical_ops + gradient_ops),
        float(kappa),
        kappa_by,
        int(queries),
        float(success),
        int(copies),
        upload_by,
        maps,
        *expected,
    )


def formula_loads(solver: Solver, queries: int, kappa: float) -> int:
    """Preparations of the right-hand side in one run: one for an inverse polynomial, one a query where the solver
    reflects about it, four a step of an adiabatic walk."""
    if isinstance(solver, OptimalInverse | ChildsKothariSomma):
        return 1
    return queries + (1 + 3 * solver.steps(kappa) if isinstance(solver, DiscreteAdiabatic) else 0)


def formula_success(solver: Solver, kappa: float, eps: float) -> float:
    """Success of the solver's own flag where nothing is emulated: the worst right-hand side, (1/peak)^2 of an inverse
    polynomial, as ||B^-1 b|| is at least 1; a half for the adiabatic walk with its observed constant; the kernel
    reflection needs none.

    The peak is kappa times max_z (1 - cosh(l sqrt(1 - z^2))/cosh l)/z, cosh l = 1/eps, for `optimal_inverse` at large
    kappa, and the weights of `cks_inverse` add up to 2 kappa sqrt(ln(kappa/eps)/pi).
    """
    if isinstance(solver, ChildsKothariSomma):
        return min(1.0, math.pi / (4 * kappa**2 * math.log(kappa / eps)))
    if isinstance(solver, OptimalInverse):
        z, top = np.linspace(1e-3, 1, 2000), math.acosh(1 / relative_error(eps))
        shape = (1 - np.cosh(top * np.sqrt(1 - z**2)) / math.cosh(top)) / z
        return min(1.0, 1 / (kappa * float(shape.max())) ** 2)
    return 0.5 if isinstance(solver, DiscreteAdiabatic) else 1.0
