"""One block of training steps as the quantum computer would run it: lifted, solved, read out, and counted.

A block is run in one of four ways, and `BlockRun.emulation` says in which:

* where the history system fits (`block_cost.fits`), the polynomial of the chosen solver is applied to it and its output
  state, with the error the solver makes, is read;
* at N = 2 beyond that, or with engine "tensor_train", the same system is solved in compressed form, and its residual is
  computed (`system.low_rank_history`);
* else the truncated tower is marched where it can be held, which is forward substitution in the same system;
* else Taylor jets stand in for it, another truncation of the same order where the gradient drives the block.

Queries of the last three are counted by formula at a condition number that is a formula too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from quprop.carleman import block_cost
from quprop.carleman.block_cost import BlockCost
from quprop.carleman.engines.lift import success_probability
from quprop.carleman.maps.dynamics import Dynamics, tabulate
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.system.low_rank_history import LowRankHistory, solve_low_rank
from quprop.carleman.transfer.download import read_out
from quprop.carleman.truncation import Truncation, measure, tabulates

SOLVED = "solver's polynomial applied, queries counted"
COMPRESSED = "system solved in low rank with its residual, queries by formula"
MARCHED = "tower marched exactly (forward substitution), queries by formula"
JETS = "Taylor jets marched: the weighted truncation, not the system's solution; queries by formula"
JETS_EXACT = "Taylor jets marched: exactly the system's solution; queries by formula"
SHORT = {SOLVED: "solver", COMPRESSED: "low rank", MARCHED: "march", JETS: "jets", JETS_EXACT: "march"}


class Settings(Protocol):
    """What of `train.Loop` a block needs."""

    @property
    def order(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def block_length(self) -> int | None: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def solver(self) -> str: ...
    @property
    def eps(self) -> float: ...
    @property
    def readout(self) -> str: ...
    @property
    def precision(self) -> float: ...


@dataclass(frozen=True, eq=False)
class BlockRun:
    """``update`` u(T) (r,), with momentum (u, w)(T) (2 r,), as it was read; ``length`` T; ``gap`` ||y_1 at order N
    minus at order N - 1|| / ||y_1||, an estimate of the error of order N - 1; ``tail`` the largest ratio of
    successive orders (jets; from 1 on: outside the radius of convergence); ``truncation_error`` ||y_1 - u|| / ||u||, u
    plain descent of the same map (None in records without it); ``solver_error`` and ``readout_error`` relative to the
    update, None where not emulated; ``emulation`` how the block was run, a key of `SHORT`; ``residual``
    ||L Y - RHS||/||RHS|| of the solution that the update was taken from, None where none was computed."""

    update: np.ndarray
    length: int
    engine: str
    exact: bool
    emulation: str
    gap: float
    tail: float | None
    solver_error: float | None
    readout_error: float | None
    diverged: int | None
    truncation_error: float | None = None
    residual: float | None = None

    def to_json(self) -> dict[str, Any]:
        names = "engine exact emulation residual gap tail truncation_error solver_error readout_error"
        return {"by": SHORT.get(self.emulation, self.emulation)} | {name: getattr(self, name) for name in names.split()}


def run_block(
    dynamics: Dynamics,
    kept: np.ndarray,
    n: int,
    most: int,
    settings: Settings,
    rng: np.random.Generator,
    *,
    growth: float | np.ndarray,
    say: Callable[[str], None],
    tick: Callable[[int, int], None] | None = None,
    start: np.ndarray | None = None,
    gradient_ops: int = 0,
) -> tuple[BlockRun, BlockCost]:
    """At most ``most`` steps of ``dynamics`` from u = ``start`` (default 0) on the numbers ``kept`` of the ``n`` of a
    state; fewer, where the length is free, if the truncation error asks for it. ``growth`` is max |1 - a|, or the
    norms of t steps, for kappa where it is not computed (`kappa_formula`); ``tick`` is called with the step and
    ``most``; ``gradient_ops`` are the multiply-adds of one map's gradient."""
    start = np.zeros(dynamics.dimension) if start is None else start
    marched = measure(
        dynamics,
        settings.order,
        most,
        settings.tolerance,
        engine=settings.engine,
        stop=settings.block_length is None,
        start=start,
        tick=tick,
    )
    for text in marched.warnings():
        say(text)
    solved = _solved(dynamics, start, marched, settings, growth)
    if solved.residual is not None and solved.residual > settings.eps:
        say(f"the solution has a residual of {solved.residual:.2g}, above eps = {settings.eps:.2g}; do not rely on it")
    update, readout_error = solved.update, None
    copies = block_cost.readout_copies(len(kept), settings.precision)
    size = float(np.linalg.norm(update))
    if settings.readout == "shots" and size > 0 and np.isfinite(size):
        read = read_out(update, precision=settings.precision, kind="l2", entries=len(kept), scale=size, rng=rng)
        readout_error = float(np.linalg.norm(read.vector - update)) / size
        update, copies = read.vector, read.copies
    steps = max(1, marched.length)
    maps = min(len(dynamics), steps)
    load, upload_by = block_cost.upload_cost(dynamics, kept, n, settings.order, solved.scale, steps, start)
    cost = block_cost.total(
        copies,
        kappa=solved.kappa,
        kappa_by=solved.kappa_by,
        queries=solved.queries,
        loads=solved.loads,
        success=solved.success,
        upload=load,
        upload_by=upload_by,
        entries=len(kept),
        precision=settings.precision,
        maps=maps,
        gradient_ops=maps * gradient_ops,
        update=solved.update,
    )
    run = BlockRun(
        update,
        marched.length,
        marched.engine,
        marched.exact,
        solved.emulation,
        float(marched.gaps[marched.length]),
        None if marched.tails is None else float(np.max(marched.tails[: marched.length + 1])),
        solved.error,
        readout_error,
        marched.diverged,
        marched.error,
        solved.residual,
    )
    return run, cost


@dataclass(frozen=True, eq=False)
class _Solved:
    """The update as the solution has it, and what a run of the solver takes."""

    update: np.ndarray
    scale: float
    kappa: float
    kappa_by: str
    queries: int
    loads: int
    success: float
    emulation: str
    error: float | None = None
    residual: float | None = None


def _solved(
    dynamics: Dynamics, start: np.ndarray, marched: Truncation, settings: Settings, growth: float | np.ndarray
) -> _Solved:
    """The solver's own polynomial applied where the history system is small enough; elsewhere the solution in low rank
    or the march, and formulas for what the solver takes."""
    length, order = marched.length, settings.order
    solver = block_cost.solver_of(settings.solver)
    rho = float(np.max(marched.norms[:, 0], initial=0.0))
    scale = 1.3 * rho or 1.0
    kappa, kappa_by = block_cost.kappa_formula(growth, order, length), "formula"
    moves = marched.diverged is None and rho > 0
    if moves and block_cost.fits(len(start), order, length) and tabulates(dynamics, order, length):
        history = HistorySystem(dynamics, start, order, length)
        condition = history.condition()
        kappa, kappa_by = condition.kappa, condition.method
        if block_cost.emulates(solver, history.shape[0], kappa, history.entries()):
            solution = solver.solve(history.linear_system(), settings.eps)
            found = history.estimate(solution.vector)
            return _Solved(
                found,
                history.scale,
                min(max(kappa, 1.0), 1e15),
                kappa_by,
                solution.queries,
                solution.loads,
                solution.success * history.success_probability(solution.vector),
                SOLVED,
                _apart(found, marched.update),
                history.residual(solution.vector),
            )
    kappa = min(max(kappa, 1.0), 1e15)
    queries = solver.queries(kappa, settings.eps)
    update, emulation, error, residual = marched.update, MARCHED, None, None
    success = success_probability(marched.norms, length, scale)
    if marched.engine == "jets":
        emulation = JETS_EXACT if marched.exact else JETS
    elif moves and (compressed := _compressed(dynamics, start, marched.engine, order, length, scale)) is not None:
        update, emulation, residual = compressed.estimate(), COMPRESSED, compressed.residual()
        error, success = _apart(update, marched.update), compressed.success_probability()
    return _Solved(
        update,
        scale,
        kappa,
        kappa_by,
        queries,
        block_cost.formula_loads(solver, queries, kappa),
        success * block_cost.formula_success(solver, kappa, settings.eps),
        emulation,
        error,
        residual,
    )


def _apart(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _compressed(
    dynamics: Dynamics, start: np.ndarray, engine: str, order: int, steps: int, scale: float
) -> LowRankHistory | None:
    """The whole history in low rank, where the engine is so, and at N = 2 wherever tables make the closure cheap."""
    if engine not in ("low_rank", "tensor_train"):
        if order != 2 or block_cost.fits(dynamics.dimension, order, steps):
            return None
        dynamics = Dynamics([tabulate(step, order) for step in dynamics.maps[:steps]])
    return solve_low_rank(dynamics, start, order, steps, scale=scale)
